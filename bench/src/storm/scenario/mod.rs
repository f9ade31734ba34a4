//! A scenario: who registers, when, how patiently, and what else goes on meanwhile. It is data alone: nothing here sends or waits.
//!
//! Sizes are relative to kappa, the registrations a second that the measured server can finish, until a run
//! scales them. What shrinks with a quick run (the population, the arrival, an outage, the time to a refresh, a restart) is read from
//! [`super::record::Scaled`], in numbers as they are played. SIP's own timers, what phones wait before they try again, and calls never
//! shrink: they are read from here.

pub mod builtin;
pub mod describe;
mod read;
mod scale;

pub use read::{parse, read};
pub use scale::{Headroom, Wanted, generator_busy, protected_share, scale};

use serde::{Deserialize, Serialize};

/// All that a run is made of. Its file's keys have the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// What it is called on the command line, as in `S1`.
    pub id: String,
    /// A name for people, as in `power-step`.
    pub title: String,
    /// What happens, in a few sentences, for the report.
    pub about: String,
    /// What the server must have that not every server has.
    pub needs: Vec<Need>,
    /// Who there is.
    pub population: Population,
    /// When they come.
    pub arrival: Arrival,
    /// A time in which nothing gets through, if there is one.
    pub outage: Option<Outage>,
    /// How they register.
    pub registration: Registration,
    /// How they try again after a failure, by shares that add up to 1.
    pub clients: Vec<Client>,
    /// Share of the user agents that wait as long as a Retry-After says (RFC 3261 20.33), p; 0 to 1.
    pub honour_retry_after: f64,
    /// RFC 3261 17.1.2.1.
    pub timers: Timers,
    /// What happens to datagrams on their way, both ways.
    pub network: Network,
    /// Ordinary calls meanwhile.
    pub calls: Option<Calls>,
    /// Emergency calls meanwhile.
    pub emergency_calls: Option<Calls>,
    /// Keep-alives meanwhile.
    pub keep_alive: Option<KeepAlive>,
    /// Registrations of addresses-of-record that do not exist or with wrong passwords, meanwhile.
    pub hostile: Option<Hostile>,
    /// How long the server's credentials take, where that is part of it.
    pub backend: Option<Backend>,
    /// The server dies and comes back, if it does.
    pub restart: Option<Restart>,
    /// How long the run is observed.
    pub end: End,
}

/// What a server must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// SIP over TLS.
    Tls,
    /// Credentials from a backend whose delay can be set.
    SlowBackend,
}

/// The user agents that the scenario is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// How many.
    pub size: Size,
    /// What the server holds of them at the start.
    pub bindings: Bindings,
    /// What they hold of the server.
    pub nonces: Nonces,
    /// Where they are.
    pub addresses: Addresses,
    /// How many of them are behind one single address, on as many ports as it takes (RFC 4787: a carrier's NAT).
    pub behind_one_address: u32,
    /// Load of others before and during the arrival, as a share of kappa: steady refreshes of user agents with bindings.
    pub steady_load: f64,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// As many as the server can register in so many seconds.
    KappaSeconds(f64),
    /// So many.
    UserAgents(u32),
}

/// What the server holds at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bindings {
    /// No bindings: they lapsed, or were never there.
    Lapsed,
    /// All of them: what comes are refreshes.
    Valid,
}

/// What they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonces {
    /// No nonce: the first request is bare and is challenged.
    None,
    /// One that the server gave them.
    Valid,
    /// One of another server: the first request is challenged as stale.
    Foreign,
}

/// Where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// An address and port pair each.
    Own,
    /// All on one address: the variant of a carrier's NAT.
    One,
}

/// When they begin. Times are from the start of the arrival.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "shape")]
pub enum Arrival {
    /// Each refreshes by itself, spread evenly over its refresh interval; nothing happens to them together.
    Steady {
        /// Seconds that it goes on.
        for_secs: f64,
    },
    /// All within so many seconds, evenly.
    Uniform {
        /// Seconds.
        over_secs: f64,
    },
    /// A share 1 - exp(-t / tau) by t, and a tail of stragglers: of them a share 1 - (tau / t)^exponent by t, none before tau.
    Ramp {
        /// Seconds.
        tau_secs: f64,
        /// Exponent of the Pareto distribution of the stragglers' times.
        tail_exponent: f64,
        /// Share of stragglers, 0 to 1.
        tail_share: f64,
        /// Seconds after which nobody comes: what would be later, of either kind, is drawn again.
        most_secs: f64,
    },
    /// Equal groups one after the other.
    Waves {
        /// How many groups.
        count: u32,
        /// Seconds between the starts of two of them.
        every_secs: f64,
        /// Seconds in which a group arrives.
        over_secs: f64,
    },
    /// All refresh at the same part of what they were granted ([`Refresh::at`]), again and again. The first refresh of each is
    /// somewhere in the first seconds, as wide as the spread says; the next ones follow from when it was last answered.
    Herd {
        /// Width to both sides, as a share of the time to a refresh; drawn evenly.
        spread: f64,
        /// How many refreshes each makes.
        cycles: u32,
    },
}

/// Nothing gets through, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// Seconds from the start of the arrival; below 0 for one that begins before it.
    pub from_secs: f64,
    /// Seconds that it lasts.
    pub for_secs: f64,
}

/// How they register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// What they ask for, in seconds.
    pub expires_secs: u32,
    /// Whether the server is to challenge them (RFC 3261 22).
    pub digest: bool,
    /// When they refresh, by shares that add up to 1.
    pub refresh: Vec<Refresh>,
}

/// When a share of the user agents refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refresh {
    /// 0 to 1.
    pub share: f64,
    /// As a part of what was granted, 0 to 1.
    pub at: f64,
}

/// How a share of the user agents tries again after a failed attempt. An attempt is one REGISTER with all its
/// retransmissions, and with the answer to a challenge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// A name for reports.
    pub name: String,
    /// 0 to 1.
    pub share: f64,
    /// When it tries again.
    pub retry: Retry,
}

/// When the next attempt begins, counted from the failure of the last. Of what honours Retry-After, that comes first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Retry {
    /// Always the same time, give or take.
    Fixed {
        /// Seconds after silence (RFC 3261 17.1.2: Timer F).
        after_timeout_secs: f64,
        /// Seconds after a refusal.
        after_refusal_secs: f64,
        /// Width to both sides as a share, 0 to 1; drawn evenly.
        spread: f64,
    },
    /// RFC 5626 4.5: 50 to 100 % of min(most, base x 2^failures).
    Backoff {
        /// Seconds.
        base_secs: f64,
        /// Seconds.
        most_secs: f64,
    },
}

/// RFC 3261 17.1.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Milliseconds.
    pub t1_ms: u32,
    /// Milliseconds.
    pub t2_ms: u32,
}

/// What happens to datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Share that is lost, each way, 0 to 1. The generator throws them away, and counts them.
    pub loss: f64,
}

/// Calls between user agents that the outage spares and that are registered beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// Calls a second, as a share of kappa.
    pub per_kappa: f64,
    /// Seconds until the callee answers.
    pub ring_secs: f64,
    /// Seconds until the caller hangs up.
    pub talk_secs: f64,
}

/// What each user agent sends to keep its binding in a NAT open, from its first attempt on, whether it is registered or not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Seconds between two of a user agent.
    pub every_secs: f64,
    /// Share that sends OPTIONS; the others send CRLF CRLF (RFC 5626 4.4.1).
    pub options_share: f64,
}

/// Who is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hostile {
    /// Their part of all REGISTERs that are sent, retransmissions and retries of the user agents included; 0 to 1 without 1. So they send
    /// share / (1 - share) for each one of a user agent.
    pub share: f64,
    /// Share of them that guesses passwords of existing users; the others use names that do not exist.
    pub guessing_share: f64,
}

/// Where the server has its credentials from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Milliseconds that a look-up takes before the arrival.
    pub before_ms: f64,
    /// Milliseconds from the start of the arrival on.
    pub during_ms: f64,
}

/// The server dies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// When, as a share of the shortest time in which all could be registered, from the start of the arrival.
    pub at_t_min: f64,
    /// Seconds until it is started again.
    pub down_secs: f64,
}

/// How long the run is observed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Seconds of the same traffic without the arrival, before it: what S0 is to this run.
    pub before_secs: f64,
    /// Seconds after the last of them is registered.
    pub after_secs: f64,
    /// A run that is not done by so many times the shortest possible time ends there,
    pub t_min_most: f64,
    /// but not before so many seconds from the start of the arrival, so that those who wait get a chance.
    pub at_least_secs: f64,
}
