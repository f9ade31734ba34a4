//! `crowd`: what the storm simulator's user agents cost by themselves, without a network: a million of them and a registrar that answers at once.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use bench::Population;
use bench::storm::crowd::{Arrived, Crowd, Setup, Sink};
use bench::storm::record::Scaled;
use bench::storm::scenario::{
    self, Addresses, Arrival, Bindings, Client, End, Network, Nonces, Refresh, Registration, Retry,
    Scenario, Size, Timers,
};
use clap::Parser;

const TARGET: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5060);
const DOMAIN: &str = "sip.test";
const PORTS: u16 = 8;
const MS: u64 = 1_000_000;
/// Room for a datagram.
const ROOM: usize = 2048;

/// Measures the time that a crowd of user agents takes a message, in virtual time, on one core.
///
/// Only the crowd's own work is timed: what is due, texts, digests, checked answers, latencies, timers. Answers are written by a registrar of the
/// program's own in between, a batch at a time, in the words of Seawall's.
#[derive(Parser)]
struct Arguments {
    /// User agents.
    #[arg(long, default_value_t = 1_000_000)]
    user_agents: u32,
    /// Seconds in which they come.
    #[arg(long, default_value_t = 6.0)]
    over: f64,
    /// What to play: all of bare, digest, silence.
    #[arg(long, value_delimiter = ',', default_value = "bare,digest,silence")]
    plays: Vec<String>,
    /// The CPU.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if !bench::pin_to_cpu(arguments.cpu) {
        return Err(format!("there is no CPU {}", arguments.cpu).into());
    }
    for play in &arguments.plays {
        let (digest, answers) = match play.as_str() {
            "bare" => (false, true),
            "digest" => (true, true),
            "silence" => (false, false),
            _ => return Err(format!("there is no play {play:?}").into()),
        };
        let (scenario, scaled) = storm(arguments.user_agents, arguments.over, digest);
        let setup = Setup {
            target: TARGET,
            domain: DOMAIN.to_owned(),
            run_id: 1,
            seed: 1,
            ports: (20_000..20_000 + PORTS).collect(),
            population: Population::new(arguments.user_agents, PORTS, u32::MAX),
            at: None,
            others: 0,
        };
        let mut stage = Stage::new(Crowd::new(&scenario, &scaled, &setup), answers);
        let over = Duration::try_from_secs_f64(arguments.over)?;
        let rest = Duration::from_secs(if answers { 2 } else { 33 });
        let until_ns = u64::try_from((over + rest).as_nanos())?;
        stage.play(until_ns);
        stage.crowd.check();
        println!("{play}: {}", stage.report());
    }
    Ok(())
}

/// The crowd and its registrar.
struct Stage {
    crowd: Crowd,
    answers: bool,
    outbox: Outbox,
    replies: Vec<(Arrived, Vec<u8>)>,
    /// CPU time in nanoseconds of what was due, and of what came.
    expiring_ns: u64,
    taking_ns: u64,
}

impl Stage {
    fn new(crowd: Crowd, answers: bool) -> Stage {
        Stage {
            crowd,
            answers,
            outbox: Outbox::default(),
            replies: Vec::new(),
            expiring_ns: 0,
            taking_ns: 0,
        }
    }

    /// Rounds of a millisecond.
    fn play(&mut self, until_ns: u64) {
        let mut now_ns = 0;
        while now_ns < until_ns {
            now_ns += MS;
            loop {
                let start_ns = bench::thread_cpu_ns();
                let done = self.crowd.expire(now_ns, 256, &mut self.outbox);
                self.expiring_ns += bench::thread_cpu_ns() - start_ns;
                while self.answers && self.outbox.filled > 0 {
                    self.reply();
                    let start_ns = bench::thread_cpu_ns();
                    for (at, bytes) in &self.replies {
                        self.crowd.take(now_ns + MS, *at, bytes, &mut self.outbox);
                    }
                    self.taking_ns += bench::thread_cpu_ns() - start_ns;
                }
                self.outbox.filled = 0;
                if done < 256 {
                    break;
                }
            }
        }
    }

    /// Writes what a registrar says to all that was sent.
    fn reply(&mut self) {
        self.replies.resize_with(self.outbox.filled, || {
            (Arrived { port: 0, to: Ipv4Addr::LOCALHOST, from: TARGET }, Vec::new())
        });
        for (place, (at, reply)) in self.replies.iter_mut().enumerate() {
            let (port, source, length) = self.outbox.sent[place];
            *at = Arrived { port, to: source, from: TARGET };
            let request = &self.outbox.room[place * ROOM..place * ROOM + length];
            answer(std::str::from_utf8(request).expect("text"), reply);
        }
        self.outbox.filled = 0;
    }

    fn report(&self) -> String {
        let counts = self.crowd.counts();
        let sent = counts.sent as f64;
        let (expiring_ns, taking_ns) = (self.expiring_ns as f64, self.taking_ns as f64);
        let all_ns = expiring_ns + taking_ns;
        format!(
            "{:.0} ns a datagram sent with its answer, {:.0} ns an attempt ({} attempts, {} registered, {} sent, {} received; \
             what is due {:.2} s, what came {:.2} s, {:.1} MB)",
            all_ns / sent,
            all_ns / counts.own.begun as f64,
            counts.own.begun,
            counts.own.registered,
            counts.sent,
            counts.received,
            expiring_ns / 1e9,
            taking_ns / 1e9,
            self.crowd.memory() as f64 / 1e6,
        )
    }
}

/// Answers a REGISTER with 200, or with 401 where it has no credentials but its address says it should.
fn answer(request: &str, reply: &mut Vec<u8>) {
    let value = |name: &str| {
        let line =
            request.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.expect("a REGISTER has it")
    };
    reply.clear();
    let wants = DIGEST.with(std::cell::Cell::get) && !request.contains("\r\nAuthorization: ");
    let status = if wants { "401 Unauthorized" } else { "200 OK" };
    let mut line = |text: &[&str]| {
        for part in text {
            reply.extend_from_slice(part.as_bytes());
        }
        reply.extend_from_slice(b"\r\n");
    };
    line(&["SIP/2.0 ", status]);
    line(&["Via: ", value("Via"), ";received=127.0.0.1"]);
    line(&["From: ", value("From")]);
    line(&["To: ", value("To"), ";tag=0123456789abcdef"]);
    line(&["Call-ID: ", value("Call-ID")]);
    line(&["CSeq: ", value("CSeq")]);
    if wants {
        let nonce = "AAAAAAAAAAAAAAAAAAAAAAAA";
        line(&[
            "WWW-Authenticate: Digest realm=\"",
            DOMAIN,
            "\", nonce=\"",
            nonce,
            "\", algorithm=MD5, qop=\"auth\"",
        ]);
    } else {
        line(&["Contact: ", value("Contact"), ";expires=3600"]);
        line(&["Date: Sat, 28 Nov 2026 01:00:00 GMT"]);
    }
    line(&["Server: Seawall"]);
    line(&["Content-Length: 0"]);
    line(&[]);
}

std::thread_local! {
    static DIGEST: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A sink that keeps what it is given until it is emptied.
#[derive(Default)]
struct Outbox {
    room: Vec<u8>,
    sent: Vec<(usize, Ipv4Addr, usize)>,
    filled: usize,
}

impl Sink for Outbox {
    fn slot(&mut self, _port: usize) -> &mut [u8] {
        let start = self.filled * ROOM;
        if self.room.len() < start + ROOM {
            self.room.resize(start + ROOM, 0);
            self.sent.resize(self.filled + 1, (0, Ipv4Addr::UNSPECIFIED, 0));
        }
        &mut self.room[start..start + ROOM]
    }

    fn push(&mut self, port: usize, source: Ipv4Addr, length: usize) {
        self.sent[self.filled] = (port, source, length);
        self.filled += 1;
    }
}

/// Everybody comes within some seconds, and registers once.
fn storm(user_agents: u32, over_secs: f64, digest: bool) -> (Scenario, Scaled) {
    DIGEST.with(|cell| cell.set(digest));
    let arrival = Arrival::Uniform { over_secs };
    let retry = Retry::Fixed { after_timeout_secs: 120.0, after_refusal_secs: 120.0, spread: 0.1 };
    let scenario = Scenario {
        id: "crowd".to_owned(),
        title: "crowd".to_owned(),
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
            digest,
            refresh: vec![Refresh { share: 1.0, at: 0.5 }],
        },
        clients: vec![Client { name: "phone".to_owned(), share: 1.0, retry }],
        honour_retry_after: 0.8,
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
        arrival_secs: over_secs,
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
