//! The domains this node answers for. It knows names only; which addresses are ours is seen from each packet.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

/// The local domains and their aliases: an immutable table, shared by all cores.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    any: bool,
    /// Every name by which a domain is known, lower-case, and the name under which its users are kept.
    names: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// The first domain of those that are no address: most nodes have no other.
    usual: Box<[u8]>,
}

impl Domains {
    /// Answers for every domain (`local = ["*"]`).
    #[must_use]
    pub fn any() -> Self {
        Domains { any: true, ..Domains::default() }
    }

    /// Answers for the domains in `local` only. Names compare without regard to case, RFC 3261 19.1.4.
    #[must_use]
    pub fn new<'a>(local: impl IntoIterator<Item = &'a str>) -> Self {
        let mut domains = Domains::default();
        for name in local {
            let name = lower(name);
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
            if domains.usual.is_empty() && name.iter().all(is_plain) {
                domains.usual.clone_from(&name);
            }
            domains.names.insert(name.clone(), name);
        }
        domains
    }

    /// Makes `alias` another name of `domain`: both hold the same users.
    #[must_use]
    pub fn with_alias(mut self, alias: &str, domain: &str) -> Self {
        let alias = lower(alias);
        if self.usual == alias {
            self.usual = Box::default();
        }
        self.names.insert(alias, lower(domain));
        self
    }

    /// Whether every domain is ours.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// A domain that is kept under its own name, of letters, digits, dots and hyphens; empty where there is none.
    #[must_use]
    #[inline]
    pub fn usual(&self) -> &[u8] {
        &self.usual
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
        assert_eq!(domains.usual(), b"sip.test");
        assert_eq!(domains.with_alias("sip.test", "voip.test").usual(), b"");
        assert_eq!(Domains::new(["[2001:db8::1]", "b.test"]).usual(), b"b.test");
    }
}
