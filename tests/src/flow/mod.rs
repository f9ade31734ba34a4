//! Call flows in text, played against shards under virtual time: who sends, what, what must come back, what time passes.
//! It owns the format and its player; the flows themselves are the files in `tests/flows`.
//!
//! ```text
//! # A comment. What stands before the first flow holds for all flows of the file.
//! alice at 192.0.2.1:5060
//! set min_expires 60
//!
//! flow RFC 3261 10.3 step 7: a wish below the minimum is refused with 423
//! alice > REGISTER
//!     Contact: <sip:alice@192.0.2.1>;expires=59
//! alice < 423
//!     Min-Expires: 60
//!     no Contact
//! wait 500ms
//! alice > again
//! alice < same
//! ```
//!
//! **Sending.** `alice > METHOD [uri]` fills in what every request has: Via with a new branch, Max-Forwards, From with a
//! tag, To (for REGISTER the actor's own address-of-record), Call-ID, `CSeq` counted up, Content-Length. ACK and CANCEL take
//! the branch, To, Call-ID and `CSeq` number of the actor's last request, ACK the To of its response. An indented line
//! `Name: value` replaces the default of that name, or adds a header; `no Name` leaves the default out; `| text` is a line
//! of the body. `alice > SIP/2.0 200 OK` sends a response in the same way, `alice > raw` the lines after `|` and nothing
//! else, `alice > again` the same bytes once more. `\x00` is that byte, `{a*500}` repeats, and a `|` line that ends
//! in `\` gets no CRLF.
//!
//! The line `digest alice secret` answers the last challenge that the actor got: with the first of its header fields, or that of
//! `algorithm=SHA-256`, or its `-sess` form, and with the nonce's next count. Further words replace what would be right:
//! `nc=00000001`, `uri=sip:b@c`, `nonce=x`, `realm=x`, `response=x`, `cnonce=x`, `username=x`; `hash-username=x` what is hashed
//! only, `qop=none` (as in RFC 2069) and `cnonce=none` leave it out, `force` answers by an algorithm that is not offered. `set auth
//! MD5 SHA-256` makes flows ask for it in the realm `sip.test`, `set subscriber alice sip.test secret` is who there is;
//! `set nonce_lifetime 300` and `set nonces 100` say how long nonces live and how many are remembered.
//!
//! **Expecting.** `alice < 200` takes the next message, which must go to alice's address. Whatever is sent must be taken
//! before the flow goes on: silence is what a flow expects where it says nothing, and `silence` says so. Every response is
//! compared with the request it answers as RFC 3261 8.2.6.2 and 18.2.1 demand (Via, From, To, Call-ID, `CSeq`), unless
//! `unmirrored` says that the request is too broken for that. `alice < same` takes a response that is byte for byte the
//! one alice got last. Checks: `Name: value` (all rows of that name, in order), `Name ~ regex` (one of them), `has Name`,
//! `no Name`, `reason text`, `contact <uri>;expires=3590..3600;q=0.5` (together: the set of all contacts, each with all
//! its parameters) and `no contacts`.
//!
//! **The rest.** `wait 30s` lets time pass; timers fire when they are due. `clock -600s` sets the wall clock and nothing else,
//! `restart` makes all cores anew, with the same keys and without a memory. `alice passes bob` gives what alice sent last to bob,
//! who sends it from his address with `bob > again`. `verdict dropped crlf` and `class reg-refresh`
//! look at what became of the last input, `count bindings_expired 1` and `gauge bindings 2` at the sum over all shards.

mod check;
mod digest;
mod message;
mod parse;
mod play;
mod script;
mod settings;

pub use digest::{Answer, Challenges, verifiers};
pub use message::{Memory, Message};
pub use parse::parse;
pub use play::{Topology, play};
pub use script::{Actor, Body, Check, Contact, Flow, Line, Step};
