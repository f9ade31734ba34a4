//! Where a request goes, RFC 3261 16.4 and 16.5: what the Route header and the Request-URI say, and which of it is us. It looks at the
//! message and at what was configured, and changes nothing.

use super::cookie::{COOKIE_PARAM, Cookie};
use super::policy::Policy;
use crate::io::ListenerId;
use crate::location::Here;
use crate::uas::Refusal;
use crate::wire::{HeaderId, Host, Message, Scheme, Uri};
use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

/// The port of SIP over UDP, RFC 3261 19.1.2.
pub(super) const SIP_PORT: u16 = 5060;

/// What is ours: how we are named in Route and Via.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) here: Here<'a>,
    pub(super) policy: &'a Policy,
    /// The keys of cookies.
    pub(super) cookies: &'a [[u8; 16]],
    /// How what we put into Record-Route begins.
    pub(super) signs: &'a [Sign],
}

/// The text of a Record-Route value of ours up to its cookie, and the listener that it names.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    start: Box<[u8]>,
    listener: ListenerId,
}

/// What stands between our name and the cookie in a Record-Route value.
pub(super) const RECORD_ROUTE_PARAMS: &[u8] = b";lr";

impl Names<'_> {
    /// Whether a URI in Route, or in place of the Request-URI, is one that we put there or that names us.
    pub(super) fn is_own(&self, uri: &Uri<'_>) -> bool {
        // Where every domain is ours, a name says nothing: only addresses do.
        uri.is_sip()
            && (self.is_own_address(uri)
                || !self.here.domains.is_any() && uri.user.is_none() && self.here.is_ours(uri))
    }

    /// Whether a URI's host and port are those of a listener, or how it is advertised.
    pub(super) fn is_own_address(&self, uri: &Uri<'_>) -> bool {
        let ip = uri.host.ip();
        self.here.is_address(uri)
            || ip.is_some_and(|ip| {
                self.is_own_socket(SocketAddr::new(ip, uri.port.unwrap_or(SIP_PORT)))
            })
            || self.is_advertised(uri.host.raw(), uri.port)
    }

    /// Whether an address is that of a listener.
    pub(super) fn is_own_socket(&self, addr: SocketAddr) -> bool {
        self.here.listeners.iter().any(|listener| {
            let is_same = listener.ip() == addr.ip();
            let is_any = || {
                listener.ip().is_unspecified()
                    && listener.is_ipv4() == addr.is_ipv4()
                    && self.is_this_host(addr.ip())
            };
            listener.port() == addr.port() && (is_same || is_any())
        })
    }

    /// Whether an address is one of this host, RFC 1122 3.2.1.3 (g) and RFC 4291 2.5.3: all that is loopback is.
    fn is_this_host(&self, ip: IpAddr) -> bool {
        self.here.to.ip == ip || ip.is_loopback() || self.policy.host.contains(&ip)
    }

    /// The listener that a URI names by its address, or as it is advertised.
    fn listener(&self, uri: &Uri<'_>) -> Option<ListenerId> {
        let port = uri.port.unwrap_or(SIP_PORT);
        let ip = uri.host.ip();
        (0..).zip(self.here.listeners).find_map(|(number, bound)| {
            let is_bound = ip.is_some_and(|ip| *bound == SocketAddr::new(ip, port));
            let policy = self.policy.listeners.get(usize::from(number));
            let advertised = policy.and_then(|one| one.advertised.as_deref());
            let is_advertised =
                advertised.is_some_and(|name| is_name(name, uri.host.raw(), uri.port));
            (is_bound || is_advertised).then_some(ListenerId(number))
        })
    }

    /// How what we put into Record-Route begins where we are called `sent_by`.
    pub(super) fn sign(&self, sent_by: &[u8]) -> Option<Sign> {
        let uri = [b"sip:", sent_by].concat();
        let listener = self.listener(&Uri::parse(&uri).ok()?)?;
        let start = [b"<", &uri[..], RECORD_ROUTE_PARAMS, COOKIE_PARAM].concat().into();
        Some(Sign { start, listener })
    }

    /// Whether a listener is advertised as a host and port.
    pub(super) fn is_advertised(&self, host: &[u8], port: Option<u16>) -> bool {
        let mut names = self.policy.listeners.iter().filter_map(|one| one.advertised.as_deref());
        names.any(|name| is_name(name, host, port))
    }
}

/// Whether a listener's name is this host and port.
fn is_name(name: &str, host: &[u8], port: Option<u16>) -> bool {
    let (own_host, own_port) = host_and_port(name);
    own_host.as_bytes().eq_ignore_ascii_case(host) && own_port == port.unwrap_or(SIP_PORT)
}

/// Takes `host:port` or `[address]:port` apart.
fn host_and_port(name: &str) -> (&str, u16) {
    match name.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().unwrap_or(SIP_PORT))
        }
        Some(_) | None => (name, SIP_PORT),
    }
}

/// What Route and Request-URI come to, RFC 3261 16.4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'m> {
    /// The Request-URI after preprocessing.
    pub(super) uri: Uri<'m>,
    /// Whether it stands in the place of the one that was received.
    pub(super) is_uri_changed: bool,
    /// How many Route values go from the top, and whether the last goes as well.
    pub(super) routes_removed: usize,
    pub(super) is_last_route_removed: bool,
    /// What goes is the one value of the one line there is.
    pub(super) is_only_route_removed: bool,
    /// What is put behind all Route values, without brackets: the Request-URI, for a strict router.
    pub(super) route_after: Option<&'m [u8]>,
    /// The Route that is left on top.
    pub(super) route: Option<Uri<'m>>,
    /// The listener that the last of our own Routes names: where the request leaves.
    pub(super) leaves_by: Option<ListenerId>,
    /// What we put into Record-Route when the dialog began, in a request within it.
    pub(super) cookie: Option<Cookie>,
    /// Whether it comes from where the user of ours was when the dialog began.
    pub(super) is_trusted: bool,
    /// A Route was ours, or claimed to be, without a cookie that is good.
    pub(super) is_cookie_bad: bool,
}

/// Works out what Route and Request-URI of a request from `source` say.
///
/// # Errors
/// A Route that can't be read.
pub(super) fn plan<'m>(
    message: &Message<'m>,
    request_uri: &Uri<'m>,
    source: IpAddr,
    names: &Names<'_>,
) -> Result<Plan<'m>, Refusal> {
    let mut plan = Plan {
        uri: *request_uri,
        is_uri_changed: false,
        routes_removed: 0,
        is_last_route_removed: false,
        is_only_route_removed: false,
        route_after: None,
        route: None,
        leaves_by: None,
        cookie: None,
        is_trusted: false,
        is_cookie_bad: false,
    };
    if !message.has(HeaderId::Route) {
        return Ok(plan);
    }
    if let Some((listener, cookie)) = usual_route(message, request_uri, names) {
        plan.routes_removed = 1;
        plan.is_only_route_removed = true;
        plan.leaves_by = Some(listener);
        plan.is_trusted = cookie.is_user_at(source);
        plan.cookie = Some(cookie);
        return Ok(plan);
    }
    let mut left = message.addresses(HeaderId::Route).count();
    // RFC 3261 16.4: a strict router has put what we had put into Record-Route into the Request-URI, and the target behind all
    // Routes.
    if request_uri.is_sip()
        && request_uri.param(b"lr").is_some()
        && request_uri.user.is_none()
        && names.is_own(request_uri)
        && let Some(last) = message.addresses(HeaderId::Route).last()
    {
        plan.read_own(request_uri, message, source, names);
        plan.uri = Uri::parse(last.map_err(Refusal::Malformed)?.uri).map_err(Refusal::Malformed)?;
        plan.is_uri_changed = true;
        plan.is_last_route_removed = true;
        left -= 1;
    }
    let mut routes = message.addresses(HeaderId::Route).take(left);
    let mut next = || match routes.next() {
        Some(route) => Uri::parse(route?.uri).map(Some),
        None => Ok(None),
    };
    plan.route = next().map_err(Refusal::Malformed)?;
    // What names us goes: more than one where the request that began the dialog changed listeners, or came here twice.
    while let Some(uri) = plan.route
        && names.is_own(&uri)
    {
        plan.read_own(&uri, message, source, names);
        plan.routes_removed += 1;
        plan.route = next().map_err(Refusal::Malformed)?;
    }
    if let Some(route) = plan.route
        && route.param(b"lr").is_none()
    {
        // RFC 3261 16.6 step 6: the next hop is a strict router.
        plan.route_after = Some(plan.uri.raw);
        plan.uri = route;
        plan.is_uri_changed = true;
        plan.routes_removed += 1;
    }
    Ok(plan)
}

/// The listener and the cookie in the only Route, where that is byte for byte what we put into Record-Route: nearly every request
/// within a dialog has no other.
fn usual_route(
    message: &Message<'_>,
    request_uri: &Uri<'_>,
    names: &Names<'_>,
) -> Option<(ListenerId, Cookie)> {
    // RFC 3261 12.2.1.1: as in `read_own`.
    message.to().tag?;
    // With a user it is not one of ours that a strict router has put there.
    request_uri.user?;
    let value = message.only_value(HeaderId::Route)?;
    let (listener, text) = names.signs.iter().find_map(|sign| {
        let text = value.strip_prefix(&*sign.start)?.strip_suffix(b">")?;
        Some((sign.listener, text))
    })?;
    // What can be read is digits alone: neither another value nor a parameter stands behind them.
    Some((listener, Cookie::read_text(text, message.call_id(), names.cookies)?))
}

impl<'m> Plan<'m> {
    /// Reads what one of our own Routes says. Where there are several the last is that of the side it goes to, and any of them may
    /// show who has sent it.
    fn read_own(
        &mut self,
        uri: &Uri<'m>,
        message: &Message<'m>,
        source: IpAddr,
        names: &Names<'_>,
    ) {
        self.leaves_by = names.listener(uri).or(self.leaves_by);
        // RFC 3261 12.2.1.1: a request within a dialog has the tag of either side. One that begins another dialog is none.
        let is_within = message.to().tag.is_some();
        let cookie = Cookie::read(uri, message.call_id(), names.cookies);
        match cookie.filter(|_| is_within) {
            Some(cookie) => {
                self.is_trusted |= cookie.is_user_at(source);
                self.cookie = Some(cookie);
            }
            None => self.is_cookie_bad = true,
        }
    }
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop<'m> {
    /// An address.
    Address(SocketAddr),
    /// A name, whose addresses have to be asked for, and a port.
    Name(&'m [u8], u16),
}

/// Why there is no next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHop {
    /// Neither sip nor sips.
    Scheme,
    /// It asks for a transport that is not served, RFC 3261 18.1.1.
    Transport,
    /// Nobody may be sent there.
    Forbidden,
}

impl<'m> Hop<'m> {
    /// The next hop that a URI names, RFC 3261 16.6 step 7: by its maddr, or its host and port.
    pub(super) fn of(uri: &Uri<'m>) -> Result<Self, NoHop> {
        // RFC 3261 19.1.2: sips has to be sent over TLS.
        match uri.scheme {
            Scheme::Sip => {}
            Scheme::Sips => return Err(NoHop::Transport),
            Scheme::Tel | Scheme::Other(_) => return Err(NoHop::Scheme),
        }
        let [transport, maddr] = uri.params_named([b"transport", b"maddr"]);
        if transport.is_some_and(|name| !name.eq_ignore_ascii_case(b"udp")) {
            return Err(NoHop::Transport);
        }
        let port = uri.port.unwrap_or(SIP_PORT);
        let host = match maddr {
            Some(maddr) => Host::new(maddr),
            None => uri.host,
        };
        let hop = match host.ip() {
            // RFC 4291 2.5.5.2: an IPv4 address in IPv6 clothes is the same host, ourselves perhaps.
            Some(ip) => Hop::Address(SocketAddr::new(ip.to_canonical(), port)),
            None => Hop::Name(host.raw(), port),
        };
        if hop.is_forbidden() { Err(NoHop::Forbidden) } else { Ok(hop) }
    }

    /// Whether a URI names an address as its next hop: what [`of`](Self::of) tells, sooner where its host says it.
    pub(super) fn is_at(uri: &Uri<'_>, addr: SocketAddr) -> bool {
        // RFC 4291 2.5.5.2: what is written as IPv6 may be IPv4.
        let is_named = addr.is_ipv4()
            && uri.scheme == Scheme::Sip
            && uri.port.unwrap_or(SIP_PORT) == addr.port()
            && uri.host.is(addr.ip());
        let [transport, maddr] = uri.params_named([b"transport", b"maddr"]);
        if is_named && transport.is_none() && maddr.is_none() {
            return !is_forbidden(addr);
        }
        Hop::of(uri) == Ok(Hop::Address(addr))
    }

    /// Whether nobody may be sent there: port 0, or an address that is not one host's.
    pub(super) fn is_forbidden(&self) -> bool {
        match *self {
            Hop::Address(addr) => is_forbidden(addr),
            Hop::Name(name, port) => name.is_empty() || port == 0,
        }
    }
}

/// Whether nothing is ever sent to an address: port 0, or one that is not a single host's.
pub(super) fn is_forbidden(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::LocalAddr;
    use crate::location::Domains;
    use crate::proxy::cookie::{CookieText, End};
    use crate::wire::tests::with;
    use alloc::format;
    use alloc::string::String;

    const KEYS: [[u8; 16]; 1] = [*b"0123456789abcdef"];

    /// The Route of a BYE from our Record-Route, where a sign of it is known and where it is not.
    #[test]
    fn our_own_route_is_read_the_same_with_and_without_its_sign() {
        let listeners = ["198.51.100.1:5060", "198.51.100.1:5070"].map(|one| one.parse().unwrap());
        let policy = Policy::default();
        let domains = Domains::new(["sip.test"]);
        let to = LocalAddr { listener: ListenerId(0), ip: [198, 51, 100, 1].into() };
        let here = Here { domains: &domains, listeners: &listeners, to };
        let plain = Names { here, policy: &policy, cookies: &KEYS, signs: &[] };
        let signs = ["198.51.100.1:5060", "198.51.100.1:5070"]
            .map(|name| plain.sign(name.as_bytes()).unwrap());
        let signed = Names { signs: &signs, ..plain };
        let mut cookie = CookieText::new();
        let end = |addr: &str, is_user| End { addr: addr.parse().unwrap(), flow: None, is_user };
        let ends = (end("192.0.2.1:5060", true), end("192.0.2.2:5060", false));
        Cookie::new(b"f", &ends.0, &ends.1, &KEYS).write(&KEYS, b"c", &mut cookie);
        let good = core::str::from_utf8(cookie.as_bytes()).unwrap();
        let bad = good.replace(";c=", ";c=A");
        let own = |port: u16, cookie: &str| format!("<sip:198.51.100.1:{port};lr{cookie}>");
        let usual = own(5070, good);
        let mut recognised = 0;
        for (route, uri) in [
            (usual.clone(), "sip:b@192.0.2.2"),
            (own(5060, good), "sip:b@192.0.2.2"),
            (own(5060, &bad), "sip:b@192.0.2.2"),
            (own(5080, good), "sip:b@192.0.2.2"),
            (usual.clone(), "sip:192.0.2.2"),
            // A strict router has put it into the Request-URI.
            (String::from("<sip:b@192.0.2.2>"), usual.trim_matches(['<', '>'])),
            (usual.clone(), usual.trim_matches(['<', '>'])),
            (format!("{usual},<sip:192.0.2.7;lr>"), "sip:b@192.0.2.2"),
            (format!("{usual}\r\nRoute: {usual}"), "sip:b@192.0.2.2"),
            (format!("{usual};x=y"), "sip:b@192.0.2.2"),
            (usual.replace(";lr", ";lr;r2=on"), "sip:b@192.0.2.2"),
            (usual.replace("<sip", "<SIP"), "sip:b@192.0.2.2"),
            (format!("x {usual}"), "sip:b@192.0.2.2"),
        ] {
            // A request without a To tag begins another dialog: the cookie says nothing about it.
            for tag in [";tag=t", ""] {
                let text = format!(
                    "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nRoute: {route}\r\n\
                     From: <sip:a@sip.test>;tag=f\r\nTo: <sip:b@sip.test>{tag}\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\r\n"
                );
                with(text.as_bytes(), |message| {
                    let crate::wire::StartLine::Request { uri, .. } = message.start_line() else {
                        panic!("a request")
                    };
                    let is_usual = usual_route(message, uri, &signed).is_some();
                    recognised += u32::from(is_usual);
                    let source = [192, 0, 2, 1].into();
                    let [mut with, without] =
                        [&signed, &plain].map(|names| plan(message, uri, source, names));
                    // That is all that is known more.
                    if let Ok(with) = &mut with {
                        assert_eq!(with.is_only_route_removed, is_usual);
                        with.is_only_route_removed = false;
                    }
                    assert_eq!(format!("{with:?}"), format!("{without:?}"), "{text}");
                    let plan = with.unwrap();
                    assert_eq!(plan.is_trusted, plan.cookie.is_some(), "{text}");
                });
            }
        }
        assert_eq!(recognised, 2);
    }
}
