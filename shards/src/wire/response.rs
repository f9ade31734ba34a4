//! The response to a received request, written into a [`Reply`]: what RFC 3261 8.2.6 copies, byte for byte, with the
//! topmost Via completed from the packet's source. It decides neither the status nor who is allowed what.

use super::contact::ContactPlace;
use super::cursor::Span;
use super::header::HeaderId;
use super::index::{Index, Line};
use super::number::{self, Decimal};
use super::padded::Padded;
use super::uri::Host;
use super::via::{Rport, ViaSpans};
use crate::io::Reply;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A response whose further headers the caller puts before it is finished.
#[derive(Debug)]
pub struct Response<'a> {
    reply: Reply<'a>,
}

/// What ends the headers of a response without a body.
const END: &[u8] = b"Content-Length: 0\r\n\r\n";

impl<'a> Response<'a> {
    /// How many bytes [`finish`](Self::finish) adds.
    pub const END_BYTES: usize = END.len();

    /// A response that is to be [begun](Self::begin).
    #[must_use]
    #[inline(always)]
    pub fn new(reply: Reply<'a>) -> Self {
        Response { reply }
    }

    /// [Begins](Self::begin) a response; `None` where nobody could tell whose it is.
    #[must_use]
    #[inline]
    pub fn start(
        reply: Reply<'a>,
        request: &[u8],
        index: &Index,
        status: u16,
        reason: &str,
        source: SocketAddr,
        tag: &[u8],
    ) -> Option<Self> {
        let mut response = Response::new(reply);
        response.begin(request, index, status, reason, source, tag).then_some(response)
    }

    /// Writes the status line and what is copied from the request behind `index`, which was parsed and may be malformed: Via,
    /// From, To, Call-ID and `CSeq` as far as they were found. `tag` goes into the To unless that has one or the status is 100.
    /// False where there is no Via, so that nobody could tell whose response it is.
    #[must_use]
    #[inline(always)]
    pub fn begin(
        &mut self,
        request: &[u8],
        index: &Index,
        status: u16,
        reason: &str,
        source: SocketAddr,
        tag: &[u8],
    ) -> bool {
        let Some(top) = index.first_line(HeaderId::Via) else { return false };
        let text = &index.text;
        let reply = &mut self.reply;
        status_line(reply, status, reason);
        // What is copied unchanged is put at once, over as many lines as stand together.
        let mut run = Span { start: top.start(), end: top.end() };
        run.start = top_via(reply, request, index, run.start, &source);
        if index.is_repeated(HeaderId::Via) {
            for line in index.lines_of(HeaderId::Via).skip(1) {
                append(reply, text, &mut run, Some(line));
            }
        }
        append(reply, text, &mut run, index.first_line(HeaderId::From));
        let to = index.first_line(HeaderId::To);
        append(reply, text, &mut run, to);
        // RFC 3261 8.2.6.2: the To of the response has a tag, but for a 100.
        if let Some(to) = to
            && status != 100
            && index.essentials.to.tag.is_none()
        {
            let raw = index.essentials.to.raw;
            let value_end = if index.failure().is_none() && !raw.is_empty() {
                raw.end
            } else {
                to.value(request).end
            };
            put(reply, text, run.start, value_end);
            put_tag(reply, tag);
            run.start = value_end;
        }
        append(reply, text, &mut run, index.first_line(HeaderId::CallId));
        append(reply, text, &mut run, index.first_line(HeaderId::CSeq));
        put(reply, text, run.start, run.end);
        true
    }

    /// A header that is not among those copied.
    #[inline]
    pub fn header(&mut self, name: &str, value: &[u8]) {
        self.reply.put(name.as_bytes());
        self.reply.put(b": ");
        self.reply.put(value);
        self.reply.put(b"\r\n");
    }

    /// Bytes of a header line; the caller ends it with CRLF.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.reply.put(bytes);
    }

    /// The first `length` bytes of a text, in a header line.
    #[inline]
    pub fn put_start(&mut self, text: &[u8], length: usize) {
        self.reply.put_start(text, length);
    }

    /// A number, in a header line.
    #[inline]
    pub fn put_number(&mut self, number: u32) {
        self.reply.put(Decimal::new(number).as_bytes());
    }

    /// A Contact line with a contact of the request, which is the one behind `index`, and its lifetime; without a lifetime a
    /// whole line of it.
    #[inline(always)]
    pub fn contact(&mut self, index: &Index, ContactPlace(span): ContactPlace, secs: Option<u32>) {
        if let Some(secs) = secs {
            self.reply.put(b"Contact: ");
            put(&mut self.reply, &index.text, span.start, span.end);
            self.end_with_expires(secs);
        } else {
            put(&mut self.reply, &index.text, span.start, span.end);
        }
    }

    /// A lifetime as the last parameter of a header line, and the line's end.
    #[inline(never)]
    pub fn end_with_expires(&mut self, secs: u32) {
        self.reply.put_written(|place| {
            let mut text = Text::new(place);
            text.push(b";expires=\0\0\0\0\0\0\0", 9);
            match u16::try_from(secs) {
                Ok(secs) => text.push_short(secs),
                Err(_) => {
                    Decimal::new(secs).as_bytes().iter().for_each(|&digit| text.push(&[digit], 1));
                }
            }
            text.push(b"\r\n", 2);
            text.length
        });
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.reply.written()
    }

    /// Ends the headers of a response without a body.
    #[must_use]
    #[inline(always)]
    pub fn finish(mut self) -> Reply<'a> {
        self.reply.put(END);
        self.reply
    }
}

/// Where the response to the request behind `index` goes, the packet's source being `source`.
// RFC 3261 18.2.2 and RFC 3581 4: to the address in `received`, which is the packet's source; to the port in `rport`,
// which is the source's, or that of the sent-by, or 5060. `maddr` is not followed: nobody but the source gets anything.
#[must_use]
#[inline(always)]
pub fn response_destination(index: &Index, source: SocketAddr) -> SocketAddr {
    let via = &index.essentials.via;
    let mut destination = source;
    // A Via that breaks before its sent-by tells no port; the source's is where somebody listens.
    if via.rport == Rport::Absent && !via.host.is_empty() {
        destination.set_port(via.port.unwrap_or(5060));
    }
    destination
}

/// Adds a line to the run of lines that stand together in the request, or puts that run and starts another.
#[inline(always)]
fn append(reply: &mut Reply<'_>, text: &Padded, run: &mut Span, line: Option<&Line>) {
    let Some(line) = line else { return };
    if run.end == line.start() {
        run.end = line.end();
    } else {
        put(reply, text, run.start, run.end);
        *run = Span { start: line.start(), end: line.end() };
    }
}

/// Puts a range of the request; most are so short that they are copied as one block.
#[inline(always)]
fn put(reply: &mut Reply<'_>, text: &Padded, start: u16, end: u16) {
    let length = usize::from(end).wrapping_sub(usize::from(start));
    let block = text.block(usize::from(start));
    if length <= block.len() {
        reply.put_front(block, length);
    } else {
        put_long(reply, text, Span { start, end });
    }
}

#[inline(never)]
fn put_long(reply: &mut Reply<'_>, text: &Padded, span: Span) {
    reply.put(text.of(span));
}

#[inline(always)]
fn put_tag(reply: &mut Reply<'_>, tag: &[u8]) {
    if tag.is_empty() {
        return;
    }
    match tag.first_chunk::<16>() {
        // The lengths are known: no call.
        Some(tag16) if tag.len() == 16 => {
            reply.put_front(b";tag=\0\0\0", 5);
            reply.put_front(tag16, 16);
        }
        Some(_) | None => {
            reply.put(b";tag=");
            reply.put(tag);
        }
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "digits")]
fn status_line(reply: &mut Reply<'_>, status: u16, reason: &str) {
    if status == 200 && reason == "OK" {
        reply.put(b"SIP/2.0 200 OK\r\n");
        return;
    }
    // RFC 3261 7.2: three digits.
    let [hundreds, tens, ones] = [100, 10, 1].map(|unit| b'0' + (status / unit % 10) as u8);
    reply.put(&[b'S', b'I', b'P', b'/', b'2', b'.', b'0', b' ', hundreds, tens, ones, b' ']);
    reply.put(reason.as_bytes());
    reply.put(b"\r\n");
}

/// Writes from `from` to the end of the topmost Via value, and tells where copying goes on.
// RFC 3261 18.2.1: `received` is added where the sent-by is not the packet's source. RFC 3581 4: a request with `rport` gets its
// value and `received` in any case. What the client claims for either is not believed but replaced.
#[inline(always)]
fn top_via(
    reply: &mut Reply<'_>,
    request: &[u8],
    index: &Index,
    from: u16,
    source: &SocketAddr,
) -> u16 {
    let via = &index.essentials.via;
    if via.raw.is_empty() {
        // Malformed: it goes back as it came.
        return from;
    }
    let (received, rport) = (via.received_param, via.rport_param);
    let mut at = from;
    if received.is_some() {
        at = without_claims(reply, &index.text, at, received, rport);
    } else if let Some(rport) = rport {
        put(reply, &index.text, at, rport.start);
        at = rport.end;
    }
    if at != via.raw.end {
        put(reply, &index.text, at, via.raw.end);
    }
    reply.put_written(|place| source_params(place, via, request, source));
    via.raw.end
}

/// Writes up to the last of what the client claims, without it, and tells where copying goes on.
#[cold]
#[inline(never)]
fn without_claims(
    reply: &mut Reply<'_>,
    text: &Padded,
    from: u16,
    received: Option<Span>,
    rport: Option<Span>,
) -> u16 {
    let in_order = match (received, rport) {
        (Some(a), Some(b)) if b.start < a.start => [rport, received],
        _ => [received, rport],
    };
    let mut at = from;
    for removed in in_order.into_iter().flatten() {
        put(reply, text, at, removed.start);
        at = removed.end;
    }
    at
}

/// The parameters that complete a Via, and how long they are together.
#[inline]
pub(super) fn seen_from(
    via: &ViaSpans,
    request: &[u8],
    source: &SocketAddr,
) -> ([u8; TEXT_BYTES], usize) {
    let mut bytes = [0; TEXT_BYTES];
    let length = source_params(&mut bytes, via, request, source);
    (bytes, length)
}

/// Writes `received` and `rport` as they have to be, each where it has to be, and gives how long they are together.
#[inline(always)]
fn source_params(
    place: &mut [u8; TEXT_BYTES],
    via: &ViaSpans,
    request: &[u8],
    source: &SocketAddr,
) -> usize {
    let mut text = Text::new(place);
    let is_asked = via.rport_param.is_some();
    if is_asked || !is_sent_from(Host::new(via.host.of(request)), source) {
        text.push(b";received=\0\0\0\0\0\0", 10);
        text.push_ip(source);
    }
    if is_asked {
        text.push(b";rport=\0", 7);
        text.push_short(source.port());
    }
    text.length
}

/// Whether the sent-by names the packet's source. IPv4 addresses that a socket shows as IPv6 count as IPv4.
#[inline(never)]
fn is_sent_from(host: Host<'_>, source: &SocketAddr) -> bool {
    host.is(source.ip().to_canonical())
}

const TEXT_BYTES: usize = 96;

/// A short text, put together of blocks.
// `;received=`, the longest text form of an IPv6 address, 45 bytes, `;rport=` and 5 digits are 67.
struct Text<'t> {
    bytes: &'t mut [u8; TEXT_BYTES],
    length: usize,
}

impl<'t> Text<'t> {
    /// Where the last piece may begin, at most: a number of ones, so that no piece needs a look at where the text ends.
    const LAST: usize = 63;

    #[inline(always)]
    fn new(bytes: &'t mut [u8; TEXT_BYTES]) -> Self {
        Text { bytes, length: 0 }
    }

    /// Appends the first bytes of a piece of at most 32.
    #[inline(always)]
    fn push<const N: usize>(&mut self, piece: &[u8; N], length: usize) {
        const { assert!(N < TEXT_BYTES - Self::LAST) };
        debug_assert!(self.length <= Self::LAST || N == 1);
        let at = self.length & Self::LAST;
        if let Some(place) = self.bytes[at..at + N].first_chunk_mut::<N>() {
            *place = *piece;
        }
        self.length += length;
    }

    /// An address as `received` wants it: without brackets.
    #[inline(always)]
    fn push_ip(&mut self, source: &SocketAddr) {
        match source {
            SocketAddr::V4(source) => self.push_ipv4(*source.ip()),
            SocketAddr::V6(source) => self.push_ipv6(source.ip()),
        }
    }

    #[inline(always)]
    fn push_ipv4(&mut self, ip: Ipv4Addr) {
        let (text, length) = number::dotted(ip);
        self.push(&text, length);
    }

    #[inline(never)]
    fn push_ipv6(&mut self, ip: &Ipv6Addr) {
        if let Some(ip) = ip.to_ipv4_mapped() {
            return self.push_ipv4(ip);
        }
        // The longest text form has 45 bytes, so it fits.
        let written = core::fmt::Write::write_fmt(self, format_args!("{ip}"));
        debug_assert!(written.is_ok());
    }

    #[inline(always)]
    fn push_short(&mut self, number: u16) {
        let (digits, length) = number::port_digits(number);
        self.push(&digits.to_le_bytes(), length);
    }
}

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(core::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
