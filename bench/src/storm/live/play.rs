//! One run from its beginning to its end: what is measured, started, slowed, prepared and played, in this order. Each step is done elsewhere.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::capacity::{Headroom, Kappa};
use super::outcome;
use super::preparation::{self, Cast, Stage};
use super::quota::{Quota, SHARES, Share};
use super::reconcile::{self, Sums, Trouble};
use super::server::{self, Server, Task};
use super::storm::{Seen, storm};
use super::{Beginning, Error, Mode, Observer, Options, Played, Target, while_doing};
use crate::population::Population;
use crate::sockets;
use crate::storm::record::{About, Capacity, Label, Outcome, Run, SCHEMA};
use crate::storm::scenario::{self, Arrival, Need, Scenario, scale};
use crate::sys::{self, Interrupts};
use crate::watch::Processes;

/// Plays a scenario, on the calling thread and one more, and answers with the run. A server of our own and the quota are gone afterwards.
///
/// # Errors
/// Whatever keeps the storm from beginning, or the system from carrying it out. An interrupt in the storm is none: the run then
/// says that it was cut short.
pub fn play(options: &Options, observer: &mut dyn Observer) -> Result<Played, Error> {
    let _interrupts = Interrupts::catch().map_err(while_doing("catching interrupts"))?;
    can_be_played(&options.scenario, &options.server)?;
    let cpus = Cpus::choose(options)?;
    cpus.aside(|| playing(options, &cpus, observer))
}

fn playing(options: &Options, cpus: &Cpus, observer: &mut dyn Observer) -> Result<Played, Error> {
    let (scenario, domain) = (&options.scenario, &options.domain);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    observer.note("measuring the generator against an echo and into a void");
    let headroom = cpus
        .on_generators(|| Headroom::measure(cpus.server, domain))
        .map_err(while_doing("measuring the generator"))?;
    uninterrupted()?;

    observer.note("measuring what the server can do");
    let mut server = first_server(options, cpus)?;
    let source = source_towards(&server)?;
    let users = Cast::for_capacity(source);
    let met_before = matches!(options.server, Target::There { .. });
    let first_port = if met_before { preparation::CAPACITY_PORT } else { 0 };
    let mut generator = preparation::open(server.address, domain, &users, first_port)?;
    let pid = server.pid;
    let mut kappa = cpus.on_generators(|| Kappa::measure(&mut generator, scenario, pid))?;
    uninterrupted()?;
    let limits = scenario::Headroom {
        messages: headroom.messages_per_second,
        registrations: headroom.registrations_per_second,
        sends: headroom.send_only_per_second,
    };
    let scaled_to = |kappa| scale(scenario, kappa, Some(limits), options.wanted);
    let reaches = |kappa| {
        let scaled = scaled_to(kappa);
        scaled.multiple >= scaled.multiple_asked
    };
    let shares = shares(options, &server, |part| reaches(kappa.per_second * part))?;
    let mut chosen = None;
    for share in shares {
        observer.note(&format!(
            "measuring it again within {} us of CPU time in {} us",
            share.quota_us, share.period_us
        ));
        let _quota = slow(&server, share)?;
        kappa = cpus.on_generators(|| Kappa::measure(&mut generator, scenario, pid))?;
        uninterrupted()?;
        chosen = Some(share);
        if reaches(kappa.per_second) {
            break;
        }
    }
    drop(generator);

    let mut scaled = scaled_to(kappa.per_second);
    if let Some(most) = options.seconds_most {
        scaled.end_secs = scaled.end_secs.min(most);
    }
    let cast = Cast::new(&scaled, scenario, source);
    if let Target::Own(executable) = &options.server {
        observer.note("starting Seawall anew with everybody's accounts");
        drop(server);
        server = own_server(options, cpus, executable, &cast.subscribers(), cast.bindings())?;
    }

    observer.note(&format!("preparing {} user agents", scaled.user_agents));
    let stage = Stage {
        scenario,
        scaled: &scaled,
        target: server.address,
        source,
        domain,
        seed: options.seed,
        cpu: cpus.generator,
        met_before,
    };
    let part = cpus.on_generators(|| stage.set(&cast))?;
    uninterrupted()?;
    let quota = chosen.map(|share| slow(&server, share)).transpose()?;

    let mut capacity = Capacity {
        kappa: kappa.per_second,
        registration_us: kappa.registration_us,
        echo_messages_per_second: headroom.messages_per_second,
        echo_registrations_per_second: headroom.registrations_per_second,
        send_only_per_second: headroom.send_only_per_second,
        refusal_cost: None,
    };
    let mut about = About {
        started_unix_secs: started.as_secs(),
        version: options.version.clone(),
        cpu: cpu_name(),
        cpus: thread::available_parallelism().map_or(1, usize::from),
        server_cpus: vec![cpus.server],
        generator_cpu: cpus.generator,
        kernel: line_of("/proc/sys/kernel/osrelease"),
        seed: options.seed,
        command: options.command.clone(),
        server: "unknown".to_owned(),
        target: server.address.to_string(),
        server_configuration: server.configuration().map(str::to_owned),
        label: quota.as_ref().map_or(Label::Unscaled, Quota::label),
    };
    observer.note("waiting for the server to be quiet");
    observer.begins(&Beginning { about: &about, scenario, scaled: &scaled, capacity: &capacity });
    let seen = storm(part, &scaled, &mut server, quota.as_ref(), observer)?;
    let version = seen.scrape.as_ref().and_then(|scrape| scrape.version.clone());
    if let Some(name) = version.or_else(|| seen.played.crowd.server()) {
        about.server = name;
    }
    drop(quota);

    let reconciliation = reconcile::reconcile(&sums(&seen, scenario));
    let trouble = Trouble {
        lateness_p99_us: seen.played.lateness.value_at_quantile(0.99) as f64 / 1e3,
        blocked: seen.played.counted.blocked,
        preempted: seen.played.preempted,
        kappa: kappa.limited_by_generator,
        server_ended: seen.server_ended.clone(),
    };
    let legs = if scenario.registration.digest { 2 } else { 1 };
    let part = chosen.map_or(1.0, Share::part);
    // A server that starts again works for nobody at first.
    let registration_us = capacity.registration_us.filter(|_| !seen.restarted);
    capacity.refusal_cost =
        registration_us.and_then(|us| outcome::refusal_cost(&seen.seconds, part, legs, us));
    let mut outcome = Outcome::default();
    seen.played.crowd.fill(&mut outcome);
    let tallies = (&seen.before, &seen.after);
    let crowd = &seen.played.counted.crowd;
    // The steady load sends one datagram an attempt, and is nobody's storm.
    let of_storm = crowd.sent_registers.saturating_sub(crowd.others.begun) as f64;
    let registered = crowd.total_registered_once;
    outcome.amplification = (registered > 0).then(|| of_storm / registered as f64);
    outcome.calls = seen.played.counted.ordinary.since;
    outcome.emergency_calls = seen.played.counted.emergency.since;
    outcome::complete(&mut outcome, &scaled, kappa.per_second, &seen.seconds, tallies);
    let mut tally = seen.before;
    tally.add(&seen.after);
    let run = Run {
        schema: SCHEMA,
        about,
        scenario: scenario.clone(),
        scaled,
        capacity,
        invalid: reconcile::invalid(&reconciliation, &trouble),
        seconds: seen.seconds,
        outcome,
        reconciliation,
        cut_short: seen.played.cut_short,
    };
    Ok(Played { run, tally })
}

/// Which CPU is whose.
struct Cpus {
    all: Vec<usize>,
    server: usize,
    generator: usize,
}

impl Cpus {
    fn choose(options: &Options) -> Result<Cpus, Error> {
        let all = sys::own_cpus();
        let generator = options.generator_cpu.or_else(|| all.last().copied());
        let generator = generator.ok_or(Error::OneCpu)?;
        let other = || all.iter().copied().find(|cpu| *cpu != generator);
        let server = options.server_cpu.or_else(other).ok_or(Error::OneCpu)?;
        if server == generator { Err(Error::OneCpu) } else { Ok(Cpus { all, server, generator }) }
    }

    /// Does something away from the generator's CPU, and puts the calling thread back where it was.
    fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        let others: Vec<usize> =
            self.all.iter().copied().filter(|cpu| *cpu != self.generator).collect();
        // Where that is refused, the run says by itself how much the generator was disturbed.
        let _moved = sys::stay_on(&others);
        let done = act();
        let _back = sys::stay_on(&self.all);
        done
    }

    /// Does something on the generator's CPU, on a thread of its own.
    fn on_generators<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                sys::pin_to_cpu(self.generator);
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn can_be_played(scenario: &Scenario, server: &Target) -> Result<(), Error> {
    let is_own = matches!(server, Target::Own(_));
    let missing = scenario.needs.iter().find_map(|need| match need {
        Need::Tls => Some("SIP over TLS, which neither the generator nor Seawall speaks yet"),
        Need::SlowBackend => is_own.then_some(
            "a server whose credentials come from a backend that is slow, which Seawall does not have yet; --target names one that has",
        ),
    });
    match missing {
        Some(what) => Err(Error::Needs(format!("{} {} needs {what}", scenario.id, scenario.title))),
        None => Ok(()),
    }
}

fn uninterrupted() -> Result<(), Error> {
    if Interrupts::came() { Err(Error::Interrupted) } else { Ok(()) }
}

/// The server with which the capacity is measured.
fn first_server(options: &Options, cpus: &Cpus) -> Result<Server, Error> {
    match &options.server {
        Target::Own(executable) => {
            let users = Cast::for_capacity(None);
            own_server(options, cpus, executable, &[&users], users.size())
        }
        Target::There { address, pid, metrics } => {
            server::is_ours(*address.ip(), options.i_own_this_network)?;
            if options.scenario.restart.is_some() {
                let what = "this scenario kills its server and starts it again, which is done only to a Seawall of our own";
                return Err(Error::Needs(what.to_owned()));
            }
            Ok(Server::there(*address, *metrics, *pid)?)
        }
    }
}

fn own_server(
    options: &Options,
    cpus: &Cpus,
    executable: &Path,
    users: &[&Population],
    bindings: u32,
) -> Result<Server, Error> {
    let task = Task {
        executable,
        folder: &options.folder,
        cpu: cpus.server,
        domain: &options.domain,
        users: options.scenario.registration.digest.then_some(users),
        // Hash tables are no longer quick when they are full to the brim.
        bindings: bindings + bindings / 10 + 1000,
    };
    Ok(Server::start(&task)?)
}

/// To what the server may be slowed, the largest part first; nothing where it is not. `reaches` says whether the generator reaches the
/// scenario's multiple of a server with a part of its CPU.
fn shares(
    options: &Options,
    server: &Server,
    reaches: impl Fn(f64) -> bool,
) -> Result<Vec<Share>, Error> {
    let from_largest = || {
        let largest = SHARES.iter().position(|share| reaches(share.part()));
        SHARES[largest.unwrap_or(SHARES.len() - 1)..].to_vec()
    };
    match options.mode {
        Mode::Unscaled => Ok(Vec::new()),
        Mode::Slowed(_) if server.pid.is_none() => {
            let what = "to slow a server its process must be known: name it with --server-pid";
            Err(Error::Needs(what.to_owned()))
        }
        Mode::Slowed(Some(part)) => Ok(vec![Share::nearest(part)]),
        Mode::Slowed(None) => Ok(from_largest()),
        Mode::Auto => {
            let comes_together = !matches!(options.scenario.arrival, Arrival::Steady { .. });
            let is_needed = comes_together && !reaches(1.0) && server.pid.is_some();
            // Without the privilege the run is unscaled, and its label says so.
            let can_be = is_needed && Quota::new(SHARES[0]).is_ok();
            Ok(if can_be { from_largest() } else { Vec::new() })
        }
    }
}

/// Puts a quota around the server's processes.
fn slow(server: &Server, share: Share) -> Result<Quota, Error> {
    let quota = Quota::new(share)?;
    let pids = server.pid.map(Processes::under).transpose();
    let processes = pids.map_err(while_doing("looking for the server's processes"))?;
    for &pid in processes.iter().flat_map(Processes::pids) {
        quota.take(pid)?;
    }
    Ok(quota)
}

/// The one address from which all must speak to a server that is not on this machine's loopback.
fn source_towards(server: &Server) -> Result<Option<Ipv4Addr>, Error> {
    if server.address.ip().is_loopback() {
        return Ok(None);
    }
    sockets::local_address(server.address)
        .map(Some)
        .map_err(while_doing("looking for the address from which the server is reached"))
}

fn sums(seen: &Seen, scenario: &Scenario) -> Sums {
    let counted = &seen.played.counted;
    let crowd = &counted.crowd;
    let calls = [&counted.ordinary, &counted.emergency];
    let of_calls =
        |value: fn(&super::counts::OfCalls) -> u64| calls.into_iter().map(value).sum::<u64>();
    let crlf_share = scenario.keep_alive.map_or(0.0, |keep_alive| 1.0 - keep_alive.options_share);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    let crlfs = (crowd.sent_keep_alives as f64 * crlf_share) as u64;
    Sums {
        sent: counted.sent(),
        read: counted.read,
        answers: counted.finals + of_calls(|calls| calls.finals),
        refused: crowd.own.refused.sum()
            + crowd.others.refused.sum()
            + of_calls(|calls| calls.counts.refused),
        not_to_be_answered: counted.not_to_be_answered() + crlfs,
        kernel: seen.kernel,
        server: seen.scrape.clone(),
        restarted: seen.restarted,
    }
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn line_of(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::scenario::builtin;
    use std::path::PathBuf;

    #[test]
    fn what_a_scenario_needs_is_said() {
        let own = Target::Own(PathBuf::from("seawall"));
        let address = "127.0.0.1:5060".parse().unwrap();
        let there = Target::There { address, pid: None, metrics: None };
        for (id, with_own, with_another) in
            [("S1", true, true), ("S11", false, true), ("S13", false, false)]
        {
            let scenario = builtin::find(id).unwrap().scenario();
            let outcomes = [(&own, with_own), (&there, with_another)];
            for (server, expected) in outcomes {
                let outcome = can_be_played(&scenario, server);
                assert_eq!(outcome.is_ok(), expected, "{id}: {outcome:?}");
            }
        }
    }
}
