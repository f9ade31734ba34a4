//! The implementation on epoll, which needs no permission. Its futures block inside and are ready at once.

use super::sources::Sources;
use super::{Readiness, Settings, Task, Woken};
use crate::sys;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A thread that is tied to its CPU.
#[derive(Debug)]
pub(super) struct Executor {
    spin: Duration,
}

impl Executor {
    pub(super) fn new(settings: Settings) -> Executor {
        if let Some(cpu) = settings.cpu {
            // A CPU that is not to be had costs speed, not service.
            let _ = sys::cpu::pin(cpu);
        }
        Executor { spin: settings.spin }
    }

    pub(super) fn run<T: Task>(self, make: impl FnOnce() -> T) -> io::Result<T::Output> {
        let task = make();
        let sources = Sources::new(&task.sockets(), Some(task.bell()))?;
        let readiness = Epoll { sources, spin: self.spin };
        Ok(block_on(task.run(readiness)))
    }
}

struct Epoll {
    sources: Sources,
    spin: Duration,
}

impl Readiness for Epoll {
    async fn wait(&mut self, at_most: Duration) -> Woken {
        let spin = self.spin.min(at_most);
        if !spin.is_zero() {
            let start = Instant::now();
            while start.elapsed() < spin {
                if let Some(woken) = self.sources.look(Duration::ZERO) {
                    return woken;
                }
                std::hint::spin_loop();
            }
        }
        self.sources.look(at_most - spin).unwrap_or_default()
    }
}

/// Runs a future that never waits for anything but itself.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
