//! Transactions, RFC 3261 17: what recognises a message as part of an exchange that is already under way or done. It owns
//! the records of exchanges, never a location or a decision about a request.

pub mod client;
pub mod completed;
mod fingerprint;
mod log;
pub mod server;
mod tag;

pub use completed::Completed;
pub use fingerprint::{Fingerprint, Identity};
pub use tag::ToTag;

use core::time::Duration;

/// RFC 3261 17.1.1.1: T1, the estimate of a round trip.
pub const T1: Duration = Duration::from_millis(500);
/// RFC 3261 17.1.2.1: T2, the longest interval between retransmissions of a request other than INVITE, and of a response to one.
pub const T2: Duration = Duration::from_secs(4);
/// RFC 3261 17.1.2.2: T4, how long a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);
/// How long a transaction goes on by itself, `64*T1`. RFC 3261 17: Timer B, F (no answer), H (no ACK) and J over UDP; RFC 6026
/// 7: L and M. Timer D is at least 32 seconds.
pub const LIFETIME: Duration = Duration::from_secs(32);
/// RFC 3261 17.2.2: Timer J over UDP, how long a server absorbs retransmissions of a non-INVITE request it has answered.
pub const TIMER_J: Duration = LIFETIME;
const _: () = assert!(LIFETIME.as_millis() == 64 * T1.as_millis());

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Debug;

    /// Compares a table of states and events with how it is written down, without regard to white space.
    pub(super) fn table<S: Copy + Debug, E: Copy + Debug, A: Debug>(
        states: &[S],
        events: &[E],
        on: impl Fn(S, E) -> (S, A),
        expected: &str,
    ) {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let mut lines = expected.lines();
        let head = format!(
            "state {}",
            events.iter().map(|event| format!("{event:?} ")).collect::<String>()
        );
        assert_eq!(words(lines.next().unwrap()), words(&head));
        for &state in states {
            let mut row = format!("{state:?} ");
            for &event in events {
                let (next, action) = on(state, event);
                row += &format!("{next:?} {action:?} ");
            }
            assert_eq!(words(lines.next().unwrap()), words(&row));
        }
        assert_eq!(lines.next(), None);
    }
}
