//! The cheap look before a move and the parser say the same of every message that the parser accepts, whatever the scratch was used
//! for before, and whatever stands behind the message.

use super::HEADER_LINES_MAX;
use shards::wire::{self, HeaderId, Home, Index, Malformed, Message, Method, Peek, StartLine};

/// What is compared of a message that was accepted.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    start_line: Vec<u8>,
    lines: Vec<(HeaderId, Vec<u8>, u16)>,
    body: Vec<u8>,
    is_measured: bool,
}

/// Peek and parser agree.
pub fn peek(bytes: &[u8]) {
    let mut fresh = Index::new(HEADER_LINES_MAX);
    let seen = wire::peek(bytes, &mut fresh);
    let read = agreed(bytes, seen, &mut fresh);

    let mut used = Index::new(HEADER_LINES_MAX);
    wire::peek(ANOTHER, &mut used);
    assert!(Message::parse(ANOTHER, &mut used).is_ok());
    let again = wire::peek(bytes, &mut used);
    assert_eq!(again, seen, "what was read before shows through");
    assert_eq!(agreed(bytes, again, &mut used), read, "what was read before shows through");

    let Ok(Read { is_measured, body, .. }) = &read else { return };
    // RFC 3261 18.3: what stands behind the body is ignored, and a body that is too short is refused.
    let longer = [bytes, b"\r\n\r\nINVITE sip:x SIP/2.0\r\nVia: evil\r\n\r\n"].concat();
    if longer.len() <= Index::MESSAGE_BYTES_MAX {
        let seen_longer = wire::peek(&longer, &mut used);
        assert_eq!(seen_longer, seen);
        let read_longer = agreed(&longer, seen_longer, &mut used);
        if *is_measured {
            assert_eq!(read_longer, read, "what stands behind the body was read");
        }
    }
    if *is_measured && !body.is_empty() {
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let shorter = &bytes[..end + body.len() - 1];
        let seen = wire::peek(shorter, &mut used);
        assert!(agreed(shorter, seen, &mut used).is_err(), "a body that is cut off was accepted");
    }
}

/// A message that leaves as much as possible behind in an index.
const ANOTHER: &[u8] = b"REGISTER sip:another.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bKanother;rport;received=192.0.2.8, SIP/2.0/TCP b\r\n\
    Max-Forwards: 7\r\nTo: \"Another\" <sip:another@another.test>;tag=a\r\n\
    From: <sip:another@another.test>;tag=b\r\nCall-ID: another\r\nCSeq: 77 REGISTER\r\n\
    Contact: <sip:another@192.0.2.9>;expires=7\r\nExpires: 8\r\nPath: <sip:p.test;lr>\r\n\
    Supported: path\r\nRequire: outbound\r\nProxy-Require: x\r\nRoute: <sip:r.test;lr>\r\n\
    Content-Length: 4\r\n\r\nbody";

/// Parses, and compares with what the peek has seen.
fn agreed(bytes: &[u8], seen: Peek<'_>, index: &mut Index) -> Result<Read, Malformed> {
    let message = match Message::parse(bytes, index) {
        Ok(message) => message,
        Err(malformed) => {
            if let Peek::Malformed(first) = seen {
                assert_eq!(first, malformed, "the first defect is the same for both");
            }
            return Err(malformed);
        }
    };
    match (seen, *message.start_line()) {
        (Peek::Request { method, home }, StartLine::Request { method: parsed, .. }) => {
            assert_eq!(method, parsed);
            let expected = if method == Method::Register {
                Home::AddressOfRecord(message.to().uri)
            } else {
                Home::CallId(message.call_id())
            };
            assert_eq!(home, expected);
        }
        (Peek::Response { status, branch }, StartLine::Response { status: parsed, .. }) => {
            assert_eq!((status, branch), (parsed, message.via().branch));
        }
        (seen, parsed) => panic!("the peek saw {seen:?}, the parser {parsed:?}"),
    }
    let start_end = bytes.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
    Ok(Read {
        start_line: bytes[..start_end].to_vec(),
        lines: message.headers().map(|line| (line.id, line.raw.to_vec(), line.offset)).collect(),
        body: message.body().to_vec(),
        is_measured: message.has(HeaderId::ContentLength),
    })
}
