//! Builds the executables under test, once a test process, in the profile of the tests. It never runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The path of an executable of the workspace, built if need be.
///
/// # Errors
/// What cargo said where it can't be built.
pub fn built(name: &str) -> Result<PathBuf, String> {
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

/// The folder in which this profile is built, such as `target/debug`.
///
/// # Panics
/// Where this is not run by cargo.
#[must_use]
pub fn target_folder() -> PathBuf {
    // target/debug/deps/clients-0123456789abcdef
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_path_buf()
}

fn build(name: &str) -> Result<PathBuf, String> {
    let folder = target_folder();
    let package = if name == "seawall" { "seawall" } else { "tests" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", package, "--bin", name, "--target-dir"])
        .arg(folder.parent().unwrap())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().map_err(|e| format!("cargo: {e}"))?;
    if output.status.success() {
        Ok(folder.join(name))
    } else {
        Err(format!("{name} can't be built:\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}
