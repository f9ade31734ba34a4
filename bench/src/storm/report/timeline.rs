//! The seconds of a run, folded to as many moments as a plot can show: rates are means of their seconds, and states those of the last.

use crate::storm::record::{Run, Second};

/// More would not be told apart in a plot, and make the page heavy.
const MOMENTS_MOST: usize = 400;

/// One step of the horizontal axis.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    /// Its start, in seconds from the start of the arrival.
    pub(super) from_secs: f64,
    /// Its end.
    pub(super) to_secs: f64,
    pub(super) seconds: &'a [Second],
}

/// The moments of a run, in order.
pub(super) fn moments(run: &Run) -> Vec<Moment<'_>> {
    let each = run.seconds.len().div_ceil(MOMENTS_MOST).max(1);
    let mut from_secs = run.seconds.first().map_or(0.0, |second| second.at_secs - 1.0);
    run.seconds
        .chunks(each)
        .map(|seconds| {
            let to_secs = seconds.last().map_or(from_secs, |second| second.at_secs);
            let moment = Moment { from_secs, to_secs, seconds };
            from_secs = to_secs;
            moment
        })
        .collect()
}

impl Moment<'_> {
    /// Its middle, where a mean is drawn.
    pub(super) fn at(&self) -> f64 {
        f64::midpoint(self.from_secs, self.to_secs)
    }

    /// The mean of its seconds.
    pub(super) fn mean(&self, of: impl Fn(&Second) -> f64) -> f64 {
        self.seconds.iter().map(of).sum::<f64>() / self.seconds.len().max(1) as f64
    }

    /// The largest of its seconds.
    pub(super) fn most(&self, of: impl Fn(&Second) -> f64) -> f64 {
        self.seconds.iter().map(of).fold(0.0, f64::max)
    }

    /// The state at its end.
    pub(super) fn last(&self, of: impl Fn(&Second) -> f64) -> f64 {
        self.seconds.last().map_or(0.0, of)
    }

    /// What is said of it where somebody points at it.
    pub(super) fn named(&self) -> String {
        match self.seconds.len() {
            1 => format!("second {:.0}", self.to_secs),
            _ => format!("seconds {:.0} to {:.0}", self.from_secs + 1.0, self.to_secs),
        }
    }
}
