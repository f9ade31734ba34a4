//! The tag that a UAS puts into To, RFC 3261 19.3: a keyed hash, so that it can be recognised later without having been kept.

use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// A To tag: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToTag([u8; 16]);

impl ToTag {
    /// The tag that responses within a call get, RFC 3261 8.2.7: the same request gets the same tag.
    #[must_use]
    pub fn new(key: &[u8; 16], call_id: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(call_id);
        let hash = hasher.finish();
        let mut tag = [0; 16];
        for (digits, byte) in tag.chunks_exact_mut(2).zip(hash.to_be_bytes()) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        ToTag(tag)
    }

    /// The digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_the_key_and_the_call() {
        let tag = ToTag::new(&[1; 16], b"call");
        assert_eq!(tag, ToTag::new(&[1; 16], b"call"));
        assert_ne!(tag, ToTag::new(&[2; 16], b"call"));
        assert_ne!(tag, ToTag::new(&[1; 16], b"Call"));
        assert!(tag.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }
}
