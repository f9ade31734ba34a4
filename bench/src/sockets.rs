//! The sockets from which all user agents speak: one a port, bound to every loopback address, so
//! that a few sockets carry any number of addresses; or, towards another network, to the one address
//! that this machine has there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};

use crate::sys::{self, ReceiveBatch, SendBatch};

/// Bytes asked for each socket buffer.
const BUFFER_BYTES: i32 = 8 << 20;

/// One port with the datagrams that wait to leave from it.
pub(crate) struct Port {
    socket: UdpSocket,
    pub(crate) number: u16,
    pub(crate) outgoing: SendBatch,
}

impl Port {
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(&self.socket)
    }

    /// Sends what waits in another batch; answers how often the kernel had no room at first.
    pub(crate) fn send(&self, batch: &mut SendBatch) -> io::Result<u64> {
        if batch.filled() == 0 { Ok(0) } else { batch.send(&self.socket) }
    }

    /// Sends what waits; answers how often the kernel had no room at first.
    pub(crate) fn flush(&mut self) -> io::Result<u64> {
        if self.outgoing.filled() == 0 {
            return Ok(0);
        }
        self.outgoing.send(&self.socket)
    }
}

/// Opens `count` ports from `first` on (0: any that are free) that speak to `target`.
pub(crate) fn open(target: SocketAddrV4, count: u16, first: u16) -> io::Result<Vec<Port>> {
    // Of loopback any address can be used; to others there is one way, from one address.
    let is_loopback = target.ip().is_loopback();
    let here = if is_loopback { Ipv4Addr::UNSPECIFIED } else { local_address(target)? };
    (0..count)
        .map(|i| {
            let asked = if first == 0 { 0 } else { first.saturating_add(i) };
            let socket = UdpSocket::bind((here, asked))
                .map_err(|e| io::Error::new(e.kind(), format!("UDP port {asked}: {e}")))?;
            if is_loopback {
                sys::loopback_only(&socket)?;
            }
            sys::report_destination(&socket)?;
            sys::size_buffers(&socket, BUFFER_BYTES)?;
            let number = socket.local_addr()?.port();
            if number < 10_000 {
                let what = format!("UDP port {number}: source ports need five digits");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            Ok(Port { socket, number, outgoing: SendBatch::new(target) })
        })
        .collect()
}

/// The address of this machine from which `target` is reached.
pub(crate) fn local_address(target: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Nothing is sent: the kernel only chooses the way.
    socket.connect(target)?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
