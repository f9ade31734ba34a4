//! The 49 messages of RFC 4475 before a whole shard: what is answered, refused or dropped, and that nothing else happens.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Peer, Reason, UnixTime,
    Verdict,
};
use shards::location::Domains;
use shards::registrar::Policy;
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// File, section, and what becomes of it at a registrar for `example.com` that serves REGISTER and OPTIONS.
const TABLE: [(&str, &str, Verdict); 49] = [
    ("wsinv", "3.1.1.1", Verdict::Refused(405)),
    ("intmeth", "3.1.1.2", Verdict::Refused(501)),
    ("esc01", "3.1.1.3", Verdict::Refused(405)),
    ("escnull", "3.1.1.4", Verdict::Replied),
    ("esc02", "3.1.1.5", Verdict::Refused(501)),
    ("lwsdisp", "3.1.1.6", Verdict::Refused(404)),
    ("longreq", "3.1.1.7", Verdict::Refused(405)),
    ("dblreq", "3.1.1.8", Verdict::Replied),
    ("semiuri", "3.1.1.9", Verdict::Refused(404)),
    ("transports", "3.1.1.10", Verdict::Refused(404)),
    ("mpart01", "3.1.1.11", Verdict::Refused(405)),
    ("unreason", "3.1.1.12", Verdict::Dropped(Reason::NoTransaction)),
    ("noreason", "3.1.1.13", Verdict::Dropped(Reason::NoTransaction)),
    ("badinv01", "3.1.2.1", Verdict::Refused(400)),
    ("clerr", "3.1.2.2", Verdict::Refused(400)),
    ("ncl", "3.1.2.3", Verdict::Refused(400)),
    ("scalar02", "3.1.2.4", Verdict::Refused(400)),
    ("scalarlg", "3.1.2.5", Verdict::Dropped(Reason::BadResponse)),
    ("quotbal", "3.1.2.6", Verdict::Refused(400)),
    ("ltgtruri", "3.1.2.7", Verdict::Refused(400)),
    ("lwsruri", "3.1.2.8", Verdict::Refused(400)),
    ("lwsstart", "3.1.2.9", Verdict::Refused(400)),
    ("trws", "3.1.2.10", Verdict::Refused(400)),
    ("escruri", "3.1.2.11", Verdict::Refused(405)),
    ("baddate", "3.1.2.12", Verdict::Refused(405)),
    ("regbadct", "3.1.2.13", Verdict::Refused(400)),
    ("badaspec", "3.1.2.14", Verdict::Refused(400)),
    ("baddn", "3.1.2.15", Verdict::Refused(400)),
    ("badvers", "3.1.2.16", Verdict::Refused(505)),
    ("mismatch01", "3.1.2.17", Verdict::Refused(400)),
    ("mismatch02", "3.1.2.18", Verdict::Refused(501)),
    ("bigcode", "3.1.2.19", Verdict::Dropped(Reason::BadResponse)),
    ("badbranch", "3.2.1", Verdict::Refused(404)),
    ("insuf", "3.3.1", Verdict::Refused(400)),
    ("unkscm", "3.3.2", Verdict::Refused(416)),
    ("novelsc", "3.3.3", Verdict::Refused(416)),
    ("unksm2", "3.3.4", Verdict::Refused(400)),
    // Its Require comes with a Proxy-Require, which is looked at first where a request does not end here.
    ("bext01", "3.3.5", Verdict::Refused(420)),
    ("invut", "3.3.6", Verdict::Refused(405)),
    ("regaut01", "3.3.7", Verdict::Replied),
    ("multi01", "3.3.8", Verdict::Refused(400)),
    ("mcl01", "3.3.9", Verdict::Refused(400)),
    ("bcast", "3.3.10", Verdict::Dropped(Reason::NoTransaction)),
    ("zeromf", "3.3.11", Verdict::Refused(483)),
    ("cparam01", "3.3.12", Verdict::Replied),
    ("cparam02", "3.3.13", Verdict::Replied),
    ("regescrt", "3.3.14", Verdict::Replied),
    ("sdp01", "3.3.15", Verdict::Refused(405)),
    ("inv2543", "3.4.1", Verdict::Refused(405)),
];

#[test]
fn a_shard_settles_every_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture/rfc4475");
    let mut wrong = Vec::new();
    let (mut shard, mut out) = (shard(), Outbox::new(1, 0));
    for (name, section, expected) in TABLE {
        let bytes = fs::read(folder.join(name).with_extension("dat")).unwrap();
        let verdict = handle(&mut shard, &mut out, &bytes);
        if verdict != expected {
            let answer = out.sends().first().map(|send| out.bytes(send).escape_ascii().to_string());
            wrong.push(format!("{name} ({section}): {verdict:?}, not {expected:?}\n{answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let files: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect());
}

/// Each message cut off after every byte, and with every byte replaced by four of those that matter to a parser, others in
/// each place.
#[test]
fn a_shard_survives_every_mutilation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture/rfc4475");
    let (mut shard, mut out) = (shard(), Outbox::new(1, 0));
    for (name, ..) in TABLE {
        let bytes = fs::read(folder.join(name).with_extension("dat")).unwrap();
        for end in 0..bytes.len() {
            handle(&mut shard, &mut out, &bytes[..end]);
        }
        for place in 0..bytes.len() {
            let mut broken = bytes.clone();
            for number in 0..4 {
                broken[place] = MATTER[(place + 3 * number) % MATTER.len()];
                handle(&mut shard, &mut out, &broken);
            }
        }
    }
    shard.check();
}

/// Thirteen, a prime number: each of them comes to each kind of place.
const MATTER: &[u8; 13] = b"\0\r\n\" :;,<>@%\xff";

/// What becomes of a datagram. A verdict that promises an answer must come with one, and no other may.
fn handle(shard: &mut Shard, out: &mut Outbox, bytes: &[u8]) -> Verdict {
    out.clear();
    let from = Peer::udp("192.0.2.7:5060".parse().unwrap());
    let to = LocalAddr { listener: ListenerId(0), ip: "192.0.2.1".parse().unwrap() };
    let datagram = Datagram { from, to, bytes, age: Duration::ZERO };
    let input = Input::Datagram(datagram);
    let now = Instant::START.plus_secs(1);
    let outcome = shard.handle(now, UnixTime(1_795_420_800), input, out);
    let answers = match outcome.verdict {
        Verdict::Replied | Verdict::Refused(_) => 1,
        Verdict::Hopped(_) | Verdict::Absorbed | Verdict::Dropped(_) => 0,
    };
    assert_eq!(out.sends().len(), answers, "{:?} to {}", outcome, bytes.escape_ascii());
    for send in out.sends() {
        // RFC 3261 18.2.2: to the source, whatever the message says.
        assert_eq!(send.to.addr.ip(), from.addr.ip());
    }
    outcome.verdict
}

fn shard() -> Shard {
    Shard::new(Settings {
        core: CoreId(0),
        homes: Homes::all(1),
        keys: Keys::derive(&[7; 32]),
        domains: Arc::new(Domains::new(["example.com"])),
        listeners: Arc::new(["192.0.2.1:5060".parse().unwrap()]),
        policy: Policy::default(),
        limits: Limits {
            message_bytes: 65_507,
            header_lines: 128,
            contacts: 16,
            bindings: 100_000,
            arena_bytes: 64 << 20,
            completed_bytes: 1 << 20,
        },
    })
}
