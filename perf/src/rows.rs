//! The rows of the comparison: what is asked for in each, and what Seawall must reach.

use std::time::Duration;

use bench::{Extent, Pace, Plan, Workload};

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
}

/// Rows that share one freshly started server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// How many addresses-of-record are registered in it.
    pub user_agents: u32,
    /// Its rows, in order.
    pub rows: &'static [Row],
}

/// All sessions.
pub const SESSIONS: [Session; 2] = [
    Session { user_agents: 100_000, rows: &[Row::Refresh100k, Row::Options, Row::Latency50k] },
    Session { user_agents: 1_000_000, rows: &[Row::Initial1m, Row::Refresh1m] },
];

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Row; 5] =
        [Row::Refresh100k, Row::Refresh1m, Row::Initial1m, Row::Options, Row::Latency50k];

    /// Its name on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Row::Refresh100k => "refresh100k",
            Row::Options => "options",
            Row::Latency50k => "latency50k",
            Row::Initial1m => "initial1m",
            Row::Refresh1m => "refresh1m",
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
        }
    }

    /// What is sent to `server` for this row.
    pub fn plan(self, server: Server, window: u32, time: Duration) -> Plan {
        let closed = Pace::Closed { window };
        let (workload, pace, extent) = match self {
            Row::Refresh100k | Row::Refresh1m => {
                (Workload::RegisterRefresh, closed, Extent::For(time))
            }
            Row::Options => (Workload::Options, closed, Extent::For(time)),
            Row::Latency50k => {
                (Workload::RegisterRefresh, Pace::Open { rate: 50_000 }, Extent::For(time))
            }
            Row::Initial1m => (Workload::RegisterInitial, closed, Extent::Requests(1_000_000)),
        };
        let mut plan = Plan::new(for_server(workload, server), pace, extent);
        // The longest stall of a server that is not to count as loss.
        plan.timeout = Duration::from_secs(4);
        plan
    }
}

impl Session {
    /// What fills the server before the rows; none if the first row does it itself.
    pub fn fill(&self, server: Server) -> Option<Plan> {
        if self.rows.contains(&Row::Initial1m) {
            return None;
        }
        let extent = Extent::Requests(u64::from(self.user_agents));
        let workload = for_server(Workload::RegisterInitial, server);
        Some(Plan::new(workload, Pace::Closed { window: 256 }, extent))
    }
}

/// The same requests for an echo, which answers each with itself.
fn for_server(workload: Workload, server: Server) -> Workload {
    match (server, workload) {
        (Server::Echo, Workload::RegisterInitial | Workload::RegisterRefresh) => {
            Workload::EchoRegister
        }
        (Server::Echo, Workload::Options) => Workload::EchoOptions,
        (Server::Echo | Server::Seawall | Server::Kamailio, other) => other,
    }
}
