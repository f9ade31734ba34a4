//! Scales from values to places, and the values at which an axis is marked. It draws nothing.

use super::number::{plain, whole};

/// No figure of a run is larger; within it every step can be told from the next.
const LARGEST: f64 = 1e15;

/// Maps values to places on a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    kind: Kind,
    /// The values at its ends; they differ.
    least: f64,
    most: f64,
    /// The places of those.
    from: f64,
    to: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Logarithmic,
}

impl Scale {
    /// Even steps for even differences.
    pub(super) fn linear(least: f64, most: f64, from: f64, to: f64) -> Scale {
        let least = if least.is_finite() { least.clamp(-LARGEST, LARGEST) } else { 0.0 };
        let most =
            if most.is_finite() && most > least { most.min(2.0 * LARGEST) } else { least + 1.0 };
        Scale { kind: Kind::Linear, least, most, from, to }
    }

    /// Even steps for even ratios.
    pub(super) fn logarithmic(least: f64, most: f64, from: f64, to: f64) -> Scale {
        let least = if least > 0.0 { least.clamp(1.0 / LARGEST, LARGEST) } else { 1.0 };
        let most =
            if most.is_finite() && most > least { most.min(10.0 * LARGEST) } else { least * 10.0 };
        Scale { kind: Kind::Logarithmic, least, most, from, to }
    }

    /// The place of a value; those outside are at the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.kind {
            Kind::Linear => (value - self.least) / (self.most - self.least),
            Kind::Logarithmic => {
                (value.max(f64::MIN_POSITIVE) / self.least).log10()
                    / (self.most / self.least).log10()
            }
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Its least value.
    pub(super) fn least(&self) -> f64 {
        self.least
    }

    /// Its largest.
    pub(super) fn most(&self) -> f64 {
        self.most
    }

    /// Round values on it, about so many.
    pub(super) fn ticks(&self, about: usize) -> Vec<f64> {
        match self.kind {
            Kind::Linear => {
                let step = step(self.most - self.least, about);
                let first = (self.least / step - 1e-9).ceil();
                let count = (self.most / step + 1e-9).floor() - first;
                (0..=whole(count.clamp(0.0, 100.0))).map(|n| (first + n as f64) * step).collect()
            }
            Kind::Logarithmic => {
                let first = (self.least.log10() - 1e-9).ceil();
                let count = (self.most.log10() + 1e-9).floor() - first;
                (0..=whole(count.clamp(0.0, 40.0))).map(|n| 10_f64.powf(first + n as f64)).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that about so many of it fill the span.
fn step(span: f64, about: usize) -> f64 {
    let rough = span / about.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let by = [1.0, 2.0, 5.0, 10.0].into_iter().find(|by| by * power >= rough * 0.999);
    by.unwrap_or(10.0) * power
}

/// The next round value at or above, which leaves a little room.
pub(super) fn round_up(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1.0;
    }
    let step = step(value, 4);
    (value / step - 1e-9).ceil() * step
}

/// The power of ten at or below.
pub(super) fn decade_below(value: f64) -> f64 {
    10_f64.powf((value.max(1e-12).log10() + 1e-9).floor())
}

/// The power of ten at or above.
pub(super) fn decade_above(value: f64) -> f64 {
    10_f64.powf((value.max(1e-12).log10() - 1e-9).ceil())
}

/// A percentile as people write it: `0`, `90`, `99.9`.
pub(super) fn percentile(nines: f64) -> String {
    match whole(nines) {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        nines @ 3..=12 => format!("99.{} %", "9".repeat(usize::try_from(nines).unwrap_or(3) - 2)),
        more => format!("1 − 10^−{} ", plain(more as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::linear(-5.0, 32.0, 0.0, 1.0).ticks(5), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(Scale::linear(0.0, 1.0, 0.0, 1.0).ticks(4).len(), 3);
        assert_eq!(Scale::logarithmic(0.5, 100.0, 0.0, 1.0).ticks(5), [1.0, 10.0, 100.0]);
    }

    #[test]
    fn whatever_the_values_every_place_is_a_number() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1.0, 1e308];
        for least in odd {
            for most in odd {
                for scale in [
                    Scale::linear(least, most, 0.0, 10.0),
                    Scale::logarithmic(least, most, 0.0, 10.0),
                ] {
                    assert!(scale.ticks(5).len() <= 101);
                    for value in [0.0, 1.0, -1.0, f64::MAX] {
                        let place = scale.at(value);
                        assert!((0.0..=10.0).contains(&place), "{scale:?} {value} {place}");
                    }
                }
            }
            assert!(round_up(least).is_finite() || least.is_infinite(), "{least}");
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_value() {
        assert_eq!([0.0, 0.9, 3.0, 97.0, 1_234.0].map(round_up), [1.0, 1.0, 3.0, 100.0, 1_500.0]);
        assert_eq!((decade_below(0.3), decade_above(0.3)), (0.1, 1.0));
        assert_eq!([0.0, 1.0, 2.0, 4.0].map(percentile), ["0 %", "90 %", "99 %", "99.99 %"]);
    }
}
