//! Names of hosts and domains as they stand in a configuration. It looks nothing up.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A domain in canonical form: a host name in lower case without a final dot, an IPv4 address, or an IPv6 reference in
/// brackets in its shortest form (RFC 5952). It compares as the host of a SIP URI does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

impl Domain {
    /// What [`Domain::parse`] accepts, for messages.
    pub const EXPECTED: &'static str =
        "a domain as in \"sip.example.com\", \"192.0.2.1\" or \"[2001:db8::1]\", without a port";

    /// Reads a domain; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().ok().map(|address| Domain(format!("[{address}]")));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // RFC 3261 25.1: toplabel begins with a letter, so whatever ends in a numeric label is an IPv4 address or nothing.
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.starts_with(|first: char| first.is_ascii_digit()) {
            return text.parse::<Ipv4Addr>().ok().map(|address| Domain(address.to_string()));
        }
        // RFC 1035 2.3.4: 255 bytes on the wire are 253 characters.
        let valid = !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label);
        valid.then(|| Domain(name.to_ascii_lowercase()))
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3261 25.1 domainlabel, at most 63 bytes (RFC 1035 2.3.4); `_` is let through, as private networks use it.
fn is_label(label: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A host and a port, as put into Via and Contact for others to reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: Domain,
    /// The port, never 0.
    pub port: u16,
}

impl HostPort {
    /// What [`HostPort::parse`] accepts, for messages.
    pub const EXPECTED: &'static str =
        "host and port as in \"203.0.113.7:5060\" or \"[2001:db8::1]:5060\"";

    /// Reads `host:port`; `None` where it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse::<u16>().ok().filter(|&port| port != 0)?;
        Some(HostPort { host: Domain::parse(host)?, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_become_canonical_or_are_refused() {
        for (text, canonical) in [
            ("SIP.Example.COM.", "sip.example.com"),
            ("localhost", "localhost"),
            ("a-1.b_c.d2", "a-1.b_c.d2"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(Domain::parse(text).unwrap().as_str(), canonical, "{text}");
        }
        let long = format!("{}.test", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "-a.test",
            "a-.test",
            "a b",
            "sip:a.test",
            "a.test:5060",
            "1.2.3",
            "2001:db8::1",
            "*",
            &long,
        ] {
            assert_eq!(Domain::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_and_port_needs_both() {
        assert_eq!(HostPort::parse("[::1]:5062").unwrap().to_string(), "[::1]:5062");
        assert_eq!(HostPort::parse("Edge.Test:5060").unwrap().to_string(), "edge.test:5060");
        for text in
            ["edge.test", "edge.test:", "edge.test:0", "edge.test:65536", "::1:5060", ":5060"]
        {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }
}
