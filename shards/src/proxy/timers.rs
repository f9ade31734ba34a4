//! What time makes due: retransmissions, patience that ends, transactions that are over.

use super::contexts::Best;
use super::contexts::{Cancel, Client, Due, NONE, Server, Waits};
use super::{Around, Proxy};
use crate::io::{Instant, Outbox};
use crate::transaction::{client, server};
use alloc::sync::Arc;

/// T2 in units of T1, RFC 3261 17.1.2.1.
const T2_UNITS: u8 = 8;
/// How often another core is asked for bindings.
const LOOK_UPS: u8 = 3;

impl Proxy {
    /// Does what is due, touching at most `budget` timers, as long as there is room for what it sends.
    pub fn expire(&mut self, budget: &mut u32, around: &mut Around<'_>) {
        while *budget > 0 && around.out.has_room() {
            match self.contexts.pop(around.now, budget) {
                Some(Due::Branch(id)) => self.branch_due(id, around),
                Some(Due::Context(id)) => self.context_due(id, around),
                None => return,
            }
        }
    }

    fn branch_due(&mut self, id: u32, around: &mut Around<'_>) {
        let Some(branch) = self.contexts.branch_mut(id) else { return };
        let event = if branch.timers.end <= around.now {
            match branch.client {
                Client::Resolving => return self.unresolved(id, around),
                Client::Invite(client::InviteState::Proceeding) => {
                    return self.ringing_ended(id, around);
                }
                Client::Invite(client::InviteState::Calling)
                | Client::Other(client::State::Trying | client::State::Proceeding) => {
                    client::Event::Timeout
                }
                Client::Invite(_) | Client::Other(_) => client::Event::End,
            }
        } else {
            client::Event::Resend
        };
        if event == client::Event::Resend && branch.cancel == Cancel::Sent {
            // RFC 3261 9.1: a CANCEL is a non-INVITE transaction of its own.
            let timers = &mut branch.timers;
            timers.interval = timers.interval.saturating_mul(2).min(T2_UNITS);
            timers.repeat(around.now);
            self.contexts.arm_branch(id);
            self.metrics.retransmissions += 1;
            return self.put_cancel(id, around.out);
        }
        let (client, action) = branch.client.on(event);
        let context = branch.context;
        match action {
            client::Action::SendAgain => {
                // RFC 3261 17.1.1.2: Timer A doubles; 17.1.2.2: Timer E doubles up to T2, which it is after a provisional response.
                let most = match branch.client {
                    Client::Invite(_) | Client::Resolving => u8::MAX,
                    Client::Other(_) => T2_UNITS,
                };
                let is_slow = client == Client::Other(client::State::Proceeding);
                let timers = &mut branch.timers;
                timers.interval =
                    if is_slow { T2_UNITS } else { timers.interval.saturating_mul(2).min(most) };
                timers.repeat(around.now);
                self.contexts.arm_branch(id);
                self.send_again(id, around.out);
            }
            client::Action::TimedOut => {
                self.metrics.timeouts += 1;
                // RFC 4321 1.2: who sent another request than INVITE has given up by now.
                let is_invite = matches!(client, Client::Invite(_));
                let further = if is_invite { self.take_further(id) } else { None };
                self.contexts.end_branch(id);
                if !self.try_further(context, further, around) {
                    // RFC 3261 16.9: as if it were a 408.
                    self.consider(context, 408, false, None, around);
                }
            }
            client::Action::Forget => {
                self.contexts.end_branch(id);
                self.end_if_over(context);
            }
            client::Action::Nothing
            | client::Action::Pass
            | client::Action::AcknowledgeAndPass
            | client::Action::Acknowledge
            | client::Action::Failed => {
                branch.timers.resend = Instant::NEVER;
            }
        }
    }

    fn send_again(&mut self, id: u32, out: &mut Outbox) {
        let Some(branch) = self.contexts.branch(id) else { return };
        let Some(request) = branch.request else { return };
        let mut reply = out.reply();
        reply.put(self.contexts.bytes(request));
        let _ = reply.send(branch.to, branch.from);
        self.metrics.retransmissions += 1;
    }

    /// Nobody knows the address of a next hop.
    fn unresolved(&mut self, id: u32, around: &mut Around<'_>) {
        let Some(branch) = self.contexts.branch(id) else { return };
        let context = branch.context;
        self.metrics.unreachable += 1;
        self.contexts.end_branch(id);
        if context != NONE {
            self.consider(context, 500, false, None, around);
        }
    }

    /// Timer C, RFC 3261 16.8, or the end of a branch that was cancelled, 9.1.
    fn ringing_ended(&mut self, id: u32, around: &mut Around<'_>) {
        let Some(branch) = self.contexts.branch(id) else { return };
        let context = branch.context;
        if branch.cancel == Cancel::No {
            self.metrics.timeouts += 1;
            self.send_cancel(around.now, id, around.out);
            return;
        }
        self.contexts.end_branch(id);
        self.consider(context, 487, true, None, around);
    }

    fn context_due(&mut self, id: u32, around: &mut Around<'_>) {
        let Some(context) = self.contexts.context_mut(id) else { return };
        if let Waits::Location { attempts } = context.waits {
            return self.look_up_due(id, attempts, around);
        }
        let is_over = context.timers.end <= around.now;
        let event = if is_over { server::Event::End } else { server::Event::Resend };
        let was_completed = context.server == Server::Invite(server::InviteState::Completed);
        let (server, action) = context.server.on(event);
        context.server = server;
        match action {
            server::Action::SendAgain => {
                // RFC 3261 17.2.1: Timer G doubles up to T2.
                let timers = &mut context.timers;
                timers.interval = timers.interval.saturating_mul(2).min(T2_UNITS);
                timers.repeat(around.now);
                let (to, from, last) = (context.reply_to, context.local, context.last);
                self.contexts.arm(id);
                let Some(last) = last else { return };
                let mut reply = around.out.reply();
                reply.put(self.contexts.bytes(last));
                let _ = reply.send(to, from);
                self.metrics.retransmissions += 1;
            }
            server::Action::Forget => {
                self.metrics.unacknowledged += u64::from(was_completed);
                context.timers.resend = Instant::NEVER;
                context.timers.end = Instant::NEVER;
                // Branches that are still pending end by their own timers, and the context with the last of them.
                self.end_if_over(id);
            }
            server::Action::Nothing
            | server::Action::Send
            | server::Action::SendOnce
            | server::Action::PassAck
            | server::Action::Linger => {
                context.timers.resend = Instant::NEVER;
            }
        }
    }

    /// Another core has not answered in time.
    fn look_up_due(&mut self, id: u32, attempts: u8, around: &mut Around<'_>) {
        if attempts < LOOK_UPS {
            let setup = Arc::clone(&self.setup);
            let hash = self.with_request(id, |proxy, onward| {
                let here = setup.here(onward.local);
                let to = &mut proxy.tools.to;
                to.set(&setup.keys.home, &onward.plan.uri, &here).ok().map(|()| to.hash())
            });
            if let Some(hash) = hash.flatten() {
                return self.look_up(around.now, id, hash, around.out);
            }
        }
        if let Some(context) = self.contexts.context_mut(id) {
            context.waits = Waits::Nothing;
            context.timers.resend = Instant::NEVER;
        }
        self.answer(id, Best { status: 500, response: None }, around);
    }
}
