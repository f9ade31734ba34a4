//! The executable: it turns what was asked on the command line into an exit code.

use clap::Parser;
use seawall::cli::{
    Cli, Command, EXIT_CONFIGURATION, EXIT_DOUBTFUL, EXIT_ENVIRONMENT, check, configuration,
};
use seawall::config::Machine;
use seawall::ctl::{self, Failed};
use seawall::serve::{Delivery, serve};
use seawall::storm;
use seawall::sys::memory::LargeInHugePages;
use std::io::Write;
use std::process::ExitCode;

/// The tables are large and read all over.
#[global_allocator]
static MEMORY: LargeInHugePages = LargeInHugePages;

fn main() -> ExitCode {
    if let Some(missing) = seawall::probe::missing_cpu_feature() {
        return fail(EXIT_ENVIRONMENT, &missing);
    }
    let machine = Machine::this();
    match Cli::parse().command() {
        Command::Run(run) => match configuration(&run, &machine) {
            Ok(config) => match serve(&config, Delivery::ToHomes) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(EXIT_ENVIRONMENT, &error),
            },
            Err(problems) => fail(EXIT_CONFIGURATION, &problems),
        },
        Command::Check { file } => match check(&file, &machine) {
            // Whoever closed our output early has read enough.
            Ok(text) => std::io::stdout()
                .write_all(text.as_bytes())
                .map_or(ExitCode::SUCCESS, |()| ExitCode::SUCCESS),
            Err(problems) => fail(EXIT_CONFIGURATION, &problems),
        },
        Command::Ctl(ctl) => match ctl::run(&ctl, &machine) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed @ Failed::Usage(_)) => fail(EXIT_CONFIGURATION, &failed),
            Err(failed @ Failed::Asking(_)) => fail(EXIT_ENVIRONMENT, &failed),
        },
        Command::Storm(storm) => match storm::run(&storm) {
            Ok(storm::Done::Whole) => ExitCode::SUCCESS,
            Ok(storm::Done::Doubtful) => ExitCode::from(EXIT_DOUBTFUL),
            Err(failed @ storm::Failed::Usage(_)) => fail(EXIT_CONFIGURATION, &failed),
            Err(failed @ storm::Failed::Environment(_)) => fail(EXIT_ENVIRONMENT, &failed),
        },
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(code)
}
