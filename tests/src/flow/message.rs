//! SIP messages as the tests see them: written from shorthand and read by a small reader of their own, which shares no
//! line with the parser under test. It never judges a message.

use super::digest::Challenges;
use super::script::{Body, Line};
use std::net::SocketAddr;

/// A message taken apart: start line, header rows in order, body.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Rows: the name as written and the unfolded value.
    pub rows: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// Where there is no empty line after the headers, or a row has no colon.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let end = find(bytes, b"\r\n\r\n").ok_or("no empty line ends the headers")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        // RFC 3261 7.3.1: a line that starts with white space continues the one before.
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let rows = lines
            .map(|line| {
                let (name, value) =
                    line.split_once(':').ok_or_else(|| format!("`{line}` has no colon"))?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_, String>>()?;
        Ok(Message { start, rows, body: bytes[end + 4..].to_vec() })
    }

    /// The status code of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The reason phrase of a response.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.start.strip_prefix("SIP/2.0 ")?.get(4..)
    }

    /// The values of all rows of this name, in order; compact and long names are the same.
    #[must_use]
    pub fn rows_of(&self, name: &str) -> Vec<&str> {
        self.rows
            .iter()
            .filter(|(row, _)| long_name(row) == long_name(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The first value of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.rows_of(name).first().copied()
    }

    /// All values of a header whose rows are lists.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.rows_of(name).iter().flat_map(|row| split_list(row, ',')).collect()
    }
}

/// What an actor remembers from one message to the next.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The actor's name: the user of its address-of-record and its From tag.
    pub name: String,
    /// Where its packets come from.
    pub addr: SocketAddr,
    /// The number of the last `CSeq`.
    pub cseq: u32,
    /// How many branches it has made.
    pub branches: u32,
    /// Via, To, Call-ID and Request-URI of its last request other than ACK and CANCEL.
    pub last: Option<Last>,
    /// The To of the last response it got.
    pub answered_to: Option<String>,
    /// The challenges that it got.
    pub challenges: Challenges,
}

/// What ACK and CANCEL repeat of the request they belong to.
#[derive(Clone, Debug)]
pub struct Last {
    uri: String,
    via: Vec<u8>,
    to: Vec<u8>,
    call_id: Vec<u8>,
}

impl Memory {
    /// Someone who has sent nothing yet.
    #[must_use]
    pub fn new(name: &str, addr: SocketAddr) -> Self {
        Memory {
            name: name.to_owned(),
            addr,
            cseq: 0,
            branches: 0,
            last: None,
            answered_to: None,
            challenges: Challenges::default(),
        }
    }

    /// The bytes of a message written in shorthand.
    ///
    /// # Errors
    /// Where there is no challenge to answer.
    ///
    /// # Panics
    /// Where `body` is not shorthand.
    pub fn write(&mut self, body: &Body) -> Result<Vec<u8>, String> {
        let Body::Shorthand { start, lines, body } = body else {
            panic!("not shorthand: {body:?}")
        };
        let words: Vec<&str> = start.split(' ').collect();
        let is_response = words[0] == "SIP/2.0";
        let method = if is_response { "OPTIONS" } else { words[0] };
        let repeats = matches!(method, "ACK" | "CANCEL");
        let uri = match (words.get(1), &self.last) {
            (Some(uri), _) if !is_response => (*uri).to_owned(),
            (None, Some(last)) if repeats => last.uri.clone(),
            (Some(_) | None, _) => "sip:sip.test".to_owned(),
        };
        let start = match words.as_slice() {
            _ if is_response => start.clone(),
            [_, _, version, ..] => format!("{method} {uri} {version}"),
            _ => format!("{method} {uri} SIP/2.0"),
        };

        let mut defaults = self.defaults(method, &uri, repeats);
        defaults.push(("Content-Length", body.len().to_string().into_bytes()));
        let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, default) in &defaults {
            let given: Vec<_> = lines.iter().filter(|line| names(line, name)).collect();
            if given.is_empty() {
                rows.push(((*name).to_owned(), default.clone()));
            }
            rows.extend(given.into_iter().filter_map(header));
        }
        let others =
            lines.iter().filter(|line| !defaults.iter().any(|(name, _)| names(line, name)));
        for line in others {
            if let Line::Digest(answer) = line {
                let credentials = self.challenges.answer(method, &uri, answer)?;
                rows.push(("Authorization".to_owned(), credentials.into_bytes()));
            }
            rows.extend(header(line));
        }

        let value = |name: &str| {
            rows.iter().find(|(row, _)| long_name(row) == long_name(name)).map(|(_, v)| v.clone())
        };
        if let Some(number) = value("CSeq").as_deref().and_then(leading_number) {
            self.cseq = number;
        }
        if !repeats && !is_response {
            self.last = Some(Last {
                uri,
                via: value("Via").unwrap_or_default(),
                to: value("To").unwrap_or_default(),
                call_id: value("Call-ID").unwrap_or_default(),
            });
        }

        let mut bytes = format!("{start}\r\n").into_bytes();
        for (name, value) in rows {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Ok(bytes)
    }

    fn defaults(&mut self, method: &str, uri: &str, repeats: bool) -> Vec<(&'static str, Vec<u8>)> {
        let Memory { name, addr, .. } = self;
        let mut via = None;
        let mut to = match method {
            "REGISTER" => format!("<sip:{name}@sip.test>").into_bytes(),
            _ => format!("<{uri}>").into_bytes(),
        };
        let mut call_id = format!("{name}@{}", addr.ip()).into_bytes();
        if let (true, Some(last)) = (repeats, &self.last) {
            via = Some(last.via.clone());
            call_id.clone_from(&last.call_id);
            to = match (&self.answered_to, method) {
                (Some(answered), "ACK") => answered.clone().into_bytes(),
                _ => last.to.clone(),
            };
        }
        let via = via.unwrap_or_else(|| {
            self.branches += 1;
            format!("SIP/2.0/UDP {addr};branch=z9hG4bK-{name}-{}", self.branches).into_bytes()
        });
        let number = if repeats { self.cseq } else { self.cseq + 1 };
        vec![
            ("Via", via),
            ("Max-Forwards", b"70".to_vec()),
            ("From", format!("<sip:{name}@sip.test>;tag={name}-tag").into_bytes()),
            ("To", to),
            ("Call-ID", call_id),
            ("CSeq", format!("{number} {method}").into_bytes()),
        ]
    }
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

/// The lower-case long form of a header name, RFC 3261 7.3.3.
#[must_use]
pub(super) fn long_name(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    match lower.as_str() {
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        "c" => "content-type",
        "f" => "from",
        "k" => "supported",
        "s" => "subject",
        "t" => "to",
        "v" => "via",
        other => other,
    }
    .to_owned()
}

/// Splits at a separator outside of quotes and angle brackets, and trims.
#[must_use]
pub(super) fn split_list(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !angle => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            _ if c == separator && !quoted && !angle => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
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

    fn alice() -> Memory {
        Memory::new("alice", "192.0.2.1:5060".parse().unwrap())
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
        let next = alice.write(&shorthand("OPTIONS", &[], &[])).unwrap();
        let next = Message::read(&next).unwrap();
        assert_eq!(next.first("CSeq"), Some("2 OPTIONS"));
        assert!(next.first("v").unwrap().ends_with("alice-2"));
    }

    #[test]
    fn an_ack_belongs_to_the_last_request() {
        let mut alice = alice();
        let invite = alice.write(&shorthand("INVITE sip:bob@sip.test", &[], &[])).unwrap();
        alice.answered_to = Some("<sip:bob@sip.test>;tag=1".to_owned());
        let cancel = Message::read(&alice.write(&shorthand("CANCEL", &[], &[])).unwrap()).unwrap();
        let ack = Message::read(&alice.write(&shorthand("ACK", &[], &[])).unwrap()).unwrap();
        let invite = Message::read(&invite).unwrap();
        assert_eq!(ack.start, "ACK sip:bob@sip.test SIP/2.0");
        assert_eq!(ack.first("Via"), invite.first("Via"));
        assert_eq!(ack.first("CSeq"), Some("1 ACK"));
        assert_eq!(ack.first("To"), Some("<sip:bob@sip.test>;tag=1"));
        assert_eq!(cancel.first("To"), invite.first("To"));
        assert_eq!(cancel.first("CSeq"), Some("1 CANCEL"));
    }

    #[test]
    fn lists_are_split_outside_of_quotes_and_brackets() {
        let list = r#""a, \" b" <sip:a,b@x>;q=1 , sip:c"#;
        assert_eq!(split_list(list, ','), [r#""a, \" b" <sip:a,b@x>;q=1"#, "sip:c"]);
    }

    #[test]
    fn folded_rows_are_read_as_one() {
        let message =
            Message::read(b"A\r\nSubject: a\r\n b\r\nv: 1\r\nVIA: 2, 3\r\n\r\nbody").unwrap();
        assert_eq!(message.first("s"), Some("a b"));
        assert_eq!(message.values("Via"), ["1", "2", "3"]);
        assert_eq!(message.body, b"body");
    }
}
