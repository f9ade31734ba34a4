//! One ring: from one core to another, what it is given in order. Each is a small record in one queue and its payload in
//! another, so that a payload of any size takes the room it needs, whole, and nothing is allocated.

use rtrb::{Consumer, Producer, RingBuffer};
use shards::io::{LocalAddr, Peer};

/// What a core gives another, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A datagram that lives there.
    Hop(Hop),
    /// Bytes that the shard there understands.
    Letter,
    /// The quoted bytes of an ICMP error about what was sent from there to this peer: the kernel tells any socket of a group.
    Unreachable(Peer),
}

/// Where a moved datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The packet's source.
    pub from: Peer,
    /// Where it arrived: the listener and the address from which the reply has to leave.
    pub to: LocalAddr,
    /// When the kernel received it: nanoseconds of wall-clock time since 1970. Its age counts from here, wherever it is.
    pub stamp_ns: Option<u64>,
}

/// The sender's end.
#[derive(Debug)]
pub struct Outgoing {
    records: Producer<(Record, usize)>,
    payloads: Producer<u8>,
}

/// The receiver's end.
#[derive(Debug)]
pub struct Incoming {
    records: Consumer<(Record, usize)>,
    payloads: Consumer<u8>,
    /// A payload that lies across the end of the queue is put together here.
    whole: Box<[u8]>,
}

/// The largest payload of a datagram; what the kernel reads never exceeds it.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// A ring with room for so many `records`, with payloads of `bytes` bytes in all but at least one of the largest.
pub(super) fn ring(records: usize, bytes: usize) -> (Outgoing, Incoming) {
    let (records_in, records_out) = RingBuffer::new(records);
    let (payloads_in, payloads_out) = RingBuffer::new(bytes.max(PAYLOAD_BYTES_MAX));
    let whole = vec![0; PAYLOAD_BYTES_MAX].into();
    (
        Outgoing { records: records_in, payloads: payloads_in },
        Incoming { records: records_out, payloads: payloads_out, whole },
    )
}

impl Outgoing {
    /// Puts a record and its payload into the ring, or nothing of them where there is no room.
    pub(super) fn push(&mut self, record: Record, payload: &[u8]) -> bool {
        if self.records.is_full() || self.payloads.push_entire_slice(payload).is_err() {
            return false;
        }
        // The receiver looks for the record first, so the payload is there before it.
        self.records.push((record, payload.len())).is_ok()
    }
}

impl Incoming {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Hands the next record and its payload to `read` and then frees their room; false where there is none.
    pub fn take(&mut self, read: impl FnOnce(Record, &[u8])) -> bool {
        let Ok((record, length)) = self.records.pop() else { return false };
        let Ok(chunk) = self.payloads.read_chunk(length) else {
            unreachable!("a payload is in the ring before its record")
        };
        let (first, second) = chunk.as_slices();
        if second.is_empty() {
            read(record, first);
        } else {
            let whole = &mut self.whole[..length];
            let (start, end) = whole.split_at_mut(first.len());
            start.copy_from_slice(first);
            end.copy_from_slice(second);
            read(record, whole);
        }
        chunk.commit_all();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::io::ListenerId;

    fn hop(number: u64) -> Record {
        let addr = "[2001:db8::7]:5060".parse().unwrap();
        Record::Hop(Hop {
            from: Peer::udp(addr),
            to: LocalAddr { listener: ListenerId(0), ip: addr.ip() },
            stamp_ns: Some(number),
        })
    }

    #[test]
    fn payloads_of_every_size_arrive_whole_across_the_end_of_the_queue() {
        let (mut outgoing, mut incoming) = ring(4, 0);
        for number in 0..2000_u64 {
            let length = usize::try_from(number * 7919 % 65_536).unwrap();
            let byte = u8::try_from(number % 251).unwrap();
            assert!(outgoing.push(hop(number), &vec![byte; length]));
            let mut taken = 0;
            assert!(incoming.take(|record, bytes| {
                assert_eq!(record, hop(number));
                assert!(bytes.iter().all(|b| *b == byte));
                taken = bytes.len();
            }));
            assert_eq!(taken, length);
        }
        assert!(!incoming.take(|_, _| {}));
    }

    #[test]
    fn a_datagram_that_does_not_fit_leaves_nothing_behind() {
        let (mut outgoing, mut incoming) = ring(8, 0);
        assert!(outgoing.push(hop(1), &[1; 40_000]));
        assert!(!outgoing.push(hop(2), &[2; 40_000]));
        assert!(outgoing.push(hop(3), &[3; 20_000]));
        assert!(incoming.take(|record, bytes| assert_eq!((record, bytes.len()), (hop(1), 40_000))));
        assert!(outgoing.push(hop(4), &[4; 40_000]));
        assert!(incoming.take(|record, bytes| assert_eq!((record, bytes.len()), (hop(3), 20_000))));
        assert!(incoming.take(|record, bytes| assert_eq!((record, bytes.len()), (hop(4), 40_000))));
        assert!(incoming.is_empty());
    }

    #[test]
    fn records_of_every_kind_stay_in_order() {
        let (mut outgoing, mut incoming) = ring(8, 0);
        let unreachable = Record::Unreachable(Peer::udp("192.0.2.7:5060".parse().unwrap()));
        let sent = [hop(1), Record::Letter, unreachable, hop(2), Record::Letter];
        for (number, record) in (0..).zip(sent) {
            assert!(outgoing.push(record, &[number]));
        }
        let mut taken = Vec::new();
        while incoming.take(|record, bytes| taken.push((record, bytes.to_vec()))) {}
        assert_eq!(taken, (0..).zip(sent).map(|(n, record)| (record, vec![n])).collect::<Vec<_>>());
    }

    #[test]
    fn letters_cost_moves_no_room() {
        assert_eq!(size_of::<Record>(), size_of::<Hop>());
    }
}
