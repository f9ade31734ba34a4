//! URIs for the reference: taken apart by the plainest means, compared as RFC 3261 19.1.4 says, made canonical as 10.3 step 5 says.
//! Whether the grammar holds the server's parser says; nothing else is shared with the server.

use shards::wire::Uri;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A SIP URI taken apart, or another one.
#[derive(Clone, Debug)]
struct Parts {
    /// In lower case.
    scheme: Vec<u8>,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    host: Vec<u8>,
    port: Option<Vec<u8>>,
    params: Vec<(Vec<u8>, Vec<u8>)>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What stands behind the scheme.
    rest: Vec<u8>,
}

/// The domains and addresses that a registrar answers for.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whether every domain is.
    pub any: bool,
    /// Names in lower case, and the domain each stands for.
    pub domains: BTreeMap<&'static str, &'static str>,
    /// The addresses of the listeners.
    pub listeners: Vec<SocketAddr>,
}

impl Place {
    /// An address-of-record in its canonical form; `None` where it is none of ours.
    #[must_use]
    pub fn canonical(&self, uri: &[u8], arrived_at: IpAddr) -> Option<Vec<u8>> {
        let parts = Parts::of(uri);
        if !parts.is_sip() || Uri::parse(uri).is_err() {
            return None;
        }
        let mut aor = Vec::new();
        if let Some(user) = &parts.user {
            aor.extend(unescaped(user).iter().map(|(byte, _)| *byte));
            aor.push(b'@');
        }
        let domain = self.domain(&parts, arrived_at)?;
        aor.extend(domain);
        (aor.len() <= 512).then_some(aor)
    }

    /// Whether a Request-URI names the place where an address-of-record may be registered.
    #[must_use]
    pub fn serves(&self, request_uri: &[u8], aor: &[u8], arrived_at: IpAddr) -> bool {
        let parts = Parts::of(request_uri);
        let aor_domain = aor.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
        let named = || self.domain(&parts, arrived_at).is_some_and(|domain| domain == aor_domain);
        self.any || self.is_address(&parts, arrived_at) || named()
    }

    fn domain(&self, parts: &Parts, arrived_at: IpAddr) -> Option<Vec<u8>> {
        let host = parts.host.to_ascii_lowercase();
        let is_own_port = self.is_own_port(parts);
        let known = std::str::from_utf8(&host).ok().and_then(|host| self.domains.get(host));
        if let Some(domain) = known {
            return is_own_port.then(|| domain.as_bytes().to_vec());
        }
        if self.any {
            return Some(match &parts.port {
                Some(_) if !is_own_port => {
                    [&host[..], b":", parts.port_number().to_string().as_bytes()].concat()
                }
                Some(_) | None => host,
            });
        }
        self.is_address(parts, arrived_at).then_some(host)
    }

    fn is_own_port(&self, parts: &Parts) -> bool {
        parts.port.is_none()
            || self.listeners.iter().any(|at| u32::from(at.port()) == parts.port_number())
    }

    fn is_address(&self, parts: &Parts, arrived_at: IpAddr) -> bool {
        self.is_own_port(parts) && parts.ip() == Some(arrived_at)
    }
}

/// Whether two URIs are equivalent, RFC 3261 19.1.4.
#[must_use]
pub fn are_equivalent(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let (a, b) = (Parts::of(one), Parts::of(other));
    if a.scheme != b.scheme {
        return false;
    }
    if !a.is_sip() {
        // RFC 3966 5: without regard to case; of the others nothing is known.
        let folds = a.scheme == b"tel";
        return text(&a.rest, folds) == text(&b.rest, folds);
    }
    let optional = |a: &Option<Vec<u8>>, b: &Option<Vec<u8>>| {
        a.as_ref().map(|a| text(a, false)) == b.as_ref().map(|b| text(b, false))
    };
    let hosts = match (a.ip(), b.ip()) {
        (Some(IpAddr::V6(a)), Some(IpAddr::V6(b))) => a == b,
        _ => a.host.eq_ignore_ascii_case(&b.host),
    };
    hosts
        && optional(&a.user, &b.user)
        && optional(&a.password, &b.password)
        && a.port.is_some() == b.port.is_some()
        && a.port_number() == b.port_number()
        && a.params_agree(&b)
        && b.params_agree(&a)
        && a.headers_are_in(&b)
        && b.headers_are_in(&a)
}

/// The value of a URI parameter, empty where it has none; `None` where it is not there.
#[must_use]
pub fn param(uri: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let parts = Parts::of(uri);
    // What stands behind the scheme of another URI is its own affair.
    if !parts.is_sip() {
        return None;
    }
    parts
        .params
        .iter()
        .find(|param| param.0.eq_ignore_ascii_case(name))
        .map(|param| param.1.clone())
}

/// Whether it is a `sip:` or `sips:` URI.
#[must_use]
pub fn is_sip(uri: &[u8]) -> bool {
    Parts::of(uri).is_sip()
}

impl Parts {
    fn of(uri: &[u8]) -> Self {
        let (scheme, rest) = split_at(uri, b':');
        let rest = rest.unwrap_or_default();
        let mut parts = Parts {
            scheme: scheme.to_ascii_lowercase(),
            user: None,
            password: None,
            host: Vec::new(),
            port: None,
            params: Vec::new(),
            headers: Vec::new(),
            rest: rest.to_vec(),
        };
        let mut place = rest;
        if let (userinfo, Some(behind)) = split_at(rest, b'@') {
            let (user, password) = split_at(userinfo, b':');
            parts.user = Some(user.to_vec());
            parts.password = password.map(<[u8]>::to_vec);
            place = behind;
        }
        let (place, headers) = split_at(place, b'?');
        let (hostport, params) = split_at(place, b';');
        // The colons of an IPv6 address stand in brackets.
        let bracket = hostport.iter().position(|&byte| byte == b']').map_or(0, |at| at + 1);
        let colon =
            hostport[bracket..].iter().position(|&byte| byte == b':').map(|at| bracket + at);
        parts.host = hostport[..colon.unwrap_or(hostport.len())].to_vec();
        parts.port = colon.map(|colon| hostport[colon + 1..].to_vec());
        parts.params = pairs(params.unwrap_or_default(), b';');
        parts.headers = pairs(headers.unwrap_or_default(), b'&');
        parts
    }

    fn is_sip(&self) -> bool {
        self.scheme == b"sip" || self.scheme == b"sips"
    }

    fn port_number(&self) -> u32 {
        let digits = self.port.as_deref().and_then(|port| std::str::from_utf8(port).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    fn ip(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(&self.host).ok()?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether each parameter has the same value there, or is not there and need not be.
    fn params_agree(&self, other: &Parts) -> bool {
        const NEEDED_BY_BOTH: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
        self.params.iter().all(|(name, value)| {
            let name = text(name, true);
            match other.params.iter().find(|(other, _)| text(other, true) == name) {
                Some((_, other)) => text(value, true) == text(other, true),
                None => NEEDED_BY_BOTH.iter().all(|needed| text(needed, true) != name),
            }
        })
    }

    fn headers_are_in(&self, other: &Parts) -> bool {
        self.headers.iter().all(|(name, value)| {
            other.headers.iter().any(|(other_name, other_value)| {
                text(name, true) == text(other_name, true)
                    && text(value, false) == text(other_value, false)
            })
        })
    }
}

/// What stands before the first such byte, and what stands behind it.
fn split_at(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == separator) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

fn pairs(list: &[u8], separator: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    list.split(|&byte| byte == separator)
        .filter(|pair| !pair.is_empty())
        .map(|pair| split_at(pair, b'='))
        .map(|(name, value)| (name.to_vec(), value.unwrap_or_default().to_vec()))
        .collect()
}

/// Bytes to compare: escapes decoded, but a reserved character that was escaped is not the character itself.
fn text(bytes: &[u8], folds: bool) -> Vec<(u8, bool)> {
    let mut text = unescaped(bytes);
    if folds {
        text.iter_mut().for_each(|(byte, _)| byte.make_ascii_lowercase());
    }
    text
}

/// Each byte behind the escapes, and whether it is a reserved one (RFC 2396 2.2) that was escaped.
fn unescaped(bytes: &[u8]) -> Vec<(u8, bool)> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' && bytes[at + 1] != b'+' => {
                decoded.push((byte, b";/?:@&=+$,".contains(&byte)));
                at += 3;
            }
            Some(_) | None => {
                decoded.push((bytes[at], false));
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3261_19_1_4_hold() {
        for (one, other) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(are_equivalent(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
        for (one, other) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ] {
            assert!(!are_equivalent(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
    }
}
