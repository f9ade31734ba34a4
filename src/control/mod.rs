//! The control plane: logs, and health, metrics and JSON-RPC over HTTP, on a thread of its own. It looks at what the cores
//! publish ([`Observed`]), asks them for little things ([`Cores`]), looks names up
//! for them ([`Names`]), and the call path never waits for it.

mod admin;
mod cores;
mod exposition;
mod guard;
mod http;
pub mod log;
mod names;
pub mod notify;
mod rpc;
mod snapshot;

pub use admin::{Admin, Parts};
pub use cores::{Cores, Unanswered};
pub use guard::Token;
pub use names::Names;
pub use rpc::Directory;
pub use snapshot::{CoreSnapshot, Observed};
