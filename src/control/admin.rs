//! The admin API: health, metrics and JSON-RPC over HTTP, on one thread with its own tokio runtime. Health and metrics are
//! what the cores publish; only a call asks a core for anything.

use super::cores::{Cores, Unanswered};
use super::exposition::{CONTENT_TYPE, NodeSnapshot, render};
use super::guard::{self, Token};
use super::http::{self, Patience};
use super::names::Names;
use super::rpc::{self, Answered, Directory, Dump};
use super::snapshot::Observed;
use crate::sys::cpu::let_others_go_first;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::try_unfold;
use shards::shard::{Command, Errand};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::error;

/// A core whose loop has not turned for this long is stuck. An idle one turns once a second.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Cores publish once a second, so a text stays true that long, however many ask for it.
const METRICS_LIFETIME: Duration = Duration::from_secs(1);

/// How long a client may take to send what it calls.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of it.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The thread of the control plane, which serves `/healthz`, `/metrics` and `/RPC`; stopped when dropped.
#[derive(Debug)]
pub struct Admin {
    runtime: Handle,
    cores: Cores<Errand>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the control plane is made of.
#[derive(Debug)]
pub struct Parts {
    /// The name of the node.
    pub name: String,
    /// What the cores publish.
    pub observed: Arc<dyn Observed>,
    /// The cores, to be asked.
    pub cores: Cores<Errand>,
    /// Where addresses-of-record live.
    pub directory: Directory,
    /// Who answers what cores ask.
    pub names: Names,
    /// What callers have to show, if anything.
    pub token: Option<Arc<Token>>,
}

impl Admin {
    /// Serves a node. The listener is bound by the caller, so that a port in use is known before the cores start; without one
    /// nothing is served, and errands are delivered all the same.
    ///
    /// # Errors
    /// Where the system refuses a thread or an event queue.
    pub fn start(listener: Option<TcpListener>, parts: Parts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = listener
            .map(|listener| {
                listener.set_nonblocking(true)?;
                let _context = runtime.enter();
                tokio::net::TcpListener::from_std(listener)
            })
            .transpose()?;
        let (stop, stopped) = oneshot::channel();
        let Parts { name, observed, cores, directory, names, token } = parts;
        let names = Arc::new(names);
        let routes = routes(Arc::new(View {
            name: name.clone(),
            node: Arc::clone(&observed),
            started: Instant::now(),
            metrics: Mutex::new(None),
            names: Arc::clone(&names),
            rpc: Arc::new(rpc::Node::new(name, observed, cores.clone(), directory)),
            token,
        }));
        let (handle, asked) = (runtime.handle().clone(), cores.clone());
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            // A core that shares its CPU with this thread comes first. Where that is not granted, it does so as others do.
            let _ = let_others_go_first();
            runtime.block_on(async move {
                tokio::spawn(async move {
                    let answering = cores.clone();
                    let asked = |core, question| names.take(&answering, core, question);
                    if let Err(error) = cores.deliver(asked).await {
                        error!(
                            "the cores can't be listened to, so nothing is asked of them: {error}"
                        );
                    }
                });
                if let Some(listener) = listener {
                    tokio::spawn(http::serve(listener, routes));
                }
                // Either way it is the end: told to stop, or forgotten.
                let _ = stopped.await;
            });
        })?;
        Ok(Admin { runtime: handle, cores: asked, stop: Some(stop), thread: Some(thread) })
    }

    /// Sends every core on an errand of its own, one after the other, from a thread that may wait.
    ///
    /// # Errors
    /// The first core that does not answer; those before it have done what was asked.
    pub fn ask_all(&self, mut command: impl FnMut() -> Command) -> Result<(), Unanswered> {
        self.runtime.block_on(async {
            for core in 0..self.cores.count() {
                self.cores.ask(core, Box::new(Errand::new(command()))).await?;
            }
            Ok(())
        })
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
    rpc: Arc<rpc::Node>,
    names: Arc<Names>,
    token: Option<Arc<Token>>,
}

fn routes(view: Arc<View>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/RPC", post(call))
        .with_state(view)
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

async fn call(State(view): State<Arc<View>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err((status, reason)) = guard::check(&head.headers, view.token.as_deref()) {
        let mut response = (status, reason).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        return response;
    }
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, "too long, or cut off\n").into_response();
        }
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "too slow\n").into_response(),
    };
    let body = match view.rpc.answer(&body).await {
        Answered::Nothing => return StatusCode::NO_CONTENT.into_response(),
        Answered::Text(text) => Body::from(text),
        Answered::Dump(dump) => stream(*dump, head.extensions.get().cloned()),
    };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A body that is made as it is read. Each piece that is asked for shows that the reader still reads.
fn stream(dump: Dump, patience: Option<Arc<Patience>>) -> Body {
    Body::from_stream(try_unfold((dump, patience), |(mut dump, patience)| async move {
        if let Some(patience) = &patience {
            patience.extend();
        }
        let piece = dump.next().await.map_err(|unanswered| unanswered.to_string())?;
        Ok::<_, String>(piece.map(|piece| (piece, (dump, patience))))
    }))
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
            names: self.names.counts(),
        }));
        *kept = Some((now, text.clone()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Limits, Machine};
    use crate::control::CoreSnapshot;
    use crate::mesh;
    use shards::auth::Subscribers;
    use shards::shard::Keys;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// A node of two cores that does what the test says.
    #[derive(Debug, Default)]
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
        let admin = Admin::start(Some(listener), parts(&node)).unwrap();
        (admin, address, node)
    }

    /// The node with two cores that answer nothing.
    fn parts(node: &Arc<Fake>) -> Parts {
        let (_, switchboard) = mesh::mesh(2, 1, 0, 1).unwrap();
        let machine = Machine { cpus: vec![0, 1], hostname: "test".to_owned() };
        let config = Config::builtin(&machine);
        let settings = config.shard_settings(
            &Limits::derive(&config),
            &Keys::derive(&[7; 32]),
            &Arc::new(Subscribers::nobody()),
        );
        Parts {
            name: "test".to_owned(),
            observed: Arc::clone(node) as _,
            cores: Cores::new(switchboard, 1),
            directory: Directory::new(&settings[0]),
            names: Names::none(),
            token: None,
        }
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
        assert_eq!(ask(address, "GET /RPC").0, "HTTP/1.1 405 Method Not Allowed");
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
