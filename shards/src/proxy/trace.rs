//! `route.test`: what would become of a request, step by step, from the code that routes. Nothing is sent, and nothing changes.

use super::Proxy;
use super::decide::{Destination, Origin, Sender, Trace};
use super::route::{Hop, plan};
use super::targets;
use crate::io::{Instant, LocalAddr, Peer};
use crate::location::Location;
use crate::uas::Refusal;
use crate::wire::{StartLine, Uri};
use alloc::sync::Arc;

/// A request to trace.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its Request-URI.
    pub uri: &'a [u8],
    /// Where it would come from.
    pub source: Peer,
    /// Where it would arrive.
    pub local: LocalAddr,
}

impl Proxy {
    /// Traces a request: as a neighbour's where the source is one, otherwise as a stranger's and as that of a user of ours. Whoever
    /// would have to show who they are is taken to have done so.
    pub fn route_test(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        location: &Location,
        trace: &mut impl Trace,
    ) {
        let setup = Arc::clone(&self.setup);
        let is_neighbour = setup.policy.neighbour_at(asked.source.addr.ip()).is_some();
        let stranger: &[u8] = b"sip:anonymous@anonymous.invalid";
        if is_neighbour {
            return self.trace(now, asked, &[stranger], location, trace);
        }
        // Where every domain is ours there are no strangers.
        if !setup.domains.is_any() {
            trace.step("sender", b"a stranger");
            self.trace(now, asked, &[stranger], location, trace);
        }
        let host = Uri::parse(asked.uri).map_or(&b"localhost"[..], |uri| uri.host.raw());
        let domain = setup.domains.first().unwrap_or(host);
        trace.step("sender", b"a user of ours");
        self.trace(now, asked, &[b"sip:user@", domain], location, trace);
    }

    fn trace(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        from: &[&[u8]],
        location: &Location,
        trace: &mut impl Trace,
    ) {
        let Some(mut reader) = self.requests.take() else { return };
        let Asked { method, uri, .. } = *asked;
        reader.write(&[
            &[
                method,
                b" ",
                uri,
                b" SIP/2.0\r\nVia: SIP/2.0/UDP route.test;branch=z9hG4bK1\r\nFrom: <",
            ][..],
            from,
            &[b">;tag=1\r\nTo: <", uri, b">\r\nCall-ID: route.test\r\nCSeq: 1 ", method],
            &[b"\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"],
        ]);
        match reader.reread() {
            Ok(message) => {
                if let StartLine::Request { uri, .. } = *message.start_line()
                    && let Err(refusal) = self.steps(now, asked, &message, &uri, location, trace)
                {
                    let [a, b, c] =
                        [100, 10, 1].map(|unit| b'0' + (refusal.status() / unit % 10) as u8);
                    trace.step("refused", refusal.reason().as_bytes());
                    trace.step("status", &[a, b, c]);
                }
            }
            Err(malformed) => trace.step("no request", malformed.reason.as_bytes()),
        }
        self.requests = Some(reader);
    }

    fn steps(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        message: &crate::wire::Message<'_>,
        uri: &Uri<'_>,
        location: &Location,
        trace: &mut impl Trace,
    ) -> Result<(), Refusal> {
        let Asked { source, local, .. } = *asked;
        let setup = Arc::clone(&self.setup);
        let names = setup.names(local);
        let plan = plan(message, uri, source.addr.ip(), &names)?;
        let asks = self.asks(local);
        let key = &setup.keys.home;
        let from = &mut self.tools.from;
        let sender = names.sender(message, &plan, source.addr.ip(), asks, key, from, trace)?;
        let origin = match sender {
            Sender::Is(origin) => origin,
            Sender::Owes => {
                trace.step("407", b"until it has shown whose it is; then");
                Origin::Known
            }
        };
        let from_tag = message.from().tag.unwrap_or_default();
        let to = &mut self.tools.to;
        match names.destination(&plan, origin, from_tag, key, to, trace)? {
            Destination::Server => trace.step("answered", b"by this server"),
            Destination::Hop(Hop::Address(addr)) => trace.address("next hop", addr),
            Destination::Hop(Hop::Name(name, _)) => trace.step("next hop, by name", name),
            Destination::Flow(flow) => trace.address("next hop", flow.to.addr),
            Destination::User => return self.trace_user(now, location, trace),
        }
        Ok(())
    }

    fn trace_user(
        &mut self,
        now: Instant,
        location: &Location,
        trace: &mut impl Trace,
    ) -> Result<(), Refusal> {
        let hash = self.tools.to.hash();
        let nobody = self.nobody();
        let super::Tools { set, order, .. } = &mut self.tools;
        set.clear();
        targets::write(location, hash, now, set, order);
        if set.is_empty() {
            return Err(nobody);
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
        Ok(())
    }
}
