//! The 49 messages of RFC 4475, as far as a parser settles them. What only a registrar or proxy can tell is theirs.

use super::*;
use std::path::Path;

#[derive(Debug, PartialEq)]
enum Settled {
    /// Accepted: a request with this method.
    Request(&'static [u8]),
    /// Accepted: a response with this status code.
    Response(u16),
    /// Refused with this status code; a response is dropped.
    Refused(u16),
}
use Settled::{Refused, Request, Response as Accepted};

/// File, section of RFC 4475, what the parser makes of it.
const TABLE: [(&str, &str, Settled); 49] = [
    ("wsinv", "3.1.1.1", Request(b"INVITE")),
    ("intmeth", "3.1.1.2", Request(b"!interesting-Method0123456789_*+`.%indeed'~")),
    ("esc01", "3.1.1.3", Request(b"INVITE")),
    ("escnull", "3.1.1.4", Request(b"REGISTER")),
    ("esc02", "3.1.1.5", Request(b"RE%47IST%45R")),
    ("lwsdisp", "3.1.1.6", Request(b"OPTIONS")),
    ("longreq", "3.1.1.7", Request(b"INVITE")),
    ("dblreq", "3.1.1.8", Request(b"REGISTER")),
    ("semiuri", "3.1.1.9", Request(b"OPTIONS")),
    ("transports", "3.1.1.10", Request(b"OPTIONS")),
    ("mpart01", "3.1.1.11", Request(b"MESSAGE")),
    ("unreason", "3.1.1.12", Accepted(200)),
    ("noreason", "3.1.1.13", Accepted(100)),
    ("badinv01", "3.1.2.1", Refused(400)),
    ("clerr", "3.1.2.2", Refused(400)),
    ("ncl", "3.1.2.3", Refused(400)),
    ("scalar02", "3.1.2.4", Refused(400)),
    ("scalarlg", "3.1.2.5", Refused(400)),
    ("quotbal", "3.1.2.6", Refused(400)),
    ("ltgtruri", "3.1.2.7", Refused(400)),
    ("lwsruri", "3.1.2.8", Refused(400)),
    ("lwsstart", "3.1.2.9", Refused(400)),
    ("trws", "3.1.2.10", Refused(400)),
    // The headers in the Request-URI are whoever's decision who acts on it.
    ("escruri", "3.1.2.11", Request(b"INVITE")),
    // Nobody here acts on Date.
    ("baddate", "3.1.2.12", Request(b"INVITE")),
    // The Contact is read by the registrar only; see below.
    ("regbadct", "3.1.2.13", Request(b"REGISTER")),
    ("badaspec", "3.1.2.14", Refused(400)),
    ("baddn", "3.1.2.15", Refused(400)),
    ("badvers", "3.1.2.16", Refused(505)),
    ("mismatch01", "3.1.2.17", Refused(400)),
    ("mismatch02", "3.1.2.18", Refused(501)),
    ("bigcode", "3.1.2.19", Refused(400)),
    ("badbranch", "3.2.1", Request(b"OPTIONS")),
    ("insuf", "3.3.1", Refused(400)),
    ("unkscm", "3.3.2", Request(b"OPTIONS")),
    ("novelsc", "3.3.3", Request(b"OPTIONS")),
    ("unksm2", "3.3.4", Request(b"REGISTER")),
    ("bext01", "3.3.5", Request(b"OPTIONS")),
    ("invut", "3.3.6", Request(b"INVITE")),
    ("regaut01", "3.3.7", Request(b"REGISTER")),
    ("multi01", "3.3.8", Refused(400)),
    ("mcl01", "3.3.9", Refused(400)),
    ("bcast", "3.3.10", Accepted(200)),
    ("zeromf", "3.3.11", Request(b"OPTIONS")),
    ("cparam01", "3.3.12", Request(b"REGISTER")),
    ("cparam02", "3.3.13", Request(b"REGISTER")),
    ("regescrt", "3.3.14", Request(b"REGISTER")),
    ("sdp01", "3.3.15", Request(b"INVITE")),
    ("inv2543", "3.4.1", Request(b"INVITE")),
];

fn corpus() -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/torture/rfc4475");
    if folder.is_dir() {
        return Some(folder);
    }
    std::eprintln!("skipped: {} is not there", folder.display());
    None
}

#[test]
fn every_message_is_settled_as_the_rfc_says() {
    let Some(folder) = corpus() else { return };
    for (name, section, expected) in TABLE {
        let bytes = std::fs::read(folder.join(name).with_extension("dat")).unwrap();
        let mut index = Index::new(64);
        let peeked = peek(&bytes, &mut index);
        let settled = match Message::parse(&bytes, &mut index) {
            Ok(message) => match *message.start_line() {
                StartLine::Request { method, .. } => {
                    let Request(expected) = expected else {
                        panic!("{name}: accepted, RFC 4475 {section}")
                    };
                    assert_eq!(method.name(), expected, "{name}");
                    assert!(matches!(peeked, Peek::Request { .. }), "{name}");
                    continue;
                }
                StartLine::Response { status, .. } => Accepted(status),
            },
            Err(malformed) => Refused(malformed.status),
        };
        assert_eq!(settled, expected, "{name}, RFC 4475 {section}");
    }
}

#[test]
fn details() {
    let Some(folder) = corpus() else { return };
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    with(&file("wsinv.dat"), |message| {
        assert_eq!(message.max_forwards(), Some(68));
        assert_eq!(message.to().tag, Some(&b"1918181833n"[..]));
        assert_eq!(message.from().display, br#""J Rosenberg \\\"""#);
        assert_eq!(message.from().tag, Some(&b"98asjd8"[..]));
        assert_eq!(message.cseq(), CSeq { number: 9, method: Method::Invite });
        assert_eq!(message.via().branch, Some(&b"390skdjuw"[..]));
        assert_eq!(message.vias().map(Result::unwrap).count(), 3);
        let branch = message.vias().nth(2).unwrap().unwrap().branch;
        assert_eq!(branch, Some(&b"z9hG4bK30239"[..]));
        let Some(Ok(Contact::Address(contact))) = message.contacts().next() else { panic!() };
        assert_eq!(contact.q, Some(330));
        assert_eq!(message.addresses(HeaderId::Route).map(Result::unwrap).count(), 1);
        assert_eq!(message.body().len(), 150);
    });
    with(&file("escnull.dat"), |message| {
        let mut buffer = [0; 32];
        let uri = Uri::parse(message.to().uri).unwrap();
        let length = uri.write_user(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"null-\0-null");
        assert_eq!(message.contacts().map(Result::unwrap).count(), 2);
    });
    with(&file("esc01.dat"), |message| {
        let uri = Uri::parse(message.to().uri).unwrap();
        assert!(uri.equivalent(&Uri::parse(b"sip:user@example.com").unwrap()));
        let StartLine::Request { uri, .. } = message.start_line() else { panic!() };
        assert_eq!(uri.host.raw(), b"example.net");
    });
    with(&file("esc02.dat"), |message| {
        assert_eq!(
            message.contacts().map(Result::unwrap).count(),
            2,
            "C%6Fntact is another header"
        );
    });
    with(&file("longreq.dat"), |message| {
        assert_eq!(message.vias().map(Result::unwrap).count(), 34);
    });
    with(&file("dblreq.dat"), |message| assert_eq!(message.body(), b""));
    with(&file("mpart01.dat"), |message| {
        assert_eq!(message.body().len(), 553);
        assert!(message.body().contains(&0));
    });
    with(&file("intmeth.dat"), |message| {
        assert_eq!(message.to().display, b"\"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\"");
    });
    with(&file("unkscm.dat"), |message| {
        let StartLine::Request { uri, .. } = message.start_line() else { panic!() };
        assert_eq!(uri.scheme, Scheme::Other(b"nobodyKnowsThisScheme"));
    });
    with(&file("regbadct.dat"), |message| assert!(message.contacts().next().unwrap().is_err()));
    with(&file("cparam01.dat"), |message| {
        let Some(Ok(Contact::Address(contact))) = message.contacts().next() else { panic!() };
        assert_eq!(contact.address.uri, b"sip:+19725552222@gw1.example.net");
    });
    with(&file("cparam02.dat"), |message| {
        let Some(Ok(Contact::Address(contact))) = message.contacts().next() else { panic!() };
        assert_eq!(contact.address.uri, b"sip:+19725552222@gw1.example.net;unknownparam");
    });
    with(&file("inv2543.dat"), |message| {
        assert_eq!(
            (message.via().branch, message.from().tag, message.max_forwards()),
            (None, None, None)
        );
    });
}
