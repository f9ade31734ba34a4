//! Replays what fuzzing has learnt, a test each target: every file of its corpus, and every message of RFC 4475 for those that take a
//! message. `tests/fuzz/README.md` tells how to look for more.

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tests::fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = TARGETS
        .iter()
        .map(|&(name, target)| Trial::test(format!("fuzz: {name}"), move || replay(name, target)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn replay(name: &str, target: Target) -> Result<(), Failed> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = files(&here.join("fuzz/corpus").join(name))?;
    if files.len() < 20 {
        return Err(format!("the corpus of {name} has {} files", files.len()).into());
    }
    files.extend(self::files(&here.join("torture/rfc4475"))?);
    for file in files {
        let bytes = std::fs::read(&file)?;
        panic::catch_unwind(|| target(&bytes)).map_err(|_| file.display().to_string())?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
