//! How a binding's variable part lies in the arena: one string a binding, so that a look-up touches one place.
//!
//! ```text
//! lengths of contact, params, path, call-id   4 x u16
//! listener                                    u16
//! source port                                 u16
//! families                                    u8   bit 0: source is IPv6, bit 1: local address is IPv6
//! source address                              4 or 16 + 4 (scope)
//! local address                               4 or 16
//! "<" contact ">" params, path, call-id
//! ```
//! Two requests that bind the same thing from the same place give equal records, so a refresh is recognised by one
//! comparison and writes nothing.

use crate::io::{ListenerId, LocalAddr, Peer, Transport};
use crate::wire::same;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The parts of a binding that are strings or addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The contact URI as it was sent, without angle brackets.
    pub contact: &'a [u8],
    /// The parameters of the Contact value other than `expires` and `q`, each with its semicolon, as they were sent.
    pub params: &'a [u8],
    /// The Path values, in order, separated by commas, RFC 3327.
    pub path: &'a [u8],
    /// The Call-ID of the REGISTER that made or refreshed it.
    pub call_id: &'a [u8],
    /// Where that REGISTER came from; unspecified where an operator added it.
    pub from: Peer,
    /// Where it arrived.
    pub to: LocalAddr,
}

/// A contact as a response lists it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// It begins with the contact; what follows is nobody's business.
    pub text: &'a [u8],
    /// Bytes of the contact.
    pub length: usize,
}

const SOURCE_V6: u8 = 1;
const LOCAL_V6: u8 = 2;
/// What stands before the strings where both addresses are IPv4.
const NARROW_HEAD_BYTES: usize = 8 + 2 + 2 + 1 + 4 + 4;

impl<'a> Record<'a> {
    /// The most bytes that everything but the four strings takes.
    pub const OVERHEAD_BYTES_MAX: usize = 8 + 2 + 2 + 1 + 20 + 16 + 2;

    /// Replaces `out` by the record's bytes. False where a string is longer than 65,535 bytes.
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.append(out)
    }

    /// Puts the record's bytes behind those in `out`. False where a string is longer than 65,535 bytes; nothing was put then.
    #[must_use]
    pub fn append(&self, out: &mut Vec<u8>) -> bool {
        let strings = [self.contact, self.params, self.path, self.call_id];
        if strings.iter().any(|string| string.len() > usize::from(u16::MAX)) {
            return false;
        }
        out.extend_from_slice(self.head().as_bytes());
        // The contact with its brackets and its parameters, as a response lists it.
        out.push(b'<');
        out.extend_from_slice(self.contact);
        out.push(b'>');
        for string in [self.params, self.path, self.call_id] {
            out.extend_from_slice(string);
        }
        true
    }

    /// Whether these are the bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        let head = self.head();
        let Some(strings) = bytes.strip_prefix(head.as_bytes()) else { return false };
        // Equal heads have the lengths of the strings in common.
        let [contact, params, path, call_id] =
            [self.contact, self.params, self.path, self.call_id].map(<[u8]>::len);
        let rest = strings.len().wrapping_sub(call_id);
        strings.len() == contact + 2 + params + path + call_id
            && strings.get(1..1 + contact) == Some(self.contact)
            && strings.get(rest..) == Some(self.call_id)
            && (params + path == 0
                || strings.get(contact + 2..contact + 2 + params) == Some(self.params)
                    && strings.get(contact + 2 + params..rest) == Some(self.path))
    }

    /// The contact in brackets, where these are the bytes that [`encode`](Self::encode) would write with another contact. `None`
    /// says nothing, for it knows only IPv4 and the records without parameters.
    #[must_use]
    #[inline(always)]
    pub fn but_for_contact<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (SocketAddr::V4(source), IpAddr::V4(local)) = (self.from.addr, self.to.ip) else {
            return None;
        };
        match self.from.transport {
            Transport::Udp => {}
        }
        let (head, strings) = bytes.split_first_chunk::<NARROW_HEAD_BYTES>()?;
        let word = |at: usize| head[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        // Behind the contact's length: no parameters, and the other two.
        let lengths = (self.path.len() as u64) << 16 | (self.call_id.len() as u64) << 32;
        // Between the lengths and the addresses: listener, port and no family but IPv4.
        let ports = u64::from(self.to.listener.0) | u64::from(source.port()) << 16;
        let addresses = u64::from(u32::from_le_bytes(source.ip().octets()))
            | u64::from(u32::from_le_bytes(local.octets())) << 32;
        let differing = word(0) >> 16 ^ lengths | word(5) >> 24 ^ ports | word(13) ^ addresses;
        let listed = usize::from(u16::from_le_bytes([head[0], head[1]])) + 2;
        let call_id = strings.len().checked_sub(self.call_id.len())?;
        let is_same = differing == 0
            && self.params.is_empty()
            && listed + self.path.len() == call_id
            && same(&strings[call_id..], self.call_id)
            && (self.path.is_empty() || strings.get(listed..call_id) == Some(self.path));
        if is_same { strings.get(..listed) } else { None }
    }

    /// What stands before the strings. Lengths beyond 65,535 are cut; [`encode`](Self::encode) refuses them.
    #[inline]
    fn head(&self) -> Head {
        match self.from.transport {
            Transport::Udp => {}
        }
        let mut head = Head { bytes: [0; Self::OVERHEAD_BYTES_MAX], len: 0 };
        for string in [self.contact, self.params, self.path, self.call_id] {
            #[allow(clippy::cast_possible_truncation, reason = "said above")]
            head.put((string.len() as u16).to_le_bytes());
        }
        head.put(self.to.listener.0.to_le_bytes());
        head.put(self.from.addr.port().to_le_bytes());
        let source_v6 = if self.from.addr.is_ipv6() { SOURCE_V6 } else { 0 };
        let local_v6 = if self.to.ip.is_ipv6() { LOCAL_V6 } else { 0 };
        head.put([source_v6 | local_v6]);
        match self.from.addr {
            SocketAddr::V4(addr) => head.put(addr.ip().octets()),
            SocketAddr::V6(addr) => {
                head.put(addr.ip().octets());
                head.put(addr.scope_id().to_le_bytes());
            }
        }
        match self.to.ip {
            IpAddr::V4(ip) => head.put(ip.octets()),
            IpAddr::V6(ip) => head.put(ip.octets()),
        }
        head
    }

    /// The contact in brackets and its parameters, from the bytes of a record: what a response lists.
    ///
    /// # Panics
    /// As [`decode`](Self::decode).
    #[must_use]
    #[inline]
    pub fn listed(bytes: &'a [u8]) -> Listed<'a> {
        let head = bytes.first_chunk::<NARROW_HEAD_BYTES>().expect("a record has a head");
        let [contact, params] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_le_bytes);
        let families = head[8 + 2 + 2];
        let wide = |family: u8, more: usize| if families & family == 0 { 0 } else { more };
        let start = NARROW_HEAD_BYTES + wide(SOURCE_V6, 16) + wide(LOCAL_V6, 12);
        let length = usize::from(contact) + usize::from(params) + 2;
        Listed { text: &bytes[start..], length }
    }

    /// Reads back what [`encode`](Self::encode) wrote.
    ///
    /// # Panics
    /// On any other bytes: the arena holds nothing else.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Self {
        let mut reader = Reader(bytes);
        let [contact, params, path, call_id] = [(); 4].map(|()| usize::from(reader.u16()));
        let listener = ListenerId(reader.u16());
        let port = reader.u16();
        let [families] = reader.array();
        let addr = if families & SOURCE_V6 == 0 {
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(reader.array::<4>()), port))
        } else {
            let ip = Ipv6Addr::from(reader.array::<16>());
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::from_le_bytes(reader.array())))
        };
        let ip = if families & LOCAL_V6 == 0 {
            IpAddr::V4(Ipv4Addr::from(reader.array::<4>()))
        } else {
            IpAddr::V6(Ipv6Addr::from(reader.array::<16>()))
        };
        reader.take(1);
        let contact = reader.take(contact);
        reader.take(1);
        Record {
            contact,
            params: reader.take(params),
            path: reader.take(path),
            call_id: reader.take(call_id),
            from: Peer { transport: Transport::Udp, addr },
            to: LocalAddr { listener, ip },
        }
    }
}

struct Head {
    bytes: [u8; Record::OVERHEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N));
        array
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        for (source, local) in [
            ("192.0.2.1:5060", "192.0.2.9"),
            ("[fe80::1%3]:5062", "2001:db8::9"),
            ("[2001:db8::1]:5060", "192.0.2.9"),
        ] {
            let record = Record {
                contact: b"sip:alice@192.0.2.1",
                params: b";+sip.instance=\"<urn:uuid:1>\"",
                path: b"",
                call_id: b"call@192.0.2.1",
                from: Peer::udp(source.parse().unwrap()),
                to: LocalAddr { listener: ListenerId(7), ip: local.parse().unwrap() },
            };
            let mut bytes = Vec::new();
            assert!(record.encode(&mut bytes));
            assert_eq!(Record::decode(&bytes), record);
            assert!(record.is(&bytes));
            let plain = Record { params: b"", ..record };
            let mut plain_bytes = Vec::new();
            assert!(plain.encode(&mut plain_bytes));
            let others = Record { contact: b"", ..plain };
            let is_narrow = source.starts_with('1') && local.starts_with('1');
            let expected = is_narrow.then_some(&b"<sip:alice@192.0.2.1>"[..]);
            assert_eq!(others.but_for_contact(&plain_bytes), expected);
            assert_eq!(others.but_for_contact(&bytes), None);
            for other in [
                Record { contact: b"sip:alice@192.0.2.2", ..record },
                Record { params: b";+sip.instance=\"<urn:uuid:2>\"", ..record },
                Record { path: b"<sip:edge;lr>", ..record },
                Record { params: b"", path: record.params, ..record },
                Record { call_id: b"call@192.0.2.2", ..record },
                Record { from: Peer::udp("192.0.2.1:5061".parse().unwrap()), ..record },
                Record { to: LocalAddr { listener: ListenerId(8), ..record.to }, ..record },
            ] {
                assert!(!other.is(&bytes), "{other:?}");
                let same = Record { contact: b"", params: b"", ..other };
                if other.params == record.params && other.contact == record.contact {
                    assert_eq!(same.but_for_contact(&plain_bytes), None, "{other:?}");
                }
            }
            assert!(!record.is(&bytes[..bytes.len() - 1]));
            assert!(!record.is(b""));
            let listed = Record::listed(&bytes);
            assert_eq!(
                &listed.text[..listed.length],
                b"<sip:alice@192.0.2.1>;+sip.instance=\"<urn:uuid:1>\""
            );
        }
    }

    #[test]
    fn a_string_beyond_the_length_field_is_refused() {
        let long = alloc::vec![b'a'; 65_536];
        let record = Record {
            contact: &long,
            params: b"",
            path: b"",
            call_id: b"",
            from: Peer::udp("192.0.2.1:5060".parse().unwrap()),
            to: LocalAddr { listener: ListenerId(0), ip: "192.0.2.9".parse().unwrap() },
        };
        assert!(!record.encode(&mut Vec::new()));
    }
}
