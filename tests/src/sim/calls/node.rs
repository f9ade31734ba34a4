//! The node of the world of calls: cores with sockets, outboxes, and rings that carry datagrams, letters and errors from one to
//! another. It decides nothing of SIP and leaves every judgement to the oracle.

use super::oracle::{Oracle, Step};
use super::plan::Plan;
use crate::sim::handler::{Handler, Make};
use crate::sim::log::{Event, Log};
use crate::sim::network::Packet;
use crate::sim::plan::Fault;
use crate::sim::random::Random;
use shards::io::{CoreId, Datagram, Input, Instant, Outbox, Peer, UnixTime, Unreachable, Verdict};
use shards::shard::{Homes, Shard};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// What waits for a core.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// A datagram, and when the kernel received it.
    Datagram(Packet, Instant),
    /// What another core has written.
    Letter(Rc<[u8]>),
    /// An ICMP error about what was sent to an address, and what it quotes.
    Unreachable(SocketAddr, Rc<[u8]>),
}

/// A name that a core asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// The core.
    pub core: usize,
    /// What the answer has to carry.
    pub ticket: u64,
    /// The name.
    pub name: String,
}

/// What leaves a node.
#[derive(Debug, Default)]
pub struct Left {
    /// Datagrams, and whom they go to.
    pub sends: Vec<(SocketAddr, Rc<[u8]>)>,
    /// Names.
    pub questions: Vec<Question>,
}

#[derive(Debug)]
struct Core {
    handler: Box<dyn Handler>,
    socket: VecDeque<Waiting>,
    /// From each core, by its number, with when it can be seen.
    rings: Vec<VecDeque<(Waiting, Instant)>>,
    outbox: Outbox,
    /// How much of what the outbox holds was seen, posted and asked.
    seen: [usize; 3],
    stalled_until: Instant,
    blocked_until: Instant,
    turn_at: Option<Instant>,
}

/// How long a core takes for a turn.
const TURN: Duration = Duration::from_micros(50);
const SOCKET_MAX: usize = 4096;
const RING_MAX: usize = 1024;

/// The node.
#[derive(Debug)]
pub struct Node {
    random: Random,
    cores: Vec<Core>,
    up_at: Instant,
    batch: usize,
    outbox: usize,
    expire_budget: u32,
    foresees: bool,
    delivers_anywhere: bool,
    socket_max: usize,
    ring_max: usize,
    ring_delay: Duration,
    /// Of a thousand.
    egress_loss: u32,
}

/// What a turn shares with the rest of the world.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The time.
    pub now: Instant,
    /// Who judges.
    pub oracle: &'a mut Oracle,
    /// What happened.
    pub log: &'a mut Log,
    /// What leaves.
    pub left: &'a mut Left,
}

impl Node {
    /// The node of a plan, started.
    #[must_use]
    pub fn new(plan: &Plan, make: &Make, random: Random) -> Self {
        let strength = |fault| u64::from(plan.strength(fault));
        let capacity = |fault, most: usize| match strength(fault) {
            0 => most,
            strength => 1 + (100 - usize::try_from(strength).unwrap()) / 8,
        };
        let mut node = Node {
            cores: Vec::new(),
            up_at: Instant::START,
            batch: plan.base.batch,
            outbox: plan.base.outbox,
            expire_budget: plan.base.expire_budget,
            foresees: plan.base.foresees,
            delivers_anywhere: plan.strength(Fault::WrongCore) > 0,
            socket_max: capacity(Fault::SmallSockets, SOCKET_MAX),
            ring_max: capacity(Fault::SmallRings, RING_MAX),
            ring_delay: Duration::from_micros(1 + strength(Fault::SlowRings).pow(2) * 40),
            egress_loss: plan.strength(Fault::EgressLoss) * 4,
            random,
        };
        node.start(plan, make, plan.base.cores, 0);
        node
    }

    /// Starts for the time of a number with this many cores and nothing else: what waited is gone.
    pub fn start(&mut self, plan: &Plan, make: &Make, cores: u16, start: u64) {
        let settings = plan.settings(cores, start);
        self.cores = (0..cores)
            .map(|core| {
                let settings = shards::shard::Settings {
                    core: CoreId(core),
                    homes: Homes::all(cores),
                    ..settings.clone()
                };
                Core {
                    handler: make(settings),
                    socket: VecDeque::new(),
                    rings: (0..cores).map(|_| VecDeque::new()).collect(),
                    outbox: Outbox::new(self.outbox, 0),
                    seen: [0; 3],
                    stalled_until: Instant::START,
                    blocked_until: Instant::START,
                    turn_at: None,
                }
            })
            .collect();
    }

    /// Is down until then.
    pub fn down_until(&mut self, at: Instant) {
        self.up_at = at;
    }

    /// How many cores it has.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The thinking of each core.
    pub fn handlers(&mut self) -> impl Iterator<Item = &mut Box<dyn Handler>> {
        self.cores.iter_mut().map(|core| &mut core.handler)
    }

    /// Something from an address reaches one of the sockets.
    ///
    /// # Errors
    /// What has lost it.
    pub fn arrive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        waiting: Waiting,
    ) -> Result<(), &'static str> {
        if now < self.up_at {
            return Err("a node that is down");
        }
        let core = if self.delivers_anywhere {
            self.random.index(self.cores.len())
        } else {
            // As SO_REUSEPORT does: the same for each source.
            let ip = match from.ip() {
                IpAddr::V4(ip) => u64::from(ip.to_bits()),
                IpAddr::V6(ip) => u64::from(ip.segments()[7]),
            };
            let bits = (u64::from(from.port()) << 32 ^ ip).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            usize::try_from(bits >> 32).unwrap() % self.cores.len()
        };
        let socket = &mut self.cores[core].socket;
        if socket.len() >= self.socket_max {
            return Err("a full socket");
        }
        socket.push_back(waiting);
        self.call(core, now);
        Ok(())
    }

    /// When a core has something to do; the earliest of all, and which core it is.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, usize)> {
        let turns =
            self.cores.iter().enumerate().filter_map(|(place, core)| Some((core.turn_at?, place)));
        turns.min()
    }

    fn call(&mut self, core: usize, at: Instant) {
        let core = &mut self.cores[core];
        let at = at.max(core.stalled_until);
        core.turn_at = Some(core.turn_at.map_or(at, |turn| turn.min(at)));
    }

    /// A core does what its worker does in a round.
    pub fn turn(&mut self, core: usize, scene: &mut Scene<'_>) {
        let now = scene.now;
        self.cores[core].turn_at = None;
        self.flush(core, scene);
        self.foresee(core);
        for _ in 0..self.batch {
            if !self.has_room(core, scene) {
                break;
            }
            let Some(waiting) = self.cores[core].socket.pop_front() else { break };
            self.think(core, waiting, false, scene);
        }
        for sender in 0..self.cores.len() {
            for _ in 0..self.batch {
                let front = self.cores[core].rings[sender].front();
                if front.is_none_or(|(_, visible)| *visible > now) || !self.has_room(core, scene) {
                    break;
                }
                let Some((waiting, _)) = self.cores[core].rings[sender].pop_front() else { break };
                self.think(core, waiting, true, scene);
            }
        }
        if self.has_room(core, scene) {
            self.expire(core, scene);
        }
        self.flush(core, scene);
        self.plan_turn(core, now);
    }

    fn foresee(&mut self, core: usize) {
        if !self.foresees {
            return;
        }
        let Core { handler, socket, .. } = &mut self.cores[core];
        let mut next = Vec::new();
        for waiting in socket.iter().take(self.batch.min(Shard::FORESEEN)) {
            let Waiting::Datagram(packet, _) = waiting else { break };
            next.push(datagram(packet, Duration::ZERO));
        }
        if next.len() > 1 {
            handler.foresee(&next);
        }
    }

    fn has_room(&mut self, core: usize, scene: &mut Scene<'_>) -> bool {
        if !self.cores[core].outbox.has_room() {
            self.flush(core, scene);
        }
        self.cores[core].outbox.has_room()
    }

    /// Hands something to a core, what came of it to the oracle, and what moves to another core.
    fn think(&mut self, core: usize, waiting: Waiting, moved: bool, scene: &mut Scene<'_>) {
        let Core { handler, outbox, .. } = &mut self.cores[core];
        let input = match &waiting {
            Waiting::Datagram(packet, arrived) => {
                let datagram = datagram(packet, scene.now.since(*arrived));
                if moved { Input::Hop(datagram) } else { Input::Datagram(datagram) }
            }
            Waiting::Letter(bytes) => Input::Letter(bytes),
            Waiting::Unreachable(to, quoted) => {
                Input::Unreachable(Unreachable { to: Peer::udp(*to), quoted })
            }
        };
        let outcome = handler.handle(scene.now, WALL, input, outbox);
        let core_id = CoreId(u16::try_from(core).unwrap());
        let event = match &waiting {
            Waiting::Datagram(packet, _) => Event::Handled {
                core: core_id,
                moved,
                from: packet.from,
                bytes: Rc::clone(&packet.bytes),
                outcome,
            },
            Waiting::Letter(bytes) => {
                let what = format!("a letter of {} bytes is {:?}", bytes.len(), outcome.verdict);
                Event::Ran { core: core_id, what }
            }
            Waiting::Unreachable(to, _) => {
                let what = format!("that {to} can't be reached is {:?}", outcome.verdict);
                Event::Ran { core: core_id, what }
            }
        };
        scene.log.push(scene.now, event);
        let packet = match &waiting {
            Waiting::Datagram(packet, _) => Some(packet),
            Waiting::Letter(_) | Waiting::Unreachable(..) => None,
        };
        self.judge(core, packet, Some(outcome), scene);
        if let Verdict::Hopped(home) = outcome.verdict {
            let bytes = match &waiting {
                Waiting::Datagram(packet, _) => Rc::clone(&packet.bytes),
                Waiting::Letter(bytes) | Waiting::Unreachable(_, bytes) => Rc::clone(bytes),
            };
            if moved {
                scene.lost("a full ring", &bytes);
            } else {
                self.put(core, usize::from(home.0), waiting, &bytes, scene);
            }
        }
    }

    /// Puts something into the ring to another core.
    fn put(
        &mut self,
        from: usize,
        to: usize,
        waiting: Waiting,
        bytes: &Rc<[u8]>,
        scene: &mut Scene<'_>,
    ) {
        let visible = scene.now.plus(self.random.exponential(self.ring_delay));
        let ring = self.cores.get_mut(to).map(|core| &mut core.rings[from]);
        match ring {
            Some(ring) if ring.len() < self.ring_max => {
                ring.push_back((waiting, visible));
                self.call(to, visible);
            }
            Some(_) | None => scene.lost("a full ring", bytes),
        }
    }

    /// Shows the oracle what was put into the outbox since it last looked, and lets letters and questions go at once.
    fn judge(
        &mut self,
        core: usize,
        packet: Option<&Packet>,
        outcome: Option<shards::io::Outcome>,
        scene: &mut Scene<'_>,
    ) {
        let Core { handler, outbox, seen, .. } = &mut self.cores[core];
        let [sends, letters, questions] = seen;
        let sent = outbox.sends().get(*sends..).unwrap_or_default();
        let sent = sent.iter().map(|send| (send.to.addr, outbox.bytes(send))).collect();
        let step = Step { now: scene.now, core, packet, outcome, sends: sent, handler: &**handler };
        scene.oracle.step(&step);
        *sends = outbox.sends().len();
        let mut posts: Vec<(usize, Rc<[u8]>)> = Vec::new();
        for letter in outbox.letters().get(*letters..).unwrap_or_default() {
            posts.push((usize::from(letter.to.0), outbox.text(&letter.range).into()));
        }
        *letters = outbox.letters().len();
        for question in outbox.questions().get(*questions..).unwrap_or_default() {
            let name = String::from_utf8_lossy(outbox.text(&question.range)).into_owned();
            scene.left.questions.push(Question { core, ticket: question.ticket, name });
        }
        *questions = outbox.questions().len();
        for (to, bytes) in posts {
            self.put(core, to, Waiting::Letter(Rc::clone(&bytes)), &bytes, scene);
        }
    }

    /// Tells a core the addresses of a name.
    pub fn tell(&mut self, core: usize, ticket: u64, addresses: &[IpAddr], scene: &mut Scene<'_>) {
        if core >= self.cores.len() || !self.has_room(core, scene) {
            return;
        }
        let Core { handler, outbox, .. } = &mut self.cores[core];
        let outcome =
            handler.handle(scene.now, WALL, Input::Addresses { ticket, addresses }, outbox);
        let what = format!("{addresses:?} for {ticket:x} are {:?}", outcome.verdict);
        let core_id = CoreId(u16::try_from(core).unwrap());
        scene.log.push(scene.now, Event::Ran { core: core_id, what });
        self.judge(core, None, Some(outcome), scene);
        self.plan_turn(core, scene.now);
    }

    fn expire(&mut self, core: usize, scene: &mut Scene<'_>) {
        let Core { handler, outbox, .. } = &mut self.cores[core];
        if handler.deadline().is_some_and(|deadline| deadline <= scene.now) {
            handler.expire(scene.now, self.expire_budget, outbox);
            self.judge(core, None, None, scene);
        }
    }

    /// Sends what waits in an outbox, unless the kernel takes nothing.
    fn flush(&mut self, core: usize, scene: &mut Scene<'_>) {
        let Node { random, cores, egress_loss, .. } = self;
        let Core { outbox, seen, blocked_until, .. } = &mut cores[core];
        if *blocked_until > scene.now {
            return;
        }
        for send in outbox.sends() {
            let bytes: Rc<[u8]> = outbox.bytes(send).into();
            if random.chance(*egress_loss) {
                scene.lost("the way out", &bytes);
                continue;
            }
            let event = Event::Answered { to: send.to.addr, bytes: Rc::clone(&bytes) };
            scene.log.push(scene.now, event);
            scene.left.sends.push((send.to.addr, bytes));
        }
        outbox.clear();
        *seen = [0; 3];
    }

    fn plan_turn(&mut self, core: usize, now: Instant) {
        let Core { handler, socket, rings, outbox, blocked_until, .. } = &self.cores[core];
        let next = now.plus(TURN);
        let ring = rings.iter().filter_map(|ring| ring.front()).map(|(_, visible)| *visible).min();
        let input = if socket.is_empty() { ring.map(|at| at.max(next)) } else { Some(next) };
        // While nothing can be sent nothing more is read, and no timer is looked at.
        let waits = |at: Instant| if outbox.has_room() { at } else { at.max(*blocked_until) };
        let input = input.map(waits);
        let is_waiting = !(outbox.sends().is_empty()
            && outbox.letters().is_empty()
            && outbox.questions().is_empty());
        let unsent = is_waiting.then(|| (*blocked_until).max(next));
        let timers = handler.deadline().map(|deadline| waits(deadline.max(next)));
        if let Some(at) = [input, unsent, timers].into_iter().flatten().min() {
            self.call(core, at);
        }
    }

    /// A core stands still for a while; says so.
    pub fn stall(&mut self, now: Instant) -> String {
        let core = self.random.index(self.cores.len());
        let time = self.random.exponential(Duration::from_secs(2));
        self.cores[core].stalled_until = now.plus(time);
        if let Some(turn) = self.cores[core].turn_at {
            self.cores[core].turn_at = Some(turn.max(now.plus(time)));
        }
        format!("core {core} stands still for {time:?}")
    }

    /// The kernel takes nothing from a core for a while; says so.
    pub fn block(&mut self, now: Instant) -> String {
        let core = self.random.index(self.cores.len());
        let time = self.random.exponential(Duration::from_secs(1));
        self.cores[core].blocked_until = now.plus(time);
        format!("the kernel takes nothing from core {core} for {time:?}")
    }

    /// Ends all faults but the delivery to any core.
    pub fn heal(&mut self, now: Instant) {
        self.up_at = self.up_at.min(now);
        self.egress_loss = 0;
        self.ring_delay = Duration::from_micros(1);
        self.socket_max = SOCKET_MAX;
        self.ring_max = RING_MAX;
        for core in 0..self.cores.len() {
            self.cores[core].stalled_until = Instant::START;
            self.cores[core].blocked_until = Instant::START;
            self.call(core, now);
        }
    }
}

/// Nothing in this world reads the calendar but Date headers.
const WALL: UnixTime = UnixTime(1_800_000_000);

impl Scene<'_> {
    /// Writes down what was lost.
    pub fn lost(&mut self, by: &'static str, bytes: &Rc<[u8]>) {
        self.oracle.saw(by);
        self.log.push(self.now, Event::Lost { by, bytes: Rc::clone(bytes) });
    }
}

fn datagram(packet: &Packet, age: Duration) -> Datagram<'_> {
    Datagram { from: Peer::udp(packet.from), to: packet.to, bytes: &packet.bytes, age }
}
