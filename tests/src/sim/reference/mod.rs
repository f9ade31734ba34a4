//! The reference registrar: RFC 3261 10.3 over a plain map, written to be read, not to be fast. It is told what the server has
//! heard, in the order in which the home core heard it, and says what had to come of it. It shares no code with the server's
//! registrar and location table; the server's parser tells it what a message says and whether a URI is sound.

pub mod gate;
pub mod operator;
pub mod uri;

use super::message::{Address, Contact, List, Register, Via};
use shards::io::{Class, Instant, LocalAddr};
use shards::registrar::{Policy, UnsupportedPath, WhenFull};
use shards::wire::Uri;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use uri::Place;

/// A REGISTER as a core heard it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// What it means.
    pub register: &'a Register,
    /// Its topmost Via and the tag of its To, as they came.
    pub raw: &'a [Vec<u8>; 2],
    /// The packet's source.
    pub from: SocketAddr,
    /// Where it arrived.
    pub to: LocalAddr,
    /// How long it is.
    pub bytes: usize,
}

/// By what a request is told from another, RFC 3261 17.2.3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transaction {
    /// By the branch and who put it there.
    Branch {
        /// The branch.
        branch: Vec<u8>,
        /// The sent-by, its host in lower case.
        sent_by: (Vec<u8>, Option<u16>),
    },
    /// The way of RFC 2543: by everything else.
    Elements {
        /// Request-URI, From tag and Call-ID.
        texts: [Vec<u8>; 3],
        /// The number of the `CSeq`.
        cseq: u32,
        /// The topmost Via and the tag of To.
        raw: [Vec<u8>; 2],
    },
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The contact's URI, as it was sent.
    pub uri: Vec<u8>,
    params: Vec<u8>,
    q: Option<u16>,
    /// The instance and `reg-id` of a flow, RFC 5626.
    flow: Option<(Vec<u8>, u32)>,
    path: Vec<u8>,
    call_id: Vec<u8>,
    cseq: u32,
    transaction: Transaction,
    from: SocketAddr,
    to: LocalAddr,
    /// From when on it is no longer offered.
    pub expires: Instant,
}

/// What has to come of a REGISTER.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A 200, and these changes.
    Accepted(Box<Accepted>),
    /// It made a binding as it is, and came again when its transaction was forgotten: a 200 that changes nothing, or one of these
    /// refusals, since other contacts it lists may have changed.
    Repeated(Vec<u8>, BTreeSet<u16>),
    /// One of these: what is wrong with it, in no order.
    Refused(BTreeSet<u16>),
}

/// What an accepted REGISTER does.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The canonical address-of-record.
    pub aor: Vec<u8>,
    /// Its bindings afterwards, the oldest first.
    pub after: Vec<Binding>,
    /// The class under which it counts.
    pub class: Class,
    /// Bindings made, given a new expiry, removed as asked and removed to make room.
    pub changes: Changes,
    /// Whether the answer requires outbound.
    pub is_outbound: bool,
}

/// How many bindings were changed, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Made.
    pub created: u64,
    /// Given a new expiry.
    pub refreshed: u64,
    /// Removed as asked.
    pub removed: u64,
    /// Removed to make room.
    pub replaced: u64,
}

impl Changes {
    /// What has come to those of an earlier time.
    #[must_use]
    pub fn since(self, earlier: Changes) -> Changes {
        Changes {
            created: self.created - earlier.created,
            refreshed: self.refreshed - earlier.refreshed,
            removed: self.removed - earlier.removed,
            replaced: self.replaced - earlier.replaced,
        }
    }
}

/// The registrar.
#[derive(Clone, Debug)]
pub struct Reference {
    policy: Policy,
    contacts_max: usize,
    /// Where it is.
    pub place: Place,
    bindings: BTreeMap<Vec<u8>, Vec<Binding>>,
}

/// A contact that can't be bound, and the status that says so.
type Objection = u16;

impl Reference {
    /// A registrar without bindings that reads up to `contacts_max` contacts in a request.
    #[must_use]
    pub fn new(policy: Policy, contacts_max: usize, place: Place) -> Self {
        Reference { policy, contacts_max, place, bindings: BTreeMap::new() }
    }

    /// Forgets everything: the node was started again.
    pub fn clear(&mut self) {
        self.bindings.clear();
    }

    /// What has to come of a REGISTER.
    #[must_use]
    pub fn judge(&self, now: Instant, heard: &Heard<'_>) -> Expected {
        let register = heard.register;
        let mut objections = self.objections_before_asking_who(heard);
        let aor = self.place.canonical(&register.to, heard.to.ip);
        let Some(aor) = aor.filter(|_| objections.is_empty()) else {
            return Expected::Refused(objections);
        };
        objections.extend(self.objections_to_the_path(register));
        let before: Vec<Binding> = self.bindings(&aor, now).cloned().collect();
        let fates = before.iter().map(|_| Fate::Kept).collect();
        let mut change = Change { reference: self, now, heard, before, fates, created: Vec::new() };
        let mut done = Accepted {
            aor,
            after: Vec::new(),
            class: Class::RegisterQuery,
            changes: Changes::default(),
            is_outbound: false,
        };
        let (walk, more) = change.contacts(&mut done);
        if objections.is_empty() && walk == Walk::Repeated {
            return Expected::Repeated(done.aor, more);
        }
        objections.extend(more);
        if !objections.is_empty() {
            return Expected::Refused(objections);
        }
        done.class = match (done.changes, register.contacts.values.is_empty()) {
            (Changes { created: 1.., .. }, _) => Class::RegisterNew,
            (Changes { refreshed: 1.., .. }, _) => Class::RegisterRefresh,
            (_, false) => Class::RegisterRemove,
            (_, true) => Class::RegisterQuery,
        };
        Expected::Accepted(Box::new(done))
    }

    /// Makes the changes of a REGISTER that was accepted.
    pub fn accept(&mut self, accepted: Accepted) {
        if accepted.after.is_empty() {
            self.bindings.remove(&accepted.aor);
        } else {
            self.bindings.insert(accepted.aor, accepted.after);
        }
    }

    /// The bindings of an address-of-record at a time, the oldest first.
    pub fn bindings(&self, aor: &[u8], now: Instant) -> impl DoubleEndedIterator<Item = &Binding> {
        self.bindings.get(aor).into_iter().flatten().filter(move |binding| binding.expires > now)
    }

    /// Whether an address-of-record has or had a binding of this URI that nothing has replaced since it expired.
    #[must_use]
    pub fn had(&self, aor: &[u8], uri: &[u8]) -> bool {
        self.bindings.get(aor).into_iter().flatten().any(|binding| binding.uri == uri)
    }

    /// Every address-of-record that may have bindings.
    pub fn aors(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.bindings.keys()
    }

    /// The Contact values of a 200: every binding with what it has left, the newest first.
    #[must_use]
    pub fn listing(bindings: &[Binding], now: Instant) -> Vec<Vec<u8>> {
        bindings.iter().rev().map(|binding| binding.listed(now)).collect()
    }

    /// Whether a REGISTER has made a binding of its address-of-record as it is, and comes again from where it came from.
    #[must_use]
    pub fn is_repetition(&self, now: Instant, heard: &Heard<'_>, aor: &[u8]) -> bool {
        let register = heard.register;
        self.bindings(aor, now).any(|binding| {
            (&binding.call_id, binding.cseq) == (&register.call_id, register.cseq)
                && binding.from == heard.from
                && binding.transaction == Transaction::of(heard)
        })
    }

    /// RFC 3261 10.3 steps 1, 2 and 5, before it is asked who sends it: whether this registrar is meant at all.
    #[must_use]
    pub fn objections_before_asking_who(&self, heard: &Heard<'_>) -> BTreeSet<Objection> {
        let register = heard.register;
        let mut objections = BTreeSet::new();
        if heard.bytes + self.policy.max_contact_bytes as usize + 1024 > 65_507 {
            objections.insert(513);
        }
        if !uri::is_sip(&register.request_uri) {
            objections.insert(416);
        }
        let understood = |tag: &Vec<u8>| {
            [&b"path"[..], b"outbound"].iter().any(|known| tag.eq_ignore_ascii_case(known))
        };
        if !register.require.values.iter().all(understood) {
            objections.insert(420);
        }
        if register.require.is_broken {
            objections.insert(400);
        }
        match self.place.canonical(&register.to, heard.to.ip) {
            Some(aor) if self.place.serves(&register.request_uri, &aor, heard.to.ip) => {}
            Some(_) => drop(objections.insert(404)),
            // 404 where the domain is another's, 400 where it can't be an address-of-record.
            None => objections.extend([400, 404]),
        }
        objections
    }

    /// RFC 3327 5.3: what is wrong with a Path.
    fn objections_to_the_path(&self, register: &Register) -> BTreeSet<Objection> {
        let mut objections = BTreeSet::new();
        if register.path.is_broken {
            objections.insert(400);
        }
        let has_path = !register.path.values.is_empty();
        if has_path && self.policy.unsupported_path == UnsupportedPath::Reject {
            match supports(&register.supported, b"path") {
                Some(true) => {}
                Some(false) => drop(objections.insert(420)),
                None => drop(objections.insert(400)),
            }
        }
        objections
    }
}

/// How a walk over the contacts of a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Through,
    /// At a binding that this very request has made.
    Repeated,
}

/// What a request does to a binding that it finds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Changed(Box<Binding>),
    Removed,
}

/// One request against the bindings of its address-of-record.
struct Change<'a> {
    reference: &'a Reference,
    now: Instant,
    heard: &'a Heard<'a>,
    /// The bindings it finds, the oldest first, and what becomes of each.
    before: Vec<Binding>,
    fates: Vec<Fate>,
    created: Vec<Binding>,
}

impl Change<'_> {
    /// RFC 3261 10.3 steps 6 and 7: all contacts, or what is wrong with any of them.
    fn contacts(&mut self, done: &mut Accepted) -> (Walk, BTreeSet<Objection>) {
        let Heard { register, .. } = *self.heard;
        let mut objections = BTreeSet::new();
        let (mut bound, mut stores) = (0, false);
        let count = register.contacts.values.len();
        if register.contacts.is_broken || count > self.reference.contacts_max {
            objections.insert(400);
        }
        for contact in &register.contacts.values {
            let one = match contact {
                Contact::Star => self.star(done).map(|()| One::default()),
                Contact::Address(address) => self.address(address, bound, done),
            };
            match one {
                Ok(One { is_repeated: true, .. }) => return (Walk::Repeated, objections),
                Ok(one) => {
                    bound += usize::from(one.is_bound);
                    stores |= one.stores;
                }
                Err(objection) => drop(objections.insert(objection)),
            }
        }
        if done.is_outbound && bound > 1 {
            // RFC 5626 6.
            objections.insert(400);
        }
        if stores && objections.is_empty() {
            match self.make_room() {
                Some(replaced) => done.changes.replaced = replaced,
                None => drop(objections.insert(403)),
            }
        }
        done.after = self.after().map(|(_, binding)| binding.clone()).collect();
        (Walk::Through, objections)
    }

    /// `Contact: *`, 10.3 step 6.
    fn star(&mut self, done: &mut Accepted) -> Result<(), Objection> {
        let register = self.heard.register;
        let is_alone = register.contacts.values.len() == 1 && !register.contacts.is_broken;
        if !is_alone || register.expires != Some(0) {
            return Err(400);
        }
        if !self.before.iter().all(|binding| self.is_newer_than(binding)) {
            return Err(500);
        }
        self.fates.fill(Fate::Removed);
        done.changes.removed = self.before.len() as u64;
        Ok(())
    }

    /// A contact with a URI; `bound` were bound by the request before it.
    fn address(
        &mut self,
        address: &Address,
        bound: usize,
        done: &mut Accepted,
    ) -> Result<One, Objection> {
        let policy = &self.reference.policy;
        let flow = self.flow(address)?;
        let wished =
            address.expires.or(self.heard.register.expires).unwrap_or(policy.default_expires_secs);
        if wished > 0 && wished < policy.min_expires_secs {
            return Err(423);
        }
        if wished > 0 && bound == usize::from(policy.max_contacts) {
            return Err(403);
        }
        let binding = self.binding(address, flow, wished.min(policy.max_expires_secs));
        let identical = self.before.iter().rposition(|held| held.is_identical(&binding));
        if identical.is_none()
            && (Uri::parse(&address.uri).is_err()
                || self.created.iter().any(|made| made.is_meant_by(&binding)))
        {
            return Err(400);
        }
        let held =
            identical.or_else(|| self.before.iter().rposition(|held| held.is_meant_by(&binding)));
        if let Some(held) = held {
            let before = &self.before[held];
            if !self.is_newer_than(before) {
                let is_repeated =
                    before.cseq == binding.cseq && before.transaction == binding.transaction;
                return if is_repeated {
                    Ok(One { is_repeated, ..One::default() })
                } else {
                    Err(500)
                };
            }
            if self.fates[held] != Fate::Kept {
                return Err(400);
            }
        }
        let mut one = One { is_bound: wished > 0, ..One::default() };
        match (held, wished) {
            (Some(held), 0) => {
                self.fates[held] = Fate::Removed;
                done.changes.removed += 1;
            }
            (None, 0) => {}
            (Some(held), _) => {
                one.stores = identical.is_none();
                self.fates[held] = Fate::Changed(Box::new(binding));
                done.changes.refreshed += 1;
            }
            (None, _) => {
                one.stores = true;
                self.created.push(binding);
                done.changes.created += 1;
            }
        }
        done.is_outbound |= flow && wished > 0;
        Ok(one)
    }

    /// The bindings as the request would leave them, the oldest first; those it does not name with their place.
    fn after(&self) -> impl DoubleEndedIterator<Item = (Option<usize>, &Binding)> {
        let found = self.before.iter().zip(&self.fates).enumerate().filter_map(
            |(place, (before, fate))| match fate {
                Fate::Kept => Some((Some(place), before)),
                Fate::Changed(after) => Some((None, &**after)),
                Fate::Removed => None,
            },
        );
        found.chain(self.created.iter().map(|made| (None, made)))
    }

    /// Keeps the operator's limits on an address-of-record and gives how many bindings had to go; `None` where it can't be done.
    fn make_room(&mut self) -> Option<u64> {
        let policy = &self.reference.policy;
        let mut replaced = 0;
        loop {
            let (count, bytes) = self.after().fold((0, 0), |(count, bytes), (_, binding)| {
                (count + 1, bytes + binding.counted_bytes())
            });
            if count <= usize::from(policy.max_contacts)
                && bytes <= policy.max_contact_bytes as usize
            {
                return Some(replaced);
            }
            // Of those that the request does not name, the one that would end first; of equals the newest.
            let untouched =
                self.after().rev().filter_map(|(place, binding)| Some((place?, binding.expires)));
            let oldest = untouched.min_by_key(|&(_, expires)| expires);
            match (policy.when_full, oldest) {
                (WhenFull::ReplaceOldest, Some((oldest, _))) => self.fates[oldest] = Fate::Removed,
                (WhenFull::ReplaceOldest | WhenFull::Refuse, _) => return None,
            }
            replaced += 1;
        }
    }

    /// Whether the request may change what this binding was made by: another Call-ID, or a higher `CSeq`.
    fn is_newer_than(&self, binding: &Binding) -> bool {
        let register = self.heard.register;
        register.call_id != binding.call_id || register.cseq > binding.cseq
    }

    /// Whether a contact is a flow of RFC 5626: it has both, and its first hop knows outbound (6).
    fn flow(&self, address: &Address) -> Result<bool, Objection> {
        let register = self.heard.register;
        if address.reg_id.is_none() || address.instance.is_none() {
            return Ok(false);
        }
        let edge = register.path.values.last().map(|path| in_brackets(path));
        let edge = edge.filter(|edge| Uri::parse(edge).is_ok());
        let is_alone = register.vias_below.values.is_empty() && !register.vias_below.is_broken;
        let is_outbound = is_alone || edge.is_some_and(|edge| uri::param(edge, b"ob").is_some());
        if is_outbound {
            return Ok(true);
        }
        match supports(&register.supported, b"outbound") {
            Some(true) => Err(439),
            Some(false) => Ok(false),
            None => Err(400),
        }
    }

    fn binding(&self, address: &Address, flow: bool, granted_secs: u32) -> Binding {
        let Heard { register, from, to, .. } = *self.heard;
        let flow = address.instance.clone().zip(address.reg_id).filter(|_| flow);
        Binding {
            uri: address.uri.clone(),
            params: address.params.clone(),
            q: address.q,
            flow,
            path: register.path.values.join(&b","[..]),
            call_id: register.call_id.clone(),
            cseq: register.cseq,
            transaction: Transaction::of(self.heard),
            from,
            to,
            expires: self.now.plus_secs(granted_secs),
        }
    }
}

/// What one contact comes to.
#[derive(Clone, Copy, Debug, Default)]
struct One {
    is_repeated: bool,
    is_bound: bool,
    /// It stores something that was not there.
    stores: bool,
}

impl Binding {
    /// Whether both were made by the same call, from the same place, of the same words.
    fn is_identical(&self, other: &Binding) -> bool {
        let Binding { uri, params, path, call_id, from, to, flow, .. } = self;
        (uri, params, path, call_id) == (&other.uri, &other.params, &other.path, &other.call_id)
            && (from, to) == (&other.from, &other.to)
            && flow == &other.flow
    }

    /// Whether a contact means this binding: by its flow (RFC 5626 6), else by its URI (RFC 3261 19.1.4).
    fn is_meant_by(&self, contact: &Binding) -> bool {
        match (&self.flow, &contact.flow) {
            (Some(held), Some(wanted)) => held == wanted,
            (None, None) => uri::are_equivalent(&self.uri, &contact.uri),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// What it counts towards the limit of bytes: a full line of a 200, its Path and its Call-ID.
    fn counted_bytes(&self) -> usize {
        let strings = [&self.uri, &self.params, &self.path, &self.call_id];
        "Contact: <>;q=0.123;expires=4294967295\r\n".len()
            + strings.map(Vec::len).iter().sum::<usize>()
    }

    fn listed(&self, now: Instant) -> Vec<u8> {
        let mut line = [b"<", &self.uri[..], b">", &self.params].concat();
        if let Some(q) = self.q {
            let digits = format!("{}.{:03}", q / 1000, q % 1000);
            let q = digits.trim_end_matches('0').trim_end_matches('.');
            line.extend(format!(";q={q}").bytes());
        }
        let left = self.expires.since(now);
        let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        // RFC 3261 20.19: at most 2^32 - 1, which is what an operator's for ever is.
        let secs = secs.min(u64::from(u32::MAX));
        line.extend(format!(";expires={secs}").bytes());
        line
    }
}

impl Transaction {
    /// Of a REGISTER.
    #[must_use]
    pub fn of(heard: &Heard<'_>) -> Self {
        let register = heard.register;
        let Via { host, port, branch, .. } = &register.via;
        match branch {
            Some(branch) if branch.len() > 7 && branch.starts_with(b"z9hG4bK") => {
                Transaction::Branch {
                    branch: branch.clone(),
                    sent_by: (host.to_ascii_lowercase(), *port),
                }
            }
            Some(_) | None => Transaction::Elements {
                texts: [
                    register.request_uri.clone(),
                    register.from_tag.clone(),
                    register.call_id.clone(),
                ],
                cseq: register.cseq,
                raw: heard.raw.clone(),
            },
        }
    }
}

/// Whether an option tag is among those supported; `None` where the header breaks before it is found.
fn supports(supported: &List<Vec<u8>>, tag: &[u8]) -> Option<bool> {
    let found = supported.values.iter().any(|one| one.eq_ignore_ascii_case(tag));
    if !found && supported.is_broken { None } else { Some(found) }
}

fn in_brackets(value: &[u8]) -> &[u8] {
    // A display name may hold a bracket in its quotes; the URI's are the last.
    let end = value.iter().rposition(|&byte| byte == b'>').unwrap_or(value.len());
    let start = value[..end].iter().rposition(|&byte| byte == b'<').map_or(0, |at| at + 1);
    &value[start..end]
}
