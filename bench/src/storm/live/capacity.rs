//! What generator and server can do, measured before the storm: the generator against an echo and into a void, the server by closed loops
//! of whole registrations. Rounds are short, and the median of a few counts.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use crate::echo::Echo;
use crate::flood::{Flood, Payload};
use crate::generator::Generator;
use crate::pace::Pace;
use crate::plan::{Extent, Plan, Workload};
use crate::population::Population;
use crate::report::{Limit, Report};
use crate::storm::scenario::{Bindings, Nonces, Scenario};

/// Source ports of the generator: as many pairs as anybody needs, with addresses of 127.0.0.0/8, and few sockets to look at.
pub(super) const PORTS: u16 = 4;

/// User agents that speak to the echo.
const ECHO_USER_AGENTS: u32 = 1 << 17;
/// Requests in flight in closed loops against an echo, whose sockets are large.
const ECHO_WINDOW: u32 = 256;
const ECHO_TIME: Duration = Duration::from_millis(500);
const ECHO_WARM_UP: Duration = Duration::from_millis(150);

/// Between two looks at the sockets, as in a storm.
const ECHO_ROUND: Duration = Duration::from_micros(20);

/// How often kappa is measured, and for how long. A server that is slowed has little time to touch its memory for the first time.
const ROUNDS: usize = 3;
const ROUND_TIME: Duration = Duration::from_millis(1000);
const ROUND_WARM_UP: Duration = Duration::from_millis(500);
/// Requests in flight meanwhile: as many as a socket holds that nobody has enlarged, 212,992 bytes at 1,280 a datagram, with some to spare.
const ROUND_WINDOW: u32 = 128;

/// What the generator can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Headroom {
    /// Messages a second each way against an echo, which has a CPU of the same kind and is no quicker: what it did, not what it might do.
    pub(crate) messages_per_second: f64,
    /// Registrations a second against it, each with both legs and their digest.
    pub(crate) registrations_per_second: f64,
    /// Datagrams a second where nothing comes back.
    pub(crate) send_only_per_second: f64,
}

impl Headroom {
    /// Measures on the calling thread, with the other end on `cpu`.
    pub(crate) fn measure(cpu: usize, domain: &str) -> io::Result<Headroom> {
        let population = Population::new(ECHO_USER_AGENTS, PORTS, u32::MAX);
        let echo = Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), Some(cpu))?;
        let mut generator = Generator::open(echo.address(), domain, population.clone(), 0)?;
        let mut rate = |workload| {
            let closed = Pace::Closed { window: ECHO_WINDOW };
            let mut plan = Plan::new(workload, closed, Extent::For(ECHO_TIME));
            plan.warm_up = ECHO_WARM_UP;
            plan.round = ECHO_ROUND;
            generator.run(&plan).map(|report| report.answered_per_second)
        };
        let messages_per_second = rate(Workload::EchoRegister)?;
        let registrations_per_second = rate(Workload::EchoChallenged)?;
        drop(echo);

        // A socket that nobody reads: the kernel drops what it has no room for.
        let void = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let SocketAddr::V4(address) = void.local_addr()? else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut generator = Generator::open(address, domain, population, 0)?;
        let flooded = generator.flood(&Flood {
            payload: Payload::Register,
            rate: 20_000_000,
            time: ECHO_TIME,
            sleeps: false,
            server_pid: std::process::id(),
        })?;
        Ok(Headroom {
            messages_per_second,
            registrations_per_second,
            send_only_per_second: flooded.sent as f64 / flooded.seconds.max(1e-9),
        })
    }
}

/// What the server can do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kappa {
    /// Registrations a second: the median of the rounds.
    pub(crate) per_second: f64,
    /// CPU time of the server's processes for each, in microseconds, where they are known.
    pub(crate) registration_us: Option<f64>,
    /// Why it may be the generator's limit.
    pub(crate) limited_by_generator: Option<String>,
}

/// Why nothing can be registered.
#[derive(Debug)]
pub enum NoCapacity {
    /// The system refused something.
    Io(io::Error),
    /// Registrations were not answered as they should be.
    Wrong {
        /// What was asked for.
        asked: u64,
        /// How many were refused, lost or answered wrongly, in words.
        what: String,
    },
}

impl fmt::Display for NoCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoCapacity::Io(error) => write!(f, "measuring the capacity: {error}"),
            NoCapacity::Wrong { asked, what } => write!(
                f,
                "the server does not register user agents as the scenario needs it: of {asked} registrations {what}; a server that \
                 challenges needs their accounts, the first of which is 493000000000"
            ),
        }
    }
}

impl std::error::Error for NoCapacity {}

impl From<io::Error> for NoCapacity {
    fn from(error: io::Error) -> NoCapacity {
        NoCapacity::Io(error)
    }
}

impl Kappa {
    /// Measures with user agents of `generator`, which are not the scenario's, registering as the scenario's do.
    pub(crate) fn measure(
        generator: &mut Generator,
        scenario: &Scenario,
        server_pid: Option<u32>,
    ) -> Result<Kappa, NoCapacity> {
        let workload = workload_of(scenario);
        if workload == Workload::RegisterDigest {
            let everybody = 0..generator.population().size();
            fill(generator, Workload::RegisterChallenged, everybody)?;
        }
        let mut rounds: Vec<Report> = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let closed = Pace::Closed { window: ROUND_WINDOW };
            let mut plan = Plan::new(workload, closed, Extent::For(ROUND_TIME));
            plan.warm_up = ROUND_WARM_UP;
            plan.server_pid = server_pid;
            let report = generator.run(&plan)?;
            check(&report)?;
            rounds.push(report);
        }
        rounds.sort_by(|a, b| a.answered_per_second.total_cmp(&b.answered_per_second));
        let median = &rounds[ROUNDS / 2];
        Ok(Kappa {
            per_second: median.answered_per_second,
            registration_us: median.server_cpu_us_per_request,
            limited_by_generator: match &median.limit {
                Limit::NotTheGenerator => None,
                Limit::Generator(why) => Some(why.clone()),
            },
        })
    }
}

/// Registers a part of those of `generator` once; the range ends with the last of them.
pub(super) fn fill(
    generator: &mut Generator,
    workload: Workload,
    range: Range<u32>,
) -> Result<(), NoCapacity> {
    check(&generator.run(&once(workload, &range))?)
}

/// Lets a part of those of `generator`, who guess, ask for a nonce each; they register nothing.
pub(super) fn ask(generator: &mut Generator, range: Range<u32>) -> Result<(), NoCapacity> {
    let report = generator.run(&once(Workload::RegisterChallenged, &range))?;
    if report.counts.challenged * 100 >= report.counts.sent * 99 {
        return Ok(());
    }
    let what = format!("{} were challenged", report.counts.challenged);
    Err(NoCapacity::Wrong { asked: report.counts.sent, what })
}

/// A closed loop over a part of a population, once.
fn once(workload: Workload, range: &Range<u32>) -> Plan {
    let everybody = Extent::Requests(u64::from(range.end - range.start));
    // Few at a time: what waits in a server's sockets must not overflow them.
    let mut plan = Plan::new(workload, Pace::Closed { window: 64 }, everybody);
    plan.from = range.start;
    plan.timeout = Duration::from_secs(5);
    plan
}

/// How user agents of a scenario register when they do it for the first time in it.
fn workload_of(scenario: &Scenario) -> Workload {
    let nonces = scenario.population.nonces;
    match (scenario.registration.digest, nonces, scenario.population.bindings) {
        (true, Nonces::None | Nonces::Foreign, _) => Workload::RegisterChallenged,
        (true, Nonces::Valid, _) => Workload::RegisterDigest,
        (false, _, Bindings::Lapsed) => Workload::RegisterInitial,
        (false, _, Bindings::Valid) => Workload::RegisterRefresh,
    }
}

/// Whether a closed loop went as it should: a few losses are the kernel's, where the window is more than a server's sockets hold.
fn check(report: &Report) -> Result<(), NoCapacity> {
    let counts = &report.counts;
    let wrong = counts.sent - counts.answered;
    if wrong * 100 <= counts.sent && counts.answered > 0 {
        return Ok(());
    }
    let mut what = Vec::new();
    for (status, count) in &counts.refused_by_status {
        what.push(format!("{count} were refused with {status}"));
    }
    for (count, words) in [
        (counts.lost, "were not answered"),
        (counts.unchallenged, "were accepted without credentials, where the scenario has digest"),
        (counts.wrong_contacts, "were answered with other contacts than one"),
    ] {
        if count > 0 {
            what.push(format!("{count} {words}"));
        }
    }
    Err(NoCapacity::Wrong { asked: counts.sent, what: what.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_generator_proves_what_it_can_do() {
        let headroom = Headroom::measure(0, "sip.test").unwrap();
        // Whatever machine this is: both legs take longer than one message, and what nobody answers is sent quickest.
        assert!(headroom.messages_per_second > 1000.0, "{headroom:?}");
        assert!(headroom.registrations_per_second > 300.0, "{headroom:?}");
        assert!(headroom.registrations_per_second < headroom.messages_per_second, "{headroom:?}");
        assert!(headroom.send_only_per_second > 1000.0, "{headroom:?}");
    }

    #[test]
    fn a_server_that_registers_nobody_is_told_so() {
        let echo = Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
        let population = Population::new(50, 2, u32::MAX);
        let mut generator = Generator::open(echo.address(), "sip.test", population, 0).unwrap();
        // What comes back from an echo is no response.
        let mut plan = once(Workload::RegisterInitial, &(0..50));
        plan.timeout = Duration::from_millis(50);
        let error = check(&generator.run(&plan).unwrap()).unwrap_err().to_string();
        assert!(error.contains("of 50 registrations 50 were not answered"), "{error}");
    }

    #[test]
    fn a_few_losses_are_no_fault_and_refusals_are_named() {
        let echo = Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
        let population = Population::new(10, 1, u32::MAX);
        let mut generator = Generator::open(echo.address(), "sip.test", population, 0).unwrap();
        let plan = once(Workload::EchoRegister, &(0..10));
        let mut report = generator.run(&plan).unwrap();
        assert!(check(&report).is_ok());
        (report.counts.sent, report.counts.answered, report.counts.lost) = (1000, 995, 5);
        assert!(check(&report).is_ok());
        report.counts.answered = 900;
        report.counts.refused_by_status = BTreeMap::from([(403, 60), (404, 35)]);
        let error = check(&report).unwrap_err().to_string();
        let expected = "60 were refused with 403, 35 were refused with 404, 5 were not answered";
        assert!(error.contains(expected), "{error}");
    }
}
