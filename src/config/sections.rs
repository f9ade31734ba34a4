//! From the TOML tree to a [`Config`]: which keys each table has, and what has to hold between them.

use super::limits::{ARENA_BYTES_MAX, bindings_per_core, transactions_per_core};
use super::proxy::{self, Others};
use super::{
    Admin, Auth, Config, Digest, Domain, Domains, HostPort, Io, Listener, LocalDomains, Location,
    Machine, MessageLimits, Node, Registrar, Source, cpu_ranges,
};
use shards::auth::Algorithm;
use shards::registrar::{UnsupportedPath, WhenFull};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use toml_tree::{Field, Problems, Section, suggestion};

/// What a realm may be: it stands between quotes in every challenge.
const REALM_EXPECTED: &str = "a realm of 1 to 128 bytes without `\"`, `\\` and controls";
/// As long as most phones wait until they refresh, and longer than they wait where many are behind NAT.
const NONCE_LIFETIME_SECS: u32 = 3600;
/// The least message a limit may allow: a REGISTER with a few proxies' Via and Path headers always fits.
const MESSAGE_BYTES_MIN: u32 = 2048;
/// The largest payload of UDP over IPv4.
const MESSAGE_BYTES_MAX: u32 = 65_507;
/// What the bindings may take of a response: half of it remains for the headers that are copied from the request.
const CONTACT_BYTES_MAX: u32 = MESSAGE_BYTES_MAX / 2;
/// RFC 3261 10.3 step 7: an hour or more is never too brief.
const MIN_EXPIRES_SECS_MAX: u32 = 3600;

pub(super) fn parse(file: &Path, text: &str, machine: &Machine) -> Result<Config, Problems> {
    toml_tree::read(file, text, |root| document(root, file, machine))
}

fn document(mut root: Section<'_, '_>, file: &Path, machine: &Machine) -> Config {
    let defaults = Config::defaults(machine);
    let node_section = root.table("node");
    let listen = root.tables("listen");
    if listen.as_ref().is_some_and(Vec::is_empty) {
        root.problem_of("listen", "is empty, expected at least one address");
    }
    let (domains_section, registrar_section) = (root.table("domains"), root.table("registrar"));
    let (auth_section, mut location_section) = (root.table("auth"), root.table("location"));
    let (mut proxy_section, neighbour_sections) = (root.table("proxy"), root.tables("neighbour"));
    let domains = domains(domains_section);
    let location = location(&mut location_section, &defaults.location);
    let (listeners, wildcards) = listeners(listen).unwrap_or((defaults.listeners, Vec::new()));
    let others = Others { listeners: &listeners, domains: &domains };
    let neighbours = proxy::neighbours(neighbour_sections, others);
    if listeners.len() > 1 && neighbours.iter().any(|neighbour| !neighbour.domains.is_empty()) {
        for listener in &wildcards {
            let message = format!(
                "{} is no address that a neighbour can answer to, and what leaves from here may have come to another \
                 listener, expected advertise beside it, as in advertise = \"sip.example.com:{}\"",
                listener.value,
                listener.value.port()
            );
            root.problem(listener, message);
        }
    }
    let config = Config {
        source: Source::File(file.to_owned()),
        node: node(node_section, file, machine, defaults.node),
        listeners,
        registrar: registrar(registrar_section, &defaults.registrar),
        auth: auth(auth_section, file, &domains.local, &location),
        domains,
        location,
        proxy: proxy::proxy(&mut proxy_section, defaults.proxy),
        neighbours,
        limits: limits(root.table("limits"), &defaults.limits),
        admin: admin(root.table("admin"), file),
    };
    let strings_bytes =
        u64::from(bindings_per_core(&config)) * u64::from(config.location.binding_bytes);
    if strings_bytes > ARENA_BYTES_MAX as u64 {
        let gibibytes = strings_bytes >> 30;
        let message = format!(
            "would take {gibibytes} GiB of strings a core, expected no more than 31: fewer bindings or more CPUs"
        );
        location_section.problem_of("max_bindings", &message);
    }
    location_section.finish();
    let messages_bytes =
        u64::from(transactions_per_core(&config)) * u64::from(config.proxy.transaction_bytes);
    if messages_bytes > ARENA_BYTES_MAX as u64 {
        let gibibytes = messages_bytes >> 30;
        let message = format!(
            "would take {gibibytes} GiB of messages a core, expected no more than 31: fewer transactions or more CPUs"
        );
        proxy_section.problem_of("max_transactions", &message);
    }
    proxy_section.finish();
    root.finish();
    config
}

fn node(mut section: Section<'_, '_>, file: &Path, machine: &Machine, default: Node) -> Node {
    let name = section.string("name", "a name").filter(|field| {
        let valid = (1..=64).contains(&field.value.len())
            && field
                .value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !valid {
            section.problem(field, "expected 1 to 64 letters, digits, `-`, `_` or `.`");
        }
        valid
    });
    let cpus = cpus(&mut section, machine);
    let io = section.word("io", &[("auto", Io::Auto), ("uring", Io::Uring), ("epoll", Io::Epoll)]);
    let spin = section.number("spin_before_park_us", 0..=1_000_000u32, "microseconds");
    let secret_file = path(&mut section, "secret_file", file);
    let previous_secret_file = path(&mut section, "previous_secret_file", file);
    if let Some(previous) = &previous_secret_file {
        match &secret_file {
            None => section.problem(
                previous,
                "is written, but no secret_file, expected the file of the secret that replaced it",
            ),
            Some(current) if current.value == previous.value => section
                .problem(previous, "is secret_file itself, expected the one that it replaced"),
            Some(_) => {}
        }
    }
    section.finish();
    Node {
        name: name.map_or(default.name, |field| field.value.to_owned()),
        cpus: cpus.unwrap_or(default.cpus),
        io: io.map_or(default.io, |field| field.value),
        spin_before_park_us: spin.map_or(default.spin_before_park_us, |field| field.value),
        secret_file: secret_file.map(|field| field.value),
        previous_secret_file: previous_secret_file.map(|field| field.value),
    }
}

fn cpus(section: &mut Section<'_, '_>, machine: &Machine) -> Option<Vec<usize>> {
    let listed = section.numbers("cpus", 0..=u16::MAX, "CPU numbers as in [0, 1]")?;
    if section.is_empty_list("cpus") {
        section.problem_of("cpus", "is empty, expected at least one CPU");
    }
    let mut cpus: Vec<usize> = Vec::new();
    for field in &listed {
        let cpu = usize::from(field.value);
        if !machine.cpus.contains(&cpu) {
            let message = format!(
                "this process may not run on CPU {cpu}, expected some of {}",
                cpu_ranges(&machine.cpus)
            );
            section.problem(field, message);
        } else if cpus.contains(&cpu) {
            section
                .problem(field, format!("CPU {cpu} is named twice, expected one worker for each"));
        } else {
            cpus.push(cpu);
        }
    }
    cpus.sort_unstable();
    (!cpus.is_empty()).then_some(cpus)
}

/// A file's path; relative ones are meant from the folder of the configuration.
fn path(section: &mut Section<'_, '_>, key: &'static str, file: &Path) -> Option<Field<PathBuf>> {
    let field = section.string(key, "a path")?;
    if field.value.is_empty() {
        section.problem(&field, "expected a path");
        return None;
    }
    Some(field.with(file.parent().unwrap_or(Path::new("")).join(field.value)))
}

/// The listeners, and those bound to a wildcard without a word about how others reach them.
fn listeners(
    sections: Option<Vec<Section<'_, '_>>>,
) -> Option<(Vec<Listener>, Vec<Field<SocketAddr>>)> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut wildcards = Vec::new();
    let mut seen: Vec<(SocketAddr, usize)> = Vec::new();
    for mut section in sections? {
        let udp = socket_addr(&mut section, "udp");
        if let Some(field) = &udp {
            let line = section.line(field);
            match seen.iter().find(|&&(addr, _)| overlap(addr, field.value)) {
                Some((addr, first)) => {
                    let message = if *addr == field.value {
                        format!(
                            "{addr} is already served by line {first}, expected each address once"
                        )
                    } else {
                        format!(
                            "{} and line {first}'s {addr} overlap, expected another port or one of them alone",
                            field.value
                        )
                    };
                    section.problem(field, message);
                }
                None => seen.push((field.value, line)),
            }
        }
        let advertise = section.string("advertise", HostPort::EXPECTED).and_then(|field| {
            let parsed = HostPort::parse(field.value);
            if parsed.is_none() {
                section.problem(
                    &field,
                    format!("`{}` won't do, expected {}", field.value, HostPort::EXPECTED),
                );
            }
            parsed
        });
        let challenge = section.boolean("challenge").is_none_or(|field| field.value);
        section.require("udp", "the address to serve, as in udp = \"192.0.2.1:5060\"");
        section.finish();
        let Some(udp) = udp else { continue };
        listeners.push(Listener { udp: udp.value, advertise, challenge });
        if udp.value.ip().is_unspecified()
            && listeners.last().is_some_and(|one| one.advertise.is_none())
        {
            wildcards.push(udp);
        }
    }
    (!listeners.is_empty()).then_some((listeners, wildcards))
}

/// Whether a datagram could be meant for both: an unspecified address stands for all of its family.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip, other) = (a.ip(), b.ip());
    a.port() == b.port()
        && ip.is_ipv4() == other.is_ipv4()
        && (ip == other || ip.is_unspecified() || other.is_unspecified())
}

/// An address and port of this machine.
fn socket_addr(section: &mut Section<'_, '_>, key: &'static str) -> Option<Field<SocketAddr>> {
    const EXPECTED: &str = "an address and port as in \"192.0.2.1:5060\" or \"[2001:db8::1]:5060\"";
    let field = section.string(key, EXPECTED)?;
    one_machines(section, &field, EXPECTED).map(|addr| field.with(addr))
}

/// An address that one machine has, and a port.
pub(super) fn one_machines(
    section: &Section<'_, '_>,
    field: &Field<&str>,
    expected: &str,
) -> Option<SocketAddr> {
    let written = field.value;
    let wrong = match written.parse::<SocketAddr>() {
        Err(_) => "is no address".to_owned(),
        Ok(addr) if addr.port() == 0 => "has port 0".to_owned(),
        Ok(addr) => match addr.ip() {
            ip if ip.is_multicast() => "is a multicast address".to_owned(),
            IpAddr::V4(ip) if ip.is_broadcast() => "is the broadcast address".to_owned(),
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                "is an IPv4 address in disguise".to_owned()
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return Some(addr),
        },
    };
    section.problem(field, format!("`{written}` {wrong}, expected {expected}"));
    None
}

fn domains(mut section: Section<'_, '_>) -> Domains {
    let listed = section.strings("local", "domains as in [\"sip.example.com\"]");
    let mut wildcard = None;
    let mut named: Vec<Domain> = Vec::new();
    for field in listed.iter().flatten() {
        if field.value == "*" {
            wildcard = Some(field.clone());
            continue;
        }
        let Some(domain) = domain(&section, field) else { continue };
        if named.contains(&domain) {
            section.problem(field, format!("`{domain}` is named twice, expected each domain once"));
        } else {
            named.push(domain);
        }
    }
    if let Some(field) = wildcard
        && listed.as_ref().is_some_and(|listed| listed.len() > 1)
    {
        section.problem(&field, "`*` already means any domain, expected it alone or not at all");
    }
    if section.is_empty_list("local") {
        section.problem_of("local", "is empty, expected at least one domain, or \"*\" for any");
    }
    named.sort_unstable();
    let local = if named.is_empty() { LocalDomains::Any } else { LocalDomains::Named(named) };
    let aliases = aliases(section.table("aliases"), &local);
    section.finish();
    Domains { local, aliases }
}

fn aliases(mut section: Section<'_, '_>, local: &LocalDomains) -> Vec<(Domain, Domain)> {
    let entries: Vec<_> = section
        .entries("a domain for a name in quotes, as in \"www.example.com\" = \"example.com\"")
        .into_iter()
        .map(|(name, meant)| (domain(&section, &name), name, domain(&section, &meant), meant))
        .collect();
    let is_alias =
        |domain: &Domain| entries.iter().any(|(alias, ..)| alias.as_ref() == Some(domain));
    let mut aliases: Vec<(Domain, Domain)> = Vec::new();
    for (alias, name, target, meant) in &entries {
        let (Some(alias), Some(target)) = (alias, target) else { continue };
        if aliases.iter().any(|(known, _)| known == alias) {
            section.problem(name, format!("`{alias}` is named twice, expected each alias once"));
        }
        match local {
            LocalDomains::Named(domains) if domains.contains(alias) => {
                section.problem(
                    name,
                    format!("`{alias}` is a local domain itself, expected another name for one"),
                );
            }
            LocalDomains::Named(domains) if !domains.contains(target) => {
                let names: Vec<&str> = domains.iter().map(Domain::as_str).collect();
                let hint = suggestion(target.as_str(), &names);
                section.problem(
                    meant,
                    format!("`{target}` is not among domains.local, expected one that is{hint}"),
                );
            }
            LocalDomains::Any if is_alias(target) => {
                section.problem(
                    meant,
                    format!("`{target}` is an alias itself, expected the domain it stands for"),
                );
            }
            LocalDomains::Any | LocalDomains::Named(_) => {
                aliases.push((alias.clone(), target.clone()));
            }
        }
    }
    aliases.sort_unstable();
    aliases
}

pub(super) fn domain(section: &Section<'_, '_>, field: &Field<&str>) -> Option<Domain> {
    let domain = Domain::parse(field.value);
    if domain.is_none() {
        section.problem(
            field,
            format!("`{}` is no domain, expected {}", field.value, Domain::EXPECTED),
        );
    }
    domain
}

fn registrar(mut section: Section<'_, '_>, default: &Registrar) -> Registrar {
    // RFC 3261 20.19: delta-seconds are below 2^32.
    let mut seconds = |key, most| section.number(key, 1..=most, "seconds");
    let (min, usual, max) = (
        seconds("min_expires", MIN_EXPIRES_SECS_MAX),
        seconds("default_expires", u32::MAX),
        seconds("max_expires", u32::MAX),
    );
    let max_contacts = section.number("max_contacts", 1..=100u16, "");
    let max_contact_bytes = section.number("max_contact_bytes", 256..=CONTACT_BYTES_MAX, "bytes");
    let when_full = section
        .word("when_full", &[("refuse", WhenFull::Refuse), ("replace", WhenFull::ReplaceOldest)]);
    let unsupported_path = section.word(
        "unsupported_path",
        &[("reject", UnsupportedPath::Reject), ("store", UnsupportedPath::Store)],
    );
    let ordered = [(&min, &usual), (&usual, &max), (&min, &max)];
    for (low, high) in ordered {
        if let (Some(low), Some(high)) = (low, high)
            && low.value > high.value
        {
            let message = format!(
                "{} is more than {} = {}, expected no more than that",
                low.value, high.key, high.value
            );
            section.problem(low, message);
            break;
        }
    }
    section.finish();
    // What is not written makes room for what is: `max_expires = 600` alone lowers the usual time to 600 too.
    let value = |field: &Option<Field<u32>>| field.as_ref().map(|field| field.value);
    let (min, usual, max) = (value(&min), value(&usual), value(&max));
    let least_written = usual.into_iter().chain(max).min().unwrap_or(u32::MAX);
    let min_expires_secs = min.unwrap_or(default.min_expires_secs.min(least_written));
    let max_expires_secs =
        max.unwrap_or(default.max_expires_secs.max(usual.unwrap_or(0)).max(min_expires_secs));
    let default_expires_secs =
        usual.unwrap_or(default.default_expires_secs.min(max_expires_secs).max(min_expires_secs));
    Registrar {
        min_expires_secs,
        default_expires_secs,
        max_expires_secs,
        max_contacts: max_contacts.map_or(default.max_contacts, |field| field.value),
        max_contact_bytes: max_contact_bytes.map_or(default.max_contact_bytes, |field| field.value),
        when_full: when_full.map_or(default.when_full, |field| field.value),
        unsupported_path: unsupported_path.map_or(default.unsupported_path, |field| field.value),
    }
}

fn auth(
    mut section: Section<'_, '_>,
    file: &Path,
    local: &LocalDomains,
    location: &Location,
) -> Auth {
    let mode = section.word("mode", &[("digest", true), ("none", false)]);
    let realm = section.string("realm", REALM_EXPECTED).filter(|field| {
        let valid = (1..=128).contains(&field.value.len())
            && field.value.chars().all(|one| !one.is_control() && one != '"' && one != '\\');
        if !valid {
            section.problem(field, format!("expected {REALM_EXPECTED}"));
        }
        valid
    });
    let algorithms = algorithms(&mut section);
    let subscribers = path(&mut section, "subscribers", file);
    let lifetime = section.number("nonce_lifetime", 30..=86_400u32, "seconds");
    let nonces = section.number("nonces", 1000..=1_000_000_000u32, "nonces");
    let is_digest = match &mode {
        Some(field) => field.value,
        None => {
            // Whoever names subscribers means them, and must not serve everybody for a line that he forgot.
            if let Some(field) = &subscribers {
                let message = "is written, but no mode, expected mode = \"digest\" or \"none\"";
                section.problem(field, message);
            }
            false
        }
    };
    if !is_digest {
        section.finish();
        return Auth::None;
    }
    section.require("subscribers", "a CSV file as in subscribers = \"subscribers.csv\"");
    let only_domain = match local {
        LocalDomains::Named(domains) if domains.len() == 1 => {
            domains.first().map(|domain| domain.as_str().to_owned())
        }
        LocalDomains::Any | LocalDomains::Named(_) => {
            section
                .require("realm", "a realm, as there is not one local domain that could name it");
            None
        }
    };
    section.finish();
    Auth::Digest(Digest {
        realm: realm.map(|field| field.value.to_owned()).or(only_domain).unwrap_or_default(),
        algorithms: algorithms.unwrap_or_else(|| vec![Algorithm::Md5]),
        subscribers: subscribers.map(|field| field.value).unwrap_or_default(),
        nonce_lifetime_secs: lifetime.map_or(NONCE_LIFETIME_SECS, |field| field.value),
        nonces: nonces.map_or(location.max_bindings.max(1000), |field| field.value),
    })
}

/// The algorithms in the order in which they are offered, RFC 8760 2.3.
fn algorithms(section: &mut Section<'_, '_>) -> Option<Vec<Algorithm>> {
    let names = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let listed = section.words("algorithms", &names)?;
    if section.is_empty_list("algorithms") {
        section.problem_of("algorithms", "is empty, expected at least one algorithm");
    }
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for field in &listed {
        let name = field.value.name();
        if algorithms.contains(&field.value) {
            section
                .problem(field, format!("`{name}` is named twice, expected each algorithm once"));
        } else if algorithms.contains(&Algorithm::Md5) {
            section
                .problem(field, format!("`{name}` stands behind `MD5`, expected strongest first"));
        }
        algorithms.push(field.value);
    }
    (!algorithms.is_empty()).then_some(algorithms)
}

fn location(section: &mut Section<'_, '_>, default: &Location) -> Location {
    let max_bindings = section.number("max_bindings", 1..=80_000_000u32, "bindings");
    let binding_bytes = section.number("binding_bytes", 128..=4096u32, "bytes");
    if let Some(field) = section.string("path", "a folder") {
        let message = "bindings are not kept on disk by this version yet, expected no path: they live in memory only";
        section.problem(&field, message);
    }
    Location {
        max_bindings: max_bindings.map_or(default.max_bindings, |field| field.value),
        binding_bytes: binding_bytes.map_or(default.binding_bytes, |field| field.value),
    }
}

fn limits(mut section: Section<'_, '_>, default: &MessageLimits) -> MessageLimits {
    let message_bytes =
        section.number("message_bytes", MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX, "bytes");
    let headers = section.number("headers", 16..=4096u16, "header lines");
    let contacts = section.number("contacts", 1..=100u16, "contacts");
    let completed_bytes = section.number("completed_bytes", 65_536..=1u64 << 36, "bytes");
    section.finish();
    MessageLimits {
        message_bytes: message_bytes.map_or(default.message_bytes, |field| field.value),
        headers: headers.map_or(default.headers, |field| field.value),
        contacts: contacts.map_or(default.contacts, |field| field.value),
        completed_bytes: completed_bytes.map_or(default.completed_bytes, |field| field.value),
    }
}

fn admin(mut section: Section<'_, '_>, file: &Path) -> Option<Admin> {
    let listen = socket_addr(&mut section, "listen");
    let token_file = path(&mut section, "token_file", file);
    if section.is_present() {
        section.require("listen", "where to serve metrics, as in listen = \"127.0.0.1:8060\"");
    }
    if let Some(listen) = &listen
        && token_file.is_none()
        && !listen.value.ip().is_loopback()
    {
        let (address, port) = (listen.value, listen.value.port());
        let message = format!(
            "others reach {address} and could change bindings there, expected admin.token_file beside it, as in \
             token_file = \"admin.token\", or a loopback address; did you mean `127.0.0.1:{port}`?"
        );
        section.problem(listen, message);
    }
    section.finish();
    listen.map(|listen| Admin {
        listen: listen.value,
        token_file: token_file.map(|field| field.value),
        required: true,
    })
}
