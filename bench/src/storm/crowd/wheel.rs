//! When each user agent is due: owns one wheel of lists, a millisecond each, that run through the user agents' own records. It never
//! looks at what a user agent waits for.
//!
//! A deadline that moves to a later time stays in its list, and is put into the right one when that comes up: most deadlines are
//! moved by an answer, and then nothing but the user agent's own record is touched. Only one that moves to an earlier time is taken out.
//! What a list holds is called in the order of its due times, in nanoseconds.

use super::ua::{Flags, NOBODY, Ua};

/// Nanoseconds of a tick.
pub(super) const TICK_NS: u64 = 1_000_000;

/// The time of what never comes.
pub(super) const NEVER_NS: u64 = u64::MAX;

/// How many lists there are: 35 minutes of ticks. What is later waits in the last list, and is put off from there.
const LISTS: u64 = 1 << 21;
/// Marks the number of a list among those of user agents.
const LIST: u32 = 1 << 31;
/// Bits of a place in a tick, in a number that also holds a user agent's.
const UA_BITS: u32 = 32;

/// The wheel. The records are the caller's, and the same ones at every call.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The first of each list.
    heads: Vec<u32>,
    /// A bit for each list that is not empty, and a bit for each of those words that is not 0.
    filled: Vec<u64>,
    filled_words: Vec<u64>,
    /// The tick whose list was called last.
    tick: u64,
    /// What it held and still waits for its turn: nanoseconds within the tick, and the user agent; in falling order.
    called: Vec<u64>,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel {
            heads: vec![NOBODY; LISTS as usize],
            filled: vec![0; LISTS as usize / 64],
            filled_words: vec![0; LISTS as usize / 64 / 64],
            tick: 0,
            called: Vec::new(),
        }
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        4 * self.heads.len() + 8 * (self.filled.len() + self.filled_words.len() + self.called.len())
    }

    /// Lets a user agent be called at `due_ns` or, if that is over, within a tick; at [`NEVER_NS`] it waits for nothing.
    pub(super) fn wait(&mut self, uas: &mut [Ua], number: u32, due_ns: u64) {
        let ua = &mut uas[number as usize];
        let is_sooner = due_ns < ua.due_ns;
        ua.due_ns = due_ns;
        if ua.flags.has(Flags::IS_CALLED) {
            return;
        }
        if ua.previous != NOBODY {
            if !is_sooner {
                return;
            }
            self.take_out(uas, number);
        }
        self.put_in(uas, number);
    }

    /// The next user agent whose time has come at `now_ns`. It waits for nothing then.
    pub(super) fn next_due(&mut self, uas: &mut [Ua], now_ns: u64) -> Option<u32> {
        loop {
            if let Some(&last) = self.called.last() {
                let turn_ns = self.tick * TICK_NS + (last >> UA_BITS);
                if turn_ns > now_ns {
                    return None;
                }
                self.called.pop();
                let number = last as u32;
                let ua = &mut uas[number as usize];
                ua.flags.clear(Flags::IS_CALLED);
                if ua.due_ns <= turn_ns {
                    return Some(number);
                }
                // It was put off after it was called.
                self.put_in(uas, number);
                continue;
            }
            let tick = self.next_filled()?;
            if tick * TICK_NS > now_ns {
                return None;
            }
            self.call(uas, tick);
        }
    }

    /// When the next user agent may be due: never too late, but too early where deadlines were moved.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        match self.called.last() {
            Some(last) => Some(self.tick * TICK_NS + (last >> UA_BITS)),
            None => self.next_filled().map(|tick| tick * TICK_NS),
        }
    }

    /// Takes a tick's list out, in the order of its due times.
    fn call(&mut self, uas: &mut [Ua], tick: u64) {
        self.tick = tick;
        let list = (tick % LISTS) as usize;
        let mut number = std::mem::replace(&mut self.heads[list], NOBODY);
        self.mark_empty(list);
        while number != NOBODY {
            let ua = &mut uas[number as usize];
            let next = ua.next;
            (ua.next, ua.previous) = (NOBODY, NOBODY);
            if ua.due_ns >= (tick + 1) * TICK_NS {
                self.put_in(uas, number);
            } else {
                ua.flags.set(Flags::IS_CALLED);
                let within_ns = ua.due_ns.saturating_sub(tick * TICK_NS);
                self.called.push((within_ns << UA_BITS) | u64::from(number));
            }
            number = next;
        }
        self.called.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn put_in(&mut self, uas: &mut [Ua], number: u32) {
        let due_ns = uas[number as usize].due_ns;
        if due_ns == NEVER_NS {
            return;
        }
        let tick = (due_ns / TICK_NS).clamp(self.tick + 1, self.tick + LISTS - 1);
        let list = (tick % LISTS) as usize;
        let first = std::mem::replace(&mut self.heads[list], number);
        let ua = &mut uas[number as usize];
        (ua.next, ua.previous) = (first, LIST | list as u32);
        if first == NOBODY {
            self.mark_filled(list);
        } else {
            uas[first as usize].previous = number;
        }
    }

    fn take_out(&mut self, uas: &mut [Ua], number: u32) {
        let ua = &mut uas[number as usize];
        let (next, previous) = (ua.next, ua.previous);
        (ua.next, ua.previous) = (NOBODY, NOBODY);
        if next != NOBODY {
            uas[next as usize].previous = previous;
        }
        if previous & LIST == 0 {
            uas[previous as usize].next = next;
            return;
        }
        let list = (previous & !LIST) as usize;
        self.heads[list] = next;
        if next == NOBODY {
            self.mark_empty(list);
        }
    }

    fn mark_filled(&mut self, list: usize) {
        self.filled[list / 64] |= 1 << (list % 64);
        self.filled_words[list / 64 / 64] |= 1 << (list / 64 % 64);
    }

    fn mark_empty(&mut self, list: usize) {
        let word = &mut self.filled[list / 64];
        *word &= !(1 << (list % 64));
        if *word == 0 {
            self.filled_words[list / 64 / 64] &= !(1 << (list / 64 % 64));
        }
    }

    /// The first tick after the last one whose list is not empty.
    fn next_filled(&self) -> Option<u64> {
        let from = self.tick + 1;
        let start = (from % LISTS) as usize;
        let list = self.filled_from(start).or_else(|| self.filled_from(0))?;
        Some(from + (list + LISTS as usize - start) as u64 % LISTS)
    }

    /// The first list from `start` on that is not empty.
    fn filled_from(&self, start: usize) -> Option<usize> {
        let word = start / 64;
        let rest = self.filled[word] & (u64::MAX << (start % 64));
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let word = word + 1;
        let mut summary = word / 64;
        let mut words = self.filled_words.get(summary)? & (u64::MAX << (word % 64));
        while words == 0 {
            summary += 1;
            words = *self.filled_words.get(summary)?;
        }
        let word = summary * 64 + words.trailing_zeros() as usize;
        Some(word * 64 + self.filled[word].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UAS: u32 = 8;

    /// What is done to a wheel.
    #[derive(Clone, Debug)]
    enum Step {
        /// A user agent waits until so long after now.
        Wait { number: u32, after_ns: u64 },
        /// So much time passes.
        Pass { ns: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let after_ns = prop_oneof![
            3 => 0..3 * TICK_NS,
            3 => 0..5_000 * TICK_NS,
            1 => 0..3 * LISTS * TICK_NS,
            1 => Just(NEVER_NS),
        ];
        let pass_ns = prop_oneof![
            3 => 0..2 * TICK_NS,
            3 => 0..3_000 * TICK_NS,
            1 => 0..2 * LISTS * TICK_NS,
        ];
        let step = prop_oneof![
            3 => (0..UAS, after_ns).prop_map(|(number, after_ns)| Step::Wait { number, after_ns }),
            2 => pass_ns.prop_map(|ns| Step::Pass { ns }),
        ];
        prop::collection::vec(step, 1..120)
    }

    proptest! {
        /// A list of deadlines, searched each time, calls the same user agents; the wheel is never more than a tick late, and never early.
        #[test]
        fn a_wheel_calls_as_a_list_would(steps in steps()) {
            let mut wheel = Wheel::new();
            let mut uas: Vec<Ua> = (0..UAS).map(|_| Ua::new([0; 16], 0)).collect();
            let mut list: Vec<Option<u64>> = vec![None; UAS as usize];
            let mut now_ns = 0_u64;
            for step in steps {
                match step {
                    Step::Wait { number, after_ns } => {
                        let due_ns = now_ns.saturating_add(after_ns);
                        wheel.wait(&mut uas, number, due_ns);
                        list[number as usize] = (due_ns < NEVER_NS).then_some(due_ns);
                    }
                    Step::Pass { ns } => {
                        now_ns += ns;
                        let mut last_tick = 0;
                        while let Some(number) = wheel.next_due(&mut uas, now_ns) {
                            let due_ns = list[number as usize].take();
                            prop_assert!(due_ns.is_some_and(|due_ns| due_ns <= now_ns), "{number} at {now_ns}");
                            prop_assert!(last_tick <= wheel.tick);
                            last_tick = wheel.tick;
                            // Nobody waits any more who was called.
                            prop_assert_eq!(uas[number as usize].previous, NOBODY);
                        }
                        for (number, due_ns) in list.iter().enumerate() {
                            let is_over = due_ns.is_some_and(|due_ns| due_ns + 2 * TICK_NS <= now_ns);
                            prop_assert!(!is_over, "{number} was not called by {now_ns}");
                        }
                    }
                }
                if let Some(first) = list.iter().flatten().min() {
                    let deadline_ns = wheel.deadline_ns();
                    prop_assert!(deadline_ns.is_some_and(|ns| ns <= (*first).max(now_ns) + 2 * TICK_NS));
                }
            }
        }
    }

    #[test]
    fn a_tick_is_called_in_order() {
        let mut wheel = Wheel::new();
        let mut uas: Vec<Ua> = (0..4).map(|_| Ua::new([0; 16], 0)).collect();
        for (number, due_ns) in [(0, 5_900_000), (1, 5_100_000), (2, 6_000_000), (3, 5_500_000)] {
            wheel.wait(&mut uas, number, due_ns);
        }
        assert_eq!(wheel.deadline_ns(), Some(5_000_000), "the tick's start");
        assert_eq!(wheel.next_due(&mut uas, 5_000_000), None);
        assert_eq!(wheel.deadline_ns(), Some(5_100_000), "and then to the nanosecond");
        assert_eq!(wheel.next_due(&mut uas, 5_100_000), Some(1));
        assert_eq!(wheel.next_due(&mut uas, 5_100_000), None);
        // What is put off while it waits for its turn is not called.
        wheel.wait(&mut uas, 3, 9_000_000);
        let rest: Vec<u32> = std::iter::from_fn(|| wheel.next_due(&mut uas, 20_000_000)).collect();
        assert_eq!(rest, [0, 2, 3]);
        assert_eq!(wheel.deadline_ns(), None);
    }
}
