//! Asks the kernel how wide the terminal is; it writes nothing.

use std::os::fd::AsRawFd as _;

/// Columns of the terminal that standard error is, if it is one.
pub(super) fn columns_of_stderr() -> Option<usize> {
    // SAFETY: an all-zero winsize is valid; it holds integers only.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes a winsize where the pointer says, and one lives there for the time of the call.
    let result =
        unsafe { libc::ioctl(std::io::stderr().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
