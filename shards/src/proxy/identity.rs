//! What a message asserts about who sends it, RFC 3325: which lines do, and the message without them. Whom to believe is decided
//! elsewhere.

use crate::wire::{Header, HeaderId, Message};
use alloc::vec::Vec;

/// The headers by which identities are asserted.
const HEADERS: [HeaderId; 3] =
    [HeaderId::PAssertedIdentity, HeaderId::PPreferredIdentity, HeaderId::RemotePartyId];

/// Whether a message asserts something about an identity.
#[inline]
pub(super) fn is_asserted(message: &Message<'_>) -> bool {
    HEADERS.iter().any(|&id| message.has(id))
}

/// The lines that do, by header.
pub(super) fn lines<'m>(message: &Message<'m>) -> impl Iterator<Item = Header<'m>> + use<'m> {
    HEADERS.map(|id| message.lines(id)).into_iter().flatten()
}

/// Appends a message without them.
pub(super) fn append_without(message: &Message<'_>, to: &mut Vec<u8>) {
    let bytes = message.bytes();
    to.extend_from_slice(&bytes[..message.start_line_end()]);
    for line in message.headers().filter(|line| !HEADERS.contains(&line.id)) {
        to.extend_from_slice(line.raw);
    }
    // From the empty line on.
    to.extend_from_slice(&bytes[message.headers_end() - 2..message.end()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::with;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn what_is_asserted_goes_and_all_else_stays() {
        let text = |above: &str, below: &str| {
            format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n{above}From: <sip:a@a.test>;tag=f\r\n\
                 To: <sip:b@b.test>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n{below}Content-Length: 2\r\n\r\nhi"
            )
        };
        let above = "P-Asserted-Identity: <sip:x@y>\r\nSubject: z\r\nREMOTE-PARTY-ID : <sip:x@y>,\r\n <sip:z@y>\r\n";
        let given = text(above, "P-Preferred-Identity: <sip:p@q>\r\n") + "more than it says";
        let expected = text("Subject: z\r\n", "");
        with(given.as_bytes(), |message| {
            assert!(is_asserted(message));
            assert_eq!(lines(message).count(), 3);
            let mut without = Vec::new();
            append_without(message, &mut without);
            assert_eq!(String::from_utf8(without).unwrap(), expected);
        });
        with(expected.as_bytes(), |message| assert!(!is_asserted(message)));
    }
}
