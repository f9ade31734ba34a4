//! Whether this process may use `io_uring`, found out by asking for the smallest ring there is; and the limit on locked
//! memory that rings count against.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What one locked-memory limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memlock {
    /// The limit in force, in bytes.
    pub soft: u64,
    /// How far the process may raise it by itself.
    pub hard: u64,
}

/// Why there is no ring.
#[derive(Debug)]
pub enum Refusal {
    /// The kernel or a seccomp profile forbids it, or the kernel knows nothing of it.
    Forbidden,
    /// The kernel lacks an operation that is needed.
    TooOld,
    /// The limit on locked memory is too low.
    Memory,
    /// Something else.
    Other(io::Error),
}

/// Sets up a ring of one entry, checks that the kernel knows the operations in `needed`, and closes it.
///
/// # Errors
/// What stands in the way.
pub fn try_setup(needed: &[u8]) -> Result<(), Refusal> {
    let known = known_operations().map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Refusal::Forbidden,
        // Kernels before 5.6 can't be asked what they know.
        Some(libc::EINVAL) => Refusal::TooOld,
        Some(libc::ENOMEM) => Refusal::Memory,
        _ => Refusal::Other(error),
    })?;
    if needed.iter().all(|operation| known[usize::from(*operation)]) {
        Ok(())
    } else {
        Err(Refusal::TooOld)
    }
}

/// Which operations the kernel knows, by number.
fn known_operations() -> io::Result<[bool; 256]> {
    /// `struct io_uring_params`, of which only the size matters here: 120 bytes, all zero being "no wishes".
    #[repr(C)]
    struct Params([u64; 15]);
    let mut params = Params([0; 15]);
    // SAFETY: the kernel reads and writes at most 120 bytes of parameters.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, &raw mut params) };
    let fd = check(libc::c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let ring = unsafe { OwnedFd::from_raw_fd(fd) };

    /// `struct io_uring_probe` with room for every operation number: a header of 16 bytes, then 8 bytes each.
    #[repr(C)]
    struct Probe {
        header: [u8; 16],
        operations: [[u8; 8]; 256],
    }
    const REGISTER_PROBE: u32 = 8;
    const SUPPORTED: u8 = 1;
    let mut probe = Probe { header: [0; 16], operations: [[0; 8]; 256] };
    // SAFETY: the kernel writes at most the 256 entries it is told there is room for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_PROBE,
            &raw mut probe,
            256_u32,
        )
    };
    check(libc::c_int::try_from(result).unwrap_or(-1))?;
    // An entry is { op: u8, reserved: u8, flags: u16, reserved: u32 }.
    Ok(probe.operations.map(|entry| entry[2] & SUPPORTED != 0))
}

/// The limit on locked memory.
///
/// # Errors
/// What `getrlimit(2)` says.
pub fn memlock() -> io::Result<Memlock> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    Ok(Memlock { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the limit on locked memory to what the process may have.
///
/// # Errors
/// What `setrlimit(2)` says.
pub fn raise_memlock() -> io::Result<()> {
    let hard = memlock()?.hard;
    let limit = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
    Ok(())
}
