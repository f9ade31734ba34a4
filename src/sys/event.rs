//! An eventfd: the bell by which one thread wakes another that waits in the kernel.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::unix::AsyncFd;

/// A bell. It stays rung until it is silenced. Like the sockets those of the cores block, so that `io_uring` can wait for
/// them; reading is only done once they are known to have been rung.
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

    /// A bell that nobody has rung, and that [`silence_if_rung`](Self::silence_if_rung) may be asked of.
    ///
    /// # Errors
    /// What `eventfd(2)` says: no descriptors left.
    pub fn nonblocking() -> io::Result<Event> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
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

    /// A bell that tasks of the calling runtime can wait for. It has to be one that does not block.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` says.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn awaited(self) -> io::Result<AsyncFd<Event>> {
        // SAFETY: as_raw_fd gives the descriptor that the bell owns, always the same one, open for as long as the bell lives.
        Ok(unsafe { AsyncFd::register(self) }?)
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
        let was_rung = self.silence_if_rung();
        debug_assert!(was_rung, "an eventfd that was rung returns its count");
    }

    /// Silences a bell; false where nobody has rung it. One that blocks has to be known to have been rung.
    pub fn silence_if_rung(&self) -> bool {
        let mut count: u64 = 0;
        // SAFETY: the pointer covers the eight bytes that an eventfd returns.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        read == 8
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
