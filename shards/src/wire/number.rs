//! Numbers: decimal digits read with saturation, q-values in thousandths, decimal digits written. It never allocates.

use core::net::Ipv4Addr;

/// What a malformed lifetime counts as, in seconds.
// RFC 4475 3.1.2.4: expiry values in error may be treated as the default, 3600.
pub const EXPIRES_MALFORMED_SECS: u32 = 3600;

/// A run of decimal digits, at `u32::MAX` where it is larger; `None` where it is not one.
#[must_use]
#[inline]
pub fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = (value * 10 + u64::from(digit)).min(u64::from(u32::MAX));
    }
    u32::try_from(value).ok()
}

/// A lifetime in seconds: saturated where it is too large, [`EXPIRES_MALFORMED_SECS`] where it is no number.
#[must_use]
#[inline]
pub fn lifetime_secs(text: &[u8]) -> u32 {
    decimal(text).unwrap_or(EXPIRES_MALFORMED_SECS)
}

/// A `qvalue` in thousandths, 0..=1000; `None` where it breaks the grammar.
#[must_use]
pub fn q_thousandths(text: &[u8]) -> Option<u16> {
    // RFC 3261 25.1: qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
    let (whole, fraction) = match text {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = fraction.get(place).map_or(0, |byte| byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit);
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// A number as decimal digits, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 10],
    start: u8,
}

impl Decimal {
    /// The digits of `value`, without leading zeros.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a digit, and an index below 10")]
    pub fn new(mut value: u32) -> Self {
        let mut digits = [b'0'; 10];
        let mut start = 10;
        while value >= 10 && start >= 2 {
            start -= 2;
            let pair = PAIRS[(value % 100) as usize];
            (digits[start], digits[start + 1]) = (pair[0], pair[1]);
            value /= 100;
        }
        // What is left is one digit, or nothing after an even number of them.
        if value > 0 || start == 10 {
            start -= 1;
            digits[start] = b'0' + value as u8;
        }
        Decimal { digits, start: start as u8 }
    }

    /// The digits.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(usize::from(self.start)..).unwrap_or_default()
    }
}

/// The digits of a port or another small number in front, and how many they are; what is behind them is nothing.
#[inline(always)]
pub(super) fn port_digits(port: u16) -> (u64, usize) {
    let pair = |value: u32| u64::from(u16::from_le_bytes(PAIRS[value as usize]));
    let port = u32::from(port);
    let (upper, last) = (port / 100, port % 100);
    let text = pair(upper / 100) | pair(upper % 100) << 16 | pair(last) << 32;
    // Leading zeros, but for the last digit.
    let zeros = ((text ^ 0x0030_3030_3030_3030 | 1 << 40).trailing_zeros() / 8) as usize;
    (text >> (8 * zeros), 6 - zeros)
}

/// An IPv4 address as everybody writes it, and its length; what is behind it is nothing.
#[inline(always)]
pub(super) fn dotted(ip: Ipv4Addr) -> ([u8; 20], usize) {
    // Room for the last octet wherever it begins.
    let (mut text, mut length) = ([0; 20], 0);
    for octet in ip.octets() {
        let (digits, used) = OCTETS[usize::from(octet)];
        let at = length & 15;
        text[at..at + 4].copy_from_slice(&digits);
        length += usize::from(used);
    }
    // The last dot is one too many.
    (text, length - 1)
}

/// Every octet in decimal with a dot behind it, and their length.
static OCTETS: [([u8; 4], u8); 256] = octets();

const fn octets() -> [([u8; 4], u8); 256] {
    let mut table = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "digits")]
        let digits =
            [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        table[octet] = match octet {
            0..10 => ([digits[2], b'.', 0, 0], 2),
            10..100 => ([digits[1], digits[2], b'.', 0], 3),
            _ => ([digits[0], digits[1], digits[2], b'.'], 4),
        };
        octet += 1;
    }
    table
}

/// 00 to 99.
static PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let mut table = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        #[allow(clippy::cast_possible_truncation, reason = "digits")]
        let pair = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        table[value] = pair;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn decimals_saturate_and_refuse_what_is_no_number() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296"), Some(u32::MAX));
        assert_eq!(decimal(&[b'9'; 99]), Some(u32::MAX));
        for bad in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1a", b"0x1"] {
            assert_eq!(decimal(bad), None);
        }
        assert_eq!(lifetime_secs(b"60"), 60);
        assert_eq!(lifetime_secs(b"soon"), 3600);
        assert_eq!(lifetime_secs(b""), 3600);
    }

    #[test]
    fn q_values() {
        for (text, value) in [
            ("0", 0),
            ("1", 1000),
            ("0.", 0),
            ("1.", 1000),
            ("0.5", 500),
            ("0.33", 330),
            ("0.001", 1),
            ("1.000", 1000),
        ] {
            assert_eq!(q_thousandths(text.as_bytes()), Some(value), "{text}");
        }
        for bad in ["", ".5", "2", "1.1", "1.001", "0.0001", "-0.5", "0,5", "00.5", "0.a", "1.0000"]
        {
            assert_eq!(q_thousandths(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn digits_are_written_as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 5060, 65_535, 4_294_967_295] {
            assert_eq!(Decimal::new(value).as_bytes(), format!("{value}").as_bytes());
        }
        for port in 0..=u16::MAX {
            let (digits, length) = port_digits(port);
            let text = format!("{port}");
            assert_eq!(&digits.to_le_bytes()[..length], text.as_bytes());
            assert_eq!(Decimal::new(u32::from(port)).as_bytes(), text.as_bytes());
        }
    }
}
