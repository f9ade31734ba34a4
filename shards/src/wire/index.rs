//! Where the lines of a message are: one entry a header line, filled from top to bottom, first by the peek and then by
//! the parser from where the peek stopped. It holds offsets, never bytes, and allocates only when it is made.

use super::cursor::Span;
use super::essentials::Essentials;
use super::header::{self, HeaderId};
use super::malformed::Malformed;
use super::scan;
use super::start::Start;
use alloc::vec::Vec;

const NONE: u16 = u16::MAX;

/// Scratch for reading one message at a time.
#[derive(Debug)]
pub struct Index {
    lines: Vec<Line>,
    lines_max: usize,
    /// Index of the first line of each known header, or [`NONE`].
    first: [u16; HeaderId::COUNT],
    /// A bit for each known header with more than one line.
    repeated: u32,
    length: usize,
    /// Where the next line starts.
    next: usize,
    /// Up to where line ends were looked for; those before are taken.
    looked: usize,
    /// The line ends not taken yet among the 64 bytes from `block`.
    breaks: u64,
    block: usize,
    /// Where the body starts, once the empty line was found.
    body: Option<u16>,
    is_done: bool,
    failure: Option<Malformed>,
    pub(super) start: Option<Start>,
    pub(super) essentials: Essentials,
}

/// One header line, folded or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) start: u16,
    /// The value without white space around it.
    pub(super) value: Span,
    /// Behind the line's CRLF.
    pub(super) end: u16,
    pub(super) id: HeaderId,
}

enum LineEnd {
    /// At this CRLF.
    At(usize),
    /// A CR or LF alone.
    Bare(usize),
    /// None up to the end of the datagram.
    Missing,
}

impl Index {
    /// The largest message whose offsets fit.
    pub const MESSAGE_BYTES_MAX: usize = 65_535;

    /// Scratch for messages of up to `header_lines_max` header lines; longer ones are malformed.
    ///
    /// # Panics
    /// Where `header_lines_max` is not below 65,535.
    #[must_use]
    pub fn new(header_lines_max: usize) -> Self {
        assert!(header_lines_max < usize::from(NONE), "lines are counted in 16 bits");
        Index {
            lines: Vec::with_capacity(header_lines_max),
            lines_max: header_lines_max,
            first: [NONE; HeaderId::COUNT],
            repeated: 0,
            length: 0,
            next: 0,
            looked: 0,
            breaks: 0,
            block: 0,
            body: None,
            is_done: true,
            failure: None,
            start: None,
            essentials: Essentials::default(),
        }
    }

    /// Whether the message that was peeked at is a request; false for responses and for what is not SIP.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, Some(Start::Request { .. }))
    }

    /// Whether the message that was peeked at is an ACK, well-formed or not.
    #[must_use]
    pub fn is_ack(&self, bytes: &[u8]) -> bool {
        matches!(self.start, Some(Start::Request { method, .. }) if method.of(bytes) == b"ACK")
    }

    /// The Call-ID of the message that was peeked at; empty where it was not reached or is malformed.
    #[must_use]
    pub fn call_id<'m>(&self, bytes: &'m [u8]) -> &'m [u8] {
        self.essentials.call_id.of(bytes)
    }

    /// The first defect that was found.
    #[must_use]
    pub fn failure(&self) -> Option<Malformed> {
        self.failure
    }

    /// Forgets the message before.
    #[inline]
    pub(super) fn reset(&mut self, bytes: &[u8]) {
        self.lines.clear();
        self.first = [NONE; HeaderId::COUNT];
        self.repeated = 0;
        self.length = bytes.len();
        self.next = 0;
        self.looked = 0;
        self.breaks = 0;
        self.block = 0;
        self.body = None;
        self.is_done = false;
        self.failure = None;
        self.start = None;
        self.essentials = Essentials::default();
        if bytes.len() > Self::MESSAGE_BYTES_MAX {
            self.is_done = true;
            self.note(Malformed {
                status: 513,
                ..Malformed::bad("Message Too Large", Self::MESSAGE_BYTES_MAX)
            });
        } else {
            self.breaks = scan::breaks(bytes, 0);
        }
    }

    /// The end of the first line, without its CRLF.
    #[inline]
    pub(super) fn start_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.line_end(bytes) {
            LineEnd::At(end) => {
                self.next = end + 2;
                Some(end)
            }
            LineEnd::Bare(_) | LineEnd::Missing => {
                self.is_done = true;
                None
            }
        }
    }

    /// Reads the next line and what is essential in it. `None` at the end of the headers. Defects are noted, and reading
    /// goes on behind them, so that a response finds what it has to copy.
    #[inline]
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<HeaderId> {
        let line = self.line(bytes)?;
        let id = line.id;
        if id == HeaderId::Other {
            self.push(line);
            return Some(id);
        }
        let slot = &mut self.first[id as usize];
        if *slot == NONE {
            #[allow(clippy::cast_possible_truncation, reason = "lines_max is below 65,535")]
            let number = self.lines.len() as u16;
            *slot = number;
            if let Err(malformed) = self.essentials.read(id, bytes, line.value) {
                self.note(malformed);
            }
        } else {
            self.repeated |= 1 << id as u32;
            if id.is_single() {
                // RFC 4475 3.3.8: nobody can tell which of the two is meant.
                self.note(Malformed::bad("Repeated Header", usize::from(line.start)));
            }
        }
        self.push(line);
        Some(id)
    }

    /// Notes a defect; the first one counts.
    #[cold]
    pub(super) fn note(&mut self, malformed: Malformed) {
        self.failure.get_or_insert(malformed);
    }

    /// Whether it was filled from a message of this length: the caller's mistake otherwise.
    #[inline]
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        self.length == bytes.len()
    }

    /// Where the body starts, once all headers were read.
    #[inline]
    pub(super) fn body_start(&self) -> Option<usize> {
        self.body.map(usize::from)
    }

    /// All lines so far.
    #[inline]
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of one header, in order.
    #[inline]
    pub(super) fn lines_of(&self, id: HeaderId) -> LinesOf<'_> {
        let first = self.first.get(id as usize).copied().unwrap_or(0);
        let lines = self.lines.get(usize::from(first)..).unwrap_or_default();
        let is_repeated = id == HeaderId::Other || self.repeated >> id as u32 & 1 == 1;
        LinesOf { id, lines: if is_repeated { lines } else { lines.get(..1).unwrap_or_default() } }
    }

    #[inline]
    fn push(&mut self, line: Line) {
        // The capacity was reserved for lines_max lines, and line() stops there.
        self.lines.push(line);
    }

    /// The next line that has a name and a colon.
    #[inline]
    fn line(&mut self, bytes: &[u8]) -> Option<Line> {
        loop {
            if self.is_done {
                return None;
            }
            let start = self.next;
            let end = match self.line_end(bytes) {
                LineEnd::At(end) => end,
                LineEnd::Bare(at) => {
                    self.skip_broken_line(bytes, at);
                    continue;
                }
                LineEnd::Missing => {
                    self.is_done = true;
                    self.note(Malformed::bad("Missing Empty Line", self.length));
                    return None;
                }
            };
            self.next = end + 2;
            if end == start {
                self.is_done = true;
                self.body = u16::try_from(self.next).ok();
                return None;
            }
            if self.lines.len() == self.lines_max {
                self.is_done = true;
                self.note(Malformed::bad("Too Many Header Lines", start));
                return None;
            }
            let Some((id, colon)) = header::read(bytes, start, end) else {
                self.note(Malformed::bad("Bad Header Line", start));
                continue;
            };
            return Some(Line {
                start: Span::new(start, end).start,
                value: trimmed(bytes, colon + 1, end),
                end: Span::new(start, end + 2).end,
                id,
            });
        }
    }

    /// The CRLF that ends the line at `next` and does not fold it.
    #[inline]
    fn line_end(&mut self, bytes: &[u8]) -> LineEnd {
        loop {
            let Some(at) = self.next_break(bytes) else { return LineEnd::Missing };
            // RFC 3261 7: only CRLF ends a line. Who takes a bare CR or LF for one reads another message than its
            // neighbour does.
            if bytes[at] != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
                self.looked = at + 1;
                return LineEnd::Bare(at);
            }
            self.looked = at + 2;
            let is_folded = matches!(bytes.get(at + 2), Some(b' ' | b'\t'));
            if !is_folded || at == self.next {
                return LineEnd::At(at);
            }
        }
    }

    /// The next CR or LF that is not taken yet.
    #[inline]
    fn next_break(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            while self.breaks == 0 {
                self.block += 64;
                if self.block >= bytes.len() {
                    return None;
                }
                self.breaks = scan::breaks(bytes, self.block);
            }
            let at = self.block + self.breaks.trailing_zeros() as usize;
            self.breaks &= self.breaks - 1;
            if at >= self.looked {
                return Some(at);
            }
        }
    }

    /// A line with a bare CR or LF gets no entry: it is never read and never copied into a response.
    #[cold]
    fn skip_broken_line(&mut self, bytes: &[u8], bare: usize) {
        self.note(Malformed::bad("Bare CR Or LF", bare));
        loop {
            match self.line_end(bytes) {
                LineEnd::At(end) => {
                    self.next = end + 2;
                    return;
                }
                LineEnd::Bare(_) => {}
                LineEnd::Missing => {
                    self.is_done = true;
                    return;
                }
            }
        }
    }
}

/// The lines of one header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinesOf<'m> {
    id: HeaderId,
    lines: &'m [Line],
}

impl<'m> Iterator for LinesOf<'m> {
    type Item = &'m Line;

    #[inline]
    fn next(&mut self) -> Option<&'m Line> {
        loop {
            let (line, rest) = self.lines.split_first()?;
            self.lines = rest;
            if line.id == self.id {
                return Some(line);
            }
        }
    }
}

/// The value between a colon and the line's end, without the white space and folds around it.
#[inline]
fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    // The common form: one space, no white space behind the value.
    if start + 1 < end && bytes[start] == b' ' && bytes[start + 1] > b' ' && bytes[end - 1] > b' ' {
        return Span::new(start + 1, end);
    }
    let is_white = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while start < end && is_white(bytes[start]) {
        start += 1;
    }
    while start < end && is_white(bytes[end - 1]) {
        end -= 1;
    }
    Span::new(start, end)
}
