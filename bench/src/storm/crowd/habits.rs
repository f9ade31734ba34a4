//! How user agents are by nature: which client each is, when it refreshes, whether it honours Retry-After and how long it waits after a
//! failure. It keeps no state: all follows from the scenario, the seed and the user agent's number.

use super::super::record::Scaled;
use super::super::scenario::{Arrival, Client, Refresh, Retry, Scenario};
use super::arrival::parts;
use super::draw::{self, For};

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Silence: Timer F.
    Timeout,
    /// A final response that is not 200, with what its Retry-After says in seconds.
    Refusal { retry_after_secs: Option<u32> },
}

/// All habits of a population.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    clients: Vec<Client>,
    /// Up to which share each client reaches.
    until: Vec<f64>,
    honour_retry_after: f64,
    /// By user agents' numbers.
    refresh: Vec<((u32, u32), Refresh)>,
    /// Width of the time to a refresh to both sides, as a share of it.
    refresh_spread: f64,
    /// Where others begin, and nanoseconds between two refreshes of each.
    others_from: u32,
    others_every_ns: u64,
    seed: u64,
}

impl Habits {
    pub(super) fn new(
        scenario: &Scenario,
        scaled: &Scaled,
        others_every_ns: u64,
        seed: u64,
    ) -> Habits {
        let sum: f64 = scenario.clients.iter().map(|client| client.share).sum();
        let mut until = Vec::with_capacity(scenario.clients.len());
        let mut reached = 0.0;
        for client in &scenario.clients {
            reached += client.share / sum;
            until.push(reached);
        }
        let refresh_spread = match scaled.arrival {
            Arrival::Herd { spread, .. } => spread,
            Arrival::Steady { .. }
            | Arrival::Uniform { .. }
            | Arrival::Ramp { .. }
            | Arrival::Waves { .. } => 0.0,
        };
        Habits {
            clients: scenario.clients.clone(),
            until,
            honour_retry_after: scenario.honour_retry_after,
            refresh: parts(scaled.user_agents, &scenario.registration.refresh),
            refresh_spread,
            others_from: scaled.user_agents,
            others_every_ns,
            seed,
        }
    }

    /// Which of the scenario's clients a user agent is.
    pub(super) fn client(&self, number: u32) -> usize {
        let share = draw::share(self.seed, number, For::Client, 0);
        let place = self.until.iter().position(|until| share < *until);
        place.unwrap_or(self.until.len().saturating_sub(1))
    }

    /// Whether a user agent waits as long as a Retry-After says.
    pub(super) fn honours_retry_after(&self, number: u32) -> bool {
        draw::share(self.seed, number, For::Honour, 0) < self.honour_retry_after
    }

    /// Nanoseconds after a failure until a user agent tries again. `failures` counts this one; `cseq` is the attempt's.
    pub(super) fn wait_ns(&self, number: u32, failure: Failure, failures: u8, cseq: u32) -> u64 {
        if let Failure::Refusal { retry_after_secs: Some(secs) } = failure
            && self.honours_retry_after(number)
        {
            return u64::from(secs) * 1_000_000_000;
        }
        let drawn = draw::share(self.seed, number, For::Wait, cseq);
        let secs = match self.clients.get(self.client(number)).map(|client| client.retry) {
            Some(Retry::Fixed { after_timeout_secs, after_refusal_secs, spread }) => {
                let secs = match failure {
                    Failure::Timeout => after_timeout_secs,
                    Failure::Refusal { .. } => after_refusal_secs,
                };
                secs * (1.0 + spread * (2.0 * drawn - 1.0))
            }
            Some(Retry::Backoff { base_secs, most_secs }) => {
                // RFC 5626 4.5.
                let most = most_secs.min(base_secs * f64::from(failures.min(60)).exp2());
                most * (0.5 + 0.5 * drawn)
            }
            // A scenario without clients: nobody tries again.
            None => return u64::MAX,
        };
        (secs.max(0.0) * 1e9) as u64
    }

    /// Nanoseconds after a 200 that granted so many seconds until a user agent refreshes.
    pub(super) fn refresh_ns(&self, number: u32, granted_secs: u32, cseq: u32) -> u64 {
        if number >= self.others_from {
            return self.others_every_ns;
        }
        let own = self.refresh.iter().find(|((_, end), _)| number < *end);
        let at = own.map_or(0.5, |(_, refresh)| refresh.at);
        let mut secs = f64::from(granted_secs) * at;
        if self.refresh_spread > 0.0 {
            let drawn = draw::share(self.seed, number, For::Refresh, cseq);
            secs *= 1.0 + self.refresh_spread * (2.0 * drawn - 1.0);
        }
        (secs * 1e9) as u64
    }
}
