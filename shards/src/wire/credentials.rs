//! The answer to a digest challenge as a request carries it, RFC 7616 3.4 and RFC 8760: found and taken apart over the received
//! bytes. It checks the grammar and judges no value.

use super::cursor::{Cursor, Span};
use super::header::HeaderId;
use super::malformed::Malformed;
use super::message::Message;
use super::padded::Padded;
use super::scan::{self, Text, VALUE};

/// Digest credentials. What was quoted stands here without its quotes and with its escapes: that is what RFC 7616 hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials<'m> {
    /// The name of whoever answers; [`unescape`] gives it as it is meant.
    pub username: &'m [u8],
    /// The realm that was asked for.
    pub realm: &'m [u8],
    /// The nonce of the challenge.
    pub nonce: &'m [u8],
    /// The URI that the response is about.
    pub uri: &'m [u8],
    /// The response, in hexadecimal digits if it is one.
    pub response: &'m [u8],
    /// The algorithm; RFC 7616 3.4: MD5 where it is absent.
    pub algorithm: Option<&'m [u8]>,
    /// The quality of protection; absent in RFC 2069.
    pub qop: Option<&'m [u8]>,
    /// How often the nonce was used, in hexadecimal digits if it is a count.
    pub nc: Option<&'m [u8]>,
    /// The client's nonce.
    pub cnonce: Option<&'m [u8]>,
}

/// A quoted text with its escapes taken away, at the beginning of a buffer; `None` where that is too small.
// RFC 3261 25.1: quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)
#[must_use]
pub fn unescape<'b>(text: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let (mut length, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        at += usize::from(byte == b'\\');
        *buffer.get_mut(length)? = text.get(at).copied().unwrap_or(byte);
        length += 1;
        at += 1;
    }
    buffer.get(..length)
}

impl<'m> Message<'m> {
    /// The digest credentials for a realm in Authorization or Proxy-Authorization; `None` where there are none. Other schemes and
    /// other realms are somebody else's. `realm` has neither quotes nor backslashes.
    ///
    /// # Errors
    /// 400 where digest credentials break the grammar, lack a parameter that they must have or have one twice, and where the
    /// realm is answered twice.
    pub fn credentials(
        &self,
        header: HeaderId,
        realm: &[u8],
    ) -> Result<Option<Credentials<'m>>, Malformed> {
        let mut found = None;
        for line in self.index.lines_of(header) {
            let value = line.value(self.bytes);
            let mut cursor = Cursor::new(self.bytes, value, "Bad Credentials");
            let credentials = match common(&self.index.text, self.bytes, value) {
                Some(credentials) => credentials,
                None => match digest(&mut cursor)? {
                    Some(credentials) => credentials,
                    None => continue,
                },
            };
            if !is_realm(credentials.realm, realm) {
                continue;
            }
            if found.is_some() {
                // RFC 8760 2.4 wants one answer; nobody can tell which of two is meant.
                cursor.reason = "Repeated Credentials";
                return Err(cursor.fail());
            }
            found = Some(credentials);
        }
        Ok(found)
    }
}

#[inline]
fn is_realm(quoted: &[u8], realm: &[u8]) -> bool {
    quoted == realm || quoted.contains(&b'\\') && is_realm_escaped(quoted, realm)
}

#[cold]
fn is_realm_escaped(quoted: &[u8], realm: &[u8]) -> bool {
    let mut buffer = [0; 256];
    unescape(quoted, &mut buffer) == Some(realm)
}

/// Reads digest credentials in the form that nearly all phones write: known parameters, no escapes, and no white space but the
/// one behind a comma. What it takes, [`digest`] would take with the same result; anything else is left to that.
#[inline]
fn common<'m>(text: &Padded, bytes: &'m [u8], value: Span) -> Option<Credentials<'m>> {
    macro_rules! is {
        ($word:expr, $text:literal) => {{
            const TEXT: Text = Text::new($text);
            TEXT.begins($word)
        }};
    }
    let (start, end) = (usize::from(value.start), usize::from(value.end));
    if !is!(text.word(start), "digest ") {
        return None;
    }
    let mut spans = [Span::default(); Field::Opaque as usize + 1];
    let (mut seen, mut at) = (0u16, start + 7);
    loop {
        let word = text.word(at);
        #[allow(clippy::cast_possible_truncation, reason = "the first byte is wanted")]
        let (field, length) = match word as u8 | 0x20 {
            b'u' if is!(word, "uri=") => (Field::Uri, 4),
            b'u' if is!(word, "username") => (Field::Username, 9),
            b'r' if is!(word, "realm=") => (Field::Realm, 6),
            b'r' if is!(word, "response") => (Field::Response, 9),
            b'n' if is!(word, "nonce=") => (Field::Nonce, 6),
            b'n' if is!(word, "nc=") => (Field::Nc, 3),
            b'c' if is!(word, "cnonce=") => (Field::Cnonce, 7),
            b'q' if is!(word, "qop=") => (Field::Qop, 4),
            b'o' if is!(word, "opaque=") => (Field::Opaque, 7),
            b'a' if is!(word, "algorith") && text.byte(at + 8) | 0x20 == b'm' => {
                (Field::Algorithm, 10)
            }
            _ => return None,
        };
        at += length;
        let bit = 1 << field as u8;
        if text.byte(at - 1) != b'=' || seen & bit != 0 {
            return None;
        }
        seen |= bit;
        let (from, to);
        if text.byte(at) == b'"' {
            from = at + 1;
            to = text.quote_or_escape(from)?;
            if text.byte(to) != b'"' {
                return None;
            }
            at = to + 1;
        } else {
            from = at;
            to = text.run(from, VALUE);
            at = to;
            if from == to {
                return None;
            }
        }
        spans[field as usize] = Span::new(from, to);
        if at >= end {
            let is_whole = at == end && seen & REQUIRED == REQUIRED;
            let of = |field: Field| spans[field as usize].of(bytes);
            let option = |field| (seen >> field as u8 & 1 == 1).then(|| of(field));
            return is_whole.then(|| Credentials {
                username: of(Field::Username),
                realm: of(Field::Realm),
                nonce: of(Field::Nonce),
                uri: of(Field::Uri),
                response: of(Field::Response),
                algorithm: option(Field::Algorithm),
                qop: option(Field::Qop),
                nc: option(Field::Nc),
                cnonce: option(Field::Cnonce),
            });
        }
        if text.byte(at) != b',' {
            return None;
        }
        at += 1 + usize::from(text.byte(at + 1) == b' ');
    }
}

/// Takes `Digest name=value, ...`; `None` for another scheme.
// RFC 3261 25.1: digest-response = dig-resp *(COMMA dig-resp). A value that should be quoted and is a token is taken as well, and
// one that should be a token and is quoted, as in qop="auth".
#[cold]
#[inline(never)]
fn digest<'m>(cursor: &mut Cursor<'m>) -> Result<Option<Credentials<'m>>, Malformed> {
    const DIGEST: Text = Text::new("digest");
    let scheme = cursor.token()?;
    if scheme.end - scheme.start != 6
        || !DIGEST.begins(scan::word(cursor.bytes, usize::from(scheme.start)))
    {
        return Ok(None);
    }
    let scheme_end = cursor.at;
    cursor.lws();
    if cursor.at == scheme_end {
        return Err(cursor.fail());
    }
    let mut read = Credentials::default();
    let mut seen = 0;
    loop {
        let start = cursor.at;
        let name = cursor.token()?;
        let field = field(scan::word(cursor.bytes, start), cursor.bytes, start, cursor.at - start);
        if !cursor.separator(b'=') {
            return Err(cursor.fail());
        }
        let mut value = cursor.param_value()?;
        if cursor.bytes.get(usize::from(value.start)) == Some(&b'"') {
            value.start += 1;
            value.end -= 1;
        }
        if let Some(field) = field {
            let bit = 1u16 << field as u8;
            if seen & bit != 0 {
                cursor.at = usize::from(name.start);
                return Err(cursor.fail());
            }
            seen |= bit;
            let value = value.of(cursor.bytes);
            match field {
                Field::Username => read.username = value,
                Field::Realm => read.realm = value,
                Field::Nonce => read.nonce = value,
                Field::Uri => read.uri = value,
                Field::Response => read.response = value,
                Field::Algorithm => read.algorithm = Some(value),
                Field::Qop => read.qop = Some(value),
                Field::Nc => read.nc = Some(value),
                Field::Cnonce => read.cnonce = Some(value),
                Field::Opaque => {}
            }
        }
        if !cursor.separator(b',') {
            break;
        }
    }
    if !cursor.is_done() || seen & REQUIRED != REQUIRED {
        return Err(cursor.fail());
    }
    Ok(Some(read))
}

/// The parameters that are known. Others are ignored, RFC 7616 3.4.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Field {
    Username,
    Realm,
    Nonce,
    Uri,
    Response,
    Algorithm,
    Qop,
    Nc,
    Cnonce,
    Opaque,
}

/// RFC 7616 3.4 knows no credentials without these.
const REQUIRED: u16 = 1 << Field::Username as u8
    | 1 << Field::Realm as u8
    | 1 << Field::Nonce as u8
    | 1 << Field::Uri as u8
    | 1 << Field::Response as u8;

/// The parameter whose name has a length and begins with a word.
fn field(word: u64, bytes: &[u8], start: usize, length: usize) -> Option<Field> {
    macro_rules! is {
        ($text:literal) => {{
            const TEXT: Text = Text::new($text);
            TEXT.begins(word)
        }};
    }
    match length {
        2 if is!("nc") => Some(Field::Nc),
        3 if is!("uri") => Some(Field::Uri),
        3 if is!("qop") => Some(Field::Qop),
        5 if is!("realm") => Some(Field::Realm),
        5 if is!("nonce") => Some(Field::Nonce),
        6 if is!("cnonce") => Some(Field::Cnonce),
        6 if is!("opaque") => Some(Field::Opaque),
        8 if is!("username") => Some(Field::Username),
        8 if is!("response") => Some(Field::Response),
        9 if is!("algorith") && matches!(bytes.get(start + 8), Some(b'm' | b'M')) => {
            Some(Field::Algorithm)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Index, peek};
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// What a message with these Authorization values has for the realm `r`.
    fn read(values: &[&str]) -> Result<Option<[Option<String>; 9]>, &'static str> {
        let lines: String =
            values.iter().map(|value| format!("Authorization: {value}\r\n")).collect();
        let message = format!(
            "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{lines}\r\n"
        );
        let mut index = Index::new(64);
        let _ = peek(message.as_bytes(), &mut index);
        let message = Message::parse(message.as_bytes(), &mut index).map_err(|bad| bad.reason)?;
        for line in message.index.lines_of(HeaderId::Authorization) {
            let value = line.value(message.bytes);
            if let Some(read) = common(&message.index.text, message.bytes, value) {
                let mut cursor = Cursor::new(message.bytes, value, "");
                assert_eq!(digest(&mut cursor), Ok(Some(read)), "both readers agree");
            }
        }
        let found = message.credentials(HeaderId::Authorization, b"r").map_err(|bad| bad.reason)?;
        Ok(found.map(|found| {
            let text = |bytes: &[u8]| Some(String::from_utf8(bytes.to_vec()).unwrap());
            [
                text(found.username),
                text(found.realm),
                text(found.nonce),
                text(found.uri),
                text(found.response),
                found.algorithm.and_then(text),
                found.qop.and_then(text),
                found.nc.and_then(text),
                found.cnonce.and_then(text),
            ]
        }))
    }

    const LEAST: &str = r#"username="u", realm="r", nonce="n", uri="sip:a", response="0""#;

    #[test]
    fn all_parameters_in_any_order_and_form() {
        let wanted = ["u\\\"x", "r", "n", "sip:a", "0f", "MD5", "auth", "00000001", "c"];
        let wanted = Ok(Some(wanted.map(|text| Some(text.to_string()))));
        for text in [
            r#"Digest username="u\"x", realm="r", nonce="n", uri="sip:a", response="0f", algorithm=MD5, qop=auth, nc=00000001, cnonce="c""#,
            "dIGEST nc=00000001,Cnonce=c,QOP=\"auth\",ALGORITHM=\"MD5\",response=\"0f\",uri=\"sip:a\",nonce=n,realm=\"r\",UserName=\"u\\\"x\"",
            "Digest\r\n \tusername = \"u\\\"x\"\r\n , realm=\"r\",\r\n nonce=\"n\", uri=\"sip:a\", x=y, response=\"0f\" ,opaque=\"\", algorithm=MD5, qop=auth, z=\"a,b=\\\"c\", nc=00000001, cnonce=\"c\"",
        ] {
            assert_eq!(read(&[text]), wanted, "{text}");
        }
    }

    #[test]
    fn other_schemes_and_realms_are_passed_over() {
        let ours = format!("Digest {LEAST}");
        let theirs = ours.replace("\"r\"", "\"other\"");
        for values in
            [&[][..], &["Basic YTpi"], &["NoOneKnowsThisScheme opaque-data=here"], &[&theirs]]
        {
            assert_eq!(read(values), Ok(None), "{values:?}");
        }
        assert!(matches!(read(&["Basic YTpi", &theirs, &ours]), Ok(Some(_))));
        assert!(matches!(read(&[&ours.replace("\"r\"", "\"\\r\"")]), Ok(Some(_))));
        assert_eq!(read(&[&ours, &ours]), Err("Repeated Credentials"));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for bad in [
            "Digest".to_string(),
            "Digest,".to_string(),
            format!("Digest {LEAST},"),
            format!("Digest {LEAST}, qop"),
            format!("Digest {LEAST}, qop="),
            format!("Digest {LEAST}; qop=auth"),
            format!("Digest {LEAST} qop=auth"),
            format!("Digest {LEAST}, nc=1, nc=1"),
            format!("Digest {LEAST}, USERNAME=\"u\""),
            format!("Digest {LEAST}, opaque=\"open"),
            format!("Digest {LEAST}, opaque=a, opaque=a"),
            format!("Digest {}", LEAST.replace("nonce=\"n\", ", "")),
            format!("Digest {}", LEAST.replace("uri=\"sip:a\", ", "")),
            format!("Digest {}", LEAST.replace(", response=\"0\"", "")),
            format!("Digest {}", LEAST.replace("username=\"u\", ", "")),
            format!("Digest {}", LEAST.replace("realm=\"r\", ", "")),
        ] {
            assert_eq!(read(&[&bad]), Err("Bad Credentials"), "{bad}");
        }
        assert!(matches!(read(&[&format!("Digest {LEAST}")]), Ok(Some(_))));
    }

    #[test]
    fn escapes_are_taken_away_in_order() {
        let mut buffer = [0; 8];
        assert_eq!(unescape(br#"a\\\"b"#, &mut buffer), Some(&br#"a\"b"#[..]));
        assert_eq!(unescape(b"123456789", &mut buffer), None);
        assert_eq!(unescape(b"", &mut buffer), Some(&b""[..]));
    }

    /// Splits credentials at commas outside of quotes, one character at a time.
    fn naive(text: &str) -> Option<Vec<(String, String)>> {
        let (mut parts, mut part) = (Vec::new(), String::new());
        let (mut quoted, mut escaped) = (false, false);
        for c in text.strip_prefix("Digest ")?.chars() {
            if c == ',' && !quoted {
                parts.push(core::mem::take(&mut part));
                continue;
            }
            quoted ^= c == '"' && !escaped;
            escaped = c == '\\' && quoted && !escaped;
            part.push(c);
        }
        parts.push(part);
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let value =
                value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            let is_known = NAMES.contains(&name.as_str()) || name == "opaque";
            if is_known && fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name, value.to_string()));
        }
        Some(fields)
    }

    const NAMES: [&str; 9] =
        ["username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce"];

    proptest! {
        /// Any order, case, white space, quoting and strangers: the same as by splitting at commas.
        #[test]
        fn reads_what_a_naive_reader_reads(
            fields in prop::collection::vec(
                (0..13_usize, any::<bool>(), r#"([a-z@:;,= ]|\\"|\\\\){0,20}|[a-z]{0,80}"#, "[a-z0-9]{1,9}", "( |\t|\r\n ){0,2}|", any::<bool>()),
                1..14,
            ),
        ) {
            const MORE: [&str; 4] = ["opaque", "x", "nonces", "username*"];
            let mut text = String::new();
            for (at, (name, upper, quoted, token, space, is_quoted)) in fields.iter().enumerate() {
                let name = NAMES.iter().chain(&MORE).nth(*name).unwrap();
                let name = if *upper { name.to_ascii_uppercase() } else { (*name).to_string() };
                let value = match (is_quoted, name.eq_ignore_ascii_case("realm")) {
                    (_, true) => "\"r\"".to_string(),
                    (true, false) => format!("\"{quoted}\""),
                    (false, false) => token.clone(),
                };
                let comma = if at == 0 { "" } else { "," };
                text.push_str(&format!("{comma}{space}{name}{space}={space}{value}"));
            }
            let text = format!("Digest {}", text.trim());
            let wanted = naive(&text).and_then(|fields| {
                let of = |name: &str| {
                    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
                };
                let found = NAMES.map(of);
                found[..5].iter().all(Option::is_some).then_some(found)
            });
            match wanted {
                Some(found) => prop_assert_eq!(read(&[&text]), Ok(Some(found))),
                None => prop_assert_eq!(read(&[&text]), Err("Bad Credentials")),
            }
        }
    }
}
