//! Answers to a challenge are read the same however they are written, and nobody is let in who has no password.

use super::{HEADER_LINES_MAX, is_inside};
use shards::auth::{Algorithm, Builder, Realm};
use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Peer, UnixTime, Verdict,
};
use shards::location::Domains;
use shards::registrar::Policy;
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use shards::wire::{Credentials, HeaderId, Index, Message, peek, unescape};
use std::sync::Arc;
use std::time::Duration;

const REALM: &str = "sip.test";

/// The bytes are the value of an Authorization header, and what stands behind it.
pub fn credentials(bytes: &[u8]) {
    let message = message(bytes);
    never_let_in(&message);
    let mut index = Index::new(HEADER_LINES_MAX);
    let Some(read) = read(&message, &mut index) else { return };
    for part in parts(&read).into_iter().filter_map(|(_, value)| value) {
        assert!(is_inside(&message, part));
    }
    let mut buffer = [0; 64];
    assert_eq!(unescape(read.realm, &mut buffer), Some(REALM.as_bytes()));

    // The other way round, all of it quoted, with white space wherever there may be some.
    let written: Vec<Vec<u8>> = parts(&read)
        .into_iter()
        .rev()
        .filter_map(|(name, value)| Some([name, b" =\t\"", value?, b"\""].concat()))
        .collect();
    let again =
        self::message(&[b"Digest\r\n ", written.join(&b" ,\r\n\t"[..]).as_slice()].concat());
    let mut index = Index::new(HEADER_LINES_MAX);
    assert_eq!(self::read(&again, &mut index), Some(read), "{}", again.escape_ascii());
}

fn message(authorization: &[u8]) -> Vec<u8> {
    let head = "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKa;rport\r\n\
        Max-Forwards: 70\r\nFrom: <sip:alice@sip.test>;tag=1\r\nTo: <sip:alice@sip.test>\r\n\
        Call-ID: call-1\r\nCSeq: 1 REGISTER\r\nContact: <sip:alice@127.0.0.1:5080>\r\nAuthorization: ";
    [head.as_bytes(), authorization, b"\r\nContent-Length: 0\r\n\r\n"].concat()
}

fn read<'m>(bytes: &'m [u8], index: &'m mut Index) -> Option<Credentials<'m>> {
    let _ = peek(bytes, index);
    let message = Message::parse(bytes, index).ok()?;
    message.credentials(HeaderId::Authorization, REALM.as_bytes()).ok()?
}

fn parts<'m>(read: &Credentials<'m>) -> [(&'static [u8], Option<&'m [u8]>); 9] {
    [
        (b"username", Some(read.username)),
        (b"realm", Some(read.realm)),
        (b"nonce", Some(read.nonce)),
        (b"uri", Some(read.uri)),
        (b"response", Some(read.response)),
        (b"algorithm", read.algorithm),
        (b"qop", read.qop),
        (b"nc", read.nc),
        (b"cnonce", read.cnonce),
    ]
}

/// Nobody can make a nonce or knows the password, so there is no 200 and no binding.
fn never_let_in(message: &[u8]) {
    let mut builder = Builder::new([3; 16], &[Algorithm::Md5, Algorithm::Sha256], 8);
    let verifier = |algorithm: Algorithm| -> &[u8] {
        if algorithm == Algorithm::Md5 { &[0x5A; 16] } else { &[0xA5; 32] }
    };
    builder.add(b"alice@sip.test", verifier, 1).unwrap();
    let mut shard = Shard::new(Settings {
        core: CoreId(0),
        homes: Homes::all(1),
        keys: Keys::derive(&[9; 32]),
        domains: Arc::new(Domains::new(["sip.test"])),
        listeners: Arc::new(["127.0.0.1:5060".parse().unwrap()]),
        policy: Policy::default(),
        proxy: shards::proxy::Policy::default(),
        realm: Some(Realm {
            name: REALM.into(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_lifetime_secs: 3600,
            nonces: 8,
            subscribers: Arc::new(builder.finish()),
        }),
        limits: Limits {
            message_bytes: 65_507,
            header_lines: HEADER_LINES_MAX,
            contacts: 4,
            bindings: 4,
            arena_bytes: 64 * 1024,
            completed_bytes: 16 * 1024,
            transactions: 1000,
            branches: 2000,
            transaction_bytes: 4 << 20,
        },
    });
    let mut out = Outbox::new(1, 0);
    let from = Peer::udp("127.0.0.1:5080".parse().unwrap());
    let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
    let datagram = Datagram { from, to, bytes: message, age: Duration::ZERO };
    let (now, wall) = (Instant::START, UnixTime(1_800_000_000));
    let outcome = shard.handle(now, wall, Input::Datagram(datagram), &mut out);
    assert!(
        matches!(outcome.verdict, Verdict::Refused(400..) | Verdict::Dropped(_)),
        "{outcome:?}"
    );
    assert_eq!(shard.gauges().bindings, 0);
    shard.check();
}
