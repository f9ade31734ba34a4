//! What a run of calls has shown: counts in which every call and every datagram is once, rates, latencies and costs. It measures
//! nothing itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{CallPlan, Ring};
use crate::meter::{self, Metered, Strain};
use crate::pace::Pace;
use crate::report::{Latency, Limit};

/// Calls and datagrams of a whole run, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Calls that began.
    pub started: u64,
    /// Calls that were answered, acknowledged and ended by a BYE with its 200.
    pub completed: u64,
    /// Calls that were cancelled and ended by a 487 that was acknowledged.
    pub cancelled: u64,
    /// Calls that got another final response to a request.
    pub refused: u64,
    /// The same by status.
    pub refused_by_status: BTreeMap<u16, u64>,
    /// Calls in which the callee never saw the ACK.
    pub unacknowledged: u64,
    /// Calls in which a response did not come within the time of RFC 3261's timers.
    pub lost: u64,
    /// Calls whose INVITE got a 200.
    pub answered: u64,
    /// Of the calls that were refused: what was refused was not the INVITE.
    pub refused_after_answer: u64,
    /// Of the calls that were lost: the INVITE got no final response.
    pub unanswered: u64,
    /// Calls that have not ended: none, when a run is over.
    pub pending: u64,
    /// Messages that were sent again because nothing had come.
    pub repeated: u64,

    /// Datagrams received.
    pub received: u64,
    /// 100s.
    pub trying: u64,
    /// Other provisional responses.
    pub provisional: u64,
    /// Final responses that were waited for.
    pub finals: u64,
    /// Requests that were waited for, ACKs included.
    pub requests: u64,
    /// Messages of a call that had been received before.
    pub duplicate: u64,
    /// Messages of calls that have ended.
    pub late: u64,
    /// Messages of a call under way in which something is not as it must be: addresses, URI, branch, tags, or body.
    pub mismatched: u64,
    /// Messages of calls that are none of this run.
    pub unmatched: u64,
    /// Datagrams that are no message of a call.
    pub malformed: u64,
}

impl CallCounts {
    /// Calls that have ended.
    pub fn ended(&self) -> u64 {
        self.completed + self.cancelled + self.refused + self.unacknowledged + self.lost
    }

    /// Whether every call and every datagram is counted exactly once.
    pub fn reconcile(&self) -> bool {
        let received = self.trying
            + self.provisional
            + self.finals
            + self.requests
            + self.duplicate
            + self.late
            + self.mismatched
            + self.unmatched
            + self.malformed;
        self.started == self.ended() + self.pending && self.received == received
    }

    /// Whether every call went as it should, with nothing lost, sent again or received twice.
    pub fn flawless(&self) -> bool {
        let good = self.completed + self.cancelled;
        self.reconcile()
            && self.started == good
            && self.repeated == 0
            && self.trying == good
            && self.provisional == good
            // 200, 200; a cancelled call has a 200 to its CANCEL and the 487.
            && self.finals == 2 * good
            // INVITE, ACK, BYE; or INVITE, CANCEL, ACK.
            && self.requests == 3 * good
            && self.received == 7 * good
    }
}

/// What calls that all ring at the same time have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    /// Calls that rang when the last of them did.
    pub calls: u64,
    /// Resident memory of the server then, in bytes, where its process is known.
    pub server_resident_bytes: Option<u64>,
    /// The same before the first of them.
    pub server_resident_bytes_before: Option<u64>,
    /// From the first INVITE until all rang.
    pub filled_seconds: f64,
    /// From then until all had ended.
    pub drained_seconds: f64,
}

/// What a run leaves to be reported.
pub(super) struct CallOutcome {
    pub(super) counts: CallCounts,
    pub(super) setup: Histogram<u64>,
    pub(super) teardown: Histogram<u64>,
    pub(super) lateness: Histogram<u64>,
    pub(super) window: CallWindow,
    pub(super) held: Option<Held>,
    pub(super) invite_bytes: usize,
}

/// Differences over the measured time.
#[derive(Clone, Debug, Default)]
pub(super) struct CallWindow {
    pub(super) metered: Metered,
    pub(super) started: u64,
    pub(super) good: u64,
    pub(super) received: u64,
}

/// The result of one run of calls.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// The server's address.
    pub target: SocketAddrV4,
    /// How many user agents took part.
    pub user_agents: u32,
    /// Bytes of the longest INVITE.
    pub invite_bytes: usize,
    /// Calls in flight, in the closed loop.
    pub window: Option<u32>,
    /// Calls a second asked for, in the open loop.
    pub rate: Option<u32>,
    /// Counts of the whole run.
    pub counts: CallCounts,
    /// Whether [`CallCounts::reconcile`].
    pub reconciled: bool,
    /// Length of the measured time.
    pub measured_seconds: f64,
    /// Calls begun a second of measured time.
    pub offered_per_second: f64,
    /// Calls completed, or cancelled as they should, a second of measured time.
    pub calls_per_second: f64,
    /// From when an INVITE was due until its 200 was read, ringing included.
    pub setup: Latency,
    /// From when a BYE was sent until its 200 was read.
    pub teardown: Latency,
    /// From when an INVITE was due until it was sent (open loop; 0 in the closed loop).
    pub lateness: Latency,
    /// Where callees rang until all did.
    pub held: Option<Held>,
    /// Datagrams that the kernel dropped at the server's port in the measured time.
    pub server_drops: u64,
    /// Datagrams that the kernel dropped at the generator's own ports.
    pub own_drops: u64,
    /// CPU time of the server's processes by wall time, in percent of one CPU.
    pub server_cpu_percent: Option<f64>,
    /// CPU time of the server's processes by calls that completed, or were cancelled as they should.
    pub server_cpu_us_per_call: Option<f64>,
    /// Time in which the generator was busy by the same, in microseconds.
    pub generator_us_per_call: f64,
    /// Share of time in which the generator sent, received or checked.
    pub generator_busy_percent: f64,
    /// Share of time in which the generator's thread did not run although it wanted to.
    pub generator_preempted_percent: f64,
    /// Datagrams that waited when the generator looked, on average.
    pub received_per_round: f64,
    /// How often the kernel could not take a datagram at once.
    pub send_blocked: u64,
    /// What limited the run.
    pub limit: Limit,
}

impl CallReport {
    pub(super) fn new(
        plan: &CallPlan,
        target: SocketAddrV4,
        user_agents: u32,
        outcome: CallOutcome,
    ) -> CallReport {
        let CallOutcome { counts, setup, teardown, lateness, window, held, invite_bytes } = outcome;
        let metered = &window.metered;
        let seconds = metered.seconds();
        let (in_flight, rate) = match plan.pace {
            Pace::Closed { window } => (Some(window), None),
            Pace::Open { .. } | Pace::Every { .. } => (None, plan.pace.rate()),
        };
        let mut report = CallReport {
            target,
            user_agents,
            invite_bytes,
            window: in_flight,
            rate,
            reconciled: counts.reconcile(),
            counts,
            measured_seconds: seconds,
            offered_per_second: window.started as f64 / seconds,
            calls_per_second: window.good as f64 / seconds,
            setup: Latency::of(&setup),
            teardown: Latency::of(&teardown),
            lateness: Latency::of(&lateness),
            held,
            server_drops: metered.server_drops,
            own_drops: metered.own_drops,
            server_cpu_percent: metered.server_cpu_ns.map(|ns| metered.percent(ns)),
            server_cpu_us_per_call: metered.server_cpu_us_by(window.good),
            generator_us_per_call: metered.effort.busy_ns as f64 / 1e3 / window.good.max(1) as f64,
            generator_busy_percent: metered.busy_percent(),
            generator_preempted_percent: metered.preempted_percent(plan.sleeps),
            received_per_round: window.received as f64 / metered.effort.rounds.max(1) as f64,
            send_blocked: metered.effort.send_blocked,
            limit: Limit::NotTheGenerator,
        };
        let strain = Strain {
            own_drops: report.own_drops,
            preempted_percent: report.generator_preempted_percent,
            busy_percent: report.generator_busy_percent,
            received_per_round: report.received_per_round,
            rate,
            offered_per_second: report.offered_per_second,
            lateness_p99_us: report.lateness.p99_us,
            // What rings is filled and drained as fast as both can.
            window: in_flight.filter(|_| plan.ring != Ring::UntilAll),
        };
        report.limit = strain.limit();
        report
    }

    /// Whether the generator was the limit.
    pub fn generator_limited(&self) -> bool {
        match self.limit {
            Limit::NotTheGenerator => false,
            Limit::Generator(_) => true,
        }
    }

    /// Whether something else took the generator's CPU, so that the run is worth repeating.
    pub fn disturbed(&self) -> bool {
        meter::is_disturbed(self.generator_preempted_percent)
    }
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match (self.window, self.rate) {
            (Some(window), _) => format!("closed loop, {window} in flight"),
            (None, Some(rate)) => format!("open loop, {rate}/s"),
            (None, None) => "no pace".to_owned(),
        };
        writeln!(
            f,
            "calls to {}: {} user agents, {}-byte INVITEs, {pace}, {:.2} s measured",
            self.target, self.user_agents, self.invite_bytes, self.measured_seconds
        )?;
        writeln!(
            f,
            "rate       {:>10.0}/s, {:.0}/s offered",
            self.calls_per_second, self.offered_per_second
        )?;
        for (name, latency) in [("INVITE-200", &self.setup), ("BYE-200", &self.teardown)] {
            let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = latency;
            writeln!(
                f,
                "{name:<10} {p50_us:>10.0} us p50, {p90_us:.0} p90, {p99_us:.0} p99, {p999_us:.0} p99.9, \
                 {max_us:.0} max, {mean_us:.0} mean"
            )?;
        }
        if let (Some(us), Some(percent)) = (self.server_cpu_us_per_call, self.server_cpu_percent) {
            writeln!(f, "server     {us:>10.2} us CPU a call, {percent:.0} % of one CPU")?;
        }
        self.write_counts(f)?;
        if let Some(held) = &self.held {
            self.write_held(f, held)?;
        }
        writeln!(
            f,
            "kernel     {:>10} dropped at the server's port, {} at the generator's",
            self.server_drops, self.own_drops
        )?;
        if self.rate.is_some() {
            let Latency { p50_us, p99_us, max_us, .. } = self.lateness;
            writeln!(
                f,
                "schedule   {p50_us:>10.0} us behind at p50, {p99_us:.0} p99, {max_us:.0} max"
            )?;
        }
        let effort = format!(
            "{:.0} % busy, {:.2} us a call",
            self.generator_busy_percent, self.generator_us_per_call
        );
        match &self.limit {
            Limit::NotTheGenerator => write!(f, "generator: ok, {effort}"),
            Limit::Generator(why) => write!(f, "generator: BOTTLENECK: {why}; {effort}"),
        }
    }
}

impl CallReport {
    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "calls      {:>10} started = {} completed + {} cancelled + {} refused + {} unacknowledged + {} lost + {} \
             pending; {} messages sent again",
            counts.started,
            counts.completed,
            counts.cancelled,
            counts.refused,
            counts.unacknowledged,
            counts.lost,
            counts.pending,
            counts.repeated
        )?;
        for (status, count) in &counts.refused_by_status {
            writeln!(f, "           {count:>10} times {status}")?;
        }
        writeln!(
            f,
            "datagrams  {:>10} received = {} trying + {} provisional + {} finals + {} requests + {} duplicate + {} late + \
             {} mismatched + {} unmatched + {} malformed{}",
            counts.received,
            counts.trying,
            counts.provisional,
            counts.finals,
            counts.requests,
            counts.duplicate,
            counts.late,
            counts.mismatched,
            counts.unmatched,
            counts.malformed,
            if self.reconciled { "" } else { "; THESE COUNTS DO NOT RECONCILE" }
        )
    }

    fn write_held(&self, f: &mut fmt::Formatter<'_>, held: &Held) -> fmt::Result {
        write!(
            f,
            "ringing    {:>10} at the same time after {:.1} s, none {:.1} s later",
            held.calls, held.filled_seconds, held.drained_seconds
        )?;
        if let (Some(bytes), Some(before)) =
            (held.server_resident_bytes, held.server_resident_bytes_before)
        {
            let grown = bytes.saturating_sub(before) as f64;
            write!(
                f,
                "; server {:.0} MiB, {:.0} bytes a call more than before",
                bytes as f64 / f64::from(1 << 20),
                grown / held.calls.max(1) as f64
            )?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_reconcile_only_when_everything_is_once() {
        let good = CallCounts {
            started: 3,
            completed: 2,
            cancelled: 1,
            received: 21,
            trying: 3,
            provisional: 3,
            finals: 6,
            requests: 9,
            ..CallCounts::default()
        };
        assert!(good.reconcile() && good.flawless());
        assert!(!CallCounts { pending: 1, ..good.clone() }.reconcile());
        assert!(!CallCounts { duplicate: 1, ..good.clone() }.reconcile());
        let repeated = CallCounts { duplicate: 1, received: 22, ..good.clone() };
        assert!(repeated.reconcile() && !repeated.flawless());
        assert!(!CallCounts { repeated: 1, ..good }.flawless());
    }
}
