//! Answers that do not say what they answer, as those of an echo that replies with the same bytes
//! to everybody: it owns the order in which requests left each port, by which they are matched.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::flight::{Flight, Found};
use crate::population::Population;

/// The requests that left each port and have not been matched.
pub(crate) struct InTurn {
    ports: Vec<VecDeque<u64>>,
    /// What the first answer was, and so all must be.
    payload: Vec<u8>,
}

impl InTurn {
    pub(crate) fn new(ports: usize) -> InTurn {
        InTurn { ports: vec![VecDeque::new(); ports], payload: Vec::new() }
    }

    pub(crate) fn depart(&mut self, flight: &Flight, port_index: usize, number: u64) {
        self.forget(flight, port_index);
        self.ports[port_index].push_back(number);
    }

    /// The oldest request that waits on this port for an answer to this address; none if there is
    /// none, or if the answer is not what the others were.
    pub(crate) fn arrive(
        &mut self,
        flight: &Flight,
        population: &Population,
        (port_index, to): (usize, Ipv4Addr),
        bytes: &[u8],
    ) -> Option<u64> {
        if self.payload.is_empty() {
            self.payload = bytes.to_vec();
        }
        if bytes != self.payload {
            return None;
        }
        self.forget(flight, port_index);
        let queue = &mut self.ports[port_index];
        let place = queue.iter().position(|&number| match flight.find(number) {
            Found::Waiting(sent) => population.address(sent.ua) == to,
            Found::Answered | Found::Lost | Found::Unknown => false,
        })?;
        queue.remove(place)
    }

    /// Forgets what was answered otherwise or given up, as far as nothing older waits.
    fn forget(&mut self, flight: &Flight, port_index: usize) {
        let queue = &mut self.ports[port_index];
        while let Some(&oldest) = queue.front() {
            match flight.find(oldest) {
                Found::Waiting(_) => return,
                Found::Answered | Found::Lost | Found::Unknown => queue.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Sent;
    use crate::population::UserAgent;

    #[test]
    fn the_oldest_that_waits_at_an_address_is_meant() {
        let population = Population::new(10, 1, u32::MAX);
        let mut flight = Flight::new(8);
        let mut in_turn = InTurn::new(1);
        for (due_ns, ua) in [(0, 0), (1, 1), (2, 0), (3, 2)] {
            let number = flight.next_number();
            flight.depart(Sent { due_ns, ua: UserAgent(ua), cseq: 1 });
            in_turn.depart(&flight, 0, number);
        }
        let at = |ua| (0, population.address(UserAgent(ua)));
        let mut arrive = |flight: &Flight, ua: u32, bytes: &[u8]| {
            in_turn.arrive(flight, &population, at(ua), bytes)
        };
        assert_eq!(arrive(&flight, 1, b"x"), Some(1), "an overtaking answer");
        flight.settle(1);
        assert_eq!(flight.give_up(1), 1, "the first is lost");
        assert_eq!(arrive(&flight, 0, b"y"), None, "another payload");
        assert_eq!(arrive(&flight, 0, b"x"), Some(2));
        flight.settle(2);
        assert_eq!(arrive(&flight, 0, b"x"), None, "nobody waits there");
        assert_eq!(arrive(&flight, 2, b"x"), Some(3));
    }
}
