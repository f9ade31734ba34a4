//! SIP messages as they stand in a datagram: found, judged and taken apart over the received bytes (RFC 3261 25), and the
//! responses to them written. What it gives are parts of the received bytes; it knows nothing of transactions or bindings.
//!
//! [`peek()`] tells what a datagram is and where it lives; [`Message::parse`] reads on from there with the same [`Index`], so
//! that every line is read once. Only CRLF ends a line: a bare CR or LF among the headers is a defect.
//!
//! There are two readers. The common one (`padded`, `common`) takes what nearly every message looks like, in a straight line; the
//! complete one (`cursor` and what uses it) takes all that the grammar allows, tells the defects, and is asked where the first
//! gives up. Tests hold the two against each other.

mod address;
mod common;
mod contact;
mod credentials;
mod cursor;
mod date;
mod edit;
mod essentials;
mod header;
mod index;
mod list;
mod malformed;
mod message;
mod method;
mod number;
mod padded;
mod params;
mod peek;
mod response;
mod scan;
mod start;
mod uri;
mod via;

pub use address::Address;
pub use contact::{Contact, ContactAddress, ContactPlace, Contacts, KnownContact};
pub use credentials::{Credentials, unescape};
pub use date::sip_date;
pub use edit::{Editor, Edits, Straight};
pub use header::HeaderId;
pub use index::Index;
pub use list::{Addresses, OptionTags, Vias};
pub use malformed::Malformed;
pub use message::{CSeq, Header, Message, StartLine};
pub use method::Method;
pub use number::{Decimal, EXPIRES_MALFORMED_SECS, decimal, lifetime_secs, q_thousandths};
pub use params::{Param, Params, ParamsIter};
pub use peek::{Home, Peek, peek, peek_register};
pub use response::{Response, response_destination};
pub use scan::same;
pub use uri::{Host, Scheme, Uri};
pub use via::{Rport, Via};

#[cfg(test)]
pub(crate) mod tests;
