//! One UDP socket: opening, options, binding, and what the kernel knows about it. It never moves a datagram; those are
//! [`receive`](super::receive) and [`send`](super::send).

use super::address::{NAME_BYTES, Name};
use super::bpf::Instruction;
use super::check;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A UDP socket. It blocks as far as the kernel is concerned, because `io_uring` would otherwise refuse to wait for it;
/// every call made here says `MSG_DONTWAIT` instead.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
}

/// Whether an error says that the kernel does not know the address family.
#[must_use]
pub fn lacks_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

impl UdpSocket {
    /// Opens a socket of the address's family. An IPv6 socket never takes IPv4 traffic: that is a listener of its own.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` where the family is switched off, and whatever else `socket(2)` says.
    pub fn open(family_of: SocketAddr) -> io::Result<UdpSocket> {
        let family = if family_of.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe {
            libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::IPPROTO_UDP)
        })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = UdpSocket { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        if family_of.is_ipv6() {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        Ok(socket)
    }

    /// Binds the socket.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` and the like, from `bind(2)`.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let mut name = Name::EMPTY;
        let length = name.write(addr);
        // SAFETY: the pointer covers `length` initialised bytes for the duration of the call.
        check(unsafe { libc::bind(self.raw(), (&raw const name).cast(), length) })?;
        Ok(())
    }

    /// The address the socket is bound to.
    ///
    /// # Errors
    /// What `getsockname(2)` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let mut name = Name::EMPTY;
        let mut length = NAME_BYTES;
        // SAFETY: the kernel writes at most `length` bytes, the size of `name`.
        check(unsafe { libc::getsockname(self.raw(), (&raw mut name).cast(), &raw mut length) })?;
        name.read().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    /// Joins the group of sockets that share the port; to be called before [`bind`](Self::bind). Within the group, a
    /// socket's index is its turn to bind.
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn share_port(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    /// Attaches the program that picks the socket of the group for each datagram.
    ///
    /// # Errors
    /// What `setsockopt(2)` says: no permission, or a program the kernel rejects.
    pub fn steer(&self, program: &[Instruction]) -> io::Result<()> {
        let mut filter: Vec<libc::sock_filter> = program
            .iter()
            .map(|i| libc::sock_filter {
                code: i.code,
                jt: i.if_true,
                jf: i.if_false,
                k: i.operand,
            })
            .collect();
        let length =
            u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
        self.set_to(libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
    }

    /// Asks for the control messages and errors that the receive path reads: kernel timestamp, overflow counter, the
    /// error queue and, where `destination` says so, the address that each datagram was sent to.
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn observe(&self, addr: SocketAddr, destination: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        self.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        if addr.is_ipv4() {
            self.set(libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, libc::c_int::from(destination))
        } else {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::c_int::from(destination))
        }
    }

    /// Sets the receive buffer, past the system's limit where the privilege is there, and returns what it became.
    ///
    /// # Errors
    /// What `setsockopt(2)` and `getsockopt(2)` say.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        self.set_buffer(bytes, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
    }

    /// Sets the send buffer, past the system's limit where the privilege is there, and returns what it became.
    ///
    /// # Errors
    /// What `setsockopt(2)` and `getsockopt(2)` say.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<usize> {
        self.set_buffer(bytes, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
    }

    /// How many datagrams the kernel has dropped at this socket. It wraps.
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn dropped(&self) -> io::Result<u32> {
        // linux/sock_diag.h: SK_MEMINFO_DROPS is the last of nine.
        let mut info = [0_u32; 9];
        self.read(libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
        Ok(info[8])
    }

    pub(super) fn raw(&self) -> libc::c_int {
        self.fd.as_raw_fd()
    }

    fn set_buffer(
        &self,
        bytes: usize,
        force: libc::c_int,
        plain: libc::c_int,
    ) -> io::Result<usize> {
        let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2);
        if self.set(libc::SOL_SOCKET, force, wanted).is_err() {
            self.set(libc::SOL_SOCKET, plain, wanted)?;
        }
        let mut became: libc::c_int = 0;
        self.read(libc::SOL_SOCKET, plain, &mut became)?;
        // socket(7): the kernel doubles what was asked, for its bookkeeping, and returns the double.
        Ok(usize::try_from(became / 2).unwrap_or(0))
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        self.set_to(level, name, &value)
    }

    fn set_to<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: the pointer covers `length` initialised bytes for the duration of the call.
        check(unsafe {
            libc::setsockopt(self.raw(), level, name, std::ptr::from_ref(value).cast(), length)
        })?;
        Ok(())
    }

    /// Reads an option that is plain integers, of which every bit pattern is valid.
    fn read<T: Copy>(
        &self,
        level: libc::c_int,
        name: libc::c_int,
        value: &mut T,
    ) -> io::Result<()> {
        let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: the kernel writes at most `length` bytes, the size of `value`; callers pass integers only.
        check(unsafe {
            libc::getsockopt(
                self.raw(),
                level,
                name,
                std::ptr::from_mut(value).cast(),
                &raw mut length,
            )
        })?;
        Ok(())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
