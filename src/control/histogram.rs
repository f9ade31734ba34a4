//! A histogram of durations that costs a core a few instructions a value: a bucket for each power of two.

use std::time::Duration;

/// The exponent of the first bucket's upper bound: 2^8 = 256 ns.
const FIRST_BITS: u32 = 8;
/// Up to 2^34 ns, 17 seconds; what is longer falls into a bucket without a bound.
const BOUNDED_BUCKETS: usize = 27;

/// How many durations fell into each bucket, and their sum. Plain integers of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDED_BUCKETS + 1],
    sum_ns: u64,
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        // The bits that `ns - 1` needs are the exponent of the least power of two that is not below `ns`.
        let bits = u64::BITS - ns.saturating_sub(1).leading_zeros();
        let bucket = (bits.saturating_sub(FIRST_BITS) as usize).min(BOUNDED_BUCKETS);
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        seconds(self.sum_ns)
    }

    /// The buckets, shortest first: upper bound in seconds (included; infinite for the last) and how many fell into it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bound = |index: usize| {
            if index == BOUNDED_BUCKETS {
                f64::INFINITY
            } else {
                seconds(1 << (index + FIRST_BITS as usize))
            }
        };
        self.counts.iter().enumerate().map(move |(index, &count)| (bound(index), count))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people and graphs; 53 bits are plenty")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_above_its_bound() {
        for (ns, bound) in [
            (0, 256e-9),
            (256, 256e-9),
            (257, 512e-9),
            (1 << 20, f64::from(1 << 20) / 1e9),
            ((1 << 20) + 1, f64::from(1 << 21) / 1e9),
            (1 << 34, 17.179_869_184),
            ((1 << 34) + 1, f64::INFINITY),
            (u64::MAX, f64::INFINITY),
        ] {
            let mut histogram = Histogram::default();
            histogram.record_ns(ns);
            let filled: Vec<_> = histogram.buckets().filter(|&(_, count)| count > 0).collect();
            assert_eq!(filled, [(bound, 1)], "{ns} ns");
        }
    }

    #[test]
    fn the_sum_is_kept_and_never_wraps() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_millis(1500));
        histogram.record(Duration::from_millis(500));
        assert_eq!((histogram.count(), histogram.sum_seconds()), (2, 2.0));
        histogram.record(Duration::MAX);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 4);
    }
}
