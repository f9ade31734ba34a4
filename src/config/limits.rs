//! From a configuration to bytes: how much each core may hold, derived in sums that are printed. It reserves nothing.

use super::{Auth, Config};
use shards::auth::Authenticator;
use shards::location::Location;
use shards::proxy::Proxy;
use shards::shard::Shard;
use shards::store::{Arena, Table, Wheel};
use std::fmt;

/// Datagrams read from a socket with one system call.
const BATCH: usize = 64;
/// For all rings towards a core together, and for one of them.
const RINGS_BYTES: usize = 16 << 20;
const RING_BYTES_MAX: usize = 512 << 10;
/// Two of the largest messages: one may be read while the next is written.
const RING_BYTES_MIN: usize = 128 << 10;
/// The mean length at which a ring's places and bytes are spent together.
const HOP_BYTES: usize = 512;
/// What the kernel is asked to queue for the socket for everything but REGISTER. It doubles this for its own overhead,
/// which then is room for 6,500 datagrams of up to 500 bytes: 20 ms at 300,000/s.
const REST_SOCKET_BYTES: usize = 4 << 20;
/// For the socket for REGISTER: a longer queue would only hold what its sender has given up on.
const REGISTER_SOCKET_BYTES: usize = 2 << 20;
/// For what waits to leave from each of them.
const SEND_SOCKET_BYTES: usize = 4 << 20;
/// The most an arena may be, less than [`Arena`]'s 32 GiB; more is an error of the configuration.
pub(super) const ARENA_BYTES_MAX: usize = (32 << 30) - (1 << 20);
/// The least: a page for each of the lengths that strings may have, and the longest string, so that a few bindings find
/// room whatever they look like.
const ARENA_BYTES_MIN: usize = 256 << 10;
/// Copies of a request that are on their way at the same time, in the mean: few requests fork.
const BRANCHES: u32 = 2;
/// The least for the messages of transactions: the largest request, its copy and its response, and room for other lengths.
const TRANSACTION_BYTES_MIN: usize = 1 << 20;
/// Transactions of one call that are pending at the same time: an INVITE with a PRACK and an UPDATE in its dialog, and a BYE.
const TRANSACTIONS_OF_A_CALL: u64 = 4;

/// What each core may hold, and what the node needs in all. Every core has the same.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many cores there are.
    pub cores: u16,
    /// What a shard may hold.
    pub shard: shards::shard::Limits,
    /// Nonces that a core remembers the uses of; 0 without authentication.
    pub nonces: usize,
    /// Datagrams read from a socket with one system call.
    pub batch: usize,
    /// Datagrams in the ring between two cores, one for each direction.
    pub ring_hops: usize,
    /// Bytes of datagrams in such a ring.
    pub ring_bytes: usize,
    /// Receive buffer of a socket for everything but REGISTER, in bytes.
    pub rest_socket_bytes: usize,
    /// Receive buffer of a socket for REGISTER, in bytes.
    pub register_socket_bytes: usize,
    /// Send buffer of either, in bytes.
    pub send_socket_bytes: usize,
    rows: Vec<Row>,
}

/// A line of the table: what, how many bytes a core, and how that comes.
#[derive(Clone, Debug)]
struct Row {
    what: &'static str,
    bytes: usize,
    sum: String,
}

impl Limits {
    /// Derives the limits of a configuration.
    #[must_use]
    pub fn derive(config: &Config) -> Self {
        let cores = config.node.cpus.len();
        let bindings = bindings_per_core(config);
        let string_bytes = config.location.binding_bytes as usize;
        let arena_bytes = (bindings as usize * string_bytes).max(ARENA_BYTES_MIN);
        let message_bytes = config.limits.message_bytes as usize;
        let transactions = transactions_per_core(config);
        let transaction_bytes = transactions as usize * config.proxy.transaction_bytes as usize;
        let transaction_bytes = transaction_bytes.max(TRANSACTION_BYTES_MIN);
        let branches = transactions.saturating_mul(BRANCHES);
        let (request_bytes, branch_bytes) = Proxy::entry_bytes();
        let completed_bytes = usize::try_from(config.limits.completed_bytes).unwrap_or(usize::MAX);
        let others = cores - 1;
        let ring_bytes = (RINGS_BYTES / others.max(1)).clamp(RING_BYTES_MIN, RING_BYTES_MAX);
        let listeners = config.listeners.len();
        let queues_bytes = REST_SOCKET_BYTES + REGISTER_SOCKET_BYTES + 2 * SEND_SOCKET_BYTES;

        let count = bindings as usize;
        let header_lines = usize::from(config.limits.headers);
        let index_bytes = Table::bytes(bindings) + Wheel::bytes(bindings);
        let nonces = nonces_per_core(config);
        let mut rows = vec![
            Row {
                what: "bindings",
                bytes: count * (Location::AOR_BYTES + Location::BINDING_BYTES) + index_bytes,
                sum: format!(
                    "{} x ({} address-of-record + {} binding + 10 index + 12 timer)",
                    thousands(count),
                    Location::AOR_BYTES,
                    Location::BINDING_BYTES
                ),
            },
            Row {
                what: "strings of bindings",
                bytes: Arena::bytes(arena_bytes),
                sum: if arena_bytes == ARENA_BYTES_MIN {
                    "the least that serves strings of all lengths".to_owned()
                } else {
                    format!("{} x {string_bytes}, location.binding_bytes", thousands(count))
                },
            },
            Row {
                what: "completed transactions",
                bytes: completed_bytes,
                sum: "limits.completed_bytes".to_owned(),
            },
            Row {
                what: "requests passed on",
                bytes: transactions as usize * request_bytes + branches as usize * branch_bytes,
                sum: format!(
                    "{} x ({request_bytes} + {BRANCHES} branches x {branch_bytes})",
                    thousands(transactions as usize)
                ),
            },
            Row {
                what: "messages passed on",
                bytes: Arena::bytes(transaction_bytes),
                sum: if transaction_bytes == TRANSACTION_BYTES_MIN {
                    "the least that serves messages of all lengths".to_owned()
                } else {
                    format!(
                        "{} x {}, proxy.transaction_bytes",
                        thousands(transactions as usize),
                        thousands(config.proxy.transaction_bytes as usize)
                    )
                },
            },
            Row {
                what: "datagrams read ahead",
                bytes: Shard::foreseen_bytes(header_lines),
                sum: format!(
                    "{} x {}",
                    Shard::FORESEEN,
                    thousands(Shard::foreseen_bytes(header_lines) / Shard::FORESEEN)
                ),
            },
            Row {
                what: "receive buffers",
                bytes: BATCH * message_bytes,
                sum: format!("{BATCH} x {}, limits.message_bytes", thousands(message_bytes)),
            },
            Row {
                what: "rings",
                bytes: others * ring_bytes,
                sum: format!("{others} x {}, one from each other core", thousands(ring_bytes)),
            },
            Row {
                what: "sockets, in the kernel",
                bytes: 2 * listeners * queues_bytes,
                sum: format!(
                    "{listeners} x 2 x {}, as the kernel doubles it",
                    thousands(queues_bytes)
                ),
            },
        ];
        if nonces > 0 {
            let row = Row {
                what: "uses of nonces",
                bytes: Authenticator::nonces_bytes(nonces),
                sum: format!("{} x 2 places x 17, auth.nonces", thousands(nonces)),
            };
            rows.insert(3, row);
        }
        Limits {
            nonces,
            cores: u16::try_from(cores).expect("CPU numbers fit, so does their count"),
            shard: shards::shard::Limits {
                message_bytes,
                header_lines,
                contacts: usize::from(config.limits.contacts),
                bindings: count,
                arena_bytes,
                completed_bytes,
                transactions,
                branches,
                transaction_bytes,
            },
            batch: BATCH,
            ring_hops: ring_bytes / HOP_BYTES,
            ring_bytes,
            rest_socket_bytes: REST_SOCKET_BYTES,
            register_socket_bytes: REGISTER_SOCKET_BYTES,
            send_socket_bytes: SEND_SOCKET_BYTES,
            rows,
        }
    }

    /// Bytes that the node reserves, all cores together. Pages are only occupied once they are used.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.bytes_per_core() * usize::from(self.cores)
    }

    fn bytes_per_core(&self) -> usize {
        self.rows.iter().map(|row| row.bytes).sum()
    }
}

/// A core's share of the bindings. Addresses-of-record are spread by a keyed hash, so the shares differ: with `n` bindings
/// in groups of at most `max_contacts` on one of many cores the standard deviation is at most `sqrt(mean * max_contacts)`,
/// and a share beyond the mean and six of them is a matter of one start in a thousand million.
pub(super) fn bindings_per_core(config: &Config) -> u32 {
    let cores = config.node.cpus.len() as u64;
    let all = u64::from(config.location.max_bindings);
    let mean = all.div_ceil(cores);
    let deviation = (mean * u64::from(config.registrar.max_contacts)).isqrt() + 1;
    let share = all.min(mean + 6 * deviation);
    u32::try_from(share).expect("no more than max_bindings, which fits")
}

/// A core's share of the requests that are being passed on. They live where their Call-ID says, and Call-IDs are spread by a
/// keyed hash: with `n` transactions in calls of at most four, the standard deviation of a share is at most `sqrt(mean * 4)`. As
/// with bindings, six of them are added: what one core has too few of, another has to spare.
pub(super) fn transactions_per_core(config: &Config) -> u32 {
    let cores = config.node.cpus.len() as u64;
    let all = u64::from(config.proxy.max_transactions);
    let mean = all.div_ceil(cores);
    let deviation = (mean * TRANSACTIONS_OF_A_CALL).isqrt() + 1;
    let share = all.min(mean + 6 * deviation);
    u32::try_from(share).expect("no more than max_transactions, which fits")
}

/// A core's share of the nonces whose uses are remembered. A core that gets more forgets some, and asks again.
fn nonces_per_core(config: &Config) -> usize {
    match &config.auth {
        Auth::None => 0,
        Auth::Digest(digest) => (digest.nonces as usize).div_ceil(config.node.cpus.len()),
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = usize::from(self.cores);
        let on = if cores == 1 { "on 1 core".to_owned() } else { format!("on {cores} cores") };
        writeln!(f, "{:22} {:>12} {on:>14}   a core is", "memory reserved", "a core")?;
        for row in &self.rows {
            let (one, all) = (mebibytes(row.bytes), mebibytes(row.bytes * cores));
            writeln!(f, "{:22} {one:>12} {all:>14}   {}", row.what, row.sum)?;
        }
        let (one, all) = (mebibytes(self.bytes_per_core()), mebibytes(self.total_bytes()));
        write!(f, "{:22} {one:>12} {all:>14}   occupied only as it is used", "total")
    }
}

/// Bytes in MiB with one decimal.
#[must_use]
pub fn mebibytes(bytes: usize) -> String {
    let tenths = (bytes * 10 + (1 << 19)) >> 20;
    format!("{}.{} MiB", thousands(tenths / 10), tenths % 10)
}

pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;

    fn config(cores: usize) -> Config {
        Config::builtin(&Machine { cpus: (0..cores).collect(), hostname: "edge7".to_owned() })
    }

    #[test]
    fn one_core_has_all_bindings_and_many_have_a_margin() {
        assert_eq!(bindings_per_core(&config(1)), 1_000_000);
        // 500,000 + 6 * 2,237.
        assert_eq!(bindings_per_core(&config(2)), 513_422);
        let mut few = config(64);
        few.location.max_bindings = 10;
        assert_eq!(bindings_per_core(&few), 10);
    }

    /// Deals addresses-of-record, each with all the contacts it may have, to 16 cores by a hash, and looks at the fullest.
    #[test]
    fn no_core_gets_more_than_its_share() {
        let mut config = config(16);
        config.location.max_bindings = 100_000;
        let contacts = u32::from(config.registrar.max_contacts);
        let share = bindings_per_core(&config);
        for seed in 0..20u64 {
            let mut held = [0u32; 16];
            for aor in 0..u64::from(config.location.max_bindings / contacts) {
                // splitmix64.
                let mut hash = (seed << 32 | aor).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                let core = usize::try_from((hash ^ hash >> 31) % 16).unwrap();
                held[core] += contacts;
            }
            let fullest = held.into_iter().max().unwrap();
            assert!(fullest <= share, "{fullest} of {share}");
        }
    }

    #[test]
    fn transactions_are_shared_with_a_margin_and_have_two_branches() {
        let one = Limits::derive(&config(1)).shard;
        assert_eq!((one.transactions, one.branches), (65_536, 131_072));
        assert_eq!(one.transaction_bytes, 65_536 * 4096);
        // 32,768 + 6 * 363.
        assert_eq!(Limits::derive(&config(2)).shard.transactions, 34_946);
        let mut few = config(64);
        few.proxy.max_transactions = 16;
        let few = Limits::derive(&few).shard;
        assert_eq!((few.transactions, few.transaction_bytes), (16, 1 << 20));
    }

    #[test]
    fn a_few_bindings_find_room_however_long_their_strings_are() {
        let mut few = config(1);
        few.location.max_bindings = 1;
        let mut arena = Arena::new(Limits::derive(&few).shard.arena_bytes);
        let longest = vec![b'a'; Arena::STRING_BYTES_MAX];
        arena.insert(&longest).unwrap();
        let mut place_bytes = 0;
        for length in (1..4096).filter(|&length| Arena::place_bytes(length) <= 4096) {
            if Arena::place_bytes(length) > place_bytes {
                place_bytes = Arena::place_bytes(length);
                arena.insert(&longest[..length]).unwrap();
            }
        }
    }

    #[test]
    fn the_table_adds_up() {
        insta::assert_snapshot!("limits_of_two_cores", Limits::derive(&config(2)).to_string());
        let mut digest = config(2);
        digest.auth = Auth::Digest(crate::config::Digest {
            realm: "a.test".to_owned(),
            algorithms: Vec::new(),
            subscribers: "s.csv".into(),
            nonce_lifetime_secs: 3600,
            nonces: 1_000_000,
        });
        insta::assert_snapshot!("limits_with_digest", Limits::derive(&digest).to_string());
        let limits = Limits::derive(&config(64));
        assert_eq!(limits.total_bytes(), 64 * limits.bytes_per_core());
        assert!(limits.ring_bytes >= 2 * (limits.shard.message_bytes - 28));
    }
}
