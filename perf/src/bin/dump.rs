//! `dump`: what phones notice while somebody reads all bindings over the admin address.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bench::{Extent, Generator, Latency, Pace, Plan, Population, Workload};
use clap::Parser;
use perf::process::Process;
use perf::servers::{self, Place};

const PORTS: u16 = 8;
const FIRST_PORT: u16 = 20_000;
/// User agents that share an address and port pair.
const SHARING: u32 = 4;
const SERVES: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5066);
const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8066);

/// Registers many user agents, and measures the latency of REGISTER at a fixed rate first alone and
/// then while `ul.dump` is read again and again.
#[derive(Parser)]
struct Arguments {
    /// Addresses-of-record, each with one binding.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    aors: u32,
    /// REGISTER requests a second.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Measured seconds of each run.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Runs of each, alternating.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The server's CPU, which its control thread shares with its worker: the worst case.
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dump: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let place = Place::prepared(arguments.programs.as_deref())?;
    let process = start(&place, arguments)?;
    // Where the reader runs is left to the kernel; the generator has a CPU for itself.
    let reader = Reader::start(ADMIN.into());
    servers::stay_on(arguments.generator_cpu)?;
    let population = Population::new(arguments.aors, PORTS, u32::MAX).sharing(SHARING);
    let mut generator = Generator::open(SERVES, "sip.test", population, FIRST_PORT)?;
    let everybody = Extent::Requests(u64::from(arguments.aors));
    let pace = Pace::Closed { window: 256 };
    let filled = generator.run(&Plan::new(Workload::RegisterInitial, pace, everybody))?;
    if !filled.counts.flawless() {
        return Err(format!("not everybody could be registered:\n{filled}").into());
    }
    let time = Extent::For(Duration::try_from_secs_f64(arguments.seconds)?);
    let mut plan = Plan::new(Workload::RegisterRefresh, Pace::Open { rate: arguments.rate }, time);
    plan.server_pid = Some(process.pid());
    println!(
        "{} addresses-of-record, {} REGISTER/s, worker and control thread on CPU {}",
        arguments.aors, arguments.rate, arguments.server_cpu
    );
    for _ in 0..arguments.rounds {
        for is_read in [false, true] {
            reader.wanted.store(is_read, Ordering::Relaxed);
            if is_read {
                // The first pages are under way when the measuring begins.
                thread::sleep(Duration::from_millis(200));
            }
            let report = generator.run(&plan)?;
            reader.wanted.store(false, Ordering::Relaxed);
            let Latency { p50_us, p99_us, p999_us, max_us, .. } = report.latency;
            println!(
                "{:<15} p50 {p50_us:6.0} us  p99 {p99_us:6.0} us  p99.9 {p999_us:6.0} us  max {max_us:6.0} us  lost {}{}",
                if is_read { "while dumping" } else { "alone" },
                report.counts.lost,
                if report.disturbed() { "  (the generator was disturbed)" } else { "" },
            );
            if is_read {
                for dump in reader.finished() {
                    println!("  {dump}");
                }
            }
        }
    }
    drop(process);
    std::fs::remove_dir_all(&place.folder)?;
    Ok(())
}

fn start(place: &Place, arguments: &Arguments) -> Result<Process, Box<dyn Error>> {
    let file = place.folder.join("dump.toml");
    let text = format!(
        "[node]\ncpus = [{}]\n[[listen]]\nudp = \"{SERVES}\"\n[domains]\nlocal = [\"sip.test\"]\n\
         [location]\nmax_bindings = {}\n[admin]\nlisten = \"{ADMIN}\"\n",
        arguments.server_cpu, arguments.aors
    );
    std::fs::write(&file, text)?;
    let words = ["run", "--config", file.to_str().ok_or("a path that is not UTF-8")?];
    let log = place.folder.join("dump.log");
    let cpu = arguments.server_cpu.to_string();
    Process::start(&place.programs.join("seawall"), &words.map(str::to_owned), &cpu, SERVES, &log)
}

/// A thread that dumps again and again while that is wanted.
struct Reader {
    wanted: Arc<AtomicBool>,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Reader {
    fn start(admin: SocketAddr) -> Reader {
        let (told, lines) = std::sync::mpsc::channel();
        let wanted = Arc::new(AtomicBool::new(false));
        let reader = Reader { wanted: Arc::clone(&wanted), lines };
        // It ends with the process.
        thread::spawn(move || {
            loop {
                if !wanted.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                let line = match dump(admin, &wanted) {
                    Ok(Some(line)) => line,
                    Ok(None) => continue,
                    Err(error) => format!("a dump failed: {error}"),
                };
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        reader
    }

    /// What is known of the dumps that have ended.
    fn finished(&self) -> Vec<String> {
        // One that is no longer wanted ends within moments.
        thread::sleep(Duration::from_millis(500));
        self.lines.try_iter().collect()
    }
}

/// Reads a dump to its end, or until nobody wants it any more.
fn dump(admin: SocketAddr, wanted: &AtomicBool) -> std::io::Result<Option<String>> {
    let call = r#"{"jsonrpc":"2.0","method":"ul.dump","id":1}"#;
    let started = Instant::now();
    let mut stream = TcpStream::connect(admin)?;
    write!(
        stream,
        "POST /RPC HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    )?;
    let (mut buffer, mut bytes, mut end) = (vec![0; 1 << 18], 0, Vec::new());
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        bytes += length;
        end.extend_from_slice(&buffer[..length]);
        end.drain(..end.len().saturating_sub(256));
        if !wanted.load(Ordering::Relaxed) {
            return Ok(Some(format!("a dump cut short after {} MB", bytes / 1_000_000)));
        }
    }
    let end = String::from_utf8_lossy(&end);
    let records = end.split("\"Records\":").nth(1).and_then(|rest| rest.split(',').next());
    Ok(records.filter(|_| end.ends_with("0\r\n\r\n")).map(|records| {
        let megabytes = bytes / 1_000_000;
        format!(
            "a dump of {records} addresses-of-record, {megabytes} MB, in {:.1?}",
            started.elapsed()
        )
    }))
}
