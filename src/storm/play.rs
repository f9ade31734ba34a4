//! `seawall storm S1`: plays a scenario, shows how it goes, and leaves a report. What is measured, and how, is the simulator's.

use super::{Amount, Done, Failed, named, part, positive, share};
use bench::storm::live::{self, Beginning, Mode, Observer, Options, Target};
use bench::storm::record::Second;
use bench::storm::report::{Folder, RUN, SERIES};
use bench::storm::scenario::Nonces;
use bench::storm::tally::Tally;
use bench::storm::view::{Playing, Progress, View};
use clap::Args;
use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is played, against whom, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct Play {
    /// A scenario's name as in S1 or power-step, or a file.
    #[arg(required = true)]
    scenario: Option<String>,
    #[command(flatten)]
    amount: Amount,
    /// Share of phones that wait as long as a Retry-After says, from 0 to 1, in place of the scenario's.
    #[arg(short = 'p', long, value_name = "SHARE", value_parser = share)]
    honour_retry_after: Option<f64>,
    /// Ends the run so many seconds after the start of the arrival.
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    at_most: Option<f64>,
    /// Where the report goes [default: storm-S1-DATE-TIME in this folder].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Plays against the SIP server there over UDP. Without it, against a Seawall of its own that ends with the run.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, help_heading = "Server")]
    target: Option<SocketAddrV4>,
    /// Process of the target: its CPU time is told, and it can be slowed.
    #[arg(long, value_name = "PID", requires = "target", help_heading = "Server")]
    server_pid: Option<u32>,
    /// Metrics of the target in Prometheus's format, as in 127.0.0.1:8060.
    #[arg(long, value_name = "ADDRESS", requires = "target", help_heading = "Server")]
    metrics: Option<SocketAddr>,
    /// Domain of the phones, and realm of their passwords; see `storm subscribers`.
    #[arg(long, default_value = "sip.test", help_heading = "Server")]
    domain: String,
    /// The server challenges nobody, whatever the scenario says.
    #[arg(long, help_heading = "Server")]
    without_digest: bool,
    /// The target is neither on this machine nor in a private network, but in one that you may flood.
    #[arg(long, requires = "target", help_heading = "Server")]
    i_own_this_network: bool,

    /// The server has its CPU to itself. The multiple is what the generator reaches.
    #[arg(long, conflicts_with = "slowed", help_heading = "Speed")]
    unscaled: bool,
    /// The server gets this part of its CPU, so that the generator reaches any multiple; without a part, the largest that
    /// does. Costs keep their proportions. What is chosen by default is one of the two.
    #[arg(long, value_name = "PART", num_args = 0..=1, require_equals = true, value_parser = part, help_heading = "Speed")]
    slowed: Option<Option<f64>>,
    /// CPU of the server, if it is one of our own.
    #[arg(long, value_name = "CPU", help_heading = "Speed")]
    server_cpu: Option<usize>,
    /// CPU of the generator.
    #[arg(long, value_name = "CPU", help_heading = "Speed")]
    generator_cpu: Option<usize>,
    /// Of all that is random; a new one each time, told in run.json.
    #[arg(long, help_heading = "Speed")]
    seed: Option<u64>,
}

/// Plays, and prints the summary.
pub(super) fn play(play: &Play) -> Result<Done, Failed> {
    let (mut scenario, _) = named(play.scenario.as_deref().unwrap_or_default())?;
    scenario.honour_retry_after = play.honour_retry_after.unwrap_or(scenario.honour_retry_after);
    if play.without_digest {
        scenario.registration.digest = false;
        scenario.population.nonces = Nonces::None;
        if let Some(hostile) = &mut scenario.hostile {
            hostile.guessing_share = 0.0;
        }
    }
    let server = match play.target {
        Some(address) => Target::There { address, pid: play.server_pid, metrics: play.metrics },
        None => Target::Own(std::env::current_exe().map_err(environment("this executable"))?),
    };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let folder = play
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(Folder::name(&scenario.id, since_1970.as_secs())));
    if folder.join(SERIES).exists() || folder.join(RUN).exists() {
        let message = format!("{}: holds a run already, expected a new folder", folder.display());
        return Err(Failed::Usage(message));
    }
    let is_new = !folder.exists();
    fs::create_dir_all(&folder).map_err(environment(&folder.display().to_string()))?;
    let options = Options {
        scenario,
        wanted: play.amount.wanted(),
        mode: match play.slowed {
            Some(share) => Mode::Slowed(share),
            None if play.unscaled => Mode::Unscaled,
            None => Mode::Auto,
        },
        server,
        domain: play.domain.clone(),
        server_cpu: play.server_cpu,
        generator_cpu: play.generator_cpu,
        seed: play.seed.unwrap_or(since_1970.as_secs()),
        folder: folder.clone(),
        seconds_most: play.at_most,
        i_own_this_network: play.i_own_this_network,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
    };
    let mut told = Told {
        view: View::new(),
        path: folder.clone(),
        folder: None,
        playing: Playing::default(),
        ends_secs: 0.0,
        seconds: Vec::new(),
        unwritten: None,
    };
    let played = live::play(&options, &mut told).map_err(|error| {
        // Of a run that never began there is nothing to keep, unless the server left a word about why.
        let _ = if is_new && matches!(error, live::Error::Interrupted) {
            fs::remove_dir_all(&folder)
        } else {
            fs::remove_dir(&folder)
        };
        Failed::Environment(error.to_string())
    })?;
    if let Some(error) = told.unwritten {
        return Err(environment(&folder.display().to_string())(error));
    }
    let Some(kept) = told.folder else {
        let message = "the run ended before it began: there is nothing to report".to_owned();
        return Err(Failed::Environment(message));
    };
    let page = kept
        .finish(&played.run, &played.tally)
        .map_err(environment(&folder.display().to_string()))?;
    told.view.finish(&played.run, &page);
    let believed = played.run.invalid.is_empty() && !played.run.cut_short;
    Ok(if believed { Done::Whole } else { Done::Doubtful })
}

/// Shows what happens and writes it down.
struct Told {
    view: View,
    path: PathBuf,
    folder: Option<Folder>,
    playing: Playing,
    ends_secs: f64,
    seconds: Vec<Second>,
    /// Why the folder is not whole. The storm goes on, as it can't be stopped from here, and then that is told.
    unwritten: Option<io::Error>,
}

impl Observer for Told {
    fn note(&mut self, phase: &str) {
        self.view.note(phase);
    }

    fn begins(&mut self, beginning: &Beginning<'_>) {
        let Beginning { about, scenario, scaled, capacity } = beginning;
        self.playing = Playing {
            title: format!("{} {}", scenario.id, scenario.title),
            user_agents: scaled.user_agents,
            kappa: capacity.kappa,
            before_secs: scaled.before_secs,
            t_min_secs: scaled.t_min_secs,
        };
        self.ends_secs = scaled.end_secs + scaled.after_secs;
        match Folder::create(&self.path, about.started_unix_secs) {
            Ok(folder) => self.folder = Some(folder),
            Err(error) => self.unwritten = Some(error),
        }
    }

    fn second(&mut self, second: &Second, tally: &Tally) {
        if let Some(folder) = &mut self.folder
            && let Err(error) = folder.second(second, tally)
        {
            self.unwritten.get_or_insert(error);
        }
        self.seconds.push(second.clone());
        self.view.second(&Progress {
            playing: &self.playing,
            seconds: &self.seconds,
            ends_secs: self.ends_secs,
        });
    }
}

fn environment(what: &str) -> impl Fn(io::Error) -> Failed {
    move |error| Failed::Environment(format!("{what}: {error}"))
}

/// An address, or a name that has one, with a port.
fn address(text: &str) -> Result<SocketAddrV4, String> {
    let expected =
        "expected an IPv4 address or a name that has one, with a port, as in 127.0.0.1:5060";
    let found = text.to_socket_addrs().map_err(|error| format!("{error}, {expected}"))?;
    let mut found = found.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    found.next().ok_or_else(|| expected.to_owned())
}
