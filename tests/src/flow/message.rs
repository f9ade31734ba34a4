//! SIP messages as the tests see them: read by a small reader of their own, which shares no line with the parser under
//! test. It never judges a message.

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
        // RFC 3261 25.1: between two line ends there is more than white space.
        if head.split("\r\n").any(|line| line.trim().is_empty()) {
            return Err("there is an empty line among the headers".to_owned());
        }
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

    /// The method of a request; none where it is a response.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.start.split(' ').next().filter(|word| !word.starts_with("SIP/"))
    }

    /// The Request-URI.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.method()?;
        self.start.split(' ').nth(1)
    }

    /// Number and method of `CSeq`.
    #[must_use]
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.first("CSeq")?.split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The branch of the topmost Via.
    #[must_use]
    pub fn branch(&self) -> Option<String> {
        param(self.values("Via").first()?, "branch")
    }

    /// All values of a header whose rows are lists.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.rows_of(name).iter().flat_map(|row| split_list(row, ',')).collect()
    }
}

/// The lower-case long form of a header name, RFC 3261 7.3.3.
#[must_use]
pub(super) fn long_name(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    match lower.as_str() {
        "i" => "call-id",
        "m" => "contact",
        "e" => "content-encoding",
        "o" => "event",
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

/// A parameter behind the angle brackets of a header value, or behind its first semicolon.
#[must_use]
pub(super) fn param(value: &str, name: &str) -> Option<String> {
    split_list(value, ';').into_iter().skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((&part, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The URI of a header value, with or without angle brackets.
#[must_use]
pub(super) fn uri_of(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// The header rows of a message as they are on the wire: the name, and all bytes of the value with its folds.
#[must_use]
pub(super) fn raw_rows(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let mut rows: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..end];
    while !rest.is_empty() {
        let line_end = find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..line_end];
        match rows.last_mut() {
            Some(row) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                row.extend_from_slice(b"\r\n");
                row.extend_from_slice(line);
            }
            Some(_) | None => rows.push(line.to_vec()),
        }
        rest = rest.get(line_end + 2..).unwrap_or_default();
    }
    let rows = rows.into_iter().skip(1).map(|row| {
        let colon = row.iter().position(|&byte| byte == b':').unwrap_or(row.len());
        let name = String::from_utf8_lossy(&row[..colon]).trim().to_owned();
        (name, row.get(colon + 1..).unwrap_or_default().to_vec())
    });
    rows.collect()
}

/// The bytes behind the empty line.
#[must_use]
pub(super) fn raw_body(bytes: &[u8]) -> &[u8] {
    find(bytes, b"\r\n\r\n").map_or(&[], |end| &bytes[end + 4..])
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_outside_of_quotes_and_brackets() {
        let list = r#""a, \" b" <sip:a,b@x>;q=1 , sip:c"#;
        assert_eq!(split_list(list, ','), [r#""a, \" b" <sip:a,b@x>;q=1"#, "sip:c"]);
        assert_eq!(param("<sip:a;tag=no@b>;x;Tag=1", "tag").as_deref(), Some("1"));
        assert_eq!(uri_of(r#""a" <sip:a@b;c>;tag=1"#), "sip:a@b;c");
        assert_eq!(uri_of("sip:a@b ;tag=1"), "sip:a@b");
    }

    #[test]
    fn folded_rows_are_read_as_one() {
        let bytes = b"A\r\nSubject: a\r\n b\r\nv: 1;branch=z\r\nVIA: 2, 3\r\n\r\nbody";
        let message = Message::read(bytes).unwrap();
        assert_eq!(message.first("s"), Some("a b"));
        assert_eq!(message.values("Via"), ["1;branch=z", "2", "3"]);
        assert_eq!(message.branch().as_deref(), Some("z"));
        assert_eq!(message.body, b"body");
        assert_eq!(raw_rows(bytes)[0], ("Subject".to_owned(), b" a\r\n b".to_vec()));
        assert_eq!(raw_rows(bytes).len(), 3);
        assert_eq!(raw_body(bytes), b"body");
    }

    #[test]
    fn an_empty_fold_is_no_message() {
        assert!(Message::read(b"A\r\nVia: a\r\n \r\n ;b\r\n\r\n").is_err());
    }

    #[test]
    fn requests_and_responses_are_told_apart() {
        let request = Message::read(b"BYE sip:a@b SIP/2.0\r\nCSeq: 7  BYE\r\n\r\n").unwrap();
        assert_eq!((request.method(), request.uri()), (Some("BYE"), Some("sip:a@b")));
        assert_eq!(request.cseq(), Some((7, "BYE")));
        let response = Message::read(b"SIP/2.0 200 Fine\r\n\r\n").unwrap();
        assert_eq!((response.method(), response.uri()), (None, None));
        assert_eq!((response.status(), response.reason()), (Some(200), Some("Fine")));
    }
}
