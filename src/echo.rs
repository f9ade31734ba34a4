//! The echo: a handler that answers every datagram with its own first bytes. Run through the same loop and sockets as the
//! registrar and the proxy, it is the limit that their speed is measured against. It looks at nothing it is sent but, where it is
//! to be as talkative as a proxy, at the first word.

use crate::worker::Handler;
use shards::io::{Class, CoreId, Datagram, Input, Instant, Outbox, Outcome, UnixTime, Verdict};

/// Answers every datagram with its first bytes.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    reply_bytes_max: usize,
    trying_bytes_max: usize,
    moves_to: Option<CoreId>,
    answered: u64,
}

impl Echo {
    /// Answers with up to this many bytes, on the core that receives.
    #[must_use]
    pub const fn new(reply_bytes_max: usize) -> Echo {
        Echo { reply_bytes_max, trying_bytes_max: 0, moves_to: None, answered: 0 }
    }

    /// Answers an INVITE first with up to this many bytes, where a proxy would send a 100. With 0 it does not.
    #[must_use]
    pub const fn trying(self, trying_bytes_max: usize) -> Echo {
        Echo { trying_bytes_max, ..self }
    }

    /// Moves every datagram to `home`, which answers it: the cost of a move and nothing else.
    #[must_use]
    pub const fn answered_on(self, home: CoreId) -> Echo {
        Echo { moves_to: Some(home), ..self }
    }
}

impl Handler for Echo {
    /// How many answers were sent.
    type Metrics = u64;
    /// There is nothing to ask of it.
    type Errand = ();

    fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

    fn handle(
        &mut self,
        _now: Instant,
        _wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        let datagram = match (input, self.moves_to) {
            (Input::Datagram(_), Some(home)) => {
                return Outcome { class: Class::Move, verdict: Verdict::Hopped(home) };
            }
            (Input::Datagram(datagram), None) | (Input::Hop(datagram), _) => datagram,
            (Input::Letter(_), _) => return absorbed(Class::Letter),
            (Input::Unreachable(_), _) => return absorbed(Class::Unreachable),
            (Input::Addresses { .. }, _) => return absorbed(Class::Addresses),
        };
        let mut send = |bytes_max: usize| {
            let mut reply = out.reply();
            reply.put(&datagram.bytes[..datagram.bytes.len().min(bytes_max)]);
            reply.send(datagram.from, datagram.to)
        };
        if self.trying_bytes_max > 0 && datagram.bytes.starts_with(b"INVITE ") {
            self.answered += u64::from(send(self.trying_bytes_max));
        }
        let sent = send(self.reply_bytes_max);
        self.answered += u64::from(sent);
        let verdict = if sent { Verdict::Replied } else { Verdict::Absorbed };
        Outcome { class: Class::Options, verdict }
    }

    fn run(&mut self, _now: Instant, _wall: UnixTime, _errand: &mut (), _out: &mut Outbox) {}

    fn expire(&mut self, _now: Instant, _budget: u32, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn publish(&self, into: &mut u64) {
        *into = self.answered;
    }
}

/// Nothing is said to it.
fn absorbed(class: Class) -> Outcome {
    Outcome { class, verdict: Verdict::Absorbed }
}
