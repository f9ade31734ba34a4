//! `[proxy]` and `[[neighbour]]`: what an operator says about requests that are passed on, and what has to hold between that and
//! the rest. It looks no name up.

use super::sections::one_machines;
use super::{Domain, Domains, HostPort, Listener, LocalDomains, Neighbour, Proxy};
use shards::proxy::{Network, NextHop};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use toml_tree::{Field, Section};

/// RFC 3261 16.6 step 11: Timer C is longer than three minutes.
const TIMER_C_SECS_MIN: u32 = 181;
/// Nobody lets a phone ring longer.
const TIMER_C_SECS_MAX: u32 = 3600;
/// Name servers that are asked in turn.
const RESOLVERS_MAX: usize = 8;

const NETWORK_EXPECTED: &str =
    "a network as in \"192.0.2.0/24\" or an address as in \"192.0.2.1\" or \"2001:db8::1\"";
const NEXT_HOP_EXPECTED: &str =
    "an address or a name with a port, as in \"192.0.2.1:5060\" or \"proxy.example.net:5060\"";

/// What the rest of the configuration says that matters here.
#[derive(Clone, Copy)]
pub(super) struct Others<'c> {
    pub(super) listeners: &'c [Listener],
    pub(super) domains: &'c Domains,
}

pub(super) fn proxy(section: &mut Section<'_, '_>, default: Proxy) -> Proxy {
    let timer_c = section.number("timer_c", TIMER_C_SECS_MIN..=TIMER_C_SECS_MAX, "seconds");
    let max_transactions = section.number("max_transactions", 16..=10_000_000u32, "transactions");
    let transaction_bytes = section.number("transaction_bytes", 1024..=65_536u32, "bytes");
    let resolvers = resolvers(section);
    Proxy {
        timer_c_secs: timer_c.map_or(default.timer_c_secs, |field| field.value),
        max_transactions: max_transactions.map_or(default.max_transactions, |field| field.value),
        transaction_bytes: transaction_bytes.map_or(default.transaction_bytes, |field| field.value),
        resolvers: resolvers.unwrap_or(default.resolvers),
    }
}

fn resolvers(section: &mut Section<'_, '_>) -> Option<Vec<SocketAddr>> {
    const EXPECTED: &str = "name servers with their ports, as in \"127.0.0.1:53\"";
    let listed = section.strings("resolver", EXPECTED)?;
    if section.is_empty_list("resolver") {
        section.problem_of(
            "resolver",
            "is empty, expected at least one name server, or no key for those of the system",
        );
    }
    let mut resolvers: Vec<SocketAddr> = Vec::new();
    for field in &listed {
        let Some(address) = destination(section, field, EXPECTED) else { continue };
        if resolvers.contains(&address) {
            let message = format!("`{address}` is named twice, expected each name server once");
            section.problem(field, message);
        } else if resolvers.len() == RESOLVERS_MAX {
            let message = format!("is one too many, expected {RESOLVERS_MAX} name servers at most");
            section.problem(field, message);
            break;
        } else {
            resolvers.push(address);
        }
    }
    Some(resolvers)
}

/// An address that something can be sent to.
fn destination(
    section: &Section<'_, '_>,
    field: &Field<&str>,
    expected: &str,
) -> Option<SocketAddr> {
    let address = one_machines(section, field, expected)?;
    if address.ip().is_unspecified() {
        let message = format!("`{address}` is no address to send to, expected {expected}");
        section.problem(field, message);
        return None;
    }
    Some(address)
}

/// The neighbours.
pub(super) fn neighbours(
    sections: Option<Vec<Section<'_, '_>>>,
    others: Others<'_>,
) -> Vec<Neighbour> {
    let mut seen = Seen::default();
    let mut neighbours = Vec::new();
    for section in sections.unwrap_or_default() {
        neighbours.extend(neighbour(section, others, &mut seen));
    }
    neighbours
}

/// What was named by the neighbours before, and in which line.
#[derive(Default)]
struct Seen {
    names: Vec<(String, usize)>,
    networks: Vec<(Network, usize)>,
    domains: Vec<(Domain, usize)>,
}

fn neighbour(
    mut section: Section<'_, '_>,
    others: Others<'_>,
    seen: &mut Seen,
) -> Option<Neighbour> {
    let name = name(&mut section, seen);
    let networks = networks(&mut section, seen);
    let domains = domains(&mut section, others, seen);
    let next_hop = next_hop(&mut section, others.listeners);
    let asserts_identity = section.boolean("asserts_identity");
    section.require("name", "what to call it, as in name = \"carrier-a\"");
    if networks.is_none() && domains.is_none() {
        section.problem_of(
            "networks",
            "is missing, and so are domains, expected where its requests come from or what is behind it",
        );
    }
    if let (Some(next_hop), None) = (&next_hop, &domains) {
        let message = "is written, but no domains, expected the domains whose requests go there";
        section.problem(next_hop, message);
    }
    if let (Some(asserts), None) = (&asserts_identity, &networks) {
        let message = "is written, but no networks, expected where its messages come from";
        section.problem(asserts, message);
    }
    section.finish();
    Some(Neighbour {
        name: name?,
        networks: networks.unwrap_or_default(),
        domains: domains.unwrap_or_default(),
        next_hop: next_hop.map(|field| field.value),
        asserts_identity: asserts_identity.is_some_and(|field| field.value),
    })
}

fn name(section: &mut Section<'_, '_>, seen: &mut Seen) -> Option<String> {
    let field = section.string("name", "a name")?;
    let valid = (1..=64).contains(&field.value.len())
        && field.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !valid {
        section.problem(&field, "expected 1 to 64 letters, digits, `-`, `_` or `.`");
        return None;
    }
    if let Some((name, line)) = seen.names.iter().find(|(name, _)| name == field.value) {
        let message = format!("`{name}` is the one of line {line}, expected each name once");
        section.problem(&field, message);
        return None;
    }
    seen.names.push((field.value.to_owned(), section.line(&field)));
    Some(field.value.to_owned())
}

fn networks(section: &mut Section<'_, '_>, seen: &mut Seen) -> Option<Vec<Network>> {
    let listed = section.strings("networks", NETWORK_EXPECTED)?;
    if section.is_empty_list("networks") {
        section.problem_of("networks", "is empty, expected at least one network, or no key");
    }
    let mut networks = Vec::new();
    for field in &listed {
        let network = match network(field.value) {
            Ok(network) => network,
            Err(wrong) => {
                section.problem(field, wrong);
                continue;
            }
        };
        let overlapped = seen
            .networks
            .iter()
            .find(|(other, _)| other.contains(network.ip) || network.contains(other.ip));
        if let Some((other, line)) = overlapped {
            // Whom a request comes from must not depend on the order of the file.
            let message = format!(
                "{} and line {line}'s {} overlap, expected each address in one network",
                written(&network),
                written(other)
            );
            section.problem(field, message);
            continue;
        }
        seen.networks.push((network, section.line(field)));
        networks.push(network);
    }
    Some(networks)
}

/// Reads a network, or says what is wrong with it.
fn network(text: &str) -> Result<Network, String> {
    let unreadable = || format!("`{text}` is no network, expected {NETWORK_EXPECTED}");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let ip: IpAddr = address.parse().map_err(|_| unreadable())?;
    if ip.to_canonical() != ip {
        let plain = ip.to_canonical();
        return Err(format!("`{text}` is an IPv4 address in disguise, as in {plain}"));
    }
    let all_bits: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match prefix {
        None if ip.is_unspecified() => {
            return Err(format!(
                "`{text}` is where nothing comes from, expected {NETWORK_EXPECTED}"
            ));
        }
        None => all_bits,
        Some(prefix) => {
            let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
            let bits = prefix.parse().ok().filter(|&bits| is_number && bits <= all_bits);
            bits.ok_or_else(|| {
                format!("`{text}` has a bad prefix, expected 0 to {all_bits} bits behind the `/`")
            })?
        }
    };
    let first = first_of(ip, prefix_bits);
    if first != ip {
        return Err(format!(
            "`{text}` has bits beyond its prefix, expected a whole network; did you mean `{first}/{prefix_bits}`?"
        ));
    }
    Ok(Network { ip, prefix_bits })
}

/// The first address of the network.
fn first_of(ip: IpAddr, prefix_bits: u8) -> IpAddr {
    let bits = u32::from(prefix_bits);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// A network as it is written in a configuration.
pub(crate) fn written(network: &Network) -> String {
    let all_bits = if network.ip.is_ipv4() { 32 } else { 128 };
    if network.prefix_bits == all_bits {
        network.ip.to_string()
    } else {
        format!("{}/{}", network.ip, network.prefix_bits)
    }
}

fn domains(
    section: &mut Section<'_, '_>,
    others: Others<'_>,
    seen: &mut Seen,
) -> Option<Vec<Domain>> {
    let listed = section.strings("domains", Domain::EXPECTED)?;
    if section.is_empty_list("domains") {
        section.problem_of("domains", "is empty, expected at least one domain, or no key");
    }
    let mut domains = Vec::new();
    for field in &listed {
        let Some(domain) = super::sections::domain(section, field) else { continue };
        let known = seen.domains.iter().find(|(known, _)| *known == domain);
        let wrong = match (&others.domains.local, known) {
            (LocalDomains::Any, _) => Some(format!(
                "`{domain}` is served here as any domain is, expected domains.local to name those that are"
            )),
            (LocalDomains::Named(local), _) if local.contains(&domain) => Some(format!(
                "`{domain}` is among domains.local, expected a domain that is not served here"
            )),
            _ if others.domains.aliases.iter().any(|(alias, _)| *alias == domain) => Some(format!(
                "`{domain}` is among domains.aliases, expected a domain that is not served here"
            )),
            _ if others.listeners.iter().any(|one| is_named(one.udp.ip(), &domain)) => {
                Some(format!(
                    "`{domain}` is an address of a listener, expected a domain that is not served here"
                ))
            }
            (LocalDomains::Named(_), Some((_, line))) => {
                Some(format!("`{domain}` is in line {line} already, expected each domain once"))
            }
            (LocalDomains::Named(_), None) => None,
        };
        if let Some(wrong) = wrong {
            section.problem(field, wrong);
            continue;
        }
        seen.domains.push((domain.clone(), section.line(field)));
        domains.push(domain);
    }
    Some(domains)
}

/// Whether a domain is this address, in the form that URIs have it.
fn is_named(ip: IpAddr, domain: &Domain) -> bool {
    match ip {
        IpAddr::V4(ip) => domain.as_str() == ip.to_string(),
        IpAddr::V6(ip) => domain.as_str() == format!("[{ip}]"),
    }
}

fn next_hop(section: &mut Section<'_, '_>, listeners: &[Listener]) -> Option<Field<NextHop>> {
    let field = section.string("next_hop", NEXT_HOP_EXPECTED)?;
    let is_ours = |host_port: &HostPort| {
        listeners.iter().any(|listener| listener.advertise.as_ref() == Some(host_port))
    };
    let host_port = HostPort::parse(field.value);
    if host_port.as_ref().is_some_and(is_ours) {
        let message = "is a listener of this node, expected another server's address";
        section.problem(&field, message);
        return None;
    }
    if field.value.parse::<SocketAddr>().is_err() {
        let Some(HostPort { host, port }) = host_port else {
            let message = format!("`{}` won't do, expected {NEXT_HOP_EXPECTED}", field.value);
            section.problem(&field, message);
            return None;
        };
        return Some(field.with(NextHop::Name { host: host.as_str().into(), port }));
    }
    let address = destination(section, &field, NEXT_HOP_EXPECTED)?;
    let reaches = |listener: &Listener| {
        let (own, ip) = (listener.udp, address.ip());
        own.port() == address.port()
            && (own.ip() == ip || own.ip().is_unspecified() && ip.is_loopback())
            && own.is_ipv4() == ip.is_ipv4()
    };
    if listeners.iter().any(reaches) {
        let message = "is a listener of this node, expected another server's address";
        section.problem(&field, message);
        return None;
    }
    if listeners.iter().all(|listener| listener.udp.is_ipv4() != address.is_ipv4()) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let message =
            format!("can't be reached, as no listener serves {family}, expected one that does");
        section.problem(&field, message);
    }
    Some(field.with(NextHop::Address(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_or_told() {
        for text in ["192.0.2.0/24", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "::1", "::/0"] {
            assert_eq!(network(text).as_ref().map(written).as_deref(), Ok(text));
        }
        assert_eq!(network("192.0.2.7/32").as_ref().map(written).as_deref(), Ok("192.0.2.7"));
        for (text, part) in [
            ("192.0.2.1/24", "did you mean `192.0.2.0/24`?"),
            ("2001:db8::1/64", "did you mean `2001:db8::/64`?"),
            ("1.2.3.4/0", "did you mean `0.0.0.0/0`?"),
            ("192.0.2.0/33", "expected 0 to 32 bits"),
            ("2001:db8::/129", "expected 0 to 128 bits"),
            ("192.0.2.0/+8", "has a bad prefix"),
            ("192.0.2.0/", "has a bad prefix"),
            ("192.0.2.0/24/1", "has a bad prefix"),
            ("192.0.2", "is no network"),
            ("carrier.test", "is no network"),
            ("0.0.0.0", "where nothing comes from"),
            ("::ffff:192.0.2.1", "in disguise, as in 192.0.2.1"),
        ] {
            let told = network(text).unwrap_err();
            assert!(told.starts_with(&format!("`{text}` ")) && told.contains(part), "{told}");
        }
    }
}
