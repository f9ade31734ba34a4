//! The two client transactions, RFC 3261 17.1 and RFC 6026 7.2, as tables: what a state makes of an event. They keep nothing; who
//! owns the transaction keeps its state, its request and its timers.
//!
//! ```text
//! INVITE                                          non-INVITE
//!
//! Calling --1xx--> Proceeding                       Trying --1xx--> Proceeding
//!   |  \              |   \                           |                |
//!   |   `--2xx--------|----`--> Accepted --M-->.     final            final
//!   `--300-699--------`--> Completed --D-->.    \     v                v
//!                                           `----`--> Completed ------K------> Terminated
//! ```

/// Where an INVITE client transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// No response yet.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response other than 2xx came, and was acknowledged.
    Completed,
    /// A 2xx came, RFC 6026 7.2.
    Accepted,
    /// It is over.
    Terminated,
}

/// Where a non-INVITE client transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No response yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// The final response came.
    Completed,
    /// It is over.
    Terminated,
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A provisional response came.
    Provisional,
    /// A 2xx came.
    Success,
    /// Another final response came.
    Failure,
    /// Timer A or E: time to send the request again.
    Resend,
    /// Timer B or F: nobody has answered.
    Timeout,
    /// The request could not be delivered, RFC 3261 17.1.4.
    Unreachable,
    /// Timer D, K or M: its time is over.
    End,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Hand the response to the user.
    Pass,
    /// Acknowledge the response, and hand it to the user, RFC 3261 17.1.1.3.
    AcknowledgeAndPass,
    /// Acknowledge the response, which the user has got already.
    Acknowledge,
    /// Send the request again.
    SendAgain,
    /// Tell the user that nobody has answered, and forget the transaction.
    TimedOut,
    /// Tell the user that nobody could be reached, and forget the transaction.
    Failed,
    /// Forget the transaction.
    Forget,
}

impl InviteState {
    /// RFC 3261 17.1.1 as changed by RFC 6026 7.2.
    #[must_use]
    pub fn on(self, event: Event) -> (InviteState, Action) {
        use InviteState::{Accepted, Calling, Completed, Proceeding, Terminated};
        match (self, event) {
            (Calling | Proceeding, Event::Provisional) => (Proceeding, Action::Pass),
            (Calling | Proceeding, Event::Success) => (Accepted, Action::Pass),
            (Calling | Proceeding, Event::Failure) => (Completed, Action::AcknowledgeAndPass),
            (Calling, Event::Resend) => (Calling, Action::SendAgain),
            (Calling | Proceeding, Event::Timeout) => (Terminated, Action::TimedOut),
            (Calling, Event::Unreachable) => (Terminated, Action::Failed),
            (Calling, Event::End) => (Calling, Action::Nothing),
            // Somebody has answered: an error is about something else.
            (Proceeding, Event::Resend | Event::Unreachable | Event::End) => {
                (Proceeding, Action::Nothing)
            }
            (Completed, Event::Failure) => (Completed, Action::Acknowledge),
            (Completed, Event::End) => (Terminated, Action::Forget),
            (
                Completed,
                Event::Provisional
                | Event::Success
                | Event::Resend
                | Event::Timeout
                | Event::Unreachable,
            ) => (Completed, Action::Nothing),
            (Accepted, Event::Success) => (Accepted, Action::Pass),
            (Accepted, Event::End) => (Terminated, Action::Forget),
            (
                Accepted,
                Event::Provisional
                | Event::Failure
                | Event::Resend
                | Event::Timeout
                | Event::Unreachable,
            ) => (Accepted, Action::Nothing),
            (
                Terminated,
                Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::Resend
                | Event::Timeout
                | Event::Unreachable
                | Event::End,
            ) => (Terminated, Action::Nothing),
        }
    }
}

impl State {
    /// RFC 3261 17.1.2.
    #[must_use]
    pub fn on(self, event: Event) -> (State, Action) {
        use State::{Completed, Proceeding, Terminated, Trying};
        match (self, event) {
            (Trying | Proceeding, Event::Provisional) => (Proceeding, Action::Pass),
            (Trying | Proceeding, Event::Success | Event::Failure) => (Completed, Action::Pass),
            (Trying | Proceeding, Event::Resend) => (self, Action::SendAgain),
            (Trying | Proceeding, Event::Timeout) => (Terminated, Action::TimedOut),
            (Trying | Proceeding, Event::Unreachable) => (Terminated, Action::Failed),
            (Trying | Proceeding, Event::End) => (self, Action::Nothing),
            (Completed, Event::End) => (Terminated, Action::Forget),
            (
                Completed,
                Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::Resend
                | Event::Timeout
                | Event::Unreachable,
            ) => (Completed, Action::Nothing),
            (
                Terminated,
                Event::Provisional
                | Event::Success
                | Event::Failure
                | Event::Resend
                | Event::Timeout
                | Event::Unreachable
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
        Event::Provisional,
        Event::Success,
        Event::Failure,
        Event::Resend,
        Event::Timeout,
        Event::Unreachable,
        Event::End,
    ];

    #[test]
    fn the_invite_client_transaction() {
        use InviteState::{Accepted, Calling, Completed, Proceeding, Terminated};
        let states = [Calling, Proceeding, Completed, Accepted, Terminated];
        let expected = "\
state       Provisional         Success             Failure                        Resend              Timeout              Unreachable         End
Calling     Proceeding Pass     Accepted Pass       Completed AcknowledgeAndPass   Calling SendAgain   Terminated TimedOut  Terminated Failed   Calling Nothing
Proceeding  Proceeding Pass     Accepted Pass       Completed AcknowledgeAndPass   Proceeding Nothing  Terminated TimedOut  Proceeding Nothing  Proceeding Nothing
Completed   Completed Nothing   Completed Nothing   Completed Acknowledge          Completed Nothing   Completed Nothing    Completed Nothing   Terminated Forget
Accepted    Accepted Nothing    Accepted Pass       Accepted Nothing               Accepted Nothing    Accepted Nothing     Accepted Nothing    Terminated Forget
Terminated  Terminated Nothing  Terminated Nothing  Terminated Nothing             Terminated Nothing  Terminated Nothing   Terminated Nothing  Terminated Nothing";
        table(&states, &EVENTS, InviteState::on, expected);
    }

    #[test]
    fn the_non_invite_client_transaction() {
        use State::{Completed, Proceeding, Terminated, Trying};
        let states = [Trying, Proceeding, Completed, Terminated];
        let expected = "\
state       Provisional         Success             Failure             Resend                Timeout              Unreachable         End
Trying      Proceeding Pass     Completed Pass      Completed Pass      Trying SendAgain      Terminated TimedOut  Terminated Failed   Trying Nothing
Proceeding  Proceeding Pass     Completed Pass      Completed Pass      Proceeding SendAgain  Terminated TimedOut  Terminated Failed   Proceeding Nothing
Completed   Completed Nothing   Completed Nothing   Completed Nothing   Completed Nothing     Completed Nothing    Completed Nothing   Terminated Forget
Terminated  Terminated Nothing  Terminated Nothing  Terminated Nothing  Terminated Nothing    Terminated Nothing   Terminated Nothing  Terminated Nothing";
        table(&states, &EVENTS, State::on, expected);
    }
}
