//! `route.test`: what would become of a request, step by step, from the code that routes. Nothing is sent, and nothing changes.

use super::Proxy;
use super::decide::{Destination, Origin, Sender, Trace};
use super::forward::Onward;
use super::route::{Hop, plan};
use super::targets;
use crate::io::{Instant, LocalAddr, Peer};
use crate::location::Location;
use crate::wire::{self, Index, Message, StartLine};

impl Proxy {
    /// Traces a request that has come from `source` to `local`. `asks` says whether its sender would have to be known: the steps go
    /// on as if that was shown.
    #[allow(clippy::too_many_arguments, reason = "a request with what is known of it")]
    pub fn route_test(
        &mut self,
        now: Instant,
        text: &[u8],
        index: &mut Index,
        source: Peer,
        local: LocalAddr,
        location: &Location,
        trace: &mut impl Trace,
    ) {
        wire::peek(text, index);
        let message = match Message::parse(text, index) {
            Ok(message) => message,
            Err(malformed) => return trace.step("refused", malformed.reason.as_bytes()),
        };
        let StartLine::Request { uri, .. } = message.start_line() else { return };
        let setup = alloc::sync::Arc::clone(&self.setup);
        let names = setup.names(local);
        let plan = match plan(&message, uri, &names) {
            Ok(plan) => plan,
            Err(refusal) => return trace.step("refused", refusal.reason().as_bytes()),
        };
        let listener = setup.policy.listeners.get(usize::from(local.listener.0));
        let asks = self.authenticator.is_some() && listener.is_none_or(|one| one.challenges);
        let key = &setup.keys.home;
        let sender =
            names.sender(&message, &plan, source.addr.ip(), asks, key, &mut self.tools.from, trace);
        let origin = match sender {
            Ok(Sender::Is(origin)) => origin,
            Ok(Sender::Owes) => {
                trace.step("challenged", b"407 until it is shown who sent it; then");
                Origin::Known
            }
            Err(refusal) => return trace.step("refused", refusal.reason().as_bytes()),
        };
        let onward = Onward { message: &message, plan: &plan, loop_hash: 0, source, local };
        let from_tag = message.from().tag.unwrap_or_default();
        let destination =
            names.destination(onward.plan, origin, from_tag, key, &mut self.tools.to, trace);
        match destination {
            Err(refusal) => {
                let [a, b, c] =
                    [refusal.status() / 100, refusal.status() / 10 % 10, refusal.status() % 10]
                        .map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
                trace.step("status", &[a, b, c]);
                trace.step("refused", refusal.reason().as_bytes());
            }
            Ok(Destination::Server) => trace.step("answered", b"by this server"),
            Ok(Destination::Hop(Hop::Address(addr))) => trace.address("next hop", addr),
            Ok(Destination::Hop(Hop::Name(name, _))) => trace.step("next hop, by name", name),
            Ok(Destination::Flow(flow)) => trace.address("next hop", flow.to.addr),
            Ok(Destination::User) => self.trace_user(now, location, trace),
        }
    }

    fn trace_user(&mut self, now: Instant, location: &Location, trace: &mut impl Trace) {
        let hash = self.tools.to.hash();
        let nobody = self.nobody();
        let super::Tools { set, order, .. } = &mut self.tools;
        set.clear();
        targets::write(location, hash, now, set, order);
        if set.is_empty() {
            return trace.step("no binding", nobody.reason().as_bytes());
        }
        let mut rest = &set[..];
        while let Some(target) = targets::first(rest) {
            rest = rest.get(target.bytes..).unwrap_or_default();
            trace.step("target", target.record.contact);
            if target.record.path.is_empty() {
                trace.address("reached at", target.record.from.addr);
            } else {
                trace.step("by the Path", target.record.path);
            }
        }
    }
}
