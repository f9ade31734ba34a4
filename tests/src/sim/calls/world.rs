//! A world of calls under virtual time, from the first event to the last. First things break; then all is healed, what was agreed on
//! before is hung up, and what is left of it has to end by itself; then calls of every kind have to come to their ends.

use super::node::{Left, Node, Question, Scene, Waiting};
use super::oracle::{Oracle, Wish};
use super::phone::{DialogKey, Phone, Seat};
use super::plan::Plan;
use crate::sim::agenda::Agenda;
use crate::sim::handler::Make;
use crate::sim::log::{Event, Log};
use crate::sim::mutation;
use crate::sim::network::{Direction, Network, Packet};
use crate::sim::node::listener;
use crate::sim::oracle::Rule;
use crate::sim::plan::{Fault, Plan as Base};
use crate::sim::random::Random;
use shards::io::Instant;
use shards::shard::{Command, Errand};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Something that will happen.
#[derive(Debug)]
enum Coming {
    /// A datagram reaches the node.
    Arrives(Packet),
    /// A datagram reaches somebody.
    Reaches(SocketAddr, Rc<[u8]>),
    /// An ICMP error about what was sent to an address.
    Error(SocketAddr, Rc<[u8]>),
    /// A name has addresses, unless the node that asked is no more.
    Named { start: u64, question: Question, addresses: Vec<IpAddr> },
    /// A phone wants to be woken.
    Wake(usize),
    /// A phone lives again.
    Revive(usize),
    /// A fault strikes.
    Strike(Fault),
}

/// The faults that come from time to time; the others are always there.
const STRIKES: [Fault; 6] = [
    Fault::Clogs,
    Fault::Stalls,
    Fault::EgressBlocks,
    Fault::Restarts,
    Fault::DeadPhones,
    Fault::Hostile,
];

/// A world.
pub struct World<'a> {
    plan: &'a Plan,
    make: &'a Make,
    random: Random,
    now: Instant,
    agenda: Agenda<Coming>,
    phones: Vec<Phone>,
    wakes: Vec<Option<Instant>>,
    /// Since when each phone lives; the future while it is dead.
    alive_at: Vec<Instant>,
    addresses: BTreeMap<SocketAddr, usize>,
    /// URIs of users.
    users: Vec<String>,
    network: Network,
    node: Node,
    start: u64,
    /// Bytes that messages take in each core at its start.
    unused: Vec<usize>,
    oracle: Oracle,
    log: Rc<RefCell<Log>>,
    /// The last datagrams that whoever means harm has overheard.
    overheard: Vec<Packet>,
    is_breaking: bool,
}

impl<'a> World<'a> {
    /// The world of a plan, before its first event.
    #[must_use]
    pub fn new(plan: &'a Plan, make: &'a Make, log: Rc<RefCell<Log>>) -> Self {
        let mut random = Random::new(plan.base.seed ^ 0x7e1e_0f0e);
        let seats = seats(plan, &mut random);
        let mut users: Vec<String> =
            seats.iter().map(|seat| format!("sip:{}@{}", seat.user, seat.domain)).collect();
        users.dedup();
        let mut peers = users.clone();
        peers.push(format!("sip:nobody@{}", Base::DOMAIN));
        let peers = Rc::new(peers);
        let at = seats.iter().map(|seat| (seat.source, seat.user.clone())).collect();
        let phones: Vec<Phone> = seats
            .into_iter()
            .map(|seat| Phone::new(seat, plan, Rc::clone(&peers), random.fork()))
            .collect();
        let mut world = World {
            wakes: vec![None; phones.len()],
            alive_at: vec![Instant::START; phones.len()],
            addresses: phones.iter().enumerate().map(|(id, one)| (one.seat.source, id)).collect(),
            phones,
            users,
            network: Network::new(&plan.base, random.fork()),
            node: Node::new(plan, make, random.fork()),
            start: 0,
            unused: Vec::new(),
            oracle: Oracle::new(plan, at),
            agenda: Agenda::default(),
            random,
            plan,
            make,
            now: Instant::START,
            log,
            overheard: Vec::new(),
            is_breaking: true,
        };
        world.unused = world.used();
        for strike in STRIKES.into_iter().filter(|&strike| plan.strength(strike) > 0) {
            world.plan_strike(strike);
        }
        for id in 0..world.phones.len() {
            world.plan_wake(id);
        }
        world
    }

    /// The judge.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Runs from the first event to the last, or to the first broken rule.
    pub fn run(&mut self) {
        self.run_until(Instant::START.plus(self.plan.chaos));
        self.heal();
        self.drain();
        self.try_all();
        self.drain();
    }

    fn is_judged(&self) -> bool {
        !self.oracle.violations().is_empty()
    }

    /// The network works, phones live, nobody begins a call, and all that talk hang up.
    fn heal(&mut self) {
        if self.is_judged() {
            return;
        }
        self.note("all is healed".to_owned());
        self.is_breaking = false;
        self.network.heal();
        self.node.heal(self.now);
        for id in 0..self.phones.len() {
            if self.alive_at[id] > self.now {
                self.revive(id);
            }
            self.phones[id].calm();
        }
        // What is on its way arrives, and what was sent for nothing is sent again.
        self.run_until(self.now.plus(Duration::from_secs(10)));
        for (id, key) in self.agreed() {
            let call_id = key.0.clone();
            // What stragglers and full tables do to it is for the phones alone to bear.
            if self.plan.is_pure() && self.plan.strength(Fault::SmallMemory) == 0 {
                let what = "hung up from before".to_owned();
                let finals = vec![("BYE", 200)];
                self.oracle
                    .wish(call_id, Wish { what, finals, judges_acks: false, acknowledged: None });
            }
            self.phones[id].hang_up(self.now, &key);
            self.plan_wake_now(id);
        }
        self.run_until(self.now.plus(Duration::from_secs(40)));
        if !self.is_judged() {
            self.oracle.judge_wishes();
        }
        for id in 0..self.phones.len() {
            let all: Vec<DialogKey> = self.phones[id].confirmed().cloned().collect();
            for key in all {
                self.phones[id].hang_up(self.now, &key);
            }
            self.plan_wake_now(id);
        }
    }

    /// Dialogs on which both sides agree, and which of them is to end it.
    fn agreed(&mut self) -> Vec<(usize, DialogKey)> {
        let mut sides: BTreeMap<DialogKey, usize> = BTreeMap::new();
        for (id, phone) in self.phones.iter().enumerate() {
            for key in phone.confirmed() {
                sides.insert(key.clone(), id);
            }
        }
        let mut agreed = Vec::new();
        for (key, &id) in &sides {
            let (call_id, own, other) = key;
            let twin = (call_id.clone(), other.clone(), own.clone());
            // Once for both, and once for a call: its requests are told apart by nothing else.
            let is_alone = sides.keys().filter(|key| key.0 == *call_id).count() == 2;
            if own < other
                && is_alone
                && let Some(&peer) = sides.get(&twin)
            {
                let side = if self.random.chance(500) { (id, key.clone()) } else { (peer, twin) };
                agreed.push(side);
            }
        }
        agreed
    }

    /// Waits until nothing of any call is left in the node, as long as its timers may take and no longer.
    fn drain(&mut self) {
        // Each phone of a user may ring for itself, one after the other; a contact that was altered on its way is one more.
        let phones = if self.plan.is_pure() { 2 } else { 6 };
        let end = self.now.plus(RINGING * phones + REST);
        while self.now < end && self.node.handlers().any(|one| one.gauges().calls.transactions > 0)
        {
            self.run_until(self.now.plus(Duration::from_secs(10)).min(end));
            if self.is_judged() {
                return;
            }
        }
        // Branches that acknowledge what is sent again, of contexts that are over.
        self.run_until(self.now.plus(REST));
        if self.is_judged() {
            return;
        }
        let used = self.used();
        for (core, handler) in self.node.handlers().enumerate() {
            self.oracle.walk(core, &**handler);
            let calls = handler.gauges().calls;
            if (calls.transactions, calls.branches, calls.settled) != (0, 0, 0)
                || used[core] != self.unused[core]
            {
                let text = format!("core {core} has {calls:?} and {} bytes", used[core]);
                self.oracle.broken(Rule::TablesEmpty, text);
            }
        }
    }

    /// With a healed network every call comes to its end.
    fn try_all(&mut self) {
        if self.is_judged() {
            return;
        }
        self.note("every call has to come to its end".to_owned());
        let missing: Vec<String> = self
            .phones
            .iter()
            .filter(|phone| !phone.is_registered(self.now))
            .map(|phone| format!("{} at {}", phone.seat.user, phone.seat.source))
            .collect();
        if !missing.is_empty() {
            self.oracle.broken(Rule::EverybodyRegistered, missing.join("; "));
        }
        let calls = (2 * self.users.len()).clamp(4, 24);
        for _ in 0..calls {
            self.try_one();
            let pause = Duration::from_millis(self.random.below(1500));
            self.run_until(self.now.plus(pause));
        }
        // The longest of them, and until the callee has stopped to wait for an ACK.
        self.run_until(self.now.plus(Duration::from_secs(60)));
        for phone in &self.phones {
            self.oracle.told(phone.ringing().collect());
        }
        if !self.is_judged() {
            self.oracle.judge_wishes();
        }
    }

    /// Somebody calls somebody, and it has to be as both wish.
    fn try_one(&mut self) {
        if self.is_judged() {
            return;
        }
        let id = self.random.index(self.phones.len());
        // A neighbour may call our users, and nobody else through us.
        let is_neighbour = self.phones[id].seat.domain == Plan::CARRIER;
        let targets = self.users.len() - usize::from(is_neighbour);
        let target = self.users[self.random.index(targets)].clone();
        let some = |millis| Some(Duration::from_millis(millis));
        let (method, said, cancel_after, hangs_up, finals, acknowledged) =
            match self.random.below(6) {
                0 => (
                    "INVITE",
                    Some("answer"),
                    None,
                    some(2500),
                    vec![("INVITE", 200), ("BYE", 200)],
                    Some(200),
                ),
                1 => (
                    "INVITE",
                    Some("answer, bye"),
                    None,
                    None,
                    vec![("INVITE", 200), ("BYE", 200)],
                    Some(200),
                ),
                2 => ("INVITE", Some("refuse"), None, None, vec![("INVITE", 603)], None),
                3 => {
                    let after = some(self.random.below(1500));
                    ("INVITE", Some("ring"), after, None, vec![("INVITE", 487)], None)
                }
                4 => ("MESSAGE", None, None, None, vec![("MESSAGE", 200)], None),
                _ => ("X-ANY", None, None, None, vec![("X-ANY", 200)], None),
            };
        let call_id =
            self.phones[id].place(self.now, method, &target, said, cancel_after, hangs_up);
        let what = format!("{method} {}", said.unwrap_or_default());
        self.oracle.wish(call_id, Wish { what, finals, judges_acks: true, acknowledged });
        self.plan_wake_now(id);
    }

    /// Bytes that messages take in each core.
    fn used(&mut self) -> Vec<usize> {
        let now = self.now;
        let used = self.node.handlers().map(|handler| {
            let mut errand = Errand::new(Command::Memory);
            handler.run(now, &mut errand);
            let messages = errand.memory.iter().find(|(name, _)| *name == "messages");
            messages.map_or(0, |(_, memory)| memory.used_bytes)
        });
        used.collect()
    }

    /// Lets everything happen that is due until a time, and makes it that time.
    fn run_until(&mut self, end: Instant) {
        while !self.is_judged() {
            let (turn, coming) = (self.node.deadline(), self.agenda.next_at());
            match (turn, coming) {
                (Some((at, core)), _) if at <= end && coming.is_none_or(|coming| at <= coming) => {
                    self.now = self.now.max(at);
                    self.at_the_node(|node, scene| node.turn(core, scene));
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
            Coming::Arrives(packet) => {
                let bytes = Rc::clone(&packet.bytes);
                let waiting = Waiting::Datagram(packet.clone(), self.now);
                if let Err(by) = self.node.arrive(self.now, packet.from, waiting) {
                    self.lost(by, &bytes);
                }
            }
            Coming::Reaches(to, bytes) => self.reach(to, &bytes),
            Coming::Error(to, quoted) => {
                self.oracle.saw("an ICMP error");
                let waiting = Waiting::Unreachable(to, Rc::clone(&quoted));
                if let Err(by) = self.node.arrive(self.now, to, waiting) {
                    self.lost(by, &quoted);
                }
            }
            Coming::Named { start, question, addresses } if start == self.start => {
                let Question { core, ticket, .. } = question;
                self.at_the_node(|node, scene| node.tell(core, ticket, &addresses, scene));
            }
            Coming::Named { .. } => {}
            Coming::Wake(id) => {
                // One that was planned before plans changed.
                if self.wakes[id] == Some(self.now) {
                    self.wakes[id] = None;
                    let packets = self.phones[id].wake(self.now);
                    self.send_all(id, packets);
                }
            }
            // Unless it died again in between, or was revived with all others.
            Coming::Revive(id) => {
                if self.alive_at[id] == self.now {
                    self.revive(id);
                }
            }
            Coming::Strike(strike) => {
                if self.is_breaking {
                    self.strike(strike);
                    self.plan_strike(strike);
                }
            }
        }
    }

    fn revive(&mut self, id: usize) {
        self.alive_at[id] = Instant::START;
        self.phones[id].reboot(self.now);
        self.plan_wake_now(id);
    }

    fn reach(&mut self, to: SocketAddr, bytes: &Rc<[u8]>) {
        let Some(&id) = self.addresses.get(&to) else { return };
        if self.alive_at[id] > self.now {
            if self.random.chance(700) {
                // RFC 792: at least the first 8 bytes; most systems quote as much as fits.
                let most = bytes.len().min(548);
                let quoted = bytes[..self.random.pick(&[most, most, 8, 60])].into();
                let delay = Duration::from_micros(self.random.log_within(50, 100_000));
                self.agenda.plan(self.now.plus(delay), Coming::Error(to, quoted));
            }
            self.lost("a dead phone", bytes);
            return;
        }
        self.log.borrow_mut().push(self.now, Event::Received { at: to, bytes: Rc::clone(bytes) });
        let packets = self.phones[id].receive(self.now, bytes);
        self.send_all(id, packets);
    }

    /// Sends what a phone wants sent, and hears what it has to tell.
    fn send_all(&mut self, id: usize, packets: Vec<Packet>) {
        let facts = std::mem::take(&mut self.phones[id].facts);
        self.oracle.told(facts);
        for packet in packets {
            self.oracle.sent(&packet);
            if self.plan.strength(Fault::Hostile) > 0 {
                self.overheard.push(packet.clone());
                if self.overheard.len() > 50 {
                    self.overheard.remove(0);
                }
            }
            self.send(&packet);
        }
        self.plan_wake(id);
    }

    /// Sends a datagram on its way to the node.
    fn send(&mut self, packet: &Packet) {
        let event = Event::Sent { from: packet.from, bytes: Rc::clone(&packet.bytes) };
        self.log.borrow_mut().push(self.now, event);
        let arrivals = self.network.carry(self.now, packet.group, Direction::In, &packet.bytes);
        match arrivals.len() {
            0 => self.lost("the network", &packet.bytes),
            1 => {}
            _ => self.oracle.saw("duplicated"),
        }
        for arrival in arrivals {
            let mut copy = packet.clone();
            if let Some(altered) = arrival.altered {
                self.oracle.saw("altered");
                copy.bytes = altered;
            }
            self.agenda.plan(arrival.at, Coming::Arrives(copy));
        }
    }

    /// Lets something happen at the node, and carries what leaves it.
    fn at_the_node(&mut self, happens: impl FnOnce(&mut Node, &mut Scene<'_>)) {
        let mut left = Left::default();
        {
            let mut log = self.log.borrow_mut();
            let World { now, oracle, node, .. } = self;
            let mut scene = Scene { now: *now, oracle, log: &mut log, left: &mut left };
            happens(node, &mut scene);
        }
        for (to, bytes) in left.sends {
            // What is sent to an address that nobody has goes nowhere.
            let Some(&id) = self.addresses.get(&to) else { continue };
            let group = self.phones[id].seat.group;
            let arrivals = self.network.carry(self.now, group, Direction::Out, &bytes);
            if arrivals.is_empty() {
                self.lost("the network", &bytes);
            }
            for arrival in arrivals {
                self.agenda.plan(arrival.at, Coming::Reaches(to, Rc::clone(&bytes)));
            }
        }
        for question in left.questions {
            self.resolve(question);
        }
    }

    /// A name is looked for.
    fn resolve(&mut self, question: Question) {
        let strength = self.plan.strength(Fault::SlowNames);
        let is_slow = strength > 0 && self.is_breaking;
        self.oracle.saw("a name");
        if is_slow && self.random.chance(strength * 4) {
            self.oracle.saw("a name without an answer");
            return;
        }
        let carrier: SocketAddr = Plan::CARRIER_ADDRESS.parse().unwrap();
        let is_known = question.name == Plan::CARRIER_HOST && !(is_slow && self.random.chance(100));
        let addresses = if is_known { vec![carrier.ip()] } else { Vec::new() };
        let mean = if is_slow { 50 * u64::from(strength) } else { 5 };
        let at = self.now.plus(self.random.exponential(Duration::from_millis(mean)));
        self.agenda.plan(at, Coming::Named { start: self.start, question, addresses });
    }

    fn lost(&mut self, by: &'static str, bytes: &Rc<[u8]>) {
        self.oracle.saw(by);
        self.log.borrow_mut().push(self.now, Event::Lost { by, bytes: Rc::clone(bytes) });
    }

    fn note(&mut self, text: String) {
        self.log.borrow_mut().push(self.now, Event::Note(text));
    }

    fn plan_wake(&mut self, id: usize) {
        let is_dead = self.alive_at[id] > self.now;
        let deadline = self.phones[id].deadline().filter(|_| !is_dead);
        let deadline = deadline.map(|at| at.max(self.now));
        if deadline != self.wakes[id] {
            self.wakes[id] = deadline;
            if let Some(at) = deadline {
                self.agenda.plan(at, Coming::Wake(id));
            }
        }
    }

    /// Lets a phone send what it was just told to.
    fn plan_wake_now(&mut self, id: usize) {
        self.wakes[id] = Some(self.now);
        self.agenda.plan(self.now, Coming::Wake(id));
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "only what strikes comes here")]
    fn plan_strike(&mut self, strike: Fault) {
        let strength = u64::from(self.plan.strength(strike));
        let mean = match strike {
            Fault::Restarts => Duration::from_secs(10 + 600 / strength),
            Fault::DeadPhones => Duration::from_millis(1000 + 60_000 / strength),
            Fault::Hostile => Duration::from_millis(10_000 / strength),
            _ => Duration::from_secs(1 + 600 / (strength + 10)),
        };
        let at = self.now.plus(self.random.exponential(mean));
        self.agenda.plan(at, Coming::Strike(strike));
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "only what strikes comes here")]
    fn strike(&mut self, strike: Fault) {
        self.oracle.saw(strike.name());
        let text = match strike {
            Fault::Clogs => self.network.clog(self.now),
            Fault::Stalls => self.node.stall(self.now),
            Fault::EgressBlocks => self.node.block(self.now),
            Fault::Restarts => self.restart(),
            Fault::DeadPhones => self.kill(),
            _ => return self.attack(),
        };
        self.note(text);
    }

    fn restart(&mut self) -> String {
        let cores = match self.random.below(3) {
            0 => u16::try_from(self.random.within(1, 4)).unwrap(),
            _ => u16::try_from(self.node.cores()).unwrap(),
        };
        let down = self.random.exponential(Duration::from_secs(2));
        self.start += 1;
        self.node.start(self.plan, self.make, cores, self.start);
        self.node.down_until(self.now.plus(down));
        self.oracle.restarted(cores);
        self.unused = self.used();
        format!("the node ends, and starts after {down:?} with {cores} cores")
    }

    /// A phone dies; when it lives again, it knows of nothing.
    fn kill(&mut self) -> String {
        let id = self.random.index(self.phones.len());
        let time = self.random.exponential(Duration::from_secs(15));
        self.alive_at[id] = self.now.plus(time);
        self.wakes[id] = None;
        self.agenda.plan(self.now.plus(time), Coming::Revive(id));
        format!("{} is dead for {time:?}", self.phones[id].seat.source)
    }

    /// Garbage, and what was overheard, altered, from where it did not come from.
    fn attack(&mut self) {
        let from = (Ipv4Addr::new(192, 0, 2, 250), 5060).into();
        let heard = (!self.overheard.is_empty() && self.random.chance(800))
            .then(|| self.random.pick(&self.overheard))
            .filter(|heard| !heard.bytes.starts_with(b"REGISTER"));
        let bytes: Vec<u8> = match &heard {
            Some(heard) => mutation::mutated(&heard.bytes, &mut self.random),
            None => mutation::garbage(&mut self.random),
        };
        let to = heard.as_ref().map_or_else(|| listener(0), |heard| heard.to);
        let from =
            if self.random.chance(500) { heard.map_or(from, |heard| heard.from) } else { from };
        self.send(&Packet { from, to, bytes: bytes.into(), meant: None, group: 0 });
    }
}

/// How long a branch may ring: Timer C, and as long as its CANCEL may take, RFC 3261 9.1.
const RINGING: Duration = Duration::from_secs(Plan::TIMER_C_SECS as u64 + 32);
/// Names and look-ups before, and what waits for an ACK or absorbs what is sent again behind.
const REST: Duration = Duration::from_secs(6 + 1 + 32 + 1);

/// Where the phones of a plan are, the neighbour last.
fn seats(plan: &Plan, random: &mut Random) -> Vec<Seat> {
    /// What kind of a network a group is.
    #[derive(Clone, Copy)]
    enum Kind {
        /// All share one address.
        Nat,
        Public,
        V6,
    }
    let kinds: Vec<Kind> =
        (0..plan.base.groups).map(|_| random.pick(&[Kind::Nat, Kind::Public, Kind::V6])).collect();
    let mut seats = Vec::new();
    for user in 0..plan.users {
        for _ in 0..random.within(1, plan.phones_max) {
            let (id, group) = (u16::try_from(seats.len()).unwrap(), random.index(kinds.len()));
            let private: SocketAddr =
                (Ipv4Addr::from_bits(0x0A00_0000 + u32::from(id)), 5060).into();
            let (source, own, node): (SocketAddr, SocketAddr, u16) = match kinds[group] {
                Kind::Nat => {
                    let shared = Ipv4Addr::new(192, 0, 2, u8::try_from(group).unwrap());
                    ((shared, 20_000 + id).into(), private, 0)
                }
                Kind::Public => (private, private, 0),
                Kind::V6 => {
                    let ip = Ipv6Addr::from_bits((0x2001_0db8 << 96) + 0x1_0000 + u128::from(id));
                    ((ip, 5060).into(), (ip, 5060).into(), 1)
                }
            };
            seats.push(Seat {
                user: format!("user{user}"),
                domain: Base::DOMAIN,
                source,
                own,
                node: listener(node),
                group,
                q: Some(random.pick(&[1000, 1000, 500])),
            });
        }
    }
    let carrier: SocketAddr = Plan::CARRIER_ADDRESS.parse().unwrap();
    seats.push(Seat {
        user: "carrier".to_owned(),
        domain: Plan::CARRIER,
        source: carrier,
        own: carrier,
        node: listener(0),
        group: 0,
        q: None,
    });
    seats
}
