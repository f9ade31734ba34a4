//! The 49 messages of RFC 4475, as far as a parser settles them; `tests/torture/README.md` has the table. What only a registrar
//! or proxy can tell is theirs.

use super::*;
use std::path::{Path, PathBuf};

/// The folder of the corpus, which a copy of this crate alone does not have.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/torture");
    if folder.is_dir() {
        return Some(folder);
    }
    std::eprintln!("skipped: {} is not there", folder.display());
    None
}

#[test]
fn every_message_is_settled_as_the_rfc_says() {
    let Some(folder) = corpus() else { return };
    let table = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut messages = 0;
    for line in table.lines() {
        let cells: alloc::vec::Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, section, expected, _answer, _why, ""] = cells[..] else { continue };
        if !section.starts_with("3.") {
            continue;
        }
        let file = folder.join("rfc4475").join(name).with_extension("dat");
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(settled(&bytes), expected, "{name}, RFC 4475 {section}");
        messages += 1;
    }
    assert_eq!(messages, 49);
}

/// What the third column says: the method or the status code of what is accepted, or the status code of the refusal.
fn settled(bytes: &[u8]) -> String {
    let mut index = Index::new(64);
    let peeked = peek(bytes, &mut index);
    match Message::parse(bytes, &mut index) {
        Ok(message) => match *message.start_line() {
            StartLine::Request { method, .. } => {
                assert!(matches!(peeked, Peek::Request { .. }), "{peeked:?}");
                String::from_utf8_lossy(method.name()).into_owned()
            }
            StartLine::Response { status, .. } => std::format!("{status}"),
        },
        Err(malformed) => std::format!("refuses {}", malformed.status),
    }
}

#[test]
fn details() {
    let Some(folder) = corpus() else { return };
    let file = |name: &str| std::fs::read(folder.join("rfc4475").join(name)).unwrap();
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
