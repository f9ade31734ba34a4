//! Requests and responses of a call, put together from the parts that matter to a proxy and from what the node has sent, as bytes
//! choose them.

use crate::fuzz::bytes::Bytes;
use std::net::IpAddr;

/// What has been written so far, so that most requests are newer than those before.
#[derive(Default)]
pub(super) struct Script {
    requests: usize,
}

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const CONTACTS: [&str; 8] = [
    "<sip:a@192.0.2.7>",
    "<sip:a@192.0.2.8:5060;x=y>;q=0.5",
    "<sip:a@192.0.2.8:5062>",
    "<sip:a@192.0.2.99?Subject=x>",
    "<sip:bob@sip.test;x=1>;q=0.5",
    "<sip:a@[2001:db8::7];method=INVITE>",
    "<tel:+1555>",
    "<sip:a@h.test;transport=tcp>;q=0.1",
];
const PATHS: [&str; 6] = [
    "<sip:192.0.2.70;lr>",
    "<sip:203.0.113.9;lr>, <sip:192.0.2.1;lr>",
    "<sip:edge.carrier-b.test;lr>",
    "<sip:192.0.2.1:5060;lr>",
    "<sip:192.0.2.70>, <sip:q.test;lr>",
    "<sip:192.0.2.70:0;lr>",
];
const METHODS: [&str; 9] =
    ["INVITE", "MESSAGE", "BYE", "ACK", "SUBSCRIBE", "OPTIONS", "INFO", "CANCEL", "X"];
const TARGETS: [&str; 12] = [
    "sip:bob@sip.test",
    "sip:alice@sip.test",
    "sip:carol@voip.test;x=y",
    "sip:nobody@sip.test",
    "sip:x@carrier-a.test",
    "sip:x@carrier-b.test",
    "sip:bob@192.0.2.1",
    "sip:x@203.0.113.9:5070",
    "sip:192.0.2.1;lr",
    "sip:sip.test",
    "tel:+1555",
    "sip:x@h.test;maddr=224.0.0.1",
];
const FROMS: [&str; 4] = [
    "<sip:alice@sip.test>",
    "<sip:eve@else.test>",
    "Bob <sip:bob@voip.test>",
    "<sip:x@carrier-a.test>",
];
const LINES: [&str; 12] = [
    "Max-Forwards: 0",
    "Max-Forwards: 1",
    "Max-Breadth: 1",
    "Max-Breadth: 3",
    "Max-Breadth: 0",
    "Route: <sip:192.0.2.1;lr>",
    "Route: <sip:203.0.113.9;lr>",
    "Route: <sip:edge.sip.test:5060;lr>, <sip:192.0.2.70>",
    "Record-Route: <sip:203.0.113.9;lr>",
    "Proxy-Require: x",
    "Timestamp: 1.5",
    "Via: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKx",
];
const STATUSES: [&str; 16] = [
    "100 Trying",
    "180 Ringing",
    "183 Progress",
    "200 OK",
    "200 OK",
    "302 Moved",
    "401 Unauthorized",
    "404 Not Found",
    "407 Proxy Authentication Required",
    "408 Timeout",
    "486 Busy Here",
    "487 Request Terminated",
    "500 Error",
    "503 Unavailable",
    "600 Busy Everywhere",
    "603 Decline",
];

impl Script {
    pub(super) fn register(&mut self, number: usize, bytes: &mut Bytes<'_>) -> Vec<u8> {
        self.requests += 1;
        let (user, count) = (USERS[number % USERS.len()], self.requests);
        let mut text = format!(
            "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKr{count};rport\r\n\
             From: <sip:{user}@sip.test>;tag=f\r\nTo: <sip:{user}@sip.test>\r\nCall-ID: r\r\nCSeq: {count} REGISTER\r\n"
        );
        for _ in 0..=bytes.below(3) {
            text += &format!("Contact: {}\r\n", bytes.one_of(&CONTACTS));
        }
        if bytes.below(4) == 3 {
            text += &format!("Supported: path\r\nPath: {}\r\n", bytes.one_of(&PATHS));
        }
        (text + "\r\n").into_bytes()
    }

    /// A request of a peer; within the dialog of a response that the node has sent, where there is one and it shall be.
    pub(super) fn request(
        &mut self,
        peer: &str,
        seen: Option<&[u8]>,
        bytes: &mut Bytes<'_>,
    ) -> Vec<u8> {
        self.requests += 1;
        // A few bytes choose among many things: the first tells which of them are usual.
        let usual = bytes.byte();
        let is_usual = |bit: u8| usual & 1 << bit == 0;
        let method = if is_usual(0) { "INVITE" } else { bytes.one_of(&METHODS) };
        let uri = if is_usual(1) { "sip:bob@sip.test" } else { bytes.one_of(&TARGETS) };
        let from = if is_usual(2) { FROMS[0] } else { bytes.one_of(&FROMS) };
        let branch = if is_usual(3) {
            format!(";branch=z9hG4bK{}", self.requests)
        } else {
            bytes.one_of(&[";branch=z9hG4bKa", ";branch=z9hG4bKb", ";branch=c", ""]).to_owned()
        };
        let call_id = if is_usual(4) { 0 } else { bytes.below(4) };
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {peer}{branch};rport\r\n\
             Contact: <sip:a@{peer}>\r\n"
        );
        let within = seen.filter(|_| !is_usual(5)).and_then(within);
        text += &within.unwrap_or_else(|| {
            let to = if bytes.below(8) == 7 { ";tag=t" } else { "" };
            format!("From: {from};tag=f\r\nTo: <sip:bob@sip.test>{to}\r\nCall-ID: c{call_id}\r\n")
        });
        text += &format!("CSeq: {} {method}\r\n", bytes.below(3) + 1);
        if !is_usual(6) {
            for _ in 0..=bytes.below(3) {
                text += &format!("{}\r\n", bytes.one_of(&LINES));
            }
        }
        if is_usual(7) {
            text += "Content-Length: 4\r\n\r\nv=0\n";
        } else {
            // As large as messages may be, now and then.
            text += &format!("X: {}\r\n\r\n", "x".repeat(bytes.below(4) * 900));
        }
        text.into_bytes()
    }
}

/// What a request within a dialog repeats of the response that began it, from either side.
fn within(response: &[u8]) -> Option<String> {
    let (from, to) = (line(response, "From")?, line(response, "To")?);
    let call_id = line(response, "Call-ID")?;
    let mut text = format!("From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n");
    let routes: Vec<String> = lines(response, "Record-Route").collect();
    for route in routes.iter().rev() {
        text += &format!("Route: {route}\r\n");
    }
    Some(text)
}

/// A response to a request that the node has sent.
pub(super) fn response(request: &[u8], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let status = bytes.one_of(&STATUSES);
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route"] {
        for value in lines(request, name) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        let value = line(request, name).unwrap_or_default();
        let tag = if name == "To" && !value.contains(";tag=") { ";tag=b" } else { "" };
        text += &format!("{name}: {value}{tag}\r\n");
    }
    if status.starts_with("40") {
        for number in 0..bytes.below(40) {
            text += &format!("Proxy-Authenticate: Digest realm=\"{number}\"\r\n");
        }
    }
    (text + "Contact: <sip:b@192.0.2.8>\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A CANCEL or ACK with the branch of an INVITE.
pub(super) fn of_same_branch(invite: &[u8], method: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(invite);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let head = head.replacen("INVITE", method, 1).replace(" INVITE\r\n", &format!(" {method}\r\n"));
    let lines = head.split("\r\n").filter(|line| !line.starts_with("Content-Length"));
    (lines.collect::<Vec<_>>().join("\r\n") + "\r\n\r\n").into_bytes()
}

/// Sent-by and branch, Call-ID, method and whose it is, where the branch tells transactions apart.
pub(super) fn transaction(message: &[u8], ip: IpAddr) -> Option<super::Transaction> {
    let via = line(message, "Via")?;
    let branch = via.split(";branch=").nth(1)?.split(';').next()?;
    let branch = branch.strip_prefix("z9hG4bK").filter(|rest| !rest.is_empty())?;
    let sent_by = via.split(';').next()?;
    let (call_id, cseq) = (line(message, "Call-ID")?, line(message, "CSeq")?);
    // A REGISTER whose record made room gets its bindings again, with the time that is left to them.
    let method = cseq.split(' ').nth(1).filter(|&method| method != "REGISTER")?;
    Some((format!("{sent_by};{branch}").into_bytes(), call_id.into_bytes(), method.into(), ip))
}

/// Whether a From is of our domains, as it is written here.
pub(super) fn is_ours(from: &str) -> bool {
    !from.contains("@else.test") && !from.contains("@carrier-a.test")
}

/// The first value of a header, as it is written here.
pub(super) fn line(message: &[u8], name: &str) -> Option<String> {
    lines(message, name).next()
}

fn lines<'m>(message: &'m [u8], name: &'m str) -> impl Iterator<Item = String> + use<'m> {
    let head = message.split(|&byte| byte == b'\n');
    head.filter_map(move |line| {
        let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b": ")?;
        Some(String::from_utf8_lossy(rest.strip_suffix(b"\r").unwrap_or(rest)).into_owned())
    })
}
