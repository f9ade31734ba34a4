//! What the node asks of a core's thinking: a shard, or one that was broken on purpose.

use shards::io::{Datagram, Input, Instant, Outbox, Outcome, UnixTime};
use shards::location::Listing;
use shards::shard::{Command, Done, Errand, Gauges, Metrics, Settings, Shard};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Addresses-of-record, and the URI and the end of each of their bindings.
pub type Table = BTreeMap<Vec<u8>, Vec<(Vec<u8>, Instant)>>;

/// A core's thinking. The contract of each method is the shard's.
pub trait Handler: Debug {
    /// Takes one input to its end.
    fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome;
    /// Reads ahead what is handled next.
    fn foresee(&mut self, datagrams: &[Datagram<'_>]);
    /// Does what is due, at most `budget` things of it.
    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox);
    /// When [`expire`](Self::expire) wants to be called next.
    fn deadline(&self) -> Option<Instant>;
    /// What was counted.
    fn metrics(&self) -> &Metrics;
    /// How full it is.
    fn gauges(&self) -> Gauges;
    /// Runs an errand of the control side.
    fn run(&mut self, now: Instant, errand: &mut Errand);
    /// Walks the invariants.
    fn check(&self);
}

/// Makes the thinking of one core.
pub type Make = dyn Fn(Settings) -> Box<dyn Handler>;

/// The server's own.
#[must_use]
pub fn shard(settings: Settings) -> Box<dyn Handler> {
    Box::new(Shard::new(settings))
}

/// Every binding that a core offers, as the control plane is told of them: page by page.
///
/// # Panics
/// Where an address-of-record is listed twice.
pub fn table(handler: &mut dyn Handler, now: Instant) -> Table {
    let mut table = Table::new();
    let mut errand = Errand::new(Command::Page { from: 0, aors: Listing::PAGE_AORS });
    loop {
        handler.run(now, &mut errand);
        for (aor, bindings) in errand.listing.aors() {
            let bindings =
                bindings.map(|binding| (binding.record.contact.to_vec(), binding.terms.expires));
            assert!(table.insert(aor.to_vec(), bindings.collect()).is_none(), "listed twice");
        }
        let Ok(Done::Listed(Some(from))) = errand.result else { return table };
        errand.command = Command::Page { from, aors: Listing::PAGE_AORS };
    }
}

impl Handler for Shard {
    fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        Shard::handle(self, now, wall, input, out)
    }

    fn foresee(&mut self, datagrams: &[Datagram<'_>]) {
        Shard::foresee(self, datagrams);
    }

    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox) {
        Shard::expire(self, now, budget, out);
    }

    fn run(&mut self, now: Instant, errand: &mut Errand) {
        // What an operator asks for here sends nothing and reads no calendar.
        let mut out = Outbox::new(1, 0);
        Shard::run(self, now, UnixTime(0), errand, &mut out);
        assert!(out.sends().is_empty(), "an errand that sends something");
    }

    fn deadline(&self) -> Option<Instant> {
        Shard::deadline(self)
    }

    fn metrics(&self) -> &Metrics {
        Shard::metrics(self)
    }

    fn gauges(&self) -> Gauges {
        Shard::gauges(self)
    }

    fn check(&self) {
        Shard::check(self);
    }
}
