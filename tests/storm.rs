//! Storms against Seawall itself, started for them: every datagram is found in its own counts, calls get through, a quota holds it, and it may die.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use bench::storm::live::{Beginning, Error, Mode, Observer, Options, Played, Target, play};
use bench::storm::record::{Class, Label, Run, Second};
use bench::storm::scenario::{Scenario, Wanted, parse};
use bench::storm::tally::Tally;

/// One storm at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

/// A power cut of 3,000 phones in a network that loses some datagrams, with calls meanwhile and more if `more` says so.
fn scenario(more: &str) -> Scenario {
    let text = format!(
        r#"
id = "T1"
title = "test"
about = "A test."
honour_retry_after = 0.5
[population]
user_agents = 3000
bindings = "lapsed"
nonces = "none"
steady_load = 0.02
[arrival]
shape = "uniform"
over_secs = 1
[registration]
expires_secs = 3600
digest = true
[[clients]]
name = "eager"
share = 0.5
retry = {{ kind = "fixed", after_timeout_secs = 1 }}
[[clients]]
name = "rfc5626"
share = 0.5
retry = {{ kind = "backoff", base_secs = 1, most_secs = 4 }}
[timers]
t1_ms = 100
t2_ms = 800
[network]
loss = 0.03
[calls]
per_kappa = 0.003
ring_secs = 0.2
talk_secs = 0.5
[emergency_calls]
per_kappa = 0.001
ring_secs = 0.1
talk_secs = 0.2
{more}
[end]
before_secs = 2
after_secs = 1
t_min_most = 2
at_least_secs = 12
"#
    );
    parse(Path::new("test.toml"), &text).unwrap_or_else(|problems| panic!("{problems}"))
}

struct Told(Vec<String>);

impl Observer for Told {
    fn note(&mut self, phase: &str) {
        self.0.push(phase.to_owned());
    }

    fn begins(&mut self, beginning: &Beginning<'_>) {
        let configuration = &beginning.about.server_configuration;
        assert!(configuration.as_ref().is_none_or(|text| text.contains("[auth]")));
    }

    fn second(&mut self, _second: &Second, _tally: &Tally) {}
}

fn played(scenario: Scenario, mode: Mode, name: &str) -> Result<Played, Error> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("storm-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let own = Target::Own(PathBuf::from(env!("CARGO_BIN_EXE_seawall")));
    let played = play(&options(scenario, mode, own, &folder), &mut Told(Vec::new()));
    assert!(folder.join("server.log").exists(), "its log is kept");
    assert!(!folder.join("subscribers.csv").exists(), "its accounts are not");
    fs::remove_dir_all(&folder).unwrap();
    played
}

fn options(scenario: Scenario, mode: Mode, server: Target, folder: &Path) -> Options {
    Options {
        scenario,
        wanted: Wanted { scale: 1.0, multiple: None },
        mode,
        server,
        domain: "sip.test".to_owned(),
        server_cpu: None,
        generator_cpu: None,
        seed: 11,
        folder: folder.to_owned(),
        seconds_most: Some(20.0),
        i_own_this_network: false,
        version: "test".to_owned(),
        command: "test".to_owned(),
    }
}

/// What must hold of any storm that Seawall lives through.
fn check(run: &Run) {
    assert!(!run.cut_short);
    assert!(run.outcome.registered_share > 0.99, "{:?}", run.outcome);
    assert!(run.capacity.registration_us.is_some_and(|us| us > 1.0), "{:?}", run.capacity);
    let calls = run.outcome.calls;
    assert!(calls.begun > 0 && calls.answered + calls.lost + calls.refused <= calls.begun);
    assert!(calls.answered * 10 >= calls.begun * 9, "{calls:?}");
    let emergency = run.outcome.emergency_calls;
    assert!(emergency.begun > 0 && emergency.answered * 10 >= emergency.begun * 9, "{emergency:?}");
    for class in
        [Class::Reg401, Class::Reg200New, Class::RegRefresh, Class::Registration, Class::Invite]
    {
        assert!(run.outcome.latency[class.name()].count > 0, "{}", class.name());
    }
    // What a callee rings is not the server's.
    assert!(run.outcome.latency["invite"].p50_us < 150_000.0, "{:?}", run.outcome.latency);
    let lost: u64 = run.seconds.iter().map(|second| second.lost_on_purpose).sum();
    assert!(lost > 0);
    assert_eq!(run.seconds.iter().map(|second| second.sent).sum::<u64>(), run.reconciliation.sent);
    assert!(
        run.seconds.iter().any(|second| second.at_secs < 0.0 && second.sent > 0),
        "the calm before"
    );
}

#[test]
fn every_datagram_is_found_in_the_server_s_own_counts() {
    let run = played(scenario(""), Mode::Unscaled, "counts").unwrap().run;
    check(&run);
    let settled = &run.reconciliation;
    assert!(settled.reconciles && settled.unaccounted == 0, "{settled:?}");
    let read = settled.read_by_server.unwrap();
    assert_eq!(read + settled.dropped_at_server_sockets, settled.sent, "{settled:?}");
    assert!(run.about.server.starts_with("Seawall "), "{}", run.about.server);
    assert_eq!(run.about.label, Label::Unscaled);
    assert!(run.seconds.iter().any(|second| second.server_cpu_ns.is_some_and(|ns| ns > 0)));
    assert!(run.seconds.iter().any(|second| second.server_queue_age_us.is_some()));
}

#[test]
fn a_server_within_a_quota_is_slower_and_still_reconciles() {
    let run = match played(scenario(""), Mode::Slowed(Some(0.2)), "quota") {
        Ok(played) => played.run,
        Err(Error::Quota(why)) => {
            eprintln!("skipped: {why}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    check(&run);
    assert!(run.reconciliation.reconciles, "{:?}", run.reconciliation);
    let Label::Slowed { quota_us: 1000, period_us: 5000, cgroup: 1 | 2 } = run.about.label else {
        panic!("{:?}", run.about.label)
    };
    let most = run.seconds.iter().filter_map(|second| second.server_cpu_ns).max().unwrap();
    assert!(most < 300_000_000, "{most} ns of CPU time in a second");
}

#[test]
fn a_server_that_dies_comes_back_and_takes_its_counts_with_it() {
    let dies = scenario("[restart]\nat_t_min = 0.5\ndown_secs = 1");
    let run = played(dies, Mode::Unscaled, "dies").unwrap().run;
    assert!(run.outcome.registered_share > 0.9, "{:?}", run.outcome);
    let settled = &run.reconciliation;
    assert!(settled.reconciles && settled.read_by_server.is_none(), "{settled:?}");
    assert!(settled.note.contains("died"), "{}", settled.note);
    assert!(!run.invalid.iter().any(|why| why.contains("ended by itself")), "{:?}", run.invalid);
}

#[test]
fn a_server_that_is_there_is_met_twice_and_may_have_no_metrics() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
    drop(socket);
    let folder = std::env::temp_dir().join(format!("storm-there-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("seawall.toml");
    let text = format!(
        "[node]\ncpus = [0]\n[[listen]]\nudp = \"{address}\"\n[domains]\nlocal = [\"sip.test\"]\n[location]\nmax_bindings = 400000\n"
    );
    fs::write(&file, text).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["run", "--config", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    for turn in 0..2 {
        let mut scenario = scenario("");
        scenario.registration.digest = false;
        let there = Target::There { address, pid: Some(server.id()), metrics: None };
        let mut options = options(scenario, Mode::Unscaled, there, &folder);
        options.server_cpu = Some(0);
        options.seconds_most = Some(4.0);
        let run =
            play(&options, &mut Told(Vec::new())).unwrap_or_else(|e| panic!("{turn}: {e}")).run;
        let settled = &run.reconciliation;
        assert!(settled.reconciles && settled.read_by_server.is_none(), "{settled:?}");
        // What was sent again while its answer was on the way is absorbed or answered again.
        assert!(settled.unaccounted < i64::try_from(settled.sent / 20).unwrap(), "{settled:?}");
        assert!(settled.answered > 3000 && settled.not_to_be_answered > 0, "{settled:?}");
        let refused: u64 = run.seconds.iter().flat_map(|second| second.refused.values()).sum();
        assert_eq!(refused, 0, "in turn {turn}");
        assert!(run.outcome.registered_share > 0.95, "{:?}", run.outcome);
        assert!(run.seconds.iter().any(|second| second.server_cpu_ns.is_some_and(|ns| ns > 0)));
    }
    server.kill().unwrap();
    server.wait().unwrap();
    fs::remove_dir_all(&folder).unwrap();
}
