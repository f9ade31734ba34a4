//! A hash index from keys that live elsewhere to 32-bit ids. It never sees a key, never moves more than one run of
//! neighbours and never stops to reorganise itself.
//!
//! Design: linear probing in one array of 8-byte slots, a tag (the hash's lower 32 bits) and an id. The home of an
//! entry is `tag * homes >> 32`, so the array may have any size; homes rise with the tags, so keeping each run sorted
//! by tag *is* Robin Hood probing, and a look-up of what is absent ends as early as one of what is present. A removal
//! shifts the rest of its run back by one: there are no tombstones. All 32 bits of the tag are compared before the
//! caller's `eq`, which thus reads a foreign key once in four thousand look-ups at a million entries.
//!
//! hashbrown's `HashTable` finds faster (11 ns against 21 to 37, a million entries, keys not read), but it cannot be held to a
//! size: made for a million entries and then full of changing ones it grew from 10.5 to 21 MB, and the insertion that
//! cleared its tombstones took 11 to 17 ms. Here the memory is 10 MB, and an insertion moves a few neighbours.

use super::{Full, Prefetch};
use alloc::vec;
use alloc::vec::Vec;

/// A slot without an entry: its tag is below every real one.
const EMPTY: u64 = 0;
/// Homes for every four entries: five, a load of 0.8 when full.
const HOMES_PER_FOUR: u64 = 5;
/// Slots that are looked at together: a cache line's worth.
const PROBED: usize = 8;
/// Slots behind the last home, so that a run never wraps around. At a load of 0.8 a run of this length has a
/// probability below 10^-20.
const SPILL_SLOTS: u64 = 2048;

/// An index for a fixed number of entries. Hashes must be keyed with a secret, or a peer could choose its collisions.
#[derive(Debug)]
pub struct Table {
    /// Sorted by falling tag within each run; the last slot stays empty.
    slots: Vec<u64>,
    homes: u32,
    capacity: u32,
    len: u32,
}

impl Table {
    /// A table for `capacity` entries.
    ///
    /// # Panics
    /// Where `capacity` exceeds 3 * 2^30.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let homes = u32::try_from(homes(capacity)).expect("a table holds at most 3 * 2^30 entries");
        Table { slots: vec![EMPTY; slots(capacity)], homes, capacity, len: 0 }
    }

    /// Bytes of memory that [`Table::new`] reserves: 10 an entry.
    #[must_use]
    pub const fn bytes(capacity: u32) -> usize {
        slots(capacity) * size_of::<u64>()
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The id of the entry with this hash for which `eq` says that its key is the one sought.
    #[inline(always)]
    pub fn find(&self, hash: u64, eq: impl FnMut(u32) -> bool) -> Option<u32> {
        self.position(tag(hash), eq).map(|position| id(self.slots[position]))
    }

    /// Begins to fetch what [`find`](Self::find) would read.
    #[inline]
    pub fn prefetch(&self, hash: u64, prefetch: Prefetch) {
        if let Some(slot) = self.slots.get(self.home(tag(hash))) {
            prefetch.line(slot);
        }
    }

    /// Adds an entry. The caller has made sure that the key is absent; two entries may share a hash.
    ///
    /// # Errors
    /// [`Full`] at capacity, or where the run at this hash has no slot left (see `SPILL_SLOTS`).
    #[inline]
    pub fn insert(&mut self, hash: u64, id: u32) -> Result<(), Full> {
        if self.len == self.capacity {
            return Err(Full);
        }
        let tag = tag(hash);
        let home = self.home(tag);
        let run = &self.slots[home..];
        let Some(place) = run.iter().position(|&slot| tag_of(slot) < tag) else { return Err(Full) };
        let Some(gap) = run[place..].iter().position(|&slot| slot == EMPTY) else {
            return Err(Full);
        };
        let (first, last) = (home + place, home + place + gap);
        if last + 1 == self.slots.len() {
            return Err(Full);
        }
        self.slots.copy_within(first..last, first + 1);
        self.slots[first] = u64::from(tag) << 32 | u64::from(id);
        self.len += 1;
        Ok(())
    }

    /// Takes out the entry with this hash for which `eq` says yes, and gives its id.
    #[inline]
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(u32) -> bool) -> Option<u32> {
        let position = self.position(tag(hash), eq)?;
        let removed = id(self.slots[position]);
        // Everything behind it that is not at its home already moves one slot back.
        let mut end = position + 1;
        while self.slots[end] != EMPTY && self.home(tag_of(self.slots[end])) < end {
            end += 1;
        }
        self.slots.copy_within(position + 1..end, position);
        self.slots[end - 1] = EMPTY;
        self.len -= 1;
        Some(removed)
    }

    /// Gives the entry of `hash` and `from` the id `to`; false where there is none.
    #[inline]
    pub fn renumber(&mut self, hash: u64, from: u32, to: u32) -> bool {
        let tag = tag(hash);
        let Some(position) = self.position(tag, |id| id == from) else { return false };
        self.slots[position] = u64::from(tag) << 32 | u64::from(to);
        true
    }

    /// Walks the invariants: the entries are counted, and each can be reached from its home in sorted order.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        assert_eq!(self.slots.last(), Some(&EMPTY), "the last slot ends every run");
        let mut len = 0;
        for (position, &slot) in self.slots.iter().enumerate() {
            if slot == EMPTY {
                continue;
            }
            len += 1;
            let home = self.home(tag_of(slot));
            assert!(home <= position, "an entry before its home");
            assert!(
                self.slots[home..position].iter().all(|&before| tag_of(before) >= tag_of(slot)),
                "a run with a gap or out of order"
            );
        }
        assert_eq!(len, self.len, "entries counted");
    }

    #[inline(always)]
    fn position(&self, tag: u32, mut eq: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut position = self.home(tag);
        // Tags fall along a run, and what lies behind its end has lower ones: counting the higher ones of a few slots leads to
        // the tag without a branch for each slot, which would be guessed wrong.
        while let Some(slots) = self.slots.get(position..position + PROBED) {
            let higher = slots.iter().map(|&slot| usize::from(tag_of(slot) > tag)).sum::<usize>();
            position += higher;
            if higher < PROBED {
                break;
            }
        }
        loop {
            let slot = *self.slots.get(position)?;
            if tag_of(slot) < tag {
                return None;
            }
            if tag_of(slot) == tag && eq(id(slot)) {
                return Some(position);
            }
            position += 1;
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the product of two u32, its upper half")]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(!tag) * u64::from(self.homes)) >> 32) as usize
    }
}

const fn homes(capacity: u32) -> u64 {
    (capacity as u64 * HOMES_PER_FOUR).div_ceil(4) + 1
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on every machine that is served"
)]
const fn slots(capacity: u32) -> usize {
    let spill = if (capacity as u64) < SPILL_SLOTS { capacity as u64 } else { SPILL_SLOTS };
    (homes(capacity) + spill + 1) as usize
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half: the upper one chose the core, so it is much the same here"
)]
fn tag(hash: u64) -> u32 {
    (hash as u32).max(1)
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half")]
fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
fn id(slot: u64) -> u32 {
    slot as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(usize),
        Renumber(usize, u32),
        Miss(u64),
    }

    /// Few distinct hashes, so that runs are long and tags are shared, and the two ends of the array.
    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0..8_u64).prop_map(|high| high << 29),
            0..4_u64,
            (0..4_u64).prop_map(|low| !low)
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => hash().prop_map(Step::Insert),
            3 => any::<usize>().prop_map(Step::Remove),
            1 => (any::<usize>(), any::<u32>()).prop_map(|(at, id)| Step::Renumber(at, id)),
            1 => hash().prop_map(Step::Miss),
        ]
    }

    proptest! {
        #[test]
        fn finds_what_a_list_of_pairs_finds(capacity in 0..60_u32, steps in prop::collection::vec(step(), 1..400)) {
            let mut table = Table::new(capacity);
            let mut oracle: Vec<(u64, u32)> = Vec::new();
            for (step, fresh) in steps.into_iter().zip(0..) {
                match step {
                    // A small table spills as far as its capacity, so nothing else may refuse.
                    Step::Insert(hash) => match table.insert(hash, fresh) {
                        Ok(()) => oracle.push((hash, fresh)),
                        Err(Full) => prop_assert_eq!(oracle.len(), capacity as usize),
                    },
                    Step::Remove(at) if !oracle.is_empty() => {
                        let (hash, id) = oracle.swap_remove(at % oracle.len());
                        prop_assert_eq!(table.remove(hash, |candidate| candidate == id), Some(id));
                        prop_assert_eq!(table.remove(hash, |candidate| candidate == id), None);
                    }
                    Step::Renumber(at, id) if !oracle.is_empty() => {
                        let at = at % oracle.len();
                        // Ids stay distinct, as those of a slab are.
                        if oracle.iter().all(|&(_, other)| other != id) && id > 400 {
                            prop_assert!(table.renumber(oracle[at].0, oracle[at].1, id));
                            oracle[at].1 = id;
                        }
                    }
                    Step::Miss(hash) => {
                        prop_assert_eq!(table.find(hash, |_| false), None);
                        prop_assert_eq!(table.remove(hash, |_| false), None);
                        prop_assert!(!table.renumber(hash, 400, 1));
                    }
                    Step::Remove(_) | Step::Renumber(..) => {}
                }
                table.check();
                prop_assert_eq!(table.len() as usize, oracle.len());
                for &(hash, id) in &oracle {
                    prop_assert_eq!(table.find(hash, |candidate| candidate == id), Some(id));
                }
            }
        }
    }

    #[test]
    fn only_entries_with_the_same_tag_are_compared() {
        let mut table = Table::new(1000);
        let hash = |id: u32| u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        for id in 0..1000 {
            table.insert(hash(id), id).unwrap();
        }
        assert_eq!(table.insert(1, 1), Err(Full));
        for id in 0..1000 {
            let mut compared = 0;
            table.find(hash(id), |candidate| {
                compared += 1;
                candidate == id
            });
            assert_eq!(compared, 1);
        }
        table.check();
    }

    #[test]
    fn a_run_without_end_is_refused_and_harms_nobody() {
        let mut table = Table::new(100_000);
        let mut inserted = 0;
        // All with the last home: no more fit than its slot and those behind it, and one stays empty.
        while table.insert(1, inserted).is_ok() {
            inserted += 1;
        }
        assert_eq!(u64::from(inserted), SPILL_SLOTS + 1);
        table.check();
        assert_eq!(table.find(1, |id| id == inserted - 1), Some(inserted - 1));
        assert_eq!(table.find(2, |_| true), None);
        table.insert(u64::MAX, 7).unwrap();
        for id in 0..inserted {
            assert_eq!(table.remove(1, |candidate| candidate == id), Some(id));
        }
        table.check();
        assert_eq!(table.len(), 1);
    }
}
