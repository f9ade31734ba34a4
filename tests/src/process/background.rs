//! A client that runs beside a server for a while: started with what it prints in a file, told to end, and never left behind. It knows
//! nothing of what it runs.

use super::wait;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The longest that a client may live, whatever becomes of the test.
const LIFE_SECS: &str = "120";

/// A running program with all that it forks. It is ended when it is dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Background {
    /// Starts a program in a folder.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(name: &str, arguments: &[&str], folder: &Path) -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
            return Err(format!(
                "{name} is not installed; `tests/run setup` installs what the tests need"
            ));
        }
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::create(&log).map_err(|e| e.to_string())?;
        // timeout leads a process group of its own and hands on the signals it gets.
        let child = Command::new("timeout")
            .args(["--kill-after=5", LIFE_SECS, name])
            .args(arguments)
            .current_dir(folder)
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(|e| e.to_string())?)
            .stderr(file)
            .spawn()
            .map_err(|e| format!("timeout: {e}"))?;
        Ok(Background { child, name: name.to_owned(), log })
    }

    /// Everything it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        let printed = fs::read(&self.log).unwrap_or_default();
        format!("{} said:\n{}", self.name, String::from_utf8_lossy(&printed))
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        kill(name, &self.child.id().to_string());
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus, String> {
        wait(&mut self.child, at_most)?
            .ok_or_else(|| format!("it still runs after {at_most:?}; {}", self.log()))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
            if !matches!(wait(&mut self.child, Duration::from_secs(3)), Ok(Some(_))) {
                kill("KILL", &format!("-{}", self.child.id()));
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

fn kill(signal: &str, whom: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {whom}")]).status();
}
