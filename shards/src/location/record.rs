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

const SOURCE_V6: u8 = 1;
const LOCAL_V6: u8 = 2;

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
    #[inline]
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
    pub fn listed(bytes: &[u8]) -> &[u8] {
        let mut reader = Reader(bytes);
        let [contact, params, _, _] = [(); 4].map(|()| usize::from(reader.u16()));
        reader.u16();
        reader.u16();
        let [families] = reader.array();
        let source = if families & SOURCE_V6 == 0 { 4 } else { 20 };
        let local = if families & LOCAL_V6 == 0 { 4 } else { 16 };
        reader.take(source + local);
        reader.take(contact + params + 2)
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
            }
            assert!(!record.is(&bytes[..bytes.len() - 1]));
            assert!(!record.is(b""));
            assert_eq!(
                Record::listed(&bytes),
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
