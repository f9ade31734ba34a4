//! The kernel, made safe: every unsafe block of Seawall is in this folder, and nothing here knows SIP, shards or cores'
//! work. Each function is one system call, or the few that only make sense together.

pub mod bpf;
pub mod cpu;
pub mod epoll;
pub mod errors;
pub mod event;
pub mod interfaces;
pub mod memory;
pub mod prefetch;
pub mod receive;
pub mod send;
pub mod signal;
pub mod socket;
pub mod uring;

mod address;

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};

/// A second descriptor for what `fd` stands for, owned by a type that only takes raw ones.
///
/// # Errors
/// What `fcntl(2)` says: no descriptors left.
pub fn adopt<T: FromRawFd>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let owned = fd.try_clone_to_owned()?;
    // SAFETY: the descriptor is open and ours to give away, which is all that from_raw_fd asks for.
    Ok(unsafe { T::from_raw_fd(owned.into_raw_fd()) })
}

/// Whether an error says that this process has as many descriptors as it may.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

/// A system call's result: -1 means that errno says why.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
