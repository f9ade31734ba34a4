//! The executable as an operator meets it: exit codes, what is printed where, start and stop.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn seawall(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = seawall(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A file that goes with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seawall-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        TempFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A test that failed before it was made has nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

/// A UDP and a TCP port of 127.0.0.1 that were free a moment ago.
fn free_ports() -> (u16, u16) {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    (udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port())
}

fn small(udp: u16, tcp: u16) -> String {
    format!(
        "[[listen]]\nudp = \"127.0.0.1:{udp}\"\n[location]\nmax_bindings = 1000\n[limits]\ncompleted_bytes = 1_000_000\n\
         [admin]\nlisten = \"127.0.0.1:{tcp}\"\n"
    )
}

#[test]
fn check_says_what_a_file_means() {
    let file = TempFile::new("valid", &small(5060, 8060));
    let (code, stdout, stderr) = output(&["check", file.path()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with(&format!("{} is valid.\n", file.path())), "{stdout}");
    assert!(stdout.contains("\nlisten: udp 127.0.0.1:5060\n"), "{stdout}");
    assert!(stdout.lines().last().unwrap().starts_with("total "), "{stdout}");
}

#[test]
fn a_wrong_configuration_is_told_whole_and_starts_nothing() {
    let file =
        TempFile::new("wrong", "[node]\nio = \"fast\"\n[regsitrar]\n[auth]\nmode = \"basic\"\n");
    let expected = format!(
        "{path}:2: node.io: `fast` is unknown, expected `auto`, `uring` or `epoll`\n\
         {path}:3: regsitrar: unknown key, expected `node`, `listen`, `domains`, `registrar`, `auth`, `location`, `proxy`, \
         `neighbour`, `limits` or `admin`; did you mean `registrar`?\n\
         {path}:5: auth.mode: `basic` is unknown, expected `digest` or `none`\n",
        path = file.path()
    );
    for arguments in
        [&["check", file.path()][..], &["run", "--config", file.path()], &["--config", file.path()]]
    {
        assert_eq!(output(arguments), (Some(2), String::new(), expected.clone()), "{arguments:?}");
    }
}

#[test]
fn a_command_line_that_is_wrong_is_an_error_of_configuration() {
    for arguments in [&["fly"][..], &["check"], &["run", "--fast"], &["check", "a", "b"]] {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains("Usage: seawall"), "{stderr}");
    }
    assert_eq!(output(&["check", "/nonexistent.toml"]).0, Some(2));
    assert_eq!(
        output(&["--version"]),
        (Some(0), format!("seawall {}\n", env!("CARGO_PKG_VERSION")), String::new())
    );
}

#[test]
fn storms_are_listed_and_shown() {
    let (code, list, stderr) = output(&["storm", "list"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for number in 0..15 {
        assert!(list.lines().any(|line| line.starts_with(&format!("S{number} "))), "{list}");
    }
    assert!(list.lines().all(|line| line.len() <= 100), "it fits a terminal:\n{list}");
    let (code, shown, stderr) = output(&["storm", "show", "power-step", "--kappa", "24000"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(shown.starts_with("# S1: power-step\n"), "{shown}");
    // A fifth of 100 s, and all of it.
    let row = shown.lines().find(|line| line.starts_with("# user agents")).unwrap();
    assert_eq!(row.split_whitespace().skip(3).collect::<Vec<_>>(), ["480,000", "2,400,000"]);
    let (code, whole, _) = output(&["storm", "show", "s1", "--kappa", "24000", "--full"]);
    assert_eq!(code, Some(0));
    let row = whole.lines().find(|line| line.starts_with("# user agents")).unwrap();
    assert_eq!(row.split_whitespace().skip(3).collect::<Vec<_>>(), ["2,400,000"]);
    // What was shown is a file for a storm of one's own.
    let file = TempFile::new("mine", &shown.replace("id = \"S1\"", "id = \"mine\""));
    let (code, again, stderr) = output(&["storm", "show", file.path()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(again.contains("id = \"mine\""), "{again}");
}

#[test]
fn a_wrong_scenario_is_told_whole() {
    let file = TempFile::new(
        "storm",
        "id = \"mine\"\ntitle = \"a\"\nabout = \"b\"\nhonour_retry_after = 2\n[population]\nkapa_seconds = 1\n",
    );
    let path = file.path();
    let (code, stdout, stderr) = output(&["storm", "show", path]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for line in [
        format!("{path}:4: honour_retry_after: 2 is out of range, expected a number from 0 to 1"),
        format!("{path}:5: population.nonces: is missing, expected `none`, `valid` or `foreign`"),
        format!(
            "{path}:1: clients: is missing, expected tables [[clients]] with name, share and retry"
        ),
    ] {
        assert!(stderr.lines().any(|told| told == line), "{line}\n{stderr}");
    }
    let unknown = stderr.lines().find(|line| line.starts_with(&format!("{path}:6: "))).unwrap();
    assert!(unknown.ends_with("did you mean `kappa_seconds`?"), "{unknown}");
    for (name, hint) in
        [("S15", "did you mean `S1`?"), ("power-stop", "did you mean `power-step`?")]
    {
        let (code, stdout, stderr) = output(&["storm", "show", name]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{name}");
        assert!(stderr.trim_end().ends_with(hint), "{stderr}");
    }
    assert_eq!(
        output(&["storm", "show", "/nonexistent/storm.toml"]),
        (
            Some(2),
            String::new(),
            "/nonexistent/storm.toml: can't be read: No such file or directory (os error 2)\n"
                .to_owned()
        )
    );
    for arguments in [&["storm"][..], &["storm", "show"], &["storm", "show", "S1", "--scale", "2"]]
    {
        assert_eq!(output(arguments).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_storm_that_cannot_be_played_leaves_nothing() {
    let folder = std::env::temp_dir().join(format!("seawall-{}-storm", std::process::id()));
    let out = folder.to_str().unwrap();
    for (arguments, code, told) in [
        (&["storm", "S13", "--out", out][..], 1, "S13 tls-herd needs SIP over TLS"),
        (&["storm", "s99", "--out", out], 2, "did you mean `S9`?"),
        (&["storm", "/nonexistent.toml", "--out", out], 2, "/nonexistent.toml: can't be read"),
        (&["storm", "S1", "--out", out, "--slowed=2"], 2, "expected a part as in 0.2"),
        (&["storm", "S1", "--out", out, "--slowed", "--unscaled"], 2, "cannot be used with"),
        (&["storm", "S1", "--out", out, "-p", "1.1"], 2, "expected a share as in 0.5"),
        (&["storm", "S1", "--out", out, "--server-pid", "1"], 2, "--target <HOST:PORT>"),
        (
            &["storm", "S1", "--out", out, "--target", "127.0.0.1"],
            2,
            "with a port, as in 127.0.0.1:5060",
        ),
        // Nobody floods a network by a slip of the hand.
        (&["storm", "S1", "--out", out, "--target", "192.0.2.1:5060"], 1, "--i-own-this-network"),
    ] {
        let (found, stdout, stderr) = output(arguments);
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{arguments:?} {stderr}");
        assert!(stderr.contains(told), "{arguments:?} {stderr}");
        assert!(!folder.exists(), "{arguments:?}");
    }
    // The figures of another run are not overwritten.
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("run.json"), "{}").unwrap();
    let (code, stdout, stderr) = output(&["storm", "S1", "--out", out]);
    let left = fs::read_dir(&folder).unwrap().count();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!((code, stdout.as_str(), left), (Some(2), "", 1));
    assert_eq!(stderr, format!("{out}: holds a run already, expected a new folder\n"));
}

#[test]
fn runs_that_are_none_are_not_compared() {
    let (code, stdout, stderr) = output(&["storm", "compare", "/nonexistent", "/nonexistent"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("/nonexistent"), "{stderr}");
    let (code, _, stderr) = output(&["storm", "compare", "/nonexistent"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("2 values required"), "{stderr}");
}

#[test]
fn phones_have_accounts_to_give_to_a_server() {
    let (code, stdout, stderr) = output(&["storm", "subscribers", "3", "--domain", "a.test"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!((row[0], row[1]), (&*format!("49300000000{number}"), "a.test"));
        assert!(row[2].len() == 32 && row[2].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

/// A server that is killed with the test.
struct Server {
    process: Child,
    stderr: BufReader<ChildStderr>,
    log: String,
}

impl Server {
    fn start(config: &TempFile) -> Self {
        let mut process =
            seawall(&["--config", config.path()]).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        Server { process, stderr, log: String::new() }
    }

    /// Reads the log up to a line that contains this text.
    fn wait_for(&mut self, text: &str) {
        loop {
            let start = self.log.len();
            assert!(
                self.stderr.read_line(&mut self.log).unwrap() > 0,
                "no {text:?} in\n{}",
                self.log
            );
            if self.log[start..].contains(text) {
                return;
            }
        }
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Exit code and log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = std::mem::take(&mut self.log);
        self.stderr.read_to_string(&mut log).unwrap();
        (self.process.wait().unwrap().code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Mostly it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn it_serves_until_sigterm_and_exits_with_0() {
    let (udp, tcp) = free_ports();
    let config = TempFile::new("serve", &small(udp, tcp));
    let mut server = Server::start(&config);
    server.wait_for("ready");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let request = format!(
        "OPTIONS sip:127.0.0.1:{udp} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKcli\r\n\
         From: <sip:a@sip.test>;tag=1\r\nTo: <sip:127.0.0.1:{udp}>\r\nCall-ID: cli\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), ("127.0.0.1", udp)).unwrap();
    let mut reply = [0; 2048];
    let length = socket.recv(&mut reply).unwrap();
    assert!(
        reply[..length].starts_with(b"SIP/2.0 200 "),
        "{}",
        String::from_utf8_lossy(&reply[..length])
    );

    assert!(http(tcp, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    // Cores publish once a second, and a text is kept for one.
    let sent = "seawall_inputs_total{core=\"0\",class=\"options\"} ";
    let mut seen = false;
    for _ in 0..50 {
        let metrics = http(tcp, "/metrics");
        assert!(metrics.contains("\nseawall_build_info{version="), "{metrics}");
        let total: u64 = metrics
            .lines()
            .filter(|line| {
                line.starts_with("seawall_inputs_total{") && line.contains("class=\"options\"")
            })
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        if total == 1 {
            seen = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(seen, "{sent} never became 1");

    server.signal("TERM");
    let signalled = Instant::now();
    let (code, log) = server.end();
    assert!(signalled.elapsed() < Duration::from_secs(3), "{:?}", signalled.elapsed());
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        assert!(
            line.len() > 32 && line.as_bytes()[10] == b'T' && line.as_bytes()[23] == b'Z',
            "{line}"
        );
    }
    for part in [
        "seawall 0.",
        "configuration: ",
        "listening on udp 127.0.0.1:",
        "worker",
        "memory: ",
        "admin: http://",
    ] {
        assert!(log.contains(part), "no {part:?} in\n{log}");
    }
}

#[test]
fn an_address_in_use_is_an_error_of_the_environment_in_one_sentence() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_, tcp) = free_ports();
    let config = TempFile::new("udp-taken", &small(taken.local_addr().unwrap().port(), tcp));
    let (code, log) = Server::start(&config).end();
    assert_eq!(code, Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.contains(&taken.local_addr().unwrap().to_string()) && last.contains("in use"),
        "{log}"
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, _) = free_ports();
    let config = TempFile::new("tcp-taken", &small(udp, taken.local_addr().unwrap().port()));
    let (code, log) = Server::start(&config).end();
    assert_eq!(code, Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.contains(&taken.local_addr().unwrap().to_string()) && last.contains("in use"),
        "{log}"
    );
}

#[test]
fn subscribers_are_read_at_the_start_or_there_is_none() {
    let digits = "939e7578ed9e3c518a452acee763bce9";
    let (udp, tcp) = free_ports();
    let with = |name: &str, file: &str, algorithms: &str| {
        let auth = format!(
            "{}[auth]\nmode = \"digest\"\nrealm = \"sip.test\"\nsubscribers = \"{file}\"\nalgorithms = [{algorithms}]\n",
            small(udp, tcp)
        );
        TempFile::new(name, &auth)
    };

    let absent = with("absent", "/nonexistent/subscribers.csv", "\"MD5\"");
    let sentence = "/nonexistent/subscribers.csv can't be read: No such file or directory";
    let (code, log) = Server::start(&absent).end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.lines().last().unwrap().contains(sentence), "{log}");
    let (code, _, told) = output(&["check", absent.path()]);
    assert_eq!(code, Some(2), "{told}");
    let expected = format!("{}: auth.subscribers: {sentence}", absent.path());
    assert!(told.starts_with(&expected), "{told}");

    let text = format!("alice,sip.test,{digits}\nbob,sip.test,xyz\ncarol,sip.test,{digits}\n");
    let subscribers = TempFile::new("csv", &text);
    let unmet = with("unmet", subscribers.path(), "\"SHA-256\", \"MD5\"");
    let (code, log) = Server::start(&unmet).end();
    assert_eq!(code, Some(1), "{log}");
    let sentence = format!(
        "{}:1: `alice@sip.test` has no ha1_sha256, which auth.algorithms asks of every subscriber; 1 more have not",
        subscribers.path()
    );
    assert!(log.lines().last().unwrap().ends_with(&sentence), "{log}");

    let good = with("good", subscribers.path(), "\"MD5\"");
    let (code, printed, told) = output(&["check", good.path()]);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        format!("{}:2: ha1 is not 32 hexadecimal digits", subscribers.path()),
        "domains: any, digest (MD5) in the realm \"sip.test\"".to_owned(),
        "uses of nonces".to_owned(),
        format!(
            "subscribers: 2 of {}, in 0.0 MiB for all cores; 1 line left out",
            subscribers.path()
        ),
    ] {
        assert!(printed.contains(&line), "no {line:?} in\n{printed}");
    }
    let mut server = Server::start(&good);
    server.wait_for("ready");
    server.signal("TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(&format!("{}:2: ha1 is not", subscribers.path())), "{log}");
    assert!(log.contains("subscribers: 2 of "), "{log}");
}
