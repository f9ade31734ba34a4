//! Calls: callers and callees of one population who speak through a proxy. It says what is to be measured; the modules below do it.
//!
//! A call is INVITE, 100, 180, 200, ACK, BYE, 200: seven messages that reach an end, thirteen in and out at the proxy. Nothing
//! is learned from the inside of the generator: the callee learns of a call from the INVITE that arrives, the caller learns
//! target and route set from the 200.

mod lanes;
mod message;
mod report;
mod run;
mod table;
mod text;
mod timers;

pub use report::{CallCounts, CallReport, Held};

pub(crate) use run::{Calls, Sent};

use std::time::Duration;

use crate::pace::Pace;
use crate::plan::Extent;

/// One run of calls.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// How fast: calls in flight, or calls a second.
    pub pace: Pace,
    /// How long: so many calls, or so much measured time.
    pub extent: Extent,
    /// How long a callee rings.
    pub ring: Ring,
    /// How long the two talk before the caller hangs up.
    pub talk: Duration,
    /// Whether these are emergency calls: their INVITEs say so, RFC 3261 20.26 and RFC 7135.
    pub emergency: bool,
    /// The domain that the callers are from, where it is not the callees'. A server has no accounts of them, and asks them for no credentials.
    pub from_domain: Option<String>,
    /// Time at the start that is left out of rates, latencies and CPU times.
    pub warm_up: Duration,
    /// T1, RFC 3261 17.1.1.1: what is not answered is sent again after it, and given up after 64 times as long.
    pub t1: Duration,
    /// Shortest time between two looks at the sockets.
    pub round: Duration,
    /// Whether the generator sleeps between two looks instead of spinning.
    pub sleeps: bool,
    /// Whether the server is an echo that sends everything back to where it came from, and first the beginning of an INVITE.
    pub echo: bool,
    /// The server's process, whose CPU time is measured with that of its descendants.
    pub server_pid: Option<u32>,
}

/// How long callees ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// So long; then they answer.
    For(Duration),
    /// Until all calls of the run ring at the same time. Then every second one is answered, and the others are cancelled. How many are in
    /// flight does not count those that only ring.
    UntilAll,
}

impl CallPlan {
    /// A run with the usual warm-up, timers and round, and callees who answer at once.
    pub fn new(pace: Pace, extent: Extent) -> CallPlan {
        CallPlan {
            pace,
            extent,
            ring: Ring::For(Duration::ZERO),
            talk: Duration::ZERO,
            emergency: false,
            from_domain: None,
            warm_up: match extent {
                Extent::Requests(_) => Duration::ZERO,
                Extent::For(_) => Duration::from_millis(500),
            },
            t1: Duration::from_millis(500),
            round: match pace {
                Pace::Closed { .. } => Duration::from_micros(50),
                Pace::Open { .. } | Pace::Every { .. } => Duration::from_micros(5),
            },
            sleeps: false,
            echo: false,
            server_pid: None,
        }
    }
}
