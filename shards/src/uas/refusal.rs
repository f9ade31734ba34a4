//! Refusals: the responses that end a request without having done anything. They are stateless, as RFC 3261 8.2.7 allows:
//! the same request gets the same bytes again.

use crate::wire::{HeaderId, Malformed};

/// Why a request is refused, and with that the response it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The message breaks the grammar, or a limit: RFC 3261 21.4.1 and what [`Malformed`] says.
    Malformed(Malformed),
    /// A request that is well-formed but asks for something contradictory: 400 with this reason.
    BadRequest(&'static str),
    /// 403, RFC 3261 10.3 step 4: whoever sent it may not act for this address-of-record.
    Forbidden,
    /// 403, RFC 3261 21.4.4: the address-of-record has all the bindings it may have.
    TooManyContacts,
    /// 403, RFC 3261 21.4.4: neither from nor to us nor from a neighbour.
    NotARelay,
    /// 403, RFC 3261 21.4.4: nothing is sent to where it asks to be sent.
    ForbiddenHop,
    /// 404, RFC 3261 21.4.5: a domain or user that is not here.
    NotFound,
    /// 405, RFC 3261 8.2.1: a method that is known and not served.
    MethodNotAllowed,
    /// 416, RFC 3261 21.4.14: neither sip nor sips.
    UnsupportedScheme,
    /// 420, RFC 3261 8.2.2.3 and 16.3: an extension is required, in this header, that is not understood.
    BadExtension(HeaderId),
    /// 420, RFC 3327 5.3: a Path that the UA does not say it supports.
    PathNotSupportedByUa,
    /// 423, RFC 3261 10.3 step 7: a shorter registration than this many seconds.
    IntervalTooBrief(u32),
    /// 439, RFC 5626 6: the first hop of a UA that wants outbound does not support it.
    FirstHopLacksOutbound,
    /// 440, RFC 5393 5.3.3.1: no branch may be made.
    BreadthExceeded,
    /// 480, RFC 3261 16.5: the user has no binding.
    TemporarilyUnavailable,
    /// 481, RFC 3261 9.2: a CANCEL without a transaction.
    NoTransaction,
    /// 482, RFC 3261 16.3 step 4: it has been here before, just as it is.
    LoopDetected,
    /// 483, RFC 3261 16.3 step 3: Max-Forwards has run out.
    TooManyHops,
    /// 500, RFC 3261 10.3 step 7: not newer than what the binding was made by.
    OutOfOrder,
    /// 500, RFC 3261 16.7 step 6: there is no way to the next hop.
    NoTransport,
    /// 513, RFC 3261 21.5.7: the answer would not fit into a datagram.
    MessageTooLarge,
    /// 501, RFC 3261 21.5.2: a method that is not known.
    NotImplemented,
    /// 503, RFC 3261 21.5.4: the location table has no room.
    LocationFull,
    /// 503, RFC 3261 21.5.4: as many requests are being passed on as there is room for.
    TransactionsFull,
}

impl Refusal {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed(malformed) => malformed.status,
            Refusal::BadRequest(_) => 400,
            Refusal::Forbidden
            | Refusal::TooManyContacts
            | Refusal::NotARelay
            | Refusal::ForbiddenHop => 403,
            Refusal::NotFound => 404,
            Refusal::MethodNotAllowed => 405,
            Refusal::UnsupportedScheme => 416,
            Refusal::BadExtension(_) | Refusal::PathNotSupportedByUa => 420,
            Refusal::IntervalTooBrief(_) => 423,
            Refusal::FirstHopLacksOutbound => 439,
            Refusal::BreadthExceeded => 440,
            Refusal::TemporarilyUnavailable => 480,
            Refusal::NoTransaction => 481,
            Refusal::LoopDetected => 482,
            Refusal::TooManyHops => 483,
            Refusal::OutOfOrder | Refusal::NoTransport => 500,
            Refusal::NotImplemented => 501,
            Refusal::MessageTooLarge => 513,
            Refusal::LocationFull | Refusal::TransactionsFull => 503,
        }
    }

    /// The reason phrase.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Malformed(malformed) => malformed.reason,
            Refusal::BadRequest(reason) => reason,
            Refusal::Forbidden => "Forbidden",
            Refusal::TooManyContacts => "Too Many Contacts",
            Refusal::NotARelay => "Not From Or To Here",
            Refusal::ForbiddenHop => "Forbidden Next Hop",
            Refusal::NotFound => "Not Found",
            Refusal::MethodNotAllowed => "Method Not Allowed",
            Refusal::UnsupportedScheme => "Unsupported URI Scheme",
            Refusal::BadExtension(_) | Refusal::PathNotSupportedByUa => "Bad Extension",
            Refusal::IntervalTooBrief(_) => "Interval Too Brief",
            Refusal::FirstHopLacksOutbound => "First Hop Lacks Outbound Support",
            Refusal::BreadthExceeded => "Max-Breadth Exceeded",
            Refusal::TemporarilyUnavailable => "Temporarily Unavailable",
            Refusal::LoopDetected => "Loop Detected",
            Refusal::NoTransaction => "Call/Transaction Does Not Exist",
            Refusal::TooManyHops => "Too Many Hops",
            Refusal::OutOfOrder => "Not Newer Than The Binding",
            Refusal::NotImplemented => "Not Implemented",
            Refusal::MessageTooLarge => "Message Too Large",
            Refusal::NoTransport => "No Way To The Next Hop",
            Refusal::LocationFull => "Location Table Full",
            Refusal::TransactionsFull => "Service Unavailable",
        }
    }
}
