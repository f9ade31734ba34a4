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
    /// Every binding that is offered, as the control plane is told of them: page by page.
    fn table(&mut self, now: Instant) -> Table;
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

    fn table(&mut self, now: Instant) -> Table {
        let mut table = Table::new();
        let mut errand = Errand::new(Command::Page { from: 0, aors: Listing::PAGE_AORS });
        let mut out = Outbox::new(1, 0);
        loop {
            self.run(now, UnixTime(0), &mut errand, &mut out);
            for (aor, bindings) in errand.listing.aors() {
                let bindings = bindings
                    .map(|binding| (binding.record.contact.to_vec(), binding.terms.expires));
                assert!(table.insert(aor.to_vec(), bindings.collect()).is_none(), "listed twice");
            }
            let Ok(Done::Listed(Some(from))) = errand.result else { return table };
            errand.command = Command::Page { from, aors: Listing::PAGE_AORS };
        }
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
