//! Who may register, by RFC 3261 22 and RFC 7616 over plain maps: what had to come of the credentials in a REGISTER, given which nonces
//! the node has handed out, which of their counts were used and whose password is which. It is told all that; it keeps no binding and
//! shares no code with the server but the parser and the causes' names.
//!
//! It knows the wall clock that the node was shown, but not at which moments the node looked at it. So the age of a nonce lies
//! between two bounds, and where the lifetime lies between them, too, either answer is right. The same holds for a nonce which the
//! node may have forgotten under the load of younger ones.

use super::{Heard, uri};
use crate::sim::credentials::{Authorization, Credentials};
use crate::sim::directory::Directory;
use crate::sim::plan::{Digest, Plan};
use shards::auth::{Algorithm, Cause};
use shards::io::{CoreId, Instant, UnixTime};
use shards::wire::Uri;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// What may come of a REGISTER's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They are right, and so their count is used up.
    Pass,
    /// It is refused: 400 for credentials that can't be right, 403 for those of somebody else, whose count is used up, too.
    Refused(u16),
    /// It is challenged.
    Challenged(Cause),
}

/// Counts below the highest that are told apart, RFC 7616 3.4.
const WINDOW: u32 = 32;
/// The fewest younger nonces that may push one out of a core's memory: as many as share a place there.
const CROWD: usize = 4;
/// The longest user name, and name in the file.
const NAME_BYTES_MAX: usize = 512;

/// What the reference knows of authentication.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What is offered, strongest first.
    pub algorithms: Vec<Algorithm>,
    lifetime_secs: u32,
    /// The secrets by the number of a start.
    plan: Plan,
    /// How often the node was started before.
    start: u64,
    cores: Vec<Core>,
    /// By its text.
    issued: BTreeMap<Vec<u8>, Issued>,
    /// The uses of each nonce since the node was started.
    uses: BTreeMap<Vec<u8>, Uses>,
}

/// One core since its start.
#[derive(Clone, Debug)]
struct Core {
    directory: Rc<Directory>,
    /// The wall clock's lead over the monotonic one in seconds: the highest that was there to be seen, and that was seen for certain.
    lead_most: u64,
    lead_least: u64,
    /// The earliest that the wall clock has shown.
    wall_first: u64,
    /// How many nonces of each time were used.
    used: BTreeMap<u64, usize>,
}

/// A nonce that was handed out.
#[derive(Clone, Debug)]
struct Issued {
    aor: Vec<u8>,
    start: u64,
    at: Instant,
    /// What stands in it as its time lies between these.
    earliest: u64,
    latest: u64,
}

#[derive(Clone, Debug, Default)]
struct Uses {
    counts: BTreeSet<u32>,
}

/// Whether a nonce is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Validity {
    Good,
    Stale,
    Either,
}

impl Gate {
    /// The gate of a plan with digest, at the node's first start.
    #[must_use]
    pub fn new(plan: &Plan, digest: &Digest, directory: &Rc<Directory>) -> Self {
        let mut gate = Gate {
            algorithms: digest.algorithms.clone(),
            lifetime_secs: digest.nonce_lifetime_secs,
            plan: plan.clone(),
            start: 0,
            cores: Vec::new(),
            issued: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        gate.begin(plan.cores, directory);
        gate
    }

    /// The node was started again: it remembers no use, and reads its file.
    pub fn restarted(&mut self, cores: u16, directory: &Rc<Directory>) {
        self.start += 1;
        self.uses.clear();
        self.begin(cores, directory);
    }

    fn begin(&mut self, cores: u16, directory: &Rc<Directory>) {
        let core = Core {
            directory: Rc::clone(directory),
            lead_most: 0,
            lead_least: 0,
            wall_first: u64::MAX,
            used: BTreeMap::new(),
        };
        self.cores = vec![core; usize::from(cores)];
    }

    /// A core goes by another file from now on.
    pub fn replace(&mut self, core: CoreId, directory: &Rc<Directory>) {
        self.cores[usize::from(core.0)].directory = Rc::clone(directory);
    }

    /// A core was shown the clocks.
    pub fn shown(&mut self, core: CoreId, now: Instant, wall: UnixTime) {
        let core = &mut self.cores[usize::from(core.0)];
        core.lead_most = core.lead_most.max(lead(now, wall));
        core.wall_first = core.wall_first.min(wall.0);
    }

    /// A core was shown the clocks, and has looked.
    fn looked(&mut self, core: CoreId, now: Instant, wall: UnixTime) {
        let core = &mut self.cores[usize::from(core.0)];
        core.lead_least = core.lead_least.max(lead(now, wall));
    }

    /// What may come of a REGISTER for an address-of-record that nothing else is wrong with so far.
    #[must_use]
    pub fn ways(
        &self,
        core: CoreId,
        now: Instant,
        wall: UnixTime,
        heard: &Heard<'_>,
        aor: &[u8],
    ) -> Vec<Way> {
        let credentials = match &heard.register.authorization {
            Authorization::Nothing => return vec![Way::Challenged(Cause::Absent)],
            Authorization::Broken => return vec![Way::Refused(400)],
            Authorization::Given(credentials) => credentials,
        };
        if !self.is_offered(credentials) {
            return vec![Way::Challenged(Cause::Absent)];
        }
        let Some(count) = sound_count(credentials, heard) else { return vec![Way::Refused(400)] };
        let validity = self.validity(core, now, wall, credentials, aor);
        let mut ways = Vec::new();
        if validity != Validity::Good {
            ways.push(Way::Challenged(Cause::Stale));
        }
        if validity != Validity::Stale {
            self.ways_of_a_good_nonce(core, credentials, count, aor, &mut ways);
        }
        ways
    }

    fn is_offered(&self, credentials: &Credentials) -> bool {
        // RFC 7616 3.4: MD5 where nothing is said.
        let name = credentials.algorithm.as_deref().unwrap_or(b"MD5").to_ascii_uppercase();
        let name = name.strip_suffix(b"-SESS").unwrap_or(&name);
        self.algorithms.iter().any(|algorithm| algorithm.name().as_bytes() == name)
    }

    fn validity(
        &self,
        core: CoreId,
        now: Instant,
        wall: UnixTime,
        credentials: &Credentials,
        aor: &[u8],
    ) -> Validity {
        let Some(issued) = self.issued.get(&credentials.nonce) else { return Validity::Stale };
        let core = &self.cores[usize::from(core.0)];
        if issued.aor != aor || self.plan.secret(issued.start) != self.plan.secret(self.start) {
            return Validity::Stale;
        }
        if issued.start != self.start {
            // It is known to be older than this start unless the wall clock was set back across it.
            let is_older = issued.latest <= core.wall_first;
            return if is_older { Validity::Stale } else { Validity::Either };
        }
        let (earliest, latest) = core.time(now, wall);
        let lifetime = u64::from(self.lifetime_secs);
        if latest.saturating_sub(issued.earliest) < lifetime {
            Validity::Good
        } else if earliest.saturating_sub(issued.latest) >= lifetime {
            Validity::Stale
        } else {
            Validity::Either
        }
    }

    fn ways_of_a_good_nonce(
        &self,
        core: CoreId,
        credentials: &Credentials,
        count: u32,
        aor: &[u8],
        ways: &mut Vec<Way>,
    ) {
        let core = &self.cores[usize::from(core.0)];
        let username = credentials.name();
        let (own, domain) = match aor.iter().rposition(|&byte| byte == b'@') {
            Some(at) => (&aor[..at], &aor[at + 1..]),
            None => (&aor[..0], aor),
        };
        let is_nameable = username.len() + 1 + domain.len() <= NAME_BYTES_MAX;
        let password = core.directory.password_of(&username, domain).filter(|_| is_nameable);
        let Some(password) = password else {
            ways.push(Way::Challenged(Cause::UnknownUser));
            return;
        };
        if credentials.right_response(&password) != credentials.response {
            ways.push(Way::Challenged(Cause::BadResponse));
            return;
        }
        let uses = self.uses.get(&credentials.nonce);
        let is_first = uses.is_none_or(|uses| uses.is_first(count));
        if self.may_be_forgotten(core, credentials) {
            ways.push(Way::Challenged(Cause::Stale));
        }
        if !is_first {
            ways.push(Way::Challenged(Cause::Replayed));
            return;
        }
        let is_own = username == own
            || username.strip_suffix(domain).and_then(|rest| rest.strip_suffix(b"@")) == Some(own);
        // RFC 3261 10.3 step 4.
        ways.push(if is_own && !own.is_empty() { Way::Pass } else { Way::Refused(403) });
    }

    /// Whether so many younger nonces were used that a core need not know this one any more.
    fn may_be_forgotten(&self, core: &Core, credentials: &Credentials) -> bool {
        let Some(issued) = self.issued.get(&credentials.nonce) else { return false };
        let mut others = 0;
        for count in core.used.range(issued.earliest..).map(|(_, count)| count) {
            others += count;
            if others >= CROWD {
                return true;
            }
        }
        false
    }

    /// Whether this count of this nonce was used since the node was started.
    #[must_use]
    pub fn was_used(&self, credentials: &Credentials) -> bool {
        let count = credentials.nc.as_deref().and_then(count);
        let uses = self.uses.get(&credentials.nonce);
        uses.is_some_and(|uses| count.is_some_and(|count| uses.counts.contains(&count)))
    }

    /// A core has found credentials right, and with that used up their count.
    pub fn used(&mut self, core: CoreId, now: Instant, wall: UnixTime, credentials: &Credentials) {
        self.looked(core, now, wall);
        let Some(count) = credentials.nc.as_deref().and_then(count) else { return };
        let uses = self.uses.entry(credentials.nonce.clone()).or_default();
        if uses.counts.is_empty()
            && let Some(issued) = self.issued.get(&credentials.nonce)
        {
            *self.cores[usize::from(core.0)].used.entry(issued.latest).or_default() += 1;
        }
        uses.counts.insert(count);
    }

    /// How often this nonce was used since the node was started.
    #[must_use]
    pub fn uses(&self, credentials: &Credentials) -> usize {
        self.uses.get(&credentials.nonce).map_or(0, |uses| uses.counts.len())
    }

    /// A core has handed out a nonce for an address-of-record; how long ago it was handed out for the first time.
    pub fn challenged(
        &mut self,
        core: CoreId,
        now: Instant,
        wall: UnixTime,
        aor: &[u8],
        nonce: &[u8],
    ) -> Duration {
        self.looked(core, now, wall);
        let (earliest, latest) = self.cores[usize::from(core.0)].time(now, wall);
        let start = self.start;
        let issued = self.issued.entry(nonce.to_vec()).or_insert_with(|| Issued {
            aor: aor.to_vec(),
            start,
            at: now,
            earliest,
            latest,
        });
        now.since(issued.at)
    }
}

impl Core {
    /// What the clock of its nonces shows when it looks, at the earliest and the latest. It follows the wall clock forwards only.
    fn time(&self, now: Instant, wall: UnixTime) -> (u64, u64) {
        let secs = now.as_nanos() / 1_000_000_000;
        let least = self.lead_least.max(lead(now, wall));
        // Seconds are counted from the moment at which the clock was last set, which need not be the beginning of one.
        (secs + least - 1, secs + self.lead_most)
    }
}

impl Uses {
    fn is_first(&self, count: u32) -> bool {
        let highest = self.counts.last().copied().unwrap_or(0);
        let is_below = highest >= WINDOW && count <= highest - WINDOW;
        self.counts.is_empty() || !is_below && !self.counts.contains(&count)
    }
}

fn lead(now: Instant, wall: UnixTime) -> u64 {
    wall.0 - now.as_nanos() / 1_000_000_000
}

/// The count of credentials that may be right; `None` where RFC 7616 3.4 or 3.4.6 calls for a 400.
fn sound_count(credentials: &Credentials, heard: &Heard<'_>) -> Option<u32> {
    // RFC 3261 22.4 8: whoever is offered qop has to send it.
    let has_qop = credentials.qop.as_ref().is_some_and(|qop| qop.eq_ignore_ascii_case(b"auth"));
    let asked = &heard.register.request_uri;
    let is_about = credentials.uri == *asked
        || Uri::parse(&credentials.uri).is_ok() && uri::are_equivalent(&credentials.uri, asked);
    let count = credentials.nc.as_deref().and_then(count)?;
    (has_qop && is_about && credentials.cnonce.is_some()).then_some(count)
}

/// RFC 7616 3.4: nc-value = 8LHEX
fn count(text: &[u8]) -> Option<u32> {
    let is_sound = text.len() == 8 && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_sound)?;
    u32::from_str_radix(text, 16).ok()
}
