//! Keep-alives: owns whose turn it is. All user agents take turns at one rate, so that each has its own every so many seconds, and nobody needs a
//! timer for it: what is to be sent again trails behind the turns by a fixed time.

use super::draw::{self, For};
use super::message::Place;
use super::registration::Timers;
use super::ua::{Flags, Phase};
use super::{Arrived, Crowd, Sink, Taken};
use crate::response::Response;
use crate::storm::record::Class;
use crate::storm::scenario::KeepAlive;

/// The turns.
#[derive(Clone, Debug)]
pub(super) struct KeepAlives {
    /// How many take turns.
    all: u64,
    /// Nanoseconds between two turns of one.
    every_ns: u64,
    options_share: f64,
    seed: u64,
    /// For each time that an OPTIONS is said: how long after its turn, and which turn is next.
    said: Vec<(u64, u64)>,
}

impl KeepAlives {
    /// Those of `all` user agents.
    pub(super) fn new(keep_alive: &KeepAlive, timers: Timers, all: u32, seed: u64) -> KeepAlives {
        let every_ns = (keep_alive.every_secs * 1e9).max(1e6) as u64;
        // RFC 3261 17.1.2: Timers E and F, or until the next turn.
        let patience_ns = timers.patience_ns().min(every_ns);
        let (mut after_ns, mut resent) = (0, 0);
        let mut said = Vec::new();
        while after_ns < patience_ns {
            said.push((after_ns, 0));
            after_ns += timers.interval_ns(resent, false);
            resent += 1;
        }
        let options_share = keep_alive.options_share;
        KeepAlives { all: u64::from(all.max(1)), every_ns, options_share, seed, said }
    }

    fn due_ns(&self, turn: u64) -> u64 {
        let ns = u128::from(turn) * u128::from(self.every_ns) / u128::from(self.all);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        let due = self.said.iter().map(|(after_ns, turn)| self.due_ns(*turn) + after_ns);
        due.min().unwrap_or(u64::MAX)
    }

    fn uses_options(&self, number: u32) -> bool {
        draw::share(self.seed, number, For::KeepAlive, 0) < self.options_share
    }

    /// Whose turn it is, and the how manieth of that user agent.
    fn whose(&self, turn: u64) -> (u32, u32) {
        ((turn % self.all) as u32, (turn / self.all) as u32)
    }
}

impl Crowd {
    /// Takes the next turn; the keep-alives say that it is due.
    pub(super) fn keep_alive(&mut self, sink: &mut impl Sink) {
        let Some(keep_alives) = &mut self.keep_alives else { return };
        let due = keep_alives.said.iter().enumerate();
        let next = due.min_by_key(|(_, (after_ns, turn))| keep_alives.due_ns(*turn) + after_ns);
        let Some((place, &(_, turn))) = next else { return };
        keep_alives.said[place].1 += 1;
        let (number, round) = keep_alives.whose(turn);
        let ua = &mut self.uas[number as usize];
        let is_first = place == 0;
        if ua.phase == Phase::Absent || !(is_first || ua.flags.has(Flags::AWAITS_OPTIONS)) {
            return;
        }
        if keep_alives.uses_options(number) {
            if is_first {
                self.counts.keep_alives_lost += u64::from(ua.flags.has(Flags::AWAITS_OPTIONS));
                ua.flags.set(Flags::AWAITS_OPTIONS);
            } else {
                self.counts.retransmitted += 1;
            }
            self.desk.options(number, turn, round, sink);
        } else {
            self.desk.crlf(number, sink);
        }
        self.counts.sent += 1;
        self.counts.sent_keep_alives += 1;
    }

    /// Takes a response with the branch of a turn's OPTIONS.
    pub(super) fn take_options(
        &mut self,
        now_ns: u64,
        at: Arrived,
        response: &Response<'_>,
        turn: u64,
    ) -> Taken {
        let Some(keep_alives) = &self.keep_alives else { return self.stray() };
        let (number, round) = keep_alives.whose(turn);
        let next_turn = keep_alives.said[0].1;
        let place = self.desk.place(self.desk.who(number));
        let is_sound = turn < next_turn
            && place == Place { port: at.port, address: at.to }
            && self.desk.is_target(at.from)
            && self.desk.is_of_options(number, round, response);
        if !is_sound {
            return self.stray();
        }
        let due_ns = keep_alives.due_ns(turn);
        let is_latest = turn + keep_alives.all >= next_turn;
        let ua = &mut self.uas[number as usize];
        self.counts.received_keep_alives += 1;
        if !is_latest || !ua.flags.has(Flags::AWAITS_OPTIONS) {
            self.counts.received_late += 1;
            return Taken::Late;
        }
        if response.status < 200 {
            self.counts.provisional += 1;
            return Taken::Provisional;
        }
        ua.flags.clear(Flags::AWAITS_OPTIONS);
        let class = if response.status == 200 { Class::Options } else { Class::Refusal };
        self.tally.record(class, now_ns.saturating_sub(due_ns));
        Taken::KeptAlive
    }
}
