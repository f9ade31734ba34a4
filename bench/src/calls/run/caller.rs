//! The caller's end of a call: what it makes of the responses that reach it, RFC 3261 13.2.2, 9.1 and 15.1.1. It knows of the dialog
//! what the 200 said.

use std::io;

use super::{Calls, Ending, Say, Waits, cseq_of};
use crate::calls::Ring;
use crate::calls::message::{Message, Method, branch_of, routes_reversed, tag_of};
use crate::calls::table::{Callee, Caller, Handle};
use crate::calls::text::{SDP, Transaction};
use crate::calls::timers::{End, Growth, Next};
use crate::sys::Datagram;

impl Calls<'_> {
    /// Whether a response reached the caller as it must be there.
    pub(super) fn is_for_caller(
        &self,
        handle: Handle,
        port_index: usize,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        status: u16,
    ) -> bool {
        let call = self.table.look(handle).0;
        let transaction = match message.method {
            Method::Invite | Method::Cancel => Transaction::Invite,
            Method::Ack => Transaction::Ack,
            Method::Bye => Transaction::Bye,
        };
        let [via] = message.via.lines() else { return false };
        let is_sound = branch_of(via) == Some(&self.texts.branch(call, transaction)[..])
            && message.cseq == cseq_of(message.method)
            && tag_of(message.from) == Some(&call.from_tag[..]);
        let is_whole = match (message.method, status) {
            (Method::Invite, 200..300) => {
                tag_of(message.to) == Some(&call.to_tag[..])
                    && message.contact == self.texts.contact_uri(call.callee_ua).bytes()
                    && message.body == SDP
            }
            (Method::Invite, 180) => tag_of(message.to) == Some(&call.to_tag[..]),
            (Method::Invite | Method::Ack | Method::Bye | Method::Cancel, _) => true,
        };
        is_sound
            && is_whole
            && (self.plan.echo || self.came_to(call.caller_ua, port_index, datagram))
    }

    pub(super) fn caller_hears_provisional(
        &mut self,
        handle: Handle,
        status: u16,
        now_ns: u64,
    ) -> io::Result<()> {
        if status == 100 {
            self.counts.trying += 1;
        } else {
            self.counts.provisional += 1;
        }
        match self.table.look(handle).0.caller {
            Caller::Calling => {
                self.with(handle, |call| call.caller = Caller::Proceeding);
                self.wait(handle, End::Caller, Waits::ForTheEnd, now_ns);
            }
            Caller::Proceeding
            | Caller::Cancelling
            | Caller::Cancelled
            | Caller::Talking
            | Caller::Leaving
            | Caller::Gone => {}
        }
        if status != 100 && self.plan.ring == Ring::UntilAll {
            self.note_idle(handle);
        }
        Ok(())
    }

    /// Notes that a call only rings, if it does.
    pub(super) fn note_idle(&mut self, handle: Handle) {
        let Some(call) = self.table.find(handle) else { return };
        if call.caller == Caller::Proceeding && call.callee == Callee::Ringing && !call.idle {
            call.idle = true;
            // It rings as long as it takes.
            call.caller_timer.stop();
            self.idle += 1;
            self.ringing.push_back(handle);
        }
    }

    pub(super) fn caller_hears_answer(
        &mut self,
        handle: Handle,
        message: &Message<'_>,
        now_ns: u64,
    ) -> io::Result<()> {
        let call = self.table.look(handle).0;
        match call.caller {
            Caller::Calling | Caller::Proceeding | Caller::Cancelling | Caller::Cancelled => {
                self.counts.finals += 1;
                let is_since = call.due_ns >= self.since_ns;
                let due_ns = call.due_ns;
                self.all_counts(is_since).for_each(|counts| counts.answered += 1);
                if self.is_measured(due_ns) {
                    let time_ns = (now_ns - due_ns).saturating_sub(self.discount_ns);
                    self.setup.saturating_record(time_ns.max(1));
                }
                let routes = routes_reversed(message.record_route.lines());
                if !self.table.keep_dialog(handle, message.contact, routes, message.to) {
                    self.settle(handle, Ending::Lost, now_ns);
                    return Ok(());
                }
                self.say(handle, Say::Ack)?;
                if self.plan.talk.is_zero() {
                    return self.hang_up(handle, now_ns);
                }
                self.with(handle, |call| call.caller = Caller::Talking);
                self.wait(handle, End::Caller, Waits::ToHangUp, now_ns);
                Ok(())
            }
            // RFC 3261 13.2.2.4: the ACK is repeated.
            Caller::Talking | Caller::Leaving => self.repeat(handle, Say::Ack),
            Caller::Gone => {
                self.counts.duplicate += 1;
                Ok(())
            }
        }
    }

    /// The caller says BYE.
    fn hang_up(&mut self, handle: Handle, now_ns: u64) -> io::Result<()> {
        self.say(handle, Say::Bye)?;
        self.with(handle, |call| {
            call.caller = Caller::Leaving;
            call.bye_ns = now_ns;
        });
        self.wait(handle, End::Caller, Waits::ToRepeat, now_ns);
        Ok(())
    }

    pub(super) fn caller_hears_refusal(
        &mut self,
        handle: Handle,
        message: &Message<'_>,
        status: u16,
        now_ns: u64,
    ) -> io::Result<()> {
        let call = self.table.look(handle).0;
        let callee = call.callee;
        match call.caller {
            Caller::Calling | Caller::Proceeding | Caller::Cancelling | Caller::Cancelled => {
                let is_expected =
                    status == 487 && matches!(call.caller, Caller::Cancelling | Caller::Cancelled);
                self.counts.finals += 1;
                self.say(handle, Say::AckToRefusal(message.to))?;
                if !is_expected {
                    self.settle(handle, Ending::Refused(status), now_ns);
                } else if callee == Callee::Gone {
                    self.settle(handle, Ending::Cancelled, now_ns);
                } else {
                    self.with(handle, |call| {
                        call.caller = Caller::Gone;
                        call.caller_timer.stop();
                    });
                }
                Ok(())
            }
            // RFC 3261 17.1.1.2: the ACK is repeated.
            Caller::Gone => self.repeat(handle, Say::AckToRefusal(message.to)),
            Caller::Talking | Caller::Leaving => {
                self.counts.mismatched += 1;
                Ok(())
            }
        }
    }

    pub(super) fn caller_hears_of_bye(&mut self, handle: Handle, status: u16, now_ns: u64) {
        let call = self.table.look(handle).0;
        match (call.caller, status) {
            (Caller::Leaving, ..200) => self.counts.provisional += 1,
            (Caller::Leaving, 200) => {
                self.counts.finals += 1;
                if self.is_measured(call.due_ns) {
                    self.teardown.saturating_record((now_ns - call.bye_ns).max(1));
                }
                let ending =
                    if call.acknowledged { Ending::Completed } else { Ending::Unacknowledged };
                self.settle(handle, ending, now_ns);
            }
            (Caller::Leaving, _) => {
                self.counts.finals += 1;
                self.settle(handle, Ending::Refused(status), now_ns);
            }
            (
                Caller::Calling
                | Caller::Proceeding
                | Caller::Cancelling
                | Caller::Cancelled
                | Caller::Talking
                | Caller::Gone,
                _,
            ) => self.counts.mismatched += 1,
        }
    }

    pub(super) fn caller_hears_of_cancel(&mut self, handle: Handle, status: u16, now_ns: u64) {
        let caller = self.table.look(handle).0.caller;
        match (caller, status) {
            (Caller::Cancelling, ..200) => self.counts.provisional += 1,
            (Caller::Cancelling, 200) => {
                self.counts.finals += 1;
                self.with(handle, |call| call.caller = Caller::Cancelled);
                self.wait(handle, End::Caller, Waits::ForTheEnd, now_ns);
            }
            (Caller::Cancelling, _) => {
                self.counts.finals += 1;
                self.settle(handle, Ending::Refused(status), now_ns);
            }
            // The 487 may have overtaken it.
            (Caller::Gone, 200) => self.counts.finals += 1,
            (
                Caller::Calling
                | Caller::Proceeding
                | Caller::Cancelled
                | Caller::Talking
                | Caller::Leaving
                | Caller::Gone,
                _,
            ) => self.counts.duplicate += 1,
        }
    }

    pub(super) fn caller_has_waited(
        &mut self,
        handle: Handle,
        next: Next,
        now_ns: u64,
    ) -> io::Result<()> {
        let caller = self.table.look(handle).0.caller;
        let (say, growth) = match (caller, next) {
            (Caller::Calling, Next::Again) => (Say::Invite, Growth::Doubling),
            (Caller::Cancelling, Next::Again) => (Say::Cancel, Growth::UpToT2),
            (Caller::Leaving, Next::Again) => (Say::Bye, Growth::UpToT2),
            (Caller::Talking, _) => return self.hang_up(handle, now_ns),
            (Caller::Proceeding | Caller::Cancelled, _) | (_, Next::GiveUp) => {
                self.settle(handle, Ending::Lost, now_ns);
                return Ok(());
            }
            (Caller::Gone, Next::Again) => return Ok(()),
        };
        self.say_again(handle, say, growth, End::Caller, now_ns)
    }
}
