//! The parser is total, what it gives are parts of the received bytes that put together are the message again, and whatever came, a
//! response to it can be written that reads as one.

use super::{HEADER_LINES_MAX, is_inside};
use shards::io::{ListenerId, LocalAddr, Outbox, Peer};
use shards::wire::{
    self, Address, Contact, HeaderId, Index, Message, Params, Peek, Response, Rport, StartLine,
    Uri, Via, response_destination,
};
use std::net::SocketAddr;

/// Reads all that can be read of a message, and answers it.
pub fn parser(bytes: &[u8]) {
    let mut index = Index::new(HEADER_LINES_MAX);
    wire::peek(bytes, &mut index);
    if let Ok(message) = Message::parse(bytes, &mut index) {
        is_whole(&message);
        values_are_parts(&message);
    }
    if index.is_request() {
        for source in ["192.0.2.7:5062", "[2001:db8::7]:5062"] {
            answered(bytes, &index, source.parse().unwrap());
        }
    }
}

/// The lines that the parser gives are those that a splitter finds which knows nothing but CRLF and folds, and together with the
/// first line and the body they are the message.
fn is_whole(message: &Message<'_>) {
    let bytes = message.bytes();
    let head_end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 2;
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    for end in 2..=head_end {
        let is_folded = matches!(bytes.get(end), Some(b' ' | b'\t'));
        // The first line can't be folded.
        if bytes[..end].ends_with(b"\r\n") && !(is_folded && end < head_end && !lines.is_empty()) {
            lines.push(&bytes[start..end]);
            start = end;
        }
    }
    let headers: Vec<&[u8]> = message.headers().map(|header| header.raw).collect();
    assert_eq!(lines[1..], headers[..], "the lines");
    let mut at = lines[0].len();
    for header in message.headers() {
        assert_eq!(usize::from(header.offset), at);
        assert!(is_inside(header.raw, header.value) && is_inside(header.raw, header.name()));
        let value = usize::from(header.value_offset);
        assert_eq!(&bytes[value..value + header.value.len()], header.value);
        if header.id != HeaderId::Other {
            assert!(message.has(header.id));
            assert!(message.values(header.id).any(|value| value == header.value));
            assert!(message.named(header.id.name().as_bytes()).any(|line| line.raw == header.raw));
        }
        at += header.raw.len();
    }
    assert_eq!(at, head_end);
    assert_eq!(message.body(), &bytes[head_end + 2..][..message.body().len()]);
    match message.values(HeaderId::ContentLength).next() {
        Some(length) => {
            let length = std::str::from_utf8(length).unwrap().trim().parse::<usize>().unwrap();
            assert_eq!(message.body().len(), length);
        }
        None => assert_eq!(bytes.len(), head_end + 2 + message.body().len()),
    }
}

fn values_are_parts(message: &Message<'_>) {
    let bytes = message.bytes();
    // No value is shorter than a byte and its separator.
    let most = bytes.len() / 2;
    for address in [message.from(), message.to()] {
        address_is_part(bytes, &address);
        let tag = address.params.find(b"tag").and_then(|tag| tag.value);
        assert_eq!(address.tag, tag);
    }
    assert!(!message.call_id().is_empty() && is_inside(bytes, message.call_id()));
    assert!(message.cseq().number < 1 << 31);
    via_is_part(bytes, &message.via());
    for (number, via) in message.vias().enumerate() {
        assert!(number < most);
        match via {
            Ok(via) if number == 0 => assert_eq!(via.raw, message.via().raw),
            Ok(via) => via_is_part(bytes, &via),
            Err(malformed) => assert!((malformed.offset as usize) <= bytes.len()),
        }
    }
    for (number, contact) in message.contacts().enumerate() {
        assert!(number < most);
        if let Ok(Contact::Address(contact)) = contact {
            address_is_part(bytes, &contact.address);
            assert!(contact.q.is_none_or(|thousandths| thousandths <= 1000));
            assert!(contact.reg_id.is_none_or(|id| id > 0 && id < 1 << 31));
            assert!(contact.instance.is_none_or(|instance| is_inside(bytes, instance)));
        }
    }
    for id in [HeaderId::Route, HeaderId::RecordRoute, HeaderId::Path] {
        for (number, address) in message.addresses(id).enumerate() {
            assert!(number < most);
            let Ok(address) = address else { continue };
            address_is_part(bytes, &address);
        }
    }
    for id in [HeaderId::Require, HeaderId::ProxyRequire, HeaderId::Supported] {
        for (number, tag) in message.option_tags(id).enumerate() {
            assert!(number < most);
            assert!(tag.is_err() || tag.is_ok_and(|tag| !tag.is_empty() && is_inside(bytes, tag)));
        }
    }
    assert_eq!(message.expires().is_some(), message.has(HeaderId::Expires));
    if let StartLine::Request { uri, .. } = message.start_line() {
        uri_is_part(bytes, uri);
    }
}

fn address_is_part(bytes: &[u8], address: &Address<'_>) {
    assert!(is_inside(bytes, address.raw) && !address.uri.is_empty());
    for part in [address.display, address.uri, address.params.raw()] {
        assert!(is_inside(address.raw, part));
    }
    params_are_parts(address.raw, address.params);
    assert!(address.tag.is_none_or(|tag| is_inside(address.raw, tag)));
    if let Ok(uri) = Uri::parse(address.uri) {
        uri_is_part(address.uri, &uri);
    }
}

fn via_is_part(bytes: &[u8], via: &Via<'_>) {
    assert!(is_inside(bytes, via.raw) && !via.host.raw().is_empty());
    let parts = [via.branch, via.received, via.maddr].map(Option::unwrap_or_default);
    for part in parts.into_iter().chain([via.transport, via.host.raw(), via.params.raw()]) {
        assert!(is_inside(via.raw, part));
    }
    params_are_parts(via.raw, via.params);
    let value = |name: &[u8]| via.params.find(name).and_then(|param| param.value);
    assert_eq!((via.branch, via.maddr), (value(b"branch"), value(b"maddr")));
}

fn params_are_parts(whole: &[u8], params: Params<'_>) {
    let mut bytes = 0;
    for param in params {
        assert!(!param.name.is_empty() && is_inside(whole, param.name));
        assert!(param.value.is_none_or(|value| is_inside(whole, value)));
        bytes += 1 + param.name.len() + param.value.map_or(0, |value| 1 + value.len());
    }
    assert!(bytes <= params.raw().len(), "parameters overlap");
}

fn uri_is_part(bytes: &[u8], uri: &Uri<'_>) {
    assert!(is_inside(bytes, uri.raw));
    let parts = [uri.user, uri.password].map(Option::unwrap_or_default);
    for part in parts.into_iter().chain([uri.host.raw(), uri.params, uri.headers]) {
        assert!(is_inside(uri.raw, part));
    }
}

/// Writes a response, which takes over of the request what it must and lets nothing else in.
fn answered(request: &[u8], index: &Index, source: SocketAddr) {
    const TAG: &[u8; 16] = b"0123456789abcdef";
    let destination = response_destination(index, source);
    assert_eq!(destination.ip(), source.ip(), "a response to somebody else");
    let sound = index.failure().is_none();
    let status = index.failure().map_or(200, |malformed| malformed.status);
    let mut out = Outbox::new(1, 0);
    let started = Response::start(out.reply(), request, index, status, "Whatever", source, TAG);
    let Some(mut response) = started else {
        assert!(!sound, "a sound request has a Via");
        return;
    };
    response.header("Allow", b"X");
    response.put(b"Contact: <sip:a@b>");
    response.end_with_expires(3600);
    let reply = response.finish();
    if !reply.fits() {
        return;
    }
    let to = LocalAddr { listener: ListenerId(0), ip: source.ip() };
    assert!(reply.send(Peer::udp(destination), to));
    let sent = out.bytes(&out.sends()[0]);
    assert!(sent.starts_with(format!("SIP/2.0 {status} Whatever\r\n").as_bytes()));
    ends_once(sent);
    if sound {
        reads_as_response(request, sent, source, TAG);
    }
}

/// Nothing that came in a line ends it early: CR and LF come together only, and the empty line once, at the end.
fn ends_once(response: &[u8]) {
    for (at, byte) in response.iter().enumerate() {
        let (before, behind) = (at.checked_sub(1).map(|at| response[at]), response.get(at + 1));
        match byte {
            b'\r' => assert_eq!(behind, Some(&b'\n')),
            b'\n' => assert_eq!(before, Some(b'\r')),
            _ => {}
        }
    }
    let ends = response.windows(4).filter(|bytes| bytes == b"\r\n\r\n").count();
    assert!(ends == 1 && response.ends_with(b"\r\n\r\n"));
}

/// RFC 3261 8.2.6 and 18.2.1, RFC 3581 4: what a response to a sound request says.
fn reads_as_response(request: &[u8], response: &[u8], source: SocketAddr, tag: &[u8]) {
    let (mut asked, mut answered) = (Index::new(HEADER_LINES_MAX), Index::new(HEADER_LINES_MAX));
    wire::peek(request, &mut asked);
    let asked = Message::parse(request, &mut asked).unwrap();
    let seen = wire::peek(response, &mut answered);
    let expected = Peek::Response { status: 200, branch: asked.via().branch };
    assert_eq!(seen, expected, "{}", response.escape_ascii());
    let answered = Message::parse(response, &mut answered).unwrap();
    assert_eq!((answered.call_id(), answered.cseq()), (asked.call_id(), asked.cseq()));
    assert_eq!(answered.from().raw, asked.from().raw);
    assert_eq!(answered.to().uri, asked.to().uri);
    assert_eq!(answered.to().tag, asked.to().tag.or(Some(tag)));
    let (sent_by, via) = (asked.via(), answered.via());
    assert_eq!((via.host.raw(), via.port), (sent_by.host.raw(), sent_by.port));
    if sent_by.rport == Rport::Absent {
        assert_eq!(via.rport, Rport::Absent);
    } else {
        assert_eq!(via.rport, Rport::Port(source.port()));
    }
    if sent_by.rport != Rport::Absent || sent_by.host.ip() != Some(source.ip()) {
        assert_eq!(via.received, Some(source.ip().to_string().as_bytes()));
    } else {
        assert_eq!(via.received, None);
    }
    assert!(asked.vias().skip(1).map(raw).eq(answered.vias().skip(1).map(raw)));
}

fn raw(via: Result<Via<'_>, wire::Malformed>) -> Option<Vec<u8>> {
    via.ok().map(|via| via.raw.to_vec())
}
