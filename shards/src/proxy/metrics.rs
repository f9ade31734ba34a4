//! What a proxy counts. Plain integers of one core.

use crate::auth::Cause;

/// The counters of one proxy, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Requests that did not show whose they are, by [`Cause::index`].
    pub challenged: [u64; Cause::ALL.len()],
    /// Branches that were sent to a next hop.
    pub branches: u64,
    /// Requests, CANCELs and final responses that were sent again because nothing came back.
    pub retransmissions: u64,
    /// Branches to which nobody answered in time.
    pub timeouts: u64,
    /// Branches whose next hop could not be reached.
    pub unreachable: u64,
    /// Final responses of our own to requests that were being passed on.
    pub own_responses: u64,
    /// CANCELs sent to next hops.
    pub cancels: u64,
    /// Final responses to an INVITE that nobody acknowledged.
    pub unacknowledged: u64,
    /// Look-ups on other cores.
    pub look_ups: u64,
    /// Look-ups that had to be repeated.
    pub look_ups_repeated: u64,
    /// Names whose addresses were asked for.
    pub names: u64,
    /// Routes that were ours without a cookie that is good.
    pub bad_cookies: u64,
    /// ACKs passed on.
    pub acks: u64,
}

/// How much is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests that are passed on, those included whose final response was sent.
    pub transactions: u32,
    /// Those whose final response was sent.
    pub settled: u32,
    /// Branches.
    pub branches: u32,
    /// What made room for others before its time.
    pub evicted: u64,
}
