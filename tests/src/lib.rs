//! What the tests of this crate share. It never contains anything that the server needs.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

pub mod flow;
pub mod fuzz;
pub mod process;
