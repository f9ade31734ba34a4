//! Which counts of which nonces were used, RFC 7616 3.4 and 5.12: the memory that refuses a replay. It has a fixed size, and what
//! it had to forget it knows to be forgotten: such a nonce is stale, and never good a second time.
//!
//! A nonce is kept as 32 bits of its MAC, its time, the highest count that was used and which of the 31 below it were. Four of
//! them make a bucket of one cache line. An address-of-record has eight buckets and no others, so whoever has one password
//! crowds his own and his neighbours' places only.
//!
//! A full bucket gives up its oldest nonce and remembers how old that was. What is not in the bucket and no younger may have
//! been used. Nothing is recorded but what came with the right response, so strangers fill nothing.

use super::nonce::Nonce;
use crate::store::Prefetch;
use alloc::vec;
use alloc::vec::Vec;

/// Places of a bucket.
const PLACES: usize = 4;
/// Buckets of an address-of-record; a power of two.
const NEIGHBOURS: u64 = 8;
/// Counts that are told apart: the highest and those below it.
const WINDOW: u32 = u32::BITS;

/// The uses of nonces on one core.
#[derive(Debug)]
pub(super) struct Replays {
    buckets: Vec<Bucket>,
    /// For each bucket, the time of the youngest nonce that it has given up; 0 for none.
    forgotten: Vec<u32>,
}

/// A cache line, and never two.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Bucket([Use; PLACES]);

/// The uses of one nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    tag: u32,
    time: u32,
    highest: u32,
    /// Bit `i` for the count `highest - i`; so bit 0 is set wherever the place is taken.
    window: u32,
}

/// What is known of a nonce and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not used, and is from now on.
    First,
    /// It was used, or is so far below the highest count that it may have been.
    Replayed,
    /// The nonce may have been used and forgotten.
    Forgotten,
}

impl Replays {
    /// A memory for some nonces, with twice as many places, so that few give way before all are taken.
    #[must_use]
    pub(super) fn new(nonces: usize) -> Self {
        let buckets = buckets(nonces);
        Replays { buckets: vec![Bucket::default(); buckets], forgotten: vec![0; buckets] }
    }

    /// Bytes of a memory for some nonces.
    #[must_use]
    pub(super) fn bytes(nonces: usize) -> usize {
        buckets(nonces) * (size_of::<Bucket>() + size_of::<u32>())
    }

    /// Begins to fetch what [`record`](Self::record) will read.
    #[inline]
    pub(super) fn prefetch(&self, scope: u64, nonce: &Nonce, prefetch: Prefetch) {
        let at = self.bucket(scope, nonce.mac);
        if let (Some(bucket), Some(forgotten)) = (self.buckets.get(at), self.forgotten.get(at)) {
            prefetch.line(bucket);
            prefetch.line(forgotten);
        }
    }

    /// Records a use of a nonce whose response was right.
    #[inline]
    pub(super) fn record(&mut self, scope: u64, nonce: &Nonce, nc: u32) -> Seen {
        let at = self.bucket(scope, nonce.mac);
        let (Some(Bucket(bucket)), Some(forgotten)) =
            (self.buckets.get_mut(at), self.forgotten.get_mut(at))
        else {
            return Seen::Forgotten;
        };
        let tag = tag(nonce.mac);
        for used in bucket.iter_mut() {
            if used.is_of(tag, nonce.time) {
                return used.count(nc);
            }
        }
        if nonce.time <= *forgotten {
            return Seen::Forgotten;
        }
        // A free place has a time of 0.
        let Some(oldest) = bucket.iter_mut().min_by_key(|used| used.time) else {
            return Seen::Forgotten;
        };
        if oldest.window != 0 {
            if oldest.time > nonce.time {
                return Seen::Forgotten;
            }
            *forgotten = oldest.time;
        }
        *oldest = Use { tag, time: nonce.time, highest: nc, window: 1 };
        Seen::First
    }

    /// Walks the invariants: the highest count of a nonce that is kept is marked, a nonce is kept once, and nothing is kept that
    /// is older than what was forgotten.
    pub(super) fn check(&self) {
        for (Bucket(bucket), &forgotten) in self.buckets.iter().zip(&self.forgotten) {
            for (at, used) in bucket.iter().enumerate() {
                if used.window == 0 {
                    assert_eq!(*used, Use::default(), "a free place that is not empty");
                    continue;
                }
                assert_eq!(used.window & 1, 1, "a highest count that is not marked");
                assert!(used.time >= forgotten, "a nonce that was given up is kept");
                assert!(
                    bucket[at + 1..].iter().all(|other| !other.is_of(used.tag, used.time)),
                    "a nonce is kept twice"
                );
            }
        }
    }

    /// One of the address-of-record's buckets. The upper bits of a scope are alike on one core.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
    fn bucket(&self, scope: u64, mac: u64) -> usize {
        let buckets = self.buckets.len() as u64;
        let first = ((scope & 0xFFFF_FFFF) * buckets) >> 32;
        let at = first + mac % NEIGHBOURS;
        (if at < buckets { at } else { at - buckets }) as usize
    }
}

impl Use {
    #[inline]
    fn is_of(&self, tag: u32, time: u32) -> bool {
        self.tag == tag && self.time == time && self.window != 0
    }

    #[inline]
    fn count(&mut self, nc: u32) -> Seen {
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.window = if ahead < WINDOW { self.window << ahead | 1 } else { 1 };
            self.highest = nc;
            return Seen::First;
        }
        let behind = self.highest - nc;
        if behind >= WINDOW || self.window >> behind & 1 == 1 {
            return Seen::Replayed;
        }
        self.window |= 1 << behind;
        Seen::First
    }
}

fn buckets(nonces: usize) -> usize {
    (nonces * 2).div_ceil(PLACES).max(usize::try_from(NEIGHBOURS).unwrap_or(PLACES))
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half")]
fn tag(mac: u64) -> u32 {
    (mac >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::nonce::tests_only;
    use alloc::collections::BTreeMap;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn nonce(number: u64, time: u32) -> Nonce {
        // Spread like a MAC, but the same in every run.
        let mac = (number + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        tests_only(time, mac)
    }

    #[test]
    fn each_count_is_good_once_within_the_window() {
        let mut replays = Replays::new(100);
        let nonce = nonce(1, 1000);
        let mut count = |nc| replays.record(7, &nonce, nc);
        assert_eq!(
            [1, 2, 2, 1].map(&mut count),
            [Seen::First, Seen::First, Seen::Replayed, Seen::Replayed]
        );
        assert_eq!(
            [5, 4, 4, 3, 5].map(&mut count),
            [Seen::First, Seen::First, Seen::Replayed, Seen::First, Seen::Replayed]
        );
        // 32 counts are told apart: 9 to 40.
        assert_eq!(
            [40, 9, 8, 9, 6].map(&mut count),
            [Seen::First, Seen::First, Seen::Replayed, Seen::Replayed, Seen::Replayed]
        );
        assert_eq!(
            [u32::MAX, u32::MAX, 41, 0].map(&mut count),
            [Seen::First, Seen::Replayed, Seen::Replayed, Seen::Replayed]
        );
        replays.check();
    }

    #[test]
    fn what_was_given_up_is_never_good_again() {
        let mut replays = Replays::new(1);
        let nonces: Vec<Nonce> =
            (0..200).map(|number| nonce(u64::from(number), 1000 + number)).collect();
        for nonce in &nonces {
            assert_eq!(replays.record(7, nonce, 1), Seen::First);
            replays.check();
        }
        let again: Vec<Seen> = nonces.iter().map(|nonce| replays.record(7, nonce, 1)).collect();
        assert!(!again.contains(&Seen::First));
        let kept = again.iter().filter(|&&seen| seen == Seen::Replayed).count();
        assert_eq!(kept, replays.buckets.len() * PLACES);
        // A count that was never used is refused too, where the nonce was given up.
        assert_eq!(replays.record(7, &nonces[0], 2), Seen::Forgotten);
        assert_eq!(replays.record(7, &nonces[199], 2), Seen::First);
    }

    #[test]
    fn one_address_of_record_crowds_eight_buckets_at_most() {
        let mut replays = Replays::new(10_000);
        for number in 0..1000 {
            replays.record(0x1234_5678, &nonce(number, 1000), 1);
        }
        let touched = replays.buckets.iter().filter(|bucket| bucket.0[0].window != 0).count();
        assert_eq!(touched, 8);
    }

    proptest! {
        /// Against a set of everything used: what is a first use there may be refused here, and never the other way round; while
        /// nothing was given up, only counts below the window are.
        #[test]
        fn never_lets_pass_what_a_set_has(
            room in 1..40_usize,
            uses in prop::collection::vec((0..4u64, 0..24u64, 0..3u32, 0..80u32), 1..400),
        ) {
            let mut replays = Replays::new(room);
            let mut used = BTreeSet::new();
            let mut highest = BTreeMap::new();
            let mut forgets = false;
            for (scope, number, age, nc) in uses {
                // A MAC covers the scope, too.
                let nonce = nonce(number + 100 * scope, 1000 - age);
                let seen = replays.record(scope << 28, &nonce, nc);
                replays.check();
                let key = (scope, number, age);
                forgets |= seen == Seen::Forgotten;
                let is_new = !used.contains(&(key, nc));
                let top = highest.entry(key).or_insert(nc);
                if seen == Seen::First {
                    prop_assert!(is_new);
                    used.insert((key, nc));
                    *top = nc.max(*top);
                } else if !forgets && replays.forgotten.iter().all(|&time| time == 0) {
                    prop_assert!(!is_new || *top - nc >= WINDOW);
                }
            }
        }
    }
}
