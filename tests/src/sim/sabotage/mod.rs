//! A shard that is broken on purpose, one rule at a time: the proof that the world would notice. Each breaks as quietly as it can,
//! so that no other rule gives it away first.

mod credentials;

use super::handler::Handler;
use super::ua::response::Response;
use credentials::Forger;
use shards::auth::Cause;
use shards::io::{
    Class, Datagram, Input, Instant, Outbox, Outcome, Peer, Reason, UnixTime, Verdict,
};
use shards::shard::{Command, Done, Errand, Gauges, Metrics, Settings, Shard};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Now and then all bindings are forgotten.
    ForgetsBindings,
    /// A retransmission gets other bytes.
    AnswersOtherwise,
    /// A query lists what has expired a while ago.
    OffersExpired,
    /// A retransmission is taken for a new request.
    ReplaysChange,
    /// A retransmission gets no answer from memory: it is judged anew.
    ForgetsAnswers,
    /// Responses go where the sender says, whoever that is.
    AnswersElsewhere,
    /// Whatever arrives is handled where it arrives.
    IgnoresHomes,
    /// Some inputs are not counted.
    LosesInputs,
    /// Timers never fire.
    NeverExpires,
    /// It has a hundredth of the memory for strings that it was given.
    SkimpsOnMemory,
    /// Some user agents get no answer.
    IgnoresSome,
    /// An older request is taken for a newer one.
    IgnoresOrder,
    /// Refusals are padded.
    Amplifies,
    /// Of several contacts the first is bound.
    BindsTheFirst,
    /// A shorter lifetime than was granted.
    GrantsLess,
    /// It panics over a rare message.
    Panics,
    /// It forgets which counts of which nonces were used.
    ForgetsUses,
    /// Any nonce is as good as its own.
    AcceptsAnyNonce,
    /// Any password is right.
    AcceptsAnyPassword,
    /// Whoever has a password may register anybody.
    ActsForAnybody,
    /// A nonce is good once.
    TakesNoncesOnce,
    /// Who is not there is told so.
    TellsStrangers,
    /// A challenge is kept and sent again.
    KeepsChallenges,
    /// New subscribers are taken, and not looked at.
    KeepsOldSubscribers,
    /// What an operator adds is not there.
    AddsNothing,
    /// What an operator looks up is not told.
    TellsNothing,
}

/// A shard, and what is broken about it.
#[derive(Debug)]
pub struct Saboteur {
    shard: Shard,
    sabotage: Sabotage,
    /// What the shard wants sent, before it is broken.
    inner: Outbox,
    inputs: u64,
    /// Requests of unknown users so far.
    strangers: u64,
    forger: Forger,
    /// By request: when it was challenged first, and how.
    challenges: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By Call-ID: a contact that was listed, and until when it was bound.
    listed: BTreeMap<Vec<u8>, (Vec<u8>, Instant)>,
}

impl Saboteur {
    /// A shard that is broken in one way.
    #[must_use]
    pub fn new(mut settings: Settings, sabotage: Sabotage) -> Self {
        if sabotage == Sabotage::SkimpsOnMemory {
            settings.limits.arena_bytes /= 100;
        }
        Saboteur {
            forger: Forger::new(sabotage),
            challenges: BTreeMap::new(),
            listed: BTreeMap::new(),
            shard: Shard::new(settings),
            sabotage,
            inner: Outbox::new(1, 0),
            inputs: 0,
            strangers: 0,
        }
    }

    /// What the shard is told, in place of an input.
    fn told(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !bytes.starts_with(b"REGISTER") {
            return None;
        }
        if let Some(forged) = self.forger.forged(bytes) {
            return Some(forged);
        }
        let branch = || {
            replaced(bytes, b"branch=z9hG4bK", format!("branch=z9hG4bK{}", self.inputs).as_bytes())
        };
        if self.sabotage == Sabotage::ReplaysChange {
            // In another transaction, and newer than itself.
            newer(&branch()?, self.inputs)
        } else if self.sabotage == Sabotage::ForgetsAnswers {
            branch()
        } else if self.sabotage == Sabotage::IgnoresOrder {
            newer(bytes, self.inputs)
        } else if self.sabotage == Sabotage::BindsTheFirst {
            let first = find(bytes, b"\r\nContact: ")?;
            let second = first + 2 + find(&bytes[first + 2..], b"\r\nContact: ")?;
            let end = second + 2 + find(&bytes[second + 2..], b"\r\n")?;
            Some([&bytes[..second], &bytes[end..]].concat())
        } else if self.sabotage == Sabotage::GrantsLess {
            replaced(bytes, b"expires=100", b"expires=99")
        } else {
            None
        }
    }

    /// What is sent, in place of what the shard wants sent.
    fn sent(
        &mut self,
        now: Instant,
        heard: &[u8],
        send: (Peer, Vec<u8>),
        outcome: Outcome,
    ) -> (Peer, Vec<u8>) {
        let (mut to, mut bytes) = send;
        if self.sabotage == Sabotage::AnswersOtherwise && outcome.class == Class::Duplicate {
            if let Some(at) = find(&bytes, b"\r\nDate: ") {
                bytes[at + 25] ^= 1;
            }
        } else if self.sabotage == Sabotage::AnswersElsewhere && self.inputs.is_multiple_of(32) {
            to.addr.set_ip([203, 0, 113, 200].into());
        } else if self.sabotage == Sabotage::Amplifies
            && matches!(outcome.verdict, Verdict::Refused(_))
        {
            let at = find(&bytes, b"\r\nContent-Length").unwrap_or(0) + 2;
            drop(bytes.splice(at..at, b"X-Apology: we are sorry\r\n".repeat(40)));
        } else if self.sabotage == Sabotage::IgnoresOrder
            && let (Some(theirs), Some(ours)) = (cseq(heard), cseq(&bytes))
        {
            // The answer tells nothing of what was changed.
            drop(bytes.splice(ours, heard[theirs].iter().copied()));
        } else if self.sabotage == Sabotage::TellsStrangers && self.is_stranger() {
            if let Some(told) = replaced(&bytes, b"Unauthorized", b"Unknown") {
                bytes = told;
            }
        } else if self.sabotage == Sabotage::KeepsChallenges
            && outcome.class == Class::RegisterChallenged
        {
            bytes
                .clone_from(self.challenges.entry(heard.to_vec()).or_insert_with(|| bytes.clone()));
        } else if self.sabotage == Sabotage::OffersExpired {
            self.offer(now, &mut bytes, outcome.class);
        }
        (to, bytes)
    }

    /// Whether the last request was that of an unknown user.
    fn is_stranger(&mut self) -> bool {
        let count = self.shard.metrics().challenged[Cause::UnknownUser.index()];
        std::mem::replace(&mut self.strangers, count) < count
    }

    /// Remembers what a 200 lists; lists it again when it has expired.
    fn offer(&mut self, now: Instant, bytes: &mut Vec<u8>, class: Class) {
        let Some(response) = Response::read(bytes) else { return };
        let first =
            response.contacts.first().and_then(|line| Some((line, Response::listed(line)?.1)));
        if let Some((line, secs)) = first {
            self.listed.insert(response.call_id, (line.clone(), now.plus_secs(secs)));
        } else if class == Class::RegisterRemove {
            self.listed.remove(&response.call_id);
        } else if class == Class::RegisterQuery
            && let Some((line, until)) = self.listed.get(&response.call_id)
            && *until <= now
            && let Some(at) = find(bytes, b"\r\nSupported: ")
        {
            drop(bytes.splice(at + 2..at + 2, [b"Contact: ", &line[..], b"\r\n"].concat()));
        }
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
        let (datagram, moved) = match input {
            Input::Datagram(datagram) => (datagram, self.sabotage == Sabotage::IgnoresHomes),
            Input::Hop(datagram) => (datagram, true),
            Input::Letter(_) | Input::Unreachable(_) | Input::Addresses { .. } => {
                return self.shard.handle(now, wall, input, out);
            }
        };
        if self.sabotage == Sabotage::LosesInputs && !datagram.bytes.starts_with(b"REGISTER") {
            return Outcome { class: Class::Junk, verdict: Verdict::Dropped(Reason::NotSip) };
        }
        if self.sabotage == Sabotage::IgnoresSome && find(datagram.bytes, b"user3").is_some() {
            let junk = Datagram { bytes: b"junk", ..datagram };
            return self.shard.handle(now, wall, Input::Datagram(junk), out);
        }
        if self.sabotage == Sabotage::Panics && find(datagram.bytes, b"Contact: *").is_some() {
            // As a panic does, but quietly.
            std::panic::resume_unwind(Box::new("it can't stand stars"));
        }
        let heard = datagram.bytes;
        let told = self.told(heard);
        let datagram = Datagram { bytes: told.as_deref().unwrap_or(datagram.bytes), ..datagram };
        let input = if moved { Input::Hop(datagram) } else { Input::Datagram(datagram) };
        self.inner.clear();
        let outcome = self.shard.handle(now, wall, input, &mut self.inner);
        let sends: Vec<_> = self.inner.sends().to_vec();
        for send in &sends {
            self.forger.see(heard, outcome, self.inner.bytes(send));
        }
        for send in sends {
            let wanted = (send.to, self.inner.bytes(&send).to_vec());
            let (to, bytes) = self.sent(now, heard, wanted, outcome);
            let mut reply = out.reply();
            reply.put(&bytes);
            let _ = reply.send(to, send.from);
        }
        if self.sabotage == Sabotage::ForgetsBindings && self.inputs.is_multiple_of(64) {
            self.inner.clear();
            self.shard.expire(now.plus_secs(1 << 30), u32::MAX, &mut self.inner);
        }
        outcome
    }

    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox) {
        if self.sabotage != Sabotage::NeverExpires {
            self.shard.expire(now, budget, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.shard.deadline().filter(|_| self.sabotage != Sabotage::NeverExpires)
    }

    /// What it changes is not what was read ahead.
    fn foresee(&mut self, _: &[Datagram<'_>]) {}

    fn run(&mut self, now: Instant, errand: &mut Errand) {
        match (self.sabotage, &errand.command) {
            (Sabotage::KeepsOldSubscribers, Command::Subscribers(_)) => {
                errand.result = Ok(Done::Replaced);
            }
            (Sabotage::AddsNothing, Command::Add { .. }) => errand.result = Ok(Done::Added(true)),
            (Sabotage::TellsNothing, Command::LookUp(_)) => {
                Handler::run(&mut self.shard, now, errand);
                errand.listing.begin(now, 1);
            }
            _ => Handler::run(&mut self.shard, now, errand),
        }
    }

    fn metrics(&self) -> &Metrics {
        self.shard.metrics()
    }

    fn gauges(&self) -> Gauges {
        self.shard.gauges()
    }

    fn check(&self) {
        self.shard.check();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let at = find(bytes, what)?;
    Some([&bytes[..at], by, &bytes[at + what.len()..]].concat())
}

/// Where the number of the `CSeq` stands.
fn cseq(bytes: &[u8]) -> Option<Range<usize>> {
    let at = find(bytes, b"\r\nCSeq: ")? + 8;
    Some(at..at + find(&bytes[at..], b" ")?)
}

/// A REGISTER whose `CSeq` is higher than that of any before.
fn newer(bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    let Range { start, end } = cseq(bytes)?;
    let number = 1_000_000_000 + number;
    Some([&bytes[..start], number.to_string().as_bytes(), &bytes[end..]].concat())
}
