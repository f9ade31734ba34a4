//! Header names: which line is which, in full and compact form and any case. It knows nothing of values.

use super::padded::Padded;
use super::scan::{self, TOKEN, Text};

/// Declares the known headers: variant, whether it may stand in a message once only, name, compact form.
macro_rules! headers {
    ($($(#[$doc:meta])* $variant:ident $times:ident $name:literal $(| $compact:literal)?,)*) => {
        /// A header, as far as Seawall has business with it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HeaderId {
            $($(#[$doc])* $variant,)*
            /// Any other one: carried, never read.
            #[default]
            Other,
        }

        impl HeaderId {
            /// How many known headers there are.
            pub const COUNT: usize = HeaderId::Other as usize;

            /// Each by its number.
            const ALL: [HeaderId; Self::COUNT + 1] = [$(HeaderId::$variant,)* HeaderId::Other];

            /// The header of a number.
            #[inline]
            pub(super) fn numbered(number: u8) -> HeaderId {
                Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
            }

            /// A bit for each known header.
            pub(super) const KNOWN: u32 = (1 << Self::COUNT) - 1;
            /// A bit for each whose second line makes the message ambiguous.
            pub(super) const SINGLE: u32 = 0 $(| (headers!(@$times) << HeaderId::$variant as u32))*;

            /// Whether a second line of this header makes the message ambiguous.
            #[inline]
            pub(super) const fn is_single(self) -> bool {
                Self::SINGLE >> self as u32 & 1 == 1
            }

            /// Whether every message is read for it.
            #[inline]
            pub(super) const fn is_essential(self) -> bool {
                self as u8 <= HeaderId::ContentLength as u8
            }

            /// The name in full and in the case of RFC 3261, for messages we write; empty for `Other`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(HeaderId::$variant => $name,)*
                    HeaderId::Other => "",
                }
            }

            /// The header that a name means.
            #[must_use]
            pub fn named(name: &[u8]) -> HeaderId {
                if let [letter] = name {
                    return match letter.to_ascii_lowercase() {
                        $($($compact => HeaderId::$variant,)?)*
                        _ => HeaderId::Other,
                    };
                }
                $(if name.eq_ignore_ascii_case($name.as_bytes()) {
                    return HeaderId::$variant;
                })*
                HeaderId::Other
            }
        }
    };
    (@once) => { 1 };
    (@any) => { 0 };
}

// Those up to Content-Length are the essential ones.
headers! {
    /// RFC 3261 20.42.
    Via any "Via" | b'v',
    /// RFC 3261 20.20.
    From once "From" | b'f',
    /// RFC 3261 20.39.
    To once "To" | b't',
    /// RFC 3261 20.8.
    CallId once "Call-ID" | b'i',
    /// RFC 3261 20.16.
    CSeq once "CSeq",
    /// RFC 3261 20.22.
    MaxForwards once "Max-Forwards",
    /// RFC 3261 20.14.
    ContentLength once "Content-Length" | b'l',
    /// RFC 3261 20.10.
    Contact any "Contact" | b'm',
    /// RFC 3261 20.19.
    Expires once "Expires",
    /// RFC 3261 20.34.
    Route any "Route",
    /// RFC 3261 20.30.
    RecordRoute any "Record-Route",
    /// RFC 3327 4.
    Path any "Path",
    /// RFC 3261 20.32.
    Require any "Require",
    /// RFC 3261 20.29.
    ProxyRequire any "Proxy-Require",
    /// RFC 3261 20.37.
    Supported any "Supported" | b'k',
    /// RFC 3261 20.7.
    Authorization any "Authorization",
    /// RFC 3261 20.28.
    ProxyAuthorization any "Proxy-Authorization",
    /// RFC 3261 20.15.
    ContentType once "Content-Type" | b'c',
    /// RFC 6665 8.2.1.
    Event once "Event" | b'o',
    /// RFC 3261 20.5.
    Allow any "Allow",
    /// RFC 3261 20.41.
    UserAgent any "User-Agent",
    /// RFC 5393 5.3.2.
    MaxBreadth any "Max-Breadth",
    /// RFC 3261 20.38.
    Timestamp any "Timestamp",
    /// RFC 3325 9.1.
    PAssertedIdentity any "P-Asserted-Identity",
    /// RFC 3325 9.2.
    PPreferredIdentity any "P-Preferred-Identity",
    /// What was in use before RFC 3325, and still is: draft-ietf-sip-privacy-04 6.1.
    RemotePartyId any "Remote-Party-ID",
}

/// A header and the length of its name, in the bits where the entry of a line has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named(pub(super) u64);

impl Named {
    /// Where the length lies, and the header's number.
    pub(super) const LENGTH_SHIFT: u32 = 16;
    pub(super) const ID_SHIFT: u32 = 48;

    #[inline(always)]
    const fn new(id: HeaderId, length: usize) -> Self {
        Named((length as u64) << Self::LENGTH_SHIFT | (id as u64) << Self::ID_SHIFT)
    }
}

/// Names in full and in the case of RFC 3261, with the colon directly behind them: what nearly every line in the field looks
/// like.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lower half of a word is wanted")]
pub(super) fn usual(text: &Padded, start: usize) -> Option<Named> {
    const fn half(text: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*text)
    }
    let word = text.word(start);
    let behind = (word >> 32) as u32;
    let next = |text_behind: &[u8; 8], length: usize| {
        text.word(start + 8) << (64 - 8 * length) == u64::from_le_bytes(*text_behind)
    };
    macro_rules! name {
        ($id:ident) => {
            Some(const { Named::new(HeaderId::$id, HeaderId::$id.name().len()) })
        };
    }
    const VIA: u32 = half(b"Via:");
    const FROM: u32 = half(b"From");
    const TO: u32 = half(b"To: ");
    const CALL: u32 = half(b"Call");
    const CSEQ: u32 = half(b"CSeq");
    const CONT: u32 = half(b"Cont");
    const MAX: u32 = half(b"Max-");
    const EXPIRES: u32 = half(b"Expi");
    const USER: u32 = half(b"User");
    const ALLOW: u32 = half(b"Allo");
    const AUTHORIZATION: u32 = half(b"Auth");
    const SUPPORTED: u32 = half(b"Supp");
    const ROUTE: u32 = half(b"Rout");
    const RECORD: u32 = half(b"Reco");
    match word as u32 {
        VIA => name!(Via),
        FROM if behind as u8 == b':' => name!(From),
        TO => name!(To),
        CALL if behind == half(b"-ID:") => name!(CallId),
        CSEQ if behind as u8 == b':' => name!(CSeq),
        CONT if behind == half(b"act:") => name!(Contact),
        CONT if behind == half(b"ent-") && next(b"\0Length:", 7) => name!(ContentLength),
        CONT if behind == half(b"ent-") && next(b"\0\0\0Type:", 5) => name!(ContentType),
        MAX if behind == half(b"Forw") && next(b"\0\0\0ards:", 5) => name!(MaxForwards),
        EXPIRES if behind == half(b"res:") => name!(Expires),
        USER if behind == half(b"-Age") && next(b"\0\0\0\0\0nt:", 3) => name!(UserAgent),
        ALLOW if behind as u16 == u16::from_le_bytes(*b"w:") => name!(Allow),
        AUTHORIZATION if behind == half(b"oriz") && next(b"\0\0ation:", 6) => name!(Authorization),
        SUPPORTED if behind == half(b"orte") && next(b"\0\0\0\0\0\0d:", 2) => name!(Supported),
        ROUTE if behind as u16 == u16::from_le_bytes(*b"e:") => name!(Route),
        RECORD if behind == half(b"rd-R") && next(b"\0\0\0oute:", 5) => name!(RecordRoute),
        _ => None,
    }
}

/// A name in another case, in its compact form or with white space behind it, or one of no known header; `None` where no name and
/// colon stand there. The line ends at `end`.
pub(super) fn unusual(text: &Padded, bytes: &[u8], start: usize, end: usize) -> Option<Named> {
    let (id, colon) = common(text, start).or_else(|| any(bytes, start, end))?;
    Some(Named::new(id, colon - start))
}

/// The same names in any case.
fn common(text: &Padded, start: usize) -> Option<(HeaderId, usize)> {
    macro_rules! text {
        ($text:literal) => {{
            const TEXT: Text = Text::new($text);
            TEXT
        }};
    }
    let word = text.word(start);
    let next = || text.word(start + 8);
    #[allow(clippy::cast_possible_truncation, reason = "the first byte is wanted")]
    let first = word as u8 | 0x20;
    let (id, length) = match first {
        b'v' if text!("via:").begins(word) => (HeaderId::Via, 3),
        b'f' if text!("from:").begins(word) => (HeaderId::From, 4),
        b't' if text!("to:").begins(word) => (HeaderId::To, 2),
        b'c' if text!("call-id:").begins(word) => (HeaderId::CallId, 7),
        b'c' if text!("cseq:").begins(word) => (HeaderId::CSeq, 4),
        b'c' if text!("contact:").begins(word) => (HeaderId::Contact, 7),
        b'c' if text!("content-").begins(word) => {
            if text!("length:").begins(next()) {
                (HeaderId::ContentLength, 14)
            } else if text!("type:").begins(next()) {
                (HeaderId::ContentType, 12)
            } else {
                return None;
            }
        }
        b'm' if text!("max-forw").begins(word) && text!("ards:").begins(next()) => {
            (HeaderId::MaxForwards, 12)
        }
        b'e' if text!("expires:").begins(word) => (HeaderId::Expires, 7),
        b'u' if text!("user-age").begins(word) && text!("nt:").begins(next()) => {
            (HeaderId::UserAgent, 10)
        }
        b'a' if text!("allow:").begins(word) => (HeaderId::Allow, 5),
        b'a' if text!("authoriz").begins(word) && text!("ation:").begins(next()) => {
            (HeaderId::Authorization, 13)
        }
        b's' if text!("supporte").begins(word) && text!("d:").begins(next()) => {
            (HeaderId::Supported, 9)
        }
        b'r' if text!("route:").begins(word) => (HeaderId::Route, 5),
        b'r' if text!("record-r").begins(word) && text!("oute:").begins(next()) => {
            (HeaderId::RecordRoute, 12)
        }
        _ => return None,
    };
    Some((id, start + length))
}

/// The header whose line starts at `start`, and where its colon is; `None` where no name and colon stand there. The line ends
/// at `end`. RFC 3261 7.3.1 and 25.1: a token, white space, a colon.
fn any(bytes: &[u8], start: usize, end: usize) -> Option<(HeaderId, usize)> {
    let name_end = scan::run(bytes, start, TOKEN);
    if name_end == start || name_end >= end {
        return None;
    }
    // RFC 3261 25.1: HCOLON = *( SP / HTAB ) ":" SWS
    let mut colon = name_end;
    while colon < end && matches!(bytes[colon], b' ' | b'\t') {
        colon += 1;
    }
    if colon >= end || bytes[colon] != b':' {
        return None;
    }
    Some((HeaderId::named(&bytes[start..name_end]), colon))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn read(line: &[u8], start: usize, end: usize) -> Option<(HeaderId, usize)> {
        let mut text = Padded::new();
        text.fill(line);
        let any = any(line, start, end);
        let named = any.map(|(id, colon)| Named::new(id, colon - start));
        let all = [usual(&text, start), unusual(&text, line, start, end)];
        assert!(all.iter().flatten().all(|&found| Some(found) == named), "all readers agree");
        assert_eq!(all[1], named);
        any
    }

    #[test]
    fn every_name_in_every_form() {
        for (name, id) in [
            ("Via", HeaderId::Via),
            ("v", HeaderId::Via),
            ("From", HeaderId::From),
            ("f", HeaderId::From),
            ("To", HeaderId::To),
            ("t", HeaderId::To),
            ("Call-ID", HeaderId::CallId),
            ("i", HeaderId::CallId),
            ("CSeq", HeaderId::CSeq),
            ("Max-Forwards", HeaderId::MaxForwards),
            ("Content-Length", HeaderId::ContentLength),
            ("l", HeaderId::ContentLength),
            ("Contact", HeaderId::Contact),
            ("m", HeaderId::Contact),
            ("Expires", HeaderId::Expires),
            ("Route", HeaderId::Route),
            ("Record-Route", HeaderId::RecordRoute),
            ("Path", HeaderId::Path),
            ("Require", HeaderId::Require),
            ("Proxy-Require", HeaderId::ProxyRequire),
            ("Supported", HeaderId::Supported),
            ("k", HeaderId::Supported),
            ("Authorization", HeaderId::Authorization),
            ("Proxy-Authorization", HeaderId::ProxyAuthorization),
            ("Content-Type", HeaderId::ContentType),
            ("c", HeaderId::ContentType),
            ("Event", HeaderId::Event),
            ("o", HeaderId::Event),
            ("Allow", HeaderId::Allow),
            ("User-Agent", HeaderId::UserAgent),
            ("Max-Breadth", HeaderId::MaxBreadth),
            ("Timestamp", HeaderId::Timestamp),
            ("P-Asserted-Identity", HeaderId::PAssertedIdentity),
            ("P-Preferred-Identity", HeaderId::PPreferredIdentity),
            ("Remote-Party-ID", HeaderId::RemotePartyId),
            ("Content-Encoding", HeaderId::Other),
            ("Vias", HeaderId::Other),
            ("C%6Fntact", HeaderId::Other),
            ("s", HeaderId::Other),
        ] {
            for name in [name.into(), name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                for space in ["", " ", "\t  "] {
                    let line = format!("{name}{space}: value, long enough for two words\r\n");
                    let expected = Some((id, name.len() + space.len()));
                    assert_eq!(read(line.as_bytes(), 0, line.len() - 2), expected, "{line}");
                }
                let short = format!("{name}:");
                assert_eq!(read(short.as_bytes(), 0, short.len()), Some((id, name.len())));
            }
        }
    }

    #[test]
    fn lines_without_a_name() {
        for line in ["", ":", ": x", " Via: x", "Via", "Via x", "Vi a: x", "(x): y", "V\u{e9}a: x"]
        {
            assert_eq!(read(line.as_bytes(), 0, line.len()), None, "{line}");
        }
    }
}
