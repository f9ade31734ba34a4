//! A message that was read to the end of its headers: its start line, what every message carries, and the way to everything
//! else. It borrows the received bytes and the index, copies nothing and judges only what a message must get right.

use super::address::Address;
use super::common;
use super::contact::{Contacts, KnownContact};
use super::cursor::Cursor;
use super::header::HeaderId;
use super::index::{Index, Line};
use super::list::{Addresses, OptionTags, Vias};
use super::malformed::Malformed;
use super::method::Method;
use super::number;
use super::start::Start;
use super::uri::{Host, Uri};
use super::via::Via;

/// A SIP message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub(super) bytes: &'m [u8],
    pub(super) index: &'m Index,
    start_line: StartLine<'m>,
    body: &'m [u8],
}

/// The first line.
#[derive(Clone, Copy, Debug)]
pub enum StartLine<'m> {
    /// A request line.
    Request {
        /// The method.
        method: Method<'m>,
        /// The Request-URI.
        uri: Uri<'m>,
    },
    /// A status line.
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase; it may be empty.
        reason: &'m [u8],
    },
}

/// The `CSeq` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'m> {
    /// Below 2^31.
    pub number: u32,
    /// In a request, the method of its first line.
    pub method: Method<'m>,
}

/// A header line, byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Header<'m> {
    /// Which header.
    pub id: HeaderId,
    /// The whole line with its folds and its CRLF.
    pub raw: &'m [u8],
    /// The value without white space around it; folds inside as they came.
    pub value: &'m [u8],
    /// Where the line starts in the message, for edits.
    pub offset: u16,
    /// Where the value starts in the message.
    pub value_offset: u16,
}

impl<'m> Header<'m> {
    #[inline]
    pub(super) fn new(bytes: &'m [u8], line: &Line) -> Self {
        let value = line.value(bytes);
        Header {
            id: line.id(),
            raw: bytes.get(usize::from(line.start())..usize::from(line.end())).unwrap_or_default(),
            value: value.of(bytes),
            offset: line.start(),
            value_offset: value.start,
        }
    }

    /// The name as it came.
    #[must_use]
    pub fn name(&self) -> &'m [u8] {
        let colon = self.raw.iter().position(|&byte| byte == b':').unwrap_or_default();
        self.raw.get(..colon).unwrap_or_default().trim_ascii_end()
    }
}

impl<'m> Message<'m> {
    /// Reads on from where [`peek`](super::peek()) stopped, to the end of the headers. What `peek` said holds for every message
    /// that this accepts.
    ///
    /// # Errors
    /// The first defect. The index keeps every sound line, so that [`Response`](super::Response) can be written.
    ///
    /// # Panics
    /// Where `index` was not filled from `bytes` by `peek`.
    #[inline(always)]
    pub fn parse(bytes: &'m [u8], index: &'m mut Index) -> Result<Self, Malformed> {
        if index.start.is_none() {
            // The peek knew by the first bytes.
            return Err(index.failure().unwrap_or(Malformed::bad("Not SIP", 0)));
        }
        assert!(index.is_of(bytes), "the index is that of the message");
        index.read_all(bytes);
        if let Some(failure) = index.failure() {
            return Err(failure);
        }
        match read(bytes, index) {
            Ok((start_line, body)) => Ok(Message { bytes, index, start_line, body }),
            Err(malformed) => {
                index.note(malformed);
                Err(malformed)
            }
        }
    }

    /// The first line.
    #[must_use]
    #[inline]
    pub fn start_line(&self) -> &StartLine<'m> {
        &self.start_line
    }

    /// The received bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The index behind this message, for [`Response`](super::Response).
    #[must_use]
    #[inline]
    pub fn index(&self) -> &'m Index {
        self.index
    }

    /// The topmost Via.
    #[must_use]
    #[inline]
    pub fn via(&self) -> Via<'m> {
        self.index.essentials.via.of(self.bytes)
    }

    /// The branch of the topmost Via.
    #[must_use]
    #[inline(always)]
    pub fn branch(&self) -> Option<&'m [u8]> {
        self.index.essentials.via.branch.map(|branch| branch.of(self.bytes))
    }

    /// The sent-by of the topmost Via: its host, and the port where one is written.
    #[must_use]
    #[inline(always)]
    pub fn sent_by(&self) -> (Host<'m>, Option<u16>) {
        let via = &self.index.essentials.via;
        (Host::new(via.host.of(self.bytes)), via.port)
    }

    /// Every Via value, topmost first.
    #[must_use]
    pub fn vias(&self) -> Vias<'m> {
        Vias::new(self)
    }

    /// From.
    #[must_use]
    #[inline]
    pub fn from(&self) -> Address<'m> {
        self.index.essentials.from.of(self.bytes)
    }

    /// To.
    #[must_use]
    #[inline]
    pub fn to(&self) -> Address<'m> {
        self.index.essentials.to.of(self.bytes)
    }

    /// Call-ID, never empty.
    #[must_use]
    #[inline]
    pub fn call_id(&self) -> &'m [u8] {
        self.index.essentials.call_id.of(self.bytes)
    }

    /// `CSeq`.
    #[must_use]
    #[inline(always)]
    pub fn cseq(&self) -> CSeq<'m> {
        let essentials = &self.index.essentials;
        let method = match self.start_line {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => Method::named(essentials.cseq_method.of(self.bytes)),
        };
        CSeq { number: essentials.cseq, method }
    }

    /// Max-Forwards, where there is one (RFC 2543 knew none).
    #[must_use]
    #[inline]
    pub fn max_forwards(&self) -> Option<u8> {
        self.index.essentials.max_forwards
    }

    /// The body: as long as Content-Length says, or all that is left where there is none.
    #[must_use]
    #[inline]
    pub fn body(&self) -> &'m [u8] {
        self.body
    }

    /// Expires in seconds: saturated, and 3600 where it is no number. An Expires without a value counts as malformed.
    #[must_use]
    #[inline]
    pub fn expires(&self) -> Option<u32> {
        let line = self.index.first_line(HeaderId::Expires)?;
        let (start, end) = line.common_value();
        let text = &self.index.text;
        if text.byte(start - 1) == b' '
            && let Some(secs) = common::decimal(text, start, end)
        {
            return Some(secs);
        }
        Some(number::lifetime_secs(line.value(self.bytes).of(self.bytes)))
    }

    /// The values of Contact.
    #[must_use]
    #[inline]
    pub fn contacts(&self) -> Contacts<'m> {
        Contacts::new(self)
    }

    /// The only Contact, where it is `known`: a contact in brackets that was read from a message before. `None` says nothing of
    /// what there is.
    #[must_use]
    #[inline(always)]
    pub fn known_contact(&self, known: &[u8]) -> Option<KnownContact> {
        KnownContact::of(self, known)
    }

    /// The option tags in Require, Proxy-Require or Supported.
    #[must_use]
    #[inline]
    pub fn option_tags(&self, id: HeaderId) -> OptionTags<'m> {
        OptionTags::new(self, id)
    }

    /// The values of Route, Record-Route or Path, which must stand in brackets.
    #[must_use]
    #[inline]
    pub fn addresses(&self, id: HeaderId) -> Addresses<'m> {
        Addresses::new(self, id)
    }

    /// Whether a header is there.
    #[must_use]
    #[inline]
    pub fn has(&self, id: HeaderId) -> bool {
        self.index.has(id)
    }

    /// The value of each line of a header, white space around it removed, not split at commas.
    #[inline]
    pub fn values(&self, id: HeaderId) -> impl Iterator<Item = &'m [u8]> + use<'m> {
        let bytes = self.bytes;
        self.index.lines_of(id).map(move |line| line.value(bytes).of(bytes))
    }

    /// The value of the only line of a header, white space around it removed; `None` where there is none or more than one.
    #[must_use]
    #[inline]
    pub fn only_value(&self, id: HeaderId) -> Option<&'m [u8]> {
        let line = self.index.first_line(id).filter(|_| !self.index.is_repeated(id))?;
        Some(line.value(self.bytes).of(self.bytes))
    }

    /// Every header line from top to bottom.
    pub fn headers(&self) -> impl Iterator<Item = Header<'m>> + use<'m> {
        let bytes = self.bytes;
        self.index.lines().iter().map(move |line| Header::new(bytes, line))
    }

    /// The lines of a header of any name, in full, in any case.
    pub fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = Header<'m>> + use<'m, 'n> {
        let bytes = self.bytes;
        let id = HeaderId::named(name);
        self.index
            .lines_of(id)
            .map(move |line| Header::new(bytes, line))
            .filter(move |header| id != HeaderId::Other || header.name().eq_ignore_ascii_case(name))
    }
}

/// What the lines must say together.
#[inline(always)]
fn read<'m>(bytes: &'m [u8], index: &Index) -> Result<(StartLine<'m>, &'m [u8]), Malformed> {
    let essentials = &index.essentials;
    let Some(start) = index.start else { return Err(Malformed::bad("Not SIP", 0)) };
    // RFC 3261 8.1.1: To, From, CSeq, Call-ID and Via are in every message; 16.3 lets Max-Forwards be absent.
    let missing = if index.has_all_required() {
        // What is malformed was refused before.
        None
    } else if essentials.via.raw.is_empty() {
        Some("Missing Via")
    } else if essentials.from.uri.is_empty() {
        Some("Missing From")
    } else if essentials.to.uri.is_empty() {
        Some("Missing To")
    } else if essentials.call_id.is_empty() {
        Some("Missing Call-ID")
    } else if essentials.cseq_method.is_empty() {
        Some("Missing CSeq")
    } else {
        None
    };
    if let Some(reason) = missing {
        return Err(Malformed::bad(reason, bytes.len()));
    }
    let start_line = match start {
        Start::Request { method: span, uri } => {
            let method = Method::named(span.of(bytes));
            if !index.text.same(span, essentials.cseq_method) {
                // RFC 4475 3.1.2.18: an unknown method is better answered 501.
                let status = if matches!(method, Method::Other(_)) { 501 } else { 400 };
                let offset = usize::from(essentials.cseq_method.start);
                return Err(Malformed { status, ..Malformed::bad("CSeq Method Mismatch", offset) });
            }
            let uri = match Uri::common(uri.of(bytes)) {
                Some(uri) => uri,
                None => Uri::read_any(Cursor::new(bytes, uri, "Bad Request-URI"))?,
            };
            StartLine::Request { method, uri }
        }
        Start::Response { status, reason } => {
            StartLine::Response { status, reason: reason.of(bytes) }
        }
    };
    let rest = index.body_start().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let body = match essentials.content_length {
        None => rest,
        // RFC 3261 18.3: what is longer than Content-Length is cut off, what is shorter gets a 400.
        Some(length) => usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or_else(|| Malformed::bad("Content-Length Beyond Datagram", bytes.len()))?,
    };
    Ok((start_line, body))
}
