//! What tests of a crowd need: a scenario to start from, a sink that keeps what it is given, and answers as a registrar writes them.

use std::net::{Ipv4Addr, SocketAddrV4};

use md5::{Digest, Md5};

use super::{Arrived, Crowd, Setup, Sink, Taken};
use crate::population::Population;
use crate::storm::record::Scaled;
use crate::storm::scenario::{
    self, Addresses, Arrival, Bindings, Client, End, Network, Nonces, Refresh, Registration, Retry,
    Scenario, Size, Timers,
};

pub(super) const SEC: u64 = 1_000_000_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const TARGET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5060);
pub(super) const DOMAIN: &str = "sip.test";
const PORTS: u16 = 4;

/// A scenario of so many user agents who come within a second, fixed in all habits.
pub(super) fn scenario(user_agents: u32) -> (Scenario, Scaled) {
    let arrival = Arrival::Uniform { over_secs: 1.0 };
    let scenario = Scenario {
        id: "T".to_owned(),
        title: "test".to_owned(),
        about: String::new(),
        needs: Vec::new(),
        population: scenario::Population {
            size: Size::UserAgents(user_agents),
            bindings: Bindings::Lapsed,
            nonces: Nonces::None,
            addresses: Addresses::Own,
            behind_one_address: 0,
            steady_load: 0.0,
        },
        arrival,
        outage: None,
        registration: Registration {
            expires_secs: 3600,
            digest: true,
            refresh: vec![Refresh { share: 1.0, at: 0.5 }],
        },
        clients: vec![fixed("fixed-30", 30.0)],
        honour_retry_after: 0.0,
        timers: Timers { t1_ms: 500, t2_ms: 4000 },
        network: Network { loss: 0.0 },
        calls: None,
        emergency_calls: None,
        keep_alive: None,
        hostile: None,
        backend: None,
        restart: None,
        end: End { before_secs: 0.0, after_secs: 0.0, t_min_most: 1.0, at_least_secs: 0.0 },
    };
    let scaled = Scaled {
        user_agents,
        behind_one_address: 0,
        scale: 1.0,
        multiple: 1.0,
        multiple_asked: 1.0,
        arrival,
        arrival_secs: 1.0,
        outage: None,
        expires_secs: 3600,
        t_min_secs: 1.0,
        t_min_from_secs: 0.0,
        restart_at_secs: None,
        restart_down_secs: 0.0,
        steady_per_second: 0.0,
        calls_per_second: 0.0,
        emergency_calls_per_second: 0.0,
        keep_alives_per_second: 0.0,
        before_secs: 0.0,
        after_secs: 0.0,
        end_secs: 100.0,
    };
    (scenario, scaled)
}

/// A client that always waits equally long.
pub(super) fn fixed(name: &str, secs: f64) -> Client {
    let retry = Retry::Fixed { after_timeout_secs: secs, after_refusal_secs: secs, spread: 0.0 };
    Client { name: name.to_owned(), share: 1.0, retry }
}

/// Where that many user agents are, and the others.
pub(super) fn setup(user_agents: u32, others: u32, seed: u64) -> Setup {
    Setup {
        target: TARGET,
        domain: DOMAIN.to_owned(),
        run_id: 0x5ea_0a11,
        seed,
        ports: (0..PORTS).map(|port| 20_000 + port).collect(),
        population: Population::new(user_agents + others, PORTS, u32::MAX),
        at: None,
        others,
    }
}

pub(super) fn crowd((scenario, scaled): &(Scenario, Scaled)) -> Crowd {
    Crowd::new(scenario, scaled, &setup(scaled.user_agents, 0, 1))
}

/// A hash by MD5 in hex.
pub(super) fn md5_hex(text: String) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A datagram as it was sent, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at_ns: u64,
    pub(super) port: usize,
    pub(super) source: Ipv4Addr,
    pub(super) text: String,
}

impl Sent {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn cseq(&self) -> u32 {
        self.header("CSeq").unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    pub(super) fn branch(&self) -> &str {
        self.header("Via").unwrap().split("branch=").nth(1).unwrap()
    }

    /// A parameter of the credentials, without its quotes.
    pub(super) fn credential(&self, name: &str) -> Option<&str> {
        let credentials = self.header("Authorization")?.strip_prefix("Digest ").unwrap();
        let value =
            credentials.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"'))
    }

    /// A response to it with further lines, each with its end.
    pub(super) fn response(&self, status: u16, lines: &str) -> String {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", self.header(name).unwrap()));
        format!("SIP/2.0 {status} As It Is\r\n{}{lines}Content-Length: 0\r\n\r\n", copied.concat())
    }

    /// A 200 that grants so many seconds to its contact.
    pub(super) fn granted(&self, secs: u32) -> String {
        let contact = self.header("Contact").unwrap();
        self.response(200, &format!("Contact: {contact};expires={secs}\r\n"))
    }

    /// A 401 with a nonce.
    pub(super) fn challenge(&self, nonce: &str, more: &str) -> String {
        let challenge = format!(
            "WWW-Authenticate: Digest realm=\"{DOMAIN}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{more}\r\n"
        );
        self.response(401, &challenge)
    }

    /// How an answer to it arrives.
    pub(super) fn arrived(&self) -> Arrived {
        Arrived { port: self.port, to: self.source, from: TARGET }
    }
}

/// A sink that keeps all.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) now_ns: u64,
    pub(super) sent: Vec<Sent>,
    room: Vec<u8>,
}

impl Default for Kept {
    fn default() -> Kept {
        // What was in the room before is not part of any message.
        Kept { now_ns: 0, sent: Vec::new(), room: vec![b'#'; 2048] }
    }
}

impl Sink for Kept {
    fn slot(&mut self, _port: usize) -> &mut [u8] {
        &mut self.room
    }

    fn push(&mut self, port: usize, source: Ipv4Addr, length: usize) {
        let text = String::from_utf8(self.room[..length].to_vec()).unwrap();
        self.sent.push(Sent { at_ns: self.now_ns, port, source, text });
    }
}

/// A crowd with its clock and all that it has sent.
#[derive(Debug)]
pub(super) struct World {
    pub(super) crowd: Crowd,
    pub(super) kept: Kept,
}

impl World {
    pub(super) fn new(crowd: Crowd) -> World {
        World { crowd, kept: Kept::default() }
    }

    /// Lets time pass until `until_ns`, from one deadline to the next; answers what was sent.
    pub(super) fn run_until(&mut self, until_ns: u64) -> Vec<Sent> {
        while let Some(due_ns) = self.crowd.deadline_ns().filter(|due_ns| *due_ns <= until_ns) {
            self.kept.now_ns = self.kept.now_ns.max(due_ns);
            self.crowd.expire(self.kept.now_ns, u32::MAX, &mut self.kept);
        }
        self.kept.now_ns = until_ns;
        self.crowd.expire(until_ns, u32::MAX, &mut self.kept);
        std::mem::take(&mut self.kept.sent)
    }

    /// Lets time pass until something is sent.
    pub(super) fn run_until_sent(&mut self) -> Vec<Sent> {
        while self.kept.sent.is_empty() {
            let due_ns = self.crowd.deadline_ns().expect("something is due");
            self.kept.now_ns = self.kept.now_ns.max(due_ns);
            self.crowd.expire(self.kept.now_ns, u32::MAX, &mut self.kept);
        }
        std::mem::take(&mut self.kept.sent)
    }

    /// Lets a response to `sent` arrive now.
    pub(super) fn answer(&mut self, sent: &Sent, response: &str) -> Taken {
        self.crowd.take(self.kept.now_ns, sent.arrived(), response.as_bytes(), &mut self.kept)
    }

    /// What has been sent since the last time.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.kept.sent)
    }
}
