//! When user agents begin: owns how many of them have begun. It knows nothing of what they do then.
//!
//! The times are those of a sample: each user agent's is drawn from the arrival's distribution, independently of the others, by inverse transform. They
//! are drawn in rising order (each is the lowest of those that are left), so that user agents begin in the order of their numbers and nothing is stored
//! for those who have not begun.

use super::super::record::Scaled;
use super::super::scenario::{Arrival, Refresh};
use super::draw;

/// How the times of a stream of user agents are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    /// Evenly over so many seconds.
    Even { over_secs: f64 },
    /// A share 1 - exp(-t / tau) by t, of what is not cut off.
    Exponential { tau_secs: f64, kept: f64 },
    /// A share 1 - (tau / t)^exponent by t, of what is not cut off.
    Pareto { tau_secs: f64, exponent: f64, kept: f64 },
    /// Equal groups one after the other, each evenly over some seconds.
    Waves { count: f64, every_secs: f64, over_secs: f64 },
}

impl Spread {
    /// The time by which a share of 1 - `left` has come, in seconds.
    fn time_secs(self, left: f64) -> f64 {
        match self {
            Spread::Even { over_secs } => (1.0 - left) * over_secs,
            Spread::Exponential { tau_secs, kept } => -tau_secs * (-kept * (1.0 - left)).ln_1p(),
            Spread::Pareto { tau_secs, exponent, kept } => {
                tau_secs * (1.0 - kept * (1.0 - left)).powf(-1.0 / exponent)
            }
            Spread::Waves { count, every_secs, over_secs } => {
                let at = (1.0 - left) * count;
                let wave = at.floor().min(count - 1.0);
                wave * every_secs + (at - wave) * over_secs
            }
        }
    }
}

/// User agents with neighbouring numbers who come by the same curve.
#[derive(Clone, Debug)]
struct Stream {
    spread: Spread,
    start_ns: u64,
    /// Whose turn is next, and where they end.
    next: u32,
    end: u32,
    /// When it is.
    due_ns: u64,
    /// The part of the distribution behind that time.
    left: f64,
    seed: u64,
}

impl Stream {
    /// Draws the next time: the lowest of as many as are left.
    fn draw(&mut self) {
        if self.next == self.end {
            self.due_ns = u64::MAX;
            return;
        }
        let still = f64::from(self.end - self.next);
        self.left *= (draw::above_zero(self.seed, self.next, 0).ln() / still).exp();
        let secs = self.spread.time_secs(self.left).max(0.0);
        // Beyond what any run lasts.
        let ns = (secs * 1e9).min(1e18) as u64;
        self.due_ns = self.due_ns.max(self.start_ns.saturating_add(ns));
    }
}

/// All who have not begun.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    streams: Vec<Stream>,
}

impl Arrivals {
    /// The arrival of a scenario from `start_ns` on, of user agents from number 0.
    pub(super) fn new(scaled: &Scaled, refresh: &[Refresh], start_ns: u64, seed: u64) -> Arrivals {
        let mut arrivals = Arrivals { streams: Vec::new() };
        let all = scaled.user_agents;
        match scaled.arrival {
            // The shares of the refreshes fall on neighbours, who are as far from each other as any others in everything else.
            Arrival::Steady { .. } => {
                for (range, refresh) in parts(all, refresh) {
                    let over_secs = refresh.at * f64::from(scaled.expires_secs);
                    arrivals.add(range, Spread::Even { over_secs }, start_ns, seed);
                }
            }
            Arrival::Uniform { over_secs } => {
                arrivals.add((0, all), Spread::Even { over_secs }, start_ns, seed);
            }
            Arrival::Ramp { tau_secs, tail_exponent, tail_share, most_secs } => {
                let stragglers = (f64::from(all) * tail_share).round() as u32;
                let split = all - stragglers.min(all);
                let kept = -(-most_secs / tau_secs).exp_m1();
                arrivals.add((0, split), Spread::Exponential { tau_secs, kept }, start_ns, seed);
                let kept = 1.0 - (tau_secs / most_secs.max(tau_secs)).powf(tail_exponent);
                let spread = Spread::Pareto { tau_secs, exponent: tail_exponent, kept };
                arrivals.add((split, all), spread, start_ns, seed);
            }
            Arrival::Waves { count, every_secs, over_secs } => {
                let spread =
                    Spread::Waves { count: f64::from(count.max(1)), every_secs, over_secs };
                arrivals.add((0, all), spread, start_ns, seed);
            }
            Arrival::Herd { spread, .. } => {
                for (range, refresh) in parts(all, refresh) {
                    let over_secs = 2.0 * spread * refresh.at * f64::from(scaled.expires_secs);
                    arrivals.add(range, Spread::Even { over_secs }, start_ns, seed);
                }
            }
        }
        arrivals
    }

    /// Others come, too: those with the numbers of `range`, evenly over so many seconds from the start of the run.
    pub(super) fn add_others(&mut self, range: (u32, u32), over_secs: f64, seed: u64) {
        self.add(range, Spread::Even { over_secs }, 0, seed);
    }

    fn add(&mut self, (next, end): (u32, u32), spread: Spread, start_ns: u64, seed: u64) {
        let mut stream = Stream { spread, start_ns, next, end, due_ns: 0, left: 1.0, seed };
        stream.draw();
        self.streams.push(stream);
    }

    /// When the next begins.
    pub(super) fn deadline_ns(&self) -> u64 {
        self.streams.iter().map(|stream| stream.due_ns).min().unwrap_or(u64::MAX)
    }

    /// The next who begins by `now_ns`, and when.
    pub(super) fn next_due(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        let stream = self.streams.iter_mut().min_by_key(|stream| stream.due_ns)?;
        if stream.due_ns > now_ns {
            return None;
        }
        let arrived = (stream.next, stream.due_ns);
        stream.next += 1;
        stream.draw();
        Some(arrived)
    }
}

/// The ranges of the numbers below `all` on which the shares fall.
pub(super) fn parts(all: u32, refresh: &[Refresh]) -> Vec<((u32, u32), Refresh)> {
    let sum: f64 = refresh.iter().map(|refresh| refresh.share).sum();
    let (mut start, mut until) = (0, 0.0);
    let mut parts = Vec::with_capacity(refresh.len());
    for refresh in refresh {
        until += refresh.share / sum;
        let end = ((f64::from(all) * until).round() as u32).min(all);
        parts.push(((start, end), *refresh));
        start = end;
    }
    if let Some(((_, end), _)) = parts.last_mut() {
        *end = all;
    }
    parts
}
