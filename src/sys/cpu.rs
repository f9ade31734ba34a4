//! Which CPUs this process may use, and tying a thread to one of them.

use super::check;
use std::io;

/// The CPUs that this thread may run on, by the kernel's numbers, ascending. Those that the process's cpuset or an
/// earlier `taskset` left out are not among them.
///
/// # Errors
/// What `sched_getaffinity(2)` says.
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size it is told, the set's own.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: CPU_ISSET reads within the set for numbers below its size.
    Ok((0..CPUS_MAX).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Ties the calling thread to one CPU.
///
/// # Errors
/// `EINVAL` where the CPU does not exist or is not allowed; what else `sched_setaffinity(2)` says.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CPUS_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads the size it is told, the set's own.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// How many CPUs the C library's set has room for.
const CPUS_MAX: usize = libc::CPU_SETSIZE as usize;

/// Lets threads of the usual priority go first: the calling thread gets a tenth of a CPU that others want whole.
///
/// # Errors
/// What `setpriority(2)` says.
pub fn let_others_go_first() -> io::Result<()> {
    // SAFETY: no pointers. On Linux a process id of 0 stands for the calling thread alone.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) }).map(drop)
}
