//! The lines between the control side and the cores: an errand goes to a core, which fills in what was asked and hands the
//! same box back; and a core asks for the addresses of names, which come back by an errand. The core's end never waits, never
//! allocates and never frees.
//!
//! For errands a line is two rings of one writer and one reader, in which a core finds its next errand in a bounded number of steps
//! whatever the other side does. A queue for several writers would save the control side a lock of its own and cost the
//! cores that: its reader waits for a writer that was interrupted half-way.

use super::{Wake, wake};
use crate::sys::event::Event;
use rtrb::{Consumer, Producer, RingBuffer};
use std::io;

/// The control side's ends of the lines to all cores, and the bell by which cores tell it that an errand is done.
#[derive(Debug)]
pub struct Switchboard<E> {
    /// By the number of the core.
    lines: Vec<Caller<E>>,
    own: Wake,
}

#[derive(Debug)]
struct Caller<E> {
    errands: Producer<Box<E>>,
    done: Consumer<Box<E>>,
    questions: Consumer<Question>,
    /// Errands sent and not yet taken back; never more than either ring holds, so a core always has room to hand one back.
    out: usize,
    callee: Wake,
}

/// A core's end of its line.
#[derive(Debug)]
pub struct Line<E> {
    errands: Consumer<Box<E>>,
    done: Producer<Box<E>>,
    caller: Wake,
}

/// A core's end for asking.
#[derive(Debug)]
pub(super) struct Asking {
    questions: Producer<Question>,
    caller: Wake,
    /// Something was asked since the control side was last woken.
    has_asked: bool,
}

/// A name whose addresses a core wants.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What the answer has to carry.
    pub ticket: u64,
    name: [u8; Self::NAME_BYTES_MAX],
    length: u8,
}

impl Question {
    /// RFC 1035 2.3.4.
    pub const NAME_BYTES_MAX: usize = 255;

    /// A question; `None` where the name is longer than any.
    #[must_use]
    pub fn new(ticket: u64, name: &[u8]) -> Option<Question> {
        let length = u8::try_from(name.len()).ok()?;
        let mut place = [0; Self::NAME_BYTES_MAX];
        place[..name.len()].copy_from_slice(name);
        Some(Question { ticket, name: place, length })
    }

    /// The name, as the core has it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.length)]
    }
}

/// Questions of a core that wait to be taken by the control side.
const QUESTIONS: usize = 256;

/// The control side's ends, and each core's two.
type Ends<E> = (Switchboard<E>, Vec<(Line<E>, Asking)>);

/// Makes the lines to the cores with these bells, each with room for `errands` that are not done yet.
///
/// # Errors
/// What `eventfd(2)` says: no descriptors left.
pub(super) fn lines<E>(cores: &[Wake], errands: usize) -> io::Result<Ends<E>> {
    let own = wake(Event::nonblocking()?);
    let (lines, ends) = cores
        .iter()
        .map(|core| {
            let (errands_in, errands_out) = RingBuffer::new(errands);
            let (done_in, done_out) = RingBuffer::new(errands);
            let (questions_in, questions_out) = RingBuffer::new(QUESTIONS);
            let caller = Caller {
                errands: errands_in,
                done: done_out,
                questions: questions_out,
                out: 0,
                callee: core.clone(),
            };
            let line = Line { errands: errands_out, done: done_in, caller: own.clone() };
            let asking = Asking { questions: questions_in, caller: own.clone(), has_asked: false };
            (caller, (line, asking))
        })
        .unzip();
    Ok((Switchboard { lines, own }, ends))
}

impl<E> Switchboard<E> {
    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.lines.len()
    }

    /// Sends an errand to a core and wakes it.
    ///
    /// # Errors
    /// The errand, where as many as the line has room for are not done yet, or there is no such core.
    pub fn send(&mut self, core: usize, errand: Box<E>) -> Result<(), Box<E>> {
        let Some(line) = self.lines.get_mut(core) else { return Err(errand) };
        if line.out == line.done.buffer().capacity() {
            return Err(errand);
        }
        match line.errands.push(errand) {
            Ok(()) => {
                line.out += 1;
                line.callee.wake();
                Ok(())
            }
            Err(rtrb::PushError::Full(errand)) => Err(errand),
        }
    }

    /// Takes back the next errand that a core has done. A core does its errands in the order in which they were sent.
    pub fn take(&mut self, core: usize) -> Option<Box<E>> {
        let line = self.lines.get_mut(core)?;
        let errand = line.done.pop().ok()?;
        line.out -= 1;
        Some(errand)
    }

    /// Takes the next question of a core.
    pub fn question(&mut self, core: usize) -> Option<Question> {
        self.lines.get_mut(core)?.questions.pop().ok()
    }

    /// Announces sleep and looks once more: true where no errand is done, no question waits and the caller may wait for the bell, after which
    /// [`awake`](Self::awake) has to be called.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.own.sleep.announce();
        if self.lines.iter().all(|line| line.done.is_empty() && line.questions.is_empty()) {
            return true;
        }
        self.own.sleep.withdraw();
        false
    }

    /// Takes the announcement back.
    pub fn awake(&self) {
        self.own.sleep.withdraw();
    }

    /// The bell to wait for, which does not block.
    ///
    /// # Errors
    /// What `fcntl(2)` says: no descriptors left.
    pub fn bell(&self) -> io::Result<Event> {
        self.own.bell.share()
    }
}

impl<E> Line<E> {
    /// Whether no errand waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errands.is_empty()
    }

    /// Lets `run` do the next errand and hands it back; false where there is none.
    pub fn serve(&mut self, run: impl FnOnce(&mut E)) -> bool {
        let Ok(mut errand) = self.errands.pop() else { return false };
        run(&mut errand);
        let handed_back = self.done.push(errand);
        debug_assert!(handed_back.is_ok(), "the caller sends no more than can be handed back");
        self.caller.wake();
        true
    }
}

impl Asking {
    /// Asks for the addresses of a name; false where too many wait already. [`wake`](Self::wake) has to follow.
    pub(super) fn ask(&mut self, ticket: u64, name: &[u8]) -> bool {
        let question = Question::new(ticket, name);
        let is_asked = question.is_some_and(|question| self.questions.push(question).is_ok());
        self.has_asked |= is_asked;
        is_asked
    }

    /// Wakes the control side if there is something new and it sleeps.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.has_asked) {
            self.caller.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{End, mesh};

    fn ends() -> (Vec<End<u32>>, Switchboard<u32>) {
        mesh(2, 2, 4096, 2).unwrap()
    }

    #[test]
    fn an_errand_comes_back_done_from_the_core_it_was_sent_to() {
        let (mut ends, mut switchboard) = ends();
        assert_eq!(switchboard.cores(), 2);
        switchboard.send(1, Box::new(20)).unwrap();
        assert!(!ends[0].inbox.line().serve(|_| unreachable!("nothing was sent here")));
        assert_eq!(switchboard.take(1), None);
        assert!(ends[1].inbox.line().serve(|errand| *errand += 1));
        assert!(ends[1].inbox.line().is_empty());
        assert_eq!(switchboard.take(0), None);
        assert_eq!(switchboard.take(1).as_deref(), Some(&21));
        assert!(switchboard.send(2, Box::new(0)).is_err(), "there is no such core");
    }

    #[test]
    fn no_more_errands_are_out_than_can_be_handed_back() {
        let (mut ends, mut switchboard) = ends();
        switchboard.send(0, Box::new(1)).unwrap();
        assert!(ends[0].inbox.line().serve(|_| {}));
        switchboard.send(0, Box::new(2)).unwrap();
        // One is done and one is not; both are out.
        assert_eq!(switchboard.send(0, Box::new(3)).unwrap_err().as_ref(), &3);
        assert_eq!(switchboard.take(0).as_deref(), Some(&1));
        switchboard.send(0, Box::new(3)).unwrap();
        while ends[0].inbox.line().serve(|_| {}) {}
        assert_eq!(switchboard.take(0).as_deref(), Some(&2));
        assert_eq!(switchboard.take(0).as_deref(), Some(&3));
    }

    #[test]
    fn questions_arrive_in_order_until_too_many_wait_and_wake_who_answers_them() {
        let (mut ends, mut switchboard) = ends();
        assert!(switchboard.may_sleep());
        let bell = switchboard.bell().unwrap();
        let post = &mut ends[1].post;
        assert!(post.ask(7, b"sip.example.com"));
        assert!(post.ask(8, &[b'x'; Question::NAME_BYTES_MAX]));
        assert!(!post.ask(9, &[b'x'; Question::NAME_BYTES_MAX + 1]), "no name is longer");
        assert!(!bell.silence_if_rung(), "once a batch");
        assert_eq!(post.wake_others(), 0, "no core was written to");
        assert!(bell.silence_if_rung());
        assert!(!switchboard.may_sleep(), "a question waits");
        assert!(switchboard.question(0).is_none());
        let first = switchboard.question(1).unwrap();
        assert_eq!((first.ticket, first.name()), (7, &b"sip.example.com"[..]));
        assert_eq!(switchboard.question(1).unwrap().name().len(), Question::NAME_BYTES_MAX);
        assert!(switchboard.question(1).is_none());
        for ticket in 0..QUESTIONS as u64 {
            assert!(post.ask(ticket, b"a"));
        }
        assert!(!post.ask(0, b"a"));
    }

    #[test]
    fn an_errand_wakes_the_core_and_its_end_wakes_the_caller() {
        let (mut ends, mut switchboard) = ends();
        assert!(ends[1].inbox.may_sleep());
        switchboard.send(1, Box::new(1)).unwrap();
        ends[1].inbox.bell().silence();
        ends[1].inbox.awake();
        assert!(!ends[1].inbox.may_sleep(), "an errand waits");

        assert!(switchboard.may_sleep());
        let bell = switchboard.bell().unwrap();
        assert!(!bell.silence_if_rung());
        assert!(ends[1].inbox.line().serve(|_| {}));
        assert!(bell.silence_if_rung());
        assert!(!switchboard.may_sleep(), "an errand is done");
        assert_eq!(switchboard.take(1).as_deref(), Some(&1));
        assert!(switchboard.may_sleep());
        switchboard.awake();
        // Whoever does not sleep is not rung.
        switchboard.send(1, Box::new(1)).unwrap();
        assert!(ends[1].inbox.line().serve(|_| {}));
        assert!(!bell.silence_if_rung());
    }
}
