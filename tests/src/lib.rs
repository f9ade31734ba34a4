//! What the tests of this crate share. It never contains anything that the server needs.
//!
//! - [`flow`]: call flows in text, against shards: `tests/flows`
//! - [`fuzz`]: properties over any bytes, for the fuzzer and for every test run
//! - [`process`]: the real executable, for real clients and hostile datagrams
//! - [`sim`]: whole nodes under virtual time with everything that goes wrong, against a reference; `cargo run -p tests --bin sim`
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

pub mod flow;
pub mod fuzz;
pub mod process;
pub mod sim;
