//! What recognising a retransmission costs.

use super::{any_below, hash};
use perf::gate::{Gate, Rounds};
use shards::io::{Instant, ListenerId, LocalAddr, Peer};
use shards::transaction::completed::Answer;
use shards::transaction::{Completed, Fingerprint, Identity};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(crate) const GATES: &[Gate] = &[
    Gate { name: "completed: fingerprint of a request", bound: 80, goal: None, run: fingerprints },
    Gate { name: "completed: miss", bound: 64, goal: None, run: miss },
    Gate { name: "completed: retransmission found", bound: 300, goal: None, run: find },
    Gate { name: "completed: insert, 350 bytes", bound: 429, goal: None, run: insert },
];

const RESPONSE: [u8; 350] = [b'r'; 350];

/// Bytes that a record of [`RESPONSE`] and its share of the index take.
const RECORD_BYTES: usize = 392 + 392 / 15;

fn fingerprint(number: u32) -> Fingerprint {
    let mut branch = *b"z9hG4bK-524287-1---0123456789abcdef";
    branch[19..27].copy_from_slice(&hash(number).to_ne_bytes());
    Fingerprint::new(
        &[7; 16],
        hash(number ^ 0x55aa),
        &Identity::Branch {
            branch: &branch,
            sent_by_host: b"192.168.178.23",
            sent_by_port: Some(5060),
            method: b"REGISTER",
        },
    )
}

fn answer() -> Answer<'static> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Answer {
        response: &RESPONSE,
        to: Peer::udp(SocketAddr::new(local, 5062)),
        from: LocalAddr { listener: ListenerId(0), ip: local },
    }
}

/// A table that has been full for a while, and the fingerprints of what it was given.
fn full_table(size: u32) -> (Completed, Vec<Fingerprint>) {
    let mut table = Completed::new(size as usize * RECORD_BYTES);
    let fingerprints: Vec<_> = (0..2 * size).map(fingerprint).collect();
    for &fingerprint in &fingerprints {
        table.insert(Instant::START, fingerprint, &answer());
    }
    assert!(table.metrics().evicted > u64::from(size) / 2, "the table is full");
    (table, fingerprints)
}

fn fingerprints(size: u32, rounds: Rounds) {
    rounds.measure(|round| fingerprint(any_below(size, round)));
}

fn miss(size: u32, rounds: Rounds) {
    let (table, _) = full_table(size);
    let new: Vec<_> = (2 * size..3 * size).map(fingerprint).collect();
    let mut found = 0;
    rounds.measure(|round| {
        let fingerprint = new[any_below(size, round) as usize];
        found += u32::from(table.find(Instant::START, fingerprint).is_some());
    });
    assert_eq!(found, 0, "requests that were never answered");
}

fn find(size: u32, rounds: Rounds) {
    let (table, fingerprints) = full_table(size);
    let newest = &fingerprints[size as usize * 3 / 2..];
    let mut missed = 0;
    rounds.measure(|round| {
        let fingerprint = newest[any_below(size / 2, round) as usize];
        missed += u32::from(table.find(Instant::START, fingerprint).is_none());
    });
    assert!(missed < rounds.total() / 100, "{missed} had found their bucket full");
}

fn insert(size: u32, rounds: Rounds) {
    let (mut table, fingerprints) = full_table(size);
    let answer = answer();
    rounds.measure(|round| {
        let fingerprint = fingerprints[(round % (2 * size)) as usize];
        table.insert(Instant::START, fingerprint, &answer)
    });
}
