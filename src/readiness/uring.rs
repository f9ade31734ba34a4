//! The implementation on `io_uring`: a glommio executor that is tied to the core. It is the only file that names glommio,
//! and uses its sockets for nothing but waiting: its `send_to` sends one byte of a message when the buffer is full.

use super::sources::Sources;
use super::{Readiness, Settings, Task, Woken};
use crate::sys;
use crate::sys::event::Event;
use glommio::io::BufferedFile;
use glommio::net::UdpSocket;
use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The operations that glommio looks for, by number: from NOP to `WRITE_FIXED`, both POLL ones, from SENDMSG to
/// `TIMEOUT_REMOVE`, ACCEPT, from `LINK_TIMEOUT` to CLOSE, from STATX to WRITE, SEND and RECV.
pub(super) const OPERATIONS: &[u8] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21, 22, 23, 26, 27];

/// glommio refuses to start below this.
pub(super) const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// How long a task may run before glommio wants another to run: practically for ever. A busy loop never yields: there is nobody
/// to take turns with, as it looks into rings and phase itself and the watchers have nothing to do meanwhile. A short time is
/// dangerous: where the scheduler takes the CPU away for longer than it between setting that timer and running the first
/// task, glommio 0.9 believes that there is nothing to run and sleeps until the kernel reports something, which may be never.
const PREEMPT_AFTER: Duration = Duration::from_secs(10);

/// Registered memory of an executor; nothing here reads files, so the least there is.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// How long the executor is given to take back what it had asked of the kernel.
const FAREWELL: Duration = Duration::from_millis(2);

/// A glommio executor on the thread that made it.
#[derive(Debug)]
pub(super) struct Executor(LocalExecutor);

impl Executor {
    pub(super) fn new(settings: Settings) -> io::Result<Executor> {
        let builder = |placement| {
            LocalExecutorBuilder::new(placement)
                .preempt_timer(PREEMPT_AFTER)
                .io_memory(IO_MEMORY_BYTES)
                .spin_before_park(settings.spin)
                .make()
        };
        if let Some(cpu) = settings.cpu
            && let Ok(executor) = builder(Placement::Fixed(cpu))
        {
            return Ok(Executor(executor));
        }
        // A CPU that is not to be had costs speed, not service.
        let executor = builder(Placement::Unbound);
        Ok(Executor(executor.map_err(|error| io::Error::other(error.to_string()))?))
    }

    pub(super) fn run<T: Task + 'static>(
        self,
        make: impl FnOnce() -> T + 'static,
    ) -> io::Result<T::Output>
    where
        T::Output: 'static,
    {
        // A task carries its counters along, some ninety kilobytes of them, and the executor passes it on by value from function
        // to function: on the heap, since a stack has two megabytes.
        self.0.run(Box::pin(async move {
            let task = make();
            let readiness = Uring::new(&task.sockets(), task.bell())?;
            let watchers = readiness.watchers.clone();
            let output = task.run(readiness).await;
            let watchers = watchers.take();
            for watcher in watchers {
                watcher.cancel().await;
            }
            // The kernel still knows the buffers of cancelled operations; they are freed when it has said so.
            Timer::new(FAREWELL).await;
            Ok(output)
        }))
    }
}

/// What the loop and the watchers of its sources share.
#[derive(Default)]
struct Shared {
    /// A source reported something since the last wait.
    rung: Cell<bool>,
    /// One of the reports was an error.
    error: Cell<bool>,
    /// The loop, while it waits.
    waiting: RefCell<Option<Waker>>,
    /// Watchers that have reported and are not looking until the next wait.
    resting: RefCell<Vec<Waker>>,
    /// Counts the waits, so that a watcher knows when to look again.
    turn: Cell<u64>,
}

type Watcher = glommio::Task<()>;

/// One task watches each source and keeps its request in the kernel across deadlines and wakes: asking anew would mean
/// cancelling, and polling a pending request from the loop would grow its list of wakers each time.
struct Uring {
    /// The sockets once more, without the bell, which its watcher silences.
    sources: Sources,
    shared: Rc<Shared>,
    watchers: Rc<RefCell<Vec<Watcher>>>,
    timer: Pin<Box<Timer>>,
    fires_at: Instant,
}

impl Uring {
    fn new(sockets: &[&sys::socket::UdpSocket], bell: &Event) -> io::Result<Uring> {
        let sources = Sources::new(sockets, None)?;
        let shared = Rc::new(Shared::default());
        let mut watchers = Vec::new();
        for socket in sockets {
            let socket: UdpSocket = sys::adopt(socket.as_fd())?;
            watchers.push(glommio::spawn_local(watch_socket(socket, shared.clone())));
        }
        let bell: BufferedFile = sys::adopt(bell.as_fd())?;
        watchers.push(glommio::spawn_local(watch_bell(bell, shared.clone())));
        Ok(Uring {
            sources,
            shared,
            watchers: Rc::new(RefCell::new(watchers)),
            timer: Box::pin(Timer::new(Duration::ZERO)),
            fires_at: Instant::now(),
        })
    }

    /// Sets the timer, unless it will fire early enough anyway: firing too early costs one idle round.
    fn set_timer(&mut self, at_most: Duration) {
        let now = Instant::now();
        let wanted = now + at_most;
        if self.fires_at <= now || self.fires_at > wanted {
            self.timer = Box::pin(Timer::new(at_most));
            self.fires_at = wanted;
        }
    }
}

impl Readiness for Uring {
    async fn wait(&mut self, at_most: Duration) -> Woken {
        // A look costs one system call, a way through the executor about ten.
        if let Some(mut woken) = self.sources.look(Duration::ZERO) {
            woken.error |= self.shared.error.take();
            return woken;
        }
        if !self.shared.rung.get() {
            self.shared.turn.set(self.shared.turn.get() + 1);
            for watcher in self.shared.resting.borrow_mut().drain(..) {
                watcher.wake();
            }
            self.set_timer(at_most);
            let (shared, timer) = (&self.shared, &mut self.timer);
            poll_fn(|context| {
                if shared.rung.get() || timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                *shared.waiting.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            self.shared.waiting.borrow_mut().take();
        }
        self.shared.rung.set(false);
        let mut woken = self.sources.look(Duration::ZERO).unwrap_or_default();
        woken.error |= self.shared.error.take();
        woken
    }
}

impl Shared {
    fn report(&self, error: bool) {
        self.rung.set(true);
        self.error.set(self.error.get() | error);
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }

    /// Rests until the loop waits again.
    async fn next_wait(&self) {
        let reported_in = self.turn.get();
        poll_fn(|context: &mut Context<'_>| {
            if self.turn.get() != reported_in {
                return Poll::Ready(());
            }
            self.resting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

async fn watch_socket(socket: UdpSocket, shared: Rc<Shared>) {
    let mut first_byte = [0; 1];
    loop {
        let error = socket.peek_from(&mut first_byte).await.is_err();
        shared.report(error);
        shared.next_wait().await;
    }
}

async fn watch_bell(bell: BufferedFile, shared: Rc<Shared>) {
    loop {
        // Reading the count silences the bell.
        let error = bell.read_at(0, size_of::<u64>()).await.is_err();
        shared.report(error);
        shared.next_wait().await;
    }
}
