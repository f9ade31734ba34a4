//! `name-addr` and `addr-spec` with the parameters behind them: From, To, Contact, Route, Record-Route, Path. The URI
//! inside is delimited here and read by [`Uri`](super::Uri) where somebody needs it.

use super::cursor::{Cursor, ParamSpan, Span};
use super::malformed::Malformed;
use super::params::Params;
use super::scan::{self, SCHEME, Text};

/// An address in a header.
#[derive(Clone, Copy, Debug)]
pub struct Address<'m> {
    /// The display name as it came, quotes included; empty where there is none.
    pub display: &'m [u8],
    /// The URI without brackets, for [`Uri::parse`](super::Uri::parse).
    pub uri: &'m [u8],
    /// The header parameters.
    pub params: Params<'m>,
    /// The value of the `tag` parameter.
    pub tag: Option<&'m [u8]>,
    /// All of it, from the display name to the last parameter, byte for byte.
    pub raw: &'m [u8],
}

/// The offsets behind an [`Address`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressSpans {
    pub(super) display: Span,
    pub(super) uri: Span,
    pub(super) params: Span,
    pub(super) tag: Option<Span>,
    pub(super) raw: Span,
    pub(super) bracketed: bool,
}

impl AddressSpans {
    #[inline]
    pub(super) fn of<'m>(&self, bytes: &'m [u8]) -> Address<'m> {
        Address {
            display: self.display.of(bytes),
            uri: self.uri.of(bytes),
            params: Params::new(self.params.of(bytes)),
            tag: self.tag.map(|tag| tag.of(bytes)),
            raw: self.raw.of(bytes),
        }
    }
}

/// Takes an address and its parameters; each parameter is shown to `seen` as it is read.
#[inline]
pub(super) fn take<'m>(
    cursor: &mut Cursor<'m>,
    mut seen: impl FnMut(&Cursor<'m>, &ParamSpan) -> Result<(), Malformed>,
) -> Result<AddressSpans, Malformed> {
    let start = cursor.at;
    let mut spans = AddressSpans::default();
    name_and_uri(cursor, &mut spans)?;
    let mut params_start = cursor.at;
    let mut first = true;
    while let Some(param) = cursor.param()? {
        if first {
            params_start = param.start;
            first = false;
        }
        seen(cursor, &param)?;
    }
    spans.params = Span::new(params_start, cursor.at);
    spans.raw = Span::new(start, cursor.at);
    Ok(spans)
}

/// From and To: one address and nothing behind it. What was read before a defect is kept.
#[inline]
pub(super) fn single(
    bytes: &[u8],
    value: Span,
    reason: &'static str,
    spans: &mut AddressSpans,
) -> Result<(), Malformed> {
    const TAG: Text = Text::new("tag");
    const TAG_IS: Text = Text::new("tag=");
    let mut cursor = Cursor::new(bytes, value, reason);
    name_and_uri(&mut cursor, spans)?;
    let name_end = cursor.at;
    let mut params_start = None;
    if let Some(tag) = cursor.plain_param(TAG_IS, 4) {
        spans.tag = Some(tag);
        params_start = Some(name_end);
    }
    while let Some(param) = cursor.param()? {
        params_start.get_or_insert(param.start);
        if param.name.end - param.name.start == 3
            && TAG.begins(scan::word(bytes, usize::from(param.name.start)))
        {
            // RFC 3261 25.1: tag-param = "tag" EQUAL token. Two of them would name two dialogs.
            let quoted = param.value.is_none_or(|value| value.of(bytes).first() == Some(&b'"'));
            if quoted || spans.tag.is_some() {
                return Err(cursor.fail());
            }
            spans.tag = param.value;
        }
    }
    spans.params = Span::new(params_start.unwrap_or(cursor.at), cursor.at);
    spans.raw = Span { start: value.start, end: spans.params.end };
    if cursor.is_done() { Ok(()) } else { Err(cursor.fail()) }
}

#[inline]
fn name_and_uri(cursor: &mut Cursor<'_>, spans: &mut AddressSpans) -> Result<(), Malformed> {
    let start = cursor.at;
    match cursor.byte() {
        Some(b'<') => {}
        Some(b'"') => {
            spans.display = cursor.quoted()?;
            cursor.lws();
            if cursor.byte() != Some(b'<') {
                return Err(cursor.fail());
            }
        }
        Some(_) => {
            let mark = scan::address_mark(cursor.value(), start);
            match if mark < cursor.end { cursor.bytes[mark] } else { b';' } {
                b'<' => {
                    // RFC 3261 25.1: display-name = *(token LWS) / quoted-string. Other bytes are common in the field, but
                    // a colon would let another reader find an addr-spec where this one finds a name.
                    if let Some(colon) =
                        cursor.bytes[start..mark].iter().position(|&byte| byte == b':')
                    {
                        cursor.at = start + colon;
                        return Err(cursor.fail());
                    }
                    let mut end = mark;
                    while end > start && cursor.bytes[end - 1] <= b' ' {
                        end -= 1;
                    }
                    spans.display = Span::new(start, end);
                    cursor.at = mark;
                }
                // RFC 3261 20: an addr-spec with a comma, question mark or semicolon stands in brackets, so here a
                // semicolon begins the header's parameters and a comma the next value.
                b';' | b',' => return bare_uri(cursor, spans),
                _ => return Err(cursor.fail()),
            }
        }
        None => return Err(cursor.fail()),
    }
    let start = cursor.at + 1;
    let end = scan::uri_end(cursor.bytes, start);
    if end >= cursor.end || cursor.bytes[end] != b'>' {
        cursor.at = end.min(cursor.end);
        return Err(cursor.fail());
    }
    spans.bracketed = true;
    spans.uri = Span::new(start, end);
    cursor.at = end + 1;
    scheme(cursor, spans.uri)
}

/// An `addr-spec` without brackets.
fn bare_uri(cursor: &mut Cursor<'_>, spans: &mut AddressSpans) -> Result<(), Malformed> {
    let start = cursor.at;
    let mut at = start;
    while at < cursor.end {
        match cursor.bytes[at] {
            0..=b' ' | b';' | b',' => break,
            // The same rule: what follows a question mark would be lost or, worse, believed.
            b'?' | b'>' | b'"' | 0x7F => {
                cursor.at = at;
                return Err(cursor.fail());
            }
            _ => at += 1,
        }
    }
    spans.uri = Span::new(start, at);
    cursor.at = at;
    scheme(cursor, spans.uri)
}

/// Refuses what is no URI: nothing before the colon, or nothing behind it.
#[inline]
fn scheme(cursor: &Cursor<'_>, uri: Span) -> Result<(), Malformed> {
    const SIP: Text = Text::new("sip:");
    let start = usize::from(uri.start);
    if SIP.begins(scan::word(cursor.bytes, start)) && uri.end - uri.start > 4 {
        return Ok(());
    }
    let uri = uri.of(cursor.bytes);
    let colon = scan::run(uri, 0, SCHEME);
    let named = uri.first().is_some_and(u8::is_ascii_alphabetic);
    if named && uri.get(colon) == Some(&b':') && uri.len() > colon + 1 {
        return Ok(());
    }
    Err(Malformed::bad(cursor.reason, start))
}
