//! What is to be measured: the workload, how fast and how long. It does nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::pace::Pace;
use crate::population::Order;
use crate::template::{Registering, Template};

/// What the user agents ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Registers in the order of numbers, as when the server knows nobody yet.
    RegisterInitial,
    /// Registers again, scattered over the population.
    RegisterRefresh,
    /// Registers again without credentials, as if nobody kept a nonce, and follows each challenge: two messages and two answers
    /// are one request.
    RegisterChallenged,
    /// Registers again with credentials for the nonce that each keeps, and follows a challenge where there is none or it is
    /// stale.
    RegisterDigest,
    /// OPTIONS to the server itself.
    Options,
    /// A REGISTER to a server that sends every datagram back, or its first bytes.
    EchoRegister,
    /// The two messages of [`Workload::RegisterChallenged`] to such a server, one after the other.
    EchoChallenged,
    /// The message of [`Workload::RegisterDigest`] to such a server.
    EchoDigest,
    /// An OPTIONS to such a server.
    EchoOptions,
}

/// What the user agents do about digest, RFC 7616.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// They have none.
    Never,
    /// They show them when they are asked, and forget the nonce.
    WhenAsked,
    /// They show them at once as long as they have a nonce.
    Kept,
}

impl Workload {
    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Workload::RegisterInitial => "register-initial",
            Workload::RegisterRefresh => "register-refresh",
            Workload::RegisterChallenged => "register-challenged",
            Workload::RegisterDigest => "register-digest",
            Workload::Options => "options",
            Workload::EchoRegister => "echo-register",
            Workload::EchoChallenged => "echo-challenged",
            Workload::EchoDigest => "echo-digest",
            Workload::EchoOptions => "echo-options",
        }
    }

    /// Its first message, from user agents that are all at one address if there is one.
    pub(crate) fn template(self, domain: &str, run: u32, at: Option<Ipv4Addr>) -> Template {
        if self.is_options() {
            Template::options_from(domain, run, at)
        } else {
            Template::bare(&Registering::usual(domain, run, at))
        }
    }

    pub(crate) fn method(self) -> &'static [u8] {
        if self.is_options() { b"OPTIONS" } else { b"REGISTER" }
    }

    pub(crate) fn order(self) -> Order {
        if self == Workload::RegisterInitial { Order::Rising } else { Order::Scattered }
    }

    /// Contacts in a right answer, where that is known.
    pub(crate) fn contacts(self) -> Option<u32> {
        (!self.is_options() && !self.is_echo()).then_some(1)
    }

    pub(crate) fn credentials(self) -> Credentials {
        match self {
            Workload::RegisterChallenged | Workload::EchoChallenged => Credentials::WhenAsked,
            Workload::RegisterDigest | Workload::EchoDigest => Credentials::Kept,
            Workload::RegisterInitial
            | Workload::RegisterRefresh
            | Workload::Options
            | Workload::EchoRegister
            | Workload::EchoOptions => Credentials::Never,
        }
    }

    pub(crate) fn is_echo(self) -> bool {
        matches!(
            self,
            Workload::EchoRegister
                | Workload::EchoChallenged
                | Workload::EchoDigest
                | Workload::EchoOptions
        )
    }

    fn is_options(self) -> bool {
        matches!(self, Workload::Options | Workload::EchoOptions)
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
    /// User agents of lower numbers take no part.
    pub from: u32,
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
            Pace::Open { .. } | Pace::Every { .. } => Duration::from_micros(5),
        };
        let warm_up = match extent {
            Extent::Requests(_) => Duration::ZERO,
            Extent::For(_) => Duration::from_millis(500),
        };
        let timeout = Duration::from_secs(2);
        Plan {
            workload,
            pace,
            extent,
            from: 0,
            warm_up,
            timeout,
            round,
            sleeps: false,
            server_pid: None,
        }
    }
}
