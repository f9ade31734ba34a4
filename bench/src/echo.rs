//! A bare UDP echo: the quickest server that plain batched sockets can make, and so the measure
//! of what the generator itself can do. It never looks at what it sends back.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys;

/// A running echo on a thread of its own; it ends when dropped.
pub struct Echo {
    address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts an echo on `at` (port 0: any), pinned to `cpu` if one is named.
    pub fn start(at: SocketAddrV4, cpu: Option<usize>) -> io::Result<Echo> {
        let socket = UdpSocket::bind(at)?;
        sys::report_destination(&socket)?;
        sys::size_buffers(&socket, 4 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let address = SocketAddrV4::new(*at.ip(), socket.local_addr()?.port());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("echo".into()).spawn(move || {
            if let Some(cpu) = cpu {
                sys::pin_to_cpu(cpu);
            }
            let mut batch = sys::ReceiveBatch::new();
            while !stopped.load(Ordering::Relaxed) {
                match batch.wait_and_receive(&socket) {
                    Ok(0) => {}
                    Ok(_) => {
                        if batch.echo(&socket).is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        })?;
        Ok(Echo { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // An echo that failed has already told through the missing answers.
            let _ended = thread.join();
        }
    }
}
