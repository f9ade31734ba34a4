//! User agents that answer challenges, against a server that reckons for itself what their answers must be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bench::{Extent, Flood, Generator, Pace, Payload, Plan, Population, Report, Workload};
use md5::{Digest, Md5};

const DOMAIN: &str = "sip.test";

/// What the server does with the n-th datagram, which has credentials or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// What a registrar does.
    Judge,
    /// Says that the nonce is stale.
    Stale,
    /// Refuses as if the password were wrong.
    Refuse,
    /// Answers 200 whatever is there.
    Accept,
    /// Challenges in another realm.
    OtherRealm,
    /// Challenges twice.
    Twice,
    Drop,
}

#[derive(Debug, Default)]
struct Seen {
    bare: u64,
    right: u64,
    wrong: u64,
    sent: u64,
    /// The count of each nonce.
    counts: HashMap<String, u32>,
}

struct Server {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Server {
    fn start(users: u32, act: impl Fn(u64, bool) -> Act + Send + 'static) -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let ha1 = Population::new(users, 1, 1)
            .subscribers(DOMAIN)
            .map(|subscriber| (subscriber.username, subscriber.ha1))
            .collect();
        let thread = std::thread::spawn(move || serve(&socket, &ha1, &act, &stopped));
        Server { address, stop, thread }
    }

    fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn serve(
    socket: &UdpSocket,
    ha1: &HashMap<String, String>,
    act: &impl Fn(u64, bool) -> Act,
    stopped: &AtomicBool,
) -> Seen {
    let mut seen = Seen::default();
    let mut buffer = [0; 2048];
    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        let credentials = request.lines().find_map(|l| l.strip_prefix("Authorization: Digest "));
        // Nonces of several lengths.
        let length = usize::try_from(number % 7).unwrap();
        let nonce = format!("nonce-{}-{number}", "=".repeat(length));
        let challenge = |realm: &str, rest: &str| {
            format!(
                "WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{rest}\r\n"
            )
        };
        let is_right = credentials.map(|text| is_right(text, ha1, &mut seen.counts));
        match is_right {
            None => seen.bare += 1,
            Some(true) => seen.right += 1,
            Some(false) => seen.wrong += 1,
        }
        let (status, line, times) = match act(number, credentials.is_some()) {
            Act::Judge if is_right == Some(true) => ("200 OK", String::new(), 1),
            Act::Judge | Act::Refuse => ("401 Unauthorized", challenge(DOMAIN, ""), 1),
            Act::Stale => ("401 Unauthorized", challenge(DOMAIN, ", stale=true"), 1),
            Act::Accept => ("200 OK", String::new(), 1),
            Act::OtherRealm => ("401 Unauthorized", challenge("elsewhere", ""), 1),
            Act::Twice => ("401 Unauthorized", challenge(DOMAIN, ""), 2),
            Act::Drop => ("", String::new(), 0),
        };
        let answer = response(request, status, &line);
        for _ in 0..times {
            socket.send_to(answer.as_bytes(), from).unwrap();
            seen.sent += 1;
        }
        number += 1;
    }
    seen
}

fn response(request: &str, status: &str, challenge: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap();
        if ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name)
            || name == "Contact" && challenge.is_empty()
        {
            let _never_fails = write!(text, "{line}\r\n");
        }
    }
    text + challenge + "Content-Length: 0\r\n\r\n"
}

/// Whether credentials are those of a user for a nonce of ours that is used the next time.
fn is_right(text: &str, ha1: &HashMap<String, String>, counts: &mut HashMap<String, u32>) -> bool {
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name}="))?;
        Some(rest.split(", ").next()?.trim_matches('"').to_owned())
    };
    let value = |name: &str| value(name).unwrap();
    let hex =
        |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let (nonce, nc, cnonce) = (value(" nonce"), value(" nc"), value("cnonce"));
    let asked = hex(&Md5::digest(format!("REGISTER:{}", value("uri"))));
    let secret = &ha1[&value("username")];
    let answer = hex(&Md5::digest(format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{asked}")));
    let count = counts.entry(nonce).or_default();
    *count += 1;
    value("realm") == DOMAIN
        && value("qop") == "auth"
        && answer == value("response")
        && nc == format!("{count:08x}")
}

fn run(server: &Server, user_agents: u32, workload: Workload, requests: u64) -> Report {
    let population = Population::new(user_agents, 3, u32::MAX).sharing(2);
    let mut generator = Generator::open(server.address, DOMAIN, population, 0).unwrap();
    let mut plan = Plan::new(workload, Pace::Closed { window: 32 }, Extent::Requests(requests));
    plan.timeout = Duration::from_millis(500);
    generator.run(&plan).unwrap()
}

#[test]
fn each_registration_is_challenged_and_counts_once() {
    let server = Server::start(100, |_, _| Act::Judge);
    let report = run(&server, 100, Workload::RegisterChallenged, 1000);
    let seen = server.finish();
    assert!(report.counts.flawless(), "{report}");
    assert_eq!((report.counts.answered, report.counts.challenged), (1000, 1000), "{report}");
    assert_eq!((seen.bare, seen.right, seen.wrong), (1000, 1000, 0));
    assert_eq!(report.latency_histogram.len(), 1000);
}

#[test]
fn a_nonce_is_kept_and_counted_up() {
    let server = Server::start(100, |_, _| Act::Judge);
    let report = run(&server, 100, Workload::RegisterDigest, 500);
    let seen = server.finish();
    assert!(report.counts.flawless(), "{report}");
    assert_eq!((report.counts.answered, report.counts.challenged), (500, 100), "{report}");
    assert_eq!((seen.bare, seen.right, seen.wrong), (100, 500, 0));
    assert!(seen.counts.values().all(|count| *count == 5), "{:?}", seen.counts);
}

#[test]
fn a_stale_nonce_is_replaced() {
    // Each fifth of those with credentials, but never an answer to a challenge.
    let act = |n, has_credentials| {
        if has_credentials && n > 250 && n % 5 == 0 { Act::Stale } else { Act::Judge }
    };
    let server = Server::start(100, act);
    let report = run(&server, 100, Workload::RegisterDigest, 1000);
    let seen = server.finish();
    let counts = &report.counts;
    assert!(report.reconciled, "{report}");
    assert!(counts.challenged > 200, "{report}");
    // Only what was called stale twice running is refused.
    assert_eq!(counts.answered + counts.refused, 1000, "{report}");
    assert!(counts.answered > 900, "{report}");
    assert_eq!(seen.wrong, 0, "every answer was right, whatever was said of it");
}

#[test]
fn who_lets_everybody_in_is_found_out() {
    for workload in [Workload::RegisterChallenged, Workload::RegisterDigest] {
        let server = Server::start(100, |_, _| Act::Accept);
        let report = run(&server, 100, workload, 100);
        server.finish();
        assert!(report.reconciled && !report.counts.flawless(), "{report}");
        assert_eq!(report.counts.unchallenged, 100, "{report}");
    }
}

#[test]
fn a_refused_password_is_not_tried_again() {
    let act = |_, has_credentials| if has_credentials { Act::Refuse } else { Act::Judge };
    let server = Server::start(100, act);
    let report = run(&server, 100, Workload::RegisterDigest, 300);
    let seen = server.finish();
    assert!(report.reconciled, "{report}");
    assert_eq!((report.counts.refused, report.counts.challenged), (300, 300), "{report}");
    assert_eq!(seen.bare, 300, "the nonce of a refused answer is forgotten");
}

#[test]
fn a_challenge_of_another_realm_is_a_refusal() {
    let server = Server::start(100, |_, _| Act::OtherRealm);
    let report = run(&server, 100, Workload::RegisterChallenged, 100);
    server.finish();
    assert!(report.reconciled, "{report}");
    assert_eq!((report.counts.refused, report.counts.challenged), (100, 0), "{report}");
}

#[test]
fn what_is_lost_or_doubled_on_either_leg_is_counted() {
    let act = |n, has_credentials| match (n % 20, has_credentials) {
        (0, _) => Act::Drop,
        (7, false) => Act::Twice,
        _ => Act::Judge,
    };
    let server = Server::start(100, act);
    let report = run(&server, 100, Workload::RegisterChallenged, 400);
    let seen = server.finish();
    let counts = &report.counts;
    assert!(report.reconciled, "{report}");
    assert_eq!(counts.received, seen.sent, "{report}");
    assert_eq!(counts.answered + counts.lost, 400, "{report}");
    assert!(counts.lost > 0 && counts.duplicate > 0, "{report}");
    assert_eq!(seen.wrong, 0);
}

#[test]
fn who_guesses_is_never_right() {
    let server = Server::start(100, |_, _| Act::Judge);
    let population = Population::new(100, 3, u32::MAX);
    let mut generator = Generator::open(server.address, DOMAIN, population, 0).unwrap().guessing();
    let flood = Flood {
        payload: Payload::Guess,
        rate: 1000,
        time: Duration::from_millis(300),
        sleeps: false,
        server_pid: std::process::id(),
    };
    assert!(generator.flood(&flood).is_err(), "without a nonce there is nothing to guess with");
    let pace = Pace::Closed { window: 8 };
    let plan = Plan::new(Workload::RegisterChallenged, pace, Extent::Requests(100));
    let report = generator.run(&plan).unwrap();
    assert!(report.reconciled, "{report}");
    assert_eq!((report.counts.refused, report.counts.challenged), (100, 100), "{report}");
    let flooded = generator.flood(&flood).unwrap();
    let seen = server.finish();
    assert!(flooded.other > 0 && flooded.answered == 0, "{flooded:?}");
    assert_eq!((seen.bare, seen.right), (100, 0), "all guesses come with credentials");
    assert!(seen.wrong > 200, "{}", seen.wrong);
}

#[test]
fn an_echo_gets_both_legs() {
    let echo = bench::echo::Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
    let population = Population::new(100, 3, u32::MAX);
    let mut generator = Generator::open(echo.address(), DOMAIN, population, 0).unwrap();
    for (workload, challenged) in [(Workload::EchoChallenged, 1000), (Workload::EchoDigest, 0)] {
        let plan = Plan::new(workload, Pace::Closed { window: 16 }, Extent::Requests(1000));
        let report = generator.run(&plan).unwrap();
        assert!(report.counts.flawless(), "{report}");
        assert_eq!(report.counts.challenged, challenged, "{report}");
    }
}
