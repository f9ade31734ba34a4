//! The requests in flight: owns which of them wait, were answered or are given up; it never reads
//! a clock or a datagram.
//!
//! Requests are numbered without gaps and time out in the order in which they were due, so a ring
//! of the latest numbers is all the memory there is, and each operation takes constant time.

use crate::population::UserAgent;

/// A request as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When it should have been sent, from the start of the run.
    pub(crate) due_ns: u64,
    pub(crate) ua: UserAgent,
    pub(crate) cseq: u32,
    pub(crate) leg: Leg,
}

/// Which of the messages that a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// The first, without credentials.
    Bare,
    /// The first, with credentials for a nonce that the user agent had.
    Knowing,
    /// With credentials, after a challenge to the first.
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Answered,
    Lost,
}

/// What a response with a certain number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its request waits for it.
    Waiting(Sent),
    /// Its request has been answered before.
    Answered,
    /// Its request was given up.
    Lost,
    /// There was no such request, or so long ago that it is forgotten.
    Unknown,
}

/// The ring.
pub(crate) struct Flight {
    ring: Vec<(Sent, State)>,
    /// Number of the next request.
    next: u64,
    /// Every request below this number is settled.
    oldest: u64,
    waiting: u32,
}

impl Flight {
    /// A ring of at least `room` requests, from the oldest that waits to the latest.
    pub(crate) fn new(room: usize) -> Flight {
        let empty = Sent { due_ns: 0, ua: UserAgent(0), cseq: 0, leg: Leg::Bare };
        Flight {
            ring: vec![(empty, State::Answered); room.next_power_of_two()],
            next: 0,
            oldest: 0,
            waiting: 0,
        }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many more requests can be sent before an old one has to be settled.
    pub(crate) fn room(&self) -> u64 {
        self.ring.len() as u64 - (self.next - self.oldest)
    }

    /// The number that the next request gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Notes that the next request is under way. There must be room.
    pub(crate) fn depart(&mut self, sent: Sent) {
        assert!(self.room() > 0, "the ring has room");
        let at = self.index(self.next);
        self.ring[at] = (sent, State::Waiting);
        self.next += 1;
        self.waiting += 1;
    }

    pub(crate) fn find(&self, number: u64) -> Found {
        if number >= self.next || self.next - number > self.ring.len() as u64 {
            return Found::Unknown;
        }
        let (sent, state) = self.ring[self.index(number)];
        match state {
            State::Waiting => Found::Waiting(sent),
            State::Answered => Found::Answered,
            State::Lost => Found::Lost,
        }
    }

    /// Notes that a request that [`Flight::find`] found waiting was sent again with credentials.
    pub(crate) fn send_again(&mut self, number: u64, sent: Sent) {
        let at = self.index(number);
        assert_eq!(self.ring[at].1, State::Waiting, "not yet settled");
        self.ring[at].0 = sent;
    }

    /// Settles a request that [`Flight::find`] found waiting.
    pub(crate) fn settle(&mut self, number: u64) {
        let at = self.index(number);
        assert_eq!(self.ring[at].1, State::Waiting, "settled once");
        self.ring[at].1 = State::Answered;
        self.waiting -= 1;
    }

    /// Gives up what was due before `due_before_ns` and still waits; answers how many.
    pub(crate) fn give_up(&mut self, due_before_ns: u64) -> u64 {
        let mut lost = 0;
        while self.oldest < self.next {
            let at = self.index(self.oldest);
            let (sent, state) = &mut self.ring[at];
            if *state == State::Waiting {
                if sent.due_ns >= due_before_ns {
                    break;
                }
                *state = State::Lost;
                self.waiting -= 1;
                lost += 1;
            }
            self.oldest += 1;
        }
        lost
    }

    #[allow(clippy::cast_possible_truncation, reason = "the mask keeps it below the length")]
    fn index(&self, number: u64) -> usize {
        // The length is a power of two.
        (number & (self.ring.len() as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(due_ns: u64) -> Sent {
        Sent { due_ns, ua: UserAgent(1), cseq: 2, leg: Leg::Bare }
    }

    #[test]
    fn a_second_leg_waits_in_the_place_of_the_first() {
        let mut flight = Flight::new(4);
        flight.depart(at(10));
        flight.depart(at(20));
        let again = Sent { cseq: 3, leg: Leg::Second, ..at(10) };
        flight.send_again(0, again);
        assert_eq!(flight.find(0), Found::Waiting(again));
        assert_eq!(flight.waiting(), 2);
        assert_eq!(flight.give_up(15), 1, "due when the first leg was");
    }

    #[test]
    fn each_request_ends_once() {
        let mut flight = Flight::new(4);
        for due in [10, 20, 30, 40] {
            flight.depart(at(due));
        }
        assert_eq!(flight.room(), 0);
        assert_eq!(flight.find(1), Found::Waiting(at(20)));
        flight.settle(1);
        assert_eq!(flight.find(1), Found::Answered);
        assert_eq!(flight.find(4), Found::Unknown);

        assert_eq!(flight.give_up(10), 0, "due at 10 is not before 10");
        assert_eq!(flight.give_up(35), 2, "the first and the third");
        assert_eq!(flight.find(0), Found::Lost);
        assert_eq!(flight.find(2), Found::Lost);
        assert_eq!(flight.waiting(), 1);
        assert_eq!(flight.room(), 3);
    }

    #[test]
    fn old_numbers_are_forgotten() {
        let mut flight = Flight::new(2);
        for number in 0..5 {
            flight.depart(at(number));
            flight.settle(number);
            flight.give_up(0);
        }
        assert_eq!(flight.find(2), Found::Unknown);
        assert_eq!(flight.find(3), Found::Answered);
        assert_eq!(flight.find(4), Found::Answered);
        assert_eq!((flight.waiting(), flight.room()), (0, 2));
    }
}
