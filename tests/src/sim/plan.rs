//! What one seed does: how large its world is, what the operator has configured, and which faults it knows and how hard they hit.
//! Every seed draws a subset of the faults (swarm testing: what is always on hides what only shows without it).

use super::credentials::REALM;
use super::directory::Directory;
use super::random::Random;
use super::reference::uri::Place;
use shards::auth::{Algorithm, Realm};
use shards::io::CoreId;
use shards::location::Domains;
use shards::registrar::{Policy, UnsupportedPath, WhenFull};
use shards::shard::{Homes, Keys, Limits, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Declares the faults with their names on the command line.
macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal,)*) => {
        /// What may go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[$(Fault::$fault,)*];

            /// Its name on the command line and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name,)* }
            }
        }
    };
}

faults! {
    /// Datagrams are lost, in each direction of each link at a rate of its own.
    Loss = "loss",
    /// Datagrams come twice or three times.
    Duplicates = "duplicates",
    /// Some datagrams take much longer than others.
    Reordering = "reordering",
    /// A direction of a link carries nothing for a while; what waits comes at once, or never.
    Clogs = "clogs",
    /// Bytes change on the way.
    Corruption = "corruption",
    /// Datagrams are cut off.
    Truncation = "truncation",
    /// The kernel delivers datagrams to any core.
    WrongCore = "wrong-core",
    /// Rings between cores hold next to nothing.
    SmallRings = "small-rings",
    /// Datagrams lie in rings for a while.
    SlowRings = "slow-rings",
    /// Sockets hold next to nothing.
    SmallSockets = "small-sockets",
    /// A core stands still.
    Stalls = "stalls",
    /// The node ends and starts again, with nothing but its configuration.
    Restarts = "restarts",
    /// The wall clock steps forwards and backwards.
    WallSteps = "wall-steps",
    /// The kernel loses what a core wants sent.
    EgressLoss = "egress-loss",
    /// The kernel takes nothing that a core wants sent, until its outbox is full.
    EgressBlocks = "egress-blocks",
    /// Few transactions are remembered.
    SmallMemory = "small-memory",
    /// The location table is too small for everybody.
    SmallTable = "small-table",
    /// Somebody forges, replays, floods and sends garbage.
    Hostile = "hostile",
    /// Somebody who may adds and removes bindings by hand, and changes who may register.
    Operator = "operator",
    /// Phones are dead for a while, and ICMP errors tell so.
    DeadPhones = "dead-phones",
    /// The addresses of names come late, or never.
    SlowNames = "slow-names",
}

impl Fault {
    /// Those that only the world of calls knows.
    pub const OF_CALLS: [Fault; 2] = [Fault::DeadPhones, Fault::SlowNames];
}

/// How whoever registers has to show who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// What is offered, strongest first.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce is good, in seconds.
    pub nonce_lifetime_secs: u32,
    /// The nonces whose uses a core remembers.
    pub nonces: usize,
    /// Whether the node has the same secret after a restart, from a file; without one it makes another.
    pub keeps_secret: bool,
}

/// Everything that is decided before the first event.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// How many cores the node starts with.
    pub cores: u16,
    /// How many user agents there are.
    pub agents: usize,
    /// The most user agents that share an address-of-record.
    pub devices_max: u64,
    /// How many networks the user agents are in, each with a link of its own.
    pub groups: usize,
    /// How long things break.
    pub chaos: Duration,
    /// How long everybody may take to be registered once the network is healed.
    pub heal_within: Duration,
    /// How long a user agent waits between two requests, on average.
    pub pause: Duration,
    /// The operator's policy.
    pub policy: Policy,
    /// What a shard may hold.
    pub limits: Limits,
    /// Whether the node answers for every domain.
    pub any_domain: bool,
    /// Datagrams that a core takes from its socket, and from each ring, in a turn.
    pub batch: usize,
    /// Messages that fit into an outbox.
    pub outbox: usize,
    /// Timers that a turn may touch.
    pub expire_budget: u32,
    /// Whether a core reads ahead what it takes from its socket.
    pub foresees: bool,
    /// How whoever registers shows who he is; `None` where everybody is believed.
    pub digest: Option<Digest>,
    /// The faults that this seed knows, and how hard each hits, from 1 to 100.
    pub faults: BTreeMap<Fault, u32>,
}

/// What a caller wants otherwise than a seed has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How many cores.
    pub cores: Option<u16>,
    /// How many user agents.
    pub agents: Option<usize>,
    /// How many seconds things break.
    pub chaos_secs: Option<u64>,
    /// Whether there is digest.
    pub digest: Option<bool>,
    /// Faults to leave out.
    pub without: Vec<Fault>,
    /// These faults and no others, where there are any.
    pub only: Vec<Fault>,
}

impl fmt::Display for Wishes {
    /// As options of the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut option = |name: &str, value: Option<String>| match value {
            Some(value) => write!(f, " --{name} {value}"),
            None => Ok(()),
        };
        option("cores", self.cores.map(|cores| cores.to_string()))?;
        option("agents", self.agents.map(|agents| agents.to_string()))?;
        option("chaos", self.chaos_secs.map(|secs| secs.to_string()))?;
        let on = |is_on| if is_on { "on" } else { "off" }.to_owned();
        option("digest", self.digest.map(on))?;
        for fault in &self.without {
            option("without", Some(fault.name().to_owned()))?;
        }
        for fault in &self.only {
            option("only", Some(fault.name().to_owned()))?;
        }
        Ok(())
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, wishes: &Wishes) -> Self {
        let mut random = Random::new(seed);
        // What was thought of later is drawn apart, so that a seed's world without it is what it was before.
        let mut later = Random::new(seed ^ 0xd16e_57ed);
        let mut faults = BTreeMap::new();
        for &fault in Fault::ALL.iter().filter(|fault| !Fault::OF_CALLS.contains(fault)) {
            let random = if fault == Fault::Operator { &mut later } else { &mut random };
            // Drawn for all, so that leaving one out does not change the others.
            let (is_on, strength) =
                (random.chance(400), u32::try_from(random.within(1, 100)).unwrap());
            let is_wished = wishes.only.is_empty() || wishes.only.contains(&fault);
            let is_on = if wishes.only.contains(&fault) { true } else { is_on && is_wished };
            if is_on && !wishes.without.contains(&fault) {
                faults.insert(fault, strength);
            }
        }
        // Most worlds are small, so that there are many; some have thousands of user agents.
        let agents = match random.below(100) {
            0..65 => random.log_within(4, 100),
            65..97 => random.within(100, 400),
            _ => random.within(1000, 4000),
        };
        let agents = wishes.agents.unwrap_or(usize::try_from(agents).unwrap());
        let cores = u16::try_from(random.within(1, 8)).unwrap();
        let (chaos_secs, requests) =
            if agents < 1000 { (random.within(60, 900), random.within(5, 25)) } else { (120, 5) };
        let chaos = Duration::from_secs(wishes.chaos_secs.unwrap_or(chaos_secs));
        let devices_max = random.within(1, 3);
        let policy = policy(&mut random);
        let limits = limits(&mut random, agents, &faults);
        let (has_digest, digest) = (later.chance(350), digest(&mut later, agents, &faults));
        Plan {
            seed,
            cores: wishes.cores.unwrap_or(cores),
            agents,
            devices_max,
            groups: usize::try_from(random.within(1, 6)).unwrap(),
            chaos,
            // Where not all can be registered, it is only seen that all are answered.
            heal_within: Duration::from_secs(if faults.contains_key(&Fault::SmallTable) {
                40
            } else {
                240
            }),
            pause: chaos / u32::try_from(requests).unwrap(),
            policy,
            limits,
            any_domain: random.chance(300),
            batch: usize::try_from(random.log_within(1, 64)).unwrap(),
            outbox: usize::try_from(random.log_within(1, 64)).unwrap(),
            expire_budget: u32::try_from(random.log_within(1, 256)).unwrap(),
            foresees: random.chance(700),
            digest: wishes.digest.unwrap_or(has_digest).then_some(digest),
            faults,
        }
    }

    /// How hard a fault hits, 0 where this seed does not know it.
    #[must_use]
    pub fn strength(&self, fault: Fault) -> u32 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// The domain of the user agents.
    pub const DOMAIN: &'static str = "sip.test";
    /// Another name of it.
    pub const ALIAS: &'static str = "voip.test";
    /// Where the node listens.
    pub const LISTENERS: [&'static str; 2] = ["198.51.100.1:5060", "[2001:db8::1]:5060"];

    /// The settings of a node with this many cores, for its first one, at its start of a number and with whom its file has.
    #[must_use]
    pub fn settings(&self, cores: u16, start: u64, directory: &Directory) -> Settings {
        let realm = |digest: &Digest| Realm {
            name: REALM.into(),
            algorithms: digest.algorithms.clone(),
            nonce_lifetime_secs: digest.nonce_lifetime_secs,
            nonces: digest.nonces,
            subscribers: directory.subscribers(&digest.algorithms),
        };
        Settings {
            core: CoreId(0),
            homes: Homes::all(cores),
            keys: self.keys(start),
            domains: Arc::new(self.domains()),
            listeners: self.listeners().into(),
            policy: self.policy.clone(),
            proxy: shards::proxy::Policy::default(),
            // Where everybody is believed, what a replay may do is for RFC 3261 10.3 alone to say.
            realm: self.digest.as_ref().map(realm),
            limits: self.limits.clone(),
        }
    }

    /// The number of the secret that a node has at its start of a number.
    #[must_use]
    pub fn secret(&self, start: u64) -> u64 {
        if self.digest.as_ref().is_some_and(|digest| !digest.keeps_secret) { start } else { 0 }
    }

    /// The keys of a node at its start of a number.
    #[must_use]
    pub fn keys(&self, start: u64) -> Keys {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&self.seed.to_le_bytes());
        secret[8..16].copy_from_slice(&self.secret(start).to_le_bytes());
        Keys::derive(&secret)
    }

    /// The domains that a node answers for.
    #[must_use]
    pub fn domains(&self) -> Domains {
        let domains = if self.any_domain { Domains::any() } else { Domains::new([Self::DOMAIN]) };
        domains.with_alias(Self::ALIAS, Self::DOMAIN)
    }

    /// The same, as the reference knows it.
    #[must_use]
    pub fn place(&self) -> Place {
        let mut domains = BTreeMap::from([(Self::ALIAS, Self::DOMAIN)]);
        if !self.any_domain {
            domains.insert(Self::DOMAIN, Self::DOMAIN);
        }
        Place { any: self.any_domain, domains, listeners: self.listeners() }
    }

    /// The addresses that a node listens on.
    #[must_use]
    pub fn listeners(&self) -> Vec<SocketAddr> {
        Self::LISTENERS.iter().map(|listener| listener.parse().unwrap()).collect()
    }
}

fn policy(random: &mut Random) -> Policy {
    let seconds = |random: &mut Random, values: &[u32]| random.pick(values);
    let max_expires_secs = seconds(random, &[40, 90, 300, 900, 7200]);
    Policy {
        min_expires_secs: seconds(random, &[1, 5, 10, 30]),
        default_expires_secs: seconds(random, &[30, 35, 40]).min(max_expires_secs),
        max_expires_secs,
        // Enough for all that the devices of one address-of-record want at a time.
        max_contacts: u16::try_from(random.within(10, 16)).unwrap(),
        max_contact_bytes: seconds(random, &[4096, 8192]),
        when_full: random.pick(&[WhenFull::Refuse, WhenFull::ReplaceOldest]),
        unsupported_path: random.pick(&[UnsupportedPath::Reject, UnsupportedPath::Store]),
    }
}

fn limits(random: &mut Random, agents: usize, faults: &BTreeMap<Fault, u32>) -> Limits {
    // All on one core, each with all it may bind, and what hostile ones leave behind.
    let plenty = agents * 8 + 2000;
    let bindings = match faults.get(&Fault::SmallTable) {
        Some(&strength) => (agents / (1 + strength as usize / 10)).max(2),
        None => plenty,
    };
    let completed_bytes = if faults.contains_key(&Fault::SmallMemory) {
        64 << 10
    } else {
        (agents * 64 + 4096) << 10
    };
    Limits {
        message_bytes: random.pick(&[4096, 16_384, 65_507]),
        header_lines: random.pick(&[40, 64, 128]),
        contacts: random.pick(&[8, 16]),
        bindings,
        arena_bytes: (bindings * 1024).max(1 << 20),
        completed_bytes,
        transactions: 1000,
        branches: 2000,
        transaction_bytes: 4 << 20,
    }
}

fn digest(random: &mut Random, agents: usize, faults: &BTreeMap<Fault, u32>) -> Digest {
    use Algorithm::{Md5, Sha256, Sha512_256};
    let offers: [&[Algorithm]; 5] =
        [&[Md5], &[Md5], &[Sha256, Md5], &[Sha512_256], &[Sha512_256, Sha256, Md5]];
    let is_small = faults.contains_key(&Fault::SmallMemory);
    Digest {
        algorithms: random.pick(&offers).to_vec(),
        nonce_lifetime_secs: random.pick(&[5, 30, 300, 3600]),
        nonces: if is_small { (agents / 4).max(8) } else { agents * 32 + 1024 },
        keeps_secret: random.chance(600),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, cores, agents, devices_max, groups, chaos, pause, .. } = self;
        writeln!(
            f,
            "seed {seed}: {cores} cores, {agents} user agents in {groups} networks, up to {devices_max} an address-of-record"
        )?;
        writeln!(f, "chaos for {} s, a request every {} s", chaos.as_secs(), pause.as_secs())?;
        writeln!(
            f,
            "batch {}, outbox {}, expire budget {}, any domain {}",
            self.batch, self.outbox, self.expire_budget, self.any_domain
        )?;
        writeln!(f, "{:?}", self.policy)?;
        writeln!(f, "{:?}", self.limits)?;
        if let Some(digest) = &self.digest {
            writeln!(f, "{digest:?}")?;
        }
        let faults =
            self.faults.iter().map(|(fault, strength)| format!("{} {strength}", fault.name()));
        write!(f, "faults: {}", faults.collect::<Vec<_>>().join(", "))
    }
}
