//! A world under virtual time: user agents, an attacker, the network, the node and its judge, from the first event to the last. First
//! things break, then the network is healed and everybody has to be registered, then everybody goes and nothing may be left.

mod errands;

use super::agenda::Agenda;
use super::directory::Directory;
use super::handler::Make;
use super::log::{Event, Log};
use super::network::{Direction, Network, Packet};
use super::node::{self, Node, Response, Scene};
use super::operator::Sent;
use super::oracle::{Oracle, Rule};
use super::plan::{Fault, Plan};
use super::random::Random;
use super::ua::hostile::Hostile;
use super::ua::{FIRST_PORT, PORT_STRIDE, Seat, UserAgent};
use shards::io::{CoreId, Instant, UnixTime};
use shards::shard::Command;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Something that will happen.
#[derive(Debug)]
enum Coming {
    /// A datagram reaches the node.
    Request(Packet),
    /// A datagram reaches somebody.
    Response(Response),
    /// A user agent wants to be woken.
    Wake(usize),
    /// A fault strikes.
    Strike(Strike),
    /// An errand reaches its core, unless the node it was sent to is no more.
    Errand { start: u64, sent: Box<Sent> },
    /// The user agents of a user are told his password.
    Told { user: String, password: String },
}

/// A fault that comes from time to time; the others are always there.
#[derive(Clone, Copy, Debug)]
enum Strike {
    Clog,
    Stall,
    Block,
    Restart,
    WallStep,
    Attack,
    Operate,
}

impl Strike {
    const ALL: [Strike; 7] = [
        Strike::Clog,
        Strike::Stall,
        Strike::Block,
        Strike::Restart,
        Strike::WallStep,
        Strike::Attack,
        Strike::Operate,
    ];

    fn fault(self) -> Fault {
        match self {
            Strike::Clog => Fault::Clogs,
            Strike::Stall => Fault::Stalls,
            Strike::Block => Fault::EgressBlocks,
            Strike::Restart => Fault::Restarts,
            Strike::WallStep => Fault::WallSteps,
            Strike::Attack => Fault::Hostile,
            Strike::Operate => Fault::Operator,
        }
    }
}

/// A world.
pub struct World<'a> {
    plan: &'a Plan,
    make: &'a Make,
    random: Random,
    now: Instant,
    /// The wall clock's lead over the monotonic one, in seconds.
    wall_secs: u64,
    agenda: Agenda<Coming>,
    agents: Vec<UserAgent>,
    /// When each agent is going to be woken.
    wakes: Vec<Option<Instant>>,
    /// Who is reached at an address.
    addresses: BTreeMap<SocketAddr, usize>,
    hostile: Hostile,
    network: Network,
    node: Node,
    /// How often the node was started before.
    start: u64,
    /// The operator's file of subscribers.
    directory: Rc<Directory>,
    /// When the last of the errands that were sent arrives: they do not overtake each other.
    last_errand_at: Instant,
    oracle: Oracle,
    log: Rc<RefCell<Log>>,
    is_breaking: bool,
}

impl<'a> World<'a> {
    /// The world of a plan, before its first event.
    #[must_use]
    pub fn new(plan: &'a Plan, make: &'a Make, log: Rc<RefCell<Log>>) -> Self {
        // Not the seed itself: the plan was drawn from it.
        let mut random = Random::new(plan.seed ^ 0x5ea1_0a11);
        let agents = agents(plan, &mut random);
        let directory = Rc::new(Directory::of(agents.iter().map(|agent| &*agent.user)));
        let mut world = World {
            wakes: vec![None; agents.len()],
            addresses: agents
                .iter()
                .enumerate()
                .map(|(id, agent)| (agent.seat.source, id))
                .collect(),
            agents,
            hostile: Hostile::new(plan, random.fork()),
            network: Network::new(plan, random.fork()),
            node: Node::new(plan, make, &directory, random.fork()),
            start: 0,
            oracle: Oracle::new(plan, &directory),
            directory,
            last_errand_at: Instant::START,
            agenda: Agenda::default(),
            random,
            plan,
            make,
            now: Instant::START,
            wall_secs: 1_800_000_000,
            log,
            is_breaking: true,
        };
        for strike in Strike::ALL.into_iter().filter(|strike| plan.strength(strike.fault()) > 0) {
            world.plan_strike(strike);
        }
        for id in 0..world.agents.len() {
            world.plan_wake(id);
        }
        world
    }

    /// The judge.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Mutably, to tell it what was seen from outside.
    pub fn oracle_mut(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Runs from the first event to the last, or to the first broken rule.
    pub fn run(&mut self) {
        self.chaos();
        self.heal();
        self.leave();
    }

    fn is_judged(&self) -> bool {
        !self.oracle.violations().is_empty()
    }

    fn chaos(&mut self) {
        let end = Instant::START.plus(self.plan.chaos);
        let asked_every = Duration::from_secs(10);
        while self.now < end && !self.is_judged() {
            self.run_until((self.now.plus(asked_every)).min(end));
            self.ask_some();
        }
    }

    /// The network works; everybody has to be registered within the bound.
    fn heal(&mut self) {
        if self.is_judged() {
            return;
        }
        self.note("the network is healed".to_owned());
        self.is_breaking = false;
        self.network.heal();
        self.node.heal(self.now);
        self.restore_subscribers();
        for id in 0..self.agents.len() {
            self.agents[id].settle(self.now);
            self.plan_wake(id);
        }
        let end = self.now.plus(self.plan.heal_within);
        while !self.is_judged() {
            self.run_until(self.now.plus(Duration::from_secs(5)));
            let missing = self.unregistered();
            if missing.is_empty() || self.plan.strength(Fault::SmallTable) > 0 && self.now >= end {
                break;
            }
            if self.now >= end {
                let count = missing.len();
                let first = missing.into_iter().take(5).collect::<Vec<_>>().join("; ");
                self.oracle.broken(Rule::EverybodyRegistered, format!("{count} are not: {first}"));
            }
        }
        self.ask_all();
    }

    /// Everybody goes; what is left expires.
    fn leave(&mut self) {
        if self.is_judged() {
            return;
        }
        self.note("everybody leaves".to_owned());
        self.remove_what_outlives_all();
        for id in 0..self.agents.len() {
            self.agents[id].leave(self.now);
            self.plan_wake(id);
        }
        self.run_until(self.now.plus(Duration::from_secs(120)));
        if self.plan.strength(Fault::SmallTable) == 0 {
            let here = self.agents.iter().filter(|agent| !agent.is_gone()).count();
            if here > 0 {
                self.oracle.broken(
                    Rule::EverybodyRegistered,
                    format!("{here} could not remove their bindings"),
                );
            }
        }
        self.ask_some();
        // A lifetime granted before the last moment, and a tick of the timers.
        self.run_until(self.now.plus_secs(self.plan.policy.max_expires_secs + 1));
        for _ in 0..10_000 {
            // Small budgets take their turns.
            if self.is_judged()
                || self.node.deadline().is_none_or(|(at, _)| at > self.now.plus_secs(1))
            {
                break;
            }
            self.run_until(self.now.plus(Duration::from_millis(5)));
        }
        self.ask_all();
        if self.is_judged() {
            return;
        }
        for (core, handler) in self.node.handlers().enumerate() {
            let core = CoreId(u16::try_from(core).unwrap());
            self.oracle.walk(self.now, core, handler);
            let gauges = handler.gauges();
            if (gauges.bindings, gauges.aors, gauges.arena_used_bytes) != (0, 0, 0) {
                self.oracle.broken(Rule::TablesEmpty, format!("core {} has {gauges:?}", core.0));
            }
        }
    }

    /// Lets everything happen that is due until a time, and makes it that time.
    fn run_until(&mut self, end: Instant) {
        while !self.is_judged() {
            let turn = self.node.deadline();
            let coming = self.agenda.next_at();
            match (turn, coming) {
                (Some((at, core)), _) if at <= end && coming.is_none_or(|coming| at <= coming) => {
                    self.now = self.now.max(at);
                    self.turn(core);
                }
                (_, Some(at)) if at <= end => {
                    self.now = self.now.max(at);
                    let coming = self.agenda.take().expect("it was just seen");
                    self.happen(coming);
                }
                (Some(_) | None, Some(_) | None) => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Request(packet) => {
                let bytes = Rc::clone(&packet.bytes);
                if let Err(by) = self.node.arrive(self.now, packet) {
                    self.lost(by, &bytes);
                }
            }
            Coming::Response(response) => {
                let Some(&id) = self.addresses.get(&response.to) else { return };
                let bytes = Rc::clone(&response.bytes);
                self.log.borrow_mut().push(self.now, Event::Received { at: response.to, bytes });
                self.agents[id].receive(self.now, &response.bytes);
                self.plan_wake(id);
            }
            Coming::Wake(id) => {
                // One that was planned before plans changed.
                if self.wakes[id] != Some(self.now) {
                    return;
                }
                self.wakes[id] = None;
                let mut packets = Vec::new();
                let before = self.agents[id].seat.source;
                self.agents[id].wake(self.now, &mut packets);
                let after = self.agents[id].seat.source;
                if after != before {
                    self.addresses.remove(&before);
                    self.addresses.insert(after, id);
                }
                for note in std::mem::take(&mut self.agents[id].notes) {
                    self.note(note);
                }
                for packet in packets {
                    if self.plan.strength(Fault::Hostile) > 0 {
                        self.hostile.hear(&packet);
                    }
                    self.send(&packet);
                }
                self.plan_wake(id);
            }
            Coming::Strike(strike) if self.is_breaking => {
                self.strike(strike);
                self.plan_strike(strike);
            }
            Coming::Errand { start, sent } if self.is_breaking && start == self.start => {
                self.run_errand(*sent);
            }
            Coming::Told { user, password } if self.is_breaking => {
                let agents = self.agents.iter_mut().filter(|agent| agent.user == user);
                agents.for_each(|agent| agent.is_told(password.clone()));
            }
            Coming::Strike(_) | Coming::Errand { .. } | Coming::Told { .. } => {}
        }
    }

    /// Sends a datagram on its way to the node.
    fn send(&mut self, packet: &Packet) {
        let event = Event::Sent { from: packet.from, bytes: Rc::clone(&packet.bytes) };
        self.log.borrow_mut().push(self.now, event);
        let arrivals = self.network.carry(self.now, packet.group, Direction::In, &packet.bytes);
        self.tell_carried(arrivals.len(), &packet.bytes);
        for arrival in arrivals {
            let mut copy = packet.clone();
            if let Some(altered) = arrival.altered {
                self.oracle.saw("altered");
                (copy.bytes, copy.meant) = (altered, None);
            }
            self.agenda.plan(arrival.at, Coming::Request(copy));
        }
    }

    fn turn(&mut self, core: usize) {
        for response in self.at_the_node(|node, scene| node.turn(core, scene)) {
            // What is sent to an address that nobody has goes nowhere.
            let Some(&id) = self.addresses.get(&response.to) else { continue };
            let group = self.agents[id].seat.group;
            let arrivals = self.network.carry(self.now, group, Direction::Out, &response.bytes);
            for arrival in arrivals {
                self.agenda.plan(arrival.at, Coming::Response(response.clone()));
            }
        }
    }

    fn tell_carried(&mut self, copies: usize, bytes: &Rc<[u8]>) {
        match copies {
            0 => self.lost("the network", bytes),
            1 => {}
            _ => self.oracle.saw("duplicated"),
        }
    }

    fn lost(&mut self, by: &'static str, bytes: &Rc<[u8]>) {
        self.oracle.saw(by);
        self.log.borrow_mut().push(self.now, Event::Lost { by, bytes: Rc::clone(bytes) });
    }

    fn note(&mut self, text: String) {
        self.log.borrow_mut().push(self.now, Event::Note(text));
    }

    fn plan_wake(&mut self, id: usize) {
        let deadline = self.agents[id].deadline().map(|at| at.max(self.now));
        if deadline != self.wakes[id] {
            self.wakes[id] = deadline;
            if let Some(at) = deadline {
                self.agenda.plan(at, Coming::Wake(id));
            }
        }
    }

    /// Decides when a fault strikes next.
    fn plan_strike(&mut self, strike: Strike) {
        let strength = u64::from(self.plan.strength(strike.fault()));
        let mean = match strike {
            Strike::Clog => Duration::from_secs(1 + 2000 / (strength + 20)),
            Strike::Stall | Strike::Block => Duration::from_secs(1 + 600 / (strength + 10)),
            Strike::Restart => Duration::from_secs(60 + 6000 / strength),
            Strike::WallStep => Duration::from_secs(2 + 300 / strength),
            Strike::Attack => Duration::from_millis(20_000 / strength),
            Strike::Operate => Duration::from_millis(500 + 30_000 / strength),
        };
        let at = self.now.plus(self.random.exponential(mean));
        self.agenda.plan(at, Coming::Strike(strike));
    }

    fn strike(&mut self, strike: Strike) {
        self.oracle.saw(strike.fault().name());
        let text = match strike {
            Strike::Clog => self.network.clog(self.now),
            Strike::Stall => self.node.stall(self.now),
            Strike::Block => self.node.block(self.now),
            Strike::Restart => self.restart(),
            Strike::WallStep => {
                let (back, secs) =
                    (self.random.chance(500), self.random.log_within(1, 100_000_000));
                self.wall_secs =
                    if back { self.wall_secs.saturating_sub(secs) } else { self.wall_secs + secs };
                format!(
                    "the wall clock steps {} by {secs} s",
                    if back { "back" } else { "forward" }
                )
            }
            Strike::Attack => {
                for packet in self.hostile.strike() {
                    self.send(&packet);
                }
                return;
            }
            Strike::Operate => {
                self.operate();
                return;
            }
        };
        self.note(text);
    }

    fn restart(&mut self) -> String {
        let cores = match self.random.below(3) {
            0 => u16::try_from(self.random.within(1, 8)).unwrap(),
            _ => u16::try_from(self.node.cores()).unwrap(),
        };
        let down = self.random.exponential(Duration::from_secs(3));
        self.start += 1;
        self.node.start(self.plan, self.make, cores, self.start, &self.directory);
        self.node.down_until(self.now.plus(down));
        self.oracle.restarted(cores, &self.directory);
        format!("the node ends, and starts after {down:?} with {cores} cores")
    }

    /// Looks at all that every core offers.
    fn compare_tables(&mut self) {
        for core in 0..self.node.cores() {
            if !self.is_judged() {
                let table = self.node.table(core, self.now);
                self.oracle.compare(self.now, CoreId(u16::try_from(core).unwrap()), &table);
            }
        }
    }

    /// Looks at the tables, and asks about some addresses-of-record as a user agent would.
    fn ask_some(&mut self) {
        self.compare_tables();
        let aors: Vec<_> = self.oracle.known_aors().into_iter().collect();
        if aors.is_empty() {
            return;
        }
        for _ in 0..16 {
            let aor = self.random.pick(&aors);
            self.ask(&aor);
        }
    }

    /// Asks the cores about every address-of-record: all that was acknowledged is there, and nothing else.
    fn ask_all(&mut self) {
        self.compare_tables();
        for aor in self.oracle.known_aors() {
            self.ask(&aor);
        }
    }

    fn ask(&mut self, aor: &[u8]) {
        if self.is_judged() {
            return;
        }
        if self.plan.digest.is_some() {
            // Nobody is told without a password; an operator is.
            if let Some(sent) = self.for_home(aor, Box::new(Command::LookUp)) {
                self.run_errand(sent);
            }
            return;
        }
        let listener = u16::try_from(self.random.below(2)).unwrap();
        let Some((core, packet)) = self.oracle.question(aor, listener) else { return };
        let unsent = self.at_the_node(|node, scene| node.ask(core, &packet, scene));
        debug_assert!(unsent.is_empty(), "the answer is the oracle's");
    }

    /// Lets something happen at the node, and gives what leaves it.
    fn at_the_node(&mut self, happens: impl FnOnce(&mut Node, &mut Scene<'_>)) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut scene = Scene {
            now: self.now,
            wall: UnixTime(self.wall_secs + self.now.as_nanos() / 1_000_000_000),
            oracle: &mut self.oracle,
            log: &mut self.log.borrow_mut(),
            responses: &mut responses,
        };
        happens(&mut self.node, &mut scene);
        responses
    }

    /// Who is not registered, by its own belief or by the reference.
    fn unregistered(&self) -> Vec<String> {
        let is_bound = |agent: &UserAgent| {
            let aor = format!("{}@{}", agent.user, Plan::DOMAIN).into_bytes();
            agent.contacts().all(|uri| {
                self.oracle.reference().bindings(&aor, self.now).any(|binding| binding.uri == uri)
            })
        };
        let missing = self.agents.iter().filter_map(|agent| {
            let (believes, is_bound) = (agent.is_registered(self.now), is_bound(agent));
            let text = || {
                format!(
                    "{} at {} believes {believes}, is bound {is_bound}",
                    agent.user, agent.seat.source
                )
            };
            (!believes || !is_bound).then(text)
        });
        missing.collect()
    }
}

/// The user agents of a plan, each at its place.
fn agents(plan: &Plan, random: &mut Random) -> Vec<UserAgent> {
    /// What kind of a network a group is.
    #[derive(Clone, Copy)]
    enum Kind {
        /// All share one address.
        Nat,
        Public,
        V6,
    }
    let kinds: Vec<Kind> =
        (0..plan.groups).map(|_| random.pick(&[Kind::Nat, Kind::Public, Kind::V6])).collect();
    let mut agents = Vec::with_capacity(plan.agents);
    let mut user = 0;
    while agents.len() < plan.agents {
        let devices = random.within(1, plan.devices_max);
        for _ in 0..devices {
            let id = u32::try_from(agents.len()).unwrap();
            if agents.len() == plan.agents {
                break;
            }
            let group = random.index(kinds.len());
            let number = u8::try_from(group).unwrap();
            let port = FIRST_PORT + u16::try_from(id % u32::from(PORT_STRIDE)).unwrap();
            let (source, listener): (SocketAddr, u16) = match kinds[group] {
                Kind::Nat => ((Ipv4Addr::new(192, 0, 2, number), port).into(), 0),
                Kind::Public => ((Ipv4Addr::from_bits(0x0A00_0000 + id), 5060).into(), 0),
                Kind::V6 => (
                    (Ipv6Addr::from_bits((0x2001_0db8 << 96) + 0x1_0000 + u128::from(id)), 5060)
                        .into(),
                    1,
                ),
            };
            let is_behind_nat = matches!(kinds[group], Kind::Nat);
            let seat = Seat { group, source, node: node::listener(listener), is_behind_nat };
            agents.push(UserAgent::new(format!("user{user}"), seat, plan, random.fork()));
        }
        user += 1;
    }
    agents
}
