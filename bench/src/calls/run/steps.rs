//! Calls as one traffic among others: whoever owns the loop, its clock and its sockets says what time it is and what was received.

use std::io;

use super::super::lanes::Kind;
use super::Calls;
use crate::calls::{CallCounts, Ring};
use crate::meter::nanoseconds;
use crate::storm::Loss;
use crate::storm::record::Class;
use crate::storm::tally::Tally;
use crate::sys::Datagram;

/// What has left for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Datagrams.
    pub(crate) all: u64,
    /// Of them what nobody answers: ACKs and responses.
    pub(crate) not_to_be_answered: u64,
    /// How often the kernel could not take a datagram at once.
    pub(crate) blocked: u64,
    /// Datagrams that were lost on purpose, and so not sent.
    pub(crate) lost_on_purpose: u64,
}

impl Calls<'_> {
    /// Measures from the first call on what is the server's of each, counts those apart that are due from `since_ns` on, and loses
    /// messages to the server as `loss` says.
    pub(crate) fn begin_steps(&mut self, since_ns: u64, loss: Option<Loss>) {
        self.measured_from_ns = 0;
        self.since_ns = since_ns;
        self.discount_ns = match self.plan.ring {
            Ring::For(time) => nanoseconds(time),
            Ring::UntilAll => 0,
        };
        self.lanes.loss = loss;
    }

    /// Fires timers, begins the calls that are due if new ones are wanted, and sends; answers how much that was.
    pub(crate) fn step(&mut self, now_ns: u64, starting: bool) -> io::Result<u64> {
        let mut done = self.fire(now_ns)?;
        if starting {
            done += self.start_due(now_ns)?;
        }
        if done > 0 {
            self.lanes.flush(self.ports)?;
        }
        Ok(done)
    }

    /// Takes a datagram that one of its ports received. What it makes of it leaves with [`Calls::flush`].
    pub(crate) fn hear(
        &mut self,
        port_index: usize,
        now_ns: u64,
        datagram: &Datagram<'_>,
    ) -> io::Result<()> {
        self.take(port_index, now_ns, datagram)
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.lanes.flush(self.ports)
    }

    /// Calls that have not ended.
    pub(crate) fn under_way(&self) -> u64 {
        self.table.len()
    }

    /// Whether they are emergency calls.
    pub(crate) fn is_emergency(&self) -> bool {
        self.plan.emergency
    }

    /// What has happened since the first call.
    pub(crate) fn counts(&self) -> &CallCounts {
        &self.counts
    }

    /// The same of the calls that are counted apart.
    pub(crate) fn counts_since(&self) -> &CallCounts {
        &self.counts_since
    }

    /// What has left since the first call.
    pub(crate) fn sent(&self) -> Sent {
        let of = |kinds: &[Kind]| kinds.iter().map(|&kind| self.lanes.sent[kind as usize]).sum();
        Sent {
            all: self.lanes.sent.iter().sum(),
            not_to_be_answered: of(&[Kind::Ringing, Kind::Answer, Kind::Ack, Kind::ByeAnswer]),
            blocked: self.lanes.blocked,
            lost_on_purpose: self.lanes.loss.as_ref().map_or(0, |loss| loss.taken),
        }
    }

    /// Moves the latencies since the last time into `tally`.
    pub(crate) fn move_latencies(&mut self, tally: &mut Tally) {
        let invite = if self.plan.emergency { Class::EmergencyInvite } else { Class::Invite };
        for (histogram, class) in [(&mut self.setup, invite), (&mut self.teardown, Class::InDialog)]
        {
            if !histogram.is_empty() {
                tally.merge(class, histogram);
                histogram.reset();
            }
        }
    }
}
