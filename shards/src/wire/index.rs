//! Where the lines of a message are: one entry a header line, filled from top to bottom, first by the peek and then by
//! the parser from where the peek stopped. What it says is offsets into the received bytes; it allocates only when it is made.

use super::cursor::Span;
use super::essentials::Essentials;
use super::header::{self, HeaderId, Named};
use super::malformed::Malformed;
use super::padded::Padded;
use super::start::Start;
use alloc::boxed::Box;
use alloc::vec;

/// As many as headers have numbers, rounded up so that a number of some bits needs no check.
const FIRST_LINES: usize = 32;
const _: () = assert!(HeaderId::COUNT < FIRST_LINES);

/// Scratch for reading one message at a time.
#[derive(Debug)]
pub struct Index {
    /// As many as a message may have; those up to `lines_used` are of this one.
    lines: Box<[Line]>,
    lines_used: usize,
    /// The first line of each header that was seen.
    first: [Line; FIRST_LINES],
    /// A bit for each known header with a line, and one for each with more than one.
    seen: u32,
    repeated: u32,
    pub(super) text: Padded,
    /// Where the next line starts.
    next: usize,
    ends: LineEnds,
    /// Where the body starts, once the empty line was found.
    body: Option<u16>,
    is_done: bool,
    /// The header that was read of a message whose lines are all known and none of them folded.
    found: Option<HeaderId>,
    failure: Option<Malformed>,
    pub(super) start: Option<Start>,
    pub(super) essentials: Essentials,
}

/// One header line, folded or not: where it starts, how far behind its colon is, where what follows its CRLF starts, 16 bits each, and
/// the number of its header. They are one word, which is written and read at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(u64);

#[allow(clippy::cast_possible_truncation, reason = "16 bits are wanted")]
impl Line {
    /// A line within a message of at most 65,535 bytes; `end` is where what follows it starts.
    #[inline(always)]
    fn new(named: Named, start: usize, end: usize) -> Self {
        Line(named.0 | start as u64 | (end as u64) << 32)
    }

    #[inline(always)]
    pub(super) fn start(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    pub(super) fn colon(self) -> u16 {
        self.start().wrapping_add((self.0 >> Named::LENGTH_SHIFT) as u16)
    }

    /// Behind the line's CRLF.
    #[inline(always)]
    pub(super) fn end(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    fn number(self) -> u8 {
        (self.0 >> Named::ID_SHIFT) as u8
    }

    #[inline]
    pub(super) fn id(self) -> HeaderId {
        HeaderId::numbered(self.number())
    }

    #[inline(always)]
    fn is_of(self, id: HeaderId) -> bool {
        self.number() == id as u8
    }

    /// Where the value starts and ends in its common form, behind one space.
    #[inline(always)]
    pub(super) fn common_value(self) -> (usize, usize) {
        (usize::from(self.colon()) + 2, usize::from(self.end()) - 2)
    }

    /// The value without the white space and folds around it.
    #[inline]
    pub(super) fn value(self, bytes: &[u8]) -> Span {
        let (mut start, mut end) = (usize::from(self.colon()) + 1, usize::from(self.end()) - 2);
        let value = bytes.get(start..end).unwrap_or_default();
        // The common form: one space, no white space behind the value.
        if let [b' ', first, .., last] | [b' ', first @ last] = value
            && *first > b' '
            && *last > b' '
        {
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
        assert!(header_lines_max < usize::from(u16::MAX), "lines are counted in 16 bits");
        Index {
            lines: vec![Line::default(); header_lines_max].into_boxed_slice(),
            lines_used: 0,
            first: [Line::default(); FIRST_LINES],
            seen: 0,
            repeated: 0,
            text: Padded::new(),
            next: 0,
            ends: LineEnds::default(),
            body: None,
            is_done: true,
            found: None,
            failure: None,
            start: None,
            essentials: Essentials::default(),
        }
    }

    /// Bytes of memory that [`Index::new`] reserves.
    #[must_use]
    pub const fn bytes(header_lines_max: usize) -> usize {
        size_of::<Index>() + Padded::BYTES + header_lines_max * size_of::<Line>()
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

    /// Forgets the message before: there is none now.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.lines_used = 0;
        self.failure = None;
        self.start = None;
        self.is_done = true;
    }

    /// Begins a message, after [`forget`](Self::forget).
    #[inline]
    pub(super) fn reset(&mut self, bytes: &[u8]) {
        self.seen = 0;
        self.repeated = 0;
        self.next = 0;
        self.body = None;
        self.is_done = false;
        self.found = None;
        self.essentials = Essentials::default();
        self.text.fill(bytes);
        self.ends = LineEnds::new(&self.text);
        if bytes.len() > Self::MESSAGE_BYTES_MAX {
            self.is_done = true;
            self.note(Malformed {
                status: 513,
                ..Malformed::bad("Message Too Large", Self::MESSAGE_BYTES_MAX)
            });
        }
    }

    /// The end of the first line, without its CRLF.
    #[inline]
    pub(super) fn start_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.ends.line_end(&self.text, bytes, 0) {
            LineEnd::At { end, is_last } => {
                self.next = end + 2;
                if is_last {
                    self.is_done = true;
                    self.body = Some(Span::new(0, end + 4).end);
                }
                Some(end)
            }
            LineEnd::Bare(_) | LineEnd::Missing => {
                self.is_done = true;
                None
            }
        }
    }

    /// The same where another line follows.
    #[inline(always)]
    pub(super) fn usual_start_line_end(&mut self) -> Option<usize> {
        let end = self.ends.next_break(&self.text);
        self.next = end + 2;
        is_between_lines(self.text.half_word(end)).then_some(end)
    }

    /// Whether a header is there and sound, and nothing before it is malformed.
    #[inline]
    pub(super) fn finds(&mut self, bytes: &[u8], wanted: HeaderId) -> bool {
        if self.finds_at_once(bytes, wanted) {
            return true;
        }
        self.start_over();
        self.read_to(bytes, Some(wanted)) && self.failure.is_none()
    }

    /// The same where no line is folded or malformed; otherwise false, and what was read is to be forgotten.
    #[inline(always)]
    pub(super) fn finds_at_once(&mut self, bytes: &[u8], wanted: HeaderId) -> bool {
        let is_sound = self.find_lines(bytes) && self.has(wanted) && self.read_first(bytes, wanted);
        if is_sound {
            self.found = Some(wanted);
        }
        is_sound
    }

    /// Reads all that [`finds`](Self::finds) has left.
    #[inline]
    pub(super) fn read_all(&mut self, bytes: &[u8]) {
        if let Some(found) = self.found {
            if self.read_essentials(bytes, found) {
                return;
            }
            self.start_over();
        }
        self.read_to(bytes, None);
    }

    /// Finds all lines, none of them folded. Nothing but registers changes from line to line, apart from the table of lines.
    #[inline(never)]
    fn find_lines(&mut self, bytes: &[u8]) -> bool {
        if self.is_done {
            return false;
        }
        let Index { lines, first, text, .. } = self;
        let mut seen = 0_u32;
        let mut ends = self.ends;
        let mut start = self.next;
        let mut used = 0_usize;
        loop {
            let (named, end) = match header::usual(text, start) {
                Some(named) => (named, ends.next_break(text)),
                None if text.half_word(start) & 0xFFFF == CRLF => break,
                None => {
                    let end = ends.next_break(text);
                    // What begins with white space or a control has no name: that line is folded.
                    let Some(named) = unusual_name(text, bytes, start, end) else { return false };
                    (named, end)
                }
            };
            if text.half_word(end) & 0xFFFF != CRLF {
                return false;
            }
            let line = Line::new(named, start, end + 2);
            let Some(place) = lines.get_mut(used) else { return false };
            *place = line;
            first[usize::from(line.number()) % FIRST_LINES] = line;
            seen |= 1 << line.number();
            start = end + 2;
            used += 1;
        }
        self.body = Some(Span::new(start + 2, 0).start);
        self.seen = seen & HeaderId::KNOWN;
        self.lines_used = used;
        // As many lines as headers: none has two.
        used == seen.count_ones() as usize || self.find_repeated()
    }

    /// Finds which headers have more than one line, and the first line of each where the last one is noted. Vias, which are all that
    /// most responses repeat, stand on top. False where one is among them that may have only one.
    #[inline(never)]
    fn find_repeated(&mut self) -> bool {
        let (mut seen, mut repeated) = (0_u32, 0);
        for line in self.lines.iter().take(self.lines_used) {
            let bit = 1 << line.number();
            repeated |= seen & bit;
            seen |= bit;
        }
        self.repeated = repeated & HeaderId::KNOWN;
        let mut sought = self.repeated;
        for line in self.lines.iter().take(self.lines_used) {
            let bit = 1 << line.number();
            if sought & bit != 0 {
                self.first[usize::from(line.number()) % FIRST_LINES] = *line;
                sought ^= bit;
                if sought == 0 {
                    break;
                }
            }
        }
        repeated & HeaderId::SINGLE == 0
    }

    /// Reads what is essential in the lines that were found, but for the header that was read already; false where something is
    /// malformed.
    #[inline(never)]
    fn read_essentials(&mut self, bytes: &[u8], found: HeaderId) -> bool {
        (found == HeaderId::Via || self.read_first(bytes, HeaderId::Via))
            && self.read_first(bytes, HeaderId::From)
            && (found == HeaderId::To || self.read_first(bytes, HeaderId::To))
            && (found == HeaderId::CallId || self.read_first(bytes, HeaderId::CallId))
            && self.read_first(bytes, HeaderId::CSeq)
            && self.read_first(bytes, HeaderId::MaxForwards)
            && self.read_first(bytes, HeaderId::ContentLength)
    }

    /// Inlined for each header, so that nothing is asked twice.
    #[inline(always)]
    fn read_first(&mut self, bytes: &[u8], id: HeaderId) -> bool {
        if self.seen >> id as u32 & 1 == 0 {
            return true;
        }
        let line = self.first[id as usize];
        self.essentials.read_first(id, &self.text, bytes, line)
    }

    /// Forgets what was read, so that lines are read one by one and the first defect is found.
    #[cold]
    #[inline(never)]
    fn start_over(&mut self) {
        self.found = None;
        self.lines_used = 0;
        (self.seen, self.repeated) = (0, 0);
        self.essentials = Essentials::default();
        if !self.is_done {
            self.body = None;
        }
    }

    /// Reads lines and what is essential in them, up to the first of `wanted` or else all; whether it was met. Defects are
    /// noted, and reading goes on behind them, so that a response finds what it has to copy.
    #[cold]
    #[inline(never)]
    fn read_to(&mut self, bytes: &[u8], wanted: Option<HeaderId>) -> bool {
        if self.is_done {
            return false;
        }
        // The state of the scan stays in registers from line to line.
        let wanted = wanted.map_or(u8::MAX, |id| id as u8);
        let Index { lines, first, essentials, failure, text, .. } = self;
        let (mut seen, mut repeated) = (self.seen, self.repeated);
        let mut ends = self.ends;
        let mut start = self.next;
        let mut used = self.lines_used;
        let mut body = None;
        let mut is_met = false;
        while !is_met && body.is_none() {
            let (end, is_last) = match ends.line_end(text, bytes, start) {
                LineEnd::At { end, is_last } => (end, is_last),
                LineEnd::Bare(at) => {
                    note(failure, Malformed::bad("Bare CR Or LF", at));
                    // The line gets no entry: it is never read and never copied into a response.
                    match ends.line_end_past_bare(text, bytes, at) {
                        Some((end, is_last)) => {
                            start = end + 2;
                            body = is_last.then_some(start + 2);
                            continue;
                        }
                        None => break,
                    }
                }
                LineEnd::Missing => {
                    note(failure, Malformed::bad("Missing Empty Line", bytes.len()));
                    break;
                }
            };
            let line_start = start;
            start = end + 2;
            body = is_last.then_some(start + 2);
            let Some(entry) = lines.get_mut(used) else {
                note(failure, Malformed::bad("Too Many Header Lines", line_start));
                body = None;
                break;
            };
            let named = unusual_name(text, bytes, line_start, end);
            let Some(named) = named else {
                note(failure, Malformed::bad("Bad Header Line", line_start));
                continue;
            };
            let line = Line::new(named, line_start, start);
            let id = line.id();
            *entry = line;
            is_met = id as u8 == wanted;
            if id != HeaderId::Other {
                let bit = 1 << id as u32;
                if seen & bit != 0 {
                    repeated |= bit;
                    if id.is_single() {
                        // RFC 4475 3.3.8: nobody can tell which of the two is meant.
                        note(failure, Malformed::bad("Repeated Header", line_start));
                    }
                } else {
                    seen |= bit;
                    first[id as usize] = line;
                    if id.is_essential()
                        && let Err(malformed) = essentials.read(id, bytes, line.value(bytes))
                    {
                        note(failure, malformed);
                    }
                }
            }
            used += 1;
        }
        self.is_done = !is_met || body.is_some();
        self.body = body.map(|body| Span::new(0, body).end);
        (self.seen, self.repeated) = (seen, repeated);
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
        self.text.len() == bytes.len()
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

    /// Whether a header has a line.
    #[inline(always)]
    pub(super) fn has(&self, id: HeaderId) -> bool {
        if id == HeaderId::Other {
            return self.lines_of(id).next().is_some();
        }
        self.seen >> id as u32 & 1 == 1
    }

    /// Whether the headers that every message must have are there; RFC 3261 8.1.1, and 16.3 for Max-Forwards.
    #[inline(always)]
    pub(super) fn has_all_required(&self) -> bool {
        const REQUIRED: u32 = 1 << HeaderId::Via as u32
            | 1 << HeaderId::From as u32
            | 1 << HeaderId::To as u32
            | 1 << HeaderId::CallId as u32
            | 1 << HeaderId::CSeq as u32;
        self.seen & REQUIRED == REQUIRED
    }

    /// Whether a known header has more than one line.
    #[inline]
    pub(super) fn is_repeated(&self, id: HeaderId) -> bool {
        self.repeated >> id as u32 & 1 == 1
    }

    /// The first line of a known header.
    #[inline]
    pub(super) fn first_line(&self, id: HeaderId) -> Option<&Line> {
        if self.seen >> id as u32 & 1 == 0 {
            return None;
        }
        self.first.get(id as usize)
    }

    /// The line of a known header that has one and no more.
    #[inline]
    pub(super) fn only_line(&self, id: HeaderId) -> Option<&Line> {
        if self.is_repeated(id) { None } else { self.first_line(id) }
    }

    /// The lines of one header, in order.
    #[inline]
    pub(super) fn lines_of(&self, id: HeaderId) -> LinesOf<'_> {
        let lines = if id == HeaderId::Other || self.is_repeated(id) {
            self.lines()
        } else {
            self.first_line(id).map_or(&[][..], core::slice::from_ref)
        };
        LinesOf { id, lines }
    }
}

#[cfg(test)]
impl Index {
    /// Reads a message line by line with the complete grammar, without the common forms.
    pub(super) fn read_carefully(&mut self, bytes: &[u8]) {
        self.reset(bytes);
        self.start_line_end(bytes);
        self.read_to(bytes, None);
    }

    /// Holds it against an index that was filled with the common forms first.
    pub(super) fn assert_same(&self, other: &Index) {
        assert_eq!(self.failure, other.failure);
        assert_eq!((self.seen, self.repeated, self.body), (other.seen, other.repeated, other.body));
        assert_eq!(self.lines(), other.lines());
        assert_eq!(self.essentials, other.essentials);
        for id in 0..HeaderId::COUNT {
            assert!(self.seen >> id & 1 == 0 || self.first[id] == other.first[id]);
        }
    }
}

#[inline(never)]
fn unusual_name(text: &Padded, bytes: &[u8], start: usize, end: usize) -> Option<Named> {
    header::unusual(text, bytes, start, end)
}

#[cold]
fn note(failure: &mut Option<Malformed>, malformed: Malformed) {
    failure.get_or_insert(malformed);
}

/// Where the search for line ends has come to.
#[derive(Clone, Copy, Debug, Default)]
struct LineEnds {
    /// The breaks not taken yet of a block of 64 bytes.
    breaks: u64,
    /// Where that block starts.
    block: usize,
}

enum LineEnd {
    /// At a CRLF. An empty line follows the last one.
    At { end: usize, is_last: bool },
    /// A CR or LF alone, here.
    Bare(usize),
    /// None up to the end of the datagram.
    Missing,
}

/// What ends a line, in a word of four bytes.
const CRLF: u32 = u32::from_le_bytes(*b"\r\n\0\0");
/// The last line's CRLF and the empty line.
const END_OF_LINES: u32 = u32::from_le_bytes(*b"\r\n\r\n");

/// Whether a word is CRLF and neither white space nor a control, so that it ends a line and another one follows.
#[inline(always)]
fn is_between_lines(word: u32) -> bool {
    const LEAST: u32 = u32::from_le_bytes(*b"!\0\r\n");
    (word.rotate_left(16) & 0xFFFF_00FF).wrapping_sub(LEAST) <= 0xFF - b'!' as u32
}

impl LineEnds {
    #[inline]
    fn new(text: &Padded) -> Self {
        LineEnds { breaks: text.breaks(0), block: 0 }
    }

    /// The next break. The end of the message is one, and nobody looks behind it.
    #[inline(always)]
    fn next_break(&mut self, text: &Padded) -> usize {
        while self.breaks == 0 {
            self.block += 64;
            self.breaks = text.breaks(self.block);
        }
        let at = self.block + self.breaks.trailing_zeros() as usize;
        self.breaks &= self.breaks - 1;
        at
    }

    /// The CRLF that ends the line from `start` and does not fold it.
    // RFC 3261 7: only CRLF ends a line. Who takes a bare CR or LF for one reads another message than its neighbour does.
    #[inline]
    fn line_end(&mut self, text: &Padded, bytes: &[u8], start: usize) -> LineEnd {
        let end = self.next_break(text);
        match text.half_word(end) {
            word if is_between_lines(word) => LineEnd::At { end, is_last: false },
            END_OF_LINES => LineEnd::At { end, is_last: true },
            _ => self.unusual_line_end(text, bytes, start),
        }
    }

    /// The same, byte by byte, wherever the search has come to: folds, bare CR and LF, and the end of the datagram.
    #[cold]
    #[inline(never)]
    fn unusual_line_end(&mut self, text: &Padded, bytes: &[u8], start: usize) -> LineEnd {
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            match (byte, bytes.get(at + 1), bytes.get(at + 2)) {
                (b'\r', Some(b'\n'), Some(b' ' | b'\t')) => at += 2,
                (b'\r', Some(b'\n'), _) => {
                    self.resume(text, at + 2);
                    let is_last = bytes.get(at + 2..at + 4) == Some(b"\r\n");
                    return LineEnd::At { end: at, is_last };
                }
                (b'\r' | b'\n', ..) => return LineEnd::Bare(at),
                _ => at += 1,
            }
        }
        LineEnd::Missing
    }

    /// The end of a line that holds a bare CR or LF at `bare`.
    #[cold]
    fn line_end_past_bare(
        &mut self,
        text: &Padded,
        bytes: &[u8],
        mut bare: usize,
    ) -> Option<(usize, bool)> {
        loop {
            match self.unusual_line_end(text, bytes, bare + 1) {
                LineEnd::At { end, is_last } => return Some((end, is_last)),
                LineEnd::Bare(at) => bare = at,
                LineEnd::Missing => return None,
            }
        }
    }

    /// Goes on with the line from `start`, which may begin with a break that follows another.
    fn resume(&mut self, text: &Padded, start: usize) {
        let bit = 1 << (start % 64);
        self.block = start & !63;
        self.breaks = text.breaks(self.block) & !(bit - 1);
        if matches!(text.byte(start), b'\r' | b'\n') {
            self.breaks |= bit;
        }
    }
}

/// The lines of one header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinesOf<'m> {
    id: HeaderId,
    lines: &'m [Line],
}

impl LinesOf<'_> {
    /// Whether no line of any header is left to look at.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl<'m> Iterator for LinesOf<'m> {
    type Item = &'m Line;

    #[inline]
    fn next(&mut self) -> Option<&'m Line> {
        loop {
            let (line, rest) = self.lines.split_first()?;
            self.lines = rest;
            if line.is_of(self.id) {
                return Some(line);
            }
        }
    }
}
