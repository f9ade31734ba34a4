//! Plays a flow against the shards of one node under virtual time. It owns the clock, the wires between actors and
//! cores and the moves between cores; it never looks inside a shard except through its metrics.

use super::check::{against_flow, against_request};
use super::message::{Memory, Message};
use super::script::{Body, Check, Flow, Step};
use super::settings::settings;
use shards::auth::Cause;
use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer, UnixTime,
    Verdict,
};
use shards::shard::{Homes, Settings, Shard};
use std::collections::VecDeque;
use std::net::SocketAddr;
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

    fn cores(self) -> u16 {
        match self {
            Topology::One => 1,
            Topology::Three | Topology::AllAtTheWrongCore => 3,
        }
    }

    fn homes(self) -> Homes {
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
                    std::net::IpAddr::V4(ip) => ip.octets()[3],
                    std::net::IpAddr::V6(ip) => ip.octets()[15],
                };
                CoreId((from.port() + u16::from(last)) % self.cores())
            }
        }
    }
}

/// Plays one flow.
///
/// # Errors
/// The line of the file at which the node did something else than the flow says, and what.
pub fn play(flow: &Flow, topology: Topology) -> Result<(), String> {
    let settings = settings(flow, topology.homes())?;
    let mut world = World::new(flow, &settings, topology);
    for (line, step) in &flow.steps {
        world.step(step).map_err(|why| format!("line {line}: {why}"))?;
        world.check().map_err(|why| format!("line {line}: {why}"))?;
    }
    world.nothing_waits().map_err(|why| format!("at the end: {why}"))
}

/// A message on its way to an actor.
struct Delivery {
    to: SocketAddr,
    from: LocalAddr,
    bytes: Vec<u8>,
}

struct World {
    topology: Topology,
    listeners: Vec<SocketAddr>,
    shards: Vec<Shard>,
    settings: Settings,
    /// What the wall clock would have said at [`Instant::START`].
    wall_at_start: u64,
    now: Instant,
    outbox: Outbox,
    actors: Vec<ActorState>,
    /// The request or response that was sent last: its source, where it went to, its bytes.
    sent: Option<(SocketAddr, LocalAddr, Vec<u8>)>,
    outcome: Option<Outcome>,
    waiting: VecDeque<Delivery>,
}

struct ActorState {
    memory: Memory,
    sent: Option<Vec<u8>>,
    received: Option<Vec<u8>>,
}

/// What the wall clock says at [`Instant::START`]: 2026-11-23T08:00:00Z.
const WALL_AT_START_SECS: u64 = 1_795_420_800;

/// Timers due at once must be done after this many rounds.
const EXPIRE_ROUNDS_MAX: usize = 10_000;

impl World {
    fn new(flow: &Flow, settings: &Settings, topology: Topology) -> Self {
        let actors = flow
            .actors
            .iter()
            .map(|actor| ActorState {
                memory: Memory::new(&actor.name, actor.addr),
                sent: None,
                received: None,
            })
            .collect();
        World {
            topology,
            listeners: settings.listeners.to_vec(),
            shards: World::shards(settings, topology),
            settings: settings.clone(),
            wall_at_start: WALL_AT_START_SECS,
            now: Instant::START.plus_secs(1),
            outbox: Outbox::new(1, 0),
            actors,
            sent: None,
            outcome: None,
            waiting: VecDeque::new(),
        }
    }

    fn shards(settings: &Settings, topology: Topology) -> Vec<Shard> {
        (0..topology.cores())
            .map(|core| Shard::new(Settings { core: CoreId(core), ..settings.clone() }))
            .collect()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(name, body) => {
                self.nothing_waits()?;
                let actor = self.actor(name);
                let bytes = match body {
                    Body::Shorthand { .. } => actor.memory.write(body)?,
                    Body::Raw(bytes) => bytes.clone(),
                    Body::Again => actor.sent.clone().ok_or("there is nothing to send again")?,
                };
                actor.sent = Some(bytes.clone());
                let from = actor.memory.addr;
                self.deliver(from, bytes)
            }
            Step::Expect(name, status, checks) => self.expect(name, *status, checks),
            Step::ExpectSame(name) => {
                let before = self.actor(name).received.clone();
                let bytes = self.take(name)?;
                let before = before.ok_or_else(|| format!("{name} got nothing before"))?;
                if bytes == before {
                    Ok(())
                } else {
                    Err(format!(
                        "the response changed, from\n{}\nto\n{}",
                        text(&before),
                        text(&bytes)
                    ))
                }
            }
            Step::Silence => self.nothing_waits(),
            Step::Wait(time) => {
                self.nothing_waits()?;
                self.wait(*time)
            }
            Step::Clock(secs) => {
                self.wall_at_start = self.wall_at_start.saturating_add_signed(*secs);
                Ok(())
            }
            Step::Restart => {
                self.shards = World::shards(&self.settings, self.topology);
                Ok(())
            }
            Step::Passes(name, other) => {
                let sent = self.actor(name).sent.clone();
                self.actor(other).sent = sent;
                Ok(())
            }
            Step::Verdict(wanted) => {
                let outcome = self.outcome.ok_or("nothing was sent yet")?;
                same("the verdict", &verdict_text(outcome.verdict), wanted)
            }
            Step::Class(wanted) => {
                let outcome = self.outcome.ok_or("nothing was sent yet")?;
                same("the class", outcome.class.label(), wanted)
            }
            Step::Count(name, wanted) => {
                let mut sum = 0;
                for shard in &self.shards {
                    sum += counter(shard, name)
                        .ok_or_else(|| format!("there is no counter `{name}`"))?;
                }
                same(name, &sum, wanted)
            }
            Step::Gauge(name, wanted) => {
                let mut sum = 0;
                for shard in &self.shards {
                    sum +=
                        gauge(shard, name).ok_or_else(|| format!("there is no gauge `{name}`"))?;
                }
                same(name, &sum, wanted)
            }
        }
    }

    fn actor(&mut self, name: &str) -> &mut ActorState {
        // The parser let only known names pass.
        self.actors.iter_mut().find(|actor| actor.memory.name == name).unwrap()
    }

    /// Gives a datagram to the core that the topology says, and carries it to its home where it must move.
    fn deliver(&mut self, from: SocketAddr, bytes: Vec<u8>) -> Result<(), String> {
        let listener = self
            .listeners
            .iter()
            .position(|listener| listener.is_ipv4() == from.is_ipv4())
            .ok_or("no listener has the address family of this actor")?;
        let to = LocalAddr {
            listener: ListenerId(u16::try_from(listener).unwrap()),
            ip: self.listeners[listener].ip(),
        };
        let datagram =
            Datagram { from: Peer::udp(from), to, bytes: &bytes, age: Duration::from_micros(50) };
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
        self.outcome = Some(outcome);
        self.sent = Some((from, to, bytes));
        Ok(())
    }

    /// One input for one core; what it wants sent is on its way afterwards.
    fn handle(&mut self, core: CoreId, input: Input<'_>) -> Result<Outcome, String> {
        let wall = self.wall();
        let shard = self
            .shards
            .get_mut(usize::from(core.0))
            .ok_or_else(|| format!("there is no core {}", core.0))?;
        let outcome = shard.handle(self.now, wall, input, &mut self.outbox);
        let sent = self.outbox.sends().len();
        self.post();
        match (outcome.verdict, sent) {
            (Verdict::Replied | Verdict::Refused(_), 1)
            | (Verdict::Hopped(_) | Verdict::Absorbed | Verdict::Dropped(_), 0)
            | (Verdict::Forwarded | Verdict::Held, _) => Ok(outcome),
            (verdict, sent) => {
                Err(format!("the verdict is {verdict:?} and {sent} messages were sent"))
            }
        }
    }

    fn post(&mut self) {
        for send in self.outbox.sends() {
            self.waiting.push_back(Delivery {
                to: send.to.addr,
                from: send.from,
                bytes: self.outbox.bytes(send).to_vec(),
            });
        }
        self.outbox.clear();
    }

    fn expect(&mut self, name: &str, status: u16, checks: &[Check]) -> Result<(), String> {
        let bytes = self.take(name)?;
        let response = Message::read(&bytes).map_err(|why| format!("{why}:\n{}", text(&bytes)))?;
        let mut wrong = against_flow(&response, status, checks);
        let mirrored = !checks.iter().any(|check| matches!(check, Check::Unmirrored));
        if let (true, Some((source, _, sent))) = (mirrored, &self.sent) {
            let request = Message::read(sent)?;
            wrong.extend(against_request(&response, &request, *source));
        }
        if status == 401 {
            let values = response.rows_of("WWW-Authenticate").into_iter().map(str::to_owned);
            self.actor(name).memory.challenges.values = values.collect();
        }
        if let Some(to) = response.first("To") {
            self.actor(name).memory.answered_to = Some(to.to_owned());
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}, in\n{}", wrong.join("; "), text(&bytes)))
        }
    }

    /// The next message on the wires, which must go to this actor and come from the address that was written to.
    fn take(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let addr = self.actor(name).memory.addr;
        let Some(delivery) = self.waiting.pop_front() else {
            let outcome = self.outcome;
            return Err(format!("{name} got nothing; the last input was {outcome:?}"));
        };
        if delivery.to != addr {
            return Err(format!(
                "went to {}, not to {addr}:\n{}",
                delivery.to,
                text(&delivery.bytes)
            ));
        }
        if self.sent.as_ref().is_some_and(|(_, to, _)| *to != delivery.from) {
            return Err(format!("left from {:?}, where nothing had been sent to", delivery.from));
        }
        self.actor(name).received = Some(delivery.bytes.clone());
        Ok(delivery.bytes)
    }

    fn nothing_waits(&self) -> Result<(), String> {
        match self.waiting.front() {
            None => Ok(()),
            Some(delivery) => {
                Err(format!("nobody expected this, to {}:\n{}", delivery.to, text(&delivery.bytes)))
            }
        }
    }

    /// Lets time pass, from deadline to deadline: a timer sees its own time, not the end of the wait.
    fn wait(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now.plus(time);
        for _ in 0..EXPIRE_ROUNDS_MAX {
            let due = self.shards.iter().filter_map(Shard::deadline).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(due);
            for shard in &mut self.shards {
                if shard.deadline().is_some_and(|deadline| deadline <= self.now) {
                    shard.expire(self.now, 8, &mut self.outbox);
                }
            }
            self.post();
        }
        Err("timers are due without end".to_owned())
    }

    fn check(&self) -> Result<(), String> {
        for shard in &self.shards {
            shard.check();
            if !shard.metrics().reconciles() {
                return Err("inputs and verdicts do not add up".to_owned());
            }
        }
        Ok(())
    }

    fn wall(&self) -> UnixTime {
        UnixTime(self.wall_at_start + self.now.since(Instant::START).as_secs())
    }
}

fn same<T: PartialEq + std::fmt::Display + ?Sized>(
    what: &str,
    found: &T,
    wanted: &T,
) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found}, not {wanted}")) }
}

fn verdict_text(verdict: Verdict) -> String {
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

fn counter(shard: &Shard, name: &str) -> Option<u64> {
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

fn gauge(shard: &Shard, name: &str) -> Option<u64> {
    let gauges = shard.gauges();
    let value = match name {
        "aors" => gauges.aors,
        "bindings" => gauges.bindings,
        "arena_used_bytes" => gauges.arena_used_bytes,
        _ => return None,
    };
    Some(value as u64)
}

/// A message for a reader: an indented line each, with what does not print escaped.
fn text(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.map(|line| format!("    {}", line.escape_ascii())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::parse;

    const REGISTER: &str = "alice at 192.0.2.1:5060\nbob at 192.0.2.2:5060\nflow x\n\
        alice > REGISTER\n    Contact: <sip:alice@192.0.2.1>\n";

    fn played(text: &str) -> Vec<String> {
        let flows = parse(&format!("{REGISTER}{text}")).unwrap();
        let results = Topology::ALL.map(|topology| play(&flows[0], topology));
        results.into_iter().map(|result| result.err().unwrap_or_default()).collect()
    }

    #[test]
    fn a_node_that_does_something_else_is_caught() {
        for (text, why) in [
            ("", "at the end: nobody expected this, to 192.0.2.1:5060"),
            ("silence", "line 6: nobody expected this"),
            ("wait 1s", "line 6: nobody expected this"),
            ("bob > OPTIONS", "line 6: nobody expected this"),
            ("bob < 200", "line 6: went to 192.0.2.1:5060, not to 192.0.2.2:5060"),
            ("alice < 404", "line 6: status 404 was expected"),
            ("alice < 200\nalice < 200", "line 7: alice got nothing"),
            ("alice < same", "line 6: alice got nothing before"),
            ("alice < 200\nalice > OPTIONS\nalice < same", "line 8: the response changed"),
            ("alice < 200\nverdict absorbed", "line 7: the verdict is replied, not absorbed"),
            ("alice < 200\nclass options", "line 7: the class is reg-200-new, not options"),
            ("alice < 200\ngauge bindings 2", "line 7: bindings is 1, not 2"),
            ("alice < 200\ncount wishes 2", "line 7: there is no counter `wishes`"),
            ("alice < 200\nset wishes 2", "line 7: there is no setting `wishes 2`"),
            ("alice < 200\n    no contacts", "line 6: there are contacts"),
        ] {
            for found in played(text) {
                assert!(found.contains(why), "{text:?} gave {found:?}, not {why:?}");
            }
        }
    }

    #[test]
    fn the_topologies_move_what_they_say() {
        let hops = |topology: Topology| {
            let flows = parse("alice at 192.0.2.1:5060\nflow x\nalice > OPTIONS").unwrap();
            let settings = settings(&flows[0], topology.homes()).unwrap();
            let mut world = World::new(&flows[0], &settings, topology);
            let mut hops = 0;
            for number in 0..30 {
                let line = format!(
                    "flow x\nalice at 192.0.2.1:5060\nalice > OPTIONS\n    Call-ID: {number}\n"
                );
                let step = parse(&line).unwrap()[0].steps[0].1.clone();
                world.waiting.clear();
                world.step(&step).unwrap();
            }
            for shard in &world.shards {
                hops += shard.metrics().hopped;
            }
            hops
        };
        assert_eq!(hops(Topology::One), 0);
        assert!((1..30).contains(&hops(Topology::Three)));
        assert_eq!(hops(Topology::AllAtTheWrongCore), 30);
    }
}
