//! What an actor knows from one message to the next, as a user agent of RFC 3261 section 12 would: its dialog, the requests
//! it has to answer, and what ACK, CANCEL and PRACK repeat. It writes the messages of the shorthand and never judges one.

use super::digest::Challenges;
use super::message::{Message, long_name, param, raw_rows, split_list, uri_of};
use super::script::{Actor, Body, Line};
use std::net::SocketAddr;

/// What an actor remembers from one message to the next.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The actor's name: its tag.
    pub name: String,
    /// Where its packets come from.
    pub addr: SocketAddr,
    /// Its address-of-record, `user@domain`.
    pub aor: String,
    /// The Call-ID of requests outside of a dialog.
    pub call_id: String,
    /// The challenges that it got.
    pub challenges: Challenges,
    /// The number of the last `CSeq`.
    cseq: u32,
    /// How many branches it has made.
    branches: u32,
    /// Its last request other than ACK and CANCEL.
    last: Option<Sent>,
    /// Its last INVITE.
    invite: Option<Sent>,
    /// The requests that it got, as they came, with their methods; no ACK.
    asked: Vec<(String, Vec<u8>)>,
    dialog: Option<Dialog>,
    /// RFC 3262 7.2: what a PRACK acknowledges.
    rack: Option<String>,
}

/// What ACK and CANCEL repeat of the request they belong to.
#[derive(Clone, Debug)]
struct Sent {
    uri: String,
    via: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    call_id: Vec<u8>,
    cseq: u32,
    method: String,
    routes: Vec<Vec<u8>>,
    /// Status and To of its final response.
    answered: Option<(u16, String)>,
}

/// RFC 3261 12: what requests within a dialog are made of.
#[derive(Clone, Debug)]
struct Dialog {
    local: String,
    remote: String,
    call_id: String,
    target: String,
    routes: Vec<String>,
}

/// The rows of a message: a name and the values that it has when the flow gives none.
type Defaults = Vec<(&'static str, Vec<Vec<u8>>)>;

impl Memory {
    /// Someone who has sent nothing yet.
    #[must_use]
    pub fn new(actor: &Actor) -> Self {
        Memory {
            name: actor.name.clone(),
            addr: actor.addr,
            aor: actor.aor.clone(),
            call_id: format!("{}@{}", actor.name, actor.addr.ip()),
            challenges: Challenges::default(),
            cseq: 0,
            branches: 0,
            last: None,
            invite: None,
            asked: Vec::new(),
            dialog: None,
            rack: None,
        }
    }

    /// The bytes of a message written in shorthand.
    ///
    /// # Errors
    /// Where there is no challenge to answer, or no request.
    ///
    /// # Panics
    /// Where `body` is not shorthand.
    pub fn write(&mut self, body: &Body) -> Result<Vec<u8>, String> {
        let Body::Shorthand { start, lines, body } = body else {
            panic!("not shorthand: {body:?}")
        };
        let words: Vec<&str> = start.split(' ').collect();
        if words[0] == "SIP/2.0" {
            let defaults = self.outside("OPTIONS", "sip:sip.test");
            return Ok(assemble(start, &self.rows(defaults, lines, None, body)?, body));
        }
        if words[0].parse::<u16>().is_ok() {
            return self.answer(&words, lines, body);
        }
        let method = words[0];
        let (uri, defaults) = self.defaults(method, words.get(1).copied());
        let start = format!("{method} {uri} {}", words.get(2).unwrap_or(&"SIP/2.0"));
        let rows = self.rows(defaults, lines, Some((method, &uri)), body)?;
        self.sent(method, uri, &rows);
        Ok(assemble(&start, &rows, body))
    }

    /// The Request-URI and the usual rows of a request: one that is repeated, one within the dialog, or a new one.
    fn defaults(&mut self, method: &str, given: Option<&str>) -> (String, Defaults) {
        if let Some(sent) = self.repeated(method) {
            return (given.unwrap_or(&sent.uri).to_owned(), repeated(sent, method));
        }
        let is_outside = given.is_some() || matches!(method, "REGISTER" | "CANCEL");
        if let (false, Some(dialog)) = (is_outside, self.dialog.clone()) {
            return self.within(method, &dialog);
        }
        let uri = given.unwrap_or("sip:sip.test");
        (uri.to_owned(), self.outside(method, uri))
    }

    /// What ACK to anything but a 2xx, and CANCEL, belong to: RFC 3261 17.1.1.3 and 9.1.
    fn repeated(&self, method: &str) -> Option<&Sent> {
        let sent = self.invite.as_ref().or(self.last.as_ref())?;
        let has_succeeded = matches!(sent.answered, Some((200..=299, _)));
        match method {
            "CANCEL" => Some(sent),
            "ACK" if !has_succeeded => Some(sent),
            _ => None,
        }
    }

    /// RFC 3261 12.2.1.1.
    fn within(&mut self, method: &str, dialog: &Dialog) -> (String, Defaults) {
        let invited = self.invite.as_ref().map_or(self.cseq, |invite| invite.cseq);
        let number = if method == "ACK" { invited } else { self.cseq + 1 };
        let mut routes = dialog.routes.clone();
        let mut uri = dialog.target.clone();
        if routes.first().is_some_and(|first| !is_loose(first)) {
            let strict = routes.remove(0);
            routes.push(format!("<{uri}>"));
            uri = uri_of(&strict).to_owned();
        }
        let mut rows =
            self.common(method, number, [&dialog.local, &dialog.remote, &dialog.call_id]);
        if !routes.is_empty() {
            rows.push(("Route", routes.into_iter().map(String::into_bytes).collect()));
        }
        if let ("PRACK", Some(rack)) = (method, &self.rack) {
            rows.push(("RAck", vec![rack.clone().into_bytes()]));
        }
        (uri, rows)
    }

    /// RFC 3261 8.1.1.
    fn outside(&mut self, method: &str, uri: &str) -> Defaults {
        let to = if method == "REGISTER" { format!("sip:{}", self.aor) } else { uri.to_owned() };
        let from = format!("<sip:{}>;tag={}-tag", self.aor, self.name);
        let call_id = self.call_id.clone();
        self.common(method, self.cseq + 1, [&from, &format!("<{to}>"), &call_id])
    }

    fn common(&mut self, method: &str, number: u32, ends: [&String; 3]) -> Defaults {
        self.branches += 1;
        let Memory { name, addr, branches, .. } = self;
        let via = format!("SIP/2.0/UDP {addr};branch=z9hG4bK-{name}-{branches}");
        let [from, to, call_id] = ends.map(|end| vec![end.clone().into_bytes()]);
        let mut rows = vec![
            ("Via", vec![via.into_bytes()]),
            ("Max-Forwards", vec![b"70".to_vec()]),
            ("From", from),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", vec![format!("{number} {method}").into_bytes()]),
        ];
        rows.extend(self.contact(method));
        rows
    }

    /// RFC 3261 12.1.1 and 12.2.1.1: whatever makes a dialog, or refreshes its target, says where its sender is.
    fn contact(&self, method: &str) -> Option<(&'static str, Vec<Vec<u8>>)> {
        let user = self.aor.split('@').next().unwrap_or_default();
        matches!(method, "INVITE" | "SUBSCRIBE" | "NOTIFY" | "REFER" | "UPDATE")
            .then(|| ("Contact", vec![format!("<sip:{user}@{}>", self.addr).into_bytes()]))
    }

    /// The rows of a message: those of the flow in the place of the usual ones, then its others.
    fn rows(
        &mut self,
        mut defaults: Defaults,
        lines: &[Line],
        request: Option<(&str, &str)>,
        body: &[u8],
    ) -> Result<Vec<(String, Vec<u8>)>, String> {
        defaults.push(("Content-Length", vec![body.len().to_string().into_bytes()]));
        let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, usual) in &defaults {
            let given: Vec<_> = lines.iter().filter(|line| names(line, name)).collect();
            if given.is_empty() {
                rows.extend(usual.iter().map(|value| ((*name).to_owned(), value.clone())));
            }
            rows.extend(given.into_iter().filter_map(header));
        }
        let others =
            lines.iter().filter(|line| !defaults.iter().any(|(name, _)| names(line, name)));
        for line in others {
            if let Line::Digest(answer) = line {
                let (method, uri) = request.ok_or("a response carries no credentials")?;
                let credentials = self.challenges.answer(method, uri, answer)?;
                rows.push((self.challenges.answered_in().to_owned(), credentials.into_bytes()));
            }
            rows.extend(header(line));
        }
        Ok(rows)
    }

    /// Remembers a request that is sent.
    fn sent(&mut self, method: &str, uri: String, rows: &[(String, Vec<u8>)]) {
        let all = |name: &str| -> Vec<Vec<u8>> {
            let of_name = rows.iter().filter(|(row, _)| long_name(row) == long_name(name));
            of_name.map(|(_, value)| value.clone()).collect()
        };
        let value = |name: &str| all(name).into_iter().next().unwrap_or_default();
        if let Some(number) = leading_number(&value("CSeq")) {
            self.cseq = self.cseq.max(number);
        }
        if matches!(method, "ACK" | "CANCEL") {
            return;
        }
        let sent = Sent {
            uri,
            via: value("Via"),
            from: value("From"),
            to: value("To"),
            call_id: value("Call-ID"),
            cseq: leading_number(&value("CSeq")).unwrap_or(self.cseq),
            method: method.to_owned(),
            routes: all("Route"),
            answered: None,
        };
        if method == "INVITE" {
            self.invite = Some(sent.clone());
        }
        self.last = Some(sent);
    }

    /// `180`, `200 to INVITE`, `486 Busy Here`: RFC 3261 8.2.6.
    fn answer(&mut self, words: &[&str], lines: &[Line], body: &[u8]) -> Result<Vec<u8>, String> {
        let (wanted, reason) = match words {
            [_, "to", method, reason @ ..] => (Some(*method), reason),
            [_, reason @ ..] => (None, reason),
            [] => (None, &[][..]),
        };
        let asked = self.asked.iter().rfind(|(method, _)| wanted.is_none_or(|one| one == method));
        let (method, request) = asked.cloned().ok_or("there is no request to answer")?;
        let status: u16 = words[0].parse().map_err(|_| format!("`{}` is no status", words[0]))?;
        let reason = if reason.is_empty() { phrase(status).to_owned() } else { reason.join(" ") };
        let in_request = raw_rows(&request);
        let all = |name: &str| -> Vec<Vec<u8>> {
            let of_name = in_request.iter().filter(|(row, _)| long_name(row) == long_name(name));
            of_name.map(|(_, value)| value.trim_ascii().to_vec()).collect()
        };
        let makes_dialog = (101..300).contains(&status);
        let mut to = all("To");
        let had_tag = to.first().is_some_and(|to| tag(&String::from_utf8_lossy(to)).is_some());
        if let (false, true, Some(to)) = (had_tag, status > 100, to.first_mut()) {
            to.extend(format!(";tag={}-tag", self.name).into_bytes());
        }
        let mut defaults: Defaults = vec![("Via", all("Via"))];
        if makes_dialog {
            defaults.push(("Record-Route", all("Record-Route")));
            defaults.extend(self.contact(&method));
        }
        defaults.push(("From", all("From")));
        defaults.push(("To", to));
        defaults.push(("Call-ID", all("Call-ID")));
        defaults.push(("CSeq", all("CSeq")));
        let rows = self.rows(defaults, lines, None, body)?;
        let bytes = assemble(&format!("SIP/2.0 {status} {reason}"), &rows, body);
        let begins = matches!(method.as_str(), "INVITE" | "SUBSCRIBE" | "REFER") && !had_tag;
        if makes_dialog
            && begins
            && let Ok(response) = Message::read(&bytes)
        {
            let request = Message::read(&request)?;
            let first = |name: &str| request.first(name).unwrap_or_default().to_owned();
            self.dialog = Some(Dialog {
                local: response.first("To").unwrap_or_default().to_owned(),
                remote: first("From"),
                call_id: first("Call-ID"),
                target: uri_of(&first("Contact")).to_owned(),
                routes: request.values("Record-Route"),
            });
        }
        Ok(bytes)
    }

    /// Learns from a request that came.
    pub fn got_request(&mut self, request: &Message, bytes: &[u8]) {
        let method = request.method().unwrap_or_default();
        if method == "ACK" {
            return;
        }
        self.asked.push((method.to_owned(), bytes.to_vec()));
        let is_within = request.first("To").is_some_and(|to| tag(to).is_some());
        if is_within && matches!(method, "INVITE" | "UPDATE") {
            self.refresh_target(request);
        }
    }

    /// Learns from a response that came.
    pub fn got_response(&mut self, response: &Message) {
        let (status, to) = (response.status().unwrap_or_default(), response.first("To"));
        let (Some((number, method)), Some(to)) = (response.cseq(), to) else { return };
        let header = match status {
            401 => Some(("WWW-Authenticate", "Authorization")),
            407 => Some(("Proxy-Authenticate", "Proxy-Authorization")),
            _ => None,
        };
        if let Some((asked, answered)) = header {
            self.challenges.get(response.rows_of(asked), answered);
        }
        for sent in [&mut self.last, &mut self.invite].into_iter().flatten() {
            if status >= 200 && (sent.cseq, sent.method.as_str()) == (number, method) {
                sent.answered = Some((status, to.to_owned()));
            }
        }
        if !(101..300).contains(&status) || tag(to).is_none() {
            return;
        }
        if let Some(rseq) = response.first("RSeq") {
            self.rack = Some(format!("{rseq} {number} {method}"));
        }
        let begins = [&self.last, &self.invite].into_iter().flatten().any(|sent| {
            (sent.cseq, sent.method.as_str()) == (number, method)
                && tag(&String::from_utf8_lossy(&sent.to)).is_none()
        });
        match method {
            "INVITE" | "SUBSCRIBE" | "REFER" if begins => {
                let mut routes = response.values("Record-Route");
                routes.reverse();
                let first = |name: &str| response.first(name).unwrap_or_default();
                self.dialog = Some(Dialog {
                    local: first("From").to_owned(),
                    remote: to.to_owned(),
                    call_id: first("Call-ID").to_owned(),
                    target: uri_of(first("Contact")).to_owned(),
                    routes,
                });
            }
            "INVITE" | "UPDATE" => self.refresh_target(response),
            _ => {}
        }
    }

    /// RFC 3261 12.2.2.
    fn refresh_target(&mut self, message: &Message) {
        if let (Some(dialog), Some(contact)) = (&mut self.dialog, message.first("Contact")) {
            uri_of(contact).clone_into(&mut dialog.target);
        }
    }
}

fn repeated(sent: &Sent, method: &str) -> Defaults {
    let to = match (&sent.answered, method) {
        (Some((_, to)), "ACK") => to.clone().into_bytes(),
        _ => sent.to.clone(),
    };
    let mut rows = vec![
        ("Via", vec![sent.via.clone()]),
        ("Max-Forwards", vec![b"70".to_vec()]),
        ("From", vec![sent.from.clone()]),
        ("To", vec![to]),
        ("Call-ID", vec![sent.call_id.clone()]),
        ("CSeq", vec![format!("{} {method}", sent.cseq).into_bytes()]),
    ];
    if !sent.routes.is_empty() {
        rows.push(("Route", sent.routes.clone()));
    }
    rows
}

fn assemble(start: &str, rows: &[(String, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{start}\r\n").into_bytes();
    for (name, value) in rows {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn names(line: &Line, name: &str) -> bool {
    match line {
        Line::Header(given, _) | Line::Without(given) => long_name(given) == long_name(name),
        Line::Digest(_) => false,
    }
}

fn header(line: &Line) -> Option<(String, Vec<u8>)> {
    match line {
        Line::Header(name, value) => Some((name.clone(), value.clone())),
        Line::Without(_) | Line::Digest(_) => None,
    }
}

fn leading_number(value: &[u8]) -> Option<u32> {
    String::from_utf8_lossy(value).split_whitespace().next()?.parse().ok()
}

/// The tag of a From or To.
pub(super) fn tag(value: &str) -> Option<String> {
    param(value, "tag")
}

/// Whether a Route value is one of a loose router, RFC 3261 16.12.
fn is_loose(route: &str) -> bool {
    let lr =
        |part: &String| part.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("lr"));
    split_list(uri_of(route), ';').iter().skip(1).any(lr)
}

/// The reason phrases of RFC 3261 21.
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        _ => "As It Is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorthand(start: &str, lines: &[(&str, &str)], without: &[&str]) -> Body {
        let headers =
            lines.iter().map(|(n, v)| Line::Header((*n).to_owned(), v.as_bytes().to_vec()));
        let without = without.iter().map(|name| Line::Without((*name).to_owned()));
        Body::Shorthand {
            start: start.to_owned(),
            lines: headers.chain(without).collect(),
            body: Vec::new(),
        }
    }

    fn memory(name: &str, addr: &str) -> Memory {
        let aor = format!("{name}@sip.test");
        let addr = addr.parse().unwrap();
        Memory::new(&Actor { name: name.to_owned(), addr, aor, listener: None })
    }

    fn alice() -> Memory {
        memory("alice", "192.0.2.1:5060")
    }

    fn bare(memory: &mut Memory, start: &str) -> (Message, Vec<u8>) {
        let bytes = memory.write(&shorthand(start, &[], &[])).unwrap();
        (Message::read(&bytes).unwrap(), bytes)
    }

    #[test]
    fn a_request_gets_what_every_request_has() {
        let mut alice = alice();
        let bytes = alice.write(&shorthand("REGISTER", &[("m", "*")], &["Max-Forwards"])).unwrap();
        let expected = "REGISTER sip:sip.test SIP/2.0\r\n\
            Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-alice-1\r\n\
            From: <sip:alice@sip.test>;tag=alice-tag\r\n\
            To: <sip:alice@sip.test>\r\n\
            Call-ID: alice@192.0.2.1\r\n\
            CSeq: 1 REGISTER\r\n\
            Content-Length: 0\r\n\
            m: *\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        let (next, _) = bare(&mut alice, "OPTIONS");
        assert_eq!(next.first("CSeq"), Some("2 OPTIONS"));
        assert!(next.first("v").unwrap().ends_with("alice-2"));
    }

    #[test]
    fn an_ack_belongs_to_the_last_invite() {
        let mut alice = alice();
        let (invite, _) = bare(&mut alice, "INVITE sip:bob@sip.test");
        let refusal = b"SIP/2.0 486 No\r\nCSeq: 1 INVITE\r\nTo: <sip:bob@sip.test>;tag=1\r\n\r\n";
        alice.got_response(&Message::read(refusal).unwrap());
        let (cancel, _) = bare(&mut alice, "CANCEL");
        let (ack, _) = bare(&mut alice, "ACK");
        assert_eq!(ack.start, "ACK sip:bob@sip.test SIP/2.0");
        assert_eq!(ack.first("Via"), invite.first("Via"));
        assert_eq!(ack.first("CSeq"), Some("1 ACK"));
        assert_eq!(ack.first("To"), Some("<sip:bob@sip.test>;tag=1"));
        assert_eq!(cancel.first("To"), invite.first("To"));
        assert_eq!(cancel.first("CSeq"), Some("1 CANCEL"));
    }

    #[test]
    fn both_sides_learn_the_dialog() {
        let (mut alice, mut bob) = (alice(), memory("bob", "192.0.2.2:5060"));
        let routes = [("Record-Route", "<sip:b.test;lr>, <sip:a.test;lr>")];
        let bytes = alice.write(&shorthand("INVITE sip:bob@sip.test", &routes, &[])).unwrap();
        bob.got_request(&Message::read(&bytes).unwrap(), &bytes);
        let (ringing, _) = bare(&mut bob, "180");
        assert_eq!(ringing.first("To"), Some("<sip:bob@sip.test>;tag=bob-tag"));
        let (ok, _) = bare(&mut bob, "200 to INVITE Fine");
        assert_eq!(ok.start, "SIP/2.0 200 Fine");
        alice.got_response(&ok);

        let (ack, _) = bare(&mut alice, "ACK");
        assert_eq!(ack.start, "ACK sip:bob@192.0.2.2:5060 SIP/2.0");
        assert_eq!(ack.rows_of("Route"), ["<sip:a.test;lr>", "<sip:b.test;lr>"]);
        assert_eq!(ack.first("CSeq"), Some("1 ACK"));
        assert_ne!(ack.branch(), Message::read(&bytes).unwrap().branch());
        let (bye, _) = bare(&mut bob, "BYE");
        assert_eq!(bye.start, "BYE sip:alice@192.0.2.1:5060 SIP/2.0");
        assert_eq!(bye.rows_of("Route"), ["<sip:b.test;lr>", "<sip:a.test;lr>"]);
        assert_eq!(bye.first("From"), ok.first("To"));
        assert_eq!(bye.first("To"), ok.first("From"));
        assert_eq!(bye.first("CSeq"), Some("1 BYE"));
        let (again, _) = bare(&mut alice, "INVITE");
        assert_eq!(again.first("CSeq"), Some("2 INVITE"));
        assert_eq!(again.first("To"), ok.first("To"));
    }

    #[test]
    fn a_strict_router_gets_its_own_address_as_request_uri() {
        let mut alice = alice();
        bare(&mut alice, "INVITE sip:bob@sip.test");
        let ok = b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nTo: <sip:bob@sip.test>;tag=1\r\nFrom: x\r\n\
            Record-Route: <sip:b.test;lr>,<sip:a.test>\r\nContact: <sip:bob@h>\r\n\r\n";
        alice.got_response(&Message::read(ok).unwrap());
        let (bye, _) = bare(&mut alice, "BYE");
        assert_eq!(bye.uri(), Some("sip:a.test"));
        assert_eq!(bye.rows_of("Route"), ["<sip:b.test;lr>", "<sip:bob@h>"]);
    }
}
