//! The 49 messages of RFC 4475 before a whole shard and before the real process: what is answered, refused or counted, and that
//! nothing else happens. `tests/torture/README.md` has the table and tells why.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Peer, Reason, UnixTime,
    Verdict,
};
use shards::location::Domains;
use shards::registrar::Policy;
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tests::process::{PATIENCE, Seawall, Setup};

/// A line of the table: a message and what becomes of it.
struct Line {
    name: String,
    section: String,
    answer: Answer,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// One response with this status code.
    Status(u16),
    /// Nothing, counted under this reason.
    Silence(Reason),
}

#[test]
fn the_table_has_every_message() {
    let files: BTreeSet<String> = fs::read_dir(folder().join("rfc4475"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let table = table();
    assert_eq!(files, table.iter().map(|line| line.name.clone()).collect());
    let sections: BTreeSet<&str> = table.iter().map(|line| line.section.as_str()).collect();
    assert_eq!((table.len(), sections.len()), (49, 49), "each section has its message");
}

#[test]
fn a_shard_settles_every_message() {
    let mut wrong = Vec::new();
    let mut out = Outbox::new(1, 0);
    for Line { name, section, answer } in table() {
        let expected = match answer {
            Answer::Status(200) => Verdict::Replied,
            Answer::Status(status) => Verdict::Refused(status),
            Answer::Silence(reason) => Verdict::Dropped(reason),
        };
        // One for each: some messages share their branch, and would be the same transaction.
        let verdict = handle(&mut shard(), &mut out, &message(&name));
        if verdict != expected {
            let answer = out.sends().first().map(|send| out.bytes(send).escape_ascii().to_string());
            wrong.push(format!("{name} ({section}): {verdict:?}, not {expected:?}\n{answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each message cut off after every byte, and with every byte replaced by four of those that matter to a parser, others in
/// each place.
#[test]
fn a_shard_survives_every_mutilation() {
    let (mut shard, mut out) = (shard(), Outbox::new(1, 0));
    for Line { name, .. } in table() {
        let bytes = message(&name);
        for end in 0..bytes.len() {
            handle(&mut shard, &mut out, &bytes[..end]);
        }
        for place in 0..bytes.len() {
            let mut broken = bytes.clone();
            for number in 0..4 {
                broken[place] = MATTER[(place + 3 * number) % MATTER.len()];
                handle(&mut shard, &mut out, &broken);
            }
        }
    }
    shard.check();
}

#[test]
fn the_process_answers_every_message() {
    for (io, cores, wrong_core) in
        [("epoll", 1, false), ("uring", 1, false), ("epoll", 2, true), ("uring", 2, true)]
    {
        let setup = Setup { io, cores, wrong_core, ..served() };
        let seawall = Seawall::start(&setup).unwrap();
        // A source each: some messages share their branch, and would be the same transaction from one.
        let phones: Vec<Phone> = (0..49).map(|_| Phone::new(&seawall)).collect();
        let (mut answered, mut dropped) = (BTreeMap::new(), BTreeMap::new());
        // Those that register somebody come last, so that nobody is called.
        let (registers, mut lines): (Vec<_>, Vec<_>) =
            table().into_iter().partition(|line| message(&line.name).starts_with(b"REGISTER"));
        lines.extend(registers);
        for (Line { name, section, answer }, phone) in lines.into_iter().zip(&phones) {
            let request = message(&name);
            let expected = usize::from(matches!(answer, Answer::Status(_)));
            let responses = phone.ask(&request, expected);
            let place = format!("{name}, RFC 4475 {section}, {io}, {cores} cores");
            match answer {
                Answer::Status(status) => {
                    let [response] = &responses[..] else { panic!("{place}: {responses:?}") };
                    let starts = format!("SIP/2.0 {status} ");
                    assert!(response.starts_with(&starts), "{place}: {response}");
                    *answered.entry(status).or_default() += 1_u64;
                }
                Answer::Silence(reason) => {
                    assert!(responses.is_empty(), "{place}: {responses:?}");
                    *dropped.entry(reason.label()).or_default() += 1_u64;
                }
            }
        }
        // The OPTIONS behind each message.
        *answered.entry(200).or_default() += 49;
        let metrics = seawall.metrics(|metrics| metrics.inputs() == 2 * 49).unwrap();
        metrics.reconcile().unwrap();
        for (status, count) in answered {
            assert_eq!(metrics.responses(status), count, "{status}\n{metrics}");
        }
        for (reason, count) in dropped {
            assert_eq!(metrics.dropped(reason), count, "{reason}\n{metrics}");
        }
        seawall.stop().unwrap();
    }
}

/// Where the RFC says more than a status code.
#[test]
fn the_process_answers_with_what_the_rfc_says() {
    let seawall = Seawall::start(&served()).unwrap();
    let phone = Phone::new(&seawall);
    let answer = |name: &str| phone.ask(&message(name), 1).concat();

    // 3.1.1.4: two contacts of a user whose name has a zero in it, and none of who has the name up to it.
    answer("escnull");
    let bindings = phone.contacts("null-%00-null");
    assert_eq!(bindings, ["<sip:%00%00@host5.example.com>", "<sip:%00@host5.example.com>"]);
    assert!(phone.contacts("null-").is_empty());
    // 3.1.1.7, 3.1.1.10 and RFC 3261 8.2.6.2: every Via goes back, in order (the 34th of the first has another host).
    let vias = |text: &str| -> Vec<String> {
        let hosts = regex_lite::Regex::new(r"sip\d+\.example\.com|t\d\.example\.com").unwrap();
        hosts.find_iter(text).map(|host| host.as_str().to_owned()).collect()
    };
    for (name, count) in [("longreq", 33), ("transports", 5)] {
        let sent = vias(&String::from_utf8_lossy(&message(name)));
        assert_eq!((vias(&answer(name)), sent.len()), (sent, count), "{name}");
    }
    // 3.1.1.8: the answer to the REGISTER and no other; what looks like an INVITE changes nothing.
    assert!(answer("dblreq").contains("\r\nI: dblreq.0ha0isndaksdj99sdfafnl3lk233412\r\n"));
    assert_eq!(phone.contacts("j.user"), ["<sip:j.user@host.example.com>"]);
    // 3.2.1: a branch that identifies nothing makes no transaction of two requests; each is answered by itself.
    assert_eq!(answer("badbranch"), answer("badbranch"));
    // 3.3.1: nothing is made up for what is missing.
    let insufficient = answer("insuf");
    assert!(
        ["Call-ID", "From", "To"].iter().all(|name| !insufficient.contains(&format!("\n{name}:")))
    );
    // 3.3.5: a proxy is on the way to this user, so it lists what a proxy would have to know.
    let extensions = "Unsupported: noProxiesSupportThis, norDoAnyProxiesSupportThis\r\n";
    let extended = answer("bext01");
    assert!(extended.contains(extensions) && !extended.contains("nothingSupportsThis"));
    // 3.3.7: nobody authenticates here, so the Authorization is as if it were not there.
    assert!(answer("regaut01").contains("\r\nContact: <sip:j.user@host.example.com>"));
    // 3.3.12: the parameter is the Contact's; 3.3.13: it is the URI's. Both are the same binding by RFC 3261 19.1.4.
    assert!(!answer("cparam01").contains("net;unknownparam"));
    assert_eq!(phone.contacts("watson"), ["<sip:+19725552222@gw1.example.net>;unknownparam"]);
    // From elsewhere, since their branches are the same.
    Phone::new(&seawall).ask(&message("cparam02"), 1);
    assert_eq!(phone.contacts("watson"), ["<sip:+19725552222@gw1.example.net;unknownparam>"]);
    // 3.3.14: the escaped Route is kept.
    answer("regescrt");
    let escaped = "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>";
    assert_eq!(phone.contacts("user"), [escaped]);
    seawall.stop().unwrap();
}

/// Sockets that answers reach whatever the Via of a message says. RFC 3261 18.2.2 sends them to the packet's source, at the port of
/// the Via: 5060 in all of them, but for 5050 in quotbal and an `rport` in mpart01.
struct Phone {
    socket: UdpSocket,
    at_5050: UdpSocket,
}

impl Phone {
    fn new(seawall: &Seawall) -> Self {
        // Addresses of the loopback net that nobody else uses, so that these ports are free on one of them.
        let process = u8::try_from(std::process::id() % 250).unwrap();
        let bound =
            |last, port| UdpSocket::bind((Ipv4Addr::new(127, 44, process, last), port)).ok();
        let (socket, at_5050) = (1..250)
            .find_map(|last| Some((bound(last, 5060)?, bound(last, 5050)?)))
            .expect("ports 5060 and 5050 of some loopback address are free");
        socket.connect(seawall.v4).unwrap();
        at_5050.connect(seawall.v4).unwrap();
        Phone { socket, at_5050 }
    }

    /// What comes back to a datagram that is to get `answers` of them, and to no other: an OPTIONS sent behind it is answered too,
    /// and for a moment nothing follows.
    fn ask(&self, datagram: &[u8], answers: usize) -> Vec<String> {
        const PROBE: &str = "OPTIONS sip:example.com SIP/2.0\r\n\
            Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKprobe;rport\r\nMax-Forwards: 70\r\n\
            From: <sip:probe@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: the-probe\r\n\
            CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        self.socket.send(datagram).unwrap();
        self.socket.send(PROBE.as_bytes()).unwrap();
        let mut responses = Vec::new();
        let mut is_served = false;
        loop {
            responses.extend(receive(&self.at_5050, Duration::from_millis(1)));
            let is_complete = is_served && responses.len() >= answers;
            let patience = if is_complete { Duration::from_millis(10) } else { PATIENCE };
            match receive(&self.socket, patience) {
                Some(response) if response.contains("\r\nCall-ID: the-probe\r\n") => {
                    is_served = true;
                }
                Some(response) => responses.push(response),
                None if is_complete => return responses,
                None => panic!("the OPTIONS or what was before it is not answered: {responses:?}"),
            }
        }
    }

    /// The bindings of a user, as a REGISTER without Contact gets them, without their lifetimes and sorted.
    fn contacts(&self, user: &str) -> Vec<String> {
        let query = format!(
            "REGISTER sip:example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag=1\r\nTo: <sip:{user}@example.com>\r\n\
             Call-ID: query\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let response = self.ask(query.as_bytes(), 1).concat();
        assert!(response.starts_with("SIP/2.0 200 "), "{response}");
        let contacts = response.lines().filter_map(|line| line.strip_prefix("Contact: "));
        let mut bindings: Vec<String> =
            contacts.map(|value| value.rsplit_once(";expires=").unwrap().0.to_owned()).collect();
        bindings.sort();
        bindings
    }
}

fn receive(socket: &UdpSocket, at_most: Duration) -> Option<String> {
    let mut buffer = vec![0; 65_536];
    socket.set_read_timeout(Some(at_most)).unwrap();
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Makes each query a transaction of its own.
static NUMBER: AtomicU32 = AtomicU32::new(0);

fn served() -> Setup {
    Setup { domain: "example.com", ..Setup::simple() }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("torture")
}

fn message(name: &str) -> Vec<u8> {
    fs::read(folder().join("rfc4475").join(name).with_extension("dat")).unwrap()
}

/// The lines of the table that are about messages.
fn table() -> Vec<Line> {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let cells: Vec<&str> = text.split('|').map(str::trim).collect();
    let ["", name, section, _parser, answer, why, ""] = cells[..] else { return None };
    if !section.starts_with("3.") {
        return None;
    }
    assert!(!why.is_empty(), "{name}: why?");
    let answer = match answer.parse() {
        Ok(status) => Answer::Status(status),
        Err(_) => {
            let reason = Reason::ALL.iter().find(|reason| reason.label() == answer);
            Answer::Silence(*reason.unwrap_or_else(|| panic!("{name}: `{answer}`")))
        }
    };
    Some(Line { name: name.to_owned(), section: section.to_owned(), answer })
}

/// Thirteen, a prime number: each of them comes to each kind of place.
const MATTER: &[u8; 13] = b"\0\r\n\" :;,<>@%\xff";

/// What becomes of a datagram. A verdict that promises an answer must come with one, and no other may.
fn handle(shard: &mut Shard, out: &mut Outbox, bytes: &[u8]) -> Verdict {
    out.clear();
    let from = Peer::udp("192.0.2.7:5060".parse().unwrap());
    let to = LocalAddr { listener: ListenerId(0), ip: "192.0.2.1".parse().unwrap() };
    let datagram = Datagram { from, to, bytes, age: Duration::ZERO };
    let input = Input::Datagram(datagram);
    let now = Instant::START.plus_secs(1);
    let outcome = shard.handle(now, UnixTime(1_795_420_800), input, out);
    let answers = match outcome.verdict {
        // A call is acknowledged with a 100, passed on to whoever registered, or refused later.
        Verdict::Forwarded | Verdict::Held => 1..=Outbox::FAN_OUT_MAX,
        Verdict::Replied | Verdict::Refused(_) => 1..=2,
        Verdict::Hopped(_) | Verdict::Absorbed | Verdict::Dropped(_) => 0..=0,
    };
    assert!(answers.contains(&out.sends().len()), "{:?} to {}", outcome, bytes.escape_ascii());
    for send in out.sends() {
        // RFC 3261 18.2.2: to the source, whatever the message says.
        assert_eq!(send.to.addr.ip(), from.addr.ip());
    }
    outcome.verdict
}

fn shard() -> Shard {
    Shard::new(Settings {
        core: CoreId(0),
        homes: Homes::all(1),
        keys: Keys::derive(&[7; 32]),
        domains: Arc::new(Domains::new(["example.com"])),
        listeners: Arc::new(["192.0.2.1:5060".parse().unwrap()]),
        policy: Policy::default(),
        proxy: shards::proxy::Policy::default(),
        realm: None,
        limits: Limits {
            message_bytes: 65_507,
            header_lines: 128,
            contacts: 16,
            bindings: 100_000,
            arena_bytes: 64 << 20,
            completed_bytes: 1 << 20,
            transactions: 1000,
            branches: 2000,
            transaction_bytes: 4 << 20,
        },
    })
}
