//! Batches of datagrams that cross the kernel in one call, each with a source address of its own. It owns their memory, and knows
//! nothing of what is in them.

#![allow(
    clippy::cast_possible_truncation,
    reason = "lengths of batches and of C structures fit the types of their C fields"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// Datagrams that one system call moves at most.
pub(crate) const BATCH: usize = 64;

/// Room for one datagram. An odd number of cache lines, so that the slots of a batch do not fall
/// on the same few sets of the first-level cache.
pub(crate) const SLOT_BYTES: usize = 33 * 64;

/// One `IP_PKTINFO` control message as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct PacketInfo {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
    padding: u32,
}

/// `IP_PKTINFO` and, behind it, a `UDP_SEGMENT` control message.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    packet_info: PacketInfo,
    segment_header: libc::cmsghdr,
    segment_bytes: u16,
    padding: [u8; 6],
}

/// Datagrams that leave as one message at most: far below the kernel's limits of segments and of
/// bytes for messages that fit a slot.
const SEGMENTS_MAX: usize = 16;

// SAFETY: CMSG_SPACE only computes a length.
const _: () = assert!(
    unsafe { libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) } as usize
        == size_of::<PacketInfo>()
);

#[repr(C)]
struct Storage {
    bytes: [[u8; SLOT_BYTES]; BATCH],
    names: [libc::sockaddr_in; BATCH],
    controls: [Control; BATCH],
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

/// Memory for one batch of datagrams, wired to message headers once.
struct Slots(NonNull<Storage>);

// SAFETY: the storage is owned by this value alone and holds no thread-bound state.
unsafe impl Send for Slots {}

impl Slots {
    fn new() -> Slots {
        let layout = Layout::new::<Storage>();
        // SAFETY: the layout is not empty; every field of Storage is valid when zeroed.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(storage) = NonNull::new(memory.cast::<Storage>()) else {
            handle_alloc_error(layout)
        };
        let s = storage.as_ptr();
        for i in 0..BATCH {
            // SAFETY: `s` points to zeroed, owned storage; all writes stay inside its fields,
            // and the pointers stored in it are derived from `s` and live as long as it does.
            unsafe {
                (*s).vectors[i] =
                    libc::iovec { iov_base: (&raw mut (*s).bytes[i]).cast(), iov_len: SLOT_BYTES };
                let header = &raw mut (*s).headers[i].msg_hdr;
                (*header).msg_name = (&raw mut (*s).names[i]).cast();
                (*header).msg_iov = &raw mut (*s).vectors[i];
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*s).controls[i]).cast();
            }
        }
        Slots(storage)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout and freed once, here.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<Storage>()) }
    }
}

/// Datagrams to be sent from one socket, each from a source address of its own.
pub(crate) struct SendBatch {
    slots: Slots,
    filled: usize,
}

impl SendBatch {
    /// An empty batch whose datagrams go to `to`.
    pub(crate) fn new(to: SocketAddrV4) -> SendBatch {
        let slots = Slots::new();
        let s = slots.0.as_ptr();
        for i in 0..BATCH {
            // SAFETY: `s` is the owned storage; the writes stay inside its fields.
            unsafe {
                (*s).names[i] = address_to_c(to);
                (*s).controls[i].packet_info.header = libc::cmsghdr {
                    cmsg_len: libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize,
                    cmsg_level: libc::IPPROTO_IP,
                    cmsg_type: libc::IP_PKTINFO,
                };
                (*s).controls[i].segment_header = libc::cmsghdr {
                    cmsg_len: libc::CMSG_LEN(size_of::<u16>() as u32) as usize,
                    cmsg_level: libc::SOL_UDP,
                    cmsg_type: libc::UDP_SEGMENT,
                };
                let header = &raw mut (*s).headers[i].msg_hdr;
                (*header).msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            }
        }
        SendBatch { slots, filled: 0 }
    }

    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Forgets what is queued.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Copies `message` into every slot, so that later only the changing bytes are written.
    pub(crate) fn prefill(&mut self, message: &[u8]) {
        assert!(message.len() <= SLOT_BYTES, "a message fits a slot");
        assert_eq!(self.filled, 0, "nothing waits to be sent");
        for i in 0..BATCH {
            self.slot(i)[..message.len()].copy_from_slice(message);
        }
    }

    /// The next free slot, with what it held before. The batch must not be full.
    pub(crate) fn next_slot(&mut self) -> &mut [u8] {
        assert!(self.filled < BATCH, "the batch has room");
        self.slot(self.filled)
    }

    /// Queues the first `length` bytes of the next slot, to be sent from `source`.
    pub(crate) fn push(&mut self, source: Ipv4Addr, length: usize) {
        assert!(self.filled < BATCH && length <= SLOT_BYTES, "the datagram fits");
        let s = self.slots.0.as_ptr();
        // SAFETY: the index is in bounds and the storage is owned by this batch.
        unsafe {
            (*s).vectors[self.filled].iov_len = length;
            (*s).controls[self.filled].packet_info.info.ipi_spec_dst = address_bits(source);
        }
        self.filled += 1;
    }

    /// Sends everything that is queued; answers how often the kernel had no room at first.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> io::Result<u64> {
        let messages = self.gather();
        let mut blocked = 0;
        let mut sent = 0;
        while sent < messages {
            // SAFETY: headers `sent..messages` are wired to live slots of this storage.
            let outcome = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    (&raw mut (*self.slots.0.as_ptr()).headers[sent]),
                    (messages - sent) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(outcome) {
                Ok(n) => sent += n,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::EAGAIN | libc::ENOBUFS) if blocked < 1_000_000 => blocked += 1,
                        Some(libc::EINTR) => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        self.filled = 0;
        Ok(blocked)
    }

    /// Makes messages of the filled slots: neighbours of equal length and source become one
    /// message, which the kernel takes apart again. Answers how many messages there are.
    fn gather(&mut self) -> usize {
        let s = self.slots.0.as_ptr();
        let (mut messages, mut first) = (0, 0);
        while first < self.filled {
            // SAFETY: all indices are below `filled`, so in bounds of the owned storage; the
            // pointers stored point into that storage. `s_addr` and lengths are plain numbers.
            unsafe {
                let source = (*s).controls[first].packet_info.info.ipi_spec_dst.s_addr;
                let length = (*s).vectors[first].iov_len;
                let mut end = first + 1;
                while end < self.filled
                    && end - first < SEGMENTS_MAX
                    && (*s).vectors[end].iov_len == length
                    && (*s).controls[end].packet_info.info.ipi_spec_dst.s_addr == source
                {
                    end += 1;
                }
                let header = &raw mut (*s).headers[messages].msg_hdr;
                (*header).msg_name = (&raw mut (*s).names[first]).cast();
                (*header).msg_iov = &raw mut (*s).vectors[first];
                (*header).msg_iovlen = end - first;
                (*header).msg_control = (&raw mut (*s).controls[first]).cast();
                (*header).msg_controllen = if end - first == 1 {
                    size_of::<PacketInfo>()
                } else {
                    (*s).controls[first].segment_bytes = length as u16;
                    size_of::<Control>()
                };
                first = end;
            }
            messages += 1;
        }
        messages
    }

    fn slot(&mut self, i: usize) -> &mut [u8] {
        // SAFETY: the slot is initialised and owned; the borrow of self keeps it exclusive.
        unsafe { &mut (*self.slots.0.as_ptr()).bytes[i] }
    }
}

/// Datagrams read from one socket with the address each of them was sent to.
pub(crate) struct ReceiveBatch {
    slots: Slots,
    used: usize,
}

/// A datagram as it was received.
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: Ipv4Addr,
    pub(crate) bytes: &'a [u8],
}

impl ReceiveBatch {
    pub(crate) fn new() -> ReceiveBatch {
        ReceiveBatch { slots: Slots::new(), used: BATCH }
    }

    /// Reads what waits in `socket`, up to a batch, without waiting; answers how many came.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.receive_with(socket, libc::MSG_DONTWAIT)
    }

    /// The same, but sleeps until something comes or the socket's read timeout passes.
    pub(crate) fn wait_and_receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.receive_with(socket, libc::MSG_WAITFORONE)
    }

    fn receive_with(&mut self, socket: &UdpSocket, flags: i32) -> io::Result<usize> {
        let s = self.slots.0.as_ptr();
        for i in 0..self.used {
            // SAFETY: in bounds of the owned storage. The kernel overwrote these lengths.
            unsafe {
                let header = &raw mut (*s).headers[i].msg_hdr;
                (*header).msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                (*header).msg_controllen = size_of::<PacketInfo>();
            }
        }
        self.used = 0;
        // SAFETY: all headers are wired to live slots of this storage.
        let outcome = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                (&raw mut (*s).headers).cast(),
                BATCH as u32,
                flags,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(outcome) {
            Ok(n) => {
                self.used = n;
                Ok(n)
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR | libc::ECONNREFUSED) => Ok(0),
                    _ => Err(error),
                }
            }
        }
    }

    /// The datagrams of the last [`ReceiveBatch::receive`].
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let s = self.slots.0.as_ptr();
        (0..self.used).map(move |i| {
            // SAFETY: slots below `used` were filled by the kernel, which never writes more than
            // a slot; the borrow of self keeps them unchanged.
            unsafe {
                let length = ((*s).headers[i].msg_len as usize).min(SLOT_BYTES);
                let bytes: &[u8; SLOT_BYTES] = &(*s).bytes[i];
                let name = (*s).names[i];
                let control = (*s).controls[i].packet_info;
                Datagram {
                    from: SocketAddrV4::new(
                        Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                        u16::from_be(name.sin_port),
                    ),
                    to: Ipv4Addr::from(u32::from_be(control.info.ipi_addr.s_addr)),
                    bytes: &bytes[..length],
                }
            }
        })
    }

    /// Sends every datagram of the last receive back where it came from, from where it arrived.
    pub(crate) fn echo(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let s = self.slots.0.as_ptr();
        for i in 0..self.used {
            // SAFETY: in bounds of the owned storage.
            unsafe {
                (*s).vectors[i].iov_len = ((*s).headers[i].msg_len as usize).min(SLOT_BYTES);
                let info = &raw mut (*s).controls[i].packet_info.info;
                (*info).ipi_spec_dst = (*info).ipi_addr;
                (*info).ipi_ifindex = 0;
            }
        }
        let mut sent = 0;
        while sent < self.used {
            // SAFETY: headers `sent..used` are wired to live slots of this storage.
            let outcome = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    (&raw mut (*s).headers[sent]),
                    (self.used - sent) as u32,
                    0,
                )
            };
            match usize::try_from(outcome) {
                Ok(n) => sent += n,
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        for i in 0..self.used {
            // SAFETY: in bounds of the owned storage.
            unsafe { (*s).vectors[i].iov_len = SLOT_BYTES };
        }
        Ok(())
    }
}

fn address_to_c(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: address_bits(*address.ip()),
        sin_zero: [0; 8],
    }
}

fn address_bits(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from(address).to_be() }
}
