//! The registrar, RFC 3261 10.3.

mod policy;

pub use policy::{Policy, UnsupportedPath, WhenFull};
