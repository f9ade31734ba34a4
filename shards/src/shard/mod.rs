//! A shard routes inputs to the rooms that decide them. It owns the rooms and decides nothing itself.

mod ahead;
mod errand;
mod metrics;
mod report;
mod settings;

pub use crate::io::Homes;
pub use errand::{Command, Done, Errand, Resolved};
pub use metrics::{Gauges, Metrics};
pub use report::Report;
pub use settings::{Keys, Limits, Settings};

use crate::auth::{self, Asker, Authenticator, Cause, Denied, Subscribers};
use crate::io::{Class, Datagram, Input, Instant, Outbox, Outcome, Reason, UnixTime, Verdict};
use crate::location::{Aor, Here, HomeHash, Location, NotOurs};
use crate::proxy::{self, Around, Proxy};
use crate::registrar::{Register, Registered, Registrar};
use crate::store::Prefetch;
use crate::transaction::completed::Answer;
use crate::transaction::{Completed, Fingerprint, Identity, ToTag};
use crate::uas::{self, Caller, Refusal, SUPPORTED};
use crate::wire::{self, HeaderId, Index, Malformed, Message, Method, Response, StartLine};
use ahead::{Ahead, Reading, Sight};
use alloc::sync::Arc;

/// One core's share of the node.
#[derive(Debug)]
pub struct Shard {
    settings: Settings,
    ahead: Ahead,
    prefetch: Prefetch,
    completed: Completed,
    authenticator: Option<Authenticator>,
    registrar: Registrar,
    location: Location,
    proxy: Proxy,
    date: Date,
    metrics: Metrics,
}

/// The headers that every 200 to a REGISTER has, written once a second.
#[derive(Debug)]
struct Date {
    at: UnixTime,
    /// Of a length that is known, so that they are copied without a call.
    headers: [u8; Date::BYTES],
}

impl Shard {
    /// How many datagrams are read ahead at most.
    pub const FORESEEN: usize = Ahead::WINDOW;

    /// Bytes of memory that reading ahead takes; a page of it is touched for each datagram.
    #[must_use]
    pub const fn foreseen_bytes(header_lines_max: usize) -> usize {
        Ahead::bytes(header_lines_max)
    }

    /// A shard with all the memory that it will ever use.
    ///
    /// # Panics
    /// Where a limit is beyond what a table can hold; the configuration does not allow it.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        // Kept in one place, so that whoever replaces the subscribers gets all of them back.
        let realm = settings.realm.take();
        let limits = &settings.limits;
        let bindings = u32::try_from(limits.bindings).expect("bindings are counted in 32 bits");
        // A REGISTER may remove as many bindings as an address-of-record has, and make as many as it lists.
        let changes = limits.contacts + usize::from(settings.policy.max_contacts);
        let authenticator = |asker| {
            let (realm, keys) = (realm.clone()?, settings.keys.auth.clone());
            Some(Authenticator::new(asker, settings.core, realm, keys))
        };
        Shard {
            ahead: Ahead::new(limits.header_lines),
            prefetch: Prefetch::NONE,
            completed: Completed::new(limits.completed_bytes),
            authenticator: authenticator(Asker::Registrar),
            proxy: Proxy::new(proxy_settings(&settings), authenticator(Asker::Proxy)),
            registrar: Registrar::new(
                settings.policy.clone(),
                limits.contacts,
                limits.message_bytes,
            ),
            location: Location::new(bindings, limits.arena_bytes, changes),
            date: Date::new(),
            metrics: Metrics::default(),
            settings,
        }
    }

    /// The same shard, which fetches ahead what it will read.
    #[must_use]
    pub fn with_prefetch(self, prefetch: Prefetch) -> Self {
        let authenticator = self.authenticator.map(|one| one.with_prefetch(prefetch));
        Shard { prefetch, authenticator, ..self }
    }

    /// Reads ahead the datagrams that are to be handled next, in this order and unchanged, at most [`FORESEEN`](Self::FORESEEN).
    /// Handling them comes to the same without it; with it memory is waited for once for all of them.
    #[inline]
    pub fn foresee(&mut self, datagrams: &[Datagram<'_>]) {
        let Shard { settings, ahead, completed, location, authenticator, prefetch, .. } = self;
        ahead.read(settings, datagrams, completed, location, authenticator.as_mut(), *prefetch);
    }

    /// Thinks about one input. What has to be sent is added to `out`, which must have room.
    pub fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        debug_assert!(out.has_room());
        let outcome = match &input {
            Input::Datagram(datagram) | Input::Hop(datagram) => {
                let has_moved = matches!(input, Input::Hop(_));
                self.receive(now, wall, datagram, has_moved, out)
            }
            Input::Letter(_) | Input::Unreachable(_) | Input::Addresses { .. } => {
                self.hear(now, input, out)
            }
        };
        self.metrics.count(outcome);
        outcome
    }

    /// Thinks about what is no message. Apart from those, so that their way stays narrow.
    #[inline(never)]
    fn hear(&mut self, now: Instant, input: Input<'_>, out: &mut Outbox) -> Outcome {
        let (proxy, mut around) = self.proxy(now, out);
        match input {
            Input::Datagram(_) | Input::Hop(_) => unreachable!("the caller has looked"),
            Input::Letter(bytes) => proxy.letter(bytes, &mut around),
            Input::Unreachable(error) => proxy.unreachable(error, &mut around),
            Input::Addresses { ticket, addresses } => {
                proxy.addresses(ticket, addresses, &mut around)
            }
        }
    }

    /// Does what time has made due, touching at most `budget` timers.
    pub fn expire(&mut self, now: Instant, mut budget: u32, out: &mut Outbox) {
        // Whoever waits comes before what nobody waits for.
        let (proxy, mut around) = self.proxy(now, out);
        proxy.expire(&mut budget, &mut around);
        self.metrics.bindings_expired += u64::from(self.location.expire(now, budget));
    }

    /// When [`expire`](Self::expire) has work to do, at the earliest; in the past where its budget did not suffice.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match (self.location.deadline(), self.proxy.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The proxy and what is around it.
    fn proxy<'s>(&'s mut self, now: Instant, out: &'s mut Outbox) -> (&'s mut Proxy, Around<'s>) {
        let Shard { proxy, location, completed, .. } = self;
        (proxy, Around { now, location, completed, out })
    }

    /// Puts other subscribers in the place of those before, and gives back what is not needed any more: freeing it takes longer
    /// than a core should be away. Without a realm that is what was given.
    pub fn replace_subscribers(&mut self, subscribers: Arc<Subscribers>) -> Arc<Subscribers> {
        self.proxy.replace_subscribers(&subscribers);
        match &mut self.authenticator {
            Some(authenticator) => authenticator.replace_subscribers(subscribers),
            None => subscribers,
        }
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What its proxy counted.
    #[must_use]
    pub fn proxy_metrics(&self) -> &proxy::Metrics {
        self.proxy.metrics()
    }

    /// How full it is.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let usage = self.location.arena().usage();
        let arena_bytes =
            usage.string_bytes + usage.rounding_bytes + usage.class_free_bytes + usage.free_bytes;
        Gauges {
            aors: self.location.aors_len() as usize,
            bindings: self.location.bindings_len() as usize,
            arena_used_bytes: arena_bytes - usage.free_bytes,
            arena_bytes,
            calls: self.proxy.gauges(),
            completed_evicted: self.completed.metrics().evicted,
        }
    }

    /// Walks the invariants of all tables.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        self.location.check();
        self.completed.check();
        self.authenticator.iter().for_each(Authenticator::check);
        self.proxy.check();
        assert!(self.metrics.reconciles(), "an input without a verdict, or with two");
    }

    /// Recognises a datagram, and moves it where it lives.
    #[inline(always)]
    fn receive(
        &mut self,
        now: Instant,
        wall: UnixTime,
        datagram: &Datagram<'_>,
        has_moved: bool,
        out: &mut Outbox,
    ) -> Outcome {
        let Shard { settings, ahead, .. } = self;
        let reading = ahead.reading(settings, datagram);
        match reading.sight {
            Sight::Register | Sight::Request => {}
            Sight::TooLarge => return dropped(Class::Junk, Reason::TooLarge),
            Sight::Empty => return dropped(Class::Keepalive, Reason::Empty),
            Sight::Crlf => return dropped(Class::Keepalive, Reason::Crlf),
            Sight::Stun => return dropped(Class::Keepalive, Reason::Stun),
            Sight::NotSip => return dropped(Class::Junk, Reason::NotSip),
            Sight::Malformed(malformed) => {
                return self::malformed(settings, &reading.index, datagram, malformed, out);
            }
            Sight::Response => {
                let core = reading.core.filter(|&core| settings.homes.has(core));
                if let Some(core) = core.filter(|&core| core != settings.core && !has_moved) {
                    return Outcome { class: Class::Move, verdict: Verdict::Hopped(core) };
                }
                let Ok(message) = Message::parse(datagram.bytes, &mut reading.index) else {
                    return dropped(Class::Response, Reason::BadResponse);
                };
                let Shard { proxy, location, completed, .. } = self;
                let mut around = Around { now, location, completed, out };
                return proxy.response(&message, &mut around);
            }
        }
        let home = reading.hash.map_or(settings.core, |hash| settings.homes.home(hash.place));
        if home != settings.core && !has_moved {
            return Outcome { class: Class::Move, verdict: Verdict::Hopped(home) };
        }
        let Reading { index, aor, aor_verdict, hash, .. } = reading;
        let message = match Message::parse(datagram.bytes, index) {
            Ok(message) => message,
            Err(malformed) => {
                return self::malformed(settings, index, datagram, malformed, out);
            }
        };
        let StartLine::Request { method, uri } = message.start_line() else {
            unreachable!("the peek has seen a request")
        };
        let here = ahead::here(settings, datagram);
        let tag = ToTag::new(hash.unwrap_or_default().seed);
        let caller = Caller { datagram, index: message.index(), tag };
        match *method {
            Method::Register => {
                let request = Register { message: &message, uri, datagram, branch: 0 };
                let aor = aor_verdict.map(|()| &*aor);
                let rooms = Rooms {
                    key: &settings.keys.transaction,
                    completed: &mut self.completed,
                    authenticator: self.authenticator.as_mut(),
                    registrar: &mut self.registrar,
                    location: &mut self.location,
                    date: &mut self.date,
                    metrics: &mut self.metrics,
                };
                rooms.register(now, wall, request, &caller, aor, &here, out)
            }
            // RFC 3261 11.2: to this server itself, whatever its Max-Forwards.
            Method::Options
                if uri.user.is_none() && here.is_ours(uri) && !message.has(HeaderId::Route) =>
            {
                match uas::serve(&message, *method, uri, &here) {
                    Ok(()) => {
                        Outcome { class: Class::Options, verdict: uas::options(&caller, out) }
                    }
                    Err(refusal) => refused(uas::refuse(&caller, Some(&message), refusal, out)),
                }
            }
            Method::Options
            | Method::Ack
            | Method::Invite
            | Method::Bye
            | Method::Cancel
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other(_) => {
                let hash = hash.unwrap_or_default();
                let request = proxy::Request {
                    message: &message,
                    method: *method,
                    uri,
                    datagram: *datagram,
                    caller: &caller,
                    wall,
                    hash,
                    home: ahead::transaction_home(hash, datagram),
                };
                let Shard { proxy, location, completed, .. } = self;
                let mut around = Around { now, location, completed, out };
                proxy.request(&request, &mut around)
            }
        }
    }
}

/// What of the settings is the proxy's.
fn proxy_settings(settings: &Settings) -> proxy::Settings {
    let Settings { core, homes, keys, domains, listeners, policy, proxy, limits, .. } = settings;
    proxy::Settings {
        core: *core,
        homes: *homes,
        policy: proxy.clone(),
        domains: Arc::clone(domains),
        listeners: Arc::clone(listeners),
        keys: proxy::Keys {
            home: keys.home,
            transaction: keys.transaction,
            branch: keys.branch,
            cookies: Arc::clone(&keys.cookies),
        },
        transactions: limits.transactions,
        branches: limits.branches,
        transaction_bytes: limits.transaction_bytes,
        message_bytes: limits.message_bytes,
        header_lines: limits.header_lines,
        targets: usize::from(policy.max_contacts),
    }
}

/// Answers what breaks the grammar, as far as it can be answered.
#[inline(never)]
fn malformed(
    settings: &Settings,
    index: &Index,
    datagram: &Datagram<'_>,
    malformed: Malformed,
    out: &mut Outbox,
) -> Outcome {
    // RFC 3261 8.2.7 and 17.1.1.3: nothing answers an ACK, and nothing answers a response.
    if !index.is_request() {
        return dropped(Class::Response, Reason::BadResponse);
    }
    if index.is_ack(datagram.bytes) {
        return dropped(Class::Ack, Reason::BadRequest);
    }
    let hash = HomeHash::new(&settings.keys.home, index.call_id(datagram.bytes));
    let caller = Caller { datagram, index, tag: ToTag::new(hash.seed) };
    refused(uas::refuse(&caller, None, Refusal::Malformed(malformed), out))
}

/// What a REGISTER walks through, apart from what it was read with.
struct Rooms<'s> {
    key: &'s [u8; 16],
    completed: &'s mut Completed,
    authenticator: Option<&'s mut Authenticator>,
    registrar: &'s mut Registrar,
    location: &'s mut Location,
    date: &'s mut Date,
    metrics: &'s mut Metrics,
}

impl Rooms<'_> {
    #[inline(always)]
    #[allow(
        clippy::too_many_arguments,
        reason = "each is another part of the way: time, request, caller, place, outbox"
    )]
    fn register(
        mut self,
        now: Instant,
        wall: UnixTime,
        mut request: Register<'_>,
        caller: &Caller<'_>,
        aor: Result<&Aor, NotOurs>,
        here: &Here<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        let hash = aor.map_or(HomeHash::default(), Aor::hash);
        let home = ahead::transaction_home(hash, request.datagram);
        let fingerprint =
            Fingerprint::new(self.key, home, &Identity::of(request.message, b"REGISTER"));
        if let Some(answer) = self.completed.find(now, fingerprint) {
            // RFC 3261 17.2.2: the same bytes again, the same way.
            let mut reply = out.reply();
            reply.put(answer.response);
            let is_sent = reply.send(answer.to, answer.from);
            let lost = Verdict::Dropped(Reason::ResponseTooLarge);
            let verdict = if is_sent { Verdict::Replied } else { lost };
            return Outcome { class: Class::Duplicate, verdict };
        }
        request.branch = fingerprint.low();
        let aor = match self.registrar.accept(&request, aor, here) {
            Ok(aor) => aor,
            Err(refusal) => return self.refuse(caller, &request, refusal, out),
        };
        if self.authenticator.is_some() {
            match self.authorise(now, wall, &request, caller, aor, out) {
                Ok(None) => {}
                Ok(Some(repeated)) => {
                    return self.confirm_any(now, wall, caller, fingerprint, &repeated, out);
                }
                Err(Denied::Refused(refusal)) => {
                    return self.refuse(caller, &request, refusal, out);
                }
                Err(Denied::Challenged(verdict)) => {
                    return Outcome { class: Class::RegisterChallenged, verdict };
                }
            }
        }
        if let Err(refusal) = self.registrar.read_path(request.message) {
            return self.refuse(caller, &request, refusal, out);
        }
        if let Some(refreshed) = self.registrar.refresh(now, &request, aor, self.location) {
            return self.confirm(now, wall, caller, fingerprint, &refreshed, out);
        }
        match self.registrar.change(now, &request, aor, self.location) {
            Ok(registered) => self.confirm_any(now, wall, caller, fingerprint, &registered, out),
            Err(refusal) => self.refuse(caller, &request, refusal, out),
        }
    }

    /// Answers what was done with a 200, and keeps the answer.
    #[inline(always)]
    fn confirm(
        self,
        now: Instant,
        wall: UnixTime,
        caller: &Caller<'_>,
        fingerprint: Fingerprint,
        registered: &Registered,
        out: &mut Outbox,
    ) -> Outcome {
        self.metrics.count_bindings(registered);
        let class = registered.class;
        let mut response = Response::new(out.reply());
        if !caller.begin(&mut response, 200, "OK") {
            return dropped(class, Reason::BadRequest);
        }
        self.registrar.write_bindings(now, registered, self.location, caller.index, &mut response);
        response.put(self.date.headers(wall));
        let reply = response.finish();
        if !reply.fits() {
            return dropped(class, Reason::ResponseTooLarge);
        }
        let (to, from) = (caller.destination(), caller.datagram.to);
        let answer = Answer { response: reply.written(), to, from };
        self.completed.insert_first(now, fingerprint, &answer);
        let is_sent = reply.send(to, from);
        debug_assert!(is_sent, "it was seen to fit");
        Outcome { class, verdict: Verdict::Replied }
    }

    /// The same for anything but a refresh, apart from its way.
    #[inline(never)]
    fn confirm_any(
        self,
        now: Instant,
        wall: UnixTime,
        caller: &Caller<'_>,
        fingerprint: Fingerprint,
        registered: &Registered,
        out: &mut Outbox,
    ) -> Outcome {
        self.confirm(now, wall, caller, fingerprint, registered, out)
    }

    #[inline(never)]
    fn refuse(
        self,
        caller: &Caller<'_>,
        request: &Register<'_>,
        refusal: Refusal,
        out: &mut Outbox,
    ) -> Outcome {
        self.metrics.location_full += u64::from(refusal == Refusal::LocationFull);
        refused(uas::refuse(caller, Some(request.message), refusal, out))
    }

    /// Whether a REGISTER comes from whom it may come, RFC 3261 10.3 steps 3 and 4; what it has done already, where it came before
    /// and its transaction is forgotten.
    #[inline(never)]
    fn authorise(
        &mut self,
        now: Instant,
        wall: UnixTime,
        request: &Register<'_>,
        caller: &Caller<'_>,
        aor: &Aor,
        out: &mut Outbox,
    ) -> Result<Option<Registered>, Denied<Verdict>> {
        let Some(authenticator) = self.authenticator.as_deref_mut() else { return Ok(None) };
        let asked = auth::Request {
            message: request.message,
            method: request.message.cseq().method.name(),
            uri: request.uri,
            aor,
            salt: request.branch,
        };
        match authenticator.authenticate(now, wall, &asked) {
            Ok(()) => Ok(None),
            Err(Denied::Refused(refusal)) => Err(Denied::Refused(refusal)),
            Err(Denied::Challenged(challenge)) => {
                self.metrics.challenged[challenge.cause.index()] += 1;
                if challenge.cause == Cause::Replayed
                    && let Some(done) = self.registrar.repetition(now, request, aor, self.location)
                {
                    // Its transaction was forgotten under load; the answer is what it bound.
                    return Ok(Some(done));
                }
                Err(Denied::Challenged(authenticator.challenge(caller, &challenge, out)))
            }
        }
    }
}

impl Metrics {
    fn count_bindings(&mut self, registered: &Registered) {
        self.bindings_created += u64::from(registered.created);
        self.bindings_refreshed += u64::from(registered.refreshed);
        self.bindings_removed += u64::from(registered.removed);
        self.bindings_replaced += u64::from(registered.replaced);
    }
}

impl Date {
    const SUPPORTED: &str = "Supported: ";
    const DATE: &str = "\r\nDate: ";
    const END: &str = "\r\n";
    /// RFC 3261 25.1: a `rfc1123-date` has 29 bytes.
    const BYTES: usize =
        Self::SUPPORTED.len() + SUPPORTED.len() + Self::DATE.len() + 29 + Self::END.len();

    fn new() -> Self {
        Date { at: UnixTime(u64::MAX), headers: [0; Date::BYTES] }
    }

    /// RFC 3261 10.3 step 8: the response should carry a Date.
    #[inline]
    fn headers(&mut self, wall: UnixTime) -> &[u8; Date::BYTES] {
        if self.at != wall {
            self.write(wall);
        }
        &self.headers
    }

    #[cold]
    fn write(&mut self, wall: UnixTime) {
        self.at = wall;
        let date = wire::sip_date(wall);
        let parts = [Self::SUPPORTED, SUPPORTED, Self::DATE].map(str::as_bytes);
        let parts = parts.into_iter().chain([&date[..], Self::END.as_bytes()]).flatten();
        for (place, byte) in self.headers.iter_mut().zip(parts) {
            *place = *byte;
        }
    }
}

fn dropped(class: Class, reason: Reason) -> Outcome {
    Outcome { class, verdict: Verdict::Dropped(reason) }
}

fn refused(verdict: Verdict) -> Outcome {
    Outcome { class: Class::Refusal, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{CoreId, ListenerId, LocalAddr, Peer};
    use crate::location::Domains;
    use crate::registrar::Policy;
    use alloc::format;
    use alloc::string::String;
    use alloc::sync::Arc;
    use core::time::Duration;

    pub(super) fn shard() -> Shard {
        Shard::new(Settings {
            core: CoreId(0),
            homes: Homes::all(1),
            keys: Keys::derive(&[1; 32]),
            domains: Arc::new(Domains::new(["sip.test"])),
            listeners: Arc::new(["127.0.0.1:5060".parse().unwrap()]),
            policy: Policy::default(),
            proxy: proxy::Policy::default(),
            realm: None,
            limits: Limits {
                message_bytes: 65_507,
                header_lines: 64,
                contacts: 8,
                bindings: 100,
                arena_bytes: 64 * 1024,
                completed_bytes: 64 * 1024,
                transactions: 1000,
                branches: 2000,
                transaction_bytes: 4 << 20,
            },
        })
    }

    fn register(branch: u32, cseq: u32, headers: &str) -> String {
        format!(
            "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@sip.test>;tag=1\r\nTo: <sip:alice@sip.test>\r\n\
             Call-ID: call-1\r\nCSeq: {cseq} REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        )
    }

    fn send(shard: &mut Shard, at: Instant, text: &str) -> (Outcome, String) {
        let mut out = Outbox::new(1, 0);
        let from = Peer::udp("127.0.0.1:5080".parse().unwrap());
        let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
        let datagram = Datagram { from, to, bytes: text.as_bytes(), age: Duration::ZERO };
        let outcome =
            shard.handle(at, UnixTime(1_800_000_000), Input::Datagram(datagram), &mut out);
        shard.check();
        let reply =
            out.sends().first().map(|send| String::from_utf8(out.bytes(send).to_vec()).unwrap());
        (outcome, reply.unwrap_or_default())
    }

    #[test]
    fn a_binding_is_made_refreshed_offered_and_expires() {
        let mut shard = shard();
        let contact = "Contact: <sip:alice@127.0.0.1:5080>;q=0.5;expires=100;+x=1\r\n";
        let (outcome, first) = send(&mut shard, Instant::START, &register(1, 1, contact));
        assert_eq!(outcome, Outcome { class: Class::RegisterNew, verdict: Verdict::Replied });
        assert!(first.starts_with("SIP/2.0 200 OK\r\n"), "{first}");
        assert!(
            first.contains("Contact: <sip:alice@127.0.0.1:5080>;+x=1;q=0.5;expires=100\r\n"),
            "{first}"
        );

        let (outcome, again) = send(&mut shard, Instant::START, &register(1, 1, contact));
        assert_eq!(outcome.class, Class::Duplicate);
        assert_eq!(again, first);

        let later = Instant::START.plus_secs(60);
        let (outcome, _) = send(&mut shard, later, &register(2, 2, contact));
        assert_eq!(outcome.class, Class::RegisterRefresh);
        let (outcome, old) = send(&mut shard, later, &register(3, 2, contact));
        assert_eq!(outcome.verdict, Verdict::Refused(500), "{old}");

        let (outcome, query) = send(&mut shard, later.plus_secs(99), &register(4, 3, ""));
        assert_eq!(outcome.class, Class::RegisterQuery);
        assert!(query.contains(";expires=1\r\n"), "{query}");
        let (_, gone) = send(&mut shard, later.plus_secs(100), &register(5, 4, ""));
        assert!(!gone.contains("Contact:"), "{gone}");
        shard.expire(later.plus_secs(101), 10_000, &mut Outbox::new(1, 0));
        assert_eq!(shard.gauges().bindings, 0);
    }

    #[test]
    fn a_refusal_beyond_twice_the_request_is_dropped() {
        let mut shard = shard();
        let (outcome, reply) =
            send(&mut shard, Instant::START, "X sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n");
        assert_eq!(outcome.verdict, Verdict::Dropped(Reason::Amplifies), "{reply}");
        assert_eq!(reply, "");
    }

    #[test]
    fn what_might_not_be_answered_in_a_datagram_changes_nothing() {
        let mut shard = shard();
        let padding = format!("Contact: <sip:a@b>\r\nX-Padding: {}\r\n", "x".repeat(60_000));
        let (outcome, reply) = send(&mut shard, Instant::START, &register(1, 1, &padding));
        assert_eq!(outcome.verdict, Verdict::Refused(513), "{}", reply.len());
        assert_eq!(shard.gauges().bindings, 0);
    }
}
