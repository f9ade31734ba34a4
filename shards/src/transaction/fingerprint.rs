//! What makes two requests the same one: the fields that a server transaction is matched on, and a keyed hash of them. It
//! compares bytes and never reads a message.

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

/// 128 bits that stand for an [`Identity`] at one home. The hashes are keyed with a secret: nobody outside can make two meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(super) [u64; 2]);

impl Fingerprint {
    /// The fingerprint of an identity under a key, among the requests that share `home`: the keyed hash of an address-of-record
    /// or a Call-ID by which they found their core. A retransmission has the same home; phones behind NATs have the same
    /// sent-by, and poor ones the same branches.
    #[inline]
    #[must_use]
    pub fn new(key: &[u8; 16], home: u64, identity: &Identity<'_>) -> Self {
        let hash = gathered(key, identity).unwrap_or_else(|| streamed(key, identity));
        // The upper bits of a home are alike on one core.
        Fingerprint([hash, home.rotate_left(32)])
    }

    /// 32 of the bits that do not come from the home.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "32 bits are wanted")]
    pub fn low(self) -> u32 {
        self.0[0] as u32
    }
}

/// The hash of a usual identity: its fields are brought together and hashed at once, which takes a third of the time.
#[inline]
fn gathered(key: &[u8; 16], identity: &Identity<'_>) -> Option<u64> {
    let Identity::Branch { branch, sent_by_host, sent_by_port, method } = *identity else {
        return None;
    };
    let mut fields = [0; 120];
    let (head, rest) = fields.split_at_mut(8);
    head.copy_from_slice(&branch_head(branch, sent_by_host, sent_by_port, method).to_le_bytes());
    let (branch_place, rest) = rest.split_at_mut_checked(branch.len())?;
    branch_place.copy_from_slice(branch);
    let (method_place, rest) = rest.split_at_mut_checked(method.len())?;
    method_place.copy_from_slice(method);
    let host_place = rest.get_mut(..sent_by_host.len())?;
    host_place.copy_from_slice(sent_by_host);
    host_place.make_ascii_lowercase();
    let length = 8 + branch.len() + method.len() + sent_by_host.len();
    Some(SipHasher13::new_with_key(key).hash(&fields[..length]))
}

/// The same hash, of an identity of any length.
#[cold]
fn streamed(key: &[u8; 16], identity: &Identity<'_>) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    match *identity {
        Identity::Branch { branch, sent_by_host, sent_by_port, method } => {
            hasher.write_u64(branch_head(branch, sent_by_host, sent_by_port, method));
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
fn branch_head(branch: &[u8], host: &[u8], port: Option<u16>, method: &[u8]) -> u64 {
    let port = port.map_or(1 << 16, u64::from);
    (length(method) & 0x3fff) << 48
        | (length(branch) & 0xffff) << 32
        | (length(host) & 0x7fff) << 17
        | port
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
    fn short_and_long_identities_are_hashed_alike() {
        let branch = [b'b'; 200];
        for end in [1, 60, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 200] {
            let identity = Identity::Branch {
                branch: &branch[..end],
                sent_by_host: b"Host",
                sent_by_port: Some(5060),
                method: b"REGISTER",
            };
            let whole = gathered(&KEY, &identity);
            assert_eq!(whole.is_some(), end <= 100);
            assert_eq!(whole.unwrap_or(streamed(&KEY, &identity)), streamed(&KEY, &identity));
        }
    }
}
