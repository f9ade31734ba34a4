//! Where a worker shows itself to other threads: its heartbeat and a copy of its counters. A worker never waits here.

use super::metrics::Metrics;
use shards::io::Instant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

/// One core's board; `M` is what its handler counts.
#[derive(Debug)]
pub struct Board<M> {
    heartbeat_ns: AtomicU64,
    shown: Mutex<Box<Snapshot<M>>>,
}

/// What a core counted up to some moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot<M> {
    /// When it was taken.
    pub at: Instant,
    /// The worker's counters.
    pub worker: Metrics,
    /// The handler's counters.
    pub handler: M,
}

impl<M: Clone + Default> Board<M> {
    /// An empty board of a core that is alive at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Board { heartbeat_ns: AtomicU64::new(now.as_nanos()), shown: Mutex::default() }
    }

    /// The worker is alive at `now`.
    pub fn beat(&self, now: Instant) {
        self.heartbeat_ns.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// How long ago the worker was last seen alive. A core without traffic wakes once a second, so whoever is silent for
    /// several is stuck.
    #[must_use]
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.since(Instant::from_nanos(self.heartbeat_ns.load(Ordering::Relaxed)))
    }

    /// Lets `write` bring the shown copy up to date, or returns false where somebody is reading it just now.
    pub fn publish(&self, write: impl FnOnce(&mut Snapshot<M>)) -> bool {
        let mut shown = match self.shown.try_lock() {
            Ok(shown) => shown,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        write(&mut shown);
        true
    }

    /// A copy of what was published last.
    #[must_use]
    pub fn read(&self) -> Box<Snapshot<M>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_and_the_writer_never_waits() {
        let board = Board::<u64>::new(Instant::START);
        assert!(board.publish(|shown| shown.handler = 7));
        let held = board.shown.lock().unwrap();
        assert!(!board.publish(|shown| shown.handler = 8));
        drop(held);
        assert_eq!(board.read().handler, 7);
    }

    #[test]
    fn silence_is_measured_from_the_last_beat() {
        let board = Board::<u64>::new(Instant::START);
        board.beat(Instant::from_nanos(2_000_000_000));
        assert_eq!(board.silent_for(Instant::START.plus_secs(5)), Duration::from_secs(3));
    }
}
