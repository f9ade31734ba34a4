//! `storms`: the storm simulator's scenarios against Seawall and against Kamailio, stock and tuned, and the table of what became of them.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bench::Population;
use bench::storm::live::{Beginning, Mode, Observer, Options, Target, play};
use bench::storm::record::{Label, Run, Second};
use bench::storm::report::Folder;
use bench::storm::scenario::{Scenario, Wanted, builtin, read};
use bench::storm::tally::Tally;
use clap::{Parser, ValueEnum};
use perf::servers::{self, DOMAIN, Place, Role, Server, Storms, Task};

/// Accounts that Kamailio is given: as many as any run of it takes, with those that its capacity is measured with.
const ACCOUNTS: u32 = 1_600_000;
/// The share of what a core can finish that a tuned Kamailio lets in.
const LET_IN: f64 = 0.8;
/// What a tuned Kamailio spreads Retry-After over, in times of what it takes to register everybody.
const SPREAD: f64 = 1.25;

/// Plays scenarios against Seawall and Kamailio (installed from Debian if it is not here), one after the other, and prints a table. Each
/// run leaves its folder with a report.
///
/// A tuned Kamailio is told what it can do: the capacity that it has just shown. Close everything else first.
#[derive(Parser)]
struct Arguments {
    /// Scenarios, by name or file.
    #[arg(long, value_delimiter = ',', default_value = "S0,S1,S5,S7,S8,S9,S10,S12")]
    scenarios: Vec<String>,
    /// Servers.
    #[arg(long, value_delimiter = ',', default_value = "seawall,stock,tuned")]
    servers: Vec<Who>,
    /// `unscaled` at twice the capacity, `slowed` at ten times.
    #[arg(long, value_delimiter = ',', default_value = "unscaled,slowed")]
    modes: Vec<How>,
    /// Share of the user agents that honours Retry-After, where it is not to be the scenario's.
    #[arg(long)]
    p: Option<f64>,
    /// Part of each scenario's full size and duration.
    #[arg(long, default_value_t = 0.2)]
    scale: f64,
    /// Where the folders of the runs are made.
    #[arg(long, default_value = "storms")]
    out: PathBuf,
    /// All chance follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The servers' CPU.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The generator's CPU.
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
    /// Folder with built programs to use, instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Seawall.
    Seawall,
    /// Kamailio as it comes.
    Stock,
    /// Kamailio set up by somebody who has met storms.
    Tuned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// The server has a whole CPU, and first attempts come at twice its capacity.
    Unscaled,
    /// The server has a part of a CPU, and first attempts come at the scenario's multiple of its capacity.
    Slowed,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storms: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let place = Place::prepared(arguments.programs.as_deref())?;
    let kamailio = servers::kamailio_version()?;
    let scenarios = arguments
        .scenarios
        .iter()
        .map(|name| match builtin::find(name) {
            Some(found) => Ok(found.scenario()),
            None => read(Path::new(name)),
        })
        .collect::<Result<Vec<Scenario>, _>>()?;
    let mut table = Table::new(&kamailio);
    for &how in &arguments.modes {
        for scenario in &scenarios {
            for &who in &arguments.servers {
                let played = Playing { arguments, place: &place, scenario, who, how };
                match played.play() {
                    Ok(run) => table.add(who, how, &run),
                    // The others are played all the same.
                    Err(error) => eprintln!("{} {who:?} {how:?}: {error}", scenario.id),
                }
                println!("{}", table.text);
            }
        }
    }
    std::fs::remove_dir_all(&place.folder)?;
    Ok(())
}

/// One run.
struct Playing<'a> {
    arguments: &'a Arguments,
    place: &'a Place,
    scenario: &'a Scenario,
    who: Who,
    how: How,
}

impl Playing<'_> {
    fn play(&self) -> Result<Run, Box<dyn Error>> {
        let Playing { arguments, place, scenario, who, how } = *self;
        let mut scenario = scenario.clone();
        if let Some(p) = arguments.p {
            scenario.honour_retry_after = p;
        }
        let name = format!("{}-{who:?}-{how:?}-p{}", scenario.id, scenario.honour_retry_after);
        let folder = arguments.out.join(name.to_lowercase());
        std::fs::create_dir_all(&folder)?;
        let users = Population::new(ACCOUNTS, 1, u32::MAX);
        let users = scenario.registration.digest.then_some(&users);
        let role = match who {
            Who::Seawall => None,
            Who::Stock => Some(Storms::Stock),
            Who::Tuned => Some(Storms::Tuned),
        };
        let task = |role| Task { bindings: ACCOUNTS, users, untouched: false, role };
        let started = role
            .map(|role| {
                Server::Kamailio.start(place, arguments.server_cpu, task(Role::Storms(role)))
            })
            .transpose()?;
        let server = match &started {
            None => Target::Own(place.programs.join("seawall")),
            Some(process) => Target::There {
                address: Server::Kamailio.address(),
                pid: Some(process.pid()),
                metrics: None,
            },
        };
        let multiple = (how == How::Unscaled).then_some(2.0);
        let options = Options {
            wanted: Wanted { scale: arguments.scale, multiple },
            mode: if how == How::Unscaled { Mode::Unscaled } else { Mode::Slowed(None) },
            scenario,
            server,
            domain: DOMAIN.to_owned(),
            server_cpu: Some(arguments.server_cpu),
            generator_cpu: Some(arguments.generator_cpu),
            seed: arguments.seed,
            folder: folder.clone(),
            seconds_most: None,
            i_own_this_network: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        };
        let mut keeping = Keeping::new(&folder, who == Who::Tuned)?;
        let played = play(&options, &mut keeping)?;
        keeping.failed?;
        let report = keeping.folder.finish(&played.run, &played.tally)?;
        eprintln!("{}", report.display());
        Ok(played.run)
    }
}

/// Keeps what happens in a folder, and tells a tuned Kamailio what it can do, as the capacity run has shown.
struct Keeping {
    folder: Folder,
    is_tuned: bool,
    failed: Result<(), Box<dyn Error>>,
}

impl Keeping {
    fn new(folder: &Path, is_tuned: bool) -> std::io::Result<Keeping> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Keeping { folder: Folder::create(folder, now.as_secs())?, is_tuned, failed: Ok(()) })
    }
}

impl Observer for Keeping {
    fn note(&mut self, phase: &str) {
        eprintln!("{phase}");
    }

    fn begins(&mut self, beginning: &Beginning<'_>) {
        let Beginning { scenario, scaled, capacity, .. } = beginning;
        eprintln!(
            "{} {}: {} user agents at {:.1} times {:.0}/s",
            scenario.id, scenario.title, scaled.user_agents, scaled.multiple, capacity.kappa
        );
        if self.is_tuned {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to its range"
            )]
            let whole = |value: f64| value.round().clamp(1.0, f64::from(i32::MAX)) as u32;
            let all_secs = f64::from(scaled.user_agents) / capacity.kappa.max(1.0);
            self.failed =
                servers::tell_limit(whole(capacity.kappa * LET_IN), whole(all_secs * SPREAD));
        }
    }

    fn second(&mut self, second: &Second, tally: &Tally) {
        if self.failed.is_ok() {
            self.failed = self.folder.second(second, tally).map_err(Into::into);
        }
    }
}

/// The table, a line a run.
struct Table {
    text: String,
}

impl Table {
    fn new(kamailio: &str) -> Table {
        let text = format!(
            "{kamailio}\n\n\
             | run | server | how | kappa | multiple | goodput / kappa | first 5 s | registered | T99 / T_min | p99 of 200s | datagrams a phone | calls, emergency | valid |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        Table { text }
    }

    fn add(&mut self, who: Who, how: How, run: &Run) {
        let Run { outcome, scaled, capacity, .. } = run;
        let how = match (how, run.about.label) {
            (_, Label::Slowed { quota_us, period_us, .. }) => {
                format!("slowed to {quota_us} of {period_us} us")
            }
            (How::Unscaled | How::Slowed, Label::Unscaled | Label::Simulated) => {
                "unscaled".to_owned()
            }
        };
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let p99_ms = ["reg-200-new", "reg-refresh"]
            .iter()
            .filter_map(|class| outcome.latency.get(*class))
            .filter(|latency| latency.count > 0)
            .map(|latency| latency.p99_us / 1e3)
            .reduce(f64::max);
        let calls = [outcome.calls, outcome.emergency_calls].map(|calls| {
            let answered = calls.answered as f64 / calls.begun.max(1) as f64;
            if calls.begun == 0 { "-".to_owned() } else { format!("{:.1} %", answered * 100.0) }
        });
        let valid = match (run.invalid.first(), run.cut_short) {
            (None, false) => "yes".to_owned(),
            (None, true) => "cut short".to_owned(),
            (Some(why), _) => format!("no: {why}"),
        };
        let _infallible = writeln!(
            self.text,
            "| {} {} | {who:?} | {how} | {:.1}k/s | {:.1} | {} | {} | {} | {} | {} | {} | {} | {valid} |",
            run.scenario.id,
            run.scenario.title,
            capacity.kappa / 1e3,
            scaled.multiple,
            percent(outcome.goodput_share),
            percent(outcome.goodput_share_first_5_secs),
            percent(outcome.registered_share),
            or_none(outcome.t99_over_t_min.map(|ratio| format!("{ratio:.2}"))),
            or_none(p99_ms.map(|ms| format!("{ms:.0} ms"))),
            or_none(outcome.amplification.map(|times| format!("{times:.1}"))),
            calls.join(", "),
        );
    }
}
