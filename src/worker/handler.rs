//! What a worker works for: the contract between the loop and whoever thinks about its datagrams.

use shards::io::{Datagram, Input, Instant, Outbox, Outcome, UnixTime};

/// A core's thinking, fed by its worker. Messages it wants sent go into the outbox, which always has room for one input.
///
/// Workers are generic over it rather than calling through a table: one handler and one way to wait run in a process, and
/// the call that is made for every datagram can then be inlined.
pub trait Handler {
    /// What it counts; a copy is published about once a second.
    type Metrics: Clone + Default + Send + 'static;

    /// What the control side may ask of it, with room for the answer.
    type Errand: Send + 'static;

    /// Looks at datagrams that will be handled next, in this order, so that it can begin to fetch what they need. It may look at
    /// fewer, and nothing may depend on it.
    fn foresee(&mut self, datagrams: &[Datagram<'_>]);

    /// Takes one input to its end. A datagram or an ICMP error that lives on another core is moved there where the verdict
    /// says so, once.
    fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome;

    /// Does what the control side asks and fills in the answer; what has to be sent for it goes into the outbox, which has room
    /// for one input. It is called between inputs, so its work has to be bounded; it neither allocates nor frees: what it no
    /// longer keeps goes back in the errand.
    fn run(&mut self, now: Instant, wall: UnixTime, errand: &mut Self::Errand, out: &mut Outbox);

    /// Does what is due at `now`, at most `budget` things of it and only while `out` has room; it is called again at once where
    /// it leaves its [`deadline`](Self::deadline) in the past.
    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox);

    /// When [`expire`](Self::expire) wants to be called next.
    fn deadline(&self) -> Option<Instant>;

    /// Brings the published copy up to date.
    fn publish(&self, into: &mut Self::Metrics);
}
