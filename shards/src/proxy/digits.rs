//! Bytes as text that may stand in a token and in a URI: hexadecimal digits, and base64url without padding (RFC 4648 5). Each
//! number and each run of bytes has one text only; nothing else is read.

/// Sixteen hexadecimal digits, the lowest nibble first.
#[inline]
pub(super) fn hex16(number: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    let mut text = [0; 16];
    text[..8].copy_from_slice(&hex8(u32::from_le_bytes([a, b, c, d])));
    text[8..].copy_from_slice(&hex8(u32::from_le_bytes([e, f, g, h])));
    text
}

/// What [`hex16`] has written.
#[inline]
pub(super) fn read_hex16(text: &[u8; 16]) -> Option<u64> {
    let (low, high) = text.split_first_chunk()?;
    Some(u64::from(read_hex8(low)?) | u64::from(read_hex8(high.first_chunk()?)?) << 32)
}

/// Eight hexadecimal digits, the lowest nibble first, all at once.
#[inline]
pub(super) fn hex8(number: u32) -> [u8; 8] {
    let mut spread = u64::from(number);
    spread = (spread | spread << 16) & 0x0000_FFFF_0000_FFFF;
    spread = (spread | spread << 8) & 0x00FF_00FF_00FF_00FF;
    spread = (spread | spread << 4) & LOW;
    // A bit in each byte above 9; adding 6 carries into it.
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

/// What [`hex8`] has written.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "32 bits are left")]
pub(super) fn read_hex8(text: &[u8; 8]) -> Option<u32> {
    let word = u64::from_le_bytes(*text);
    // Letters have bit 6 and begin at 1.
    let mut nibbles = ((word & LOW) + (word >> 6 & ONES) * 9) & LOW;
    nibbles = (nibbles | nibbles >> 4) & 0x00FF_00FF_00FF_00FF;
    nibbles = (nibbles | nibbles >> 8) & 0x0000_FFFF_0000_FFFF;
    let number = (nibbles | nibbles >> 16) as u32;
    // What is no digit became another one.
    (hex8(number) == *text).then_some(number)
}

const LOW: u64 = 0x0F0F_0F0F_0F0F_0F0F;
const ONES: u64 = 0x0101_0101_0101_0101;

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [0xFF; 256];
    let mut value = 0u8;
    while value < 64 {
        table[BASE64URL[value as usize] as usize] = value;
        value += 1;
    }
    table
}

/// How many digits of base64url a number of bytes has.
pub(super) const fn base64url_length(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Writes bytes in base64url to the front of `text`, and tells how many digits they are; `None` where they do not fit.
pub(super) fn base64url(bytes: &[u8], text: &mut [u8]) -> Option<usize> {
    let length = base64url_length(bytes.len());
    let (to, to_last) = text.get_mut(..length)?.as_chunks_mut::<4>();
    let (from, from_last) = bytes.as_chunks::<3>();
    for (from, to) in from.iter().zip(to) {
        *to = digits(*from);
    }
    if let [a, rest @ ..] = from_last {
        let last = digits([*a, rest.first().copied().unwrap_or(0), 0]);
        to_last.copy_from_slice(last.get(..to_last.len())?);
    }
    Some(length)
}

#[inline]
fn digits(bytes: [u8; 3]) -> [u8; 4] {
    let [a, b, c] = bytes;
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| BASE64URL[(bits >> shift & 63) as usize])
}

/// Reads base64url to the front of `bytes`, and tells how many they are; `None` where it is none, or too much.
pub(super) fn read_base64url(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let length = text.len() * 3 / 4;
    if base64url_length(length) != text.len() {
        return None;
    }
    let (to, to_last) = bytes.get_mut(..length)?.as_chunks_mut::<3>();
    let (from, from_last) = text.as_chunks::<4>();
    let mut wrong = 0;
    for (from, to) in from.iter().zip(to) {
        *to = values_of(*from, &mut wrong);
    }
    if !from_last.is_empty() {
        let mut last = *b"AAAA";
        last.get_mut(..from_last.len())?.copy_from_slice(from_last);
        let last = values_of(last, &mut wrong);
        let (used, unused) = last.split_at_checked(to_last.len())?;
        to_last.copy_from_slice(used);
        // The bits behind the last byte are zero, or another text would mean the same.
        wrong |= unused.iter().fold(0, |all, byte| all | byte);
    }
    (wrong == 0).then_some(length)
}

/// Three bytes; `wrong` gets a bit where something is no digit.
#[inline]
fn values_of(digits: [u8; 4], wrong: &mut u8) -> [u8; 3] {
    let values = digits.map(|digit| VALUES[usize::from(digit)]);
    *wrong |= (values[0] | values[1] | values[2] | values[3]) & 0xC0;
    let bits = values.into_iter().fold(0, |bits, value| bits << 6 | u32::from(value & 63));
    let [_, a, b, c] = bits.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(&hex16(0xfedc_ba98_7654_3210), b"0123456789abcdef");
        assert_eq!(read_hex16(b"0123456789abcdef"), Some(0xfedc_ba98_7654_3210));
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut text = *b"01289abf";
                text[place] = byte;
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let read = read_hex8(&text);
                assert_eq!(read.is_some(), is_digit, "{byte}");
                assert!(read.is_none_or(|number| hex8(number) == text));
            }
        }
    }

    #[test]
    fn base64url_as_in_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg"),
            (b"fo", b"Zm8"),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg"),
            (b"fooba", b"Zm9vYmE"),
            (b"foobar", b"Zm9vYmFy"),
            (b"\xfb\xff", b"-_8"),
        ] {
            let mut written = [0; 8];
            let length = base64url(bytes, &mut written).unwrap();
            assert_eq!(&written[..length], text);
            let mut read = [0; 6];
            let length = read_base64url(text, &mut read).unwrap();
            assert_eq!(&read[..length], bytes);
        }
        let mut read = [0; 6];
        for bad in
            [&b"Z"[..], b"Zh", b"Zm9", b"Zm8=", b"Zm9vYmFyZ", b"Zm9vYmFyZg", b"Zm/v", b"Z m8"]
        {
            assert_eq!(read_base64url(bad, &mut read), None);
        }
        assert_eq!(base64url(b"foo", &mut [0; 3]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..40), number in any::<u64>()) {
            let (mut text, mut read) = ([0; 60], [0; 40]);
            let length = base64url(&bytes, &mut text).unwrap();
            let length = read_base64url(&text[..length], &mut read).unwrap();
            prop_assert_eq!(&read[..length], &bytes);
            prop_assert_eq!(read_hex16(&hex16(number)), Some(number));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in proptest::collection::vec("[A-D_-]", 0..9)) {
            let text: Vec<u8> = text.concat().into_bytes();
            let (mut bytes, mut written) = ([0; 40], [0; 60]);
            if let Some(length) = read_base64url(&text, &mut bytes) {
                let length = base64url(&bytes[..length], &mut written).unwrap();
                prop_assert_eq!(&written[..length], &text);
            }
        }
    }
}
