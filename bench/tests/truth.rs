//! The generator's own truth: against a server that errs on purpose, every request and every
//! datagram must be found in the counts, one for one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench::{Extent, Flood, Generator, Pace, Payload, Plan, Population, Report, Workload};

/// What the server does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    Drop,
    AnswerTwice,
    AnswerAfter(Duration),
    Refuse(u16),
    TryFirst,
    TwoContacts,
    OtherCallId,
    OtherBranch,
    FromOtherPort,
    Junk,
}

struct Seen {
    requests: u64,
    datagrams_sent: u64,
}

struct Server {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Server {
    /// Treats the n-th request (from 0) as `act(n)` says.
    fn start(act: impl Fn(u64) -> Act + Send + 'static) -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&socket, &act, &stopped));
        Server { address, stop, thread }
    }

    fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn serve(socket: &UdpSocket, act: &impl Fn(u64) -> Act, stopped: &AtomicBool) -> Seen {
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut seen = Seen { requests: 0, datagrams_sent: 0 };
    let mut delayed: Vec<(Instant, Vec<u8>, SocketAddr)> = Vec::new();
    let mut buffer = [0; 2048];
    while !stopped.load(Ordering::Relaxed) {
        let mut send = |from: &UdpSocket, bytes: &[u8], to: SocketAddr| {
            assert_eq!(from.send_to(bytes, to).unwrap(), bytes.len());
            seen.datagrams_sent += 1;
        };
        delayed.retain(|(due, bytes, to)| {
            let wait = *due > Instant::now();
            if !wait {
                send(socket, bytes, *to);
            }
            wait
        });
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        let answer = response(request, "200 OK");
        match act(seen.requests) {
            Act::Answer => send(socket, answer.as_bytes(), from),
            Act::Drop => {}
            Act::AnswerTwice => {
                send(socket, answer.as_bytes(), from);
                send(socket, answer.as_bytes(), from);
            }
            Act::AnswerAfter(delay) => {
                delayed.push((Instant::now() + delay, answer.into_bytes(), from));
            }
            Act::Refuse(status) => {
                send(socket, response(request, &format!("{status} No")).as_bytes(), from);
            }
            Act::TryFirst => {
                send(socket, response(request, "100 Trying").as_bytes(), from);
                send(socket, answer.as_bytes(), from);
            }
            Act::TwoContacts => {
                let two = answer.replace("Contact: ", "Contact: <sip:x@y>, ");
                send(socket, two.as_bytes(), from);
            }
            Act::OtherCallId => {
                let other = answer.replace("Call-ID: ", "Call-ID: x");
                send(socket, other.as_bytes(), from);
            }
            Act::OtherBranch => {
                let other = answer.replace("branch=z9hG4bK", "branch=z9hG4bKx");
                send(socket, other.as_bytes(), from);
            }
            Act::FromOtherPort => send(&other, answer.as_bytes(), from),
            Act::Junk => send(socket, b"\r\n\r\n", from),
        }
        seen.requests += 1;
    }
    seen
}

fn response(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap();
        if ["Via", "From", "To", "Call-ID", "CSeq", "Contact"].contains(&name) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}

fn generator(server: &Server, user_agents: u32) -> Generator {
    let population = Population::new(user_agents, 3, u32::MAX);
    Generator::open(server.address, "sip.test", population, 0).unwrap()
}

fn plan(pace: Pace, requests: u64) -> Plan {
    let mut plan = Plan::new(Workload::RegisterRefresh, pace, Extent::Requests(requests));
    plan.timeout = Duration::from_secs(1);
    plan
}

/// Runs 1,000 requests in both loops (slowly enough for the server's small socket buffer) and checks what must hold whatever the server did.
fn both_loops(act: impl Fn(u64) -> Act + Clone + Send + 'static, check: impl Fn(&Report)) {
    for pace in [Pace::Closed { window: 64 }, Pace::Open { rate: 500 }] {
        let server = Server::start(act.clone());
        let report = generator(&server, 100).run(&plan(pace, 1000)).unwrap();
        let seen = server.finish();
        assert_eq!(report.counts.sent, 1000, "{report}");
        assert_eq!(seen.requests, report.counts.sent, "{report}");
        assert_eq!(seen.datagrams_sent, report.counts.received, "{report}");
        assert!(report.reconciled, "{report}");
        check(&report);
    }
}

fn every(k: u64, act: Act) -> impl Fn(u64) -> Act + Clone + Send {
    move |n| if n % k == 0 { act } else { Act::Answer }
}

#[test]
fn a_server_without_fault() {
    both_loops(
        |_| Act::Answer,
        |report| {
            assert!(report.counts.flawless(), "{report}");
            assert_eq!(report.latency_histogram.len(), 1000);
        },
    );
}

#[test]
fn what_leaves_in_one_piece_arrives_one_by_one() {
    for sharing in [2, 5, 64] {
        let server = Server::start(|_| Act::Answer);
        let population = Population::new(1000, 3, u32::MAX).sharing(sharing);
        let mut generator = Generator::open(server.address, "sip.test", population, 0).unwrap();
        let report = generator.run(&plan(Pace::Closed { window: 64 }, 1000)).unwrap();
        assert_eq!(server.finish().requests, 1000);
        assert!(report.counts.flawless(), "{report}");
    }
}

#[test]
fn every_tenth_request_dropped() {
    both_loops(every(10, Act::Drop), |report| {
        assert_eq!((report.counts.answered, report.counts.lost), (900, 100), "{report}");
        assert!(!report.counts.flawless());
    });
}

#[test]
fn every_fourth_answer_twice() {
    both_loops(every(4, Act::AnswerTwice), |report| {
        assert_eq!((report.counts.answered, report.counts.duplicate), (1000, 250), "{report}");
    });
}

#[test]
fn answers_after_the_timeout_are_late() {
    let act = |n| {
        if n % 50 == 0 { Act::AnswerAfter(Duration::from_millis(1200)) } else { Act::Answer }
    };
    both_loops(act, |report| {
        assert_eq!((report.counts.lost, report.counts.late), (20, 20), "{report}");
        assert_eq!(report.counts.answered, 980, "{report}");
    });
}

#[test]
fn refusals_are_counted_by_status() {
    let act = |n| match n % 10 {
        3 => Act::Refuse(503),
        5 => Act::Refuse(401),
        _ => Act::Answer,
    };
    both_loops(act, |report| {
        assert_eq!((report.counts.answered, report.counts.refused), (800, 200), "{report}");
        let by_status: Vec<_> = report.counts.refused_by_status.clone().into_iter().collect();
        assert_eq!(by_status, [(401, 100), (503, 100)]);
        assert_eq!(report.latency_histogram.len(), 800, "only what was asked for is timed");
    });
}

#[test]
fn each_fault_has_its_count() {
    let act = |n| match n % 100 {
        10 => Act::TryFirst,
        20 | 21 => Act::TwoContacts,
        30..=32 => Act::OtherCallId,
        40..=43 => Act::OtherBranch,
        50..=54 => Act::FromOtherPort,
        60..=65 => Act::Junk,
        _ => Act::Answer,
    };
    both_loops(act, |report| {
        let counts = &report.counts;
        assert_eq!(counts.provisional, 10, "{report}");
        assert_eq!(counts.wrong_contacts, 20, "{report}");
        assert_eq!(counts.mismatched, 30 + 50, "{report}");
        assert_eq!(counts.unmatched, 40, "{report}");
        assert_eq!(counts.malformed, 60, "{report}");
        assert_eq!(counts.lost, 30 + 40 + 50 + 60, "{report}");
        assert_eq!(counts.answered, 1000 - 20 - 180, "{report}");
    });
}

#[test]
fn an_open_loop_times_from_when_a_request_was_due() {
    // The server sleeps once for 200 ms: an honest clock charges everybody who was due meanwhile.
    let act = |n| {
        if n == 100 {
            std::thread::sleep(Duration::from_millis(200));
        }
        Act::Answer
    };
    let server = Server::start(act);
    let report = generator(&server, 100).run(&plan(Pace::Open { rate: 500 }, 300)).unwrap();
    server.finish();
    assert!(report.counts.flawless(), "{report}");
    let above_100_ms = report.latency_histogram.count_between(100_000_000, u64::MAX);
    assert!(above_100_ms >= 49, "50 were due in the first 100 ms, not {above_100_ms}");
    assert!(report.latency.max_us >= 195_000.0, "{report}");
}

#[test]
fn refreshes_follow_registrations_with_a_higher_cseq() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Server::start(|_| Act::Answer);
    // A proxy in front of the server notes what passes.
    let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    relay.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let SocketAddr::V4(relay_address) = relay.local_addr().unwrap() else { panic!("IPv4") };
    let noting = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = relay.recv_from(&mut buffer) {
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            relay.send_to(response(&text, "200 OK").as_bytes(), from).unwrap();
            tell.send((text, from)).unwrap();
        }
    });
    let population = Population::new(10, 2, u32::MAX);
    let mut generator = Generator::open(relay_address, "sip.test", population, 0).unwrap();
    let pace = Pace::Closed { window: 1 };
    let first = Plan::new(Workload::RegisterInitial, pace, Extent::Requests(10));
    let second = Plan::new(Workload::RegisterRefresh, pace, Extent::Requests(30));
    assert!(generator.run(&first).unwrap().counts.flawless());
    assert!(generator.run(&second).unwrap().counts.flawless());
    noting.join().unwrap();
    server.finish();

    let header = |text: &str, name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].to_owned()
    };
    let mut by_call_id = std::collections::BTreeMap::<String, Vec<(u32, String)>>::new();
    let mut branches = std::collections::BTreeSet::new();
    for (text, from) in told {
        let via = header(&text, "Via: SIP/2.0/UDP ");
        assert!(via.starts_with(&format!("{from};")), "{via} came from {from}");
        assert!(header(&text, "Contact: ").contains(&format!("@{from};")));
        assert!(branches.insert(via));
        let cseq = header(&text, "CSeq: ").split(' ').next().unwrap().parse().unwrap();
        let to = header(&text, "To: ");
        by_call_id.entry(header(&text, "Call-ID: ")).or_default().push((cseq, to));
    }
    assert_eq!(by_call_id.len(), 10, "each user agent has its Call-ID");
    for requests in by_call_id.values() {
        assert_eq!(requests.len(), 4);
        assert!(requests.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 == w[1].1));
    }
}

#[test]
fn an_echo_is_checked_too() {
    let echo = bench::echo::Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
    let population = Population::new(100, 3, u32::MAX);
    let mut generator = Generator::open(echo.address(), "sip.test", population, 0).unwrap();
    for workload in [Workload::EchoRegister, Workload::EchoOptions] {
        let plan = Plan::new(workload, Pace::Closed { window: 16 }, Extent::Requests(5000));
        let report = generator.run(&plan).unwrap();
        assert!(report.counts.flawless(), "{report}");
    }
    // What sends requests back is no registrar.
    let mut plan = plan(Pace::Closed { window: 100 }, 100);
    plan.workload = Workload::RegisterRefresh;
    let report = generator.run(&plan).unwrap();
    assert_eq!((report.counts.malformed, report.counts.lost), (100, 100), "{report}");
}

#[test]
fn only_loopback_is_spoken_to() {
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
    assert!(Generator::open(elsewhere, "sip.test", Population::new(1, 1, 1), 0).is_err());
}

#[test]
fn an_unreachable_schedule_is_called_a_bottleneck() {
    let echo = bench::echo::Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
    let population = Population::new(1000, 3, u32::MAX);
    let mut generator = Generator::open(echo.address(), "sip.test", population, 0).unwrap();
    let extent = Extent::For(Duration::from_millis(300));
    let mut plan = Plan::new(Workload::EchoRegister, Pace::Open { rate: 50_000_000 }, extent);
    plan.warm_up = Duration::from_millis(10);
    plan.timeout = Duration::from_millis(300);
    let report = generator.run(&plan).unwrap();
    assert!(report.generator_limited(), "{report}");
    assert!(report.reconciled, "{report}");
}

#[test]
fn a_flood_counts_what_comes_back() {
    let flood = |payload| Flood {
        payload,
        rate: 2000,
        time: Duration::from_millis(300),
        sleeps: false,
        server_pid: std::process::id(),
    };
    let server = Server::start(|_| Act::Answer);
    let mut flooding = generator(&server, 100);
    let flooded = flooding.flood(&flood(Payload::Register)).unwrap();
    let seen = server.finish();
    assert!(flooded.sent > 0 && flooded.answered > 0 && flooded.other == 0, "{flooded:?}");
    assert!(flooded.answered <= seen.datagrams_sent, "{flooded:?}");
    assert!(flooded.server_cpu_ns > 0, "{flooded:?}");

    let echo = bench::echo::Echo::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None).unwrap();
    let population = Population::new(100, 3, u32::MAX);
    let mut flooding = Generator::open(echo.address(), "sip.test", population, 0).unwrap();
    for payload in [Payload::Junk, Payload::KeepAlive] {
        let flooded = flooding.flood(&flood(payload)).unwrap();
        assert!(flooded.sent > 0 && flooded.answered == 0 && flooded.other > 0, "{flooded:?}");
    }
}
