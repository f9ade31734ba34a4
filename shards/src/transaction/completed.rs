//! Completed non-INVITE server transactions, RFC 3261 17.2.2: which response a request has got already. Its memory is
//! fixed: the oldest records make room for new ones, and it never refuses a new one for the sake of an old.
//!
//! The responses lie in a circular log. An index of 64-byte buckets leads to them, eight entries of 16 bits of the
//! fingerprint and 48 bits of the position in the log: looking up what is absent reads one cache line. A bucket is a queue, the
//! newest entry first: a new one pushes the oldest out, and an entry whose record was overwritten needs no removal, since
//! its position tells. The whole fingerprint is compared in the record.

pub use super::log::Answer;

use super::log::Log;
use super::{Fingerprint, TIMER_J};
use crate::io::{Instant, Transport};
use crate::store::{Memory, Prefetch};
use alloc::vec;
use alloc::vec::Vec;

const POSITION_MASK: u64 = (1 << 48) - 1;
const ENTRIES: usize = 8;
const TAG_BITS: usize = 16;
/// One sixteenth of the memory is index. With records of 400 bytes a bucket then has 2.4 of them on average, and one
/// record in six hundred finds its bucket full.
const INDEX_SHARE: usize = 16;

/// The table of completed transactions of one core.
#[derive(Debug)]
pub struct Completed {
    buckets: Vec<Bucket>,
    log: Log,
    metrics: Metrics,
}

/// What a table of completed transactions counts, from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Answers stored.
    pub stored: u64,
    /// Answers that made room for newer ones before Timer J had ended them.
    pub evicted: u64,
    /// Answers that were not stored because they need more than half the table.
    pub oversized: u64,
}

/// Eight entries, the newest in the lowest lane; those that were never used are zero.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// Eight tags of 16 bits.
    tags: u128,
    /// The upper 16 bits of each position.
    high: u128,
    /// The lower 32 bits of each position.
    low: [u32; ENTRIES],
}

impl Completed {
    /// A table of `bytes`, index and log together.
    ///
    /// # Panics
    /// Where `bytes` exceeds 4 TiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let buckets = (bytes / INDEX_SHARE / size_of::<Bucket>()).max(1);
        assert!(
            u32::try_from(buckets).is_ok(),
            "a table of completed transactions has less than 2^32 buckets"
        );
        let log = bytes.saturating_sub(buckets * size_of::<Bucket>());
        Completed {
            buckets: vec![Bucket { tags: 0, high: 0, low: [0; ENTRIES] }; buckets],
            log: Log::new(log),
            metrics: Metrics::default(),
        }
    }

    /// What was sent in answer to the request of this fingerprint, while its record lives. RFC 3261 17.2.2: a
    /// retransmission is answered with the same bytes, the same way.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, now: Instant, fingerprint: Fingerprint) -> Option<Answer<'_>> {
        let bucket = self.bucket(fingerprint);
        // Nearly every request is new: that is settled here, and the rest is a call.
        if self.buckets[bucket].candidates(tag(fingerprint)) == 0 {
            return None;
        }
        self.find_in(bucket, now, fingerprint)
    }

    /// Keeps an answer for Timer J, in place of what was kept under the same fingerprint before. False where it is too large.
    #[inline(always)]
    pub fn insert(&mut self, now: Instant, fingerprint: Fingerprint, answer: &Answer<'_>) -> bool {
        let Some(bytes) = self.record_bytes(answer) else { return false };
        let bucket = self.bucket(fingerprint);
        if self.buckets[bucket].candidates(tag(fingerprint)) != 0
            && let Some(offset) = self.found(bucket, fingerprint)
        {
            // The same transaction answered anew loses nothing.
            self.log.end(offset);
        }
        self.push(now, bucket, fingerprint, bytes, answer);
        true
    }

    /// The same for a request that was not [found](Self::find), so that there is nothing to be replaced.
    #[inline(always)]
    pub fn insert_first(
        &mut self,
        now: Instant,
        fingerprint: Fingerprint,
        answer: &Answer<'_>,
    ) -> bool {
        let Some(bytes) = self.record_bytes(answer) else { return false };
        self.push(now, self.bucket(fingerprint), fingerprint, bytes, answer);
        true
    }

    /// Bytes of a record, or nothing where it is too large, which is counted.
    #[inline(always)]
    fn record_bytes(&mut self, answer: &Answer<'_>) -> Option<usize> {
        let bytes = self.log.record_bytes(answer);
        if bytes.is_none() {
            self.metrics.oversized += 1;
        }
        bytes
    }

    #[inline(always)]
    fn push(
        &mut self,
        now: Instant,
        bucket: usize,
        fingerprint: Fingerprint,
        bytes: usize,
        answer: &Answer<'_>,
    ) {
        self.metrics.evicted += self.log.make_room(bytes, now);
        if let Some(offset) = self.record(self.buckets[bucket].position(ENTRIES - 1)) {
            self.metrics.evicted += u64::from(self.log.until(offset) > now);
            self.log.end(offset);
        }
        self.buckets[bucket].push(tag(fingerprint), self.log.head());
        // RFC 3261 17.2.2: Timer J is 64*T1 over unreliable transports.
        let until = match answer.to.transport {
            Transport::Udp => now.plus(TIMER_J),
        };
        self.log.push(bytes, fingerprint, until, answer);
        self.metrics.stored += 1;
    }

    /// Begins to fetch what [`find`](Self::find) will read for the requests of a home, as [`Fingerprint::new`] was given it.
    #[inline]
    pub fn prefetch(&self, home: u64, prefetch: Prefetch) {
        prefetch.line(&self.buckets[self.bucket_of(Fingerprint::home_bits(home))]);
    }

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How full it is. What has ended counts until its place is needed.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let index_bytes = self.buckets.len() * size_of::<Bucket>();
        Memory {
            used_bytes: index_bytes + self.log.used_bytes(),
            reserved_bytes: index_bytes + self.log.reserved_bytes(),
            entries: None,
            capacity: None,
        }
    }

    /// Walks the invariants: the log's records are whole, and the index leads to each that was not ended.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        self.log.check();
        for (position, offset) in
            self.log.records().filter(|&(_, offset)| self.log.until(offset) > Instant::START)
        {
            let fingerprint = self.log.fingerprint(offset);
            let bucket = &self.buckets[self.bucket(fingerprint)];
            let leads = |&place: &usize| {
                bucket.tag(place) == tag(fingerprint)
                    && bucket.position(place) == position & POSITION_MASK
            };
            assert_eq!(
                (0..ENTRIES).filter(leads).count(),
                1,
                "a record that the index does not lead to"
            );
        }
    }

    #[inline(never)]
    fn find_in(&self, bucket: usize, now: Instant, fingerprint: Fingerprint) -> Option<Answer<'_>> {
        let offset = self.found(bucket, fingerprint)?;
        (self.log.until(offset) > now).then(|| self.log.answer(offset))
    }

    /// The offset of a fingerprint's latest record, from its bucket.
    #[cold]
    #[inline(never)]
    fn found(&self, bucket: usize, fingerprint: Fingerprint) -> Option<usize> {
        let bucket = &self.buckets[bucket];
        let mut candidates = bucket.candidates(tag(fingerprint));
        while candidates != 0 {
            let place = candidates.trailing_zeros() as usize / TAG_BITS;
            candidates &= candidates - 1;
            if let Some(offset) = self.record(bucket.position(place))
                && self.log.is(offset, fingerprint)
            {
                return Some(offset);
            }
        }
        None
    }

    /// The offset of the record at a position, unless it was overwritten.
    #[inline(always)]
    fn record(&self, position: u64) -> Option<usize> {
        let age = self.age(position);
        (age <= self.log.span()).then(|| self.log.offset(age))
    }

    /// How far a position of 48 bits lies before the head, in units, from 1 on. After 2^48 units a position looks young
    /// again; the fingerprint in the log then tells.
    #[inline]
    fn age(&self, position: u64) -> u64 {
        (self.log.head().wrapping_sub(position).wrapping_sub(1) & POSITION_MASK) + 1
    }

    /// All requests of one home share a bucket, so that it is known before the request is read to its end, and who sends more
    /// of them than it holds loses only its own.
    #[inline]
    fn bucket(&self, fingerprint: Fingerprint) -> usize {
        self.bucket_of(fingerprint.0[1])
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the upper half of a product of two u32")]
    fn bucket_of(&self, home_bits: u64) -> usize {
        (((home_bits >> 32) * self.buckets.len() as u64) >> 32) as usize
    }
}

impl Bucket {
    /// A bit in the lane of each entry that may have a tag: of all that have it, and rarely of another above one that has.
    #[inline]
    fn candidates(&self, tag: u16) -> u128 {
        const ONES: u128 = u128::MAX / 0xffff;
        const TOPS: u128 = ONES << (TAG_BITS - 1);
        let differing = self.tags ^ (ONES * u128::from(tag));
        differing.wrapping_sub(ONES) & !differing & TOPS
    }

    #[inline]
    fn position(&self, place: usize) -> u64 {
        let high = u64::from(lane(self.high, place));
        high << 32 | u64::from(self.low[place])
    }

    fn tag(&self, place: usize) -> u16 {
        lane(self.tags, place)
    }

    /// Puts an entry first; the oldest is gone.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a position is kept modulo 2^48, in two parts"
    )]
    fn push(&mut self, tag: u16, position: u64) {
        self.tags = self.tags << TAG_BITS | u128::from(tag);
        self.high = self.high << TAG_BITS | u128::from((position >> 32) as u16);
        let [a, b, c, d, e, f, g, _] = self.low;
        self.low = [position as u32, a, b, c, d, e, f, g];
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "a lane of 16 bits")]
fn lane(lanes: u128, place: usize) -> u16 {
    (lanes >> (TAG_BITS * place)) as u16
}

/// Never zero, so that an unused entry is never tried.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "16 bits of 64")]
fn tag(fingerprint: Fingerprint) -> u16 {
    ((fingerprint.0[0] >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{ListenerId, LocalAddr, Peer};
    use alloc::collections::VecDeque;
    use core::time::Duration;
    use proptest::prelude::*;

    const NOW: Instant = Instant::START.plus_secs(1000);

    fn fingerprint(number: u64) -> Fingerprint {
        // Spread like a hash, but the same in every run.
        let mix = |salt: u64| {
            (number ^ salt)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(32)
                .wrapping_mul(0xd6e8_feb8_6659_fd93)
        };
        Fingerprint([mix(1), mix(2)])
    }

    fn ends(number: u16) -> (Peer, LocalAddr) {
        let (peer, local) = match number % 4 {
            0 => ("192.0.2.1:5060", "127.0.0.1"),
            1 => ("[fe80::1%7]:5071", "2001:db8::5"),
            2 => ("[::ffff:192.0.2.1]:1", "192.0.2.9"),
            _ => ("198.51.100.255:65535", "::1"),
        };
        (
            Peer::udp(peer.parse().unwrap()),
            LocalAddr { listener: ListenerId(number), ip: local.parse().unwrap() },
        )
    }

    #[test]
    fn the_same_bytes_go_the_same_way_until_timer_j_ends() {
        for number in 0..4 {
            let mut table = Completed::new(64 * 1024);
            let (to, from) = ends(number);
            let answer = Answer { response: b"SIP/2.0 200 OK\r\n\r\n", to, from };
            assert!(table.insert(NOW, fingerprint(1), &answer));
            assert_eq!(table.find(NOW, fingerprint(1)), Some(answer));
            assert_eq!(table.find(NOW, fingerprint(2)), None);
            let last = NOW.plus(TIMER_J - Duration::from_nanos(1));
            assert_eq!(table.find(last, fingerprint(1)), Some(answer));
            assert_eq!(table.find(NOW.plus(TIMER_J), fingerprint(1)), None);
            table.check();
        }
    }

    #[test]
    fn the_oldest_gives_way_and_is_counted_only_while_it_lives() {
        let (to, from) = ends(0);
        let mut table = Completed::new(64 * 1024);
        let answer = Answer { response: &[b'x'; 360], to, from };
        let fit = (64 * 1024 - 4096) / 400;
        for number in 0..fit {
            assert!(table.insert(NOW, fingerprint(number), &answer));
        }
        let displaced = table.metrics().evicted;
        assert!(displaced < 4, "{displaced} found their bucket full");
        table.insert(NOW, fingerprint(fit), &answer);
        assert_eq!(table.find(NOW, fingerprint(0)), None);
        assert_eq!(table.metrics().evicted, displaced + 1);
        let later = NOW.plus(TIMER_J);
        for number in 0..10 * fit {
            table.insert(later, fingerprint(1000 + number), &answer);
            if number == fit - 1 {
                assert!(table.metrics().evicted < 8, "records that had ended were counted");
            }
        }
        assert!(table.metrics().evicted > 8 * fit);
        table.check();
    }

    #[test]
    fn what_is_too_large_is_said_and_changes_nothing() {
        let (to, from) = ends(0);
        let mut table = Completed::new(8192);
        let fits = Answer { response: &[1; 3840 - 40], to, from };
        let exceeds = Answer { response: &[2; 3840 - 39], to, from };
        assert!(table.insert(NOW, fingerprint(1), &fits));
        assert!(!table.insert(NOW, fingerprint(2), &exceeds));
        assert_eq!(table.find(NOW, fingerprint(1)), Some(fits));
        assert_eq!(*table.metrics(), Metrics { stored: 1, evicted: 0, oversized: 1 });
        assert!(!Completed::new(0).insert(
            NOW,
            fingerprint(1),
            &Answer { response: b"", to, from }
        ));
    }

    #[derive(Clone, Debug)]
    struct Stored {
        number: u64,
        until: Instant,
        response: Vec<u8>,
        to: Peer,
        from: LocalAddr,
        record_bytes: usize,
        lost: bool,
    }

    proptest! {
        /// Against a queue of everything stored: what is found is the latest answer of its request, byte for byte, and
        /// every answer that is no longer found before its end is counted.
        #[test]
        fn finds_what_a_queue_finds(
            kibibytes in 1..24_usize,
            steps in prop::collection::vec((0..200_u64, 0..1500_usize, any::<u16>(), 0..3_000_u64), 1..150),
        ) {
            let bytes = kibibytes * 1024;
            let mut table = Completed::new(bytes);
            let mut queue: VecDeque<Stored> = VecDeque::new();
            let (mut now, mut stored, mut oversized, mut replaced, mut lost) = (NOW, 0, 0, 0, 0);
            for (number, length, end, millis) in steps {
                now = now.plus(Duration::from_millis(millis));
                let response: Vec<u8> = (0..=u8::MAX).cycle().skip(end.into()).take(length).collect();
                let (to, from) = ends(end);
                let record_bytes = table.log.record_bytes(&Answer { response: &response, to, from });
                if table.insert(now, fingerprint(number), &Answer { response: &response, to, from }) {
                    let same = queue.iter().position(|other| other.number == number);
                    if let Some(same) = same.and_then(|same| queue.remove(same)) {
                        replaced += u64::from(same.until > now && !same.lost);
                    }
                    let record_bytes = record_bytes.unwrap();
                    queue.push_back(Stored { number, until: now.plus(TIMER_J), response, to, from, record_bytes, lost: false });
                    stored += 1;
                } else {
                    prop_assert_eq!(record_bytes, None);
                    oversized += 1;
                }
                table.check();
                let mut newer_bytes = 0;
                for kept in queue.iter_mut().rev() {
                    let answer = table.find(now, fingerprint(kept.number));
                    if let Some(answer) = answer {
                        prop_assert_eq!(answer, Answer { response: &kept.response, to: kept.to, from: kept.from });
                        prop_assert!(kept.until > now && !kept.lost);
                    } else if kept.until > now && !kept.lost {
                        kept.lost = true;
                        lost += 1;
                    }
                    newer_bytes += kept.record_bytes;
                    prop_assert!(newer_bytes <= bytes || answer.is_none(), "more is kept than there is memory");
                }
                let metrics = *table.metrics();
                prop_assert_eq!((metrics.stored, metrics.oversized), (stored, oversized));
                // An answer that was replaced may have been the oldest, and evicted first.
                prop_assert!(lost <= metrics.evicted && metrics.evicted <= lost + replaced, "lost {lost}, {metrics:?}");
                if let Some(last) = queue.back().filter(|last| last.until > now) {
                    prop_assert!(table.find(now, fingerprint(last.number)).is_some(), "the newest is always there");
                }
            }
        }
    }
}
