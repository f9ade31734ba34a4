//! SIGINT as a wish to end early, counted by a handler; a second one ends the process at once. It restores what was there before.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// As long as it lives, an interrupt only asks.
#[derive(Debug)]
pub(crate) struct Interrupts {
    before: libc::sigaction,
}

/// The usual exit status of a program that was interrupted.
const INTERRUPTED: i32 = 130;

extern "C" fn note(_signal: i32) {
    if COUNT.fetch_add(1, Ordering::Relaxed) > 0 {
        // SAFETY: it ends the process without running anything of it.
        unsafe { libc::_exit(INTERRUPTED) }
    }
}

impl Interrupts {
    /// Takes SIGINT over for the whole process.
    pub(crate) fn catch() -> io::Result<Interrupts> {
        COUNT.store(0, Ordering::Relaxed);
        // SAFETY: the structure is valid when zeroed: no flags, an empty mask.
        let (mut action, mut before): (libc::sigaction, libc::sigaction) =
            unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: both point to valid structures; the handler only counts and exits, which a signal handler may.
        if unsafe { libc::sigaction(libc::SIGINT, &raw const action, &raw mut before) } == 0 {
            Ok(Interrupts { before })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Whether one has come.
    pub(crate) fn came() -> bool {
        COUNT.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // SAFETY: what is put back is what the kernel gave.
        unsafe { libc::sigaction(libc::SIGINT, &raw const self.before, std::ptr::null_mut()) };
    }
}
