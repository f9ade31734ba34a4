//! A crowd of user agents, a million on one core: registers, refreshes, tries again and keeps alive as a scenario says, and counts what comes of it. It has
//! no clock, no socket and no randomness of its own: it takes time and datagrams, and gives datagrams.
//!
//! ```text
//! arrival: who begins, when -+
//! wheel: whose time has come +-> registration (what each does) -> message (what is said, where from) -> Sink
//! keep_alive: whose turn ----+        ^ habits, draw (how each is by nature: client, patience, chance)
//! ```
//!
//! A user agent is a record of one cache line and its nonce. It waits for one thing at a time. All due times are those of the plan: what is sent
//! late because the caller was late is not sent later again the next time, and latency counts from when a datagram was due.

#![allow(
    clippy::cast_possible_truncation,
    reason = "user agents are below 2^24, ticks and lists below 2^32; times and shares in floating point are positive, and saturate"
)]

mod arrival;
mod bindings;
mod counts;
mod draw;
mod habits;
mod hostile;
mod keep_alive;
mod message;
mod outcome;
mod registration;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ua;
mod wheel;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::record::{Outcome, Scaled};
use super::scenario::{Arrival, Nonces as Held, Scenario};
use super::tally::Tally;
use crate::digest::{Accounts, Nonces};
use crate::generator::CSEQ_MIN;
use crate::population::Population;
use crate::response::Response;
use arrival::Arrivals;
use bindings::Bindings;
pub use counts::{Attempts, Counts, Refusals};
use habits::Habits;
use hostile::Hostile;
use keep_alive::KeepAlives;
use message::{Desk, Number};
use outcome::Ends;
use registration::Timers;
use ua::{Flags, Phase, Ua};
use wheel::Wheel;

/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;
/// Bytes of a server's name that are kept.
const SERVER_BYTES: usize = 80;

/// Where datagrams go.
pub trait Sink {
    /// Room for the next datagram of this port, with arbitrary contents. It is at least 2 KiB.
    fn slot(&mut self, port: usize) -> &mut [u8];
    /// Sends the first `length` bytes of that room from `source`.
    fn push(&mut self, port: usize, source: Ipv4Addr, length: usize);
}

/// Where a crowd is and whom it speaks to.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the server is.
    pub target: SocketAddrV4,
    /// Of the addresses-of-record; the realm, too.
    pub domain: String,
    /// Marks the branches of this crowd: no other run of a server's last minutes has it.
    pub run_id: u32,
    /// All chance follows from it.
    pub seed: u64,
    /// The numbers of the ports, five digits each, as many as the population has.
    pub ports: Vec<u16>,
    /// Names and addresses: those of the scenario's user agents, and behind them those of the others.
    pub population: Population,
    /// The one address from which all speak, where they can't have one each.
    pub at: Option<Ipv4Addr>,
    /// How many others there are who refresh at [`Scaled::steady_per_second`].
    pub others: u32,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Index of the port that it came to.
    pub port: usize,
    /// The address that it came to.
    pub to: Ipv4Addr,
    /// Who sent it.
    pub from: SocketAddrV4,
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It has no branch of this crowd, or is no response. It is not counted.
    NotMine,
    /// It carries the number of a request and is no answer to it.
    Stray,
    /// It answers what was settled before.
    Late,
    /// A provisional response.
    Provisional,
    /// A challenge; the answer has been sent.
    Challenged,
    /// A 423; the request has been sent again with a longer Expires.
    Lengthened,
    /// A registration has succeeded.
    Registered,
    /// An attempt has failed.
    Refused,
    /// An answer to a keep-alive.
    KeptAlive,
    /// An answer to a hostile sender.
    Hostile,
}

/// The crowd.
#[derive(Debug)]
pub struct Crowd {
    uas: Vec<Ua>,
    nonces: Nonces,
    wheel: Wheel,
    arrivals: Arrivals,
    keep_alives: Option<KeepAlives>,
    hostile: Option<Hostile>,
    habits: Habits,
    timers: Timers,
    desk: Desk,
    bindings: Bindings,
    bindings_of_others: Bindings,
    ends: Ends,
    counts: Counts,
    tally: Tally,
    digest: bool,
    /// What they hold at the start.
    held: Held,
    /// How often each registers in all, where that is bounded.
    cycles: Option<u8>,
    /// Those whom the scenario is about have lower numbers.
    own: u32,
    server: Vec<u8>,
}

impl Crowd {
    /// Everybody, before the first of them begins. The population must have room for the scenario's user agents and the others, no more than 16
    /// million.
    pub fn new(scenario: &Scenario, scaled: &Scaled, setup: &Setup) -> Crowd {
        let own = scaled.user_agents;
        let all = own + setup.others;
        assert!(all < 1 << message::UA_BITS, "their numbers fit a branch");
        assert!(all <= setup.population.size(), "everybody has a name");
        assert!(!setup.ports.is_empty(), "there is a port");
        let start_ns = (scaled.before_secs * SECOND_NS) as u64;
        let seed = setup.seed;
        let mut arrivals = Arrivals::new(scaled, &scenario.registration.refresh, start_ns, seed);
        let others_every_secs = f64::from(setup.others) / scaled.steady_per_second.max(1e-9);
        if setup.others > 0 {
            arrivals.add_others((own, all), others_every_secs, seed);
        }
        let habits = Habits::new(scenario, scaled, (others_every_secs * SECOND_NS) as u64, seed);
        let mut by_client = vec![0; scenario.clients.len()];
        for number in 0..own {
            if let Some(count) = by_client.get_mut(habits.client(number)) {
                *count += 1;
            }
        }
        let timers = Timers {
            t1_ns: u64::from(scenario.timers.t1_ms) * 1_000_000,
            t2_ns: u64::from(scenario.timers.t2_ms) * 1_000_000,
        };
        let desk = Desk::new(scenario, scaled, setup);
        let digest = scenario.registration.digest;
        let ha1 = |number| if digest { desk.ha1(number) } else { [0; 16] };
        let keep_alives =
            scenario.keep_alive.map(|keep_alive| KeepAlives::new(&keep_alive, timers, own, seed));
        Crowd {
            uas: (0..all).map(|number| Ua::new(ha1(number), CSEQ_MIN)).collect(),
            nonces: Nonces::new(all as usize),
            wheel: Wheel::new(),
            arrivals,
            keep_alives,
            hostile: scenario.hostile.map(|hostile| Hostile::new(&hostile, seed)),
            habits,
            timers,
            desk,
            bindings: Bindings::new(),
            bindings_of_others: Bindings::new(),
            ends: Ends::new(scenario, &by_client, start_ns),
            counts: Counts::default(),
            tally: Tally::default(),
            digest,
            held: scenario.population.nonces,
            cycles: match scaled.arrival {
                Arrival::Herd { cycles, .. } => Some(u8::try_from(cycles).unwrap_or(u8::MAX)),
                Arrival::Steady { .. }
                | Arrival::Uniform { .. }
                | Arrival::Ramp { .. }
                | Arrival::Waves { .. } => None,
            },
            own,
            server: Vec::new(),
        }
    }

    /// Takes over what the population has from a run before: the next REGISTER of everybody has the CSeq after `cseq`; those with bindings
    /// hold them for `left_secs` from the start of the run, the others always, the scenario's user agents if `bound`; and nonces are
    /// known as the scenario says.
    pub(crate) fn adopt(
        &mut self,
        accounts: Option<&Accounts>,
        cseq: u32,
        left_secs: u32,
        bound: bool,
    ) {
        for number in 0..self.uas.len() {
            let is_own = number < self.own as usize;
            let who = self.desk.who(number as u32);
            let ua = &mut self.uas[number];
            ua.cseq = cseq.max(CSEQ_MIN);
            let held = if is_own { self.held } else { Held::Valid };
            if let Some((nonce, nc)) = accounts.and_then(|accounts| accounts.kept(who)) {
                let length = match held {
                    Held::None => None,
                    Held::Valid => self.nonces.keep(number, nonce),
                    Held::Foreign => self.nonces.keep(number, &foreign(nonce)),
                };
                (ua.nonce_bytes, ua.nc) = (length.unwrap_or(0), nc);
            }
            if bound || !is_own {
                let until_ns = u64::from(left_secs) * 1_000_000_000;
                let bindings =
                    if is_own { &mut self.bindings } else { &mut self.bindings_of_others };
                bindings.hold(ua, until_ns, true);
            }
        }
        self.counts.total_registered = self.bindings.known();
    }

    /// When the next thing may be due, in nanoseconds from the start of the run; none when nothing ever is.
    pub fn deadline_ns(&self) -> Option<u64> {
        let keep_alive_ns = self.keep_alives.as_ref().map_or(u64::MAX, KeepAlives::deadline_ns);
        let wheel_ns = self.wheel.deadline_ns().unwrap_or(u64::MAX);
        let next_ns = self.arrivals.deadline_ns().min(keep_alive_ns).min(wheel_ns);
        (next_ns < u64::MAX).then_some(next_ns)
    }

    /// Does what is due at `now_ns`, in the order in which it is due, but no more than `budget` things; answers how many it did.
    pub fn expire(&mut self, now_ns: u64, budget: u32, sink: &mut impl Sink) -> u32 {
        self.pass(now_ns);
        let mut done = 0;
        while done < budget {
            let arrival_ns = self.arrivals.deadline_ns();
            let keep_alive_ns = self.keep_alives.as_ref().map_or(u64::MAX, KeepAlives::deadline_ns);
            let until_ns = arrival_ns.min(keep_alive_ns).min(now_ns);
            if let Some(number) = self.wheel.next_due(&mut self.uas, until_ns) {
                self.fire(number, sink);
            } else if keep_alive_ns <= now_ns && keep_alive_ns <= arrival_ns {
                self.keep_alive(sink);
            } else if let Some((number, due_ns)) = self.arrivals.next_due(now_ns) {
                self.begin(number, due_ns, sink);
            } else {
                break;
            }
            done += 1;
        }
        done
    }

    /// Takes one received datagram.
    pub fn take(&mut self, now_ns: u64, at: Arrived, bytes: &[u8], sink: &mut impl Sink) -> Taken {
        if bytes == b"\r\n" {
            // RFC 5626 3.5.1: a pong.
            self.counts.received += 1;
            self.counts.received_keep_alives += 1;
            return Taken::KeptAlive;
        }
        let Some(response) = Response::read(bytes) else { return Taken::NotMine };
        let Some(number) = self.desk.number_of(response.branch) else { return Taken::NotMine };
        self.pass(now_ns);
        self.counts.received += 1;
        if self.server.is_empty() && !response.server.is_empty() {
            let length = response.server.len().min(SERVER_BYTES);
            self.server.extend_from_slice(&response.server[..length]);
        }
        match number {
            Number::Register { number, serial } => {
                self.take_registration(now_ns, at, bytes, &response, (number, serial), sink)
            }
            Number::Options { turn } => self.take_options(now_ns, at, &response, turn),
            Number::Hostile { number, is_second } => {
                self.take_hostile(at, &response, (number, is_second), sink)
            }
        }
    }

    /// What has been counted since the start of the run.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes the latencies since the last time, and leaves an empty tally in their place.
    pub fn swap_tally(&mut self, empty: &mut Tally) {
        std::mem::swap(&mut self.tally, empty);
    }

    /// Fills what a crowd knows in `outcome`: when how many were registered, by which client, and how evenly.
    pub fn fill(&self, outcome: &mut Outcome) {
        self.ends.fill(outcome);
        outcome.registered_share = self.counts.total_registered as f64 / f64::from(self.own.max(1));
        outcome.attempts = self.counts.own.begun;
        let registered = self.ends.registered().max(1) as f64;
        outcome.amplification = Some(self.counts.sent as f64 / registered);
    }

    /// What the server calls itself, where it does.
    pub fn server(&self) -> Option<String> {
        (!self.server.is_empty()).then(|| String::from_utf8_lossy(&self.server).into_owned())
    }

    /// Bytes that all user agents, their nonces and timers take in memory.
    pub fn memory(&self) -> usize {
        self.uas.len() * size_of::<Ua>()
            + self.nonces.memory()
            + self.wheel.memory()
            + self.bindings.memory()
            + self.bindings_of_others.memory()
    }

    /// Walks over everybody and asserts that the counts are true.
    pub fn check(&self) {
        let (mut calling, mut calling_others, mut waiting, mut arrived) = (0, 0, 0, 0);
        let mut known = 0;
        for (number, ua) in self.uas.iter().enumerate() {
            let is_own = number < self.own as usize;
            if ua.phase.is_calling() {
                *(if is_own { &mut calling } else { &mut calling_others }) += 1;
                let latest_ns = ua.began_ns + self.timers.patience_ns();
                assert!(ua.due_ns <= latest_ns, "{number} gives up in time");
            }
            let rests =
                matches!(ua.phase, Phase::Absent | Phase::Done) || ua.due_ns == wheel::NEVER_NS;
            let is_queued = ua.previous != ua::NOBODY || ua.flags.has(Flags::IS_CALLED);
            assert!(rests || is_queued, "{number} will be called");
            if is_own {
                waiting += u64::from(ua.phase == Phase::Waiting);
                arrived += u64::from(ua.phase != Phase::Absent);
                known += u64::from(self.bindings.is_known(ua));
            }
        }
        assert_eq!(self.counts.own.under_way(), calling, "attempts have ended or are under way");
        assert_eq!(self.counts.others.under_way(), calling_others, "those of others, too");
        assert_eq!(self.counts.total_waiting, waiting);
        assert_eq!(self.counts.total_arrived, arrived);
        assert_eq!(self.counts.total_registered, known);
        let sent =
            self.counts.sent_registers + self.counts.sent_keep_alives + self.counts.sent_hostile;
        assert_eq!(self.counts.sent, sent, "every datagram is of one kind");
    }

    fn is_own(&self, number: u32) -> bool {
        number < self.own
    }

    fn attempts(&mut self, number: u32) -> &mut Attempts {
        if number < self.own { &mut self.counts.own } else { &mut self.counts.others }
    }

    fn stray(&mut self) -> Taken {
        self.counts.received_stray += 1;
        Taken::Stray
    }

    /// Lets bindings lapse.
    fn pass(&mut self, now_ns: u64) {
        self.bindings.pass(now_ns);
        self.bindings_of_others.pass(now_ns);
        self.counts.total_registered = self.bindings.known();
    }
}

/// A nonce as another server of the same kind might have made it: its last digits and letters differ.
fn foreign(nonce: &[u8]) -> Vec<u8> {
    let mut nonce = nonce.to_vec();
    let ends = nonce.iter_mut().rev().filter(|byte| byte.is_ascii_alphanumeric());
    for byte in ends.take(8) {
        *byte = match *byte {
            b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'E' => *byte + 1,
            b'9' => b'0',
            b'A'..=b'Z' => b'A',
            _ => b'a',
        };
    }
    nonce
}
