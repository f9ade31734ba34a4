//! Compares what a proxy passed on with what it was made of, byte for byte where RFC 3261 16.6 and 16.7 say so, and what it
//! makes itself with 9.1 and 17.1.1.3. It never sends anything.

use super::check::top_via;
use super::message::{Message, long_name, param, raw_body, raw_rows};
use std::net::SocketAddr;

/// The rows of a request that a proxy may change; everything else is passed on as it came.
const CHANGED: [&str; 5] = ["via", "record-route", "route", "max-forwards", "max-breadth"];

/// Everything that is wrong with a request made of another, which came from `source`. `names` are what the node is called in Via.
pub(super) fn request(
    passed: &[u8],
    sent: &[u8],
    source: SocketAddr,
    names: &[String],
) -> Result<Vec<String>, String> {
    let (from, to) = (Message::read(sent)?, Message::read(passed)?);
    let mut wrong = unchanged(passed, sent, &CHANGED);
    let vias = to.values("Via");
    let own = vias.iter().take_while(|via| names.contains(&sent_by(via))).count();
    if own == 0 {
        wrong.push(format!("the top Via is {:?}, and the node is {names:?}", vias.first()));
    }
    for via in vias.iter().take(own) {
        let branch = param(via, "branch").unwrap_or_default();
        if !branch.starts_with("z9hG4bK") || branch.len() < 12 {
            wrong.push(format!("the branch of {via:?} is none of RFC 3261 8.1.1.7"));
        }
    }
    let (below, before) = (&vias[own..], from.values("Via"));
    match (below.split_first(), before.split_first()) {
        (Some((filled, rest)), Some((top, others))) if rest == others => {
            wrong.extend(top_via(top, filled, source));
        }
        _ => wrong.push(format!("below our Via are {below:?}, not {before:?}")),
    }
    let hops = |message: &Message| message.first("Max-Forwards").and_then(|n| n.parse().ok());
    let (left, came) = (hops(&to), hops(&from).map_or(Some(70), |n: usize| n.checked_sub(own)));
    if left != came {
        wrong.push(format!("Max-Forwards is {left:?}, not {came:?}"));
    }
    let (recorded, before) = (to.values("Record-Route"), from.values("Record-Route"));
    if !recorded.ends_with(&before) {
        wrong.push(format!("Record-Route is {recorded:?}, which does not end with {before:?}"));
    }
    Ok(wrong)
}

/// Everything that is wrong with a response that was passed on to whoever is one or more hops nearer to the caller.
pub(super) fn response(
    passed: &[u8],
    sent: &[u8],
    names: &[String],
) -> Result<Vec<String>, String> {
    let (from, to) = (Message::read(sent)?, Message::read(passed)?);
    let mut wrong = unchanged(passed, sent, &["via"]);
    if from.start != to.start {
        wrong.push(format!("the status line is {:?}, not {:?}", to.start, from.start));
    }
    let (vias, before) = (to.values("Via"), from.values("Via"));
    let own = before.iter().take_while(|via| names.contains(&sent_by(via))).count();
    if own == 0 || vias != before[own..] {
        wrong.push(format!("Via is {vias:?}, and {before:?} came"));
    }
    Ok(wrong)
}

/// Everything that is wrong with the CANCEL for an INVITE, RFC 3261 9.1.
pub(super) fn cancel(cancel: &Message, invite: &Message) -> Vec<String> {
    let mut wrong = hop_by_hop(cancel, invite);
    wrong.extend(equal("To", cancel, invite));
    for name in ["Require", "Proxy-Require"] {
        if cancel.first(name).is_some() {
            wrong.push(format!("a CANCEL must not have {name}"));
        }
    }
    wrong
}

/// Everything that is wrong with the ACK that answers a refusal of an INVITE, RFC 3261 17.1.1.3.
pub(super) fn ack(ack: &Message, invite: &Message, refusal: Option<&Message>) -> Vec<String> {
    let mut wrong = hop_by_hop(ack, invite);
    match refusal {
        Some(refusal) => wrong.extend(equal("To", ack, refusal)),
        None => wrong.push("an ACK for what was not refused".to_owned()),
    }
    wrong
}

/// RFC 3261 9.1 and 17.1.1.3 agree on most: one Via, that of the INVITE, and what says which request is meant.
fn hop_by_hop(message: &Message, invite: &Message) -> Vec<String> {
    let mut wrong = Vec::new();
    if message.uri() != invite.uri() {
        wrong.push(format!("the Request-URI is {:?}, not {:?}", message.uri(), invite.uri()));
    }
    for name in ["Call-ID", "From", "Route"] {
        wrong.extend(equal(name, message, invite));
    }
    let (vias, top) = (message.values("Via"), invite.values("Via"));
    if vias != top[..1] {
        wrong.push(format!("Via is {vias:?}, the INVITE has {top:?}"));
    }
    let number = |message: &Message| message.cseq().map(|(number, _)| number);
    if number(message) != number(invite) {
        wrong.push(format!("CSeq is {:?}, the INVITE has {:?}", message.cseq(), invite.cseq()));
    }
    if message.cseq().map(|(_, method)| method) != message.method() {
        wrong.push(format!("CSeq is {:?}", message.cseq()));
    }
    wrong
}

fn equal(name: &str, one: &Message, other: &Message) -> Option<String> {
    let (found, wanted) = (one.rows_of(name), other.rows_of(name));
    (found != wanted).then(|| format!("{name} is {found:?}, not {wanted:?}"))
}

/// Compares all rows but those of these names, and the body: names and values as written, folds, order, everything.
fn unchanged(passed: &[u8], sent: &[u8], changed: &[&str]) -> Vec<String> {
    let kept = |bytes: &[u8]| -> Vec<(String, Vec<u8>)> {
        let rows = raw_rows(bytes).into_iter();
        rows.filter(|row| !changed.contains(&long_name(&row.0).as_str()) && !is_ours(row)).collect()
    };
    let (found, wanted) = (kept(passed), kept(sent));
    let mut wrong = Vec::new();
    if found != wanted {
        let row = |row: Option<&(String, Vec<u8>)>| {
            row.map_or("nothing".to_owned(), |(name, value)| {
                format!("`{name}:{}`", value.escape_ascii())
            })
        };
        let length = found.len().max(wanted.len());
        let first = (0..length).find(|&index| found.get(index) != wanted.get(index)).unwrap_or(0);
        wrong.push(format!(
            "{} was passed on where {} came",
            row(found.get(first)),
            row(wanted.get(first))
        ));
    }
    if raw_body(passed) != raw_body(sent) {
        wrong.push("the body is another one".to_owned());
    }
    wrong
}

/// RFC 3261 22.3: a proxy may take away the credentials for its own realm.
fn is_ours((name, value): &(String, Vec<u8>)) -> bool {
    let value = String::from_utf8_lossy(value);
    long_name(name) == "proxy-authorization" && value.contains("realm=\"sip.test\"")
}

fn sent_by(via: &str) -> String {
    let before = via.split(';').next().unwrap_or_default();
    before.split_whitespace().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "INVITE sip:bob@sip.test SIP/2.0\nvia:  SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\n\
        Via: SIP/2.0/UDP h\nMax-Forwards: 70\nFrom: <sip:a@b>;tag=1\nt:  <sip:b@c>\nCall-ID: x\n\
        CSeq: 1 INVITE\nX-A: 1,\n  2\nRecord-Route: <sip:a;lr>\n\nbody";
    const PASSED: &str = "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKabcdef\n\
        via:  SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nVia: SIP/2.0/UDP h\nMax-Forwards: 69\n\
        From: <sip:a@b>;tag=1\nt:  <sip:b@c>\nCall-ID: x\nCSeq: 1 INVITE\nX-A: 1,\n  2\n\
        Record-Route: <sip:198.51.100.1;lr>\nRecord-Route: <sip:a;lr>\n\nbody";
    const ANSWER: &str = "SIP/2.0 200 Fine\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKabcdef\n\
        Via: SIP/2.0/UDP h\nX-A: 1,\n  2\n\nbody";
    const ANSWERED: &str = "SIP/2.0 200 Fine\nVia: SIP/2.0/UDP h\nX-A: 1,\n  2\n\nbody";

    fn wire(text: &str) -> Vec<u8> {
        text.replace('\n', "\r\n").into_bytes()
    }

    fn names() -> Vec<String> {
        vec!["198.51.100.1:5060".to_owned()]
    }

    #[test]
    fn what_a_proxy_must_not_do_to_a_request_is_missed() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let wrong = |passed: &str| {
            request(&wire(passed), &wire(SENT), source, &names()).unwrap().join("; ")
        };
        assert_eq!(wrong(PASSED), "");
        for (from, to, why) in [
            ("t:  <", "t: <", "`t: <sip:b@c>` was passed on where"),
            ("X-A: 1,\n  2\n", "X-A: 1, 2\n", "`X-A: 1, 2` was passed on where"),
            ("X-A: 1,\n  2\n", "", "was passed on where `X-A"),
            ("Call-ID: x\nCSeq: 1 INVITE\n", "CSeq: 1 INVITE\nCall-ID: x\n", "was passed on where"),
            ("body", "Body", "the body"),
            ("Max-Forwards: 69", "Max-Forwards: 70", "Max-Forwards is Some(70)"),
            ("198.51.100.1:5060", "198.51.100.2:5060", "the top Via is"),
            ("z9hG4bKabcdef", "abcdefghijklm", "the branch of"),
            ("Via: SIP/2.0/UDP h\n", "", "below our Via"),
            ("bK1\n", "bK1;received=192.0.2.9\n", "received is"),
            ("Record-Route: <sip:a;lr>\n", "", "Record-Route is"),
        ] {
            let found = wrong(&PASSED.replace(from, to));
            assert!(found.contains(why), "{from:?} -> {to:?}: {found:?}");
        }
    }

    #[test]
    fn what_a_proxy_must_not_do_to_a_response_is_missed() {
        let wrong =
            |passed: &str| response(&wire(passed), &wire(ANSWER), &names()).unwrap().join("; ");
        assert_eq!(wrong(ANSWERED), "");
        assert!(wrong(ANSWER).contains("Via is"));
        assert!(wrong(&ANSWERED.replace("Fine", "OK")).contains("the status line"));
        assert!(wrong(&ANSWERED.replace("X-A", "X-a")).contains("was passed on where"));
    }

    #[test]
    fn what_is_made_for_a_hop_is_compared_with_its_invite() {
        let read = |text: &str| Message::read(&wire(text)).unwrap();
        let invite = read(PASSED);
        let made = "CANCEL sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKabcdef\n\
            From: <sip:a@b>;tag=1\nTo: <sip:b@c>\nCall-ID: x\nCSeq: 1 CANCEL\n\n";
        assert_eq!(cancel(&read(made), &invite), Vec::<String>::new());
        for (from, to, why) in [
            ("@192.0.2.2", "@192.0.2.3", "the Request-URI"),
            ("abcdef", "abcdeg", "Via is"),
            ("To: <sip:b@c>", "To: <sip:b@c>;tag=2", "To is"),
            ("1 CANCEL", "2 CANCEL", "CSeq is"),
            ("Call-ID: x", "Call-ID: y", "Call-ID is"),
            ("Call-ID: x", "Route: <sip:a;lr>\nCall-ID: x", "Route is"),
            ("Call-ID: x", "Require: a\nCall-ID: x", "must not have Require"),
        ] {
            let found = cancel(&read(&made.replace(from, to)), &invite).join("; ");
            assert!(found.contains(why), "{from:?} -> {to:?}: {found:?}");
        }
        let acked = made.replace("CANCEL", "ACK").replace("c>", "c>;tag=2");
        let refusal = read("SIP/2.0 486 No\nTo: <sip:b@c>;tag=2\n\n");
        assert_eq!(ack(&read(&acked), &invite, Some(&refusal)), Vec::<String>::new());
        assert!(ack(&read(made), &invite, Some(&refusal)).join("; ").contains("To is"));
        assert!(ack(&read(&acked), &invite, None).join("; ").contains("not refused"));
    }
}
