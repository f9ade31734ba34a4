//! Waiting: until a socket of this core can be read, its bell is rung, or time is up. Two implementations run the same
//! loop; neither ever reads a datagram.
//!
//! `io = "auto"` is epoll. With both on a core of their own (Linux 6.18, 505-byte datagrams, an echo), glommio 0.9 costs
//! twice as much CPU a datagram wherever the core sleeps between them: 32 us against 15 at 20,000/s, 18 against 9.4 at
//! 50,000/s; only at saturation, where nobody sleeps, they are equal. Each sleep goes through glommio's executor, which
//! cancels a preemption timer and a timer on the number of completions and sets them anew, before and after: four to seven
//! `io_uring_enter`, and no setting does without. epoll takes three system calls from datagram to datagram: wait, read,
//! send.

mod epoll;
mod sources;
mod uring;

use crate::sys::event::Event;
use crate::sys::socket::UdpSocket;
use std::future::Future;
use std::io;
use std::time::Duration;

/// How a core waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A glommio executor on `io_uring`.
    Uring,
    /// epoll.
    Epoll,
}

impl Backend {
    /// The word for it in the configuration and in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Backend::Uring => "io_uring",
            Backend::Epoll => "epoll",
        }
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// The sockets that have something to read.
    pub readable: Readable,
    /// A socket reported an error: its error queue wants to be emptied.
    pub error: bool,
}

/// Some of a task's sockets, by their place in [`Task::sockets`]. The 64th place stands for all from there on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readable(u64);

impl Readable {
    /// Every socket.
    pub const ALL: Readable = Readable(u64::MAX);

    /// Adds the socket at `place`.
    pub fn insert(&mut self, place: usize) {
        self.0 |= 1 << place.min(63);
    }

    /// Whether the socket at `place` is among them.
    #[must_use]
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place.min(63)) != 0
    }
}

/// What a core waits with.
pub trait Readiness {
    /// Waits until a socket can be read, the bell is rung (which is silenced), or `at_most` has passed. It may also
    /// return for no reason. It goes by what is there, not by what is new: a socket that was left with something in it
    /// ends the next wait at once.
    fn wait(&mut self, at_most: Duration) -> impl Future<Output = Woken>;
}

/// How a core waits, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The CPU the thread is tied to; `None` lets the scheduler choose.
    pub cpu: Option<usize>,
    /// How long to look again and again before sleeping.
    pub spin: Duration,
}

/// What runs on a core, on either implementation: written once, compiled for each.
pub trait Task {
    /// What it leaves behind.
    type Output;

    /// The sockets it reads, in the order that [`Readable`] numbers.
    fn sockets(&self) -> Vec<&UdpSocket>;

    /// The bell by which others wake it.
    fn bell(&self) -> &Event;

    /// Runs to its end.
    fn run<R: Readiness>(self, readiness: R) -> impl Future<Output = Self::Output>;
}

/// What a thread runs its task on. It belongs to the thread that made it.
#[derive(Debug)]
pub struct Executor(Kind);

#[derive(Debug)]
enum Kind {
    Uring(uring::Executor),
    Epoll(epoll::Executor),
}

impl Executor {
    /// Ties the calling thread to its CPU and sets up what `backend` needs.
    ///
    /// # Errors
    /// The kernel refused rings to this thread: permission, memory or descriptors.
    pub fn new(backend: Backend, settings: Settings) -> io::Result<Executor> {
        Ok(Executor(match backend {
            Backend::Uring => Kind::Uring(uring::Executor::new(settings)?),
            Backend::Epoll => Kind::Epoll(epoll::Executor::new(settings)),
        }))
    }

    /// Runs a task that `make` builds on this thread, so that its memory is local to the CPU.
    ///
    /// # Errors
    /// No descriptors were left for waiting; the task did not start then.
    pub fn run<T: Task + 'static>(self, make: impl FnOnce() -> T + 'static) -> io::Result<T::Output>
    where
        T::Output: 'static,
    {
        match self.0 {
            Kind::Uring(executor) => executor.run(make),
            Kind::Epoll(executor) => executor.run(make),
        }
    }
}

/// The operations that the executor checks the kernel for, by number; see `linux/io_uring.h`.
pub const URING_OPERATIONS: &[u8] = uring::OPERATIONS;

/// Locked memory that each executor insists on being allowed.
pub const URING_MEMLOCK_BYTES_MIN: u64 = uring::MEMLOCK_BYTES_MIN;

#[cfg(test)]
mod tests {
    use super::Readable;

    #[test]
    fn places_beyond_the_last_are_taken_together() {
        let mut readable = Readable::default();
        readable.insert(2);
        assert_eq!(
            [0, 1, 2, 3, 63].map(|place| readable.has(place)),
            [false, false, true, false, false]
        );
        readable.insert(100);
        assert_eq!([62, 63, 64, 1000].map(|place| readable.has(place)), [false, true, true, true]);
        assert!([0, 63, 64].iter().all(|&place| Readable::ALL.has(place)));
    }
}
