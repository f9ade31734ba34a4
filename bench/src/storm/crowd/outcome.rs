//! How long it took until user agents were registered: owns their times by client, how evenly they fell, and when which part of all was
//! done. It sees the first registration of each user agent alone.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

use super::super::record::{ClientOutcome, Outcome};
use super::super::scenario::Scenario;

/// The parts in percent whose times are reported.
const PERCENTS: [u32; 4] = [50, 90, 99, 100];

/// The times of one kind of client, in microseconds.
#[derive(Debug)]
struct Times {
    name: String,
    user_agents: u64,
    attempts: u64,
    histogram: Histogram<u64>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ends {
    start_ns: u64,
    user_agents: u64,
    registered: u64,
    clients: Vec<Times>,
    /// When each of [`PERCENTS`] was reached, in nanoseconds of the run.
    reached_ns: [Option<u64>; PERCENTS.len()],
    /// Over the times of those who honour Retry-After, in seconds: how many, their sum, and the sum of their squares.
    fair: (f64, f64, f64),
}

impl Ends {
    /// Of user agents of which so many are of each client, and whose arrival starts at `start_ns`.
    pub(super) fn new(scenario: &Scenario, by_client: &[u64], start_ns: u64) -> Ends {
        let clients = scenario.clients.iter().zip(by_client).map(|(client, &user_agents)| Times {
            name: client.name.clone(),
            user_agents,
            attempts: 0,
            // A day in microseconds: valid bounds.
            histogram: Histogram::new_with_bounds(1, 86_400_000_000, 3).expect("valid bounds"),
        });
        Ends {
            start_ns,
            user_agents: by_client.iter().sum(),
            registered: 0,
            clients: clients.collect(),
            reached_ns: [None; PERCENTS.len()],
            fair: (0.0, 0.0, 0.0),
        }
    }

    /// How many have been registered.
    pub(super) fn registered(&self) -> u64 {
        self.registered
    }

    /// A user agent of this client began an attempt.
    pub(super) fn attempt(&mut self, client: usize) {
        if let Some(times) = self.clients.get_mut(client) {
            times.attempts += 1;
        }
    }

    /// A user agent that had begun at `first_ns` was registered for the first time.
    pub(super) fn add(&mut self, client: usize, is_fair: bool, first_ns: u64, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(first_ns);
        self.registered += 1;
        if let Some(times) = self.clients.get_mut(client) {
            times.histogram.saturating_record((took_ns / 1000).max(1));
        }
        if is_fair {
            let secs = took_ns as f64 / 1e9;
            self.fair.0 += 1.0;
            self.fair.1 += secs;
            self.fair.2 += secs * secs;
        }
        for (percent, reached_ns) in PERCENTS.into_iter().zip(&mut self.reached_ns) {
            if self.registered * 100 >= self.user_agents * u64::from(percent) {
                reached_ns.get_or_insert(now_ns);
            }
        }
    }

    /// Fills what follows from these times in `outcome`.
    pub(super) fn fill(&self, outcome: &mut Outcome) {
        let reached = PERCENTS.into_iter().zip(self.reached_ns);
        outcome.registered_percent_secs = reached
            .filter_map(|(percent, ns)| Some((percent, (ns? as f64 - self.start_ns as f64) / 1e9)))
            .collect();
        outcome.registered_share = self.registered as f64 / self.user_agents.max(1) as f64;
        let (count, sum, squares) = self.fair;
        outcome.fairness = (squares > 0.0).then(|| sum * sum / (count * squares));
        outcome.by_client = BTreeMap::new();
        for times in &self.clients {
            let at = |quantile| times.histogram.value_at_quantile(quantile) as f64 / 1e6;
            let of_client = ClientOutcome {
                user_agents: times.user_agents,
                registered: times.histogram.len(),
                attempts: times.attempts,
                p50_secs: if times.histogram.is_empty() { 0.0 } else { at(0.5) },
                p99_secs: if times.histogram.is_empty() { 0.0 } else { at(0.99) },
            };
            outcome.by_client.insert(times.name.clone(), of_client);
        }
    }
}
