//! Transactions, RFC 3261 17: what recognises a message as part of an exchange that is already under way or done. It owns
//! the records of exchanges, never a location or a decision about a request.

pub mod completed;
mod fingerprint;
mod log;
mod tag;

pub use completed::Completed;
pub use fingerprint::{Fingerprint, Identity};
pub use tag::ToTag;

use core::time::Duration;

/// RFC 3261 17.1.1.1: T1, the estimate of a round trip.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 17.2.2: Timer J over UDP, how long a server absorbs retransmissions of a non-INVITE request it has answered.
pub const TIMER_J: Duration = Duration::from_secs(32);
const _: () = assert!(TIMER_J.as_millis() == 64 * T1.as_millis());
