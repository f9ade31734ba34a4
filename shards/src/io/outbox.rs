//! The outbox: what a shard wants sent. It is a buffer of fixed size that the caller empties; it never grows.

use super::{CoreId, LocalAddr, Peer};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// One datagram to send: a range of the outbox's bytes, to a peer, from a local address. Several entries may share a range.
#[derive(Clone, Debug)]
pub struct Send {
    /// Where the bytes are, for [`Outbox::bytes`].
    pub range: Range<u32>,
    /// Who gets them.
    pub to: Peer,
    /// The address they leave from.
    pub from: LocalAddr,
}

/// Bytes for the shard of another core, which gets them as [`Input::Letter`](super::Input::Letter). A ring that is full loses it.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where the bytes are, for [`Outbox::text`].
    pub range: Range<u32>,
    /// Whose it is.
    pub to: CoreId,
}

/// A name whose addresses are wanted. The answer comes as [`Input::Addresses`](super::Input::Addresses), or never.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the name is, for [`Outbox::text`].
    pub range: Range<u32>,
    /// What the answer has to carry.
    pub ticket: u64,
}

/// Messages waiting to be sent, in order.
#[derive(Debug)]
pub struct Outbox {
    /// Those that wait, and a whole room behind what they may take.
    bytes: Box<[u8]>,
    bytes_max: usize,
    sends_max: usize,
    kept: Kept,
}

/// What was written, and what it is for.
#[derive(Debug)]
struct Kept {
    /// Where the next message starts.
    used: usize,
    sends: Vec<Send>,
    letters: Vec<Letter>,
    questions: Vec<Question>,
}

/// Offsets into a message have 16 bits.
const OFFSETS: usize = 1 << 16;
/// Where a message is written: beyond the last offset it goes on for the largest block, so that a block fits wherever it begins.
const ROOM: usize = OFFSETS + Reply::BLOCK_MAX;

impl Outbox {
    /// The largest payload of a UDP datagram over IPv4: 65,535 less 20 bytes of IP and 8 of UDP header.
    pub const MESSAGE_BYTES_MAX: usize = 65_507;
    /// The most messages one input may add.
    pub const FAN_OUT_MAX: usize = 16;
    /// The most bytes of a letter or a name.
    pub const TEXT_BYTES_MAX: usize = 16 * 1024;
    /// The most letters that may wait, and the most questions.
    const TEXTS_MAX: usize = 64;
    /// What one input may add: messages of any size, and a letter or the names of as many next hops.
    pub const INPUT_BYTES_MAX: usize =
        Self::MESSAGE_BYTES_MAX * Self::FAN_OUT_MAX + Self::TEXT_BYTES_MAX;

    /// An outbox for `messages` datagrams and `bytes` bytes, raised where needed so that one input always fits.
    ///
    /// # Panics
    /// Where `bytes` exceeds 4 GiB.
    #[must_use]
    pub fn new(messages: usize, bytes: usize) -> Self {
        let bytes_max = bytes.max(Self::INPUT_BYTES_MAX);
        let sends_max = messages.max(Self::FAN_OUT_MAX);
        assert!(u32::try_from(bytes_max).is_ok(), "an outbox holds less than 4 GiB");
        Outbox {
            bytes: vec![0; bytes_max + ROOM].into_boxed_slice(),
            bytes_max,
            sends_max,
            kept: Kept {
                used: 0,
                sends: Vec::with_capacity(sends_max),
                letters: Vec::with_capacity(Self::TEXTS_MAX),
                questions: Vec::with_capacity(Self::TEXTS_MAX),
            },
        }
    }

    /// Whether the next input can be handled to its end: the caller feeds no input while this is false.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let most = Self::TEXTS_MAX - Self::FAN_OUT_MAX;
        self.bytes_max - self.kept.used >= Self::INPUT_BYTES_MAX
            && self.sends_max - self.kept.sends.len() >= Self::FAN_OUT_MAX
            && self.kept.letters.len() <= most
            && self.kept.questions.len() <= most
    }

    /// What waits to be sent, in order.
    #[must_use]
    pub fn sends(&self) -> &[Send] {
        &self.kept.sends
    }

    /// The bytes of one entry.
    #[must_use]
    pub fn bytes(&self, send: &Send) -> &[u8] {
        self.text(&send.range)
    }

    /// What waits for other cores, in order.
    #[must_use]
    pub fn letters(&self) -> &[Letter] {
        &self.kept.letters
    }

    /// The names that are asked for.
    #[must_use]
    pub fn questions(&self) -> &[Question] {
        &self.kept.questions
    }

    /// The bytes of a letter or a name.
    #[must_use]
    pub fn text(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Forgets everything: it was sent, or counted as lost.
    pub fn clear(&mut self) {
        self.kept.used = 0;
        self.kept.sends.clear();
        self.kept.letters.clear();
        self.kept.questions.clear();
    }

    /// Starts a message at the end of the buffer.
    #[inline(always)]
    #[allow(
        clippy::expect_used,
        reason = "`used` never exceeds `bytes_max`, and a room lies behind"
    )]
    pub fn reply(&mut self) -> Reply<'_> {
        let Outbox { bytes, bytes_max, kept, .. } = self;
        let length_max = Self::MESSAGE_BYTES_MAX.min(*bytes_max - kept.used);
        let room = bytes[kept.used..].first_chunk_mut().expect("a room behind what is used");
        Reply { room, length: 0, length_max, kept }
    }
}

/// A message being written. Dropping it without [`Reply::send`] takes it back.
#[derive(Debug)]
pub struct Reply<'a> {
    room: &'a mut [u8; ROOM],
    /// Bytes written, or more where they did not fit.
    length: usize,
    length_max: usize,
    kept: &'a mut Kept,
}

impl Reply<'_> {
    /// The largest block that [`put_front`](Self::put_front) copies.
    pub const BLOCK_MAX: usize = 128;

    /// Appends bytes. A message beyond [`Outbox::MESSAGE_BYTES_MAX`] can't be sent.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.room.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
        }
        self.length = end;
    }

    /// Appends the first `length` bytes of a block, which is copied as one.
    #[inline(always)]
    pub fn put_front<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        const { assert!(N <= Self::BLOCK_MAX) };
        debug_assert!(length <= N);
        if let Some(place) = self.place() {
            *place = *block;
        }
        self.length += length;
    }

    /// Appends what `write` puts in front of a block, which is written in its place; it gives how much that is.
    #[inline(always)]
    pub fn put_written<const N: usize>(&mut self, write: impl FnOnce(&mut [u8; N]) -> usize) {
        const { assert!(N <= Self::BLOCK_MAX) };
        if let Some(place) = self.place() {
            self.length += write(place);
        }
    }

    /// Where the next bytes go. There always is such a place.
    #[inline(always)]
    fn place<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        // Beyond the offsets the message does not fit any more: what is written then is never sent.
        let at = self.length & (OFFSETS - 1);
        self.room[at..at + N].first_chunk_mut()
    }

    /// Appends the first `length` bytes of a text. Where more of it follows, it is copied in one block, without a call.
    #[inline(always)]
    pub fn put_start(&mut self, text: &[u8], length: usize) {
        const BLOCK: usize = Reply::BLOCK_MAX;
        match text.first_chunk::<BLOCK>() {
            Some(block) if length <= BLOCK => self.put_front(block, length),
            Some(_) | None => self.put(text.get(..length).unwrap_or_default()),
        }
    }

    /// Takes back all that was put.
    #[inline]
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether all that was put is there and may be sent.
    #[must_use]
    #[inline]
    pub fn fits(&self) -> bool {
        self.length <= self.length_max
    }

    /// What was written so far; nothing where it does not fit.
    #[must_use]
    #[inline]
    pub fn written(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }

    /// Queues the message, or takes it back and returns false where it did not fit.
    #[must_use]
    #[inline(always)]
    pub fn send(mut self, to: Peer, from: LocalAddr) -> bool {
        if !self.fits() {
            return false;
        }
        let range = self.keep();
        self.kept.sends.push(Send { range, to, from });
        true
    }

    /// Makes it a letter to another core; false where it did not fit.
    #[must_use]
    pub fn post(mut self, to: CoreId) -> bool {
        let has_place = self.kept.letters.len() < Outbox::TEXTS_MAX;
        if !self.fits() || !has_place || self.length > Outbox::TEXT_BYTES_MAX {
            return false;
        }
        let range = self.keep();
        self.kept.letters.push(Letter { range, to });
        true
    }

    /// Asks for the addresses of the name that was written; false where it is too long to be one, or too much is asked already.
    #[must_use]
    pub fn ask(mut self, ticket: u64) -> bool {
        /// RFC 1035 2.3.4.
        const NAME_BYTES_MAX: usize = 255;
        let has_place = self.kept.questions.len() < Outbox::TEXTS_MAX;
        if !self.fits() || !has_place || self.length > NAME_BYTES_MAX {
            return false;
        }
        let range = self.keep();
        self.kept.questions.push(Question { range, ticket });
        true
    }

    /// Keeps what was written.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "bounded by Outbox::new")]
    fn keep(&mut self) -> Range<u32> {
        let start = self.kept.used;
        self.kept.used += self.length;
        start as u32..self.kept.used as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{ListenerId, Transport};
    use alloc::vec;

    fn ends() -> (Peer, LocalAddr) {
        let addr = "127.0.0.1:5060".parse().unwrap();
        (
            Peer { transport: Transport::Udp, addr },
            LocalAddr { listener: ListenerId(0), ip: addr.ip() },
        )
    }

    #[test]
    fn what_does_not_fit_is_taken_back() {
        let (to, from) = ends();
        let mut outbox = Outbox::new(Outbox::FAN_OUT_MAX + 1, 0);
        let mut reply = outbox.reply();
        reply.put(&vec![b'a'; Outbox::MESSAGE_BYTES_MAX]);
        reply.put(b"b");
        assert!(!reply.send(to, from));
        assert!(outbox.sends().is_empty());
        assert!(outbox.has_room());

        let mut reply = outbox.reply();
        reply.put(&vec![b'a'; Outbox::MESSAGE_BYTES_MAX - 4]);
        reply.put_front(b"bcdefghi", 4);
        assert!(reply.written().ends_with(b"aabcde"));
        reply.put(&[b'a'; Outbox::INPUT_BYTES_MAX]);
        reply.clear();
        assert!(reply.fits() && reply.written().is_empty());
        reply.put(&vec![b'a'; Outbox::MESSAGE_BYTES_MAX]);
        reply.put_front(b"fghi", 1);
        assert!(!reply.send(to, from));

        let mut reply = outbox.reply();
        reply.put(&[b'a'; Outbox::TEXT_BYTES_MAX + 1]);
        assert!(!reply.post(CoreId(1)));
        let mut reply = outbox.reply();
        reply.put(&[b'a'; 256]);
        assert!(!reply.ask(1));
        assert!(outbox.has_room());

        let mut reply = outbox.reply();
        reply.put_front(b"hello world", 5);
        assert!(reply.send(to, from));
        assert_eq!(outbox.bytes(&outbox.sends()[0]), b"hello");
        assert!(!outbox.has_room());
        outbox.clear();
        assert!(outbox.has_room());
    }

    #[test]
    fn letters_and_questions_travel_beside_what_is_sent() {
        let mut outbox = Outbox::new(1, 0);
        let mut reply = outbox.reply();
        reply.put(b"to another core");
        assert!(reply.post(CoreId(3)));
        let mut reply = outbox.reply();
        reply.put(b"sip.example.com");
        assert!(reply.ask(7));
        assert!(outbox.sends().is_empty());
        let (letter, question) = (&outbox.letters()[0], &outbox.questions()[0]);
        assert_eq!((letter.to, outbox.text(&letter.range)), (CoreId(3), &b"to another core"[..]));
        assert_eq!((question.ticket, outbox.text(&question.range)), (7, &b"sip.example.com"[..]));
        outbox.clear();
        assert!(outbox.letters().is_empty() && outbox.questions().is_empty());

        // One input adds few of them, and is not let in where they might not fit.
        let mut asked = 0;
        while outbox.has_room() {
            asked += 1;
            assert!(outbox.reply().ask(asked));
        }
        assert!(asked > 16);
    }
}
