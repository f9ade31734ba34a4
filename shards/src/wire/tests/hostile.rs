//! What an attacker would send: smuggled lines, floods of lines, sizes at the edges, inputs made to be slow.

use super::*;
use alloc::format;
use alloc::vec::Vec;

#[test]
fn only_crlf_ends_a_line() {
    let sound = register_with("X: y");
    let start = sound.find("\r\n").unwrap() + 2;
    for at in start..sound.len() - 2 {
        for bare in ["\r", "\n", "\n\r", "\r\r\n", "\n\n"] {
            if bare == "\n\r" && sound.as_bytes()[at - 1] == b'\r' {
                // Two sound line ends: the headers are over.
                continue;
            }
            let mut text = String::from(&sound);
            text.insert_str(at, bare);
            let mut index = Index::new(64);
            let _ = peek(text.as_bytes(), &mut index);
            match Message::parse(text.as_bytes(), &mut index) {
                Err(malformed) => assert!(malformed.status >= 400),
                Ok(_) => panic!("accepted with {bare:?} at {at}"),
            };
        }
    }
    let text = register_with("X: a\nVia: SIP/2.0/UDP evil");
    let malformed = defect(text.as_bytes());
    assert_eq!(malformed.reason, "Bare CR Or LF");
    assert_eq!(malformed.offset as usize, text.find("a\n").unwrap() + 1);
}

#[test]
fn a_broken_line_is_in_no_index() {
    let text = register_with("X: a\nVia: SIP/2.0/UDP evil\r\n folded");
    let mut index = Index::new(64);
    let _ = peek(text.as_bytes(), &mut index);
    assert!(Message::parse(text.as_bytes(), &mut index).is_err());
    let mut lines = index.lines().iter();
    assert!(!lines.any(|line| {
        text.as_bytes()[usize::from(line.start())..usize::from(line.end())].contains(&b'e')
            && text[usize::from(line.start())..usize::from(line.end())].contains("evil")
    }));
    assert_eq!(index.lines().len(), 8);
}

#[test]
fn lines_are_bounded() {
    let mut text = register_with("X: y").into_bytes();
    text.truncate(text.len() - 2);
    let known = 9;
    for extra in [64 - known, 65 - known, 1000] {
        let mut text = text.clone();
        for _ in 0..extra {
            text.extend_from_slice(b"y:\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let mut index = Index::new(64);
        let _ = peek(&text, &mut index);
        let result = Message::parse(&text, &mut index).map(|_| ());
        if extra + known <= 64 {
            assert_eq!(result, Ok(()));
        } else {
            assert_eq!(result.unwrap_err().reason, "Too Many Header Lines");
            assert_eq!(index.lines().len(), 64);
        }
    }
}

#[test]
fn sizes_at_the_edges() {
    let head = register_with("Content-Length: 0").replace("Content-Length: 0\r\n", "");
    for (size, status) in [(65_535, None), (65_536, Some(513)), (100_000, Some(513))] {
        let mut text = head.clone().into_bytes();
        text.resize(size, b'x');
        let mut index = Index::new(64);
        let _ = peek(&text, &mut index);
        let result = Message::parse(&text, &mut index);
        assert_eq!(
            result.map(|message| message.body().len()).map_err(|malformed| malformed.status).err(),
            status
        );
    }
    // Headers up to the last byte.
    let mut text = head.clone().into_bytes();
    text.truncate(text.len() - 2);
    text.extend_from_slice(b"X: ");
    text.resize(65_535 - 4, b'x');
    text.extend_from_slice(b"\r\n\r\n");
    with(&text, |message| assert_eq!(message.body(), b""));
    // Every length of a last line, so that its end meets every place in a block.
    for length in 0..200 {
        let filler = "x".repeat(length);
        let text = head.replace("Max-Forwards: 70", &format!("X: {filler}\r\nMax-Forwards: 70"));
        with(text.as_bytes(), |message| assert_eq!(message.max_forwards(), Some(70)));
        assert_eq!(defect(&text.as_bytes()[..text.len() - 2]).reason, "Missing Empty Line");
    }
}

#[test]
fn every_truncation_is_refused() {
    let text = register_with("Contact: <sip:a@b>;q=0.5;+sip.instance=\"<urn:x>\", *");
    let mut index = Index::new(64);
    for length in 0..text.len() {
        let bytes = &text.as_bytes()[..length];
        let _ = peek(bytes, &mut index);
        assert!(Message::parse(bytes, &mut index).is_err(), "{length}");
    }
}

#[test]
fn no_value_is_read_past_its_line() {
    // A quote, a bracket, a display name left open: what would close them stands in the next line.
    for open in ["To: \"x", "To: <sip:a@b", "To: x y", "Via: SIP/2.0/UDP h;x=\"", "From: \"a\\"] {
        let text = register_with(open)
            .replace("Content-Length", "X: \" <sip:c@d>;tag=1\r\nContent-Length");
        assert_eq!(defect(text.as_bytes()).status, 400, "{open}");
    }
}

/// Work grows with the size of the message and not with its square: many values that each look for an end far away.
#[test]
fn hostile_values_take_linear_time() {
    let bound = std::time::Duration::from_secs(5);
    let clock = Clock::start();
    let head = register_with("X: y");
    let head = head.strip_suffix("\r\n").unwrap();
    for line in [
        "m:\"\r\n",
        "m:x\r\n",
        "m:<\r\n",
        "m:sip:a@b;c\r\n",
        "v:\r\n",
        "o\r\n",
        "y\r\n : z\r\n",
        "~~~~~~~~~~~~~~~~",
    ] {
        let mut text = Vec::from(head.as_bytes());
        while text.len() < 65_000 {
            text.extend_from_slice(line.as_bytes());
        }
        text.extend_from_slice(b"\r\n\r\n");
        let mut index = Index::new(65_000);
        for _ in 0..2 {
            let _ = peek(&text, &mut index);
            if let Ok(message) = Message::parse(&text, &mut index) {
                let _ = message.contacts().count();
                let _ = message.vias().count();
            }
        }
    }
    assert!(clock.elapsed() < bound, "quadratic: {:?}", clock.elapsed());
}

/// Wall time for the one test that is about time.
#[allow(clippy::disallowed_types, reason = "the test measures real time")]
struct Clock(std::time::SystemTime);

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the test measures real time"
    )]
    fn start() -> Self {
        Clock(std::time::SystemTime::now())
    }

    fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed().unwrap_or_default()
    }
}
