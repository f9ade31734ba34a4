//! Reads of a message what the two ends of a call need; it borrows the datagram and copies nothing.

use crate::response::{Lines, decimal};

/// A message of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) start: Start<'a>,
    /// Via lines, from the top.
    pub(super) via: Repeated<'a>,
    /// Record-Route lines, from the top.
    pub(super) record_route: Repeated<'a>,
    /// Whether a Route is left.
    pub(super) has_route: bool,
    /// The value.
    pub(super) from: &'a [u8],
    /// The value.
    pub(super) to: &'a [u8],
    pub(super) call_id: &'a [u8],
    pub(super) cseq: u32,
    /// Of the CSeq.
    pub(super) method: Method,
    /// The URI.
    pub(super) contact: &'a [u8],
    pub(super) body: &'a [u8],
}

/// What a message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    Request { method: Method, uri: &'a [u8] },
    Response { status: u16 },
}

/// The methods that calls are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
}

/// The lines of a header that may be there several times, without their CRLF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repeated<'a> {
    lines: [&'a [u8]; LINES_MAX],
    count: usize,
}

/// Lines of a header at most; a way through more proxies than this is not measured here.
const LINES_MAX: usize = 6;

impl<'a> Repeated<'a> {
    pub(super) fn lines(&self) -> &[&'a [u8]] {
        &self.lines[..self.count]
    }

    fn add(&mut self, line: &'a [u8]) -> Option<()> {
        *self.lines.get_mut(self.count)? = line;
        self.count += 1;
        Some(())
    }
}

impl Method {
    fn read(text: &[u8]) -> Option<Method> {
        match text {
            b"INVITE" => Some(Method::Invite),
            b"ACK" => Some(Method::Ack),
            b"BYE" => Some(Method::Bye),
            b"CANCEL" => Some(Method::Cancel),
            _ => None,
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a datagram; none if it is no whole message of a call.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut lines = Lines { rest: bytes };
        let mut message = Message {
            start: Start::read(lines.next()?)?,
            via: Repeated::default(),
            record_route: Repeated::default(),
            has_route: false,
            from: b"",
            to: b"",
            call_id: b"",
            cseq: 0,
            method: Method::Invite,
            contact: b"",
            body: b"",
        };
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            message.take(line)?;
        }
        message.body = lines.rest;
        let is_whole = message.via.count > 0
            && !message.from.is_empty()
            && !message.to.is_empty()
            && !message.call_id.is_empty()
            && message.cseq != 0;
        is_whole.then_some(message)
    }

    fn take(&mut self, line: &'a [u8]) -> Option<()> {
        let colon = memchr::memchr(b':', line)?;
        let name = line[..colon].trim_ascii_end();
        let value = || line[colon + 1..].trim_ascii();
        let named = |long: &[u8], short: &[u8]| {
            name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
        };
        match name.first()? | 0x20 {
            b'v' if named(b"Via", b"v") => self.via.add(line)?,
            b'f' if named(b"From", b"f") => self.from = value(),
            b't' if named(b"To", b"t") => self.to = value(),
            b'r' if named(b"Record-Route", b"Record-Route") => self.record_route.add(line)?,
            b'r' if named(b"Route", b"Route") => self.has_route = true,
            b'c' | b'i' if named(b"Call-ID", b"i") => self.call_id = value(),
            b'c' if named(b"CSeq", b"CSeq") => {
                let value = value();
                let space = memchr::memchr(b' ', value)?;
                self.cseq = decimal(&value[..space])?;
                self.method = Method::read(value[space..].trim_ascii())?;
            }
            b'c' | b'm' if named(b"Contact", b"m") => self.contact = uri_in(value()),
            _ => {}
        }
        Some(())
    }
}

impl<'a> Start<'a> {
    fn read(line: &'a [u8]) -> Option<Start<'a>> {
        if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
            let status = u16::try_from(decimal(rest.get(..3)?)?).ok()?;
            return (rest.get(3) == Some(&b' ')).then_some(Start::Response { status });
        }
        let rest = line.strip_suffix(b" SIP/2.0")?;
        let space = memchr::memchr(b' ', rest)?;
        Some(Start::Request { method: Method::read(&rest[..space])?, uri: &rest[space + 1..] })
    }
}

/// The URI of an address without a quoted name.
fn uri_in(value: &[u8]) -> &[u8] {
    match memchr::memchr(b'<', value) {
        Some(open) => {
            let rest = &value[open + 1..];
            &rest[..memchr::memchr(b'>', rest).unwrap_or(rest.len())]
        }
        None => &value[..memchr::memchr(b';', value).unwrap_or(value.len())],
    }
}

/// The tag of a From or To without a quoted name.
pub(super) fn tag_of(value: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b";tag=";
    let parameters = &value[memchr::memchr(b'>', value)?..];
    let tag = &parameters[memchr::memmem::find(parameters, NAME)? + NAME.len()..];
    Some(&tag[..memchr::memchr(b';', tag).unwrap_or(tag.len())])
}

/// The branch of a Via line with one value.
pub(super) fn branch_of(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b";branch=";
    let branch = &line[memchr::memmem::find(line, NAME)? + NAME.len()..];
    let end = branch.iter().position(|b| matches!(b, b';' | b',' | b' ' | b'\t'));
    Some(&branch[..end.unwrap_or(branch.len())])
}

/// The values of Record-Route lines, the last first: the route set of the caller, RFC 3261 12.1.2.
pub(super) fn routes_reversed<'a>(lines: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().rev().flat_map(|line| {
        let value = memchr::memchr(b':', line).map_or(&line[..0], |colon| &line[colon + 1..]);
        // Each value ends with its bracket, with parameters or without; commas stand between.
        value.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|one| !one.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proxies_write() {
        let text = b"SIP/2.0 200 OK\r\n\
            Via: SIP/2.0/UDP 127.0.0.1:5;rport=5;branch=z9hG4bKaa;received=127.0.0.1\r\n\
            v: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKother\r\n\
            Record-Route: <sip:1.1.1.1;lr;r2=on>, <sip:2.2.2.2;lr;c=ab>\r\n\
            Record-Route: <sip:3.3.3.3;lr>\r\n\
            f: <sip:a@b>;tag=1\r\nTo: <sip:c@d;x=1>;q=2;tag=abc;z\r\n\
            i: abc@d\r\nCSEQ : 17  BYE\r\n\
            m: <sip:a@b:1;line=1>;q=1\r\n\
            l: 3\r\n\r\nxyz";
        let message = Message::read(text).unwrap();
        assert_eq!(message.start, Start::Response { status: 200 });
        assert_eq!(message.via.lines().len(), 2);
        assert_eq!(branch_of(message.via.lines()[0]), Some(&b"z9hG4bKaa"[..]));
        assert_eq!(branch_of(message.via.lines()[1]), Some(&b"z9hG4bKother"[..]));
        let routes: Vec<_> = routes_reversed(message.record_route.lines()).collect();
        assert_eq!(
            routes,
            [&b"<sip:3.3.3.3;lr>"[..], b"<sip:2.2.2.2;lr;c=ab>", b"<sip:1.1.1.1;lr;r2=on>"]
        );
        assert_eq!(tag_of(message.from), Some(&b"1"[..]));
        assert_eq!(tag_of(message.to), Some(&b"abc"[..]));
        assert_eq!(message.call_id, b"abc@d");
        assert_eq!((message.cseq, message.method), (17, Method::Bye));
        assert_eq!(message.contact, b"sip:a@b:1;line=1");
        assert_eq!(message.body, b"xyz");
        assert!(!message.has_route);
    }

    #[test]
    fn reads_requests() {
        let text = b"ACK sip:a@b:1;line=1 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            Route: <sip:b;lr>\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: x\r\n\
            CSeq: 1 ACK\r\n\r\n";
        let message = Message::read(text).unwrap();
        let uri = b"sip:a@b:1;line=1";
        assert_eq!(message.start, Start::Request { method: Method::Ack, uri });
        assert!(message.has_route);
        assert_eq!(tag_of(message.to), None);
        for length in 0..text.len() {
            assert_eq!(Message::read(&text[..length]), None, "cut at {length}");
        }
    }
}
