//! `floods`: what floods of garbage and of strangers cost the server, and what the phones that it serves notice meanwhile.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::{Extent, Flood, Flooded, Generator, Pace, Payload, Plan, Population, Report, Workload};
use clap::Parser;
use perf::servers::{self, DOMAIN, Place, Role, Server, Task};

/// The phones: how many, and from which ports they speak.
const PHONES: u32 = 20_000;
const PHONE_PORTS: u16 = 4;
const FIRST_PHONE_PORT: u16 = 20_000;

/// Whoever floods: so many that nobody of them comes twice, and four of them behind each address and port.
const STRANGERS: u32 = 400_000_000;
const SHARING: u32 = 4;
const FLOOD_PORTS: u16 = 8;
const FIRST_FLOOD_PORT: u16 = 21_000;

/// Where floods go for comparison: a socket that nobody reads.
const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5069);

/// Who guesses at passwords: that many, so that each has a nonce of its own before it begins.
const GUESSERS: u32 = 20_000;

/// Floods a server while phones refresh their registrations, and prints what each flood cost and what the phones noticed.
///
/// The server has a CPU of its own; phones and flood share another and sleep between looks. How much of what the phones notice is
/// owed to that, the rows show in which the same flood goes to a socket that nobody reads. Phones send nothing twice, so what
/// is lost once stays unanswered.
#[derive(Parser)]
struct Arguments {
    /// Floods to try, of: sink, junk, malformed, strangers, and with --digest guesses, unknown.
    #[arg(long, value_delimiter = ',', default_value = "sink,junk,malformed,strangers")]
    floods: Vec<Kind>,
    /// Let the server ask for digest credentials. The phones have a nonce each.
    #[arg(long)]
    digest: bool,
    /// Datagrams a second of each.
    #[arg(long, value_delimiter = ',', default_value = "20000,100000,300000")]
    rates: Vec<u32>,
    /// REGISTERs a second of the phones.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    phones_rate: u32,
    /// Measured seconds of each row.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The server's CPU.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The CPU of the phones and the flood.
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
    /// Folder with built programs to use, instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// A flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Junk to a socket that nobody reads, so that only the phones' own CPU is flooded.
    Sink,
    /// Datagrams that begin like no message.
    Junk,
    /// REGISTERs that get a 400.
    Malformed,
    /// Sound REGISTERs, each of another address-of-record.
    Strangers,
    /// REGISTERs of the phones' users with good nonces and wrong responses.
    Guesses,
    /// The same of users whom nobody knows.
    Unknown,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::Sink => "junk, to nobody",
            Kind::Junk => "junk",
            Kind::Malformed => "malformed REGISTERs",
            Kind::Strangers => "REGISTERs of strangers",
            Kind::Guesses => "wrong passwords",
            Kind::Unknown => "passwords of unknown users",
        }
    }

    fn payload(self) -> Payload {
        match self {
            Kind::Sink | Kind::Junk => Payload::Junk,
            Kind::Malformed => Payload::Malformed,
            Kind::Strangers => Payload::Register,
            Kind::Guesses | Kind::Unknown => Payload::Guess,
        }
    }

    fn target(self) -> SocketAddrV4 {
        match self {
            Kind::Sink => SINK,
            Kind::Junk | Kind::Malformed | Kind::Strangers | Kind::Guesses | Kind::Unknown => {
                Server::Seawall.address()
            }
        }
    }

    fn population(self) -> Population {
        let size = if self.payload() == Payload::Guess { GUESSERS } else { STRANGERS };
        let first = if self == Kind::Unknown { PHONES } else { 0 };
        Population::new(size, FLOOD_PORTS, u32::MAX).sharing(SHARING).starting_at(first)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floods: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let place = Place::prepared(arguments.programs.as_deref())?;
    // What is started from here inherits it.
    servers::stay_on(arguments.generator_cpu)?;
    let guesses = arguments.floods.iter().any(|kind| kind.payload() == Payload::Guess);
    if guesses && !arguments.digest {
        return Err("guesses and unknown need --digest".into());
    }
    let _sink = UdpSocket::bind(SINK)?;
    println!(
        "{PHONES} phones refresh {} times a second; {} s a row\n\n\
         | flood | sent/s | answered | dropped by the kernel | server's CPU | phones answered | p50 us | p99 us |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |",
        arguments.phones_rate, arguments.seconds
    );
    row(&place, arguments, None)?;
    for &kind in &arguments.floods {
        for &rate in &arguments.rates {
            row(&place, arguments, Some((kind, rate)))?;
        }
    }
    std::fs::remove_dir_all(&place.folder)?;
    Ok(())
}

/// Measures one flood and prints its line. The server is new, so that no flood finds what another has left.
fn row(
    place: &Place,
    arguments: &Arguments,
    flood: Option<(Kind, u32)>,
) -> Result<(), Box<dyn Error>> {
    let population = Population::new(PHONES, PHONE_PORTS, u32::MAX);
    let users = arguments.digest.then_some(&population);
    let task = Task { bindings: 1_100_000, users, untouched: false, role: Role::Registrar };
    let process = Server::Seawall.start(place, arguments.server_cpu, task)?;
    let target = Server::Seawall.address();
    let mut phones = Generator::open(target, DOMAIN, population.clone(), FIRST_PHONE_PORT)?;
    let all = Extent::Requests(PHONES.into());
    let (fills, refreshes) = if arguments.digest {
        (Workload::RegisterDigest, Workload::RegisterDigest)
    } else {
        (Workload::RegisterInitial, Workload::RegisterRefresh)
    };
    let filled = phones.run(&Plan::new(fills, Pace::Closed { window: 64 }, all))?;
    if !filled.counts.flawless() {
        return Err(format!("Seawall could not be filled:\n{filled}").into());
    }
    let time = Duration::try_from_secs_f64(arguments.seconds)?;
    let pace = Pace::Open { rate: arguments.phones_rate };
    let mut plan = Plan::new(refreshes, pace, Extent::For(time));
    plan.server_pid = Some(process.pid());
    plan.sleeps = true;
    plan.round = Duration::from_micros(100);
    let mut flooding = flood.map(|(kind, _)| prepare(kind)).transpose()?;
    let (flooded, report) = std::thread::scope(|scope| {
        let server_pid = process.pid();
        // It begins before the phones are measured, and goes on until they are done.
        let flooding = flooding.as_mut().zip(flood).map(|(generator, (kind, rate))| {
            let time = time + plan_margin();
            let flood = Flood { payload: kind.payload(), rate, time, sleeps: true, server_pid };
            scope.spawn(move || generator.flood(&flood))
        });
        let report = phones.run(&plan);
        let flooded = flooding.map(|thread| thread.join().expect("a flood does not panic"));
        (flooded.transpose(), report)
    });
    print(flood, &flooded?.unwrap_or_default(), &report?);
    Ok(())
}

/// What the phones take besides their measured time: their warm-up.
fn plan_margin() -> Duration {
    Duration::from_millis(700)
}

/// Whoever sends a flood; who guesses has got a nonce for each guess at another user.
fn prepare(kind: Kind) -> Result<Generator, Box<dyn Error>> {
    let population = kind.population();
    if kind.payload() != Payload::Guess {
        // The server's own address is a domain of its own: strangers are nobody of those who are registered.
        return Ok(Generator::open(kind.target(), "127.0.0.1", population, FIRST_FLOOD_PORT)?);
    }
    let mut generator =
        Generator::open(kind.target(), DOMAIN, population, FIRST_FLOOD_PORT)?.guessing();
    let once = Extent::Requests(GUESSERS.into());
    let pace = Pace::Closed { window: 64 };
    let report = generator.run(&Plan::new(Workload::RegisterChallenged, pace, once))?;
    if report.counts.challenged != u64::from(GUESSERS) || report.counts.answered > 0 {
        return Err(format!("guesses are not treated as such:\n{report}").into());
    }
    Ok(generator)
}

fn print(flood: Option<(Kind, u32)>, flooded: &Flooded, phones: &Report) {
    let seconds = flooded.seconds.max(1e-9);
    let share = |part: u64| 100.0 * part as f64 / (flooded.sent.max(1)) as f64;
    let title = flood.map_or("none", |(kind, _)| kind.title());
    let answered = 100.0 * phones.answered_per_second / phones.offered_per_second.max(1.0);
    println!(
        "| {title} | {:.0} | {:.0} % | {:.0} % | {:.0} % | {answered:.1} % | {:.0} | {:.0} |",
        flooded.sent as f64 / seconds,
        share(flooded.answered + flooded.other),
        share(flooded.server_drops),
        phones.server_cpu_percent.unwrap_or_default(),
        phones.latency.p50_us,
        phones.latency.p99_us,
    );
}
