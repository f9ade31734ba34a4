//! Who is at the two ends of a packet.

use core::net::{IpAddr, SocketAddr};

/// How a message travelled. UDP is served; the others are named so that nothing has to be torn up for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, RFC 3261 18.
    Udp,
}

/// The far end: a transport and the address the packet came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The transport spoken with it.
    pub transport: Transport,
    /// Its address; for IPv6 the scope is kept, so that a link-local peer can be answered.
    pub addr: SocketAddr,
}

impl Peer {
    /// A peer reached over UDP.
    #[must_use]
    pub const fn udp(addr: SocketAddr) -> Self {
        Peer { transport: Transport::Udp, addr }
    }
}

/// Index of a `[[listen]]` entry in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// The near end: which listener, and which of this machine's addresses the packet reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The listener; its port is in the configuration.
    pub listener: ListenerId,
    /// The destination address of the packet, also where the listener is bound to a wildcard.
    pub ip: IpAddr,
}

/// Index of a core among those that run workers, from 0; not the number the kernel gives the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);
