//! Latencies by class in histograms; it records and adds, and knows nothing of time or files.

use hdrhistogram::Histogram;

use super::record::{Class, Percentiles};

/// The longest time that is told from longer ones, in nanoseconds: an hour.
const NS_MAX: u64 = 3_600_000_000_000;
/// What is shorter counts as so long, in nanoseconds.
const NS_MIN: u64 = 1_000;

/// One histogram in nanoseconds for each [`Class`].
#[derive(Clone, Debug)]
pub struct Tally {
    histograms: [Histogram<u64>; Class::ALL.len()],
}

impl Default for Tally {
    fn default() -> Tally {
        // The bounds are valid by the crate's rules.
        let empty = || Histogram::new_with_bounds(NS_MIN, NS_MAX, 3).expect("valid bounds");
        Tally { histograms: std::array::from_fn(|_| empty()) }
    }
}

impl Tally {
    /// Records one latency.
    pub fn record(&mut self, class: Class, ns: u64) {
        self.histograms[class as usize].saturating_record(ns.max(NS_MIN));
    }

    /// Records all that another histogram in nanoseconds holds.
    pub fn merge(&mut self, class: Class, others: &Histogram<u64>) {
        for value in others.iter_recorded() {
            let ns = value.value_iterated_to().clamp(NS_MIN, NS_MAX);
            self.histograms[class as usize].saturating_record_n(ns, value.count_at_value());
        }
    }

    /// Those of a class.
    pub fn of(&self, class: Class) -> &Histogram<u64> {
        &self.histograms[class as usize]
    }

    /// Adds a histogram to those of a class.
    ///
    /// # Errors
    /// Its times are longer than an hour.
    pub fn add_to(
        &mut self,
        class: Class,
        other: &Histogram<u64>,
    ) -> Result<(), hdrhistogram::AdditionError> {
        self.histograms[class as usize].add(other)
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Tally) {
        for (own, others) in self.histograms.iter_mut().zip(&other.histograms) {
            // Both have the same bounds.
            own.add(others).expect("equal bounds");
        }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        for histogram in &mut self.histograms {
            histogram.reset();
        }
    }
}

impl Percentiles {
    /// Those of a histogram in nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_times() {
        let mut tally = Tally::default();
        for (place, class) in Class::ALL.into_iter().enumerate() {
            tally.record(class, 1_000_000 * (place as u64 + 1));
        }
        let mut sum = tally.clone();
        sum.add(&tally);
        for (place, class) in Class::ALL.into_iter().enumerate() {
            let percentiles = Percentiles::of(sum.of(class));
            assert_eq!(percentiles.count, 2);
            let expected_us = 1_000.0 * (place as f64 + 1.0);
            assert!((percentiles.p50_us / expected_us - 1.0).abs() < 0.01, "{percentiles:?}");
        }
        sum.clear();
        assert_eq!(Percentiles::of(sum.of(Class::Refusal)), Percentiles::default());
    }

    #[test]
    fn what_is_too_long_or_too_short_is_kept_at_the_bounds() {
        let mut tally = Tally::default();
        tally.record(Class::Refusal, 0);
        tally.record(Class::Refusal, u64::MAX);
        assert_eq!(tally.of(Class::Refusal).len(), 2);
    }
}
