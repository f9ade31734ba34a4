//! What happens to datagrams between the user agents and the server: which are lost and when nothing gets through. It is pure: chance
//! comes from a seed, time from the caller.

use crate::population::mix;

/// Loses a share of what passes, one way.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// Of 2^32, how many datagrams are lost.
    share: u64,
    state: u64,
    /// Datagrams that were lost.
    pub(crate) taken: u64,
}

impl Loss {
    /// Loses a share, 0 to 1.
    pub(crate) fn new(share: f64, seed: u64) -> Loss {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of 2^32, clamped"
        )]
        let share = (share.clamp(0.0, 1.0) * 2f64.powi(32)) as u64;
        Loss { share, state: seed, taken: 0 }
    }

    /// Whether the next datagram is lost; counted if it is.
    pub(crate) fn takes(&mut self) -> bool {
        if self.share == 0 {
            return false;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let lost = mix(self.state) >> 32 < self.share;
        self.taken += u64::from(lost);
        lost
    }
}

/// Two ways, from the user agents of a population and to them.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// From and until when nothing gets through, in nanoseconds of the run.
    outage: Option<(u64, u64)>,
    /// To the server, and back.
    out: Loss,
    back: Loss,
}

impl Network {
    /// A network that loses a share each way, with an outage from and until so many nanoseconds of the run.
    pub(crate) fn new(share: f64, outage: Option<(u64, u64)>, seed: u64) -> Network {
        Network { outage, out: Loss::new(share, seed), back: Loss::new(share, mix(seed)) }
    }

    /// Whether a datagram to the server is lost at `now_ns`.
    pub(crate) fn loses_out(&mut self, now_ns: u64) -> bool {
        if self.is_out(now_ns) {
            self.out.taken += 1;
            return true;
        }
        self.out.takes()
    }

    /// Whether a datagram from the server is lost at `now_ns`.
    pub(crate) fn loses_in(&mut self, now_ns: u64) -> bool {
        if self.is_out(now_ns) {
            self.back.taken += 1;
            return true;
        }
        self.back.takes()
    }

    /// Datagrams that were lost on their way to the server, and back.
    pub(crate) fn lost(&self) -> (u64, u64) {
        (self.out.taken, self.back.taken)
    }

    fn is_out(&self, now_ns: u64) -> bool {
        self.outage.is_some_and(|(from, until)| (from..until).contains(&now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_loses_the_share_that_was_asked_for_each_way_and_counts_it() {
        let mut network = Network::new(0.05, None, 7);
        let lost = (0..100_000).filter(|_| network.loses_out(1)).count();
        let lost_in = (0..50_000).filter(|_| network.loses_in(1)).count();
        assert!((4_700..5_300).contains(&lost), "{lost} of 100,000");
        assert!((2_300..2_700).contains(&lost_in), "{lost_in} of 50,000");
        assert_eq!(network.lost(), (lost as u64, lost_in as u64));
    }

    #[test]
    fn the_same_seed_loses_the_same() {
        let run = |seed| {
            let mut network = Network::new(0.5, None, seed);
            (0..64).map(|_| network.loses_out(0)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn nothing_gets_through_an_outage_and_all_before_and_after_it() {
        let mut network = Network::new(0.0, Some((10, 20)), 7);
        let lost: Vec<u64> = (0..30).filter(|&now| network.loses_out(now)).collect();
        assert_eq!(lost, (10..20).collect::<Vec<_>>());
    }
}
