//! What a sipp sent and received, from the file that it traces messages to. It reads messages leniently and judges nothing.

use std::fs;
use std::path::Path;

/// All messages of a part, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) messages: Vec<Message>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) is_sent: bool,
    /// Request line or status line.
    pub(crate) start: String,
    /// Header fields in their order, by their long names in lower case.
    pub(crate) headers: Vec<(String, Field)>,
    pub(crate) body: Vec<u8>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its value without the spaces around it.
    pub(crate) value: String,
    /// The whole of it, as it stands.
    pub(crate) line: String,
}

impl Trace {
    /// Reads the file; there are no messages before there is a file.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let Ok(bytes) = fs::read(file) else { return Ok(Trace::default()) };
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        // `UDP message sent (450 bytes):`, `UDP message received [350] bytes :`, an empty line, and the message itself.
        while let Some(at) = find(rest, b"UDP message ") {
            rest = &rest[at + b"UDP message ".len()..];
            let Some(end) = find(rest, b"\n\n") else { break };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            let is_sent = line.starts_with("sent (");
            // Unexpected messages stand there twice, the second time without their length.
            let length: Option<usize> =
                line.split(['(', '[', ' ', ']']).find_map(|word| word.parse().ok());
            let Some(length) = length.filter(|_| is_sent || line.starts_with("received [")) else {
                continue;
            };
            let Some(message) = rest.get(end + 2..end + 2 + length) else { break };
            messages.push(Message::read(is_sent, message)?);
            rest = &rest[end + 2 + length..];
        }
        Ok(Trace { messages })
    }

    /// What it sent, or what it received.
    pub(crate) fn side(&self, is_sent: bool) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.is_sent == is_sent)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Message {
    /// Reads one message.
    pub(crate) fn read(is_sent: bool, bytes: &[u8]) -> Result<Self, String> {
        let end = find(bytes, b"\r\n\r\n")
            .ok_or_else(|| format!("no empty line in:\n{}", String::from_utf8_lossy(bytes)))?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| format!("`{line}` is no header field in:\n{head}"))?;
                let field = Field { value: value.trim().to_owned(), line: line.to_owned() };
                Ok((long(name), field))
            })
            .collect::<Result<_, String>>()?;
        Ok(Message { is_sent, start, headers, body: bytes[end + 4..].to_vec() })
    }

    /// The values of a header, those of lists taken apart.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter().filter(|(found, _)| found == name);
        fields.flat_map(|(_, field)| items(&field.value)).collect()
    }

    /// The first value of a header.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, field)| &field.value)
    }

    pub(crate) fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// The status code of a response, 0 for a request.
    pub(crate) fn code(&self) -> u16 {
        let code = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.split(' ').next());
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The method of the request, or of the one that is responded to.
    pub(crate) fn method(&self) -> &str {
        self.value("cseq").split_whitespace().nth(1).unwrap_or_default()
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The tag in To or From.
    pub(crate) fn tag(&self, name: &str) -> &str {
        let parameters = self.value(name).rsplit('>').next().unwrap_or_default();
        parameters.split(';').find_map(|one| one.trim().strip_prefix("tag=")).unwrap_or_default()
    }

    /// The whole message, for a report.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("      {}\n", self.start);
        for (_, field) in &self.headers {
            text.push_str(&format!("      {}\n", field.line));
        }
        text + "\n" + &String::from_utf8_lossy(&self.body)
    }
}

/// RFC 3261 7.3.3.
fn long(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let long = match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "c" => "content-type",
        "l" => "content-length",
        _ => return name,
    };
    long.to_owned()
}

/// A list at its commas, but for those in quotes and in angle brackets.
fn items(list: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut depth) = (Vec::new(), 0, false, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'<' if !quoted => depth += 1,
            b'>' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                items.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(list[start..].trim());
    items
}
