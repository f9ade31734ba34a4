//! The two server transactions, RFC 3261 17.2 and RFC 6026 7.1, as tables: what a state makes of an event. They keep nothing; who
//! owns the transaction keeps its state, its response and its timers.
//!
//! ```text
//! INVITE                                         non-INVITE
//!
//! Proceeding --2xx--> Accepted --L--> Terminated   Trying --1xx--> Proceeding
//!     |                                              |                |
//!  300-699                                         final            final
//!     v                                              v                v
//! Completed --ACK--> Confirmed --I--> Terminated   Completed ------J------> Terminated
//!     `------H-----------------------^
//! ```
//! The INVITE transaction begins in Proceeding: the 100 is sent at once.

/// Where an INVITE server transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// No final response yet.
    Proceeding,
    /// A 2xx was sent, RFC 6026 7.1.
    Accepted,
    /// Another final response was sent, and no ACK has come.
    Completed,
    /// The ACK has come.
    Confirmed,
    /// It is over.
    Terminated,
}

/// Where a non-INVITE server transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No response yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// The final response was sent.
    Completed,
    /// It is over.
    Terminated,
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request came again.
    Request,
    /// An ACK came, for an INVITE.
    Ack,
    /// Its user sends a provisional response.
    Provisional,
    /// Its user sends a 2xx.
    Success,
    /// Its user sends another final response.
    Failure,
    /// Timer G: time to send the response again.
    Resend,
    /// Timer H, I, J or L: its time is over.
    End,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the response, and keep it to send it again.
    Send,
    /// Send the response and forget it: who asked repeats it itself.
    SendOnce,
    /// Send the response again that was sent last, where there is one.
    SendAgain,
    /// Hand the ACK to the user, RFC 6026 7.1.
    PassAck,
    /// Wait for Timer I before the end.
    Linger,
    /// Forget the transaction.
    Forget,
}

impl InviteState {
    /// RFC 3261 17.2.1 as changed by RFC 6026 7.1.
    #[must_use]
    pub fn on(self, event: Event) -> (InviteState, Action) {
        use InviteState::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        match (self, event) {
            (Proceeding, Event::Request) => (Proceeding, Action::SendAgain),
            (Proceeding, Event::Provisional) => (Proceeding, Action::Send),
            (Proceeding, Event::Success) => (Accepted, Action::SendOnce),
            (Proceeding, Event::Failure) => (Completed, Action::Send),
            // An ACK to what was not sent, and timers that do not run.
            (Proceeding, Event::Ack | Event::Resend | Event::End) => (Proceeding, Action::Nothing),
            // RFC 6026 7.1: further 2xx, of other branches or sent again, pass; the INVITE is absorbed.
            (Accepted, Event::Success) => (Accepted, Action::SendOnce),
            (Accepted, Event::Ack) => (Accepted, Action::PassAck),
            (Accepted, Event::End) => (Terminated, Action::Forget),
            (Accepted, Event::Request | Event::Provisional | Event::Failure | Event::Resend) => {
                (Accepted, Action::Nothing)
            }
            (Completed, Event::Request | Event::Resend) => (Completed, Action::SendAgain),
            (Completed, Event::Ack) => (Confirmed, Action::Linger),
            // RFC 3261 16.7 step 5: a 2xx of another branch passes, whatever was sent before.
            (Completed, Event::Success) => (Completed, Action::SendOnce),
            (Completed, Event::End) => (Terminated, Action::Forget),
            (Completed, Event::Provisional | Event::Failure) => (Completed, Action::Nothing),
            (Confirmed, Event::Success) => (Confirmed, Action::SendOnce),
            (Confirmed, Event::End) => (Terminated, Action::Forget),
            (
                Confirmed,
                Event::Request | Event::Ack | Event::Provisional | Event::Failure | Event::Resend,
            ) => (Confirmed, Action::Nothing),
            (
                Terminated,
                Event::Request
                | Event::Ack
                | Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::Resend
                | Event::End,
            ) => (Terminated, Action::Nothing),
        }
    }
}

impl State {
    /// RFC 3261 17.2.2.
    #[must_use]
    pub fn on(self, event: Event) -> (State, Action) {
        use State::{Completed, Proceeding, Terminated, Trying};
        match (self, event) {
            (Trying | Proceeding, Event::Provisional) => (Proceeding, Action::Send),
            (Trying | Proceeding, Event::Success | Event::Failure) => (Completed, Action::Send),
            (Proceeding, Event::Request) => (Proceeding, Action::SendAgain),
            // RFC 3261 17.2.2: in Trying a retransmission is discarded.
            (Trying, Event::Request | Event::Ack | Event::Resend | Event::End) => {
                (Trying, Action::Nothing)
            }
            (Proceeding, Event::Ack | Event::Resend | Event::End) => (Proceeding, Action::Nothing),
            (Completed, Event::Request) => (Completed, Action::SendAgain),
            (Completed, Event::End) => (Terminated, Action::Forget),
            // RFC 3261 17.2.2: any other final response is discarded.
            (
                Completed,
                Event::Ack | Event::Provisional | Event::Success | Event::Failure | Event::Resend,
            ) => (Completed, Action::Nothing),
            (
                Terminated,
                Event::Request
                | Event::Ack
                | Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::Resend
                | Event::End,
            ) => (Terminated, Action::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::tests::table;

    const EVENTS: [Event; 7] = [
        Event::Request,
        Event::Ack,
        Event::Provisional,
        Event::Success,
        Event::Failure,
        Event::Resend,
        Event::End,
    ];

    #[test]
    fn the_invite_server_transaction() {
        use InviteState::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        let states = [Proceeding, Accepted, Completed, Confirmed, Terminated];
        let expected = "\
state       Request                Ack                  Provisional         Success               Failure           Resend               End
Proceeding  Proceeding SendAgain   Proceeding Nothing   Proceeding Send     Accepted SendOnce     Completed Send    Proceeding Nothing   Proceeding Nothing
Accepted    Accepted Nothing       Accepted PassAck     Accepted Nothing    Accepted SendOnce     Accepted Nothing  Accepted Nothing     Terminated Forget
Completed   Completed SendAgain    Confirmed Linger     Completed Nothing   Completed SendOnce    Completed Nothing Completed SendAgain  Terminated Forget
Confirmed   Confirmed Nothing      Confirmed Nothing    Confirmed Nothing   Confirmed SendOnce    Confirmed Nothing Confirmed Nothing    Terminated Forget
Terminated  Terminated Nothing     Terminated Nothing   Terminated Nothing  Terminated Nothing    Terminated Nothing Terminated Nothing  Terminated Nothing";
        table(&states, &EVENTS, InviteState::on, expected);
    }

    #[test]
    fn the_non_invite_server_transaction() {
        use State::{Completed, Proceeding, Terminated, Trying};
        let states = [Trying, Proceeding, Completed, Terminated];
        let expected = "\
state       Request               Ack                 Provisional         Success             Failure             Resend              End
Trying      Trying Nothing        Trying Nothing      Proceeding Send     Completed Send      Completed Send      Trying Nothing      Trying Nothing
Proceeding  Proceeding SendAgain  Proceeding Nothing  Proceeding Send     Completed Send      Completed Send      Proceeding Nothing  Proceeding Nothing
Completed   Completed SendAgain   Completed Nothing   Completed Nothing   Completed Nothing   Completed Nothing   Completed Nothing   Terminated Forget
Terminated  Terminated Nothing    Terminated Nothing  Terminated Nothing  Terminated Nothing  Terminated Nothing  Terminated Nothing  Terminated Nothing";
        table(&states, &EVENTS, State::on, expected);
    }
}
