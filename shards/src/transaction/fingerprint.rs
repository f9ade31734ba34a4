//! What makes two requests the same one: the fields that a server transaction is matched on, and a keyed hash of them. It
//! compares bytes and judges nothing.

use crate::wire::{Message, StartLine};
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// The fields by which a request is matched to a non-INVITE server transaction, as they stand in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// RFC 3261 17.2.3: the branch of the top Via begins with the magic cookie.
    Branch {
        /// The whole branch parameter, compared byte for byte.
        branch: &'a [u8],
        /// The host of the top Via's sent-by, compared without regard to case.
        sent_by_host: &'a [u8],
        /// Its port. An absent port is not the same as 5060: a retransmission repeats what was sent.
        sent_by_port: Option<u16>,
        /// The method of the `CSeq`: a CANCEL has the branch of what it cancels, and is a transaction of its own.
        method: &'a [u8],
    },
    /// RFC 3261 17.2.3: matching with elements of RFC 2543, for a branch without the cookie or no branch at all.
    Rfc2543 {
        /// The Request-URI.
        request_uri: &'a [u8],
        /// The tag of To, empty where there is none.
        to_tag: &'a [u8],
        /// The tag of From, empty where there is none.
        from_tag: &'a [u8],
        /// The Call-ID.
        call_id: &'a [u8],
        /// The number of the `CSeq`.
        cseq: u32,
        /// The method of the `CSeq`.
        method: &'a [u8],
        /// The value of the top Via.
        via: &'a [u8],
    },
}

/// What the branches of RFC 3261 begin with, 8.1.1.7.
const COOKIE: &[u8] = b"z9hG4bK";

impl<'m> Identity<'m> {
    /// By what a request is matched to its transaction, RFC 3261 17.2.3. `method` is that of the transaction: an ACK is looked for
    /// as what it acknowledges, and so is a CANCEL.
    #[inline(always)]
    #[must_use]
    pub fn of(message: &Message<'m>, method: &'m [u8]) -> Self {
        match message.branch() {
            // RFC 4475 3.2.1: a branch that is nothing but the cookie identifies nothing.
            Some(branch) if branch.starts_with(COOKIE) && branch.len() > COOKIE.len() => {
                let (host, sent_by_port) = message.sent_by();
                Identity::Branch { branch, sent_by_host: host.raw(), sent_by_port, method }
            }
            Some(_) | None => Identity::Rfc2543 {
                request_uri: match message.start_line() {
                    StartLine::Request { uri, .. } => uri.raw,
                    StartLine::Response { .. } => b"",
                },
                // The To of an ACK has the tag of the response, which its INVITE had not.
                to_tag: if method == b"INVITE" {
                    b""
                } else {
                    message.to().tag.unwrap_or_default()
                },
                from_tag: message.from().tag.unwrap_or_default(),
                call_id: message.call_id(),
                cseq: message.cseq().number,
                method,
                via: message.via().raw,
            },
        }
    }
}

/// 128 bits that stand for an [`Identity`] at one home. The hashes are keyed with a secret: nobody outside can make two meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(super) [u64; 2]);

impl Fingerprint {
    /// The fingerprint of an identity under a key, among the requests that share `home`: the keyed hash of an address-of-record
    /// or a Call-ID by which they found their core. A retransmission has the same home; phones behind NATs have the same
    /// sent-by, and poor ones the same branches.
    #[inline(always)]
    #[must_use]
    pub fn new(key: &[u8; 16], home: u64, identity: &Identity<'_>) -> Self {
        Fingerprint([hash(key, identity), Self::home_bits(home)])
    }

    /// The bits that come from the home. Its upper ones, alike on one core, are the lower ones here.
    #[inline]
    pub(super) fn home_bits(home: u64) -> u64 {
        home.rotate_left(32)
    }

    /// Bits for a table in which it is looked for.
    #[inline]
    #[must_use]
    pub fn place(self) -> u64 {
        self.0[0] ^ self.0[1]
    }

    /// 32 of the bits that do not come from the home.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "32 bits are wanted")]
    pub fn low(self) -> u32 {
        self.0[0] as u32
    }
}

/// The hash of a usual identity, or of another, field by field.
// Who chooses a branch and a sent-by can only meet a request of the same home: one of its own address-of-record and its own source.
// So it is enough that two identities meet by chance no more often than hashes of 64 bits do, whoever does not know the key.
#[inline(always)]
fn hash(key: &[u8; 16], identity: &Identity<'_>) -> u64 {
    match *identity {
        Identity::Branch { branch, sent_by_host, sent_by_port, method } => {
            usual(key, branch, sent_by_host, sent_by_port, method)
        }
        Identity::Rfc2543 { .. } => None,
    }
    .unwrap_or_else(|| streamed(SipHasher13::new_with_key(key), identity))
}

/// The hash of an identity whose fields have usual lengths: products of words, each of which depends on the one before.
#[inline(always)]
fn usual(
    key: &[u8; 16],
    branch: &[u8],
    host: &[u8],
    port: Option<u16>,
    method: &[u8],
) -> Option<u64> {
    if method.len() > 8 || host.len() > 16 || branch.len() > 48 {
        return None;
    }
    let [low, high] = halves(key);
    let (front, back) = (branch.first_chunk::<16>()?, branch.last_chunk::<16>()?);
    let mut sent_by = [first_word(host)?, last_word(host)?];
    // No letter is without this bit.
    if (sent_by[0] | sent_by[1]) & (ONES * 0x40) != 0 {
        sent_by = sent_by.map(lower);
    }
    let mut hash = joined(front, low, high);
    if branch.len() > 32 {
        hash = joined(branch[16..].first_chunk::<16>()?, low, hash);
    }
    hash = joined(back, low, hash);
    hash = folded(sent_by[0] ^ low, sent_by[1] ^ hash);
    hash = folded(branch_head(branch, host, port) ^ high, hash ^ low);
    Some(folded(method_word(method) ^ high, hash ^ low))
}

/// Sixteen bytes and what was hashed before them.
#[inline(always)]
fn joined(bytes: &[u8; 16], key: u64, before: u64) -> u64 {
    let [low, high] = halves(bytes);
    folded(low ^ key, high ^ before)
}

/// A method of up to eight bytes.
#[inline(always)]
fn method_word(method: &[u8]) -> u64 {
    match first_word(method) {
        Some(word) => word,
        None => method.iter().fold(1, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Sixteen bytes in two words.
#[inline(always)]
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let bytes = u128::from_le_bytes(*bytes);
    #[allow(clippy::cast_possible_truncation, reason = "each is a half")]
    let halves = [bytes as u64, (bytes >> 64) as u64];
    halves
}

/// The product of two words, its halves laid over each other.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "each is a half")]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// With the last eight bytes all of a host that has eight to sixteen, as most have.
#[inline(always)]
fn first_word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
}

#[inline(always)]
fn last_word(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk().map(|word| u64::from_le_bytes(*word))
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Eight bytes with ASCII letters in lower case, all at once.
fn lower(bytes: u64) -> u64 {
    let ascii = bytes & (ONES * 0x7F);
    // Bit 7 of each byte: from 'A' on, and beyond 'Z'.
    let from_a = ascii + ONES * u64::from(0x80 - b'A');
    let beyond_z = ascii + ONES * u64::from(0x7F - b'Z');
    let capitals = (from_a ^ beyond_z) & !bytes & (ONES * 0x80);
    bytes | capitals >> 2
}

#[cold]
fn streamed(mut hasher: SipHasher13, identity: &Identity<'_>) -> u64 {
    match *identity {
        Identity::Branch { branch, sent_by_host, sent_by_port, method } => {
            hasher.write_u64(branch_head(branch, sent_by_host, sent_by_port));
            hasher.write_u64(length(method));
            hasher.write(branch);
            hasher.write(method);
            for byte in sent_by_host {
                hasher.write(&[byte.to_ascii_lowercase()]);
            }
        }
        Identity::Rfc2543 { request_uri, to_tag, from_tag, call_id, cseq, method, via } => {
            hasher.write_u64(1 << 63 | length(request_uri) << 32 | length(method));
            hasher.write_u64(length(to_tag) << 32 | length(from_tag));
            hasher.write_u64(length(call_id) << 32 | length(via));
            hasher.write_u64(u64::from(cseq));
            for field in [request_uri, to_tag, from_tag, call_id, method, via] {
                hasher.write(field);
            }
        }
    }
    hasher.finish()
}

/// Lengths and port go first, so that no byte can wander from one field to the next. Bit 63 is that of the other kind.
#[inline]
fn branch_head(branch: &[u8], host: &[u8], port: Option<u16>) -> u64 {
    let port = port.map_or(1 << 16, u64::from);
    (length(branch) & 0xffff) << 32 | (length(host) & 0x7fff) << 17 | port
}

/// The length of a field of a message, which is far below 2^31.
#[inline]
fn length(field: &[u8]) -> u64 {
    field.len() as u64 & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn branch(branch: &[u8], host: &[u8], port: Option<u16>, method: &[u8]) -> Fingerprint {
        Fingerprint::new(
            &KEY,
            1,
            &Identity::Branch { branch, sent_by_host: host, sent_by_port: port, method },
        )
    }

    fn all_differ(fingerprints: &[Fingerprint]) {
        for (at, one) in fingerprints.iter().enumerate() {
            assert!(
                fingerprints[at + 1..].iter().all(|other| other != one),
                "number {at} has a double"
            );
        }
    }

    #[test]
    fn every_field_counts_and_none_runs_into_the_next() {
        let long = [b'h'; 40];
        all_differ(&[
            branch(b"z9hG4bKa", b"host", Some(5060), b"REGISTER"),
            branch(b"z9hG4bKA", b"host", Some(5060), b"REGISTER"),
            branch(b"z9hG4bKaR", b"host", Some(5060), b"EGISTER"),
            branch(b"z9hG4bKa", b"host", Some(5060), b"REGISTERh"),
            branch(b"z9hG4bKa", b"rhost", Some(5060), b"REGISTE"),
            branch(b"z9hG4bKa", b"host", Some(5061), b"REGISTER"),
            branch(b"z9hG4bKa", b"host", Some(0), b"REGISTER"),
            branch(b"z9hG4bKa", b"host", None, b"REGISTER"),
            branch(b"z9hG4bKa", b"hos", Some(5060), b"REGISTER"),
            branch(b"z9hG4bKa", &long, Some(5060), b"REGISTER"),
            branch(b"z9hG4bKa", &long[1..], Some(5060), b"REGISTER"),
            branch(b"z9hG4bKa", b"host", Some(5060), b"CANCEL"),
        ]);
        assert_eq!(
            branch(b"z9hG4bKa", b"Host.Example", None, b"OPTIONS"),
            branch(b"z9hG4bKa", b"hOST.eXAMPLE", None, b"OPTIONS")
        );
    }

    #[test]
    fn rfc2543_matching_compares_each_element() {
        let changed = |field: usize| {
            let pick = |at, value: &'static [u8], other: &'static [u8]| {
                if field == at { other } else { value }
            };
            Fingerprint::new(
                &KEY,
                1,
                &Identity::Rfc2543 {
                    request_uri: pick(0, b"sip:sip.test", b"sip:sip.tesT"),
                    to_tag: pick(1, b"", b"1"),
                    from_tag: pick(2, b"1", b""),
                    call_id: pick(3, b"2@host", b"2@hos"),
                    cseq: if field == 4 { 4 } else { 3 },
                    method: pick(5, b"REGISTER", b"OPTIONS"),
                    via: pick(6, b"SIP/2.0/UDP host", b"SIP/2.0/UDP hosT"),
                },
            )
        };
        all_differ(&[0, 1, 2, 3, 4, 5, 6, 7].map(changed));
    }

    #[test]
    fn the_key_counts() {
        let identity =
            Identity::Branch { branch: b"b", sent_by_host: b"h", sent_by_port: None, method: b"M" };
        let one = Fingerprint::new(&KEY, 1, &identity);
        assert_ne!(one, Fingerprint::new(&[0; 16], 1, &identity));
        assert_ne!(one, Fingerprint::new(&KEY, 2, &identity));
    }

    #[test]
    fn letters_become_lower_case_and_nothing_else_does() {
        for byte in 0..=u8::MAX {
            let mut bytes = [byte, b'A', byte, 0xFF, b'z', 0, byte, byte];
            let lowered = lower(u64::from_le_bytes(bytes)).to_le_bytes();
            bytes.make_ascii_lowercase();
            assert_eq!(lowered, bytes);
        }
    }

    #[test]
    fn each_byte_of_a_host_counts_but_not_its_case() {
        for length in 0..40 {
            let host: alloc::vec::Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
            let whole = branch(b"z9hG4bKa", &host, None, b"REGISTER");
            assert_eq!(whole, branch(b"z9hG4bKa", &host.to_ascii_uppercase(), None, b"REGISTER"));
            let changed = (0..length).map(|at| {
                let mut other = host.clone();
                other[at] = b'-';
                branch(b"z9hG4bKa", &other, None, b"REGISTER")
            });
            let mut all: alloc::vec::Vec<_> = changed.collect();
            all.push(whole);
            all.push(branch(b"z9hG4bKa", &[&host[..], b"\0"].concat(), None, b"REGISTER"));
            all_differ(&all);
        }
    }
}
