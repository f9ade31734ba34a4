//! The timers of RFC 3261 17 and 13.3.1.4 that both ends of a call run: owns when each is due; what is due is the caller's to
//! know. It never reads a clock.
//!
//! Only a few intervals are ever waited for, so what waits for the same interval is due in the order in which it began to wait,
//! and a queue for each interval is all that is needed. Nothing is taken out of a queue early: what is due is checked.

use std::collections::VecDeque;
use std::time::Duration;

use super::table::Handle;
use crate::meter::nanoseconds;

/// Which end of a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Caller,
    Callee,
}

/// How one end of a call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timer {
    /// 0: it does not wait.
    due_ns: u64,
    /// When it began to repeat what it repeats.
    began_ns: u64,
    /// How often it has been repeated.
    step: u32,
}

/// What comes when a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is said again.
    Again,
    /// Nobody answers: 64 times T1 have passed.
    GiveUp,
}

/// How intervals grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Timer A: they double.
    Doubling,
    /// Timers E and G, and a 2xx to an INVITE: they double up to T2.
    UpToT2,
}

/// 64 times T1 is the sixth doubling.
const LAST_DOUBLING: u32 = 6;
/// T2 is the third.
const T2_DOUBLING: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Entry {
    due_ns: u64,
    handle: Handle,
    end: End,
}

/// All timers.
#[derive(Debug)]
pub(super) struct Timers {
    t1_ns: u64,
    ring_ns: u64,
    talk_ns: u64,
    /// By doublings of T1, one for callees that ring, and one for callers that talk.
    queues: [VecDeque<Entry>; LAST_DOUBLING as usize + 3],
}

const RINGING: usize = LAST_DOUBLING as usize + 1;
const TALKING: usize = RINGING + 1;

impl Timers {
    pub(super) fn new(t1: Duration, ring: Duration, talk: Duration) -> Timers {
        Timers {
            t1_ns: nanoseconds(t1).max(1),
            ring_ns: nanoseconds(ring),
            talk_ns: nanoseconds(talk),
            queues: std::array::from_fn(|_| VecDeque::new()),
        }
    }

    /// 64 times T1.
    pub(super) fn patience_ns(&self) -> u64 {
        self.t1_ns << LAST_DOUBLING
    }

    /// Begins to repeat, first after T1.
    pub(super) fn repeat(&mut self, timer: &mut Timer, handle: Handle, end: End, now_ns: u64) {
        *timer = Timer { due_ns: 0, began_ns: now_ns, step: 0 };
        self.enqueue(0, timer, handle, end, now_ns);
    }

    /// Goes on after [`Next::Again`].
    pub(super) fn repeat_again(
        &mut self,
        timer: &mut Timer,
        growth: Growth,
        handle: Handle,
        end: End,
        now_ns: u64,
    ) {
        timer.step += 1;
        let doubling = match growth {
            Growth::Doubling => timer.step,
            Growth::UpToT2 => timer.step.min(T2_DOUBLING),
        };
        // The last wait is what is left, which is no more than T1: 31.5 of 32 seconds are over.
        let left_ns = (timer.began_ns + self.patience_ns()).saturating_sub(now_ns).max(self.t1_ns);
        let doubling = if self.t1_ns << doubling > left_ns { 0 } else { doubling };
        self.enqueue(doubling, timer, handle, end, now_ns);
    }

    /// Waits 64 times T1 for what can't be asked for again.
    pub(super) fn wait(&mut self, timer: &mut Timer, handle: Handle, end: End, now_ns: u64) {
        *timer = Timer { due_ns: 0, began_ns: now_ns, step: 0 };
        self.enqueue(LAST_DOUBLING, timer, handle, end, now_ns);
    }

    /// Lets a callee ring.
    pub(super) fn ring(&mut self, timer: &mut Timer, handle: Handle, now_ns: u64) {
        *timer = Timer { due_ns: now_ns + self.ring_ns, began_ns: now_ns, step: 0 };
        let entry = Entry { due_ns: timer.due_ns, handle, end: End::Callee };
        self.queues[RINGING].push_back(entry);
    }

    /// Lets a caller talk.
    pub(super) fn talk(&mut self, timer: &mut Timer, handle: Handle, now_ns: u64) {
        *timer = Timer { due_ns: now_ns + self.talk_ns, began_ns: now_ns, step: 0 };
        let entry = Entry { due_ns: timer.due_ns, handle, end: End::Caller };
        self.queues[TALKING].push_back(entry);
    }

    /// Something that waited until now. Whether it still waits for this is for the caller to see, with [`Timer::is_due`].
    pub(super) fn due(&mut self, now_ns: u64) -> Option<(u64, Handle, End)> {
        for queue in &mut self.queues {
            if queue.front().is_some_and(|first| first.due_ns <= now_ns) {
                return queue.pop_front().map(|entry| (entry.due_ns, entry.handle, entry.end));
            }
        }
        None
    }

    /// What comes of a timer that repeats.
    pub(super) fn next(&self, timer: &Timer, now_ns: u64) -> Next {
        if now_ns >= timer.began_ns + self.patience_ns() { Next::GiveUp } else { Next::Again }
    }

    fn enqueue(&mut self, doubling: u32, timer: &mut Timer, handle: Handle, end: End, now_ns: u64) {
        timer.due_ns = now_ns + (self.t1_ns << doubling);
        self.queues[doubling as usize].push_back(Entry { due_ns: timer.due_ns, handle, end });
    }
}

impl Timer {
    /// Whether it waits for this moment.
    pub(super) fn is_due(&self, due_ns: u64) -> bool {
        self.due_ns == due_ns
    }

    pub(super) fn stop(&mut self) {
        self.due_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn waits(growth: Growth) -> Vec<u64> {
        let mut timers = Timers::new(Duration::from_millis(500), Duration::ZERO, Duration::ZERO);
        let mut timer = Timer::default();
        let handle = Handle::default();
        timers.repeat(&mut timer, handle, End::Caller, 7);
        let mut times = Vec::new();
        let mut now = 7;
        loop {
            now += MS;
            let Some((due, _, _)) = timers.due(now) else { continue };
            assert!(timer.is_due(due));
            times.push((due - 7) / MS);
            match timers.next(&timer, due) {
                Next::GiveUp => return times,
                Next::Again => timers.repeat_again(&mut timer, growth, handle, End::Caller, due),
            }
        }
    }

    #[test]
    fn an_invite_is_repeated_by_timer_a_and_given_up_by_timer_b() {
        assert_eq!(waits(Growth::Doubling), [500, 1500, 3500, 7500, 15500, 31500, 32000]);
    }

    #[test]
    fn others_are_repeated_by_timer_e_and_given_up_by_timer_f() {
        let expected = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000];
        assert_eq!(waits(Growth::UpToT2), expected);
    }

    #[test]
    fn what_has_stopped_is_not_due() {
        let mut timers =
            Timers::new(Duration::from_millis(500), Duration::from_millis(20), Duration::ZERO);
        let mut timer = Timer::default();
        timers.ring(&mut timer, Handle::default(), 5);
        timer.stop();
        timers.wait(&mut timer, Handle::default(), End::Callee, 6);
        let (due, _, end) = timers.due(5 + 20 * MS).unwrap();
        assert_eq!(end, End::Callee);
        assert!(!timer.is_due(due));
        assert_eq!(timers.due(5 + 20 * MS), None);
        assert_eq!(timers.due(6 + 32_000 * MS).map(|(due, ..)| timer.is_due(due)), Some(true));
    }
}
