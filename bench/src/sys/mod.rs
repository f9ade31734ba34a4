//! System calls: owns every unsafe line of the crate (batched datagrams with source addresses, socket options, this thread's CPU
//! time, interrupts, what a child process is before it runs) and knows nothing of SIP.

mod batch;
mod child;
mod interrupt;

pub(crate) use batch::{BATCH, Datagram, ReceiveBatch, SendBatch};
pub(crate) use child::{end_with_us, stay_on};
pub(crate) use interrupt::Interrupts;

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Asks the kernel to say with each datagram which address it was sent to.
pub(crate) fn report_destination(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1_i32.to_ne_bytes())
}

/// Takes traffic of the loopback interface only, although the socket is bound to any address.
pub(crate) fn loopback_only(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")
}

/// Sets both socket buffers, beyond the system's limit where the privilege allows.
pub(crate) fn size_buffers(socket: &UdpSocket, bytes: i32) -> io::Result<()> {
    let value = bytes.to_ne_bytes();
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        if set_option(socket, libc::SOL_SOCKET, force, &value).is_err() {
            set_option(socket, libc::SOL_SOCKET, plain, &value)?;
        }
    }
    Ok(())
}

/// Lets the calling thread's sleeps end within a microsecond, not the usual fifty.
pub(crate) fn wake_punctually() -> io::Result<()> {
    // SAFETY: this option takes a number and touches no memory.
    let outcome = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000_u64) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(outcome, 0, "every Linux has a thread CPU clock");
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The CPUs on which the calling thread may run.
pub(crate) fn own_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to `cpu`; false where that is not possible.
pub fn pin_to_cpu(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

fn set_option(socket: &UdpSocket, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = u32::try_from(value.len()).expect("options are short");
    // SAFETY: pointer and length describe `value`, which the kernel only reads.
    let outcome =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
