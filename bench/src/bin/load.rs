//! `load`: SIP load from many user agents against a server on this machine.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench::{CallPlan, Extent, Generator, Pace, Plan, Population, Report, Ring, Workload};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sends SIP requests from many user agents, checks every answer, and says what it measured and
/// whether it was itself the limit.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure a server.
    Run(RunArguments),
    /// Measure a proxy with complete calls.
    Calls(CallsArguments),
    /// Measure the generator itself against a bare echo on another CPU.
    Headroom(HeadroomArguments),
    /// Serve a bare echo until killed.
    Echo(EchoArguments),
    /// Write the user agents as Seawall's file of subscribers, for the workloads with credentials.
    Subscribers(SubscribersArguments),
}

#[derive(Args)]
struct RunArguments {
    /// What the user agents ask for.
    #[arg(value_enum)]
    workload: WorkloadArgument,
    /// The server; IPv4 loopback.
    #[arg(long, default_value = "127.0.0.1:5060")]
    target: SocketAddrV4,
    /// Domain of the addresses-of-record.
    #[arg(long, default_value = "sip.test")]
    domain: String,
    /// Open loop: requests a second.
    #[arg(long, conflicts_with = "window", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Closed loop: requests in flight.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Number of user agents, each with an address-of-record and a Call-ID.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    aors: u32,
    /// Register everybody first, unmeasured.
    #[arg(long)]
    fill: bool,
    /// Measured time in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Send so many requests instead.
    #[arg(long, conflicts_with = "seconds")]
    count: Option<u64>,
    /// Unmeasured time at the start in seconds.
    #[arg(long)]
    warm_up: Option<f64>,
    /// Seconds after which an unanswered request counts as lost.
    #[arg(long, default_value_t = 2.0)]
    timeout: f64,
    /// The server's process id: reports its CPU time, that of its descendants included.
    #[arg(long)]
    pid: Option<u32>,
    /// First CSeq, at least 1000000000 (default: rises from run to run).
    #[arg(long)]
    cseq: Option<u32>,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
struct CallsArguments {
    /// The proxy; IPv4 loopback.
    #[arg(long, default_value = "127.0.0.1:5060")]
    target: SocketAddrV4,
    /// Domain of the addresses-of-record.
    #[arg(long, default_value = "sip.test")]
    domain: String,
    /// Number of user agents; each is called, and calls others.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    aors: u32,
    /// They are registered already.
    #[arg(long)]
    registered: bool,
    /// Open loop: calls a second.
    #[arg(long, conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Closed loop: calls in flight.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Measured time in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Make so many calls instead.
    #[arg(long, conflicts_with = "seconds")]
    count: Option<u64>,
    /// How long a callee rings, in milliseconds.
    #[arg(long, default_value_t = 0)]
    ring_ms: u64,
    /// Let so many calls ring at the same time; then answer every second one, and cancel the others.
    #[arg(long, conflicts_with_all = ["rate", "seconds", "count", "ring_ms"], value_parser = clap::value_parser!(u64).range(1..))]
    ringing: Option<u64>,
    /// T1 in milliseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    t1_ms: u64,
    /// The server is `echo-server --trying-bytes`, which shows what the generator can do.
    #[arg(long)]
    echo: bool,
    /// The server's process id: reports its CPU time, that of its descendants included.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
struct HeadroomArguments {
    /// Requests in flight.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// Measured time in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Number of user agents.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    aors: u32,
    /// CPU of the echo.
    #[arg(long, default_value_t = 0)]
    echo_cpu: usize,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args)]
struct EchoArguments {
    /// Where to serve.
    #[arg(long, default_value = "127.0.0.1:5060")]
    listen: SocketAddrV4,
    /// CPU to be pinned to.
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Args)]
struct SubscribersArguments {
    /// The file.
    file: std::path::PathBuf,
    /// Number of user agents.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    aors: u32,
    /// Domain of the addresses-of-record, and realm.
    #[arg(long, default_value = "sip.test")]
    domain: String,
}

#[derive(Args)]
struct PlaceArguments {
    /// CPU that the generator is pinned to.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Source ports.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    ports: u16,
    /// First source port (0: any that are free).
    #[arg(long, default_value_t = 20_000)]
    first_port: u16,
    /// Source addresses at most (1: all user agents behind one address).
    #[arg(long, default_value_t = u32::MAX)]
    addresses: u32,
    /// User agents behind each address and port pair; they speak together, which lets the
    /// generator send more.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sharing: u32,
    /// Shortest time between two looks at the sockets in microseconds.
    #[arg(long)]
    round: Option<u64>,
    /// Sleep between two looks instead of spinning, for servers that need this CPU too.
    #[arg(long)]
    sleeps: bool,
}

#[derive(Args)]
struct OutputArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Exit with 3 if the generator was the limit or a count is not as it should be.
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum WorkloadArgument {
    /// REGISTER in the order of numbers.
    RegisterInitial,
    /// REGISTER scattered over the population.
    RegisterRefresh,
    /// REGISTER without credentials, and again with them after the challenge.
    RegisterChallenged,
    /// REGISTER with credentials for a nonce that each user agent keeps.
    RegisterDigest,
    /// OPTIONS to the server itself.
    Options,
    /// REGISTER to an echo.
    EchoRegister,
    /// REGISTER without and with credentials to an echo.
    EchoChallenged,
    /// REGISTER with credentials to an echo.
    EchoDigest,
    /// OPTIONS to an echo.
    EchoOptions,
}

impl WorkloadArgument {
    fn workload(self) -> Workload {
        match self {
            WorkloadArgument::RegisterInitial => Workload::RegisterInitial,
            WorkloadArgument::RegisterRefresh => Workload::RegisterRefresh,
            WorkloadArgument::RegisterChallenged => Workload::RegisterChallenged,
            WorkloadArgument::RegisterDigest => Workload::RegisterDigest,
            WorkloadArgument::Options => Workload::Options,
            WorkloadArgument::EchoRegister => Workload::EchoRegister,
            WorkloadArgument::EchoChallenged => Workload::EchoChallenged,
            WorkloadArgument::EchoDigest => Workload::EchoDigest,
            WorkloadArgument::EchoOptions => Workload::EchoOptions,
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Calls(arguments) => calls(&arguments),
        Command::Headroom(arguments) => headroom(&arguments),
        Command::Echo(arguments) => echo(&arguments),
        Command::Subscribers(arguments) => subscribers(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("load: {error}");
        ExitCode::from(1)
    })
}

fn run(arguments: &RunArguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut generator =
        open(&arguments.place, arguments.target, &arguments.domain, arguments.aors)?;
    generator.continue_from_cseq(arguments.cseq.unwrap_or_else(rising_cseq));
    if arguments.fill {
        // With a nonce for those who keep one.
        let fills = match arguments.workload {
            WorkloadArgument::RegisterChallenged | WorkloadArgument::RegisterDigest => {
                Workload::RegisterDigest
            }
            WorkloadArgument::RegisterInitial
            | WorkloadArgument::RegisterRefresh
            | WorkloadArgument::Options => Workload::RegisterInitial,
            WorkloadArgument::EchoRegister
            | WorkloadArgument::EchoChallenged
            | WorkloadArgument::EchoDigest
            | WorkloadArgument::EchoOptions => Workload::EchoRegister,
        };
        let mut plan = Plan::new(
            fills,
            Pace::Closed { window: 256 },
            Extent::Requests(u64::from(arguments.aors)),
        );
        plan.timeout = Duration::try_from_secs_f64(arguments.timeout)?;
        let filled = generator.run(&plan)?;
        if !filled.counts.flawless() {
            eprintln!("load: not everybody could register:\n{filled}");
        }
    }
    let pace = match arguments.rate {
        Some(rate) => Pace::Open { rate },
        None => Pace::Closed { window: arguments.window },
    };
    let extent = match arguments.count {
        Some(count) => Extent::Requests(count),
        None => Extent::For(Duration::try_from_secs_f64(arguments.seconds)?),
    };
    let mut plan = Plan::new(arguments.workload.workload(), pace, extent);
    plan.timeout = Duration::try_from_secs_f64(arguments.timeout)?;
    plan.server_pid = arguments.pid;
    if let Some(seconds) = arguments.warm_up {
        plan.warm_up = Duration::try_from_secs_f64(seconds)?;
    }
    set_round(&mut plan, &arguments.place);
    let report = generator.run(&plan)?;
    Ok(print(&report, &arguments.output))
}

fn calls(arguments: &CallsArguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut generator =
        open(&arguments.place, arguments.target, &arguments.domain, arguments.aors)?;
    if !arguments.registered && !arguments.echo {
        generator.continue_from_cseq(rising_cseq());
        let everybody = Extent::Requests(u64::from(arguments.aors));
        let plan = Plan::new(Workload::RegisterInitial, Pace::Closed { window: 256 }, everybody);
        let filled = generator.run(&plan)?;
        if !filled.counts.flawless() {
            return Err(format!("not everybody could register:\n{filled}").into());
        }
    }
    let pace = match arguments.rate {
        Some(rate) => Pace::Open { rate },
        None => Pace::Closed { window: arguments.in_flight },
    };
    let extent = match arguments.count.or(arguments.ringing) {
        Some(count) => Extent::Requests(count),
        None => Extent::For(Duration::try_from_secs_f64(arguments.seconds)?),
    };
    let mut plan = CallPlan::new(pace, extent);
    plan.ring = match arguments.ringing {
        Some(_) => Ring::UntilAll,
        None => Ring::For(Duration::from_millis(arguments.ring_ms)),
    };
    plan.t1 = Duration::from_millis(arguments.t1_ms);
    plan.echo = arguments.echo;
    plan.server_pid = arguments.pid;
    plan.sleeps = arguments.place.sleeps;
    if let Some(microseconds) = arguments.place.round {
        plan.round = Duration::from_micros(microseconds);
    }
    let report = generator.call(&plan)?;
    let fair = !report.generator_limited() && report.counts.flawless();
    Ok(print_as(&report, fair, &arguments.output))
}

fn headroom(arguments: &HeadroomArguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let echo = bench::echo::Echo::start(at, Some(arguments.echo_cpu))?;
    let mut generator = open(&arguments.place, echo.address(), "sip.test", arguments.aors)?;
    let mut plan = Plan::new(
        Workload::EchoRegister,
        Pace::Closed { window: arguments.window },
        Extent::For(Duration::try_from_secs_f64(arguments.seconds)?),
    );
    set_round(&mut plan, &arguments.place);
    let report = generator.run(&plan)?;
    Ok(print(&report, &arguments.output))
}

fn echo(arguments: &EchoArguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let echo = bench::echo::Echo::start(arguments.listen, arguments.cpu)?;
    eprintln!("echo on {}", echo.address());
    loop {
        std::thread::park();
    }
}

fn subscribers(arguments: &SubscribersArguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(&arguments.file)?);
    let population = Population::new(arguments.aors, 1, 1);
    population.write_subscribers(&arguments.domain, &mut file)?;
    std::io::Write::flush(&mut file)?;
    Ok(ExitCode::SUCCESS)
}

fn open(
    place: &PlaceArguments,
    target: SocketAddrV4,
    domain: &str,
    aors: u32,
) -> Result<Generator, Box<dyn std::error::Error>> {
    if !bench::pin_to_cpu(place.cpu) {
        return Err(format!("CPU {} is not there to be pinned to; try --cpu", place.cpu).into());
    }
    let population = Population::new(aors, place.ports, place.addresses).sharing(place.sharing);
    Ok(Generator::open(target, domain, population, place.first_port)?)
}

fn set_round(plan: &mut Plan, place: &PlaceArguments) {
    plan.sleeps = place.sleeps;
    if let Some(microseconds) = place.round {
        plan.round = Duration::from_micros(microseconds);
    }
}

fn print(report: &Report, output: &OutputArguments) -> ExitCode {
    let fair = !report.generator_limited() && report.counts.flawless();
    print_as(report, fair, output)
}

fn print_as<R: serde::Serialize + std::fmt::Display>(
    report: &R,
    fair: bool,
    output: &OutputArguments,
) -> ExitCode {
    if output.json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("load: {error}"),
        }
    } else {
        println!("{report}");
    }
    if output.strict && !fair { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// A CSeq above that of any run that began earlier, as long as no run makes more than sixteen
/// laps a second.
fn rising_cseq() -> u32 {
    const YEAR_2026_S: u64 = 1_767_225_600;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let steps = now_s.saturating_sub(YEAR_2026_S).saturating_mul(16) % 1_000_000_000;
    1_000_000_000 + u32::try_from(steps).unwrap_or(0)
}
