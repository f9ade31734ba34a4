//! What the control plane sees of the cores: copies they published, never their memory.

use super::Histogram;
use shards::io::Class;
use shards::shard::{Gauges, Metrics};
use std::time::Duration;

/// A node as the control plane sees it. Reading must neither wait for a core nor make one wait.
pub trait Observed: Send + Sync + 'static {
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
    /// The CPU it runs on.
    pub cpu: usize,
    /// What its shard counted.
    pub shard: Metrics,
    /// How full its shard is.
    pub gauges: Gauges,
    /// What its sockets and rings counted.
    pub io: IoCounters,
    /// Time from being read to being handled, by [`Class::index`].
    pub service: [Histogram; Class::COUNT],
    /// Time from the kernel's receipt to being read, by [`Class::index`].
    pub age: [Histogram; Class::COUNT],
}

/// What the sockets and rings of one core counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Datagrams read from sockets.
    pub received: u64,
    /// Bytes of datagrams read from sockets.
    pub received_bytes: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Bytes of datagrams handed to the kernel.
    pub sent_bytes: u64,
    /// Datagrams that the kernel dropped because the socket for REGISTER was full.
    pub overflowed_register: u64,
    /// Datagrams that the kernel dropped because the socket for everything else was full.
    pub overflowed_rest: u64,
    /// Datagrams larger than the receive buffer; they are not handled.
    pub truncated: u64,
    /// Datagrams that the kernel refused to send.
    pub send_errors: u64,
    /// Datagrams given up because the send buffer stayed full.
    pub send_dropped: u64,
    /// ICMP errors that came back for datagrams sent.
    pub icmp_errors: u64,
    /// Inputs put on a ring to another core.
    pub hops_out: u64,
    /// Inputs taken from a ring of another core.
    pub hops_in: u64,
    /// Inputs dropped because the ring to their core was full.
    pub hops_dropped: u64,
    /// Turns of the core's loop.
    pub turns: u64,
    /// Times the core went to sleep.
    pub sleeps: u64,
}
