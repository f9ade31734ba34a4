//! When requests are due: the open and the closed loop; pure arithmetic on nanoseconds.

use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// How requests are paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many requests always in flight: finds what a server can do.
    Closed {
        /// Requests in flight.
        window: u32,
    },
    /// So many requests a second whatever the server does, each timed from when it was due.
    Open {
        /// Requests a second, at least one.
        rate: u32,
    },
    /// The same with one request after each such time, for rates that are no whole number.
    Every {
        /// Nanoseconds, at least one.
        interval_ns: u64,
    },
}

impl Pace {
    /// Requests a second of an open loop, rounded up.
    pub(crate) fn rate(self) -> Option<u32> {
        match self {
            Pace::Closed { .. } => None,
            Pace::Open { rate } => Some(rate),
            Pace::Every { interval_ns } => {
                let rate = SECOND_NS.div_ceil(interval_ns.max(1));
                Some(u32::try_from(rate).unwrap_or(u32::MAX))
            }
        }
    }

    /// How many requests may leave now, after `sent` others with `waiting` of them in flight.
    pub(crate) fn allowance(self, now_ns: u64, sent: u64, waiting: u32) -> u64 {
        match self {
            Pace::Closed { window } => u64::from(window.saturating_sub(waiting)),
            Pace::Open { rate } => {
                // Request n is due at n / rate, so the first at once.
                let rate = u64::from(rate);
                let due = now_ns / SECOND_NS * rate + now_ns % SECOND_NS * rate / SECOND_NS + 1;
                due.saturating_sub(sent)
            }
            Pace::Every { interval_ns } => (now_ns / interval_ns.max(1) + 1).saturating_sub(sent),
        }
    }

    /// When request `number` is due; in the closed loop: when it leaves.
    pub(crate) fn due_ns(self, number: u64, now_ns: u64) -> u64 {
        match self {
            Pace::Closed { .. } => now_ns,
            Pace::Open { rate } => {
                let rate = u64::from(rate);
                number / rate * SECOND_NS + (number % rate * SECOND_NS).div_ceil(rate)
            }
            Pace::Every { interval_ns } => number.saturating_mul(interval_ns.max(1)),
        }
    }

    /// Requests that can be in flight, or lost and not yet given up, at the same time.
    pub(crate) fn flight_room(self, timeout: Duration) -> usize {
        match self {
            // Lost requests hold their place until they are given up while others go on.
            Pace::Closed { window } => (window as usize * 4).max(1 << 20),
            Pace::Every { .. } => {
                let rate = self.rate().unwrap_or(1);
                Pace::Open { rate }.flight_room(timeout)
            }
            Pace::Open { rate } => {
                let milliseconds = usize::try_from(timeout.as_millis()).unwrap_or(usize::MAX);
                let in_timeout = (rate as usize).saturating_mul(milliseconds) / 1000;
                (in_timeout + in_timeout / 4 + 65_536).min(1 << 24)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_keeps_its_schedule() {
        let open = [1, 3, 999, 50_000, 333_333].map(|rate| Pace::Open { rate });
        let every = [7, 30_000, 2_500_000_000].map(|interval_ns| Pace::Every { interval_ns });
        for pace in open.into_iter().chain(every) {
            let mut sent = 0;
            let mut now_ns = 0;
            // Looked at irregularly, and once not for a long time.
            for step in 0..10_000_u64 {
                now_ns += if step == 5000 { 3_000_000_000 } else { 1 + step * 7919 % 40_000 };
                let allowed = pace.allowance(now_ns, sent, 0);
                for number in sent..sent + allowed {
                    let due = pace.due_ns(number, now_ns);
                    assert!(due <= now_ns, "{number} of {pace:?} is due at {due}, not {now_ns}");
                }
                sent += allowed;
                let next_due = pace.due_ns(sent, now_ns);
                assert!(next_due > now_ns, "{sent} of {pace:?} was due at {next_due}");
            }
            let expected = match pace {
                Pace::Open { rate } => u128::from(now_ns) * u128::from(rate) / 1_000_000_000 + 1,
                Pace::Every { interval_ns } => u128::from(now_ns / interval_ns) + 1,
                Pace::Closed { .. } => panic!("no open loop"),
            };
            assert_eq!(u128::from(sent), expected);
        }
    }

    #[test]
    fn a_closed_loop_refills_its_window() {
        let pace = Pace::Closed { window: 10 };
        assert_eq!(pace.allowance(5, 100, 0), 10);
        assert_eq!(pace.allowance(5, 100, 7), 3);
        assert_eq!(pace.allowance(5, 100, 10), 0);
        assert_eq!(pace.due_ns(110, 77), 77);
    }
}
