//! The seam: everything that enters and leaves a [`Shard`](crate::shard::Shard), as plain data. It owns no state of
//! the protocol and never interprets a message.

mod homes;
mod outbox;
mod peer;
mod time;
mod verdict;

pub use homes::Homes;
pub use outbox::{Letter, Outbox, Question, Reply, Send};
pub use peer::{CoreId, ListenerId, LocalAddr, Peer, Transport};
pub use time::{Instant, UnixTime};
pub use verdict::{Class, Outcome, Reason, Verdict};

use core::net::IpAddr;
use core::time::Duration;

/// A datagram as the kernel delivered it, or as another core passed it on.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it: the packet's source, never what the message claims.
    pub from: Peer,
    /// Where it arrived; a reply leaves from there.
    pub to: LocalAddr,
    /// The payload, whole.
    pub bytes: &'a [u8],
    /// How long it has waited since the kernel received it.
    pub age: Duration,
}

/// What a core is given to think about.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Read from one of this core's own sockets.
    Datagram(Datagram<'a>),
    /// Read by another core, which found that it lives here. It is answered here and never moves again.
    Hop(Datagram<'a>),
    /// A [`Letter`] that the shard of another core of this node has written. Only shards read what is in it.
    Letter(&'a [u8]),
    /// An ICMP error about a datagram that was sent from here.
    Unreachable(Unreachable<'a>),
    /// The answer to a [`Question`].
    Addresses {
        /// The question's ticket.
        ticket: u64,
        /// The addresses of the name, the best first; none where the name has none or could not be asked for.
        addresses: &'a [IpAddr],
    },
}

/// What an ICMP error, RFC 792 or RFC 4443, told about a datagram. Anybody can send one: it is believed as far as the quoted bytes
/// show that whoever sent it has seen the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable<'a> {
    /// Whom the datagram was sent to.
    pub to: Peer,
    /// The first bytes of its payload, as far as they were quoted.
    pub quoted: &'a [u8],
}
