//! A shard that is broken on purpose in what it does with calls, one rule at a time: the proof that the world would notice.

use crate::sim::handler::Handler;
use shards::io::{
    Class, Datagram, Input, Instant, LocalAddr, Outbox, Outcome, Peer, Reason, UnixTime, Verdict,
};
use shards::shard::{Errand, Gauges, Metrics, Settings, Shard};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// No ACK is heard.
    DropsAcks,
    /// No ACK leaves.
    AcknowledgesNothing,
    /// A final response is sent twice.
    AnswersTwice,
    /// A refused call is refused again, otherwise.
    RefusesOtherwise,
    /// No CANCEL leaves.
    ForgetsCancel,
    /// A CANCEL leaves with another branch than its INVITE had.
    CancelsAnother,
    /// Timers never fire.
    NeverExpires,
    /// A retransmission of a request other than INVITE gets other bytes.
    AnswersOtherwise,
    /// What is for one phone goes to another address.
    SendsElsewhere,
    /// What is for one phone goes to another phone that sent something before.
    SendsToStrangers,
    /// An answer is better than what was said.
    Flatters,
    /// A call is passed on that nobody has placed.
    Invents,
    /// Letters to other cores are never written.
    WritesNoLetters,
    /// The answers to some requests are kept to itself.
    KeepsAnswers,
    /// Answers go to whoever has sent something before.
    AnswersStrangers,
    /// A request is sent again when nobody waits for its answer any more.
    RepeatsForever,
    /// Some inputs are not counted.
    LosesInputs,
}

/// A shard, and what is broken about it.
#[derive(Debug)]
pub struct Saboteur {
    shard: Shard,
    sabotage: Sabotage,
    /// What the shard wants sent, before it is broken.
    inner: Outbox,
    inputs: u64,
    /// Who has sent something last, and before.
    others: [Option<Peer>; 2],
    /// A request that was sent, and when.
    kept: Option<(Instant, Peer, LocalAddr, Vec<u8>)>,
}

impl Saboteur {
    /// A shard that is broken in one way.
    #[must_use]
    pub fn new(settings: Settings, sabotage: Sabotage) -> Self {
        Saboteur {
            shard: Shard::new(settings),
            sabotage,
            inner: Outbox::new(1, 0),
            inputs: 0,
            others: [None; 2],
            kept: None,
        }
    }

    /// Puts what the shard wants sent into the outbox, as far as it is not broken.
    #[allow(clippy::wildcard_enum_match_arm, reason = "each breaks some of what is sent")]
    fn pass(&mut self, now: Instant, class: Option<Class>, out: &mut Outbox) {
        let sends: Vec<_> = self.inner.sends().to_vec();
        for send in sends {
            let mut bytes = self.inner.bytes(&send).to_vec();
            let (mut to, mut copies) = (send.to, 1);
            let is_invite = find(&bytes, b" INVITE\r\n").is_some();
            let is_final = [b"SIP/2.0 2", b"SIP/2.0 4", b"SIP/2.0 6"]
                .iter()
                .any(|start| bytes.starts_with(*start));
            let is_rare = self.inputs.is_multiple_of(7);
            match self.sabotage {
                Sabotage::AcknowledgesNothing if bytes.starts_with(b"ACK") => copies = 0,
                Sabotage::AnswersTwice if is_final && is_rare => copies = 2,
                // By Timer G, or because the INVITE has come again.
                Sabotage::RefusesOtherwise
                    if class.is_none_or(|class| class == Class::Duplicate)
                        && bytes.starts_with(b"SIP/2.0 4") =>
                {
                    bytes[9] = b'8';
                }
                Sabotage::AnswersOtherwise
                    if class == Some(Class::Duplicate) && is_final && !is_invite =>
                {
                    if let Some(reason) = bytes.get_mut(13) {
                        *reason ^= 0x20;
                    }
                }
                Sabotage::ForgetsCancel if bytes.starts_with(b"CANCEL") => copies = 0,
                Sabotage::CancelsAnother if bytes.starts_with(b"CANCEL") => {
                    if let Some(at) = find(&bytes, b"branch=z9hG4bK") {
                        bytes[at + 40] ^= 1;
                    }
                }
                Sabotage::SendsElsewhere if is_rare => to.addr.set_port(9),
                Sabotage::SendsToStrangers if is_rare && bytes.starts_with(b"INVITE") => {
                    to = self.others[1].unwrap_or(to);
                }
                Sabotage::Flatters if is_invite && bytes.starts_with(b"SIP/2.0 180") => {
                    bytes[9] = b'3';
                }
                Sabotage::Invents if is_rare && bytes.starts_with(b"INVITE") => {
                    if let Some(at) = find(&bytes, b"Call-ID: ") {
                        bytes[at + 10] ^= 1;
                    }
                }
                Sabotage::KeepsAnswers if is_final && find(&bytes, b" MESSAGE\r\n").is_some() => {
                    copies = 0;
                }
                Sabotage::AnswersStrangers if is_rare && is_final => {
                    to = self.others[1].unwrap_or(to);
                }
                Sabotage::RepeatsForever if bytes.starts_with(b"MESSAGE") => {
                    self.kept.get_or_insert((now, to, send.from, bytes.clone()));
                }
                #[allow(
                    clippy::wildcard_enum_match_arm,
                    reason = "the others break something else"
                )]
                _ => {}
            }
            for _ in 0..copies {
                let mut reply = out.reply();
                reply.put(&bytes);
                let _ = reply.send(to, send.from);
            }
        }
        if let Some((at, to, from, bytes)) = self.kept.take_if(|(at, ..)| at.plus_secs(60) <= now) {
            let mut reply = out.reply();
            reply.put(&bytes);
            let _ = reply.send(to, from);
            self.kept = Some((at.plus_secs(10), to, from, bytes));
        }
        for letter in self.inner.letters() {
            if self.sabotage != Sabotage::WritesNoLetters {
                let mut reply = out.reply();
                reply.put(self.inner.text(&letter.range));
                let _ = reply.post(letter.to);
            }
        }
        for question in self.inner.questions() {
            let mut reply = out.reply();
            reply.put(self.inner.text(&question.range));
            let _ = reply.ask(question.ticket);
        }
        self.inner.clear();
    }
}

impl Handler for Saboteur {
    fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        self.inputs += 1;
        let changed = match input {
            Input::Datagram(datagram) | Input::Hop(datagram) => {
                self.others = [Some(datagram.from), self.others[0]];
                let is_lost = self.sabotage == Sabotage::DropsAcks
                    && datagram.bytes.starts_with(b"ACK")
                    || self.sabotage == Sabotage::LosesInputs && self.inputs.is_multiple_of(64);
                let empty = Datagram { bytes: b"", ..datagram };
                is_lost.then_some(Input::Datagram(empty))
            }
            Input::Letter(_) | Input::Unreachable(_) | Input::Addresses { .. } => None,
        };
        if self.sabotage == Sabotage::LosesInputs && changed.is_some() {
            return Outcome { class: Class::Junk, verdict: Verdict::Dropped(Reason::NotSip) };
        }
        let outcome = self.shard.handle(now, wall, changed.unwrap_or(input), &mut self.inner);
        self.pass(now, Some(outcome.class), out);
        outcome
    }

    /// What it changes is not what was read ahead.
    fn foresee(&mut self, _: &[Datagram<'_>]) {}

    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox) {
        if self.sabotage != Sabotage::NeverExpires {
            self.shard.expire(now, budget, &mut self.inner);
            self.pass(now, None, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.shard.deadline().filter(|_| self.sabotage != Sabotage::NeverExpires)
    }

    fn metrics(&self) -> &Metrics {
        self.shard.metrics()
    }

    fn gauges(&self) -> Gauges {
        self.shard.gauges()
    }

    fn run(&mut self, now: Instant, errand: &mut Errand) {
        Handler::run(&mut self.shard, now, errand);
    }

    fn check(&self) {
        self.shard.check();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
