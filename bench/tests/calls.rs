//! Calls through a proxy that errs on purpose: every call and every datagram must be found in the counts, one for one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bench::{
    CallCounts, CallPlan, CallReport, Extent, Generator, Pace, Plan, Population, Ring, Workload,
};

/// What is to become of a message that is passed on: of its kind (a method, a status, or "200 BYE") and its number among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Pass,
    Drop,
    Twice,
    /// With a text in it replaced.
    Replace(&'static str, &'static str),
    /// A request is not passed on, but answered.
    Refuse(&'static str),
}

struct Proxy {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// A stateless proxy, RFC 3261 16.11, that knows who has registered.
struct Serving<A> {
    socket: UdpSocket,
    me: SocketAddrV4,
    act: A,
    /// Contact and address of each user.
    users: HashMap<String, (String, SocketAddr)>,
    seen: HashMap<String, u64>,
    sent: u64,
}

impl Proxy {
    fn start(act: impl Fn(&str, u64) -> Act + Send + 'static) -> Proxy {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let SocketAddr::V4(me) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut serving =
                Serving { socket, me, act, users: HashMap::new(), seen: HashMap::new(), sent: 0 };
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = serving.socket.recv_from(&mut buffer) else { continue };
                serving.take(std::str::from_utf8(&buffer[..length]).unwrap(), from);
            }
            serving.sent
        });
        Proxy { address: me, stop, thread }
    }

    /// How many datagrams it has sent in calls.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl<A: Fn(&str, u64) -> Act> Serving<A> {
    fn take(&mut self, text: &str, from: SocketAddr) {
        let first = text.lines().next().unwrap();
        if first.starts_with("REGISTER") {
            let contact = header(text, "Contact: <").split('>').next().unwrap().to_owned();
            let user = user_of(&contact).to_owned();
            self.users.insert(user, (contact, from));
            self.socket.send_to(response(text, "200 OK", true).as_bytes(), from).unwrap();
            return;
        }
        let kind = if let Some(status) = first.strip_prefix("SIP/2.0 ") {
            let method = header(text, "CSeq: ").split(' ').nth(1).unwrap();
            format!("{} {method}", &status[..3])
        } else {
            first.split(' ').next().unwrap().to_owned()
        };
        let number = self.seen.entry(kind.clone()).or_default();
        let act = (self.act)(&kind, *number);
        *number += 1;
        let (text, times) = match act {
            Act::Pass => (text.to_owned(), 1),
            Act::Drop => return,
            Act::Twice => (text.to_owned(), 2),
            Act::Replace(what, with) => (text.replace(what, with), 1),
            Act::Refuse(status) => {
                let refusal = response(text, status, false);
                let to = header(&refusal, "To: ");
                let tagged = format!("{to};tag=refused");
                return self.send(&refusal.replace(to, &tagged), from);
            }
        };
        if first.starts_with("SIP/2.0") {
            let vias: Vec<&str> = text.lines().filter(|line| line.starts_with("Via: ")).collect();
            let passed = text.replacen(&format!("{}\r\n", vias[0]), "", 1);
            let next = vias[1].strip_prefix("Via: SIP/2.0/UDP ").unwrap();
            let to = next.split(';').next().unwrap().parse().unwrap();
            (0..times).for_each(|_| self.send(&passed, to));
            return;
        }
        if header(&text, "To: ").ends_with(";tag=refused") {
            return;
        }
        if kind == "INVITE" {
            self.send(&response(&text, "100 Trying", false), from);
        }
        let (passed, to) = self.route(&text, &kind);
        (0..times).for_each(|_| self.send(&passed, to));
    }

    /// A request as it is passed on, and to whom.
    fn route(&self, text: &str, kind: &str) -> (String, SocketAddr) {
        let (first, rest) = text.split_once("\r\n").unwrap();
        let uri = first.split(' ').nth(1).unwrap();
        let is_routed = rest.contains("\r\nRoute: ");
        let (uri, to) = if is_routed {
            let routes: Vec<&str> =
                rest.lines().filter(|line| line.starts_with("Route: ")).collect();
            // The one that the caller meets first is written last.
            assert!(routes[0].contains(";side=caller"), "{routes:?}");
            assert!(routes[1].contains(";side=callee"), "{routes:?}");
            let place = uri.split('@').nth(1).unwrap().split(';').next().unwrap();
            (uri.to_owned(), place.parse().unwrap())
        } else {
            self.users[user_of(uri)].clone()
        };
        let rest: String =
            rest.split_inclusive("\r\n").filter(|line| !line.starts_with("Route: ")).collect();
        let branch = header(text, "branch=");
        let via = format!("Via: SIP/2.0/UDP {};branch={branch}p\r\n", self.me);
        let record = if kind == "INVITE" {
            format!(
                "Record-Route: <sip:{me};lr;side=callee>,<sip:{me};lr;side=caller>\r\n",
                me = self.me
            )
        } else {
            String::new()
        };
        (format!("{kind} {uri} SIP/2.0\r\n{via}{record}{rest}"), to)
    }

    fn send(&mut self, text: &str, to: SocketAddr) {
        assert_eq!(self.socket.send_to(text.as_bytes(), to).unwrap(), text.len());
        self.sent += 1;
    }
}

/// What follows a text, to the end of the line.
fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let at = text.find(name).unwrap_or_else(|| panic!("{name} in {text}")) + name.len();
    text[at..].lines().next().unwrap()
}

fn user_of(uri: &str) -> &str {
    uri.strip_prefix("sip:").unwrap().split('@').next().unwrap()
}

fn response(request: &str, status: &str, with_contact: bool) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap();
        let is_copied = ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name);
        if is_copied || (with_contact && name == "Contact") {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}

const CALLS: u64 = 300;

fn plan() -> CallPlan {
    let plan = CallPlan::new(Pace::Closed { window: 16 }, Extent::Requests(CALLS));
    // No machine is so slow that something is said again.
    CallPlan { t1: Duration::from_secs(2), ..plan }
}

/// Makes calls through a proxy that does what `act` says, and checks what must hold whatever that is.
fn call(plan: &CallPlan, act: impl Fn(&str, u64) -> Act + Send + 'static) -> CallReport {
    let proxy = Proxy::start(act);
    let population = Population::new(100, 2, u32::MAX).sharing(3);
    let mut generator = Generator::open(proxy.address, "sip.test", population, 0).unwrap();
    let everybody =
        Plan::new(Workload::RegisterInitial, Pace::Closed { window: 16 }, Extent::Requests(100));
    assert!(generator.run(&everybody).unwrap().counts.flawless());
    let report = generator.call(plan).unwrap();
    let sent = proxy.finish();
    assert_eq!(report.counts.received, sent, "{report}");
    assert_eq!((report.counts.started, report.counts.pending), (CALLS, 0), "{report}");
    assert!(report.reconciled, "{report}");
    report
}

fn every(k: u64, kind: &'static str, act: Act) -> impl Fn(&str, u64) -> Act + Send {
    move |of, number| if of == kind && number % k == 0 { act } else { Act::Pass }
}

#[test]
fn a_proxy_without_fault() {
    for pace in [Pace::Closed { window: 16 }, Pace::Open { rate: 500 }] {
        let report = call(&CallPlan { pace, ..plan() }, |_, _| Act::Pass);
        assert!(report.counts.flawless(), "{report}");
        assert_eq!(report.counts.completed, CALLS, "{report}");
        assert!(report.setup.p50_us > 0.0 && report.teardown.p50_us > 0.0, "{report}");
    }
}

#[test]
fn callees_ring_as_long_as_they_are_told() {
    let ring = Ring::For(Duration::from_millis(50));
    let report = call(&CallPlan { ring, ..plan() }, |_, _| Act::Pass);
    assert!(report.counts.flawless(), "{report}");
    assert!(report.setup.p50_us > 50_000.0, "{report}");
    assert!(report.teardown.p50_us < 50_000.0, "{report}");
}

#[test]
fn what_is_lost_is_said_again() {
    for kind in ["INVITE", "200 INVITE", "BYE", "200 BYE"] {
        let plan = CallPlan { t1: Duration::from_millis(30), ..plan() };
        let report = call(&plan, every(10, kind, Act::Drop));
        assert_eq!(report.counts.completed, CALLS, "{kind}: {report}");
        assert!(report.counts.repeated >= CALLS / 10, "{kind}: {report}");
        assert!(!report.counts.flawless(), "{kind}: {report}");
        assert!(report.setup.max_us.max(report.teardown.max_us) > 30_000.0, "{kind}: {report}");
    }
}

#[test]
fn what_never_comes_is_given_up() {
    let (pace, t1) = (Pace::Closed { window: 64 }, Duration::from_millis(20));
    let plan = CallPlan { pace, t1, ..plan() };
    let report = call(&plan, |kind, _| if kind == "BYE" { Act::Drop } else { Act::Pass });
    assert_eq!(report.counts.lost, CALLS, "{report}");
    // Ten times each, where the machine has the time.
    assert!(report.counts.repeated > CALLS, "{report}");
}

#[test]
fn a_call_whose_ack_is_lost_is_not_complete() {
    let report = call(&plan(), every(10, "ACK", Act::Drop));
    assert_eq!(report.counts.unacknowledged, CALLS / 10, "{report}");
    assert_eq!(report.counts.completed, CALLS - CALLS / 10, "{report}");
}

#[test]
fn what_comes_twice_is_counted_twice_and_done_once() {
    for kind in ["INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"] {
        let report = call(&plan(), every(5, kind, Act::Twice));
        assert_eq!(report.counts.completed, CALLS, "{kind}: {report}");
        assert!(report.counts.received >= 7 * CALLS + CALLS / 5, "{kind}: {report}");
        assert!(!report.counts.flawless(), "{kind}: {report}");
    }
}

#[test]
fn refusals_are_counted_by_status() {
    let report = call(&plan(), |kind, number| match (kind, number % 10) {
        ("INVITE", 3) => Act::Refuse("486 Busy Here"),
        ("BYE", 0) => Act::Refuse("481 Call/Transaction Does Not Exist"),
        _ => Act::Pass,
    });
    let by_status: Vec<_> = report.counts.refused_by_status.clone().into_iter().collect();
    // Of the 270 that were not busy.
    assert_eq!(by_status, [(481, 27), (486, 30)]);
    assert_eq!(report.counts.completed, CALLS - 57, "{report}");
}

#[test]
fn what_a_proxy_must_not_touch_is_checked() {
    for (kind, what, with) in [
        ("INVITE", "a=ptime:20", "a=ptime:30"),
        ("INVITE", ";tag=", ";tag=0"),
        ("200 INVITE", "a=ptime:20", "a=ptime:30"),
        ("200 INVITE", ";line=1", ";line=2"),
        ("180 INVITE", "branch=z9hG4bK", "branch=z9hG4bKx"),
        ("BYE", "CSeq: 2", "CSeq: 3"),
        ("BYE", ";line=1 ", ";line=2 "),
    ] {
        let (pace, t1) = (Pace::Closed { window: 64 }, Duration::from_millis(20));
        let plan = CallPlan { pace, t1, ..plan() };
        let report = call(&plan, every(50, kind, Act::Replace(what, with)));
        // Late, where the machine was so slow that its call had been given up.
        let CallCounts { mismatched, late, .. } = report.counts;
        assert!(mismatched > 0 && mismatched + late >= 6, "{kind} {what}: {report}");
        assert!(!report.counts.flawless(), "{kind} {what}: {report}");
    }
    let report = call(&plan(), every(50, "180 INVITE", Act::Replace("Call-ID: ", "Call-ID: x")));
    assert_eq!((report.counts.unmatched, report.counts.completed), (6, CALLS), "{report}");
    let report = call(&plan(), every(50, "180 INVITE", Act::Replace("CSeq: 1", "CSeq: one")));
    assert_eq!((report.counts.malformed, report.counts.completed), (6, CALLS), "{report}");
}

#[test]
fn all_ring_at_the_same_time_and_half_are_cancelled() {
    let report = call(&CallPlan { ring: Ring::UntilAll, ..plan() }, |_, _| Act::Pass);
    assert!(report.counts.flawless(), "{report}");
    assert_eq!(report.held.unwrap().calls, CALLS, "{report}");
    assert_eq!((report.counts.completed, report.counts.cancelled), (150, 150), "{report}");
}

#[test]
fn a_cancelled_call_survives_losses() {
    for kind in ["CANCEL", "200 CANCEL", "487 INVITE"] {
        let t1 = Duration::from_millis(30);
        let plan = CallPlan { ring: Ring::UntilAll, t1, ..plan() };
        let report = call(&plan, every(10, kind, Act::Drop));
        let counts = &report.counts;
        assert_eq!((counts.completed, counts.cancelled), (150, 150), "{kind}: {report}");
        // Who has the 487 needs no 200 to the CANCEL.
        assert!(counts.repeated > 0 || kind == "200 CANCEL", "{kind}: {report}");
    }
}

#[test]
fn an_echo_carries_calls_too() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
    // It ends with the calls: six messages of each.
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        for _ in 0..6 * CALLS {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            if buffer.starts_with(b"INVITE ") {
                socket.send_to(&buffer[..350], from).unwrap();
            }
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
    let population = Population::new(100, 2, u32::MAX);
    let mut generator = Generator::open(address, "sip.test", population, 0).unwrap();
    let report = generator.call(&CallPlan { echo: true, ..plan() }).unwrap();
    assert!(report.counts.flawless(), "{report}");
    assert_eq!(report.counts.completed, CALLS, "{report}");
    echo.join().unwrap();
}
