//! Socket addresses as the kernel lays them out in memory. It owns the conversion both ways and nothing else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an address of either family; all zero is the valid "unspecified".
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// The size of [`Name`], as the kernel wants to be told it.
#[allow(clippy::cast_possible_truncation, reason = "28 bytes")]
pub(super) const NAME_BYTES: libc::socklen_t = size_of::<Name>() as libc::socklen_t;

impl Name {
    /// An address of no family.
    pub(super) const EMPTY: Name = Name {
        v6: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    };

    /// Writes an address and returns how many bytes of this are in use.
    #[allow(clippy::cast_possible_truncation, reason = "address families and sizes are below 256")]
    pub(super) fn write(&mut self, addr: SocketAddr) -> libc::socklen_t {
        match addr {
            SocketAddr::V4(v4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// A copy of an address; `None` for none and for any family but the two.
    ///
    /// # Safety
    /// Null, or the beginning of an address as long as its family says.
    pub(super) unsafe fn copied(addr: *const libc::sockaddr) -> Option<Name> {
        // SAFETY: the caller's promise.
        let family = unsafe { addr.as_ref() }?.sa_family;
        let mut name = Name::EMPTY;
        match i32::from(family) {
            // SAFETY: the family says that it is one, and copies need not be aligned.
            libc::AF_INET => name.v4 = unsafe { addr.cast::<libc::sockaddr_in>().read_unaligned() },
            libc::AF_INET6 => {
                // SAFETY: as above.
                name.v6 = unsafe { addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            }
            _ => return None,
        }
        Some(name)
    }

    /// Reads the address the kernel wrote; `None` for any other family.
    pub(super) fn read(&self) -> Option<SocketAddr> {
        // SAFETY: every variant starts with the family, and all bytes are initialised by EMPTY, write or the kernel.
        match i32::from(unsafe { self.family }) {
            libc::AF_INET => {
                // SAFETY: the family says so; any bytes are a valid sockaddr_in.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says so; any bytes are a valid sockaddr_in6.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::V6(SocketAddrV6::new(
                    ip,
                    u16::from_be(v6.sin6_port),
                    0,
                    v6.sin6_scope_id,
                )))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_the_kernels_layout() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:5061", "[fe80::1%3]:5060", "0.0.0.0:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut name = Name::EMPTY;
            name.write(addr);
            assert_eq!(name.read(), Some(addr));
        }
        assert_eq!(Name::EMPTY.read(), None);
    }
}
