//! The control plane: logs, and health and metrics over HTTP, on threads of its own. It looks at the cores through
//! [`Observed`] only, and the call path never waits for it.

mod admin;
mod exposition;
mod http;
pub mod log;
pub mod notify;
mod snapshot;

pub use admin::Admin;
pub use snapshot::{CoreSnapshot, Observed};
