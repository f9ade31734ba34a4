//! Byte classes of RFC 3261 25.1 and the scans over them, sixteen bytes at a time. It knows nothing of headers.

use wide::{u8x16, u8x32};

/// `token`.
pub(super) const TOKEN: u8 = 1;
/// `hostname` and `IPv4address`; the underscore is not in the grammar and common in the field.
pub(super) const HOST: u8 = 2;
/// `user` with `user-unreserved`, without the `%` of escapes; `#` and bytes above 0x7F are not in the grammar and common in the field.
pub(super) const USER: u8 = 4;
/// `paramchar` of URI parameters, without the `%` of escapes, and `;` and `=` between them.
pub(super) const URI_PARAMS: u8 = 8;
/// `hnv-unreserved` of URI headers, without the `%` of escapes, and `&` and `=` between them.
pub(super) const URI_HEADERS: u8 = 16;
/// A parameter's value that is not quoted: `token`, or `host` with its brackets and colons.
pub(super) const VALUE: u8 = 32;
/// `scheme` after its first letter.
pub(super) const SCHEME: u8 = 64;
/// Alphanumeric, `-` and `.`: the part of every class above that is found sixteen bytes at a time.
const PLAIN: u8 = 128;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    const fn add(table: &mut [u8; 256], bytes: &[u8], class: u8) {
        let mut i = 0;
        while i < bytes.len() {
            table[bytes[i] as usize] |= class;
            i += 1;
        }
    }
    let mut table = [0; 256];
    add(&mut table, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.", 0xFF);
    add(&mut table, b"!%*_+`'~", TOKEN | VALUE);
    add(&mut table, b":[]", VALUE);
    add(&mut table, b"_", HOST);
    add(&mut table, b"_!~*'()", USER | URI_PARAMS | URI_HEADERS);
    add(&mut table, b"&=+$,;?/#", USER);
    add(&mut table, b"[]/:&+$;=", URI_PARAMS);
    add(&mut table, b"[]/?:+$&=", URI_HEADERS);
    add(&mut table, b"+", SCHEME);
    let mut high = 0x80;
    while high < 0x100 {
        table[high] |= USER;
        high += 1;
    }
    table
}

/// Whether a byte belongs to a class.
#[inline]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// The end of the run of bytes of a class that starts at `at`.
#[inline]
pub(super) fn run(bytes: &[u8], mut at: usize, class: u8) -> usize {
    loop {
        at = find(bytes, at, not_plain, |byte| !is(byte, PLAIN));
        // A few single steps before the next wide one, so that no input costs a wide step a byte.
        for _ in 0..4 {
            match bytes.get(at) {
                Some(&byte) if is(byte, class) => at += 1,
                Some(_) | None => return at,
            }
        }
    }
}

/// The end of what may stand between `<` and `>`: no white space, control, quote or bracket.
#[inline]
pub(super) fn uri_end(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |v| {
            let low = v.min(u8x16::splat(0x20)).simd_eq(v);
            let quote = v.simd_eq(u8x16::splat(b'"'));
            // '<' and '>' differ in one bit.
            let bracket = (v | u8x16::splat(0x02)).simd_eq(u8x16::splat(b'>'));
            (low | quote | bracket | v.simd_eq(u8x16::splat(0x7F))).to_bitmask()
        },
        |byte| matches!(byte, 0..=0x20 | b'"' | b'<' | b'>' | 0x7F),
    )
}

/// The first of `"`, `\` at or after `at`: where a quoted string ends or escapes.
#[inline]
pub(super) fn quote_or_escape(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |v| (v.simd_eq(u8x16::splat(b'"')) | v.simd_eq(u8x16::splat(b'\\'))).to_bitmask(),
        |byte| matches!(byte, b'"' | b'\\'),
    )
}

/// The end of the run of visible bytes: no white space, no control.
#[inline]
pub(super) fn visible_end(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |v| (v.min(u8x16::splat(0x20)).simd_eq(v) | v.simd_eq(u8x16::splat(0x7F))).to_bitmask(),
        |byte| matches!(byte, 0..=0x20 | 0x7F),
    )
}

/// The first of `< ; , "` at or after `at`: what tells a display name from an `addr-spec`.
#[inline]
pub(super) fn address_mark(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |v| {
            // ';' and '<', as '"' and ',', have no cheaper common form.
            let a = v.simd_eq(u8x16::splat(b'<')) | v.simd_eq(u8x16::splat(b';'));
            let b = v.simd_eq(u8x16::splat(b',')) | v.simd_eq(u8x16::splat(b'"'));
            (a | b).to_bitmask()
        },
        |byte| matches!(byte, b'<' | b';' | b',' | b'"'),
    )
}

/// The first `@` at or after `at`.
#[inline]
pub(super) fn at_sign(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |v| v.simd_eq(u8x16::splat(b'@')).to_bitmask(), |byte| byte == b'@')
}

#[inline(always)]
pub(super) fn not_plain(v: u8x16) -> u32 {
    // x - low <= high - low, unsigned, is low <= x <= high.
    let letter = (v | u8x16::splat(0x20)) - u8x16::splat(b'a');
    let letter = letter.min(u8x16::splat(25)).simd_eq(letter);
    // From '-' to '9': '-', '.', '/' and the digits; the slash is taken out again.
    let digit = v - u8x16::splat(b'-');
    let digit = digit.min(u8x16::splat(12)).simd_eq(digit);
    let slash = v.simd_eq(u8x16::splat(b'/'));
    ((letter | digit) ^ slash).to_bitmask() ^ 0xFFFF
}

/// The same for 32 bytes.
#[inline(always)]
pub(super) fn not_plain32(v: u8x32) -> u32 {
    let letter = (v | u8x32::splat(0x20)) - u8x32::splat(b'a');
    let letter = letter.min(u8x32::splat(25)).simd_eq(letter);
    let digit = v - u8x32::splat(b'-');
    let digit = digit.min(u8x32::splat(12)).simd_eq(digit);
    let slash = v.simd_eq(u8x32::splat(b'/'));
    !((letter | digit) ^ slash).to_bitmask()
}

/// The first position at or after `at` where a stop is found, or the end. `stops` has a bit for each of 16 bytes.
#[inline(always)]
fn find(
    bytes: &[u8],
    mut at: usize,
    stops: impl Fn(u8x16) -> u32,
    stop: impl Fn(u8) -> bool,
) -> usize {
    while let Some(chunk) = load(bytes, at) {
        let mask = stops(chunk);
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += 16;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return bytes.len();
    }
    if let Some(chunk) = bytes.last_chunk::<16>() {
        // The last 16 bytes, less those that were looked at already.
        let mask = stops(u8x16::new(*chunk)) >> (16 - rest.len());
        return if mask != 0 { at + mask.trailing_zeros() as usize } else { bytes.len() };
    }
    rest.iter().position(|&byte| stop(byte)).map_or(bytes.len(), |found| at + found)
}

/// Whether two strings are the same, found out without a call where they have 8 to 64 bytes.
#[must_use]
#[inline(always)]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    // In each case the two parts meet or overlap.
    a.len() == b.len()
        && if a.len() >= 32 && a.len() <= 64 {
            a.first_chunk::<32>() == b.first_chunk() && a.last_chunk::<32>() == b.last_chunk()
        } else if a.len() >= 16 && a.len() < 32 {
            a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk()
        } else if a.len() >= 8 && a.len() < 16 {
            a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk()
        } else {
            a == b
        }
}

#[inline(always)]
fn load(bytes: &[u8], at: usize) -> Option<u8x16> {
    let at = at & OFFSETS;
    bytes.get(at..at + 16)?.first_chunk().map(|chunk: &[u8; 16]| u8x16::new(*chunk))
}

/// The eight bytes from `at` as a little-endian number; past the end they are zero.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    let at = at & OFFSETS;
    match bytes.get(at..at + 8).and_then(|chunk| chunk.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => short_word(bytes, at),
    }
}

/// Offsets into a message are far below this, so masking changes none; it tells the compiler that `at + 8` does not
/// overflow, which leaves one comparison of the two that a load would cost.
const OFFSETS: usize = 0xFFFF_FFFF;

#[cold]
fn short_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().take(8).take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// A text of up to eight bytes to compare a [`word`] with, letters without regard to case.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bits: u64,
    fold: u64,
    keep: u64,
}

impl Text {
    /// `text` in lower case, without NUL.
    pub(super) const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(text.len() <= 8, "a text fits into a word");
        let mut result = Text { bits: 0, fold: 0, keep: 0 };
        let mut i = 0;
        while i < text.len() {
            result.bits |= (text[i] as u64) << (8 * i);
            result.keep |= 0xFF << (8 * i);
            if text[i].is_ascii_lowercase() {
                result.fold |= 0x20 << (8 * i);
            }
            i += 1;
        }
        result
    }

    /// Whether a word begins with this text.
    #[inline(always)]
    pub(super) const fn begins(self, word: u64) -> bool {
        (word | self.fold) & self.keep == self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn wide_scans_agree_with_single_steps() {
        for length in [1, 5, 15, 16, 17, 31, 32, 40, 70] {
            for byte in 0..=255u8 {
                for position in 0..length {
                    let mut bytes: Vec<u8> = vec![b'a'; length];
                    bytes[position] = byte;
                    for class in [TOKEN, HOST, USER, URI_PARAMS, URI_HEADERS, VALUE, SCHEME] {
                        let naive = bytes.iter().position(|&b| !is(b, class)).unwrap_or(length);
                        assert_eq!(run(&bytes, 0, class), naive, "{class} {byte} {position}");
                    }
                    let stop = |set: &dyn Fn(u8) -> bool| {
                        bytes.iter().position(|&b| set(b)).unwrap_or(length)
                    };
                    let uri = |b: u8| matches!(b, 0..=0x20 | b'"' | b'<' | b'>' | 0x7F);
                    assert_eq!(uri_end(&bytes, 0), stop(&uri));
                    assert_eq!(visible_end(&bytes, 0), stop(&|b| b <= 0x20 || b == 0x7F));
                    assert_eq!(address_mark(&bytes, 0), stop(&|b| b"<;,\"".contains(&b)));
                    assert_eq!(quote_or_escape(&bytes, 0), stop(&|b| b"\"\\".contains(&b)));
                    assert_eq!(at_sign(&bytes, 0), stop(&|b| b == b'@'));
                }
            }
        }
    }

    #[test]
    fn each_byte_tells_two_strings_apart() {
        for length in 0..100 {
            let one: Vec<u8> = vec![b'a'; length];
            assert!(same(&one, &one.clone()));
            assert!(!same(&one, &vec![b'a'; length + 1]));
            for at in 0..length {
                let mut other = one.clone();
                other[at] = b'b';
                assert!(!same(&one, &other), "{length} {at}");
            }
        }
    }

    #[test]
    fn texts_fold_letters_only() {
        let text = Text::new("call-id:");
        assert!(text.begins(word(b"Call-ID: x", 0)));
        assert!(text.begins(word(b"cALL-id:", 0)));
        // CR is '-' without the bit that letters are folded by, and SUB is ':' without it.
        assert!(!text.begins(word(b"Call\rID: x", 0)));
        assert!(!text.begins(word(b"Call-ID\x1A x", 0)));
        assert!(!text.begins(word(b"Call-ID", 0)));
        assert!(Text::new("via:").begins(word(b"Via:", 0)));
    }
}
