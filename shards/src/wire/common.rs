//! Headers in the form that nearly every message has them in, read in a straight line: no folds, no escapes, no white space but
//! the usual. What is taken here, the complete grammar would take with the same result; anything else is left to it.

use super::address::AddressSpans;
use super::cursor::Span;
use super::padded::Padded;
use super::scan::{HOST, TOKEN, Text, VALUE};
use super::via::{Rport, ViaSpans};

/// One Via value: `SIP/2.0/UDP host[:port]` with `branch` and an empty `rport`, if any. `via` is empty and stays so where this
/// form is not met.
#[inline]
pub(super) fn via(text: &Padded, start: usize, end: usize, via: &mut ViaSpans) -> bool {
    const SIP_2_0: Text = Text::new("sip/2.0/");
    const UDP: Text = Text::new("udp ");
    const BRANCH: Text = Text::new(";branch=");
    const RPORT: Text = Text::new(";rport");
    if !SIP_2_0.begins(text.word(start)) || !UDP.begins(text.word(start + 8)) {
        return false;
    }
    let host_end = text.run(start + 12, HOST);
    let (mut at, mut port) = (host_end, 0);
    if text.byte(at) == b':' {
        (port, at) = text.digits(at + 1);
        if port == 0 || port > u32::from(u16::MAX) {
            return false;
        }
    }
    let params = at;
    let (mut branch, mut rport) = (Span::default(), Span::default());
    while at != end {
        let word = text.word(at);
        if BRANCH.begins(word) && branch.is_empty() {
            let value = at + 8;
            at = text.run(value, VALUE);
            branch = Span::new(value, at);
            if branch.is_empty() {
                return false;
            }
        } else if RPORT.begins(word) && rport.is_empty() {
            rport = Span::new(at, at + 6);
            at += 6;
            if at != end && text.byte(at) != b';' {
                return false;
            }
        } else {
            return false;
        }
    }
    if host_end == start + 12 {
        return false;
    }
    via.transport = Span::new(start + 8, start + 11);
    via.host = Span::new(start + 12, host_end);
    via.params = Span::new(params, end);
    via.raw = Span::new(start, end);
    if port > 0 {
        via.port = u16::try_from(port).ok();
    }
    if !branch.is_empty() {
        via.branch = Some(branch);
    }
    if !rport.is_empty() {
        via.rport_param = Some(rport);
        via.rport = Rport::Asked;
    }
    true
}

/// From and To: a name address with a tag or no parameter.
#[inline]
pub(super) fn single(text: &Padded, start: usize, end: usize) -> Option<AddressSpans> {
    const TAG: Text = Text::new(";tag=");
    let mut spans = name_addr(text, start)?;
    let at = usize::from(spans.params.start);
    if at != end {
        let tag_end = text.run(at + 5, VALUE);
        if !TAG.begins(text.word(at)) || tag_end != end || tag_end == at + 5 {
            return None;
        }
        spans.tag = Some(Span::new(at + 5, end));
        spans.params = Span::new(at, end);
        spans.raw = Span::new(start, end);
    }
    Some(spans)
}

/// A `name-addr` with a SIP URI in ASCII: `<sip:user@host>` or `"name" <sip:user@host>`. What follows is the caller's.
#[inline(always)]
pub(super) fn name_addr(text: &Padded, start: usize) -> Option<AddressSpans> {
    const SIP: Text = Text::new("sip:");
    let mut at = start;
    let mut display = Span::default();
    if text.byte(at) == b'"' {
        let quote = text.quote_or_escape(at + 1)?;
        if text.half_word(quote) & 0x00FF_FFFF != u32::from_le_bytes(*b"\" <\0") {
            return None;
        }
        display = Span::new(at, quote + 1);
        at = quote + 2;
    } else if text.byte(at) != b'<' {
        return None;
    }
    let uri = Span::new(at + 1, text.ascii_uri_end(at + 1));
    let at = usize::from(uri.end);
    if text.byte(at) != b'>'
        || !SIP.begins(text.word(usize::from(uri.start)))
        || uri.end - uri.start <= 4
    {
        return None;
    }
    let at = at + 1;
    Some(AddressSpans {
        display,
        uri,
        params: Span::new(at, at),
        tag: None,
        raw: Span::new(start, at),
        bracketed: true,
    })
}

/// `CSeq`: up to eight digits, one space and a method.
#[inline]
pub(super) fn cseq(text: &Padded, start: usize, end: usize) -> Option<(u32, Span)> {
    let (number, digits_end) = text.digits(start);
    let method = digits_end + 1;
    if digits_end == start || text.byte(digits_end) != b' ' || method >= end {
        return None;
    }
    if text.run(method, TOKEN) == end { Some((number, Span::new(method, end))) } else { None }
}

/// One to eight digits.
#[inline]
pub(super) fn decimal(text: &Padded, start: usize, end: usize) -> Option<u32> {
    let (number, digits_end) = text.digits(start);
    if digits_end == end && start < end { Some(number) } else { None }
}
