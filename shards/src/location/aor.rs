//! The one way in which an address-of-record becomes canonical. Registrar, router and the choice of the home core all
//! use it, so they can't disagree.

use super::Domains;
use super::sip::siphash_1_3_128;
use crate::io::LocalAddr;
use crate::wire::{Host, Uri, same};
use alloc::boxed::Box;
use core::fmt::{self, Write as _};
use core::net::SocketAddr;

/// An address-of-record in its canonical form, `user@host` or `host`, and its keyed hash. It is a buffer to be reused.
///
/// Scheme, password, parameters and headers are dropped (sip and sips share), the user is %-decoded, a name in lower case, an
/// IPv6 reference in its shortest form, a port of ours dropped, and an alias replaced by its domain. Behind the last `@` stands the
/// host.
#[derive(Debug)]
pub struct Aor {
    bytes: Box<[u8; Aor::BYTES_MAX]>,
    len: usize,
    /// Where the host begins.
    domain: usize,
    hash: HomeHash,
}

/// Why a URI is no address-of-record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// Against the grammar of a URI.
    Unreadable,
    /// Neither sip nor sips.
    Scheme,
    /// A domain, or a port, for which we do not answer.
    Domain,
    /// Longer than [`Aor::BYTES_MAX`].
    TooLong,
}

/// Where we are: what decides whether a URI means us.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The domains we answer for.
    pub domains: &'a Domains,
    /// The addresses the listeners are bound to.
    pub listeners: &'a [SocketAddr],
    /// Where the message arrived.
    pub to: LocalAddr,
}

impl Here<'_> {
    /// Whether a URI's host and port are the very address that the message reached.
    #[must_use]
    pub fn is_address(&self, uri: &Uri<'_>) -> bool {
        self.is_own_port(uri.port) && uri.host.ip() == Some(self.to.ip)
    }

    /// Whether a URI's host and port are ours, whoever its user is.
    #[must_use]
    pub fn is_ours(&self, uri: &Uri<'_>) -> bool {
        self.domains.is_any()
            || self.is_address(uri)
            || self.is_own_port(uri.port) && self.with_domain(uri, |name| name.is_some())
    }

    /// Whether `aor` may be registered at the domain in a Request-URI, RFC 3261 10.3 step 5. Each address of ours serves all
    /// our domains.
    #[must_use]
    #[inline(always)]
    pub fn serves(&self, request_uri: &Uri<'_>, aor: &Aor) -> bool {
        let is_same = same(request_uri.host.raw(), aor.domain()) && request_uri.port.is_none();
        is_same || self.serves_any(request_uri, aor)
    }

    /// The same for a domain in any form.
    #[inline(never)]
    fn serves_any(&self, request_uri: &Uri<'_>, aor: &Aor) -> bool {
        self.domains.is_any()
            || self.is_own_port(request_uri.port)
                && (request_uri.host.raw() == aor.domain()
                    || self.with_domain(request_uri, |name| name == Some(aor.domain())))
            || self.is_address(request_uri)
    }

    /// Shows the name under which a URI's host is kept to `see`.
    fn with_domain(&self, uri: &Uri<'_>, see: impl FnOnce(Option<&[u8]>) -> bool) -> bool {
        // RFC 1035 2.3.4: a name has at most 255 octets.
        let mut name = [0; 256];
        let Some(length) = write_host(&uri.host, &mut name) else { return false };
        see(self.domains.canonical(&name[..length]))
    }

    /// Whether a URI is none of ours, told without writing it down: as most Contacts do, it names an IPv4 address, and nobody here.
    fn is_elsewhere(&self, uri: &Uri<'_>) -> bool {
        // What is longer may be too long, which is another answer.
        uri.raw.len() <= Aor::BYTES_MAX
            && !self.domains.is_any()
            && uri.host.ip().is_some_and(|ip| ip.is_ipv4() && ip != self.to.ip)
            && self.domains.canonical(uri.host.raw()).is_none()
    }

    fn is_own_port(&self, port: Option<u16>) -> bool {
        port.is_none_or(|port| self.listeners.iter().any(|listener| listener.port() == port))
    }
}

impl Aor {
    /// The longest address-of-record, in canonical bytes.
    pub const BYTES_MAX: usize = 512;

    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Aor { bytes: Box::new([0; Self::BYTES_MAX]), len: 0, domain: 0, hash: HomeHash::default() }
    }

    /// `user@host`, or `host` where the URI had no user.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// What stands behind the last `@`.
    #[must_use]
    #[inline]
    pub fn domain(&self) -> &[u8] {
        &self.bytes[self.domain..self.len]
    }

    /// The keyed hash that chooses the home core and the place in its table.
    #[must_use]
    pub fn hash(&self) -> HomeHash {
        self.hash
    }

    /// Makes a URI canonical that was not read yet. Most are canonical but for their scheme.
    ///
    /// # Errors
    /// [`NotOurs`] where it is none of our addresses-of-record.
    #[inline]
    pub fn set_text(&mut self, key: &[u8; 16], raw: &[u8], here: &Here<'_>) -> Result<(), NotOurs> {
        if let Some(canonical) = self.set_usual(raw, here) {
            self.hash = HomeHash::new(key, canonical);
            return Ok(());
        }
        let uri = Uri::parse(raw).map_err(|_malformed| NotOurs::Unreadable)?;
        self.set_any(key, &uri, here)
    }

    /// The same without its hash, for whoever wants only to know whether it is ours, and its text.
    ///
    /// # Errors
    /// As [`set_text`](Self::set_text).
    pub fn set_name(&mut self, raw: &[u8], here: &Here<'_>) -> Result<(), NotOurs> {
        self.hash = HomeHash::default();
        if self.set_usual(raw, here).is_some() {
            return Ok(());
        }
        let uri = Uri::parse(raw).map_err(|_malformed| NotOurs::Unreadable)?;
        self.put(&uri, here)
    }

    /// Takes in a URI that is canonical but for its scheme, and gives what was taken in; nothing for any other.
    #[inline(always)]
    fn set_usual<'r>(&mut self, raw: &'r [u8], here: &Here<'_>) -> Option<&'r [u8]> {
        let host = Uri::host_if_usual(raw, here.domains.usual())?;
        // What is usual has at most 64 bytes and begins with its scheme.
        let canonical = raw.get(4..).unwrap_or_default();
        (self.len, self.domain) = (canonical.len(), host - 4);
        // In two parts that meet or overlap, so that no call copies it.
        if let (Some(front), Some(back)) = (canonical.first_chunk(), canonical.last_chunk()) {
            self.put_ends::<32>(canonical.len(), front, back);
        } else if let (Some(front), Some(back)) = (canonical.first_chunk(), canonical.last_chunk())
        {
            self.put_ends::<16>(canonical.len(), front, back);
        } else {
            self.bytes[..canonical.len()].copy_from_slice(canonical);
        }
        Some(canonical)
    }

    /// Writes a text of which the first and the last bytes are all.
    #[inline(always)]
    fn put_ends<const N: usize>(&mut self, length: usize, front: &[u8; N], back: &[u8; N]) {
        self.bytes[..N].copy_from_slice(front);
        self.bytes[length - N..length].copy_from_slice(back);
    }

    /// Makes a URI canonical, RFC 3261 10.3 step 5.
    ///
    /// # Errors
    /// [`NotOurs`] where it is none of our addresses-of-record.
    pub fn set(&mut self, key: &[u8; 16], uri: &Uri<'_>, here: &Here<'_>) -> Result<(), NotOurs> {
        if let Some(canonical) = self.set_usual(uri.raw, here) {
            self.hash = HomeHash::new(key, canonical);
            return Ok(());
        }
        self.set_any(key, uri, here)
    }

    /// The same for a URI in any form.
    fn set_any(&mut self, key: &[u8; 16], uri: &Uri<'_>, here: &Here<'_>) -> Result<(), NotOurs> {
        self.put(uri, here)?;
        self.hash = HomeHash::new(key, self.bytes());
        Ok(())
    }

    /// Makes a URI canonical, but for its hash.
    fn put(&mut self, uri: &Uri<'_>, here: &Here<'_>) -> Result<(), NotOurs> {
        if !uri.is_sip() {
            return Err(NotOurs::Scheme);
        }
        if here.is_elsewhere(uri) {
            return Err(NotOurs::Domain);
        }
        let mut len = 0;
        if uri.user.is_some() {
            len = uri.write_user(&mut self.bytes[..]).ok_or(NotOurs::TooLong)?;
            *self.bytes.get_mut(len).ok_or(NotOurs::TooLong)? = b'@';
            len += 1;
        }
        self.domain = len;
        len = self.put_host(len, uri, here)?;
        self.len = len;
        Ok(())
    }

    /// Writes the domain behind `start` and gives the end.
    fn put_host(&mut self, start: usize, uri: &Uri<'_>, here: &Here<'_>) -> Result<usize, NotOurs> {
        let own_port = here.is_own_port(uri.port);
        let mut end = start;
        // Names are kept in the form that nearly everybody writes.
        let mut name = here.domains.canonical(uri.host.raw());
        if name.is_none() {
            // Apart from the user, so that nothing depends on how a name is written. RFC 1035 2.3.4: it has at most 255 octets.
            let mut host = [0; 256];
            let length = write_host(&uri.host, &mut host).ok_or(NotOurs::TooLong)?;
            let host = &host[..length];
            name = here.domains.canonical(host);
            if name.is_none() {
                end += length;
                self.bytes.get_mut(start..end).ok_or(NotOurs::TooLong)?.copy_from_slice(host);
            }
        }
        match name {
            Some(_) if !own_port => return Err(NotOurs::Domain),
            Some(name) => {
                end = start + name.len();
                self.bytes.get_mut(start..end).ok_or(NotOurs::TooLong)?.copy_from_slice(name);
            }
            None if here.domains.is_any() => {
                // Where every domain is ours, another port is another domain.
                if let Some(port) = uri.port.filter(|_| !own_port) {
                    let digits = crate::wire::Decimal::new(u32::from(port));
                    let port_end = end + 1 + digits.as_bytes().len();
                    let place = self.bytes.get_mut(end..port_end).ok_or(NotOurs::TooLong)?;
                    place[0] = b':';
                    place[1..].copy_from_slice(digits.as_bytes());
                    end = port_end;
                }
            }
            None if here.is_address(uri) => {}
            None => return Err(NotOurs::Domain),
        }
        Ok(end)
    }
}

/// Writes a host as it is kept: a name in lower case, an IPv6 reference in its shortest form (RFC 5952). `None` where the buffer is
/// too small.
fn write_host(host: &Host<'_>, buffer: &mut [u8]) -> Option<usize> {
    if host.raw().first() != Some(&b'[') {
        return host.write_lower(buffer);
    }
    let mut text = Text { buffer, used: 0 };
    write!(text, "[{}]", host.ip()?).ok()?;
    Some(text.used)
}

/// Text in a buffer that it may fill.
struct Text<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        self.buffer.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

impl Default for Aor {
    fn default() -> Self {
        Aor::new()
    }
}

/// The keyed hash by which everything finds its home core: canonical addresses-of-record and Call-IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeHash {
    /// Chooses the home core and the place in its tables. It never leaves the node: who knew it could crowd a table.
    pub place: u64,
    /// As random, and telling nothing of `place`: what the outside may see.
    pub seed: u64,
}

impl HomeHash {
    /// The hash of some bytes under a key: SipHash-1-3 with 128 bits.
    #[must_use]
    #[inline(always)]
    pub fn new(key: &[u8; 16], bytes: &[u8]) -> Self {
        let [place, seed] = siphash_1_3_128(key, bytes);
        HomeHash { place, seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ListenerId;
    use alloc::format;
    use alloc::string::{String, ToString};

    fn canonical(domains: &Domains, uri: &str) -> Result<String, NotOurs> {
        let listeners: [SocketAddr; 1] = ["192.0.2.1:5060".parse().unwrap()];
        let to = LocalAddr { listener: ListenerId(0), ip: listeners[0].ip() };
        let mut aor = Aor::new();
        let here = Here { domains, listeners: &listeners, to };
        let set_text = aor.set_text(&[0; 16], uri.as_bytes(), &here);
        let (text, hash) = (aor.bytes().to_vec(), aor.hash());
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        let set = aor.set(&[0; 16], &uri, &here);
        assert_eq!(set_text, set);
        assert!(set.is_err() || (text, hash) == (aor.bytes().to_vec(), aor.hash()));
        let mut name = Aor::new();
        assert_eq!(name.set_name(uri.raw, &here), set);
        assert!(set.is_err() || name.bytes() == aor.bytes());
        set?;
        Ok(core::str::from_utf8(aor.bytes()).unwrap().to_string())
    }

    #[test]
    fn what_does_not_name_a_user_is_dropped() {
        let domains = Domains::new(["sip.test"]).with_alias("voip.test", "sip.test");
        for uri in [
            "sip:alice@sip.test",
            "sips:alice@SIP.test",
            "sip:%61lice@sip.test:5060",
            "sip:alice:secret@sip.test;transport=tcp?Subject=x",
            "sip:alice@VOIP.test",
        ] {
            assert_eq!(canonical(&domains, uri).as_deref(), Ok("alice@sip.test"), "{uri}");
        }
    }

    #[test]
    fn what_names_another_user_is_kept() {
        let domains = Domains::new(["sip.test"]);
        assert_eq!(canonical(&domains, "sip:Alice@sip.test").as_deref(), Ok("Alice@sip.test"));
        assert_eq!(canonical(&domains, "sip:sip.test").as_deref(), Ok("sip.test"));
        assert_eq!(canonical(&domains, "sip:a%40b@sip.test").as_deref(), Ok("a@b@sip.test"));
        assert_eq!(canonical(&domains, "sip:a%00b@sip.test").as_deref(), Ok("a\0b@sip.test"));
    }

    #[test]
    fn others_are_not_ours() {
        let domains = Domains::new(["sip.test"]);
        assert_eq!(canonical(&domains, "sip:alice@other.test"), Err(NotOurs::Domain));
        assert_eq!(canonical(&domains, "sip:alice@sip.test:5070"), Err(NotOurs::Domain));
        assert_eq!(canonical(&domains, "tel:+15551234"), Err(NotOurs::Scheme));
        assert_eq!(
            canonical(&domains, &("sip:".to_string() + &"a".repeat(600) + "@sip.test")),
            Err(NotOurs::TooLong)
        );
        assert_eq!(canonical(&domains, "sip:alice@192.0.2.1").as_deref(), Ok("alice@192.0.2.1"));
        assert_eq!(canonical(&domains, "sip:alice@192.0.2.2"), Err(NotOurs::Domain));
    }

    // RFC 3261 19.1.4: hosts compare as addresses where they are addresses.
    #[test]
    fn an_ipv6_address_is_one_however_it_is_written() {
        let domains = Domains::new(["[2001:db8::1]"]);
        for uri in ["sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8:0:0:0:0:0:1]"]
        {
            assert_eq!(canonical(&domains, uri).as_deref(), Ok("a@[2001:db8::1]"), "{uri}");
            let any = canonical(&Domains::any(), uri);
            assert_eq!(any.as_deref(), Ok("a@[2001:db8::1]"), "{uri}");
        }
    }

    /// Found by fuzzing.
    #[test]
    fn the_reason_does_not_depend_on_how_a_domain_is_written() {
        let domains = Domains::new(["sip.test"]).with_alias("voip.test", "sip.test");
        let user = "a".repeat(505);
        for host in ["sip.test", "SIP.test", "voip.test", "VOIP.test"] {
            for (port, reason) in [("", NotOurs::TooLong), (":5070", NotOurs::Domain)] {
                assert_eq!(canonical(&domains, &format!("sip:{user}@{host}{port}")), Err(reason));
            }
            // An alias is longer than what it stands for, which just fits.
            assert!(canonical(&domains, &format!("sip:{}@{host}", &user[..503])).is_ok(), "{host}");
        }
    }

    #[test]
    fn where_every_domain_is_ours_another_port_is_another_domain() {
        let domains = Domains::any();
        assert_eq!(canonical(&domains, "sip:a@x.test:5060").as_deref(), Ok("a@x.test"));
        assert_eq!(canonical(&domains, "sip:a@x.test:5070").as_deref(), Ok("a@x.test:5070"));
    }
}
