//! A node of two cores and whatever may come to it, in an order and at times that the bytes choose: requests made of the parts that
//! matter, damaged ones, raw bytes, retransmissions, steps of both clocks. After each event what a shard promises must hold.

mod script;

use super::bytes::Bytes;
use script::Script;
pub(super) use script::damage;
use shards::io::{
    Class, CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer,
    UnixTime, Verdict,
};
use shards::location::Domains;
use shards::registrar::{Policy, UnsupportedPath, WhenFull};
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use shards::transaction::TIMER_J;
use shards::wire::{self, Contact, Index, Message, Peek};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Plays the events that the bytes describe.
pub fn shard(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut world = World::new(&mut bytes);
    let mut script = Script::default();
    for event in 0..EVENTS_MAX {
        if bytes.is_empty() {
            break;
        }
        match bytes.below(16) {
            0 => world.pass(Duration::from_millis(bytes.below(1 << 16) as u64)),
            1 => world.pass(Duration::from_secs(bytes.below(8000) as u64)),
            2 => {
                let step = CLOCK_STEPS[bytes.below(4)];
                world.wall = UnixTime(world.wall.0.wrapping_add_signed(step));
            }
            3 => world.expire(bytes.byte().into()),
            4 => world.send(bytes.slice().to_vec(), &mut bytes),
            5 | 6 => world.repeat(&mut bytes),
            7..10 => {
                let mut request = script.request(&mut bytes);
                damage(&mut request, &mut bytes);
                world.send(request, &mut bytes);
            }
            _ => world.send(script.request(&mut bytes), &mut bytes),
        }
        if event % 8 == 0 {
            world.check();
        }
    }
    world.end();
}

const EVENTS_MAX: usize = 200;

/// Seconds by which a wall clock may step.
const CLOCK_STEPS: [i64; 4] = [1, -1, 1 << 40, -(1 << 40)];

/// Datagrams that may come again.
const REPEATED_MAX: usize = 8;

/// A node, its time, and what was sent to it.
struct World {
    shards: [Shard; 2],
    out: Outbox,
    policy: Policy,
    /// Whether there is memory for the record of any answer.
    remembers: bool,
    listeners: [SocketAddr; 2],
    now: Instant,
    wall: UnixTime,
    sent: Vec<Sent>,
    /// Inputs that shards were given.
    inputs: u64,
}

/// A datagram and what became of it.
#[derive(Clone)]
struct Sent {
    bytes: Vec<u8>,
    from: Peer,
    at: Instant,
    /// Where it lives, and the answer to it where a record is kept of that.
    kept: Option<(usize, Vec<u8>)>,
    /// Records that this core had evicted by then.
    evicted: u64,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let listeners = ["192.0.2.1:5060", "[2001:db8::1]:5060"].map(|text| text.parse().unwrap());
        let policy = Policy {
            min_expires_secs: bytes.one_of(&[1, 60]),
            max_contacts: bytes.one_of(&[1, 2, 10]),
            max_contact_bytes: bytes.one_of(&[300, 8192]),
            when_full: bytes.one_of(&[WhenFull::Refuse, WhenFull::ReplaceOldest]),
            unsupported_path: bytes.one_of(&[UnsupportedPath::Reject, UnsupportedPath::Store]),
            ..Policy::default()
        };
        let domains = if bytes.flag() {
            Domains::any()
        } else {
            Domains::new(["sip.test", "b.test"]).with_alias("voip.test", "sip.test")
        };
        let settings = Settings {
            core: CoreId(0),
            homes: Homes::all(2),
            keys: Keys::derive(&[bytes.byte(); 32]),
            domains: Arc::new(domains),
            listeners: Arc::new(listeners),
            policy: policy.clone(),
            proxy: shards::proxy::Policy::default(),
            realm: None,
            limits: Limits {
                message_bytes: bytes.one_of(&[700, 4096]),
                header_lines: bytes.one_of(&[16, 64]),
                contacts: bytes.one_of(&[2, 16]),
                bindings: bytes.one_of(&[2, 16]),
                arena_bytes: bytes.one_of(&[0, 8 << 10, 64 << 10]),
                completed_bytes: bytes.one_of(&[0, 2 << 10, 64 << 10]),
                transactions: 1000,
                branches: 2000,
                transaction_bytes: 4 << 20,
            },
        };
        // A record has at most half of the table, and an answer is a request and all bindings at most.
        let remembers = settings.limits.completed_bytes > 2 * (4096 + 8192 + 1024);
        World {
            shards: [0, 1]
                .map(|core| Shard::new(Settings { core: CoreId(core), ..settings.clone() })),
            out: Outbox::new(1, 0),
            policy,
            remembers,
            listeners,
            now: Instant::START,
            wall: UnixTime(1_800_000_000),
            sent: Vec::new(),
            inputs: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn expire(&mut self, budget: u32) {
        for shard in &mut self.shards {
            shard.expire(self.now, budget, &mut self.out);
            self.out.clear();
        }
    }

    /// Somebody sends a datagram.
    fn send(&mut self, datagram: Vec<u8>, bytes: &mut Bytes<'_>) {
        let from = bytes.one_of(&["192.0.2.7:5060", "192.0.2.8:5099", "[2001:db8::7]:5060"]);
        let from = Peer::udp(from.parse().unwrap());
        let entry = usize::from(bytes.flag());
        let (core, outcome, answer) = self.deliver(entry, from, &datagram);
        let keeps = outcome.verdict == Verdict::Replied && is_register(outcome.class);
        self.sent.insert(
            0,
            Sent {
                bytes: datagram,
                from,
                at: self.now,
                kept: answer.filter(|_| keeps).map(|answer| (core, answer)),
                evicted: self.shards[core].gauges().completed_evicted,
            },
        );
        self.sent.truncate(REPEATED_MAX);
    }

    /// A datagram comes again, on either core.
    fn repeat(&mut self, bytes: &mut Bytes<'_>) {
        if self.sent.is_empty() {
            return;
        }
        let sent = self.sent[bytes.below(self.sent.len())].clone();
        let (core, outcome, answer) =
            self.deliver(usize::from(bytes.flag()), sent.from, &sent.bytes);
        let Some((home, kept)) = sent.kept else { return };
        assert_eq!(core, home, "one message lives on one core");
        // RFC 3261 17.2.2: the same bytes, until Timer J ends the record or younger ones took its place.
        let is_kept = self.now.since(sent.at) < TIMER_J
            && self.shards[core].gauges().completed_evicted == sent.evicted;
        if is_kept && self.remembers {
            assert_eq!(outcome.class, Class::Duplicate);
            assert_eq!(answer, Some(kept), "a retransmission got another answer");
        }
    }

    /// Hands a datagram to a core, moves it where it lives, and holds what comes of it to the rules.
    fn deliver(
        &mut self,
        entry: usize,
        from: Peer,
        bytes: &[u8],
    ) -> (usize, Outcome, Option<Vec<u8>>) {
        let listener = usize::from(from.addr.is_ipv6());
        let to = LocalAddr {
            listener: ListenerId(u16::try_from(listener).unwrap()),
            ip: self.listeners[listener].ip(),
        };
        let datagram = Datagram { from, to, bytes, age: Duration::ZERO };
        let mut core = entry;
        let mut outcome = self.handle(core, Input::Datagram(datagram));
        if let Verdict::Hopped(CoreId(home)) = outcome.verdict {
            assert!(self.out.sends().is_empty(), "it was answered and moved");
            assert_ne!(usize::from(home), entry);
            core = home.into();
            outcome = self.handle(core, Input::Hop(datagram));
        }
        let answer = match outcome.verdict {
            Verdict::Replied => Some(200),
            Verdict::Refused(status) => Some(status),
            Verdict::Forwarded | Verdict::Held | Verdict::Absorbed | Verdict::Dropped(_) => None,
            Verdict::Hopped(_) => panic!("it moved twice"),
        };
        let sends = self.out.sends();
        let Some(status) = answer else {
            assert!(sends.is_empty(), "{outcome:?}, but something was sent");
            return (core, outcome, None);
        };
        let [send] = sends else { panic!("{outcome:?} with {} answers", sends.len()) };
        assert_eq!((send.to.addr.ip(), send.from), (from.addr.ip(), to), "answered elsewhere");
        let answer = self.out.bytes(send).to_vec();
        if status != 200 {
            assert!(answer.len() <= 2 * bytes.len(), "a refusal that amplifies");
        }
        self.judge(&answer, status, outcome.class, bytes);
        (core, outcome, Some(answer))
    }

    fn handle(&mut self, core: usize, input: Input<'_>) -> Outcome {
        self.inputs += 1;
        self.out.clear();
        self.shards[core].handle(self.now, self.wall, input, &mut self.out)
    }

    /// An answer begins as its verdict says, lets nothing in, and offers only what lives and as much as may be.
    fn judge(&self, answer: &[u8], status: u16, class: Class, request: &[u8]) {
        assert!(answer.starts_with(format!("SIP/2.0 {status} ").as_bytes()));
        assert!(answer.ends_with(b"\r\n\r\n"));
        let mut index = Index::new(128);
        let seen = wire::peek(answer, &mut index);
        if status == 200 {
            assert!(
                matches!(seen, Peek::Response { status: 200, .. }),
                "{}",
                answer.escape_ascii()
            );
        }
        let Ok(message) = Message::parse(answer, &mut index) else {
            assert_ne!(status, 200, "{} to {}", answer.escape_ascii(), request.escape_ascii());
            return;
        };
        assert_eq!(message.body(), b"");
        if status != 200 || !is_register(class) && class != Class::Duplicate {
            return;
        }
        let mut contacts = 0;
        for contact in message.contacts() {
            let Ok(Contact::Address(contact)) = contact else {
                panic!("{}", answer.escape_ascii())
            };
            let expires = contact.expires.expect("each contact has its own");
            assert!((1..=self.policy.max_expires_secs).contains(&expires), "{expires} s are left");
            contacts += 1;
        }
        assert!(contacts <= usize::from(self.policy.max_contacts), "{contacts} bindings");
    }

    fn check(&self) {
        let mut counted = 0;
        for shard in &self.shards {
            shard.check();
            let metrics = shard.metrics();
            counted += metrics.inputs.iter().sum::<u64>();
            let gone =
                metrics.bindings_removed + metrics.bindings_expired + metrics.bindings_replaced;
            let bindings = shard.gauges().bindings as u64;
            assert_eq!(metrics.bindings_created, gone + bindings, "a binding was lost");
            assert!(shard.gauges().aors as u64 <= bindings);
        }
        assert_eq!(counted, self.inputs);
    }

    /// When nobody refreshes, nothing is left.
    fn end(&mut self) {
        self.check();
        self.pass(Duration::from_secs(u64::from(self.policy.max_expires_secs) + 2));
        let is_due = |shard: &Shard, now| shard.deadline().is_some_and(|due| due <= now);
        for _ in 0..10_000 {
            if self.shards.iter().any(|shard| is_due(shard, self.now)) {
                self.expire(64);
            }
        }
        self.check();
        for shard in &self.shards {
            assert_eq!(
                (shard.gauges().bindings, shard.gauges().aors),
                (0, 0),
                "an immortal binding"
            );
        }
    }
}

fn is_register(class: Class) -> bool {
    matches!(
        class,
        Class::RegisterNew | Class::RegisterRefresh | Class::RegisterRemove | Class::RegisterQuery
    )
}
