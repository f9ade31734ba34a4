//! What is remembered of one user agent: a cache line, and its nonce beside it. It decides nothing.

/// No user agent, at the ends of lists.
pub(super) const NOBODY: u32 = u32::MAX;

/// What a user agent does. It waits for one thing at a time: until [`Ua::due_ns`] for the next of its own steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// It has not begun.
    Absent,
    /// Its REGISTER has no credentials. Due: Timer E or F.
    Bare,
    /// Its REGISTER has credentials for a nonce that it had. Due: Timer E or F.
    Knowing,
    /// Its REGISTER has credentials for the nonce of a challenge in this attempt. Due: Timer E or F.
    Second,
    /// It is registered. Due: its refresh.
    Registered,
    /// Its attempt failed. Due: the next.
    Waiting,
    /// It has refreshed as often as it is to. Nothing is due.
    Done,
}

impl Phase {
    /// Whether a transaction is under way.
    pub(super) fn is_calling(self) -> bool {
        match self {
            Phase::Bare | Phase::Knowing | Phase::Second => true,
            Phase::Absent | Phase::Registered | Phase::Waiting | Phase::Done => false,
        }
    }
}

/// Things that are so or not so of a user agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// A provisional response came: Timer E runs at T2 (RFC 3261 17.1.2.2).
    pub(super) const PROCEEDING: u8 = 1;
    /// It holds a binding as far as it knows.
    pub(super) const KNOWS_BINDING: u8 = 1 << 1;
    /// It asks for what a Min-Expires told it.
    pub(super) const LENGTHENED: u8 = 1 << 2;
    /// It obeyed a Min-Expires in this attempt.
    pub(super) const OBEYED_MINIMUM: u8 = 1 << 3;
    /// This attempt is the first of its registration.
    pub(super) const AT_FIRST: u8 = 1 << 4;
    /// Its last OPTIONS has no answer yet.
    pub(super) const AWAITS_OPTIONS: u8 = 1 << 5;
    /// Its last attempt was given up or refused, and no 200 to it has come late.
    pub(super) const GAVE_UP: u8 = 1 << 6;
    /// It is taken out of the wheel, and its turn comes.
    pub(super) const IS_CALLED: u8 = 1 << 7;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }

    pub(super) fn clear(&mut self, flag: u8) {
        self.0 &= !flag;
    }
}

/// One user agent. Times are in nanoseconds from the start of the run.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Ua {
    /// When what it waits for is due.
    pub(super) due_ns: u64,
    /// When the first datagram of its transaction was due.
    pub(super) began_ns: u64,
    /// When the first attempt of its registration was due.
    pub(super) first_ns: u64,
    /// The hash that stands for its password.
    pub(super) ha1: [u8; 16],
    /// The next in its list of the wheel, or [`NOBODY`].
    pub(super) next: u32,
    /// The one before it in its list; for the first the number of the list, marked.
    pub(super) previous: u32,
    /// Of its last REGISTER.
    pub(super) cseq: u32,
    /// How often it has used its nonce.
    pub(super) nc: u32,
    /// In which second of the run the binding that the server holds of it lapses; the highest number for that or any later one, 0 for
    /// none.
    pub(super) held_until_secs: u16,
    /// What it does.
    pub(super) phase: Phase,
    /// What is so of it.
    pub(super) flags: Flags,
    /// How often it has sent its REGISTER again.
    pub(super) resent: u8,
    /// Attempts that failed since it was registered last.
    pub(super) failures: u8,
    /// How often it has been registered, up to the highest number.
    pub(super) registrations: u8,
    /// Length of its nonce; 0 for none.
    pub(super) nonce_bytes: u8,
}

impl Ua {
    /// One that has not begun, and whose first REGISTER has the CSeq after `cseq`.
    pub(super) fn new(ha1: [u8; 16], cseq: u32) -> Ua {
        Ua {
            due_ns: 0,
            began_ns: 0,
            first_ns: 0,
            ha1,
            next: NOBODY,
            previous: NOBODY,
            cseq,
            nc: 0,
            held_until_secs: 0,
            phase: Phase::Absent,
            flags: Flags::default(),
            resent: 0,
            failures: 0,
            registrations: 0,
            nonce_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_one_cache_line() {
        assert_eq!(size_of::<Ua>(), 64);
        assert_eq!(align_of::<Ua>(), 64);
        // No byte of it is padding: three times, the hash, four numbers, and eight small ones.
        assert_eq!(3 * 8 + 16 + 4 * 4 + 8, 64);
    }
}
