//! The configuration: what an operator may say, checked as a whole before anything starts. It reads its one file and
//! touches nothing else.
//!
//! It goes in three steps. The file is *raw*: a TOML tree with spans. [`Config`] is typed, complete and always valid,
//! and either it exists or every problem of the file is told. [`Limits`] in bytes are derived from it.

mod domain;
mod limits;
mod machine;
mod proxy;
mod secret;
mod sections;
mod settings;
#[cfg(test)]
mod tests;

pub use domain::{Domain, HostPort};
pub(crate) use limits::thousands;
pub use limits::{Limits, mebibytes};
pub use machine::{Machine, cpu_ranges, memory_bytes};
pub(crate) use proxy::written as written_network;
pub use secret::{
    Secret, existing_secret, number_of_start, secret, secret_from_hex, secret_to_hex,
};
pub(crate) use toml_tree::suggestion;
pub use toml_tree::{Problem, Problems};

use shards::auth::Algorithm;
use shards::proxy::{Network, NextHop};
use shards::registrar::{UnsupportedPath, WhenFull};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A whole and valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it came from.
    pub source: Source,
    /// `[node]`: this process and its cores.
    pub node: Node,
    /// `[[listen]]`: where SIP is served, in the order of the file; a `ListenerId` is an index into it. Never empty.
    pub listeners: Vec<Listener>,
    /// `[domains]`: whose registrar this is.
    pub domains: Domains,
    /// `[registrar]`: how long bindings live and how many there are.
    pub registrar: Registrar,
    /// `[auth]`: who is let in.
    pub auth: Auth,
    /// `[location]`: how many bindings are kept.
    pub location: Location,
    /// `[proxy]`: how requests are passed on, and how many at a time.
    pub proxy: Proxy,
    /// `[[neighbour]]`: the servers of other domains, in the order of the file.
    pub neighbours: Vec<Neighbour>,
    /// `[limits]`: how large a message may be.
    pub limits: MessageLimits,
    /// `[admin]`: where metrics and control are served; `None` for nowhere.
    pub admin: Option<Admin>,
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file was named: what [`Config::builtin`] holds.
    Builtin,
    /// This file.
    File(PathBuf),
}

/// This process and its cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name of this node in logs and metrics; the host's name by default.
    pub name: String,
    /// The CPUs that get a worker, one each, ascending and distinct; never empty. By default all that this process may use.
    pub cpus: Vec<usize>,
    /// How the sockets are waited for.
    pub io: Io,
    /// How long an idle worker spins before it sleeps. Zero by default: it sleeps at once.
    pub spin_before_park_us: u32,
    /// Where the keys are kept that have to survive a restart; `None` for keys that live as long as the process.
    pub secret_file: Option<PathBuf>,
    /// Where the keys are that were replaced: calls that began with them go on.
    pub previous_secret_file: Option<PathBuf>,
}

/// How the sockets are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// What costs less: epoll, as [`crate::readiness`] tells.
    Auto,
    /// `io_uring`, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// One address at which SIP is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where the UDP sockets are bound; the port is never 0. IPv6 listeners serve IPv6 only.
    pub udp: SocketAddr,
    /// How others reach it, where that differs from the address: behind NAT, or bound to a wildcard.
    pub advertise: Option<HostPort>,
    /// Whether users of the domains served have to show here who they are, with digest authentication; true by default.
    pub challenge: bool,
}

/// Whose registrar this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains {
    /// The domains served.
    pub local: LocalDomains,
    /// Other names of a served domain: (alias, domain), sorted by alias. A domain is never an alias itself.
    pub aliases: Vec<(Domain, Domain)>,
}

/// The domains served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDomains {
    /// Whatever the request names, `"*"`.
    Any,
    /// These, sorted and distinct; never empty.
    Named(Vec<Domain>),
}

/// How long bindings live and how many an address-of-record may have. `min <= default <= max` holds for the times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// Below this a REGISTER gets 423 (Interval Too Brief), in seconds; 60 by default.
    pub min_expires_secs: u32,
    /// Granted where the request names none, in seconds; 3600 by default.
    pub default_expires_secs: u32,
    /// What more is cut to, in seconds; 7200 by default.
    pub max_expires_secs: u32,
    /// The most bindings of an address-of-record; 10 by default.
    pub max_contacts: u16,
    /// The most bytes that the bindings of an address-of-record take in a response; 8192 by default.
    pub max_contact_bytes: u32,
    /// What happens to one more.
    pub when_full: WhenFull,
    /// What happens to a Path from a UA that does not support Path.
    pub unsupported_path: UnsupportedPath,
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody, as whoever they say they are.
    None,
    /// Whoever shows by digest that he is a subscriber, RFC 3261 22.
    Digest(Digest),
}

/// Digest authentication of whoever registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The realm, without quotes, backslashes and controls; by default the only local domain.
    pub realm: String,
    /// What is offered, strongest first; MD5 alone by default. Never empty, and no algorithm twice.
    pub algorithms: Vec<Algorithm>,
    /// The file of the subscribers.
    pub subscribers: PathBuf,
    /// How long a nonce may be used, in seconds; 3600 by default.
    pub nonce_lifetime_secs: u32,
    /// How many nonces the node remembers the uses of; as many as there may be bindings by default.
    pub nonces: u32,
}

/// How many bindings are kept. They are kept in memory only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The most bindings on this node, all cores together; 1,000,000 by default. Their memory is reserved at the start.
    pub max_bindings: u32,
    /// Bytes reserved for the strings of a binding (contact, parameters, Path, Call-ID, address-of-record) in the mean;
    /// 384 by default.
    pub binding_bytes: u32,
}

/// How requests are passed on, and how many at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Timer C, RFC 3261 16.6 step 11: how long a callee may ring, in seconds; above 180, and 185 by default.
    pub timer_c_secs: u32,
    /// The most requests that are being passed on at the same time, all cores together; 65,536 by default.
    pub max_transactions: u32,
    /// Bytes reserved for the messages of one of them in the mean; 4096 by default.
    pub transaction_bytes: u32,
    /// The name servers that are asked for the addresses of next hops; empty by default: those of the system.
    pub resolvers: Vec<SocketAddr>,
}

/// A server that answers for other domains, and may call users of ours. It has networks or domains, and only with domains a
/// next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// What the operator calls it; no two have the same name.
    pub name: String,
    /// Where its requests come from; no address is in two networks of all neighbours.
    pub networks: Vec<Network>,
    /// The domains behind it, none of which is served here or behind another.
    pub domains: Vec<Domain>,
    /// Where requests for them go; `None`: to the address of the domain itself.
    pub next_hop: Option<NextHop>,
    /// Whether P-Asserted-Identity, P-Preferred-Identity and Remote-Party-ID that come from its networks are passed on, RFC 3325;
    /// false by default.
    pub asserts_identity: bool,
}

/// How large messages may be and what is remembered of them. A message beyond gets an error response, or is dropped and
/// counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of a message; by default 65,507, the largest that UDP over IPv4 carries (RFC 3261 18.1.1 wants no less).
    pub message_bytes: u32,
    /// Header lines of a message; 256 by default.
    pub headers: u16,
    /// Contacts in a request; 64 by default.
    pub contacts: u16,
    /// Bytes a core for the responses of completed transactions, by which a retransmitted request is answered as it was
    /// the first time; 32 MiB by default.
    pub completed_bytes: u64,
}

/// Where metrics, health and control are served over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address; the port is never 0. It is on loopback where there is no token.
    pub listen: SocketAddr,
    /// Where the token is kept that has to be shown to `/RPC`; `None`: whoever is on this machine may call.
    pub token_file: Option<PathBuf>,
    /// Whether the start fails where the address can't be had. True for a file that asks for it; without a file the
    /// admin address is a courtesy that a second instance does without.
    pub required: bool,
}

impl Config {
    /// What `seawall run` without a file serves: 127.0.0.1:5060 over UDP, any domain, no authentication.
    #[must_use]
    pub fn builtin(machine: &Machine) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8060));
        let admin = Admin { listen, token_file: None, required: false };
        Config { source: Source::Builtin, admin: Some(admin), ..Config::defaults(machine) }
    }

    /// Reads and checks a file for a machine.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(file: &Path, machine: &Machine) -> Result<Self, Problems> {
        let text = toml_tree::text(file)?;
        Config::parse(file, &text, machine)
    }

    /// Checks the text of a file; its name is for the messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str, machine: &Machine) -> Result<Self, Problems> {
        sections::parse(file, text, machine)
    }

    /// What an empty file means.
    fn defaults(machine: &Machine) -> Self {
        Config {
            source: Source::Builtin,
            node: Node {
                name: machine.hostname.clone(),
                cpus: machine.cpus.clone(),
                io: Io::Auto,
                spin_before_park_us: 0,
                secret_file: None,
                previous_secret_file: None,
            },
            listeners: vec![Listener {
                udp: SocketAddr::from((IpAddr::from(Ipv4Addr::LOCALHOST), 5060)),
                advertise: None,
                challenge: true,
            }],
            domains: Domains { local: LocalDomains::Any, aliases: Vec::new() },
            registrar: Registrar {
                min_expires_secs: 60,
                default_expires_secs: 3600,
                max_expires_secs: 7200,
                max_contacts: 10,
                max_contact_bytes: 8192,
                when_full: WhenFull::Refuse,
                unsupported_path: UnsupportedPath::Reject,
            },
            auth: Auth::None,
            location: Location { max_bindings: 1_000_000, binding_bytes: 384 },
            proxy: Proxy {
                timer_c_secs: 185,
                max_transactions: 65_536,
                transaction_bytes: 4096,
                resolvers: Vec::new(),
            },
            neighbours: Vec::new(),
            limits: MessageLimits {
                message_bytes: 65_507,
                headers: 256,
                contacts: 64,
                completed_bytes: 32 << 20,
            },
            admin: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Builtin => f.write_str("built-in"),
            Source::File(file) => write!(f, "{}", file.display()),
        }
    }
}

impl fmt::Display for LocalDomains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalDomains::Any => f.write_str("any"),
            LocalDomains::Named(domains) => {
                let names: Vec<&str> = domains.iter().map(Domain::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}
