//! The domains this node answers for. It knows names only; which addresses are ours is seen from each packet.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

/// The local domains and their aliases: an immutable table, shared by all cores.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    any: bool,
    /// Every name by which a domain is known, lower-case, and the name under which its users are kept.
    names: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Domains {
    /// Answers for every domain (`local = ["*"]`).
    #[must_use]
    pub fn any() -> Self {
        Domains { any: true, names: BTreeMap::new() }
    }

    /// Answers for the domains in `local` only. Names compare without regard to case, RFC 3261 19.1.4.
    #[must_use]
    pub fn new<'a>(local: impl IntoIterator<Item = &'a str>) -> Self {
        let mut domains = Domains::default();
        for name in local {
            let name = lower(name);
            domains.names.insert(name.clone(), name);
        }
        domains
    }

    /// Makes `alias` another name of `domain`: both hold the same users.
    #[must_use]
    pub fn with_alias(mut self, alias: &str, domain: &str) -> Self {
        self.names.insert(lower(alias), lower(domain));
        self
    }

    /// Whether every domain is ours.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// One of the domains, where they are named.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.names.values().next().map(|name| &**name)
    }

    /// The name under which the users of `host`, in lower case, are kept; `None` where it is not named.
    #[must_use]
    pub fn canonical(&self, host: &[u8]) -> Option<&[u8]> {
        self.names.get(host).map(|name| &**name)
    }
}

fn lower(name: &str) -> Box<[u8]> {
    name.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_holds_the_users_of_its_domain() {
        let domains = Domains::new(["SIP.test"]).with_alias("voip.test", "sip.test");
        assert_eq!(domains.canonical(b"sip.test"), Some(&b"sip.test"[..]));
        assert_eq!(domains.canonical(b"voip.test"), Some(&b"sip.test"[..]));
        assert_eq!(domains.canonical(b"other.test"), None);
    }
}
