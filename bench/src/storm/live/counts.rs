//! What all traffic of a run has counted by some moment, and how a second differs from the one before. It counts nothing itself.

use super::network::Loss;
use super::outgoing::Outgoing;
use crate::calls::{self, Calls, Sent};
use crate::storm::crowd::{self, Crowd};
use crate::storm::record::{CallCounts, Second};

/// From the start of the run on.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) crowd: crowd::Counts,
    /// Datagrams that the crowd handed to the kernel.
    pub(super) sent_by_crowd: u64,
    /// Datagrams of any traffic that were read from sockets, those included that were then lost on purpose.
    pub(super) read: u64,
    /// Of those the final responses to the crowd.
    pub(super) finals: u64,
    /// Datagrams that were lost on purpose, out and back.
    pub(super) lost_on_purpose: u64,
    /// Of them those that had been read.
    pub(super) lost_after_reading: u64,
    /// How often the kernel could not take a datagram at once.
    pub(super) blocked: u64,
    /// Datagrams for the crowd that were not its own.
    pub(super) stray: u64,
    pub(super) ordinary: OfCalls,
    pub(super) emergency: OfCalls,
}

/// The same of calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfCalls {
    pub(super) counts: CallCounts,
    /// Those of calls that were begun since the arrival.
    pub(super) since: CallCounts,
    pub(super) sent: Sent,
    pub(super) repeated: u64,
    /// Messages of calls that have ended, or that had been received before.
    pub(super) late: u64,
    /// Messages of no call, or not as they must be.
    pub(super) stray: u64,
    /// Final responses that were waited for.
    pub(super) finals: u64,
}

impl Counted {
    /// Reads all.
    pub(super) fn read(
        crowd: &Crowd,
        outgoing: &Outgoing,
        calls: &[Calls<'_>],
        losses: &[Loss],
        (read, finals, stray): (u64, u64, u64),
    ) -> Counted {
        let (out, back) = outgoing.network.lost();
        let back = back + losses.iter().map(|loss| loss.taken).sum::<u64>();
        let mut counted = Counted {
            crowd: crowd.counts().clone(),
            sent_by_crowd: outgoing.sent,
            read,
            finals,
            lost_on_purpose: out + back,
            lost_after_reading: back,
            blocked: outgoing.blocked,
            stray,
            ordinary: OfCalls::default(),
            emergency: OfCalls::default(),
        };
        for calls in calls {
            let of = OfCalls::read(calls);
            counted.lost_on_purpose += of.sent.lost_on_purpose;
            counted.blocked += of.sent.blocked;
            if calls.is_emergency() {
                counted.emergency = of;
            } else {
                counted.ordinary = of;
            }
        }
        counted
    }

    /// Datagrams handed to the kernel.
    pub(super) fn sent(&self) -> u64 {
        self.sent_by_crowd + self.ordinary.sent.all + self.emergency.sent.all
    }

    /// Of them what nobody answers, as far as calls go: ACKs and responses.
    pub(super) fn not_to_be_answered(&self) -> u64 {
        self.ordinary.sent.not_to_be_answered + self.emergency.sent.not_to_be_answered
    }

    fn of_calls(&self, value: impl Fn(&OfCalls) -> u64) -> u64 {
        value(&self.ordinary) + value(&self.emergency)
    }
}

impl OfCalls {
    fn read(calls: &Calls<'_>) -> OfCalls {
        let counts = calls.counts();
        OfCalls {
            counts: told(counts),
            since: told(calls.counts_since()),
            sent: calls.sent(),
            repeated: counts.repeated,
            late: counts.late + counts.duplicate,
            stray: counts.mismatched + counts.unmatched + counts.malformed,
            finals: counts.finals,
        }
    }
}

/// What callers can tell of their calls.
fn told(counts: &calls::CallCounts) -> CallCounts {
    CallCounts {
        begun: counts.started,
        answered: counts.answered,
        refused: counts.refused - counts.refused_after_answer,
        lost: counts.unanswered,
        // Of what the callee saw or did not see, the caller knows nothing.
        completed: counts.completed + counts.unacknowledged,
    }
}

/// What happened between two readings; what others have to tell is left empty.
pub(super) fn second_between(before: &Counted, after: &Counted) -> Second {
    let mut second = Second::default();
    after.crowd.fill(&before.crowd, &mut second);
    let added = |value: &dyn Fn(&Counted) -> u64| value(after) - value(before);
    // The crowd counts what it said; this is what left.
    second.sent = added(&Counted::sent);
    second.retransmitted += added(&|counted| counted.of_calls(|of| of.repeated));
    second.lost_on_purpose = added(&|counted| counted.lost_on_purpose);
    second.received = added(&|counted| counted.read - counted.lost_after_reading);
    second.received_late += added(&|counted| counted.of_calls(|of| of.late));
    second.received_stray += added(&|counted| counted.stray + counted.of_calls(|of| of.stray));
    second.calls = calls_between(&before.ordinary.counts, &after.ordinary.counts);
    second.emergency_calls = calls_between(&before.emergency.counts, &after.emergency.counts);
    second
}

fn calls_between(before: &CallCounts, after: &CallCounts) -> CallCounts {
    CallCounts {
        begun: after.begun - before.begun,
        answered: after.answered - before.answered,
        refused: after.refused - before.refused,
        lost: after.lost - before.lost,
        completed: after.completed - before.completed,
    }
}
