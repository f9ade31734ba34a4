//! The desk of a core: inputs go to the handler, what it wants sent or moved goes on its way, and all of it is timed and
//! counted. It reads no socket.

use super::clock::{Clock, Wall};
use super::egress::{self, Egress};
use super::handler::Handler;
use super::metrics::Metrics;
use super::ports::Port;
use crate::mesh::{Hop, Post, Pushed};
use shards::io::{CoreId, Datagram, Input, Instant, LocalAddr, Outbox, Peer, Verdict};

/// Messages that one batch may put into the outbox before it is sent.
const OUTBOX_MESSAGES: usize = 64;
/// Enough for a batch of ordinary replies beside the room that one input may always take.
const OUTBOX_BYTES: usize = 256 * 1024;
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
}

/// A datagram without its age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) from: Peer,
    pub(super) to: LocalAddr,
    pub(super) bytes: &'a [u8],
    pub(super) stamp_ns: Option<u64>,
}

impl<H: Handler> Desk<H> {
    pub(super) fn new(handler: H, post: Post, listeners: usize, clock: Clock) -> Self {
        let wall = clock.wall();
        Desk {
            handler,
            post,
            metrics: Metrics::default(),
            egress: Egress::new(OUTBOX_MESSAGES, listeners),
            outbox: Outbox::new(OUTBOX_MESSAGES, OUTBOX_BYTES),
            clock,
            wall,
            now: wall.read_at(),
        }
    }

    /// Reads the clocks: a batch starts.
    pub(super) fn open(&mut self) {
        self.wall = self.clock.wall();
        self.now = self.wall.read_at();
    }

    /// Sends and wakes: a batch ends.
    pub(super) fn close(&mut self, ports: &[Port]) {
        self.egress.flush(&mut self.outbox, ports, &mut self.metrics);
        self.metrics.wakes_sent += self.post.wake_others();
    }

    /// Takes a datagram read from a socket of this core.
    pub(super) fn take(&mut self, arrival: Arrival<'_>, ports: &[Port]) {
        let verdict = self.handle(arrival, Input::Datagram, ports);
        if let Verdict::Hopped(core) = verdict {
            self.move_on(core, arrival);
        }
    }

    /// Takes a datagram that another core moved here.
    pub(super) fn take_moved(&mut self, arrival: Arrival<'_>, ports: &[Port]) {
        self.metrics.hops_received += 1;
        let verdict = self.handle(arrival, Input::Hop, ports);
        if let Verdict::Hopped(_) = verdict {
            self.metrics.hops_refused += 1;
        }
    }

    fn handle<'a>(
        &mut self,
        arrival: Arrival<'a>,
        input: impl FnOnce(Datagram<'a>) -> Input<'a>,
        ports: &[Port],
    ) -> Verdict {
        if !self.outbox.has_room() {
            self.egress.flush(&mut self.outbox, ports, &mut self.metrics);
            self.now = self.clock.now();
        }
        let started = self.now;
        let age = self.wall.age(arrival.stamp_ns, started);
        let datagram = Datagram { from: arrival.from, to: arrival.to, bytes: arrival.bytes, age };
        let outcome =
            self.handler.handle(started, self.wall.unix(), input(datagram), &mut self.outbox);
        self.now = self.clock.now();
        self.metrics.service_time.of_mut(outcome.class).record(self.now.since(started));
        self.metrics.queue_age.of_mut(outcome.class).record(age);
        outcome.verdict
    }

    fn move_on(&mut self, core: CoreId, arrival: Arrival<'_>) {
        let hop = Hop { from: arrival.from, to: arrival.to, stamp_ns: arrival.stamp_ns };
        match self.post.push(core.0, hop, arrival.bytes) {
            Pushed::Queued => self.metrics.hops_sent += 1,
            Pushed::Full => self.metrics.hops_dropped += 1,
            Pushed::Nowhere => self.metrics.hops_refused += 1,
        }
    }

    /// Lets timers expire that are due; returns whether there were any.
    pub(super) fn expire(&mut self, ports: &[Port]) -> bool {
        self.now = self.clock.now();
        if self.handler.deadline().is_none_or(|deadline| deadline > self.now) {
            return false;
        }
        self.handler.expire(self.now, EXPIRE_BUDGET, &mut self.outbox);
        self.close(ports);
        true
    }

    /// Empties the error queues of a listener's sockets.
    pub(super) fn read_errors(&mut self, port: &Port) {
        egress::read_errors(port, &mut self.metrics);
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
