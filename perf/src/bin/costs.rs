//! `costs`: what a datagram costs the server that is not simply answered where it arrived: moved
//! to another core, dropped by the kernel, or dropped after reading.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::{Extent, Flood, Generator, Pace, Payload, Plan, Population, Workload};
use clap::Parser;
use perf::process::Process;
use perf::servers::{self, Place, Role, Server, Task};
use perf::table::median;

/// User agents, and how many of them share an address and port pair.
const USER_AGENTS: u32 = 100_000;
const SHARING: u32 = 4;
const PORTS: u16 = 8;
const FIRST_PORT: u16 = 20_000;

/// Measures what moves and drops cost the server, in CPU time.
///
/// A move is measured on the echo, delivered to one core and answered by another, against the same
/// answered where it arrived; drops are measured on Seawall. Medians of rounds are printed.
#[derive(Parser)]
struct Arguments {
    /// Rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measured seconds of each.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The server's CPU.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The CPU of the second core of a move.
    #[arg(long, default_value_t = 1)]
    second_cpu: usize,
    /// The generator's CPU. Where it is the second core's too, the generator sleeps between looks.
    #[arg(long, default_value_t = 1)]
    generator_cpu: usize,
    /// Datagrams a second of the floods: more than the server can read.
    #[arg(long, default_value_t = 1_500_000)]
    flood: u32,
    /// Folder with built programs to use, instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("costs: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let place = Place::prepared(arguments.programs.as_deref())?;
    servers::stay_on(arguments.generator_cpu)?;
    let time = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut moves = Vec::new();
    let mut drops = Vec::new();
    for round in 0..arguments.rounds {
        let one = measure_move(&place, arguments, time)?;
        eprintln!("round {}: {one:.0?}", round + 1);
        moves.push(one);
        let one = measure_drops(&place, arguments, time)?;
        eprintln!("round {}: {one:.0?}", round + 1);
        drops.push(one);
    }
    print(arguments, &moves, &drops);
    std::fs::remove_dir_all(&place.folder)?;
    Ok(())
}

/// CPU time a request in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Move {
    home_ns: f64,
    moved_ns: f64,
}

/// CPU time a datagram in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Drops {
    answered_ns: f64,
    at_socket_ns: f64,
    junk_ns: f64,
    keep_alive_ns: f64,
}

fn measure_move(
    place: &Place,
    arguments: &Arguments,
    time: Duration,
) -> Result<Move, Box<dyn Error>> {
    let cost = |moved: bool| -> Result<f64, Box<dyn Error>> {
        let serves = Server::Echo.address();
        let cpus = format!("{},{}", arguments.server_cpu, arguments.second_cpu);
        let mut words = vec!["--listen".to_owned(), serves.to_string()];
        words.extend(["--reply-bytes".to_owned(), "350".to_owned()]);
        words.extend(["--cpu".to_owned(), arguments.server_cpu.to_string()]);
        if moved {
            words.extend(["--cpu".to_owned(), arguments.second_cpu.to_string()]);
            words.push("--moved".to_owned());
        }
        let program = place.programs.join("echo-server");
        let log = place.folder.join("move.log");
        let process = Process::start(&program, &words, &cpus, serves, &log)?;
        let mut generator = open(Server::Echo)?;
        // A window keeps both cores awake most of the time, as they are under load.
        let pace = Pace::Closed { window: 256 };
        let mut plan = Plan::new(Workload::EchoRegister, pace, Extent::For(time));
        plan.server_pid = Some(process.pid());
        plan.sleeps = arguments.generator_cpu == arguments.second_cpu;
        let report = generator.run(&plan)?;
        if !report.counts.flawless() {
            return Err(format!("the echo lost something:\n{report}").into());
        }
        Ok(report.server_cpu_us_per_request.ok_or("no CPU time")? * 1e3)
    };
    Ok(Move { home_ns: cost(false)?, moved_ns: cost(true)? })
}

fn measure_drops(
    place: &Place,
    arguments: &Arguments,
    time: Duration,
) -> Result<Drops, Box<dyn Error>> {
    let task = Task { bindings: 1_100_000, users: None, untouched: false, role: Role::Registrar };
    let process = Server::Seawall.start(place, arguments.server_cpu, task)?;
    let mut generator = open(Server::Seawall)?;
    let pace = Pace::Closed { window: 256 };
    let all = Extent::Requests(u64::from(USER_AGENTS));
    let filled = generator.run(&Plan::new(Workload::RegisterInitial, pace, all))?;
    if !filled.counts.flawless() {
        return Err(format!("Seawall could not be filled:\n{filled}").into());
    }
    let mut plan = Plan::new(Workload::RegisterRefresh, pace, Extent::For(time));
    plan.server_pid = Some(process.pid());
    let answered_ns = generator.run(&plan)?.server_cpu_us_per_request.ok_or("no CPU time")? * 1e3;
    let mut flood = |payload| {
        let rate = arguments.flood;
        let server_pid = process.pid();
        generator.flood(&Flood { payload, rate, time, sleeps: false, server_pid })
    };
    let storm = flood(Payload::Register)?;
    if storm.server_drops == 0 {
        return Err("the server kept up with the flood, so nothing was dropped".into());
    }
    // What is left of the CPU time when the answered have had theirs.
    let spent_on_drops = storm.server_cpu_ns as f64 - storm.answered as f64 * answered_ns;
    let mut read = |payload| -> Result<f64, Box<dyn Error>> {
        let flooded = flood(payload)?;
        let read = flooded.sent.saturating_sub(flooded.server_drops);
        Ok(flooded.server_cpu_ns as f64 / read.max(1) as f64)
    };
    Ok(Drops {
        answered_ns,
        at_socket_ns: spent_on_drops / storm.server_drops as f64,
        junk_ns: read(Payload::Junk)?,
        keep_alive_ns: read(Payload::KeepAlive)?,
    })
}

fn open(server: Server) -> std::io::Result<Generator> {
    let population = Population::new(USER_AGENTS, PORTS, u32::MAX).sharing(SHARING);
    Generator::open(server.address(), "sip.test", population, FIRST_PORT)
}

fn print(arguments: &Arguments, moves: &[Move], drops: &[Drops]) {
    let of_moves = |f: fn(&Move) -> f64| median(moves.iter().map(f).collect());
    let of_drops = |f: fn(&Drops) -> f64| median(drops.iter().map(f).collect());
    println!("Medians of {} rounds, {} s each\n", arguments.rounds, arguments.seconds);
    println!("| CPU time of the server | ns |\n| --- | --- |");
    println!("| an echo, answered where it arrived | {:.0} |", of_moves(|m| m.home_ns));
    println!("| an echo, moved to another core | {:.0} |", of_moves(|m| m.moved_ns));
    println!("| **a move** | {:.0} |", of_moves(|m| m.moved_ns - m.home_ns));
    println!("| a REGISTER refresh, answered | {:.0} |", of_drops(|d| d.answered_ns));
    println!("| **a REGISTER dropped at the socket** | {:.0} |", of_drops(|d| d.at_socket_ns));
    println!("| **junk of its size, dropped after reading** | {:.0} |", of_drops(|d| d.junk_ns));
    println!("| a keep-alive of four bytes, likewise | {:.0} |", of_drops(|d| d.keep_alive_ns));
    if arguments.generator_cpu == arguments.second_cpu {
        println!(
            "\nThe generator shared the second core's CPU, so a move includes more sleeping and \
             waking than on a machine with a CPU for each."
        );
    }
}
