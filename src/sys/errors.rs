//! A socket's error queue: ICMP errors and local refusals that belong to datagrams sent earlier. It reads what is in it and
//! says what each is about; it never acts on it.

use super::address::{NAME_BYTES, Name};
use super::socket::UdpSocket;
use std::net::SocketAddr;

/// One entry of an error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What it is.
    pub cause: Cause,
    /// Whom the datagram was sent to; `None` where the kernel did not tell.
    pub to: Option<SocketAddr>,
    /// The first bytes of its payload, as far as whoever reported has quoted them. Linux quotes 520 of them over IPv4 and 1,184
    /// over IPv6 less what tunnels take; RFC 792 asks for no more than 8 bytes of UDP header, so there may be none.
    pub quoted: &'a [u8],
}

/// What was reported, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A router or the far end: datagrams like this one don't arrive. RFC 3261 18.4: unreachable host, network, port or protocol,
    /// and parameter problems, are a failure to send.
    Unreachable,
    /// A router or the far end, about something that the next datagram may not meet: a path's MTU, of which the kernel takes
    /// note, or a TTL that ran out. RFC 3261 18.4: to be ignored.
    Passing,
    /// This machine, such as for a datagram that is too large.
    Local,
}

/// What an entry is read into.
pub struct Reader {
    quoted: Box<[u8; QUOTED_BYTES_MAX]>,
    name: Name,
    control: Control,
}

/// Enough to find a branch in: it is in the first of the Via headers.
const QUOTED_BYTES_MAX: usize = 1024;

const CONTROL_BYTES: usize = 512;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

impl Reader {
    /// Room for one entry.
    #[must_use]
    pub fn new() -> Reader {
        Reader {
            quoted: Box::new([0; QUOTED_BYTES_MAX]),
            name: Name::EMPTY,
            control: Control([0; CONTROL_BYTES]),
        }
    }

    /// Takes the next entry out of the error queue; `None` where it is empty.
    pub fn read(&mut self, socket: &UdpSocket) -> Option<Report<'_>> {
        // What the kernel leaves as it was must not look like the entry before.
        self.name = Name::EMPTY;
        let mut iov =
            libc::iovec { iov_base: self.quoted.as_mut_ptr().cast(), iov_len: QUOTED_BYTES_MAX };
        // SAFETY: all zero is a valid msghdr: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = (&raw mut self.name).cast();
        header.msg_namelen = NAME_BYTES;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.control).cast();
        header.msg_controllen = CONTROL_BYTES;
        // SAFETY: the header points to a name, a payload and a control buffer of the sizes it names, alive during the call.
        let result = unsafe {
            libc::recvmsg(socket.raw(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
        };
        let length = usize::try_from(result).ok()?;
        let cause = cause(&header);
        // The kernel writes no name where it does not know one, and says so.
        let to = if header.msg_namelen > 0 { self.name.read() } else { None };
        Some(Report { cause, to, quoted: &self.quoted[..length.min(QUOTED_BYTES_MAX)] })
    }
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// What the control messages of an entry tell.
fn cause(header: &libc::msghdr) -> Cause {
    // SAFETY: the kernel set msg_control and msg_controllen to well-formed control messages.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
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
                return match error.ee_origin {
                    libc::SO_EE_ORIGIN_ICMP => of_icmp(error.ee_type, error.ee_code),
                    libc::SO_EE_ORIGIN_ICMP6 => of_icmp6(error.ee_type),
                    _ => Cause::Local,
                };
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    Cause::Local
}

/// RFC 792: type 3 is "destination unreachable", of which code 4 is about a path's MTU, and type 12 is "parameter problem".
fn of_icmp(kind: u8, code: u8) -> Cause {
    match (kind, code) {
        (3, 4) => Cause::Passing,
        (3 | 12, _) => Cause::Unreachable,
        _ => Cause::Passing,
    }
}

/// RFC 4443: type 1 is "destination unreachable", type 4 "parameter problem", and a path's MTU has type 2.
fn of_icmp6(kind: u8) -> Cause {
    if matches!(kind, 1 | 4) { Cause::Unreachable } else { Cause::Passing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::send::{Outgoing, Sender};
    use std::time::{Duration, Instant};

    /// What the kernel reports of a datagram sent to a port of `ip` where nobody listens.
    fn reported(ip: &str, payload: &[u8]) -> (SocketAddr, Option<SocketAddr>, Cause, Vec<u8>) {
        let open = |ip: &str| {
            let addr = SocketAddr::new(ip.parse().unwrap(), 0);
            let socket = UdpSocket::open(addr).unwrap();
            socket.observe(addr, false).unwrap();
            socket.bind(addr).unwrap();
            socket
        };
        let nobody = open(ip).local_addr().unwrap();
        let socket = open(ip);
        let mut sender = Sender::new(1);
        sender
            .send(&socket, [Outgoing { to: nobody, from: None, bytes: payload }].into_iter())
            .unwrap();
        let mut reader = Reader::new();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(report) = reader.read(&socket) {
                let Report { cause, to, quoted } = report;
                let found = (nobody, to, cause, quoted.to_vec());
                assert_eq!(reader.read(&socket), None, "there is one");
                return found;
            }
            assert!(Instant::now() < until, "nothing was reported");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_closed_port_is_reported_with_the_address_and_the_first_bytes() {
        let long: Vec<u8> = (0..=255).cycle().take(3000).collect();
        for ip in ["127.0.0.1", "::1"] {
            let (nobody, to, cause, quoted) = reported(ip, b"OPTIONS sip:a SIP/2.0\r\n\r\n");
            assert_eq!((to, cause), (Some(nobody), Cause::Unreachable));
            assert_eq!(quoted, b"OPTIONS sip:a SIP/2.0\r\n\r\n");
            let (nobody, to, cause, quoted) = reported(ip, &long);
            assert_eq!((to, cause), (Some(nobody), Cause::Unreachable));
            assert!(quoted.len() >= 500 && quoted.len() <= QUOTED_BYTES_MAX, "{}", quoted.len());
            assert_eq!(quoted, long[..quoted.len()]);
        }
    }

    #[test]
    fn what_passes_is_no_failure_to_send() {
        // Network, host, protocol, port; administratively prohibited; a parameter problem.
        for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (12, 0)] {
            assert_eq!(of_icmp(kind, code), Cause::Unreachable, "{kind} {code}");
        }
        // A path's MTU, source quench, a TTL that ran out.
        for (kind, code) in [(3, 4), (4, 0), (11, 0)] {
            assert_eq!(of_icmp(kind, code), Cause::Passing, "{kind} {code}");
        }
        assert_eq!(
            [1, 2, 3, 4].map(of_icmp6),
            [Cause::Unreachable, Cause::Passing, Cause::Passing, Cause::Unreachable]
        );
    }
}
