//! Compares a message with what a flow says of it, and a response with the request it answers. It never sends anything.

use super::message::{Message, split_list};
use super::script::{Check, Contact, Wanted};
use regex_lite::Regex;
use std::net::SocketAddr;

/// Everything that is wrong with `message` according to what is wanted and the checks.
pub(super) fn against_flow(message: &Message, wanted: &Wanted, checks: &[Check]) -> Vec<String> {
    let mut wrong = Vec::new();
    match wanted {
        Wanted::Status(status) if message.status() != Some(*status) => {
            wrong.push(format!("status {status} was expected"));
        }
        Wanted::Method(method) if message.method() != Some(method) => {
            wrong.push(format!("{method} was expected"));
        }
        Wanted::Status(_) | Wanted::Method(_) => {}
    }
    let wanted: Vec<&Contact> = checks
        .iter()
        .filter_map(|check| if let Check::Contact(contact) = check { Some(contact) } else { None })
        .collect();
    if !wanted.is_empty() {
        wrong.extend(contacts(message, &wanted));
    }
    let equals = |check: &Check| match check {
        Check::Equals(name, value) => Some((name.clone(), value.clone())),
        Check::Matches(..)
        | Check::Has(_)
        | Check::HasNot(_)
        | Check::Reason(_)
        | Check::Uri(_)
        | Check::Contact(_)
        | Check::NoContacts
        | Check::Keep(..)
        | Check::Body(_)
        | Check::Unmirrored
        | Check::Changed => None,
    };
    let rows: Vec<(String, String)> = checks.iter().filter_map(equals).collect();
    let mut compared: Vec<&str> = Vec::new();
    for (name, _) in &rows {
        if !compared.contains(&name.as_str()) {
            compared.push(name);
            let of_name = rows.iter().filter(|(other, _)| other == name);
            let wanted: Vec<&str> = of_name.map(|(_, value)| value.as_str()).collect();
            let found = message.rows_of(name);
            if found != wanted {
                wrong.push(format!("{name} is {found:?}, not {wanted:?}"));
            }
        }
    }
    wrong.extend(checks.iter().filter_map(|check| against_check(message, check)));
    wrong
}

/// What is wrong according to a check that stands for itself.
fn against_check(message: &Message, check: &Check) -> Option<String> {
    match check {
        Check::Matches(name, pattern) | Check::Keep(_, name, pattern) => {
            let regex = Regex::new(pattern).unwrap();
            let found = message.rows_of(name);
            let matches = found.iter().any(|value| regex.is_match(value));
            (!matches).then(|| format!("{name} is {found:?}, which does not match `{pattern}`"))
        }
        Check::Has(name) => message.rows_of(name).is_empty().then(|| format!("{name} is missing")),
        Check::HasNot(name) => {
            let found = message.rows_of(name);
            (!found.is_empty()).then(|| format!("{name} is {found:?} and should not be there"))
        }
        Check::Reason(text) => {
            let found = message.reason();
            (found != Some(text)).then(|| format!("the reason is {found:?}, not {text:?}"))
        }
        Check::Uri(uri) => {
            let found = message.uri();
            (found != Some(uri)).then(|| format!("the Request-URI is {found:?}, not {uri:?}"))
        }
        Check::NoContacts => {
            let found = message.values("Contact");
            (!found.is_empty()).then(|| format!("there are contacts: {found:?}"))
        }
        Check::Body(body) => {
            let found = &message.body;
            let text = found.escape_ascii();
            (found != body)
                .then(|| format!("the body is \"{text}\", not \"{}\"", body.escape_ascii()))
        }
        Check::Equals(..) | Check::Contact(_) | Check::Unmirrored | Check::Changed => None,
    }
}

/// The contacts must be exactly the wanted ones, each with exactly its parameters.
fn contacts(response: &Message, wanted: &[&Contact]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: Vec<(Option<Contact>, String)> =
        response.values("Contact").into_iter().map(|value| (read_contact(&value), value)).collect();
    for contact in wanted {
        let matching = found.iter().position(|(one, _)| {
            one.as_ref().is_some_and(|one| {
                let in_range = match (contact.expires, one.expires) {
                    (None, None) => true,
                    (Some((low, high)), Some((seconds, _))) => (low..=high).contains(&seconds),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                one.uri == contact.uri && one.params == contact.params && in_range
            })
        });
        match matching {
            Some(index) => drop(found.remove(index)),
            None => wrong.push(format!("no contact like {contact:?}")),
        }
    }
    wrong.extend(found.into_iter().map(|(_, value)| format!("contact `{value}` was not expected")));
    wrong
}

fn read_contact(value: &str) -> Option<Contact> {
    let (uri, params) = value.split_once('<')?.1.split_once('>')?;
    let mut contact = Contact { uri: uri.to_owned(), params: Vec::new(), expires: None };
    for param in split_list(params, ';').into_iter().filter(|param| !param.is_empty()) {
        match param.strip_prefix("expires=").map(str::parse) {
            Some(Ok(seconds)) => contact.expires = Some((seconds, seconds)),
            Some(Err(_)) | None => contact.params.push(param),
        }
    }
    contact.params.sort();
    Some(contact)
}

/// Everything that `response` owes `request`, which came from `source`: RFC 3261 8.2.6.2, 18.2.1 and 20.14, RFC 3581 4.
pub(super) fn against_request(
    response: &Message,
    request: &Message,
    source: SocketAddr,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in ["From", "Call-ID", "CSeq"] {
        let (sent, answered) = (request.rows_of(name), response.rows_of(name));
        if sent != answered {
            wrong.push(format!("{name} is {answered:?}, the request has {sent:?}"));
        }
    }

    let (sent, answered) = (request.first("To").unwrap_or_default(), response.rows_of("To"));
    let to_is_right = match answered.as_slice() {
        [to] if has_tag(sent) => *to == sent,
        // RFC 3261 8.2.6.2: a 100 may come without a tag.
        [to] if response.status() == Some(100) && *to == sent => true,
        [to] => {
            to.strip_prefix(sent).is_some_and(|rest| rest.starts_with(";tag=") && rest.len() > 5)
        }
        _ => false,
    };
    if !to_is_right {
        wrong.push(format!("To is {answered:?}, the request has {sent:?}"));
    }

    let (sent, answered) = (request.values("Via"), response.values("Via"));
    if sent.len() != answered.len() || sent.iter().skip(1).ne(answered.iter().skip(1)) {
        wrong.push(format!("Via is {answered:?}, the request has {sent:?}"));
    } else if let (Some(sent), Some(answered)) = (sent.first(), answered.first()) {
        wrong.extend(top_via(sent, answered, source));
    }

    let length = response.first("Content-Length").and_then(|value| value.parse::<usize>().ok());
    if length != Some(response.body.len()) {
        wrong.push(format!(
            "Content-Length is {length:?}, the body has {} bytes",
            response.body.len()
        ));
    }
    wrong
}

fn has_tag(value: &str) -> bool {
    split_list(value, ';')
        .iter()
        .skip(1)
        .any(|param| param.to_ascii_lowercase().starts_with("tag="))
}

pub(super) fn top_via(sent: &str, answered: &str, source: SocketAddr) -> Vec<String> {
    let mut wrong = Vec::new();
    let (kept, filled): (Vec<String>, Vec<String>) =
        split_list(answered, ';').into_iter().partition(|part| !is_filled_in(part));
    let (sent_kept, asked): (Vec<String>, Vec<String>) =
        split_list(sent, ';').into_iter().partition(|part| !is_filled_in(part));
    if kept != sent_kept {
        wrong.push(format!("the top Via is {answered:?}, the request has {sent:?}"));
    }
    let value = |name: &str| {
        filled.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let asks_rport = asked.iter().any(|part| part.split('=').next() == Some("rport"));
    let sent_by = sent_kept.first().and_then(|part| part.split_whitespace().last()).map(host);
    let came_from = source.ip().to_string();
    // RFC 3581 4: with rport the response must carry received as well, whatever sent-by says.
    let needs_received = asks_rport || sent_by.as_deref() != Some(came_from.as_str());
    let received = value("received").map(|ip| host(&ip));
    match received {
        Some(ip) if ip == came_from => {}
        None if !needs_received => {}
        other => wrong.push(format!("received is {other:?}, the packet came from {came_from}")),
    }
    let rport = value("rport");
    if rport != asks_rport.then(|| source.port().to_string()) {
        wrong.push(format!("rport is {rport:?}, the packet came from port {}", source.port()));
    }
    wrong
}

fn is_filled_in(part: &str) -> bool {
    matches!(part.split('=').next(), Some("received" | "rport"))
}

/// The host of `host:port`, without the brackets of an IPv6 reference.
fn host(sent_by: &str) -> String {
    if let Ok(addr) = sent_by.parse::<SocketAddr>() {
        return addr.ip().to_string();
    }
    let bare = sent_by.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return bare.to_owned();
    }
    bare.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::read(text.replace('\n', "\r\n").as_bytes()).unwrap()
    }

    fn request() -> Message {
        message(
            "OPTIONS sip:sip.test SIP/2.0\nVia: SIP/2.0/UDP host.test;rport;branch=z9hG4bK1\nVia: 2\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@c>\nCall-ID: x\nCSeq: 1 OPTIONS\n\n",
        )
    }

    const GOOD: &str = "SIP/2.0 200 OK\nVia: SIP/2.0/UDP host.test;rport=5062;branch=z9hG4bK1;received=192.0.2.1, 2\nFrom: <sip:a@b>;tag=1\nTo: <sip:b@c>;tag=9\nCall-ID: x\nCSeq: 1 OPTIONS\nContact: <sip:a@h>;expires=30;q=0.5, <sip:b@h>;expires=60\nContent-Length: 0\n\n";

    #[test]
    fn what_a_response_owes_its_request_is_missed() {
        let source = "192.0.2.1:5062".parse().unwrap();
        let wrong = |text: &str| against_request(&message(text), &request(), source).join("; ");
        assert_eq!(wrong(GOOD), "");
        for (from, to, why) in [
            (";tag=9", "", "To is"),
            (";tag=1", ";tag=2", "From is"),
            ("Call-ID: x", "Call-ID: y", "Call-ID is"),
            ("1 OPTIONS", "2 OPTIONS", "CSeq is"),
            (", 2", "", "Via is"),
            ("rport=5062", "rport=5060", "rport is"),
            (";received=192.0.2.1", "", "received is"),
            (";received=192.0.2.1", ";received=192.0.2.2", "received is"),
            ("branch=z9hG4bK1", "branch=z9hG4bK2", "the top Via is"),
            ("Content-Length: 0", "Content-Length: 5", "Content-Length is"),
        ] {
            let found = wrong(&GOOD.replace(from, to));
            assert!(found.contains(why), "{from} -> {to}: {found:?}");
        }
    }

    #[test]
    fn what_a_flow_expects_is_missed() {
        let contact = |uri: &str, params: &[&str], expires| {
            Check::Contact(Contact {
                uri: uri.into(),
                params: params.iter().map(|param| (*param).to_owned()).collect(),
                expires,
            })
        };
        let (a, b) = (
            contact("sip:a@h", &["q=0.5"], Some((29, 30))),
            contact("sip:b@h", &[], Some((60, 60))),
        );
        let wrong = |status, checks: &[Check]| {
            against_flow(&message(GOOD), &Wanted::Status(status), checks).join("; ")
        };
        assert_eq!(wrong(200, &[b.clone(), a.clone()]), "");
        assert!(wrong(404, &[]).contains("404"));
        let method = Wanted::Method("OPTIONS".into());
        assert!(against_flow(&message(GOOD), &method, &[])[0].contains("OPTIONS was expected"));
        assert_eq!(
            against_flow(&request(), &method, &[Check::Uri("sip:sip.test".into())]).len(),
            0
        );
        assert_eq!(against_flow(&request(), &method, &[Check::Uri("sip:b@c".into())]).len(), 1);
        assert!(
            wrong(200, std::slice::from_ref(&a))
                .contains("`<sip:b@h>;expires=60` was not expected")
        );
        assert!(wrong(200, &[a, b, contact("sip:c@h", &[], None)]).contains("no contact like"));
        assert!(wrong(200, &[contact("sip:a@h", &[], Some((31, 40)))]).contains("no contact like"));
        assert!(wrong(200, &[Check::NoContacts]).contains("there are contacts"));
        assert!(wrong(200, &[Check::Has("Date".into())]).contains("Date is missing"));
        assert!(wrong(200, &[Check::HasNot("To".into())]).contains("should not be there"));
        assert!(wrong(200, &[Check::Reason("Fine".into())]).contains("not \"Fine\""));
        assert!(wrong(200, &[Check::Body(b"a".to_vec())]).contains("the body is \"\""));
        assert!(wrong(200, &[Check::Equals("CSeq".into(), "2".into())]).contains("CSeq is"));
        assert!(wrong(200, &[Check::Matches("To".into(), "tag=8".into())]).contains("match"));
        assert_eq!(wrong(200, &[Check::Matches("To".into(), "tag=[0-9]$".into())]), "");
    }
}
