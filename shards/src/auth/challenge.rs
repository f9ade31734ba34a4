//! Challenges, RFC 7616 3.3: their lines, written once for each algorithm, and why they are sent. It decides nothing.

use super::digest::Algorithm;
use super::nonce;
use crate::io::{Outbox, Verdict};
use crate::uas::{self, Caller};
use crate::wire::{HeaderId, Response};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

/// Who asks: what the status and the headers of a challenge and of its answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A registrar or another UAS, RFC 3261 22.2.
    Registrar,
    /// A proxy, RFC 3261 22.3.
    Proxy,
}

impl Asker {
    /// The header that answers it.
    #[must_use]
    pub const fn answered_by(self) -> HeaderId {
        match self {
            Asker::Registrar => HeaderId::Authorization,
            Asker::Proxy => HeaderId::ProxyAuthorization,
        }
    }

    const fn asks_by(self) -> &'static str {
        match self {
            Asker::Registrar => "WWW-Authenticate",
            Asker::Proxy => "Proxy-Authenticate",
        }
    }

    const fn status(self) -> (u16, &'static str) {
        match self {
            Asker::Registrar => (401, "Unauthorized"),
            Asker::Proxy => (407, "Proxy Authentication Required"),
        }
    }
}

/// Why a challenge is sent. The UA learns no more than whether its nonce was the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// There are no digest credentials for our realm, or only by an algorithm that is not offered.
    Absent,
    /// The nonce is not ours, too old, or may have been used and forgotten.
    Stale,
    /// The nonce was used before with this count.
    Replayed,
    /// The response is not the one of this user's password.
    BadResponse,
    /// There is no such user.
    UnknownUser,
}

impl Cause {
    /// Every cause, in the order of their indices.
    pub const ALL: [Cause; 5] =
        [Cause::Absent, Cause::Stale, Cause::Replayed, Cause::BadResponse, Cause::UnknownUser];

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Cause::Absent => "absent",
            Cause::Stale => "stale",
            Cause::Replayed => "replayed",
            Cause::BadResponse => "bad_response",
            Cause::UnknownUser => "unknown_user",
        }
    }

    /// The index in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the UA may answer the new nonce without asking anybody for a password, RFC 7616 3.3.
    const fn is_stale(self) -> bool {
        match self {
            Cause::Stale | Cause::Replayed => true,
            Cause::Absent | Cause::BadResponse | Cause::UnknownUser => false,
        }
    }
}

/// A challenge that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    /// Why.
    pub cause: Cause,
    pub(super) nonce: nonce::Text,
}

/// The fixed part of a realm's challenges.
#[derive(Debug)]
pub(super) struct Lines {
    asker: Asker,
    /// For each algorithm what stands before the nonce and behind it.
    lines: Vec<[Box<[u8]>; 2]>,
}

impl Lines {
    pub(super) fn new(asker: Asker, realm: &str, algorithms: &[Algorithm]) -> Self {
        let bytes = |text: alloc::string::String| text.into_bytes().into_boxed_slice();
        let line = |algorithm: &Algorithm| {
            // RFC 8760 2.3: a header field for each algorithm; RFC 3261 22.4 8: qop always.
            let before = format!("{}: Digest realm=\"{realm}\", nonce=\"", asker.asks_by());
            let behind = format!("\", algorithm={}, qop=\"auth\"", algorithm.name());
            [bytes(before), bytes(behind)]
        };
        Lines { asker, lines: algorithms.iter().map(line).collect() }
    }

    /// Sends a challenge, once: it is not kept and never retransmitted, RFC 3261 26.3.2.4. To a request that is too short to be
    /// answered with the whole offer it has the strongest of it; silence would keep its phone out for good.
    pub(super) fn send(
        &self,
        caller: &Caller<'_>,
        challenge: &Challenge,
        out: &mut Outbox,
    ) -> Verdict {
        let (status, reason) = self.asker.status();
        let end: &[u8] = if challenge.cause.is_stale() { b", stale=true\r\n" } else { b"\r\n" };
        uas::refuse_with(caller, status, reason, out, |response| {
            let room = uas::refusal_bytes_max(caller).saturating_sub(Response::END_BYTES);
            for (place, [before, behind]) in self.lines.iter().enumerate() {
                let line = before.len() + challenge.nonce.len() + behind.len() + end.len();
                if place > 0 && response.written().len() + line > room {
                    break;
                }
                response.put(before);
                response.put(&challenge.nonce);
                response.put(behind);
                response.put(end);
            }
        })
    }
}
