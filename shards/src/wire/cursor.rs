//! Reading a header's value from left to right: white space, quoted strings, parameters. It never looks past its end.

use super::malformed::Malformed;
use super::scan::{self, TOKEN, Text, VALUE};

/// A range of a message, as offsets that survive between the peek and the parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    /// A range within a message of at most 65,535 bytes.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "Index::reset refuses messages above 65,535 bytes"
    )]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Span { start: start as u16, end: end as u16 }
    }

    /// The bytes of this range; none where it is not one of this message.
    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A parameter: `;name` or `;name=value`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamSpan {
    /// Where its semicolon is.
    pub(super) start: usize,
    pub(super) name: Span,
    /// A quoted value keeps its quotes.
    pub(super) value: Option<Span>,
}

/// A place in a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'m> {
    /// The whole message: wide loads may look at what follows the value, decisions never do.
    pub(super) bytes: &'m [u8],
    pub(super) at: usize,
    pub(super) end: usize,
    /// The reason phrase for a defect in this value.
    pub(super) reason: &'static str,
}

impl<'m> Cursor<'m> {
    #[inline]
    pub(super) fn new(bytes: &'m [u8], span: Span, reason: &'static str) -> Self {
        let end = usize::from(span.end).min(bytes.len());
        Cursor { bytes, at: usize::from(span.start), end, reason }
    }

    /// A defect here.
    #[cold]
    pub(super) fn fail(&self) -> Malformed {
        Malformed::bad(self.reason, self.at)
    }

    /// The byte here, or none at the end.
    #[inline(always)]
    pub(super) fn byte(&self) -> Option<u8> {
        if self.at < self.end { self.bytes.get(self.at).copied() } else { None }
    }

    /// The message up to the end of the value, for scans that no line end stops.
    #[inline]
    pub(super) fn value(&self) -> &'m [u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Skips linear white space: spaces, tabs and folds.
    #[inline(always)]
    pub(super) fn lws(&mut self) {
        if self.byte().is_some_and(|byte| byte <= b' ') {
            self.lws_slow();
        }
    }

    #[cold]
    fn lws_slow(&mut self) {
        loop {
            match self.byte() {
                Some(b' ' | b'\t') => self.at += 1,
                // A fold. Bare CR and LF do not get here: the index refuses their lines.
                Some(b'\r')
                    if self.end - self.at > 2
                        && self.bytes[self.at + 1] == b'\n'
                        && matches!(self.bytes[self.at + 2], b' ' | b'\t') =>
                {
                    self.at += 3;
                }
                Some(_) | None => return,
            }
        }
    }

    /// Takes `separator` with white space around it, or stays before that white space.
    #[inline(always)]
    pub(super) fn separator(&mut self, separator: u8) -> bool {
        let before = self.at;
        self.lws();
        if self.byte() == Some(separator) {
            self.at += 1;
            self.lws();
            return true;
        }
        self.at = before;
        false
    }

    /// Takes a run of bytes of a class; it may be empty.
    #[inline]
    pub(super) fn run(&mut self, class: u8) -> Span {
        let start = self.at;
        self.at = scan::run(self.bytes, start, class).min(self.end).max(start);
        Span::new(start, self.at)
    }

    /// Takes a run of decimal digits as a number, at `u32::MAX` where it is larger; `None` where there is none.
    #[inline]
    pub(super) fn digits(&mut self) -> Option<u32> {
        let start = self.at;
        let mut value = 0u64;
        for &byte in self.bytes.get(start..self.end).unwrap_or_default() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = (value * 10 + u64::from(digit)).min(u64::from(u32::MAX));
            self.at += 1;
        }
        if self.at == start { None } else { u32::try_from(value).ok() }
    }

    /// Takes a `token`.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Span, Malformed> {
        let span = self.run(TOKEN);
        if span.is_empty() { Err(self.fail()) } else { Ok(span) }
    }

    /// Takes a `quoted-string`; the span holds the quotes.
    pub(super) fn quoted(&mut self) -> Result<Span, Malformed> {
        let start = self.at;
        let mut at = start + 1;
        loop {
            at = scan::quote_or_escape(self.value(), at);
            if at >= self.end {
                return Err(self.fail());
            }
            if self.bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(Span::new(start, self.at));
            }
            // RFC 3261 25.1: quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)
            at += 1;
            if at >= self.end || !matches!(self.bytes[at], 0x00..=0x09 | 0x0B..=0x0C | 0x0E..=0x7F)
            {
                return Err(self.fail());
            }
            at += 1;
        }
    }

    /// Takes `;name` or `;name=value`, or nothing where no semicolon comes next.
    pub(super) fn param(&mut self) -> Result<Option<ParamSpan>, Malformed> {
        let before = self.at;
        match self.byte() {
            Some(b';') => {}
            Some(b' ' | b'\t' | b'\r') => self.lws(),
            Some(_) | None => return Ok(None),
        }
        let start = self.at;
        if self.byte() != Some(b';') {
            self.at = before;
            return Ok(None);
        }
        self.at += 1;
        self.lws();
        let name = self.token()?;
        let mut value = None;
        if self.separator(b'=') {
            value = Some(self.param_value()?);
        }
        Ok(Some(ParamSpan { start, name, value }))
    }

    /// Takes `;name=value` in its common form: `assignment` is the name and the equals sign, nothing is quoted and there is no
    /// white space. It takes nothing of any other form.
    #[inline(always)]
    pub(super) fn plain_param(&mut self, assignment: Text, length: usize) -> Option<Span> {
        if self.byte() != Some(b';') || !assignment.begins(scan::word(self.bytes, self.at + 1)) {
            return None;
        }
        let start = self.at;
        self.at += 1 + length;
        let value = self.run(VALUE);
        if value.is_empty() {
            self.at = start;
            return None;
        }
        Some(value)
    }

    /// Takes a `gen-value`.
    // RFC 3261 25.1: gen-value = token / host / quoted-string
    #[inline]
    pub(super) fn param_value(&mut self) -> Result<Span, Malformed> {
        if self.byte() == Some(b'"') {
            return self.quoted();
        }
        let value = self.run(VALUE);
        if value.is_empty() { Err(self.fail()) } else { Ok(value) }
    }
}
