//! Hostile senders: owns how many REGISTERs they owe. They remember nothing: whom each claims to be follows from its number, and so does what it answers
//! to a challenge.

use super::draw;
use super::message::Place;
use super::{Arrived, Crowd, Sink, Taken};
use crate::population::UserAgent;
use crate::response::Response;
use crate::storm::scenario;

/// What is owed for one REGISTER, so that shares are kept without rounding.
const WHOLE: u64 = 1 << 32;

/// They.
#[derive(Clone, Debug)]
pub(super) struct Hostile {
    /// What is owed for each REGISTER of a user agent, in parts of [`WHOLE`].
    each: u64,
    owed: u64,
    guessing_share: f64,
    /// The next number.
    next: u64,
    seed: u64,
}

impl Hostile {
    pub(super) fn new(hostile: &scenario::Hostile, seed: u64) -> Hostile {
        let share = hostile.share.clamp(0.0, 0.999);
        Hostile {
            each: (share / (1.0 - share) * WHOLE as f64) as u64,
            owed: 0,
            guessing_share: hostile.guessing_share,
            next: 0,
            seed,
        }
    }

    fn bits(&self, number: u64, salt: u64) -> u64 {
        draw::bits(self.seed, number, ((draw::For::Hostile as u64) << 32) | salt)
    }

    fn guesses(&self, number: u64) -> bool {
        draw::unit(self.bits(number, 0)) < self.guessing_share
    }
}

impl Crowd {
    /// A user agent sent a REGISTER: hostile senders send as many as they owe for it.
    pub(super) fn follow_with_hostile(&mut self, sink: &mut impl Sink) {
        let Some(hostile) = &mut self.hostile else { return };
        hostile.owed += hostile.each;
        while let Some(hostile) = self.hostile.as_mut().filter(|hostile| hostile.owed >= WHOLE) {
            let number = hostile.next;
            hostile.next += 1;
            self.attack(number, None, sink);
        }
    }

    fn attack(&mut self, number: u64, nonce: Option<&[u8]>, sink: &mut impl Sink) {
        let Some(hostile) = &mut self.hostile else { return };
        hostile.owed = hostile.owed.saturating_sub(WHOLE);
        let bits = hostile.bits(number, 1);
        let victim = if hostile.guesses(number) {
            UserAgent((bits % self.uas.len().max(1) as u64) as u32)
        } else {
            self.desk.nobody(bits)
        };
        self.desk.hostile(number, victim, nonce, sink);
        self.counts.sent += 1;
        self.counts.sent_hostile += 1;
    }

    /// Takes a response with the branch of a hostile sender's REGISTER.
    pub(super) fn take_hostile(
        &mut self,
        at: Arrived,
        response: &Response<'_>,
        (number, is_second): (u64, bool),
        sink: &mut impl Sink,
    ) -> Taken {
        let Some(hostile) = &self.hostile else { return self.stray() };
        let guesses = hostile.guesses(number);
        let is_sound = number < hostile.next
            && self.desk.hostile_place(number) == Place { port: at.port, address: at.to }
            && self.desk.is_target(at.from)
            && self.desk.is_of_hostile(number, is_second, response);
        if !is_sound {
            return self.stray();
        }
        self.counts.received_hostile += 1;
        if guesses
            && !is_second
            && response.status == 401
            && let Some(challenge) = response.challenge
        {
            // What it answers it owes no more.
            self.attack(number, Some(challenge.nonce), sink);
        }
        Taken::Hostile
    }
}
