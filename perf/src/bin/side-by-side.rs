//! `side-by-side`: Seawall, Debian's Kamailio and a bare echo on one core each in turn, in
//! interleaved rounds, and the table of what they did.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use perf::rows::{Row, SESSIONS};
use perf::servers::{self, Place, Server};
use perf::table;
use perf::trial::{self, Measured, Setting};

/// Measures Seawall next to Kamailio (installed from Debian if it is not here) and an echo.
///
/// Each server gets one CPU and the generator another. Rounds are interleaved, their order is
/// rotated, and medians are printed. Close everything else first.
#[derive(Parser)]
struct Arguments {
    /// Rows to measure, by default all: refresh100k, refresh1m, initial1m, challenged100k, nonce100k, calls, options, latency50k.
    #[arg(long, value_delimiter = ',', value_parser = row)]
    rows: Vec<Row>,
    /// Servers to measure, by default all: echo, seawall, kamailio.
    #[arg(long, value_delimiter = ',', value_parser = server)]
    servers: Vec<Server>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds of each row and round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Requests, or calls, in flight in the closed loops.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// The servers' CPU.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The generator's CPU.
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
    /// Folder with built programs to use, instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Also write every round to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side-by-side: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = or_all(&arguments.rows, &Row::ALL);
    let servers = or_all(&arguments.servers, &Server::ALL);
    let place = Place::prepared(arguments.programs.as_deref())?;
    let kamailio = if servers.contains(&Server::Kamailio) {
        servers::kamailio_version()?
    } else {
        "no Kamailio".to_owned()
    };
    servers::stay_on(arguments.generator_cpu)?;
    let setting = Setting {
        place,
        server_cpu: arguments.server_cpu,
        window: arguments.window,
        time: Duration::try_from_secs_f64(arguments.seconds)?,
    };
    let mut measured = Vec::new();
    for round in 0..arguments.rounds {
        for session in SESSIONS {
            if !session.rows.iter().any(|row| rows.contains(row)) {
                continue;
            }
            for place in 0..servers.len() {
                let server = servers[(place + round as usize) % servers.len()];
                for one in trial::measure(server, session, &rows, &setting)? {
                    progress(round, &one);
                    measured.push(one);
                }
            }
        }
    }
    println!(
        "{}, {kamailio}, medians of {} interleaved rounds, {} s each\n",
        machine(),
        arguments.rounds,
        arguments.seconds
    );
    print!("{}", table::markdown(&measured));
    if let Some(file) = &arguments.json {
        std::fs::write(file, as_json(&measured)?)?;
    }
    std::fs::remove_dir_all(&setting.place.folder)?;
    Ok(())
}

fn progress(round: u32, one: &Measured) {
    let report = &one.report;
    eprintln!(
        "round {}, {}, {}: {:.1}k/s, {:.2} us CPU, p99 {:.0} us; generator {:.0} % busy{}",
        round + 1,
        one.row.key(),
        one.server.name(),
        report.rate() / 1e3,
        report.cpu_us(),
        report.latency().p99_us,
        report.generator_busy_percent(),
        match report.limit() {
            bench::Limit::NotTheGenerator => String::new(),
            bench::Limit::Generator(why) => format!(", the BOTTLENECK: {why}"),
        }
    );
}

fn as_json(measured: &[Measured]) -> Result<String, Box<dyn Error>> {
    let all: Vec<serde_json::Value> = measured
        .iter()
        .map(|m| {
            serde_json::json!({"row": m.row.key(), "server": m.server.name(), "report": m.report})
        })
        .collect();
    Ok(serde_json::to_string_pretty(&all)?)
}

/// CPU and kernel in a few words.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown CPU");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, Linux {}", model.trim_start_matches(['\t', ' ', ':']), kernel.trim())
}

fn or_all<T: Copy>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all.to_vec() } else { asked.to_vec() }
}

fn row(key: &str) -> Result<Row, String> {
    let known = || Row::ALL.map(Row::key).join(", ");
    Row::ALL
        .into_iter()
        .find(|row| row.key() == key)
        .ok_or_else(|| format!("no such row; there are {}", known()))
}

fn server(name: &str) -> Result<Server, String> {
    Server::ALL
        .into_iter()
        .find(|server| server.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| "no such server; there are echo, seawall, kamailio".to_owned())
}
