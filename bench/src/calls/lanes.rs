//! What waits to be sent from each port, by kind of message, so that equal messages of neighbours leave as one. It owns the order:
//! what a user agent says first leaves first.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::sockets::Port;
use crate::storm::Loss;
use crate::sys::{BATCH, SendBatch};

/// The kinds, in the order in which they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Invite,
    Ringing,
    Answer,
    Ack,
    Bye,
    /// The 200 to a BYE.
    ByeAnswer,
    /// What calls that are cancelled or refused take, in the order in which it is said.
    Other,
}

const KINDS: usize = Kind::Other as usize + 1;

/// The batches of all ports.
pub(super) struct Lanes {
    batches: Vec<[SendBatch; KINDS]>,
    /// How often the kernel could not take a datagram at once.
    pub(super) blocked: u64,
    /// Datagrams that left, by [`Kind`].
    pub(super) sent: [u64; KINDS],
    /// What loses some of them on purpose.
    pub(super) loss: Option<Loss>,
}

impl Lanes {
    /// Lanes of so many ports that speak to `target`.
    pub(super) fn new(ports: usize, target: SocketAddrV4) -> Lanes {
        let batches = (0..ports).map(|_| std::array::from_fn(|_| SendBatch::new(target))).collect();
        Lanes { batches, blocked: 0, sent: [0; KINDS], loss: None }
    }

    /// Queues what `write` writes, of the length that it answers, to be sent from `source`.
    pub(super) fn put(
        &mut self,
        ports: &[Port],
        index: usize,
        kind: Kind,
        source: Ipv4Addr,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> io::Result<()> {
        if self.batches[index][kind as usize].filled() == BATCH {
            self.flush_one(ports, index)?;
        }
        let batch = &mut self.batches[index][kind as usize];
        let length = write(batch.next_slot());
        if self.loss.as_mut().is_some_and(Loss::takes) {
            return Ok(());
        }
        batch.push(source, length);
        self.sent[kind as usize] += 1;
        Ok(())
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, ports: &[Port]) -> io::Result<()> {
        (0..ports.len()).try_for_each(|index| self.flush_one(ports, index))
    }

    fn flush_one(&mut self, ports: &[Port], index: usize) -> io::Result<()> {
        for batch in &mut self.batches[index] {
            self.blocked += ports[index].send(batch)?;
        }
        Ok(())
    }
}
