//! What RFC 3261 16 promises of every message that goes through a proxy, checked on what both sides saw: Via, Record-Route, Route and
//! Max-Forwards as they have to be, and everything else as it was sent. It knows nothing of scenarios.

use super::trace::{Message, Trace};
use std::net::SocketAddr;

/// What lies between the parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    /// The addresses of the server under test.
    pub(crate) server: [SocketAddr; 2],
    /// How often a message passes a proxy, ours or another.
    pub(crate) proxies: usize,
    /// How many Record-Route values a request has that begins a dialog.
    pub(crate) recorded: usize,
}

/// The method that scenarios send and no RFC knows.
const UNKNOWN: &str = "CHAT";

/// Who saw what.
pub(crate) type Seen<'a> = (SocketAddr, &'a Trace);

/// How many messages were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) requests: usize,
    pub(crate) responses: usize,
}

/// Compares every message that somebody received with what somebody else sent.
///
/// # Errors
/// The first difference that a proxy may not make.
pub(crate) fn hold(between: Between, parts: &[Seen<'_>]) -> Result<Compared, String> {
    let mut compared = Compared::default();
    for (address, trace) in parts {
        for received in trace.side(false) {
            let others = parts.iter().filter(|(other, _)| other != address);
            if received.is_request() {
                if is_hop_by_hop(received, trace) {
                    one_via(received)?;
                    continue;
                }
                let sent = others
                    .filter_map(|(from, other)| Some((*from, sent_as(received, other)?)))
                    .next()
                    .ok_or_else(|| differ("nobody sent it", None, received))?;
                request(between, sent, received)?;
                compared.requests += 1;
            } else {
                // RFC 3261 16.7 step 3: our own Via is gone, theirs is left.
                one_via(received)?;
                let Some(sent) = others.filter_map(|(_, other)| sent_as(received, other)).next()
                else {
                    continue;
                };
                unchanged(sent, received, &["via"])?;
                compared.responses += 1;
            }
        }
    }
    Ok(compared)
}

/// CANCEL, and ACK to what is no 2xx: RFC 3261 9.1 and 17.1.1.3.
fn is_hop_by_hop(received: &Message, trace: &Trace) -> bool {
    let refused = |sent: &Message| {
        sent.code() >= 300
            && sent.method() == "INVITE"
            && sent.value("call-id") == received.value("call-id")
            && sent.tag("to") == received.tag("to")
    };
    match received.method() {
        "CANCEL" => true,
        "ACK" => trace.side(true).any(refused),
        _ => false,
    }
}

/// The message in `other` of which this is the copy that came through.
fn sent_as<'a>(received: &Message, other: &'a Trace) -> Option<&'a Message> {
    let same = |sent: &Message, name: &str| sent.value(name) == received.value(name);
    other.side(true).find(|sent| {
        sent.code() == received.code()
            && ["call-id", "cseq", "from", "to"].iter().all(|name| same(sent, name))
            // RFC 3261 8.1.1.7: each request of a client has a branch of its own.
            && (!received.is_request() || own_branch(received, sent))
    })
}

fn own_branch(received: &Message, sent: &Message) -> bool {
    let own = branch(sent.value("via"));
    received.values("via").iter().any(|via| branch(via) == own)
}

fn branch(via: &str) -> &str {
    parameter(via, "branch").unwrap_or_default()
}

fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|one| {
        let (found, value) = one.split_once('=').unwrap_or((one, ""));
        (found.trim().eq_ignore_ascii_case(name)).then_some(value.trim())
    })
}

/// RFC 3261 16.6 steps 2 to 8.
fn request(
    between: Between,
    (from, sent): (SocketAddr, &Message),
    received: &Message,
) -> Result<(), String> {
    let fails = |what: &str| Err(differ(what, Some(sent), received));
    let (vias, before) = (received.values("via"), sent.values("via"));
    if vias.len() != before.len() + between.proxies {
        return fails("not one Via for each hop");
    }
    for via in &vias {
        if !branch(via).starts_with("z9hG4bK") {
            return fails("a branch without the magic cookie");
        }
    }
    let is_ours = |value: &str| between.server.iter().any(|ours| value.contains(&ours.to_string()));
    if !vias[..between.proxies].iter().any(|via| is_ours(via)) {
        return fails("no Via of the server");
    }
    // RFC 3261 18.2.1, RFC 3581 4.
    let last = vias[between.proxies];
    let port = from.port().to_string();
    if branch(last) != branch(before[0])
        || parameter(last, "received")
            .is_none_or(|ip| ip.trim_matches(['[', ']']) != from.ip().to_string())
        || parameter(last, "rport") != Some(port.as_str())
    {
        return fails("the sender's Via, with received and rport, is not below");
    }
    let hops = |message: &Message| message.value("max-forwards").parse::<usize>().unwrap_or(999);
    if hops(received) + between.proxies != hops(sent) {
        return fails("Max-Forwards is not one less a hop");
    }
    let begins =
        sent.tag("to").is_empty() && ["INVITE", "SUBSCRIBE", "REFER"].contains(&sent.method());
    let recorded = received.values("record-route");
    // RFC 3261 16.6 step 4: nobody knows whether an unknown method begins a dialog.
    let may_begin = sent.tag("to").is_empty() && sent.method() == UNKNOWN;
    if recorded.len() != if begins { between.recorded } else { 0 }
        && !(may_begin && recorded.len() == between.recorded)
    {
        return fails("not as many Record-Route values as there have to be");
    }
    if begins && !recorded.iter().any(|value| is_ours(value)) {
        return fails("no Record-Route of the server");
    }
    if recorded.iter().any(|value| !value.contains(";lr")) {
        return fails("a Record-Route without lr");
    }
    if !received.values("route").is_empty() {
        return fails("a Route is left");
    }
    if !sent.tag("to").is_empty() && sent.uri() != received.uri() {
        return fails("the Request-URI of a request in a dialog was changed");
    }
    // RFC 5393 5.3.3.3: where it forks.
    unchanged(sent, received, &["via", "max-forwards", "record-route", "route", "max-breadth"])
}

/// Everything but these headers is as it was sent, in the same order, and so is the body.
fn unchanged(sent: &Message, received: &Message, but: &[&str]) -> Result<(), String> {
    let kept = |message: &Message| -> Vec<String> {
        let fields = message.headers.iter().filter(|(name, _)| !but.contains(&name.as_str()));
        fields.map(|(_, field)| field.line.clone()).collect()
    };
    let (before, after) = (kept(sent), kept(received));
    if let Some(lost) = before.iter().find(|line| !after.contains(line)) {
        return Err(differ(&format!("`{lost}` is lost or changed"), Some(sent), received));
    }
    if before != after {
        return Err(differ("headers were added or have another order", Some(sent), received));
    }
    if sent.body != received.body {
        return Err(differ("the body is another", Some(sent), received));
    }
    Ok(())
}

fn one_via(message: &Message) -> Result<(), String> {
    let count = message.values("via").len();
    if count == 1 { Ok(()) } else { Err(differ(&format!("{count} Vias"), None, message)) }
}

fn differ(what: &str, sent: Option<&Message>, received: &Message) -> String {
    let sent = sent.map_or(String::new(), |sent| format!("    sent:\n{}\n", sent.text()));
    format!("{what}:\n{sent}    received:\n{}", received.text())
}
