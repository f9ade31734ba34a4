//! The messages that a proxy sends, written from those it received or sent before: requests and responses passed on with all that
//! it has no business with byte for byte, and the requests it makes itself hop by hop. It decides nothing and keeps nothing.
//!
//! Each function returns false where what it was given does not have what it needs, or what it writes does not fit.

use super::branch::BranchText;
use crate::io::Reply;
use crate::wire::{Decimal, Edits, Header, HeaderId, Message, StartLine};
use core::net::SocketAddr;
use core::ops::Range;

/// What is changed in a request that is passed on, RFC 3261 16.6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing<'a> {
    /// Another Request-URI, without brackets.
    pub(super) uri: Option<&'a [u8]>,
    /// `host:port` for our Via.
    pub(super) sent_by: &'a [u8],
    /// The branch of our Via.
    pub(super) branch: &'a BranchText,
    /// Values for Record-Route with their brackets, empty where there is none; the first is the uppermost.
    pub(super) record_routes: [&'a [u8]; 2],
    /// How many values of Route go from the top.
    pub(super) routes_removed: usize,
    /// Whether the last value of Route goes too, since it became the Request-URI.
    pub(super) route_removed_last: bool,
    /// Values for Route with their brackets and commas between, put before what is left, RFC 3327 5.3; empty for none.
    pub(super) routes_before: &'a [u8],
    /// A value for Route with its brackets, put behind all others, RFC 3261 16.6 step 6; empty for none.
    pub(super) route_after: &'a [u8],
    /// The value of Max-Forwards.
    pub(super) max_forwards: u8,
    /// The value of Max-Breadth, RFC 5393 5.3.3; `None`: it stays as it is.
    pub(super) max_breadth: Option<u32>,
    /// The source of the packet, which completes the Via below ours.
    pub(super) source: SocketAddr,
}

/// A request as it is passed on. New lines stand before the first line of their header, or else directly behind the last Via in the
/// order Record-Route, Route, Max-Forwards, Max-Breadth. What the datagram holds beyond Content-Length is left out, RFC 3261 18.3.
#[must_use]
pub(super) fn request(
    message: &Message<'_>,
    passing: &Passing<'_>,
    edits: &mut Edits,
    reply: &mut Reply<'_>,
) -> bool {
    let StartLine::Request { uri, .. } = message.start_line() else { return false };
    let Some(top) = message.first_line(HeaderId::Via) else { return false };
    edits.begin();
    if let Some(other) = passing.uri {
        edits.replace(message.range_of(uri.raw), &[other]);
    }
    let branch = passing.branch.as_bytes();
    let via = [b"Via: SIP/2.0/UDP ", passing.sent_by, b";branch=", branch, b"\r\n"];
    edits.insert(top.range().start, &via);
    message.complete_via(passing.source, edits);
    let behind_vias =
        message.last_line(HeaderId::Via).map_or(top.range().end, |line| line.range().end);
    record_routes(message, passing, behind_vias, edits);
    if !routes(message, passing, behind_vias, edits) {
        return false;
    }
    let hops = Decimal::new(u32::from(passing.max_forwards));
    match message.first_line(HeaderId::MaxForwards) {
        Some(line) => edits.replace(line.value_range(), &[hops.as_bytes()]),
        None => edits.insert(behind_vias, &[b"Max-Forwards: ", hops.as_bytes(), b"\r\n"]),
    }
    if let Some(breadth) = passing.max_breadth {
        max_breadth(message, breadth, behind_vias, edits);
    }
    if message.end() < message.bytes().len() {
        edits.remove(message.end()..message.bytes().len());
    }
    edits.write(message.bytes(), reply)
}

/// A response as it is passed on: without its topmost Via value, RFC 3261 16.7 step 3.
#[must_use]
pub(super) fn response(message: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    without_top_via(message, 0, reply)
}

/// The same with another status.
#[must_use]
pub(super) fn response_as(
    message: &Message<'_>,
    status: u16,
    reason: &str,
    reply: &mut Reply<'_>,
) -> bool {
    reply.put(b"SIP/2.0 ");
    reply.put(Decimal::new(u32::from(status)).as_bytes());
    reply.put(b" ");
    reply.put(reason.as_bytes());
    reply.put(b"\r\n");
    without_top_via(message, message.start_line_end(), reply)
}

/// A 401 or 407 with the challenges of another one added to its own, RFC 3261 16.7 step 7. `best` is without our Via already.
#[must_use]
pub(super) fn with_challenges(
    best: &Message<'_>,
    other: &Message<'_>,
    reply: &mut Reply<'_>,
) -> bool {
    let bytes = best.bytes();
    // Before the empty line where it has none itself.
    let at = challenges(best).last().map_or(best.headers_end() - 2, |line| line.range().end);
    reply.put(&bytes[..at]);
    for line in challenges(other) {
        reply.put(line.raw);
    }
    reply.put(&bytes[at..best.end()]);
    reply.fits()
}

/// The CANCEL for a request that we sent, RFC 3261 9.1.
#[must_use]
pub(super) fn cancel(sent: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    own(sent, b"CANCEL", sent, reply)
}

/// The ACK for a response other than 2xx to an INVITE that we sent, RFC 3261 17.1.1.3.
#[must_use]
pub(super) fn ack(sent: &Message<'_>, response: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    own(sent, b"ACK", response, reply)
}

/// The smallest message that [`cancel`] and [`ack`] can be written from as from the request that we sent: what is kept of it.
#[must_use]
pub(super) fn skeleton(sent: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    reply.put(&sent.bytes()[..sent.start_line_end()]);
    let is_whole = identity(sent, sent, reply);
    let Some(cseq) = sent.first_line(HeaderId::CSeq) else { return false };
    reply.put(cseq.raw);
    reply.put(b"\r\n");
    is_whole && reply.fits()
}

fn record_routes(
    message: &Message<'_>,
    passing: &Passing<'_>,
    behind_vias: usize,
    edits: &mut Edits,
) {
    let at =
        message.first_line(HeaderId::RecordRoute).map_or(behind_vias, |first| first.range().start);
    for value in passing.record_routes {
        if !value.is_empty() {
            edits.insert(at, &[b"Record-Route: ", value, b"\r\n"]);
        }
    }
}

#[must_use]
fn routes(
    message: &Message<'_>,
    passing: &Passing<'_>,
    behind_vias: usize,
    edits: &mut Edits,
) -> bool {
    const ROUTE: &[u8] = b"Route: ";
    if !passing.routes_before.is_empty() {
        let first = message.first_line(HeaderId::Route);
        let at = first.map_or(behind_vias, |line| line.range().start);
        edits.insert(at, &[ROUTE, passing.routes_before, b"\r\n"]);
    }
    if !passing.route_after.is_empty() {
        let last = message.last_line(HeaderId::Route);
        let at = last.map_or(behind_vias, |line| line.range().end);
        edits.insert(at, &[ROUTE, passing.route_after, b"\r\n"]);
    }
    (passing.routes_removed == 0 || remove_first_routes(message, passing.routes_removed, edits))
        && (!passing.route_removed_last || remove_last_route(message, passing, edits))
}

/// Takes values of Route out from the top, and lines that none is left in; false where there are not as many.
#[must_use]
fn remove_first_routes(message: &Message<'_>, count: usize, edits: &mut Edits) -> bool {
    let mut values = message.addresses(HeaderId::Route);
    let mut left = count;
    for line in message.lines(HeaderId::Route) {
        loop {
            if left == 0 {
                return true;
            }
            let Some(Ok(value)) = values.next() else { return false };
            left -= 1;
            match value_behind(message, value.raw, &line) {
                None => {
                    edits.remove(line.range());
                    break;
                }
                Some(next) if left == 0 => edits.remove(line.value_range().start..next),
                Some(_) => {}
            }
        }
    }
    left == 0
}

/// Takes the last value of Route out, and its line where none is left in it; false where there is none.
#[must_use]
fn remove_last_route(message: &Message<'_>, passing: &Passing<'_>, edits: &mut Edits) -> bool {
    let mut values = message.addresses(HeaderId::Route);
    let mut seen = 0;
    let mut last = None;
    for line in message.lines(HeaderId::Route) {
        // The end of the value before it that stays in its line.
        let mut kept_end = None;
        loop {
            let Some(Ok(value)) = values.next() else { return false };
            let end = message.range_of(value.raw).end;
            last = Some(kept_end.map_or(line.range(), |kept_end| kept_end..end));
            if seen >= passing.routes_removed {
                kept_end = Some(end);
            }
            seen += 1;
            if value_behind(message, value.raw, &line).is_none() {
                break;
            }
        }
    }
    let Some(last) = last else { return false };
    edits.remove(last);
    true
}

fn max_breadth(message: &Message<'_>, breadth: u32, behind_vias: usize, edits: &mut Edits) {
    const NAME: &[u8] = b"Max-Breadth";
    let digits = Decimal::new(breadth);
    let mut lines = message.named(NAME);
    match lines.next() {
        Some(line) => edits.replace(line.value_range(), &[digits.as_bytes()]),
        None => edits.insert(behind_vias, &[NAME, b": ", digits.as_bytes(), b"\r\n"]),
    }
    // A second one may say more than we allow.
    for line in lines {
        edits.remove(line.range());
    }
}

/// Puts a message from an offset on, without its topmost Via value.
#[must_use]
fn without_top_via(message: &Message<'_>, from: usize, reply: &mut Reply<'_>) -> bool {
    let Some(line) = message.first_line(HeaderId::Via) else { return false };
    let value = message.via().raw;
    let Range { start, end } = match value_behind(message, value, &line) {
        Some(next) => message.range_of(value).start..next,
        None => line.range(),
    };
    let bytes = message.bytes();
    reply.put(&bytes[from..start]);
    reply.put(&bytes[end..message.end()]);
    reply.fits()
}

/// Where the value behind another one in its line begins; `None` where there is none.
#[inline]
fn value_behind(message: &Message<'_>, value: &[u8], line: &Header<'_>) -> Option<usize> {
    let mut rest = message.bytes().get(message.range_of(value).end..line.value_range().end)?.iter();
    // White space and folds; nothing else stands between a value and its comma.
    let is_visible = |byte: &&u8| !matches!(**byte, b' ' | b'\t' | b'\r' | b'\n');
    if rest.find(is_visible)? != &b',' {
        return None;
    }
    rest.find(is_visible)?;
    // The value's first byte was taken.
    Some(line.value_range().end - rest.len() - 1)
}

fn challenges<'m>(message: &Message<'m>) -> impl Iterator<Item = Header<'m>> + use<'m> {
    message.headers().filter(|line| {
        line.id == HeaderId::Other
            && (line.name().eq_ignore_ascii_case(b"WWW-Authenticate")
                || line.name().eq_ignore_ascii_case(b"Proxy-Authenticate"))
    })
}

/// A request of our own that goes where another one went, and the way it went. Its To is that of `to`.
#[must_use]
fn own(sent: &Message<'_>, method: &[u8], to: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    let StartLine::Request { uri, .. } = sent.start_line() else { return false };
    reply.put(method);
    reply.put(b" ");
    reply.put(uri.raw);
    reply.put(b" SIP/2.0\r\n");
    let is_whole = identity(sent, to, reply);
    reply.put(b"Max-Forwards: 70\r\nCSeq: ");
    reply.put(Decimal::new(sent.cseq().number).as_bytes());
    reply.put(b" ");
    reply.put(method);
    reply.put(b"\r\nContent-Length: 0\r\n\r\n");
    is_whole && reply.fits()
}

/// The headers that such a request has in common with the one it belongs to: the topmost Via alone, Route, From, Call-ID, and To.
#[must_use]
fn identity(sent: &Message<'_>, to: &Message<'_>, reply: &mut Reply<'_>) -> bool {
    reply.put(b"Via: ");
    reply.put(sent.via().raw);
    reply.put(b"\r\n");
    for line in sent.lines(HeaderId::Route) {
        reply.put(line.raw);
    }
    let lines = [
        sent.first_line(HeaderId::From),
        to.first_line(HeaderId::To),
        sent.first_line(HeaderId::CallId),
    ];
    for line in lines.iter().flatten() {
        reply.put(line.raw);
    }
    lines.iter().all(Option::is_some)
}

#[cfg(test)]
mod tests;
