//! Changes to a received message: what is taken out of it and put into it while all else is copied byte for byte. It knows
//! offsets and no grammar, and allocates only when it is made.

use super::response;
use super::{Header, HeaderId, Message};
use crate::io::Reply;
use alloc::boxed::Box;
use alloc::vec;
use core::net::SocketAddr;
use core::ops::Range;

/// How many edits one message may get.
const EDITS_MAX: usize = 32;
/// How many bytes may be put into one message.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Scratch for the edits of one message at a time.
#[derive(Debug)]
pub struct Edits {
    /// By where they begin; those that begin at the same place in the order they were given.
    edits: [Edit; EDITS_MAX],
    used: usize,
    text: Box<[u8]>,
    text_used: usize,
    overflowed: bool,
}

/// Takes edits of one message.
pub trait Editor {
    /// Takes a range out and puts `parts`, one behind the other, where it began.
    fn replace(&mut self, range: Range<usize>, parts: &[&[u8]]);

    /// Takes a range out and puts the first `length` bytes of a block where it began.
    #[inline]
    fn replace_by_front<const N: usize>(
        &mut self,
        range: Range<usize>,
        block: &[u8; N],
        length: usize,
    ) {
        self.replace(range, &[block.get(..length).unwrap_or_default()]);
    }

    /// Takes a range out.
    #[inline]
    fn remove(&mut self, range: Range<usize>) {
        self.replace(range, &[]);
    }

    /// Puts `parts` before the byte at `at`.
    #[inline]
    fn insert(&mut self, at: usize, parts: &[&[u8]]) {
        self.replace(at..at, parts);
    }
}

impl Editor for Edits {
    #[inline]
    fn replace(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        Edits::replace(self, range, parts);
    }
}

/// Edits that are written as they are given, without scratch, as long as each begins where the one before has ended or behind.
#[derive(Debug)]
pub struct Straight<'b, 'r, 'o> {
    bytes: &'b [u8],
    reply: &'r mut Reply<'o>,
    /// Where copying goes on.
    at: usize,
    is_in_order: bool,
}

impl Editor for Straight<'_, '_, '_> {
    #[inline]
    fn replace(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        self.copy_to(range.start);
        for part in parts {
            self.reply.put(part);
        }
        self.at = self.at.max(range.end);
    }

    #[inline]
    fn replace_by_front<const N: usize>(
        &mut self,
        range: Range<usize>,
        block: &[u8; N],
        length: usize,
    ) {
        self.copy_to(range.start);
        self.reply.put_front(block, length);
        self.at = self.at.max(range.end);
    }
}

impl<'b, 'r, 'o> Straight<'b, 'r, 'o> {
    /// Begins to write `bytes` with edits behind what is in `reply`.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'b [u8], reply: &'r mut Reply<'o>) -> Self {
        Straight { bytes, reply, at: 0, is_in_order: true }
    }

    /// Writes on to `end` of the message and ends; false where an edit was not in order, and what was written is worth nothing.
    #[must_use]
    #[inline]
    pub fn finish(mut self, end: usize) -> bool {
        self.copy_to(end);
        self.is_in_order
    }

    #[inline]
    fn copy_to(&mut self, end: usize) {
        match end.checked_sub(self.at) {
            Some(0) => {}
            Some(length) if end <= self.bytes.len() => {
                self.reply.put_start(self.bytes.get(self.at..).unwrap_or_default(), length);
            }
            Some(_) | None => self.is_in_order = false,
        }
        self.at = end;
    }
}

/// A range of the message that goes, and a range of the text that comes in its place.
#[derive(Clone, Copy, Debug, Default)]
struct Edit {
    start: u32,
    end: u32,
    text: u16,
    text_end: u16,
}

impl Default for Edits {
    fn default() -> Self {
        Edits::new()
    }
}

impl Edits {
    /// Scratch for 32 edits that put in 8 KiB together.
    #[must_use]
    pub fn new() -> Self {
        Edits {
            edits: [Edit::default(); EDITS_MAX],
            used: 0,
            text: vec![0; TEXT_BYTES_MAX].into_boxed_slice(),
            text_used: 0,
            overflowed: false,
        }
    }

    /// Forgets the edits of the message before.
    #[inline]
    pub fn begin(&mut self) {
        self.used = 0;
        self.text_used = 0;
        self.overflowed = false;
    }

    /// Takes a range out. Ranges may overlap.
    #[inline]
    pub fn remove(&mut self, range: Range<usize>) {
        self.replace(range, &[]);
    }

    /// Puts `parts`, one behind the other, before the byte at `at`, also where that byte goes.
    #[inline]
    pub fn insert(&mut self, at: usize, parts: &[&[u8]]) {
        self.replace(at..at, parts);
    }

    /// Takes a range out and puts `parts` where it began.
    #[inline]
    pub fn replace(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        let start = self.text_used;
        for part in parts {
            match self.text.get_mut(self.text_used..self.text_used + part.len()) {
                Some(place) => {
                    place.copy_from_slice(part);
                    self.text_used += part.len();
                }
                None => self.overflowed = true,
            }
        }
        self.add(range, start);
    }

    /// The edit of a range for which the text from `text` on was put.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the text has 8 KiB")]
    fn add(&mut self, range: Range<usize>, text: usize) {
        let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            self.overflowed = true;
            return;
        };
        let edit = Edit { start, end, text: text as u16, text_end: self.text_used as u16 };
        let mut place = self.used;
        if place >= EDITS_MAX {
            self.overflowed = true;
            return;
        }
        // Nearly all come in order.
        while place > 0 && self.edits[place - 1].start > start {
            self.edits[place] = self.edits[place - 1];
            place -= 1;
        }
        self.edits[place] = edit;
        self.used += 1;
    }

    /// Appends `bytes` as edited; false where there were too many edits or too much text, or where it does not fit. Beyond the
    /// end of `bytes` nothing can be taken out, and what is put there comes behind them.
    #[must_use]
    pub fn write(&mut self, bytes: &[u8], reply: &mut Reply<'_>) -> bool {
        if self.overflowed {
            return false;
        }
        let mut at = 0;
        for edit in self.edits.get(..self.used).unwrap_or_default() {
            let start = (edit.start as usize).min(bytes.len());
            if at < start {
                reply.put(&bytes[at..start]);
                at = start;
            }
            if edit.text < edit.text_end {
                reply.put(&self.text[usize::from(edit.text)..usize::from(edit.text_end)]);
            }
            at = at.max((edit.end as usize).min(bytes.len()));
        }
        reply.put(&bytes[at..]);
        reply.fits()
    }
}

/// Where things stand in a message, for edits.
impl<'m> Message<'m> {
    /// Where a part of this message stands that one of its methods gave; an empty range at its end for what is no part of it.
    #[must_use]
    #[inline]
    pub fn range_of(&self, part: &[u8]) -> Range<usize> {
        let length = self.bytes.len();
        let start = part.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        match start.checked_add(part.len()) {
            Some(end) if end <= length => start..end,
            Some(_) | None => length..length,
        }
    }

    /// Where the message ends. What the datagram holds behind is no part of it, RFC 3261 18.3.
    #[must_use]
    #[inline]
    pub fn end(&self) -> usize {
        self.headers_end() + self.body().len()
    }

    /// Where the body starts: behind the empty line.
    #[must_use]
    #[inline]
    pub fn headers_end(&self) -> usize {
        self.index.body_start().unwrap_or(self.bytes.len())
    }

    /// Where the first line ends, behind its CRLF.
    #[must_use]
    #[inline]
    pub fn start_line_end(&self) -> usize {
        self.index.lines().first().map_or(self.bytes.len(), |line| usize::from(line.start()))
    }

    /// The lines of a known header, in order.
    #[inline]
    pub fn lines(&self, id: HeaderId) -> impl Iterator<Item = Header<'m>> + use<'m> {
        let bytes = self.bytes;
        self.index.lines_of(id).map(move |line| Header::new(bytes, line))
    }

    /// The first line of a known header.
    #[must_use]
    #[inline]
    pub fn first_line(&self, id: HeaderId) -> Option<Header<'m>> {
        self.index.first_line(id).map(|line| Header::new(self.bytes, line))
    }

    /// Where the first line of a known header begins.
    #[must_use]
    #[inline]
    pub fn first_line_start(&self, id: HeaderId) -> Option<usize> {
        self.index.first_line(id).map(|line| usize::from(line.start()))
    }

    /// Where the first line of a known header stands, with its CRLF.
    #[must_use]
    #[inline]
    pub fn first_line_range(&self, id: HeaderId) -> Option<Range<usize>> {
        self.index.first_line(id).map(|line| usize::from(line.start())..usize::from(line.end()))
    }

    /// Where the value of the first line of a known header stands, white space around it left out.
    #[must_use]
    #[inline]
    pub fn first_value_range(&self, id: HeaderId) -> Option<Range<usize>> {
        let value = self.index.first_line(id)?.value(self.bytes);
        Some(usize::from(value.start)..usize::from(value.end))
    }

    /// Whether a known header has more than one line.
    #[must_use]
    #[inline]
    pub fn is_repeated(&self, id: HeaderId) -> bool {
        self.index.is_repeated(id)
    }

    /// Where the last line of a known header ends, behind its CRLF.
    #[must_use]
    #[inline]
    pub fn last_line_end(&self, id: HeaderId) -> Option<usize> {
        let line = if self.index.is_repeated(id) {
            self.index.lines_of(id).last()
        } else {
            self.index.first_line(id)
        };
        line.map(|line| usize::from(line.end()))
    }

    /// Completes the topmost Via with what the packet's source tells, as in a response: RFC 3261 18.2.1, RFC 3581 4. The edits
    /// are in order.
    #[inline]
    pub fn complete_via(&self, source: SocketAddr, editor: &mut impl Editor) {
        let via = &self.index.essentials.via;
        let end = usize::from(via.raw.end);
        let (text, length) = response::seen_from(via, self.bytes, &source);
        let (first, second) = match (via.received_param, via.rport_param) {
            (Some(received), Some(rport)) if rport.start < received.start => {
                (Some(rport), Some(received))
            }
            (None, rport) => (None, rport),
            both => both,
        };
        for claimed in [first, second].into_iter().flatten() {
            let claimed = usize::from(claimed.start)..usize::from(claimed.end);
            if claimed.end == end {
                // Nothing stands behind it: what is right comes in its place.
                return editor.replace_by_front(claimed, &text, length);
            }
            editor.remove(claimed);
        }
        editor.replace_by_front(end..end, &text, length);
    }
}

impl Header<'_> {
    /// Where the whole line stands in the message, with its CRLF.
    #[must_use]
    #[inline]
    pub fn range(&self) -> Range<usize> {
        let start = usize::from(self.offset);
        start..start + self.raw.len()
    }

    /// Where the value stands in the message.
    #[must_use]
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        let start = usize::from(self.value_offset);
        start..start + self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Outbox;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn written(edits: &mut Edits, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut outbox = Outbox::new(1, 0);
        let mut reply = outbox.reply();
        edits.write(bytes, &mut reply).then(|| reply.written().to_vec())
    }

    /// Byte by byte: what is put before it, then itself unless it goes.
    fn oracle(bytes: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
        let mut written = Vec::new();
        let last = edits.iter().map(|(range, _)| range.start).max().unwrap_or(0);
        for at in 0..=bytes.len().max(last) {
            for (range, text) in edits {
                if range.start == at {
                    written.extend_from_slice(text);
                }
            }
            if at < bytes.len() && edits.iter().all(|(range, _)| !range.contains(&at)) {
                written.push(bytes[at]);
            }
        }
        written
    }

    #[test]
    fn each_kind_of_edit() {
        let mut edits = Edits::new();
        assert_eq!(written(&mut edits, b"unchanged").unwrap(), b"unchanged");
        edits.replace(10..13, &[b"6"]);
        edits.insert(0, &[b"<", b"<"]);
        edits.insert(13, &[b">"]);
        edits.insert(13, &[b"!"]);
        edits.remove(3..5);
        edits.remove(4..6);
        assert_eq!(written(&mut edits, b"0123456789abc").unwrap(), b"<<01267896>!");
        edits.begin();
        assert_eq!(written(&mut edits, b"").unwrap(), b"");
        edits.replace(5..9, &[b"x"]);
        assert_eq!(written(&mut edits, b"ab").unwrap(), b"abx");
    }

    #[test]
    fn what_is_too_much_is_not_written() {
        let mut edits = Edits::new();
        for _ in 0..EDITS_MAX {
            edits.insert(1, &[b"x"]);
        }
        assert_eq!(written(&mut edits, b"ab").unwrap().len(), 2 + EDITS_MAX);
        edits.remove(0..1);
        assert_eq!(written(&mut edits, b"ab"), None);
        edits.begin();
        edits.insert(0, &[&[b'x'; TEXT_BYTES_MAX - 1], b"y"]);
        assert_eq!(written(&mut edits, b"ab").unwrap().len(), 2 + TEXT_BYTES_MAX);
        edits.insert(0, &[b"z"]);
        assert_eq!(written(&mut edits, b"ab"), None);
        edits.begin();
        edits.remove(usize::MAX - 1..usize::MAX);
        assert_eq!(written(&mut edits, b"ab"), None);
        edits.begin();
        edits.insert(0, &[&[b'x'; 8]]);
        assert_eq!(written(&mut edits, &[b'x'; Outbox::MESSAGE_BYTES_MAX - 7]), None);
    }

    /// Where each starts, how much it takes out, what it puts in.
    fn some_edits(count: Range<usize>) -> impl Strategy<Value = Vec<(usize, usize, Vec<u8>)>> {
        let text = proptest::collection::vec(any::<u8>(), 0..9);
        proptest::collection::vec((0..70usize, 0..20usize, text), count)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn edits_are_as_if_made_byte_by_byte(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            edits in prop_oneof![some_edits(0..5), some_edits(0..EDITS_MAX)],
        ) {
            let edits: Vec<_> = edits.into_iter().map(|(start, length, text)| (start..start + length, text)).collect();
            let mut scratch = Edits::new();
            for round in 0..2 {
                scratch.begin();
                for (range, text) in &edits {
                    let (front, back) = text.split_at(text.len() / 2);
                    match (range.is_empty(), text.is_empty()) {
                        (true, _) => scratch.insert(range.start, &[front, back]),
                        (false, true) => scratch.remove(range.clone()),
                        (false, false) => scratch.replace(range.clone(), &[front, &[], back]),
                    }
                }
                prop_assert_eq!(written(&mut scratch, &bytes).unwrap(), oracle(&bytes, &edits), "round {}", round);
            }
            let mut in_order = edits.clone();
            in_order.sort_by_key(|(range, _)| range.start);
            for edits in [&edits, &in_order] {
                let mut outbox = Outbox::new(1, 0);
                let mut reply = outbox.reply();
                let mut straight = Straight::new(&bytes, &mut reply);
                let mut at = 0;
                let mut is_in_order = true;
                for (range, text) in edits {
                    straight.replace(range.clone(), &[text]);
                    is_in_order &= at <= range.start;
                    at = range.end;
                }
                is_in_order &= at <= bytes.len();
                prop_assert_eq!(straight.finish(bytes.len()), is_in_order);
                if is_in_order {
                    prop_assert_eq!(reply.written(), oracle(&bytes, edits));
                }
            }
        }
    }
}
