//! Reading datagrams in batches with `recvmmsg`, and the control messages that came with them. It owns the buffers of
//! one core and never looks at a payload.

use super::address::{NAME_BYTES, Name};
use super::socket::UdpSocket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::NonNull;

/// Room for the control messages of one datagram: destination (40), timestamp (32), overflow counter (24).
const CONTROL_BYTES: usize = 128;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What is needed for one datagram besides its bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    name: Name,
    iov: libc::iovec,
    control: Control,
}

/// One datagram of the last batch.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The packet's source.
    pub from: SocketAddr,
    /// The packet's destination, where the socket was asked to tell it.
    pub to: Option<IpAddr>,
    /// The payload, or its beginning where `truncated`.
    pub bytes: &'a [u8],
    /// When the kernel received it: nanoseconds of wall-clock time since 1970.
    pub stamp_ns: Option<u64>,
    /// The socket's counter of dropped datagrams, told once it is above zero.
    pub overflow: Option<u32>,
    /// Whether the payload was longer than the buffer.
    pub truncated: bool,
}

/// The buffers of a batch. They are given to the kernel by address, so they are held by raw pointers and never move.
pub struct Receiver {
    headers: NonNull<[libc::mmsghdr]>,
    slots: NonNull<[Slot]>,
    bytes: NonNull<[u8]>,
    stride: usize,
    /// How many headers the kernel changed last time.
    filled: usize,
}

impl Receiver {
    /// Buffers for batches of up to `messages` datagrams of up to `bytes_max` bytes.
    #[must_use]
    pub fn new(messages: usize, bytes_max: usize) -> Receiver {
        assert!(messages > 0 && bytes_max > 0, "a batch holds something");
        // An odd number of cache lines, so that the first lines of all buffers do not compete for the same sets.
        let stride = (bytes_max.div_ceil(64) | 1) * 64;
        let bytes = leak(vec![0_u8; stride * messages]);
        let empty = Slot {
            name: Name::EMPTY,
            iov: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: bytes_max },
            control: Control([0; CONTROL_BYTES]),
        };
        let slots = leak(vec![empty; messages]);
        // SAFETY: all zero is a valid mmsghdr: null pointers and zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let headers = leak(vec![header; messages]);
        for i in 0..messages {
            // SAFETY: `i` is below the length of all three allocations, which nothing else refers to yet.
            unsafe {
                let slot = slots.as_ptr().cast::<Slot>().add(i);
                (*slot).iov.iov_base = bytes.as_ptr().cast::<u8>().add(i * stride).cast();
                let header = &mut (*headers.as_ptr().cast::<libc::mmsghdr>().add(i)).msg_hdr;
                header.msg_name = (&raw mut (*slot).name).cast();
                header.msg_iov = &raw mut (*slot).iov;
                header.msg_iovlen = 1;
                header.msg_control = (&raw mut (*slot).control).cast();
            }
        }
        Receiver { headers, slots, bytes, stride, filled: messages }
    }

    /// How many datagrams a batch holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Reads up to `most` datagrams that are waiting, without waiting for one, and returns how many; zero where there
    /// was none. They are read by [`get`](Self::get) until the next call.
    ///
    /// # Errors
    /// An error that was pending at the socket (then its error queue says more), or what `recvmmsg(2)` says.
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "counts below the capacity"
    )]
    pub fn receive(&mut self, socket: &UdpSocket, most: usize) -> io::Result<usize> {
        for i in 0..self.filled {
            // SAFETY: `filled` never exceeds the length of the headers; the kernel is not using them.
            let header =
                unsafe { &mut (*self.headers.as_ptr().cast::<libc::mmsghdr>().add(i)).msg_hdr };
            header.msg_namelen = NAME_BYTES;
            header.msg_controllen = CONTROL_BYTES;
            header.msg_flags = 0;
        }
        self.filled = 0;
        // SAFETY: at most as many headers as there are, each pointing to its slot and bytes, which live as long as self.
        let received = unsafe {
            libc::recvmmsg(
                socket.raw(),
                self.headers.as_ptr().cast(),
                most.min(self.capacity()) as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received >= 0 {
            self.filled = received as usize;
            return Ok(self.filled);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(0),
            _ => Err(error),
        }
    }

    /// One datagram of the last batch; `None` where the kernel wrote no usable source address.
    ///
    /// # Panics
    /// Where `index` is not below what the last [`receive`](Self::receive) returned.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Received<'_>> {
        assert!(index < self.filled, "the batch is shorter");
        // SAFETY: below `filled`, hence below the length of all allocations; the kernel is not using them.
        let (header, slot) = unsafe {
            (
                &*self.headers.as_ptr().cast::<libc::mmsghdr>().add(index),
                &*self.slots.as_ptr().cast::<Slot>().add(index),
            )
        };
        let length = (header.msg_len as usize).min(slot.iov.iov_len);
        // SAFETY: within this datagram's stride, initialised when allocated, and unchanged until the next receive.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                self.bytes.as_ptr().cast::<u8>().add(index * self.stride),
                length,
            )
        };
        let mut received = Received {
            from: slot.name.read()?,
            to: None,
            bytes,
            stamp_ns: None,
            overflow: None,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        read_control(&header.msg_hdr, &mut received);
        Some(received)
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("messages", &self.capacity()).finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SAFETY: the three came from Box::leak in new, and nothing borrows from them any more.
        unsafe {
            drop(Box::from_raw(self.headers.as_ptr()));
            drop(Box::from_raw(self.slots.as_ptr()));
            drop(Box::from_raw(self.bytes.as_ptr()));
        }
    }
}

// SAFETY: the pointers are owned, as a Box would; no thread's identity matters.
unsafe impl Send for Receiver {}

fn leak<T>(items: Vec<T>) -> NonNull<[T]> {
    NonNull::from(Box::leak(items.into_boxed_slice()))
}

fn read_control(header: &libc::msghdr, received: &mut Received<'_>) {
    // SAFETY: the kernel set msg_control and msg_controllen to well-formed control messages.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the control buffer, and the kernel
        // wrote as much data behind it as its type has.
        unsafe {
            let data = libc::CMSG_DATA(next);
            match ((*next).cmsg_level, (*next).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp: libc::timespec = data.cast::<libc::timespec>().read_unaligned();
                    received.stamp_ns = nanoseconds(stamp);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    received.overflow = Some(data.cast::<u32>().read_unaligned());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                    received.to =
                        Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    received.to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
}

fn nanoseconds(stamp: libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(stamp.tv_sec).ok()?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(stamp.tv_nsec).ok()?))
}
