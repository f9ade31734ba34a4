//! Where an address-of-record lives, and how addresses are written for people. It asks nobody.

use shards::io::{ListenerId, LocalAddr};
use shards::location::{Aor, Domains, Here, NotOurs};
use shards::shard::{Homes, Settings};
use shards::wire::Uri;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What every core knows of addresses, for whoever asks the cores.
#[derive(Debug)]
pub struct Directory {
    homes: Homes,
    key: [u8; 16],
    domains: Arc<Domains>,
    listeners: Arc<[SocketAddr]>,
    places: u64,
}

impl Directory {
    /// The directory of a node whose cores have these settings; they differ in the core's number only.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Directory {
            homes: settings.homes,
            key: settings.keys.home,
            domains: Arc::clone(&settings.domains),
            listeners: Arc::clone(&settings.listeners),
            places: settings.limits.bindings as u64 * u64::from(settings.homes.count),
        }
    }

    /// The most addresses-of-record that the node can hold.
    pub(super) fn places(&self) -> u64 {
        self.places
    }

    /// Reads an address-of-record, with or without its scheme.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub(super) fn aor(&self, text: &str) -> Result<Aor, String> {
        let has_scheme = ["sip:", "sips:"].iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let whole = if has_scheme { text.to_owned() } else { format!("sip:{text}") };
        let unreadable = || format!("`{text}` is no address-of-record, as in alice@sip.test");
        let uri = Uri::parse(whole.as_bytes()).map_err(|_malformed| unreadable())?;
        let mut aor = Aor::new();
        aor.set(&self.key, &uri, &self.here(&uri)).map_err(|reason| match reason {
            NotOurs::Unreadable | NotOurs::Scheme => unreadable(),
            NotOurs::Domain => format!("`{text}` is in a domain that this node does not serve"),
            NotOurs::TooLong => format!("`{text}` is longer than {} bytes", Aor::BYTES_MAX),
        })?;
        Ok(aor)
    }

    /// The number of the core on which an address-of-record lives.
    pub(super) fn home(&self, aor: &Aor) -> usize {
        usize::from(self.homes.home(aor.hash().place).0)
    }

    /// The number of the core on which whatever a URI stands for is looked up; the first where it is not ours.
    pub(super) fn home_of(&self, uri: &Uri<'_>) -> usize {
        let mut aor = Aor::new();
        match aor.set(&self.key, uri, &self.here(uri)) {
            Ok(()) => self.home(&aor),
            Err(NotOurs::Unreadable | NotOurs::Scheme | NotOurs::Domain | NotOurs::TooLong) => 0,
        }
    }

    /// The first listener that serves the family of an address.
    pub(super) fn listener_for(&self, ip: IpAddr) -> Option<ListenerId> {
        let place = self.listeners.iter().position(|one| one.is_ipv4() == ip.is_ipv4())?;
        u16::try_from(place).ok().map(ListenerId)
    }

    /// A local address as Kamailio writes sockets: `udp:192.0.2.1:5060`.
    pub(super) fn socket(&self, local: LocalAddr) -> String {
        let port = self.listeners.get(usize::from(local.listener.0)).map_or(0, SocketAddr::port);
        format!("udp:{}", SocketAddr::new(local.ip, port))
    }

    /// The addresses that are served.
    pub(super) fn listeners(&self) -> impl Iterator<Item = String> {
        self.listeners.iter().map(|listener| format!("udp:{listener}"))
    }

    /// From where a URI is looked at: an address stands for us where a listener has it.
    fn here(&self, uri: &Uri<'_>) -> Here<'_> {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut to =
            LocalAddr { listener: ListenerId(0), ip: self.listeners.first().unwrap_or(&any).ip() };
        if let Some(ip) = uri.host.ip() {
            let has_it = |listener: &SocketAddr| {
                listener.ip() == ip
                    || listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4()
            };
            if self.listeners.iter().any(has_it) {
                to.ip = ip;
            }
        }
        Here { domains: &self.domains, listeners: &self.listeners, to }
    }
}

/// An address-of-record from its canonical bytes, so that [`Directory::aor`] reads the same again: what a user part does not
/// hold as it is, RFC 3261 25.1, is escaped.
pub(super) fn written(aor: &[u8]) -> String {
    let at = aor.iter().rposition(|&byte| byte == b'@');
    let (user, rest) = aor.split_at(at.unwrap_or(0));
    let mut text = String::with_capacity(aor.len());
    for &byte in user {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a String can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// The number that Kamailio calls an address-of-record's `HashID`: the same for the same name, and nothing else. FNV-1a.
pub(super) fn hash_id(aor: &[u8]) -> u32 {
    aor.iter()
        .fold(0x811C_9DC5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
pub(in crate::control) mod tests {
    use super::*;
    use crate::config::{Config, Limits, Machine};
    use shards::auth::Subscribers;
    use shards::shard::Keys;
    use std::path::Path;

    pub(in crate::control) fn settings(cores: usize) -> Vec<Settings> {
        let machine = Machine { cpus: (0..cores).collect(), hostname: "test".to_owned() };
        let text = "listen = [{ udp = \"192.0.2.1:5060\" }, { udp = \"[::]:5062\" }]\n\
                    domains.local = [\"sip.test\"]\nlocation.max_bindings = 1000\nproxy.max_transactions = 1000\nlimits.completed_bytes = 65536";
        let config = Config::parse(Path::new("test.toml"), text, &machine).unwrap();
        config.shard_settings(
            &Limits::derive(&config),
            &Keys::derive(&[7; 32]),
            &Arc::new(Subscribers::nobody()),
        )
    }

    #[test]
    fn an_address_of_record_is_read_however_it_is_written() {
        let directory = Directory::new(&settings(2)[0]);
        for (text, canonical) in [
            ("alice@sip.test", "alice@sip.test"),
            ("sip:%61lice@SIP.test:5060;transport=tcp", "alice@sip.test"),
            ("SIPS:alice@sip.test", "alice@sip.test"),
            ("sip.test", "sip.test"),
            ("alice@192.0.2.1", "alice@192.0.2.1"),
            ("alice@[2001:db8::1]:5062", "alice@[2001:db8::1]"),
        ] {
            let aor = directory.aor(text).unwrap();
            assert_eq!(String::from_utf8_lossy(aor.bytes()), canonical);
        }
        for (text, wrong) in [
            ("alice@other.test", "`alice@other.test` is in a domain that this node does not serve"),
            ("alice@192.0.2.2", "`alice@192.0.2.2` is in a domain that this node does not serve"),
            ("al ice@sip.test", "`al ice@sip.test` is no address-of-record, as in alice@sip.test"),
            ("", "`` is no address-of-record, as in alice@sip.test"),
        ] {
            assert_eq!(directory.aor(text).unwrap_err(), wrong);
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let directory = Directory::new(&settings(2)[0]);
        for canonical in
            [&b"alice@sip.test"[..], b"a@b@sip.test", b"a\0\xFF%:\"@sip.test", b"sip.test"]
        {
            let text = written(canonical);
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(directory.aor(&text).unwrap().bytes(), canonical, "{text}");
        }
        assert_eq!(written(b"a@b@sip.test"), "a%40b@sip.test");
    }

    #[test]
    fn homes_are_the_shards_own() {
        let settings = settings(2);
        let directory = Directory::new(&settings[1]);
        let mut seen = [0; 2];
        for number in 0..100 {
            let aor = directory.aor(&format!("{number}@sip.test")).unwrap();
            assert_eq!(
                directory.home(&aor),
                usize::from(settings[0].homes.home(aor.hash().place).0)
            );
            seen[directory.home(&aor)] += 1;
        }
        assert!(seen.iter().all(|&homes| homes > 20), "{seen:?}");
        let uri = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
        let alice = directory.aor("alice@sip.test").unwrap();
        assert_eq!(directory.home_of(&uri("sip:%61lice@SIP.test;x=y")), directory.home(&alice));
        assert_eq!(directory.home_of(&uri("sip:alice@other.test")), 0);
        let listener = |ip: &str| directory.listener_for(ip.parse().unwrap());
        assert_eq!(listener("203.0.113.1"), Some(ListenerId(0)));
        assert_eq!(listener("2001:db8::1"), Some(ListenerId(1)));
        let local = |listener, ip: &str| LocalAddr {
            listener: ListenerId(listener),
            ip: ip.parse().unwrap(),
        };
        assert_eq!(directory.socket(local(0, "192.0.2.1")), "udp:192.0.2.1:5060");
        assert_eq!(directory.socket(local(1, "::1")), "udp:[::1]:5062");
    }
}
