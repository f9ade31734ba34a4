//! What every message must carry, read as its line is met: the topmost Via, From, To, Call-ID, `CSeq`, Max-Forwards and
//! Content-Length. It judges each line alone; what they must say together is the parser's.

use super::address::{self, AddressSpans};
use super::common;
use super::cursor::{Cursor, Span};
use super::header::HeaderId;
use super::malformed::Malformed;
use super::number;
use super::padded::Padded;
use super::scan;
use super::via::{self, ViaSpans};

/// Offsets and numbers of the essential headers; defaults where a header is absent or malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Essentials {
    pub(super) via: ViaSpans,
    pub(super) from: AddressSpans,
    pub(super) to: AddressSpans,
    pub(super) call_id: Span,
    pub(super) cseq: u32,
    pub(super) cseq_method: Span,
    pub(super) max_forwards: Option<u8>,
    pub(super) content_length: Option<u32>,
}

impl Essentials {
    /// Reads the first line of an essential header in its common form; false where it has another and nothing was read.
    #[inline(always)]
    pub(super) fn read_common(
        &mut self,
        id: HeaderId,
        text: &Padded,
        start: usize,
        end: usize,
    ) -> bool {
        match id {
            HeaderId::Via => common::via(text, start, end, &mut self.via),
            HeaderId::From => keep(&mut self.from, common::single(text, start, end)),
            HeaderId::To => keep(&mut self.to, common::single(text, start, end)),
            HeaderId::CallId => {
                let is_common = start < end && text.visible_end(start) == end;
                is_common && keep(&mut self.call_id, Some(Span::new(start, end)))
            }
            HeaderId::CSeq => match common::cseq(text, start, end) {
                Some((number, method)) => {
                    (self.cseq, self.cseq_method) = (number, method);
                    true
                }
                None => false,
            },
            HeaderId::MaxForwards => {
                let hops = common::decimal(text, start, end).map(u8::try_from);
                matches!(hops, Some(Ok(hops)) if keep(&mut self.max_forwards, Some(Some(hops))))
            }
            HeaderId::ContentLength => {
                let length = common::decimal(text, start, end);
                length.is_some() && keep(&mut self.content_length, Some(length))
            }
            HeaderId::Contact
            | HeaderId::Expires
            | HeaderId::Route
            | HeaderId::RecordRoute
            | HeaderId::Path
            | HeaderId::Require
            | HeaderId::ProxyRequire
            | HeaderId::Supported
            | HeaderId::Authorization
            | HeaderId::ProxyAuthorization
            | HeaderId::ContentType
            | HeaderId::Event
            | HeaderId::Allow
            | HeaderId::UserAgent
            | HeaderId::Other => true,
        }
    }

    /// Reads the first line of an essential header.
    #[inline(never)]
    pub(super) fn read(
        &mut self,
        id: HeaderId,
        bytes: &[u8],
        value: Span,
    ) -> Result<(), Malformed> {
        match id {
            HeaderId::Via => {
                let mut cursor = Cursor::new(bytes, value, "Bad Via");
                via::take(&mut cursor, &mut self.via)?;
                if !cursor.is_done() && !cursor.separator(b',') {
                    return Err(cursor.fail());
                }
            }
            HeaderId::From => address::single(bytes, value, "Bad From", &mut self.from)?,
            HeaderId::To => address::single(bytes, value, "Bad To", &mut self.to)?,
            HeaderId::CallId => {
                // RFC 3261 25.1: callid = word [ "@" word ]. It is compared, never taken apart: any visible bytes do.
                let end = scan::visible_end(bytes, usize::from(value.start));
                if value.is_empty() || end < usize::from(value.end) {
                    return Err(Malformed::bad("Bad Call-ID", end));
                }
                self.call_id = value;
            }
            HeaderId::CSeq => {
                (self.cseq, self.cseq_method) = cseq(Cursor::new(bytes, value, "Bad CSeq"))?;
            }
            HeaderId::MaxForwards => {
                // RFC 3261 20.22: 0 to 255.
                let hops = number::decimal(value.of(bytes)).map(u8::try_from);
                let Some(Ok(hops)) = hops else {
                    return Err(Malformed::bad("Bad Max-Forwards", usize::from(value.start)));
                };
                self.max_forwards = Some(hops);
            }
            HeaderId::ContentLength => {
                let Some(length) = number::decimal(value.of(bytes)) else {
                    return Err(Malformed::bad("Bad Content-Length", usize::from(value.start)));
                };
                self.content_length = Some(length);
            }
            HeaderId::Contact
            | HeaderId::Expires
            | HeaderId::Route
            | HeaderId::RecordRoute
            | HeaderId::Path
            | HeaderId::Require
            | HeaderId::ProxyRequire
            | HeaderId::Supported
            | HeaderId::Authorization
            | HeaderId::ProxyAuthorization
            | HeaderId::ContentType
            | HeaderId::Event
            | HeaderId::Allow
            | HeaderId::UserAgent
            | HeaderId::Other => {}
        }
        Ok(())
    }
}

#[inline(always)]
fn keep<T>(place: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *place = value;
            true
        }
        None => false,
    }
}

// RFC 3261 25.1: CSeq = "CSeq" HCOLON 1*DIGIT LWS Method
#[inline]
fn cseq(mut cursor: Cursor<'_>) -> Result<(u32, Span), Malformed> {
    // RFC 3261 8.1.1.5: less than 2**31.
    let Some(number @ 0..=0x7FFF_FFFF) = cursor.digits() else { return Err(cursor.fail()) };
    let digits_end = cursor.at;
    cursor.lws();
    if cursor.at == digits_end {
        return Err(cursor.fail());
    }
    let method = cursor.token()?;
    if cursor.is_done() { Ok((number, method)) } else { Err(cursor.fail()) }
}
