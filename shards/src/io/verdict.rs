//! What became of an input. Every input gets exactly one verdict, so inputs equal the sum of verdicts.

use super::CoreId;

/// What became of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A final response of success went into the outbox.
    Replied,
    /// It was passed on: to the next hops of a request, or to where the request of a response came from.
    Forwarded,
    /// A request that is kept until something is known that it takes to pass it on.
    Held,
    /// It lives on another core: the caller moves the same bytes there.
    Hopped(CoreId),
    /// Nothing needed to be sent: an ACK to a refusal, or a repetition of what is still pending.
    Absorbed,
    /// A refusal with this status code went into the outbox.
    Refused(u16),
    /// Nothing was sent, for this reason.
    Dropped(Reason),
}

/// A verdict and the class under which its service time and queue age are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the input turned out to be.
    pub class: Class,
    /// What became of it.
    pub verdict: Verdict,
}

/// Declares an enum with the label under which each variant is counted and published.
macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every variant, in the order of their indices.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// How many variants there are: the size of a table of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The label of this variant in metrics and reports.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }

            /// The index of this variant in a table of counters.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

labelled! {
    /// The classes whose cost and delay differ enough to be planned for separately.
    Class {
        /// Empty, CRLF or STUN: something keeps a NAT binding open.
        Keepalive = "keepalive",
        /// Not SIP at all.
        Junk = "junk",
        /// Passed on to the core where it lives.
        Move = "move",
        /// A repetition of a request that was answered already.
        Duplicate = "duplicate",
        /// A REGISTER that created at least one binding.
        RegisterNew = "reg-200-new",
        /// A REGISTER that only refreshed bindings.
        RegisterRefresh = "reg-refresh",
        /// A REGISTER that only removed bindings.
        RegisterRemove = "reg-remove",
        /// A REGISTER that asked for the bindings and changed nothing.
        RegisterQuery = "reg-query",
        /// A REGISTER that was challenged.
        RegisterChallenged = "reg-401",
        /// OPTIONS answered by this server.
        Options = "options",
        /// An INVITE that begins a call.
        Invite = "invite",
        /// A request within a dialog, other than ACK.
        InDialog = "in-dialog",
        /// Any other request that is passed on.
        Request = "request",
        /// A request that a proxy challenged.
        RequestChallenged = "request-407",
        /// A CANCEL.
        Cancel = "cancel",
        /// A request that was refused.
        Refusal = "refusal",
        /// An ACK.
        Ack = "ack",
        /// A response.
        Response = "response",
        /// What another core wrote.
        Letter = "letter",
        /// An ICMP error about something that was sent.
        Unreachable = "unreachable",
        /// The addresses of a name.
        Addresses = "addresses",
    }
}

labelled! {
    /// Why an input was dropped without an answer.
    Reason {
        /// A datagram without a byte.
        Empty = "empty",
        /// A keep-alive of CR and LF, RFC 5626 3.5.1.
        Crlf = "crlf",
        /// A STUN message, RFC 5389 6; STUN is not served on this port.
        Stun = "stun",
        /// The first line is neither a request line nor a status line.
        NotSip = "not_sip",
        /// Larger than the configured limit for a message.
        TooLarge = "too_large",
        /// A request so malformed that no response could be addressed, or an ACK that can't be answered.
        BadRequest = "bad_request",
        /// A response that breaks the grammar.
        BadResponse = "bad_response",
        /// An ACK that has passed as many proxies as it may, RFC 3261 16.3 step 3.
        TooManyHops = "too_many_hops",
        /// An ACK whose next hop is not known or may not be used.
        NoWay = "no_way",
        /// A response that belongs to no transaction, RFC 6026 7.2.
        NoTransaction = "no_transaction",
        /// A request so short that the refusal would be more than twice its length.
        Amplifies = "amplifies",
        /// The response to it would not fit into a datagram.
        ResponseTooLarge = "response_too_large",
    }
}
