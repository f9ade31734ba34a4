//! The calls that are under way: owns what both ends of each know of it. It never reads a clock or a datagram.

use crate::population::{CALL_ID_BYTES, UserAgent, mix, write_hex};

use super::timers::Timer;

/// Names a call, also after its place was given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handle(u64);

/// Bits of a place; those above count who had it.
const PLACE_BITS: u32 = 24;
/// Hex digits of a handle.
pub(super) const HANDLE_DIGITS: usize = 12;
pub(super) const TAG_BYTES: usize = 8;

/// Bytes that the callee keeps for its responses: Via, Record-Route, From, To, Call-ID and CSeq.
const HEAD_BYTES: usize = 1024;
/// Bytes that the caller keeps of the dialog: remote target, route set and To.
const DIALOG_BYTES: usize = 512;

/// What the caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Any response to its INVITE.
    Calling,
    /// The final response.
    Proceeding,
    /// The 200 to its CANCEL.
    Cancelling,
    /// The final response, after its CANCEL.
    Cancelled,
    /// That it has talked for long enough.
    Talking,
    /// The 200 to its BYE.
    Leaving,
    /// Nothing.
    Gone,
}

/// What the callee waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    /// The INVITE.
    Idle,
    /// That it has rung for long enough.
    Ringing,
    /// The ACK to its 200.
    Answered,
    /// The BYE.
    Talking,
    /// The ACK to its 487.
    Declined,
    /// Nothing.
    Gone,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) handle: Handle,
    pub(super) caller_ua: UserAgent,
    pub(super) callee_ua: UserAgent,
    pub(super) id: [u8; CALL_ID_BYTES],
    pub(super) from_tag: [u8; TAG_BYTES],
    pub(super) to_tag: [u8; TAG_BYTES],
    pub(super) caller: Caller,
    pub(super) callee: Callee,
    /// Whether the callee has seen the ACK to its final response.
    pub(super) acknowledged: bool,
    /// Whether it only rings, and goes on when it is told to.
    pub(super) idle: bool,
    pub(super) caller_timer: Timer,
    pub(super) callee_timer: Timer,
    pub(super) due_ns: u64,
    pub(super) bye_ns: u64,
    head: usize,
    /// The ends of the parts of the dialog.
    dialog: [usize; 3],
}

/// The dialog as the caller has learned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialog<'a> {
    /// The callee's Contact.
    pub(super) target: &'a [u8],
    /// Route lines with their CRLF.
    pub(super) routes: &'a [u8],
    /// The value of To with its tag.
    pub(super) to: &'a [u8],
}

/// All places.
#[derive(Debug)]
pub(super) struct Table {
    calls: Vec<Call>,
    free: Vec<u32>,
    /// What each of them has kept.
    texts: Vec<u8>,
    run: u32,
}

impl Table {
    /// Room for `places` calls at the same time; their Call-IDs tell runs apart.
    pub(super) fn new(places: u32, run: u32) -> Table {
        let places = places.clamp(1, (1 << PLACE_BITS) - 1);
        let call = |place| Call {
            handle: Handle(u64::from(place)),
            caller_ua: UserAgent(0),
            callee_ua: UserAgent(0),
            id: [0; CALL_ID_BYTES],
            from_tag: [0; TAG_BYTES],
            to_tag: [0; TAG_BYTES],
            caller: Caller::Gone,
            callee: Callee::Gone,
            acknowledged: false,
            idle: false,
            caller_timer: Timer::default(),
            callee_timer: Timer::default(),
            due_ns: 0,
            bye_ns: 0,
            head: 0,
            dialog: [0; 3],
        };
        Table {
            calls: (0..places).map(call).collect(),
            free: (0..places).rev().collect(),
            texts: vec![0; places as usize * (HEAD_BYTES + DIALOG_BYTES)],
            run,
        }
    }

    /// How many more calls can begin.
    pub(super) fn room(&self) -> u64 {
        self.free.len() as u64
    }

    /// How many are under way.
    pub(super) fn len(&self) -> u64 {
        (self.calls.len() - self.free.len()) as u64
    }

    /// Begins a call. There must be room.
    pub(super) fn begin(&mut self, caller: UserAgent, callee: UserAgent, due_ns: u64) -> Handle {
        let place = self.free.pop().expect("the table has room");
        let run = self.run;
        let call = &mut self.calls[place as usize];
        let Handle(number) = call.handle;
        write_call_id(&mut call.id, number, run);
        let tags = mix(number ^ u64::from(run).rotate_left(40));
        write_hex(&mut call.from_tag, tags >> 32);
        write_hex(&mut call.to_tag, tags);
        call.caller_ua = caller;
        call.callee_ua = callee;
        call.caller = Caller::Calling;
        call.callee = Callee::Idle;
        call.acknowledged = false;
        call.idle = false;
        call.due_ns = due_ns;
        call.handle
    }

    /// Ends a call: its place is free for another.
    pub(super) fn end(&mut self, handle: Handle) {
        let place = place_of(handle);
        let call = &mut self.calls[place];
        assert_eq!(call.handle, handle, "a call ends once");
        call.handle = Handle((handle.0 + (1 << PLACE_BITS)) & ((1 << (4 * HANDLE_DIGITS)) - 1));
        call.caller = Caller::Gone;
        call.callee = Callee::Gone;
        call.caller_timer.stop();
        call.callee_timer.stop();
        self.free.push(u32::try_from(place).expect("places are few"));
    }

    /// A call that is under way.
    pub(super) fn find(&mut self, handle: Handle) -> Option<&mut Call> {
        let call = self.calls.get_mut(place_of(handle))?;
        // A place that is free has the handle of its next call, which has not begun.
        let is_under_way = call.caller != Caller::Gone || call.callee != Callee::Gone;
        (call.handle == handle && is_under_way).then_some(call)
    }

    /// The call of a Call-ID, and whether the Call-ID is one of this run's.
    pub(super) fn find_by_id(&mut self, id: &[u8]) -> (Option<&mut Call>, bool) {
        let Some(handle) = handle_in(id) else { return (None, false) };
        let mut own = [0; CALL_ID_BYTES];
        write_call_id(&mut own, handle.0, self.run);
        if own != id { (None, false) } else { (self.find(handle), true) }
    }

    /// Keeps what every response of the callee begins with; false where it is too long.
    pub(super) fn keep_head(&mut self, handle: Handle, parts: &[&[u8]]) -> bool {
        let place = place_of(handle);
        let at = place * (HEAD_BYTES + DIALOG_BYTES);
        let kept = fill(&mut self.texts[at..at + HEAD_BYTES], 0, parts);
        self.calls[place].head = kept.unwrap_or(0);
        kept.is_some()
    }

    /// Keeps the dialog; false where it is too long.
    pub(super) fn keep_dialog<'a>(
        &mut self,
        handle: Handle,
        target: &[u8],
        routes: impl Iterator<Item = &'a [u8]>,
        to: &[u8],
    ) -> bool {
        let place = place_of(handle);
        let at = place * (HEAD_BYTES + DIALOG_BYTES) + HEAD_BYTES;
        let texts = &mut self.texts[at..at + DIALOG_BYTES];
        let keep = || {
            let first = fill(texts, 0, &[target])?;
            let mut second = first;
            for route in routes {
                second = fill(texts, second, &[b"Route: ", route, b"\r\n"])?;
            }
            Some([first, second, fill(texts, second, &[to])?])
        };
        let kept = keep();
        self.calls[place].dialog = kept.unwrap_or_default();
        kept.is_some()
    }

    /// A call with what both ends have kept.
    pub(super) fn look(&self, handle: Handle) -> (&Call, &[u8], Dialog<'_>) {
        let place = place_of(handle);
        let call = &self.calls[place];
        let texts = &self.texts[place * (HEAD_BYTES + DIALOG_BYTES)..][..HEAD_BYTES + DIALOG_BYTES];
        let (head, dialog) = texts.split_at(HEAD_BYTES);
        let [first, second, third] = call.dialog;
        let dialog = Dialog {
            target: &dialog[..first],
            routes: &dialog[first..second],
            to: &dialog[second..third],
        };
        (call, &head[..call.head], dialog)
    }
}

impl Handle {
    /// Writes it in hex.
    pub(super) fn write(self, to: &mut [u8; HANDLE_DIGITS]) {
        write_hex(to, self.0);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "24 bits")]
fn place_of(Handle(number): Handle) -> usize {
    (number & ((1 << PLACE_BITS) - 1)) as usize
}

/// A Call-ID that looks like any other, and ends with the handle.
fn write_call_id(to: &mut [u8; CALL_ID_BYTES], number: u64, run: u32) {
    let mut hex = [0; 20];
    write_hex(&mut hex[..16], mix(number ^ (u64::from(run) << 32)));
    write_hex(&mut hex[16..], u64::from(run));
    *to = *b"00000000-0000-0000-0000-000000000000";
    to[..8].copy_from_slice(&hex[..8]);
    to[9..13].copy_from_slice(&hex[8..12]);
    to[14..18].copy_from_slice(&hex[12..16]);
    to[19..23].copy_from_slice(&hex[16..]);
    write_hex(&mut to[24..], number);
}

fn handle_in(id: &[u8]) -> Option<Handle> {
    if id.len() != CALL_ID_BYTES {
        return None;
    }
    crate::response::hex(&id[CALL_ID_BYTES - HANDLE_DIGITS..]).map(Handle)
}

/// Writes parts one after the other from `at` on; answers where they end.
fn fill(to: &mut [u8], mut at: usize, parts: &[&[u8]]) -> Option<usize> {
    for part in parts {
        to.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_id_until_it_ends() {
        let mut table = Table::new(2, 7);
        let handle = table.begin(UserAgent(1), UserAgent(2), 5);
        let id = table.look(handle).0.id;
        assert_eq!((table.len(), table.room()), (1, 1));
        assert_eq!(table.find_by_id(&id).0.map(|call| call.handle), Some(handle));
        table.end(handle);
        let (found, is_own) = table.find_by_id(&id);
        assert!(found.is_none() && is_own);
        // The place has its next call.
        let next = table.begin(UserAgent(1), UserAgent(2), 6);
        assert_ne!(next, handle);
        assert_ne!(table.look(next).0.id, id);
        assert!(table.find_by_id(&id).0.is_none());
        let mut other = id;
        other[0] ^= 1;
        assert!(!table.find_by_id(&other).1);
        assert!(!Table::new(2, 8).find_by_id(&id).1);
    }

    #[test]
    fn a_free_place_has_no_call() {
        let mut table = Table::new(1, 7);
        let handle = table.begin(UserAgent(1), UserAgent(2), 5);
        table.end(handle);
        let mut next = [0; CALL_ID_BYTES];
        write_call_id(&mut next, 1 << PLACE_BITS, 7);
        let (found, is_own) = table.find_by_id(&next);
        assert!(found.is_none() && is_own);
    }

    #[test]
    fn each_end_keeps_its_text() {
        let mut table = Table::new(2, 7);
        let (one, two) = (
            table.begin(UserAgent(1), UserAgent(2), 5),
            table.begin(UserAgent(1), UserAgent(2), 5),
        );
        assert!(table.keep_head(one, &[b"ab", b"c"]));
        assert!(table.keep_head(two, &[b"xyz"]));
        let routes = [&b"<sip:r1>"[..], b"<sip:r2>"];
        assert!(table.keep_dialog(one, b"sip:t", routes.into_iter(), b"<sip:to>;tag=1"));
        let (_, head, dialog) = table.look(one);
        assert_eq!(head, b"abc");
        let expected = Dialog {
            target: b"sip:t",
            routes: b"Route: <sip:r1>\r\nRoute: <sip:r2>\r\n",
            to: b"<sip:to>;tag=1",
        };
        assert_eq!(dialog, expected);
        assert_eq!(table.look(two).1, b"xyz");
        assert!(!table.keep_head(one, &[&[b'x'; HEAD_BYTES + 1]]));
        assert!(!table.keep_dialog(one, &[b'x'; DIALOG_BYTES], [].into_iter(), b"y"));
    }
}
