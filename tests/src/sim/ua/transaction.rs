//! A non-INVITE client transaction over UDP, RFC 3261 17.1.2: when a request is sent again, and when it is given up. It never looks
//! into a message.

use crate::sim::network::Packet;
use shards::io::Instant;
use std::time::Duration;

/// The round trip that RFC 3261 assumes.
pub const T1: Duration = Duration::from_millis(500);
/// The longest wait between two copies of a request.
pub const T2: Duration = Duration::from_secs(4);
/// Timer F: how long an answer is waited for.
pub const TIMER_F: Duration = Duration::from_secs(32);

/// A request that waits for its final response.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What is sent, again and again.
    pub packet: Packet,
    /// By which its responses are known.
    pub branch: Vec<u8>,
    /// The number of the `CSeq`.
    pub cseq: u32,
    /// Timer E.
    send_at: Instant,
    interval: Duration,
    /// Timer F.
    give_up_at: Instant,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Timer E: the request is sent again.
    Send,
    /// Timer F: there is no answer.
    GiveUp,
}

impl Transaction {
    /// A request that is sent now.
    #[must_use]
    pub fn new(now: Instant, packet: Packet, branch: Vec<u8>, cseq: u32) -> Self {
        Transaction {
            packet,
            branch,
            cseq,
            send_at: now.plus(T1),
            interval: T1,
            give_up_at: now.plus(TIMER_F),
        }
    }

    /// When the next timer fires.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.send_at.min(self.give_up_at)
    }

    /// Lets timers fire.
    pub fn wake(&mut self, now: Instant) -> Due {
        if now >= self.give_up_at {
            return Due::GiveUp;
        }
        if now < self.send_at {
            return Due::Nothing;
        }
        self.interval = (2 * self.interval).min(T2);
        self.send_at = now.plus(self.interval);
        Due::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::io::{ListenerId, LocalAddr};

    #[test]
    fn a_request_without_an_answer_is_sent_eleven_times_in_32_seconds() {
        let from = "192.0.2.1:5060".parse().unwrap();
        let to = LocalAddr { listener: ListenerId(0), ip: [192, 0, 2, 2].into() };
        let packet = Packet { from, to, bytes: [].into(), meant: None, group: 0 };
        let mut transaction = Transaction::new(Instant::START, packet, Vec::new(), 1);
        let mut sent_ms = vec![0];
        loop {
            let now = transaction.deadline();
            match transaction.wake(now) {
                Due::Nothing => unreachable!("its deadline has come"),
                Due::Send => sent_ms.push(now.as_nanos() / 1_000_000),
                Due::GiveUp => break,
            }
        }
        // RFC 3261 17.1.2.2: 500 ms, 1 s, 2 s, 4 s, 4 s, 4 s, ...
        assert_eq!(sent_ms, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }
}
