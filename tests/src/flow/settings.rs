//! From the `set` lines of a flow to what a shard is told at its start. It never sets anything a flow does not name,
//! beyond what stands in the file's first lines.

use super::digest::verifiers;
use super::script::Flow;
use shards::auth::{Algorithm, Builder, Realm, Subscribers};
use shards::io::CoreId;
use shards::location::Domains;
use shards::proxy::{ListenerPolicy, Neighbour, Network, NextHop};
use shards::registrar::{Policy, UnsupportedPath, WhenFull};
use shards::shard::{Homes, Keys, Limits, Settings};
use std::str::FromStr;
use std::sync::Arc;

/// The secret of the node.
pub(super) const SECRET: [u8; 32] = [7; 32];

/// The settings of the first core.
pub(super) fn settings(flow: &Flow, homes: Homes) -> Result<Settings, String> {
    let mut settings = Settings {
        core: CoreId(0),
        homes,
        keys: Keys::derive(&SECRET),
        domains: Arc::new(Domains::new(["sip.test"])),
        listeners: Arc::new([
            "198.51.100.1:5060".parse().unwrap(),
            "[2001:db8::1]:5060".parse().unwrap(),
        ]),
        policy: Policy::default(),
        proxy: shards::proxy::Policy::default(),
        realm: None,
        limits: Limits {
            message_bytes: 16 * 1024,
            header_lines: 64,
            contacts: 16,
            bindings: 1000,
            arena_bytes: 1 << 20,
            completed_bytes: 256 * 1024,
            transactions: 1000,
            branches: 2000,
            transaction_bytes: 4 << 20,
        },
    };
    let mut subscribers = Vec::new();
    for (line, words) in &flow.settings {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["subscriber", username, domain, password] = words[..] {
            subscribers.push((username, domain, password));
            continue;
        }
        set(&mut settings, &words).map_err(|why| format!("line {line}: {why}"))?;
    }
    if let Some(realm) = &mut settings.realm {
        let key = settings.keys.auth.names;
        let mut builder = Builder::new(key, &realm.algorithms, subscribers.len());
        for (username, domain, password) in subscribers {
            let verifiers = verifiers(username, &realm.name, password);
            let name = format!("{username}@{domain}");
            builder
                .add(name.as_bytes(), |algorithm| &verifiers[algorithm as usize], 0)
                .map_err(|why| format!("subscriber {name}: {why:?}"))?;
        }
        realm.subscribers = Arc::new(builder.finish());
    }
    Ok(settings)
}

fn set(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let Settings { policy, limits, .. } = settings;
    match words {
        ["min_expires", n] => policy.min_expires_secs = number(n)?,
        ["default_expires", n] => policy.default_expires_secs = number(n)?,
        ["max_expires", n] => policy.max_expires_secs = number(n)?,
        ["max_contacts", n] => policy.max_contacts = number(n)?,
        ["max_contact_bytes", n] => policy.max_contact_bytes = number(n)?,
        ["when_full", "refuse"] => policy.when_full = WhenFull::Refuse,
        ["when_full", "replace-oldest"] => policy.when_full = WhenFull::ReplaceOldest,
        ["unsupported_path", "reject"] => policy.unsupported_path = UnsupportedPath::Reject,
        ["unsupported_path", "store"] => policy.unsupported_path = UnsupportedPath::Store,
        ["message_bytes", n] => limits.message_bytes = number(n)?,
        ["header_lines", n] => limits.header_lines = number(n)?,
        ["contacts", n] => limits.contacts = number(n)?,
        ["bindings", n] => limits.bindings = number(n)?,
        ["arena_bytes", n] => limits.arena_bytes = number(n)?,
        ["completed_bytes", n] => limits.completed_bytes = number(n)?,
        ["auth", names @ ..] if !names.is_empty() => {
            let named = |name: &&str| {
                let named = Algorithm::named(name.as_bytes());
                named.map(|(one, _)| one).ok_or_else(|| format!("there is no algorithm `{name}`"))
            };
            settings.realm = Some(Realm {
                name: "sip.test".into(),
                algorithms: names.iter().map(named).collect::<Result<_, _>>()?,
                nonce_lifetime_secs: 3600,
                nonces: 100,
                subscribers: Arc::new(Subscribers::nobody()),
            });
        }
        ["nonce_lifetime", n] => realm(settings)?.nonce_lifetime_secs = number(n)?,
        ["nonces", n] => realm(settings)?.nonces = number(n)?,
        ["domains", "*"] => settings.domains = Arc::new(Domains::any()),
        ["domains", names @ ..] => {
            let (aliases, locals): (Vec<&str>, Vec<&str>) =
                names.iter().partition(|name| name.contains('='));
            let mut domains = Domains::new(locals);
            for alias in aliases {
                let (alias, domain) = alias.split_once('=').ok_or("an alias is alias=domain")?;
                domains = domains.with_alias(alias, domain);
            }
            settings.domains = Arc::new(domains);
        }
        ["listen", addrs @ ..] => {
            let addrs: Result<Vec<_>, _> = addrs.iter().map(|addr| addr.parse()).collect();
            settings.listeners = addrs.map_err(|_| "listen wants addresses".to_owned())?.into();
        }
        // It chooses the topologies, `Topology::suits`.
        ["cores", "several"] => {}
        ["transactions", n] => limits.transactions = number(n)?,
        ["branches", n] => limits.branches = number(n)?,
        ["transaction_bytes", n] => limits.transaction_bytes = number(n)?,
        ["timer_c", n] => settings.proxy.timer_c_secs = number(n)?,
        ["neighbour", name, networks, domains, next_hop @ ..] if next_hop.len() < 2 => {
            let networks: Result<_, _> = list(networks).map(network).collect();
            let neighbour = Neighbour {
                name: (*name).into(),
                networks: networks?,
                domains: list(domains).map(|domain| domain.as_bytes().into()).collect(),
                next_hop: next_hop.first().map(|hop| self::next_hop(hop)).transpose()?,
                asserts_identity: false,
            };
            let before = settings.proxy.neighbours.iter().cloned();
            settings.proxy.neighbours = before.chain([neighbour]).collect();
        }
        ["asserts", "identity", name] => {
            let mut neighbours = settings.proxy.neighbours.to_vec();
            let named = neighbours.iter_mut().find(|neighbour| *neighbour.name == **name);
            named.ok_or("no such neighbour")?.asserts_identity = true;
            settings.proxy.neighbours = neighbours.into();
        }
        ["host", addrs @ ..] => {
            let addrs: Result<Vec<_>, _> = addrs.iter().map(|addr| addr.parse()).collect();
            settings.proxy.host = addrs.map_err(|_| "host wants addresses".to_owned())?.into();
        }
        ["challenge", "off"] => {
            change_listeners(settings, |_, listener| listener.challenges = false);
        }
        ["challenge", "off", addr] => {
            let index = listener(settings, addr)?;
            change_listeners(settings, |one, listener| listener.challenges &= one != index);
        }
        ["advertise", addr, name] => {
            let index = listener(settings, addr)?;
            change_listeners(settings, |one, listener| {
                if one == index {
                    listener.advertised = Some((*name).into());
                }
            });
        }
        _ => return Err(format!("there is no setting `{}`", words.join(" "))),
    }
    Ok(())
}

/// The parts of `a,b`; none of `-`.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| *part != "-")
}

fn network(text: &str) -> Result<Network, String> {
    let (ip, bits) = text.split_once('/').unwrap_or((text, ""));
    let ip: std::net::IpAddr = ip.parse().map_err(|_| format!("`{text}` is no network"))?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_bits = if bits.is_empty() { whole } else { number(bits)? };
    Ok(Network { ip, prefix_bits })
}

fn next_hop(text: &str) -> Result<NextHop, String> {
    if let Ok(addr) = text.parse() {
        return Ok(NextHop::Address(addr));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port"))?;
    Ok(NextHop::Name { host: host.into(), port: number(port)? })
}

/// The index of the listener with this address.
fn listener(settings: &Settings, addr: &str) -> Result<usize, String> {
    let index = settings.listeners.iter().position(|one| one.to_string() == addr);
    index.ok_or_else(|| format!("there is no listener `{addr}`"))
}

/// Every listener gets a policy, and this change.
fn change_listeners(settings: &mut Settings, change: impl Fn(usize, &mut ListenerPolicy)) {
    let listeners = (0..settings.listeners.len()).map(|index| {
        let before = settings.proxy.listeners.get(index).cloned();
        let mut listener = before.unwrap_or_default();
        change(index, &mut listener);
        listener
    });
    settings.proxy.listeners = listeners.collect();
}

fn realm(settings: &mut Settings) -> Result<&mut Realm, String> {
    settings.realm.as_mut().ok_or_else(|| "this stands behind `set auth`".to_owned())
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}
