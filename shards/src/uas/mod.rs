//! Seawall as a user agent server, RFC 3261 8.2: it answers OPTIONS, and refuses what is not served. It keeps no state: the same
//! request gets the same bytes again, RFC 3261 8.2.7.

mod refusal;

pub use refusal::Refusal;

use crate::io::{Datagram, Outbox, Peer, Reason, Reply, Verdict};
use crate::location::Here;
use crate::transaction::ToTag;
use crate::wire::{self, HeaderId, Index, Message, Method, Response, Uri};

/// The methods that are served, for Allow (RFC 3261 20.5).
pub const ALLOW: &str = "REGISTER, OPTIONS";
/// The extensions a registrar understands, for Supported (RFC 3261 20.37): RFC 3327 and RFC 5626.
pub const SUPPORTED: &str = "path, outbound";

/// A request and the way back to whoever sent it. The request may be malformed.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'m> {
    /// How it arrived.
    pub datagram: &'m Datagram<'m>,
    /// What was found in it.
    pub index: &'m Index,
    /// The tag for To.
    pub tag: ToTag,
}

impl Caller<'_> {
    /// Where the response goes. Never to anyone but the packet's source, RFC 3261 26.3.2.4.
    #[must_use]
    #[inline(always)]
    pub fn destination(&self) -> Peer {
        let from = self.datagram.from;
        Peer { transport: from.transport, addr: wire::response_destination(self.index, from.addr) }
    }

    /// Starts a response; `None` where the request has no Via to send it by.
    #[must_use]
    #[inline(always)]
    pub fn respond<'o>(
        &self,
        out: &'o mut Outbox,
        status: u16,
        reason: &str,
    ) -> Option<Response<'o>> {
        let mut response = Response::new(out.reply());
        self.begin(&mut response, status, reason).then_some(response)
    }

    /// Begins a response; false where the request has no Via to send it by.
    #[must_use]
    #[inline(always)]
    pub fn begin(&self, response: &mut Response<'_>, status: u16, reason: &str) -> bool {
        let Datagram { from, bytes, .. } = self.datagram;
        response.begin(bytes, self.index, status, reason, from.addr, self.tag.as_bytes())
    }

    /// Queues a finished response.
    #[must_use]
    #[inline(always)]
    pub fn send(&self, reply: Reply<'_>, sent: Verdict) -> Verdict {
        if reply.send(self.destination(), self.datagram.to) {
            sent
        } else {
            Verdict::Dropped(Reason::ResponseTooLarge)
        }
    }
}

/// Answers OPTIONS to this server, RFC 3261 11.2.
#[must_use]
pub fn options(caller: &Caller<'_>, out: &mut Outbox) -> Verdict {
    let Some(mut response) = caller.respond(out, 200, "OK") else {
        return Verdict::Dropped(Reason::BadRequest);
    };
    response.header("Allow", ALLOW.as_bytes());
    response.header("Accept", b"application/sdp");
    response.header("Supported", SUPPORTED.as_bytes());
    caller.send(response.finish(), Verdict::Replied)
}

/// Sends a refusal.
#[must_use]
pub fn refuse(
    caller: &Caller<'_>,
    message: Option<&Message<'_>>,
    refusal: Refusal,
    out: &mut Outbox,
) -> Verdict {
    refuse_with(caller, refusal.status(), refusal.reason(), out, |response| {
        match refusal {
            // RFC 3261 8.2.1: a 405 says what is allowed; a 501 may.
            Refusal::MethodNotAllowed | Refusal::NotImplemented => {
                response.header("Allow", ALLOW.as_bytes());
            }
            // RFC 3261 8.2.2.3: a 420 lists what is not understood.
            Refusal::BadExtension(header) => {
                // On one line: it is no longer than the header that it answers.
                let mut separator: &[u8] = b"Unsupported: ";
                for tag in
                    message.into_iter().flat_map(|message| message.option_tags(header)).flatten()
                {
                    if !is_understood(header, tag) {
                        response.put(separator);
                        response.put(tag);
                        separator = b", ";
                    }
                }
                response.put(b"\r\n");
            }
            Refusal::PathNotSupportedByUa => response.header("Unsupported", b"path"),
            Refusal::IntervalTooBrief(min_expires_secs) => {
                response.put(b"Min-Expires: ");
                response.put_number(min_expires_secs);
                response.put(b"\r\n");
            }
            // RFC 3261 21.5.4: what is pending now has come to its end by then.
            Refusal::TransactionsFull => response.put(b"Retry-After: 32\r\n"),
            Refusal::Malformed(_)
            | Refusal::BadRequest(_)
            | Refusal::Forbidden
            | Refusal::TooManyContacts
            | Refusal::NotARelay
            | Refusal::ForbiddenHop
            | Refusal::BreadthExceeded
            | Refusal::TemporarilyUnavailable
            | Refusal::LoopDetected
            | Refusal::NoTransport
            | Refusal::NotFound
            | Refusal::UnsupportedScheme
            | Refusal::FirstHopLacksOutbound
            | Refusal::NoTransaction
            | Refusal::TooManyHops
            | Refusal::OutOfOrder
            | Refusal::MessageTooLarge
            | Refusal::LocationFull => {}
        }
    })
}

/// Sends a refusal with headers of its own.
#[must_use]
pub fn refuse_with(
    caller: &Caller<'_>,
    status: u16,
    reason: &str,
    out: &mut Outbox,
    headers: impl FnOnce(&mut Response<'_>),
) -> Verdict {
    let Some(mut response) = caller.respond(out, status, reason) else {
        return Verdict::Dropped(Reason::BadRequest);
    };
    headers(&mut response);
    let reply = response.finish();
    if reply.written().len() > refusal_bytes_max(caller) {
        return Verdict::Dropped(Reason::Amplifies);
    }
    caller.send(reply, Verdict::Refused(status))
}

/// The most bytes of a refusal. Nobody has been authenticated, so the source may be forged: it never gets more than twice what came
/// from it.
pub(crate) fn refusal_bytes_max(caller: &Caller<'_>) -> usize {
    2 * caller.datagram.bytes.len()
}

/// Whether all option tags in a header are understood; RFC 3261 8.2.2.3 for Require, 16.3 step 5 for Proxy-Require.
///
/// # Errors
/// [`Refusal::BadExtension`], or [`Refusal::Malformed`].
pub fn check_extensions(message: &Message<'_>, header: HeaderId) -> Result<(), Refusal> {
    for tag in message.option_tags(header) {
        if !is_understood(header, tag.map_err(Refusal::Malformed)?) {
            return Err(Refusal::BadExtension(header));
        }
    }
    Ok(())
}

fn is_understood(header: HeaderId, tag: &[u8]) -> bool {
    // Option tags are tokens, so their case does not matter, RFC 3261 7.3.1. None concerns a proxy.
    let understood: &[&[u8]] =
        if header == HeaderId::Require { &[b"path", b"outbound"] } else { &[] };
    understood.iter().any(|known| known.eq_ignore_ascii_case(tag))
}

/// What a request other than REGISTER and ACK gets. Only OPTIONS to this server is served.
///
/// # Errors
/// Why it is refused.
pub fn serve(
    message: &Message<'_>,
    method: Method<'_>,
    uri: &Uri<'_>,
    here: &Here<'_>,
) -> Result<(), Refusal> {
    if method == Method::Cancel {
        // RFC 3261 16.10: no transaction is pending here that it could cancel.
        return Err(Refusal::NoTransaction);
    }
    // RFC 3261 16.3 step 2.
    if !uri.is_sip() {
        return Err(Refusal::UnsupportedScheme);
    }
    let is_to_server = uri.user.is_none() && here.is_ours(uri);
    if method == Method::Options && is_to_server {
        // RFC 3261 11.2, answered whatever its Max-Forwards.
        return check_extensions(message, HeaderId::Require);
    }
    // RFC 3261 16.3 steps 3 and 5.
    if message.max_forwards() == Some(0) {
        return Err(Refusal::TooManyHops);
    }
    check_extensions(message, HeaderId::ProxyRequire)?;
    match method {
        Method::Other(_) => Err(Refusal::NotImplemented),
        Method::Options => Err(Refusal::NotFound),
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Info
        | Method::Refer
        | Method::Message
        | Method::Update => Err(Refusal::MethodNotAllowed),
    }
}
