//! What a core can be woken by, in one epoll set: its sockets and, where nobody else listens for it, its
//! bell. It looks at them, and never reads a datagram.

use super::Woken;
use crate::sys::epoll::Epoll;
use crate::sys::event::Event;
use crate::sys::socket::UdpSocket;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

const BELL: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Sources {
    set: Epoll,
    bell: Option<Event>,
}

impl Sources {
    pub(super) fn new(sockets: &[&UdpSocket], bell: Option<&Event>) -> io::Result<Sources> {
        let set = Epoll::new(sockets.len() + 1)?;
        for (place, socket) in (0..).zip(sockets) {
            set.add(socket.as_fd(), place)?;
        }
        let bell = bell.map(Event::share).transpose()?;
        if let Some(bell) = &bell {
            set.add(bell.as_fd(), BELL)?;
        }
        Ok(Sources { set, bell })
    }

    /// Blocks for `at_most`; `None` where nothing happened. A bell that rang is silenced.
    pub(super) fn look(&mut self, at_most: Duration) -> Option<Woken> {
        let mut found = None;
        for report in self.set.wait(at_most) {
            let woken = found.get_or_insert(Woken::default());
            if let (BELL, Some(bell)) = (report.token, &self.bell) {
                bell.silence();
            } else {
                // Reading also takes an error away that was reported beside no datagram.
                woken.readable.insert(usize::try_from(report.token).unwrap_or(usize::MAX));
                woken.error |= report.error;
            }
        }
        found
    }
}
