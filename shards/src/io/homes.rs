//! Which core something lives on.

use super::CoreId;

/// The cores that own a partition of the location table and a share of the transactions: `count` cores from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homes {
    /// The first of them.
    pub first: CoreId,
    /// How many there are, at least 1.
    pub count: u16,
}

impl Homes {
    /// All of a node's `cores`.
    #[must_use]
    pub const fn all(cores: u16) -> Self {
        Homes { first: CoreId(0), count: cores }
    }

    /// Whether anything lives on a core.
    #[must_use]
    pub const fn has(&self, core: CoreId) -> bool {
        core.0 >= self.first.0 && core.0 - self.first.0 < self.count
    }

    /// The core on which whatever has this keyed hash lives. It reads the upper bits, the tables inside a core the lower.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the product of two 64-bit halves, less than count"
    )]
    pub const fn home(self, hash: u64) -> CoreId {
        CoreId(self.first.0 + ((hash as u128 * self.count as u128) >> 64) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_spread_over_all_cores_and_no_others() {
        let homes = Homes { first: CoreId(2), count: 3 };
        assert_eq!(homes.home(0), CoreId(2));
        assert_eq!(homes.home(u64::MAX), CoreId(4));
        assert_eq!(homes.home(u64::MAX / 2), CoreId(3));
    }
}
