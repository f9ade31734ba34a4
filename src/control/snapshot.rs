//! What the control plane sees of the cores: copies they published, never their memory.

use crate::worker;
use shards::proxy;
use shards::shard::{Gauges, Metrics};
use std::fmt::Debug;
use std::time::Duration;

/// A node as the control plane sees it. Reading must neither wait for a core nor make one wait.
pub trait Observed: Debug + Send + Sync + 'static {
    /// The last copy that each core published, in the order of their ids.
    fn snapshots(&self) -> Vec<CoreSnapshot>;

    /// How long ago each core's loop last turned, in the same order.
    fn heartbeat_ages(&self) -> Vec<Duration>;

    /// Whether the node takes no new work because it is about to stop.
    fn is_draining(&self) -> bool;
}

/// What one core counted since its start, as of its last publication.
#[derive(Clone, Debug, Default)]
pub struct CoreSnapshot {
    /// What its worker counted.
    pub worker: worker::Metrics,
    /// What its shard counted.
    pub shard: Metrics,
    /// What its proxy counted.
    pub proxy: proxy::Metrics,
    /// How full its shard is.
    pub gauges: Gauges,
}
