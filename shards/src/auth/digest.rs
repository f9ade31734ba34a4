//! What a response has to be, RFC 7616 3.4: hashes over what a challenge and its answer say, joined by colons. It decides nothing
//! and knows nobody.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use subtle::{Choice, ConstantTimeEq};

/// A hash algorithm of RFC 8760 2.1. Their `-sess` forms are told by the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    /// MD5, RFC 1321.
    Md5,
    /// SHA-256, RFC 6234.
    Sha256,
    /// SHA-512/256, FIPS 180-4.
    Sha512_256,
}

impl Algorithm {
    /// All of them, by their index.
    pub const ALL: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256];
    /// The most bytes of a hash.
    pub const BYTES_MAX: usize = 32;

    /// As it stands in a challenge.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// Bytes of a hash.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 | Algorithm::Sha512_256 => 32,
        }
    }

    /// The algorithm that an `algorithm` parameter names, and whether by its `-sess` form. Tokens have no case, RFC 3261 7.3.1.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<(Algorithm, bool)> {
        let (name, is_session) = match name.split_last_chunk::<5>() {
            Some((name, sess)) if sess.eq_ignore_ascii_case(b"-sess") => (name, true),
            Some(_) | None => (name, false),
        };
        let is_named = |one: &&Algorithm| one.name().as_bytes().eq_ignore_ascii_case(name);
        Algorithm::ALL.iter().find(is_named).map(|&one| (one, is_session))
    }
}

/// A hash in hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct Hex {
    digits: [u8; 2 * Algorithm::BYTES_MAX],
    length: usize,
}

impl Hex {
    /// The digits of a hash.
    #[inline]
    pub(super) fn new(hash: &[u8]) -> Self {
        let mut digits = [0; 2 * Algorithm::BYTES_MAX];
        for (from, to) in hash.as_chunks::<4>().0.iter().zip(digits.as_chunks_mut::<8>().0) {
            *to = hex(u32::from_le_bytes(*from));
        }
        Hex { digits, length: 2 * hash.len() }
    }

    /// Whether a text is these digits, found out in a time that does not tell where it differs.
    #[inline]
    pub(super) fn is(&self, text: &[u8]) -> Choice {
        let own = self.as_bytes();
        let (words, others) = (own.as_chunks::<8>().0, text.as_chunks::<8>().0);
        let differing = words.iter().zip(others).fold(0, |differing, (a, b)| {
            differing | u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)
        });
        differing.ct_eq(&0) & Choice::from(u8::from(own.len() == text.len()))
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }
}

/// The digits of four bytes, the lowest first, all at once.
#[inline]
fn hex(bytes: u32) -> [u8; 8] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut spread = u64::from(bytes);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    // The upper half of a byte is its first digit.
    spread = (spread << 8 | spread >> 4) & LOW;
    // A bit in each byte above 9; adding 6 carries into it.
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_le_bytes()
}

/// What goes into a response besides the password.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'m> {
    pub(super) algorithm: Algorithm,
    pub(super) is_session: bool,
    pub(super) method: &'m [u8],
    pub(super) uri: &'m [u8],
    pub(super) nonce: &'m [u8],
    pub(super) nc: &'m [u8],
    pub(super) cnonce: &'m [u8],
    pub(super) qop: &'m [u8],
}

/// Hashes, and remembers the last of those that nearly every request of a domain has in common.
pub(super) struct Hasher {
    /// What is hashed at once.
    joined: Box<[u8; JOINED_BYTES]>,
    /// For each algorithm, the last method and URI and their hash.
    asked: [Asked; Algorithm::ALL.len()],
}

/// Enough for all but strange responses, and their padding.
const JOINED_BYTES: usize = 512;

impl Hasher {
    #[allow(clippy::expect_used, reason = "the lengths are the same")]
    pub(super) fn new() -> Self {
        let joined = vec![0; JOINED_BYTES].into_boxed_slice();
        Hasher { joined: joined.try_into().expect("as many bytes"), asked: [Asked::NOTHING; 3] }
    }

    /// The response to a challenge of whoever has the hash of user, realm and password, RFC 7616 3.4.1.
    #[inline]
    pub(super) fn response(&mut self, ha1: &[u8], terms: &Terms<'_>) -> Hex {
        let Terms { algorithm, nonce, nc, cnonce, qop, .. } = *terms;
        let mut secret = Hex::new(ha1);
        if terms.is_session {
            // RFC 7616 3.4.2: A1 = H( unq(username) ":" unq(realm) ":" passwd ) ":" unq(nonce-prime) ":" unq(cnonce-prime)
            secret = self.hash(algorithm, &[secret.as_bytes(), nonce, cnonce]);
        }
        let asked = self.asked(algorithm, terms.method, terms.uri);
        self.hash(algorithm, &[secret.as_bytes(), nonce, nc, cnonce, qop, asked.as_bytes()])
    }

    /// RFC 7616 3.4.3: A2 = Method ":" request-uri
    #[inline]
    fn asked(&mut self, algorithm: Algorithm, method: &[u8], uri: &[u8]) -> Hex {
        let last = &self.asked[algorithm as usize];
        if last.is_of(method, uri) {
            return last.hash;
        }
        let hash = self.hash(algorithm, &[method, uri]);
        self.asked[algorithm as usize].remember(method, uri, hash);
        hash
    }

    /// The hash of parts with colons between them.
    #[inline]
    pub(super) fn hash(&mut self, algorithm: Algorithm, parts: &[&[u8]]) -> Hex {
        let Some(length) = self.join(parts) else { return hash_at_length(algorithm, parts) };
        let joined = &self.joined[..length];
        match algorithm {
            Algorithm::Md5 => Hex::new(&Md5::digest(joined)),
            Algorithm::Sha256 => Hex::new(&Sha256::digest(joined)),
            Algorithm::Sha512_256 => Hex::new(&Sha512_256::digest(joined)),
        }
    }

    /// Brings the parts together, and gives their length with the colons; `None` where they are too long.
    #[inline]
    fn join(&mut self, parts: &[&[u8]]) -> Option<usize> {
        let mut length = 0;
        for part in parts {
            let end = length + part.len();
            self.joined.get_mut(length..end)?.copy_from_slice(part);
            *self.joined.get_mut(end)? = b':';
            length = end + 1;
        }
        // The last colon is one too many.
        Some(length - 1)
    }
}

/// The same without a place to bring them together.
#[cold]
fn hash_at_length(algorithm: Algorithm, parts: &[&[u8]]) -> Hex {
    fn of<D: Digest>(parts: &[&[u8]]) -> Hex {
        let mut hasher = D::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                hasher.update(b":");
            }
            hasher.update(part);
        }
        Hex::new(&hasher.finalize())
    }
    match algorithm {
        Algorithm::Md5 => of::<Md5>(parts),
        Algorithm::Sha256 => of::<Sha256>(parts),
        Algorithm::Sha512_256 => of::<Sha512_256>(parts),
    }
}

/// A method and a URI, and their hash.
struct Asked {
    text: [u8; 96],
    method: usize,
    length: usize,
    hash: Hex,
}

impl Asked {
    const NOTHING: Asked = Asked {
        text: [0; 96],
        method: 0,
        length: 0,
        hash: Hex { digits: [0; 2 * Algorithm::BYTES_MAX], length: 0 },
    };

    #[inline]
    fn is_of(&self, method: &[u8], uri: &[u8]) -> bool {
        self.length > 0
            && self.text.get(..self.method) == Some(method)
            && self.text.get(self.method..self.length) == Some(uri)
    }

    fn remember(&mut self, method: &[u8], uri: &[u8], hash: Hex) {
        let length = method.len() + uri.len();
        let Some(place) = self.text.get_mut(..length) else { return };
        let (front, back) = place.split_at_mut(method.len());
        front.copy_from_slice(method);
        back.copy_from_slice(uri);
        (self.method, self.length, self.hash) = (method.len(), length, hash);
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was hashed last is made of somebody's secret.
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn raw(hex: &Hex) -> Vec<u8> {
        let digit = |digit: u8| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap();
        hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    fn response(
        algorithm: Algorithm,
        is_session: bool,
        user: [&str; 3],
        rest: [&str; 6],
    ) -> Vec<u8> {
        let mut hasher = Hasher::new();
        let ha1 = raw(&hasher.hash(algorithm, &user.map(str::as_bytes)));
        let [method, uri, nonce, nc, cnonce, qop] = rest.map(str::as_bytes);
        let terms = Terms { algorithm, is_session, method, uri, nonce, nc, cnonce, qop };
        let first = hasher.response(&ha1, &terms).as_bytes().to_vec();
        // The second time the method and the URI are remembered.
        assert_eq!(hasher.response(&ha1, &terms).as_bytes(), first);
        first
    }

    #[test]
    fn rfc_7616_3_9_1() {
        let user = ["Mufasa", "http-auth@example.org", "Circle of Life"];
        let rest = [
            "GET",
            "/dir/index.html",
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "00000001",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "auth",
        ];
        assert_eq!(
            response(Algorithm::Md5, false, user, rest),
            b"8ca523f5e9506fed4657c9700eebdbec"
        );
        assert_eq!(
            response(Algorithm::Sha256, false, user, rest),
            b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn rfc_2617_3_5() {
        let user = ["Mufasa", "testrealm@host.com", "Circle Of Life"];
        let rest = [
            "GET",
            "/dir/index.html",
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "00000001",
            "0a4f113b",
            "auth",
        ];
        assert_eq!(
            response(Algorithm::Md5, false, user, rest),
            b"6629fae49393a05397450978507c4ef1"
        );
    }

    #[test]
    fn hashes_of_known_answers() {
        let mut hasher = Hasher::new();
        // RFC 1321 A.5 and FIPS 180-4's "abc".
        for (algorithm, wanted) in [
            (Algorithm::Md5, &b"900150983cd24fb0d6963f7d28e17f72"[..]),
            (
                Algorithm::Sha256,
                b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Algorithm::Sha512_256,
                b"53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
            ),
        ] {
            assert_eq!(hasher.hash(algorithm, &[b"abc"]).as_bytes(), wanted);
            assert_eq!(algorithm.bytes() * 2, wanted.len());
            for length in [0, 55, 56, 63, 64, 119, 120, 400, JOINED_BYTES, 5000] {
                let part = vec![b'x'; length];
                let parts = [&part[..], b"", &part];
                assert_eq!(
                    hasher.hash(algorithm, &parts).as_bytes(),
                    hash_at_length(algorithm, &parts).as_bytes()
                );
            }
        }
    }

    #[test]
    fn names_with_and_without_sess() {
        assert_eq!(Algorithm::named(b"md5"), Some((Algorithm::Md5, false)));
        assert_eq!(Algorithm::named(b"MD5-Sess"), Some((Algorithm::Md5, true)));
        assert_eq!(Algorithm::named(b"SHA-512-256-sess"), Some((Algorithm::Sha512_256, true)));
        for other in [&b""[..], b"-sess", b"SHA-512", b"SHA-256-sess-sess", b"MD5 "] {
            assert_eq!(Algorithm::named(other), None);
        }
    }

    #[test]
    fn only_the_same_digits_are_the_same() {
        for bytes in [16, 32] {
            let hex = Hex::new(&vec![0x5a; bytes]);
            let digits = hex.as_bytes().to_vec();
            assert!(bool::from(hex.is(&digits)));
            for place in 0..digits.len() {
                let mut other = digits.clone();
                other[place] ^= 0x20;
                assert!(!bool::from(hex.is(&other)), "{place}");
            }
            assert!(!bool::from(hex.is(&digits[1..])) && !bool::from(hex.is(b"")));
            assert!(!bool::from(hex.is(&[&digits[..], b"0"].concat())));
        }
    }

    #[test]
    fn bytes_become_digits() {
        assert_eq!(Hex::new(&[0x01, 0x23, 0xab, 0xff]).as_bytes(), b"0123abff");
    }
}
