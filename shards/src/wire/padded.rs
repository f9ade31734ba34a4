//! A copy of one message with room behind it, so that a wide load anywhere in it needs no look at where it ends, and the
//! places of its line ends, found on the way. Behind the message stands NUL, which stops every scan and ends every match.

use super::cursor::Span;
use super::scan;
use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use wide::u8x32;

/// Offsets have 16 bits.
const BYTES: usize = 1 << 16;
const BLOCKS: usize = BYTES / 64;
/// Room behind the longest message for the widest load.
const ROOM: usize = 128;

/// A message of at most 65,535 bytes.
pub(super) struct Padded {
    bytes: Box<[u8; BYTES + ROOM]>,
    /// A bit for each control that follows none, and for the end of the message; 64 bytes a word.
    breaks: Box<[u64; BLOCKS]>,
    length: usize,
}

impl Padded {
    /// Bytes of memory that [`Padded::new`] reserves.
    pub(super) const BYTES: usize = BYTES + ROOM + BLOCKS * 8;

    #[allow(clippy::expect_used, reason = "the lengths are the same two lines above")]
    pub(super) fn new() -> Self {
        let bytes = vec![0; BYTES + ROOM].into_boxed_slice();
        let breaks = vec![0; BLOCKS].into_boxed_slice();
        Padded {
            bytes: bytes.try_into().expect("as many bytes"),
            breaks: breaks.try_into().expect("as many blocks"),
            length: 0,
        }
    }

    /// Takes in a message; of one beyond 65,535 bytes what fits.
    #[inline]
    pub(super) fn fill(&mut self, message: &[u8]) {
        let (blocks, rest) = message.as_chunks::<64>();
        let (places, _) = self.bytes.as_chunks_mut::<64>();
        let mut before = 0;
        for ((block, place), breaks) in blocks.iter().zip(&mut *places).zip(&mut *self.breaks) {
            *breaks = take_in(block, place, &mut before);
        }
        let at = message.len() & !63;
        // The last block with NUL behind it, in front of which stand those bytes of the message that are there already.
        let mut last = [0; 128];
        match message.last_chunk::<64>() {
            Some(tail) => last[..64].copy_from_slice(tail),
            None => last[64 - rest.len()..64].copy_from_slice(rest),
        }
        let last = last[64 - rest.len()..].first_chunk::<64>();
        if let (Some(last), Some(place), Some(breaks)) =
            (last, places.get_mut(at / 64), self.breaks.get_mut(at / 64))
        {
            // The end of the message is a break too, so that a search for one need not look for it.
            *breaks = take_in(last, place, &mut before) | 1 << rest.len();
        }
        self.length = message.len();
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Where runs of controls begin in the block of 64 bytes from `block` on, as a line break is one, and the end of the message.
    #[inline(always)]
    pub(super) fn breaks(&self, block: usize) -> u64 {
        self.breaks[block / 64 % BLOCKS]
    }

    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes[at & (BYTES - 1)]
    }

    /// The four bytes from `at`, the first one lowest.
    #[inline(always)]
    pub(super) fn half_word(&self, at: usize) -> u32 {
        let at = at & (BYTES - 1);
        self.bytes[at..at + 4].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
    }

    /// The eight bytes from `at`, the first one lowest.
    #[inline(always)]
    pub(super) fn word(&self, at: usize) -> u64 {
        let at = at & (BYTES - 1);
        self.bytes[at..at + 8].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }

    /// The bytes from `at`, and what is behind the end of the message.
    #[inline(always)]
    pub(super) fn block(&self, at: usize) -> &[u8; ROOM] {
        let at = at & (BYTES - 1);
        self.bytes[at..at + ROOM].first_chunk().unwrap_or(&[0; ROOM])
    }

    /// Whether a text of at most 128 bytes stands at `at`; false for longer ones.
    #[inline(always)]
    pub(super) fn holds(&self, at: usize, text: &[u8]) -> bool {
        self.block(at).get(..text.len()).is_some_and(|held| scan::same(held, text))
    }

    /// The bytes of a range; none where it ends before it begins.
    pub(super) fn of(&self, span: Span) -> &[u8] {
        span.of(&self.bytes[..])
    }

    /// Whether two ranges hold the same bytes.
    #[inline(always)]
    pub(super) fn same(&self, a: Span, b: Span) -> bool {
        let length = a.end.wrapping_sub(a.start);
        let (start, other) = (usize::from(a.start), usize::from(b.start));
        if length != b.end.wrapping_sub(b.start) {
            return false;
        }
        match length {
            8 => self.word(start) == self.word(other),
            1..8 => (self.word(start) ^ self.word(other)) << (64 - 8 * length) == 0,
            _ => a.of(&self.bytes[..]) == b.of(&self.bytes[..]),
        }
    }

    /// Up to eight decimal digits from `at` as a number, and where they end.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "below 100,000,000")]
    pub(super) fn digits(&self, at: usize) -> (u32, usize) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let digits = self.word(at) ^ (ONES * b'0' as u64);
        // The top bit of each byte above 9; a carry out of one can only reach those behind it.
        let others = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES * 0x80);
        let count = (others.trailing_zeros() / 8) as usize;
        if count == 0 {
            return (0, at);
        }
        // Zeros in front make eight digits of them; then pairs, fours and all eight are joined.
        let digits = digits << (64 - 8 * count);
        let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
        let (even, odd) = (pairs & 0xFF_0000_00FF, pairs >> 16 & 0xFF_0000_00FF);
        let all = even
            .wrapping_mul(100 | 1_000_000 << 32)
            .wrapping_add(odd.wrapping_mul(1 | 10_000 << 32));
        ((all >> 32) as u32, at + count)
    }

    /// The end of the run of bytes of a class that starts at `at`.
    #[inline(always)]
    pub(super) fn run(&self, mut at: usize, class: u8) -> usize {
        loop {
            let mask = scan::not_plain32(self.chunk(at));
            if mask == 0 {
                at += 32;
                continue;
            }
            at += mask.trailing_zeros() as usize;
            if !scan::is(self.byte(at), class) {
                return at;
            }
            at += 1;
        }
    }

    /// The first byte that stands in no URI between brackets or is not ASCII.
    #[inline(always)]
    pub(super) fn ascii_uri_end(&self, mut at: usize) -> usize {
        loop {
            let v = self.chunk(at);
            let quote = v.simd_eq(u8x32::splat(b'"'));
            // '<' and '>' differ in one bit.
            let bracket = (v | u8x32::splat(0x02)).simd_eq(u8x32::splat(b'>'));
            // From '!' to '~' it is at most 0x5D less than that.
            let beyond = v - u8x32::splat(b'!');
            let beyond = beyond.max(u8x32::splat(0x5E)).simd_eq(beyond);
            let mask = (quote | bracket | beyond).to_bitmask();
            if mask != 0 {
                return at + mask.trailing_zeros() as usize;
            }
            at += 32;
        }
    }

    /// The first `"` or `\` within the 64 bytes from `at`.
    #[inline(always)]
    pub(super) fn quote_or_escape(&self, at: usize) -> Option<usize> {
        for step in 0..2 {
            let v = self.chunk(at + 32 * step);
            let mask =
                (v.simd_eq(u8x32::splat(b'"')) | v.simd_eq(u8x32::splat(b'\\'))).to_bitmask();
            if mask != 0 {
                return Some(at + 32 * step + mask.trailing_zeros() as usize);
            }
        }
        None
    }

    /// The first byte that is white space or a control.
    #[inline(always)]
    pub(super) fn visible_end(&self, mut at: usize) -> usize {
        loop {
            let v = self.chunk(at);
            let stop = v.min(u8x32::splat(b' ')).simd_eq(v) | v.simd_eq(u8x32::splat(0x7F));
            let mask = stop.to_bitmask();
            if mask != 0 {
                return at + mask.trailing_zeros() as usize;
            }
            at += 32;
        }
    }

    #[inline(always)]
    fn chunk(&self, at: usize) -> u8x32 {
        let at = at & (BYTES - 1);
        self.bytes[at..at + 32].first_chunk().map_or(u8x32::ZERO, |chunk| u8x32::new(*chunk))
    }
}

impl fmt::Debug for Padded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Padded").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Copies a block, and tells where runs of controls begin in it; `before` tells whether the byte before it is one.
#[inline(always)]
fn take_in(block: &[u8; 64], place: &mut [u8; 64], before: &mut u64) -> u64 {
    let (halves, _) = block.as_chunks::<32>();
    let (places, _) = place.as_chunks_mut::<32>();
    // All of it is loaded before anything is stored, so that nothing is loaded twice.
    let halves = [u8x32::new(halves[0]), u8x32::new(halves[1])];
    // Below a space, and nowhere else, the top bit of the difference is set: one step where looking for CR and LF takes three.
    let [low, high] = halves.map(|v| u8x32::splat(0x80 + b' ' - 1).saturating_sub(v).to_bitmask());
    let hits = u64::from(low) | u64::from(high) << 32;
    for (place, v) in places.iter_mut().zip(halves) {
        *place = v.to_array();
    }
    let first = hits & !(hits << 1 | *before);
    *before = hits >> 63;
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::{HOST, TOKEN, USER, VALUE};
    use alloc::vec::Vec;

    #[test]
    fn scans_agree_with_single_steps_whatever_was_there_before() {
        let mut text = Padded::new();
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200] {
            for byte in 0..=255u8 {
                // What an earlier and longer message leaves behind is never seen.
                text.fill(&[b'a'; 400]);
                let mut bytes: Vec<u8> = vec![b'b'; length];
                if let Some(middle) = bytes.get_mut(length / 2) {
                    *middle = byte;
                }
                text.fill(&bytes);
                let end = |stop: &dyn Fn(u8) -> bool| {
                    bytes.iter().position(|&b| stop(b)).unwrap_or(length)
                };
                for class in [TOKEN, HOST, USER, VALUE] {
                    assert_eq!(text.run(0, class), end(&|b| !scan::is(b, class)));
                }
                let no_uri = |b: u8| !matches!(b, 0x21..=0x7E) || matches!(b, b'"' | b'<' | b'>');
                assert_eq!(text.ascii_uri_end(0), end(&no_uri));
                assert_eq!(text.visible_end(0), end(&|b| b <= b' ' || b == 0x7F));
                let quote = bytes.iter().take(64).position(|b| matches!(b, b'"' | b'\\'));
                assert_eq!(text.quote_or_escape(0), quote);
            }
        }
    }

    #[test]
    fn breaks_are_the_first_of_their_kind_and_the_end() {
        let mut bytes = vec![b'a'; 130];
        for at in [0, 10, 11, 12, 62, 63, 64, 65, 127, 129] {
            bytes[at] = [b'\r', b'\n', b'\t', 0x1F, 0][at % 5];
        }
        for (at, byte) in (20..).zip([b' ', 0x7F, 0x80, 0x9F, 0xA0, 0xFF]) {
            bytes[at] = byte;
        }
        let mut text = Padded::new();
        text.fill(&bytes);
        assert_eq!(text.breaks(0), 1 | 1 << 10 | 1 << 62);
        assert_eq!(text.breaks(64), 1 << 63);
        assert_eq!(text.breaks(128), 1 << 1 | 1 << 2);
    }

    #[test]
    fn the_largest_message_fits() {
        let mut text = Padded::new();
        text.fill(&vec![b'7'; BYTES - 1]);
        assert_eq!(text.run(0, TOKEN), BYTES - 1);
        assert_eq!(text.digits(BYTES - 3), (77, BYTES - 1));
        assert_eq!(text.breaks(BYTES - 64), 1 << 63);
        text.fill(&vec![b'7'; BYTES + 99]);
        assert_eq!(text.len(), BYTES + 99);
    }
}
