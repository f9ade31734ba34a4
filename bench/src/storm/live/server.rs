//! The server of a run: one that is there, or a Seawall that is started for it, waited for, killed where the scenario says so, and
//! gone at the end whatever happens. It sends no load.

use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::population::Population;
use crate::sockets;
use crate::sys;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that serves, with what is known of it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it serves SIP.
    pub(crate) address: SocketAddrV4,
    /// Where its metrics are.
    pub(crate) metrics: Option<SocketAddr>,
    /// Its process, where it is known.
    pub(crate) pid: Option<u32>,
    /// What a server of our own is.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    executable: PathBuf,
    folder: PathBuf,
    cpu: usize,
    configuration: String,
    child: Child,
}

/// What a Seawall is started for.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    /// Seawall's executable.
    pub(crate) executable: &'a Path,
    /// A folder that is there, for configuration, subscribers and log.
    pub(crate) folder: &'a Path,
    /// Where its one worker runs.
    pub(crate) cpu: usize,
    /// The domain of all addresses-of-record, and the realm.
    pub(crate) domain: &'a str,
    /// Who may register, with digest credentials; everybody without where there is none.
    pub(crate) users: Option<&'a [&'a Population]>,
    /// The bindings that it must be able to hold.
    pub(crate) bindings: u32,
}

/// Why there is no server.
#[derive(Debug)]
pub enum NoServer {
    /// Something was refused by the system.
    Io {
        /// What was done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// It ended before it answered, and said so.
    Ended {
        /// What it wrote last.
        log: String,
    },
    /// It does not answer.
    Silent {
        /// Where.
        address: SocketAddrV4,
        /// Whether it is one of ours.
        is_own: bool,
    },
    /// It is someone's network.
    Public {
        /// The address.
        address: Ipv4Addr,
    },
}

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoServer::Io { what, error } => write!(f, "{what}: {error}"),
            NoServer::Ended { log } => write!(f, "Seawall ended before it served:\n{log}"),
            NoServer::Silent { address, is_own: true } => {
                write!(
                    f,
                    "Seawall was started and did not answer at {address} within {} s",
                    PATIENCE.as_secs()
                )
            }
            NoServer::Silent { address, is_own: false } => {
                write!(
                    f,
                    "nothing answers SIP over UDP at {address}; is the server up, and does it answer OPTIONS?"
                )
            }
            NoServer::Public { address } => write!(
                f,
                "{address} is neither loopback nor a private network, and a storm there is an attack on whoever it belongs to; \
                 if that is you, say --i-own-this-network"
            ),
        }
    }
}

impl std::error::Error for NoServer {}

/// Refuses a target that may be another's: what is not loopback, private (RFC 1918, RFC 4193) or link-local.
pub(crate) fn is_ours(address: Ipv4Addr, i_own_this_network: bool) -> Result<(), NoServer> {
    let is_local = address.is_loopback() || address.is_private() || address.is_link_local();
    if is_local || i_own_this_network { Ok(()) } else { Err(NoServer::Public { address }) }
}

impl Server {
    /// A server that is there.
    pub(crate) fn there(
        address: SocketAddrV4,
        metrics: Option<SocketAddr>,
        pid: Option<u32>,
    ) -> Result<Server, NoServer> {
        let server = Server { address, metrics, pid, own: None };
        if server.answers(Duration::from_secs(3))? {
            Ok(server)
        } else {
            Err(NoServer::Silent { address, is_own: false })
        }
    }

    /// Starts a Seawall on free ports and waits until it answers.
    pub(crate) fn start(task: &Task<'_>) -> Result<Server, NoServer> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |error| NoServer::Io { what, error }
        };
        let address = free_udp().map_err(io("looking for a free UDP port"))?;
        let metrics = free_tcp().map_err(io("looking for a free TCP port"))?;
        let configuration = configure(task, address, metrics).map_err(io("writing subscribers"))?;
        let own = Own {
            executable: task.executable.to_owned(),
            folder: task.folder.to_owned(),
            cpu: task.cpu,
            child: spawn(task.executable, task.folder, task.cpu, &configuration)?,
            configuration,
        };
        let pid = Some(own.child.id());
        let mut server =
            Server { address, metrics: Some(SocketAddr::V4(metrics)), pid, own: Some(own) };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Its configuration, where it is one of ours.
    pub(crate) fn configuration(&self) -> Option<&str> {
        self.own.as_ref().map(|own| own.configuration.as_str())
    }

    /// Ends it as a crash would. Nothing happens to what is not ours.
    pub(crate) fn kill(&mut self) {
        if let Some(own) = &mut self.own {
            // What has ended by itself is as dead as it should be.
            let _killed = own.child.kill();
            let _ended = own.child.wait();
            self.pid = None;
        }
    }

    /// Starts it again after [`Server::kill`], without waiting for it to serve.
    pub(crate) fn start_again(&mut self) -> Result<(), NoServer> {
        if let Some(own) = &mut self.own {
            own.child = spawn(&own.executable, &own.folder, own.cpu, &own.configuration)?;
            self.pid = Some(own.child.id());
        }
        Ok(())
    }

    /// Whether one of ours has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let own = self.own.as_mut();
        own.is_some_and(|own| matches!(own.child.try_wait(), Ok(Some(_))))
    }

    /// The last lines of the log of one of ours.
    pub(crate) fn log(&self) -> String {
        self.own.as_ref().map_or_else(String::new, |own| last_lines(&own.folder.join(LOG)))
    }

    fn wait_until_it_answers(&mut self) -> Result<(), NoServer> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.has_ended() {
                return Err(NoServer::Ended { log: self.log() });
            }
            if self.answers(Duration::from_millis(120))? {
                return Ok(());
            }
        }
        Err(NoServer::Silent { address: self.address, is_own: true })
    }

    /// Whether an OPTIONS is answered within `patience`.
    fn answers(&self, patience: Duration) -> Result<bool, NoServer> {
        let io = |error| NoServer::Io { what: "a socket to look for the server".into(), error };
        let here = sockets::local_address(self.address).map_err(io)?;
        let socket = UdpSocket::bind((here, 0)).map_err(io)?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(io)?;
        let here = socket.local_addr().map_err(io)?;
        let start = Instant::now();
        let mut attempt = 0;
        while start.elapsed() < patience {
            attempt += 1;
            let (target, id) = (self.address, std::process::id());
            let probe = format!(
                "OPTIONS sip:{target} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {here};rport;branch=z9hG4bKprobe{id}x{attempt}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:probe@{here}>;tag=1\r\nTo: <sip:{target}>\r\n\
                 Call-ID: probe{id}x{attempt}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            );
            // Refused as long as nobody listens.
            let _sent = socket.send_to(probe.as_bytes(), target);
            let mut answer = [0; 2048];
            if socket.recv_from(&mut answer).is_ok_and(|(_, from)| from == SocketAddr::V4(target)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if let Some(own) = &self.own {
            // A million accounts are of no use to anybody afterwards; where there are none, there is nothing to remove.
            let _removed = fs::remove_file(own.folder.join(SUBSCRIBERS));
        }
    }
}

const LOG: &str = "server.log";
const CONFIGURATION: &str = "server.toml";
const SUBSCRIBERS: &str = "subscribers.csv";

fn spawn(
    executable: &Path,
    folder: &Path,
    cpu: usize,
    configuration: &str,
) -> Result<Child, NoServer> {
    let io = |what: String| move |error| NoServer::Io { what, error };
    let file = folder.join(CONFIGURATION);
    fs::write(&file, configuration).map_err(io(format!("writing {}", file.display())))?;
    let log = folder.join(LOG);
    let output = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(io(format!("writing {}", log.display())))?;
    let errors = output.try_clone().map_err(io("a second handle of the log".into()))?;
    let mut command = Command::new(executable);
    command.arg("run").arg("--config").arg(CONFIGURATION).current_dir(folder);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    sys::end_with_us(&mut command, &[cpu]);
    command.spawn().map_err(io(format!("starting {}", executable.display())))
}

/// Writes the subscribers, and answers with the configuration: a node of one core with all in memory, as it is measured elsewhere.
fn configure(task: &Task<'_>, serves: SocketAddrV4, metrics: SocketAddrV4) -> io::Result<String> {
    let domain = task.domain;
    let auth = match task.users {
        None => "mode = \"none\"\n".to_owned(),
        Some(populations) => {
            let file = fs::File::create(task.folder.join(SUBSCRIBERS))?;
            let mut to = BufWriter::new(file);
            for users in populations {
                users.write_subscribers(domain, &mut to)?;
            }
            to.flush()?;
            format!(
                "mode = \"digest\"\nrealm = \"{domain}\"\nalgorithms = [\"MD5\"]\n\
                 subscribers = \"{SUBSCRIBERS}\"\nnonce_lifetime = 3600\n"
            )
        }
    };
    Ok(format!(
        "[node]\nname = \"storm\"\ncpus = [{}]\n\n\
         [[listen]]\nudp = \"{serves}\"\n\n\
         [domains]\nlocal = [\"{domain}\"]\n\n\
         [registrar]\nmin_expires = 60\ndefault_expires = 3600\nmax_expires = 7200\nmax_contacts = 10\n\n\
         [auth]\n{auth}\n\
         [location]\nmax_bindings = {}\n\n\
         [admin]\nlisten = \"{metrics}\"\n",
        task.cpu, task.bindings
    ))
}

/// The end of a file.
fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn free_udp() -> io::Result<SocketAddrV4> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, socket.local_addr()?.port()))
}

fn free_tcp() -> io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_that_may_be_ours_are_targets() {
        for ours in
            ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1"]
        {
            assert!(is_ours(ours.parse().unwrap(), false).is_ok(), "{ours}");
        }
        for other in ["8.8.8.8", "172.32.0.1", "192.0.2.1", "100.64.0.1", "0.0.0.0"] {
            let error = is_ours(other.parse().unwrap(), false).unwrap_err().to_string();
            assert!(error.contains("--i-own-this-network"), "{error}");
            assert!(is_ours(other.parse().unwrap(), true).is_ok());
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_missed() {
        let nobody = free_udp().unwrap();
        let error = Server::there(nobody, None, None).unwrap_err().to_string();
        assert!(error.contains(&nobody.to_string()), "{error}");
    }

    #[test]
    fn what_ends_at_once_says_why() {
        let folder = std::env::temp_dir().join(format!("storm-server-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let task = Task {
            executable: Path::new("/bin/ls"),
            folder: &folder,
            cpu: 0,
            domain: "sip.test",
            users: None,
            bindings: 10,
        };
        let error = Server::start(&task).unwrap_err();
        assert!(matches!(&error, NoServer::Ended { log } if log.contains("config")), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
