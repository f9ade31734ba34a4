//! What a run leaves behind: everything that was measured, in numbers. It is written to `run.json` and read back; nothing here
//! measures, prints or draws.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::scenario::{Arrival, Outage, Scenario};

/// Of the layout of `run.json`. It rises when a reader of the last one would misread it.
pub const SCHEMA: u32 = 1;

/// What is told apart in latencies. Times are from the intended send of the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A REGISTER without usable credentials, until its challenge.
    Reg401,
    /// A REGISTER that made a binding, until its 200.
    Reg200New,
    /// A REGISTER that refreshed one, until its 200.
    RegRefresh,
    /// Any request, until a refusal.
    Refusal,
    /// A whole registration: from the first datagram of the first attempt to the 200, challenges, failures and waiting included.
    Registration,
    /// An OPTIONS, until its 200.
    Options,
    /// An INVITE, until its 200 less the time that the callee rang.
    Invite,
    /// The same of an emergency call.
    EmergencyInvite,
    /// A BYE, until its 200.
    InDialog,
}

impl Class {
    /// All of them, in the order of reports.
    pub const ALL: [Class; 9] = [
        Class::Reg401,
        Class::Reg200New,
        Class::RegRefresh,
        Class::Refusal,
        Class::Registration,
        Class::Options,
        Class::Invite,
        Class::EmergencyInvite,
        Class::InDialog,
    ];

    /// Its tag in histogram logs and names of files.
    pub fn name(self) -> &'static str {
        match self {
            Class::Reg401 => "reg-401",
            Class::Reg200New => "reg-200-new",
            Class::RegRefresh => "reg-refresh",
            Class::Refusal => "refusal",
            Class::Registration => "registration",
            Class::Options => "options",
            Class::Invite => "invite",
            Class::EmergencyInvite => "emergency-invite",
            Class::InDialog => "in-dialog",
        }
    }
}

/// A whole run. Every number in it is finite: JSON has no others, so that what cannot be told is absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where and how it was made.
    pub about: About,
    /// What was played, as the file says it.
    pub scenario: Scenario,
    /// The same in numbers, scaled to the server.
    pub scaled: Scaled,
    /// What the server and the generator can do.
    pub capacity: Capacity,
    /// A second each, in order.
    pub seconds: Vec<Second>,
    /// What became of the scenario.
    pub outcome: Outcome,
    /// Where every datagram went.
    pub reconciliation: Reconciliation,
    /// Why it may not be believed; empty for a valid run.
    pub invalid: Vec<String>,
    /// It was interrupted, so that it tells only of the time until then.
    pub cut_short: bool,
}

/// Where and how a run was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// Seconds since 1970, UTC.
    pub started_unix_secs: u64,
    /// Of this program: version, and commit where it is known.
    pub version: String,
    /// The CPU's name.
    pub cpu: String,
    /// How many CPUs the machine has, those of the server, and the generator's.
    pub cpus: usize,
    /// See `cpus`.
    pub server_cpus: Vec<usize>,
    /// See `cpus`.
    pub generator_cpu: usize,
    /// Of the kernel.
    pub kernel: String,
    /// All that was random came from it.
    pub seed: u64,
    /// As it was typed.
    pub command: String,
    /// What served: `Seawall 0.1.0`, or the value of Server in its answers, or `unknown`.
    pub server: String,
    /// Where.
    pub target: String,
    /// The configuration of a server that was started for the run.
    pub server_configuration: Option<String>,
    /// How its figures were come by.
    pub label: Label,
}

/// How figures were come by. Those of different labels are never mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Label {
    /// Live, the server with whole CPUs.
    Unscaled,
    /// Live, the server within a quota of CPU time, which itself delays by up to `period_us` less `quota_us`.
    Slowed {
        /// CPU time a period, in microseconds.
        quota_us: u32,
        /// Microseconds.
        period_us: u32,
        /// Of the cgroup interface, 1 or 2.
        cgroup: u8,
    },
    /// By simulation with measured service times.
    Simulated,
}

/// The scenario in numbers, as it is played: what shrinks with a quick run has shrunk here. Times are in seconds, from the start of the arrival.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaled {
    /// N.
    pub user_agents: u32,
    /// Of them behind one address.
    pub behind_one_address: u32,
    /// Part of the scenario's full size and duration that was played, at most 1. More than was asked for where less would be another scenario.
    pub scale: f64,
    /// First attempts at the arrival's peak, as a multiple of kappa.
    pub multiple: f64,
    /// What the scenario, or whoever played it, asks for. More than `multiple` where the generator could not reach it.
    pub multiple_asked: f64,
    /// When they come.
    pub arrival: Arrival,
    /// Seconds in which all arrive; 0 where nobody arrives together.
    pub arrival_secs: f64,
    /// When nothing gets through.
    pub outage: Option<Outage>,
    /// What they ask for when they register, in seconds.
    pub expires_secs: u32,
    /// The shortest time in which all could be registered, in seconds: `T_min`. Of a ramp, 99 % of them, since its last stragglers take as long
    /// as they like; of a herd, in one cycle; 0 where nobody arrives together.
    pub t_min_secs: f64,
    /// From where `t_min_secs` counts: the end of an outage before which nobody could be registered, or 0. T99 / `T_min` is (T99 - this) / `T_min`.
    pub t_min_from_secs: f64,
    /// When the server dies.
    pub restart_at_secs: Option<f64>,
    /// Seconds until it is started again.
    pub restart_down_secs: f64,
    /// Refreshes a second of others, before and during the arrival.
    pub steady_per_second: f64,
    /// Ordinary calls a second.
    pub calls_per_second: f64,
    /// Emergency calls a second.
    pub emergency_calls_per_second: f64,
    /// Keep-alives a second once all have begun.
    pub keep_alives_per_second: f64,
    /// Seconds before the arrival, part of [`Run::seconds`].
    pub before_secs: f64,
    /// Seconds that the run goes on after the last user agent is registered.
    pub after_secs: f64,
    /// When a run ends that is not done.
    pub end_secs: f64,
}

/// What server and generator can do, measured before the storm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Registrations a second that the server can finish, as the scenario's user agents make them: kappa.
    pub kappa: f64,
    /// Server's CPU time of one of them in microseconds, where its process is known.
    pub registration_us: Option<f64>,
    /// Messages a second each way that the generator does against an echo.
    pub echo_messages_per_second: f64,
    /// The same in registrations with both legs and their digests.
    pub echo_registrations_per_second: f64,
    /// Datagrams a second that it can send when nothing comes back.
    pub send_only_per_second: f64,
    /// Cost of reading and turning away a request, as a part of a registration's, r; measured in the storm where the server's CPU time is known.
    pub refusal_cost: Option<f64>,
}

/// One second of a run. Counts are of this second; what begins with `total` is the state at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in seconds from the start of the arrival; not after 0 for what was before it.
    pub at_secs: f64,
    /// Attempts to register that were begun.
    pub attempts: u64,
    /// Of them first attempts of a user agent.
    pub first_attempts: u64,
    /// Registrations that were finished: goodput.
    pub registered: u64,
    /// Of them by their first attempt.
    pub registered_at_first: u64,
    /// Attempts that ended in silence (Timer F).
    pub timed_out: u64,
    /// Attempts that were refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Challenges that came back.
    pub challenged: u64,
    /// User agents of the population that hold a binding, as far as they know.
    pub total_registered: u64,
    /// User agents that have begun.
    pub total_arrived: u64,
    /// User agents that wait to try again.
    pub total_waiting: u64,

    /// Datagrams that left for the server, of all kinds.
    pub sent: u64,
    /// What was sent again. This and the kinds below include what the generator lost on purpose, which did not leave.
    pub retransmitted: u64,
    /// REGISTERs of user agents.
    pub sent_registers: u64,
    /// Keep-alives: CRLF and OPTIONS.
    pub sent_keep_alives: u64,
    /// REGISTERs of hostile senders.
    pub sent_hostile: u64,
    /// Datagrams that the generator lost on purpose, both ways.
    pub lost_on_purpose: u64,
    /// Datagrams received.
    pub received: u64,
    /// Of them answers to what was settled before.
    pub received_late: u64,
    /// Of them what belongs to nothing, or is no SIP.
    pub received_stray: u64,

    /// Calls begun.
    pub calls: CallCounts,
    /// Emergency calls begun.
    pub emergency_calls: CallCounts,

    /// Datagrams that the kernel dropped at the server's sockets.
    pub kernel_drops: u64,
    /// CPU time of the server's processes in nanoseconds, where they are known.
    pub server_cpu_ns: Option<u64>,
    /// What the server says it dropped after reading, by reason, where it has metrics that are understood.
    pub server_drops: BTreeMap<String, u64>,
    /// Age of datagrams when the server read them, counts by upper bound in microseconds, where it has that metric. What is older than
    /// its last bound stands at [`f64::MAX`].
    pub server_queue_age_us: Option<Vec<(f64, u64)>>,
    /// Latency of what was answered in this second, all of SIP, counts by upper bound in microseconds; the bounds rise.
    pub answer_age_us: Vec<(f64, u64)>,
    /// Share of the second that the generator was busy.
    pub generator_busy: f64,
    /// How late its sends were at the 99th percentile, in microseconds.
    pub lateness_p99_us: f64,
}

/// Calls by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// INVITEs sent for the first time.
    pub begun: u64,
    /// Answered with 200.
    pub answered: u64,
    /// Refused.
    pub refused: u64,
    /// Unanswered: Timer B.
    pub lost: u64,
    /// Hung up, with an answer to the BYE.
    pub completed: u64,
}

/// What became of the scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Seconds from the start of the arrival until so many percent of the user agents were registered: 50, 90, 99, 100. What was not reached is absent.
    pub registered_percent_secs: BTreeMap<u32, f64>,
    /// T99 / `T_min`, where 99 % were reached.
    pub t99_over_t_min: Option<f64>,
    /// Share of the user agents that were registered at the end.
    pub registered_share: f64,
    /// Goodput over kappa, mean from the start of the arrival to T99 or to the end.
    pub goodput_share: f64,
    /// The same in the first 5 s.
    pub goodput_share_first_5_secs: f64,
    /// Datagrams that the server's address was sent for each user agent that registered; absent where none did.
    pub amplification: Option<f64>,
    /// Jain's index over the times to register of user agents that honour Retry-After.
    pub fairness: Option<f64>,
    /// Latencies from the start of the arrival on, by class, in microseconds.
    pub latency: BTreeMap<String, Percentiles>,
    /// The same of the time before it: what the storm's are held against.
    pub latency_before: BTreeMap<String, Percentiles>,
    /// Calls during the storm.
    pub calls: CallCounts,
    /// Emergency calls during the storm.
    pub emergency_calls: CallCounts,
    /// By name of the client profile: how many, how many registered, and their median and 99th percentile in seconds.
    pub by_client: BTreeMap<String, ClientOutcome>,
    /// Attempts begun by the population in all.
    pub attempts: u64,
}

/// Of one kind of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientOutcome {
    /// How many there are.
    pub user_agents: u64,
    /// How many registered.
    pub registered: u64,
    /// Attempts that they began in all.
    pub attempts: u64,
    /// Seconds from the first datagram to the binding.
    pub p50_secs: f64,
    /// The same.
    pub p99_secs: f64,
}

/// A distribution of times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub struct Percentiles {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// Where every datagram went: `sent` is the sum of the others, or the run is not valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Datagrams the generator handed to the kernel for the server.
    pub sent: u64,
    /// What the kernel delivered to the server: read by it, by its own count; absent where it has no metrics.
    pub read_by_server: Option<u64>,
    /// Answered with anything.
    pub answered: u64,
    /// Of `answered`: refusals.
    pub refused: u64,
    /// Not to be answered: ACK, CRLF, responses. Without metrics of the server those only that the kernel can't have dropped.
    pub not_to_be_answered: u64,
    /// Read and dropped by the server, by its own count.
    pub dropped_by_server: Option<u64>,
    /// Dropped at the server's sockets, full.
    pub dropped_at_server_sockets: u64,
    /// Dropped in the backlog of the network (softnet), machine-wide.
    pub dropped_in_backlog: u64,
    /// Dropped at the generator's own sockets: makes a run invalid.
    pub dropped_at_own_sockets: u64,
    /// What is left over, and cannot be told from silence of a server without metrics.
    pub unaccounted: i64,
    /// Whether `unaccounted` is within what can be told.
    pub reconciles: bool,
    /// How, in words.
    pub note: String,
}
