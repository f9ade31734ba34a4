//! An authenticator by itself, as a registrar and as a proxy has it: what it asks, what it takes, and that each takes only what was
//! said to it. What a registrar does with the answers stands in the flows.

use super::*;
use crate::io::{Datagram, ListenerId, LocalAddr, Peer, Reason};
use crate::location::{Domains, Here};
use crate::transaction::ToTag;
use crate::wire::{self, Index, StartLine};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt::Write;
use core::time::Duration;
use md5::{Digest, Md5};

const WALL: UnixTime = UnixTime(1_800_000_000);

fn keys() -> Keys {
    Keys { nonce: *b"seals the nonces", names: *b"hides the names." }
}

fn authenticator(asker: Asker, core: u16, algorithms: &[Algorithm]) -> Authenticator {
    let mut builder = Builder::new(keys().names, algorithms, 2);
    for user in ["alice", "bob"] {
        // SHA verifiers are never right: nobody answers by them here.
        let verifier: [u8; 16] = Md5::digest(format!("{user}:sip.test:secret of {user}")).into();
        let verifiers = |algorithm: Algorithm| -> &[u8] {
            if algorithm == Algorithm::Md5 { &verifier } else { &[0; 32] }
        };
        let name = format!("{user}@sip.test");
        assert_eq!(builder.add(name.as_bytes(), verifiers, 0), Ok(()));
    }
    let realm = Realm {
        name: "sip.test".into(),
        algorithms: algorithms.to_vec(),
        nonce_lifetime_secs: 3600,
        nonces: 100,
        subscribers: Arc::new(builder.finish()),
    };
    Authenticator::new(asker, CoreId(core), realm, keys())
}

/// A request from Alice.
fn request(method: &str, headers: &str) -> String {
    format!(
        "{method} sip:bob@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@sip.test>;tag=1\r\nTo: <sip:bob@sip.test>\r\nCall-ID: call-1\r\nCSeq: 1 {method}\r\n{headers}\
         Content-Length: 0\r\n\r\n"
    )
}

/// What becomes of a request: nothing where it passes, else its response, if there is one, and why.
fn ask(one: &mut Authenticator, text: &str) -> Result<(), (Option<Cause>, Verdict, String)> {
    let mut index = Index::new(64);
    let _ = wire::peek(text.as_bytes(), &mut index);
    let message = Message::parse(text.as_bytes(), &mut index).unwrap();
    let StartLine::Request { uri, method } = message.start_line() else { unreachable!() };
    let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
    let domains = Domains::new(["sip.test"]);
    let here = Here { domains: &domains, listeners: &[], to };
    let mut aor = Aor::new();
    let from = Uri::parse(message.from().uri).unwrap();
    aor.set(b"finds the homes.", &from, &here).unwrap();
    let asked = Request { message: &message, method: method.name(), uri, aor: &aor, salt: 0xABCD };
    let Err(denied) = one.authenticate(Instant::START, WALL, &asked) else { return Ok(()) };
    one.check();
    let datagram = Datagram {
        from: Peer::udp("127.0.0.1:5080".parse().unwrap()),
        to,
        bytes: text.as_bytes(),
        age: Duration::ZERO,
    };
    let caller = Caller { datagram: &datagram, index: message.index(), tag: ToTag::new(7) };
    let mut out = Outbox::new(1, 0);
    let (cause, verdict) = match denied {
        Denied::Challenged(challenge) => {
            (Some(challenge.cause), one.challenge(&caller, &challenge, &mut out))
        }
        Denied::Refused(refusal) => {
            (None, crate::uas::refuse(&caller, Some(&message), refusal, &mut out))
        }
    };
    let sent = out.sends().first().map(|send| out.bytes(send).to_vec()).unwrap_or_default();
    Err((cause, verdict, String::from_utf8(sent).unwrap()))
}

fn hex(text: &str) -> String {
    let mut hex = String::new();
    for byte in Md5::digest(text) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The answer of a user who has a password, for a request with this method.
fn answer(header: &str, method: &str, user: &str, password: &str, nonce: &str, nc: u32) -> String {
    let secret = hex(&format!("{user}:sip.test:{password}"));
    let asked = hex(&format!("{method}:sip:bob@sip.test"));
    let response = hex(&format!("{secret}:{nonce}:{nc:08x}:c:auth:{asked}"));
    format!(
        "{header}: Digest username=\"{user}\", realm=\"sip.test\", nonce=\"{nonce}\", uri=\"sip:bob@sip.test\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"c\", qop=auth, nc={nc:08x}\r\n"
    )
}

fn nonce(response: &str) -> &str {
    let at = response.find("nonce=\"").unwrap() + 7;
    &response[at..at + 24]
}

/// The nonce of a challenge to a request without credentials.
fn challenged(one: &mut Authenticator, method: &str) -> String {
    let (cause, _, response) = ask(one, &request(method, "")).unwrap_err();
    assert_eq!(cause, Some(Cause::Absent));
    nonce(&response).to_string()
}

#[test]
fn counts_have_eight_digits() {
    assert_eq!(count(b"00000001"), Some(1));
    assert_eq!(count(b"fffffFFF"), Some(u32::MAX));
    for bad in [&b""[..], b"1", b"0000001", b"000000001", b"0000000g", b"+0000001", b" 0000001"] {
        assert_eq!(count(bad), None);
    }
}

#[test]
fn rfc_3261_22_3_a_proxy_asks_with_a_407_and_proxy_authenticate() {
    let mut proxy = authenticator(Asker::Proxy, 0, &[Algorithm::Sha256, Algorithm::Md5]);
    let text = request("INVITE", "User-Agent: long enough for two challenges\r\n");
    let (cause, verdict, response) = ask(&mut proxy, &text).unwrap_err();
    assert_eq!((cause, verdict), (Some(Cause::Absent), Verdict::Refused(407)));
    assert!(response.starts_with("SIP/2.0 407 Proxy Authentication Required\r\n"), "{response}");
    let nonce = nonce(&response);
    for name in ["SHA-256", "MD5"] {
        let line = format!(
            "\r\nProxy-Authenticate: Digest realm=\"sip.test\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"\r\n"
        );
        assert!(response.contains(&line), "{response}");
    }
    assert!(!response.contains("WWW-Authenticate"), "{response}");
}

#[test]
fn rfc_3261_22_3_each_takes_what_was_said_to_it_and_nothing_else() {
    for (asker, own, other) in [
        (Asker::Proxy, "Proxy-Authorization", "Authorization"),
        (Asker::Registrar, "Authorization", "Proxy-Authorization"),
    ] {
        let mut one = authenticator(asker, 0, &[Algorithm::Md5]);
        let nonce = challenged(&mut one, "INVITE");
        let answer = |header, nc| answer(header, "INVITE", "alice", "secret of alice", &nonce, nc);
        let denied = ask(&mut one, &request("INVITE", &answer(other, 1))).unwrap_err();
        assert_eq!(denied.0, Some(Cause::Absent), "{asker:?}");
        // What was said to somebody else used nothing up, and may stand beside.
        let both = [answer(other, 1), answer(own, 1)].concat();
        assert_eq!(ask(&mut one, &request("INVITE", &both)), Ok(()), "{asker:?}");
        assert_eq!(ask(&mut one, &request("INVITE", &answer(own, 2))), Ok(()), "{asker:?}");
    }
}

#[test]
fn rfc_7616_3_4_a_count_passes_a_proxy_once() {
    let mut proxy = authenticator(Asker::Proxy, 3, &[Algorithm::Md5]);
    let nonce = challenged(&mut proxy, "INVITE");
    let header = "Proxy-Authorization";
    let right = answer(header, "INVITE", "alice", "secret of alice", &nonce, 1);
    assert_eq!(ask(&mut proxy, &request("INVITE", &right)), Ok(()));
    let (cause, verdict, response) = ask(&mut proxy, &request("INVITE", &right)).unwrap_err();
    assert_eq!((cause, verdict), (Some(Cause::Replayed), Verdict::Refused(407)));
    assert!(response.contains("qop=\"auth\", stale=true\r\n"), "{response}");
    // A response is about its method: heard in an INVITE it opens nothing for a MESSAGE.
    let unused = answer(header, "INVITE", "alice", "secret of alice", &nonce, 2);
    let denied = ask(&mut proxy, &request("MESSAGE", &unused)).unwrap_err();
    assert_eq!(denied.0, Some(Cause::BadResponse));
    assert_eq!(ask(&mut proxy, &request("INVITE", &unused)), Ok(()));
}

#[test]
fn what_a_proxy_asks_about_it_remembers_where_it_was_asked() {
    // All requests of an address-of-record meet at its registrar; those of a call, at the core of its Call-ID.
    for (asker, header, is_taken) in
        [(Asker::Proxy, "Proxy-Authorization", false), (Asker::Registrar, "Authorization", true)]
    {
        let mut one = authenticator(asker, 0, &[Algorithm::Md5]);
        let mut other = authenticator(asker, 1, &[Algorithm::Md5]);
        // Both began in the same moment.
        challenged(&mut other, "INVITE");
        let nonce = challenged(&mut one, "INVITE");
        let right = answer(header, "INVITE", "alice", "secret of alice", &nonce, 1);
        let there = ask(&mut other, &request("INVITE", &right));
        assert_eq!(there.is_ok(), is_taken, "{asker:?}");
        if let Err((cause, _, response)) = there {
            assert_eq!(cause, Some(Cause::Stale));
            assert!(response.contains(", stale=true\r\n"), "{response}");
            assert_eq!(ask(&mut one, &request("INVITE", &right)), Ok(()));
        }
    }
}

#[test]
fn nobody_learns_from_a_407_who_there_is_and_nobody_calls_as_another() {
    let mut proxy = authenticator(Asker::Proxy, 0, &[Algorithm::Md5]);
    let nonce = challenged(&mut proxy, "INVITE");
    let mut denied = |user: &str, password: &str, nc| {
        let answer = answer("Proxy-Authorization", "INVITE", user, password, &nonce, nc);
        ask(&mut proxy, &request("INVITE", &answer)).unwrap_err()
    };
    let (known, _, bad_password) = denied("alice", "guessed", 1);
    let (unknown, _, no_such_user) = denied("carol", "guessed", 1);
    assert_eq!((known, unknown), (Some(Cause::BadResponse), Some(Cause::UnknownUser)));
    assert_eq!(bad_password, no_such_user);
    assert!(!bad_password.contains("stale"), "{bad_password}");
    // Bob's password is right, and the call is Alice's.
    let (cause, verdict, _) = denied("bob", "secret of bob", 1);
    assert_eq!((cause, verdict), (None, Verdict::Refused(403)));
}

#[test]
fn rfc_8760_2_3_a_short_request_is_offered_the_strongest_that_there_is_room_for() {
    let offer = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];
    let mut offered = vec![];
    for asker in [Asker::Registrar, Asker::Proxy] {
        let mut one = authenticator(asker, 0, &offer);
        let long = request("INVITE", &format!("User-Agent: {}\r\n", "x".repeat(400)));
        // The shortest that says who it is from, and each that is a few bytes longer.
        let least = "INVITE sip:bob@sip.test SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bKa\r\nf:<sip:alice@sip.test>;tag=1\r\n\
                     t:<sip:bob@sip.test>\r\ni:c\r\nCSeq:1 INVITE\r\n";
        let texts = (0..400).map(|more| format!("{least}s:{}\r\n\r\n", "x".repeat(more)));
        for text in texts.chain([long]) {
            let (cause, verdict, response) = ask(&mut one, &text).unwrap_err();
            assert_eq!(cause, Some(Cause::Absent));
            assert!(response.len() <= 2 * text.len(), "{response}");
            let names: Vec<&str> = response
                .split("algorithm=")
                .skip(1)
                .map(|rest| rest.split(',').next().unwrap())
                .collect();
            assert_eq!(names, offer.map(Algorithm::name)[..names.len()], "{response}");
            let is_dropped = verdict == Verdict::Dropped(Reason::Amplifies);
            assert_eq!(names.is_empty(), is_dropped, "{response}");
            // Not one of them more would have fitted.
            let line = response.lines().find(|line| line.contains("algorithm=SHA-512-256"));
            if let (Some(line), true) = (line, names.len() < offer.len()) {
                assert!(response.len() + line.len() + 2 + 4 > 2 * text.len(), "{response}");
            }
            offered.push(names.len());
        }
    }
    for count in 0..=offer.len() {
        assert!(offered.contains(&count), "no request was offered {count}");
    }
}
