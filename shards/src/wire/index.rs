//! Where the lines of a message are: one entry a header line, filled from top to bottom, first by the peek and then by
//! the parser from where the peek stopped. It holds offsets, never bytes, and allocates only when it is made.

use super::cursor::Span;
use super::essentials::Essentials;
use super::header::{self, HeaderId};
use super::malformed::Malformed;
use super::scan;
use super::start::Start;
use alloc::boxed::Box;
use alloc::vec;

const NONE: u16 = u16::MAX;

/// Scratch for reading one message at a time.
#[derive(Debug)]
pub struct Index {
    /// As many as a message may have; those up to `lines_used` are of this one.
    lines: Box<[Line]>,
    lines_used: usize,
    /// Index of the first line of each known header, or [`NONE`].
    first: [u16; HeaderId::COUNT],
    /// A bit for each known header with more than one line.
    repeated: u32,
    length: usize,
    /// Where the next line starts.
    next: usize,
    ends: LineEnds,
    /// Where the body starts, once the empty line was found.
    body: Option<u16>,
    is_done: bool,
    failure: Option<Malformed>,
    pub(super) start: Option<Start>,
    pub(super) essentials: Essentials,
}

/// One header line, folded or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) start: u16,
    /// The value without white space around it.
    pub(super) value: Span,
    /// Behind the line's CRLF.
    pub(super) end: u16,
    pub(super) id: HeaderId,
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
            lines: vec![Line::default(); header_lines_max].into_boxed_slice(),
            lines_used: 0,
            first: [NONE; HeaderId::COUNT],
            repeated: 0,
            length: 0,
            next: 0,
            ends: LineEnds::default(),
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
        self.lines_used = 0;
        self.first = [NONE; HeaderId::COUNT];
        self.repeated = 0;
        self.length = bytes.len();
        self.next = 0;
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
            self.ends = LineEnds::new(bytes);
        }
    }

    /// The end of the first line, without its CRLF.
    #[inline]
    pub(super) fn start_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.ends.line_end(bytes, 0) {
            LineEnd::At { end, .. } => {
                self.next = end + 2;
                Some(end)
            }
            LineEnd::Bare(_) | LineEnd::Missing => {
                self.is_done = true;
                None
            }
        }
    }

    /// Reads lines and what is essential in them, up to the first of `wanted` or else all; whether it was met. Defects are
    /// noted, and reading goes on behind them, so that a response finds what it has to copy.
    pub(super) fn read_to(&mut self, bytes: &[u8], wanted: Option<HeaderId>) -> bool {
        if self.is_done {
            return false;
        }
        // The state of the scan stays in registers from line to line.
        let wanted = wanted.map_or(u8::MAX, |id| id as u8);
        let Index { lines, first, essentials, failure, .. } = self;
        let mut repeated = self.repeated;
        let mut ends = self.ends;
        let mut start = self.next;
        let mut used = self.lines_used;
        let is_met = loop {
            let (end, last) = match ends.line_end(bytes, start) {
                LineEnd::At { end, last } => (end, last),
                LineEnd::Bare(at) => {
                    note(failure, Malformed::bad("Bare CR Or LF", at));
                    // The line gets no entry: it is never read and never copied into a response.
                    let Some(end) = ends.line_end_past_bare(bytes, start) else { break false };
                    start = end + 2;
                    continue;
                }
                LineEnd::Missing => {
                    note(failure, Malformed::bad("Missing Empty Line", bytes.len()));
                    break false;
                }
            };
            if end == start {
                self.body = Some(Span::new(0, end + 2).end);
                break false;
            }
            let Some(entry) = lines.get_mut(used) else {
                note(failure, Malformed::bad("Too Many Header Lines", start));
                break false;
            };
            let Some((id, colon)) = header::read(bytes, start, end) else {
                note(failure, Malformed::bad("Bad Header Line", start));
                start = end + 2;
                continue;
            };
            let value = trimmed(bytes, colon, end, last);
            let raw = Span::new(start, end + 2);
            *entry = Line { start: raw.start, value, end: raw.end, id };
            start = end + 2;
            if let Some(first) = first.get_mut(id as usize) {
                if *first != NONE {
                    repeated |= 1 << id as u32;
                    if id.is_single() {
                        // RFC 4475 3.3.8: nobody can tell which of the two is meant.
                        note(failure, Malformed::bad("Repeated Header", usize::from(raw.start)));
                    }
                } else {
                    *first = Span::new(used, used).start;
                    if id.is_essential()
                        && let Err(malformed) = essentials.read(id, bytes, value)
                    {
                        note(failure, malformed);
                    }
                }
            }
            used += 1;
            if id as u8 == wanted {
                break true;
            }
        };
        self.is_done = !is_met;
        self.repeated = repeated;
        self.ends = ends;
        self.next = start;
        self.lines_used = used;
        is_met
    }

    /// Notes a defect; the first one counts.
    pub(super) fn note(&mut self, malformed: Malformed) {
        note(&mut self.failure, malformed);
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
        self.lines.get(..self.lines_used).unwrap_or_default()
    }

    /// Whether a known header has more than one line.
    #[inline]
    pub(super) fn is_repeated(&self, id: HeaderId) -> bool {
        self.repeated >> id as u32 & 1 == 1
    }

    /// The first line of a known header.
    #[inline]
    pub(super) fn first_line(&self, id: HeaderId) -> Option<&Line> {
        let &first = self.first.get(id as usize)?;
        if first == NONE { None } else { self.lines.get(usize::from(first)) }
    }

    /// The lines of one header, in order.
    #[inline]
    pub(super) fn lines_of(&self, id: HeaderId) -> LinesOf<'_> {
        let first = self.first.get(id as usize).copied().unwrap_or(0);
        let lines = self.lines().get(usize::from(first)..).unwrap_or_default();
        let is_repeated = id == HeaderId::Other || self.is_repeated(id);
        LinesOf { id, lines: if is_repeated { lines } else { lines.get(..1).unwrap_or_default() } }
    }
}

#[cold]
fn note(failure: &mut Option<Malformed>, malformed: Malformed) {
    failure.get_or_insert(malformed);
}

/// Where the search for line ends has come to.
#[derive(Clone, Copy, Debug, Default)]
struct LineEnds {
    /// The breaks not taken yet among the 64 bytes from `block`: a bit for each CR and LF.
    breaks: u64,
    block: usize,
}

enum LineEnd {
    /// At a CRLF, behind the byte `last`.
    At { end: usize, last: u8 },
    /// A CR or LF alone, here.
    Bare(usize),
    /// None up to the end of the datagram.
    Missing,
}

impl LineEnds {
    #[inline]
    fn new(bytes: &[u8]) -> Self {
        LineEnds { breaks: scan::breaks(bytes, 0), block: 0 }
    }

    /// The CRLF that ends the line from `start` and does not fold it.
    #[inline(always)]
    fn line_end(&mut self, bytes: &[u8], start: usize) -> LineEnd {
        loop {
            while self.breaks == 0 {
                self.block += 64;
                if self.block >= bytes.len() {
                    return LineEnd::Missing;
                }
                self.breaks = scan::breaks(bytes, self.block);
            }
            let at = self.block + self.breaks.trailing_zeros() as usize;
            self.breaks &= self.breaks - 1;
            // RFC 3261 7: only CRLF ends a line. Who takes a bare CR or LF for one reads another message than its
            // neighbour does.
            let around = scan::half_word(bytes, at.wrapping_sub(1));
            let [last, cr, lf, behind] = around.to_le_bytes();
            if cr != b'\r' || lf != b'\n' {
                return LineEnd::Bare(at);
            }
            if self.breaks == 0 {
                // The LF is the first byte of the next block.
                self.block += 64;
                self.breaks = scan::breaks(bytes, self.block);
            }
            self.breaks &= self.breaks.wrapping_sub(1);
            let is_fold = behind <= b' ' && (behind == b' ' || behind == b'\t');
            if !is_fold || at == start {
                return LineEnd::At { end: at, last };
            }
        }
    }

    /// The end of a line that holds a bare CR or LF.
    #[cold]
    fn line_end_past_bare(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        loop {
            match self.line_end(bytes, start) {
                LineEnd::At { end, .. } => return Some(end),
                LineEnd::Bare(_) => {}
                LineEnd::Missing => return None,
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

/// The value between a colon and the line's end, before which stands `last`, without the white space and folds around it.
#[inline(always)]
fn trimmed(bytes: &[u8], colon: usize, end: usize, last: u8) -> Span {
    // The common form: one space, no white space behind the value. Visible bytes before the line's end are the value's.
    let [_, space, first, _] = scan::half_word(bytes, colon).to_le_bytes();
    if space == b' ' && first > b' ' && last > b' ' {
        return Span::new(colon + 2, end);
    }
    trimmed_slowly(bytes, colon + 1, end)
}

fn trimmed_slowly(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    let is_white = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while start < end && is_white(bytes[start]) {
        start += 1;
    }
    while start < end && is_white(bytes[end - 1]) {
        end -= 1;
    }
    Span::new(start, end)
}
