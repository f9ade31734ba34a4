//! What goes back to whoever sent a request, RFC 3261 16.7: the first 2xx and every other to an INVITE, or the best of all other final
//! responses once there is nobody left to ask.

use super::contexts::{Best, Cancel, Client, Server};
use super::response::{absorbed, forwarded};
use super::{Around, Proxy, write};
use crate::io::{Datagram, Instant, Outbox, Outcome, Reply};
use crate::store::Ref;
use crate::transaction::completed::Answer;
use crate::transaction::{LIFETIME, T1, ToTag, client, server};
use crate::uas::Caller;
use crate::wire::Message;
use core::time::Duration;

const SERVER_ERROR: &str = "Server Internal Error";

impl Proxy {
    /// Passes a provisional response back, but for a 100, RFC 3261 16.7 step 2 and 5.
    pub(super) fn pass_provisional(
        &mut self,
        context: u32,
        status: u16,
        message: &Message<'_>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let is_open = self.contexts.context(context).is_some_and(|one| one.server.is_open());
        if status == 100 || !is_open {
            return absorbed();
        }
        let mut reply = around.out.reply();
        if !write::response(message, &mut reply) {
            return absorbed();
        }
        self.send_up(context, server::Event::Provisional, reply, around.now);
        forwarded()
    }

    /// Passes a 2xx back at once, RFC 3261 16.7 step 5, and cancels what else is on its way.
    pub(super) fn pass_success(
        &mut self,
        id: u32,
        message: &Message<'_>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let Some(context) = self.contexts.context_mut(id) else { return absorbed() };
        // Nobody else is asked.
        let targets = context.targets.take();
        let is_invite = matches!(context.server, Server::Invite(_));
        let is_alone = context.pending == 0;
        self.contexts.drop(targets);
        let mut reply = around.out.reply();
        if !write::response(message, &mut reply) {
            return absorbed();
        }
        if is_invite {
            self.send_up(id, server::Event::Success, reply, around.now);
        } else {
            self.finish_other(id, reply, around.now, around.completed);
        }
        if !is_alone {
            self.cancel_branches(id, around);
        }
        // Those without an address are over at once, and nothing else may be left to wait for.
        self.end_if_over(id);
        forwarded()
    }

    /// Looks at a final response other than 2xx, or at a branch that came to its end without one, and answers where it was the last.
    pub(super) fn consider(
        &mut self,
        id: u32,
        status: u16,
        was_cancelled: bool,
        message: Option<&Message<'_>>,
        around: &mut Around<'_>,
    ) {
        let Some(context) = self.contexts.context_mut(id) else { return };
        if !context.server.is_open() {
            self.end_if_over(id);
            return;
        }
        // RFC 3261 16.8: whom Timer C has cancelled did not answer in time, whatever it says to the CANCEL.
        let (status, message) = if was_cancelled && !context.is_cancelled && status == 487 {
            (408, None)
        } else {
            (status, message)
        };
        // RFC 3261 9.2: who has given up hears that, whatever else its callee did not say.
        let status = if context.is_cancelled && message.is_none() { 487 } else { status };
        // RFC 4320 4.2: nobody is told 408 who did not send an INVITE.
        let message =
            message.filter(|_| status != 408 || matches!(context.server, Server::Invite(_)));
        let ends_all = status >= 600;
        if ends_all || context.is_cancelled {
            let targets = context.targets.take();
            self.contexts.drop(targets);
        }
        if ends_all {
            // RFC 3261 16.7 step 5: nobody else will accept.
            self.cancel_branches(id, around);
        }
        let Some(context) = self.contexts.context(id) else { return };
        let is_last = context.pending == 0;
        let has_targets = context.targets.is_some_and(|targets| {
            self.contexts.bytes(targets).len() > usize::from(context.targets_at)
        });
        if is_last && !has_targets {
            self.answer_with(id, status, message, around);
            return;
        }
        self.keep_better(id, status, message, around.out);
        if is_last {
            let sent = self.with_request(id, |proxy, onward| {
                proxy.next_targets(around.now, id, onward, around.out)
            });
            if !matches!(sent, Some(Ok(_))) {
                self.answer_best(id, around);
            }
        }
    }

    /// Answers with the best response, this one included.
    fn answer_with(
        &mut self,
        id: u32,
        status: u16,
        message: Option<&Message<'_>>,
        around: &mut Around<'_>,
    ) {
        let best = self.contexts.context(id).and_then(|context| context.best);
        match (best, message) {
            // Nearly always: there is no other.
            (None, Some(message)) => {
                let mut reply = around.out.reply();
                let is_written = if status == 503 {
                    // As in `keep_better`.
                    write::response_as(message, 500, SERVER_ERROR, &mut reply)
                } else {
                    write::response(message, &mut reply)
                };
                if is_written {
                    self.finish(id, reply, around.now, around.completed);
                }
            }
            (None, None) => self.answer(id, Best { status, response: None }, around),
            (Some(_), _) => {
                self.keep_better(id, status, message, around.out);
                self.answer_best(id, around);
            }
        }
    }

    /// Keeps a final response if it is better than what is kept, RFC 3261 16.7 step 6; and the challenges of both, step 7.
    fn keep_better(
        &mut self,
        id: u32,
        status: u16,
        message: Option<&Message<'_>>,
        out: &mut Outbox,
    ) {
        let Some(context) = self.contexts.context(id) else { return };
        // The outbox serves as scratch: nothing of this is sent now.
        let mut scratch = out.reply();
        let (best, is_written) = match (context.best, message) {
            (Some(Best { status: best, response: Some(response) }), Some(message))
                if is_challenge(best) && is_challenge(status) =>
            {
                // With many challenges it may have more lines than are read: then it has enough of them. And the Via below ours
                // was not read when it came: where it is none, who asked can make nothing of the response anyway.
                self.reader.write(&[&[self.contexts.bytes(response)]]);
                let kept = self.reader.reread();
                let both =
                    kept.is_ok_and(|kept| write::with_challenges(&kept, message, &mut scratch));
                if !both {
                    return;
                }
                (best, true)
            }
            (Some(best), _) if rank(best.status) <= rank(status) => return,
            (_, Some(message)) if status == 503 => {
                // RFC 3261 16.7 step 6: that somebody else has too much to do says nothing about us.
                (status, write::response_as(message, 500, SERVER_ERROR, &mut scratch))
            }
            (_, Some(message)) => (status, write::response(message, &mut scratch)),
            (_, None) => (status, false),
        };
        // Where it can't be kept, its status is answered.
        let response = if is_written { self.contexts.keep(scratch.written()).ok() } else { None };
        let Some(context) = self.contexts.context_mut(id) else {
            self.contexts.drop(response);
            return;
        };
        let old = context.best.replace(Best { status: best, response });
        self.contexts.drop(old.and_then(|old| old.response));
    }

    /// Answers with what was kept as the best.
    pub(super) fn answer_best(&mut self, id: u32, around: &mut Around<'_>) {
        let best = self.contexts.context_mut(id).and_then(|context| context.best.take());
        // A target set in which nobody could be reached.
        self.answer(id, best.unwrap_or(Best { status: 500, response: None }), around);
    }

    /// Answers a request that was taken on.
    pub(super) fn answer(&mut self, id: u32, best: Best, around: &mut Around<'_>) {
        let Some(response) = best.response else {
            self.answer_ourselves(id, best.status, around);
            return;
        };
        let mut reply = around.out.reply();
        reply.put(self.contexts.bytes(response));
        self.finish(id, reply, around.now, around.completed);
        self.contexts.drop(Some(response));
    }

    /// Answers with a response of our own.
    fn answer_ourselves(&mut self, id: u32, status: u16, around: &mut Around<'_>) {
        let Some(context) = self.contexts.context(id) else { return };
        let is_invite = matches!(context.server, Server::Invite(_));
        if status == 408 && !is_invite {
            // RFC 4320 4.2: whoever asked knows by itself that time is over.
            self.contexts.end(id);
            return;
        }
        let (status, reason) = match status {
            404 => (404, "Not Found"),
            408 => (408, "Request Timeout"),
            480 => (480, "Temporarily Unavailable"),
            487 => (487, "Request Terminated"),
            503 => (503, "Service Unavailable"),
            513 => (513, "Message Too Large"),
            // RFC 3261 16.7 step 6 and 16.9: what a next hop can't do is our error.
            _ => (500, SERVER_ERROR),
        };
        let Some(request) = context.request else {
            self.contexts.end(id);
            return;
        };
        let bytes = self.contexts.bytes(request);
        let Some(message) = self.reader.read(bytes) else { return };
        let datagram = Datagram {
            from: context.source,
            to: context.local,
            bytes: message.bytes(),
            age: Duration::ZERO,
        };
        let caller =
            Caller { datagram: &datagram, index: message.index(), tag: ToTag::new(context.seed) };
        let Some(mut response) = caller.respond(around.out, status, reason) else { return };
        if status == 503 {
            // As for what is refused before: what is pending now has come to its end by then.
            response.put(b"Retry-After: 32\r\n");
        }
        let reply = response.finish();
        self.metrics.own_responses += 1;
        self.finish(id, reply, around.now, around.completed);
    }

    /// Sends a final response other than a 2xx to an INVITE.
    fn finish(
        &mut self,
        id: u32,
        reply: Reply<'_>,
        now: Instant,
        completed: &mut crate::transaction::Completed,
    ) {
        let Some(context) = self.contexts.context(id) else { return };
        match context.server {
            Server::Invite(_) => {
                self.send_up(id, server::Event::Failure, reply, now);
                let Some(context) = self.contexts.context_mut(id) else { return };
                if context.last.is_none() {
                    // There was no room to keep it: who sent the INVITE has to send it again.
                    self.contexts.end(id);
                    return;
                }
                // RFC 3261 17.2.1: Timers G and H.
                context.timers.resend = now.plus(T1);
                context.timers.interval = 1;
                context.timers.end = now.plus(LIFETIME);
                self.contexts.arm(id);
                self.settle(id);
            }
            Server::Other(_) => self.finish_other(id, reply, now, completed),
        }
    }

    /// Sends the final response to a request other than INVITE. Its transaction goes on among those that are completed.
    fn finish_other(
        &mut self,
        id: u32,
        reply: Reply<'_>,
        now: Instant,
        completed: &mut crate::transaction::Completed,
    ) {
        let Some(context) = self.contexts.context_mut(id) else { return };
        let (server, action) = context.server.on(server::Event::Success);
        context.server = server;
        if action == server::Action::Send {
            let (to, from) = (context.reply_to, context.local);
            let answer = Answer { response: reply.written(), to, from };
            completed.insert(now, context.fingerprint, &answer);
            let _ = reply.send(to, from);
        }
        if context.pending == 0 {
            self.contexts.end(id);
        } else {
            self.settle(id);
        }
    }

    /// Sends a response of an INVITE, or a provisional one, as its server transaction says.
    pub(super) fn send_up(
        &mut self,
        id: u32,
        event: server::Event,
        reply: Reply<'_>,
        now: Instant,
    ) {
        let Some(context) = self.contexts.context_mut(id) else { return };
        let (server, action) = context.server.on(event);
        let is_accepted = server != context.server && event == server::Event::Success;
        context.server = server;
        let (to, from) = (context.reply_to, context.local);
        match action {
            server::Action::Send => {
                let old = context.last.take();
                self.contexts.drop(old);
                let kept = self.contexts.keep(reply.written()).ok();
                match self.contexts.context_mut(id) {
                    Some(context) => context.last = kept,
                    None => self.contexts.drop(kept),
                }
            }
            server::Action::SendOnce => {}
            server::Action::Nothing
            | server::Action::SendAgain
            | server::Action::PassAck
            | server::Action::Linger
            | server::Action::Forget => return,
        }
        let _ = reply.send(to, from);
        if is_accepted {
            self.accepted(id, now);
        }
    }

    /// An INVITE was accepted, RFC 6026 7.1: nothing of it is needed any more but where it came from. Starts Timer L.
    fn accepted(&mut self, id: u32, now: Instant) {
        self.settle(id);
        let Some(context) = self.contexts.context_mut(id) else { return };
        let last = context.last.take();
        context.timers.end = now.plus(LIFETIME);
        self.contexts.drop(last);
        self.contexts.arm(id);
    }

    /// The final response of a context was sent: it makes no further branch and no response of its own.
    fn settle(&mut self, id: u32) {
        self.contexts.settle(id);
        let Some(context) = self.contexts.context_mut(id) else { return };
        let best = context.best.take().and_then(|best| best.response);
        let messages: [Option<Ref>; 3] = [context.request.take(), context.targets.take(), best];
        for message in messages {
            self.contexts.drop(message);
        }
    }

    /// Cancels what is still on its way for a context, RFC 3261 16.10.
    pub(super) fn cancel_branches(&mut self, id: u32, around: &mut Around<'_>) {
        let mut next = self.contexts.next_branch(id, None);
        while let Some(branch_id) = next {
            next = self.contexts.next_branch(id, Some(branch_id));
            let Some(branch) = self.contexts.branch_mut(branch_id) else { break };
            match (branch.client, branch.cancel) {
                (Client::Resolving, _) => self.contexts.end_branch(branch_id),
                (Client::Invite(client::InviteState::Calling), Cancel::No) => {
                    branch.cancel = Cancel::Wanted;
                }
                (Client::Invite(client::InviteState::Proceeding), Cancel::No) => {
                    self.send_cancel(around.now, branch_id, around.out);
                }
                (Client::Invite(_) | Client::Other(_), _) => {}
            }
        }
    }

    /// Sends a CANCEL for a branch to which a provisional response has come, RFC 3261 9.1.
    pub(super) fn send_cancel(&mut self, now: Instant, branch_id: u32, out: &mut Outbox) {
        let Some(branch) = self.contexts.branch_mut(branch_id) else { return };
        branch.cancel = Cancel::Sent;
        branch.timers.resend = now.plus(T1);
        branch.timers.interval = 1;
        // RFC 3261 9.1: whoever does not answer in 64*T1 is taken for cancelled.
        branch.timers.end = now.plus(LIFETIME);
        self.contexts.arm_branch(branch_id);
        self.metrics.cancels += 1;
        self.put_cancel(branch_id, out);
    }

    /// Writes the CANCEL of a branch, the first time or again.
    pub(super) fn put_cancel(&mut self, branch_id: u32, out: &mut Outbox) {
        let Some(branch) = self.contexts.branch(branch_id) else { return };
        let Some(request) = branch.request else { return };
        let Some(sent) = self.reader.read(self.contexts.bytes(request)) else { return };
        let mut reply = out.reply();
        if write::cancel(&sent, &mut reply) {
            let _ = reply.send(branch.to, branch.from);
        }
    }

    /// Ends a context whose server transaction is over once none of its branches is pending.
    pub(super) fn end_if_over(&mut self, id: u32) {
        let Some(context) = self.contexts.context(id) else { return };
        let is_over = match context.server {
            Server::Invite(state) => state == server::InviteState::Terminated,
            Server::Other(state) => {
                matches!(state, server::State::Completed | server::State::Terminated)
            }
        };
        if is_over && context.pending == 0 {
            self.contexts.end(id);
        }
    }
}

fn is_challenge(status: u16) -> bool {
    status == 401 || status == 407
}

/// RFC 3261 16.7 step 6: a 6xx, or else the lowest class; in it those first that say how to do better.
fn rank(status: u16) -> u16 {
    match status {
        600.. => 0,
        401 | 407 | 415 | 420 | 484 => 400,
        // Somebody else may have an answer that says more.
        408 | 487 => 498,
        503 => 599,
        400..=499 => 410,
        300..=399 => 300,
        _ => 500,
    }
}
