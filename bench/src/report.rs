//! What a run has shown: counts that reconcile to the datagram, rates, latencies, costs, and
//! whether the generator itself was the limit. It measures nothing itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddrV4;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::meter::{self, Metered, Strain};
use crate::pace::Pace;
use crate::plan::Plan;
use crate::population::Population;
use crate::run::Outcome;

/// Requests and datagrams of a whole run, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests sent. Nothing is sent twice; what is sent again with credentials is the same request.
    pub sent: u64,
    /// Requests that got the expected final response.
    pub answered: u64,
    /// Requests that got another final response.
    pub refused: u64,
    /// The same by status.
    pub refused_by_status: BTreeMap<u16, u64>,
    /// Requests whose 200 did not hold the expected number of contacts.
    pub wrong_contacts: u64,
    /// Requests that were accepted without credentials where a challenge was expected.
    pub unchallenged: u64,
    /// Requests without a final response within the timeout.
    pub lost: u64,
    /// Datagrams received.
    pub received: u64,
    /// Challenges that were followed.
    pub challenged: u64,
    /// Provisional responses.
    pub provisional: u64,
    /// Responses to requests that had been answered.
    pub duplicate: u64,
    /// Responses to requests that had been given up.
    pub late: u64,
    /// Responses to a request in flight, but with another Call-ID or CSeq, or between other
    /// addresses.
    pub mismatched: u64,
    /// Responses with a branch that is none of this run's.
    pub unmatched: u64,
    /// Datagrams that are not responses.
    pub malformed: u64,
}

impl Counts {
    /// Requests that ended with a final response.
    pub fn settled(&self) -> u64 {
        self.answered + self.refused + self.wrong_contacts + self.unchallenged
    }

    /// Whether every request sent and every datagram received is counted exactly once.
    pub fn reconcile(&self) -> bool {
        let received = self.settled()
            + self.challenged
            + self.provisional
            + self.duplicate
            + self.late
            + self.mismatched
            + self.unmatched
            + self.malformed;
        self.sent == self.settled() + self.lost && self.received == received
    }

    /// Whether every request was answered as expected and nothing else arrived.
    pub fn flawless(&self) -> bool {
        self.reconcile()
            && self.sent == self.answered
            && self.received == self.answered + self.challenged
    }
}

/// A distribution of times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
        Latency {
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// What limited the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The server, or the schedule: the figures are the server's.
    NotTheGenerator,
    /// The generator, and why: rates and latencies are its own; CPU per request still counts.
    Generator(String),
}

/// Differences over the measured time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    pub(crate) metered: Metered,
    pub(crate) sent: u64,
    pub(crate) settled: u64,
    pub(crate) answered: u64,
    pub(crate) received: u64,
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the workload.
    pub workload: &'static str,
    /// The server's address.
    pub target: SocketAddrV4,
    /// How many user agents took part.
    pub user_agents: u32,
    /// Bytes of the longest request.
    pub request_bytes: usize,
    /// Requests in flight, in the closed loop.
    pub window: Option<u32>,
    /// Requests a second asked for, in the open loop.
    pub rate: Option<u32>,
    /// Counts of the whole run.
    pub counts: Counts,
    /// Whether [`Counts::reconcile`].
    pub reconciled: bool,
    /// Length of the measured time.
    pub measured_seconds: f64,
    /// Requests sent a second of measured time.
    pub offered_per_second: f64,
    /// Requests answered as expected a second of measured time.
    pub answered_per_second: f64,
    /// From when a request was due until its expected answer was read.
    pub latency: Latency,
    /// From when a request was due until it was sent (open loop; 0 in the closed loop).
    pub lateness: Latency,
    /// Datagrams that the kernel dropped at the server's port in the measured time.
    pub server_drops: u64,
    /// Datagrams that the kernel dropped at the generator's own ports.
    pub own_drops: u64,
    /// CPU time of the server's processes by wall time, in percent of one CPU.
    pub server_cpu_percent: Option<f64>,
    /// CPU time of the server's processes by requests with a final response, challenges included.
    pub server_cpu_us_per_request: Option<f64>,
    /// Share of time in which the generator sent, received or checked.
    pub generator_busy_percent: f64,
    /// Share of time in which the generator's thread did not run although it wanted to; not known,
    /// and so 0, where it sleeps by itself.
    pub generator_preempted_percent: f64,
    /// Datagrams that waited when the generator looked, on average.
    pub received_per_round: f64,
    /// How often the kernel could not take a datagram at once.
    pub send_blocked: u64,
    /// What limited the run.
    pub limit: Limit,
    /// All latencies in nanoseconds.
    #[serde(skip)]
    pub latency_histogram: Histogram<u64>,
}

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        target: SocketAddrV4,
        population: &Population,
        outcome: Outcome,
    ) -> Report {
        let Outcome { counts, latency, lateness, window, request_bytes, cseq_last: _ } = outcome;
        let metered = &window.metered;
        let seconds = metered.seconds();
        let (in_flight, rate) = match plan.pace {
            Pace::Closed { window } => (Some(window), None),
            Pace::Open { .. } | Pace::Every { .. } => (None, plan.pace.rate()),
        };
        let mut report = Report {
            workload: plan.workload.name(),
            target,
            user_agents: population.size(),
            request_bytes,
            window: in_flight,
            rate,
            reconciled: counts.reconcile(),
            counts,
            measured_seconds: seconds,
            offered_per_second: window.sent as f64 / seconds,
            answered_per_second: window.answered as f64 / seconds,
            latency: Latency::of(&latency),
            lateness: Latency::of(&lateness),
            server_drops: metered.server_drops,
            own_drops: metered.own_drops,
            server_cpu_percent: metered.server_cpu_ns.map(|ns| metered.percent(ns)),
            server_cpu_us_per_request: metered.server_cpu_us_by(window.settled),
            generator_busy_percent: metered.busy_percent(),
            generator_preempted_percent: metered.preempted_percent(plan.sleeps),
            received_per_round: window.received as f64 / metered.effort.rounds.max(1) as f64,
            send_blocked: metered.effort.send_blocked,
            limit: Limit::NotTheGenerator,
            latency_histogram: latency,
        };
        report.limit = report.strain().limit();
        report
    }

    fn strain(&self) -> Strain {
        Strain {
            own_drops: self.own_drops,
            preempted_percent: self.generator_preempted_percent,
            busy_percent: self.generator_busy_percent,
            received_per_round: self.received_per_round,
            rate: self.rate,
            offered_per_second: self.offered_per_second,
            lateness_p99_us: self.lateness.p99_us,
            window: self.window,
        }
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, answered, refused, lost, received, .. } = self.counts;
        let pace = match (self.window, self.rate) {
            (Some(window), _) => format!("closed loop, {window} in flight"),
            (None, Some(rate)) => format!("open loop, {rate}/s"),
            (None, None) => "no pace".to_owned(),
        };
        writeln!(
            f,
            "{} to {}: {} user agents, {}-byte requests, {pace}, {:.2} s measured",
            self.workload, self.target, self.user_agents, self.request_bytes, self.measured_seconds
        )?;
        writeln!(
            f,
            "rate       {:>10.0}/s answered, {:.0}/s offered",
            self.answered_per_second, self.offered_per_second
        )?;
        let Latency { mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = self.latency;
        writeln!(
            f,
            "latency us {p50_us:>10.0} p50, {p90_us:.0} p90, {p99_us:.0} p99, {p999_us:.0} p99.9, \
             {max_us:.0} max, {mean_us:.0} mean"
        )?;
        if let (Some(us), Some(percent)) = (self.server_cpu_us_per_request, self.server_cpu_percent)
        {
            writeln!(f, "server     {us:>10.2} us CPU a request, {percent:.0} % of one CPU")?;
        }
        writeln!(
            f,
            "requests   {sent:>10} sent = {answered} answered + {refused} refused + {} with wrong \
             contacts + {} unchallenged + {lost} lost",
            self.counts.wrong_contacts, self.counts.unchallenged
        )?;
        for (status, count) in &self.counts.refused_by_status {
            writeln!(f, "           {count:>10} times {status}")?;
        }
        writeln!(
            f,
            "datagrams  {received:>10} received, of these {} challenges followed, {} provisional, {} duplicate, {} late, \
             {} mismatched, {} unmatched, {} malformed{}",
            self.counts.challenged,
            self.counts.provisional,
            self.counts.duplicate,
            self.counts.late,
            self.counts.mismatched,
            self.counts.unmatched,
            self.counts.malformed,
            if self.reconciled { "" } else { "; THESE COUNTS DO NOT RECONCILE" }
        )?;
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
        match &self.limit {
            Limit::NotTheGenerator => {
                write!(f, "generator: ok, {:.0} % busy", self.generator_busy_percent)
            }
            Limit::Generator(why) => write!(f, "generator: BOTTLENECK: {why}"),
        }
    }
}
