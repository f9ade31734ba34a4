//! What a child process is made to be before its program begins. It starts none itself.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the program of `command` end when the calling thread ends, however that happens, and run on these CPUs only (all: none named).
/// It gets a process group of its own, so that an interrupt from the terminal is not its business.
pub(crate) fn end_with_us(command: &mut Command, cpus: &[usize]) {
    let set = (!cpus.is_empty()).then(|| set_of(cpus));
    command.process_group(0);
    let prepare = move || {
        // SAFETY: this option takes a number and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(set) = &set {
            // SAFETY: pointer and size describe `set`, which the kernel only reads.
            if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made, and an error is made of a number: nothing is locked or allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Keeps the calling thread, and those that it starts, to these CPUs; false where that is not possible.
pub(crate) fn stay_on(cpus: &[usize]) -> bool {
    let set = set_of(cpus);
    // SAFETY: pointer and size describe `set`, which the kernel only reads.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0 }
}

fn set_of(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a set of bits is valid when zeroed.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}
