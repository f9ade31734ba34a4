//! Digest authentication, RFC 3261 22, RFC 7616 and RFC 8760: whether a request comes from whom it says, and the challenge if it
//! does not show. It keeps which counts of which nonces were used, and no session; it never decides what a request does.
//!
//! Whoever is unknown is treated as whoever has another password: the same look-up, the same hashes over what stands where he would
//! be, the same bytes back. Only the counters tell them apart.

mod challenge;
mod digest;
mod nonce;
mod replay;
mod subscribers;

pub use challenge::{Asker, Cause, Challenge};
pub use digest::Algorithm;
use subscribers::NameHash;
pub use subscribers::{Builder, NotAdded, Subscribers};

use crate::io::{CoreId, Instant, Outbox, UnixTime, Verdict};
use crate::location::Aor;
use crate::store::Prefetch;
use crate::uas::{Caller, Refusal};
use crate::wire::{Credentials, Message, Uri, unescape};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use challenge::Lines;
use core::mem;
use digest::{Hasher, Terms};
use nonce::{Clock, Nonce};
use replay::{Replays, Seen};

/// A realm, and what may be offered and answered in it.
#[derive(Clone, Debug)]
pub struct Realm {
    /// Its name, without quotes, backslashes and controls.
    pub name: Arc<str>,
    /// What is offered, strongest first: to everybody the same, whoever they say they are, as far as there is room in twice the
    /// bytes of their request.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce may be used, in seconds.
    pub nonce_lifetime_secs: u32,
    /// How many nonces this core remembers the uses of.
    pub nonces: usize,
    /// Who there is.
    pub subscribers: Arc<Subscribers>,
}

/// The keys of authentication, equal on all nodes that accept each other's nonces.
#[derive(Clone)]
pub struct Keys {
    /// Seals nonces.
    pub nonce: [u8; 16],
    /// Hides the names of subscribers.
    pub names: [u8; 16],
}

/// A request whose sender is to be known.
#[derive(Clone, Copy, Debug)]
pub struct Request<'m> {
    /// The request.
    pub message: &'m Message<'m>,
    /// Its method.
    pub method: &'m [u8],
    /// Its Request-URI.
    pub uri: &'m Uri<'m>,
    /// The address-of-record that it is for.
    pub aor: &'m Aor,
    /// Some bits of its transaction.
    pub salt: u32,
}

/// Why a request does not pass.
#[derive(Clone, Copy, Debug)]
pub enum Denied<C = Challenge> {
    /// It has to show whose it is, or to show it anew.
    Challenged(C),
    /// It is refused.
    Refused(Refusal),
}

/// Authenticates requests on one core.
#[derive(Debug)]
pub struct Authenticator {
    asker: Asker,
    core: CoreId,
    realm: Realm,
    keys: Keys,
    lines: Lines,
    clock: Clock,
    replays: Replays,
    hasher: Hasher,
    /// The name that is looked for, and what it is made of.
    name: Box<[u8; Aor::BYTES_MAX]>,
    user: Box<[u8; Aor::BYTES_MAX]>,
    foreseen: Foreseen,
    prefetch: Prefetch,
}

/// The hashes of names that will be looked for soon, by the scopes of their addresses-of-record.
#[derive(Debug, Default)]
struct Foreseen([(u64, NameHash); 16]);

impl Foreseen {
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "below 16")]
    fn place(scope: u64) -> usize {
        (scope % 16) as usize
    }

    #[inline]
    fn put(&mut self, scope: u64, hash: NameHash) {
        self.0[Self::place(scope)] = (scope, hash);
    }

    /// The hash that was put here, or the one that is made now.
    #[inline]
    fn hash(&self, scope: u64, make: impl FnOnce() -> NameHash) -> NameHash {
        match self.0[Self::place(scope)] {
            // A free place has the hash of no name.
            (put, hash) if put == scope && hash != NameHash::default() => hash,
            _ => make(),
        }
    }
}

impl Authenticator {
    /// An authenticator with all the memory that it will use.
    #[must_use]
    pub fn new(asker: Asker, core: CoreId, realm: Realm, keys: Keys) -> Self {
        Authenticator {
            asker,
            core,
            lines: Lines::new(asker, &realm.name, &realm.algorithms),
            clock: Clock::new(core),
            replays: Replays::new(realm.nonces),
            hasher: Hasher::new(),
            name: Box::new([0; Aor::BYTES_MAX]),
            user: Box::new([0; Aor::BYTES_MAX]),
            foreseen: Foreseen::default(),
            prefetch: Prefetch::NONE,
            realm,
            keys,
        }
    }

    /// The same, which fetches ahead what it will read.
    #[must_use]
    pub fn with_prefetch(self, prefetch: Prefetch) -> Self {
        Authenticator { prefetch, ..self }
    }

    /// Bytes that remembering the uses of some nonces takes.
    #[must_use]
    pub fn nonces_bytes(nonces: usize) -> usize {
        Replays::bytes(nonces)
    }

    /// Puts other subscribers in the place of those before, and gives them back.
    pub fn replace_subscribers(&mut self, subscribers: Arc<Subscribers>) -> Arc<Subscribers> {
        // Names are hashed anew under the key of the new table.
        self.foreseen = Foreseen::default();
        mem::replace(&mut self.realm.subscribers, subscribers)
    }

    /// Whether an address-of-record is that of a subscriber. Whoever asks for it is not told apart by what it costs.
    #[must_use]
    pub fn knows(&self, aor: &Aor) -> bool {
        let subscribers = &self.realm.subscribers;
        subscribers.find(subscribers.hash(aor.bytes()), self.realm.algorithms[0]).is_known.into()
    }

    /// Begins to fetch what authenticating for an address-of-record will read.
    #[inline]
    pub fn foresee(&mut self, aor: &Aor) {
        let hash = self.realm.subscribers.hash(aor.bytes());
        self.foreseen.put(aor.hash().place, hash);
        self.realm.subscribers.prefetch(hash, self.prefetch);
    }

    /// Whether a request comes from a subscriber who may act for its address-of-record. A nonce's count is used up by this.
    ///
    /// # Errors
    /// What to answer otherwise.
    pub fn authenticate(
        &mut self,
        now: Instant,
        wall: UnixTime,
        request: &Request<'_>,
    ) -> Result<(), Denied> {
        let Err(denied) = self.verify(now, wall, request) else { return Ok(()) };
        let cause = match denied {
            Unverified::By(cause) => cause,
            Unverified::Refused(refusal) => return Err(Denied::Refused(refusal)),
        };
        let scope = request.aor.hash().place;
        #[allow(clippy::cast_possible_truncation, reason = "16 bits are wanted")]
        let salt = request.salt as u16;
        let nonce = self.clock.nonce(now, wall, &self.keys.nonce, scope, salt);
        Err(Denied::Challenged(Challenge { cause, nonce }))
    }

    /// Sends a challenge.
    #[must_use]
    pub fn challenge(
        &self,
        caller: &Caller<'_>,
        challenge: &Challenge,
        out: &mut Outbox,
    ) -> Verdict {
        self.lines.send(caller, challenge, out)
    }

    /// Walks the invariants.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        self.replays.check();
    }

    /// The order is by what it costs; and what is right is only written down once the response is, so that nobody without a
    /// password changes anything.
    fn verify(
        &mut self,
        now: Instant,
        wall: UnixTime,
        request: &Request<'_>,
    ) -> Result<(), Unverified> {
        let (realm, scope) = (&self.realm, request.aor.hash().place);
        let header = self.asker.answered_by();
        let credentials = request.message.credentials(header, realm.name.as_bytes())?;
        let Some(credentials) = credentials else { return Err(Cause::Absent.into()) };
        let Some((terms, nc)) = terms(&credentials, request, realm)? else {
            return Err(Cause::Absent.into());
        };
        let nonce = Nonce::read(credentials.nonce, &self.keys.nonce, scope);
        let nonce = nonce.filter(|nonce| {
            // Only the address-of-record has one core that sees all its requests. What a proxy asks about, it remembers itself.
            let is_remembered_here = match self.asker {
                Asker::Registrar => true,
                Asker::Proxy => nonce.core == self.core,
            };
            is_remembered_here && self.clock.accepts(now, wall, nonce, realm.nonce_lifetime_secs)
        });
        let Some(nonce) = nonce else { return Err(Cause::Stale.into()) };
        // It is there when the response has been worked out.
        self.replays.prefetch(scope, &nonce, self.prefetch);

        let Some(username) = username(&credentials, &mut self.user) else {
            return Err(Cause::UnknownUser.into());
        };
        let Some(name) = name(username, request.aor, &mut self.name) else {
            return Err(Cause::UnknownUser.into());
        };
        let hash = if core::ptr::eq(name, request.aor.bytes()) {
            self.foreseen.hash(scope, || realm.subscribers.hash(name))
        } else {
            realm.subscribers.hash(name)
        };
        let found = realm.subscribers.find(hash, terms.algorithm);
        let verifier = &found.verifier[..terms.algorithm.bytes()];
        let response = self.hasher.response(verifier, &terms);
        let is_right = response.is(credentials.response);
        if !bool::from(found.is_known & is_right) {
            let cause = if found.is_known.into() { Cause::BadResponse } else { Cause::UnknownUser };
            return Err(cause.into());
        }
        match self.replays.record(scope, &nonce, nc) {
            Seen::First => {}
            Seen::Replayed => return Err(Cause::Replayed.into()),
            Seen::Forgotten => return Err(Cause::Stale.into()),
        }
        if may_act_for(username, request.aor) {
            Ok(())
        } else {
            Err(Unverified::Refused(Refusal::Forbidden))
        }
    }
}

/// Why a request was not found to come from whom it says.
enum Unverified {
    By(Cause),
    Refused(Refusal),
}

impl From<Cause> for Unverified {
    fn from(cause: Cause) -> Self {
        Unverified::By(cause)
    }
}

impl From<Refusal> for Unverified {
    fn from(refusal: Refusal) -> Self {
        Unverified::Refused(refusal)
    }
}

impl From<crate::wire::Malformed> for Unverified {
    fn from(malformed: crate::wire::Malformed) -> Self {
        Unverified::Refused(Refusal::Malformed(malformed))
    }
}

/// What the response is about, and the nonce's count; `None` where the algorithm is not offered.
#[inline]
fn terms<'m>(
    credentials: &Credentials<'m>,
    request: &Request<'m>,
    realm: &Realm,
) -> Result<Option<(Terms<'m>, u32)>, Refusal> {
    // RFC 7616 3.4: MD5 where nothing is said.
    let Some((algorithm, is_session)) =
        credentials.algorithm.map_or(Some((Algorithm::Md5, false)), Algorithm::named)
    else {
        return Ok(None);
    };
    if !realm.algorithms.contains(&algorithm) {
        return Ok(None);
    }
    // RFC 3261 22.4 8: whoever is offered qop must send it. Without (RFC 2069) there would be no count, and no replay caught.
    let Some(qop) = credentials.qop.filter(|qop| qop.eq_ignore_ascii_case(b"auth")) else {
        return Err(Refusal::BadRequest("Digest Without qop=auth"));
    };
    let nc_text = credentials.nc.unwrap_or_default();
    let Some(nc) = count(nc_text) else { return Err(Refusal::BadRequest("Bad Digest nc")) };
    let Some(cnonce) = credentials.cnonce else {
        return Err(Refusal::BadRequest("Digest Without cnonce"));
    };
    if !is_about(credentials.uri, request.uri) {
        // RFC 7616 3.4.6: the server assures that both are the same.
        return Err(Refusal::BadRequest("Digest Of Another URI"));
    }
    let terms = Terms {
        algorithm,
        is_session,
        method: request.method,
        uri: credentials.uri,
        nonce: credentials.nonce,
        nc: nc_text,
        cnonce,
        qop,
    };
    Ok(Some((terms, nc)))
}

/// RFC 7616 3.4: nc-value = 8LHEX
#[inline]
fn count(text: &[u8]) -> Option<u32> {
    let digits: &[u8; 8] = text.try_into().ok()?;
    digits.iter().try_fold(0, |count, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(count << 4 | u32::from(value))
    })
}

/// Whether a digest URI is the Request-URI, byte for byte or by RFC 3261 19.1.4.
#[inline]
fn is_about(digest_uri: &[u8], uri: &Uri<'_>) -> bool {
    digest_uri == uri.raw || Uri::parse(digest_uri).is_ok_and(|other| other.equivalent(uri))
}

/// The user name as it is meant; `None` where it is longer than any subscriber's.
#[inline]
fn username<'m>(
    credentials: &Credentials<'m>,
    buffer: &'m mut [u8; Aor::BYTES_MAX],
) -> Option<&'m [u8]> {
    let username = credentials.username;
    if username.contains(&b'\\') {
        return unescape(username, buffer);
    }
    (username.len() <= buffer.len()).then_some(username)
}

/// The name under which subscribers are kept: the user name as the phone sends it and the domain that it registers in. `None` where
/// it is longer than any of them.
// A phone that calls itself user@domain hashes that, so it has another verifier, and with it a line of its own; Kamailio's
// subscriber table keeps that verifier in a column beside, ha1b.
#[inline]
fn name<'b>(
    username: &[u8],
    aor: &'b Aor,
    buffer: &'b mut [u8; Aor::BYTES_MAX],
) -> Option<&'b [u8]> {
    if user(aor) == username && !username.is_empty() {
        return Some(aor.bytes());
    }
    let domain = aor.domain();
    let length = username.len() + 1 + domain.len();
    let (front, back) = buffer.get_mut(..length)?.split_at_mut(username.len());
    front.copy_from_slice(username);
    let (at, back) = back.split_first_mut()?;
    *at = b'@';
    back.copy_from_slice(domain);
    buffer.get(..length)
}

/// Whether a subscriber may act for an address-of-record: for his own. This is the place at which other identities of a
/// subscriber would be looked up, from a table as immutable as the subscribers'.
#[inline]
fn may_act_for(username: &[u8], aor: &Aor) -> bool {
    let own = user(aor);
    if username == own {
        return !own.is_empty();
    }
    let at = username.iter().rposition(|&byte| byte == b'@');
    at.is_some_and(|at| {
        let (user, domain) = (&username[..at], &username[at + 1..]);
        user == own && !own.is_empty() && domain.eq_ignore_ascii_case(aor.domain())
    })
}

/// The user of an address-of-record; empty where it has none.
#[inline]
fn user(aor: &Aor) -> &[u8] {
    let length = aor.bytes().len().saturating_sub(aor.domain().len() + 1);
    aor.bytes().get(..length).unwrap_or_default()
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

#[cfg(test)]
mod tests;
