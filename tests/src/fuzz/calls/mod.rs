//! A node of two cores that passes calls on, between phones, a neighbour and strangers who keep no rule: requests and the responses to
//! what the node has sent, right ones and damaged ones, in any order; letters, names and ICMP errors that come, come late or never.
//! After each event what a proxy promises must hold, and when nobody says anything any more nothing is left.

mod script;

use super::bytes::Bytes;
use super::shard::damage;
use script::Script;
use shards::io::{
    Class, CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer,
    UnixTime, Unreachable, Verdict,
};
use shards::location::Domains;
use shards::proxy::{ListenerPolicy, Neighbour, Network, NextHop, Policy};
use shards::registrar::{self, UnsupportedPath};
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Plays the events that the bytes describe.
pub fn calls(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut world = World::new(&mut bytes);
    let mut script = Script::default();
    for number in 0..4 {
        let peer = number % 3;
        world.arrive(peer, &script.register(number, &mut bytes), &mut bytes);
    }
    for _ in 0..EVENTS_MAX {
        if bytes.is_empty() {
            break;
        }
        world.event(&mut script, &mut bytes);
        world.shards.iter().for_each(Shard::check);
    }
    world.end();
}

const EVENTS_MAX: usize = 120;

/// What is remembered of what was sent, and what waits on its way.
const KEPT_MAX: usize = 24;

/// Who sends: three phones, one of them with IPv6; a second port of one; the neighbour, a stranger, and ourselves.
const PEERS: [&str; 7] = [
    "192.0.2.7:5060",
    "192.0.2.8:5060",
    "[2001:db8::7]:5060",
    "192.0.2.8:5062",
    "192.0.2.70:5060",
    "203.0.113.9:5060",
    "192.0.2.1:5060",
];
const NEIGHBOUR: usize = 4;
const LISTENERS: [&str; 2] = ["192.0.2.1:5060", "[2001:db8::1]:5060"];
/// What names turn out to mean.
const ADDRESSES: [&str; 6] =
    ["192.0.2.70", "203.0.113.9", "2001:db8::7", "192.0.2.1", "0.0.0.0", "224.0.0.1"];

/// A message that the node has sent.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    to: Peer,
}

struct World {
    shards: [Shard; 2],
    out: Outbox,
    now: Instant,
    inputs: u64,
    /// The newest first.
    requests: Vec<Sent>,
    responses: Vec<Sent>,
    /// What was sent to the node, by whom.
    arrived: Vec<(usize, Vec<u8>)>,
    letters: Vec<(usize, Vec<u8>)>,
    questions: Vec<(usize, u64)>,
    /// Where somebody has registered, or said that he is reached.
    registered: HashSet<IpAddr>,
    /// The final response that each transaction got, as long as whoever answers keeps the rules.
    finals: HashMap<Transaction, Vec<u8>>,
    is_honest: bool,
    /// Whether every domain is ours: there are no strangers then.
    is_any: bool,
    evicted: u64,
}

/// What a response belongs to: sent-by and branch, Call-ID, method, and whose it is.
type Transaction = (Vec<u8>, Vec<u8>, Vec<u8>, IpAddr);

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let network = |ip: &str, prefix_bits| Network { ip: ip.parse().unwrap(), prefix_bits };
        let neighbour = |name: &str, networks: Vec<Network>, domain: &str, next_hop| Neighbour {
            name: name.into(),
            networks: networks.into(),
            domains: Box::new([domain.as_bytes().into()]),
            next_hop,
            asserts_identity: name == "a",
        };
        let address = NextHop::Address(PEERS[NEIGHBOUR].parse().unwrap());
        let name = NextHop::Name { host: "proxy.carrier-b.test".into(), port: 5060 };
        let policy = Policy {
            timer_c_secs: 185,
            neighbours: Arc::new([
                neighbour("a", vec![network("192.0.2.64", 28)], "carrier-a.test", Some(address)),
                neighbour("b", vec![], "carrier-b.test", Some(name)),
            ]),
            listeners: Arc::new([
                ListenerPolicy {
                    advertised: bytes.flag().then(|| "edge.sip.test:5060".into()),
                    challenges: true,
                },
                ListenerPolicy::default(),
            ]),
            host: Arc::new([]),
        };
        let is_any = bytes.below(4) == 3;
        let domains = if is_any {
            Domains::any()
        } else {
            Domains::new(["sip.test"]).with_alias("voip.test", "sip.test")
        };
        let settings = Settings {
            core: CoreId(0),
            homes: Homes::all(2),
            keys: Keys::derive(&[7; 32]),
            domains: Arc::new(domains),
            listeners: LISTENERS.map(|text| text.parse().unwrap()).into(),
            policy: registrar::Policy {
                unsupported_path: UnsupportedPath::Store,
                ..registrar::Policy::default()
            },
            proxy: policy,
            realm: None,
            limits: Limits {
                message_bytes: bytes.one_of(&[65_507, 4096, 900]),
                header_lines: bytes.one_of(&[64, 16]),
                contacts: 10,
                bindings: 32,
                arena_bytes: 64 << 10,
                completed_bytes: bytes.one_of(&[64 << 10, 2 << 10, 0]),
                transactions: bytes.one_of(&[100, 1, 2, 4]),
                branches: bytes.one_of(&[200, 1, 2, 6]),
                transaction_bytes: bytes.one_of(&[1 << 20, 1 << 10, 4 << 10, 16 << 10]),
            },
        };
        World {
            shards: [0, 1]
                .map(|core| Shard::new(Settings { core: CoreId(core), ..settings.clone() })),
            out: Outbox::new(1, 0),
            now: Instant::START,
            inputs: 0,
            requests: Vec::new(),
            responses: Vec::new(),
            arrived: Vec::new(),
            letters: Vec::new(),
            questions: Vec::new(),
            registered: HashSet::new(),
            finals: HashMap::new(),
            is_honest: true,
            is_any,
            evicted: 0,
        }
    }

    fn event(&mut self, script: &mut Script, bytes: &mut Bytes<'_>) {
        let kind = bytes.below(24);
        match kind {
            0 => self.pass(Duration::from_millis(bytes.below(1 << 12) as u64), bytes),
            1 => self.pass(Duration::from_secs(bytes.below(256) as u64), bytes),
            2 => {
                let number = bytes.below(6);
                let peer = bytes.below(PEERS.len());
                self.arrive(peer, &script.register(number, bytes), bytes);
            }
            3..=8 => {
                let peer = if bytes.flag() { 0 } else { bytes.below(PEERS.len()) };
                let seen = pick(&self.responses, bytes).map(|sent| sent.bytes);
                let request = script.request(PEERS[peer], seen.as_deref(), bytes);
                self.damaged(peer, request, kind == 8, bytes);
            }
            9 => {
                if !self.arrived.is_empty() {
                    let (peer, again) = self.arrived[bytes.below(self.arrived.len())].clone();
                    self.arrive(peer, &again, bytes);
                }
            }
            10..=16 => {
                let Some(sent) = pick(&self.requests, bytes) else { return };
                let response = script::response(&sent.bytes, bytes);
                let there = PEERS.iter().position(|peer| sent.to == peer_of(peer));
                let peer = there.unwrap_or_else(|| bytes.below(PEERS.len()));
                self.damaged(peer, response, kind == 16, bytes);
            }
            17 | 18 => {
                // A CANCEL, or an ACK that belongs to a refusal: the INVITE's branch.
                let invites = self.arrived.iter().filter(|(_, text)| text.starts_with(b"INVITE"));
                let invites: Vec<_> = invites.cloned().collect();
                if !invites.is_empty() {
                    let (peer, invite) = &invites[bytes.below(invites.len())];
                    let method = if kind == 17 { "CANCEL" } else { "ACK" };
                    self.arrive(*peer, &script::of_same_branch(invite, method), bytes);
                }
            }
            19 | 20 => self.letter(bytes),
            21 => self.name(bytes),
            22 => {
                let Some(sent) = pick(&self.requests, bytes) else { return };
                let quoted = &sent.bytes[..sent.bytes.len().min(bytes.below(1024))];
                let to = if bytes.below(8) == 7 { peer_of(PEERS[5]) } else { sent.to };
                let input = Input::Unreachable(Unreachable { to, quoted });
                let core = usize::from(bytes.flag());
                if let Verdict::Hopped(CoreId(home)) = self.give(core, input).verdict {
                    self.give(home.into(), input);
                }
            }
            _ => {
                let junk = bytes.slice().to_vec();
                let peer = bytes.below(PEERS.len());
                self.is_honest = false;
                self.arrive(peer, &junk, bytes);
            }
        }
    }

    fn damaged(&mut self, peer: usize, mut message: Vec<u8>, is_bad: bool, bytes: &mut Bytes<'_>) {
        if is_bad {
            damage(&mut message, bytes);
            self.is_honest = false;
        }
        self.arrive(peer, &message, bytes);
    }

    /// A letter arrives, or is lost, or comes again later.
    fn letter(&mut self, bytes: &mut Bytes<'_>) {
        if self.letters.is_empty() {
            return;
        }
        let at = bytes.below(self.letters.len());
        let (core, text) = match bytes.below(8) {
            0 => return drop(self.letters.remove(at)),
            1 => self.letters[at].clone(),
            _ => self.letters.remove(at),
        };
        self.give(core, Input::Letter(&text));
    }

    fn name(&mut self, bytes: &mut Bytes<'_>) {
        if self.questions.is_empty() {
            return;
        }
        let at = bytes.below(self.questions.len());
        let (core, ticket) = self.questions.remove(at);
        let addresses: Vec<IpAddr> =
            (0..bytes.below(3)).map(|_| bytes.one_of(&ADDRESSES).parse().unwrap()).collect();
        self.give(core, Input::Addresses { ticket, addresses: &addresses });
        if bytes.below(8) == 7 {
            self.questions.push((core, ticket));
        }
    }

    /// A datagram arrives on one of the cores, and is moved where it lives.
    fn arrive(&mut self, peer: usize, message: &[u8], bytes: &mut Bytes<'_>) {
        let from = peer_of(PEERS[peer]);
        let listener = usize::from(from.addr.is_ipv6());
        let to = LocalAddr {
            listener: ListenerId(u16::try_from(listener).unwrap()),
            ip: LISTENERS[listener].parse::<SocketAddr>().unwrap().ip(),
        };
        self.arrived.insert(0, (peer, message.to_vec()));
        self.arrived.truncate(KEPT_MAX);
        if message.starts_with(b"REGISTER") {
            self.registered.insert(from.addr.ip());
            if script::line(message, "Path").is_some() {
                // He has said that everything for him goes there.
                self.registered.extend(PEERS.iter().map(|peer| peer_of(peer).addr.ip()));
            }
        }
        let datagram = Datagram { from, to, bytes: message, age: Duration::ZERO };
        let mut outcome = self.give(bytes.below(2), Input::Datagram(datagram));
        if let Verdict::Hopped(CoreId(home)) = outcome.verdict {
            assert!(self.out.sends().is_empty(), "it was answered and moved");
            outcome = self.give(home.into(), Input::Hop(datagram));
            assert!(!matches!(outcome.verdict, Verdict::Hopped(_)), "it moved twice");
        }
        self.bounded(message, from, outcome);
    }

    /// Whoever is nobody makes the node send no more than twice what he sends to others than those who have registered, and
    /// to himself; and a refusal of his is no larger either.
    fn bounded(&self, message: &[u8], from: Peer, outcome: Outcome) {
        let is_neighbour = from == peer_of(PEERS[NEIGHBOUR]);
        let claims = script::line(message, "From").is_some_and(|line| script::is_ours(&line));
        let is_response = message.starts_with(b"SIP/2.0");
        let has_cookie = message.windows(3).any(|part| part == b";c=");
        if self.is_any || is_neighbour || claims || is_response || has_cookie {
            return;
        }
        let others = self.out.sends().iter().filter(|send| {
            let ip = send.to.addr.ip();
            ip != from.addr.ip() && !self.registered.contains(&ip)
        });
        let bytes: usize = others.map(|send| self.out.bytes(send).len()).sum();
        assert!(bytes <= 2 * message.len(), "{bytes} bytes for {}", message.len());
        if outcome.class == Class::Refusal {
            let bytes: usize = self.out.sends().iter().map(|send| self.out.bytes(send).len()).sum();
            assert!(bytes <= 2 * message.len(), "{outcome:?}: {bytes} for {}", message.len());
        }
    }

    fn give(&mut self, core: usize, input: Input<'_>) -> Outcome {
        self.inputs += 1;
        self.out.clear();
        let outcome =
            self.shards[core].handle(self.now, UnixTime(1_800_000_000), input, &mut self.out);
        if let Input::Datagram(datagram) | Input::Hop(datagram) = &input
            && !matches!(outcome.class, Class::Duplicate | Class::Move | Class::Ack)
            && let Some(key) = script::transaction(datagram.bytes, datagram.from.addr.ip())
        {
            // A transaction of its own begins.
            self.finals.remove(&key);
        }
        // What can't be read is refused by itself, whatever its branch.
        let is_honest = self.is_honest;
        self.is_honest &= outcome.class != Class::Refusal;
        self.gather(core, Outbox::FAN_OUT_MAX);
        self.is_honest = is_honest;
        outcome
    }

    fn pass(&mut self, time: Duration, bytes: &mut Bytes<'_>) {
        self.now = self.now.plus(time);
        for _ in 0..bytes.below(4) {
            self.expire(8);
        }
    }

    fn expire(&mut self, budget: u32) {
        for core in 0..self.shards.len() {
            self.out.clear();
            self.shards[core].expire(self.now, budget, &mut self.out);
            self.gather(core, usize::MAX);
        }
    }

    /// Takes what is to be sent, and holds it to the rules.
    fn gather(&mut self, core: usize, most: usize) {
        assert!(self.out.sends().len() <= most, "{} sent", self.out.sends().len());
        let evicted: u64 = self.shards.iter().map(|shard| shard.gauges().calls.evicted).sum();
        let is_evicted = std::mem::replace(&mut self.evicted, evicted) != evicted;
        if is_evicted {
            // What is gone may be asked for again, and answered otherwise.
            self.finals.clear();
        }
        for send in self.out.sends() {
            let bytes = self.out.bytes(send).to_vec();
            let ip = send.to.addr.ip();
            let is_one = !ip.is_unspecified() && !ip.is_multicast() && send.to.addr.port() != 0;
            assert!(is_one, "sent to {}", send.to.addr);
            assert_eq!(ip.is_ipv4(), send.from.ip.is_ipv4());
            let sent = Sent { bytes, to: send.to };
            if sent.bytes.starts_with(b"SIP/2.0") {
                if self.is_honest {
                    final_once(&mut self.finals, &sent);
                }
                self.responses.insert(0, sent);
            } else {
                self.requests.insert(0, sent);
            }
        }
        self.responses.truncate(KEPT_MAX);
        self.requests.truncate(KEPT_MAX);
        for letter in self.out.letters() {
            assert_ne!(usize::from(letter.to.0), core, "a letter to itself");
            self.letters.push((letter.to.0.into(), self.out.text(&letter.range).to_vec()));
        }
        self.letters.truncate(KEPT_MAX);
        self.questions.extend(self.out.questions().iter().map(|question| (core, question.ticket)));
        self.questions.truncate(KEPT_MAX);
    }

    /// When nobody says anything any more, everything ends.
    fn end(&mut self) {
        let counted: u64 =
            self.shards.iter().map(|shard| shard.metrics().inputs.iter().sum::<u64>()).sum();
        assert_eq!(counted, self.inputs);
        let until = self.now.plus(Duration::from_secs(1000));
        while let Some(due) = self.shards.iter().filter_map(Shard::deadline).min()
            && due <= until
        {
            self.now = self.now.max(due);
            self.expire(64);
        }
        for shard in &self.shards {
            shard.check();
            let calls = shard.gauges().calls;
            assert_eq!((calls.transactions, calls.branches), (0, 0), "an immortal call: {calls:?}");
        }
    }
}

/// A transaction has one final response, which may come again; an INVITE has any 2xx before and after it.
fn final_once(finals: &mut HashMap<Transaction, Vec<u8>>, sent: &Sent) {
    let status = sent.bytes.get(8..11).unwrap_or_default();
    let Some(key) = script::transaction(&sent.bytes, sent.to.addr.ip()) else { return };
    if status < b"200" || key.2 == b"INVITE" && status < b"300" {
        return;
    }
    let first = finals.entry(key).or_insert_with(|| sent.bytes.clone());
    assert_eq!(
        first.escape_ascii().to_string(),
        sent.bytes.escape_ascii().to_string(),
        "another final response"
    );
}

fn peer_of(text: &str) -> Peer {
    Peer::udp(text.parse().unwrap())
}

fn pick(all: &[Sent], bytes: &mut Bytes<'_>) -> Option<Sent> {
    if all.is_empty() { None } else { Some(all[bytes.below(all.len())].clone()) }
}
