//! The implementation on epoll, which needs no permission. Its futures block inside and are ready at once.

use super::{Readiness, Settings, Task, Woken};
use crate::sys;
use crate::sys::event::Event;
use crate::sys::socket::UdpSocket;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const BELL: u64 = u64::MAX;

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
        let readiness = Epoll::new(&task.sockets(), task.bell(), self.spin)?;
        Ok(block_on(task.run(readiness)))
    }
}

struct Epoll {
    set: sys::epoll::Epoll,
    bell: Event,
    spin: Duration,
}

impl Epoll {
    fn new(sockets: &[&UdpSocket], bell: &Event, spin: Duration) -> io::Result<Epoll> {
        let set = sys::epoll::Epoll::new(sockets.len() + 1)?;
        for (token, socket) in (0..).zip(sockets) {
            set.add(socket.as_fd(), token)?;
        }
        let bell = bell.share()?;
        set.add(bell.as_fd(), BELL)?;
        Ok(Epoll { set, bell, spin })
    }

    fn look(&mut self, at_most: Duration) -> Option<Woken> {
        let mut found = None;
        for report in self.set.wait(at_most) {
            let woken = found.get_or_insert(Woken::default());
            if report.token == BELL {
                self.bell.silence();
            } else {
                woken.error |= report.error;
            }
        }
        found
    }
}

impl Readiness for Epoll {
    async fn wait(&mut self, at_most: Duration) -> Woken {
        let spin = self.spin.min(at_most);
        if !spin.is_zero() {
            let start = Instant::now();
            while start.elapsed() < spin {
                if let Some(woken) = self.look(Duration::ZERO) {
                    return woken;
                }
                std::hint::spin_loop();
            }
        }
        self.look(at_most - spin).unwrap_or_default()
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
