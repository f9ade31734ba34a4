//! Chance: numbers that follow from the seed, a user agent's number and what is drawn. It has no state.

use crate::population::mix;

/// What is drawn for a user agent, or for one of its attempts.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    /// Which client it is.
    Client = 1,
    /// Whether it honours Retry-After.
    Honour = 2,
    /// How long it waits before it tries again.
    Wait = 3,
    /// When it refreshes, where that differs from time to time.
    Refresh = 4,
    /// Whether it keeps its binding alive by OPTIONS.
    KeepAlive = 5,
    /// What a hostile sender does.
    Hostile = 6,
}

/// 64 bits without order.
pub(super) fn bits(seed: u64, number: u64, salt: u64) -> u64 {
    mix(mix(seed ^ salt.rotate_left(32)) ^ number)
}

/// Evenly from 0 to 1, without 1.
pub(super) fn share(seed: u64, number: u32, what: For, time: u32) -> f64 {
    unit(bits(seed, u64::from(number), ((what as u64) << 32) | u64::from(time)))
}

/// Evenly from 0 to 1, without 0.
pub(super) fn above_zero(seed: u64, number: u32, time: u32) -> f64 {
    1.0 - unit(bits(seed, u64::from(number), u64::from(time)))
}

/// Evenly from 0 to 1, without 1.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
