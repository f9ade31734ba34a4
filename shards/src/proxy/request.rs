//! A request that is not for the registrar: whether it is known already, whether it may pass, and where it goes. It answers what is
//! refused, statelessly, before anything is kept.

use super::branch::is_loop;
use super::contexts::{Best, Context, NONE, Server, Timers, Waits};
use super::decide::{Destination, Origin, Sender};
use super::forward::{self, Aim, MAX_BREADTH, Onward, Unsent};
use super::route::{Names, Plan, SIP_PORT, plan};
use super::targets::{self, Letter};
use super::{Around, Proxy};
use crate::auth::{self, Denied};
use crate::io::{
    Class, Datagram, Instant, LocalAddr, Outbox, Outcome, Reason, Reply, UnixTime, Verdict,
};
use crate::location::HomeHash;
use crate::store::Full;
use crate::transaction::{Fingerprint, Identity, server};
use crate::uas::{self, Caller, Refusal};
use crate::wire::{HeaderId, Message, Method, Uri, Via};
use alloc::sync::Arc;
use core::time::Duration;

/// How long another core's answer is waited for before it is asked again.
pub(super) const LOOK_UP_PATIENCE: Duration = Duration::from_millis(250);

/// A request, with what is known of it besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Request<'m> {
    /// The request.
    pub message: &'m Message<'m>,
    /// Its method.
    pub method: Method<'m>,
    /// Its Request-URI.
    pub uri: &'m Uri<'m>,
    /// How it arrived.
    pub datagram: Datagram<'m>,
    /// The way back.
    pub caller: &'m Caller<'m>,
    /// The wall clock's time.
    pub wall: UnixTime,
    /// The keyed hash of its Call-ID.
    pub hash: HomeHash,
    /// By what its transactions are told from those of other senders.
    pub home: u64,
}

impl Request<'_> {
    /// What stands for the transaction of a method that this request is part of.
    pub(super) fn fingerprint(&self, key: &[u8; 16], method: &[u8]) -> Fingerprint {
        Fingerprint::new(key, self.home, &Identity::of(self.message, method))
    }

    fn class(&self) -> Class {
        if self.message.to().tag.is_some() {
            Class::InDialog
        } else if self.method == Method::Invite {
            Class::Invite
        } else {
            Class::Request
        }
    }
}

/// What becomes of a request that is not refused.
enum Passed {
    /// It went on, or waits.
    On(Verdict),
    /// It was for this server, and was answered.
    Answered(Verdict),
}

impl Proxy {
    /// Takes a request.
    #[inline(never)]
    pub fn request(&mut self, request: &Request<'_>, around: &mut Around<'_>) -> Outcome {
        match request.method {
            Method::Ack => return self.ack(request, around),
            Method::Cancel => return self.cancel(request, around),
            Method::Invite
            | Method::Bye
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
            | Method::Other(_) => {}
        }
        let key = &self.setup.keys.transaction;
        let fingerprint = request.fingerprint(key, request.method.name());
        // What is answered first: it may have branches that are still pending.
        if request.method != Method::Invite
            && let Some(answer) = around.completed.find(around.now, fingerprint)
        {
            // RFC 3261 17.2.2: the same bytes again, the same way.
            let mut reply = around.out.reply();
            reply.put(answer.response);
            let is_sent = reply.send(answer.to, answer.from);
            let lost = Verdict::Dropped(Reason::ResponseTooLarge);
            let verdict = if is_sent { Verdict::Replied } else { lost };
            return Outcome { class: Class::Duplicate, verdict };
        }
        if let Some(id) = self.contexts.find(fingerprint) {
            return self.repeated(id, request, around.out);
        }
        let class = request.class();
        match self.admit(request, fingerprint, around) {
            Ok(Passed::On(verdict)) => Outcome { class, verdict },
            Ok(Passed::Answered(verdict)) => Outcome { class: Class::Options, verdict },
            Err(Denied::Refused(refusal)) => {
                let Request { caller, message, .. } = request;
                let verdict = uas::refuse(caller, Some(message), refusal, around.out);
                Outcome { class: Class::Refusal, verdict }
            }
            Err(Denied::Challenged(verdict)) => {
                Outcome { class: Class::RequestChallenged, verdict }
            }
        }
    }

    /// A request that is being passed on has come again.
    fn repeated(&mut self, id: u32, request: &Request<'_>, out: &mut Outbox) -> Outcome {
        let absorbed = Outcome { class: Class::Duplicate, verdict: Verdict::Absorbed };
        let Some(context) = self.contexts.context(id) else { return absorbed };
        let event = server::Event::Request;
        let (_, action) = context.server.on(event);
        if action != server::Action::SendAgain {
            return absorbed;
        }
        let reply = match context.last {
            Some(last) => {
                let mut reply = out.reply();
                reply.put(self.contexts.bytes(last));
                Some(reply)
            }
            None if context.server == Server::Invite(server::InviteState::Proceeding) => {
                trying(request, out)
            }
            None => None,
        };
        let Some(reply) = reply else { return absorbed };
        let is_sent = reply.send(context.reply_to, context.local);
        debug_assert!(is_sent, "it was sent before");
        self.metrics.retransmissions += 1;
        Outcome { class: Class::Duplicate, verdict: Verdict::Forwarded }
    }

    /// Lets a request pass, RFC 3261 16.3 to 16.6.
    fn admit(
        &mut self,
        request: &Request<'_>,
        fingerprint: Fingerprint,
        around: &mut Around<'_>,
    ) -> Result<Passed, Denied<Verdict>> {
        let Request { message, datagram, uri, .. } = *request;
        // Before any work: only what is pending can fill the tables.
        if !self.contexts.has_room() {
            return Err(Denied::Refused(Refusal::TransactionsFull));
        }
        let source = datagram.from;
        let mut plan = plan(message, uri, source.addr.ip(), &self.setup.names(datagram.to))
            .map_err(Denied::Refused)?;
        self.follow(request, &mut plan);
        let loop_hash = forward::hash(&self.setup, request.hash.seed, message, &plan, uri);
        let breadth = self.validate(message, loop_hash, datagram.to).map_err(Denied::Refused)?;
        let origin = self.origin(request, &plan, fingerprint, around)?;
        self.metrics.bad_cookies += u64::from(plan.is_cookie_bad && plan.cookie.is_none());
        let is_from_user = matches!(origin, Origin::Known | Origin::Claimed);
        let (plan, local) = (&plan, datagram.to);
        let onward = Onward { message, plan, loop_hash, source, local, is_from_user };
        self.pass(request, fingerprint, origin, breadth, &onward, around)
    }

    /// RFC 3261 16.3, without the syntax, which was read, and the credentials. Gives how many branches there may be at a time.
    fn validate(
        &self,
        message: &Message<'_>,
        loop_hash: u64,
        to: LocalAddr,
    ) -> Result<u16, Refusal> {
        if message.max_forwards() == Some(0) {
            return Err(Refusal::TooManyHops);
        }
        // RFC 5393 4.2.1.
        let names = self.setup.names(to);
        let is_ours = |via: &Via<'_>| {
            let port = via.port.unwrap_or(SIP_PORT);
            let is_own = via.host.ip().is_some_and(|ip| names.is_own_socket((ip, port).into()));
            is_own || names.is_advertised(via.host.raw(), via.port)
        };
        if is_loop(message, loop_hash, is_ours).map_err(Refusal::Malformed)? {
            return Err(Refusal::LoopDetected);
        }
        let breadth = forward::max_breadth(message);
        if breadth == Some(0) {
            return Err(Refusal::BreadthExceeded);
        }
        uas::check_extensions(message, HeaderId::ProxyRequire)?;
        Ok(breadth.unwrap_or(MAX_BREADTH))
    }

    /// Whose the request is; it may have to be shown, RFC 3261 16.3 step 6.
    fn origin(
        &mut self,
        request: &Request<'_>,
        plan: &Plan<'_>,
        fingerprint: Fingerprint,
        around: &mut Around<'_>,
    ) -> Result<Origin, Denied<Verdict>> {
        let Request { message, datagram, uri, caller, .. } = *request;
        let asks = self.asks(datagram.to);
        let names = self.setup.names(datagram.to);
        let from = &mut self.tools.from;
        let key = &self.setup.keys.home;
        let sender = names
            .sender(message, plan, datagram.from.addr.ip(), asks, key, from, &mut ())
            .map_err(Denied::Refused)?;
        let Some(authenticator) = (match sender {
            Sender::Is(origin) => return Ok(origin),
            Sender::Owes => self.authenticator.as_mut(),
        }) else {
            return Ok(Origin::Claimed);
        };
        let asked = auth::Request {
            message,
            method: request.method.name(),
            uri,
            aor: from,
            salt: fingerprint.low(),
        };
        match authenticator.authenticate(around.now, request.wall, &asked) {
            Ok(()) => {
                if plan.cookie.is_some() {
                    // What is sent next may be an ACK, which can't be asked.
                    self.moved.remember(request.hash, datagram.from.addr.ip());
                }
                Ok(Origin::Known)
            }
            Err(Denied::Refused(refusal)) => Err(Denied::Refused(refusal)),
            Err(Denied::Challenged(challenge)) => {
                self.metrics.challenged[challenge.cause.index()] += 1;
                Err(Denied::Challenged(authenticator.challenge(caller, &challenge, around.out)))
            }
        }
    }

    /// Trusts a request within a dialog whose user has moved and has shown that.
    pub(super) fn follow(&self, request: &Request<'_>, plan: &mut Plan<'_>) {
        if plan.cookie.is_some() && !plan.is_trusted {
            plan.is_trusted = self.moved.has(request.hash, request.datagram.from.addr.ip());
        }
    }

    /// Whether users of ours have to show who they are where a request has arrived.
    pub(super) fn asks(&self, to: LocalAddr) -> bool {
        let listener = self.setup.policy.listeners.get(usize::from(to.listener.0));
        self.authenticator.is_some() && listener.is_none_or(|one| one.challenges)
    }

    /// Finds out where a request goes, takes it on and sends it there.
    fn pass(
        &mut self,
        request: &Request<'_>,
        fingerprint: Fingerprint,
        origin: Origin,
        breadth: u16,
        onward: &Onward<'_>,
        around: &mut Around<'_>,
    ) -> Result<Passed, Denied<Verdict>> {
        // A next hop may be named in the setup, which outlives this.
        let setup = Arc::clone(&self.setup);
        let names = setup.names(onward.local);
        let destination = destination(onward, origin, &names, &setup.keys.home, &mut self.tools.to);
        match destination.map_err(Denied::Refused)? {
            Destination::Server => {
                let here = self.setup.here(onward.local);
                uas::serve(request.message, request.method, &onward.plan.uri, &here)
                    .map_err(Denied::Refused)?;
                Ok(Passed::Answered(uas::options(request.caller, around.out)))
            }
            Destination::User => {
                let hash = self.tools.to.hash();
                self.pass_to_user(request, fingerprint, hash, breadth, onward, around)
            }
            destination @ (Destination::Hop(_) | Destination::Flow(_)) => {
                let id = self.open(request, fingerprint, breadth, onward.is_from_user, None)?;
                send_trying(request, around.out);
                let aim = Aim::Destination(destination);
                let each = onward.max_breadth();
                let sent = self.branch(around.now, id, onward, aim, each, around.out);
                Ok(Passed::On(self.passed(id, sent, around)))
            }
        }
    }

    /// Sends a request to the bindings of a user of ours, or asks the core that has them.
    fn pass_to_user(
        &mut self,
        request: &Request<'_>,
        fingerprint: Fingerprint,
        hash: HomeHash,
        breadth: u16,
        onward: &Onward<'_>,
        around: &mut Around<'_>,
    ) -> Result<Passed, Denied<Verdict>> {
        let home = self.setup.homes.home(hash.place);
        if home != self.setup.core {
            let id = self.open(request, fingerprint, breadth, onward.is_from_user, None)?;
            send_trying(request, around.out);
            if let Some(context) = self.contexts.context_mut(id) {
                context.waits = Waits::Location { attempts: 0 };
            }
            self.look_up(around.now, id, hash, around.out);
            return Ok(Passed::On(Verdict::Held));
        }
        if let Some(only) = targets::only(around.location, hash, around.now) {
            // It is used up at once, so that there is no set to keep.
            let id = self.open(request, fingerprint, breadth, onward.is_from_user, None)?;
            send_trying(request, around.out);
            let (aim, each) = (Aim::Binding(only), onward.max_breadth());
            let sent = self.branch(around.now, id, onward, aim, each, around.out);
            return Ok(Passed::On(self.passed(id, sent, around)));
        }
        let super::Tools { set, order, .. } = &mut self.tools;
        set.clear();
        targets::write(around.location, hash, around.now, set, order);
        if set.is_empty() {
            return Err(Denied::Refused(self.nobody()));
        }
        let set = core::mem::take(&mut self.tools.set);
        let kept = self.contexts.keep(&set);
        self.tools.set = set;
        let kept = kept.map_err(|Full| Denied::Refused(Refusal::TransactionsFull))?;
        let id = self.open(request, fingerprint, breadth, onward.is_from_user, Some(kept))?;
        send_trying(request, around.out);
        let sent = self.next_targets(around.now, id, onward, around.out);
        Ok(Passed::On(self.passed(id, sent, around)))
    }

    /// What a request gets for whom there is no binding. The user that was looked for is in the tools.
    pub(super) fn nobody(&self) -> Refusal {
        let known = self.authenticator.as_ref().map(|one| one.knows(&self.tools.to));
        // RFC 3261 16.5 and 21.4.5: who does not exist is not found; who exists, or may, is just not there.
        if known == Some(false) { Refusal::NotFound } else { Refusal::TemporarilyUnavailable }
    }

    /// Asks the core that has an address-of-record for its bindings.
    pub(super) fn look_up(&mut self, now: Instant, id: u32, hash: HomeHash, out: &mut Outbox) {
        let (Some(ticket), Some(context)) =
            (self.contexts.handle(id), self.contexts.context_mut(id))
        else {
            return;
        };
        let Waits::Location { attempts } = context.waits else { return };
        context.waits = Waits::Location { attempts: attempts + 1 };
        context.timers.resend = now.plus(LOOK_UP_PATIENCE * 2_u32.pow(u32::from(attempts)));
        self.contexts.arm(id);
        self.metrics.look_ups += 1;
        self.metrics.look_ups_repeated += u64::from(attempts > 0);
        let mut letter = out.reply();
        Letter::LookUp { asker: self.setup.core, ticket, hash }.put(&mut |bytes| letter.put(bytes));
        // Where it can't be posted the timer tries again.
        let _ = letter.post(self.setup.homes.home(hash.place));
    }

    /// Takes a request on.
    fn open(
        &mut self,
        request: &Request<'_>,
        fingerprint: Fingerprint,
        breadth: u16,
        is_from_user: bool,
        targets: Option<crate::store::Ref>,
    ) -> Result<u32, Denied<Verdict>> {
        let full = |Full| Denied::Refused(Refusal::TransactionsFull);
        let Request { datagram, caller, hash, .. } = *request;
        let kept = match self.contexts.keep(datagram.bytes) {
            Ok(kept) => kept,
            Err(error) => {
                self.contexts.drop(targets);
                return Err(full(error));
            }
        };
        let is_invite = request.method == Method::Invite;
        let server = if is_invite {
            Server::Invite(server::InviteState::Proceeding)
        } else {
            Server::Other(server::State::Trying)
        };
        let opened = self.contexts.open(Context {
            fingerprint,
            server,
            source: datagram.from,
            reply_to: caller.destination(),
            local: datagram.to,
            seed: hash.seed,
            request: Some(kept),
            waits: Waits::Nothing,
            targets,
            targets_at: 0,
            best: None,
            last: None,
            first: NONE,
            pending: 0,
            breadth,
            is_cancelled: false,
            is_from_user,
            timers: Timers::NONE,
        });
        if opened.is_err() {
            self.contexts.drop(targets);
        }
        opened.map_err(full)
    }

    /// What became of a request that was taken on.
    pub(super) fn passed(
        &mut self,
        id: u32,
        sent: Result<Verdict, Unsent>,
        around: &mut Around<'_>,
    ) -> Verdict {
        let unsent = match sent {
            Ok(verdict) => return verdict,
            Err(unsent) => unsent,
        };
        self.metrics.unreachable += u64::from(unsent == Unsent::NoWay);
        let status = unsent.status();
        self.answer(id, Best { status, response: None }, around);
        Verdict::Refused(status)
    }
}

/// Sends a 100 to an INVITE, RFC 3261 17.2.1. It is not kept: whoever sends the INVITE again has brought what it is made of.
fn send_trying(request: &Request<'_>, out: &mut Outbox) {
    if request.method == Method::Invite
        && let Some(reply) = trying(request, out)
    {
        let _ = reply.send(request.caller.destination(), request.datagram.to);
    }
}

/// Writes the 100 to an INVITE.
fn trying<'o>(request: &Request<'_>, out: &'o mut Outbox) -> Option<Reply<'o>> {
    let mut response = request.caller.respond(out, 100, "Trying")?;
    // RFC 3261 8.2.6.1 and 16.2.
    for timestamp in request.message.lines(HeaderId::Timestamp) {
        response.put(timestamp.raw);
    }
    Some(response.finish())
}

/// Where a request goes, by what is in it.
pub(super) fn destination<'m>(
    onward: &Onward<'m>,
    origin: Origin,
    names: &'m Names<'m>,
    key: &[u8; 16],
    aor: &mut crate::location::Aor,
) -> Result<Destination<'m>, Refusal> {
    let from_tag = onward.message.from().tag.unwrap_or_default();
    names.destination(onward.plan, origin, from_tag, key, aor, &mut ())
}

impl Server {
    /// The state and what to do after an event.
    pub(super) fn on(self, event: server::Event) -> (Server, server::Action) {
        match self {
            Server::Invite(state) => {
                let (state, action) = state.on(event);
                (Server::Invite(state), action)
            }
            Server::Other(state) => {
                let (state, action) = state.on(event);
                (Server::Other(state), action)
            }
        }
    }
}
