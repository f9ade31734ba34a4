//! A hierarchical timing wheel: which ids are due at which tick. It never fires early, never does more work at once than
//! it is allowed to, and owns no more of a timer than its place in time.
//!
//! Four levels of 256 slots; a slot of level `n` covers 256^n ticks. A timer lies on the level of the highest byte in
//! which its tick differs from the wheel's, and is moved down when the wheel reaches its slot: at most three times.
//! An owner whose deadlines mostly move later (a binding that is refreshed) only writes the new deadline into its own
//! record, and schedules again when the old one fires.

use crate::io::Instant;
use alloc::vec;
use alloc::vec::Vec;

const LEVELS: usize = 4;
const SLOTS: usize = 256;
/// The nodes before the ids' own: the heads of the slots' circular lists.
const HEADS: u32 = 4 * 256;
const _: () = assert!(HEADS as usize == LEVELS * SLOTS);
/// The link of an id that is not scheduled.
const IDLE: u32 = u32::MAX;

/// Timers for the ids below a fixed capacity, at most one an id. A timer costs 12 bytes.
#[derive(Debug)]
pub struct Wheel {
    nodes: Vec<Node>,
    /// Bit `s` of level `l`: its list is not empty.
    occupied: [[u64; SLOTS / 64]; LEVELS],
    /// The first tick that is not done with. Everything before it has fired.
    tick: u64,
    /// No slot has to be looked at before this tick; `u64::MAX` when nothing is scheduled.
    next: u64,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    /// The tick it is due at, modulo 2^32.
    due: u32,
}

/// A slot that has to be looked at, and the tick at which.
struct Stop {
    tick: u64,
    level: usize,
    slot: usize,
}

impl Wheel {
    /// Length of a tick: 4.19 ms. A timer fires at the first tick at or after its deadline.
    pub const TICK_NS: u64 = 1 << Self::TICK_SHIFT;
    /// The furthest deadline: 207 days ahead. A later one fires here, and its owner schedules it again.
    pub const HORIZON_TICKS: u64 = (1 << 32) - (1 << 24) - 1;

    const TICK_SHIFT: u32 = 22;

    /// A wheel for the ids below `capacity`.
    ///
    /// # Panics
    /// Where `capacity` exceeds 2^32 - 1,026.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let nodes = HEADS.checked_add(capacity).filter(|&nodes| nodes < IDLE);
        let nodes = nodes.expect("a wheel holds at most 2^32 - 1,026 timers");
        let mut nodes = vec![Node { next: IDLE, prev: IDLE, due: 0 }; nodes as usize];
        for (head, node) in (0..HEADS).zip(&mut nodes) {
            *node = Node { next: head, prev: head, due: 0 };
        }
        Wheel { nodes, occupied: [[0; SLOTS / 64]; LEVELS], tick: 0, next: u64::MAX, len: 0 }
    }

    /// Bytes of memory that [`Wheel::new`] reserves.
    #[must_use]
    pub const fn bytes(capacity: u32) -> usize {
        (HEADS as usize + capacity as usize) * size_of::<Node>()
    }

    /// How many ids are scheduled.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no id is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this id is scheduled.
    #[inline]
    #[must_use]
    pub fn is_scheduled(&self, id: u32) -> bool {
        self.nodes[node_of(id)].next != IDLE
    }

    /// Lets `id` fire at `deadline` and not at any other time it was scheduled for. A deadline in the past fires at the
    /// next [`pop`](Self::pop).
    ///
    /// # Panics
    /// Where `id` is not below the capacity.
    #[inline]
    pub fn schedule(&mut self, id: u32, deadline: Instant) {
        self.cancel(id);
        let due = deadline.as_nanos().div_ceil(Self::TICK_NS);
        self.len += 1;
        self.place(HEADS + id, due.clamp(self.tick, self.tick + Self::HORIZON_TICKS));
    }

    /// Forgets when `id` is due; false where it was not scheduled.
    ///
    /// # Panics
    /// Where `id` is not below the capacity.
    #[inline]
    pub fn cancel(&mut self, id: u32) -> bool {
        let scheduled = self.is_scheduled(id);
        if scheduled {
            self.unlink(HEADS + id);
            self.len -= 1;
        }
        scheduled
    }

    /// The next id that is due at `now`; it is no longer scheduled, and the caller may schedule it again. Each timer that is
    /// touched takes one from `budget`; at zero the rest waits for the next call.
    #[inline]
    pub fn pop(&mut self, now: Instant, budget: &mut u32) -> Option<u32> {
        let now = now.as_nanos() >> Self::TICK_SHIFT;
        if now < self.next {
            self.tick = self.tick.max(now + 1);
            return None;
        }
        self.pop_due(now, budget)
    }

    /// Calls `fire` for the ids that are due at `now`, as far as `budget` reaches, and gives what is left of it. Where `fire`
    /// names a later deadline, the id is scheduled for it.
    pub fn expire(
        &mut self,
        now: Instant,
        mut budget: u32,
        mut fire: impl FnMut(u32) -> Option<Instant>,
    ) -> u32 {
        while let Some(id) = self.pop(now, &mut budget) {
            if let Some(deadline) = fire(id) {
                self.schedule(id, deadline);
            }
        }
        budget
    }

    /// When [`pop`](Self::pop) has to be called next: nothing is due before. After a cancellation it may be too early.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        (self.len > 0).then(|| Instant::from_nanos(self.next.saturating_mul(Self::TICK_NS)))
    }

    /// Walks the invariants: every timer lies on the level and in the slot of its tick, and none before `deadline()`.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        let mut len = 0;
        for head in 0..HEADS {
            let (level, slot) = (head as usize / SLOTS, head as usize % SLOTS);
            let occupied = self.occupied[level][slot / 64] >> (slot % 64) & 1 == 1;
            assert_eq!(
                occupied,
                self.nodes[head as usize].next != head,
                "occupied bit of slot {slot}, level {level}"
            );
            let mut node = head;
            loop {
                let next = self.nodes[node as usize].next;
                assert_eq!(self.nodes[next as usize].prev, node, "links that disagree");
                if next == head {
                    break;
                }
                node = next;
                len += 1;
                assert!(len <= self.len, "more timers than counted");
                let due = self.due(node);
                assert_eq!(slot_of(level, due), slot, "in a slot of another time");
                let stop = due >> (8 * level) << (8 * level);
                assert!(self.next <= stop.max(self.tick), "due before deadline()");
                // A slot that the wheel has reached, but not moved down, lies one level too high.
                let reached = level > 0 && stop == self.tick;
                assert!(
                    reached || level_of(due, self.tick) == level,
                    "on a level of another distance"
                );
            }
        }
        assert_eq!(len, self.len, "timers counted");
        let linked = self.nodes[HEADS as usize..].iter().filter(|node| node.next != IDLE).count();
        assert_eq!(linked, len as usize, "a timer in no list");
    }

    fn pop_due(&mut self, now: u64, budget: &mut u32) -> Option<u32> {
        while *budget > 0 {
            let Some(stop) = self.stop().filter(|stop| stop.tick <= now) else {
                self.tick = self.tick.max(now + 1);
                self.next = self.stop().map_or(u64::MAX, |stop| stop.tick);
                return None;
            };
            self.tick = stop.tick;
            *budget -= 1;
            let head = stop.level * SLOTS + stop.slot;
            let node = self.nodes[head].next;
            let due = self.due(node);
            self.unlink(node);
            if stop.level == 0 {
                self.len -= 1;
                return Some(node - HEADS);
            }
            self.place(node, due);
        }
        None
    }

    /// The earliest slot that is occupied.
    #[inline]
    fn stop(&self) -> Option<Stop> {
        // A higher slot that was just reached may hold timers of this very tick, so it is moved down first.
        for level in (1..LEVELS).rev() {
            let slot = slot_of(level, self.tick);
            if self.occupied[level][slot / 64] >> (slot % 64) & 1 == 1 {
                return Some(Stop { tick: self.tick, level, slot });
            }
        }
        for level in 0..LEVELS {
            let start = self.tick >> (8 * level);
            if let Some(slot) = first_at_or_after(&self.occupied[level], slot_of(level, self.tick))
            {
                return Some(Stop {
                    tick: (start & !0xff | slot as u64) << (8 * level),
                    level,
                    slot,
                });
            }
        }
        // Only the top level goes round.
        let level = LEVELS - 1;
        let slot = first_at_or_after(&self.occupied[level], 0)?;
        let start = (self.tick >> (8 * level) & !0xff) + SLOTS as u64;
        Some(Stop { tick: (start | slot as u64) << (8 * level), level, slot })
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a node keeps its tick modulo 2^32")]
    fn place(&mut self, node: u32, due: u64) {
        let level = level_of(due, self.tick);
        let slot = slot_of(level, due);
        self.occupied[level][slot / 64] |= 1 << (slot % 64);
        self.next = self.next.min(due >> (8 * level) << (8 * level));
        let head = level * SLOTS + slot;
        let last = self.nodes[head].prev;
        self.nodes[node as usize] = Node { next: head as u32, prev: last, due: due as u32 };
        self.nodes[last as usize].next = node;
        self.nodes[head].prev = node;
    }

    #[inline]
    fn unlink(&mut self, node: u32) {
        let Node { next, prev, .. } = self.nodes[node as usize];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        self.nodes[node as usize].next = IDLE;
        if next == prev && next < HEADS {
            let (level, slot) = (next as usize / SLOTS, next as usize % SLOTS);
            self.occupied[level][slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// The tick at which a node is due: less than 2^32 after the wheel's.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "arithmetic modulo 2^32")]
    fn due(&self, node: u32) -> u64 {
        self.tick + u64::from(self.nodes[node as usize].due.wrapping_sub(self.tick as u32))
    }
}

#[inline]
fn node_of(id: u32) -> usize {
    HEADS as usize + id as usize
}

#[inline]
fn slot_of(level: usize, tick: u64) -> usize {
    (tick >> (8 * level) & 0xff) as usize
}

/// The highest byte in which two ticks differ; the top level takes what lies above.
#[inline]
fn level_of(due: u64, tick: u64) -> usize {
    let differing = ((due ^ tick) | 1).ilog2() as usize / 8;
    differing.min(LEVELS - 1)
}

#[inline]
fn first_at_or_after(occupied: &[u64; SLOTS / 64], slot: usize) -> Option<usize> {
    let mut word = slot / 64;
    let mut bits = occupied[word] & (u64::MAX << (slot % 64));
    loop {
        if bits != 0 {
            return Some(word * 64 + bits.trailing_zeros() as usize);
        }
        word += 1;
        bits = *occupied.get(word)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// The instants that matter to a timer: the ones before and at which its tick begins.
    fn tick_at(deadline: Instant) -> Instant {
        Instant::from_nanos(deadline.as_nanos().div_ceil(Wheel::TICK_NS) * Wheel::TICK_NS)
    }

    fn popped(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut budget = u32::MAX;
        core::iter::from_fn(|| wheel.pop(now, &mut budget)).collect()
    }

    #[test]
    fn a_timer_fires_at_its_tick_and_never_before() {
        for start in [Duration::ZERO, Duration::from_secs(7), DAY * 190, DAY * 500, DAY * 36_500] {
            let start = Instant::START.plus(start);
            for after in [
                1,
                1_000,
                4_194_304,
                4_194_305,
                1_073_741_824,
                32_000_000_000,
                3_600_000_000_000,
                48 * 86_400_000_000_000,
                207 * 86_400_000_000_000,
            ] {
                let deadline = start.plus(Duration::from_nanos(after));
                let mut wheel = Wheel::new(1);
                assert_eq!(popped(&mut wheel, start), []);
                wheel.schedule(0, deadline);
                wheel.check();
                let due = tick_at(deadline);
                assert_eq!(
                    popped(&mut wheel, Instant::from_nanos(due.as_nanos() - 1)),
                    [],
                    "{after} ns after {start:?}"
                );
                wheel.check();
                assert_eq!(wheel.deadline(), Some(due));
                assert_eq!(popped(&mut wheel, due), [0]);
                assert_eq!(wheel.deadline(), None);
                wheel.check();
            }
        }
    }

    #[test]
    fn a_herd_is_worked_off_in_portions() {
        let mut wheel = Wheel::new(10_000);
        let deadline = Instant::START.plus_secs(3600);
        for id in 0..10_000 {
            wheel.schedule(id, deadline);
        }
        let late = deadline.plus_secs(1);
        let (mut calls, mut fired) = (0, 0);
        while wheel.deadline().is_some_and(|deadline| deadline <= late) {
            let left = wheel.expire(late, 100, |_| {
                fired += 1;
                None
            });
            assert!(left == 0 || wheel.is_empty());
            calls += 1;
            wheel.check();
        }
        assert_eq!(fired, 10_000);
        // Each was moved down at most three times before it fired.
        assert!(calls <= 10_000 / 100 * 4 + 1, "{calls} calls");
    }

    #[test]
    fn an_owner_that_was_refreshed_schedules_again() {
        let mut wheel = Wheel::new(1);
        wheel.schedule(0, Instant::START.plus_secs(10));
        let refreshed = Instant::START.plus_secs(15);
        let mut fired = 0;
        for second in 0..30 {
            let now = Instant::START.plus_secs(second).plus(Duration::from_millis(5));
            wheel.expire(now, 10, |_| {
                fired += 1;
                (now < refreshed).then_some(refreshed)
            });
        }
        assert_eq!(fired, 2);
        assert!(wheel.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32, Duration),
        Cancel(u32),
        Advance(Duration, u32),
    }

    fn span() -> impl Strategy<Value = Duration> {
        let nanos = prop_oneof![
            0..20_000_000_u64,
            0..2_000_000_000_u64,
            0..300_000_000_000_u64,
            0..(4 * 3600 * 1_000_000_000_u64),
            0..(100 * 86_400 * 1_000_000_000_u64),
            // Whole levels, where the wheel turns over.
            (0..28_u32).prop_map(|shift| Wheel::TICK_NS << shift),
        ];
        nanos.prop_map(Duration::from_nanos)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..16_u32, span()).prop_map(|(id, after)| Step::Schedule(id, after)),
            1 => (0..16_u32).prop_map(Step::Cancel),
            2 => span().prop_map(|by| Step::Advance(by, u32::MAX)),
            // A wheel that lags by months would bring the horizon nearer.
            2 => (0..600_000_u64, 0..6_u32).prop_map(|(by, budget)| Step::Advance(Duration::from_millis(by), budget)),
        ]
    }

    proptest! {
        #[test]
        fn fires_what_a_list_of_deadlines_fires(start in 0..400_u32, steps in prop::collection::vec(step(), 1..200)) {
            let mut wheel = Wheel::new(16);
            let mut oracle: [Option<Instant>; 16] = [None; 16];
            let mut now = Instant::START.plus(DAY * start);
            popped(&mut wheel, now);
            for step in steps {
                match step {
                    Step::Schedule(id, after) => {
                        let deadline = now.plus(after);
                        wheel.schedule(id, deadline);
                        oracle[id as usize] = Some(deadline);
                    }
                    Step::Cancel(id) => {
                        prop_assert_eq!(wheel.cancel(id), oracle[id as usize].take().is_some());
                    }
                    Step::Advance(by, mut budget) => {
                        now = now.plus(by);
                        let all = budget == u32::MAX;
                        let mut last = Instant::START;
                        while let Some(id) = wheel.pop(now, &mut budget) {
                            let deadline = oracle[id as usize].take();
                            let due = deadline.map(tick_at);
                            prop_assert!(due.is_some_and(|due| due <= now), "early: {deadline:?} at {now:?}");
                            prop_assert!(due >= Some(last), "out of order");
                            last = due.unwrap_or(last);
                        }
                        if all {
                            let late = oracle.iter().flatten().find(|&&deadline| tick_at(deadline).plus(Duration::from_nanos(Wheel::TICK_NS)) <= now);
                            prop_assert_eq!(late, None);
                        }
                    }
                }
                wheel.check();
                prop_assert_eq!(wheel.len() as usize, oracle.iter().flatten().count());
                for (id, deadline) in (0..).zip(oracle) {
                    prop_assert_eq!(wheel.is_scheduled(id), deadline.is_some());
                    let due = deadline.map_or(Instant::from_nanos(u64::MAX), tick_at);
                    prop_assert!(deadline.is_none() || wheel.deadline().is_some_and(|first| first <= due.max(now.plus(Duration::from_nanos(Wheel::TICK_NS)))));
                }
            }
        }
    }
}
