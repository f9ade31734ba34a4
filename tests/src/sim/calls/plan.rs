//! What one seed of the world of calls does: how many phones there are and what they are used to, and which faults hit them. Faults,
//! networks and the sizes of the node are drawn as in the world of registrations.

use crate::sim::plan::{Fault, Plan as Base, Wishes};
use crate::sim::random::Random;
use shards::io::CoreId;
use shards::location::Domains;
use shards::proxy::{Neighbour, Network, NextHop};
use shards::registrar::{Policy, UnsupportedPath, WhenFull};
use shards::shard::{Homes, Keys, Limits, Settings};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is decided before the first event.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is drawn as for the other world: faults, networks, cores, batches.
    pub base: Base,
    /// How many users there are.
    pub users: usize,
    /// The most phones of a user.
    pub phones_max: u64,
    /// How long a phone waits between two calls, on average.
    pub pause: Duration,
    /// How many of a thousand calls are cancelled by their caller.
    pub cancelled: u32,
    /// How long things break.
    pub chaos: Duration,
    /// The most requests that a core passes on at a time, and branches of them.
    pub transactions: u32,
    /// The most branches.
    pub branches: u32,
    /// Bytes for their messages.
    pub transaction_bytes: usize,
}

impl Plan {
    /// The domain of the neighbour, which is reached by name.
    pub const CARRIER: &'static str = "carrier.test";
    /// The name of its next hop.
    pub const CARRIER_HOST: &'static str = "proxy.carrier.test";
    /// Its address.
    pub const CARRIER_ADDRESS: &'static str = "203.0.113.7:5060";
    /// How long a binding lives, in seconds.
    pub const EXPIRES_SECS: u32 = 60;
    /// Timer C, RFC 3261 16.6 step 11, in seconds.
    pub const TIMER_C_SECS: u32 = 185;

    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, wishes: &Wishes) -> Self {
        let mut base = Base::new(seed, wishes);
        let mut random = Random::new(seed ^ 0xca11_ca11);
        // What has to do with registrations only.
        for fault in [Fault::WallSteps, Fault::SmallTable, Fault::Operator] {
            base.faults.remove(&fault);
        }
        for fault in Fault::OF_CALLS {
            let (is_drawn, strength) =
                (random.chance(400), u32::try_from(random.within(1, 100)).unwrap());
            let is_wished = wishes.only.contains(&fault);
            let is_on = is_wished || wishes.only.is_empty() && is_drawn;
            if is_on && !wishes.without.contains(&fault) {
                base.faults.insert(fault, strength);
            }
        }
        base.cores = wishes.cores.unwrap_or(1 + (base.cores - 1) % 4);
        let users = usize::try_from(random.log_within(2, 14)).unwrap();
        let users = wishes.agents.unwrap_or(users);
        let chaos = Duration::from_secs(wishes.chaos_secs.unwrap_or(random.within(20, 120)));
        let (transactions, factor, bytes) = match base.strength(Fault::SmallMemory) {
            0 => (1000, 2, 1000 * 4096),
            _ => (
                u32::try_from(random.log_within(8, 64)).unwrap(),
                random.pick(&[1, 2]),
                usize::try_from(random.within(64, 256)).unwrap() << 10,
            ),
        };
        Plan {
            users,
            phones_max: random.within(1, 3),
            pause: Duration::from_millis(random.log_within(2_000, 20_000)),
            cancelled: random.pick(&[100, 300, 900]),
            chaos,
            transactions,
            branches: transactions * factor,
            transaction_bytes: bytes,
            base,
        }
    }

    /// How hard a fault hits, 0 where this seed does not know it.
    #[must_use]
    pub fn strength(&self, fault: Fault) -> u32 {
        self.base.strength(fault)
    }

    /// Whether what arrives is what was sent.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        [Fault::Corruption, Fault::Truncation, Fault::Hostile]
            .iter()
            .all(|&fault| self.strength(fault) == 0)
    }

    /// Whether all that is sent arrives, soon or late, and everybody remembers what they know.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        let loses = [
            Fault::Loss,
            Fault::Clogs,
            Fault::SmallSockets,
            Fault::SmallRings,
            Fault::Restarts,
            Fault::EgressLoss,
            Fault::SmallMemory,
            Fault::DeadPhones,
        ];
        self.is_pure() && loses.iter().all(|&fault| self.strength(fault) == 0)
    }

    /// Whether every core looks at its timers when they are due.
    #[must_use]
    pub fn is_punctual(&self) -> bool {
        [Fault::Stalls, Fault::EgressBlocks].iter().all(|&fault| self.strength(fault) == 0)
    }

    /// The settings of a node with this many cores, for its first one, at its start of a number. The secret outlives restarts.
    #[must_use]
    pub fn settings(&self, cores: u16, start: u64) -> Settings {
        let listeners: Vec<SocketAddr> =
            Base::LISTENERS.iter().map(|listener| listener.parse().unwrap()).collect();
        let carrier: SocketAddr = Self::CARRIER_ADDRESS.parse().unwrap();
        let neighbour = Neighbour {
            name: "carrier".into(),
            networks: [Network { ip: carrier.ip(), prefix_bits: 32 }].into(),
            domains: [Self::CARRIER.as_bytes().into()].into(),
            next_hop: Some(NextHop::Name { host: Self::CARRIER_HOST.into(), port: carrier.port() }),
            asserts_identity: false,
        };
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&self.base.seed.to_le_bytes());
        let is_small = self.strength(Fault::SmallMemory) > 0;
        Settings {
            core: CoreId(0),
            homes: Homes::all(cores),
            keys: Keys::derive(&secret).for_start(start),
            domains: Arc::new(Domains::new([Base::DOMAIN])),
            listeners: listeners.into(),
            policy: Policy {
                min_expires_secs: 1,
                default_expires_secs: Self::EXPIRES_SECS,
                max_expires_secs: Self::EXPIRES_SECS,
                max_contacts: 10,
                max_contact_bytes: 8192,
                when_full: WhenFull::ReplaceOldest,
                unsupported_path: UnsupportedPath::Store,
            },
            proxy: shards::proxy::Policy {
                timer_c_secs: Self::TIMER_C_SECS,
                neighbours: Arc::new([neighbour]),
                listeners: Arc::new([]),
                host: Arc::new([]),
            },
            realm: None,
            limits: Limits {
                message_bytes: 65_507,
                header_lines: 64,
                contacts: 8,
                bindings: 400,
                arena_bytes: 1 << 20,
                completed_bytes: if is_small { 64 << 10 } else { 4 << 20 },
                transactions: self.transactions,
                branches: self.branches,
                transaction_bytes: self.transaction_bytes,
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { base, users, phones_max, pause, cancelled, chaos, .. } = self;
        writeln!(
            f,
            "seed {}: {} cores, {users} users with up to {phones_max} phones in {} networks",
            base.seed, base.cores, base.groups
        )?;
        writeln!(
            f,
            "chaos for {} s, a call every {pause:?}, {cancelled} of 1000 cancelled",
            chaos.as_secs()
        )?;
        writeln!(
            f,
            "{} transactions, {} branches, {} bytes; batch {}, outbox {}, expire budget {}",
            self.transactions,
            self.branches,
            self.transaction_bytes,
            base.batch,
            base.outbox,
            base.expire_budget
        )?;
        let faults: Vec<String> = base
            .faults
            .iter()
            .map(|(fault, strength)| format!("{} {strength}", fault.name()))
            .collect();
        write!(f, "faults: {}", faults.join(", "))
    }
}
