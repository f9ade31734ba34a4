//! The clocks of a worker. They are read here and passed on as arguments; nothing else in the loop asks for the time.

use shards::io::{Instant, UnixTime};
use std::time::{Duration, SystemTime};

/// Monotonic time since the process started; every core's copy counts from the same point.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

/// Wall-clock time, read once a batch.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    nanos: u64,
    read_at: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: std::time::Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::START.plus(self.start.elapsed())
    }

    /// Wall-clock time beside monotonic time.
    #[must_use]
    pub fn wall(&self) -> Wall {
        let since_1970 =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        Wall { nanos, read_at: self.now() }
    }
}

impl Wall {
    /// In the shape that shards take.
    #[must_use]
    pub const fn unix(self) -> UnixTime {
        UnixTime(self.nanos / 1_000_000_000)
    }

    /// When it was read.
    #[must_use]
    pub const fn read_at(self) -> Instant {
        self.read_at
    }

    /// How old at `now` something is that the kernel stamped with wall-clock time. Zero where the stamp is missing or,
    /// since the wall clock may step, lies ahead.
    #[must_use]
    pub fn age(self, stamp_ns: Option<u64>, now: Instant) -> Duration {
        let Some(stamp_ns) = stamp_ns else { return Duration::ZERO };
        Duration::from_nanos(self.nanos.saturating_sub(stamp_ns))
            .saturating_add(now.since(self.read_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_stamp_and_is_never_negative() {
        let read_at = Instant::from_nanos(1_000);
        let wall = Wall { nanos: 50_000, read_at };
        assert_eq!(wall.age(Some(49_000), read_at), Duration::from_nanos(1_000));
        assert_eq!(wall.age(Some(49_000), Instant::from_nanos(1_500)), Duration::from_nanos(1_500));
        assert_eq!(wall.age(Some(60_000), read_at), Duration::ZERO);
        assert_eq!(wall.age(None, Instant::from_nanos(9_000)), Duration::ZERO);
    }

    #[test]
    fn wall_clock_time_is_of_this_age() {
        let clock = Clock::start();
        assert!(clock.wall().unix() > UnixTime(1_700_000_000));
        assert!(clock.now() <= clock.now());
    }
}
