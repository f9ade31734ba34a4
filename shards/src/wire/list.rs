//! Headers that are lists, over any number of lines and values a line: option tags, route sets, Vias. Each iterator stops
//! behind its first error.

use super::address::{self, Address};
use super::cursor::Cursor;
use super::header::HeaderId;
use super::index::{Line, LinesOf};
use super::malformed::Malformed;
use super::message::Message;
use super::via::{self, Via, ViaSpans};

/// Walks the values of a list header.
#[derive(Clone, Debug)]
pub(super) struct Values<'m> {
    bytes: &'m [u8],
    lines: LinesOf<'m>,
    cursor: Option<Cursor<'m>>,
    reason: &'static str,
}

impl<'m> Values<'m> {
    #[inline]
    pub(super) fn new(message: &Message<'m>, id: HeaderId, reason: &'static str) -> Self {
        Values { bytes: message.bytes, lines: message.index.lines_of(id), cursor: None, reason }
    }

    /// Whether there is certainly no value any more.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.cursor.is_none() && self.lines.is_empty()
    }

    /// Hands the next line to `take`, where one begins here, and passes over it if something is taken.
    #[inline(always)]
    pub(super) fn next_line<T>(&mut self, take: impl FnOnce(&Line) -> Option<T>) -> Option<T> {
        if self.cursor.is_some() {
            return None;
        }
        let mut lines = self.lines;
        let taken = take(lines.next()?)?;
        self.lines = lines;
        Some(taken)
    }

    /// Hands the place of the next value to `take`, and checks that a comma or the line's end follows.
    #[inline]
    pub(super) fn next_with<T>(
        &mut self,
        take: impl FnOnce(&mut Cursor<'m>) -> Result<T, Malformed>,
    ) -> Option<Result<T, Malformed>> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => Cursor::new(self.bytes, self.lines.next()?.value(self.bytes), self.reason),
        };
        let result = take(&mut cursor).and_then(|value| {
            if cursor.separator(b',') {
                self.cursor = Some(cursor);
            } else if !cursor.is_done() {
                return Err(cursor.fail());
            }
            Ok(value)
        });
        if result.is_err() {
            self.lines = LinesOf::default();
            self.cursor = None;
        }
        Some(result)
    }

    /// Passes over lines without a value, where the grammar allows the whole list to be empty.
    #[inline]
    fn skip_empty_lines(&mut self) {
        while self.cursor.is_none() {
            let Some(line) = self.lines.next() else { return };
            let value = line.value(self.bytes);
            if !value.is_empty() {
                self.cursor = Some(Cursor::new(self.bytes, value, self.reason));
            }
        }
    }
}

/// Option tags, RFC 3261 19.2.
#[derive(Clone, Debug)]
pub struct OptionTags<'m> {
    values: Values<'m>,
}

impl<'m> OptionTags<'m> {
    #[inline]
    pub(super) fn new(message: &Message<'m>, id: HeaderId) -> Self {
        OptionTags { values: Values::new(message, id, "Bad Option Tag") }
    }
}

impl<'m> Iterator for OptionTags<'m> {
    type Item = Result<&'m [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.values.bytes;
        // RFC 3261 25.1: Supported may be empty. An empty Require asks for nothing.
        self.values.skip_empty_lines();
        self.values.next_with(|cursor| cursor.token().map(|tag| tag.of(bytes)))
    }
}

/// Addresses in brackets: Route, Record-Route, Path.
#[derive(Clone, Debug)]
pub struct Addresses<'m> {
    values: Values<'m>,
}

impl<'m> Addresses<'m> {
    #[inline]
    pub(super) fn new(message: &Message<'m>, id: HeaderId) -> Self {
        Addresses { values: Values::new(message, id, "Bad Route") }
    }
}

impl<'m> Iterator for Addresses<'m> {
    type Item = Result<Address<'m>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.values.bytes;
        self.values.next_with(|cursor| {
            let spans = address::take(cursor, |_, _| Ok(()))?;
            // RFC 3261 25.1: route-param = name-addr, so brackets are a must.
            if spans.bracketed { Ok(spans.of(bytes)) } else { Err(cursor.fail()) }
        })
    }
}

/// Via values, topmost first.
#[derive(Clone, Debug)]
pub struct Vias<'m> {
    values: Values<'m>,
}

impl<'m> Vias<'m> {
    #[inline]
    pub(super) fn new(message: &Message<'m>) -> Self {
        Vias { values: Values::new(message, HeaderId::Via, "Bad Via") }
    }
}

impl<'m> Iterator for Vias<'m> {
    type Item = Result<Via<'m>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.values.bytes;
        self.values.next_with(|cursor| {
            let mut spans = ViaSpans::default();
            via::take(cursor, &mut spans)?;
            Ok(spans.of(bytes))
        })
    }
}
