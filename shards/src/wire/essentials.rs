//! What every message must carry, read as its line is met: the topmost Via, From, To, Call-ID, `CSeq`, Max-Forwards and
//! Content-Length. It judges each line alone; what they must say together is the parser's.

use super::address::{self, AddressSpans};
use super::common;
use super::cursor::{Cursor, Span};
use super::header::HeaderId;
use super::index::Line;
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
    /// Reads the first line of an essential header, nearly always in its common form; false where it is malformed.
    #[inline(always)]
    pub(super) fn read_first(
        &mut self,
        id: HeaderId,
        text: &Padded,
        bytes: &[u8],
        line: Line,
    ) -> bool {
        let (start, end) = line.common_value();
        let is_common = text.byte(start - 1) == b' '
            && match id {
                HeaderId::Via => common::via(text, start, end, &mut self.via),
                HeaderId::From => common::single(text, start, end, &mut self.from),
                HeaderId::To => common::single(text, start, end, &mut self.to),
                HeaderId::CallId => {
                    self.call_id = Span::new(start, end);
                    start < end && text.visible_end(start) == end
                }
                HeaderId::CSeq => common::cseq(text, start, end, self),
                HeaderId::MaxForwards => match common::decimal(text, start, end) {
                    Some(hops) if hops <= u32::from(u8::MAX) => {
                        self.max_forwards = u8::try_from(hops).ok();
                        true
                    }
                    Some(_) | None => false,
                },
                HeaderId::ContentLength => {
                    self.content_length = common::decimal(text, start, end);
                    self.content_length.is_some()
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
                | HeaderId::MaxBreadth
                | HeaderId::Timestamp
                | HeaderId::PAssertedIdentity
                | HeaderId::PPreferredIdentity
                | HeaderId::RemotePartyId
                | HeaderId::Other => true,
            };
        is_common || self.read(id, bytes, line.value(bytes)).is_ok()
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
            | HeaderId::MaxBreadth
            | HeaderId::Timestamp
            | HeaderId::PAssertedIdentity
            | HeaderId::PPreferredIdentity
            | HeaderId::RemotePartyId
            | HeaderId::Other => {}
        }
        Ok(())
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
