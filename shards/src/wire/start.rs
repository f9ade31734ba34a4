//! The first line: a request line or a status line, or something that is not SIP. It never looks at headers.

use super::cursor::Span;
use super::malformed::Malformed;
use super::scan::{self, TOKEN, Text};

const SIP: Text = Text::new("sip/");

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `Method SP Request-URI SP SIP-Version`.
    Request { method: Span, uri: Span },
    /// `SIP-Version SP Status-Code SP Reason-Phrase`.
    Response { status: u16, reason: Span },
}

/// Where the first word ends, if it can begin a SIP message at all: a method and a space, or `SIP/` (at 0).
#[inline]
pub(super) fn method_end(bytes: &[u8]) -> Option<usize> {
    let word = scan::word(bytes, 0);
    if word == u64::from_le_bytes(*b"REGISTER") && bytes.get(8) == Some(&b' ') {
        return Some(8);
    }
    if SIP.begins(word) {
        return Some(0);
    }
    let end = scan::run(bytes, 0, TOKEN);
    if end > 0 && bytes.get(end) == Some(&b' ') { Some(end) } else { None }
}

/// Reads the line that ends at `end`, its first word at `method_end`. `None`: not SIP. The start is told even where the line is malformed, as far as a
/// response or a drop needs it.
#[inline]
pub(super) fn read(
    bytes: &[u8],
    method_end: usize,
    end: usize,
) -> Option<(Start, Result<(), Malformed>)> {
    if method_end == 0 {
        return Some(status_line(bytes, end));
    }
    if let Some(request) = usual_request(bytes, method_end, end) {
        return Some((request, Ok(())));
    }
    let malformed = bad_request_line(bytes, end)?;
    let method = Span::new(0, method_end);
    Some((Start::Request { method, uri: Span::default() }, Err(malformed)))
}

/// A request line that ends with our version.
#[inline(always)]
pub(super) fn usual_request(bytes: &[u8], method_end: usize, end: usize) -> Option<Start> {
    const VERSION: Text = Text::new(" sip/2.0");
    let method = Span::new(0, method_end);
    let uri_start = method_end + 1;
    let version_start = end.saturating_sub(8);
    let is_sound = VERSION.begins(scan::word(bytes, version_start)) && uri_start < version_start;
    is_sound.then(|| Start::Request { method, uri: Span::new(uri_start, version_start) })
}

/// Tells another version, 505, from a line with spaces too many or too few, 400, from what is not SIP.
#[cold]
fn bad_request_line(bytes: &[u8], end: usize) -> Option<Malformed> {
    let line = bytes.get(..end)?;
    let trimmed = line.trim_ascii_end();
    let version_start = trimmed.iter().rposition(|&byte| byte == b' ')? + 1;
    if !SIP.begins(scan::word(trimmed, version_start)) {
        return None;
    }
    if trimmed.len() == line.len() && is_other_version(&trimmed[version_start..]) {
        return Some(Malformed {
            status: 505,
            ..Malformed::bad("Version Not Supported", version_start)
        });
    }
    // RFC 3261 7.1: one SP between the elements and none elsewhere.
    Some(Malformed::bad("Bad Request Line", version_start))
}

fn status_line(bytes: &[u8], end: usize) -> (Start, Result<(), Malformed>) {
    const VERSION: Text = Text::new("sip/2.0 ");
    let unread = Start::Response { status: 0, reason: Span::default() };
    if !VERSION.begins(scan::word(bytes, 0)) {
        let version = bytes.get(..end).unwrap_or_default().split(|&byte| byte == b' ').next();
        if version.is_some_and(is_other_version) {
            return (
                unread,
                Err(Malformed { status: 505, ..Malformed::bad("Version Not Supported", 0) }),
            );
        }
        return (unread, Err(Malformed::bad("Bad Status Line", 0)));
    }
    // RFC 3261 7.2: a 3-digit code. The reason may be empty (RFC 4475 3.1.1.13), and some leave out its SP then.
    let code = bytes.get(8..end.clamp(8, 11)).unwrap_or_default();
    let status = super::number::decimal(code).unwrap_or(0);
    let delimited = end == 11 || bytes.get(11) == Some(&b' ');
    // RFC 3261 7.2: no CR or LF but at its end, so a fold that would hide a header line in it is none.
    // The version and the code are none.
    let reason = bytes.get(11..end).unwrap_or_default();
    let is_one_line = !reason.contains(&b'\r');
    match u16::try_from(status) {
        Ok(status @ 100..=699) if code.len() == 3 && delimited && is_one_line => {
            let reason = Span::new(end.min(12), end);
            (Start::Response { status, reason }, Ok(()))
        }
        Ok(_) | Err(_) => (unread, Err(Malformed::bad("Bad Status Line", 8))),
    }
}

/// `"SIP" "/" 1*DIGIT "." 1*DIGIT`, other than 2.0.
fn is_other_version(version: &[u8]) -> bool {
    let Some(digits) = version.get(4..) else { return false };
    let mut parts = digits.split(|&byte| byte == b'.');
    let number =
        |part: Option<&[u8]>| part.is_some_and(|part| super::number::decimal(part).is_some());
    digits != b"2.0" && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}
