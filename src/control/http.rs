//! HTTP for people who may be slow, dead or many: few connections at a time, few requests a second, each with a deadline.
//! What is served is not decided here.

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

/// Connections at a time. Beyond, the one that has waited longest without asking anything makes room.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may last, which carries one request, unless its [`Patience`] is extended.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// What a piece of a long answer, some 40 KiB, that the client has made room for adds to that, up to as much again as at the
/// start: whoever reads more slowly than 40 KiB a second does not keep others waiting.
const PIECE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may last at most.
const CONNECTION_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// A request each so often, and a burst: at a tenth of a millisecond a request, whoever asks without end gets 1 % of a CPU.
const REQUESTS: Rate = Rate { interval: Duration::from_millis(10), burst: 100 };
/// The same for connections, which cost less: those that never ask must not keep out those that do.
const CONNECTIONS: Rate = Rate { interval: Duration::from_millis(1), burst: 1000 };
/// Bytes of a request's head, and of a response that waits for its reader.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Serves `routes` until the task is dropped.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let requests = Arc::new(Mutex::new(Pace::new(REQUESTS)));
    let mut connections = Pace::new(CONNECTIONS);
    let silent = Arc::new(Silent::default());
    for number in 0_u64.. {
        sleep_until(connections.next()).await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or the client was gone already. Neither is cured by trying at once.
                warn!("the admin address can't accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            silent.end_oldest();
        }
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let connection = Connection {
            number,
            routes: routes.clone(),
            requests: Arc::clone(&requests),
            silent: Arc::clone(&silent),
            patience: Arc::new(Patience::new()),
        };
        let task = tokio::spawn(async move {
            connection.serve(stream).await;
            drop(place);
        });
        silent.connections().push_back((number, task.abort_handle()));
    }
}

/// How long a connection may last. It stands among the extensions of its request.
#[derive(Debug)]
pub(super) struct Patience {
    until: Mutex<Instant>,
    at_most: Instant,
}

impl Patience {
    fn new() -> Self {
        let now = Instant::now();
        Patience {
            until: Mutex::new(now + CONNECTION_TIMEOUT),
            at_most: now + CONNECTION_TIMEOUT_MAX,
        }
    }

    /// The client has made room for another piece of the answer, so it may go on for a while.
    pub(super) fn extend(&self) {
        let at_most = (Instant::now() + CONNECTION_TIMEOUT).min(self.at_most);
        let mut until = self.until();
        *until = (*until + PIECE_TIMEOUT).min(at_most);
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection go on for as long as it may.
    async fn bear(&self, connection: impl Future) {
        let mut connection = std::pin::pin!(connection);
        loop {
            let until = *self.until();
            let is_over = timeout_at(until, &mut connection).await.is_ok();
            if is_over || *self.until() <= until {
                return;
            }
        }
    }
}

/// The connections that have not asked anything yet, the oldest first.
#[derive(Debug, Default)]
struct Silent(Mutex<VecDeque<(u64, AbortHandle)>>);

impl Silent {
    fn connections(&self) -> MutexGuard<'_, VecDeque<(u64, AbortHandle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_oldest(&self) {
        if let Some((_, oldest)) = self.connections().pop_front() {
            oldest.abort();
        }
    }

    fn remove(&self, number: u64) {
        let mut connections = self.connections();
        if let Ok(place) = connections.binary_search_by_key(&number, |&(number, _)| number) {
            connections.remove(place);
        }
    }
}

/// One connection and what it shares with the others.
struct Connection {
    number: u64,
    routes: Router,
    requests: Arc<Mutex<Pace>>,
    silent: Arc<Silent>,
    patience: Arc<Patience>,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let routes = TowerToHyperService::new(self.routes.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(BUFFER_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
                    self.silent.remove(self.number);
                    request.extensions_mut().insert(Arc::clone(&self.patience));
                    let turn = self.requests.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let routes = &routes;
                    async move {
                        sleep_until(turn).await;
                        routes.call(request).await
                    }
                }),
            );
        // A client that is cut off knows it; there is nothing to tell anybody else.
        self.patience.bear(connection).await;
        self.silent.remove(self.number);
    }
}

/// How often something may happen, in the mean, and how often at once after idle time.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval: Duration,
    burst: u32,
}

/// Keeps a rate.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    /// When the next would be due without a burst.
    due: Instant,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        Pace { rate, due: Instant::now() }
    }

    /// When the next may happen, which is counted from now on.
    fn next(&mut self) -> Instant {
        let Rate { interval, burst } = self.rate;
        let now = Instant::now();
        let start = self.due.checked_sub(interval * burst).map_or(now, |start| start.max(now));
        self.due = self.due.max(now) + interval;
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_after_its_burst() {
        let mut pace = Pace::new(Rate { interval: Duration::from_secs(1), burst: 3 });
        let begun = Instant::now();
        let turns: Vec<u64> = (0..6).map(|_| (pace.next() - begun).as_secs()).collect();
        assert_eq!(turns, [0, 0, 0, 0, 1, 2]);
    }
}
