//! What happened in a world: every event goes into one hash, and the last of them are kept to be read by people. It never
//! influences anything.

use shards::io::{CoreId, Instant, Outcome, Verdict};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// One event.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody sent a datagram to the node.
    Sent {
        /// The source that the packet claims.
        from: SocketAddr,
        /// The payload.
        bytes: Rc<[u8]>,
    },
    /// The network, a socket, a ring or the way out lost a datagram.
    Lost {
        /// What lost it.
        by: &'static str,
        /// The payload.
        bytes: Rc<[u8]>,
    },
    /// A core thought about a datagram.
    Handled {
        /// The core.
        core: CoreId,
        /// Whether another core passed it on.
        moved: bool,
        /// The packet's source.
        from: SocketAddr,
        /// The payload.
        bytes: Rc<[u8]>,
        /// What became of it.
        outcome: Outcome,
    },
    /// The node sent a response.
    Answered {
        /// To whom.
        to: SocketAddr,
        /// The payload.
        bytes: Rc<[u8]>,
    },
    /// A response reached somebody.
    Received {
        /// Whom.
        at: SocketAddr,
        /// The payload.
        bytes: Rc<[u8]>,
    },
    /// A core let bindings expire.
    Expired {
        /// The core.
        core: CoreId,
        /// How many.
        count: u64,
    },
    /// A core ran an errand.
    Ran {
        /// The core.
        core: CoreId,
        /// What was asked, and what came of it.
        what: String,
    },
    /// Something else: a fault, a user agent's decision, a phase.
    Note(String),
}

/// The hash and the last events.
#[derive(Debug)]
pub struct Log {
    hash: u64,
    count: u64,
    last: VecDeque<(Instant, Event)>,
}

/// How many events are kept.
const KEPT: usize = 2000;

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Log { hash: 0xcbf2_9ce4_8422_2325, count: 0, last: VecDeque::with_capacity(KEPT) }
    }

    /// Writes an event down.
    pub fn push(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.mix(at.as_nanos());
        match &event {
            Event::Sent { from, bytes } => self.mix_message(1, *from, bytes),
            Event::Lost { by, bytes } => {
                self.mix(2 + ((by.len() as u64) << 8));
                self.mix_bytes(bytes);
            }
            Event::Handled { core, moved, from, bytes, outcome } => {
                self.mix(u64::from(core.0) << 8 | u64::from(*moved));
                self.mix_message(3, *from, bytes);
                let (kind, number) = match outcome.verdict {
                    Verdict::Replied => (1, 0),
                    Verdict::Hopped(core) => (2, u64::from(core.0)),
                    Verdict::Absorbed => (3, 0),
                    Verdict::Refused(status) => (4, u64::from(status)),
                    Verdict::Dropped(reason) => (5, reason.index() as u64),
                    Verdict::Forwarded => (6, 0),
                    Verdict::Held => (7, 0),
                };
                self.mix((outcome.class.index() as u64) << 32 | number << 8 | kind);
            }
            Event::Answered { to, bytes } => self.mix_message(4, *to, bytes),
            Event::Received { at, bytes } => self.mix_message(5, *at, bytes),
            Event::Expired { core, count } => {
                self.mix(6 + (u64::from(core.0) << 8));
                self.mix(*count);
            }
            Event::Ran { core, what } => {
                self.mix(8 + (u64::from(core.0) << 8));
                self.mix_bytes(what.as_bytes());
            }
            Event::Note(text) => {
                self.mix(7);
                self.mix_bytes(text.as_bytes());
            }
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((at, event));
    }

    /// A hash over all events, in their order and with all they hold.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last events, a line each.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let secs = |at: &Instant| Duration::from_nanos(at.as_nanos()).as_secs_f64();
        self.last.iter().map(|(at, event)| format!("{:>14.6} {event}", secs(at))).collect()
    }

    fn mix_message(&mut self, kind: u64, peer: SocketAddr, bytes: &[u8]) {
        self.mix(kind << 32 | u64::from(peer.port()));
        match peer {
            SocketAddr::V4(addr) => self.mix(u64::from(addr.ip().to_bits())),
            SocketAddr::V6(addr) => self.mix_bytes(&addr.ip().octets()),
        }
        self.mix_bytes(bytes);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Multiplies and folds: every bit of the word and of what came before reaches every bit of the hash.
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.hash ^ word) * 0x9e37_79b9_7f4a_7c15;
        let [a, b, c, d, e, f, g, h, low @ ..] = product.to_be_bytes();
        let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.hash = (high ^ u64::from_be_bytes(low)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
}

impl Default for Log {
    fn default() -> Self {
        Log::new()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Sent { from, bytes } => write!(f, "{from} sends   {}", Brief(bytes)),
            Event::Lost { by, bytes } => write!(f, "lost by {by}: {}", Brief(bytes)),
            Event::Handled { core, moved, from, bytes, outcome } => {
                let moved = if *moved { " (moved)" } else { "" };
                let (class, verdict) = (outcome.class.label(), outcome.verdict);
                write!(
                    f,
                    "core {}{moved}: {} from {from} is {class}, {verdict:?}",
                    core.0,
                    Brief(bytes)
                )
            }
            Event::Answered { to, bytes } => write!(f, "node answers {to}: {}", Brief(bytes)),
            Event::Received { at, bytes } => write!(f, "{at} receives {}", Brief(bytes)),
            Event::Expired { core, count } => write!(f, "core {}: {count} bindings expire", core.0),
            Event::Ran { core, what } => write!(f, "core {}: {what}", core.0),
            Event::Note(text) => f.write_str(text),
        }
    }
}

/// A message in one line: what it is and the headers by which one is told from another.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(pub &'a [u8]);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 1500;
        let mut lines = self.0.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let first = lines.next().unwrap_or_default();
        write!(f, "[{}", first[..first.len().min(80)].escape_ascii())?;
        let mut shown = 0;
        for line in lines {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default().trim_ascii();
            let told: [&[u8]; 13] = [
                b"to",
                b"t",
                b"call-id",
                b"i",
                b"cseq",
                b"contact",
                b"m",
                b"expires",
                b"path",
                b"via",
                b"v",
                b"authorization",
                b"www-authenticate",
            ];
            if shown < SHOWN && told.iter().any(|told| name.eq_ignore_ascii_case(told)) {
                let line = &line[..line.len().min(260)];
                shown += line.len();
                write!(f, " | {}", line.escape_ascii())?;
            }
        }
        write!(f, "] {} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_and_the_order_count() {
        let hash = |events: &[(u64, &str)]| {
            let mut log = Log::new();
            for (at, text) in events {
                log.push(Instant::from_nanos(*at), Event::Note((*text).to_owned()));
            }
            log.hash()
        };
        let one = hash(&[(1, "a"), (2, "b")]);
        assert_eq!(one, hash(&[(1, "a"), (2, "b")]));
        for other in
            [&[(1, "b"), (2, "a")][..], &[(1, "a"), (3, "b")], &[(1, "a")], &[(1, "a"), (2, "b\0")]]
        {
            assert_ne!(one, hash(other), "{other:?}");
        }
    }
}
