//! An epoll set, level-triggered.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What one descriptor reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number it was added with.
    pub token: u64,
    /// Whether an error is pending, which may come beside something to read.
    pub error: bool,
}

/// A set of descriptors to wait for.
pub struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    /// A set that reports up to `reports` descriptors at once.
    ///
    /// # Errors
    /// What `epoll_create1(2)` says: no descriptors left.
    pub fn new(reports: usize) -> io::Result<Epoll> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; reports.max(1)].into();
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Epoll { fd: unsafe { OwnedFd::from_raw_fd(fd) }, events })
    }

    /// Adds a descriptor, to be reported under `token` while there is something to read from it.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` says.
    #[allow(clippy::cast_sign_loss, reason = "a bit mask")]
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: the event outlives the call, which copies it.
        check(unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(())
    }

    /// Waits until a descriptor can be read or `at_most` has passed, rounded up to milliseconds. Interruption by a
    /// signal counts as time that passed.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the number of events"
    )]
    pub fn wait(&mut self, at_most: Duration) -> impl Iterator<Item = Report> + '_ {
        let milliseconds = at_most.as_nanos().div_ceil(1_000_000);
        // SAFETY: the pointer covers as many events as the call is told.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                libc::c_int::try_from(self.events.len()).unwrap_or(libc::c_int::MAX),
                libc::c_int::try_from(milliseconds).unwrap_or(libc::c_int::MAX),
            )
        };
        self.events[..count.max(0) as usize].iter().map(|event| Report {
            token: event.u64,
            error: event.events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
        })
    }
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll").field("fd", &self.fd).finish_non_exhaustive()
    }
}
