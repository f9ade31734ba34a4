//! What a crowd has done and met so far: owns the counts, from the start of the run on. It decides nothing.

use super::super::record::Second;

/// Statuses that are told apart: 300 to 699, and 200 for a 200 without the binding that was asked for.
const STATUS_MIN: u16 = 200;
const STATUS_MAX: u16 = 699;

/// Refusals by status.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusals(Box<[u64; (STATUS_MAX - STATUS_MIN + 1) as usize]>);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(Box::new([0; (STATUS_MAX - STATUS_MIN + 1) as usize]))
    }
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Refusals {
    pub(super) fn add(&mut self, status: u16) {
        let place = status.clamp(STATUS_MIN, STATUS_MAX) - STATUS_MIN;
        self.0[usize::from(place)] += 1;
    }

    /// The statuses that were met, in rising order, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (STATUS_MIN..).zip(self.0.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Attempts to register and how they ended. An attempt is one REGISTER with all its retransmissions and the answers to a challenge and
/// to a Min-Expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Begun.
    pub begun: u64,
    /// Of them the first of a registration or of a refresh.
    pub first: u64,
    /// Ended in a binding.
    pub registered: u64,
    /// Of them at the first attempt.
    pub registered_at_first: u64,
    /// Ended in silence: Timer F.
    pub timed_out: u64,
    /// Ended in a refusal.
    pub refused: Refusals,
}

impl Attempts {
    /// How many have not ended.
    pub fn under_way(&self) -> u64 {
        self.begun - self.registered - self.timed_out - self.refused.sum()
    }
}

/// Everything that is counted, from the start of the run on; what begins with `total` is how it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of the scenario's population.
    pub own: Attempts,
    /// Of the others, who are a steady load.
    pub others: Attempts,
    /// 401s that were answered with credentials.
    pub challenged: u64,
    /// Provisional responses.
    pub provisional: u64,
    /// Min-Expires that were obeyed.
    pub lengthened: u64,

    /// Datagrams sent, of all kinds.
    pub sent: u64,
    /// Of them retransmissions.
    pub retransmitted: u64,
    /// Of them REGISTERs of user agents.
    pub sent_registers: u64,
    /// Of them keep-alives.
    pub sent_keep_alives: u64,
    /// Of them REGISTERs of hostile senders.
    pub sent_hostile: u64,

    /// Datagrams received that were of this crowd.
    pub received: u64,
    /// Of them answers to what was settled before: duplicates, and what came after it was given up.
    pub received_late: u64,
    /// Of those a first 200 to an attempt that was given up or refused: the server has a binding that the user agent does not know.
    pub registered_late: u64,
    /// Of them what belongs to no request although it carries the number of one.
    pub received_stray: u64,
    /// Of them answers to hostile senders.
    pub received_hostile: u64,
    /// Of them answers to keep-alives.
    pub received_keep_alives: u64,
    /// OPTIONS without an answer when the next was due.
    pub keep_alives_lost: u64,

    /// User agents of the population that hold a binding, as far as they know; exact to the second.
    pub total_registered: u64,
    /// Those that have begun.
    pub total_arrived: u64,
    /// Those that wait to try again.
    pub total_waiting: u64,
    /// Those that have been registered since the arrival began.
    pub total_registered_once: u64,
}

impl Counts {
    /// Fills what is a population's in `second` with the difference to counts of a second before.
    pub fn fill(&self, before: &Counts, second: &mut Second) {
        let (own, own_before) = (&self.own, &before.own);
        second.attempts = own.begun - own_before.begun;
        second.first_attempts = own.first - own_before.first;
        second.registered = own.registered - own_before.registered;
        second.registered_at_first = own.registered_at_first - own_before.registered_at_first;
        second.timed_out = own.timed_out - own_before.timed_out;
        second.refused.clear();
        for ((status, count), before) in
            (STATUS_MIN..).zip(own.refused.0.iter()).zip(own_before.refused.0.iter())
        {
            if count > before {
                second.refused.insert(status, count - before);
            }
        }
        second.challenged = self.challenged - before.challenged;
        second.total_registered = self.total_registered;
        second.total_arrived = self.total_arrived;
        second.total_waiting = self.total_waiting;
        second.sent = self.sent - before.sent;
        second.retransmitted = self.retransmitted - before.retransmitted;
        second.sent_registers = self.sent_registers - before.sent_registers;
        second.sent_keep_alives = self.sent_keep_alives - before.sent_keep_alives;
        second.sent_hostile = self.sent_hostile - before.sent_hostile;
        second.received = self.received - before.received;
        second.received_late = self.received_late - before.received_late;
        second.received_stray = self.received_stray - before.received_stray;
    }
}
