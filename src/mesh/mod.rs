//! The rings between cores and the bells that go with them: how a datagram that the kernel delivered to one core reaches
//! the one where it lives, how cores write to each other, and how they and the control side ask each other for something.
//! It never waits, and never looks at a payload.

mod line;
#[cfg(test)]
mod loomed;
mod ring;
mod sleep;

mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub use line::{Line, Question, Switchboard};
pub use ring::{Hop, Incoming, Outgoing, Record};

use crate::sys::event::Event;
use line::Asking;
use sleep::Sleep;
use std::io;
use std::sync::Arc;

/// What the owner of a mesh and other threads may do to a core: wake it.
#[derive(Clone, Debug)]
pub struct Wake {
    sleep: Arc<Sleep>,
    bell: Arc<Event>,
}

impl Wake {
    /// Wakes the core if it sleeps, so that it sees what was done before this call.
    pub fn wake(&self) {
        if self.sleep.must_be_woken() {
            self.bell.ring();
        }
    }
}

/// One core's end of the mesh; `E` is what the control side sends.
#[derive(Debug)]
pub struct End<E> {
    /// For what goes to other cores.
    pub post: Post,
    /// For what comes from them and from the control side.
    pub inbox: Inbox<E>,
}

/// The rings towards the other cores and the control side, and their bells.
#[derive(Debug)]
pub struct Post {
    /// By the number of the core; none towards itself.
    towards: Vec<Option<Outgoing>>,
    /// By the number of the core.
    wakes: Vec<Wake>,
    /// Which cores were given something since they were last woken.
    pushed: Vec<bool>,
    asking: Asking,
}

/// The rings from the other cores, the line to the control side, and this core's bell.
#[derive(Debug)]
pub struct Inbox<E> {
    from: Vec<Incoming>,
    line: Line<E>,
    own: Wake,
}

/// What became of something that was to go to another core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It lies in the ring.
    Queued,
    /// The ring is full.
    Full,
    /// There is no such core, or it is this one.
    Nowhere,
}

/// Makes the ends for `cores` cores: a ring for each ordered pair, with room for `records` of `bytes` bytes in all;
/// and the control side's, with room for `errands` a core.
///
/// # Errors
/// What `eventfd(2)` says: no descriptors left.
pub fn mesh<E>(
    cores: usize,
    records: usize,
    bytes: usize,
    errands: usize,
) -> io::Result<(Vec<End<E>>, Switchboard<E>)> {
    let mut wakes = Vec::with_capacity(cores);
    for _ in 0..cores {
        wakes.push(wake(Event::new()?));
    }
    let (switchboard, lines) = line::lines(&wakes, errands)?;
    let mut ends: Vec<End<E>> = wakes
        .iter()
        .zip(lines)
        .map(|(own, (line, asking))| End {
            post: Post {
                towards: (0..cores).map(|_| None).collect(),
                wakes: wakes.clone(),
                pushed: vec![false; cores],
                asking,
            },
            inbox: Inbox { from: Vec::with_capacity(cores), line, own: own.clone() },
        })
        .collect();
    for sender in 0..cores {
        for receiver in (0..cores).filter(|receiver| *receiver != sender) {
            let (outgoing, incoming) = ring::ring(records, bytes);
            ends[sender].post.towards[receiver] = Some(outgoing);
            ends[receiver].inbox.from.push(incoming);
        }
    }
    Ok((ends, switchboard))
}

/// A sleeper with this bell.
fn wake(bell: Event) -> Wake {
    Wake { sleep: Arc::new(Sleep::default()), bell: Arc::new(bell) }
}

impl Post {
    /// Puts a record and its payload into the ring towards a core. [`wake_others`](Self::wake_others) has to follow before
    /// this core sleeps, and should follow once a batch.
    pub fn push(&mut self, towards: u16, record: Record, payload: &[u8]) -> Pushed {
        let core = usize::from(towards);
        let Some(Some(ring)) = self.towards.get_mut(core) else { return Pushed::Nowhere };
        if !ring.push(record, payload) {
            return Pushed::Full;
        }
        self.pushed[core] = true;
        Pushed::Queued
    }

    /// Asks the control side for the addresses of a name; false where too many questions wait, or there is no such name. As
    /// with [`push`](Self::push), a wake has to follow.
    pub fn ask(&mut self, ticket: u64, name: &[u8]) -> bool {
        self.asking.ask(ticket, name)
    }

    /// Wakes the cores that were given something and sleep, and the control side; returns how many cores that were.
    pub fn wake_others(&mut self) -> u64 {
        self.asking.wake();
        let mut rung = 0;
        for (pushed, wake) in self.pushed.iter_mut().zip(&self.wakes) {
            if std::mem::take(pushed) && wake.sleep.must_be_woken() {
                wake.bell.ring();
                rung += 1;
            }
        }
        rung
    }
}

impl<E> Inbox<E> {
    /// The rings towards this core.
    pub fn rings(&mut self) -> &mut [Incoming] {
        &mut self.from
    }

    /// The line to the control side.
    pub fn line(&mut self) -> &mut Line<E> {
        &mut self.line
    }

    /// Whether nothing waits in any of the rings from other cores.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from.iter().all(Incoming::is_empty)
    }

    /// Announces sleep and looks at rings and line once more: true where they are empty and this core may wait for its
    /// bell, after which [`awake`](Self::awake) has to be called.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.own.sleep.announce();
        if self.is_empty() && self.line.is_empty() {
            return true;
        }
        self.own.sleep.withdraw();
        false
    }

    /// Takes the announcement back.
    pub fn awake(&self) {
        self.own.sleep.withdraw();
    }

    /// The bell to wait for.
    #[must_use]
    pub fn bell(&self) -> &Event {
        &self.own.bell
    }

    /// A handle by which other threads wake this core.
    #[must_use]
    pub fn wake_handle(&self) -> Wake {
        self.own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::io::{ListenerId, LocalAddr, Peer};

    fn hop(stamp_ns: u64) -> Record {
        let addr = "192.0.2.7:5060".parse().unwrap();
        Record::Hop(Hop {
            from: Peer::udp(addr),
            to: LocalAddr { listener: ListenerId(1), ip: addr.ip() },
            stamp_ns: Some(stamp_ns),
        })
    }

    #[test]
    fn a_full_ring_refuses_and_others_are_not_affected() {
        let (mut ends, _) = mesh::<()>(3, 2, 4096, 1).unwrap();
        assert_eq!(ends[0].post.push(1, hop(1), b"one"), Pushed::Queued);
        assert_eq!(ends[0].post.push(1, hop(2), b"two"), Pushed::Queued);
        assert_eq!(ends[0].post.push(1, hop(3), b"three"), Pushed::Full);
        assert_eq!(ends[0].post.push(2, hop(4), b"four"), Pushed::Queued);
        assert_eq!(ends[0].post.push(0, hop(5), b"self"), Pushed::Nowhere);
        assert_eq!(ends[0].post.push(3, hop(6), b"nobody"), Pushed::Nowhere);
        let mut seen = Vec::new();
        for ring in ends[1].inbox.rings() {
            while ring.take(|record, bytes| seen.push((record, bytes.to_vec()))) {}
        }
        assert_eq!(seen, [(hop(1), b"one".to_vec()), (hop(2), b"two".to_vec())]);
        assert!(ends[1].inbox.is_empty());
        assert!(!ends[2].inbox.is_empty());
    }

    #[test]
    fn only_a_core_that_announced_sleep_is_rung_and_only_once() {
        let (mut ends, _) = mesh::<()>(2, 8, 4096, 1).unwrap();
        ends[0].post.push(1, hop(1), b"awake");
        assert_eq!(ends[0].post.wake_others(), 0);
        assert!(!ends[1].inbox.may_sleep(), "something waits in the ring");
        for ring in ends[1].inbox.rings() {
            while ring.take(|_, _| {}) {}
        }
        assert!(ends[1].inbox.may_sleep());
        ends[0].post.push(1, hop(2), b"asleep");
        ends[0].post.push(1, hop(3), b"asleep");
        assert_eq!(ends[0].post.wake_others(), 1);
        ends[0].post.push(1, hop(4), b"rung already");
        assert_eq!(ends[0].post.wake_others(), 0);
        ends[1].inbox.bell().silence();
        ends[1].inbox.awake();
    }
}
