//! The desk of a core: inputs go to the handler, what it wants sent, moved, asked or written to other cores goes on its
//! way, and all of it is timed and counted. It reads no socket.

use super::clock::{Clock, Wall};
use super::egress::Egress;
use super::handler::Handler;
use super::metrics::Metrics;
use super::ports::Port;
use crate::mesh::{Hop, Post, Pushed, Record};
use crate::sys::errors::{Cause, Report};
use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer, Unreachable,
    Verdict,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Messages that one batch may put into the outbox before it is sent.
const OUTBOX_MESSAGES: usize = 64;
/// Enough for a batch of ordinary replies beside the room that one input may always take.
const OUTBOX_BYTES: usize = 256 * 1024;
/// How many datagrams are taken together, so that the handler can look ahead.
const FORESEEN: usize = 16;
/// Timers that one round may let expire.
const EXPIRE_BUDGET: u32 = 256;

#[derive(Debug)]
pub(super) struct Desk<H: Handler> {
    pub(super) handler: H,
    pub(super) post: Post,
    pub(super) metrics: Metrics,
    pub(super) egress: Egress,
    outbox: Outbox,
    clock: Clock,
    /// Read at the start of each batch.
    wall: Wall,
    /// Read after each input: one reading is the end of one and the start of the next.
    now: Instant,
    /// What looking ahead took for each of the datagrams that are being taken.
    foresight: Duration,
}

/// A datagram without its age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) from: Peer,
    pub(super) to: LocalAddr,
    pub(super) bytes: &'a [u8],
    pub(super) stamp_ns: Option<u64>,
}

/// Datagrams that are taken together.
#[derive(Debug)]
pub(super) struct Window<'a> {
    arrivals: [Arrival<'a>; FORESEEN],
    used: usize,
}

impl Default for Window<'_> {
    fn default() -> Self {
        Window { arrivals: [Arrival::NONE; FORESEEN], used: 0 }
    }
}

impl<'a> Window<'a> {
    pub(super) fn is_full(&self) -> bool {
        self.used == FORESEEN
    }

    /// Adds a datagram.
    ///
    /// # Panics
    /// Where the window is full.
    pub(super) fn push(&mut self, arrival: Arrival<'a>) {
        self.arrivals[self.used] = arrival;
        self.used += 1;
    }

    /// All that were added; the next one is the first again.
    fn taken(&mut self) -> &[Arrival<'a>] {
        &self.arrivals[..std::mem::take(&mut self.used)]
    }
}

impl<'a> Arrival<'a> {
    /// From nobody, with nothing.
    const NONE: Arrival<'static> = Arrival {
        from: Peer::udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
        to: LocalAddr { listener: ListenerId(0), ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED) },
        bytes: &[],
        stamp_ns: None,
    };

    fn record(&self) -> Record {
        Record::Hop(Hop { from: self.from, to: self.to, stamp_ns: self.stamp_ns })
    }

    fn datagram(&self, age: Duration) -> Datagram<'a> {
        Datagram { from: self.from, to: self.to, bytes: self.bytes, age }
    }
}

impl<H: Handler> Desk<H> {
    pub(super) fn new(handler: H, post: Post, listeners: usize, clock: Clock) -> Self {
        let wall = clock.wall();
        Desk {
            handler,
            post,
            metrics: Metrics::default(),
            egress: Egress::new(OUTBOX_MESSAGES, listeners),
            outbox: Outbox::new(
                OUTBOX_MESSAGES + Outbox::FAN_OUT_MAX,
                OUTBOX_BYTES + Outbox::INPUT_BYTES_MAX,
            ),
            clock,
            wall,
            now: wall.read_at(),
            foresight: Duration::ZERO,
        }
    }

    /// Reads the clocks: a batch starts.
    pub(super) fn open(&mut self) {
        self.wall = self.clock.wall();
        self.now = self.wall.read_at();
    }

    /// Sends and wakes: a batch ends.
    pub(super) fn close(&mut self, ports: &[Port]) {
        self.flush(ports);
        self.metrics.wakes_sent += self.post.wake_others();
    }

    /// Empties the outbox.
    fn flush(&mut self, ports: &[Port]) {
        for letter in self.outbox.letters() {
            let bytes = self.outbox.text(&letter.range);
            match self.post.push(letter.to.0, Record::Letter, bytes) {
                Pushed::Queued => self.metrics.letters_sent += 1,
                Pushed::Full => self.metrics.letters_dropped += 1,
                Pushed::Nowhere => {
                    debug_assert!(false, "nobody writes to himself, or to core {}", letter.to.0);
                    self.metrics.letters_dropped += 1;
                }
            }
        }
        for question in self.outbox.questions() {
            let is_asked = self.post.ask(question.ticket, self.outbox.text(&question.range));
            self.metrics.questions_asked += u64::from(is_asked);
            self.metrics.questions_dropped += u64::from(!is_asked);
        }
        self.egress.flush(&mut self.outbox, ports, &mut self.metrics);
    }

    /// Takes datagrams read from a socket of this core, and leaves the window empty.
    pub(super) fn take(&mut self, window: &mut Window<'_>, ports: &[Port]) {
        let arrivals = window.taken();
        if arrivals.len() > 1 {
            self.foresee(arrivals);
        }
        for &arrival in arrivals {
            let verdict = self.handle(arrival, Input::Datagram, ports);
            if let Verdict::Hopped(core) = verdict {
                self.move_on(core, arrival.record(), arrival.bytes);
            }
        }
        self.foresight = Duration::ZERO;
    }

    /// Lets the handler look ahead. What that takes counts for each of them alike.
    fn foresee(&mut self, arrivals: &[Arrival<'_>]) {
        let mut datagrams = [Arrival::NONE.datagram(Duration::ZERO); FORESEEN];
        let mut count = 0;
        for (place, arrival) in datagrams.iter_mut().zip(arrivals) {
            *place = arrival.datagram(Duration::ZERO);
            count += 1;
        }
        let started = self.now;
        self.handler.foresee(&datagrams[..count as usize]);
        self.now = self.clock.now();
        self.foresight = self.now.since(started) / count;
    }

    /// Takes a datagram that another core moved here.
    pub(super) fn take_moved(&mut self, arrival: Arrival<'_>, ports: &[Port]) {
        self.metrics.hops_received += 1;
        let verdict = self.handle(arrival, Input::Hop, ports);
        if let Verdict::Hopped(_) = verdict {
            self.metrics.hops_refused += 1;
        }
    }

    /// Takes a letter that the shard of another core wrote.
    pub(super) fn take_letter(&mut self, bytes: &[u8], ports: &[Port]) {
        self.metrics.letters_received += 1;
        self.make_room(ports);
        let outcome = self.think(Input::Letter(bytes));
        debug_assert!(
            !matches!(outcome.verdict, Verdict::Hopped(_)),
            "a letter is where it belongs"
        );
    }

    /// Takes what was in the error queue of a socket of this core.
    pub(super) fn take_error(&mut self, error: Report<'_>, ports: &[Port]) {
        match error.cause {
            Cause::Unreachable | Cause::Passing => self.metrics.icmp_errors += 1,
            Cause::Local => self.metrics.local_errors += 1,
        }
        let (Cause::Unreachable, Some(to)) = (error.cause, error.to) else { return };
        let to = Peer::udp(to);
        if let Verdict::Hopped(core) = self.take_unreachable(to, error.quoted, ports) {
            self.move_on(core, Record::Unreachable(to), error.quoted);
        }
    }

    /// Takes an ICMP error that another core moved here.
    pub(super) fn take_moved_error(&mut self, to: Peer, quoted: &[u8], ports: &[Port]) {
        self.metrics.hops_received += 1;
        if let Verdict::Hopped(_) = self.take_unreachable(to, quoted, ports) {
            self.metrics.hops_refused += 1;
        }
    }

    fn take_unreachable(&mut self, to: Peer, quoted: &[u8], ports: &[Port]) -> Verdict {
        self.make_room(ports);
        self.think(Input::Unreachable(Unreachable { to, quoted })).verdict
    }

    fn handle<'a>(
        &mut self,
        arrival: Arrival<'a>,
        input: impl FnOnce(Datagram<'a>) -> Input<'a>,
        ports: &[Port],
    ) -> Verdict {
        self.make_room(ports);
        let age = self.wall.age(arrival.stamp_ns, self.now);
        let outcome = self.think(input(arrival.datagram(age)));
        self.metrics.queue_age.of_mut(outcome.class).record(age);
        outcome.verdict
    }

    /// Makes sure that the next input finds room for all that it may want sent.
    fn make_room(&mut self, ports: &[Port]) {
        if !self.outbox.has_room() {
            self.flush(ports);
            self.now = self.clock.now();
        }
    }

    fn think(&mut self, input: Input<'_>) -> Outcome {
        let started = self.now;
        let outcome = self.handler.handle(started, self.wall.unix(), input, &mut self.outbox);
        self.now = self.clock.now();
        let service_time = self.now.since(started) + self.foresight;
        self.metrics.service_time.of_mut(outcome.class).record(service_time);
        outcome
    }

    fn move_on(&mut self, core: CoreId, record: Record, bytes: &[u8]) {
        match self.post.push(core.0, record, bytes) {
            Pushed::Queued => self.metrics.hops_sent += 1,
            Pushed::Full => self.metrics.hops_dropped += 1,
            Pushed::Nowhere => self.metrics.hops_refused += 1,
        }
    }

    /// Runs an errand for the control side. What it wants sent waits for the end of the batch.
    pub(super) fn run(&mut self, errand: &mut H::Errand, ports: &[Port]) {
        self.open();
        self.make_room(ports);
        let started = self.now;
        self.handler.run(started, self.wall.unix(), errand, &mut self.outbox);
        self.now = self.clock.now();
        self.metrics.errands += 1;
        self.metrics.errands_ns +=
            u64::try_from(self.now.since(started).as_nanos()).unwrap_or(u64::MAX);
    }

    /// Lets timers expire that are due; returns whether there were any.
    pub(super) fn expire(&mut self, ports: &[Port]) -> bool {
        self.now = self.clock.now();
        if self.handler.deadline().is_none_or(|deadline| deadline > self.now) {
            return false;
        }
        debug_assert!(self.outbox.has_room(), "every batch ends with an empty outbox");
        self.handler.expire(self.now, EXPIRE_BUDGET, &mut self.outbox);
        self.close(ports);
        true
    }

    /// Counts time that this core was not needed.
    pub(super) fn slept_since(&mut self, start: Instant) {
        self.now = self.clock.now();
        self.metrics.parks += 1;
        self.metrics.parked_ns +=
            u64::try_from(self.now.since(start).as_nanos()).unwrap_or(u64::MAX);
    }

    /// The latest reading of the clock.
    pub(super) fn now(&self) -> Instant {
        self.now
    }
}
