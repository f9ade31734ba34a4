//! Durations counted into buckets: eight to each power of two, so that a bucket's bounds differ by 12.5 %. A fixed array
//! of plain integers: recording is an index and an addition, and a copy is a copy.

use std::time::Duration;

/// Buckets to a power of two.
const STEPS: usize = 8;
/// Durations below 2^5 ns share the first bucket.
const FIRST_POWER: usize = 5;
/// Durations of 2^37 ns (137 s) and more share the last bucket.
const LAST_POWER: usize = 37;
const BUCKETS: usize = (LAST_POWER - FIRST_POWER) * STEPS + 2;

/// How often durations of each size occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [0; BUCKETS], count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        self.max_ns = self.max_ns.max(nanos);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// The longest of them.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// How many were shorter than 2^`power` nanoseconds, exactly; for `power` from 5 to 37.
    #[must_use]
    pub fn below_power_of_two(&self, power: u32) -> u64 {
        let power = (power as usize).clamp(FIRST_POWER, LAST_POWER);
        self.buckets[..=(power - FIRST_POWER) * STEPS].iter().sum()
    }

    /// A bound that the share `quantile` (from 0 to 1) of all durations does not exceed, at most 12.5 % above the true one;
    /// `None` where nothing was counted.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank is a count scaled by at most 1"
    )]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64)
            .clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(upper_bound(index).min(self.max_ns)));
            }
        }
        None
    }

    /// Adds another's counts, such as another core's.
    pub fn add(&mut self, other: &Histogram) {
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

#[inline]
fn bucket(nanos: u64) -> usize {
    if nanos < 1 << FIRST_POWER {
        return 0;
    }
    let power = nanos.ilog2() as usize;
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    // The three bits below the highest one.
    let step = (nanos >> (power - 3) & 7) as usize;
    1 + (power - FIRST_POWER) * STEPS + step
}

/// The largest duration of a bucket.
fn upper_bound(index: usize) -> u64 {
    if index == 0 {
        return (1 << FIRST_POWER) - 1;
    }
    if index == BUCKETS - 1 {
        return u64::MAX;
    }
    let (power, step) = ((index - 1) / STEPS + FIRST_POWER, (index - 1) % STEPS);
    (1 << power) + ((step as u64 + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_touch_and_do_not_overlap() {
        let mut expected = 0;
        for index in 0..BUCKETS {
            assert_eq!(bucket(expected), index, "the first of bucket {index}");
            assert_eq!(bucket(upper_bound(index)), index, "the last of bucket {index}");
            expected = upper_bound(index).wrapping_add(1);
        }
        assert_eq!(expected, 0, "the last bucket reaches to the end");
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, micros) in [(0.0, 1), (0.5, 5_000), (0.99, 9_900), (1.0, 10_000)] {
            let found = histogram.quantile(quantile).unwrap();
            let truth = Duration::from_micros(micros);
            assert!(
                found >= truth && found <= truth + truth / 8,
                "{quantile}: {found:?} for {truth:?}"
            );
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.max(), Duration::from_millis(10));
        assert_eq!(histogram.sum(), Duration::from_micros(50_005_000));
    }

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        let mut histogram = Histogram::default();
        for nanos in [0, 31, 32, 1023, 1024, 1 << 36, 1 << 37, u64::MAX] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let below: Vec<u64> =
            [5, 6, 10, 11, 36, 37].iter().map(|p| histogram.below_power_of_two(*p)).collect();
        assert_eq!(below, [2, 3, 4, 5, 5, 6]);
        let mut sum = Histogram::default();
        sum.add(&histogram);
        sum.add(&histogram);
        assert_eq!(sum.below_power_of_two(10), 8);
        assert_eq!(sum.count(), 16);
    }
}
