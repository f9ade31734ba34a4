//! From a configuration to what each shard is told. It adds nothing of its own.

use super::{Auth, Config, Limits, LocalDomains};
use shards::auth::{Realm, Subscribers};
use shards::io::CoreId;
use shards::location::Domains;
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
        (0..limits.cores)
            .map(|core| Settings {
                core: CoreId(core),
                homes: Homes::all(limits.cores),
                keys: keys.clone(),
                domains: Arc::clone(&domains),
                listeners: Arc::clone(&listeners),
                policy: self.policy(),
                proxy: shards::proxy::Policy::default(),
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
