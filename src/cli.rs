//! The command line: what may be asked for, and what is printed for it. The work itself is done elsewhere.

use crate::config::{
    Auth, Config, Domain, Io, Limits, LocalDomains, Machine, Neighbour, Problems, Proxy, Source,
    cpu_ranges, mebibytes, written_network,
};
use crate::ctl::Ctl;
use crate::storm::Storm;
use crate::subscribers;
use clap::{Args, Parser, Subcommand};
use shards::proxy::NextHop;
use std::path::{Path, PathBuf};

/// Exit code for a configuration, or a command line, that is wrong.
pub const EXIT_CONFIGURATION: u8 = 2;
/// Exit code for a machine that does not give what the configuration asks for, or a node that does not answer.
pub const EXIT_ENVIRONMENT: u8 = 1;

/// Exit code for a storm that left a report which is invalid or was cut short.
pub const EXIT_DOUBTFUL: u8 = 3;

/// A SIP registrar and proxy that stands up to registration storms.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves until SIGTERM, which drains; a second one stops at once. This is the default command.
    Run(Run),
    /// Reads a configuration, says everything that is wrong with it, and prints what it would reserve.
    Check {
        /// The configuration, in TOML.
        file: PathBuf,
    },
    /// Asks a running node, as in `ctl ul.lookup alice@sip.test`: a table on a terminal, JSON otherwise.
    Ctl(Ctl),
    /// Registration storms: what happens to a server when a mass outage ends.
    Storm(Storm),
}

/// What `run` may be told.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The configuration, in TOML. Without it: 127.0.0.1:5060 over UDP, any domain, no authentication.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Cli {
    /// What was asked for: `seawall` and `seawall --config FILE` mean `run`.
    #[must_use]
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// The configuration to run with.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn configuration(run: &Run, machine: &Machine) -> Result<Config, Problems> {
    run.config
        .as_ref()
        .map_or_else(|| Ok(Config::builtin(machine)), |file| Config::load(file, machine))
}

/// What `check` prints for a file: what it means and what it reserves.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn check(file: &Path, machine: &Machine) -> Result<String, Problems> {
    let config = Config::load(file, machine)?;
    let limits = Limits::derive(&config);
    let mut text = format!("{} is valid.\n\n", file.display());
    for line in summary(&config, &limits) {
        text.push_str(&line);
        text.push('\n');
    }
    // What they are hidden under does not matter here.
    let loaded = subscribers::load(&config, [0; 16])
        .map_err(|message| Problems::whole(file, "auth.subscribers", message))?;
    let subscribers = loaded.map_or_else(String::new, |loaded| {
        let lines = loaded.remarks().into_iter().chain([loaded.to_string()]);
        lines.map(|line| format!("{line}\n")).collect()
    });
    Ok(format!("{text}\n{limits}\n{subscribers}"))
}

/// A configuration in a few lines, as they are logged at the start.
#[must_use]
pub fn summary(config: &Config, limits: &Limits) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match &config.source {
        Source::File(file) => format!("configuration: {}", file.display()),
        Source::Builtin => "configuration: built-in, as no --config FILE was given: this machine only, any domain, \
                            no authentication"
            .to_owned(),
    });
    for listener in &config.listeners {
        let advertised = listener.advertise.as_ref();
        let advertised =
            advertised.map_or_else(String::new, |public| format!(", advertised as {public}"));
        let trusting = if listener.challenge { "" } else { ", users are not challenged" };
        lines.push(format!("listen: udp {}{advertised}{trusting}", listener.udp));
    }
    let domains = match &config.domains.local {
        LocalDomains::Named(names) if names.len() > 3 => format!("{} of them", names.len()),
        local @ (LocalDomains::Any | LocalDomains::Named(_)) => local.to_string(),
    };
    let auth = match &config.auth {
        Auth::None => "without authentication".to_owned(),
        Auth::Digest(digest) => {
            let names: Vec<&str> = digest.algorithms.iter().map(|one| one.name()).collect();
            format!("digest ({}) in the realm \"{}\"", names.join(", "), digest.realm)
        }
    };
    lines.push(format!("domains: {domains}, {auth}"));
    lines.extend(config.neighbours.iter().map(neighbour));
    let Proxy { timer_c_secs, max_transactions, resolvers, .. } = &config.proxy;
    let asked = if resolvers.is_empty() {
        "the system's resolvers".to_owned()
    } else {
        resolvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    lines.push(format!(
        "proxy: up to {max_transactions} requests at a time, each rings for up to {timer_c_secs} s; names from {asked}"
    ));
    let cpus = cpu_ranges(&config.node.cpus);
    let io = match config.node.io {
        Io::Auto => "auto",
        Io::Uring => "uring",
        Io::Epoll => "epoll",
    };
    let workers = if limits.cores == 1 {
        "1 worker on CPU".to_owned()
    } else {
        format!("{} workers on CPUs", limits.cores)
    };
    lines.push(format!("node: {}, {workers} {cpus}, io {io}", config.node.name));
    let (bindings, total) = (config.location.max_bindings, mebibytes(limits.total_bytes()));
    lines.push(format!("memory: {total} reserved for {bindings} bindings and what goes with them"));
    lines.push(match &config.admin {
        Some(admin) => {
            let callers =
                if admin.token_file.is_some() { "with a token" } else { "from this machine" };
            format!("admin: http://{}/metrics, /healthz and, {callers}, /RPC", admin.listen)
        }
        None => "admin: none, as the configuration has no [admin]".to_owned(),
    });
    lines
}

fn neighbour(neighbour: &Neighbour) -> String {
    let mut parts = vec![format!("neighbour: {}", neighbour.name)];
    if !neighbour.networks.is_empty() {
        let networks: Vec<String> = neighbour.networks.iter().map(written_network).collect();
        parts.push(format!("calls from {}", networks.join(", ")));
    }
    if !neighbour.domains.is_empty() {
        let domains: Vec<&str> = neighbour.domains.iter().map(Domain::as_str).collect();
        let by = match &neighbour.next_hop {
            Some(NextHop::Address(address)) => format!(" by {address}"),
            Some(NextHop::Name { host, port }) => format!(" by {host}:{port}"),
            None => String::new(),
        };
        parts.push(format!("is called for {}{by}", domains.join(", ")));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Option<Option<PathBuf>> {
        let all = std::iter::once("seawall").chain(arguments.iter().copied());
        match Cli::try_parse_from(all).unwrap().command() {
            Command::Run(run) => Some(run.config),
            Command::Check { .. } | Command::Ctl(_) | Command::Storm(_) => None,
        }
    }

    #[test]
    fn run_is_the_default_command() {
        assert_eq!(asked(&[]), Some(None));
        assert_eq!(asked(&["run"]), Some(None));
        assert_eq!(asked(&["--config", "a.toml"]), Some(Some("a.toml".into())));
        assert_eq!(asked(&["run", "--config", "a.toml"]), Some(Some("a.toml".into())));
        assert_eq!(asked(&["check", "a.toml"]), None);
    }

    #[test]
    fn the_summary_tells_what_was_configured() {
        let machine = Machine { cpus: vec![0, 1], hostname: "edge7".to_owned() };
        let builtin = Config::builtin(&machine);
        insta::assert_snapshot!("builtin", summary(&builtin, &Limits::derive(&builtin)).join("\n"));
        let text = r#"
            node.name = "sw1"
            node.cpus = [1]
            listen = [{ udp = "[::]:5060", advertise = "edge.example.com:5060" }, { udp = "192.0.2.1:5062", challenge = false }]
            domains.local = ["b.test", "a.test"]
            location.max_bindings = 1000
            proxy = { max_transactions = 500, resolver = ["127.0.0.1:5353"] }
            [[neighbour]]
            name = "carrier-c"
            networks = ["192.0.2.0/24", "2001:db8::1"]
            domains = ["c.test"]
            next_hop = "proxy.c.test:5070"
            [[neighbour]]
            name = "carrier-d"
            domains = ["d.test", "e.test"]
        "#;
        let config = Config::parse(Path::new("sw1.toml"), text, &machine).unwrap();
        insta::assert_snapshot!("file", summary(&config, &Limits::derive(&config)).join("\n"));
    }
}
