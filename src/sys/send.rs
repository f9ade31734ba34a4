//! Writing datagrams in batches with `sendmmsg`. It owns the headers of one core's batch and never decides what an
//! error means for the rest of it.

use super::address::Name;
use super::socket::UdpSocket;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The control message of one datagram: its source address, IPv6's being the larger.
const CONTROL_BYTES: usize = 40;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Who gets it.
    pub to: SocketAddr,
    /// The address it leaves from; `None` leaves it to the socket's binding.
    pub from: Option<IpAddr>,
    /// The payload.
    pub bytes: &'a [u8],
}

/// Why the first message of a batch was not sent.
#[derive(Debug)]
pub enum Failure {
    /// The socket's buffer or the interface's queue is full: later it may work.
    Full,
    /// The kernel's error: this message's, or one that an earlier message had caused and that is reported once.
    Refused(io::Error),
}

/// The headers of a batch. Pointers in them are only valid during [`send`](Self::send).
pub struct Sender {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[Name]>,
    iovs: Box<[libc::iovec]>,
    controls: Box<[Control]>,
}

impl Sender {
    /// Headers for batches of up to `messages` datagrams.
    #[must_use]
    pub fn new(messages: usize) -> Sender {
        // SAFETY: all zero is a valid mmsghdr: null pointers and zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let iov = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Sender {
            headers: vec![header; messages].into(),
            names: vec![Name::EMPTY; messages].into(),
            iovs: vec![iov; messages].into(),
            controls: vec![Control([0; CONTROL_BYTES]); messages].into(),
        }
    }

    /// Sends the first messages of `batch`, at most as many as there are headers, and returns how many the kernel took.
    /// It stops at the first message that fails, and tells its error only where that was the first of all.
    ///
    /// # Errors
    /// Why the first message was not taken.
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "counts below the number of headers"
    )]
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        batch: impl Iterator<Item = Outgoing<'a>>,
    ) -> Result<usize, Failure> {
        let mut count = 0;
        let slots = self
            .headers
            .iter_mut()
            .zip(&mut self.names)
            .zip(&mut self.iovs)
            .zip(&mut self.controls);
        for (message, (((header, name), iov), control)) in batch.zip(slots) {
            iov.iov_base = message.bytes.as_ptr().cast_mut().cast();
            iov.iov_len = message.bytes.len();
            header.msg_hdr.msg_namelen = name.write(message.to);
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = iov;
            header.msg_hdr.msg_iovlen = 1;
            match message.from {
                None => {
                    header.msg_hdr.msg_control = std::ptr::null_mut();
                    header.msg_hdr.msg_controllen = 0;
                }
                Some(source) => {
                    header.msg_hdr.msg_control = std::ptr::from_mut(control).cast();
                    header.msg_hdr.msg_controllen = CONTROL_BYTES;
                    write_source(&mut header.msg_hdr, source);
                }
            }
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: `count` headers were just filled with pointers to self's boxes and to payloads that outlive `'a`, which
        // covers this call; the kernel only reads the payloads.
        let sent = unsafe {
            libc::sendmmsg(socket.raw(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => Err(Failure::Full),
            _ => Err(Failure::Refused(error)),
        }
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("messages", &self.headers.len()).finish_non_exhaustive()
    }
}

// SAFETY: between calls the pointers in the headers are not used by anyone.
unsafe impl Send for Sender {}

/// Fills the control buffer that `header` points to with the source address.
fn write_source(header: &mut libc::msghdr, source: IpAddr) {
    match source {
        IpAddr::V4(ip) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: 0,
            };
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "sizes of a few dozen bytes")]
fn write_control<T>(header: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, value: &T) {
    let length = size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
    let (space, whole) = unsafe { (libc::CMSG_SPACE(length), libc::CMSG_LEN(length)) };
    assert!(space as usize <= CONTROL_BYTES, "a control message fits its buffer");
    // SAFETY: msg_control points to CONTROL_BYTES writable bytes aligned to 8, and the message fits as asserted.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = level;
        (*control).cmsg_type = kind;
        (*control).cmsg_len = whole as usize;
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>(),
            libc::CMSG_DATA(control),
            size_of::<T>(),
        );
    }
    header.msg_controllen = space as usize;
}
