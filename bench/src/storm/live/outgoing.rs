//! What leaves from the ports of the crowd: batches that cross the kernel in one call, less what is lost on purpose. It makes no message.

use std::io;
use std::net::Ipv4Addr;

use super::network::Network;
use crate::sockets::Port;
use crate::storm::crowd::Sink;
use crate::sys::BATCH;

/// The batches of all ports, and the network behind them.
pub(super) struct Outgoing {
    pub(super) ports: Vec<Port>,
    pub(super) network: Network,
    /// Where datagrams leave from, whatever the crowd says: a network that knows only one address of this machine.
    source: Option<Ipv4Addr>,
    /// Of the round.
    pub(super) now_ns: u64,
    /// Datagrams handed to the kernel.
    pub(super) sent: u64,
    /// How often the kernel could not take one at once.
    pub(super) blocked: u64,
    /// What went wrong first, to be told at the next flush: a crowd has nothing to say to it.
    error: Option<io::Error>,
}

impl Outgoing {
    pub(super) fn new(ports: Vec<Port>, network: Network, source: Option<Ipv4Addr>) -> Outgoing {
        Outgoing { ports, network, source, now_ns: 0, sent: 0, blocked: 0, error: None }
    }

    /// Sends all that waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for index in 0..self.ports.len() {
            self.flush_one(index);
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn flush_one(&mut self, index: usize) {
        let waiting = self.ports[index].outgoing.filled() as u64;
        match self.ports[index].flush() {
            Ok(blocked) => {
                self.blocked += blocked;
                self.sent += waiting;
            }
            Err(error) => {
                self.ports[index].outgoing.clear();
                self.error.get_or_insert(error);
            }
        }
    }
}

impl Sink for Outgoing {
    fn slot(&mut self, port: usize) -> &mut [u8] {
        if self.ports[port].outgoing.filled() == BATCH {
            self.flush_one(port);
        }
        self.ports[port].outgoing.next_slot()
    }

    fn push(&mut self, port: usize, source: Ipv4Addr, length: usize) {
        if !self.network.loses_out(self.now_ns) {
            self.ports[port].outgoing.push(self.source.unwrap_or(source), length);
        }
    }
}
