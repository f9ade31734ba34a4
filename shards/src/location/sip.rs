//! `SipHash`, <https://www.aumasson.jp/siphash/siphash.pdf> and its reference implementation: of some bytes, and of fields one behind
//! the other. It owns no key. The crate that other hashes come from keeps its state in memory and calls for each part of the
//! way, which costs more than the hash itself where fields are short.

/// A hash of words: `SipHash` of their bytes, with so many rounds a word and two more at the end.
#[derive(Clone, Copy)]
pub(crate) struct Sip<const ROUNDS: usize> {
    state: [u64; 4],
    words: u64,
}

impl<const ROUNDS: usize> Sip<ROUNDS> {
    /// Nothing so far, under a key.
    #[inline(always)]
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Sip { state: start(key), words: 0 }
    }

    /// Adds a word.
    #[inline(always)]
    pub(crate) fn word(&mut self, word: u64) {
        self.state[3] ^= word;
        for _ in 0..ROUNDS {
            self.state = round(self.state);
        }
        self.state[0] ^= word;
        self.words += 1;
    }

    /// Adds a text, with zeros behind it up to a whole word: a word before it has to tell its length.
    #[inline(always)]
    pub(crate) fn text(&mut self, text: &[u8]) {
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.word(tail(text, rest));
        }
    }

    /// The hash, with seven more bytes, which cost nothing: they stand in the word that tells the length.
    #[inline(always)]
    pub(crate) fn finish(mut self, last: u64) -> u64 {
        debug_assert!(last >> 56 == 0, "seven bytes");
        self.word(last | (self.words << 3 | 7) << 56);
        self.state[2] ^= 0xff;
        for _ in 0..ROUNDS + 2 {
            self.state = round(self.state);
        }
        self.state[0] ^ self.state[1] ^ self.state[2] ^ self.state[3]
    }
}

/// `SipHash`-1-3 of 128 bits.
#[inline(always)]
pub(super) fn siphash_1_3_128(key: &[u8; 16], bytes: &[u8]) -> [u64; 2] {
    let mut state = start(key);
    state[1] ^= 0xee;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = with_word(state, u64::from_le_bytes(*word));
    }
    // The last word ends with the length.
    state = with_word(state, tail(bytes, rest) | (bytes.len() as u64) << 56);
    state[2] ^= 0xee;
    let ends = |state: &mut [u64; 4]| {
        for _ in 0..3 {
            *state = round(*state);
        }
        state[0] ^ state[1] ^ state[2] ^ state[3]
    };
    let first = ends(&mut state);
    state[1] ^= 0xdd;
    [first, ends(&mut state)]
}

#[inline(always)]
fn start(key: &[u8; 16]) -> [u64; 4] {
    let [low, high] = [&key[..8], &key[8..]].map(|half| word(half, 0));
    [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ]
}

/// What stands behind the whole words of some bytes, the first one lowest.
#[inline(always)]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    match (rest.len(), bytes.last_chunk::<8>()) {
        (0, _) => 0,
        (1.., Some(last)) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        (1.., None) => word(rest, 0),
    }
}

#[inline(always)]
fn with_word(mut state: [u64; 4], word: u64) -> [u64; 4] {
    state[3] ^= word;
    state = round(state);
    state[0] ^= word;
    state
}

#[inline(always)]
fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32).wrapping_add(v3);
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    [v0, v1, v2.rotate_left(32), v3]
}

/// The bytes of at most eight as a number, the first one lowest.
#[inline(always)]
fn word(bytes: &[u8], before: u64) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => bytes.iter().rev().fold(before, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use siphasher::sip::{SipHasher13, SipHasher24};
    use siphasher::sip128::SipHasher13 as SipHasher13128;

    #[test]
    fn the_hash_is_siphash() {
        let key: [u8; 16] = core::array::from_fn(|at| u8::try_from(at * 7 + 1).unwrap());
        let bytes: [u8; 100] = core::array::from_fn(|at| u8::try_from(at * 5 % 256).unwrap());
        for length in 0..bytes.len() {
            let expected = SipHasher13128::new_with_key(&key).hash(&bytes[..length]);
            assert_eq!(siphash_1_3_128(&key, &bytes[..length]), [expected.h1, expected.h2]);
        }
    }

    #[test]
    fn words_and_texts_are_hashed_as_their_bytes() {
        let key: [u8; 16] = core::array::from_fn(|at| u8::try_from(at * 7 + 1).unwrap());
        let text: [u8; 300] = core::array::from_fn(|at| u8::try_from(at * 5 % 251).unwrap());
        for length in 0..text.len() {
            let text = &text[..length];
            let (mut one, mut two) = (Sip::<1>::new(&key), Sip::<2>::new(&key));
            let mut bytes = Vec::new();
            for number in [length as u64, u64::MAX - 5] {
                one.word(number);
                two.word(number);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            one.text(text);
            two.text(text);
            bytes.extend_from_slice(text);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend_from_slice(b"seven..");
            let seven = u64::from_le_bytes(*b"seven..\0");
            assert_eq!(one.finish(seven), SipHasher13::new_with_key(&key).hash(&bytes));
            assert_eq!(two.finish(seven), SipHasher24::new_with_key(&key).hash(&bytes));
        }
    }
}
