//! HTTP for people who may be slow, dead or many: few connections at a time, few a second, each with a deadline. What
//! is served is not decided here.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

/// Connections served at a time. More wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may last, which carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection each so often, and a burst: at a tenth of a millisecond a request, whoever asks without end gets 1 % of a CPU.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(10);
const ACCEPT_BURST: u32 = 100;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Serves `routes` until the task is dropped.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut pace = Pace { due: Instant::now() };
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        pace.wait().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    // A client that is cut off knows it; there is nothing to tell anybody else.
                    let _ = timeout(CONNECTION_TIMEOUT, serve_one(stream, routes)).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, or the client was gone already. Neither is cured by trying at once.
                warn!("the admin address can't accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, routes: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await
}

/// Keeps a mean rate, with a burst after idle time.
struct Pace {
    /// When the next connection would be due without a burst.
    due: Instant,
}

impl Pace {
    async fn wait(&mut self) {
        let burst = ACCEPT_INTERVAL * ACCEPT_BURST;
        if let Some(start) = self.due.checked_sub(burst) {
            sleep_until(start).await;
        }
        self.due = self.due.max(Instant::now()) + ACCEPT_INTERVAL;
    }
}
