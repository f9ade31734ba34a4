//! `memory`: what a binding takes in memory: a node for a million bindings that holds them, less one for a thousand that holds
//! those.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::watch::Processes;
use bench::{Extent, Generator, Pace, Plan, Population, Workload};
use clap::Parser;
use perf::servers::{self, DOMAIN, Place, Role, Server, Task};

/// Bytes a binding at most, for Seawall.
const BOUND_BYTES: f64 = 240.0;

/// How many bindings the smaller node is for.
const FEW: u32 = 1_000;

/// Source ports of the generator, and the first of them.
const PORTS: u16 = 8;
const FIRST_PORT: u16 = 20_000;

/// Measures the memory of a binding with an address-of-record of 25 bytes, a contact of 45 and a Call-ID of 36, one for each
/// address-of-record.
///
/// Two nodes, one for many bindings and one for a thousand, answer the same number of REGISTERs, so that what does not depend on
/// how many bindings there are (code, completed transactions, buffers) is as full in both. The difference of their resident
/// memory (PSS: each page counts once) by the difference of their bindings is the figure. Exits with 1 where Seawall needs more
/// than 240 bytes.
#[derive(Parser)]
struct Arguments {
    /// Servers to measure: seawall, kamailio.
    #[arg(long, value_delimiter = ',', default_value = "seawall", value_parser = server)]
    servers: Vec<Server>,
    /// Bindings of the larger node.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    bindings: u32,
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

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether Seawall keeps to its bound.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let place = Place::prepared(arguments.programs.as_deref())?;
    if arguments.servers.contains(&Server::Kamailio) {
        servers::kamailio_version()?;
    }
    servers::stay_on(arguments.generator_cpu)?;
    let mut keeps = true;
    for &server in &arguments.servers {
        let requests = arguments.bindings;
        let many = resident(server, &place, arguments.server_cpu, arguments.bindings, requests)?;
        let few = resident(server, &place, arguments.server_cpu, FEW, requests)?;
        let each = (many as f64 - few as f64) / f64::from(arguments.bindings - FEW);
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{}: {:.1} MiB with {} bindings, {:.1} MiB with {FEW}: {each:.1} bytes a binding",
            server.name(),
            mebibytes(many),
            arguments.bindings,
            mebibytes(few),
        );
        if server == Server::Seawall && each > BOUND_BYTES {
            println!("that is more than {BOUND_BYTES:.0}");
            keeps = false;
        }
    }
    std::fs::remove_dir_all(&place.folder)?;
    Ok(keeps)
}

/// Resident bytes of a new server that is for so many `bindings`, holds them, and has answered `requests`.
fn resident(
    server: Server,
    place: &Place,
    cpu: usize,
    bindings: u32,
    requests: u32,
) -> Result<u64, Box<dyn Error>> {
    let task = Task { bindings, users: None, untouched: true, role: Role::Registrar };
    let process = server.start(place, cpu, task)?;
    let population = Population::new(bindings, PORTS, u32::MAX);
    let mut generator = Generator::open(server.address(), DOMAIN, population, FIRST_PORT)?;
    let first = (Workload::RegisterInitial, bindings);
    let again = (Workload::RegisterRefresh, requests - bindings);
    for (workload, count) in [first, again].into_iter().filter(|(_, count)| *count > 0) {
        let extent = Extent::Requests(u64::from(count));
        let report = generator.run(&Plan::new(workload, Pace::Closed { window: 256 }, extent))?;
        if !report.counts.flawless() {
            return Err(format!("{} answers wrongly:\n{report}", server.name()).into());
        }
    }
    Ok(Processes::under(process.pid())?.resident_bytes()?)
}

fn server(name: &str) -> Result<Server, String> {
    [Server::Seawall, Server::Kamailio]
        .into_iter()
        .find(|server| server.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| "no such server; there are seawall, kamailio".to_owned())
}
