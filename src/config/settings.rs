//! From a configuration to what each shard is told. It adds nothing of its own.

use super::{Auth, Config, Limits, LocalDomains};
use shards::auth::{Realm, Subscribers};
use shards::io::CoreId;
use shards::location::Domains;
use shards::proxy;
use shards::registrar::Policy;
use shards::shard::{Homes, Keys, Settings};
use std::net::SocketAddr;
use std::sync::Arc;

impl Config {
    /// The settings of each core's shard, in the order of [`Node::cpus`](super::Node::cpus). With authentication, `subscribers` are
    /// who there is.
    #[must_use]
    pub fn shard_settings(
        &self,
        limits: &Limits,
        keys: &Keys,
        subscribers: &Arc<Subscribers>,
    ) -> Vec<Settings> {
        let domains = Arc::new(self.shard_domains());
        let listeners: Arc<[SocketAddr]> =
            self.listeners.iter().map(|listener| listener.udp).collect();
        let proxy = self.proxy_policy();
        (0..limits.cores)
            .map(|core| Settings {
                core: CoreId(core),
                homes: Homes::all(limits.cores),
                keys: keys.clone(),
                domains: Arc::clone(&domains),
                listeners: Arc::clone(&listeners),
                policy: self.policy(),
                proxy: proxy.clone(),
                realm: self.realm(limits, subscribers),
                limits: limits.shard.clone(),
            })
            .collect()
    }

    fn realm(&self, limits: &Limits, subscribers: &Arc<Subscribers>) -> Option<Realm> {
        match &self.auth {
            Auth::None => None,
            Auth::Digest(digest) => Some(Realm {
                name: digest.realm.as_str().into(),
                algorithms: digest.algorithms.clone(),
                nonce_lifetime_secs: digest.nonce_lifetime_secs,
                nonces: limits.nonces,
                subscribers: Arc::clone(subscribers),
            }),
        }
    }

    /// The domains served, as a shard knows them.
    pub(crate) fn shard_domains(&self) -> Domains {
        let local = match &self.domains.local {
            LocalDomains::Any => Domains::any(),
            LocalDomains::Named(names) => Domains::new(names.iter().map(super::Domain::as_str)),
        };
        self.domains.aliases.iter().fold(local, |domains, (alias, domain)| {
            domains.with_alias(alias.as_str(), domain.as_str())
        })
    }

    fn proxy_policy(&self) -> proxy::Policy {
        let neighbours = self.neighbours.iter().map(|one| proxy::Neighbour {
            name: one.name.as_str().into(),
            networks: one.networks.as_slice().into(),
            domains: one.domains.iter().map(|domain| domain.as_str().as_bytes().into()).collect(),
            next_hop: one.next_hop.clone(),
            asserts_identity: one.asserts_identity,
        });
        let listeners = self.listeners.iter().map(|one| proxy::ListenerPolicy {
            advertised: one.advertise.as_ref().map(|public| public.to_string().into()),
            challenges: one.challenge,
        });
        proxy::Policy {
            timer_c_secs: self.proxy.timer_c_secs,
            neighbours: neighbours.collect(),
            listeners: listeners.collect(),
            // Nobody can configure them: the process asks the host.
            host: Arc::new([]),
        }
    }

    fn policy(&self) -> Policy {
        let registrar = &self.registrar;
        Policy {
            min_expires_secs: registrar.min_expires_secs,
            default_expires_secs: registrar.default_expires_secs,
            max_expires_secs: registrar.max_expires_secs,
            max_contacts: registrar.max_contacts,
            max_contact_bytes: registrar.max_contact_bytes,
            when_full: registrar.when_full,
            unsupported_path: registrar.unsupported_path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;
    use std::path::Path;

    fn settings(text: &str, cores: usize, keys: &Keys) -> Vec<Settings> {
        let machine = Machine { cpus: (0..cores).collect(), hostname: "edge7".to_owned() };
        let config = Config::parse(Path::new("seawall.toml"), text, &machine).unwrap();
        let limits = Limits::derive(&config);
        config.shard_settings(&limits, keys, &Arc::new(Subscribers::nobody()))
    }

    #[test]
    fn cookies_survive_a_restart_with_another_number_of_cores_and_a_new_secret() {
        let before = settings("", 1, &Keys::derive(&[7; 32]));
        let after = settings("", 4, &Keys::derive(&[7; 32]));
        let renewed = Keys::derive(&[8; 32]).with_previous(&[7; 32]);
        let sealed_with = before[0].keys.cookies[0];
        for core in &after {
            assert_eq!(core.keys.cookies[..], [sealed_with]);
        }
        for core in settings("", 3, &renewed) {
            assert_eq!(core.keys.cookies.len(), 2);
            assert_eq!(core.keys.cookies[1], sealed_with);
            assert_ne!(core.keys.cookies[0], sealed_with);
        }
    }

    #[test]
    fn the_proxy_is_told_of_neighbours_and_listeners() {
        let text = r#"
            listen = [{ udp = "[::1]:5062", challenge = false }, { udp = "0.0.0.0:5060", advertise = "Edge.test:5060" }]
            domains.local = ["a.test"]
            proxy.timer_c = 200
            [[neighbour]]
            name = "b"
            networks = ["192.0.2.0/24"]
            domains = ["B.test"]
            next_hop = "proxy.b.test:5070"
        "#;
        let policy = settings(text, 2, &Keys::derive(&[7; 32])).remove(1).proxy;
        assert_eq!(policy.timer_c_secs, 200);
        let listener = |advertised: Option<&str>, challenges| proxy::ListenerPolicy {
            advertised: advertised.map(Into::into),
            challenges,
        };
        let expected = [listener(None, false), listener(Some("edge.test:5060"), true)];
        assert_eq!(*policy.listeners, expected);
        let neighbour = policy.neighbour_for(b"b.test").unwrap();
        assert_eq!(Some(neighbour), policy.neighbour_at("192.0.2.9".parse().unwrap()));
        let next_hop = proxy::NextHop::Name { host: "proxy.b.test".into(), port: 5070 };
        assert_eq!((&*neighbour.name, &neighbour.next_hop), ("b", &Some(next_hop)));
    }

    #[test]
    fn every_core_is_told_the_same_but_its_number() {
        let machine = Machine { cpus: vec![0, 1], hostname: "edge7".to_owned() };
        let text = "[[listen]]\nudp = \"[::1]:5062\"\n[domains]\nlocal = [\"a.test\"]\n[domains.aliases]\n\"b.test\" = \"a.test\"\n[registrar]\nmax_contacts = 3\n";
        let config = Config::parse(Path::new("seawall.toml"), text, &machine).unwrap();
        let limits = Limits::derive(&config);
        let nobody = Arc::new(Subscribers::nobody());
        let settings = config.shard_settings(&limits, &Keys::derive(&[7; 32]), &nobody);
        assert_eq!(settings.len(), 2);
        for (core, settings) in (0..).zip(&settings) {
            assert_eq!(settings.core, CoreId(core));
            assert_eq!(settings.homes, Homes { first: CoreId(0), count: 2 });
            assert_eq!(settings.keys.home, Keys::derive(&[7; 32]).home);
            assert_eq!(settings.domains.canonical(b"b.test"), Some(&b"a.test"[..]));
            assert_eq!(settings.domains.canonical(b"c.test"), None);
            assert_eq!(*settings.listeners, ["[::1]:5062".parse().unwrap()]);
            assert_eq!(settings.policy.max_contacts, 3);
            assert_eq!(settings.limits.bindings, limits.shard.bindings);
        }
    }
}
