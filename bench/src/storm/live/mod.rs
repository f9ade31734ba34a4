//! Plays a scenario against a real server.

mod kernel;
mod metrics;
mod network;
mod quota;
mod server;

pub(crate) use network::Loss;
