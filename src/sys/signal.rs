//! Signals, taken one by one by the thread that asks for them; no handler ever runs.

use super::check;
use std::io;

/// A signal that Seawall acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end in good order.
    Terminate,
    /// SIGINT: the same, from a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
}

impl Signal {
    /// The kernel's number for it.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
            Signal::Hangup => libc::SIGHUP,
        }
    }
}

/// The right to wait for signals: they are blocked in the thread that made it and in all that it starts afterwards.
#[derive(Debug)]
pub struct Signals {
    _private: (),
}

impl Signals {
    /// Blocks the signals in this thread and those it will start.
    ///
    /// # Errors
    /// What `pthread_sigmask(3)` says.
    pub fn block() -> io::Result<Signals> {
        let set = set();
        // SAFETY: the set is initialised; the old mask is not asked for.
        match unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
        } {
            0 => Ok(Signals { _private: () }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    /// What `sigwaitinfo(2)` says, other than being interrupted.
    pub fn wait(&self) -> io::Result<Signal> {
        let set = set();
        loop {
            // SAFETY: the set is initialised; details are not asked for.
            match check(unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) }) {
                Ok(libc::SIGTERM) => return Ok(Signal::Terminate),
                Ok(libc::SIGINT) => return Ok(Signal::Interrupt),
                Ok(libc::SIGHUP) => return Ok(Signal::Hangup),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn set() -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before anything reads it; the numbers are valid.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        set
    }
}
