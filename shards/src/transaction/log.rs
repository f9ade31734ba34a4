//! A circular log of answered requests: the oldest record makes room for the newest. It owns the bytes and their layout, and
//! never says which record belongs to a request.
//!
//! Positions count 8-byte units that were ever written, and never repeat; a position below the tail is gone. A record is never
//! split: where the rest of a lap is too short for it, the rest is left empty.

use super::Fingerprint;
use crate::io::{Instant, ListenerId, LocalAddr, Peer, Transport};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

const UNIT_BYTES: usize = 8;

// The layout of a record: these fields, then the addresses, then the response.
const FINGERPRINT: usize = 0;
const UNTIL: usize = 16;
const RESPONSE_LENGTH: usize = 24;
const FAMILIES: usize = 26;
const TRANSPORT: usize = 27;
const LISTENER: usize = 28;
const PEER_PORT: usize = 30;
const PEER_IP: usize = 32;
const NARROW_LOCAL_IP: usize = 36;
const NARROW_HEADER_BYTES: usize = 40;
const WIDE_LOCAL_IP: usize = 48;
const FLOWINFO: usize = 64;
const SCOPE_ID: usize = 68;
const WIDE_HEADER_BYTES: usize = 72;

// Bits of the families. The header is narrow where both are IPv4.
const PEER_IPV6: u8 = 1;
const LOCAL_IPV6: u8 = 2;

/// What was answered, and where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The response, byte for byte.
    pub response: &'a [u8],
    /// Whom it was sent to.
    pub to: Peer,
    /// The address it left from.
    pub from: LocalAddr,
}

/// The log's bytes and its two ends.
#[derive(Debug)]
pub(super) struct Log {
    bytes: Vec<u8>,
    /// Where the next record goes, and its offset in `bytes`.
    head: u64,
    head_offset: usize,
    /// The oldest record that is still whole, and its offset.
    tail: u64,
    tail_offset: usize,
    /// Where the last lap ended before the end of `bytes`; the tail jumps from here to the next lap.
    lap_end: u64,
}

impl Log {
    /// A log of `bytes`, rounded up to whole units.
    pub(super) fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(UNIT_BYTES);
        // Position 0 is in a lap before the first: an index of zeros refers to nothing.
        let first = (bytes / UNIT_BYTES) as u64;
        Log {
            bytes: vec![0; bytes],
            head: first,
            head_offset: 0,
            tail: first,
            tail_offset: 0,
            lap_end: u64::MAX,
        }
    }

    /// Where the next record goes.
    #[inline]
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// How far back from the head the records reach, in units.
    #[inline]
    pub(super) fn span(&self) -> u64 {
        self.head - self.tail
    }

    /// Bytes from the oldest record to the head.
    pub(super) fn used_bytes(&self) -> usize {
        span_bytes(self.span())
    }

    /// Bytes that it has.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of a record, or nothing where it is too large to be kept: two of any size fit, so that a lap's empty rest and a
    /// record are never more than there is.
    #[inline(always)]
    pub(super) fn record_bytes(&self, answer: &Answer<'_>) -> Option<usize> {
        let bytes =
            (header_bytes(families(answer)) + answer.response.len()).next_multiple_of(UNIT_BYTES);
        (bytes <= self.bytes.len() / 2 && answer.response.len() <= usize::from(u16::MAX))
            .then_some(bytes)
    }

    /// Makes `bytes` free at the head; gives how many of the records that went had not ended at `now`.
    #[inline(always)]
    pub(super) fn make_room(&mut self, bytes: usize, now: Instant) -> u64 {
        let rest = self.bytes.len() - self.head_offset;
        let wraps = rest < bytes;
        let needed = if wraps { rest + bytes } else { bytes };
        let mut living = 0;
        while self.bytes.len() - span_bytes(self.span()) < needed {
            if self.tail == self.lap_end {
                self.tail += units(self.bytes.len() - self.tail_offset);
                self.tail_offset = 0;
                continue;
            }
            living += u64::from(self.until(self.tail_offset) > now);
            let passed = self.bytes_at(self.tail_offset);
            self.tail += units(passed);
            self.tail_offset = self.after(self.tail_offset, passed);
        }
        if wraps {
            self.lap_end = self.head;
            self.head += units(rest);
            self.head_offset = 0;
        }
        living
    }

    /// Writes a record of `bytes`, for which [`make_room`](Self::make_room) was called.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "record_bytes refuses longer responses")]
    pub(super) fn push(
        &mut self,
        bytes: usize,
        fingerprint: Fingerprint,
        until: Instant,
        answer: &Answer<'_>,
    ) {
        let record = &mut self.bytes[self.head_offset..self.head_offset + bytes];
        // A wide header begins as a narrow one, and a record is never shorter.
        let (header, narrow_body) = record.split_at_mut(NARROW_HEADER_BYTES);
        put(header, FINGERPRINT, fingerprint.0[0].to_ne_bytes());
        put(header, FINGERPRINT + 8, fingerprint.0[1].to_ne_bytes());
        put(header, UNTIL, until.as_nanos().to_ne_bytes());
        put(header, RESPONSE_LENGTH, (answer.response.len() as u16).to_ne_bytes());
        put(header, FAMILIES, [families(answer)]);
        put(header, TRANSPORT, [transport_code(answer.to.transport)]);
        put(header, LISTENER, answer.from.listener.0.to_ne_bytes());
        put(header, PEER_PORT, answer.to.addr.port().to_ne_bytes());
        let body = match (&answer.to.addr, &answer.from.ip) {
            (SocketAddr::V4(peer), IpAddr::V4(local)) => {
                put(header, PEER_IP, peer.ip().octets());
                put(header, NARROW_LOCAL_IP, local.octets());
                narrow_body
            }
            (peer, local) => wide_body(record, peer, local),
        };
        body[..answer.response.len()].copy_from_slice(answer.response);
        self.head += units(bytes);
        self.head_offset = self.after(self.head_offset, bytes);
    }

    /// The offset of the record that lies `age` units before the head, for the functions below.
    #[inline]
    pub(super) fn offset(&self, age: u64) -> usize {
        let age = span_bytes(age);
        if age <= self.head_offset {
            self.head_offset - age
        } else {
            self.head_offset + self.bytes.len() - age
        }
    }

    /// Whether the record is the one of this fingerprint. An offset that leads to no record is never the one.
    #[inline]
    pub(super) fn is(&self, offset: usize, fingerprint: Fingerprint) -> bool {
        self.bytes.len() - offset >= NARROW_HEADER_BYTES && self.fingerprint(offset) == fingerprint
    }

    /// The record's fingerprint.
    #[inline]
    pub(super) fn fingerprint(&self, offset: usize) -> Fingerprint {
        Fingerprint([self.u64_at(offset + FINGERPRINT), self.u64_at(offset + FINGERPRINT + 8)])
    }

    /// When the record ends.
    #[inline]
    pub(super) fn until(&self, offset: usize) -> Instant {
        Instant::from_nanos(self.u64_at(offset + UNTIL))
    }

    /// Ends the record, at the start of time.
    #[inline]
    pub(super) fn end(&mut self, offset: usize) {
        put(&mut self.bytes, offset + UNTIL, Instant::START.as_nanos().to_ne_bytes());
    }

    /// The record's answer.
    #[inline]
    pub(super) fn answer(&self, offset: usize) -> Answer<'_> {
        let record = &self.bytes[offset..offset + self.bytes_at(offset)];
        let families = record[FAMILIES];
        let port = u16::from_ne_bytes(take(record, PEER_PORT));
        let addr = if families & PEER_IPV6 == 0 {
            SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(take::<4>(record, PEER_IP)), port))
        } else {
            let ip = Ipv6Addr::from(take::<16>(record, PEER_IP));
            let flowinfo = u32::from_ne_bytes(take(record, FLOWINFO));
            SocketAddr::V6(SocketAddrV6::new(
                ip,
                port,
                flowinfo,
                u32::from_ne_bytes(take(record, SCOPE_ID)),
            ))
        };
        let ip = if families & LOCAL_IPV6 == 0 {
            IpAddr::V4(Ipv4Addr::from(take::<4>(record, local_ip(families))))
        } else {
            IpAddr::V6(Ipv6Addr::from(take::<16>(record, local_ip(families))))
        };
        let header = header_bytes(families);
        let length = u16::from_ne_bytes(take(record, RESPONSE_LENGTH)) as usize;
        Answer {
            response: &record[header..header + length],
            to: Peer { transport: TRANSPORTS[record[TRANSPORT] as usize], addr },
            from: LocalAddr {
                listener: ListenerId(u16::from_ne_bytes(take(record, LISTENER))),
                ip,
            },
        }
    }

    /// The records from the tail to the head, as position and offset.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, usize)> {
        let (mut position, mut offset) = (self.tail, self.tail_offset);
        core::iter::from_fn(move || {
            if position == self.lap_end {
                position += units(self.bytes.len() - offset);
                offset = 0;
            }
            assert!(position <= self.head, "a record reaches over the head");
            let record = (position, offset);
            (position < self.head).then(|| {
                position += units(self.bytes_at(offset));
                offset = self.after(offset, self.bytes_at(offset));
                record
            })
        })
    }

    /// Walks the invariants: the records follow each other from the tail to the head, and fit.
    pub(super) fn check(&self) {
        assert!(span_bytes(self.span()) <= self.bytes.len(), "the log holds more than its bytes");
        for (position, offset) in self.records() {
            assert_eq!(self.offset(self.head - position), offset, "a record at another offset");
            assert!(offset + self.bytes_at(offset) <= self.bytes.len(), "a record is split");
        }
    }

    /// Bytes of the record at an offset.
    #[inline]
    fn bytes_at(&self, offset: usize) -> usize {
        let length = u16::from_ne_bytes(take(&self.bytes, offset + RESPONSE_LENGTH)) as usize;
        (header_bytes(self.bytes[offset + FAMILIES]) + length).next_multiple_of(UNIT_BYTES)
    }

    #[inline]
    fn after(&self, offset: usize, bytes: usize) -> usize {
        if offset + bytes == self.bytes.len() { 0 } else { offset + bytes }
    }

    #[inline]
    fn u64_at(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(take(&self.bytes, offset))
    }
}

/// Writes addresses of which one is IPv6, and gives where the response goes.
#[inline(never)]
fn wide_body<'r>(record: &'r mut [u8], peer: &SocketAddr, local: &IpAddr) -> &'r mut [u8] {
    let (header, body) = record.split_at_mut(WIDE_HEADER_BYTES);
    header[PEER_IP..].fill(0);
    match peer {
        SocketAddr::V4(peer) => put(header, PEER_IP, peer.ip().octets()),
        SocketAddr::V6(peer) => {
            put(header, PEER_IP, peer.ip().octets());
            put(header, FLOWINFO, peer.flowinfo().to_ne_bytes());
            put(header, SCOPE_ID, peer.scope_id().to_ne_bytes());
        }
    }
    match local {
        IpAddr::V4(local) => put(header, WIDE_LOCAL_IP, local.octets()),
        IpAddr::V6(local) => put(header, WIDE_LOCAL_IP, local.octets()),
    }
    body
}

/// The transports by their code in a record.
const TRANSPORTS: [Transport; 1] = [Transport::Udp];

#[inline]
fn transport_code(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
    }
}

#[inline]
fn families(answer: &Answer<'_>) -> u8 {
    let peer = if answer.to.addr.is_ipv6() { PEER_IPV6 } else { 0 };
    let local = if answer.from.ip.is_ipv6() { LOCAL_IPV6 } else { 0 };
    peer | local
}

#[inline]
fn header_bytes(families: u8) -> usize {
    if families == 0 { NARROW_HEADER_BYTES } else { WIDE_HEADER_BYTES }
}

#[inline]
fn local_ip(families: u8) -> usize {
    if families == 0 { NARROW_LOCAL_IP } else { WIDE_LOCAL_IP }
}

#[inline]
fn units(bytes: usize) -> u64 {
    (bytes / UNIT_BYTES) as u64
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "at most the bytes of the log")]
fn span_bytes(units: u64) -> usize {
    units as usize * UNIT_BYTES
}

#[inline]
fn put<const N: usize>(record: &mut [u8], at: usize, value: [u8; N]) {
    record[at..at + N].copy_from_slice(&value);
}

#[inline]
fn take<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&record[at..at + N]);
    value
}
