//! The transaction-stateful proxy, RFC 3261 16: which requests are passed on, where to, and what becomes of their responses. It owns
//! what is on its way, and never looks into a body.
//!
//! A request walks through `request` (is it known already, may it pass, where does it go: `decide`, `route`), `forward` (a branch
//! for each target) and out. A response walks through `response` (whose branch is it) and `upstream` (which one is passed
//! back). `timers` does what nobody else does in time.

mod branch;
mod cancel;
mod contexts;
mod cookie;
mod decide;
mod digits;
mod forward;
mod further;
mod identity;
mod metrics;
mod moved;
mod policy;
mod request;
mod response;
mod route;
mod targets;
#[cfg(test)]
mod tests;
mod timers;
mod trace;
mod upstream;
mod write;

pub use branch::core_of;

pub use decide::Trace;
pub use metrics::{Gauges, Metrics};
pub use policy::{ListenerPolicy, Neighbour, Network, NextHop, Policy};
pub use request::Request;
pub use trace::Asked;

use crate::auth::{Authenticator, Subscribers};
use crate::io::{CoreId, Homes, Instant, ListenerId, LocalAddr, Outbox};
use crate::location::{Aor, Domains, Here, Location};
use crate::store::Memory;
use crate::transaction::Completed;
use crate::wire::{self, Edits, Index, Malformed, Message};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use branch::LoopKey;
use contexts::Contexts;
use core::net::SocketAddr;
use moved::Moved;
use route::{Names, Sign};

/// What a proxy is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The core that it runs on.
    pub core: CoreId,
    /// The cores on which messages live.
    pub homes: Homes,
    /// Its policy.
    pub policy: Policy,
    /// The domains we answer for.
    pub domains: Arc<Domains>,
    /// The address each listener is bound to.
    pub listeners: Arc<[SocketAddr]>,
    /// The keys it uses.
    pub keys: Keys,
    /// The most requests that are passed on at the same time.
    pub transactions: u32,
    /// The most branches of them.
    pub branches: u32,
    /// Bytes for their messages.
    pub transaction_bytes: usize,
    /// The largest message, in bytes.
    pub message_bytes: usize,
    /// The most header lines of a message.
    pub header_lines: usize,
    /// The most targets of a request.
    pub targets: usize,
}

/// The keys that a proxy uses; see [`shard::Keys`](crate::shard::Keys).
#[derive(Clone)]
pub struct Keys {
    /// Finds home cores.
    pub home: [u8; 16],
    /// Recognises transactions.
    pub transaction: [u8; 16],
    /// Seals branches.
    pub branch: [u8; 16],
    /// Seals what goes into Record-Route.
    pub cookies: Arc<[[u8; 16]]>,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

/// What is around a proxy while it thinks.
#[derive(Debug)]
pub struct Around<'a> {
    /// Now.
    pub now: Instant,
    /// The bindings of this core.
    pub location: &'a Location,
    /// The transactions that are answered.
    pub completed: &'a mut Completed,
    /// For what has to be sent.
    pub out: &'a mut Outbox,
}

/// The proxy of one core.
#[derive(Debug)]
pub struct Proxy {
    setup: Arc<Setup>,
    contexts: Contexts,
    /// Who has to show who they are, where anybody has to.
    authenticator: Option<Authenticator>,
    moved: Moved,
    tools: Tools,
    /// A message that is read again, and a request that is sent to further targets meanwhile.
    reader: Reader,
    requests: Option<Reader>,
    /// A response that is changed before anything is done with it.
    responses: Option<Reader>,
    metrics: Metrics,
}

/// What stands before `host:port` in our Via lines.
const VIA_START: &[u8] = b"Via: SIP/2.0/UDP ";

/// What never changes.
#[derive(Debug)]
struct Setup {
    core: CoreId,
    homes: Homes,
    policy: Policy,
    domains: Arc<Domains>,
    listeners: Arc<[SocketAddr]>,
    keys: Keys,
    loop_key: LoopKey,
    /// How our Via begins at each listener, up to `host:port`; nothing where that depends on the address that was reached.
    vias: Vec<Option<Box<[u8]>>>,
    /// The same for Record-Route, as far as it is known.
    signs: Vec<Sign>,
}

/// Scratch, used again for each message.
#[derive(Debug)]
struct Tools {
    edits: Edits,
    from: Aor,
    to: Aor,
    /// A target set, and the order of what goes into it.
    set: Vec<u8>,
    order: Vec<(u16, u32)>,
    texts: forward::Texts,
}

/// A message that was kept, read again.
#[derive(Debug)]
struct Reader {
    bytes: Vec<u8>,
    index: Index,
}

impl Reader {
    fn new(message_bytes: usize, header_lines: usize) -> Self {
        // What we have written into a message comes on top.
        let added_lines = 8;
        Reader {
            bytes: Vec::with_capacity(message_bytes.max(Outbox::MESSAGE_BYTES_MAX)),
            index: Index::new(header_lines + added_lines),
        }
    }

    /// Reads a kept message. It was read before, so it can be read.
    fn read(&mut self, kept: &[u8]) -> Option<Message<'_>> {
        self.write(&[&[kept]]);
        let message = self.reread().ok();
        debug_assert!(message.is_some(), "what was kept can be read");
        message
    }

    /// Puts another text in the place of the one before.
    fn write(&mut self, parts: &[&[&[u8]]]) {
        self.bytes.clear();
        for part in parts.iter().copied().flatten() {
            self.bytes.extend_from_slice(part);
        }
    }

    fn reread(&mut self) -> Result<Message<'_>, Malformed> {
        wire::peek(&self.bytes, &mut self.index);
        Message::parse(&self.bytes, &mut self.index)
    }
}

impl Setup {
    fn here(&self, to: LocalAddr) -> Here<'_> {
        Here { domains: &self.domains, listeners: &self.listeners, to }
    }

    /// How our values of Record-Route begin, for each listener whose name does not depend on the address that was reached.
    fn signs(&self) -> Vec<Sign> {
        // Where a request has arrived does not matter for what is known.
        let names = self.names(LocalAddr { listener: ListenerId(0), ip: [0; 4].into() });
        let sent_by = self.vias.iter().flatten().filter_map(|via| via.strip_prefix(VIA_START));
        sent_by.filter_map(|sent_by| names.sign(sent_by)).collect()
    }

    fn names(&self, to: LocalAddr) -> Names<'_> {
        Names {
            here: self.here(to),
            policy: &self.policy,
            cookies: &self.keys.cookies,
            signs: &self.signs,
        }
    }
}

impl Proxy {
    /// How many tables [`memory`](Self::memory) tells of.
    pub const TABLES: usize = 3;

    /// A proxy with all the memory that it will ever use.
    #[must_use]
    pub fn new(settings: Settings, authenticator: Option<Authenticator>) -> Self {
        let Settings { core, homes, policy, domains, listeners, keys, .. } = settings;
        let vias = (0..listeners.len())
            .map(|number| {
                let advertised =
                    policy.listeners.get(number).and_then(|one| one.advertised.clone());
                let bound = listeners[number];
                let address = (!bound.ip().is_unspecified()).then(|| format!("{bound}").into());
                let name: Option<Box<str>> = advertised.or(address);
                name.map(|name| [VIA_START, name.as_bytes()].concat().into())
            })
            .collect();
        let signs = Vec::new();
        let loop_key = LoopKey::derive(&keys.branch);
        let mut setup =
            Setup { core, homes, policy, domains, listeners, keys, loop_key, vias, signs };
        setup.signs = setup.signs();
        Proxy {
            contexts: Contexts::new(
                settings.transactions,
                settings.branches,
                settings.transaction_bytes,
            ),
            authenticator,
            moved: Moved::new(),
            tools: Tools {
                edits: Edits::new(),
                from: Aor::new(),
                to: Aor::new(),
                set: Vec::with_capacity(Outbox::TEXT_BYTES_MAX + 2 * usize::from(u16::MAX)),
                order: Vec::with_capacity(settings.targets),
                texts: forward::Texts::new(),
            },
            reader: Reader::new(settings.message_bytes, settings.header_lines),
            requests: Some(Reader::new(settings.message_bytes, settings.header_lines)),
            responses: Some(Reader::new(settings.message_bytes, settings.header_lines)),
            setup: Arc::new(setup),
            metrics: Metrics::default(),
        }
    }

    /// Bytes that a request being passed on takes besides its messages, and those of a branch.
    #[must_use]
    pub const fn entry_bytes() -> (usize, usize) {
        (Contexts::CONTEXT_BYTES, Contexts::BRANCH_BYTES)
    }

    /// Puts other subscribers in the place of those before, which are dropped: the registrar has them too.
    pub fn replace_subscribers(&mut self, subscribers: &Arc<Subscribers>) {
        if let Some(authenticator) = &mut self.authenticator {
            authenticator.replace_subscribers(Arc::clone(subscribers));
        }
    }

    /// When [`expire`](Self::expire) has work to do, at the earliest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.contexts.deadline()
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How much is on its way.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            transactions: self.contexts.len(),
            settled: self.contexts.settled_len(),
            branches: self.contexts.branches_len(),
            evicted: self.contexts.evicted(),
        }
    }

    /// How full its tables are: requests, branches and their messages.
    #[must_use]
    pub fn memory(&self) -> [(&'static str, Memory); Self::TABLES] {
        let [contexts, branches, messages] = self.contexts.memory();
        [("calls", contexts), ("branches", branches), ("messages", messages)]
    }

    /// Walks the invariants.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        self.contexts.check();
        self.authenticator.iter().for_each(Authenticator::check);
    }
}
