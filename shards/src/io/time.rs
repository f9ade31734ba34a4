//! Time as it is handed to a shard. Neither type has a `now()`.

use core::time::Duration;

/// A point in monotonic time: nanoseconds since the process (or the simulated world) started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the process.
    pub const START: Instant = Instant(0);
    /// Later than anything: for what is not due at all.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This point moved forward by `seconds`; saturates at the end of time (584 years).
    #[must_use]
    pub const fn plus_secs(self, seconds: u32) -> Self {
        Instant(self.0.saturating_add(seconds as u64 * 1_000_000_000))
    }

    /// This point moved forward by `duration`; saturates like [`plus_secs`](Self::plus_secs).
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this point; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds from this point until `deadline`, rounded up; zero once it has passed.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "compared with u32::MAX first")]
    pub const fn secs_until(self, deadline: Instant) -> u32 {
        let seconds = deadline.0.saturating_sub(self.0).div_ceil(1_000_000_000);
        if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
    }
}

/// Wall-clock time in whole seconds since 1970-01-01T00:00:00Z. It may step backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_seconds_are_rounded_up_and_never_negative() {
        let deadline = Instant::START.plus_secs(10);
        assert_eq!(Instant::START.secs_until(deadline), 10);
        assert_eq!(Instant::from_nanos(1).secs_until(deadline), 10);
        assert_eq!(Instant::from_nanos(9_000_000_001).secs_until(deadline), 1);
        assert_eq!(deadline.secs_until(deadline), 0);
        assert_eq!(deadline.plus_secs(5).secs_until(deadline), 0);
    }
}
