//! What a storm leaves, read by the programs that people read it with: Chromium, and Python with `HdrHistogram`'s package. The runs are made
//! up; that they are shown and understood is not.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

#[path = "../../bench/tests/fixture/mod.rs"]
mod fixture;

use bench::storm::report::{self, Folder};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// Run in a page once it is loaded: what it asked for, whether it is wider than its window, and which labels cover each other.
const PROBE: &str = r#"<script>
addEventListener('load', () => {
  const told = (name, value) => document.documentElement.setAttribute('data-' + name, value);
  const texts = [...document.querySelectorAll('svg')].map(svg =>
    [...svg.querySelectorAll('text')].map(text => ({ says: text.textContent, at: text.getBoundingClientRect() })));
  const covered = texts.flatMap(own => own.flatMap((one, n) => own.slice(n + 1).filter(other => {
    const width = Math.min(one.at.right, other.at.right) - Math.max(one.at.left, other.at.left);
    const height = Math.min(one.at.bottom, other.at.bottom) - Math.max(one.at.top, other.at.top);
    return width > 1 && height > 5;
  }).map(other => one.says + ' on ' + other.says)));
  told('covered', covered.join(', '));
  // What fails from a file is no entry of the performance timeline, so elements that load are asked for too.
  const elements = document.querySelectorAll('[src], object, link[href]:not([href^="data:"])');
  told('loads', [...performance.getEntriesByType('resource').map(entry => entry.name),
    ...[...elements].map(element => element.src || element.href || element.data)].join(', '));
  told('too-wide', document.documentElement.scrollWidth > innerWidth);
  told('plots', texts.filter(own => own.length > 5).length);
});
</script></body>"#;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(1));
    let mut trials = Vec::new();
    for (name, _) in fixture::all() {
        trials
            .push(Trial::test(format!("chromium shows the report of a run: {name}"), move || {
                shown(name)
            }));
    }
    trials.push(Trial::test("chromium shows runs side by side", compared));
    trials.push(Trial::test("a page that is not whole is noticed", noticed));
    let python = python();
    for (name, played) in fixture::all() {
        if played.seconds.is_empty() {
            continue;
        }
        let python = python.clone();
        let missing = python.is_none();
        let trial =
            Trial::test(format!("the public tools read the folder of a run: {name}"), move || {
                read(name, python.as_deref())
            });
        trials.push(trial.with_ignored_flag(missing));
    }
    if python.is_none() {
        eprintln!(
            "skipped: HdrHistogram's Python package is not installed; `tests/run setup` does it where PyPI is reached"
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The Python that `tests/run setup` gave the package to.
fn python() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let python = home.join("seawall-tools/python/bin/python");
    let has_it = Command::new(&python)
        .args(["-c", "import hdrh"])
        .output()
        .is_ok_and(|output| output.status.success());
    has_it.then_some(python)
}

/// Writes a run as if it had been played.
fn folder(name: &str) -> Result<PathBuf, Failed> {
    let path = place(name)?;
    let played = fixture::one(name);
    let mut folder = Folder::create(&path, played.run.about.started_unix_secs)?;
    played.write(&mut folder)?;
    folder.finish(&played.run, &played.whole)?;
    Ok(path)
}

/// An empty folder of this name.
fn place(name: &str) -> Result<PathBuf, Failed> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readers-{name}"));
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    Ok(path)
}

fn shown(name: &str) -> Result<(), Failed> {
    let path = folder(name)?;
    let plots = match name {
        "empty" => 0,
        "without-metrics" => 8,
        _ => 9,
    };
    for width in [500, 1280] {
        whole(&path.join(report::PAGE), width, plots)?;
    }
    Ok(())
}

fn compared() -> Result<(), Failed> {
    let path = place("compared")?;
    let folders = [place("one")?, place("other")?];
    for (folder, name) in folders.iter().zip(["control", "without-control"]) {
        let played = fixture::one(name);
        let mut writing = Folder::create(folder, played.run.about.started_unix_secs)?;
        played.write(&mut writing)?;
        writing.finish(&played.run, &played.whole)?;
    }
    let comparison = report::compare(&folders, &path)?;
    whole(&comparison.page, 1280, 4)
}

/// The other tests could not fail if Chromium did not tell.
fn noticed() -> Result<(), Failed> {
    let path = place("broken")?;
    fs::create_dir_all(&path)?;
    let page = path.join("broken.html");
    let cases = [
        ("<p style='width: 3000px'>wide</p>", "wider"),
        ("<img src='missing.png'>", "asked for"),
        ("<svg><text x='9' y='20'>one</text><text x='9' y='22'>other</text></svg>", "covers"),
        ("<script>console.error('wrong')</script>", "complains"),
    ];
    for (body, expected) in cases {
        fs::write(&page, format!("<!doctype html><html><body>{body}</body></html>"))?;
        let told =
            whole(&page, 1280, 0).err().and_then(|failed| failed.message().map(str::to_owned));
        if !told.as_ref().is_some_and(|told| told.contains(expected)) {
            return Err(format!("{body} was not noticed, but: {told:?}").into());
        }
    }
    Ok(())
}

/// Opens a page in a window of this width: it must ask for nothing, complain of nothing and have all of its plots, legible.
fn whole(page: &Path, width: u32, plots: usize) -> Result<(), Failed> {
    let probed = page.with_file_name(format!("probed-{width}.html"));
    fs::write(&probed, fs::read_to_string(page)?.replace("</body>", PROBE))?;
    let output = chromium(&probed, width)?;
    let dom = String::from_utf8(output.stdout)?;
    let log = String::from_utf8_lossy(&output.stderr);
    if let Some(complaint) = log.lines().find(|line| line.contains("CONSOLE")) {
        return Err(format!("the page complains: {complaint}").into());
    }
    let told = |name: &str| {
        let from = dom.split_once(&format!("data-{name}=\""));
        let value =
            from.and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value.to_owned());
        value.ok_or_else(|| Failed::from(format!("the page was not loaded to its end: {log}")))
    };
    let (covered, loads, drawn) = (told("covered")?, told("loads")?, told("plots")?);
    if !covered.is_empty() {
        return Err(format!("{width} wide, a label covers another: {covered}").into());
    }
    if !loads.is_empty() {
        return Err(format!("the page asked for {loads}").into());
    }
    if told("too-wide")? != "false" {
        return Err(format!("the page is wider than {width}").into());
    }
    if drawn != plots.to_string() {
        return Err(format!("{drawn} plots, expected {plots}").into());
    }
    Ok(())
}

/// Headless, and cut off from every network.
fn chromium(page: &Path, width: u32) -> Result<Output, Failed> {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium");
    let output = Command::new("timeout")
        .args(["60", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()))
        .output()?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(format!("chromium ended with {}: {log}", output.status).into());
    }
    Ok(output)
}

fn read(name: &str, python: Option<&Path>) -> Result<(), Failed> {
    let python = python.ok_or("HdrHistogram's Python package is not installed")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers/folder.py");
    let output = Command::new(python).arg(script).arg(folder(name)?).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}
