//! The admin API: health and metrics over HTTP, on one thread with its own tokio runtime. It reads what the cores
//! publish and never asks them for anything.

use super::exposition::{CONTENT_TYPE, NodeSnapshot, render};
use super::http;
use super::snapshot::Observed;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A core whose loop has not turned for this long is stuck. An idle one turns once a second.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Cores publish once a second, so a text stays true that long, however many ask for it.
const METRICS_LIFETIME: Duration = Duration::from_secs(1);

/// The thread that serves `/healthz` and `/metrics`; stopped when dropped.
#[derive(Debug)]
pub struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves what `node`, called `name`, shows of itself. The listener is bound by the caller, so that a port in use is
    /// known before the cores start.
    ///
    /// # Errors
    /// Where the system refuses a thread or an event queue.
    pub fn start(listener: TcpListener, name: String, node: Arc<dyn Observed>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let routes = routes(Arc::new(View {
            name,
            node,
            started: Instant::now(),
            metrics: Mutex::new(None),
        }));
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(http::serve(listener, routes));
                // Either way it is the end: told to stop, or forgotten.
                let _ = stopped.await;
            });
        })?;
        Ok(Admin { stop: Some(stop), thread: Some(thread) })
    }

    /// Binds the admin address.
    ///
    /// # Errors
    /// Where it is in use, or not ours.
    pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(listen)
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It ends as soon as the runtime notices; a panic in it was reported already.
            let _ = thread.join();
        }
    }
}

/// What the routes look at.
struct View {
    name: String,
    node: Arc<dyn Observed>,
    started: Instant,
    metrics: Mutex<Option<(Instant, Bytes)>>,
}

fn routes(view: Arc<View>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(view)
}

async fn healthz(State(view): State<Arc<View>>) -> impl IntoResponse {
    match health(&*view.node) {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

/// Why the node should get no more work, if so.
fn health(node: &dyn Observed) -> Result<(), String> {
    if node.is_draining() {
        return Err("draining".to_owned());
    }
    let ages = node.heartbeat_ages();
    let stuck = ages.iter().enumerate().filter(|&(_, &age)| age > STUCK_AFTER);
    let stuck: Vec<String> = stuck
        .map(|(core, age)| {
            format!("core {core} is stuck: its loop last turned {:.1} s ago", age.as_secs_f64())
        })
        .collect();
    if stuck.is_empty() { Ok(()) } else { Err(stuck.join("\n")) }
}

async fn metrics(State(view): State<Arc<View>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], view.metrics(Instant::now()))
}

impl View {
    fn metrics(&self, now: Instant) -> Bytes {
        let mut kept = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((rendered, text)) = &*kept
            && now.saturating_duration_since(*rendered) < METRICS_LIFETIME
        {
            return text.clone();
        }
        let text = Bytes::from(render(&NodeSnapshot {
            name: self.name.clone(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs_f64(),
            cores: self.node.snapshots(),
            heartbeat_ages: self.node.heartbeat_ages().iter().map(Duration::as_secs_f64).collect(),
        }));
        *kept = Some((now, text.clone()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CoreSnapshot;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// A node of two cores that does what the test says.
    #[derive(Default)]
    struct Fake {
        draining: AtomicBool,
        heartbeat_age_ms: [AtomicU64; 2],
        snapshots_taken: AtomicU64,
    }

    impl Observed for Fake {
        fn snapshots(&self) -> Vec<CoreSnapshot> {
            self.snapshots_taken.fetch_add(1, Ordering::Relaxed);
            vec![CoreSnapshot::default(); 2]
        }

        fn heartbeat_ages(&self) -> Vec<Duration> {
            self.heartbeat_age_ms
                .iter()
                .map(|ms| Duration::from_millis(ms.load(Ordering::Relaxed)))
                .collect()
        }

        fn is_draining(&self) -> bool {
            self.draining.load(Ordering::Relaxed)
        }
    }

    fn start() -> (Admin, SocketAddr, Arc<Fake>) {
        let node = Arc::new(Fake::default());
        let listener = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin::start(listener, "test".to_owned(), Arc::clone(&node) as _).unwrap();
        (admin, address, node)
    }

    /// Status line and body of one request.
    fn ask(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn health_names_the_stuck_core() {
        let (_admin, address, node) = start();
        assert_eq!(ask(address, "GET /healthz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
        node.heartbeat_age_ms[1].store(7_250, Ordering::Relaxed);
        let (status, body) = ask(address, "GET /healthz");
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(body, "core 1 is stuck: its loop last turned 7.2 s ago\n");
        node.heartbeat_age_ms[1].store(0, Ordering::Relaxed);
        assert_eq!(ask(address, "GET /healthz").1, "ok\n");
        node.draining.store(true, Ordering::Relaxed);
        assert_eq!(
            ask(address, "GET /healthz"),
            ("HTTP/1.1 503 Service Unavailable".to_owned(), "draining\n".to_owned())
        );
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let (_admin, address, _node) = start();
        assert_eq!(ask(address, "GET /").0, "HTTP/1.1 404 Not Found");
        assert_eq!(ask(address, "GET /RPC").0, "HTTP/1.1 404 Not Found");
        assert_eq!(ask(address, "DELETE /metrics").0, "HTTP/1.1 405 Method Not Allowed");
    }

    #[test]
    fn metrics_are_taken_once_a_second_however_many_ask() {
        let (_admin, address, node) = start();
        let begun = Instant::now();
        for _ in 0..50 {
            let (status, body) = ask(address, "GET /metrics");
            assert_eq!(status, "HTTP/1.1 200 OK");
            assert!(
                body.contains("\nseawall_bindings{core=\"1\"} 0\n") && body.ends_with("# EOF\n")
            );
        }
        let most = 1 + begun.elapsed().as_secs();
        assert!((1..=most).contains(&node.snapshots_taken.load(Ordering::Relaxed)));
    }

    #[test]
    fn dead_clients_do_not_keep_others_out() {
        let (_admin, address, _node) = start();
        let dead: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        let begun = Instant::now();
        assert_eq!(ask(address, "GET /healthz").1, "ok\n");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(dead);
    }
}
