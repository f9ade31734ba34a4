//! The tag that a UAS puts into To, RFC 3261 19.3: a keyed hash, so that it can be told again
//! without having been kept.

/// A To tag: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToTag([u8; 16]);

impl ToTag {
    /// The tag of the responses to a request, RFC 3261 8.2.7: the same request gets the same tag. `seed` is a keyed hash of what
    /// the request found its home core by.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&digits(u32::from_le_bytes([a, b, c, d])));
        tag[8..].copy_from_slice(&digits(u32::from_le_bytes([e, f, g, h])));
        ToTag(tag)
    }

    /// The digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Eight hexadecimal digits, one a nibble, all at once.
fn digits(nibbles: u32) -> [u8; 8] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut spread = u64::from(nibbles);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & LOW;
    // A bit in each byte above 9; adding 6 carries into it.
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_become_digits() {
        assert_eq!(&digits(0x7654_3210), b"01234567");
        assert_eq!(&digits(0xfedc_ba98), b"89abcdef");
        assert_eq!(ToTag::new(0xfedc_ba98_7654_3210).as_bytes(), b"0123456789abcdef");
    }
}
