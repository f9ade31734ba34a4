//! SIP messages as the phones and the judge of the calls read and write them: lines of text, read without the server's parser. It
//! decides nothing.

use std::fmt::Write;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Of a request.
    Request {
        /// The method.
        method: String,
        /// The Request-URI.
        uri: String,
    },
    /// Of a response.
    Response {
        /// The status code.
        status: u16,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: Start,
    /// Names and values, in their order.
    headers: Vec<(String, String)>,
}

impl Message {
    /// Reads a message; `None` where it has not what every message has.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split_once("\r\n\r\n").map_or(&*text, |(head, _)| head);
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let start = if let Some(rest) = first.strip_prefix("SIP/2.0 ") {
            Start::Response { status: rest.get(..3)?.parse().ok()? }
        } else {
            let mut words = first.split(' ');
            let (method, uri) = (words.next()?.to_owned(), words.next()?.to_owned());
            Start::Request { method, uri }
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                headers.last_mut()?.1.push_str(line);
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        let message = Message { start, headers };
        let is_whole = ["Via", "From", "To", "Call-ID", "CSeq"];
        let has_all = is_whole.iter().all(|name| message.header(name).is_some());
        (has_all && message.cseq().is_some()).then_some(message)
    }

    /// The status code of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response { status } => Some(status),
            Start::Request { .. } => None,
        }
    }

    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.lines(name).next()
    }

    fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// Every value of the headers of a name, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.lines(name).flat_map(split).collect()
    }

    /// The branch of the Via on top, or nothing.
    #[must_use]
    pub fn branch(&self) -> String {
        let via = self.header("Via").map(split).and_then(|vias| vias.into_iter().next());
        via.and_then(|via| param(&via, "branch")).unwrap_or_default()
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// The number and the method of the `CSeq`.
    #[must_use]
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The tag of a From or To header.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<String> {
        param(self.header(name)?, "tag")
    }
}

/// Values between commas, those in brackets and quotes left out.
fn split(line: &str) -> Vec<String> {
    let (mut values, mut depth, mut is_quoted) = (vec![String::new()], 0, false);
    for char in line.chars() {
        match char {
            '"' => is_quoted = !is_quoted,
            '<' if !is_quoted => depth += 1,
            '>' if !is_quoted => depth -= 1,
            ',' if !is_quoted && depth == 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = values.last_mut() {
            last.push(char);
        }
    }
    values.iter().map(|value| value.trim().to_owned()).collect()
}

/// A parameter behind an address or a Via.
#[must_use]
pub fn param(value: &str, name: &str) -> Option<String> {
    let behind = value.rfind('>').map_or(value, |end| &value[end..]);
    let mut params = behind.split(';').skip(1);
    params.find_map(|param| {
        let (own, value) = param.split_once('=')?;
        own.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The URI in an address.
#[must_use]
pub fn uri_of(value: &str) -> String {
    let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| value.split(';').next().unwrap_or_default(), |(uri, _)| uri).to_owned()
}

/// The user and the host of a URI, without its port and parameters.
#[must_use]
pub fn user_and_host(uri: &str) -> (String, String) {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split(';').next().unwrap_or_default();
    let (user, host) = rest.split_once('@').unwrap_or(("", rest));
    let host = host.split(':').next().unwrap_or_default();
    (user.to_owned(), host.to_ascii_lowercase())
}

/// Writes a message: its first line, its headers, and the body behind its length.
#[must_use]
pub fn write(first: &str, headers: &[(&str, String)], body: &str) -> Vec<u8> {
    let mut text = format!("{first}\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

/// A response to a request: what has to be the same is.
#[must_use]
pub fn response(request: &Message, status: u16, to_tag: &str, more: &[(&str, String)]) -> Vec<u8> {
    let mut headers: Vec<(&str, String)> =
        request.values("Via").into_iter().map(|via| ("Via", via)).collect();
    // RFC 3261 12.1.1.
    headers.extend(request.values("Record-Route").into_iter().map(|one| ("Record-Route", one)));
    let to = request.header("To").unwrap_or_default();
    let to = if request.tag("To").is_none() && status > 100 {
        format!("{to};tag={to_tag}")
    } else {
        to.to_owned()
    };
    headers.push(("From", request.header("From").unwrap_or_default().to_owned()));
    headers.push(("To", to));
    headers.push(("Call-ID", request.call_id().to_owned()));
    headers.push(("CSeq", request.header("CSeq").unwrap_or_default().to_owned()));
    headers.extend_from_slice(more);
    write(&format!("SIP/2.0 {status} Said"), &headers, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = write(
            "INVITE sip:b@sip.test;x=y SIP/2.0",
            &[
                ("Via", "SIP/2.0/UDP h:5070;branch=z9hG4bK1;rport, SIP/2.0/UDP i".to_owned()),
                ("From", "\"A, B\" <sip:a@sip.test;tag=no>;tag=f".to_owned()),
                ("To", "<sip:b@sip.test>".to_owned()),
                ("Call-ID", "c".to_owned()),
                ("CSeq", "7 INVITE".to_owned()),
                ("Record-Route", "<sip:p;lr;x=1,2>,<sip:q;lr>".to_owned()),
            ],
            "body",
        );
        let message = Message::read(&bytes).unwrap();
        assert_eq!(message.branch(), "z9hG4bK1");
        assert_eq!((message.tag("From"), message.tag("To")), (Some("f".to_owned()), None));
        assert_eq!(message.cseq(), Some((7, "INVITE")));
        assert_eq!(message.values("record-route"), ["<sip:p;lr;x=1,2>", "<sip:q;lr>"]);
        assert_eq!(
            user_and_host("sip:b@Sip.test:5060;x=y"),
            ("b".to_owned(), "sip.test".to_owned())
        );
        let answer = Message::read(&response(&message, 200, "t", &[])).unwrap();
        assert_eq!(answer.status(), Some(200));
        assert_eq!(answer.tag("To").as_deref(), Some("t"));
        assert_eq!(answer.values("Via").len(), 2);
        assert_eq!(Message::read(b"INVITE sip:x SIP/2.0\r\nVia: x\r\n\r\n"), None);
    }
}
