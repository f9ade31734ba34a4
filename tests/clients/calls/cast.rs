//! Who takes part in a call: sipp on either side, each with an address of its own, and the registrations that lead to them. What they
//! saw is read from their traces once they have ended.

use super::trace::{Message, Trace};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::process::{Background, free_port};

/// The longest that anything waits in a call: Timer B of RFC 3261 is 32 s.
const LONGEST: Duration = Duration::from_secs(45);

/// A running sipp.
pub(crate) struct Part {
    sipp: Background,
    folder: PathBuf,
    /// Where it sends from.
    pub(crate) address: SocketAddr,
}

/// How sipp is started.
pub(crate) struct Role<'a> {
    /// Its file in `sipp/calls`, without `.xml`.
    pub(crate) scenario: &'a str,
    /// What stands otherwise in the file for this once.
    pub(crate) changes: &'a [(&'a str, &'a str)],
    /// Where it sends from.
    pub(crate) address: SocketAddr,
    /// How many calls it makes or takes before it ends.
    pub(crate) calls: usize,
    /// Further arguments.
    pub(crate) more: &'a [&'a str],
}

impl Role<'_> {
    /// Takes calls.
    pub(crate) fn waits(&self, folder: &Path) -> Result<Part, String> {
        self.start(folder, &[])
    }

    /// Calls through a server: to each of the addresses-of-record once, in turn.
    pub(crate) fn calls(
        &self,
        folder: &Path,
        server: SocketAddr,
        whom: &[String],
    ) -> Result<Part, String> {
        let mut table = "SEQUENTIAL\n".to_owned();
        for aor in whom {
            let (user, domain) = aor.split_once('@').unwrap_or((aor, "sip.test"));
            let _ = writeln!(table, "{user};{domain};");
        }
        self.start(folder, &[server.to_string(), "-inf".to_owned(), write(folder, "csv", &table)?])
    }

    fn start(&self, folder: &Path, first: &[String]) -> Result<Part, String> {
        let port = self.address.port().to_string();
        let folder = folder.join(format!("{}-{port}", self.scenario));
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let scenario = self.written(&folder)?;
        let local = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let calls = self.calls.to_string();
        let mut arguments: Vec<&str> = first.iter().map(String::as_str).collect();
        arguments.extend(["-sf", &scenario, "-i", &local, "-p", &port, "-m", &calls]);
        arguments.extend(["-r", "100", "-nostdin", "-trace_msg", "-message_file", "messages"]);
        arguments.extend(["-trace_err", "-error_file", "errors"]);
        arguments.extend(self.more);
        // What sipp adds by itself would hide what goes wrong.
        arguments.extend(["-default_behaviors", "abortunexp"]);
        let sipp = Background::start("sipp", &arguments, &folder)?;
        let part = Part { sipp, folder, address: self.address };
        if first.is_empty() {
            part.awaits_socket()?;
        }
        Ok(part)
    }

    /// The scenario as it is played, in the part's folder.
    fn written(&self, folder: &Path) -> Result<String, String> {
        let name =
            format!("{}/clients/sipp/calls/{}.xml", env!("CARGO_MANIFEST_DIR"), self.scenario);
        let mut text = fs::read_to_string(&name).map_err(|e| format!("{name}: {e}"))?;
        for (old, new) in self.changes {
            if !text.contains(old) {
                return Err(format!("{name} does not contain {old}"));
            }
            text = text.replace(old, new);
        }
        write(folder, "xml", &text)
    }
}

fn write(folder: &Path, kind: &str, text: &str) -> Result<String, String> {
    let file = folder.join(format!("{}.{kind}", free_name()));
    fs::write(&file, text).map_err(|e| e.to_string())?;
    Ok(file.display().to_string())
}

/// A number that no other file has.
fn free_name() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl Part {
    /// Waits until it can be reached: until nobody else could take its port.
    fn awaits_socket(&self) -> Result<(), String> {
        for _ in 0..1_000 {
            if UdpSocket::bind(self.address).is_err() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("it never takes {}; {}", self.address, self.said()))
    }

    /// What it has seen by now.
    pub(crate) fn seen(&self) -> Result<Trace, String> {
        Trace::read(&self.folder.join("messages"))
    }

    /// Waits until it has sent or received this many messages that begin like this.
    pub(crate) fn awaits(&self, start: &str, count: usize) -> Result<(), String> {
        for _ in 0..1_000 {
            let trace = self.seen()?;
            let fits = |message: &&Message| message.start.starts_with(start);
            if trace.messages.iter().filter(fits).count() >= count {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("not {count} of {start}; {}", self.said()))
    }

    /// What it saw, once it has made all its calls as its scenario wants them.
    pub(crate) fn ends(&mut self) -> Result<Trace, String> {
        let status = self.sipp.wait(LONGEST).map_err(|why| format!("{why}\n{}", self.said()))?;
        if !status.success() {
            return Err(format!("{} ended with {status}; {}", self.folder.display(), self.said()));
        }
        self.seen()
    }

    /// Its errors, and the messages it saw.
    pub(crate) fn said(&self) -> String {
        let read = |name: &str, lines: usize| -> String {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().take(lines).map(|line| format!("    {line}\n")).collect()
        };
        format!(
            "{}its errors:\n{}its messages:\n{}",
            read("sipp.log", 5),
            read("errors", 60),
            read("messages", 300)
        )
    }
}

/// An address of this family that nobody uses.
pub(crate) fn free_address(is_ipv6: bool) -> SocketAddr {
    let ip: IpAddr = if is_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    (ip, free_port()).into()
}

/// Binds contacts of one socket, `(address-of-record, user part of the contact, parameters)`, and gives the socket free.
pub(crate) fn register(
    server: SocketAddr,
    address: SocketAddr,
    bindings: &[(String, String, String)],
) -> Result<(), String> {
    let socket = UdpSocket::bind(address).map_err(|e| format!("{address}: {e}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).map_err(|e| e.to_string())?;
    for (number, (aor, user, parameters)) in bindings.iter().enumerate() {
        let aor = if aor.contains('@') { aor.clone() } else { format!("{aor}@sip.test") };
        let domain = aor.split('@').next_back().unwrap_or_default();
        let request = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKregister{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{aor}>;tag=1\r\nTo: <sip:{aor}>\r\nCall-ID: register-{number}-{address}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:{user}@{address}>{parameters}\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
        );
        let mut answer = [0; 8192];
        let length = (0..5)
            .find_map(|_| {
                socket.send_to(request.as_bytes(), server).ok()?;
                socket.recv(&mut answer).ok()
            })
            .ok_or_else(|| format!("no answer to the REGISTER of {aor}"))?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        if !answer.starts_with("SIP/2.0 200") {
            return Err(format!("the REGISTER of {aor} was answered:\n{answer}"));
        }
    }
    Ok(())
}
