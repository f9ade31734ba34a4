//! The phases that a node's workers go through together: all ready, serving, draining, gone. It owns the agreement and
//! no work.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// What the workers of a node and its main thread agree on.
#[derive(Debug)]
pub struct Phase {
    workers: u16,
    start: Mutex<Start>,
    changed: Condvar,
    draining: AtomicBool,
    quiet: AtomicU16,
}

#[derive(Debug, Default)]
struct Start {
    ready: u16,
    failures: Vec<String>,
    decision: Option<bool>,
}

impl Phase {
    /// The beginning, for this many workers.
    #[must_use]
    pub fn new(workers: u16) -> Phase {
        Phase {
            workers,
            start: Mutex::default(),
            changed: Condvar::new(),
            draining: AtomicBool::new(false),
            quiet: AtomicU16::new(0),
        }
    }

    /// A worker has everything it needs; waits for the others and returns whether to serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.ready += 1;
        self.changed.notify_all();
        loop {
            match start.decision {
                Some(serve) => return serve,
                None => start = self.changed.wait(start).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A worker will not get ready, for this reason.
    pub fn failed(&self, reason: String) {
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.failures.push(reason);
        self.changed.notify_all();
    }

    /// Waits until every worker is ready or has failed, and lets them serve where none has failed.
    ///
    /// # Errors
    /// The first failure.
    pub fn begin(&self) -> Result<(), String> {
        let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        while usize::from(start.ready) + start.failures.len() < usize::from(self.workers) {
            start = self.changed.wait(start).unwrap_or_else(PoisonError::into_inner);
        }
        start.decision = Some(start.failures.is_empty());
        self.changed.notify_all();
        start.failures.first().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Tells the workers to finish; they have to be woken afterwards.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the workers are to finish.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// A worker found nothing more to do; said once by each.
    pub fn quiet(&self) {
        self.quiet.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether every worker has found nothing more to do.
    #[must_use]
    pub fn all_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst) >= self.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn one_failure_keeps_everybody_from_serving() {
        let phase = Arc::new(Phase::new(2));
        let worker = std::thread::spawn({
            let phase = phase.clone();
            move || phase.ready()
        });
        phase.failed("no".to_owned());
        assert_eq!(phase.begin(), Err("no".to_owned()));
        assert!(!worker.join().unwrap());
    }

    #[test]
    fn all_serve_when_all_are_ready() {
        let phase = Arc::new(Phase::new(2));
        let workers = [(); 2].map(|()| {
            let phase = phase.clone();
            std::thread::spawn(move || phase.ready())
        });
        assert_eq!(phase.begin(), Ok(()));
        assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
        assert!(!phase.is_draining());
        phase.drain();
        assert!(phase.is_draining());
        phase.quiet();
        assert!(!phase.all_quiet());
        phase.quiet();
        assert!(phase.all_quiet());
    }
}
