//! The servers that are measured, each brought up the same way: one core, bindings in memory,
//! nothing logged a message. What a fair set-up of each is, is written here and nowhere else.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bench::Population;

use crate::process::Process;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// Seawall's loop around an echo: what the kernel and the loop leave to be reached.
    Echo,
    /// Seawall.
    Seawall,
    /// Kamailio from Debian.
    Kamailio,
}

impl Server {
    /// All, in the order of the tables.
    pub const ALL: [Server; 3] = [Server::Echo, Server::Seawall, Server::Kamailio];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Server::Echo => "echo",
            Server::Seawall => "Seawall",
            Server::Kamailio => "Kamailio",
        }
    }

    /// Where it serves.
    pub fn address(self) -> SocketAddrV4 {
        let port = match self {
            Server::Echo => 5068,
            Server::Seawall => 5066,
            Server::Kamailio => 5064,
        };
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    /// Starts it on `cpu`.
    pub fn start(
        self,
        place: &Place,
        cpu: usize,
        task: Task<'_>,
    ) -> Result<Process, Box<dyn Error>> {
        let (program, arguments) = match self {
            Server::Echo => self.echo(place, cpu, task),
            Server::Seawall => self.seawall(place, cpu, task)?,
            Server::Kamailio => self.kamailio(place, task)?,
        };
        let log = place.folder.join(format!("{}.log", self.name()));
        Process::start(&program, &arguments, &cpu.to_string(), self.address(), &log)
    }

    fn echo(self, place: &Place, cpu: usize, task: Task<'_>) -> (PathBuf, Vec<String>) {
        let listen = self.address().to_string();
        // An answer to a REGISTER, and a 100, are so long; what is passed on is as long as it was.
        let lengths = if task.role == Role::Proxy { "--trying-bytes" } else { "--reply-bytes" };
        let arguments =
            ["--listen", &listen, "--cpu", &cpu.to_string(), lengths, "350"].map(str::to_owned);
        (place.programs.join("echo-server"), arguments.to_vec())
    }

    fn seawall(
        self,
        place: &Place,
        cpu: usize,
        task: Task<'_>,
    ) -> Result<(PathBuf, Vec<String>), Box<dyn Error>> {
        let auth = match task.users {
            None => "mode = \"none\"\n".to_owned(),
            Some(users) => {
                let file = place.folder.join("subscribers.csv");
                let mut to = BufWriter::new(std::fs::File::create(&file)?);
                users.write_subscribers(DOMAIN, &mut to)?;
                to.flush()?;
                format!(
                    "mode = \"digest\"\nrealm = \"{DOMAIN}\"\nalgorithms = [\"MD5\"]\n\
                     subscribers = \"{}\"\nnonce_lifetime = 3600\n",
                    path_text(&file)?
                )
            }
        };
        let file = place.folder.join("seawall.toml");
        let text = format!(
            "[node]\nname = \"side-by-side\"\ncpus = [{cpu}]\n\n\
             [[listen]]\nudp = \"{}\"\n\n\
             [domains]\nlocal = [\"{DOMAIN}\"]\n\n\
             [registrar]\nmin_expires = 60\ndefault_expires = 3600\nmax_expires = 7200\n\
             max_contacts = 10\n\n\
             [auth]\n{auth}\n\
             [location]\nmax_bindings = {}\n",
            self.address(),
            task.bindings
        );
        std::fs::write(&file, text)?;
        let arguments = vec!["run".into(), "--config".into(), path_text(&file)?];
        Ok((place.programs.join("seawall"), arguments))
    }

    fn kamailio(
        self,
        place: &Place,
        task: Task<'_>,
    ) -> Result<(PathBuf, Vec<String>), Box<dyn Error>> {
        let file = place.folder.join("kamailio.cfg");
        let text = match task.role {
            Role::Registrar => include_str!("../kamailio.cfg"),
            Role::Proxy => include_str!("../kamailio-calls.cfg"),
            Role::Storms(_) => include_str!("../kamailio-storm.cfg"),
        };
        std::fs::write(&file, text)?;
        let listen = format!("udp:{}", self.address());
        // Its default memory manager is five times slower. A million bindings take 0.9 GB, a million accounts 0.2 GB. The
        // receive buffer, but of the one that is as it comes, is what the others ask for, as far as the system's limit allows.
        let mut arguments = [
            "-f",
            &path_text(&file)?,
            "-l",
            &listen,
            "-x",
            "tlsf",
            "-m",
            if matches!(task.role, Role::Storms(_)) { "4096" } else { "2048" },
            "-M",
            "64",
            "-DD",
            "-E",
        ]
        .map(str::to_owned)
        .to_vec();
        if task.role != Role::Storms(Storms::Stock) {
            arguments.extend(["-b".to_owned(), "4194304".to_owned()]);
        }
        if task.role == Role::Storms(Storms::Tuned) {
            arguments.extend(["-A".to_owned(), "TUNED".to_owned()]);
        }
        let slots = format!("SLOTS_LOG2={}", (task.bindings / 3).max(2).ilog2());
        arguments.extend(["-A".to_owned(), slots]);
        if task.untouched {
            arguments.extend(["-A".to_owned(), "UNTOUCHED".to_owned()]);
        }
        if let Some(users) = task.users {
            write_hash_table(users, &place.folder)?;
            let folder = path_text(&place.folder)?;
            arguments.extend(["-A".to_owned(), format!("USERS=\"text://{folder}\"")]);
        }
        Ok((PathBuf::from("kamailio"), arguments))
    }
}

/// The domain of all addresses-of-record, and the realm.
pub const DOMAIN: &str = "sip.test";

/// What a server is started for.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The bindings that it must be able to hold.
    pub bindings: u32,
    /// Who may register, with digest credentials; everybody without where there is none.
    pub users: Option<&'a Population>,
    /// Whether memory that it reserves is not to be touched before it is used, so that what is used can be seen.
    pub untouched: bool,
    /// What it is for.
    pub role: Role,
}

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// REGISTER and OPTIONS.
    Registrar,
    /// Calls, and REGISTER without digest.
    Proxy,
    /// Everything at once, as in a storm; only Kamailio has a set-up of its own for that.
    Storms(Storms),
}

/// How Kamailio meets storms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storms {
    /// As it comes.
    Stock,
    /// Set up by somebody who has met some. It limits nothing until it is [told](tell_limit) what it can do.
    Tuned,
}

/// Tells a tuned Kamailio how many first legs to let in a second, and over how many seconds to spread the others' Retry-After.
pub fn tell_limit(first_legs: u32, spread_secs: u32) -> Result<(), Box<dyn Error>> {
    let to = Server::Kamailio.address();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let here = socket.local_addr()?;
    for attempt in 0..10 {
        let told = format!(
            "OPTIONS sip:limit@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKlimit{attempt}\r\nMax-Forwards: 70\r\n\
             From: <sip:perf@{here}>;tag=1\r\nTo: <sip:limit@{to}>\r\nCall-ID: limit-{here}\r\nCSeq: {} OPTIONS\r\n\
             X-Limit: {first_legs}\r\nX-Spread: {spread_secs}\r\nContent-Length: 0\r\n\r\n",
            attempt + 1
        );
        socket.send_to(told.as_bytes(), to)?;
        let mut answer = [0; 2048];
        if let Ok(length) = socket.recv(&mut answer)
            && answer[..length].starts_with(b"SIP/2.0 200 ")
        {
            return Ok(());
        }
    }
    Err("Kamailio does not take its limit".into())
}

/// The users as Kamailio's modules `htable` and `db_text` read them.
fn write_hash_table(users: &Population, folder: &Path) -> Result<(), Box<dyn Error>> {
    let version = "table_name(string) table_version(int)\nhtable:2\n";
    std::fs::write(folder.join("version"), version)?;
    let mut table = BufWriter::new(std::fs::File::create(folder.join("htable"))?);
    let columns = "key_name(string) key_type(int) value_type(int) key_value(string) expires(int)";
    writeln!(table, "{columns}")?;
    for user in users.subscribers(DOMAIN) {
        writeln!(table, "{}:0:0:{}:0", user.username, user.ha1)?;
    }
    Ok(table.flush()?)
}

/// Where programs are found and files are put.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder with `seawall` and `echo-server`.
    pub programs: PathBuf,
    /// A folder for configurations and logs.
    pub folder: PathBuf,
}

impl Place {
    /// A place whose programs are there: those of a folder that is named, or else built now.
    pub fn prepared(programs: Option<&Path>) -> Result<Place, Box<dyn Error>> {
        let mut place = Place::here()?;
        match programs {
            Some(folder) => place.programs = folder.to_owned(),
            None => build()?,
        }
        Ok(place)
    }

    /// The folder of the running program, where cargo puts the others too, and a folder of this
    /// process under the system's one for temporary files.
    fn here() -> Result<Place, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let programs = program.parent().ok_or("the program has no folder")?.to_owned();
        let folder = std::env::temp_dir().join(format!("side-by-side-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Place { programs, folder })
    }
}

/// Keeps the calling thread, and what is started from it, on `cpu`.
pub fn stay_on(cpu: usize) -> Result<(), Box<dyn Error>> {
    if bench::pin_to_cpu(cpu) {
        Ok(())
    } else {
        Err(format!("there is no CPU {cpu} for the generator").into())
    }
}

/// Builds what is measured, as it is released.
fn build() -> Result<(), Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for package in [["-p", "seawall", "--bin", "seawall"], ["-p", "perf", "--bin", "echo-server"]] {
        let status = Command::new(&cargo).args(["build", "--release"]).args(package).status()?;
        if !status.success() {
            return Err(format!("cargo build {} failed", package.join(" ")).into());
        }
    }
    Ok(())
}

/// The first line of `kamailio -v`, after installing Debian's package if there is none.
pub fn kamailio_version() -> Result<String, Box<dyn Error>> {
    let version = || {
        let output = Command::new("kamailio").arg("-v").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
    };
    if let Some(line) = version() {
        return Ok(line);
    }
    eprintln!("Kamailio is not here: installing Debian's package");
    let as_root = ["sh", "-c", INSTALL];
    let is_root = String::from_utf8(Command::new("id").arg("-u").output()?.stdout)?.trim() == "0";
    let status = if is_root {
        Command::new(as_root[0]).args(&as_root[1..]).status()?
    } else {
        Command::new("sudo").args(as_root).status()?
    };
    if !status.success() {
        return Err("Kamailio could not be installed with apt-get".into());
    }
    version().ok_or_else(|| "Kamailio was installed but does not start".into())
}

/// RUNLEVEL=1 keeps Debian from starting the service that the package brings.
const INSTALL: &str = "export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
     apt-get install -y -qq --no-install-recommends kamailio >/dev/null || \
     { apt-get update -qq && \
     apt-get install -y -qq --no-install-recommends kamailio >/dev/null; }";

fn path_text(path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(path.to_str().ok_or("the temporary folder's name is not UTF-8")?.to_owned())
}
