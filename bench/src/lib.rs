//! The load generator: SIP requests from many user agents on one core, timed honestly and
//! checked one by one; it reaches a server only through the network.
//!
//! A [`Generator`] owns the sockets and a [`Population`] of user agents; [`Generator::run`]
//! carries out one [`Plan`] and answers with a [`Report`] that says, among the rest, whether
//! the generator itself was what limited the run.

mod calls;
mod digest;
pub mod echo;
mod flight;
mod flood;
mod generator;
mod meter;
mod pace;
mod plan;
mod population;
mod report;
mod response;
mod run;
mod sockets;
pub mod storm;
mod sys;
mod template;
pub mod watch;

pub use calls::{CallCounts, CallPlan, CallReport, Held, Ring};
pub use digest::Subscriber;
pub use flood::{Flood, Flooded, Payload};
pub use generator::Generator;
pub use pace::Pace;
pub use plan::{Extent, Plan, Workload};
pub use population::{Population, UserAgent};
pub use report::{Counts, Latency, Limit, Report};
pub use sys::{pin_to_cpu, thread_cpu_ns};
