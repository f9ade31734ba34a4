//! The proxy, RFC 3261 16: where a request goes, and what becomes of the responses.

mod policy;

pub use policy::{ListenerPolicy, Neighbour, Network, NextHop, Policy};
