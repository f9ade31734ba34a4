//! URIs compare as RFC 3261 19.1.4 has it, the same from both sides, and equivalent ones are one address-of-record; to make an
//! address-of-record canonical twice changes nothing.

use super::is_inside;
use shards::io::{ListenerId, LocalAddr};
use shards::location::{Aor, Domains, Here, NotOurs};
use shards::wire::{Scheme, Uri};
use std::net::SocketAddr;

/// The bytes up to a line feed are one URI, the rest another.
pub fn uri(bytes: &[u8]) {
    let mut halves = bytes.splitn(2, |&byte| byte == b'\n');
    let [one, other] = [halves.next(), halves.next()].map(Option::unwrap_or_default);
    let (one, other) = (Uri::parse(one), Uri::parse(other));
    for uri in one.iter().chain(&other) {
        alone(uri);
    }
    let (Ok(one), Ok(other)) = (one, other) else { return };
    assert_eq!(one.equivalent(&other), other.equivalent(&one), "the same from both sides");
    let hosts = (one.host.equivalent(&other.host), other.host.equivalent(&one.host));
    assert_eq!(hosts.0, hosts.1);
    if one.equivalent(&other) {
        assert_eq!((one.port, one.is_sip()), (other.port, other.is_sip()));
        for_all_domains(|place| assert_eq!(place.canonical(&one), place.canonical(&other)));
    }
}

/// What a URI is by itself, and together with others that say the same.
fn alone(uri: &Uri<'_>) {
    assert!(uri.equivalent(uri));
    if !uri.is_sip() {
        assert!(matches!(uri.scheme, Scheme::Tel | Scheme::Other(_)));
        for_all_domains(|place| assert_eq!(place.canonical(uri), Err(NotOurs::Scheme)));
        return;
    }
    for part in [uri.user, uri.password].map(Option::unwrap_or_default) {
        assert!(is_inside(uri.raw, part));
    }
    let disguised = disguised(uri);
    let other = Uri::parse(&disguised).unwrap();
    assert!(uri.equivalent(&other), "{}", disguised.escape_ascii());
    // What names nobody.
    let bare = [
        b"sip:",
        uri.user.map_or(Vec::new(), |user| [user, b"@"].concat()).as_slice(),
        uri.host.raw(),
        uri.port.map_or(String::new(), |port| format!(":{port}")).as_bytes(),
    ]
    .concat();
    let bare = Uri::parse(&bare).unwrap();
    for_all_domains(|place| {
        let canonical = place.canonical(uri);
        assert_eq!(place.canonical(&other), canonical);
        assert_eq!(place.canonical(&bare), canonical);
        let Ok(canonical) = canonical else { return };
        let again = written(&canonical);
        let again = Uri::parse(&again).unwrap_or_else(|e| panic!("{e:?} {}", again.escape_ascii()));
        assert_eq!(place.canonical(&again), Ok(canonical));
    });
}

/// The same URI with every letter and digit of its user escaped, and its host in capitals.
fn disguised(uri: &Uri<'_>) -> Vec<u8> {
    let mut text = uri.raw.to_vec();
    let place = |part: &[u8]| part.as_ptr().addr() - uri.raw.as_ptr().addr();
    let host = place(uri.host.raw());
    text[host..host + uri.host.raw().len()].make_ascii_uppercase();
    let Some(user) = uri.user else { return text };
    let mut escaped = Vec::new();
    let mut at = 0;
    while let Some(&byte) = user.get(at) {
        if byte == b'%' {
            escaped.extend_from_slice(&user[at..at + 3]);
            at += 3;
        } else {
            // "Characters other than those in the 'reserved' set are equivalent to their encoding."
            let escape = format!("%{byte:02x}");
            let is_plain = byte.is_ascii_alphanumeric();
            escaped.extend_from_slice(if is_plain { escape.as_bytes() } else { &user[at..=at] });
            at += 1;
        }
    }
    let start = place(user);
    text.splice(start..start + user.len(), escaped);
    text
}

/// A canonical address-of-record as a URI again.
fn written(canonical: &[u8]) -> Vec<u8> {
    let at = canonical.iter().rposition(|&byte| byte == b'@');
    let mut text = b"sip:".to_vec();
    if let Some(at) = at {
        for byte in &canonical[..at] {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
        text.push(b'@');
    }
    text.extend_from_slice(&canonical[at.map_or(0, |at| at + 1)..]);
    text
}

/// A node with its domains.
struct Place {
    domains: Domains,
}

impl Place {
    /// The canonical form under which the registrar keeps it.
    fn canonical(&self, uri: &Uri<'_>) -> Result<Vec<u8>, NotOurs> {
        let listeners: [SocketAddr; 2] =
            ["192.0.2.1:5060".parse().unwrap(), "[2001:db8::1]:5080".parse().unwrap()];
        let mut aors = listeners.map(|listener| {
            let to = LocalAddr { listener: ListenerId(0), ip: listener.ip() };
            let here = Here { domains: &self.domains, listeners: &listeners, to };
            let mut aor = Aor::new();
            let text = aor.set_text(&[7; 16], uri.raw, &here);
            let (bytes, hash) = (aor.bytes().to_vec(), aor.hash());
            let set = aor.set(&[7; 16], uri, &here);
            assert_eq!(text, set, "read or not, it is the same address-of-record");
            assert!(set.is_err() || (&bytes[..], hash) == (aor.bytes(), aor.hash()));
            set.map(|()| aor)
        });
        // The address that a message reached is ours in that message only.
        let chosen = usize::from(aors[0].is_err());
        let aor = std::mem::replace(&mut aors[chosen], Err(NotOurs::Domain))?;
        assert!(aor.bytes().ends_with(aor.domain()));
        Ok(aor.bytes().to_vec())
    }
}

fn for_all_domains(check: impl Fn(&Place)) {
    for domains in
        [Domains::any(), Domains::new(["sip.test", "b"]).with_alias("voip.test", "sip.test")]
    {
        check(&Place { domains });
    }
}
