//! Reads of a response what is needed to match and check it; it borrows the datagram and copies
//! nothing.

/// The checked parts of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// Of the topmost Via.
    pub(crate) branch: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    pub(crate) method: &'a [u8],
    /// Contact values in all Contact lines.
    pub(crate) contacts: u32,
    /// The value of the first Contact line.
    pub(crate) contact: &'a [u8],
    /// The value of Expires, in seconds.
    pub(crate) expires_secs: Option<u32>,
    /// The value of Min-Expires, in seconds.
    pub(crate) min_expires_secs: Option<u32>,
    /// The seconds of Retry-After, RFC 3261 20.33; the comment and parameters behind them are passed over.
    pub(crate) retry_after_secs: Option<u32>,
    /// The value of Server.
    pub(crate) server: &'a [u8],
    /// The first challenge that the user agents can answer.
    pub(crate) challenge: Option<Challenge<'a>>,
}

/// A digest challenge by MD5 with qop=auth, RFC 7616 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Challenge<'a> {
    pub(crate) realm: &'a [u8],
    /// As it stands between the quotes, and is sent back.
    pub(crate) nonce: &'a [u8],
    /// Only the nonce was wrong.
    pub(crate) stale: bool,
}

impl<'a> Response<'a> {
    /// Reads a datagram; none if it is not a whole response with Via, Call-ID and CSeq.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Response<'a>> {
        let rest = bytes.strip_prefix(b"SIP/2.0 ")?;
        let status = decimal(rest.get(..3)?)?;
        if rest.get(3) != Some(&b' ') {
            return None;
        }
        let mut response = Response { status: u16::try_from(status).ok()?, ..Response::default() };
        let mut lines = Lines { rest };
        lines.next()?;
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            // No other first letters are of headers that matter here.
            if matches!(line[0] | 0x20, b'c' | b'e' | b'i' | b'm' | b'r' | b's' | b'v' | b'w') {
                response.take(line)?;
            }
        }
        let whole =
            !response.branch.is_empty() && !response.call_id.is_empty() && response.cseq != 0;
        whole.then_some(response)
    }

    fn take(&mut self, line: &'a [u8]) -> Option<()> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = line[..colon].trim_ascii_end();
        let value = &line[colon + 1..];
        match Header::of(name) {
            Header::Via if self.branch.is_empty() => self.branch = branch_of(value)?,
            Header::CallId => self.call_id = value.trim_ascii(),
            Header::CSeq => {
                let value = value.trim_ascii();
                let space = value.iter().position(|byte| *byte == b' ')?;
                self.cseq = decimal(&value[..space])?;
                self.method = value[space..].trim_ascii();
            }
            Header::Contact => {
                if self.contacts == 0 {
                    self.contact = value;
                }
                self.contacts += values(value);
            }
            Header::Expires => self.expires_secs = decimal(value.trim_ascii()),
            Header::MinExpires => self.min_expires_secs = decimal(value.trim_ascii()),
            Header::RetryAfter => {
                let value = value.trim_ascii_start();
                let end = value.iter().position(|byte| !byte.is_ascii_digit());
                self.retry_after_secs = decimal(&value[..end.unwrap_or(value.len())]);
            }
            Header::Server => self.server = value.trim_ascii(),
            Header::WwwAuthenticate if self.challenge.is_none() => {
                self.challenge = Challenge::read(value);
            }
            Header::Via | Header::WwwAuthenticate | Header::Other => {}
        }
        Some(())
    }
}

/// The headers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Via,
    CallId,
    CSeq,
    Contact,
    Expires,
    MinExpires,
    RetryAfter,
    Server,
    WwwAuthenticate,
    Other,
}

impl Header {
    fn of(name: &[u8]) -> Header {
        // As most servers write them.
        match name {
            b"Via" | b"v" => Header::Via,
            b"Call-ID" | b"i" => Header::CallId,
            b"CSeq" => Header::CSeq,
            b"Contact" | b"m" => Header::Contact,
            b"Expires" => Header::Expires,
            b"Min-Expires" => Header::MinExpires,
            b"Retry-After" => Header::RetryAfter,
            b"Server" => Header::Server,
            b"WWW-Authenticate" => Header::WwwAuthenticate,
            b"Content-Length" => Header::Other,
            _ => Header::in_any_case(name),
        }
    }

    fn in_any_case(name: &[u8]) -> Header {
        const KNOWN: [(&[u8], Header); 12] = [
            (b"Via", Header::Via),
            (b"v", Header::Via),
            (b"Call-ID", Header::CallId),
            (b"i", Header::CallId),
            (b"CSeq", Header::CSeq),
            (b"Contact", Header::Contact),
            (b"m", Header::Contact),
            (b"Expires", Header::Expires),
            (b"Min-Expires", Header::MinExpires),
            (b"Retry-After", Header::RetryAfter),
            (b"Server", Header::Server),
            (b"WWW-Authenticate", Header::WwwAuthenticate),
        ];
        let known = KNOWN.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map_or(Header::Other, |(_, header)| *header)
    }
}

/// The branch of the first value of a Via.
fn branch_of(via: &[u8]) -> Option<&[u8]> {
    let mut rest = via;
    loop {
        rest = &rest[memchr::memchr(b';', rest)? + 1..];
        let Some(branch) = rest.strip_prefix(b"branch=") else { continue };
        let end = branch.iter().position(|b| matches!(b, b';' | b',' | b' ' | b'\t' | b'\r'));
        return Some(&branch[..end.unwrap_or(branch.len())]);
    }
}

/// What a 200 to a REGISTER grants to the contact at `place`, an address and port as in `192.0.2.1:5060`, in seconds: by the contact's
/// own expires, or else by Expires (RFC 3261 10.2.4); none where it is not among the contacts.
pub(crate) fn granted_secs(bytes: &[u8], response: &Response<'_>, place: &[u8]) -> Option<u32> {
    let own = match contact_at(response.contact, place) {
        Some(own) => own,
        None if response.contacts < 2 => return None,
        None => {
            let mut lines = Lines { rest: bytes };
            let mut find = || loop {
                let line = lines.next().filter(|line| !line.is_empty())?;
                let colon = memchr::memchr(b':', line).unwrap_or(0);
                let name = line[..colon].trim_ascii_end();
                if (name.eq_ignore_ascii_case(b"Contact") || name.eq_ignore_ascii_case(b"m"))
                    && let Some(own) = contact_at(&line[colon + 1..], place)
                {
                    return Some(own);
                }
            };
            find()?
        }
    };
    let own_expires = own.split(|byte| *byte == b';').find_map(|parameter| {
        let equals = memchr::memchr(b'=', parameter)?;
        let (name, value) =
            (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"expires") { decimal(value) } else { None }
    });
    own_expires.or(response.expires_secs)
}

/// The parameters of the contact at `place` among those of a Contact line's value.
fn contact_at<'a>(value: &'a [u8], place: &[u8]) -> Option<&'a [u8]> {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'@', rest) {
        rest = &rest[at + 1..];
        let Some(behind) = rest.strip_prefix(place) else { continue };
        if behind.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let end = memchr::memchr(b',', behind).unwrap_or(behind.len());
        let own = &behind[..end];
        // Behind the brackets, if there are any: what is within them is the URI's.
        return Some(memchr::memchr(b'>', own).map_or(own, |bracket| &own[bracket + 1..]));
    }
    None
}

impl<'a> Challenge<'a> {
    /// Reads the value of a WWW-Authenticate; none if it is no challenge of that kind.
    fn read(value: &'a [u8]) -> Option<Challenge<'a>> {
        let value = value.trim_ascii();
        let (scheme, mut rest) = value.split_at_checked(b"Digest ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Digest ") {
            return None;
        }
        let mut challenge = Challenge { realm: b"", nonce: b"", stale: false };
        let mut qop: &[u8] = b"";
        let mut algorithm: &[u8] = b"MD5";
        while let Some(equals) = memchr::memchr(b'=', rest) {
            let name = rest[..equals].trim_ascii();
            let text = rest[equals + 1..].trim_ascii_start();
            let value;
            if let Some(quoted) = text.strip_prefix(b"\"") {
                let end = memchr::memchr(b'"', quoted)?;
                value = &quoted[..end];
                rest = &quoted[end + 1..];
            } else {
                let end = memchr::memchr(b',', text).unwrap_or(text.len());
                value = text[..end].trim_ascii_end();
                rest = &text[end..];
            }
            // What follows a value is a comma, or nothing.
            rest = rest.trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest);
            let named = |known: &[u8]| name.eq_ignore_ascii_case(known);
            if named(b"realm") {
                challenge.realm = value;
            } else if named(b"nonce") {
                challenge.nonce = value;
            } else if named(b"stale") {
                challenge.stale = value.eq_ignore_ascii_case(b"true");
            } else if named(b"qop") {
                qop = value;
            } else if named(b"algorithm") {
                algorithm = value;
            }
        }
        let has_auth = qop.split(|b| *b == b',').any(|qop| qop.trim_ascii() == b"auth");
        let is_plain = |text: &[u8]| !text.is_empty() && !text.contains(&b'\\');
        (has_auth
            && algorithm.eq_ignore_ascii_case(b"MD5")
            && is_plain(challenge.nonce)
            && is_plain(challenge.realm))
        .then_some(challenge)
    }
}

/// The lines of a header section without their CRLF.
pub(crate) struct Lines<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let line = self.rest[..end].strip_suffix(b"\r")?;
        self.rest = &self.rest[end + 1..];
        Some(line)
    }
}

/// Counts comma-separated values, passing over commas in quotes and angle brackets.
fn values(text: &[u8]) -> u32 {
    if text.trim_ascii().is_empty() {
        return 0;
    }
    if memchr::memchr(b',', text).is_none() {
        return 1;
    }
    let (mut quoted, mut escaped, mut in_brackets, mut commas) = (false, false, false, 0);
    for &byte in text {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            b',' if !in_brackets => commas += 1,
            _ => {}
        }
    }
    commas + 1
}

/// Reads decimal digits and nothing else.
pub(crate) fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let mut value: u32 = 0;
    // Nine digits fit whatever they are.
    let (safe, last) = digits.split_at(digits.len().min(9));
    for digit in safe {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
    }
    for digit in last {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

/// Reads hex digits as they stand in a branch.
pub(crate) fn hex(digits: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value.checked_mul(16)? | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_write() {
        let text = b"SIP/2.0 200 OK\r\n\
            Via: SIP/2.0/UDP 127.0.0.1:5;rport=5;branch=z9hG4bKaa;received=127.0.0.1\r\n\
            Via: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKother\r\n\
            i: abc@d\r\nCSEQ : 17  REGISTER\r\n\
            Contact: <sip:a,b@c>;q=1, \"x, \\\" y\" <sip:d@e>\r\nm: <sip:f@g>\r\n\
            Content-Length: 0\r\n\r\n";
        let response = Response::read(text).unwrap();
        assert_eq!(
            response,
            Response {
                status: 200,
                branch: b"z9hG4bKaa",
                call_id: b"abc@d",
                cseq: 17,
                method: b"REGISTER",
                contacts: 3,
                contact: b" <sip:a,b@c>;q=1, \"x, \\\" y\" <sip:d@e>",
                ..Response::default()
            }
        );
    }

    #[test]
    fn reads_how_long_and_when_again() {
        let head = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n";
        let text = format!(
            "{head}Retry-After: 17 (soon);duration=9\r\nServer: Seawall 1\r\nMin-Expires: 90\r\nexpires: 60\r\n\r\n"
        );
        let response = Response::read(text.as_bytes()).unwrap();
        assert_eq!(response.retry_after_secs, Some(17));
        assert_eq!(response.min_expires_secs, Some(90));
        assert_eq!(response.expires_secs, Some(60));
        assert_eq!(response.server, b"Seawall 1");
        let place = b"127.1.1.1:5060";
        for (lines, expected) in [
            ("Contact: <sip:a@127.1.1.1:5060;line=1>;expires=30\r\nExpires: 60\r\n", Some(30)),
            ("Contact: <sip:a@127.1.1.1:5060;expires=5>\r\nExpires: 60\r\n", Some(60)),
            ("m: sip:a@127.1.1.1:5060;q=1;Expires=31\r\n", Some(31)),
            ("Contact: <sip:a@127.1.1.1:50601>;expires=30\r\n", None),
            (
                "Contact: <sip:b@c>;expires=9, <sip:a@127.1.1.1:5060>;expires=32, <sip:d@e>;expires=8\r\n",
                Some(32),
            ),
            (
                "Contact: <sip:b@c>;expires=9\r\nContact: <sip:a@127.1.1.1:5060>;expires=33\r\n",
                Some(33),
            ),
            ("Contact: <sip:a@127.1.1.1:5060>\r\n", None),
            ("Expires: 60\r\n", None),
        ] {
            let text = format!("{head}{lines}\r\n");
            let response = Response::read(text.as_bytes()).unwrap();
            assert_eq!(granted_secs(text.as_bytes(), &response, place), expected, "{lines}");
        }
    }

    #[test]
    fn reads_the_challenges_of_servers() {
        let challenge = |stale| Challenge { realm: b"sip.test", nonce: b"aB+/=,1", stale };
        for (line, expected) in [
            (r#"Digest realm="sip.test", nonce="aB+/=,1", qop="auth""#, Some(challenge(false))),
            (
                r#"DIGEST nonce="aB+/=,1",stale=TRUE , algorithm=md5,opaque="", realm="sip.test",qop="auth-int, auth""#,
                Some(challenge(true)),
            ),
            (r#"Digest realm="sip.test", nonce="a", algorithm=SHA-256, qop="auth""#, None),
            (r#"Digest realm="sip.test", nonce="a""#, None),
            (r#"Digest realm="sip.test", nonce="a\"b", qop="auth""#, None),
            (r#"Digest realm="sip.test", nonce="a"#, None),
            (r#"Basic realm="sip.test""#, None),
        ] {
            assert_eq!(Challenge::read(line.as_bytes()), expected, "{line}");
        }
        let text = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            Call-ID: x\r\nCSeq: 1 REGISTER\r\n\
            WWW-Authenticate: Digest realm=\"r\", nonce=\"s\", algorithm=SHA-256, qop=\"auth\"\r\n\
            WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\n\r\n";
        let challenge = Response::read(text).unwrap().challenge.unwrap();
        assert_eq!(challenge, Challenge { realm: b"r", nonce: b"n", stale: false });
    }

    #[test]
    fn refuses_what_is_no_response() {
        let whole = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            Call-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n";
        assert!(Response::read(whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(Response::read(&whole[..length]), None, "cut at {length}");
        }
        for bad in ["REGISTER sip:a SIP/2.0\r\n\r\n", "SIP/2.0 20 OK\r\n\r\n", "\r\n\r\n", ""] {
            assert_eq!(Response::read(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn decimal_is_strict() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"000000042"), Some(42));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        for bad in ["", "4294967296", "12345678901", "1x", "x1", "/", ":", "-1", "123456789x"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn hex_is_strict() {
        assert_eq!(hex(b"00000000000a"), Some(10));
        assert_eq!(hex(b"0000000g"), None);
        assert_eq!(hex(b"00A0"), None);
    }
}
