//! Responses, byte for byte, and where they go.

use super::*;
use crate::io::{ListenerId, LocalAddr, Outbox, Peer};
use core::net::SocketAddr;

fn respond(
    request: &[u8],
    status: u16,
    reason: &str,
    source: &str,
) -> Option<(String, SocketAddr)> {
    let source: SocketAddr = source.parse().unwrap();
    let mut index = Index::new(64);
    let _ = peek(request, &mut index);
    let _ = Message::parse(request, &mut index);
    let mut outbox = Outbox::new(1, 0);
    let mut response =
        Response::start(outbox.reply(), request, &index, status, reason, source, b"srv")?;
    response.header("Min-Expires", b"60");
    let destination = response_destination(&index, source);
    let from = LocalAddr { listener: ListenerId(0), ip: source.ip() };
    assert!(response.finish().send(Peer::udp(destination), from));
    let text = outbox.bytes(&outbox.sends()[0]).to_vec();
    Some((String::from_utf8(text).unwrap(), destination))
}

/// The topmost Via value of the response to a request with this one, and the destination's text.
fn via(value: &str, source: &str) -> (String, String) {
    let request = register_with(&alloc::format!("Via: {value}"));
    let (text, destination) = respond(request.as_bytes(), 200, "OK", source).unwrap();
    let start = text.find("Via: ").unwrap() + 5;
    let end = start + text[start..].find("\r\nFrom").unwrap();
    (text[start..end].into(), alloc::format!("{destination}"))
}

#[test]
fn what_is_copied() {
    let request = register_with(
        "Via: SIP/2.0/UDP h:5070 ;\r\n branch=1;rport , SIP/2.0/TCP i\r\nX: y\r\nv :SIP/2.0/TLS j \t",
    );
    let (text, destination) =
        respond(request.as_bytes(), 423, "Interval Too Brief", "192.0.2.1:9").unwrap();
    assert_eq!(
        text,
        "SIP/2.0 423 Interval Too Brief\r\n\
         Via: SIP/2.0/UDP h:5070 ;\r\n branch=1;received=192.0.2.1;rport=9 , SIP/2.0/TCP i\r\n\
         v :SIP/2.0/TLS j \t\r\n\
         From: \"Alice\" <sip:alice@sip.test>;tag=a1\r\n\
         To: <sip:alice@sip.test>;tag=srv\r\n\
         Call-ID: c1@192.0.2.1\r\n\
         CSeq: 1 REGISTER\r\n\
         Min-Expires: 60\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(destination, "192.0.2.1:9".parse().unwrap());
}

#[test]
fn the_tag() {
    let to = |line: &str, status: u16| {
        let request = register_with(line);
        let (text, _) = respond(request.as_bytes(), status, "x", "192.0.2.1:9").unwrap();
        let start = text.find("\r\nTo").unwrap() + 2;
        String::from(&text[start..start + text[start..].find("\r\nCall").unwrap()])
    };
    assert_eq!(to("To: <sip:a@b>;tag=x", 200), "To: <sip:a@b>;tag=x");
    assert_eq!(to("To: <sip:a@b> \t", 200), "To: <sip:a@b>;tag=srv \t");
    assert_eq!(to("To:\r\n sip:a@b\r\n ;x", 404), "To:\r\n sip:a@b\r\n ;x;tag=srv");
    assert_eq!(to("To: <sip:a@b>", 100), "To: <sip:a@b>");
    // The tag of a URI's parameters is none of the header's.
    assert_eq!(to("To: <sip:a@b;tag=x>", 200), "To: <sip:a@b;tag=x>;tag=srv");
    assert_eq!(to("To: \"x", 400), "To: \"x;tag=srv");
    assert_eq!(to("To: <sip:a@b> x ", 400), "To: <sip:a@b> x;tag=srv ");
}

#[test]
fn the_topmost_via_tells_the_packets_source() {
    for (value, source, expected, destination) in [
        // RFC 3261 18.2.1: nothing to add.
        (
            "SIP/2.0/UDP 192.0.2.1:5070;branch=1",
            "192.0.2.1:9",
            "SIP/2.0/UDP 192.0.2.1:5070;branch=1",
            "192.0.2.1:5070",
        ),
        ("SIP/2.0/UDP 192.0.2.1", "192.0.2.1:9", "SIP/2.0/UDP 192.0.2.1", "192.0.2.1:5060"),
        // A name, or another address.
        (
            "SIP/2.0/UDP host;branch=1",
            "192.0.2.1:9",
            "SIP/2.0/UDP host;branch=1;received=192.0.2.1",
            "192.0.2.1:5060",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:7",
            "192.0.2.1:9",
            "SIP/2.0/UDP 10.0.0.1:7;received=192.0.2.1",
            "192.0.2.1:7",
        ),
        // RFC 3581 4: both, also where the address is the same.
        (
            "SIP/2.0/UDP 192.0.2.1;rport;a=b",
            "192.0.2.1:9",
            "SIP/2.0/UDP 192.0.2.1;a=b;received=192.0.2.1;rport=9",
            "192.0.2.1:9",
        ),
        // What the client claims is replaced.
        (
            "SIP/2.0/UDP h;received=6.6.6.6;branch=1",
            "192.0.2.1:9",
            "SIP/2.0/UDP h;branch=1;received=192.0.2.1",
            "192.0.2.1:5060",
        ),
        (
            "SIP/2.0/UDP 192.0.2.1;received=6.6.6.6",
            "192.0.2.1:9",
            "SIP/2.0/UDP 192.0.2.1",
            "192.0.2.1:5060",
        ),
        (
            "SIP/2.0/UDP h;rport=1;received=6.6.6.6;b=1",
            "192.0.2.1:9",
            "SIP/2.0/UDP h;b=1;received=192.0.2.1;rport=9",
            "192.0.2.1:9",
        ),
        (
            "SIP/2.0/UDP h;received=6.6.6.6;b=1;rport=1",
            "192.0.2.1:9",
            "SIP/2.0/UDP h;b=1;received=192.0.2.1;rport=9",
            "192.0.2.1:9",
        ),
        // maddr is not followed.
        (
            "SIP/2.0/UDP 192.0.2.1;maddr=6.6.6.6",
            "192.0.2.1:9",
            "SIP/2.0/UDP 192.0.2.1;maddr=6.6.6.6",
            "192.0.2.1:5060",
        ),
        // IPv6: without brackets in received, compared as addresses.
        (
            "SIP/2.0/UDP [2001:DB8:0::1]",
            "[2001:db8::1]:9",
            "SIP/2.0/UDP [2001:DB8:0::1]",
            "[2001:db8::1]:5060",
        ),
        (
            "SIP/2.0/UDP h;rport",
            "[2001:db8::1]:9",
            "SIP/2.0/UDP h;received=2001:db8::1;rport=9",
            "[2001:db8::1]:9",
        ),
        (
            "SIP/2.0/UDP 192.0.2.1;rport",
            "[::ffff:192.0.2.1]:9",
            "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1;rport=9",
            "[::ffff:192.0.2.1]:9",
        ),
        (
            "SIP/2.0/UDP h",
            "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "SIP/2.0/UDP h;received=2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:5060",
        ),
        (
            "SIP/2.0/UDP h;rport",
            "255.255.255.255:65535",
            "SIP/2.0/UDP h;received=255.255.255.255;rport=65535",
            "255.255.255.255:65535",
        ),
        // A Via that is malformed goes back as it came, to the source where it broke before the sent-by was read.
        (
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "192.0.2.15:9",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "192.0.2.15:5060",
        ),
        ("nonsense", "192.0.2.1:9", "nonsense", "192.0.2.1:9"),
    ] {
        assert_eq!(via(value, source), (expected.into(), destination.into()), "{value}");
    }
}

#[test]
fn malformed_requests_are_answered_from_what_was_found() {
    let text = b"INVITE sip:x SIP/2.0\r\nCSeq: 1 INVITE\r\nbad\r\nX: a\nb\r\nVia: SIP/2.0/UDP h\r\nl: 0\r\n\r\n";
    let (response, _) = respond(text, 400, "Bad", "192.0.2.1:9").unwrap();
    assert_eq!(
        response,
        "SIP/2.0 400 Bad\r\nVia: SIP/2.0/UDP h;received=192.0.2.1\r\nCSeq: 1 INVITE\r\nMin-Expires: 60\r\nContent-Length: 0\r\n\r\n"
    );
    // Of what stands there twice, once; Vias all.
    let text = b"INVITE sip:x SIP/2.0\r\nv: SIP/2.0/UDP h\r\nCSeq: 1 INVITE\r\nt: a:b\r\nTo: c:d\r\nf: e:f\r\nv: SIP/2.0/UDP i\r\nf: g:h\r\n\r\n";
    let (response, _) = respond(text, 400, "Bad", "192.0.2.1:9").unwrap();
    assert_eq!(
        response,
        "SIP/2.0 400 Bad\r\nv: SIP/2.0/UDP h;received=192.0.2.1\r\nv: SIP/2.0/UDP i\r\nf: e:f\r\nt: a:b;tag=srv\r\nCSeq: 1 INVITE\r\nMin-Expires: 60\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        respond(b"INVITE sip:x SIP/2.0\r\nTo: a:b\r\n\r\n", 400, "Bad", "192.0.2.1:9"),
        None
    );
    assert_eq!(respond(b"junk", 400, "Bad", "192.0.2.1:9"), None);
}

#[test]
fn a_response_is_a_message() {
    let request = register_with("Via: SIP/2.0/UDP h;rport;branch=z9hG4bK1");
    let (text, _) = respond(request.as_bytes(), 200, "OK", "[2001:db8::1]:9").unwrap();
    with(text.as_bytes(), |message| {
        assert!(matches!(message.start_line(), StartLine::Response { status: 200, reason: b"OK" }));
        assert_eq!(message.via().received, Some(&b"2001:db8::1"[..]));
        assert_eq!(message.via().rport, Rport::Port(9));
        assert_eq!(message.to().tag, Some(&b"srv"[..]));
    });
}

#[test]
fn lifetimes_end_a_line() {
    let request = register_with("Via: SIP/2.0/UDP h");
    let source = "192.0.2.1:9".parse().unwrap();
    let mut index = Index::new(64);
    let _ = peek(request.as_bytes(), &mut index);
    let _ = Message::parse(request.as_bytes(), &mut index);
    for secs in [0, 9, 10, 3600, 65_535, 65_536, 4_294_967_295] {
        let mut outbox = Outbox::new(1, 0);
        let reply = outbox.reply();
        let start = Response::start(reply, request.as_bytes(), &index, 200, "OK", source, b"srv");
        let mut response = start.unwrap();
        response.put(b"Contact: <sip:h>");
        response.end_with_expires(secs);
        let line = alloc::format!("\r\nContact: <sip:h>;expires={secs}\r\n");
        assert!(response.written().ends_with(line.as_bytes()));
    }
}
