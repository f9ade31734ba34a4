//! What is to be measured: the workload, how fast and how long. It does nothing.

use std::time::Duration;

use crate::pace::Pace;
use crate::population::Order;
use crate::template::Template;

/// What the user agents ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Registers in the order of numbers, as when the server knows nobody yet.
    RegisterInitial,
    /// Registers again, scattered over the population.
    RegisterRefresh,
    /// OPTIONS to the server itself.
    Options,
    /// A REGISTER to a server that sends every datagram back, or its first bytes.
    EchoRegister,
    /// An OPTIONS to such a server.
    EchoOptions,
}

impl Workload {
    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Workload::RegisterInitial => "register-initial",
            Workload::RegisterRefresh => "register-refresh",
            Workload::Options => "options",
            Workload::EchoRegister => "echo-register",
            Workload::EchoOptions => "echo-options",
        }
    }

    pub(crate) fn template(self, domain: &str, run: u32) -> Template {
        match self {
            Workload::RegisterInitial | Workload::RegisterRefresh | Workload::EchoRegister => {
                Template::register(domain, run)
            }
            Workload::Options | Workload::EchoOptions => Template::options(domain, run),
        }
    }

    pub(crate) fn method(self) -> &'static [u8] {
        match self {
            Workload::RegisterInitial | Workload::RegisterRefresh | Workload::EchoRegister => {
                b"REGISTER"
            }
            Workload::Options | Workload::EchoOptions => b"OPTIONS",
        }
    }

    pub(crate) fn order(self) -> Order {
        match self {
            Workload::RegisterInitial => Order::Rising,
            Workload::RegisterRefresh
            | Workload::Options
            | Workload::EchoRegister
            | Workload::EchoOptions => Order::Scattered,
        }
    }

    /// Contacts in a right answer, where that is known.
    pub(crate) fn contacts(self) -> Option<u32> {
        match self {
            Workload::RegisterInitial | Workload::RegisterRefresh => Some(1),
            Workload::Options | Workload::EchoRegister | Workload::EchoOptions => None,
        }
    }

    pub(crate) fn is_echo(self) -> bool {
        matches!(self, Workload::EchoRegister | Workload::EchoOptions)
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After so many requests.
    Requests(u64),
    /// After so much measured time.
    For(Duration),
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked for.
    pub workload: Workload,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub extent: Extent,
    /// Time at the start that is left out of rates, latencies and CPU times.
    pub warm_up: Duration,
    /// After how long an unanswered request counts as lost. Nothing is sent twice.
    pub timeout: Duration,
    /// Shortest time between two looks at the sockets. Looking less often costs latency, and
    /// saves the server from sharing its cache lines with an idle reader.
    pub round: Duration,
    /// Whether the generator sleeps between two looks instead of spinning, for servers that need
    /// its CPU too.
    pub sleeps: bool,
    /// The server's process, whose CPU time is measured with that of its descendants.
    pub server_pid: Option<u32>,
}

impl Plan {
    /// A run with the usual warm-up, timeout and round for its pace.
    pub fn new(workload: Workload, pace: Pace, extent: Extent) -> Plan {
        let round = match pace {
            Pace::Closed { .. } => Duration::from_micros(50),
            Pace::Open { .. } => Duration::from_micros(5),
        };
        let warm_up = match extent {
            Extent::Requests(_) => Duration::ZERO,
            Extent::For(_) => Duration::from_millis(500),
        };
        let timeout = Duration::from_secs(2);
        Plan { workload, pace, extent, warm_up, timeout, round, sleeps: false, server_pid: None }
    }
}
