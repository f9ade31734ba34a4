//! What makes two requests the same one: the fields that a server transaction is matched on, and a keyed hash of them. It
//! compares bytes and never reads a message.

use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher13};

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

/// 128 bits that stand for an [`Identity`]. The hash is keyed with a secret: nobody outside can make two identities meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(super) [u64; 2]);

impl Fingerprint {
    /// The fingerprint of an identity under a key.
    #[inline]
    #[must_use]
    pub fn new(key: &[u8; 16], identity: &Identity<'_>) -> Self {
        let mut hasher = SipHasher13::new_with_key(key);
        // The lengths go first, so that no byte can wander from one field to the next; the kinds differ in the first word.
        match *identity {
            Identity::Branch { branch, sent_by_host, sent_by_port, method } => {
                let port = sent_by_port.map_or(1 << 16, u64::from);
                hasher.write_u64(length(branch) << 32 | length(method));
                hasher.write_u64(length(sent_by_host) << 32 | port);
                hasher.write(branch);
                hasher.write(method);
                write_lower_case(&mut hasher, sent_by_host);
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
        let hash = hasher.finish128();
        Fingerprint([hash.h1, hash.h2])
    }

    /// This fingerprint among those that share a keyed hash, such as the one of their address-of-record. Phones behind NATs
    /// have the same sent-by, and poor ones the same branches.
    #[inline]
    #[must_use]
    pub fn salted(self, hash: u64) -> Self {
        Fingerprint([self.0[0] ^ hash, self.0[1] ^ hash.rotate_left(32)])
    }

    /// 32 of its bits.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "32 bits are wanted")]
    pub fn low(self) -> u32 {
        self.0[0] as u32
    }
}

/// The length of a field of a message, which is far below 2^31.
#[inline]
fn length(field: &[u8]) -> u64 {
    field.len() as u64 & 0x7fff_ffff
}

#[inline]
fn write_lower_case(hasher: &mut SipHasher13, host: &[u8]) {
    for chunk in host.chunks(32) {
        let mut lower = [0; 32];
        let lower = &mut lower[..chunk.len()];
        lower.copy_from_slice(chunk);
        lower.make_ascii_lowercase();
        hasher.write(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn branch(branch: &[u8], host: &[u8], port: Option<u16>, method: &[u8]) -> Fingerprint {
        Fingerprint::new(
            &KEY,
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
        assert_ne!(Fingerprint::new(&KEY, &identity), Fingerprint::new(&[0; 16], &identity));
    }
}
