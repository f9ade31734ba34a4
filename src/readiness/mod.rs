//! Waiting: until a socket of this core can be read, its bell is rung, or time is up. Two implementations run the same
//! loop; neither ever reads a datagram.

mod epoll;
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

/// What ended a wait. Which sockets can be read is not said: the loop looks at all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// A socket reported an error: its error queue wants to be emptied.
    pub error: bool,
}

/// What a core waits with.
pub trait Readiness {
    /// Waits until a socket can be read, the bell is rung (which is silenced), or `at_most` has passed. It may also
    /// return for no reason.
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

    /// The sockets it reads.
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
