//! Tries every interleaving of going to sleep and being woken, on the very text of `sleep.rs` with loom's atomics in the
//! place of the processor's.

#[allow(clippy::duplicate_mod, reason = "the same text on other atomics is the point")]
#[path = "sleep.rs"]
mod sleep;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use sleep::Sleep;
use std::sync::atomic::AtomicBool as StdFlag;

/// A bell that stays rung until heard, as an eventfd does. Loom reports a deadlock where it is never rung.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

#[derive(Default)]
struct Core {
    sleep: Sleep,
    bell: Bell,
    /// The ring towards this core, of which only its fill matters: a release store by the sender, as rtrb's tail is.
    ring: AtomicUsize,
}

impl Core {
    fn fill(&self) {
        self.ring.fetch_add(1, Ordering::Release);
    }

    fn wake(&self) -> bool {
        let must = self.sleep.must_be_woken();
        if must {
            self.bell.ring();
        }
        must
    }

    /// Works as the loop does until `wanted` hops were seen.
    fn work(&self, wanted: usize) {
        loop {
            if self.ring.load(Ordering::Acquire) == wanted {
                return;
            }
            self.sleep.announce();
            if self.ring.load(Ordering::Acquire) != wanted {
                self.bell.wait();
            }
            self.sleep.withdraw();
        }
    }
}

#[test]
fn no_wake_is_lost_with_one_sender() {
    loom::model(|| {
        let core = Arc::new(Core::default());
        let sender = thread::spawn({
            let core = core.clone();
            move || {
                core.fill();
                core.wake();
            }
        });
        core.work(1);
        sender.join().unwrap();
    });
}

#[test]
fn no_wake_is_lost_with_two_senders() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let core = Arc::new(Core::default());
        let senders = [(); 2].map(|()| {
            let core = core.clone();
            thread::spawn(move || {
                core.fill();
                core.wake();
            })
        });
        core.work(2);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn two_cores_that_hop_to_each_other_and_sleep_both_finish() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let cores = Arc::new([Core::default(), Core::default()]);
        let other = thread::spawn({
            let cores = cores.clone();
            move || {
                cores[0].fill();
                cores[0].wake();
                cores[1].work(1);
            }
        });
        cores[1].fill();
        cores[1].wake();
        cores[0].work(1);
        other.join().unwrap();
    });
}

/// Whether some interleaving leaves the sleeper asleep with something in its ring.
fn can_lose_a_wake(looks_again: bool) -> bool {
    // Outside of the model: it gathers what its runs find.
    let lost = std::sync::Arc::new(StdFlag::new(false));
    let found = lost.clone();
    loom::model(move || {
        let core = Arc::new(Core::default());
        let sender = thread::spawn({
            let core = core.clone();
            move || {
                core.fill();
                core.wake()
            }
        });
        let mut seen = core.ring.load(Ordering::Acquire) > 0;
        if !seen {
            core.sleep.announce();
            seen = looks_again && core.ring.load(Ordering::Acquire) > 0;
        }
        let rung = sender.join().unwrap();
        if !seen && !rung {
            found.store(true, Ordering::Relaxed);
        }
    });
    lost.load(Ordering::Relaxed)
}

#[test]
fn the_second_look_is_what_keeps_wakes_from_being_lost() {
    assert!(can_lose_a_wake(false), "the model tries too little");
    assert!(!can_lose_a_wake(true));
}
