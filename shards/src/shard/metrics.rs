//! What a shard counts. Plain integers of one core: the worker publishes a copy, nobody else writes.

use crate::auth::Cause;
use crate::io::{Class, Outcome, Reason, Verdict};
use crate::proxy;

/// The counters of one shard, since its start.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Inputs of each class, by [`Class::index`].
    pub inputs: [u64; Class::COUNT],
    /// Inputs passed on.
    pub forwarded: u64,
    /// Requests kept until something is known that it takes to pass them on.
    pub held: u64,
    /// Inputs moved to another core.
    pub hopped: u64,
    /// Inputs that needed no answer.
    pub absorbed: u64,
    /// Inputs dropped, by [`Reason::index`].
    pub dropped: [u64; Reason::COUNT],
    /// Final responses sent, by status code from 100.
    responses: [u64; STATUSES],
    /// Requests that did not show whose they are, by [`Cause::index`]: they were challenged unless they were too short for
    /// that, or the repetition of one that did.
    pub challenged: [u64; Cause::ALL.len()],
    /// Bindings made, by a REGISTER or an operator.
    pub bindings_created: u64,
    /// Bindings given a new expiry.
    pub bindings_refreshed: u64,
    /// Bindings removed by their UA or an operator.
    pub bindings_removed: u64,
    /// Bindings that reached their expiry.
    pub bindings_expired: u64,
    /// Bindings that made room for another of the same address-of-record.
    pub bindings_replaced: u64,
    /// REGISTERs refused because the location table or its arena was full.
    pub location_full: u64,
}

/// Status codes 100 to 699.
const STATUSES: usize = 600;

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            inputs: [0; Class::COUNT],
            forwarded: 0,
            held: 0,
            hopped: 0,
            absorbed: 0,
            dropped: [0; Reason::COUNT],
            responses: [0; STATUSES],
            challenged: [0; Cause::ALL.len()],
            bindings_created: 0,
            bindings_refreshed: 0,
            bindings_removed: 0,
            bindings_expired: 0,
            bindings_replaced: 0,
            location_full: 0,
        }
    }
}

impl Metrics {
    /// Counts what became of one input: exactly one of answered, passed on, kept, moved, absorbed and dropped.
    pub fn count(&mut self, outcome: Outcome) {
        self.inputs[outcome.class.index()] += 1;
        match outcome.verdict {
            Verdict::Replied => self.count_response(200),
            Verdict::Refused(status) => self.count_response(status),
            Verdict::Forwarded => self.forwarded += 1,
            Verdict::Held => self.held += 1,
            Verdict::Hopped(_) => self.hopped += 1,
            Verdict::Absorbed => self.absorbed += 1,
            Verdict::Dropped(reason) => self.dropped[reason.index()] += 1,
        }
    }

    fn count_response(&mut self, status: u16) {
        debug_assert!((100..700).contains(&status));
        self.responses[usize::from(status - 100) % STATUSES] += 1;
    }

    /// The status codes of final responses and how often each was sent, in ascending order, without zeros.
    pub fn responses(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (100..).zip(self.responses).filter(|&(_, count)| count > 0)
    }

    /// Whether every input got exactly one verdict.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        let inputs: u64 = self.inputs.iter().sum();
        let dropped: u64 = self.dropped.iter().sum();
        let responses: u64 = self.responses.iter().sum();
        let kept = self.forwarded + self.held + self.hopped + self.absorbed;
        inputs == responses + kept + dropped
    }
}

/// How full a shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Addresses-of-record with at least one binding.
    pub aors: usize,
    /// Bindings, those included whose removal after their expiry is still due.
    pub bindings: usize,
    /// Bytes of the arena in use.
    pub arena_used_bytes: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// What the proxy has on its way.
    pub calls: proxy::Gauges,
    /// Completed transactions that were forgotten before Timer J to make room.
    pub completed_evicted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_counted_once() {
        let mut metrics = Metrics::default();
        for verdict in [
            Verdict::Replied,
            Verdict::Refused(503),
            Verdict::Forwarded,
            Verdict::Held,
            Verdict::Hopped(crate::io::CoreId(1)),
            Verdict::Absorbed,
            Verdict::Dropped(Reason::Stun),
        ] {
            metrics.count(Outcome { class: Class::Options, verdict });
            assert!(metrics.reconciles());
        }
        assert_eq!(metrics.responses().collect::<alloc::vec::Vec<_>>(), [(200, 1), (503, 1)]);
    }
}
