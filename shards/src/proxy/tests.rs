//! A call from its INVITE to its BYE through one shard: what each side sees, and that nothing is left.

use crate::io::{
    CoreId, Datagram, Homes, Input, Instant, ListenerId, LocalAddr, Outbox, Peer, Reason, UnixTime,
    Unreachable, Verdict,
};
use crate::location::Domains;
use crate::shard::{Keys, Limits, Settings, Shard};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const LISTENERS: [&str; 2] = ["198.51.100.1:5060", "[2001:db8::9]:5060"];

struct World {
    shard: Shard,
    out: Outbox,
    now: Instant,
}

impl World {
    fn new() -> Self {
        World::of(CoreId(0), Homes::all(1))
    }

    fn of(core: CoreId, homes: Homes) -> Self {
        World::with(core, homes, Keys::derive(&[1; 32]), 256 * 1024)
    }

    fn with(core: CoreId, homes: Homes, keys: Keys, transaction_bytes: usize) -> Self {
        let settings = Settings {
            core,
            homes,
            keys,
            domains: Arc::new(Domains::new(["sip.test"])),
            listeners: LISTENERS.map(|text| text.parse().unwrap()).into(),
            policy: crate::registrar::Policy::default(),
            proxy: crate::proxy::Policy::default(),
            realm: None,
            limits: Limits {
                message_bytes: 65_507,
                header_lines: 64,
                contacts: 8,
                bindings: 100,
                arena_bytes: 256 * 1024,
                completed_bytes: 64 * 1024,
                transactions: 10,
                branches: 20,
                transaction_bytes,
            },
        };
        World { shard: Shard::new(settings), out: Outbox::new(64, 0), now: Instant::START }
    }

    /// Sends a datagram from an address, and gives what came out: to whom, and what.
    fn send(&mut self, from: &str, text: &str) -> (Verdict, Vec<(String, String)>) {
        self.out.clear();
        let from = Peer::udp(from.parse().unwrap());
        let listener = u16::from(from.addr.is_ipv6());
        let bound: SocketAddr = LISTENERS[usize::from(listener)].parse().unwrap();
        let to = LocalAddr { listener: ListenerId(listener), ip: bound.ip() };
        let datagram = Datagram { from, to, bytes: text.as_bytes(), age: Duration::ZERO };
        let input = Input::Datagram(datagram);
        let outcome = self.shard.handle(self.now, UnixTime(1_800_000_000), input, &mut self.out);
        self.shard.check();
        (outcome.verdict, self.sent())
    }

    /// Tells of an ICMP error about what was sent to an address.
    fn report(&mut self, to: &str, quoted: &str) -> (Verdict, Vec<(String, String)>) {
        self.out.clear();
        let to = Peer::udp(to.parse().unwrap());
        let input = Input::Unreachable(Unreachable { to, quoted: quoted.as_bytes() });
        let outcome = self.shard.handle(self.now, UnixTime(1_800_000_000), input, &mut self.out);
        self.shard.check();
        (outcome.verdict, self.sent())
    }

    fn sent(&self) -> Vec<(String, String)> {
        let text = |send| String::from_utf8(self.out.bytes(send).to_vec()).unwrap();
        self.out.sends().iter().map(|send| (send.to.addr.to_string(), text(send))).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<(String, String)> {
        self.out.clear();
        self.now = self.now.plus(time);
        self.shard.expire(self.now, 1000, &mut self.out);
        self.shard.check();
        self.sent()
    }
}

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let start = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(&*start)).unwrap_or_default()
}

fn lines(text: &str, name: &str) -> String {
    let start = format!("{name}: ");
    text.split_inclusive("\r\n").filter(|line| line.starts_with(&*start)).collect()
}

const ALICE: &str = "192.0.2.1:5060";
const BOB: &str = "192.0.2.2:5060";

fn register(world: &mut World) {
    let text = "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKr1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:bob@sip.test>;tag=1\r\nTo: <sip:bob@sip.test>\r\n\
        Call-ID: reg\r\nCSeq: 1 REGISTER\r\nContact: <sip:bob@192.0.2.2:5060>\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.send(BOB, text).0, Verdict::Replied);
}

fn invite(branch: &str) -> String {
    format!(
        "INVITE sip:bob@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@sip.test>;tag=a\r\nTo: <sip:bob@sip.test>\r\nCall-ID: call-1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.1:5060>\r\nContent-Length: 4\r\n\r\nv=0\n"
    )
}

fn answer(request: &str, status: &str, tag: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\n{}{}From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:bob@192.0.2.2:5060>\r\nContent-Length: 0\r\n\r\n",
        lines(request, "Via"),
        lines(request, "Record-Route"),
        line(request, "From"),
        line(request, "To"),
        line(request, "Call-ID"),
        line(request, "CSeq"),
    )
}

#[test]
fn a_call_is_set_up_and_hung_up() {
    let mut world = World::new();
    register(&mut world);
    let (verdict, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(sent[0].0, ALICE);
    assert!(sent[0].1.starts_with("SIP/2.0 100 Trying\r\n"), "{}", sent[0].1);
    let (to, request) = &sent[1];
    assert_eq!(to, BOB);
    assert!(request.starts_with("INVITE sip:bob@192.0.2.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK"), "{request}");
    assert!(request.contains("Record-Route: <sip:198.51.100.1:5060;lr;c="), "{request}");
    assert_eq!(line(request, "Max-Forwards"), "69");
    assert!(request.ends_with("\r\n\r\nv=0\n"), "{request}");

    let (verdict, sent) = world.send(BOB, &answer(request, "180 Ringing", ";tag=b"));
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, ALICE);
    assert_eq!(
        lines(&sent[0].1, "Via"),
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received=192.0.2.1;rport=5060\r\n"
    );
    // It comes again, and gets what was sent last.
    let (verdict, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    assert_eq!(verdict, Verdict::Forwarded);
    assert!(sent[0].1.starts_with("SIP/2.0 180"), "{sent:?}");

    let (_, sent) = world.send(BOB, &answer(request, "200 OK", ";tag=b"));
    assert!(sent[0].1.starts_with("SIP/2.0 200"), "{sent:?}");
    let route = line(request, "Record-Route").to_string();
    let within = |method: &str, branch: &str, cseq: u32| {
        format!(
            "{method} sip:bob@192.0.2.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch};rport\r\n\
             Max-Forwards: 70\r\nRoute: {route}\r\nFrom: <sip:alice@sip.test>;tag=a\r\nTo: <sip:bob@sip.test>;tag=b\r\n\
             Call-ID: call-1\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let (verdict, sent) = world.send(ALICE, &within("ACK", "z9hG4bK2", 1));
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!((sent[0].0.as_str(), sent.len()), (BOB, 1));
    assert_eq!(lines(&sent[0].1, "Route"), "");
    let (verdict, sent) = world.send(ALICE, &within("BYE", "z9hG4bK3", 2));
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!((sent[0].0.as_str(), sent.len()), (BOB, 1));
    assert_eq!(lines(&sent[0].1, "Record-Route"), "");
    let (verdict, sent) = world.send(BOB, &answer(&sent[0].1, "200 OK", ""));
    assert_eq!(verdict, Verdict::Forwarded);
    assert_eq!((sent[0].0.as_str(), sent.len()), (ALICE, 1));
    assert_eq!(world.shard.gauges().calls.transactions, 1, "the INVITE stays for Timer L");
    assert_eq!(world.wait(Duration::from_secs(33)), []);
    assert_eq!(world.shard.gauges().calls.transactions, 0);
    assert_eq!(world.shard.gauges().calls.branches, 0);
}

#[test]
fn who_does_not_answer_is_called_again_and_given_up() {
    let mut world = World::new();
    register(&mut world);
    world.send(ALICE, &invite("z9hG4bK1"));
    let mut copies = 0;
    let mut last = Vec::new();
    for _ in 0..340 {
        for sent in world.wait(Duration::from_millis(100)) {
            copies += u32::from(sent.0 == BOB);
            if sent.0 == ALICE {
                last.push(sent.1);
            }
        }
    }
    // RFC 3261 17.1.1.2: after 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 seconds; then Timer B.
    assert_eq!(copies, 6);
    assert!(last[0].starts_with("SIP/2.0 408 "), "{last:?}");
    // Nobody acknowledges it: it is sent again until Timer H.
    for _ in 0..40 {
        world.wait(Duration::from_secs(1));
    }
    assert_eq!(world.shard.gauges().calls.transactions, 0);
}

#[test]
fn a_call_is_cancelled() {
    is_cancelled(World::new());
}

/// The same where more than half of the memory for messages is taken by this call: what is kept of its INVITE is shortened.
#[test]
fn a_call_is_cancelled_where_memory_is_short() {
    is_cancelled(World::with(CoreId(0), Homes::all(1), Keys::derive(&[1; 32]), 24 * 1024));
}

fn is_cancelled(mut world: World) {
    register(&mut world);
    let (_, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    let request = sent[1].1.clone();
    world.send(BOB, &answer(&request, "180 Ringing", ";tag=b"));
    let cancel = invite("z9hG4bK1")
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL")
        .replace("Content-Length: 4\r\n\r\nv=0\n", "Content-Length: 0\r\n\r\n");
    let (verdict, sent) = world.send(ALICE, &cancel);
    assert_eq!(verdict, Verdict::Replied);
    assert!(sent[0].1.starts_with("SIP/2.0 200 OK\r\n"), "{sent:?}");
    assert!(sent[1].1.starts_with("CANCEL sip:bob@192.0.2.2:5060 SIP/2.0\r\n"), "{sent:?}");
    assert_eq!(line(&sent[1].1, "Via"), line(&request, "Via"));
    world.send(BOB, &answer(&sent[1].1, "200 OK", ";tag=b"));
    let (_, sent) = world.send(BOB, &answer(&request, "487 Request Terminated", ";tag=b"));
    assert_eq!(sent[0].0, BOB);
    assert!(sent[0].1.starts_with("ACK sip:bob@192.0.2.2:5060 SIP/2.0\r\n"), "{sent:?}");
    assert_eq!(sent[1].0, ALICE);
    assert!(sent[1].1.starts_with("SIP/2.0 487"), "{sent:?}");
    let ack =
        cancel.replace("CANCEL", "ACK").replace("<sip:bob@sip.test>", "<sip:bob@sip.test>;tag=b");
    assert_eq!(world.send(ALICE, &ack).0, Verdict::Absorbed);
    world.wait(Duration::from_secs(33));
    world.wait(Duration::from_secs(33));
    assert_eq!(world.shard.gauges().calls.transactions, 0);
    assert_eq!(world.shard.gauges().calls.branches, 0);
}

#[test]
fn an_icmp_error_fails_the_branch_it_quotes_on_the_core_that_has_it() {
    let mut world = World::new();
    register(&mut world);
    let (_, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    let request = sent[1].1.clone();
    // As the network quotes it, with only the first of it and perhaps to another core of the same secret.
    let quoted = &request[..200];
    let mut other = World::of(CoreId(1), Homes::all(2));
    assert_eq!(other.report(BOB, quoted).0, Verdict::Hopped(CoreId(0)));
    let unknown = Verdict::Dropped(Reason::NoTransaction);
    assert_eq!(other.report(BOB, &quoted.replace("z9hG4bKt", "z9hG4bKT")).0, unknown);
    assert_eq!(other.report(BOB, "").0, unknown);

    // Somebody else's address fails nobody.
    assert_eq!(world.report(ALICE, quoted), (Verdict::Absorbed, Vec::new()));
    let (verdict, sent) = world.report(BOB, quoted);
    assert_eq!(verdict, Verdict::Absorbed);
    assert_eq!(sent[0].0, ALICE);
    assert!(sent[0].1.starts_with("SIP/2.0 500 "), "{sent:?}");
    // It is over once.
    assert_eq!(world.report(BOB, quoted).1, []);
}

/// Registers bob with header lines of his own.
fn register_with(world: &mut World, lines: &str) {
    register_from(world, BOB, lines);
}

fn register_from(world: &mut World, from: &str, lines: &str) {
    let count = world.shard.metrics().bindings_created + 1;
    let text = format!(
        "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKr{count}\r\n\
         From: <sip:bob@sip.test>;tag=1\r\nTo: <sip:bob@sip.test>\r\nCall-ID: reg2\r\nCSeq: {count} REGISTER\r\n{lines}\r\n"
    );
    assert_eq!(world.send(from, &text).0, Verdict::Replied);
}

fn message(branch: &str) -> String {
    invite(branch).replace("INVITE", "MESSAGE")
}

impl World {
    /// The tickets of the names that the last input asked for.
    fn tickets(&self) -> Vec<u64> {
        self.out.questions().iter().map(|question| question.ticket).collect()
    }

    fn resolve(&mut self, ticket: u64, address: &str) -> Vec<(String, String)> {
        self.out.clear();
        let input = Input::Addresses { ticket, addresses: &[address.parse().unwrap()] };
        self.shard.handle(self.now, UnixTime(1_800_000_000), input, &mut self.out);
        self.shard.check();
        self.sent()
    }

    fn left(&self) -> (u32, u32) {
        let calls = self.shard.gauges().calls;
        (calls.transactions, calls.branches)
    }
}

#[test]
fn a_cookie_authorises_nothing_that_begins_another_dialog() {
    let mut world = World::new();
    register(&mut world);
    // A stranger may call bob, and sees what we put into Record-Route.
    let stranger = |uri: &str, to: &str, route: &str| {
        invite("z9hG4bK1")
            .replace("sip:bob@sip.test SIP", &format!("{uri} SIP"))
            .replace("alice@sip.test", "eve@else.test")
            .replace("<sip:bob@sip.test>\r\n", &format!("<sip:bob@sip.test>{to}\r\n{route}"))
    };
    let (_, sent) = world.send(ALICE, &stranger("sip:bob@sip.test", "", ""));
    let (_, sent) = world.send(BOB, &answer(&sent[1].1, "180 Ringing", ";tag=b"));
    let route = format!("Route: {}\r\n", line(&sent[0].1, "Record-Route"));
    // To call somebody else by it, a request must not only have the Call-ID.
    let relayed = stranger("sip:x@203.0.113.1", "", &route).replace("z9hG4bK1", "z9hG4bK2");
    assert_eq!(world.send(ALICE, &relayed).0, Verdict::Refused(403));
    let ack = relayed.replace("INVITE", "ACK").replace("z9hG4bK2", "z9hG4bK3");
    assert_eq!(world.send(ALICE, &ack).0, Verdict::Absorbed);
    let within =
        stranger("sip:bob@192.0.2.2:5060", ";tag=b", &route).replace("z9hG4bK1", "z9hG4bK4");
    assert_eq!(world.send(ALICE, &within).0, Verdict::Forwarded);
}

#[test]
fn a_request_that_was_answered_is_answered_again_while_another_callee_is_silent() {
    let mut world = World::new();
    register_with(&mut world, "Contact: <sip:a@192.0.2.2>\r\nContact: <sip:b@192.0.2.2>\r\n");
    let (_, asked) = world.send(ALICE, &message("z9hG4bK1"));
    assert_eq!(asked.len(), 2);
    let (_, first) = world.send(BOB, &answer(&asked[0].1, "200 OK", ";tag=b"));
    let (verdict, again) = world.send(ALICE, &message("z9hG4bK1"));
    assert_eq!((verdict, again), (Verdict::Replied, first));
    world.send(BOB, &answer(&asked[1].1, "200 OK", ";tag=c"));
    assert_eq!(world.left(), (0, 0));
}

#[test]
fn a_request_is_over_when_only_a_name_was_waited_for() {
    let mut world = World::new();
    register_with(&mut world, "Contact: <sip:a@192.0.2.2>\r\n");
    register_with(
        &mut world,
        "Contact: <sip:b@192.0.2.2>\r\nSupported: path\r\nPath: <sip:edge.test;lr>\r\n",
    );
    let (_, asked) = world.send(ALICE, &message("z9hG4bK1"));
    assert_eq!((asked.len(), world.tickets().len()), (1, 1));
    let (verdict, _) = world.send(BOB, &answer(&asked[0].1, "200 OK", ";tag=b"));
    assert_eq!((verdict, world.left()), (Verdict::Forwarded, (0, 0)));
}

#[test]
fn a_2xx_after_timer_l_leaves_nothing() {
    let mut world = World::new();
    register_with(&mut world, "Contact: <sip:a@192.0.2.2>\r\nContact: <sip:b@192.0.2.2>\r\n");
    let (_, asked) = world.send(ALICE, &invite("z9hG4bK1"));
    world.send(BOB, &answer(&asked[1].1, "200 OK", ";tag=b"));
    // The other one speaks late, is cancelled, and accepts later than Timer L.
    world.wait(Duration::from_secs(20));
    let (_, cancelled) = world.send(BOB, &answer(&asked[2].1, "180 Ringing", ";tag=c"));
    assert!(cancelled[0].1.starts_with("CANCEL "), "{cancelled:?}");
    world.wait(Duration::from_secs(14));
    // What is sent leaves room for one timer at a time here.
    (0..4).for_each(|_| drop(world.wait(Duration::ZERO)));
    let (_, sent) = world.send(BOB, &answer(&asked[2].1, "200 OK", ";tag=c"));
    assert_eq!((sent, world.left()), (Vec::new(), (0, 0)), "Timer L has ended it");
}

#[test]
fn more_challenges_than_may_be_read_are_enough() {
    let mut world = World::new();
    let contacts = ["a", "b", "c", "d"].map(|user| format!("Contact: <sip:{user}@192.0.2.2>\r\n"));
    register_with(&mut world, &contacts.concat());
    let (_, asked) = world.send(ALICE, &invite("z9hG4bK1"));
    let challenges = "Proxy-Authenticate: Digest realm=\"x\"\r\n".repeat(30);
    let mut last = Vec::new();
    for (_, request) in &asked[1..] {
        let challenge = answer(request, "407 Proxy Authentication Required", ";tag=b");
        let challenge = challenge.replace("Contact: ", &format!("{challenges}Contact: "));
        last = world.send(BOB, &challenge).1;
    }
    let response = &last.last().unwrap().1;
    assert!(response.starts_with("SIP/2.0 407 "), "{response}");
    assert!(response.matches("realm").count() >= 60, "{response}");
}

#[test]
fn callees_behind_names_share_the_breadth() {
    let mut world = World::new();
    for user in ["a", "b", "c"] {
        let lines = format!(
            "Contact: <sip:{user}@192.0.2.2>\r\nSupported: path\r\nPath: <sip:edge.test;lr>\r\n"
        );
        register_with(&mut world, &lines);
    }
    world.send(ALICE, &invite("z9hG4bK1"));
    let tickets = world.tickets();
    assert!(!tickets.is_empty());
    let share = 60 / tickets.len();
    for ticket in tickets {
        let sent = world.resolve(ticket, "192.0.2.77");
        // RFC 5393 5.3.3.1.
        assert_eq!(line(&sent[0].1, "Max-Breadth"), share.to_string(), "{sent:?}");
    }
}

#[test]
fn a_response_from_before_the_start_belongs_to_nobody() {
    let keys = |start| Keys::derive(&[1; 32]).for_start(start);
    let mut before = World::with(CoreId(0), Homes::all(1), keys(1), 256 * 1024);
    register(&mut before);
    let (_, asked) = before.send(ALICE, &invite("z9hG4bK1"));
    // After it the first call has the place that the first had before.
    let mut after = World::with(CoreId(0), Homes::all(1), keys(2), 256 * 1024);
    register(&mut after);
    let other = invite("z9hG4bK2").replace("call-1", "call-2");
    let (_, asked_after) = after.send(ALICE, &other);
    let (verdict, sent) = after.send(BOB, &answer(&asked[1].1, "200 OK", ";tag=b"));
    assert_eq!((verdict, sent), (Verdict::Dropped(Reason::NoTransaction), Vec::new()));
    let (verdict, _) = after.send(BOB, &answer(&asked_after[1].1, "200 OK", ";tag=b"));
    assert_eq!(verdict, Verdict::Forwarded);
}

#[test]
fn a_path_of_the_other_family_is_reached_from_the_other_listener() {
    let mut world = World::new();
    let lines =
        "Contact: <sip:b@[2001:db8::2]>\r\nSupported: path\r\nPath: <sip:192.0.2.77;lr>\r\n";
    register_from(&mut world, "[2001:db8::2]:5060", lines);
    let (_, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    assert_eq!(sent[1].0, "192.0.2.77:5060");
    assert_eq!(world.out.sends()[1].from.ip.to_string(), "198.51.100.1");
    assert!(sent[1].1.contains("Via: SIP/2.0/UDP 198.51.100.1:5060;"), "{}", sent[1].1);
}

#[test]
fn our_own_address_is_no_next_hop_however_it_is_written() {
    let mut world = World::new();
    register(&mut world);
    let (_, sent) = world.send(ALICE, &invite("z9hG4bK1"));
    let route = line(&sent[1].1, "Record-Route").to_string();
    let refused = ["x.test;maddr=198.51.100.1", "[::ffff:198.51.100.1]"];
    for (number, host) in refused.into_iter().enumerate() {
        let text = message(&format!("z9hG4bKm{number}"))
            .replace("bob@sip.test SIP", "x@203.0.113.1 SIP")
            .replace(
                "<sip:bob@sip.test>\r\n",
                &format!("<sip:bob@sip.test>;tag=b\r\nRoute: {route}\r\nRoute: <sip:u@{host}>\r\n"),
            );
        assert_eq!(world.send(ALICE, &text).0, Verdict::Refused(403), "{host}");
    }
}
