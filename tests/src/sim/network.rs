//! The network between the user agents and the node: a link for each of their networks, with two directions that fail apart from
//! each other. It knows nothing of SIP.

use super::message::Register;
use super::mutation;
use super::plan::{Fault, Plan};
use super::random::Random;
use shards::io::{Instant, LocalAddr};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A datagram on its way to the node.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The source it claims.
    pub from: SocketAddr,
    /// The node's address it goes to.
    pub to: LocalAddr,
    /// The payload.
    pub bytes: Rc<[u8]>,
    /// What its sender meant, where it is a REGISTER that nobody has altered.
    pub meant: Option<Rc<Register>>,
    /// The network its sender is in.
    pub group: usize,
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the node.
    In,
    /// Away from it.
    Out,
}

/// One direction of one link.
#[derive(Clone, Debug, Default)]
struct Link {
    delay_min: Duration,
    delay_mean: Duration,
    /// Of a thousand.
    loss: u32,
    clogged_until: Instant,
    /// Whether what meets the clog is lost, or waits.
    clog_loses: bool,
}

/// What becomes of a datagram: copies of it, each with its time of arrival.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it arrives.
    pub at: Instant,
    /// The bytes, where they are no longer what was sent.
    pub altered: Option<Rc<[u8]>>,
}

/// All links.
#[derive(Debug)]
pub struct Network {
    random: Random,
    links: Vec<[Link; 2]>,
    /// Of a thousand: duplicates, stragglers, corrupted and truncated ones.
    duplicated: u32,
    reordered: u32,
    corrupted: u32,
    truncated: u32,
}

impl Network {
    /// The network of a plan.
    #[must_use]
    pub fn new(plan: &Plan, mut random: Random) -> Self {
        let strength = |fault| plan.strength(fault);
        let link = |random: &mut Random| {
            let delay_min = Duration::from_micros(random.log_within(50, 50_000));
            Link {
                delay_min,
                delay_mean: Duration::from_micros(random.log_within(50, 100_000)),
                loss: strength(Fault::Loss) * 6 * u32::try_from(random.below(101)).unwrap() / 100,
                clogged_until: Instant::START,
                clog_loses: false,
            }
        };
        let links = (0..plan.groups).map(|_| [link(&mut random), link(&mut random)]).collect();
        Network {
            links,
            duplicated: strength(Fault::Duplicates) * 5,
            reordered: strength(Fault::Reordering) * 5,
            corrupted: strength(Fault::Corruption) * 3,
            truncated: strength(Fault::Truncation) * 2,
            random,
        }
    }

    /// Carries a datagram: none, one or several arrivals.
    pub fn carry(
        &mut self,
        now: Instant,
        group: usize,
        direction: Direction,
        bytes: &[u8],
    ) -> Vec<Arrival> {
        let copies = 1 + u64::from(self.random.chance(self.duplicated)) * self.random.within(1, 2);
        (0..copies).filter_map(|_| self.carry_one(now, group, direction, bytes)).collect()
    }

    fn carry_one(
        &mut self,
        now: Instant,
        group: usize,
        direction: Direction,
        bytes: &[u8],
    ) -> Option<Arrival> {
        let Network { random, links, .. } = self;
        let link = &links[group][direction as usize];
        let is_clogged = link.clogged_until > now;
        if random.chance(link.loss) || is_clogged && link.clog_loses {
            return None;
        }
        let mut at = now.plus(link.delay_min + random.exponential(link.delay_mean));
        if random.chance(self.reordered) {
            at = at.plus(random.exponential(Duration::from_secs(2)));
        }
        if is_clogged {
            // It leaves the clog with all others.
            at = at.max(link.clogged_until.plus(Duration::from_nanos(random.below(5_000_000))));
        }
        // What the user agents get is not altered: it is the server's reading that is tried.
        let altered = match direction {
            Direction::Out => None,
            Direction::In if random.chance(self.corrupted) => {
                Some(mutation::mutated(bytes, random))
            }
            Direction::In if random.chance(self.truncated) => {
                Some(bytes[..random.index(bytes.len() + 1)].to_vec())
            }
            Direction::In => None,
        };
        Some(Arrival { at, altered: altered.map(Rc::from) })
    }

    /// Clogs one direction of one link, and says so.
    pub fn clog(&mut self, now: Instant) -> String {
        let Network { random, links, .. } = self;
        let (group, direction) = (random.index(links.len()), random.index(2));
        let link = &mut links[group][direction];
        // Now and then longer than a transaction is remembered.
        let longest = Duration::from_secs(40);
        link.clogged_until = now.plus(random.exponential(Duration::from_secs(8)).min(longest));
        link.clog_loses = random.chance(500);
        let (way, fate) =
            (["in", "out"][direction], if link.clog_loses { "loses" } else { "holds back" });
        let secs = link.clogged_until.since(now).as_secs();
        format!("network {group} {fate} what goes {way} for {secs} s")
    }

    /// Ends all faults; what is held back is on its way already.
    pub fn heal(&mut self) {
        for link in self.links.iter_mut().flatten() {
            link.loss = 0;
            link.clogged_until = Instant::START;
        }
        (self.duplicated, self.reordered, self.corrupted, self.truncated) = (0, 0, 0, 0);
    }
}
