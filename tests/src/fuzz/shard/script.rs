//! Requests put together from the parts that matter to a registrar, as bytes choose them, and ways to damage them.

use crate::fuzz::bytes::Bytes;

/// What has been written so far, so that most requests are newer than those before.
#[derive(Default)]
pub(super) struct Script {
    requests: u32,
}

const USERS: &[&str] = &[
    "alice@",
    "bob@",
    "%61lice@",
    "Alice@",
    "a%00b@",
    "a;b=c@",
    "alice:secret@",
    "",
    "%40@",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@",
];
const DOMAINS: &[&str] = &[
    "sip.test",
    "SIP.test",
    "voip.test",
    "b.test",
    "other.test",
    "192.0.2.1",
    "[2001:db8::1]",
    "[2001:DB8:0::1]",
    "sip.test:5060",
    "sip.test:5070",
    "[2001:db8::1]:5060",
];
const CONTACTS: &[&str] = &[
    "<sip:a@192.0.2.7>",
    "<sip:a@192.0.2.8:5070;x=y>",
    "sip:a@192.0.2.7",
    "<SIP:%61@192.0.2.7>",
    "\"A <\" <sip:b@c>;q=0.5",
    "<sips:a@192.0.2.7>",
    "<tel:+1555>",
    "<sip:c@d?Subject=x%0d>",
    "<sip:a@192.0.2.7>;expires=0",
    "<sip:b@c>;expires=1",
    "<sip:d@e>;expires=4294967295",
    "<sip:a@192.0.2.9>;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
    "<sip:b@192.0.2.9>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;ob",
    "<sip:b@192.0.2.9>;+sip.instance=\"<urn:uuid:1>\";reg-id=2",
    "*",
    "",
    "<>",
    "<sip:e@f>;q=2",
    "<sip:a@192.0.2.7;transport=udp>",
    "<sip:b@c;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx>",
];
const HEADERS: &[&str] = &[
    "Expires: 0",
    "Expires: 1",
    "Expires: 3600",
    "Expires: 99999999999",
    "Expires: x",
    "Require: path",
    "Require: outbound, x",
    "Proxy-Require: y",
    "Supported: path, outbound",
    "Supported: gruu",
    "k: path",
    "Path: <sip:p.test;lr>",
    "Path: <sip:p.test;lr;ob>, <sip:q.test;lr>",
    "Path: broken",
    "Route: <sip:sip.test;lr>",
    "Max-Forwards: 0",
    "Date: x",
    "X: y\r\n z",
    "Content-Length: 0",
    "Content-Length: 7",
    "l: 99",
    "Authorization: Digest username=\"alice\"",
];
const METHODS: &[&str] = &[
    "REGISTER",
    "OPTIONS",
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "MESSAGE",
    "SUBSCRIBE",
    "register",
    "X",
];
const BRANCHES: &[&str] = &[";branch=z9hG4bK", ";branch=b", ""];
const SENT_BY: &[&str] =
    &["192.0.2.7", "192.0.2.8:5099", "[2001:db8::7]:5060", "a.test", "h:0", "h:1"];
const VIA_PARAMS: &[&str] =
    &["", ";rport", ";rport=1;received=x", ";received=192.0.2.7", ";maddr=h"];

impl Script {
    /// A request, most often a REGISTER, most often sound.
    pub(super) fn request(&mut self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        self.requests += 1;
        // A few bytes choose among many things: the first tells which of them are usual.
        let usual = bytes.byte();
        let is_usual = |bit: u8| usual & 1 << bit == 0;
        let method = if is_usual(0) { "REGISTER" } else { bytes.one_of(METHODS) };
        let user = if is_usual(1) { "alice@" } else { bytes.one_of(USERS) };
        let domain = if is_usual(2) { "sip.test" } else { bytes.one_of(DOMAINS) };
        let request_domain = if is_usual(3) { "sip.test" } else { bytes.one_of(DOMAINS) };
        let branch = if is_usual(4) {
            format!(";branch=z9hG4bK{}", self.requests)
        } else {
            let branch = bytes.one_of(BRANCHES);
            let number = bytes.below(4);
            if number == 0 { branch.to_owned() } else { format!("{branch}{number}") }
        };
        let (sent_by, params) = if is_usual(5) {
            ("192.0.2.7:5060", ";rport")
        } else {
            (bytes.one_of(SENT_BY), bytes.one_of(VIA_PARAMS))
        };
        let (call_id, cseq) = if is_usual(6) {
            (0, self.requests)
        } else {
            (bytes.below(3), u32::from(bytes.byte()))
        };
        let mut text = format!(
            "{method} sip:{request_domain} SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by}{branch}{params}\r\n\
             From: <sip:{user}{domain}>;tag=f\r\nTo: <sip:{user}{domain}>\r\n\
             Call-ID: c{call_id}\r\nCSeq: {cseq} {method}\r\n"
        );
        if is_usual(7) {
            let contact = bytes.one_of(CONTACTS);
            text.push_str(&format!("Contact: {contact}\r\n"));
        } else {
            for _ in 0..bytes.below(4) {
                let contact = bytes.one_of(CONTACTS);
                text.push_str(if bytes.flag() { "m:" } else { "Contact: " });
                text.push_str(contact);
                if bytes.flag() {
                    text.push(',');
                    text.push_str(bytes.one_of(CONTACTS));
                }
                text.push_str("\r\n");
            }
            for _ in 0..bytes.below(4) {
                text.push_str(bytes.one_of(HEADERS));
                text.push_str("\r\n");
            }
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// What a parser stumbles over.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\0",
    b"\"",
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"@",
    b"%00",
    b"%",
    b"*",
    b"\xff",
    b"\\",
    b"(",
    b"?",
    b"=",
    b"\r\n\r\n",
    b";tag=",
    b";expires=0",
    b"Via: x\r\n",
    b"To: <sip:x@y>\r\n",
];

/// Damages a message in up to three places.
pub(in crate::fuzz) fn damage(message: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    for _ in 0..bytes.below(4) {
        let at = bytes.below(message.len().max(257)).min(message.len());
        let end = (at + bytes.below(64)).min(message.len());
        match bytes.below(5) {
            0 => message[at..end.min(at + 1)].fill(bytes.byte()),
            1 => drop(message.splice(at..at, bytes.one_of(TOKENS).iter().copied())),
            2 => drop(message.drain(at..end)),
            3 => {
                let again = message[at..end].to_vec();
                message.splice(at..at, again);
            }
            _ => message.truncate(at),
        }
    }
}
