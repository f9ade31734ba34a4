//! The cores of one node under virtual time: it owns the clock, the moves and letters between cores, the questions that
//! wait for an answer, and what is on its way to actors. It never looks inside a shard except through its metrics.

use super::script::Flow;
use shards::auth::Cause;
use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer, UnixTime,
    Unreachable, Verdict,
};
use shards::location::HomeHash;
use shards::shard::{Homes, Keys, Settings, Shard};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The cores of the node and where the kernel delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One core.
    One,
    /// Three cores; the source port and address choose, as a reuseport group does.
    Three,
    /// Three cores, of which the first receives everything and is home to nothing.
    AllAtTheWrongCore,
}

impl Topology {
    /// All of them.
    pub const ALL: [Topology; 3] = [Topology::One, Topology::Three, Topology::AllAtTheWrongCore];

    /// As it stands in the names of tests.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Topology::One => "one core",
            Topology::Three => "three cores",
            Topology::AllAtTheWrongCore => "all at the wrong core",
        }
    }

    /// Whether a flow is about this topology: one that sets `cores several` is about letters between them.
    #[must_use]
    pub fn suits(self, flow: &Flow) -> bool {
        let is_about_letters = flow
            .settings
            .iter()
            .any(|(_, words)| *words == ["cores".to_owned(), "several".to_owned()]);
        self.is_spread() || !is_about_letters
    }

    /// Whether messages live on more than one core.
    #[must_use]
    pub(super) fn is_spread(self) -> bool {
        match self {
            Topology::One => false,
            Topology::Three | Topology::AllAtTheWrongCore => true,
        }
    }

    /// A node with another number of cores.
    pub(super) fn other(self) -> Self {
        match self {
            Topology::One => Topology::Three,
            Topology::Three | Topology::AllAtTheWrongCore => Topology::One,
        }
    }

    fn cores(self) -> u16 {
        match self {
            Topology::One => 1,
            Topology::Three | Topology::AllAtTheWrongCore => 3,
        }
    }

    pub(super) fn homes(self) -> Homes {
        match self {
            Topology::One | Topology::Three => Homes::all(self.cores()),
            Topology::AllAtTheWrongCore => Homes { first: CoreId(1), count: 2 },
        }
    }

    fn receives(self, from: SocketAddr) -> CoreId {
        match self {
            Topology::One | Topology::AllAtTheWrongCore => CoreId(0),
            Topology::Three => {
                let last = match from.ip() {
                    IpAddr::V4(ip) => ip.octets()[3],
                    IpAddr::V6(ip) => ip.octets()[15],
                };
                CoreId((from.port() + u16::from(last)) % self.cores())
            }
        }
    }
}

/// A message on its way to an actor.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) to: SocketAddr,
    pub(super) from: LocalAddr,
    pub(super) bytes: Vec<u8>,
}

/// The node.
pub(super) struct Node {
    pub(super) settings: Settings,
    pub(super) shards: Vec<Shard>,
    topology: Topology,
    /// What the wall clock would have said at [`Instant::START`].
    wall_at_start: u64,
    now: Instant,
    outbox: Outbox,
    /// What is on its way to actors, in the order in which it was sent.
    pub(super) waiting: VecDeque<Delivery>,
    letters: VecDeque<(CoreId, Vec<u8>)>,
    /// How many of the next letters get lost, after how many that do not, and how many are held back.
    pub(super) to_lose: usize,
    pub(super) to_pass: usize,
    pub(super) to_hold: usize,
    held: VecDeque<(CoreId, Vec<u8>)>,
    /// Names that are asked for, with their tickets and by whom.
    questions: Vec<(String, u64, CoreId)>,
    /// How often it was started.
    starts: u64,
}

/// What the wall clock says at [`Instant::START`]: 2026-11-23T08:00:00Z.
const WALL_AT_START_SECS: u64 = 1_795_420_800;

/// Timers due at once must be done after this many rounds.
const EXPIRE_ROUNDS_MAX: usize = 10_000;

/// RFC 3261 16.8 and 17: Timer C, then those of CANCEL, and of the refusal that nobody acknowledges; once for each of some callees.
const ALL_IS_OVER: Duration = Duration::from_secs(4 * (185 + 32 + 32));

/// A request must not come back to us more often than this, nor may letters cause more letters.
const ROUNDS_MAX: usize = 300;

/// RFC 1812 4.3.2.3: an ICMP error has at most 576 bytes, of which two IP headers, its own and that of UDP are 56.
const QUOTED_BYTES_MAX: usize = 520;

impl Node {
    pub(super) fn new(settings: Settings, topology: Topology) -> Self {
        let mut node = Node {
            settings,
            shards: Vec::new(),
            topology,
            wall_at_start: WALL_AT_START_SECS,
            now: Instant::START.plus_secs(1),
            outbox: Outbox::new(1, 0),
            waiting: VecDeque::new(),
            letters: VecDeque::new(),
            to_lose: 0,
            to_pass: 0,
            to_hold: 0,
            held: VecDeque::new(),
            questions: Vec::new(),
            starts: 0,
        };
        node.restart(topology, None);
        node
    }

    /// All cores anew, without a memory, on these cores and with these keys.
    pub(super) fn restart(&mut self, topology: Topology, keys: Option<Keys>) {
        self.topology = topology;
        self.settings.homes = topology.homes();
        if let Some(keys) = keys {
            self.settings.keys = keys;
        }
        self.starts += 1;
        let keys = self.settings.keys.clone();
        self.settings.keys = keys.for_start(self.starts);
        let core = |core| Shard::new(Settings { core: CoreId(core), ..self.settings.clone() });
        self.shards = (0..topology.cores()).map(core).collect();
        self.letters.clear();
        self.held.clear();
        self.questions.clear();
    }

    pub(super) fn topology(&self) -> Topology {
        self.topology
    }

    /// Whether these bytes, a Call-ID or a canonical address-of-record, live on different cores.
    pub(super) fn lives_apart(&self, one: &str, other: &str) -> bool {
        let home = |bytes: &str| {
            let hash = HomeHash::new(&self.settings.keys.home, bytes.as_bytes());
            self.settings.homes.home(hash.place)
        };
        home(one) != home(other)
    }

    /// The near end of an actor: the listener it names, or the first of its address family.
    pub(super) fn near_end(
        &self,
        addr: SocketAddr,
        listener: Option<SocketAddr>,
    ) -> Result<LocalAddr, String> {
        let listeners = &self.settings.listeners;
        let index = listeners
            .iter()
            .position(|one| listener.map_or(one.is_ipv4() == addr.is_ipv4(), |own| own == *one))
            .ok_or("no listener has this address, or the address family of this actor")?;
        let listener = ListenerId(u16::try_from(index).unwrap());
        Ok(LocalAddr { listener, ip: listeners[index].ip() })
    }

    /// What the node is called in Via.
    pub(super) fn names(&self) -> Vec<String> {
        let advertised =
            self.settings.proxy.listeners.iter().filter_map(|one| one.advertised.as_deref());
        let addresses = self.settings.listeners.iter().map(ToString::to_string);
        addresses.chain(advertised.map(str::to_owned)).collect()
    }

    /// Gives a datagram to the core that the topology says, and carries it to its home where it must move.
    pub(super) fn receive(
        &mut self,
        from: SocketAddr,
        to: LocalAddr,
        bytes: &[u8],
    ) -> Result<Outcome, String> {
        let datagram =
            Datagram { from: Peer::udp(from), to, bytes, age: Duration::from_micros(50) };
        let receiver = self.topology.receives(from);
        let mut outcome = self.handle(receiver, Input::Datagram(datagram))?;
        if let Verdict::Hopped(home) = outcome.verdict {
            if home == receiver {
                return Err(format!("core {} moved an input to itself", receiver.0));
            }
            outcome = self.handle(home, Input::Hop(datagram))?;
            if let Verdict::Hopped(next) = outcome.verdict {
                return Err(format!(
                    "moved from core {} to {} and on to {}",
                    receiver.0, home.0, next.0
                ));
            }
        }
        self.settle()?;
        Ok(outcome)
    }

    /// An ICMP error about a datagram that went to `to`.
    pub(super) fn unreachable(&mut self, to: SocketAddr, bytes: &[u8]) -> Result<Outcome, String> {
        let quoted = &bytes[..bytes.len().min(QUOTED_BYTES_MAX)];
        let error = || Input::Unreachable(Unreachable { to: Peer::udp(to), quoted });
        let receiver = self.topology.receives(to);
        let mut outcome = self.handle(receiver, error())?;
        if let Verdict::Hopped(home) = outcome.verdict {
            outcome = self.handle(home, error())?;
        }
        self.settle()?;
        Ok(outcome)
    }

    /// Answers the oldest question for a name.
    pub(super) fn resolve(&mut self, name: &str, addresses: &[IpAddr]) -> Result<Outcome, String> {
        let asked = self.questions.iter().position(|(asked, _, _)| asked == name);
        let index =
            asked.ok_or_else(|| format!("`{name}` is not asked for: {:?}", self.asked()))?;
        let (_, ticket, core) = self.questions.remove(index);
        let outcome = self.handle(core, Input::Addresses { ticket, addresses })?;
        self.settle()?;
        Ok(outcome)
    }

    /// The names that are asked for.
    pub(super) fn asked(&self) -> Vec<&str> {
        self.questions.iter().map(|(name, _, _)| name.as_str()).collect()
    }

    /// Delivers the letters that were held back.
    pub(super) fn release(&mut self) -> Result<(), String> {
        if self.held.is_empty() {
            return Err("no letter is held".to_owned());
        }
        self.letters.append(&mut self.held);
        self.settle()
    }

    /// One input for one core; what it wants sent is on its way afterwards.
    fn handle(&mut self, core: CoreId, input: Input<'_>) -> Result<Outcome, String> {
        let wall = self.wall();
        let is_datagram = match &input {
            Input::Datagram(_) | Input::Hop(_) => true,
            Input::Letter(_) | Input::Unreachable(_) | Input::Addresses { .. } => false,
        };
        let shard = self
            .shards
            .get_mut(usize::from(core.0))
            .ok_or_else(|| format!("there is no core {}", core.0))?;
        let outcome = shard.handle(self.now, wall, input, &mut self.outbox);
        let sent = self.outbox.sends().len();
        self.post(core);
        match (outcome.verdict, sent) {
            (Verdict::Replied | Verdict::Refused(_), 0) if is_datagram => {
                Err(format!("the verdict is {:?} and nothing was sent", outcome.verdict))
            }
            (Verdict::Hopped(_) | Verdict::Dropped(_), 1..) => {
                Err(format!("the verdict is {:?} and {sent} messages were sent", outcome.verdict))
            }
            (
                Verdict::Replied
                | Verdict::Refused(_)
                | Verdict::Hopped(_)
                | Verdict::Dropped(_)
                | Verdict::Absorbed
                | Verdict::Forwarded
                | Verdict::Held,
                _,
            ) => Ok(outcome),
        }
    }

    /// Empties the outbox: messages to actors, letters to cores, names to be asked for.
    fn post(&mut self, core: CoreId) {
        for send in self.outbox.sends() {
            self.waiting.push_back(Delivery {
                to: send.to.addr,
                from: send.from,
                bytes: self.outbox.bytes(send).to_vec(),
            });
        }
        for letter in self.outbox.letters() {
            let letter = (letter.to, self.outbox.text(&letter.range).to_vec());
            if self.to_pass > 0 {
                self.to_pass -= 1;
                self.letters.push_back(letter);
            } else if self.to_lose > 0 {
                self.to_lose -= 1;
            } else if self.to_hold > 0 {
                self.to_hold -= 1;
                self.held.push_back(letter);
            } else {
                self.letters.push_back(letter);
            }
        }
        for question in self.outbox.questions() {
            let name = String::from_utf8_lossy(self.outbox.text(&question.range)).into_owned();
            self.questions.push((name, question.ticket, core));
        }
        self.outbox.clear();
    }

    /// Carries letters to their cores and what the node sends to itself back to it, until nothing is left of either.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            if let Some((core, bytes)) = self.letters.pop_front() {
                self.handle(core, Input::Letter(&bytes))?;
                continue;
            }
            let is_own = |delivery: &Delivery| self.settings.listeners.contains(&delivery.to);
            let Some(index) = self.waiting.iter().position(is_own) else { return Ok(()) };
            let Some(Delivery { to, from, bytes }) = self.waiting.remove(index) else { continue };
            let source = self.settings.listeners[usize::from(from.listener.0)];
            let near = self.near_end(to, Some(to))?;
            self.receive_own(source, near, &bytes)?;
        }
        Err("letters, or messages to ourselves, without end".to_owned())
    }

    /// A datagram that the node sent to itself.
    fn receive_own(
        &mut self,
        source: SocketAddr,
        to: LocalAddr,
        bytes: &[u8],
    ) -> Result<(), String> {
        let datagram =
            Datagram { from: Peer::udp(source), to, bytes, age: Duration::from_micros(50) };
        let receiver = self.topology.receives(source);
        let outcome = self.handle(receiver, Input::Datagram(datagram))?;
        if let Verdict::Hopped(home) = outcome.verdict {
            self.handle(home, Input::Hop(datagram))?;
        }
        Ok(())
    }

    /// Lets time pass, from deadline to deadline: a timer sees its own time, not the end of the wait.
    pub(super) fn wait(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now.plus(time);
        for _ in 0..EXPIRE_ROUNDS_MAX {
            let due = self.shards.iter().filter_map(Shard::deadline).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(due);
            for core in 0..self.topology.cores() {
                let shard = &mut self.shards[usize::from(core)];
                if shard.deadline().is_some_and(|deadline| deadline <= self.now) {
                    shard.expire(self.now, 8, &mut self.outbox);
                    self.post(CoreId(core));
                }
            }
            self.settle()?;
        }
        Err("timers are due without end".to_owned())
    }

    /// Sets the wall clock.
    pub(super) fn set_clock(&mut self, secs: i64) {
        self.wall_at_start = self.wall_at_start.saturating_add_signed(secs);
    }

    /// Whether everything that is under way ends by itself, whoever stops talking.
    pub(super) fn runs_empty(&mut self) -> Result<(), String> {
        self.wait(ALL_IS_OVER)?;
        self.waiting.clear();
        self.check()?;
        for gauge in ["transactions", "branches"] {
            let left = self.sum(self::gauge, gauge).unwrap_or_default();
            if left > 0 {
                return Err(format!("{left} {gauge} are never over"));
            }
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for shard in &self.shards {
            shard.check();
            if !shard.metrics().reconciles() {
                return Err("inputs and verdicts do not add up".to_owned());
            }
        }
        Ok(())
    }

    /// A counter's or a gauge's sum over all cores.
    pub(super) fn sum(&self, of: fn(&Shard, &str) -> Option<u64>, name: &str) -> Option<u64> {
        self.shards.iter().map(|shard| of(shard, name)).sum()
    }

    fn wall(&self) -> UnixTime {
        UnixTime(self.wall_at_start + self.now.since(Instant::START).as_secs())
    }
}

pub(super) fn verdict_text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Replied => "replied".to_owned(),
        Verdict::Forwarded => "forwarded".to_owned(),
        Verdict::Held => "held".to_owned(),
        Verdict::Hopped(core) => format!("hopped {}", core.0),
        Verdict::Absorbed => "absorbed".to_owned(),
        Verdict::Refused(status) => format!("refused {status}"),
        Verdict::Dropped(reason) => format!("dropped {}", reason.label()),
    }
}

pub(super) fn counter(shard: &Shard, name: &str) -> Option<u64> {
    let metrics = shard.metrics();
    Some(match name {
        "bindings_created" => metrics.bindings_created,
        "bindings_refreshed" => metrics.bindings_refreshed,
        "bindings_removed" => metrics.bindings_removed,
        "bindings_expired" => metrics.bindings_expired,
        "bindings_replaced" => metrics.bindings_replaced,
        "location_full" => metrics.location_full,
        cause if Cause::ALL.iter().any(|one| one.label() == cause) => {
            let of = |one: &&Cause| one.label() == cause;
            Cause::ALL.iter().find(of).map_or(0, |one| metrics.challenged[one.index()])
        }
        "forwarded" => metrics.forwarded,
        "held" => metrics.held,
        "hopped" => metrics.hopped,
        _ => return None,
    })
}

pub(super) fn gauge(shard: &Shard, name: &str) -> Option<u64> {
    let gauges = shard.gauges();
    let value = match name {
        "aors" => gauges.aors,
        "bindings" => gauges.bindings,
        "arena_used_bytes" => gauges.arena_used_bytes,
        "transactions" => gauges.calls.transactions as usize,
        "branches" => gauges.calls.branches as usize,
        _ => return None,
    };
    Some(value as u64)
}
