//! Nonces that need no memory to be known again, RFC 7616 3.3 and 5.5: who made them and when, under a MAC. It keeps the time
//! that they are stamped with, and no nonce.
//!
//! ```text
//! time      u32   seconds since 1970, of the clock below
//! core      u16   the core that made it
//! start     u16   a hash of when that core began, to tell it from the one before it within the same second
//! salt      u16   of the transaction: two phones of one address-of-record get two nonces
//! MAC       u64   SipHash-2-4 of the above and of the scope, under a key of the node
//! ```
//! The MAC needs no more than 64 bits: a forged nonce opens nothing without a password, and to find one takes 2^63 datagrams at a
//! server that is asked, since nothing can be tried elsewhere. The scope is the keyed hash of the address-of-record for which a
//! nonce was made, so that it is good there and nowhere else, and one core has seen every use of it.
//!
//! Whoever has the key accepts it: other cores, other nodes, and this one after a restart with other cores. What was made before
//! a core began is not accepted by that core, though, because it can't know how often it was used: see [`Clock`].

use crate::io::{CoreId, Instant, UnixTime};
use siphasher::sip::SipHasher24;

/// How far ahead of ours the clock of another node may be that made a nonce.
const AHEAD_SECS_MAX: u32 = 30;
const STAMP_BYTES: usize = 10;
const BYTES: usize = STAMP_BYTES + 8;

/// A nonce that one of our nodes has made for a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// When it was made, by the clock of whoever made it.
    pub(super) time: u32,
    /// Who made it.
    pub(super) core: CoreId,
    start: u16,
    /// As random as a hash, and different for each nonce.
    pub(super) mac: u64,
}

/// A nonce as it is written into a challenge.
pub(super) type Text = [u8; BYTES / 3 * 4];

impl Nonce {
    /// Reads a nonce; `None` where none of our nodes made it for this scope.
    #[inline]
    pub(super) fn read(text: &[u8], key: &[u8; 16], scope: u64) -> Option<Nonce> {
        let bytes = decode(text.try_into().ok()?)?;
        let (stamp, mac) = bytes.split_first_chunk::<STAMP_BYTES>()?;
        let mac = u64::from_le_bytes(mac.try_into().ok()?);
        // What a forger may learn from the time that this takes is worth nothing, and costs nothing to keep.
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&mac, &seal(key, stamp, scope))) {
            return None;
        }
        let [a, b, c, d, e, f, g, h, ..] = *stamp;
        Some(Nonce {
            time: u32::from_le_bytes([a, b, c, d]),
            core: CoreId(u16::from_le_bytes([e, f])),
            start: u16::from_le_bytes([g, h]),
            mac,
        })
    }
}

#[inline]
fn seal(key: &[u8; 16], stamp: &[u8; STAMP_BYTES], scope: u64) -> u64 {
    let mut sealed = [0; 24];
    sealed[..STAMP_BYTES].copy_from_slice(stamp);
    sealed[16..].copy_from_slice(&scope.to_le_bytes());
    SipHasher24::new_with_key(key).hash(&sealed)
}

/// The time of one core's nonces. It follows the wall clock forwards and never goes back: where the wall clock is set back, it
/// goes on by the monotonic one, so that no nonce becomes younger.
///
/// Nonces older than the clock are stale, because the core does not know how often they were used. So a restart replays
/// nothing, unless the wall clock was set back across it: then a nonce from before, stamped with what is future now, can be
/// used once more for each of its counts when that time has come. The same holds for each other node with the same secret.
#[derive(Debug)]
pub(super) struct Clock {
    core: CoreId,
    /// The wall's time when the core began, once it is known.
    began: Option<Began>,
    /// What the clock showed at an instant.
    shown: u32,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    time: u32,
    start: u16,
}

impl Clock {
    pub(super) fn new(core: CoreId) -> Self {
        Clock { core, began: None, shown: 0, at: Instant::START }
    }

    /// Seconds since 1970.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "good until 2106, and modulo 2^32 then")]
    fn now(&mut self, now: Instant, wall: UnixTime) -> u32 {
        let wall = wall.0 as u32;
        if self.began.is_none() {
            self.begin(now, wall);
        }
        let shown = self.shown.saturating_add(now.since(self.at).as_secs() as u32);
        if wall <= shown {
            return shown;
        }
        (self.shown, self.at) = (wall, now);
        wall
    }

    #[cold]
    #[allow(clippy::cast_possible_truncation, reason = "16 bits of a hash are wanted")]
    fn begin(&mut self, now: Instant, wall: u32) {
        // Nanoseconds into a process are as good as random from one start to the next.
        let start = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        self.began = Some(Began { time: wall, start: start as u16 });
        (self.shown, self.at) = (wall, now);
    }

    /// A new nonce; the same for the same salt within a second.
    pub(super) fn nonce(
        &mut self,
        now: Instant,
        wall: UnixTime,
        key: &[u8; 16],
        scope: u64,
        salt: u16,
    ) -> Text {
        let time = self.now(now, wall);
        let start = self.began.map_or(0, |began| began.start);
        let ([a, b, c, d], [e, f]) = (time.to_le_bytes(), self.core.0.to_le_bytes());
        let ([g, h], [i, j]) = (start.to_le_bytes(), salt.to_le_bytes());
        let stamp = [a, b, c, d, e, f, g, h, i, j];
        let mut bytes = [0; BYTES];
        let (front, mac) = bytes.split_at_mut(STAMP_BYTES);
        front.copy_from_slice(&stamp);
        mac.copy_from_slice(&seal(key, &stamp, scope).to_le_bytes());
        encode(&bytes)
    }

    /// Whether a nonce may be used: it is neither too old nor older than this core's memory.
    #[inline]
    pub(super) fn accepts(
        &mut self,
        now: Instant,
        wall: UnixTime,
        nonce: &Nonce,
        lifetime_secs: u32,
    ) -> bool {
        let time = self.now(now, wall);
        let Some(began) = self.began else { return false };
        let is_remembered =
            nonce.time > began.time || nonce.time == began.time && nonce.start == began.start;
        is_remembered
            && nonce.time <= time.saturating_add(AHEAD_SECS_MAX)
            && time.saturating_sub(nonce.time) < lifetime_secs
    }
}

/// RFC 4648 5, which stands in a quoted string without escapes. 18 bytes need no padding and have one text only.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [0xFF; 256];
    let mut value = 0u8;
    while value < 64 {
        table[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    table
}

fn encode(bytes: &[u8; BYTES]) -> Text {
    let mut text = [0; BYTES / 3 * 4];
    for (from, to) in bytes.as_chunks::<3>().0.iter().zip(text.as_chunks_mut::<4>().0) {
        let bits = u32::from_be_bytes([0, from[0], from[1], from[2]]);
        *to = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
    }
    text
}

#[inline]
fn decode(text: &Text) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut wrong = 0;
    for (from, to) in text.as_chunks::<4>().0.iter().zip(bytes.as_chunks_mut::<3>().0) {
        let values = from.map(|digit| VALUES[usize::from(digit)]);
        wrong |= values[0] | values[1] | values[2] | values[3];
        let bits = values.into_iter().fold(0, |bits, value| bits << 6 | u32::from(value));
        let [_, a, b, c] = bits.to_be_bytes();
        *to = [a, b, c];
    }
    (wrong < 64).then_some(bytes)
}

/// A nonce that nobody made, for tests of what happens to nonces.
#[cfg(test)]
pub(super) fn tests_only(time: u32, mac: u64) -> Nonce {
    Nonce { time, core: CoreId(0), start: 0, mac }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";
    const LIFETIME_SECS: u32 = 100;

    fn at(secs: u64) -> Instant {
        Instant::from_nanos(secs * 1_000_000_000)
    }

    /// A clock at a monotonic and a wall time, and what it says of a nonce.
    fn accepts(clock: &mut Clock, now: u64, wall: u64, text: &Text) -> bool {
        Nonce::read(text, &KEY, 7)
            .is_some_and(|nonce| clock.accepts(at(now), UnixTime(wall), &nonce, LIFETIME_SECS))
    }

    fn nonce(clock: &mut Clock, now: u64, wall: u64) -> Text {
        clock.nonce(at(now), UnixTime(wall), &KEY, 7, 9)
    }

    #[test]
    fn only_what_was_sealed_is_read() {
        let mut clock = Clock::new(CoreId(3));
        let text = nonce(&mut clock, 5, 1_800_000_000);
        let read = Nonce::read(&text, &KEY, 7).unwrap();
        assert_eq!((read.time, read.core), (1_800_000_000, CoreId(3)));
        assert_eq!(Nonce::read(&text, &KEY, 8), None, "another scope");
        assert_eq!(Nonce::read(&text, b"another key 1234", 7), None);
        assert_eq!(Nonce::read(&text[1..], &KEY, 7), None);
        assert_eq!(Nonce::read(b"", &KEY, 7), None);
        for place in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut other = text;
                other[place] = byte;
                assert_eq!(Nonce::read(&other, &KEY, 7).is_some(), other == text);
            }
        }
    }

    #[test]
    fn a_nonce_lives_as_long_as_it_is_said_to() {
        let mut clock = Clock::new(CoreId(0));
        let text = nonce(&mut clock, 10, 1000);
        assert!(accepts(&mut clock, 10, 1000, &text));
        assert!(accepts(&mut clock, 109, 1099, &text));
        assert!(!accepts(&mut clock, 110, 1100, &text));
    }

    #[test]
    fn a_wall_clock_set_back_makes_nothing_younger_and_locks_nobody_out() {
        let mut clock = Clock::new(CoreId(0));
        let old = nonce(&mut clock, 10, 1000);
        assert!(accepts(&mut clock, 60, 500, &old));
        let new = nonce(&mut clock, 60, 500);
        assert!(accepts(&mut clock, 61, 501, &new));
        assert!(!accepts(&mut clock, 110, 550, &old), "the monotonic clock has gone on");
        assert!(accepts(&mut clock, 110, 550, &new));
        // Set forward, it ages what there is.
        assert!(!accepts(&mut clock, 111, 9000, &new));
        let later = nonce(&mut clock, 111, 9000);
        assert!(accepts(&mut clock, 111, 9000, &later));
    }

    #[test]
    fn what_was_made_before_the_core_began_is_stale() {
        let mut before = Clock::new(CoreId(0));
        let old = nonce(&mut before, 10, 1000);
        let in_the_same_second = nonce(&mut before, 10, 1000);
        let mut after = Clock::new(CoreId(0));
        let new = nonce(&mut after, 1, 1000);
        assert!(accepts(&mut after, 1, 1000, &new));
        assert!(!accepts(&mut after, 1, 1000, &in_the_same_second));
        assert!(!accepts(&mut after, 2, 1001, &old));
    }

    #[test]
    fn another_nodes_nonce_is_good_unless_its_clock_is_far_ahead() {
        let (mut here, mut there) = (Clock::new(CoreId(0)), Clock::new(CoreId(5)));
        nonce(&mut here, 0, 1000);
        let near = nonce(&mut there, 0, 1010);
        let far = nonce(&mut there, 100, 1110);
        assert!(accepts(&mut here, 2, 1002, &near));
        assert!(!accepts(&mut here, 2, 1002, &far));
    }
}
