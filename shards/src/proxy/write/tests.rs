//! What is written, byte for byte, and for messages made at random.

use super::*;
use crate::io::{CoreId, Outbox};
use crate::proxy::branch::Token;
use crate::store::Handle;
use crate::wire::Response;
use crate::wire::tests::roundtrip::{Meaning, hurt, meaning, text_of};
use crate::wire::tests::with;
use crate::wire::{Index, peek};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str;
use proptest::prelude::*;

const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.9:5060";
const SOURCE: &str = "192.0.2.1:5062";

fn branch() -> BranchText {
    let handle = Handle { index: 2, generation: 3 };
    BranchText::new(&[7; 16], Token { core: CoreId(1), handle }, 4).0
}

fn our_via() -> String {
    let value = VIA.strip_prefix("Via: ").unwrap();
    format!("{value};branch={}", str::from_utf8(branch().as_bytes()).unwrap())
}

/// A request passed on with nothing but what must be.
fn plain(branch: &BranchText) -> Passing<'_> {
    Passing {
        uri: None,
        via: VIA.as_bytes(),
        branch,
        record_routes: [b"", b""],
        routes_removed: 0,
        is_only_route_removed: false,
        route_removed_last: false,
        routes_before: b"",
        route_after: b"",
        max_forwards: 69,
        max_breadth: None,
        source: SOURCE.parse().unwrap(),
        is_identity_removed: false,
    }
}

/// What `write` puts, or nothing where it says false.
fn put(write: impl FnOnce(&mut Reply<'_>) -> bool) -> Option<Vec<u8>> {
    let mut outbox = Outbox::new(1, 0);
    let mut reply = outbox.reply();
    write(&mut reply).then(|| reply.written().to_vec())
}

/// A message given as lines, passed on; `OUR-VIA` stands for our Via.
fn passed(lines: &[&str], change: impl for<'a> FnOnce(&mut Passing<'a>)) -> Option<String> {
    let text = lines.join("\r\n");
    let branch = branch();
    let mut passing = plain(&branch);
    change(&mut passing);
    let mut edits = Edits::new();
    // What an earlier message left behind must not show.
    edits.insert(0, &[b"before"]);
    with(text.as_bytes(), |message| {
        put(|reply| request(message, &passing, &mut edits, reply))
            .map(|bytes| String::from_utf8(bytes).unwrap().replace(&our_via(), "OUR-VIA"))
    })
}

#[track_caller]
fn assert_passed(before: &[&str], change: impl for<'a> FnOnce(&mut Passing<'a>), after: &[&str]) {
    assert_eq!(passed(before, change).unwrap(), after.join("\r\n"));
}

#[test]
fn a_usual_invite() {
    assert_passed(
        &[
            "INVITE sip:bob@sip.test SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa;rport",
            "Max-Forwards: 70",
            "From: <sip:alice@sip.test>;tag=a",
            "To: <sip:bob@sip.test>",
            "Call-ID: c",
            "CSeq: 1 INVITE",
            "Contact: <sip:alice@192.0.2.1:5062>",
            "Content-Type: application/sdp",
            "Content-Length: 5",
            "",
            "v=0\r\nsurplus",
        ],
        |passing| {
            passing.uri = Some(b"sip:bob@192.0.2.2:5063;ob");
            passing.record_routes = [b"<sip:192.0.2.9:5060;lr;c=x>", b""];
        },
        &[
            "INVITE sip:bob@192.0.2.2:5063;ob SIP/2.0",
            "Via: OUR-VIA",
            "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa;received=192.0.2.1;rport=5062",
            "Record-Route: <sip:192.0.2.9:5060;lr;c=x>",
            "Max-Forwards: 69",
            "From: <sip:alice@sip.test>;tag=a",
            "To: <sip:bob@sip.test>",
            "Call-ID: c",
            "CSeq: 1 INVITE",
            "Contact: <sip:alice@192.0.2.1:5062>",
            "Content-Type: application/sdp",
            "Content-Length: 5",
            "",
            "v=0\r\n",
        ],
    );
}

#[test]
fn any_order_of_headers_compact_names_and_folds() {
    assert_passed(
        &[
            "MESSAGE sip:bob@sip.test SIP/2.0",
            "max-forwards : \t7 ",
            "ROUTE: <sip:192.0.2.9;lr>",
            "f: <sip:alice@sip.test>;tag=a",
            "Record-Route: <sip:x;lr>",
            "X-y:  z ",
            "v : SIP / 2.0/UDP\r\n phone.test ;received=198.51.100.1;branch=z9hG4bKa , \r\n\tSIP/2.0/UDP b",
            "t: <sip:bob@sip.test>",
            "Via: SIP/2.0/UDP c",
            "i: c",
            "CSeq: 1 MESSAGE",
            "record-route: <sip:y;lr>",
            "Max-Breadth:  60",
            "",
            "no length",
        ],
        |passing| {
            passing.record_routes = [b"<sip:up;lr>", b"<sip:low;lr>"];
            passing.routes_removed = 1;
            passing.routes_before = b"<sip:edge;lr>,<sip:p;lr>";
            passing.max_forwards = 6;
            passing.max_breadth = Some(30);
        },
        &[
            "MESSAGE sip:bob@sip.test SIP/2.0",
            "max-forwards : \t6 ",
            "Route: <sip:edge;lr>,<sip:p;lr>",
            "f: <sip:alice@sip.test>;tag=a",
            "Record-Route: <sip:up;lr>",
            "Record-Route: <sip:low;lr>",
            "Record-Route: <sip:x;lr>",
            "X-y:  z ",
            "Via: OUR-VIA",
            "v : SIP / 2.0/UDP\r\n phone.test;branch=z9hG4bKa;received=192.0.2.1 , \r\n\tSIP/2.0/UDP b",
            "t: <sip:bob@sip.test>",
            "Via: SIP/2.0/UDP c",
            "i: c",
            "CSeq: 1 MESSAGE",
            "record-route: <sip:y;lr>",
            "Max-Breadth:  30",
            "",
            "no length",
        ],
    );
}

/// A request with nothing but what must be, and these lines behind its Via.
fn bare<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut all = Vec::from(["ACK sip:b SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1"]);
    all.extend_from_slice(lines);
    all.extend_from_slice(&[
        "From: <sip:a@a>",
        "To: <sip:b@b>",
        "Call-ID: c",
        "CSeq: 1 ACK",
        "",
        "",
    ]);
    all
}

/// What becomes of the lines behind the Via in such a request.
#[track_caller]
fn assert_lines(before: &[&str], change: impl for<'a> FnOnce(&mut Passing<'a>), after: &[&str]) {
    let mut expected = bare(after);
    expected.insert(1, "Via: OUR-VIA");
    assert_passed(&bare(before), change, &expected);
}

#[test]
fn what_is_missing_goes_behind_the_vias() {
    assert_lines(&[], |_| {}, &["Max-Forwards: 69"]);
    assert_lines(
        &["X: y"],
        |passing| {
            passing.record_routes = [b"<sip:up;lr>", b"<sip:low;lr>"];
            passing.routes_before = b"<sip:p;lr>";
            passing.route_after = b"<sip:s>";
            passing.max_forwards = 255;
            passing.max_breadth = Some(60);
        },
        &[
            "Record-Route: <sip:up;lr>",
            "Record-Route: <sip:low;lr>",
            "Route: <sip:p;lr>",
            "Route: <sip:s>",
            "Max-Forwards: 255",
            "Max-Breadth: 60",
            "X: y",
        ],
    );
}

#[test]
fn routes_go_wherever_they_stand() {
    const ON_ONE: &str = "Route: <sip:1;lr> ,\"b, c\" <sip:2;lr>;x=\"<,>\",\r\n <sip:3>";
    let one = |removed, last, after: &[&str]| {
        let expected: Vec<_> = after.iter().copied().chain(["Max-Forwards: 9"]).collect();
        assert_lines(
            &[ON_ONE, "Max-Forwards: 7"],
            |passing| {
                passing.routes_removed = removed;
                passing.route_removed_last = last;
                passing.max_forwards = 9;
            },
            &expected,
        );
    };
    one(0, false, &[ON_ONE]);
    one(1, false, &["Route: \"b, c\" <sip:2;lr>;x=\"<,>\",\r\n <sip:3>"]);
    one(2, false, &["Route: <sip:3>"]);
    one(3, false, &[]);
    one(0, true, &["Route: <sip:1;lr> ,\"b, c\" <sip:2;lr>;x=\"<,>\""]);
    one(1, true, &["Route: \"b, c\" <sip:2;lr>;x=\"<,>\""]);
    one(2, true, &[]);
    one(3, true, &[]);

    let lines = ["Route: <sip:1>,<sip:2>", "X: y", "route:<sip:3>", "Route: <sip:4> , <sip:5>\t"];
    let several = |removed, last, after: &[&str]| {
        let before: Vec<_> = lines.into_iter().chain(["Max-Forwards: 7"]).collect();
        let expected: Vec<_> = after.iter().copied().chain(["Max-Forwards: 69"]).collect();
        let change = |passing: &mut Passing<'_>| {
            passing.routes_removed = removed;
            passing.route_removed_last = last;
        };
        assert_lines(&before, change, &expected);
    };
    several(1, false, &["Route: <sip:2>", lines[1], lines[2], lines[3]]);
    several(2, false, &[lines[1], lines[2], lines[3]]);
    several(3, false, &[lines[1], lines[3]]);
    several(4, false, &[lines[1], "Route: <sip:5>\t"]);
    several(5, false, &[lines[1]]);
    several(0, true, &[lines[0], lines[1], lines[2], "Route: <sip:4>\t"]);
    several(3, true, &[lines[1], "Route: <sip:4>\t"]);
    several(4, true, &[lines[1]]);
    several(5, true, &[lines[1]]);
}

#[test]
fn strict_routers_get_what_they_expect() {
    assert_lines(
        &["Route: <sip:us;lr>,<sip:strict>", "Route: <sip:bob@b>", "Max-Forwards: 7"],
        |passing| {
            passing.routes_removed = 2;
            passing.routes_before = b"<sip:q;lr>";
            passing.route_after = b"<sip:bob@target>";
        },
        &["Route: <sip:q;lr>", "Route: <sip:bob@b>", "Route: <sip:bob@target>", "Max-Forwards: 69"],
    );
}

#[test]
fn what_is_not_there_cannot_go() {
    let lacks = |lines: &[&str], removed, last| {
        let written = passed(&bare(lines), |passing| {
            passing.routes_removed = removed;
            passing.route_removed_last = last;
        });
        assert_eq!(written, None);
    };
    lacks(&[], 1, false);
    lacks(&[], 0, true);
    lacks(&["Route: <sip:1>"], 2, false);
    lacks(&["Route: <sip:1>, x"], 2, false);
    lacks(&["Route: <sip:1>, x"], 0, true);
    lacks(&["Route: <sip:1>", "Route: "], 2, false);
    // The grammar is kept by what stays as little as before.
    assert!(passed(&bare(&["Route: <sip:1>, x"]), |_| {}).is_some());
    // Out of order, so that scratch is needed, and more of it than there is.
    let long = format!("<sip:{}>", "x".repeat(9000));
    let branch = branch();
    let text = bare(&["Max-Breadth: 9", "Max-Forwards: 7"]).join("\r\n");
    with(text.as_bytes(), |message| {
        let mut passing = Passing { routes_before: long.as_bytes(), ..plain(&branch) };
        let mut edits = Edits::new();
        assert!(put(|reply| request(message, &passing, &mut edits, reply)).is_some());
        passing.max_breadth = Some(1);
        assert_eq!(put(|reply| request(message, &passing, &mut edits, reply)), None);
        passing.routes_before = b"<sip:p>";
        assert!(put(|reply| request(message, &passing, &mut edits, reply)).is_some());
    });
}

#[test]
fn a_second_max_breadth_goes() {
    assert_lines(
        &["MAX-BREADTH: 5", "Max-Forwards: 7", "Max-Breadth: 500"],
        |passing| passing.max_breadth = Some(4),
        &["MAX-BREADTH: 4", "Max-Forwards: 69"],
    );
}

/// A response with these Via lines.
fn answer(vias: &[&str]) -> String {
    let rest = "From: <sip:a@a>;tag=a\r\nt: <sip:b@b>;tag=b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nl: 2\r\n\r\nabc";
    format!("SIP/2.0 503 Busy now\r\n{}\r\n{rest}", vias.join("\r\n"))
}

#[test]
fn a_response_loses_its_topmost_via() {
    let (ours, other) = ("SIP/2.0/UDP us;branch=z9hG4bKx", "SIP/2.0/UDP a;x=\",\"");
    for (before, after) in [
        (&[format!("Via: {ours}"), format!("Via: {other}")][..], &[format!("Via: {other}")][..]),
        (&[format!("v:{ours},{other}")], &[format!("v:{other}")]),
        (&[format!("Via: {ours}\t,\r\n {other}, {other}")], &[format!("Via: {other}, {other}")]),
        (
            &[
                "X: y".to_string(),
                format!("Via: {ours} \r\n "),
                "Y: z".to_string(),
                format!("Via: {other}"),
            ],
            &["X: y".to_string(), "Y: z".to_string(), format!("Via: {other}")],
        ),
        (&[format!("Via: {ours},"), format!("Via: {other}")], &[format!("Via: {other}")]),
    ] {
        let lines = |all: &[String]| answer(&all.iter().map(String::as_str).collect::<Vec<_>>());
        // Two bytes of body and no more.
        let expected = lines(after).strip_suffix('c').unwrap().to_string();
        with(lines(before).as_bytes(), |message| {
            let written = put(|reply| response(message, reply)).unwrap();
            assert_eq!(str::from_utf8(&written).unwrap(), expected);
            let written =
                put(|reply| response_as(message, 500, "Server Internal Error", reply)).unwrap();
            let expected = expected.replace("503 Busy now", "500 Server Internal Error");
            assert_eq!(str::from_utf8(&written).unwrap(), expected);
        });
    }
    // RFC 3261 16.7 step 3: what no other Via is left in is not passed on.
    with(answer(&["X: y", &format!("Via: {ours}")]).as_bytes(), |message| {
        assert!(!has_other_via(message));
    });
}

const SENT: &str = "INVITE sip:bob@192.0.2.2 SIP/2.0\r\n\
    Via: SIP/2.0/UDP us;branch=z9hG4bKx, SIP/2.0/UDP phone\r\n\
    Max-Forwards: 12\r\n\
    Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n\
    Via: SIP/2.0/UDP below\r\n\
    f: \"Alice\"\r\n <sip:alice@a>;tag=a\r\n\
    To: <sip:bob@b>\r\n\
    route: <sip:p3;lr>\r\n\
    i:c\r\n\
    Proxy-Authorization: Digest x=y\r\n\
    CSeq: 007  INVITE\r\n\
    Content-Length: 3\r\n\r\nv=0";

const KEPT: &str = "Via: SIP/2.0/UDP us;branch=z9hG4bKx\r\n\
    Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n\
    route: <sip:p3;lr>\r\n\
    f: \"Alice\"\r\n <sip:alice@a>;tag=a\r\n";

#[test]
fn cancel_ack_and_what_they_are_written_from() {
    let skeleton_of = |text: &[u8]| with(text, |sent| put(|reply| skeleton(sent, reply)).unwrap());
    let kept = skeleton_of(SENT.as_bytes());
    assert_eq!(
        str::from_utf8(&kept).unwrap(),
        format!(
            "INVITE sip:bob@192.0.2.2 SIP/2.0\r\n{KEPT}To: <sip:bob@b>\r\ni:c\r\nCSeq: 007  INVITE\r\n\r\n"
        )
    );
    assert_eq!(skeleton_of(&kept), kept);
    let answer = answer(&["Via: SIP/2.0/UDP us"]);
    for sent in [SENT.as_bytes(), &kept] {
        with(sent, |sent| {
            let written = put(|reply| cancel(sent, reply)).unwrap();
            assert_eq!(
                str::from_utf8(&written).unwrap(),
                format!(
                    "CANCEL sip:bob@192.0.2.2 SIP/2.0\r\n{KEPT}To: <sip:bob@b>\r\ni:c\r\n\
                     Max-Forwards: 70\r\nCSeq: 7 CANCEL\r\nContent-Length: 0\r\n\r\n"
                )
            );
            let written = with(answer.as_bytes(), |answer| put(|reply| ack(sent, answer, reply)));
            assert_eq!(
                str::from_utf8(&written.unwrap()).unwrap(),
                format!(
                    "ACK sip:bob@192.0.2.2 SIP/2.0\r\n{KEPT}t: <sip:b@b>;tag=b\r\ni:c\r\n\
                     Max-Forwards: 70\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
                )
            );
        });
    }
    // None of them is written from a response.
    with(answer.as_bytes(), |answer| {
        assert_eq!(put(|reply| cancel(answer, reply)), None);
        let mut edits = Edits::new();
        assert_eq!(put(|reply| request(answer, &plain(&branch()), &mut edits, reply)), None);
    });
}

#[test]
fn challenges_are_added_to_challenges() {
    let (a, b) =
        ("WWW-Authenticate: Digest realm=\"a\"", "proxy-AUTHENTICATE:Digest\r\n realm=\"b\" ");
    let (c, via) = ("Proxy-Authenticate: Digest realm=\"c\"", "Via: SIP/2.0/UDP a");
    let merged = |best: &[&str], other: &[&str]| {
        let (best, other) = (answer(best), answer(other));
        with(best.as_bytes(), |best| {
            with(other.as_bytes(), |other| {
                let written = put(|reply| with_challenges(best, other, reply)).unwrap();
                String::from_utf8(written).unwrap() + "c"
            })
        })
    };
    assert_eq!(merged(&[a, via], &[via, b, "X: y", c]), answer(&[a, b, c, via]));
    assert_eq!(
        merged(&[via, a, "X: y", b, "Y: z"], &[c, via]),
        answer(&[via, a, "X: y", b, c, "Y: z"])
    );
    assert_eq!(merged(&[via, a], &[via, "WWW-Authenticated: x"]), answer(&[via, a]));
    assert_eq!(
        merged(&[via], &[c, via]),
        answer(&[via]).replace("l: 2\r\n", &format!("l: 2\r\n{c}\r\n"))
    );
}

/// What a forwarded request changes, as chosen by a few bytes.
fn chosen<'a>(message: &Message<'_>, branch: &'a BranchText, dice: [u8; 6]) -> Passing<'a> {
    let routes = message.addresses(HeaderId::Route).map_while(Result::ok).count();
    let is_sound = message.addresses(HeaderId::Route).all(|value| value.is_ok());
    let routes_removed = if routes > 0 { usize::from(dice[2]) % (routes + 1) } else { 0 };
    let route_removed_last = is_sound && routes > 0 && dice[3].is_multiple_of(2);
    let is_only_route_removed = is_sound
        && (routes, routes_removed, route_removed_last) == (1, 1, false)
        && message.only_value(HeaderId::Route).is_some()
        && dice[1].is_multiple_of(2);
    Passing {
        uri: dice[0].is_multiple_of(2).then_some(b"sip:target@192.0.2.3;x=y"),
        record_routes: [
            if dice[1] % 3 >= 1 { b"<sip:up;lr;c=x>" } else { b"" },
            if dice[1] % 3 == 2 { b"<sip:low;lr;c=x>" } else { b"" },
        ],
        routes_removed,
        is_only_route_removed,
        route_removed_last,
        routes_before: if dice[3].is_multiple_of(3) {
            b"<sip:before1;lr>,<sip:before2;lr>"
        } else {
            b""
        },
        route_after: if dice[4].is_multiple_of(2) { b"<sip:after>" } else { b"" },
        max_forwards: dice[5],
        max_breadth: (dice[4].is_multiple_of(3)).then_some(77),
        ..plain(branch)
    }
}

/// All that must hold for a request that is passed on.
fn check_request(text: &[u8], dice: [u8; 6]) {
    let branch = branch();
    with(text, |before| {
        if !matches!(before.start_line(), StartLine::Request { .. }) {
            return;
        }
        let passing = chosen(before, &branch, dice);
        let mut edits = Edits::new();
        let written = put(|reply| request(before, &passing, &mut edits, reply)).unwrap();
        // With scratch it is always possible, and the same.
        edits.begin();
        assert!(edit(before, &passing, &mut edits));
        let all = &before.bytes()[..before.end()];
        assert_eq!(put(|reply| edits.write(all, reply)).as_ref(), Some(&written));
        with(&written, |after| {
            assert_eq!(after.max_forwards(), Some(passing.max_forwards));
            assert_eq!(after.via().raw, our_via().as_bytes());
            assert_eq!(written.len(), after.end());
            if passing.max_breadth.is_some() {
                let breadths: Vec<_> = after.named(b"max-breadth").map(|line| line.value).collect();
                assert_eq!(breadths, [b"77"]);
            }
            check_routes(before, after, &passing);
            let (before, after) =
                (undone(before, None, &passing), undone(after, Some(before), &passing));
            assert_eq!(String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));
            assert_eq!(before, after);
        });
    });
}

fn check_routes(before: &Message<'_>, after: &Message<'_>, passing: &Passing<'_>) {
    let values = |message: &Message<'_>, id| -> Vec<Vec<u8>> {
        message.addresses(id).map_while(Result::ok).map(|value| value.raw.to_vec()).collect()
    };
    let added = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b',').filter(|one| !one.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let mut expected = values(before, HeaderId::Route);
    if passing.route_removed_last {
        expected.pop();
    }
    expected.drain(..passing.routes_removed.min(expected.len()));
    expected.splice(0..0, added(passing.routes_before));
    if before.addresses(HeaderId::Route).all(|value| value.is_ok()) {
        expected.extend(added(passing.route_after));
    }
    assert_eq!(values(after, HeaderId::Route), expected);
    let mut expected = values(before, HeaderId::RecordRoute);
    expected.splice(0..0, passing.record_routes.iter().copied().flat_map(added));
    assert_eq!(values(after, HeaderId::RecordRoute), expected);
}

/// A message without what was changed in it: of one that was passed on all that was added goes, and what was replaced becomes what
/// it was in the one that was `received`. Where Route values are removed, Route is left out of both.
fn undone(message: &Message<'_>, received: Option<&Message<'_>>, passing: &Passing<'_>) -> Vec<u8> {
    let is_breadth = |line: &Header<'_>| line.name().eq_ignore_ascii_case(b"Max-Breadth");
    let is_route_kept = passing.routes_removed == 0 && !passing.route_removed_last;
    let mut lines: Vec<(Header<'_>, Vec<u8>)> = message
        .headers()
        .filter(|line| is_route_kept || line.id != HeaderId::Route)
        .filter(|line| passing.max_breadth.is_none() || !is_breadth(line))
        .map(|line| (line, line.raw.to_vec()))
        .collect();
    let mut start_line = message.bytes()[..message.start_line_end()].to_vec();
    if let Some(received) = received {
        start_line = received.bytes()[..received.start_line_end()].to_vec();
        let mut drop_first = |id, text: &[u8]| {
            let place = lines.iter().position(|(line, raw)| line.id == id && raw == text);
            lines.remove(place.unwrap());
        };
        drop_first(HeaderId::Via, format!("Via: {}\r\n", our_via()).as_bytes());
        for value in passing.record_routes.iter().filter(|value| !value.is_empty()) {
            drop_first(HeaderId::RecordRoute, &[b"Record-Route: ", *value, b"\r\n"].concat());
        }
        for value in [passing.routes_before, passing.route_after] {
            if is_route_kept && !value.is_empty() {
                drop_first(HeaderId::Route, &[b"Route: ", value, b"\r\n"].concat());
            }
        }
        for (line, raw) in &mut lines {
            if line.id == HeaderId::MaxForwards {
                // As it came, or nothing.
                *raw = received
                    .first_line(HeaderId::MaxForwards)
                    .map(|line| line.raw.to_vec())
                    .unwrap_or_default();
            }
        }
        let via = lines.iter_mut().find(|(line, _)| line.id == HeaderId::Via).unwrap();
        assert_eq!(via.1, completed(received));
        via.1 = received.first_line(HeaderId::Via).unwrap().raw.to_vec();
    }
    let lines: Vec<u8> = lines.into_iter().flat_map(|(_, raw)| raw).collect();
    [&start_line[..], &lines, b"\r\n", message.body()].concat()
}

/// The first Via line of a response to a request.
fn completed(request: &Message<'_>) -> Vec<u8> {
    let mut outbox = Outbox::new(1, 0);
    let (bytes, source) = (request.bytes(), SOURCE.parse().unwrap());
    let answer =
        Response::start(outbox.reply(), bytes, request.index(), 100, "Trying", source, b"")
            .unwrap();
    let answer = answer.finish().written().to_vec();
    // A 100 begins with it.
    with(&answer, |answer| answer.first_line(HeaderId::Via).unwrap().raw.to_vec())
}

/// All that must hold for what is made from one message otherwise.
fn check_others(text: &[u8]) {
    with(text, |message| {
        let value = message.via().raw;
        let line = message.first_line(HeaderId::Via).unwrap();
        assert!(has_other_via(message) || message.vias().nth(1).is_none());
        let written = put(|reply| response(message, reply)).unwrap();
        let all = &message.bytes()[..message.end()];
        // One cut: the line, or the value with the comma behind it.
        let gone = all.len() - written.len();
        let is_cut = |at: usize| written == [&all[..at], &all[at + gone..]].concat();
        assert!(if gone == line.raw.len() {
            is_cut(line.range().start)
        } else {
            gone > value.len() && is_cut(message.range_of(value).start)
        });
        let vias: Vec<_> = message.vias().map_while(Result::ok).map(|via| via.raw).collect();
        let mut index = Index::new(64);
        let _ = peek(&written, &mut index);
        if let Ok(after) = Message::parse(&written, &mut index) {
            let left: Vec<_> = after.vias().map_while(Result::ok).map(|via| via.raw).collect();
            assert_eq!(left, vias[1..]);
        } else {
            // Its second Via is malformed, or there is none.
            assert!(vias.len() < 2);
        }
        if !matches!(message.start_line(), StartLine::Request { .. }) {
            return;
        }
        let kept = put(|reply| skeleton(message, reply)).unwrap();
        with(&kept, |kept| {
            for (name, from_sent, from_kept) in [
                (
                    &b"CANCEL"[..],
                    put(|reply| cancel(message, reply)),
                    put(|reply| cancel(kept, reply)),
                ),
                (
                    b"ACK",
                    put(|reply| ack(message, message, reply)),
                    put(|reply| ack(kept, message, reply)),
                ),
            ] {
                let own = from_sent.unwrap();
                assert_eq!(Some(&own), from_kept.as_ref());
                with(&own, |own| {
                    assert_eq!(own.cseq().method.name(), name);
                    assert_eq!(own.cseq().number, message.cseq().number);
                    assert_eq!(own.call_id(), message.call_id());
                    assert_eq!(own.from().raw, message.from().raw);
                    assert_eq!(own.to().raw, message.to().raw);
                    assert_eq!(own.vias().map(|via| via.unwrap().raw).collect::<Vec<_>>(), [value]);
                    assert!(own.values(HeaderId::Route).eq(message.values(HeaderId::Route)));
                });
            }
        });
    });
}

/// One of the texts of a meaning, with or without Max-Forwards, and something behind it.
fn received(meaning: &Meaning, choices: &[u8], dice: [u8; 6], breadths: &str) -> Vec<u8> {
    let mut text = text_of(meaning, choices);
    text.extend_from_slice(b"surplus");
    let (range, start) = with(&text, |message| {
        (message.first_line(HeaderId::MaxForwards).unwrap().range(), message.start_line_end())
    });
    if dice[5].is_multiple_of(2) {
        text.drain(range);
    }
    text.splice(start..start, breadths.bytes());
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_passed_on_is_what_was_received(
        meaning in meaning(),
        choices in proptest::collection::vec(any::<u8>(), 250),
        dice in any::<[u8; 6]>(),
        breadths in "(max-breadth: 60\r\n|Max-Breadth : 9 \r\n){0,2}",
    ) {
        let text = received(&meaning, &choices, dice, &breadths);
        check_request(&text, dice);
        check_others(&text);
    }

    #[test]
    fn damage_is_passed_on_as_it_came(
        meaning in meaning(),
        choices in proptest::collection::vec(any::<u8>(), 120),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..6u8, any::<u8>()), 1..6),
        dice in any::<[u8; 6]>(),
    ) {
        let mut text = received(&meaning, &choices, dice, "");
        for (place, kind, byte) in damage {
            hurt(&mut text, place, kind, byte);
            let mut index = Index::new(64);
            let _ = peek(&text, &mut index);
            if Message::parse(&text, &mut index).is_ok() {
                check_request(&text, dice);
                check_others(&text);
            }
        }
    }
}
