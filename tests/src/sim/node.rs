//! The node under simulation: cores with their sockets, rings and outboxes, as the worker of the server has them, in virtual time
//! and on one thread. It decides nothing of SIP and leaves every judgement to the oracle.

use super::directory::Directory;
use super::handler::{Handler, Make, Table};
use super::log::{Event, Log};
use super::network::Packet;
use super::operator::{Sent, Told};
use super::oracle::{Oracle, Ran, Step};
use super::plan::{Fault, Plan};
use super::random::Random;
use shards::io::{CoreId, Datagram, Input, Instant, LocalAddr, Outbox, Peer, UnixTime, Verdict};
use shards::shard::{Homes, Shard};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A response that has left the node.
#[derive(Clone, Debug)]
pub struct Response {
    /// Whom it goes to.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Rc<[u8]>,
}

/// A datagram that waits for a core.
#[derive(Clone, Debug)]
struct Waiting {
    packet: Packet,
    /// When the kernel received it.
    arrived: Instant,
    /// When the core can see it.
    visible: Instant,
}

/// One core and what waits for it.
#[derive(Debug)]
struct Core {
    handler: Box<dyn Handler>,
    socket: VecDeque<Waiting>,
    /// From each core, by its number.
    rings: Vec<VecDeque<Waiting>>,
    outbox: Outbox,
    stalled_until: Instant,
    blocked_until: Instant,
    /// When it looks next.
    turn_at: Option<Instant>,
}

/// How long a core takes for a turn.
const TURN: Duration = Duration::from_micros(50);

/// The node.
#[derive(Debug)]
pub struct Node {
    random: Random,
    cores: Vec<Core>,
    /// Since when it runs again; the future while it is down.
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
    /// What the wall clock says.
    pub wall: UnixTime,
    /// Who judges.
    pub oracle: &'a mut Oracle,
    /// What happened.
    pub log: &'a mut Log,
    /// What leaves.
    pub responses: &'a mut Vec<Response>,
}

impl Node {
    /// The node of a plan, started.
    #[must_use]
    pub fn new(plan: &Plan, make: &Make, directory: &Directory, random: Random) -> Self {
        let strength = |fault| u64::from(plan.strength(fault));
        let capacity = |fault, most: usize| match strength(fault) {
            0 => most,
            strength => 1 + (100 - usize::try_from(strength).unwrap()) / 8,
        };
        let mut node = Node {
            cores: Vec::new(),
            up_at: Instant::START,
            batch: plan.batch,
            outbox: plan.outbox,
            expire_budget: plan.expire_budget,
            foresees: plan.foresees,
            delivers_anywhere: plan.strength(Fault::WrongCore) > 0,
            socket_max: capacity(Fault::SmallSockets, 4096),
            ring_max: capacity(Fault::SmallRings, 1024),
            ring_delay: Duration::from_micros(1 + strength(Fault::SlowRings).pow(2) * 20),
            egress_loss: plan.strength(Fault::EgressLoss) * 4,
            random,
        };
        node.start(plan, make, plan.cores, 0, directory);
        node
    }

    /// Starts for the time of a number with this many cores and a file, and nothing else: what waited is gone.
    pub fn start(
        &mut self,
        plan: &Plan,
        make: &Make,
        cores: u16,
        start: u64,
        directory: &Directory,
    ) {
        let settings = plan.settings(cores, start, directory);
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
                    outbox: Outbox::new(self.outbox, Outbox::MESSAGE_BYTES_MAX + self.outbox * 600),
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
    pub fn handlers(&self) -> impl Iterator<Item = &dyn Handler> {
        self.cores.iter().map(|core| &*core.handler)
    }

    /// A datagram reaches one of the sockets; false where it is lost.
    pub fn arrive(&mut self, now: Instant, packet: Packet) -> Result<usize, &'static str> {
        if now < self.up_at {
            return Err("a node that is down");
        }
        let core = if self.delivers_anywhere {
            self.random.index(self.cores.len())
        } else {
            // As SO_REUSEPORT does: the same for each source.
            let bits = u64::from(packet.from.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            usize::try_from(bits).unwrap() % self.cores.len()
        };
        let socket = &mut self.cores[core].socket;
        if socket.len() == self.socket_max {
            return Err("a full socket");
        }
        socket.push_back(Waiting { packet, arrived: now, visible: now });
        self.call(core, now);
        Ok(core)
    }

    /// When a core has something to do; the earliest of all, and which core it is.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, usize)> {
        let turns =
            self.cores.iter().enumerate().filter_map(|(place, core)| Some((core.turn_at?, place)));
        turns.min()
    }

    /// Makes a core look at `at` at the latest.
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
        if self.foresees {
            let Core { handler, socket, .. } = &mut self.cores[core];
            let next = socket.iter().take(self.batch.min(Shard::FORESEEN));
            let next: Vec<_> =
                next.map(|waiting| datagram(&waiting.packet, Duration::ZERO)).collect();
            if next.len() > 1 {
                handler.foresee(&next);
            }
        }
        for _ in 0..self.batch {
            if !self.has_room(core, scene) {
                break;
            }
            let Some(waiting) = self.cores[core].socket.pop_front() else { break };
            self.handle(core, waiting, false, scene);
        }
        for sender in 0..self.cores.len() {
            for _ in 0..self.batch {
                let is_visible = |waiting: &Waiting| waiting.visible <= now;
                if !self.cores[core].rings[sender].front().is_some_and(is_visible)
                    || !self.has_room(core, scene)
                {
                    break;
                }
                let Some(waiting) = self.cores[core].rings[sender].pop_front() else { break };
                self.handle(core, waiting, true, scene);
            }
        }
        self.expire(core, scene);
        self.flush(core, scene);
        self.plan_turn(core, now);
    }

    /// An outbox with room, after sending where that is needed and possible.
    fn has_room(&mut self, core: usize, scene: &mut Scene<'_>) -> bool {
        if !self.cores[core].outbox.has_room() {
            self.flush(core, scene);
        }
        self.cores[core].outbox.has_room()
    }

    fn handle(&mut self, core: usize, waiting: Waiting, moved: bool, scene: &mut Scene<'_>) {
        let Waiting { packet, arrived, .. } = waiting;
        let verdict = self.think(core, &packet, arrived, moved, scene);
        if let Verdict::Hopped(home) = verdict {
            let home = usize::from(home.0);
            let delay = self.random.exponential(self.ring_delay);
            let visible = scene.now.plus(delay);
            let ring = self.cores.get_mut(home).map(|home| &mut home.rings[core]);
            match ring {
                Some(ring) if ring.len() < self.ring_max && !moved => {
                    ring.push_back(Waiting { packet, arrived, visible });
                    self.call(home, visible);
                }
                Some(_) | None => scene.lost("a full ring", &packet.bytes),
            }
        }
    }

    /// Hands a datagram to a core, and what came of it to the oracle.
    fn think(
        &mut self,
        core: usize,
        packet: &Packet,
        arrived: Instant,
        moved: bool,
        scene: &mut Scene<'_>,
    ) -> Verdict {
        let Core { handler, outbox, .. } = &mut self.cores[core];
        let age = scene.now.since(arrived);
        let datagram =
            Datagram { from: Peer::udp(packet.from), to: packet.to, bytes: &packet.bytes, age };
        let input = if moved { Input::Hop(datagram) } else { Input::Datagram(datagram) };
        let before = outbox.sends().len();
        let outcome = handler.handle(scene.now, scene.wall, input, outbox);
        let core_id = CoreId(u16::try_from(core).unwrap());
        let bytes = Rc::clone(&packet.bytes);
        scene.log.push(
            scene.now,
            Event::Handled { core: core_id, moved, from: packet.from, bytes, outcome },
        );
        let sends: Vec<_> = outbox.sends().get(before..).unwrap_or_default().to_vec();
        let sends =
            sends.iter().map(|send| (send.to.addr, send.from, outbox.bytes(send))).collect();
        let step = Step {
            now: scene.now,
            wall: scene.wall,
            core: core_id,
            moved,
            packet,
            outcome,
            sends,
            handler: &**handler,
        };
        scene.oracle.handled(&step);
        outcome.verdict
    }

    /// Asks the home core about an address-of-record, beside the network; the answer goes to the oracle only.
    pub fn ask(&mut self, core: usize, packet: &Packet, scene: &mut Scene<'_>) {
        let outbox = std::mem::replace(&mut self.cores[core].outbox, Outbox::new(1, 0));
        self.think(core, packet, scene.now, true, scene);
        self.cores[core].outbox = outbox;
        self.plan_turn(core, scene.now);
    }

    /// Hands an errand to its core, and what came of it to the oracle.
    pub fn run(&mut self, mut sent: Sent, scene: &mut Scene<'_>) {
        let core = usize::from(sent.core.0);
        let handler = &mut self.cores[core].handler;
        handler.run(scene.now, &mut sent.errand);
        scene
            .log
            .push(scene.now, Event::Ran { core: sent.core, what: Told(&sent.errand).to_string() });
        scene.oracle.ran(&Ran {
            now: scene.now,
            core: sent.core,
            errand: &sent.errand,
            directory: sent.directory.as_ref(),
            handler: &**handler,
        });
        self.plan_turn(core, scene.now);
    }

    /// Every binding that a core offers.
    pub fn table(&mut self, core: usize, now: Instant) -> Table {
        super::handler::table(&mut *self.cores[core].handler, now)
    }

    fn expire(&mut self, core: usize, scene: &mut Scene<'_>) {
        let Core { handler, outbox, .. } = &mut self.cores[core];
        if handler.deadline().is_some_and(|deadline| deadline <= scene.now) {
            let before = handler.metrics().bindings_expired;
            handler.expire(scene.now, self.expire_budget, outbox);
            let count = handler.metrics().bindings_expired - before;
            let core = CoreId(u16::try_from(core).unwrap());
            scene.log.push(scene.now, Event::Expired { core, count });
            scene.oracle.expired(scene.now, core, &**handler);
        }
    }

    /// Sends what waits in an outbox, unless the kernel takes nothing.
    fn flush(&mut self, core: usize, scene: &mut Scene<'_>) {
        let Node { random, cores, egress_loss, .. } = self;
        let Core { outbox, blocked_until, .. } = &mut cores[core];
        if *blocked_until > scene.now {
            return;
        }
        for send in outbox.sends() {
            let bytes: Rc<[u8]> = outbox.bytes(send).into();
            if random.chance(*egress_loss) {
                scene.lost("the way out", &bytes);
                continue;
            }
            scene
                .log
                .push(scene.now, Event::Answered { to: send.to.addr, bytes: Rc::clone(&bytes) });
            scene.responses.push(Response { to: send.to.addr, bytes });
        }
        outbox.clear();
    }

    /// Decides when a core looks next.
    fn plan_turn(&mut self, core: usize, now: Instant) {
        let Core { handler, socket, rings, outbox, blocked_until, .. } = &self.cores[core];
        let next = now.plus(TURN);
        let has_input = !socket.is_empty();
        let ring =
            rings.iter().filter_map(|ring| ring.front()).map(|waiting| waiting.visible).min();
        let input = if has_input { Some(next) } else { ring.map(|visible| visible.max(next)) };
        // While nothing can be sent nothing more is read.
        let input =
            if outbox.has_room() { input } else { input.map(|input| input.max(*blocked_until)) };
        let unsent = (!outbox.sends().is_empty()).then(|| (*blocked_until).max(next));
        let timers = handler.deadline().map(|deadline| deadline.max(next));
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
        self.socket_max = 4096;
        self.ring_max = 1024;
        for core in 0..self.cores.len() {
            self.cores[core].stalled_until = Instant::START;
            self.cores[core].blocked_until = Instant::START;
            self.call(core, now);
        }
    }
}

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

/// The node's address of a listener.
#[must_use]
pub fn listener(number: u16) -> LocalAddr {
    let addr: SocketAddr = Plan::LISTENERS[usize::from(number)].parse().unwrap();
    LocalAddr { listener: shards::io::ListenerId(number), ip: addr.ip() }
}
