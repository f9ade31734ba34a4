//! Headers in the form that nearly every message has them in, read in a straight line: no folds, no escapes, no white space but
//! the usual. What is taken here, the complete grammar would take with the same result; anything else is left to it.

use super::address::AddressSpans;
use super::cursor::Span;
use super::essentials::Essentials;
use super::padded::Padded;
use super::scan::{HOST, TOKEN, Text, VALUE};
use super::via::{Rport, ViaSpans};

/// One Via value: `SIP/2.0/UDP host[:port]` with `branch` and an empty `rport`, if any. `via` is empty and stays so where this
/// form is not met.
#[inline(always)]
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

/// From and To: a name address with a tag or no parameter. `spans` is empty and stays so where this form is not met.
#[inline(always)]
pub(super) fn single(text: &Padded, start: usize, end: usize, spans: &mut AddressSpans) -> bool {
    const TAG: Text = Text::new(";tag=");
    let Some(name_addr) = name_addr(text, start) else { return false };
    let at = name_addr.end;
    if at != end {
        let tag = at + 5;
        if !TAG.begins(text.word(at)) || tag >= end || text.run(tag, VALUE) != end {
            return false;
        }
        spans.tag = Some(Span::new(tag, end));
    }
    spans.display = name_addr.display;
    spans.uri = name_addr.uri;
    spans.params = Span::new(at, end);
    spans.raw = Span::new(start, end);
    spans.bracketed = true;
    true
}

/// Where a `name-addr` has its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameAddr {
    pub(super) display: Span,
    pub(super) uri: Span,
    /// Behind the closing bracket.
    pub(super) end: usize,
}

/// A `name-addr` with a SIP URI in ASCII: `<sip:user@host>` or `"name" <sip:user@host>`. What follows is the caller's.
#[inline(always)]
pub(super) fn name_addr(text: &Padded, start: usize) -> Option<NameAddr> {
    const SIP: Text = Text::new("sip:");
    let (display, open) =
        if text.byte(start) == b'<' { (Span::default(), start) } else { quoted_name(text, start)? };
    let uri = open + 1;
    let close = text.ascii_uri_end(uri);
    if text.byte(close) != b'>' || !SIP.begins(text.word(uri)) || close - uri <= 4 {
        return None;
    }
    Some(NameAddr { display, uri: Span::new(uri, close), end: close + 1 })
}

/// A quoted display name without escapes, and where the bracket behind it opens.
#[inline(never)]
fn quoted_name(text: &Padded, start: usize) -> Option<(Span, usize)> {
    if text.byte(start) != b'"' {
        return None;
    }
    let quote = text.quote_or_escape(start + 1)?;
    let is_common = text.half_word(quote) & 0x00FF_FFFF == u32::from_le_bytes(*b"\" <\0");
    is_common.then(|| (Span::new(start, quote + 1), quote + 2))
}

/// `CSeq`: up to eight digits, one space and a method.
#[inline(always)]
pub(super) fn cseq(text: &Padded, start: usize, end: usize, essentials: &mut Essentials) -> bool {
    let (number, digits_end) = text.digits(start);
    let method = digits_end + 1;
    if digits_end == start || text.byte(digits_end) != b' ' || method >= end {
        return false;
    }
    (essentials.cseq, essentials.cseq_method) = (number, Span::new(method, end));
    let is_register = end == method + 8 && text.word(method) == u64::from_le_bytes(*b"REGISTER");
    is_register || text.run(method, TOKEN) == end
}

/// One to eight digits.
#[inline(always)]
pub(super) fn decimal(text: &Padded, start: usize, end: usize) -> Option<u32> {
    if end == start + 1 {
        let digit = u32::from(text.byte(start) ^ b'0');
        return if digit <= 9 { Some(digit) } else { None };
    }
    // As nearly everybody has his Max-Forwards.
    if end == start + 2 && text.half_word(start) & 0xFFFF == u32::from_le_bytes(*b"70\0\0") {
        return Some(70);
    }
    let (number, digits_end) = text.digits(start);
    if digits_end == end && start < end { Some(number) } else { None }
}
