//! Tests of the message layer as a whole.

extern crate std;

mod grammar;
mod hostile;
mod response;
pub(crate) mod roundtrip;
mod torture;

use super::*;
use alloc::string::String;

/// Peeks and parses; the message must be sound.
pub(crate) fn with<T>(text: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut index = Index::new(64);
    let _ = peek(text, &mut index);
    match Message::parse(text, &mut index) {
        Ok(message) => check(&message),
        Err(error) => panic!("{error:?} in\n{}", String::from_utf8_lossy(text)),
    }
}

/// Peeks and parses; the message must be malformed.
fn defect(text: &[u8]) -> Malformed {
    let mut index = Index::new(64);
    let peeked = peek(text, &mut index);
    let parsed = Message::parse(text, &mut index).map(|message| message.call_id().len());
    let Err(malformed) = parsed else { panic!("accepted:\n{}", String::from_utf8_lossy(text)) };
    assert_eq!(index.failure(), Some(malformed), "the index remembers it");
    if let Peek::Malformed(first) = peeked {
        assert_eq!(first, malformed);
    }
    malformed
}

/// A REGISTER with one header line replaced, or added in front of the others where none has its name.
fn register_with(line: &str) -> String {
    let lines = [
        "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKabc;rport",
        "Max-Forwards: 70",
        "From: \"Alice\" <sip:alice@sip.test>;tag=a1",
        "To: <sip:alice@sip.test>",
        "Call-ID: c1@192.0.2.1",
        "CSeq: 1 REGISTER",
        "Contact: <sip:alice@192.0.2.1:5062>;expires=60",
        "Content-Length: 0",
    ];
    let name = |line: &str| line.split(':').next().map(|name| name.trim_end().to_ascii_lowercase());
    let mut text = String::from("REGISTER sip:sip.test SIP/2.0\r\n");
    if !lines.iter().any(|known| name(known) == name(line)) {
        text = text + line + "\r\n";
    }
    for known in lines {
        text = text + if name(known) == name(line) { line } else { known } + "\r\n";
    }
    text + "\r\n"
}
