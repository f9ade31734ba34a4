//! Sleeping without missing a wake. The sleeper announces, looks at its rings once more, and only then sleeps; whoever
//! fills a ring looks afterwards whether the reader has announced. One of the two always sees the other.
//!
//! This file names its atomics through `super::atomic`, so that the test below compiles the same text a second time
//! against loom's and tries every interleaving. It runs with every plain `cargo test -p seawall mesh`; no flag and no
//! separate build is needed.

use super::atomic::{AtomicBool, Ordering, fence};

/// Whether a core sleeps, or is about to.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    announced: AtomicBool,
}

impl Sleep {
    /// The sleeper, before it looks at its rings for the last time.
    pub(super) fn announce(&self) {
        self.announced.store(true, Ordering::Relaxed);
        // Pairs with the fence in must_be_woken: of "announce, then look at the ring" and "fill the ring, then look for
        // the announcement" at least one look comes second.
        fence(Ordering::SeqCst);
    }

    /// The sleeper, once it is awake.
    pub(super) fn withdraw(&self) {
        self.announced.store(false, Ordering::Relaxed);
    }

    /// Whoever filled a ring, afterwards: whether the bell has to be rung. True for one caller of those who ask while the
    /// sleeper sleeps.
    pub(super) fn must_be_woken(&self) -> bool {
        fence(Ordering::SeqCst);
        self.announced.load(Ordering::Relaxed) && self.announced.swap(false, Ordering::Relaxed)
    }
}
