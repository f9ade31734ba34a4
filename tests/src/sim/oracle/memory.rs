//! Which REGISTERs were answered within Timer J, and how: what a retransmission has to get again. It knows no table of the server's.

use super::Step;
use crate::sim::reference::{Heard, Transaction};
use shards::io::{Class, Instant, LocalAddr};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// RFC 3261 17.2.2: Timer J over UDP.
const TIMER_J: Duration = Duration::from_secs(32);

/// A transaction: what it is about, whose it is, and by what it is told from others.
type Key = (Option<Vec<u8>>, IpAddr, Transaction);

/// Answered requests.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: BTreeMap<Key, Answer>,
    /// In the order in which they were answered, to forget them.
    order: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    to: SocketAddr,
    from: LocalAddr,
    bytes: Vec<u8>,
    /// What the core had evicted by then.
    evicted: u64,
}

/// What is known of a request that is heard.
#[derive(Clone, Debug)]
pub(super) enum Remembered {
    /// It is new, or may have been forgotten.
    Nothing,
    /// It was answered, and was answered the same again.
    Repeated,
    /// It was answered, and not the same again.
    Otherwise(String),
}

impl Memory {
    pub(super) fn clear(&mut self) {
        self.answers.clear();
        self.order.clear();
    }

    /// Compares what came of a request with what it got before; `evicted` is how many answers the core has forgotten by now.
    pub(super) fn recall(
        &self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: Option<&[u8]>,
        evicted: u64,
    ) -> Remembered {
        let Some(answer) = self.answers.get(&key(heard, aor)) else { return Remembered::Nothing };
        if step.now >= answer.at.plus(TIMER_J) {
            return Remembered::Nothing;
        }
        let sent = step.sends.first().copied();
        if step.outcome.class == Class::Duplicate
            && sent == Some((answer.to, answer.from, &answer.bytes[..]))
        {
            return Remembered::Repeated;
        }
        if evicted > answer.evicted {
            // This one may have been among them; then it is judged as a new one is.
            return Remembered::Nothing;
        }
        let age = step.now.since(answer.at);
        let sent = sent.map(|(to, _, bytes)| format!("{} to {to}", bytes.escape_ascii()));
        let first = format!("{} to {}", answer.bytes.escape_ascii(), answer.to);
        Remembered::Otherwise(format!(
            "{:?} with {sent:?} after {age:?}, and first {first}",
            step.outcome
        ))
    }

    /// Remembers a 200.
    pub(super) fn remember(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: Option<&[u8]>,
        evicted: u64,
    ) {
        let Some(&(to, from, bytes)) = step.sends.first() else { return };
        while let Some((at, key)) = self.order.front()
            && step.now >= at.plus(TIMER_J)
        {
            if self.answers.get(key).is_some_and(|answer| answer.at == *at) {
                self.answers.remove(key);
            }
            self.order.pop_front();
        }
        let key = key(heard, aor);
        self.order.push_back((step.now, key.clone()));
        self.answers.insert(key, Answer { at: step.now, to, from, bytes: bytes.to_vec(), evicted });
    }
}

fn key(heard: &Heard<'_>, aor: Option<&[u8]>) -> Key {
    (aor.map(<[u8]>::to_vec), heard.from.ip(), Transaction::of(heard))
}
