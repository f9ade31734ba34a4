//! The rows of the comparison: what is asked for in each, and what Seawall must reach.

use std::time::Duration;

use bench::{CallPlan, Extent, Pace, Plan, Workload};

use crate::servers::Server;

/// A share of the echo at which a row counts as reached whatever its factor is.
pub const ECHO_SHARE: f64 = 0.85;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Refreshes of 100,000 addresses-of-record.
    Refresh100k,
    /// OPTIONS to the server.
    Options,
    /// Latency of 50,000 refreshes a second.
    Latency50k,
    /// First registrations, from none to a million.
    Initial1m,
    /// Refreshes of a million.
    Refresh1m,
    /// Refreshes that are challenged, and answered for: two messages, two answers.
    Challenged100k,
    /// Refreshes with credentials for a nonce that was used before.
    Nonce100k,
    /// Complete calls through the proxy: thirteen messages in and out.
    Calls,
}

/// What is asked of a server for a row.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Requests to the server itself.
    Requests(Plan),
    /// Calls through it.
    Calls(CallPlan),
}

/// Rows that share one freshly started server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// How many addresses-of-record are registered in it.
    pub user_agents: u32,
    /// Whether who registers has to show digest credentials.
    pub digest: bool,
    /// Whether the server has to be a proxy too.
    pub proxy: bool,
    /// Its rows, in order.
    pub rows: &'static [Row],
}

/// All sessions.
pub const SESSIONS: [Session; 4] = [
    Session {
        user_agents: 100_000,
        digest: false,
        proxy: false,
        rows: &[Row::Refresh100k, Row::Options, Row::Latency50k],
    },
    Session {
        user_agents: 1_000_000,
        digest: false,
        proxy: false,
        rows: &[Row::Initial1m, Row::Refresh1m],
    },
    Session {
        user_agents: 100_000,
        digest: true,
        proxy: false,
        rows: &[Row::Nonce100k, Row::Challenged100k],
    },
    Session { user_agents: 100_000, digest: false, proxy: true, rows: &[Row::Calls] },
];

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Row; 8] = [
        Row::Refresh100k,
        Row::Refresh1m,
        Row::Initial1m,
        Row::Challenged100k,
        Row::Nonce100k,
        Row::Calls,
        Row::Options,
        Row::Latency50k,
    ];

    /// Its name on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Row::Refresh100k => "refresh100k",
            Row::Options => "options",
            Row::Latency50k => "latency50k",
            Row::Initial1m => "initial1m",
            Row::Refresh1m => "refresh1m",
            Row::Challenged100k => "challenged100k",
            Row::Nonce100k => "nonce100k",
            Row::Calls => "calls",
        }
    }

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Row::Refresh100k => "REGISTER refresh, 100k AoRs",
            Row::Options => "OPTIONS to the server",
            Row::Latency50k => "50k REGISTER/s, open loop",
            Row::Initial1m => "REGISTER initial, to 1M",
            Row::Refresh1m => "REGISTER refresh, 1M AoRs",
            Row::Challenged100k => "REGISTER with a 401 each time",
            Row::Nonce100k => "REGISTER, nonce reused",
            Row::Calls => "complete call, 13 messages",
        }
    }

    /// How many times Kamailio's capacity Seawall must reach.
    pub fn factor(self) -> Option<f64> {
        match self {
            Row::Refresh100k => Some(2.8),
            Row::Options => Some(2.0),
            Row::Latency50k => None,
            Row::Initial1m => Some(4.0),
            Row::Refresh1m => Some(3.5),
            Row::Challenged100k | Row::Nonce100k | Row::Calls => Some(2.5),
        }
    }

    /// What is sent to `server` for this row.
    pub fn asked(self, server: Server, window: u32, time: Duration) -> Asked {
        let closed = Pace::Closed { window };
        let (workload, pace, extent) = match self {
            Row::Refresh100k | Row::Refresh1m => {
                (Workload::RegisterRefresh, closed, Extent::For(time))
            }
            Row::Challenged100k => (Workload::RegisterChallenged, closed, Extent::For(time)),
            Row::Nonce100k => (Workload::RegisterDigest, closed, Extent::For(time)),
            Row::Options => (Workload::Options, closed, Extent::For(time)),
            Row::Latency50k => {
                (Workload::RegisterRefresh, Pace::Open { rate: 50_000 }, Extent::For(time))
            }
            Row::Initial1m => (Workload::RegisterInitial, closed, Extent::Requests(1_000_000)),
            Row::Calls => {
                let plan = CallPlan::new(closed, Extent::For(time));
                return Asked::Calls(CallPlan { echo: server == Server::Echo, ..plan });
            }
        };
        let mut plan = Plan::new(for_server(workload, server), pace, extent);
        // The longest stall of a server that is not to count as loss.
        plan.timeout = Duration::from_secs(4);
        Asked::Requests(plan)
    }
}

impl Session {
    /// What fills the server before the rows; none if the first row does it itself.
    pub fn fill(&self, server: Server) -> Option<Plan> {
        if self.rows.contains(&Row::Initial1m) {
            return None;
        }
        let extent = Extent::Requests(u64::from(self.user_agents));
        // Where credentials are asked for, everybody gets a nonce.
        let fill = if self.digest { Workload::RegisterDigest } else { Workload::RegisterInitial };
        let workload = for_server(fill, server);
        Some(Plan::new(workload, Pace::Closed { window: 256 }, extent))
    }
}

/// The same messages for an echo, which answers each with itself: two where a challenge comes first, so that the wall of such a
/// row is two echoes, of a message without and of one with credentials.
fn for_server(workload: Workload, server: Server) -> Workload {
    match (server, workload) {
        (Server::Echo, Workload::RegisterInitial | Workload::RegisterRefresh) => {
            Workload::EchoRegister
        }
        (Server::Echo, Workload::RegisterChallenged) => Workload::EchoChallenged,
        (Server::Echo, Workload::RegisterDigest) => Workload::EchoDigest,
        (Server::Echo, Workload::Options) => Workload::EchoOptions,
        (Server::Echo | Server::Seawall | Server::Kamailio, other) => other,
    }
}
