//! Plays a scenario against a real server, and leaves a [`Run`]. Below this module stand sockets, clocks, processes and /proc; it owns the
//! order in which they are used, and draws and writes nothing: an [`Observer`] is told.
//!
//! ```text
//! capacity (echo, void, kappa) -> scale -> server anew -> preparation -> storm -> drain -> reconcile, outcome
//!                                             ^ quota                      |
//!                             main thread: kernel, metrics, restart  <- told each second - traffic thread: crowd, calls
//! ```

mod capacity;
mod counts;
mod kernel;
mod metrics;
mod network;
mod outcome;
mod outgoing;
mod play;
mod preparation;
mod quota;
mod reconcile;
mod server;
mod storm;
mod traffic;

pub use capacity::NoCapacity;
pub use play::play;
pub use quota::NoQuota;
pub use server::NoServer;

pub(crate) use network::Loss;

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use super::record::{About, Capacity, Run, Scaled, Second};
use super::scenario::{Scenario, Wanted};
use super::tally::Tally;

/// What is to be played, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// What happens.
    pub scenario: Scenario,
    /// How much of it.
    pub wanted: Wanted,
    /// Within a quota of CPU time or not.
    pub mode: Mode,
    /// Who serves.
    pub server: Target,
    /// Of the addresses-of-record, and the realm.
    pub domain: String,
    /// Where a server of our own runs, and the other end of the generator's own measurements; the first CPU if none is named.
    pub server_cpu: Option<usize>,
    /// Where the generator runs; the last CPU if none is named.
    pub generator_cpu: Option<usize>,
    /// All chance follows from it.
    pub seed: u64,
    /// A folder that is there: for the server's log and configuration.
    pub folder: PathBuf,
    /// The run ends so many seconds after the start of the arrival, whatever the scenario says.
    pub seconds_most: Option<f64>,
    /// The target may be any address.
    pub i_own_this_network: bool,
    /// Of this program, for the record.
    pub version: String,
    /// As it was typed, for the record.
    pub command: String,
}

/// How the server's speed and the generator's are brought together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Slowed where that can be done and the scenario needs it, else unscaled.
    Auto,
    /// The server has whole CPUs.
    Unscaled,
    /// The server gets a part of one CPU: the one that is named, or the largest at which the generator reaches the scenario's multiple.
    Slowed(Option<f64>),
}

/// Who serves.
#[derive(Clone, Debug)]
pub enum Target {
    /// A Seawall of our own, started from this executable.
    Own(PathBuf),
    /// Any server.
    There {
        /// Where it serves SIP over UDP.
        address: SocketAddrV4,
        /// Its process, for its CPU time and for quotas.
        pid: Option<u32>,
        /// Where its metrics are, in Prometheus's text format.
        metrics: Option<SocketAddr>,
    },
}

/// What is known when the storm begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// Where and how it is played.
    pub about: &'a About,
    /// What is played.
    pub scenario: &'a Scenario,
    /// The same in numbers.
    pub scaled: &'a Scaled,
    /// What server and generator can do.
    pub capacity: &'a Capacity,
}

/// Who is told what happens, on the thread that called [`play()`].
pub trait Observer {
    /// What is being done now, in a few words.
    fn note(&mut self, phase: &str);
    /// The storm begins.
    fn begins(&mut self, beginning: &Beginning<'_>);
    /// A second has passed, with these latencies.
    fn second(&mut self, second: &Second, tally: &Tally);
}

/// A run with the latencies of all of it.
#[derive(Debug)]
pub struct Played {
    /// The numbers.
    pub run: Run,
    /// The latencies of all seconds.
    pub tally: Tally,
}

/// Why there is no run.
#[derive(Debug)]
pub enum Error {
    /// The scenario needs what cannot be had.
    Needs(String),
    /// Two CPUs are needed, one for the server and one for the generator.
    OneCpu,
    /// It was interrupted before the storm began.
    Interrupted,
    /// There is no server.
    Server(NoServer),
    /// It registers nobody.
    Capacity(NoCapacity),
    /// It could not be slowed.
    Quota(NoQuota),
    /// The system refused something.
    Io {
        /// What was done.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Needs(what) => f.write_str(what),
            Error::OneCpu => f.write_str(
                "a storm needs two CPUs, one for the server and one for the generator, and this process may run on one only",
            ),
            Error::Interrupted => f.write_str("interrupted before the storm began: there is nothing to report"),
            Error::Server(error) => error.fmt(f),
            Error::Capacity(error) => error.fmt(f),
            Error::Quota(error) => error.fmt(f),
            Error::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<NoServer> for Error {
    fn from(error: NoServer) -> Error {
        Error::Server(error)
    }
}

impl From<NoCapacity> for Error {
    fn from(error: NoCapacity) -> Error {
        Error::Capacity(error)
    }
}

impl From<NoQuota> for Error {
    fn from(error: NoQuota) -> Error {
        Error::Quota(error)
    }
}

/// What an I/O error was met with, as in `read(..).map_err(while_doing("reading .."))`.
fn while_doing(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Io { what, error }
}
