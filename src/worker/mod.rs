//! The loop of one core: read what the kernel has, think, send, look into the rings, keep time, and wait when all of that
//! found nothing. It owns the core's sockets and its handler, and shares nothing but rings, a bell and a board.

mod board;
mod clock;
mod desk;
mod egress;
mod handler;
mod histogram;
mod metrics;
mod phase;
mod ports;

pub use board::{Board, Snapshot};
pub use clock::{Clock, Wall};
pub use handler::Handler;
pub use histogram::Histogram;
pub use metrics::{Metrics, PerClass, Received};
pub use phase::Phase;
pub use ports::{Intake, Port};

use crate::mesh::{End, Hop, Inbox, Record};
use crate::readiness::{Readable, Readiness, Task};
use crate::sys::errors;
use crate::sys::event::Event;
use crate::sys::receive::Receiver;
use crate::sys::socket::UdpSocket;
use desk::{Arrival, Desk, Window};
use ports::Kind;
use shards::io::{Instant, ListenerId, LocalAddr, Peer};
use std::sync::Arc;
use std::time::Duration;

/// How a worker paces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Datagrams read from a socket at a time.
    pub batch: usize,
    /// REGISTERs read from a socket in a round, at most `batch`; what is beyond waits in the kernel or overflows there.
    pub register_budget: usize,
    /// What is taken from each ring in a round.
    pub hop_budget: usize,
    /// Errands run for the control side in a round; each may take as long as some ten inputs.
    pub errand_budget: usize,
    /// The largest datagram read whole, in bytes. What is longer is dropped and counted.
    pub datagram_bytes_max: usize,
    /// How often the counters are published.
    pub publish_every: Duration,
    /// How long draining may take.
    pub drain_at_most: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch: 64,
            register_budget: 64,
            hop_budget: 64,
            errand_budget: 1,
            datagram_bytes_max: 65_535,
            publish_every: Duration::from_secs(1),
            drain_at_most: Duration::from_secs(2),
        }
    }
}

/// The longest sleep, so that the heartbeat shows that a core without traffic lives.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// What is read from each error queue at a time.
const ERRORS_AT_ONCE: usize = 32;
/// The longest sleep while messages wait for room in the kernel's buffers, or others to finish.
const NAP: Duration = Duration::from_millis(1);

/// What a worker is made of, besides its handler.
#[derive(Debug)]
pub struct Parts<H: Handler> {
    /// How it paces itself.
    pub settings: Settings,
    /// Its sockets, by [`ListenerId`].
    pub ports: Vec<Port>,
    /// Its end of the mesh.
    pub end: End<H::Errand>,
    /// Where it shows itself.
    pub board: Arc<Board<H::Metrics>>,
    /// What it agrees on with the other workers.
    pub phase: Arc<Phase>,
    /// The node's clock.
    pub clock: Clock,
}

/// One core at work.
#[derive(Debug)]
pub struct Worker<H: Handler> {
    settings: Settings,
    ports: Vec<Port>,
    /// The sockets in the order in which they are read: the listener's number and which of its sockets.
    intakes: Box<[(usize, Kind)]>,
    receiver: Receiver,
    errors: errors::Reader,
    inbox: Inbox<H::Errand>,
    desk: Desk<H>,
    board: Arc<Board<H::Metrics>>,
    phase: Arc<Phase>,
    publish_at: Instant,
    /// When draining has to end; `None` while serving.
    drain_until: Option<Instant>,
    is_quiet: bool,
}

/// What a round, or a part of it, came to.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// It found something to do.
    found: bool,
    /// It may have left something undone.
    left: bool,
}

impl Round {
    const MORE: Round = Round { found: true, left: true };

    fn add(&mut self, part: Round) {
        self.found |= part.found;
        self.left |= part.left;
    }
}

impl<H: Handler> Worker<H> {
    /// A worker that serves once [`Task::run`] is called and every other worker of its phase is ready.
    #[must_use]
    pub fn new(parts: Parts<H>, handler: H) -> Self {
        let Parts { settings, ports, end, board, phase, clock } = parts;
        // What is not REGISTER comes first: it is little, and calls and phones wait for it.
        let rest = (0..ports.len()).map(|listener| (listener, Kind::Rest));
        let register = (0..ports.len())
            .filter(|&listener| ports[listener].register.is_some())
            .map(|listener| (listener, Kind::Register));
        Worker {
            intakes: rest.chain(register).collect(),
            receiver: Receiver::new(settings.batch, settings.datagram_bytes_max),
            errors: errors::Reader::new(),
            desk: Desk::new(handler, end.post, ports.len(), clock),
            inbox: end.inbox,
            settings,
            ports,
            board,
            phase,
            publish_at: Instant::START,
            drain_until: None,
            is_quiet: false,
        }
    }

    async fn serve<R: Readiness>(&mut self, mut readiness: R) {
        let mut readable = Readable::ALL;
        loop {
            let round = self.round(readable);
            readable = Readable::ALL;
            let now = self.desk.now();
            self.board.beat(now);
            if now >= self.publish_at {
                self.publish();
            }
            if self.has_drained(round.found) {
                break;
            }
            if round.found {
                self.desk.metrics.rounds += 1;
            }
            // Where a read came up short nothing is left, and waiting tells what has come since more cheaply than reading
            // every socket in vain.
            if !round.left && self.inbox.may_sleep() {
                readable = self.sleep(&mut readiness).await;
            }
        }
        self.publish();
    }

    /// Does what there is to do, reading those sockets only that are `readable`.
    fn round(&mut self, readable: Readable) -> Round {
        let mut round = Round::default();
        for place in 0..self.intakes.len() {
            if readable.has(place) {
                let (listener, kind) = self.intakes[place];
                let most = match kind {
                    Kind::Rest => self.settings.batch,
                    Kind::Register => self.settings.register_budget,
                };
                round.add(self.read(listener, kind, most));
            }
        }
        round.found |= self.read_rings() > 0;
        round.found |= self.run_errands() > 0;
        if !self.desk.egress.is_idle() {
            self.desk.egress.retry(&self.ports, &mut self.desk.metrics);
        }
        if self.desk.expire(&self.ports) {
            // There may be more than one round's budget of timers.
            round.add(Round::MORE);
        }
        if self.desk.egress.has_met_errors() {
            self.read_errors();
            round.add(Round::MORE);
        }
        round
    }

    fn read(&mut self, listener: usize, kind: Kind, most: usize) -> Round {
        let Some(intake) = self.ports[listener].intake(kind) else { return Round::default() };
        let count = match self.receiver.receive(&intake.socket, most) {
            Ok(0) => return Round::default(),
            Ok(count) => count,
            Err(_) => {
                // The error was reported in the place of datagrams that may well be waiting.
                self.read_errors_of(listener);
                return Round::MORE;
            }
        };
        self.desk.metrics.batches += 1;
        self.desk.open();
        let Worker { receiver, ports, desk, .. } = self;
        let mut window = Window::default();
        for index in 0..count {
            let Some(received) = receiver.get(index) else { continue };
            let counters = desk.metrics.received(kind);
            counters.datagrams += 1;
            counters.bytes += received.bytes.len() as u64;
            if let Some(overflow) = received.overflow
                && let Some(intake) = ports[listener].intake(kind)
            {
                counters.overflowed += intake.newly_dropped(overflow);
            }
            if received.truncated {
                counters.truncated += 1;
                continue;
            }
            let to = LocalAddr {
                listener: ListenerId(u16::try_from(listener).unwrap_or(u16::MAX)),
                ip: ports[listener].reached(received.to),
            };
            let from = Peer::udp(received.from);
            let arrival = Arrival { from, to, bytes: received.bytes, stamp_ns: received.stamp_ns };
            window.push(arrival);
            if window.is_full() {
                desk.take(&mut window, ports);
            }
        }
        desk.take(&mut window, ports);
        self.desk.close(&self.ports);
        Round { found: true, left: count >= most.min(self.settings.batch) }
    }

    fn read_rings(&mut self) -> usize {
        let mut read = 0;
        for ring in self.inbox.rings() {
            if ring.is_empty() {
                continue;
            }
            self.desk.open();
            for _ in 0..self.settings.hop_budget {
                let (desk, ports) = (&mut self.desk, &self.ports);
                let taken = ring.take(|record, bytes| match record {
                    Record::Hop(Hop { from, to, stamp_ns }) => {
                        desk.take_moved(Arrival { from, to, bytes, stamp_ns }, ports);
                    }
                    Record::Letter => desk.take_letter(bytes, ports),
                    Record::Unreachable(to) => desk.take_moved_error(to, bytes, ports),
                });
                if !taken {
                    break;
                }
                read += 1;
            }
            self.desk.close(&self.ports);
        }
        read
    }

    /// Does what the control side asks, a little of it. What is left keeps this core from sleeping.
    fn run_errands(&mut self) -> usize {
        let Worker { inbox, desk, settings, ports, .. } = self;
        let run = (0..settings.errand_budget)
            .take_while(|_| inbox.line().serve(|errand| desk.run(errand, ports)))
            .count();
        if run > 0 {
            desk.close(ports);
        }
        run
    }

    /// Takes what lies in the error queues, some of it from each.
    fn read_errors(&mut self) {
        for listener in 0..self.ports.len() {
            self.read_errors_of(listener);
        }
    }

    fn read_errors_of(&mut self, listener: usize) {
        let Worker { errors, desk, ports, .. } = self;
        let mut is_open = false;
        for socket in ports[listener].sockets() {
            for _ in 0..ERRORS_AT_ONCE {
                let Some(error) = errors.read(socket) else { break };
                if !is_open {
                    desk.open();
                    is_open = true;
                }
                desk.take_error(error, ports);
            }
        }
        if is_open {
            desk.close(ports);
        }
    }

    /// Sleeps until there is something to do, after [`Inbox::may_sleep`] has said so.
    async fn sleep<R: Readiness>(&mut self, readiness: &mut R) -> Readable {
        let start = self.desk.now();
        let longest =
            if self.phase.is_draining() || !self.desk.egress.is_idle() { NAP } else { SLEEP_MAX };
        let timer =
            self.desk.handler.deadline().map_or(SLEEP_MAX, |deadline| deadline.since(start));
        let at_most = longest.min(timer).min(self.publish_at.since(start));
        let woken = readiness.wait(at_most).await;
        self.inbox.awake();
        self.desk.slept_since(start);
        if woken.error {
            // What is beyond the budget ends the next wait at once.
            self.read_errors();
        }
        woken.readable
    }

    fn publish(&mut self) {
        for port in &mut self.ports {
            for kind in [Kind::Rest, Kind::Register] {
                if let Some(intake) = port.intake(kind)
                    && let Ok(dropped) = intake.socket.dropped()
                {
                    // A datagram tells of drops before it; nothing but this tells of those after the last.
                    self.desk.metrics.received(kind).overflowed += intake.newly_dropped(dropped);
                }
            }
        }
        // An error that nobody noticed otherwise must not stay in the queue.
        self.read_errors();
        let Worker { desk, board, .. } = self;
        let now = desk.now();
        let published = board.publish(|shown| {
            shown.at = now;
            shown.worker.clone_from(&desk.metrics);
            desk.handler.publish(&mut shown.handler);
        });
        if published {
            self.publish_at = now.plus(self.settings.publish_every);
        }
    }

    /// Whether draining has come to its end: every core has had a round without work, or time is up.
    fn has_drained(&mut self, busy: bool) -> bool {
        if !self.phase.is_draining() {
            return false;
        }
        let now = self.desk.now();
        let until = *self.drain_until.get_or_insert(now.plus(self.settings.drain_at_most));
        let idle = !busy && self.desk.egress.is_idle();
        if !self.is_quiet && (idle || now >= until) {
            self.is_quiet = true;
            self.phase.quiet();
        }
        // What a core moved here before it fell quiet is in the rings by now, so one more round without work is enough.
        now >= until || (idle && self.phase.all_quiet() && self.inbox.is_empty())
    }
}

impl<H: Handler> Task for Worker<H> {
    type Output = ();

    fn sockets(&self) -> Vec<&UdpSocket> {
        let socket = |&(listener, kind): &(usize, Kind)| self.ports[listener].socket(kind);
        self.intakes.iter().filter_map(socket).collect()
    }

    fn bell(&self) -> &Event {
        self.inbox.bell()
    }

    async fn run<R: Readiness>(mut self, readiness: R) {
        if self.phase.ready() {
            self.serve(readiness).await;
        }
    }
}
