//! What comes back for a branch: responses, ICMP errors, the addresses of its next hop, and what another core has found. It finds the
//! branch and tells its client transaction; what goes upstream is decided in `upstream`.

use super::branch::{self, Claim};
use super::contexts::{Best, Cancel, Client, Context, NONE, Server, Waits, method_hash};
use super::decide::Destination;
use super::forward::{self, Aim, Onward, Unsent};
use super::route::{is_forbidden, plan};
use super::targets::{self, Letter};
use super::{Around, Proxy, identity, write};
use crate::io::{Class, CoreId, Instant, Outbox, Outcome, Peer, Reason, Unreachable, Verdict};
use crate::location::Record;
use crate::store::{Full, Handle};
use crate::transaction::{LIFETIME, client, server};
use crate::uas::Refusal;
use crate::wire::{Message, Method, StartLine};
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use memchr::memmem;

impl Proxy {
    /// Takes a response, RFC 3261 16.7.
    #[inline(never)]
    pub fn response(&mut self, message: &Message<'_>, around: &mut Around<'_>) -> Outcome {
        let StartLine::Response { status, .. } = *message.start_line() else {
            unreachable!("it is a response")
        };
        let Some(id) = message.branch().and_then(|branch| self.branch_of(branch)) else {
            // RFC 6026 7.2: a response without a transaction goes nowhere.
            return dropped(Reason::NoTransaction);
        };
        let Some(branch) = self.contexts.branch_mut(id) else {
            return dropped(Reason::NoTransaction);
        };
        if identity::is_asserted(message)
            && !self.setup.policy.is_identity_trusted(branch.to.addr.ip())
        {
            return self.response_of_unknown_identity(message, around);
        }
        let method = message.cseq().method;
        if method == Method::Cancel {
            if branch.cancel != Cancel::Sent {
                return dropped(Reason::NoTransaction);
            }
            if status >= 200 {
                branch.cancel = Cancel::Answered;
                branch.timers.resend = Instant::NEVER;
            }
            return absorbed();
        }
        if !write::has_other_via(message) {
            return dropped(Reason::NoTransaction);
        }
        let event = match status {
            100..=199 => client::Event::Provisional,
            200..=299 => client::Event::Success,
            _ => client::Event::Failure,
        };
        match (branch.client, method == Method::Invite) {
            (Client::Invite(state), true) => {
                self.invite_response(id, state, event, status, message, around)
            }
            // RFC 3261 17.1.3: our branch, and the method of our request.
            (Client::Other(state), false) if branch.method == method_hash(method) => {
                self.other_response(id, state, event, status, message, around)
            }
            (Client::Invite(_) | Client::Other(_) | Client::Resolving, _) => {
                dropped(Reason::NoTransaction)
            }
        }
    }

    /// Takes a response without what it asserts about who answers, RFC 3325 5: it comes from outside our trust domain.
    #[cold]
    fn response_of_unknown_identity(
        &mut self,
        message: &Message<'_>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let unreadable = dropped(Reason::BadResponse);
        let Some(mut reader) = self.responses.take() else { return unreadable };
        reader.bytes.clear();
        identity::append_without(message, &mut reader.bytes);
        let outcome = match reader.reread() {
            Ok(message) => self.response(&message, around),
            Err(_) => unreadable,
        };
        self.responses = Some(reader);
        outcome
    }

    /// The branch that a Via branch of ours leads to.
    fn branch_of(&self, text: &[u8]) -> Option<u32> {
        // Where it was not moved to the core that it names, no seal here is its own.
        self.contexts.branch_id_for(branch::read(text)?)
    }

    fn invite_response(
        &mut self,
        id: u32,
        state: client::InviteState,
        event: client::Event,
        status: u16,
        message: &Message<'_>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let (state, action) = state.on(event);
        let timer_c = core::time::Duration::from_secs(u64::from(self.setup.policy.timer_c_secs));
        let Some(branch) = self.contexts.branch_mut(id) else {
            return dropped(Reason::NoTransaction);
        };
        let was_calling = branch.client == Client::Invite(client::InviteState::Calling);
        branch.client = Client::Invite(state);
        let context = branch.context;
        match action {
            client::Action::Pass if event == client::Event::Provisional => {
                if was_calling {
                    // RFC 3261 17.1.1.2: it has arrived.
                    branch.timers.resend = Instant::NEVER;
                }
                // RFC 3261 16.7 step 2: Timer C starts anew with each 101 to 199.
                if matches!(branch.cancel, Cancel::No | Cancel::Wanted)
                    && (was_calling || status > 100)
                {
                    branch.timers.end = around.now.plus(timer_c);
                }
                let is_wanted = branch.cancel == Cancel::Wanted;
                self.contexts.arm_branch(id);
                // Writing it anew costs more than the whole response; only memory is gained.
                if was_calling && self.contexts.is_crowded() {
                    self.shrink(id, around.out);
                }
                if is_wanted {
                    self.send_cancel(around.now, id, around.out);
                }
                self.pass_provisional(context, status, message, around)
            }
            client::Action::Pass => {
                // RFC 6026 7.2: from now on only further 2xx are of interest.
                branch.timers.resend = Instant::NEVER;
                branch.timers.end = Instant::NEVER;
                let request = branch.request.take();
                self.contexts.drop(request);
                self.contexts.settle_branch(id);
                self.pass_success(context, message, around)
            }
            client::Action::AcknowledgeAndPass => {
                branch.timers.resend = Instant::NEVER;
                branch.timers.end = around.now.plus(LIFETIME);
                let is_cancelled = branch.cancel != Cancel::No;
                self.contexts.arm_branch(id);
                let further = if status == 503 { self.take_further(id) } else { None };
                self.acknowledge(id, message, around);
                self.contexts.settle_branch(id);
                if !self.try_further(context, further, around) {
                    self.consider(context, status, is_cancelled, Some(message), around);
                }
                forwarded()
            }
            client::Action::Acknowledge => {
                self.acknowledge(id, message, around);
                absorbed()
            }
            client::Action::Nothing
            | client::Action::SendAgain
            | client::Action::TimedOut
            | client::Action::Failed
            | client::Action::Forget => absorbed(),
        }
    }

    fn other_response(
        &mut self,
        id: u32,
        state: client::State,
        event: client::Event,
        status: u16,
        message: &Message<'_>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let (state, action) = state.on(event);
        let Some(branch) = self.contexts.branch_mut(id) else {
            return dropped(Reason::NoTransaction);
        };
        branch.client = Client::Other(state);
        let context = branch.context;
        match (action, event) {
            // RFC 4320 4.1: whoever asked would get nothing from it but load.
            (client::Action::Pass, client::Event::Provisional) => absorbed(),
            (client::Action::Pass, _) => {
                let further = if status == 503 { self.take_further(id) } else { None };
                // RFC 3261 17.1.2.2: what Timer K would absorb has no transaction any more, which comes to the same.
                self.contexts.end_branch(id);
                if event == client::Event::Success {
                    return self.pass_success(context, message, around);
                }
                if !self.try_further(context, further, around) {
                    self.consider(context, status, false, Some(message), around);
                }
                forwarded()
            }
            (
                client::Action::Nothing
                | client::Action::AcknowledgeAndPass
                | client::Action::Acknowledge
                | client::Action::SendAgain
                | client::Action::TimedOut
                | client::Action::Failed
                | client::Action::Forget,
                _,
            ) => absorbed(),
        }
    }

    /// Acknowledges a final response other than 2xx, RFC 3261 17.1.1.3.
    fn acknowledge(&mut self, id: u32, response: &Message<'_>, around: &mut Around<'_>) {
        let Some(branch) = self.contexts.branch(id) else { return };
        let Some(request) = branch.request else { return };
        let Some(sent) = self.reader.read(self.contexts.bytes(request)) else { return };
        let mut reply = around.out.reply();
        if write::ack(&sent, response, &mut reply) {
            let _ = reply.send(branch.to, branch.from);
        }
    }

    /// Keeps no more of a request than it takes to cancel or acknowledge it: it is not sent again.
    fn shrink(&mut self, id: u32, out: &mut Outbox) {
        let Some(branch) = self.contexts.branch(id) else { return };
        let Some(request) = branch.request else { return };
        let Some(sent) = self.reader.read(self.contexts.bytes(request)) else { return };
        // The outbox serves as scratch: nothing of this is sent now.
        let mut scratch = out.reply();
        if !write::skeleton(&sent, &mut scratch) {
            return;
        }
        if let Ok(small) = self.contexts.keep(scratch.written()) {
            let old = self.contexts.branch_mut(id).and_then(|branch| branch.request.replace(small));
            self.contexts.drop(old);
        }
    }

    /// Takes an ICMP error, RFC 3261 18.4. It is believed where it quotes a branch of ours that was sent there.
    pub fn unreachable(&mut self, error: Unreachable<'_>, around: &mut Around<'_>) -> Outcome {
        let class = Class::Unreachable;
        let nobody = Outcome { class, verdict: Verdict::Dropped(Reason::NoTransaction) };
        let Some((core, claim)) = quoted(error.quoted) else { return nobody };
        if core != self.setup.core {
            // Whichever core reads the error: the branch is where its token says.
            let is_there = self.setup.homes.has(core);
            return if is_there {
                Outcome { class, verdict: Verdict::Hopped(core) }
            } else {
                nobody
            };
        }
        let Some(id) = self.contexts.branch_id_for(claim) else { return nobody };
        let absorbed = Outcome { class, verdict: Verdict::Absorbed };
        let Some(branch) = self.contexts.branch_mut(id) else { return absorbed };
        if branch.to != error.to {
            return absorbed;
        }
        let (client, action) = branch.client.on(client::Event::Unreachable);
        branch.client = client;
        let context = branch.context;
        if action == client::Action::Failed {
            self.metrics.unreachable += 1;
            let further = self.take_further(id);
            self.contexts.end_branch(id);
            if !self.try_further(context, further, around) {
                // RFC 3261 16.9: as if it were a 503, which is a 500 to others.
                self.consider(context, 500, false, None, around);
            }
        }
        absorbed
    }

    /// Takes the addresses of a next hop.
    pub fn addresses(
        &mut self,
        ticket: u64,
        addresses: &[IpAddr],
        around: &mut Around<'_>,
    ) -> Outcome {
        let class = Class::Addresses;
        let handle = targets::handle(ticket);
        let waiting = self.contexts.branch_id_of(handle).and_then(|id| self.contexts.branch(id));
        let Some(branch) = waiting.filter(|branch| branch.client == Client::Resolving) else {
            return Outcome { class, verdict: Verdict::Dropped(Reason::NoTransaction) };
        };
        let context = branch.context;
        if context == NONE {
            return Outcome { class, verdict: self.ack_resolved(handle, addresses, around) };
        }
        let sent = self.resolved(handle, context, addresses, around);
        if sent.is_err() {
            self.metrics.unreachable += 1;
            self.contexts.end_branch(handle.index);
            // RFC 3263 4.2 and RFC 3261 16.9.
            self.consider(context, 500, false, None, around);
        }
        Outcome { class, verdict: Verdict::Forwarded }
    }

    /// Sends a branch whose next hop has an address now.
    fn resolved(
        &mut self,
        handle: Handle,
        context_id: u32,
        addresses: &[IpAddr],
        around: &mut Around<'_>,
    ) -> Result<(), Unsent> {
        let (branch, context) = self
            .contexts
            .branch(handle.index)
            .zip(self.contexts.context(context_id))
            .ok_or(Unsent::NoWay)?;
        let (port, arrived) = (branch.to.addr.port(), context.local);
        let each = Some(u16::from(branch.timers.interval)).filter(|&share| share > 0);
        let (to, from) = self.choose(addresses, port, arrived).ok_or(Unsent::NoWay)?;
        let target = branch.request;
        self.tools.set.clear();
        if let Some(target) = target {
            self.tools.set.extend_from_slice(self.contexts.bytes(target));
        }
        if let Some(branch) = self.contexts.branch_mut(handle.index) {
            (branch.to, branch.from, branch.request) = (Peer::udp(to), from, None);
        }
        self.contexts.drop(target);
        let breadth = each.map_or(0, |share| u8::try_from(share).unwrap_or(u8::MAX));
        self.keep_further(handle.index, to, addresses, breadth, target.is_some());
        let set = core::mem::take(&mut self.tools.set);
        let launched = self.with_request(context_id, |proxy, onward| {
            let aim = if target.is_some() {
                Aim::Binding(Record::decode(&set))
            } else {
                Aim::Destination(Destination::Hop(super::route::Hop::Address(to)))
            };
            proxy.launch(around.now, handle, onward, aim, each, around.out)
        });
        self.tools.set = set;
        launched.unwrap_or(Err(Unsent::NoWay))
    }

    /// The first address that may be used and that there is a listener for, and the address to leave from.
    pub(super) fn choose(
        &self,
        addresses: &[IpAddr],
        port: u16,
        arrived: crate::io::LocalAddr,
    ) -> Option<(SocketAddr, crate::io::LocalAddr)> {
        let names = self.setup.names(arrived);
        addresses.iter().find_map(|&ip| {
            let addr = SocketAddr::new(ip.to_canonical(), port);
            if is_forbidden(addr) || names.is_own_socket(addr) {
                return None;
            }
            Some((addr, self.setup.local_for(addr, arrived, None)?))
        })
    }

    /// Reads the request of a context again, as it was when it passed.
    pub(super) fn with_request<T>(
        &mut self,
        id: u32,
        then: impl FnOnce(&mut Self, &Onward<'_>) -> T,
    ) -> Option<T> {
        let context = self.contexts.context(id)?;
        let Context { source, local, seed, is_from_user, .. } = *context;
        // Apart from the proxy while it works on it.
        let mut reader = self.requests.take()?;
        let message = context.request.and_then(|kept| reader.read(self.contexts.bytes(kept)));
        let setup = Arc::clone(&self.setup);
        let done = message.as_ref().and_then(|message| {
            let StartLine::Request { uri, .. } = message.start_line() else { return None };
            let plan = plan(message, uri, source.addr.ip(), &setup.names(local)).ok()?;
            let loop_hash = forward::hash(&setup, seed, message, &plan, uri);
            let plan = &plan;
            Some(then(self, &Onward { message, plan, loop_hash, source, local, is_from_user }))
        });
        self.requests = Some(reader);
        done
    }

    /// Takes what another core has written.
    pub fn letter(&mut self, bytes: &[u8], around: &mut Around<'_>) -> Outcome {
        let class = Class::Letter;
        match Letter::read(bytes) {
            Some(Letter::LookUp { asker, ticket, hash }) => {
                let super::Tools { set, order, .. } = &mut self.tools;
                set.clear();
                targets::write(around.location, hash, around.now, set, order);
                let mut answer = around.out.reply();
                Letter::Found { ticket, targets: set }.put(&mut |bytes| answer.put(bytes));
                let verdict = if answer.post(asker) {
                    Verdict::Absorbed
                } else {
                    Verdict::Dropped(Reason::ResponseTooLarge)
                };
                Outcome { class, verdict }
            }
            Some(Letter::Found { ticket, targets }) => {
                Outcome { class, verdict: self.found(ticket, targets, around) }
            }
            None => Outcome { class, verdict: Verdict::Dropped(Reason::NoTransaction) },
        }
    }

    /// The bindings that a context waited for are there.
    fn found(&mut self, ticket: Handle, targets: &[u8], around: &mut Around<'_>) -> Verdict {
        let waits = |context: &Context| context.waits != Waits::Nothing;
        let id = self.contexts.id_of(ticket);
        let Some(id) = id.filter(|&id| self.contexts.context(id).is_some_and(waits)) else {
            // It was asked twice, or was cancelled.
            return Verdict::Dropped(Reason::NoTransaction);
        };
        let kept =
            if targets.is_empty() { Ok(None) } else { self.contexts.keep(targets).map(Some) };
        let Some(context) = self.contexts.context_mut(id) else {
            self.contexts.drop(kept.unwrap_or_default());
            return Verdict::Dropped(Reason::NoTransaction);
        };
        context.waits = Waits::Nothing;
        context.timers.resend = Instant::NEVER;
        let status = match kept {
            Ok(Some(kept)) => {
                context.targets = Some(kept);
                let sent = self.with_request(id, |proxy, onward| {
                    proxy.next_targets(around.now, id, onward, around.out)
                });
                return self.passed(id, sent.unwrap_or(Err(Unsent::NoWay)), around);
            }
            Ok(None) => self.status_of_nobody(id),
            Err(Full) => 503,
        };
        self.answer(id, Best { status, response: None }, around);
        // As on a core that has its own users: once, and nothing is kept. Whoever sent it may have forged its source.
        self.contexts.end(id);
        Verdict::Refused(status)
    }

    /// What a request gets for whose user there is no binding.
    fn status_of_nobody(&mut self, id: u32) -> u16 {
        let found = self.with_request(id, |proxy, onward| {
            let setup = Arc::clone(&proxy.setup);
            let here = setup.here(onward.local);
            let set = proxy.tools.to.set(&setup.keys.home, &onward.plan.uri, &here);
            set.map_or(Refusal::TemporarilyUnavailable, |()| proxy.nobody())
        });
        found.unwrap_or(Refusal::TemporarilyUnavailable).status()
    }
}

impl Client {
    /// The state and what to do after an event. Whoever has no next hop yet has nothing that happens to it.
    pub(super) fn on(self, event: client::Event) -> (Client, client::Action) {
        match self {
            Client::Resolving => (Client::Resolving, client::Action::Nothing),
            Client::Invite(state) => {
                let (state, action) = state.on(event);
                (Client::Invite(state), action)
            }
            Client::Other(state) => {
                let (state, action) = state.on(event);
                (Client::Other(state), action)
            }
        }
    }
}

impl Server {
    /// Whether a final response is still awaited.
    pub(super) fn is_open(self) -> bool {
        match self {
            Server::Invite(state) => state == server::InviteState::Proceeding,
            Server::Other(state) => {
                matches!(state, server::State::Trying | server::State::Proceeding)
            }
        }
    }
}

/// What the first Via of ours says in a datagram that was sent.
fn quoted(bytes: &[u8]) -> Option<(CoreId, Claim<'_>)> {
    const PARAM: &[u8] = b";branch=";
    memmem::find_iter(bytes, PARAM).find_map(|at| {
        let text = bytes.get(at + PARAM.len()..)?;
        let end = text.iter().position(|byte| b";\r,? ".contains(byte))?;
        let branch = text.get(..end)?;
        Some((branch::core_of(branch)?, branch::read(branch)?))
    })
}

pub(super) fn forwarded() -> Outcome {
    Outcome { class: Class::Response, verdict: Verdict::Forwarded }
}

pub(super) fn absorbed() -> Outcome {
    Outcome { class: Class::Response, verdict: Verdict::Absorbed }
}

fn dropped(reason: Reason) -> Outcome {
    Outcome { class: Class::Response, verdict: Verdict::Dropped(reason) }
}
