//! Whose a request is, what that lets it do, and where it goes next. It is the one place where this is decided, for requests and for
//! `route.test` alike, and it changes nothing.

use super::cookie::{Cookie, Flow};
use super::policy::{Neighbour, NextHop};
use super::route::{Hop, Names, NoHop, Plan, SIP_PORT};
use crate::location::{Aor, NotOurs};
use crate::uas::Refusal;
use crate::wire::{Host, Message, Uri};
use core::net::{IpAddr, SocketAddr};

/// Whose a request is, as far as it counts for where it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It belongs to a dialog that we let begin, and the end of it that has sent it is a user of ours.
    Dialog,
    /// A neighbour sent it.
    Neighbour,
    /// A user of ours sent it, who has shown that.
    Known,
    /// It says that a user of ours sent it, and nothing has to be shown here.
    Claimed,
    /// Somebody else.
    Stranger,
}

/// What there is to be seen of how a request is routed.
pub trait Trace {
    /// A step: what was looked at, and what came out.
    fn step(&mut self, what: &'static str, found: &[u8]);

    /// The same, where it is an address.
    fn address(&mut self, what: &'static str, addr: SocketAddr);
}

/// Nobody looks.
impl Trace for () {
    #[inline(always)]
    fn step(&mut self, _: &'static str, _: &[u8]) {}

    #[inline(always)]
    fn address(&mut self, _: &'static str, _: SocketAddr) {}
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination<'m> {
    /// To the user of ours in [`Aor`].
    User,
    /// To this server itself.
    Server,
    /// To a next hop.
    Hop(Hop<'m>),
    /// To where a UA behind NAT was seen.
    Flow(Flow),
}

/// Who sent a request, before anybody had to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// There is nothing to be shown.
    Is(Origin),
    /// It is from a user of ours, who has to show it.
    Owes,
}

impl Names<'_> {
    /// Whose a request is. The address-of-record in From is left in `from`, where it is one of ours.
    #[allow(clippy::too_many_arguments, reason = "all that it depends on, and a trace")]
    pub(super) fn sender(
        &self,
        message: &Message<'_>,
        plan: &Plan<'_>,
        source: IpAddr,
        asks: bool,
        key: &[u8; 16],
        from: &mut Aor,
        trace: &mut impl Trace,
    ) -> Result<Sender, Refusal> {
        if plan.is_trusted {
            trace.step("Record-Route cookie", b"good: in-dialog, neither challenged nor refused");
            return Ok(Sender::Is(Origin::Dialog));
        }
        if let Some(cookie) = &plan.cookie {
            trace.step("Record-Route cookie", b"good, but not of a user of ours at this address");
            // Whoever was called may be named in From like a user of ours and be none: it is not asked on its way to the caller.
            let from_tag = message.from().tag.unwrap_or_default();
            let flow = || cookie.flow_towards(from_tag).filter(|_| plan.route.is_none());
            if !cookie.is_user_callee()
                && (self.way_to_user(cookie, plan).is_some() || flow().is_some())
            {
                return Ok(Sender::Is(Origin::Stranger));
            }
        }
        if plan.is_cookie_bad {
            trace.step("Record-Route cookie", b"absent or not ours: it authorises nothing");
        }
        if let Some(neighbour) = self.policy.neighbour_at(source) {
            trace.step("source is a neighbour", neighbour.name.as_bytes());
            return Ok(Sender::Is(Origin::Neighbour));
        }
        let uri = message.from().uri;
        // Only whoever has to show who they are is looked for.
        let set =
            if asks { from.set_text(key, uri, &self.here) } else { from.set_name(uri, &self.here) };
        match set {
            Ok(()) => {}
            Err(NotOurs::TooLong) => return Err(Refusal::BadRequest("Address-of-Record Too Long")),
            Err(NotOurs::Unreadable) => {
                let malformed = Uri::parse(uri).err();
                return Err(malformed.map_or(Refusal::BadRequest("Bad From"), Refusal::Malformed));
            }
            Err(NotOurs::Domain) if self.looks_like_ours(uri) => {
                trace.step("From is of our domains but for a dot or a port", uri);
                return Err(Refusal::Forbidden);
            }
            Err(NotOurs::Scheme | NotOurs::Domain) => {
                trace.step("From is not of our domains", uri);
                return Ok(Sender::Is(Origin::Stranger));
            }
        }
        trace.step("From is of our domains", from.bytes());
        Ok(if asks { Sender::Owes } else { Sender::Is(Origin::Claimed) })
    }

    /// Whether a URI that is not ours would be with another port or without a dot at its end: whoever sees it takes it for ours.
    fn looks_like_ours(&self, uri: &[u8]) -> bool {
        let Ok(mut uri) = Uri::parse(uri) else { return false };
        uri.port = None;
        uri.host = match uri.host.raw().strip_suffix(b".") {
            Some(name) => Host::new(name),
            None => uri.host,
        };
        self.here.is_ours(&uri)
    }

    /// Where a request goes. The address-of-record of a user of ours is left in `aor`.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub(super) fn destination<'m>(
        &'m self,
        plan: &Plan<'m>,
        origin: Origin,
        from_tag: &[u8],
        key: &[u8; 16],
        aor: &mut Aor,
        trace: &mut impl Trace,
    ) -> Result<Destination<'m>, Refusal> {
        let named = plan.route.as_ref().unwrap_or(&plan.uri);
        trace.step(if plan.route.is_some() { "Route" } else { "Request-URI" }, named.raw);
        let Some(cookie) = &plan.cookie else {
            return self.by_its_word(plan, origin, key, aor, trace);
        };
        if plan.route.is_none()
            && let Some(flow) = cookie.flow_towards(from_tag)
        {
            trace.step("the cookie", b"knows where the UA behind NAT was seen");
            return Ok(Destination::Flow(flow));
        }
        let origin = match origin {
            Origin::Dialog | Origin::Known => {
                return self.by_its_word(plan, origin, key, aor, trace);
            }
            // Where nothing has to be shown it could have begun the dialog just as well.
            Origin::Claimed => Origin::Dialog,
            Origin::Neighbour | Origin::Stranger => {
                if let Some(way) = self.way_to_user(cookie, plan) {
                    trace.step("it goes", b"to the user of ours whose dialog it is");
                    return Ok(way);
                }
                origin
            }
        };
        match self.by_its_word(plan, origin, key, aor, trace) {
            Err(Refusal::NotARelay) => {
                Hop::of(named).map_err(refusal)?;
                trace.step("it goes", b"to the user of ours whose dialog it is, all the same");
                Ok(user_of(cookie))
            }
            found => found,
        }
    }

    /// The way of a request to the user of ours whose dialog it is, where it names an address of that user; `None` where it does
    /// not.
    fn way_to_user<'m>(&self, cookie: &Cookie, plan: &Plan<'m>) -> Option<Destination<'m>> {
        let named = plan.route.as_ref().unwrap_or(&plan.uri);
        match Hop::of(named) {
            Ok(Hop::Address(addr)) if cookie.is_user_at(addr.ip()) && !self.is_own_socket(addr) => {
                Some(Destination::Hop(Hop::Address(addr)))
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Where a request goes by its Route or Request-URI, if whoever sent it may go there.
    fn by_its_word<'m>(
        &'m self,
        plan: &Plan<'m>,
        origin: Origin,
        key: &[u8; 16],
        aor: &mut Aor,
        trace: &mut impl Trace,
    ) -> Result<Destination<'m>, Refusal> {
        if let Some(route) = &plan.route {
            return self.elsewhere(route, origin, trace);
        }
        let uri = &plan.uri;
        if !uri.is_sip() {
            return Err(Refusal::UnsupportedScheme);
        }
        if let Some(neighbour) = self.neighbour_for(uri) {
            trace.step("its domain belongs to the neighbour", neighbour.name.as_bytes());
            return match origin {
                Origin::Dialog | Origin::Known | Origin::Claimed => to_neighbour(neighbour, uri),
                Origin::Neighbour | Origin::Stranger => {
                    trace.step("refused", b"it is neither from us nor to us");
                    Err(Refusal::NotARelay)
                }
            };
        }
        // Within a dialog the Request-URI is a contact: where every domain is ours, only our own address is.
        let may_be_ours =
            plan.cookie.is_none() || !self.here.domains.is_any() || self.is_own_address(uri);
        if may_be_ours {
            match aor.set(key, uri, &self.here) {
                Ok(()) if uri.user.is_some() => {
                    trace.step("address-of-record", aor.bytes());
                    return Ok(Destination::User);
                }
                Ok(()) => {
                    trace.step("it is this server", b"");
                    return Ok(Destination::Server);
                }
                Err(NotOurs::TooLong) => {
                    return Err(Refusal::BadRequest("Address-of-Record Too Long"));
                }
                Err(NotOurs::Unreadable | NotOurs::Scheme | NotOurs::Domain) => {}
            }
        }
        self.elsewhere(uri, origin, trace)
    }

    /// The neighbour that answers for a URI's domain.
    fn neighbour_for(&self, uri: &Uri<'_>) -> Option<&Neighbour> {
        if self.policy.neighbours.is_empty() {
            return None;
        }
        // RFC 1035 2.3.4: a name has at most 255 octets.
        let mut name = [0; 256];
        let length = uri.host.write_lower(&mut name)?;
        self.policy.neighbour_for(&name[..length])
    }

    fn elsewhere<'m>(
        &self,
        uri: &Uri<'m>,
        origin: Origin,
        trace: &mut impl Trace,
    ) -> Result<Destination<'m>, Refusal> {
        match origin {
            Origin::Dialog | Origin::Known => {}
            Origin::Neighbour | Origin::Claimed | Origin::Stranger => {
                trace.step("refused", b"it is not to us, and whoever sent it is not known");
                return Err(Refusal::NotARelay);
            }
        }
        let hop = Hop::of(uri).map_err(refusal)?;
        if let Hop::Address(addr) = hop
            && self.is_own_socket(addr)
        {
            trace.step("refused", b"the next hop is this server");
            return Err(Refusal::ForbiddenHop);
        }
        Ok(Destination::Hop(hop))
    }
}

/// Why a request whose next hop can't be used is refused.
pub(super) fn refusal(reason: NoHop) -> Refusal {
    match reason {
        NoHop::Scheme => Refusal::UnsupportedScheme,
        NoHop::Transport => Refusal::NoTransport,
        NoHop::Forbidden => Refusal::ForbiddenHop,
    }
}

/// The user of ours whose dialog it is, where it was when the dialog began.
fn user_of<'m>(cookie: &Cookie) -> Destination<'m> {
    let addr = Hop::Address(cookie.user());
    cookie.user_flow().map_or(Destination::Hop(addr), Destination::Flow)
}

/// The next hop towards a neighbour.
fn to_neighbour<'m>(neighbour: &'m Neighbour, uri: &Uri<'m>) -> Result<Destination<'m>, Refusal> {
    let hop = match &neighbour.next_hop {
        Some(NextHop::Address(addr)) => Hop::Address(*addr),
        Some(NextHop::Name { host, port }) => Hop::Name(host.as_bytes(), *port),
        None => match uri.host.ip() {
            Some(ip) => Hop::Address((ip, uri.port.unwrap_or(SIP_PORT)).into()),
            None => Hop::Name(uri.host.raw(), uri.port.unwrap_or(SIP_PORT)),
        },
    };
    if hop.is_forbidden() { Err(Refusal::ForbiddenHop) } else { Ok(Destination::Hop(hop)) }
}
