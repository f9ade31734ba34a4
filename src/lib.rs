//! Seawall as a library: what the executable, the tests and the gates share.

pub mod cli;
pub mod config;
pub mod control;
