//! The addresses of names, for cores that ask: each question is put to the resolver and answered by an errand, at once where too
//! many are under way. It keeps what it was told as long as it may, and no core ever waits for it.

use super::cores::Cores;
use crate::mesh::Question;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::read_system_conf;
use shards::shard::{Command, Errand, Resolved};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Questions that are being answered at a time. Each may take two sockets a name server while it is with the resolver; questions
/// for the same name share them.
const UNDER_WAY_MAX: usize = 1024;
/// The same for each name that is a neighbour's by configuration: what others ask for takes nothing from it.
const UNDER_WAY_OF_NEIGHBOUR_MAX: usize = 64;
/// Questions whose answer was kept and is on its way at a time. What is beyond is looked up.
const TELLING_MAX: usize = 1024;
/// Questions whose refusal is on its way at a time. What is beyond is not answered, and whoever asked stops waiting by himself.
const REFUSALS_MAX: usize = 1024;
/// How long an answer may take. A caller has waited long enough then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one name server may take before the question is put again.
const TRY_TIMEOUT: Duration = Duration::from_millis(800);
/// Tries after the first.
const RETRIES: usize = 1;
/// Answers that are kept; each some hundred bytes.
const KEPT_MAX: usize = 4096;
/// Answers are kept as long as they say, within these bounds: a TTL of 0 must not mean a question a call, and an address that has
/// changed is noticed within the hour.
const KEPT_FOR: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// The same for names that do not exist, or have no addresses; a mistake that was mended is noticed soon.
const MISSING_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Answers the cores' questions.
pub struct Names {
    /// `None` where there are no name servers.
    resolver: Option<TokioResolver>,
    under_way: Arc<Semaphore>,
    /// For each name of a neighbour, in lower case and without a dot at its end.
    of_neighbours: HashMap<Box<[u8]>, Arc<Semaphore>>,
    kept: Mutex<Kept>,
    telling: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// What became of the questions: those asked are answered, failed or refused, or under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NameCounts {
    /// Names that were asked for.
    pub(super) asked: u64,
    /// Answers with an address or more.
    pub(super) answered: u64,
    /// Names that have no address, are no names, or about which nobody said anything in time.
    pub(super) failed: u64,
    /// Names that were not looked up because too many were under way.
    pub(super) refused: u64,
}

impl Names {
    /// Asks these name servers, or those of the system where there are none, for addresses of the families that the listeners serve.
    ///
    /// # Errors
    /// One sentence, where the system names no name servers. Without any, [`Names::none`] says of all names that they have none.
    pub fn new(servers: &[SocketAddr], listeners: &[SocketAddr]) -> Result<Names, String> {
        let (config, mut options) = if servers.is_empty() {
            read_system_conf()
                .map_err(|error| format!("/etc/resolv.conf names no name servers: {error}"))?
        } else {
            let servers = servers.iter().map(|&server| name_server(server)).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        options.timeout = TRY_TIMEOUT;
        options.attempts = RETRIES;
        options.cache_size = KEPT_MAX as u64;
        (options.positive_min_ttl, options.positive_max_ttl) = (Some(KEPT_FOR.0), Some(KEPT_FOR.1));
        (options.negative_min_ttl, options.negative_max_ttl) =
            (Some(MISSING_FOR.0), Some(MISSING_FOR.1));
        options.max_active_requests = 2 * UNDER_WAY_MAX;
        options.ip_strategy = families(listeners);
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(config, provider)
            .with_options(options)
            .build()
            .map_err(|error| format!("names can't be asked for: {error}"))?;
        Ok(Names { resolver: Some(resolver), ..Names::none() })
    }

    /// Knows no name.
    #[must_use]
    pub fn none() -> Names {
        Names {
            resolver: None,
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            of_neighbours: HashMap::new(),
            kept: Mutex::default(),
            telling: Arc::new(Semaphore::new(TELLING_MAX)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The same with room kept for questions about these names, those of the neighbours.
    #[must_use]
    pub fn with_neighbours<'a>(self, names: impl IntoIterator<Item = &'a [u8]>) -> Names {
        let room = |name| (key(name), Arc::new(Semaphore::new(UNDER_WAY_OF_NEIGHBOUR_MAX)));
        Names { of_neighbours: names.into_iter().map(room).collect(), ..self }
    }

    /// What was counted.
    pub(super) fn counts(&self) -> NameCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NameCounts {
            asked: of(&self.asked),
            answered: of(&self.answered),
            failed: of(&self.failed),
            refused: of(&self.refused),
        }
    }

    /// Begins to answer a question of a core, on the calling runtime.
    pub(super) fn take(self: &Arc<Self>, cores: &Cores<Errand>, core: usize, question: Question) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (names, cores) = (Arc::clone(self), cores.clone());
        let name = key(question.name());
        // What is known already takes no place among what has to be found out; it only has to be told.
        if let Some(addresses) = self.kept().find(&name, Instant::now())
            && let Ok(place) = Arc::clone(&self.telling).try_acquire_owned()
        {
            self.answered.fetch_add(1, Ordering::Relaxed);
            let resolved = Resolved::new(question.ticket, addresses);
            tokio::spawn(async move {
                answer(&cores, core, resolved).await;
                drop(place);
            });
            return;
        }
        let places = self.of_neighbours.get(&name).unwrap_or(&self.under_way);
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            tokio::spawn(async move {
                let resolved = names.resolve(&question).await;
                answer(&cores, core, resolved).await;
                drop(place);
            });
            return;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                answer(&cores, core, Resolved::new(question.ticket, [])).await;
                drop(place);
            });
        }
    }

    async fn resolve(&self, question: &Question) -> Resolved {
        let found = timeout(ANSWER_TIMEOUT, self.look_up(question.name())).await;
        let addresses = found.ok().flatten().unwrap_or_default();
        let counter = if addresses.is_empty() { &self.failed } else { &self.answered };
        counter.fetch_add(1, Ordering::Relaxed);
        Resolved::new(question.ticket, addresses)
    }

    /// The addresses of a name, in the order in which they are to be tried.
    async fn look_up(&self, name: &[u8]) -> Option<Vec<IpAddr>> {
        let (resolver, key) = (self.resolver.as_ref()?, key(name));
        // A name is whole as it stands: no search list makes another of it.
        let mut name = Name::from_ascii(std::str::from_utf8(name).ok()?).ok()?;
        name.set_fqdn(true);
        let found = resolver.lookup_ip(name).await.ok()?;
        let addresses: Vec<_> = found.iter().take(Resolved::ADDRESSES_MAX).collect();
        self.kept().keep(key, &addresses, found.valid_until());
        Some(addresses)
    }

    fn kept(&self) -> impl DerefMut<Target = Kept> {
        // Nobody who holds it can stop half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers with addresses, for as long as they hold.
#[derive(Debug, Default)]
struct Kept(HashMap<Box<[u8]>, (Instant, Vec<IpAddr>)>);

impl Kept {
    fn find(&self, name: &[u8], now: Instant) -> Option<Vec<IpAddr>> {
        let (until, addresses) = self.0.get(name)?;
        (now < *until).then(|| addresses.clone())
    }

    fn keep(&mut self, name: Box<[u8]>, addresses: &[IpAddr], until: Instant) {
        if self.0.len() >= KEPT_MAX {
            let now = Instant::now();
            self.0.retain(|_, (until, _)| now < *until);
        }
        // What has no room here the resolver has, as long as it holds.
        if !addresses.is_empty() && self.0.len() < KEPT_MAX {
            self.0.insert(name, (until, addresses.to_vec()));
        }
    }
}

/// By what a name is known here, however it is written.
fn key(name: &[u8]) -> Box<[u8]> {
    name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase().into()
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Tells a core; one that does not take it is stuck, which others notice.
async fn answer(cores: &Cores<Errand>, core: usize, resolved: Resolved) {
    let errand = Box::new(Errand::new(Command::Resolved(resolved)));
    let _ = cores.ask(core, errand).await;
}

/// A name server that is asked over UDP, and over TCP for what does not fit.
fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    // RFC 2308: what it says is not there, is not there.
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// The families that listeners serve, that of the first listener first.
fn families(listeners: &[SocketAddr]) -> LookupIpStrategy {
    let is_first_ipv4 = listeners.first().is_none_or(SocketAddr::is_ipv4);
    let has_other = listeners.iter().any(|listener| listener.is_ipv4() != is_first_ipv4);
    match (is_first_ipv4, has_other) {
        (true, false) => LookupIpStrategy::Ipv4Only,
        (true, true) => LookupIpStrategy::Ipv4AndIpv6,
        (false, false) => LookupIpStrategy::Ipv6Only,
        (false, true) => LookupIpStrategy::Ipv6AndIpv4,
    }
}

#[cfg(test)]
mod tests;
