//! One rule of RFC 3261 25.1 after another, as it stands in a whole message.

use super::*;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn a_register_read_to_the_end() {
    let text = register_with("Expires: 300");
    with(text.as_bytes(), |message| {
        let StartLine::Request { method, uri } = message.start_line() else { panic!("a request") };
        assert_eq!(*method, Method::Register);
        assert_eq!(uri.host.raw(), b"sip.test");
        assert_eq!(uri.user, None);
        let via = message.via();
        assert_eq!(
            (via.transport, via.host.raw(), via.port),
            (&b"UDP"[..], &b"192.0.2.1"[..], Some(5062))
        );
        assert_eq!(via.branch, Some(&b"z9hG4bKabc"[..]));
        assert_eq!(via.rport, Rport::Asked);
        assert_eq!((via.received, via.maddr, via.ttl), (None, None, None));
        assert_eq!(message.from().display, b"\"Alice\"");
        assert_eq!(message.from().tag, Some(&b"a1"[..]));
        assert_eq!(message.to().uri, b"sip:alice@sip.test");
        assert_eq!(message.to().tag, None);
        assert_eq!(message.call_id(), b"c1@192.0.2.1");
        assert_eq!(message.cseq(), CSeq { number: 1, method: Method::Register });
        assert_eq!(message.max_forwards(), Some(70));
        assert_eq!(message.expires(), Some(300));
        assert_eq!(message.body(), b"");
        assert!(message.has(HeaderId::Expires) && !message.has(HeaderId::Route));
    });
}

#[test]
fn what_the_peek_tells() {
    let mut index = Index::new(64);
    let mut told = |text: &[u8]| {
        let text = text.to_vec();
        match peek(&text, &mut index) {
            Peek::Empty => "empty",
            Peek::Crlf => "crlf",
            Peek::Stun => "stun",
            Peek::NotSip => "junk",
            Peek::Request { .. } => "request",
            Peek::Response { .. } => "response",
            Peek::Malformed(_) => "malformed",
        }
    };
    assert_eq!(told(b""), "empty");
    for keep_alive in [&b"\r\n"[..], b"\r\n\r\n", b"\n", b"\r\n\r\n\r\n\r\n"] {
        assert_eq!(told(keep_alive), "crlf");
    }
    let stun = |first: u8, length: u8, cookie: u8| {
        let mut bytes = vec![first, 1, 0, length, cookie, 0x12, 0xA4, 0x42];
        bytes.resize(20 + usize::from(length), 7);
        bytes
    };
    assert_eq!(told(&stun(0, 0, 0x21)), "stun");
    assert_eq!(told(&stun(1, 8, 0x21)), "stun");
    assert_eq!(told(&stun(b'!', 8, 0x21)), "stun");
    assert_eq!(told(&stun(0, 0, 0x22)), "junk");
    assert_eq!(told(&stun(0x40, 0, 0x21)), "junk");
    assert_eq!(told(&stun(0, 3, 0x21)), "junk");
    assert_eq!(told(&stun(0, 0, 0x21)[..19]), "junk");
    for junk in [
        &b"\0\0\0\0"[..],
        b" REGISTER",
        b"hello",
        b"hello world\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"REGISTER sip:x SIP/2.0",
        b"REGISTER sip:x SIP/2.0\n\n",
        b"SIP/2.0",
        b"\xff\xfe\xfd",
        b"<xml/>\r\n",
        b"REGISTER\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        b"\r\nREGISTER sip:x SIP/2.0\r\n\r\n",
    ] {
        assert_eq!(told(junk), "junk", "{}", String::from_utf8_lossy(junk));
    }
    assert_eq!(told(b"OPTIONS sip:x SIP/2.0\r\ni: 1\r\n"), "request");
    assert_eq!(told(b"REGISTER sip:x SIP/2.0\r\nTo: sip:x@y\r\n"), "request");
    assert_eq!(told(b"REGISTER sip:x SIP/2.0\r\nCall-ID: 1\r\n\r\n"), "malformed");
    assert_eq!(told(b"OPTIONS sip:x SIP/2.0\r\n\r\n"), "malformed");
    assert_eq!(told(b"OPTIONS sip:x SIP/3.0\r\ni: 1\r\n\r\n"), "malformed");
    assert_eq!(told(b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP a;branch=b\r\n"), "response");
    assert_eq!(told(b"SIP/2.0 200 OK\r\n\r\n"), "malformed");
}

#[test]
fn homes() {
    let mut index = Index::new(64);
    let text = register_with("To: \"A <b>\" <sip:a%20@sip.test;x=\">");
    assert!(matches!(peek(text.as_bytes(), &mut index), Peek::Malformed(_)));
    let text = register_with("To: \"A <b>\" <sip:a%20@sip.test;x=1>;p");
    let home = Home::AddressOfRecord(b"sip:a%20@sip.test;x=1");
    assert_eq!(peek(text.as_bytes(), &mut index), Peek::Request { method: Method::Register, home });
    let text = b"FOO sip:x SIP/2.0\r\nTo: sip:x@y\r\nCALL-ID \t:\r\n  some id\r\n\r\n";
    assert!(matches!(peek(text, &mut index), Peek::Malformed(_)), "a space inside");
    let text = b"FOO sip:x SIP/2.0\r\nTo: sip:x@y\r\nCALL-ID \t:\r\n  some-id \t\r\n  \r\n\r\n";
    let home = Home::CallId(b"some-id");
    assert_eq!(peek(text, &mut index), Peek::Request { method: Method::Other(b"FOO"), home });
}

#[test]
fn request_lines() {
    let rest = register_with("Via: SIP/2.0/UDP h;branch=z9hG4bKx");
    let rest = rest.strip_prefix("REGISTER sip:sip.test SIP/2.0").unwrap();
    let line = |line: &str| alloc::format!("{line}{rest}");
    with(line("REGISTER sip:sip.test sip/2.0").as_bytes(), |_| {});
    for (bad, status) in [
        ("REGISTER sip:sip.test  SIP/2.0", 400),
        ("REGISTER  sip:sip.test SIP/2.0", 400),
        ("REGISTER sip:sip.test SIP/2.0 ", 400),
        ("REGISTER sip:sip.test SIP/2.0\r\n ", 400),
        ("REGISTER <sip:sip.test> SIP/2.0", 400),
        ("REGISTER sip:a b@sip.test SIP/2.0", 400),
        ("REGISTER SIP/2.0", 400),
        ("REGISTER  SIP/2.0", 400),
        ("REGISTER sip:sip.test SIP/2", 400),
        ("REGISTER sip:sip.test SIP/x.y", 400),
        ("REGISTER sip:sip.test SIP/3.0", 505),
        ("REGISTER sip:sip.test SIP/2.10", 505),
        ("register sip:sip.test SIP/2.0", 501),
        ("OPTIONS sip:sip.test SIP/2.0", 400),
    ] {
        assert_eq!(defect(line(bad).as_bytes()).status, status, "{bad}");
    }
}

#[test]
fn status_lines() {
    let rest = "\r\nv: SIP/2.0/UDP h;branch=z9hG4bKx\r\nf: sip:a@b;tag=1\r\nt: sip:a@b;tag=2\r\ni: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
    for (line, expected) in [
        ("SIP/2.0 200 OK", "OK"),
        ("SIP/2.0 100 ", ""),
        ("sip/2.0 100", ""),
        ("SIP/2.0 699 \u{43d}\u{435}\u{442}  x", "\u{43d}\u{435}\u{442}  x"),
    ] {
        with(alloc::format!("{line}{rest}").as_bytes(), |message| {
            let StartLine::Response { reason, .. } = message.start_line() else {
                panic!("a response")
            };
            assert_eq!(*reason, expected.as_bytes());
        });
    }
    for line in [
        "SIP/2.0 99 x",
        "SIP/2.0 700 x",
        "SIP/2.0 20 x",
        "SIP/2.0 2000 x",
        "SIP/2.0 20x x",
        "SIP/2.0 ",
        "SIP/2.0",
        "SIP/2.0 4294967301 better not",
        "SIP/2.0  200 x",
        "SIP/2.0 +20 x",
        "SIP/3.0 200 OK",
        "SIP/",
        "SIP/2.0 200OK",
        // RFC 3261 7.2: a first line is never folded, or who knows no folds reads another header.
        "SIP/2.0 200 OK\r\n Via: SIP/2.0/UDP other",
        "SIP/2.0 200 \r\n\tx",
    ] {
        let text = alloc::format!("{line}{rest}");
        let mut index = Index::new(64);
        assert!(matches!(peek(text.as_bytes(), &mut index), Peek::Malformed(_)), "{line}");
        assert!(!index.is_request());
        assert!(Message::parse(text.as_bytes(), &mut index).is_err(), "{line}");
    }
}

#[test]
fn vias() {
    let via = |value: &str, check: &dyn Fn(Via<'_>)| {
        with(register_with(&alloc::format!("Via: {value}")).as_bytes(), |message| {
            check(message.via());
        });
    };
    via(
        "SIP/2.0/TCP [2001:db8::1]:5060;branch=1;received=2001:db8::2;ttl=16;maddr=[::1];rport=9",
        &|via| {
            assert_eq!(via.transport, b"TCP");
            assert_eq!(via.host.ip(), Some("2001:db8::1".parse().unwrap()));
            assert_eq!(via.port, Some(5060));
            assert_eq!(via.received, Some(&b"2001:db8::2"[..]));
            assert_eq!(
                (via.ttl, via.maddr, via.rport),
                (Some(16), Some(&b"[::1]"[..]), Rport::Port(9))
            );
        },
    );
    via(
        "sip / 2.0\r\n /\tudp\r\n\t host.example : 5070 ; x = \"a;b,c\\\"\" ;\r\n BRANCH = z9hG4bK1",
        &|via| {
            assert_eq!(
                (via.transport, via.host.raw(), via.port),
                (&b"udp"[..], &b"host.example"[..], Some(5070))
            );
            assert_eq!(via.branch, Some(&b"z9hG4bK1"[..]));
            assert_eq!(via.params.find(b"X").unwrap().value, Some(&b"\"a;b,c\\\"\""[..]));
            assert_eq!(via.params.iter().count(), 2);
        },
    );
    via("SIP/2.0/UDP a.b , SIP/2.0/UDP c", &|via| {
        assert_eq!((via.host.raw(), via.raw), (&b"a.b"[..], &b"SIP/2.0/UDP a.b"[..]));
    });
    for bad in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0 h",
        "SIP/2.0/UDP h x",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:0",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP [1.2.3.4]",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h;;branch=1",
        "SIP/2.0/UDP h;branch",
        "SIP/2.0/UDP h;branch=",
        "SIP/2.0/UDP h;branch=a;branch=b",
        "SIP/2.0/UDP h;rport=x",
        "SIP/2.0/UDP h;rport=65536",
        "SIP/2.0/UDP h;rport;rport",
        "SIP/2.0/UDP h;rport\r\n =x",
        "SIP/2.0/UDP h;received=1.1.1.1;received=2.2.2.2",
        "SIP/2.0/UDP h;received",
        "SIP/2.0/UDP h;ttl=256",
        "SIP/2.0/UDP h;ttl",
        "SIP/2.0/UDP h;maddr",
        "SIP/2.0/UDP h;a=\"",
        "SIP/2.0/UDP h;a=\"\\\"",
        "SIP/2.0/UDPh",
        "SIP/2.0/UDP <h>",
        ";;,;,,",
    ] {
        let malformed = defect(register_with(&alloc::format!("Via: {bad}")).as_bytes());
        assert_eq!((malformed.status, malformed.reason), (400, "Bad Via"), "{bad}");
    }
    // Values below the first are read only when asked for.
    let text = register_with(
        "Via: SIP/2.0/UDP a;branch=1, SIP/2.0/TLS b\r\nv: SIP/2.0/SCTP c, bad\r\nVia: SIP/2.0/UDP d",
    );
    with(text.as_bytes(), |message| {
        let hosts: Vec<_> = message.vias().map(|via| via.map(|via| via.host.raw())).collect();
        assert_eq!(hosts[..3], [Ok(&b"a"[..]), Ok(b"b"), Ok(b"c")]);
        assert!(hosts[3].is_err());
        assert_eq!(hosts.len(), 4, "nothing behind an error");
    });
}

#[test]
fn from_and_to() {
    for (value, display, uri, tag) in [
        ("sip:a@b", "", "sip:a@b", None),
        ("sip:a@b;tag=1", "", "sip:a@b", Some("1")),
        ("<sip:a@b;x=y?h=v>;TAG=1", "", "sip:a@b;x=y?h=v", Some("1")),
        ("caller<sip:a@b>", "caller", "sip:a@b", None),
        ("The Caller  \r\n <sip:a@b> ; x ; tag = 2", "The Caller", "sip:a@b", Some("2")),
        (
            "\"Bell, \\\"A\\\" <x>;\r\n y\" <sip:a@b>;tag=1;a=\"b,c\"",
            "\"Bell, \\\"A\\\" <x>;\r\n y\"",
            "sip:a@b",
            Some("1"),
        ),
        ("<tel:+1-2>;tag=a.b~c", "", "tel:+1-2", Some("a.b~c")),
        ("isbn:2983792873", "", "isbn:2983792873", None),
        ("\u{416} <sip:a@b>", "\u{416}", "sip:a@b", None),
        ("<sip:[::1]>;tag=1;taggy=2", "", "sip:[::1]", Some("1")),
        ("\"\0\u{7}\\\0\" <sip:a@b>", "\"\0\u{7}\\\0\"", "sip:a@b", None),
    ] {
        for name in ["From", "To"] {
            with(register_with(&alloc::format!("{name}: {value}")).as_bytes(), |message| {
                let address = if name == "To" { message.to() } else { message.from() };
                assert_eq!(address.display, display.as_bytes(), "{value}");
                assert_eq!(address.uri, uri.as_bytes(), "{value}");
                assert_eq!(address.tag, tag.map(str::as_bytes), "{value}");
                assert_eq!(address.raw, value.as_bytes());
            });
        }
    }
    for bad in [
        "",
        "x",
        "<>",
        "<x>",
        "<sip:>",
        "<sip:a@b",
        "sip:a@b>",
        "\"x <sip:a@b>",
        "\"x\" sip:a@b",
        "\"x\"",
        "< sip:a@b >",
        "Bell, Alexander <sip:a@b>",
        "<sip:a@b>, <sip:c@d>",
        "sip:a@b?x=y",
        "<sip:a@b>x",
        "<sip:a@b>;",
        "<sip:a@b>;tag",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=1;tag=2",
        "sip:a@b <sip:c@d>",
        "<sip:a@b>;tag=\"1\"",
        "<sip:a@b>;x=<y>",
        "a \"b\" <sip:a@b>",
        "<sip:a<b>",
        "<sip:a\r\n b>",
        "1:2",
        "*",
        "\"a\\",
        "\"a\\\"",
        "\"a\\\u{e9}\" <sip:a@b>",
        "sip:a@b sip:c@d",
    ] {
        for name in ["From", "To"] {
            let malformed = defect(register_with(&alloc::format!("{name}: {bad}")).as_bytes());
            assert_eq!(malformed.status, 400, "{bad}");
            assert!(malformed.reason == "Bad From" || malformed.reason == "Bad To", "{bad}");
        }
    }
}

#[test]
fn call_ids_numbers_and_lengths() {
    for bad in [
        "Call-ID:",
        "Call-ID: a b",
        "Call-ID: \u{1}",
        "CSeq:",
        "CSeq: 1",
        "CSeq: REGISTER",
        "CSeq: 1REGISTER",
        "CSeq: 1 REGISTER x",
        "CSeq: -1 REGISTER",
        "CSeq: 2147483648 REGISTER",
        "CSeq: 36893488147419103232 REGISTER",
        "CSeq: 1 INVITE",
        "CSeq: 1 register",
        "Max-Forwards:",
        "Max-Forwards: -1",
        "Max-Forwards: 256",
        "Max-Forwards: 7 0",
        "Content-Length:",
        "Content-Length: -1",
        "Content-Length: 1",
        "Content-Length: 0, 0",
        "Content-Length: 4294967296",
        "Content-Length: 18446744073709551616",
        "Content-Length: 0x0",
    ] {
        assert_eq!(defect(register_with(bad).as_bytes()).status, 400, "{bad}");
    }
    for good in [
        "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        "CSeq: 0 REGISTER",
        "CSeq: 2147483647\r\n\tREGISTER",
        "Max-Forwards: 0068",
        "Max-Forwards: 255",
        "Max-Forwards :\r\n 0",
        "Content-Length:0",
    ] {
        with(register_with(good).as_bytes(), |_| {});
    }
}

#[test]
fn bodies() {
    let body = b"\r\n\0\x01\n\rv=0\r";
    let mut text = register_with("Content-Length: 5").into_bytes();
    text.extend_from_slice(body);
    with(&text, |message| assert_eq!(message.body(), b"\r\n\0\x01\n"));
    let absent = register_with("Content-Length: 0").replace("Content-Length: 0\r\n", "");
    let mut text = absent.into_bytes();
    text.extend_from_slice(body);
    with(&text, |message| assert_eq!(message.body(), body));
}

#[test]
fn what_may_stand_once_only() {
    for line in [
        "From: sip:a@b",
        "f: sip:a@b",
        "To: sip:a@b",
        "t: sip:a@b",
        "Call-ID: x",
        "i: c1@192.0.2.1",
        "CSeq: 1 REGISTER",
        "Max-Forwards: 70",
        "Content-Length: 0",
        "l: 0",
        "Expires: 1\r\nExpires: 1",
    ] {
        // Two of a header at the end of the headers, which a peek has long passed.
        let text = register_with("X: y");
        let text = alloc::format!("{}\r\n{line}\r\n\r\n", text.strip_suffix("\r\n\r\n").unwrap());
        let malformed = defect(text.as_bytes());
        assert_eq!((malformed.status, malformed.reason), (400, "Repeated Header"), "{line}");
    }
}

#[test]
fn what_must_be_there() {
    let full = register_with("X: y");
    for (name, reason) in [
        ("Via", "Missing Via"),
        ("From", "Missing From"),
        ("To", "Missing To"),
        ("Call-ID", "Missing Call-ID"),
        ("CSeq", "Missing CSeq"),
    ] {
        let text: String = full
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with(&alloc::format!("{name}:")))
            .collect();
        let mut index = Index::new(64);
        let peeked = peek(text.as_bytes(), &mut index);
        let parsed = Message::parse(text.as_bytes(), &mut index).map(|_| ()).unwrap_err();
        assert_eq!(parsed.status, 400);
        assert_eq!(parsed.reason, reason);
        assert_eq!(matches!(peeked, Peek::Malformed(_)), name == "To", "a REGISTER's home");
    }
    with(full.replace("Max-Forwards: 70\r\n", "").as_bytes(), |message| {
        assert_eq!(message.max_forwards(), None);
    });
}

#[test]
fn contacts() {
    let text = register_with(
        "Contact: \"A, B\" <sip:a@h1;x=y?z=1>;q=0.7;EXPIRES=60;+sip.instance=\"<urn:uuid:1>\";reg-id=1 , <sip:b@h2>\r\n\
         m: sip:c@h3;unknownparam;expires=never\r\nContact: *\r\nm:sip:d@[::1]:5070;expires=99999999999 \t",
    );
    with(text.as_bytes(), |message| {
        let contacts: Vec<_> = message.contacts().map(Result::unwrap).collect();
        let Contact::Address(a) = &contacts[0] else { panic!("an address") };
        assert_eq!(a.address.uri, b"sip:a@h1;x=y?z=1");
        assert_eq!((a.q, a.expires, a.reg_id), (Some(700), Some(60), Some(1)));
        assert_eq!(a.instance, Some(&b"<urn:uuid:1>"[..]));
        assert_eq!(a.address.display, b"\"A, B\"");
        let Contact::Address(b) = &contacts[1] else { panic!("an address") };
        assert_eq!(
            (b.address.uri, b.q, b.expires, b.instance),
            (&b"sip:b@h2"[..], None, None, None)
        );
        let Contact::Address(c) = &contacts[2] else { panic!("an address") };
        assert_eq!((c.address.uri, c.expires), (&b"sip:c@h3"[..], Some(3600)));
        assert_eq!(c.address.params.raw(), b";unknownparam;expires=never");
        assert!(matches!(contacts[3], Contact::Star));
        let Contact::Address(d) = &contacts[4] else { panic!("an address") };
        assert_eq!((d.address.uri, d.expires), (&b"sip:d@[::1]:5070"[..], Some(u32::MAX)));
        assert_eq!(contacts.len(), 5);
    });
    for bad in [
        "",
        ",",
        "<sip:a@b>,",
        ",<sip:a@b>",
        "<sip:a@b>,,<sip:c@d>",
        "<sip:a@b>;;",
        "<sip:a@b> <sip:c@d>",
        "sip:a@b?x=y",
        "<sip:a@b>;q=2",
        "<sip:a@b>;q",
        "<sip:a@b>;q=1;q=1",
        "<sip:a@b>;expires=1;expires=2",
        "*;x",
        "**",
        "* x",
        "<sip:a@b>;reg-id=0",
        "<sip:a@b>;reg-id=2147483648",
        "<sip:a@b>;+sip.instance=<urn:x>",
        "<sip:a@b>;+sip.instance=\"a\";+sip.instance=\"b\"",
        "<sip:a@b",
        "\"x <sip:a@b>",
    ] {
        with(register_with(&alloc::format!("Contact: {bad}")).as_bytes(), |message| {
            let contacts: Vec<_> = message.contacts().collect();
            assert!(contacts.last().unwrap().is_err(), "{bad}");
            assert!(contacts.iter().rev().skip(1).all(Result::is_ok), "{bad}");
        });
    }
}

#[test]
fn lists() {
    let text = register_with(
        "Require: path ,\r\n outbound\r\nRequire:\r\nrequire: x\r\nRoute: <sip:a;lr>;p , \"x\" <sip:b>\r\nRoute: <sip:c>\r\nRecord-Route: sip:d\r\nPath: <sip:e;lr>",
    );
    with(text.as_bytes(), |message| {
        let tags: Vec<_> = message.option_tags(HeaderId::Require).map(Result::unwrap).collect();
        assert_eq!(tags, [&b"path"[..], b"outbound", b"x"]);
        assert_eq!(message.option_tags(HeaderId::Supported).count(), 0);
        let routes: Vec<_> =
            message.addresses(HeaderId::Route).map(|route| route.unwrap().raw).collect();
        assert_eq!(routes, [&b"<sip:a;lr>;p"[..], b"\"x\" <sip:b>", b"<sip:c>"]);
        assert!(message.addresses(HeaderId::RecordRoute).next().unwrap().is_err(), "no brackets");
        assert_eq!(
            message.addresses(HeaderId::Path).map(|path| path.unwrap().uri).collect::<Vec<_>>(),
            [b"sip:e;lr"]
        );
        assert_eq!(
            message.values(HeaderId::Require).collect::<Vec<_>>(),
            [&b"path ,\r\n outbound"[..], b"", b"x"]
        );
    });
    for bad in ["a,,b", ",", "a b", "a;b", "a,"] {
        with(register_with(&alloc::format!("Supported: {bad}")).as_bytes(), |message| {
            assert!(message.option_tags(HeaderId::Supported).any(|tag| tag.is_err()), "{bad}");
        });
    }
}

#[test]
fn lines_byte_for_byte() {
    let text = register_with("X-Strange \t: ;;,,\r\n\t,; \r\nx-strange: \u{fe00}\r\ns :");
    with(text.as_bytes(), |message| {
        let whole: Vec<u8> =
            message.headers().flat_map(|header| header.raw.iter().copied()).collect();
        let start = text.find("\r\n").unwrap() + 2;
        assert_eq!(whole, &text.as_bytes()[start..text.len() - 2]);
        let strange: Vec<_> = message.named(b"X-STRANGE").collect();
        assert_eq!(strange.len(), 2);
        assert_eq!(
            (strange[0].name(), strange[0].value),
            (&b"X-Strange"[..], &b";;,,\r\n\t,;"[..])
        );
        assert_eq!(message.named(b"s").next().unwrap().value, b"");
        assert_eq!(message.named(b"call-id").next().unwrap().value, b"c1@192.0.2.1");
        for header in message.headers() {
            assert_eq!(
                &text.as_bytes()[usize::from(header.offset)..][..header.raw.len()],
                header.raw
            );
            assert_eq!(
                &text.as_bytes()[usize::from(header.value_offset)..][..header.value.len()],
                header.value
            );
        }
    });
}

#[test]
fn expires_as_rfc_4475_3_1_2_4_wants_it() {
    for (value, seconds) in [
        ("0", 0),
        ("60", 60),
        ("1000000000000000000000000", u32::MAX),
        ("soon", 3600),
        ("", 3600),
        ("-1", 3600),
    ] {
        with(register_with(&alloc::format!("Expires: {value}")).as_bytes(), |message| {
            assert_eq!(message.expires(), Some(seconds), "{value}");
        });
    }
    with(register_with("X: y").as_bytes(), |message| assert_eq!(message.expires(), None));
}
