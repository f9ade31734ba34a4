//! A socket's error queue: ICMP errors and local refusals that belong to datagrams sent earlier. It empties the queue
//! and says what was in it; it never acts on it.

use super::socket::UdpSocket;

/// What was read from an error queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Reported by a router or the far end over ICMP, of either family.
    pub icmp: u32,
    /// Found on this machine, such as a datagram above the path's MTU.
    pub local: u32,
}

const CONTROL_BYTES: usize = 512;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Reads up to `most` entries of the error queue.
pub fn drain(socket: &UdpSocket, most: u32) -> Errors {
    let mut errors = Errors::default();
    for _ in 0..most {
        match read_one(socket) {
            Some(Origin::Icmp) => errors.icmp += 1,
            Some(Origin::Local) => errors.local += 1,
            None => break,
        }
    }
    errors
}

enum Origin {
    Icmp,
    Local,
}

fn read_one(socket: &UdpSocket) -> Option<Origin> {
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: all zero is a valid msghdr: no name, no payload wanted.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL_BYTES;
    // SAFETY: the header points to a control buffer of the size it names, alive during the call.
    let result = unsafe {
        libc::recvmsg(socket.raw(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if result < 0 {
        return None;
    }
    // SAFETY: the kernel set msg_control and msg_controllen to well-formed control messages.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the control buffer, and the kernel
        // wrote a whole sock_extended_err behind headers of these two types.
        unsafe {
            if matches!(
                ((*next).cmsg_level, (*next).cmsg_type),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            ) {
                let error: libc::sock_extended_err =
                    libc::CMSG_DATA(next).cast::<libc::sock_extended_err>().read_unaligned();
                return Some(match error.ee_origin {
                    libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp,
                    _ => Origin::Local,
                });
            }
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    Some(Origin::Local)
}
