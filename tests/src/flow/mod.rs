//! Call flows in text, played against shards under virtual time: who sends, what, what must come back, what time passes.
//! It owns the format and its player; the flows themselves are the files in `tests/flows`.
//!
//! ```text
//! # A comment. What stands before the first flow holds for all flows of the file.
//! alice at 192.0.2.1:5060
//! bob at 192.0.2.2:5060
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
//!
//! flow RFC 3261 16.6: a call
//! bob registers
//! alice > INVITE sip:bob@sip.test
//! alice < 100
//! bob < INVITE
//!     uri sip:bob@192.0.2.2:5060
//! bob > 200
//! alice < 200
//! alice > ACK
//! bob < ACK
//! ```
//!
//! **Parties.** `carol at 192.0.2.9:6000 as carol@other.test on 198.51.100.1:5060` has another address-of-record than
//! `carol@sip.test`, and talks to this listener rather than to the first one of its address family; both are optional.
//!
//! **Sending.** `alice > METHOD [uri]` fills in what every request has: Via with a new branch, Max-Forwards, From with a
//! tag, To (for REGISTER the actor's own address-of-record), Call-ID, `CSeq` counted up, Contact where RFC 3261 wants one,
//! Content-Length. Without a URI it is sent within the actor's dialog, if there is one, with the route set and the target that
//! the actor has learned. ACK and CANCEL repeat what they belong to of the actor's last INVITE (or other request), unless
//! it is the ACK to a 2xx, which belongs to the dialog; PRACK gets the `RAck` of the last `RSeq`. `bob > 180` answers the last
//! request that bob got, `bob > 487 to INVITE` the last INVITE: Via, Record-Route, From, To with bob's tag, Call-ID and `CSeq`
//! are copied. `bob > 486 Not Now` has that reason. An indented line `Name: value` replaces the default of that name, or adds a
//! header; `no Name` leaves the default out; `| text` is a line of the body. `alice > SIP/2.0 200 OK` sends a response to
//! nothing, `alice > raw` the lines after `|` and nothing else, `alice > again` the same bytes once more. `\x00` is that byte,
//! `{a*500}` repeats, and a `|` line that ends in `\` gets no CRLF.
//!
//! `bob registers` is a REGISTER with his address as Contact, the answer to the challenge if there are subscribers, and
//! the 200; `bob2 registers as bob` binds another address; lines below it replace or add headers. `alice calls bob` stands for the
//! seven messages of a call that is answered at once.
//!
//! The line `digest alice secret` answers the last challenge that the actor got, 401 or 407: with the first of its header fields, or
//! that of `algorithm=SHA-256`, or its `-sess` form, and with the nonce's next count. Further words replace what would be right:
//! `nc=00000001`, `uri=sip:b@c`, `nonce=x`, `realm=x`, `response=x`, `cnonce=x`, `username=x`; `hash-username=x` what is hashed
//! only, `qop=none` (as in RFC 2069) and `cnonce=none` leave it out, `force` answers by an algorithm that is not offered. `set auth
//! MD5 SHA-256` makes flows ask for it in the realm `sip.test`, `set subscriber alice sip.test secret` is who there is;
//! `set nonce_lifetime 300` and `set nonces 100` say how long nonces live and how many are remembered.
//!
//! **Expecting.** `alice < 200` takes the next message to alice's address, a response with this status; `bob < INVITE` a request with
//! this method. `alice < 100?` takes one if it is there.
//! Among different receivers the order does not matter. Whatever is sent must be taken
//! before the flow goes on: silence is what a flow expects where it says nothing, and `silence` says so. `alice < same` takes a
//! message that is byte for byte the one alice got last, `bob < same 3 times` three of them. Checks: `Name: value` (all rows of
//! that name, in order), `Name ~ regex` (one of them), `has Name`, `no Name`, `reason text`, `uri sip:bob@192.0.2.2`,
//! `| text` (the whole body), `contact <uri>;expires=3590..3600;q=0.5` (together: the set of all contacts, each with all its parameters) and `no contacts`.
//! `keep name Header regex` checks the pattern and makes what its first group found `$name` in all later lines.
//!
//! Without a word these hold:
//! - A response is compared with the request it answers as RFC 3261 8.2.6.2 and 18.2.1 demand (Via, From, To, Call-ID, `CSeq`), unless
//!   `unmirrored` says that the request is too broken for that.
//! - What is passed on has all header rows and the body of what came, byte for byte and in order, apart from Via, Route,
//!   Record-Route, Max-Forwards and Max-Breadth; our Vias are on top and below them those that came, with `received` and `rport`;
//!   Max-Forwards is less by one a hop; no Record-Route is lost; a response has the same status line. `changed` takes that back.
//! - CANCEL, and the ACK to a refusal, agree with the INVITE that their receiver got as RFC 3261 9.1 and 17.1.1.3 demand.
//! - At the end whatever is still under way ends by itself, whoever stops talking, and leaves nothing behind.
//! - Everything leaves from the listener that its receiver talks to.
//!
//! **The node.** `set neighbour other 192.0.2.128/25 other.test 192.0.2.130:5060` is a neighbour with its networks, domains (lists with
//! commas, `-` for none) and next hop, which may be left out; `set challenge off [LISTENER]`, `set advertise LISTENER NAME`, `set
//! timer_c 185`, `set transactions 1000`, `set branches 2000` and `set transaction_bytes 4000000` are its other settings. `restart` makes
//! all cores anew, with the same keys and without a memory; `restart on other cores` changes their number, `restart with a renewed
//! secret` lets cookies of the one before count, `restart with a strange secret` does not. What the node sends to one of its own
//! listeners arrives there.
//!
//! Letters between cores are carried at once. `alice apart bob` gives alice a Call-ID that lives on another core than bob's bindings,
//! where there are several; `set cores several` keeps a flow to those nodes. `lose letters 1` loses the next one, `lose letters
//! 1 after 1` the one after it, `hold letters 1` keeps it until `release letters`.
//! `resolves sip.other.test 192.0.2.130` answers the oldest question for that name, `resolves sip.other.test nothing` has no address
//! for it; `asks sip.other.test` and `asks nothing` look at what waits for an answer. `unreachable bob` is the ICMP error for the
//! last datagram that bob got, or for the `|` lines below it.
//!
//! **The rest.** `wait 30s` lets time pass; timers fire when they are due. `clock -600s` sets the wall clock and nothing else.
//! `alice passes bob` gives what alice sent last to bob, who sends it from his address with `bob > again`. `verdict dropped crlf` and
//! `class reg-refresh` look at what became of the last input, `count bindings_expired 1` and `gauge bindings 2` at the sum over
//! all shards.

mod check;
pub mod digest;
mod forward;
mod memory;
mod message;
mod node;
mod parse;
mod play;
mod script;
mod settings;
mod variables;

pub use digest::{Answer, Challenges, verifiers};
pub use memory::Memory;
pub use message::Message;
pub use node::Topology;
pub use parse::parse;
pub use play::play;
pub use script::{Actor, Body, Check, Contact, Flow, Line, Restart, Step, Wanted};
