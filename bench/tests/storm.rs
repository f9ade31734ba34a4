//! Storms against registrars that err on purpose: what is sent, lost and answered must be found in the counts, one for one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bench::storm::live::{Beginning, Mode, Observer, Options, Played, Target, play};
use bench::storm::record::{Class, Label, Second};
use bench::storm::scenario::{Scenario, Wanted, parse};
use bench::storm::tally::Tally;

/// Names from here on are the scenario's; those below are of whoever measures the capacity.
const FIRST_OF_SCENARIO: u64 = 1 << 18;

/// One storm at a time: they measure, and an interrupt is for all of a process.
static ALONE: Mutex<()> = Mutex::new(());

/// What the registrar does with a REGISTER of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answer,
    Ignore,
}

/// What it has seen of the scenario's REGISTERs.
#[derive(Debug, Default)]
struct Seen {
    received: u64,
    answered: u64,
    by_branch: HashMap<String, u64>,
}

struct Registrar {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Registrar {
    fn start(act: Act) -> Registrar {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let text = std::str::from_utf8(&buffer[..length]).unwrap();
                let is_scenario = name_in(text).is_some_and(|name| name >= FIRST_OF_SCENARIO);
                if is_scenario {
                    seen.received += 1;
                    let branch = value(text, "branch=", "\r\n").to_owned();
                    *seen.by_branch.entry(branch).or_default() += 1;
                    if act == Act::Ignore {
                        continue;
                    }
                    seen.answered += 1;
                }
                socket.send_to(answer(text).as_bytes(), from).unwrap();
            }
            seen
        });
        Registrar { address, stop, thread }
    }

    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn value<'a>(text: &'a str, from: &str, until: &str) -> &'a str {
    let rest = text.split_once(from).map_or("", |(_, rest)| rest);
    rest.split(until).next().unwrap_or("")
}

/// The number in the name of who registers.
fn name_in(text: &str) -> Option<u64> {
    value(text, "\r\nTo: <sip:493", "@").parse().ok()
}

fn answer(request: &str) -> String {
    let line = |name: &str| value(request, &format!("\r\n{name}: "), "\r\n");
    let contact = line("Contact");
    let expires = if contact.is_empty() {
        String::new()
    } else {
        format!("Contact: {contact};expires=3600\r\n")
    };
    format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {}\r\n{expires}Server: mock 1\r\n\
         Content-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq")
    )
}

/// A few hundred phones within a moment, with SIP's timers at a twentieth of their length.
fn scenario(loss: f64) -> Scenario {
    let text = format!(
        r#"
id = "T1"
title = "test"
about = "A test."
honour_retry_after = 0.5
[population]
user_agents = 400
bindings = "lapsed"
nonces = "none"
steady_load = 0
[arrival]
shape = "uniform"
over_secs = 0.2
[registration]
expires_secs = 3600
digest = false
[[clients]]
name = "patient"
share = 1
retry = {{ kind = "fixed", after_timeout_secs = 300 }}
[timers]
t1_ms = 25
t2_ms = 200
[network]
loss = {loss}
[end]
before_secs = 1
after_secs = 0
t_min_most = 1
at_least_secs = 3
"#
    );
    parse(Path::new("test.toml"), &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn options(scenario: Scenario, address: SocketAddrV4) -> Options {
    Options {
        scenario,
        wanted: Wanted { scale: 1.0, multiple: None },
        mode: Mode::Unscaled,
        server: Target::There { address, pid: None, metrics: None },
        domain: "sip.test".to_owned(),
        server_cpu: None,
        generator_cpu: None,
        seed: 3,
        folder: std::env::temp_dir(),
        seconds_most: None,
        i_own_this_network: false,
        version: "test".to_owned(),
        command: "test".to_owned(),
    }
}

/// Sums what it is told.
#[derive(Default)]
struct Told {
    sent: u64,
    lost: u64,
    registered: u64,
    begun: u32,
    phases: Vec<String>,
    interrupt_at_secs: Option<f64>,
}

impl Observer for Told {
    fn note(&mut self, phase: &str) {
        self.phases.push(phase.to_owned());
    }

    fn begins(&mut self, beginning: &Beginning<'_>) {
        self.begun += 1;
        assert_eq!(beginning.scaled.user_agents, 400);
        assert!(beginning.capacity.kappa > 100.0, "{:?}", beginning.capacity);
    }

    fn second(&mut self, second: &Second, _tally: &Tally) {
        self.sent += second.sent;
        self.lost += second.lost_on_purpose;
        self.registered += second.registered;
        if self.interrupt_at_secs.is_some_and(|at| second.at_secs >= at) {
            self.interrupt_at_secs = None;
            let own = std::process::id().to_string();
            assert!(Command::new("kill").args(["-INT", &own]).status().unwrap().success());
        }
    }
}

fn played(options: &Options, told: &mut Told) -> Played {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    play(options, told).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_unanswered_attempt_is_eleven_datagrams() {
    let registrar = Registrar::start(Act::Ignore);
    let mut told = Told::default();
    let Played { run, tally } = played(&options(scenario(0.0), registrar.address), &mut told);
    let seen = registrar.stop();
    // RFC 3261 17.1.2.2: at 0, T1, 3 T1, 7 T1, 15 T1, and then every 8 T1 until 64 T1 have passed.
    assert_eq!(seen.received, 400 * 11);
    assert!(seen.by_branch.len() == 400 && seen.by_branch.values().all(|count| *count == 11));
    assert_eq!((run.reconciliation.sent, told.sent), (400 * 11, 400 * 11));
    assert_eq!(run.seconds.iter().map(|second| second.timed_out).sum::<u64>(), 400);
    assert_eq!(run.seconds.iter().map(|second| second.retransmitted).sum::<u64>(), 400 * 10);
    assert_eq!(run.outcome.registered_share.to_bits(), 0.0f64.to_bits());
    assert_eq!(run.outcome.amplification, None);
    assert!(run.outcome.registered_percent_secs.is_empty());
    // What is not answered can't be told from silence.
    assert_eq!(run.reconciliation.unaccounted, 400 * 11);
    assert!(tally.of(Class::Registration).is_empty());
    assert_eq!(told.begun, 1);
    assert!(told.phases.len() >= 4, "{:?}", told.phases);
}

#[test]
fn what_is_lost_on_purpose_is_counted_to_the_datagram() {
    let registrar = Registrar::start(Act::Answer);
    let mut told = Told::default();
    let Played { run, tally } = played(&options(scenario(0.2), registrar.address), &mut told);
    let seen = registrar.stop();
    let settled = &run.reconciliation;
    assert_eq!((settled.sent, told.sent), (seen.received, seen.received), "what left arrived");
    assert_eq!(settled.answered, seen.answered, "what was answered came back");
    assert!(settled.reconciles && settled.unaccounted == 0, "{settled:?}");
    assert_eq!((settled.read_by_server, settled.dropped_by_server), (None, None));
    // Each way a fifth: 400 requests and their repetitions, and as many answers.
    let passed = seen.received + seen.answered;
    let share = told.lost as f64 / (passed + told.lost) as f64;
    assert!((0.08..0.2).contains(&share), "{} of {}", told.lost, passed + told.lost);
    // Eleven tries at 64 % each: all of them.
    assert_eq!((told.registered, run.outcome.registered_share.to_bits()), (400, 1f64.to_bits()));
    assert_eq!(run.outcome.registered_percent_secs.len(), 4);
    assert_eq!(tally.of(Class::Registration).len(), 400);
    let received: u64 = run.seconds.iter().map(|second| second.received).sum();
    assert!(received >= 400 && received < seen.answered, "{received} of {}", seen.answered);
    assert_eq!((run.about.label, run.about.server.as_str()), (Label::Unscaled, "mock 1"));
    let sent_each = run.outcome.amplification.unwrap();
    assert!(
        (sent_each - (seen.received + told.lost / 2) as f64 / 400.0).abs() < 0.3,
        "{sent_each}"
    );
    assert!(!run.cut_short);
}

#[test]
fn an_interrupt_ends_the_storm_and_leaves_a_run() {
    let registrar = Registrar::start(Act::Ignore);
    let mut told = Told { interrupt_at_secs: Some(1.0), ..Told::default() };
    let Played { run, .. } = played(&options(scenario(0.0), registrar.address), &mut told);
    let seen = registrar.stop();
    assert!(run.cut_short);
    assert_eq!(run.reconciliation.sent, seen.received);
    assert!(seen.received < 400 * 11, "{} is not all", seen.received);
    let last = run.seconds.last().unwrap().at_secs;
    assert!((1.0..3.0).contains(&last), "it ended at {last}");
}
