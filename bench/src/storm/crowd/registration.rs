//! How a user agent registers: its attempts, their two transactions (RFC 3261 17.1.2) and what follows from their ends. It sends through
//! the desk, and waits on the wheel.

use super::habits::Failure;
use super::message::Place;
use super::ua::{Flags, Phase};
use super::{Arrived, Crowd, Sink, Taken};
use crate::response::{Response, granted_secs};
use crate::storm::record::Class;
use crate::template::{ADDRESS_BYTES, PORT_DIGITS};

/// RFC 3261 17.1.2.1 in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    pub(super) t1_ns: u64,
    pub(super) t2_ns: u64,
}

impl Timers {
    /// Timer F.
    pub(super) fn patience_ns(self) -> u64 {
        64 * self.t1_ns
    }

    /// Timer E after so many retransmissions.
    pub(super) fn interval_ns(self, resent: u8, proceeding: bool) -> u64 {
        if proceeding {
            return self.t2_ns;
        }
        self.t1_ns.saturating_mul(1 << resent.min(32)).min(self.t2_ns)
    }
}

impl Crowd {
    /// What a user agent waited for is there.
    pub(super) fn fire(&mut self, number: u32, sink: &mut impl Sink) {
        let ua = &self.uas[number as usize];
        let due_ns = ua.due_ns;
        match ua.phase {
            Phase::Bare | Phase::Knowing | Phase::Second => {
                if due_ns >= ua.began_ns + self.timers.patience_ns() {
                    self.attempts(number).timed_out += 1;
                    self.fail(number, Failure::Timeout, due_ns);
                } else {
                    self.resend(number, due_ns, sink);
                }
            }
            Phase::Registered | Phase::Waiting => self.begin(number, due_ns, sink),
            Phase::Absent | Phase::Done => {}
        }
    }

    /// Begins an attempt that is due at `due_ns`.
    pub(super) fn begin(&mut self, number: u32, due_ns: u64, sink: &mut impl Sink) {
        let is_own = self.is_own(number);
        let ua = &mut self.uas[number as usize];
        if is_own {
            match ua.phase {
                Phase::Absent => self.counts.total_arrived += 1,
                Phase::Waiting => self.counts.total_waiting -= 1,
                Phase::Registered | Phase::Bare | Phase::Knowing | Phase::Second | Phase::Done => {}
            }
        }
        if is_own {
            self.ends.attempt(self.habits.client(number));
        }
        let is_first = ua.failures == 0;
        ua.flags.clear(Flags::OBEYED_MINIMUM | Flags::AT_FIRST);
        if is_first {
            ua.first_ns = due_ns;
            ua.flags.set(Flags::AT_FIRST);
        }
        let attempts = self.attempts(number);
        attempts.begun += 1;
        attempts.first += u64::from(is_first);
        self.transact(number, due_ns, sink);
    }

    /// Begins a transaction of an attempt, with credentials where there is a nonce for them.
    fn transact(&mut self, number: u32, due_ns: u64, sink: &mut impl Sink) {
        let ua = &mut self.uas[number as usize];
        ua.phase = match ua.nonce_bytes {
            0 => Phase::Bare,
            _ => Phase::Knowing,
        };
        self.send_first(number, due_ns, sink);
    }

    /// Sends the REGISTER of a new transaction, which was due at `due_ns`.
    fn send_first(&mut self, number: u32, due_ns: u64, sink: &mut impl Sink) {
        let ua = &mut self.uas[number as usize];
        ua.cseq += 1;
        ua.began_ns = due_ns;
        ua.resent = 0;
        ua.flags.clear(Flags::PROCEEDING);
        if ua.phase != Phase::Bare {
            ua.nc += 1;
        }
        self.wheel.wait(&mut self.uas, number, due_ns + self.timers.t1_ns);
        self.send(number, sink);
    }

    /// Timer E: sends it again. Later ones are counted from when this one was due, not from when it was sent.
    fn resend(&mut self, number: u32, due_ns: u64, sink: &mut impl Sink) {
        let ua = &mut self.uas[number as usize];
        ua.resent = ua.resent.saturating_add(1);
        let interval_ns = self.timers.interval_ns(ua.resent, ua.flags.has(Flags::PROCEEDING));
        let next_ns = (due_ns + interval_ns).min(ua.began_ns + self.timers.patience_ns());
        self.wheel.wait(&mut self.uas, number, next_ns);
        self.counts.retransmitted += 1;
        self.send(number, sink);
    }

    fn send(&mut self, number: u32, sink: &mut impl Sink) {
        let ua = &self.uas[number as usize];
        let credentials = (ua.phase != Phase::Bare).then_some(&self.nonces);
        let lengthened = ua.flags.has(Flags::LENGTHENED);
        self.desk.register(number, ua, credentials, lengthened, sink);
        self.counts.sent += 1;
        self.counts.sent_registers += 1;
        self.follow_with_hostile(sink);
    }

    /// Takes a response with the branch of a user agent's REGISTER.
    pub(super) fn take_registration(
        &mut self,
        now_ns: u64,
        at: Arrived,
        bytes: &[u8],
        response: &Response<'_>,
        (number, serial): (u32, u32),
        sink: &mut impl Sink,
    ) -> Taken {
        let place = self.desk.place(self.desk.who(number));
        let is_sound = (number as usize) < self.uas.len()
            && place == Place { port: at.port, address: at.to }
            && self.desk.is_target(at.from)
            && self.desk.is_of_register(number, serial, response)
            && response.cseq <= self.uas[number as usize].cseq;
        if !is_sound {
            self.counts.received_stray += 1;
            return Taken::Stray;
        }
        let ua = &mut self.uas[number as usize];
        let granted_secs = || {
            let mut text = [0; ADDRESS_BYTES + 1 + PORT_DIGITS];
            granted_secs(bytes, response, self.desk.contact(place, &mut text)).filter(|s| *s > 0)
        };
        if response.cseq < ua.cseq || !ua.phase.is_calling() {
            self.counts.received_late += 1;
            if response.status == 200
                && ua.flags.has(Flags::GAVE_UP)
                && let Some(secs) = granted_secs()
            {
                // RFC 3261 18.1.2: a user agent discards it, but the server holds the binding.
                ua.flags.clear(Flags::GAVE_UP);
                self.counts.registered_late += 1;
                self.hold(number, now_ns, secs, false);
            }
            return Taken::Late;
        }
        match response.status {
            ..200 => {
                ua.flags.set(Flags::PROCEEDING);
                self.counts.provisional += 1;
                Taken::Provisional
            }
            200 => match granted_secs() {
                Some(secs) => {
                    self.register(number, now_ns, secs);
                    Taken::Registered
                }
                None => self.refuse(number, now_ns, response),
            },
            401 if self.accepts_challenge(number, response) => {
                self.answer_challenge(number, now_ns, sink);
                Taken::Challenged
            }
            423 if self.accepts_minimum(number, response) => {
                self.transact(number, now_ns, sink);
                Taken::Lengthened
            }
            _ => self.refuse(number, now_ns, response),
        }
    }

    /// Whether a 401 asks for credentials that have not been refused yet; then its nonce is kept.
    fn accepts_challenge(&mut self, number: u32, response: &Response<'_>) -> bool {
        let Some(challenge) = response.challenge.filter(|_| self.digest) else { return false };
        let ua = &mut self.uas[number as usize];
        let is_new = match ua.phase {
            Phase::Bare => true,
            // RFC 7616 3.3 asks for stale=true. Not all servers say it of a nonce that they never made, and phones go by the nonce.
            Phase::Knowing => {
                challenge.stale
                    || challenge.nonce != self.nonces.of(number as usize, ua.nonce_bytes)
            }
            // Credentials for the nonce that it has just been given were refused: it does not try them for ever.
            Phase::Second | Phase::Absent | Phase::Registered | Phase::Waiting | Phase::Done => {
                false
            }
        };
        if !is_new || challenge.realm != self.desk.realm() {
            return false;
        }
        let Some(length) = self.nonces.keep(number as usize, challenge.nonce) else { return false };
        (ua.nonce_bytes, ua.nc) = (length, 0);
        true
    }

    /// RFC 3261 22.2: the same request with credentials, a CSeq that is one higher and a branch of its own.
    fn answer_challenge(&mut self, number: u32, now_ns: u64, sink: &mut impl Sink) {
        let ua = &mut self.uas[number as usize];
        self.tally.record(Class::Reg401, now_ns.saturating_sub(ua.began_ns));
        ua.phase = Phase::Second;
        self.counts.challenged += 1;
        self.send_first(number, now_ns, sink);
    }

    /// RFC 3261 10.2.8: whether a 423 asks for more than was asked, for the first time in this attempt.
    fn accepts_minimum(&mut self, number: u32, response: &Response<'_>) -> bool {
        let ua = &mut self.uas[number as usize];
        let asked_secs = self.desk.expires_secs(ua.flags.has(Flags::LENGTHENED));
        let Some(secs) = response.min_expires_secs.filter(|secs| *secs > asked_secs) else {
            return false;
        };
        if ua.flags.has(Flags::OBEYED_MINIMUM) {
            return false;
        }
        ua.flags.set(Flags::OBEYED_MINIMUM | Flags::LENGTHENED);
        self.desk.lengthen(secs);
        self.counts.lengthened += 1;
        true
    }

    /// A 200 that granted so many seconds.
    fn register(&mut self, number: u32, now_ns: u64, granted_secs: u32) {
        let is_own = self.is_own(number);
        let ua = &mut self.uas[number as usize];
        let is_refresh = self.bindings.is_held(ua);
        let class = if is_refresh { Class::RegRefresh } else { Class::Reg200New };
        self.tally.record(class, now_ns.saturating_sub(ua.began_ns));
        if is_own {
            self.tally.record(Class::Registration, now_ns.saturating_sub(ua.first_ns));
            if ua.registrations == 0 {
                let client = self.habits.client(number);
                let is_fair = self.habits.honours_retry_after(number);
                self.ends.add(client, is_fair, ua.first_ns, now_ns);
                self.counts.total_registered_once = self.ends.registered();
            }
        }
        let at_first = ua.flags.has(Flags::AT_FIRST);
        ua.flags.clear(Flags::GAVE_UP);
        ua.failures = 0;
        ua.registrations = ua.registrations.saturating_add(1);
        let is_done = is_own && self.cycles.is_some_and(|cycles| ua.registrations >= cycles);
        ua.phase = if is_done { Phase::Done } else { Phase::Registered };
        let due_ns = match is_done {
            true => super::wheel::NEVER_NS,
            false => now_ns + self.habits.refresh_ns(number, granted_secs, ua.cseq),
        };
        let attempts = self.attempts(number);
        attempts.registered += 1;
        attempts.registered_at_first += u64::from(at_first);
        self.hold(number, now_ns, granted_secs, true);
        self.wheel.wait(&mut self.uas, number, due_ns);
    }

    /// The server holds a binding for so many seconds from now on.
    fn hold(&mut self, number: u32, now_ns: u64, secs: u32, knows: bool) {
        let until_ns = now_ns + u64::from(secs) * 1_000_000_000;
        let is_own = self.is_own(number);
        let ua = &mut self.uas[number as usize];
        let bindings = if is_own { &mut self.bindings } else { &mut self.bindings_of_others };
        bindings.hold(ua, until_ns, knows);
        self.counts.total_registered = self.bindings.known();
    }

    /// A final response that ends the attempt without a binding.
    fn refuse(&mut self, number: u32, now_ns: u64, response: &Response<'_>) -> Taken {
        let ua = &mut self.uas[number as usize];
        self.tally.record(Class::Refusal, now_ns.saturating_sub(ua.began_ns));
        if matches!(response.status, 401 | 403) {
            ua.nonce_bytes = 0;
        }
        self.attempts(number).refused.add(response.status);
        let retry_after_secs = response.retry_after_secs;
        self.fail(number, Failure::Refusal { retry_after_secs }, now_ns);
        Taken::Refused
    }

    /// The attempt is over; the next comes when the user agent's habits say.
    fn fail(&mut self, number: u32, failure: Failure, at_ns: u64) {
        let is_own = self.is_own(number);
        let ua = &mut self.uas[number as usize];
        ua.failures = ua.failures.saturating_add(1);
        ua.phase = Phase::Waiting;
        ua.flags.set(Flags::GAVE_UP);
        let wait_ns = self.habits.wait_ns(number, failure, ua.failures, ua.cseq);
        if is_own {
            self.counts.total_waiting += 1;
        }
        self.wheel.wait(&mut self.uas, number, at_ns.saturating_add(wait_ns));
    }
}
