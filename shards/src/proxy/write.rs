//! The messages that a proxy sends, written from those it received or sent before: requests and responses passed on with all that
//! it has no business with byte for byte, and the requests it makes itself hop by hop. It decides nothing and keeps nothing.
//!
//! Each function returns false where what it was given does not have what it needs, or what it writes does not fit.

use super::branch::BranchText;
use super::identity;
use crate::io::Reply;
use crate::wire::{Decimal, Editor, Edits, Header, HeaderId, Message, StartLine, Straight};
use core::net::SocketAddr;
use core::ops::Range;

/// What is changed in a request that is passed on, RFC 3261 16.6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing<'a> {
    /// Another Request-URI, without brackets.
    pub(super) uri: Option<&'a [u8]>,
    /// How our Via begins, with its name and `host:port`.
    pub(super) via: &'a [u8],
    /// The branch of our Via.
    pub(super) branch: &'a BranchText,
    /// Values for Record-Route with their brackets, empty where there is none; the first is the uppermost.
    pub(super) record_routes: [&'a [u8]; 2],
    /// How many values of Route go from the top.
    pub(super) routes_removed: usize,
    /// What goes is the one value of the one line there is, with nothing to be looked for.
    pub(super) is_only_route_removed: bool,
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
    /// Whether what it asserts about identities goes, RFC 3325 5.
    pub(super) is_identity_removed: bool,
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
    let mut straight = Straight::new(message.bytes(), reply);
    if !edit(message, passing, &mut straight) {
        return false;
    }
    if straight.finish(message.end()) {
        return reply.fits();
    }
    reply.clear();
    edits.begin();
    let is_whole = edit(message, passing, edits);
    is_whole && edits.write(message.bytes().get(..message.end()).unwrap_or_default(), reply)
}

/// Whether a response has another Via below ours. RFC 3261 16.7 step 3: without one it is not meant for anybody else.
pub(super) fn has_other_via(message: &Message<'_>) -> bool {
    let Some(line) = message.first_line_range(HeaderId::Via) else { return false };
    message.is_repeated(HeaderId::Via)
        || value_behind(message, message.via().raw, line.end).is_some()
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

/// What is changed in a request, from top to bottom where headers stand as they do in nearly every one.
#[inline]
#[must_use]
fn edit(message: &Message<'_>, passing: &Passing<'_>, editor: &mut impl Editor) -> bool {
    let StartLine::Request { uri, .. } = message.start_line() else { return false };
    let (Some(via), Some(behind_vias)) =
        (message.first_line_start(HeaderId::Via), message.last_line_end(HeaderId::Via))
    else {
        return false;
    };
    if let Some(other) = passing.uri {
        editor.replace(message.range_of(uri.raw), &[other]);
    }
    let start_of = |id| message.first_line_start(id).unwrap_or(behind_vias);
    let (record_route, route) = (start_of(HeaderId::RecordRoute), start_of(HeaderId::Route));
    let hops = start_of(HeaderId::MaxForwards);
    let is_whole = if via <= record_route && record_route <= route && route <= hops {
        // Where a phone has put them.
        own_via(message, passing, via, editor);
        record_routes(passing, record_route, editor);
        let is_whole = routes(message, passing, route, editor);
        max_forwards(message, passing.max_forwards, hops, editor);
        is_whole
    } else {
        in_another_order(message, passing, [via, record_route, route, hops], editor)
    };
    if let Some(breadth) = passing.max_breadth {
        max_breadth(message, breadth, behind_vias, editor);
    }
    if passing.is_identity_removed {
        identity::lines(message).for_each(|line| editor.remove(line.range()));
    }
    is_whole
}

/// What is changed at the places of Via, Record-Route, Route and Max-Forwards, the uppermost first.
#[inline(never)]
#[must_use]
fn in_another_order(
    message: &Message<'_>,
    passing: &Passing<'_>,
    places: [usize; 4],
    editor: &mut impl Editor,
) -> bool {
    let mut steps = [0, 1, 2, 3].map(|step: usize| (places[step], step));
    // At one place they stand in this order.
    steps.sort_unstable();
    steps.into_iter().all(|(at, step)| {
        match step {
            0 => own_via(message, passing, at, editor),
            1 => record_routes(passing, at, editor),
            2 => return routes(message, passing, at, editor),
            _ => max_forwards(message, passing.max_forwards, at, editor),
        }
        true
    })
}

/// Puts our Via on top, and completes the one below.
#[inline(always)]
fn own_via(message: &Message<'_>, passing: &Passing<'_>, at: usize, editor: &mut impl Editor) {
    editor.insert(at, &[passing.via]);
    let (line_end, length) = passing.branch.as_line_end();
    editor.replace_by_front(at..at, line_end, length);
    message.complete_via(passing.source, editor);
}

#[inline(always)]
fn record_routes(passing: &Passing<'_>, at: usize, editor: &mut impl Editor) {
    for value in passing.record_routes {
        if !value.is_empty() {
            editor.insert(at, &[b"Record-Route: ", value, b"\r\n"]);
        }
    }
}

#[must_use]
#[inline(always)]
fn routes(
    message: &Message<'_>,
    passing: &Passing<'_>,
    at: usize,
    editor: &mut impl Editor,
) -> bool {
    const ROUTE: &[u8] = b"Route: ";
    if !passing.routes_before.is_empty() {
        editor.insert(at, &[ROUTE, passing.routes_before, b"\r\n"]);
    }
    if passing.is_only_route_removed
        && let Some(line) = message.first_line_range(HeaderId::Route)
    {
        editor.remove(line);
    } else if passing.routes_removed > 0
        && !remove_first_routes(message, passing.routes_removed, editor)
    {
        return false;
    }
    if passing.route_removed_last && !remove_last_route(message, passing, editor) {
        return false;
    }
    if !passing.route_after.is_empty() {
        let behind = message.last_line_end(HeaderId::Route).unwrap_or(at);
        editor.insert(behind, &[ROUTE, passing.route_after, b"\r\n"]);
    }
    true
}

#[inline(always)]
fn max_forwards(message: &Message<'_>, hops: u8, at: usize, editor: &mut impl Editor) {
    let hops = Decimal::new(u32::from(hops));
    match message.first_value_range(HeaderId::MaxForwards) {
        Some(value) => editor.replace(value, &[hops.as_bytes()]),
        None => editor.insert(at, &[b"Max-Forwards: ", hops.as_bytes(), b"\r\n"]),
    }
}

/// Takes values of Route out from the top, and lines that none is left in; false where there are not as many.
#[must_use]
fn remove_first_routes(message: &Message<'_>, count: usize, editor: &mut impl Editor) -> bool {
    let mut lines = message.lines(HeaderId::Route);
    if count == 1
        && let (Some(only), None) = (lines.next(), lines.next())
        && !only.value.contains(&b',')
    {
        // Nearly always: one value is all there is.
        editor.remove(only.range());
        return true;
    }
    let mut values = message.addresses(HeaderId::Route);
    let mut left = count;
    for line in message.lines(HeaderId::Route) {
        loop {
            if left == 0 {
                return true;
            }
            let Some(Ok(value)) = values.next() else { return false };
            left -= 1;
            match value_behind(message, value.raw, line.range().end) {
                None => {
                    editor.remove(line.range());
                    break;
                }
                Some(next) if left == 0 => editor.remove(line.value_range().start..next),
                Some(_) => {}
            }
        }
    }
    left == 0
}

/// Takes the last value of Route out, and its line where none is left in it; false where there is none.
#[must_use]
fn remove_last_route(
    message: &Message<'_>,
    passing: &Passing<'_>,
    editor: &mut impl Editor,
) -> bool {
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
            if value_behind(message, value.raw, line.range().end).is_none() {
                break;
            }
        }
    }
    let Some(last) = last else { return false };
    editor.remove(last);
    true
}

fn max_breadth(message: &Message<'_>, breadth: u32, behind_vias: usize, editor: &mut impl Editor) {
    let digits = Decimal::new(breadth);
    let mut lines = message.lines(HeaderId::MaxBreadth);
    match lines.next() {
        Some(line) => editor.replace(line.value_range(), &[digits.as_bytes()]),
        None => editor.insert(behind_vias, &[b"Max-Breadth: ", digits.as_bytes(), b"\r\n"]),
    }
    // A second one may say more than we allow.
    for line in lines {
        editor.remove(line.range());
    }
}

/// Puts a message from an offset on, without its topmost Via value.
#[must_use]
fn without_top_via(message: &Message<'_>, from: usize, reply: &mut Reply<'_>) -> bool {
    let Some(line) = message.first_line_range(HeaderId::Via) else { return false };
    let value = message.via().raw;
    let Range { start, end } = match value_behind(message, value, line.end) {
        Some(next) => message.range_of(value).start..next,
        None => line,
    };
    let bytes = message.bytes();
    reply.put_start(&bytes[from..], start - from);
    reply.put(&bytes[end..message.end()]);
    reply.fits()
}

/// Where the value behind another one in its line begins; `None` where there is none. The line ends at `end`, behind its CRLF.
#[inline]
fn value_behind(message: &Message<'_>, value: &[u8], end: usize) -> Option<usize> {
    let value_end = message.range_of(value).end;
    if value_end + 2 == end {
        return None;
    }
    let mut rest = message.bytes().get(value_end..end)?.iter();
    // White space and folds; nothing else stands between a value and its comma.
    let is_visible = |byte: &&u8| !matches!(**byte, b' ' | b'\t' | b'\r' | b'\n');
    if rest.find(is_visible)? != &b',' {
        return None;
    }
    rest.find(is_visible)?;
    // The value's first byte was taken.
    Some(end - rest.len() - 1)
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
