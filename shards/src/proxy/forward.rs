//! Branches: for each target a copy of the request, RFC 3261 16.6. It owns the texts that are written into copies; what is on its way
//! is kept in `contexts`.

use super::branch::{BranchText, Seal, Token, loop_hash};
use super::contexts::{Branch, Cancel, Client, NONE, Timers, method_hash};
use super::cookie::{Cookie, CookieText, End, Flow};
use super::decide::Destination;
use super::route::{Hop, Names, Plan, RECORD_ROUTE_PARAMS, is_forbidden};
use super::targets::{self, Target};
use super::{Proxy, Setup, Tools, VIA_START, identity, write};
use crate::io::{Instant, ListenerId, LocalAddr, Outbox, Peer, Transport, Verdict};
use crate::location::Record;
use crate::store::{Full, Handle};
use crate::transaction::{LIFETIME, T1, client};
use crate::wire::{HeaderId, Message, Method, Uri};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// RFC 3261 16.6 step 3: what a request has that comes without Max-Forwards.
const MAX_FORWARDS: u8 = 70;
/// RFC 5393 5.3.3.1: what a request has that comes without Max-Breadth.
pub(super) const MAX_BREADTH: u16 = 60;
/// The most branches that are sent at once: what one input may add to an outbox, less a response and a CANCEL.
const PARALLEL_MAX: u16 = 12;
/// How long the addresses of a name are waited for.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// Texts that go into a request, written for each branch.
#[derive(Debug)]
pub(super) struct Texts {
    /// How our Via begins where the request leaves, and where it came from, if that is not written down in the setup.
    vias: [Vec<u8>; 2],
    record_routes: [Vec<u8>; 2],
    route_after: Vec<u8>,
    uri: Vec<u8>,
    cookie: CookieText,
    /// A target that waits for the address of its next hop, or for another address of it.
    pub(super) target: Vec<u8>,
}

impl Texts {
    pub(super) fn new() -> Self {
        let text = || Vec::with_capacity(1024);
        Texts {
            vias: [text(), text()],
            record_routes: [text(), text()],
            route_after: Vec::with_capacity(usize::from(u16::MAX)),
            uri: Vec::with_capacity(usize::from(u16::MAX)),
            cookie: CookieText::new(),
            target: Vec::with_capacity(2 * usize::from(u16::MAX)),
        }
    }
}

/// A request on its way out: what all its branches have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Onward<'m> {
    pub(super) message: &'m Message<'m>,
    pub(super) plan: &'m Plan<'m>,
    /// What shows a loop; 0 for what is passed on without a transaction.
    pub(super) loop_hash: u64,
    /// Where it came from, and where it arrived.
    pub(super) source: Peer,
    pub(super) local: LocalAddr,
    /// Whether a user of ours has sent it, who has shown that or need not.
    pub(super) is_from_user: bool,
}

/// Where a branch goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim<'m> {
    /// To a binding.
    Binding(Record<'m>),
    /// Where the request itself says.
    Destination(Destination<'m>),
}

/// Why a branch is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// There is no room for it.
    Full,
    /// There is no way to its next hop.
    NoWay,
    /// With what has to be added it does not fit into a datagram.
    TooLarge,
}

impl Unsent {
    /// What a request gets that could not be sent to anybody.
    pub(super) fn status(self) -> u16 {
        match self {
            Unsent::Full => 503,
            Unsent::NoWay => 500,
            Unsent::TooLarge => 513,
        }
    }
}

impl From<Full> for Unsent {
    fn from(_: Full) -> Self {
        Unsent::Full
    }
}

impl Setup {
    /// Where a message to an address leaves from, if it does not matter otherwise: at the listener that our own Route named, where the
    /// request arrived, or at the first listener of the address's family.
    pub(super) fn local_for(
        &self,
        addr: SocketAddr,
        arrived: LocalAddr,
        leaves_by: Option<ListenerId>,
    ) -> Option<LocalAddr> {
        let wanted = leaves_by.filter(|&listener| listener != arrived.listener);
        let wanted = wanted
            .and_then(|listener| Some((listener.0, self.listeners.get(usize::from(listener.0))?)));
        let arrived_at = self.listeners.get(usize::from(arrived.listener.0))?;
        let is_ipv4 = addr.ip().to_canonical().is_ipv4();
        let serves = |bound: &SocketAddr| bound.is_ipv4() == is_ipv4;
        let (number, bound) = match wanted.filter(|(_, bound)| serves(bound)) {
            Some(wanted) => wanted,
            None if serves(arrived_at) => return Some(arrived),
            None => (0..).zip(self.listeners.iter()).find(|(_, bound)| serves(bound))?,
        };
        Some(LocalAddr { listener: ListenerId(number), ip: bound.ip() })
    }

    /// How our Via begins at a local address, up to `host:port`. `None` where nobody knows what we are called there.
    fn via<'t>(&'t self, local: LocalAddr, text: &'t mut Vec<u8>) -> Option<&'t [u8]> {
        let number = usize::from(local.listener.0);
        if let Some(via) = self.vias.get(number)? {
            return Some(via);
        }
        if local.ip.is_unspecified() {
            return None;
        }
        text.clear();
        text.extend_from_slice(VIA_START);
        let addr = SocketAddr::new(local.ip, self.listeners.get(number)?.port());
        write!(Text(text), "{addr}").ok()?;
        Some(text)
    }
}

/// Text in a vector that never grows.
struct Text<'t>(&'t mut Vec<u8>);

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        if self.0.capacity() - self.0.len() < text.len() {
            return Err(core::fmt::Error);
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl<'m> Aim<'m> {
    /// The next hop, and where the request leaves from if that is known.
    fn hop(&self, plan: &Plan<'m>, names: &Names<'_>) -> Option<(Hop<'m>, Option<LocalAddr>)> {
        match *self {
            Aim::Binding(record) => {
                // RFC 3327: the first of the Path is where it goes.
                let first = first_value(record.path);
                if !first.is_empty() {
                    return Some((Hop::of(&Uri::parse(first).ok()?).ok()?, Some(record.to)));
                }
                if record.from.addr.ip().is_unspecified() {
                    return Some((Hop::of(&Uri::parse(record.contact).ok()?).ok()?, None));
                }
                // RFC 5626 5.3 and RFC 3581: a UA is reached where it registered from, whatever it believes its address to be.
                Some((Hop::Address(record.from.addr), Some(record.to)))
            }
            Aim::Destination(Destination::Hop(hop)) => {
                let is_own = matches!(hop, Hop::Address(addr) if names.is_own_socket(addr));
                (!is_own).then_some((hop, None))
            }
            Aim::Destination(Destination::Flow(flow)) => {
                Some((Hop::Address(flow.to.addr), Some(flow.from)))
            }
            Aim::Destination(Destination::User | Destination::Server) => {
                debug_assert!(false, "these are no next hops: {:?}", plan.uri);
                None
            }
        }
    }

    /// The contact of the binding that it is for.
    fn contact(&self) -> Option<Uri<'m>> {
        match *self {
            Aim::Binding(record) => Uri::parse(record.contact).ok(),
            Aim::Destination(_) => None,
        }
    }

    /// The callee, who is sent to at an address: a user of ours, if it is by a binding.
    fn callee(&self, addr: SocketAddr, contact: Option<&Uri<'_>>) -> End {
        let Aim::Binding(record) = *self else { return End { addr, flow: None, is_user: false } };
        let is_straight = record.path.is_empty() && !record.from.addr.ip().is_unspecified();
        let is_there = || contact.is_none_or(|uri| Hop::is_at(uri, addr));
        let flow =
            (is_straight && !is_there()).then_some(Flow { to: record.from, from: record.to });
        End { addr, flow, is_user: true }
    }
}

/// The URI of the first of some values in brackets, as Path has them.
fn first_value(values: &[u8]) -> &[u8] {
    let start = values.iter().position(|&byte| byte == b'<').map_or(values.len(), |at| at + 1);
    let rest = values.get(start..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'>').unwrap_or(0);
    rest.get(..end).unwrap_or_default()
}

/// What stands behind the first of some values in brackets and its comma.
fn behind_first(values: &[u8]) -> &[u8] {
    let end = values.iter().position(|&byte| byte == b'>').unwrap_or(values.len());
    let rest = values.get(end..).unwrap_or_default();
    let comma = rest.iter().position(|&byte| byte == b',').map_or(rest.len(), |at| at + 1);
    rest.get(comma..).unwrap_or_default()
}

/// A contact as a Request-URI, RFC 3261 16.6 step 2 and 19.1.1: without a method parameter and headers.
fn request_uri<'t>(uri: &Uri<'t>, text: &'t mut Vec<u8>) -> Option<&'t [u8]> {
    let contact = uri.raw;
    if !uri.is_sip() || uri.headers.is_empty() && uri.param(b"method").is_none() {
        return Some(contact);
    }
    let behind = uri.headers.len() + usize::from(!uri.headers.is_empty());
    let end = contact.len() - behind;
    let start = end - uri.params.len();
    text.clear();
    // With the semicolon before the parameters only where one is left.
    text.extend_from_slice(contact.get(..start)?);
    if !uri.params.is_empty() {
        text.pop();
    }
    for param in uri.params.split(|&byte| byte == b';') {
        let name = param.split(|&byte| byte == b'=').next().unwrap_or_default();
        if !param.is_empty() && !name.eq_ignore_ascii_case(b"method") {
            text.push(b';');
            text.extend_from_slice(param);
        }
    }
    Some(text)
}

impl Onward<'_> {
    /// The caller.
    fn caller(&self) -> End {
        let is_elsewhere = self.is_caller_elsewhere();
        let flow = is_elsewhere.then_some(Flow { to: self.source, from: self.local });
        End { addr: self.source.addr, flow, is_user: self.is_from_user }
    }

    /// Whether the caller is not where its contact says. What came over another proxy is that proxy's business.
    fn is_caller_elsewhere(&self) -> bool {
        let message = self.message;
        if message.has(HeaderId::RecordRoute) || write::has_other_via(message) {
            return false;
        }
        let Some(Ok(crate::wire::Contact::Address(contact))) = message.contacts().next() else {
            return false;
        };
        let uri = Uri::parse(contact.address.uri);
        uri.is_ok_and(|uri| !Hop::is_at(&uri, self.source.addr))
    }

    /// Whether the request may begin a dialog, RFC 3261 12.1 and 16.6 step 4.
    fn begins_dialog(&self) -> bool {
        let is_within = self.message.to().tag.is_some();
        !is_within
            && match self.message.cseq().method {
                Method::Invite | Method::Subscribe | Method::Refer | Method::Other(_) => true,
                Method::Ack
                | Method::Bye
                | Method::Cancel
                | Method::Register
                | Method::Options
                | Method::Prack
                | Method::Notify
                | Method::Publish
                | Method::Info
                | Method::Message
                | Method::Update => false,
            }
    }

    /// The value of Max-Breadth, where there is one.
    pub(super) fn max_breadth(&self) -> Option<u16> {
        max_breadth(self.message)
    }
}

/// The value of Max-Breadth, where there is one, RFC 5393 5.3.2.
pub(super) fn max_breadth(message: &Message<'_>) -> Option<u16> {
    let line = message.first_line(HeaderId::MaxBreadth)?;
    let number = crate::wire::decimal(line.value)?;
    Some(u16::try_from(number).unwrap_or(u16::MAX))
}

impl Proxy {
    /// Sends the next targets of a context: those of equal preference, in parallel. Where none of a group can be sent, the next
    /// group is tried.
    ///
    /// # Errors
    /// Why the last one was not sent, where none was; [`Unsent::NoWay`] where none was left.
    pub(super) fn next_targets(
        &mut self,
        now: Instant,
        id: u32,
        onward: &Onward<'_>,
        out: &mut Outbox,
    ) -> Result<Verdict, Unsent> {
        let is_limited = onward.max_breadth().is_some();
        let mut last = Err(Unsent::NoWay);
        while let Some(count) = self.group(id) {
            let breadth = self.contexts.context(id).map_or(1, |context| context.breadth);
            // RFC 5393 5.3.3.1: what all branches may do together is what this request may do.
            let each = (is_limited || count > 1).then_some((breadth / count).max(1));
            last = self.send_group(now, id, count, each, onward, out);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// How many of the targets come next together; `None` where there are none.
    fn group(&self, id: u32) -> Option<u16> {
        let context = self.contexts.context(id)?;
        let set = self.contexts.bytes(context.targets?).get(usize::from(context.targets_at)..)?;
        let most = context.breadth.clamp(1, PARALLEL_MAX);
        let first = targets::first(set)?;
        let (mut count, mut at) = (1, first.bytes);
        while count < most
            && let Some(next) = set.get(at..).and_then(targets::first)
            && next.q == first.q
        {
            count += 1;
            at += next.bytes;
        }
        Some(count)
    }

    fn send_group(
        &mut self,
        now: Instant,
        id: u32,
        count: u16,
        breadth: Option<u16>,
        onward: &Onward<'_>,
        out: &mut Outbox,
    ) -> Result<Verdict, Unsent> {
        let mut sent = Err(Unsent::NoWay);
        for _ in 0..count {
            let Some(context) = self.contexts.context_mut(id) else { break };
            let Some(targets) = context.targets else { break };
            let at = usize::from(context.targets_at);
            let set = self.contexts.bytes(targets).get(at..).unwrap_or_default();
            let Some(Target { record, bytes, .. }) = targets::first(set) else { break };
            // Apart from the table that it lies in, which gets the branch.
            self.tools.set.clear();
            if !record.append(&mut self.tools.set) {
                break;
            }
            let next = u16::try_from(at + bytes).unwrap_or(u16::MAX);
            if let Some(context) = self.contexts.context_mut(id) {
                context.targets_at = next;
            }
            let set = core::mem::take(&mut self.tools.set);
            let aim = Aim::Binding(Record::decode(&set));
            let one = self.branch(now, id, onward, aim, breadth, out);
            self.tools.set = set;
            if sent != Ok(Verdict::Forwarded) && (one.is_ok() || sent.is_err()) {
                sent = one;
            }
        }
        sent
    }

    /// Makes a branch of a context and sends it, or asks for the address of its next hop.
    pub(super) fn branch(
        &mut self,
        now: Instant,
        id: u32,
        onward: &Onward<'_>,
        aim: Aim<'_>,
        breadth: Option<u16>,
        out: &mut Outbox,
    ) -> Result<Verdict, Unsent> {
        let names = self.setup.names(onward.local);
        let (hop, from) = aim.hop(onward.plan, &names).ok_or(Unsent::NoWay)?;
        let addr = match hop {
            Hop::Address(addr) => addr,
            Hop::Name(name, port) => {
                self.ask(now, id, onward, aim, breadth, (name, port), out)?;
                return Ok(Verdict::Held);
            }
        };
        // Whoever registered over one family may be reached by a Path of the other.
        let is_ipv4 = |ip: IpAddr| ip.to_canonical().is_ipv4();
        let from = match from.filter(|from| is_ipv4(from.ip) == is_ipv4(addr.ip())) {
            Some(from) => from,
            None => self
                .setup
                .local_for(addr, onward.local, onward.plan.leaves_by)
                .ok_or(Unsent::NoWay)?,
        };
        let to = Peer { transport: Transport::Udp, addr };
        let branch = new_branch(id, onward, to, from);
        let handle = self.contexts.add_branch(branch)?;
        let launched = self.launch(now, handle, onward, aim, breadth, out);
        if launched.is_err() {
            self.contexts.end_branch(handle.index);
        }
        launched.map(|()| Verdict::Forwarded)
    }

    /// Writes the request of a branch, keeps it and sends it.
    pub(super) fn launch(
        &mut self,
        now: Instant,
        handle: Handle,
        onward: &Onward<'_>,
        aim: Aim<'_>,
        breadth: Option<u16>,
        out: &mut Outbox,
    ) -> Result<(), Unsent> {
        let Some(branch) = self.contexts.branch(handle.index) else { return Err(Unsent::NoWay) };
        let (to, from) = (branch.to, branch.from);
        if is_forbidden(to.addr) {
            return Err(Unsent::NoWay);
        }
        let (text, seal) = BranchText::new(
            &self.setup.keys.branch,
            Token { core: self.setup.core, handle },
            onward.loop_hash,
        );
        let mut reply = out.reply();
        let is_written = put_request(
            &self.setup,
            &mut self.tools,
            onward,
            aim,
            to.addr,
            from,
            &text,
            breadth,
            &mut reply,
        );
        if !reply.fits() {
            return Err(Unsent::TooLarge);
        }
        if !is_written {
            return Err(Unsent::NoWay);
        }
        let kept = self.contexts.keep(reply.written())?;
        let Some(branch) = self.contexts.branch_mut(handle.index) else {
            // What made room was settled, and this is not.
            self.contexts.drop(Some(kept));
            return Err(Unsent::Full);
        };
        branch.request = Some(kept);
        branch.seal = seal;
        branch.client = match onward.message.cseq().method {
            Method::Invite => Client::Invite(client::InviteState::Calling),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Options
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other(_) => Client::Other(client::State::Trying),
        };
        // RFC 3261 17.1.1.2 and 17.1.2.2: Timers A and B, or E and F.
        branch.timers.resend = now.plus(T1);
        branch.timers.interval = 1;
        branch.timers.end = now.plus(LIFETIME);
        self.contexts.arm_branch(handle.index);
        self.metrics.branches += 1;
        if reply.send(to, from) { Ok(()) } else { Err(Unsent::NoWay) }
    }

    /// Makes a branch that waits for the addresses of its next hop.
    #[allow(clippy::too_many_arguments, reason = "what a branch is made of, and the name")]
    fn ask(
        &mut self,
        now: Instant,
        id: u32,
        onward: &Onward<'_>,
        aim: Aim<'_>,
        breadth: Option<u16>,
        (name, port): (&[u8], u16),
        out: &mut Outbox,
    ) -> Result<(), Unsent> {
        // The port stays with the branch until its address is known.
        let to = Peer::udp(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port));
        let mut branch = new_branch(id, onward, to, onward.local);
        if let Aim::Binding(record) = aim {
            self.tools.texts.target.clear();
            if !record.append(&mut self.tools.texts.target) {
                return Err(Unsent::NoWay);
            }
            branch.request = Some(self.contexts.keep(&self.tools.texts.target)?);
        }
        branch.timers.end = now.plus(NAME_PATIENCE);
        // Its share of the breadth stays with it where the interval will be; none is 0, and less than it may have is no harm.
        branch.timers.interval = breadth.map_or(0, |share| u8::try_from(share).unwrap_or(u8::MAX));
        let target = branch.request;
        let handle = match self.contexts.add_branch(branch) {
            Ok(handle) => handle,
            Err(Full) => {
                self.contexts.drop(target);
                return Err(Unsent::Full);
            }
        };
        self.contexts.arm_branch(handle.index);
        self.metrics.names += 1;
        let mut question = out.reply();
        question.put(name);
        if question.ask(targets::ticket(handle)) {
            return Ok(());
        }
        self.contexts.end_branch(handle.index);
        Err(Unsent::NoWay)
    }
}

/// A branch of a context that is not sent yet.
pub(super) fn new_branch(context: u32, onward: &Onward<'_>, to: Peer, from: LocalAddr) -> Branch {
    debug_assert!(context != NONE || onward.message.cseq().method == Method::Ack);
    Branch {
        context,
        next: NONE,
        client: Client::Resolving,
        method: method_hash(onward.message.cseq().method),
        seal: Seal::NONE,
        to,
        from,
        request: None,
        further: None,
        cancel: Cancel::No,
        timers: Timers::NONE,
    }
}

/// The loop hash of a request, RFC 3261 16.6 step 8. `call` is a keyed hash of its Call-ID.
pub(super) fn hash(
    setup: &Setup,
    call: u64,
    message: &Message<'_>,
    plan: &Plan<'_>,
    uri: &Uri<'_>,
) -> u64 {
    let is_led_elsewhere = plan.route.is_some() || plan.is_uri_changed;
    loop_hash(&setup.loop_key, call, message, uri.raw, is_led_elsewhere)
}

/// Writes a request as it goes to its next hop `to`, RFC 3261 16.6.
#[allow(clippy::too_many_arguments, reason = "each is another part of what is written")]
pub(super) fn put_request(
    setup: &Setup,
    tools: &mut Tools,
    onward: &Onward<'_>,
    aim: Aim<'_>,
    to: SocketAddr,
    from: LocalAddr,
    branch: &BranchText,
    breadth: Option<u16>,
    reply: &mut crate::io::Reply<'_>,
) -> bool {
    let Onward { message, plan, source, local, .. } = *onward;
    let Tools { edits, texts, .. } = tools;
    let Texts { vias, record_routes, route_after, cookie, uri: target, .. } = texts;
    let [out_text, in_text] = vias;
    let Some(out_via) = setup.via(from, out_text) else { return false };
    record_routes.iter_mut().for_each(Vec::clear);
    let contact = aim.contact();
    if onward.begins_dialog() {
        let from_tag = message.from().tag.unwrap_or_default();
        let (caller, callee) = (onward.caller(), aim.callee(to, contact.as_ref()));
        let keys = &setup.keys.cookies;
        Cookie::new(from_tag, &caller, &callee, keys).write(keys, message.call_id(), cookie);
        let Some(in_via) = setup.via(local, in_text) else { return false };
        // RFC 5658 3: a change of address family or listener is recorded on both sides, the side it leaves by on top.
        let is_double = in_via != out_via;
        let vias = [Some(out_via), is_double.then_some(in_via)];
        for (text, via) in record_routes.iter_mut().zip(vias) {
            let Some(name) = via.and_then(|via| via.strip_prefix(VIA_START)) else { break };
            let double: &[u8] = if is_double { b";r2=on" } else { b"" };
            for part in [b"<sip:", name, RECORD_ROUTE_PARAMS, double, cookie.as_bytes(), b">"] {
                text.extend_from_slice(part);
            }
        }
    }
    route_after.clear();
    if let Some(uri) = plan.route_after {
        for part in [b"<", uri, b">"] {
            route_after.extend_from_slice(part);
        }
    }
    let (uri, routes_before) = match aim {
        Aim::Binding(record) => {
            let contact = contact.as_ref().and_then(|contact| request_uri(contact, target));
            let Some(contact) = contact else { return false };
            let first = first_value(record.path);
            let is_strict =
                !first.is_empty() && Uri::parse(first).is_ok_and(|uri| uri.param(b"lr").is_none());
            if is_strict {
                // RFC 3261 16.6 step 6: a strict router finds itself in the Request-URI, and the target behind all Routes.
                for part in [b"<", contact, b">"] {
                    route_after.extend_from_slice(part);
                }
                (Some(first), behind_first(record.path))
            } else {
                (Some(contact), record.path)
            }
        }
        Aim::Destination(_) => (plan.is_uri_changed.then_some(plan.uri.raw), &[][..]),
    };
    let passing = write::Passing {
        uri,
        via: out_via,
        branch,
        record_routes: [&record_routes[0], &record_routes[1]],
        routes_removed: plan.routes_removed,
        is_only_route_removed: plan.is_only_route_removed,
        route_removed_last: plan.is_last_route_removed,
        routes_before,
        route_after,
        // RFC 3261 16.6 step 3. Zero was refused.
        max_forwards: message.max_forwards().map_or(MAX_FORWARDS, |hops| hops.saturating_sub(1)),
        max_breadth: breadth.map(u32::from),
        source: source.addr,
        is_identity_removed: identity::is_asserted(message)
            && !setup.policy.is_identity_trusted(source.addr.ip()),
    };
    write::request(message, &passing, edits, reply)
}
