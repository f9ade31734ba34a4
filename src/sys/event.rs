//! An eventfd: the bell by which one thread wakes another that waits in the kernel.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A bell. It stays rung until it is silenced. Like the sockets it blocks, so that `io_uring` can wait for it; reading is
/// only done once it is known to have been rung.
#[derive(Debug)]
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// What `eventfd(2)` says: no descriptors left.
    pub fn new() -> io::Result<Event> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Event { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The same bell once more.
    ///
    /// # Errors
    /// What `fcntl(2)` says: no descriptors left.
    pub fn share(&self) -> io::Result<Event> {
        Ok(Event { fd: self.fd.try_clone()? })
    }

    /// Rings. Never blocks: that would take 2^64 - 2 rings that nobody heard.
    pub fn ring(&self) {
        let one: u64 = 1;
        // SAFETY: the pointer covers the eight bytes that an eventfd takes.
        let written = unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
        debug_assert_eq!(written, 8, "an eventfd takes a small count");
    }

    /// Silences a bell that is known to have been rung.
    pub fn silence(&self) {
        let mut count: u64 = 0;
        // SAFETY: the pointer covers the eight bytes that an eventfd returns.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        debug_assert_eq!(read, 8, "an eventfd that was rung returns its count");
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
