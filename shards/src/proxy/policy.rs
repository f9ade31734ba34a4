//! What an operator decides about requests that are passed on. Plain values; the configuration makes sure that they fit together.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

/// The proxy's policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Timer C, RFC 3261 16.6 step 11: how long a callee may ring, in seconds; above 180.
    pub timer_c_secs: u32,
    /// The servers of other domains, in the order in which they are looked for.
    pub neighbours: Arc<[Neighbour]>,
    /// What holds for each listener, by [`ListenerId`](crate::io::ListenerId).
    pub listeners: Arc<[ListenerPolicy]>,
    /// The addresses of this host, at all of which a listener of the unspecified address is reached.
    pub host: Arc<[IpAddr]>,
}

/// What holds for a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPolicy {
    /// What it is called in Via and Record-Route, `host:port` or `[address]:port`; `None`: the address that a message reached, with
    /// the port it is bound to.
    pub advertised: Option<Box<str>>,
    /// Whether users of our domains have to show who they are, where there is authentication at all. Neighbours never have to.
    pub challenges: bool,
}

/// A server that answers for other domains, and may call users of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// What the operator calls it.
    pub name: Box<str>,
    /// Where its requests come from.
    pub networks: Box<[Network]>,
    /// The domains that are behind it, in lower case.
    pub domains: Box<[Box<[u8]>]>,
    /// Where requests for its domains go; `None`: to the address of the domain itself.
    pub next_hop: Option<NextHop>,
    /// Whether it is in our trust domain, RFC 3325 2.3: what it asserts about who calls, or answers, is passed on.
    pub asserts_identity: bool,
}

/// The next hop of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// An address.
    Address(SocketAddr),
    /// A name whose addresses have to be asked for.
    Name {
        /// The name, in lower case.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// Addresses that begin alike, RFC 4632.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any of them.
    pub ip: IpAddr,
    /// How many of the first bits they share.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether an address is in it. IPv4 addresses that a socket shows as IPv6 count as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix_bits));
                (own.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix_bits));
                (own.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Default for Policy {
    /// No neighbours, and listeners that challenge and are called by their addresses.
    fn default() -> Self {
        Policy {
            timer_c_secs: 185,
            neighbours: Arc::new([]),
            listeners: Arc::new([]),
            host: Arc::new([]),
        }
    }
}

impl Default for ListenerPolicy {
    fn default() -> Self {
        ListenerPolicy { advertised: None, challenges: true }
    }
}

impl Policy {
    /// The neighbour that a request from an address comes from.
    #[must_use]
    pub fn neighbour_at(&self, ip: IpAddr) -> Option<&Neighbour> {
        self.neighbours.iter().find(|one| one.networks.iter().any(|network| network.contains(ip)))
    }

    /// Whether what is asserted about identities in messages from an address is believed.
    #[must_use]
    pub fn is_identity_trusted(&self, ip: IpAddr) -> bool {
        self.neighbour_at(ip).is_some_and(|neighbour| neighbour.asserts_identity)
    }

    /// The neighbour that answers for a domain, given in lower case.
    #[must_use]
    pub fn neighbour_for(&self, domain: &[u8]) -> Option<&Neighbour> {
        self.neighbours.iter().find(|one| one.domains.iter().any(|name| **name == *domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_like_it() {
        let network = |ip: &str, prefix_bits| Network { ip: ip.parse().unwrap(), prefix_bits };
        let holds = |network: Network, ip: &str| network.contains(ip.parse().unwrap());
        assert!(holds(network("192.0.2.0", 24), "192.0.2.255"));
        assert!(!holds(network("192.0.2.0", 24), "192.0.3.0"));
        assert!(holds(network("192.0.2.7", 32), "192.0.2.7"));
        assert!(!holds(network("192.0.2.7", 32), "192.0.2.6"));
        assert!(holds(network("0.0.0.0", 0), "203.0.113.1"));
        assert!(!holds(network("0.0.0.0", 0), "::1"));
        assert!(holds(network("2001:db8::", 32), "2001:db8:ffff::1"));
        assert!(!holds(network("2001:db8::", 32), "2001:db9::1"));
        assert!(holds(network("192.0.2.0", 24), "::ffff:192.0.2.1"));
    }
}
