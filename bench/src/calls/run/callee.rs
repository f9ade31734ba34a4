//! The callee's end of a call: what it makes of the requests that reach it, RFC 3261 13.3 and 15.1.2. It knows of the call what the
//! INVITE said.

use std::io;
use std::time::Duration;

use super::{Calls, Ending, Say, Waits, cseq_of};
use crate::calls::Ring;
use crate::calls::lanes::Kind;
use crate::calls::message::{Message, Method, Start, tag_of};
use crate::calls::table::{Callee, Caller, Handle};
use crate::calls::text::{SDP, Texts};
use crate::calls::timers::{End, Growth, Next};
use crate::sys::Datagram;

impl Calls<'_> {
    /// Whether a request reached the callee as it must be there.
    pub(super) fn is_for_callee(
        &self,
        handle: Handle,
        port_index: usize,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        uri: &[u8],
    ) -> bool {
        let call = self.table.look(handle).0;
        let is_in_dialog = matches!(message.method, Method::Ack | Method::Bye);
        let expected_tag = is_in_dialog.then_some(&call.to_tag[..]);
        let is_whole = message.method != Method::Invite || message.body == SDP;
        let is_sound = matches!(message.start, Start::Request { method, .. } if method == message.method)
            && message.cseq == cseq_of(message.method)
            && tag_of(message.from) == Some(&call.from_tag[..])
            && tag_of(message.to) == expected_tag
            && is_whole;
        is_sound
            && (self.plan.echo
                || (self.came_to(call.callee_ua, port_index, datagram)
                    && !message.has_route
                    && uri == self.texts.contact_uri(call.callee_ua).bytes()))
    }

    pub(super) fn callee_hears_invite(
        &mut self,
        handle: Handle,
        message: &Message<'_>,
        now_ns: u64,
    ) -> io::Result<()> {
        match self.table.look(handle).0.callee {
            Callee::Idle => {
                self.counts.requests += 1;
                if !self.keep_head(handle, message) {
                    self.settle(handle, Ending::Lost, now_ns);
                    return Ok(());
                }
                self.with(handle, |call| call.callee = Callee::Ringing);
                self.say(handle, Say::Ringing)?;
                match self.plan.ring {
                    Ring::For(Duration::ZERO) => self.answer(handle, now_ns),
                    Ring::For(_) => {
                        self.wait(handle, End::Callee, Waits::ToAnswer, now_ns);
                        Ok(())
                    }
                    Ring::UntilAll => Ok(()),
                }
            }
            // RFC 3261 17.2.1: the last response is repeated.
            Callee::Ringing => self.repeat(handle, Say::Ringing),
            Callee::Answered => self.repeat(handle, Say::Answer),
            Callee::Declined => self.repeat(handle, Say::Terminated),
            Callee::Talking | Callee::Gone => {
                self.counts.duplicate += 1;
                Ok(())
            }
        }
    }

    pub(super) fn callee_hears_ack(&mut self, handle: Handle, now_ns: u64) -> io::Result<()> {
        let call = self.table.look(handle).0;
        let (callee, caller) = (call.callee, call.caller);
        match callee {
            Callee::Answered | Callee::Declined => {
                self.counts.requests += 1;
                self.with(handle, |call| {
                    call.acknowledged = true;
                    call.callee_timer.stop();
                    call.callee =
                        if callee == Callee::Answered { Callee::Talking } else { Callee::Gone };
                });
                if callee == Callee::Declined && caller == Caller::Gone {
                    self.settle(handle, Ending::Cancelled, now_ns);
                }
            }
            Callee::Talking | Callee::Gone => self.counts.duplicate += 1,
            Callee::Idle | Callee::Ringing => self.counts.mismatched += 1,
        }
        Ok(())
    }

    pub(super) fn callee_hears_bye(
        &mut self,
        handle: Handle,
        port_index: usize,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
    ) -> io::Result<()> {
        match self.table.look(handle).0.callee {
            Callee::Answered | Callee::Talking => {
                self.counts.requests += 1;
                self.with(handle, |call| {
                    call.callee = Callee::Gone;
                    call.callee_timer.stop();
                });
            }
            Callee::Gone => self.counts.duplicate += 1,
            Callee::Idle | Callee::Ringing | Callee::Declined => {
                self.counts.mismatched += 1;
                return Ok(());
            }
        }
        self.accept(port_index, datagram, message, Kind::ByeAnswer)
    }

    pub(super) fn callee_hears_cancel(
        &mut self,
        handle: Handle,
        port_index: usize,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        now_ns: u64,
    ) -> io::Result<()> {
        let callee = self.table.look(handle).0.callee;
        match callee {
            Callee::Ringing => self.counts.requests += 1,
            Callee::Idle | Callee::Answered | Callee::Talking | Callee::Declined | Callee::Gone => {
                self.counts.duplicate += 1;
            }
        }
        self.accept(port_index, datagram, message, Kind::Other)?;
        if callee == Callee::Ringing {
            self.say(handle, Say::Terminated)?;
            self.with(handle, |call| call.callee = Callee::Declined);
            self.wait(handle, End::Callee, Waits::ToRepeat, now_ns);
        }
        Ok(())
    }

    /// The callee answers the call.
    pub(super) fn answer(&mut self, handle: Handle, now_ns: u64) -> io::Result<()> {
        self.say(handle, Say::Answer)?;
        self.with(handle, |call| call.callee = Callee::Answered);
        self.wait(handle, End::Callee, Waits::ToRepeat, now_ns);
        Ok(())
    }

    pub(super) fn callee_has_waited(
        &mut self,
        handle: Handle,
        next: Next,
        now_ns: u64,
    ) -> io::Result<()> {
        let call = self.table.look(handle).0;
        match (call.callee, next) {
            (Callee::Ringing, _) => self.answer(handle, now_ns),
            (Callee::Answered, Next::Again) => {
                self.say_again(handle, Say::Answer, Growth::UpToT2, End::Callee, now_ns)
            }
            (Callee::Declined, Next::Again) => {
                self.say_again(handle, Say::Terminated, Growth::UpToT2, End::Callee, now_ns)
            }
            (Callee::Declined, Next::GiveUp) if call.caller == Caller::Gone => {
                self.settle(handle, Ending::Unacknowledged, now_ns);
                Ok(())
            }
            // The caller's BYE, or its own patience, ends the call.
            (Callee::Answered | Callee::Declined, Next::GiveUp)
            | (Callee::Idle | Callee::Talking | Callee::Gone, _) => Ok(()),
        }
    }

    /// The 200 to a BYE or CANCEL, from where it arrived.
    pub(super) fn accept(
        &mut self,
        port_index: usize,
        datagram: &Datagram<'_>,
        message: &Message<'_>,
        kind: Kind,
    ) -> io::Result<()> {
        let method: &[u8] = match message.method {
            Method::Cancel => b"CANCEL",
            Method::Invite | Method::Ack | Method::Bye => b"BYE",
        };
        // An echo has sent it to the caller, but the callee is who answers: from wherever, it comes back.
        self.lanes.put(self.ports, port_index, kind, datagram.to, |slot| {
            Texts::accept(slot, message, method)
        })
    }

    /// Keeps what the callee's responses begin with; false where it is too long.
    pub(super) fn keep_head(&mut self, handle: Handle, message: &Message<'_>) -> bool {
        let to_tag = self.table.look(handle).0.to_tag;
        let mut parts: [&[u8]; 48] = [b""; 48];
        let mut count = 0;
        let mut add = |part| {
            parts[count] = part;
            count += 1;
        };
        for line in message.via.lines().iter().chain(message.record_route.lines()) {
            add(line);
            add(b"\r\n");
        }
        for part in [
            b"From: ",
            message.from,
            b"\r\nTo: ",
            message.to,
            b";tag=",
            &to_tag,
            b"\r\nCall-ID: ",
            message.call_id,
            b"\r\nCSeq: 1 INVITE\r\n",
        ] {
            add(part);
        }
        self.table.keep_head(handle, &parts[..count])
    }
}
