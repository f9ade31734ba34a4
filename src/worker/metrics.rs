//! What a worker counts. Plain integers of one core: the loop adds, and about once a second publishes a copy.

use super::histogram::Histogram;
use super::ports::Kind;
use shards::io::Class;

/// The counters of one worker since its start.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// What arrived at the sockets for everything but REGISTER; at all sockets where there is no second one.
    pub rest: Received,
    /// What arrived at the sockets for REGISTER.
    pub register: Received,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of payload sent.
    pub sent_bytes: u64,
    /// Datagrams the kernel refused to send for what they are: to an address it can't reach, or too large.
    pub send_refused: u64,
    /// Datagrams that waited because the kernel's buffers were full.
    pub send_queued: u64,
    /// Datagrams dropped because too many waited already.
    pub send_dropped: u64,
    /// Errors that routers and peers reported over ICMP.
    pub icmp_errors: u64,
    /// Errors that this machine put into the error queues.
    pub local_errors: u64,
    /// Datagrams, and ICMP errors about some, moved to another core.
    pub hops_sent: u64,
    /// Those that other cores moved here.
    pub hops_received: u64,
    /// Those dropped because the ring towards their core was full.
    pub hops_dropped: u64,
    /// Those dropped because they were to move to a core that does not exist, or to move twice.
    pub hops_refused: u64,
    /// Letters written to other cores.
    pub letters_sent: u64,
    /// Letters that other cores wrote to this one.
    pub letters_received: u64,
    /// Letters lost because the ring towards their core was full.
    pub letters_dropped: u64,
    /// Names whose addresses were asked for.
    pub questions_asked: u64,
    /// Names that were not asked for because too many waited already; whoever wanted them waits in vain.
    pub questions_dropped: u64,
    /// Bells rung to wake another core.
    pub wakes_sent: u64,
    /// Errands run for the control side.
    pub errands: u64,
    /// Time spent on them, in nanoseconds.
    pub errands_ns: u64,
    /// Rounds of the loop that found something to do.
    pub rounds: u64,
    /// Reads that returned at least one datagram.
    pub batches: u64,
    /// Times this core waited for something to do, if only for the length of a look.
    pub parks: u64,
    /// Time waiting, asleep or spinning, in nanoseconds.
    pub parked_ns: u64,
    /// How long each input took, by [`Class::index`]; the system calls of its batch are not in it.
    pub service_time: PerClass,
    /// How long each input had waited since the kernel received it, by [`Class::index`].
    pub queue_age: PerClass,
}

impl Metrics {
    pub(super) fn received(&mut self, kind: Kind) -> &mut Received {
        match kind {
            Kind::Rest => &mut self.rest,
            Kind::Register => &mut self.register,
        }
    }
}

/// What arrived at one class of sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams read.
    pub datagrams: u64,
    /// Bytes of payload read.
    pub bytes: u64,
    /// Datagrams dropped after reading because they were longer than the buffer.
    pub truncated: u64,
    /// Datagrams the kernel dropped because the socket's buffer was full; it never falls.
    pub overflowed: u64,
}

/// A histogram for each class.
#[derive(Clone, Debug)]
pub struct PerClass([Histogram; Class::COUNT]);

impl Default for PerClass {
    fn default() -> Self {
        PerClass(std::array::from_fn(|_| Histogram::default()))
    }
}

impl PerClass {
    /// The histogram of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> &Histogram {
        &self.0[class.index()]
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut Histogram {
        &mut self.0[class.index()]
    }
}
