//! SIGHUP: reads again what can change while the node serves. What can't be read stays as it was; nothing is half-changed.

use crate::config::{Config, Machine, Problems, Source};
use crate::control::{Admin, Token};
use crate::subscribers;
use shards::shard::Command;
use std::path::Path;
use std::sync::Arc;
use tracing::{info, warn};

/// What the node runs on, to be compared with and replaced.
#[derive(Debug)]
pub struct Reload<'c> {
    /// The configuration it was started with.
    pub running: &'c Config,
    /// The key that hides the names of subscribers.
    pub names: [u8; 16],
    /// The token of the admin address.
    pub token: Option<Arc<Token>>,
    /// Through which the cores are told.
    pub admin: &'c Admin,
}

impl Reload<'_> {
    /// Reloads, and logs what came of it.
    pub fn run(&self) {
        match self.read() {
            Ok(lines) => lines.iter().for_each(|line| info!("SIGHUP: {line}")),
            Err(line) => warn!("SIGHUP: {line}; everything stays as it was"),
        }
    }

    /// All that is new is read before any of it is put in the place of the old.
    fn read(&self) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        if let Source::File(file) = &self.running.source {
            // A file that would not start is not the moment to change anything.
            let written = read_again(file)?;
            if written != *self.running {
                lines.push(format!("{} has changed, which takes a restart", file.display()));
            }
        }
        let loaded = subscribers::load(self.running, self.names)?;
        if let Some(token) = &self.token {
            let changed = token.reload().map_err(|error| format!("the admin token: {error}"))?;
            let what = if changed { "has changed" } else { "is as it was" };
            lines.push(format!("the admin token {what}"));
        }
        if let Some(loaded) = &loaded {
            let told = self.admin.ask_all(|| Command::Subscribers(Arc::clone(&loaded.subscribers)));
            lines.extend(loaded.remarks());
            lines.push(match told {
                Ok(()) => format!("{loaded}, in {:.1} s", loaded.took.as_secs_f64()),
                Err(unanswered) => format!("{unanswered}: it may know the subscribers before only"),
            });
        }
        if self.token.is_none() && loaded.is_none() {
            lines.push(
                "there is neither auth.subscribers nor admin.token_file, which is what is reloaded"
                    .to_owned(),
            );
        }
        Ok(lines)
    }
}

fn read_again(file: &Path) -> Result<Config, String> {
    Config::load(file, &Machine::this()).map_err(|Problems { list, .. }| {
        let first = list.first().map_or_else(String::new, |problem| {
            let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
            format!("{}{line}: {}: {}", file.display(), problem.key, problem.message)
        });
        match list.len() {
            1 => first,
            count => format!("{first} (and {} more, see seawall check)", count - 1),
        }
    })
}
