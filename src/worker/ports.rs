//! A listener as one core sees it: its sockets there, and what the kernel has dropped at each.

use crate::sys::socket::UdpSocket;
use std::net::{IpAddr, SocketAddr};

/// One core's sockets of one listener. All are bound to the same address, in one group.
#[derive(Debug)]
pub struct Port {
    /// For everything but REGISTER, or for everything where there is no second one. Replies leave from here.
    pub rest: Intake,
    /// For REGISTER.
    pub register: Option<Intake>,
    /// Where they are bound.
    pub local: SocketAddr,
}

/// A socket that is read, and how much the kernel dropped there.
#[derive(Debug)]
pub struct Intake {
    /// The socket.
    pub socket: UdpSocket,
    last_seen: u32,
}

impl Intake {
    /// A socket at which nothing has been dropped.
    #[must_use]
    pub fn new(socket: UdpSocket) -> Intake {
        Intake { socket, last_seen: 0 }
    }

    /// How many more were dropped than was known before. The kernel's counter wraps, and a datagram tells its value of the
    /// time when it was queued, which may be older than what was read from the socket itself.
    pub(super) fn newly_dropped(&mut self, counter: u32) -> u64 {
        let more = counter.wrapping_sub(self.last_seen);
        if more > u32::MAX / 2 {
            return 0;
        }
        self.last_seen = counter;
        u64::from(more)
    }
}

/// Which of a port's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rest,
    Register,
}

impl Port {
    pub(super) fn intake(&mut self, kind: Kind) -> Option<&mut Intake> {
        match kind {
            Kind::Rest => Some(&mut self.rest),
            Kind::Register => self.register.as_mut(),
        }
    }

    /// The address that a datagram reached: where the socket is bound, or what the kernel told where that is a wildcard.
    pub(super) fn reached(&self, told: Option<IpAddr>) -> IpAddr {
        if self.is_wildcard() { told.unwrap_or(self.local.ip()) } else { self.local.ip() }
    }

    /// The source to ask for when a message leaves from `ip`; a socket bound to one address needs no telling.
    pub(super) fn source(&self, ip: IpAddr) -> Option<IpAddr> {
        (self.is_wildcard() && !ip.is_unspecified()).then_some(ip)
    }

    /// Whether the listener takes what is sent to any of the machine's addresses.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    /// One of its sockets.
    pub(super) fn socket(&self, kind: Kind) -> Option<&UdpSocket> {
        match kind {
            Kind::Rest => Some(&self.rest.socket),
            Kind::Register => self.register.as_ref().map(|intake| &intake.socket),
        }
    }

    /// All its sockets.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        std::iter::once(&self.rest).chain(&self.register).map(|intake| &intake.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_once_through_wrap_and_stale_values() {
        let socket = UdpSocket::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut intake = Intake::new(socket);
        assert_eq!(intake.newly_dropped(5), 5);
        assert_eq!(intake.newly_dropped(3), 0);
        assert_eq!(intake.newly_dropped(5), 0);
        intake.last_seen = u32::MAX - 1;
        assert_eq!(intake.newly_dropped(2), 4);
    }
}
