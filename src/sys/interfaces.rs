//! The addresses of this host, as its network interfaces have them. It asks once a call, and keeps nothing.

use super::address::Name;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ptr::NonNull;

/// The IP addresses of all interfaces, loopback too, each once and in order.
///
/// # Errors
/// What `getifaddrs(3)` says: no memory, or no socket to ask with.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the pointer is writable; where the call succeeds it is the head of a list, or null, and freed below.
    super::check(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut addresses = Vec::new();
    let mut next = NonNull::new(first);
    while let Some(interface) = next {
        // SAFETY: an entry of the list, which is alive until it is freed as a whole.
        let interface = unsafe { interface.as_ref() };
        // SAFETY: null, or an address of the family that it begins with, alive as long as the list.
        addresses.extend(unsafe { Name::copied(interface.ifa_addr) }.and_then(|name| name.read()));
        next = NonNull::new(interface.ifa_next);
    }
    // SAFETY: the list that getifaddrs has given, and nothing of it is used any more.
    unsafe { libc::freeifaddrs(first) };
    let mut addresses: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn every_host_has_its_loopback_and_can_bind_what_it_has() {
        let addresses = addresses().unwrap();
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
        assert!(addresses.is_sorted() && !addresses.iter().any(IpAddr::is_unspecified));
        for ip in addresses.into_iter().filter(IpAddr::is_ipv4) {
            assert!(UdpSocket::bind((ip, 0)).is_ok(), "{ip}");
        }
    }
}
