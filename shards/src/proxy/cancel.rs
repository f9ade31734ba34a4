//! CANCEL and ACK: requests that belong to another one, RFC 3261 9 and 17.1.1.3. A CANCEL is answered by every proxy on its way; an
//! ACK is answered by nobody.

use super::branch::{BranchText, Seal, stateless_seed};
use super::contexts::{Best, Branch, Cancel, Client, NONE, Server, Timers, Waits};
use super::decide::{Destination, Sender};
use super::forward::{self, Aim, Onward};
use super::request::{self, Request};
use super::route::{Hop, is_forbidden, plan};
use super::targets;
use super::{Around, Proxy, Setup};
use crate::io::{Class, Instant, LocalAddr, Outbox, Outcome, Peer, Reason, Verdict};
use crate::location::Record;
use crate::store::Handle;
use crate::transaction::{T4, server};
use crate::uas::{self, Refusal};
use crate::wire::StartLine;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// How long an ACK waits for the address of its next hop: the UA sends it again with the next 2xx.
const ACK_PATIENCE: Duration = Duration::from_secs(4);

impl Proxy {
    /// Takes a CANCEL, RFC 3261 9.2 and 16.10.
    pub(super) fn cancel(&mut self, request: &Request<'_>, around: &mut Around<'_>) -> Outcome {
        let fingerprint = request.fingerprint(&self.setup.keys.transaction, b"INVITE");
        let Request { caller, message, .. } = request;
        let found = self.contexts.find(fingerprint).or_else(|| self.cancelled_in_vain(request));
        let Some(id) = found else {
            // RFC 3261 16.10: without its INVITE it could only be sent somewhere on suspicion.
            let verdict = uas::refuse(caller, Some(message), Refusal::NoTransaction, around.out);
            return Outcome { class: Class::Refusal, verdict };
        };
        // It is answered in any case, and again where it comes again.
        let verdict = match caller.respond(around.out, 200, "OK") {
            Some(response) => caller.send(response.finish(), Verdict::Replied),
            None => Verdict::Dropped(Reason::BadRequest),
        };
        let outcome = Outcome { class: Class::Cancel, verdict };
        let Some(context) = self.contexts.context_mut(id) else { return outcome };
        if matches!(context.server, Server::Other(_))
            || !context.server.is_open()
            || core::mem::replace(&mut context.is_cancelled, true)
        {
            return outcome;
        }
        context.waits = Waits::Nothing;
        context.timers.resend = Instant::NEVER;
        let targets = context.targets.take();
        self.contexts.drop(targets);
        self.cancel_branches(id, around);
        if self.contexts.context(id).is_some_and(|context| context.pending == 0) {
            // Nobody was asked yet, so nobody answers 487.
            let nobody = Best { status: 487, response: None };
            let best = self.contexts.context_mut(id).and_then(|context| context.best.take());
            self.answer(id, best.unwrap_or(nobody), around);
        }
        outcome
    }

    /// What is pending with the branch of a CANCEL and is no INVITE: RFC 3261 9.1 and 9.2, it is answered and has no effect.
    fn cancelled_in_vain(&self, request: &Request<'_>) -> Option<u32> {
        const METHODS: [&[u8]; 10] = [
            b"OPTIONS",
            b"BYE",
            b"MESSAGE",
            b"SUBSCRIBE",
            b"NOTIFY",
            b"PUBLISH",
            b"INFO",
            b"REFER",
            b"UPDATE",
            b"PRACK",
        ];
        let key = &self.setup.keys.transaction;
        METHODS.iter().find_map(|method| self.contexts.find(request.fingerprint(key, method)))
    }

    /// Takes an ACK.
    pub(super) fn ack(&mut self, request: &Request<'_>, around: &mut Around<'_>) -> Outcome {
        let fingerprint = request.fingerprint(&self.setup.keys.transaction, b"INVITE");
        let absorbed = Outcome { class: Class::Ack, verdict: Verdict::Absorbed };
        if let Some(id) = self.contexts.find(fingerprint)
            && let Some(context) = self.contexts.context_mut(id)
        {
            let (server, action) = context.server.on(server::Event::Ack);
            context.server = server;
            match action {
                server::Action::Linger => {
                    // RFC 3261 17.2.1: Timer I.
                    context.timers.resend = Instant::NEVER;
                    context.timers.end = around.now.plus(T4);
                    let last = context.last.take();
                    self.contexts.drop(last);
                    self.contexts.arm(id);
                    return absorbed;
                }
                // RFC 6026 7.1: some acknowledge a 2xx with the branch of the INVITE.
                server::Action::PassAck => {}
                server::Action::Nothing
                | server::Action::Send
                | server::Action::SendOnce
                | server::Action::SendAgain
                | server::Action::Forget => return absorbed,
            }
        }
        let Request { datagram, message, uri, .. } = *request;
        let setup = Arc::clone(&self.setup);
        let names = setup.names(datagram.to);
        // What can't be read can't be answered either.
        let dropped = |reason| Outcome { class: Class::Ack, verdict: Verdict::Dropped(reason) };
        let source = datagram.from;
        let Ok(mut plan) = plan(message, uri, source.addr.ip(), &names) else {
            return dropped(Reason::BadRequest);
        };
        if plan.cookie.is_none() {
            // The ACK of a refusal, or of nothing: only a cookie says that it has somewhere to go.
            return absorbed;
        }
        if message.max_forwards() == Some(0) {
            return dropped(Reason::TooManyHops);
        }
        self.follow(request, &mut plan);
        let asks = self.asks(datagram.to);
        let (key, from) = (&setup.keys.home, &mut self.tools.from);
        let sender = names.sender(message, &plan, source.addr.ip(), asks, key, from, &mut ());
        let origin = match sender {
            Ok(Sender::Is(origin)) => origin,
            // RFC 3261 22.1: nobody is asked for the credentials of an ACK. It is that of the challenge which its INVITE has got.
            Ok(Sender::Owes) | Err(_) => return absorbed,
        };
        let onward = Onward {
            message,
            plan: &plan,
            loop_hash: 0,
            source,
            local: datagram.to,
            is_from_user: false,
        };
        let destination =
            request::destination(&onward, origin, &names, &setup.keys.home, &mut self.tools.to);
        let verdict = match destination {
            Ok(Destination::Hop(Hop::Address(addr))) => {
                match setup.local_for(addr, datagram.to, plan.leaves_by) {
                    Some(from) => self.pass_ack(&onward, Peer::udp(addr), from, around.out),
                    None => Verdict::Dropped(Reason::NoWay),
                }
            }
            Ok(Destination::Flow(flow)) => self.pass_ack(&onward, flow.to, flow.from, around.out),
            Ok(Destination::Hop(Hop::Name(name, port))) => {
                self.hold_ack(&onward, name, port, around)
            }
            Ok(Destination::User) => self.ack_to_user(&onward, around),
            Ok(Destination::Server) => Verdict::Absorbed,
            Err(_) => Verdict::Dropped(Reason::NoWay),
        };
        Outcome { class: Class::Ack, verdict }
    }

    /// Sends an ACK on, statelessly, RFC 3261 16.11.
    fn pass_ack(
        &mut self,
        onward: &Onward<'_>,
        to: Peer,
        from: LocalAddr,
        out: &mut Outbox,
    ) -> Verdict {
        let destination = Destination::Hop(Hop::Address(to.addr));
        self.put_ack(onward, Aim::Destination(destination), to, from, out)
    }

    fn put_ack(
        &mut self,
        onward: &Onward<'_>,
        aim: Aim<'_>,
        to: Peer,
        from: LocalAddr,
        out: &mut Outbox,
    ) -> Verdict {
        if is_forbidden(to.addr) {
            return Verdict::Dropped(Reason::NoWay);
        }
        let branch = stateless_branch(&self.setup, onward);
        let mut reply = out.reply();
        let breadth = onward.max_breadth();
        let is_written = forward::put_request(
            &self.setup,
            &mut self.tools,
            onward,
            aim,
            to.addr,
            from,
            &branch,
            breadth,
            &mut reply,
        );
        if is_written && reply.send(to, from) {
            self.metrics.acks += 1;
            Verdict::Forwarded
        } else {
            Verdict::Dropped(Reason::NoWay)
        }
    }

    /// An ACK whose Request-URI is one of our users, for a contact that is one: the first of the bindings that this core has.
    fn ack_to_user(&mut self, onward: &Onward<'_>, around: &mut Around<'_>) -> Verdict {
        let hash = self.tools.to.hash();
        let super::Tools { set, order, .. } = &mut self.tools;
        set.clear();
        targets::write(around.location, hash, around.now, set, order);
        let set = core::mem::take(&mut self.tools.set);
        let verdict = match targets::first(&set) {
            Some(target) if !target.record.from.addr.ip().is_unspecified() => {
                let record = target.record;
                self.put_ack(onward, Aim::Binding(record), record.from, record.to, around.out)
            }
            Some(_) | None => Verdict::Dropped(Reason::NoWay),
        };
        self.tools.set = set;
        verdict
    }

    /// Keeps an ACK until the address of its next hop is known. It is kept as it came, with where it came from.
    fn hold_ack(
        &mut self,
        onward: &Onward<'_>,
        name: &[u8],
        port: u16,
        around: &mut Around<'_>,
    ) -> Verdict {
        let dropped = Verdict::Dropped(Reason::NoWay);
        let record = Record {
            contact: onward.message.bytes(),
            params: b"",
            path: b"",
            call_id: b"",
            from: onward.source,
            to: onward.local,
        };
        self.tools.set.clear();
        if !record.append(&mut self.tools.set) {
            return dropped;
        }
        let Ok(kept) = self.contexts.keep(&self.tools.set) else { return dropped };
        let mut timers = Timers::NONE;
        timers.end = around.now.plus(ACK_PATIENCE);
        let branch = Branch {
            context: NONE,
            next: NONE,
            client: Client::Resolving,
            method: 0,
            seal: Seal::NONE,
            to: Peer::udp(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)),
            from: onward.local,
            request: Some(kept),
            further: None,
            cancel: Cancel::No,
            timers,
        };
        let Ok(handle) = self.contexts.add_branch(branch) else {
            self.contexts.drop(Some(kept));
            return dropped;
        };
        self.contexts.arm_branch(handle.index);
        self.metrics.names += 1;
        let mut question = around.out.reply();
        question.put(name);
        if question.ask(targets::ticket(handle)) {
            return Verdict::Held;
        }
        self.contexts.end_branch(handle.index);
        dropped
    }

    /// Sends an ACK whose next hop has an address now.
    pub(super) fn ack_resolved(
        &mut self,
        handle: Handle,
        addresses: &[IpAddr],
        around: &mut Around<'_>,
    ) -> Verdict {
        let dropped = Verdict::Dropped(Reason::NoWay);
        let Some(branch) = self.contexts.branch(handle.index) else { return dropped };
        let (port, arrived, kept) = (branch.to.addr.port(), branch.from, branch.request);
        self.tools.set.clear();
        if let Some(kept) = kept {
            self.tools.set.extend_from_slice(self.contexts.bytes(kept));
        }
        self.contexts.end_branch(handle.index);
        let Some((to, from)) = self.choose(addresses, port, arrived) else { return dropped };
        let Some(mut reader) = self.requests.take() else { return dropped };
        let record = Record::decode(&self.tools.set);
        let (source, local) = (record.from, record.to);
        let setup = Arc::clone(&self.setup);
        let verdict = reader.read(record.contact).and_then(|message| {
            let StartLine::Request { uri, .. } = message.start_line() else { return None };
            let plan = plan(&message, uri, source.addr.ip(), &setup.names(local)).ok()?;
            let (message, plan) = (&message, &plan);
            let is_from_user = false;
            let onward = Onward { message, plan, loop_hash: 0, source, local, is_from_user };
            Some(self.pass_ack(&onward, Peer::udp(to), from, around.out))
        });
        self.requests = Some(reader);
        verdict.unwrap_or(dropped)
    }
}

/// The branch of a request that is passed on without a transaction, RFC 3261 16.11: the same for what is sent again.
fn stateless_branch(setup: &Setup, onward: &Onward<'_>) -> BranchText {
    BranchText::stateless(stateless_seed(&setup.loop_key, onward.message, onward.plan.uri.raw))
}
