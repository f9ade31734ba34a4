//! The gates on instruction counts: what one message, and each operation on a core's memory, may cost.

mod calls;
mod completed;
mod shard;
mod store;

use perf::gate::{self, Gate};
use std::process::ExitCode;

fn main() -> ExitCode {
    let gates: Vec<Gate> = [shard::GATES, calls::GATES, store::GATES, completed::GATES].concat();
    gate::main(&gates)
}

/// A 64-bit hash of a number, the same in every run: the finaliser of splitmix64.
fn hash(number: u32) -> u64 {
    let mut x = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number below `size` for each round, without order.
fn any_below(size: u32, round: u32) -> u32 {
    let high = hash(round ^ 0x5bd1_e995) >> 32;
    u32::try_from((high * u64::from(size)) >> 32).expect("below size")
}
