//! A response as a user agent reads it: line by line, with nothing of the server's.

/// What a user agent looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The branch of the topmost Via.
    pub branch: Vec<u8>,
    /// The number of the `CSeq`.
    pub cseq: u32,
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// The values of Contact, each line as it came.
    pub contacts: Vec<Vec<u8>>,
    /// The value of Path.
    pub path: Vec<u8>,
    /// The value of Require.
    pub require: Vec<u8>,
    /// The seconds in Min-Expires.
    pub min_expires: Option<u32>,
    /// The value of Date.
    pub date: Vec<u8>,
    /// The tag of To.
    pub to_tag: Vec<u8>,
    /// The reason phrase.
    pub reason: Vec<u8>,
    /// Every line but those that a response has from its request.
    pub others: Vec<Vec<u8>>,
    /// Whether it ends as a message without a body does.
    pub is_whole: bool,
}

impl Response {
    /// Reads a datagram; `None` where it is no response. The server writes each header on a line of its own and in full, but for
    /// those it copies from the request.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = bytes.strip_prefix(b"SIP/2.0 ")?;
        let mut response = Response {
            status: number(text.get(..3)?)?.try_into().ok()?,
            reason: text.get(4..)?.split(|&byte| byte == b'\r').next()?.to_vec(),
            is_whole: bytes.ends_with(b"\r\nContent-Length: 0\r\n\r\n"),
            ..Response::default()
        };
        let mut has_via = false;
        for line in unfolded(text) {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
            let name = name.to_ascii_lowercase();
            let is_copied = COPIED.contains(&&name[..]);
            match &name[..] {
                b"via" | b"v" if !has_via => {
                    has_via = true;
                    response.branch = param(value, b";branch=").to_vec();
                }
                b"call-id" | b"i" => response.call_id = value.to_vec(),
                b"to" | b"t" => response.to_tag = param(value, b";tag=").to_vec(),
                b"cseq" => {
                    let digits =
                        value.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
                    response.cseq = number(digits).unwrap_or(u32::MAX);
                }
                b"contact" => response.contacts.push(value.to_vec()),
                b"path" => response.path = value.to_vec(),
                b"require" => response.require = value.to_vec(),
                b"date" => response.date = value.to_vec(),
                b"min-expires" => response.min_expires = number(value),
                _ => {}
            }
            if !is_copied {
                response.others.push(line);
            }
        }
        Some(response)
    }

    /// The challenges in it, each with its nonce and its algorithm.
    pub fn challenges(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let values = self.others.iter().filter_map(|line| line.strip_prefix(b"WWW-Authenticate: "));
        values.map(|value| {
            let nonce = param(value, b", nonce=\"");
            (nonce.strip_suffix(b"\"").unwrap_or(nonce), param(value, b", algorithm="))
        })
    }

    /// The URI of a listed contact, and the seconds it has left.
    #[must_use]
    pub fn listed(contact: &[u8]) -> Option<(&[u8], u32)> {
        let end = contact.iter().position(|&byte| byte == b'>')?;
        let at = contact.windows(9).rposition(|window| window == b";expires=")?;
        Some((contact.get(1..end)?, number(&contact[at + 9..])?))
    }
}

/// What a response has from its request, RFC 3261 8.2.6.2.
const COPIED: [&[u8]; 9] = [b"via", b"v", b"from", b"f", b"to", b"t", b"call-id", b"i", b"cseq"];

/// The lines behind the first, those that continue one joined to it.
fn unfolded(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|&byte| byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), lines.last_mut()) {
            (Some(b' ' | b'\t'), Some(last)) => last.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

fn param<'a>(value: &'a [u8], name: &[u8]) -> &'a [u8] {
    let Some(at) = value.windows(name.len()).position(|window| window == name) else { return b"" };
    let value = &value[at + name.len()..];
    value.split(|byte| b";, ".contains(byte)).next().unwrap_or_default()
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_200_is_read() {
        let text = "SIP/2.0 200 OK\r\nv : SIP/2.0/UDP a;branch=z9hG4bK1;rport=5\r\nTo: <sip:a@b>;tag=0f\r\nCall-ID:\r\n x\r\n\
                    CSeq: 7 REGISTER\r\nContact: <sip:a@c;x=1>;+y=\"z\";q=0.5;expires=30\r\nContent-Length: 0\r\n\r\n";
        let response = Response::read(text.as_bytes()).unwrap();
        assert_eq!((response.status, response.cseq, response.is_whole), (200, 7, true));
        assert_eq!(
            (&response.branch[..], &response.to_tag[..], &response.call_id[..]),
            (&b"z9hG4bK1"[..], &b"0f"[..], &b"x"[..])
        );
        assert_eq!(Response::listed(&response.contacts[0]), Some((&b"sip:a@c;x=1"[..], 30)));
        assert_eq!((&response.reason[..], response.others.len()), (&b"OK"[..], 2));
        assert_eq!(Response::read(b"REGISTER sip:a SIP/2.0\r\n\r\n"), None);
    }

    #[test]
    fn a_challenge_is_read() {
        let text = "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP a\r\n\
                    WWW-Authenticate: Digest realm=\"r\", nonce=\"ab-_\", algorithm=SHA-256, qop=\"auth\"\r\n\
                    WWW-Authenticate: Digest realm=\"r\", nonce=\"cd\", algorithm=MD5, qop=\"auth\", stale=true\r\n\r\n";
        let response = Response::read(text.as_bytes()).unwrap();
        let challenges: Vec<_> = response.challenges().collect();
        assert_eq!(challenges, [(&b"ab-_"[..], &b"SHA-256"[..]), (b"cd", b"MD5")]);
    }
}
