//! The storm simulator: scenarios as data, a crowd of user agents that live through them, and a record of what happened, from which reports are
//! made.
//!
//! ```text
//! scenario (TOML) -> crowd (pure: what a million phones do) <-> live (sockets, clock, servers, quotas) -> record -> report
//! ```
//!
//! The crowd takes time and datagrams and gives datagrams; it has no clock and no socket, so that a simulated server can stand where
//! the live one stands. Whatever plays a scenario leaves a [`record::Run`], and everything that is printed or drawn is made from that alone.

pub mod crowd;
pub mod live;
pub mod record;
pub mod report;
pub mod scenario;
pub mod tally;
pub mod view;

pub(crate) use live::Loss;
