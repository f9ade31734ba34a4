//! Starts the real executable on loopback, asks what it says of itself, and ends it. It owns the process, its folder and
//! its ports; nothing it does waits without a bound, and nothing it started outlives it.

mod background;
mod executable;
mod metrics;

pub use background::Background;
pub use executable::{built, target_folder};
pub use metrics::Metrics;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a process may take to serve, and to end.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `uring`, `epoll` or `auto`.
    pub io: &'static str,
    /// How many workers.
    pub cores: usize,
    /// Whether every datagram arrives at a core that is not its home.
    pub wrong_core: bool,
    /// The domain it serves.
    pub domain: &'static str,
    /// Further lines of its table `node`.
    pub node: String,
    /// Further lines of the configuration.
    pub more: String,
}

impl Setup {
    /// One worker for `sip.test`, whatever readiness the probe chooses.
    #[must_use]
    pub fn simple() -> Self {
        Setup {
            io: "auto",
            cores: 1,
            wrong_core: false,
            domain: "sip.test",
            node: String::new(),
            more: String::new(),
        }
    }
}

/// A running Seawall. It is killed when it is dropped.
#[derive(Debug)]
pub struct Seawall {
    child: Child,
    folder: Folder,
    /// Where it serves over IPv4.
    pub v4: SocketAddr,
    /// Where it serves over IPv6.
    pub v6: SocketAddr,
    admin: SocketAddr,
}

impl Seawall {
    /// Starts the executable and waits until it is healthy.
    ///
    /// # Errors
    /// What it said when it did not become healthy.
    pub fn start(setup: &Setup) -> Result<Self, String> {
        Self::start_at(setup, free_port())
    }

    /// The same at a port, which another one may have had before.
    ///
    /// # Errors
    /// What it said when it did not become healthy.
    pub fn start_at(setup: &Setup, port: u16) -> Result<Self, String> {
        let folder = Folder::new();
        let config = folder.path.join("seawall.toml");
        fs::write(&config, configuration(setup, port)).map_err(|e| e.to_string())?;
        let executable = built(if setup.wrong_core { "wrong-core" } else { "seawall" })?;
        let log = fs::File::create(folder.path.join("log")).map_err(|e| e.to_string())?;
        let child = Command::new(executable)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .current_dir(&folder.path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut seawall = Seawall {
            child,
            folder,
            v4: (Ipv4Addr::LOCALHOST, port).into(),
            v6: (Ipv6Addr::LOCALHOST, port).into(),
            admin: (Ipv4Addr::LOCALHOST, port).into(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if seawall.child.try_wait().map_err(|e| e.to_string())?.is_some() {
                return Err(format!("it ended instead of serving, saying:\n{}", seawall.log()));
            }
            if matches!(seawall.get("/healthz"), Ok((200, _))) {
                return Ok(seawall);
            }
            if Instant::now() > deadline {
                return Err(format!("it is not healthy in time; it says:\n{}", seawall.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path.join("log")).unwrap_or_default()
    }

    /// A folder that lives as long as the process.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Status and body of an HTTP GET to its admin address.
    ///
    /// # Errors
    /// Where no complete response comes in time.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        http_get(self.admin, path).map_err(|e| format!("GET {path}: {e}"))
    }

    /// Its admin address.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Status and body of an HTTP POST of JSON to its admin address, with further header lines, each with its CRLF.
    ///
    /// # Errors
    /// Where no complete response comes in time.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Result<(u16, String), String> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.admin,
            body.len()
        );
        http(self.admin, &request).map_err(|e| format!("POST {path}: {e}"))
    }

    /// Its counters, once `settled` holds for them; they are published about once a second.
    ///
    /// # Errors
    /// The counters as they are after some seconds, where it never does.
    pub fn metrics(&self, settled: impl Fn(&Metrics) -> bool) -> Result<Metrics, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = Metrics::read(&self.get("/metrics")?.1)?;
            if settled(&metrics) {
                return Ok(metrics);
            }
            if Instant::now() > deadline {
                return Err(format!("the metrics never became what they should be:\n{metrics}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus, String> {
        wait(&mut self.child, at_most)?
            .ok_or_else(|| format!("it still runs after {at_most:?}; it says:\n{}", self.log()))
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM: it must drain and end with 0.
    ///
    /// # Errors
    /// Where it does anything else.
    pub fn stop(mut self) -> Result<(), String> {
        self.signal("TERM");
        let status = self.wait(PATIENCE)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("it ended with {status} on SIGTERM, saying:\n{}", self.log()))
        }
    }
}

impl Drop for Seawall {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration with loopback listeners of both families and everything at `port`.
#[must_use]
pub fn configuration(setup: &Setup, port: u16) -> String {
    let cpus = cpus();
    let cpus = &cpus[..setup.cores.min(cpus.len())];
    let Setup { io, domain, node, more, .. } = setup;
    format!(
        r#"[node]
name = "test"
cpus = {cpus:?}
io = "{io}"
{node}[[listen]]
udp = "127.0.0.1:{port}"
[[listen]]
udp = "[::1]:{port}"
[domains]
local = ["{domain}"]
[location]
max_bindings = 20000
[admin]
listen = "127.0.0.1:{port}"
{more}
"#
    )
}

/// Runs the executable to its end.
///
/// # Errors
/// Where it can't be started or does not end in time.
pub fn run(arguments: &[&str], folder: &Folder) -> Result<Output, String> {
    finish(Command::new(built("seawall")?).args(arguments).current_dir(&folder.path), PATIENCE)
}

/// Runs a command to its end and gives what it printed; kills it where it takes too long.
///
/// # Errors
/// Where it can't be started or takes too long.
pub fn finish(command: &mut Command, at_most: Duration) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound {
                format!("{name} is not installed; `tests/run setup` installs what the tests need")
            } else {
                format!("{name}: {e}")
            }
        })?;
    // Both pipes are emptied while it runs, so that it never waits for us.
    let out = drain(child.stdout.take().unwrap());
    let err = drain(child.stderr.take().unwrap());
    let status = wait(&mut child, at_most)?;
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let stdout = out.join().unwrap_or_default();
    let stderr = err.join().unwrap_or_default();
    match status {
        Some(status) => Ok(Output { status, stdout, stderr }),
        None => Err(format!(
            "{name} still ran after {at_most:?}, having printed:\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        )),
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child, at_most: Duration) -> Result<Option<ExitStatus>, String> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of its own, removed when it is dropped.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    /// A new, empty folder below the target folder.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tests-{}-{count}", std::process::id());
        let path = target_folder().join("tmp").join(name);
        fs::create_dir_all(&path).unwrap();
        Folder { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A port that nobody uses now, below those that the kernel gives away by itself, and of four digits: sipsak forgets the fifth
/// of an address in some headers.
///
/// # Panics
/// Where none is free.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 400).unwrap_or_default() * 10;
    for _ in 0..4_000 {
        let port = 6_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 4_000;
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free {
            return port;
        }
    }
    panic!("no port between 6000 and 9999 is free on 127.0.0.1 and ::1");
}

/// The CPUs this process may use.
#[must_use]
pub fn cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cpus = Vec::new();
    for range in list.unwrap_or("0").trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

fn http_get(addr: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    http(addr, &format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"))
}

/// Status and body of the answer to a request, sent as it stands.
///
/// # Errors
/// Where no complete response comes in time.
pub fn http(addr: SocketAddr, request: &str) -> std::io::Result<(u16, String)> {
    let limit = Duration::from_secs(15);
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let incomplete = || std::io::Error::other("no complete response");
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(incomplete)?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(incomplete)?;
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if is_chunked { chunks(body).ok_or_else(incomplete)? } else { body.to_owned() };
    Ok((status, body))
}

/// RFC 9112 7.1: what stands in the chunks; nothing where the last one is missing.
fn chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, behind) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(behind.get(..size)?);
        rest = behind.get(size..)?.strip_prefix("\r\n")?;
    }
}
