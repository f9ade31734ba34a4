//! The judge: it sees every input of every core with what came of it, asks the reference what had to come, and names each rule that
//! was broken. It never touches the node.

mod answers;
mod credentials;
mod errands;
mod memory;

use super::directory::Directory;
use super::handler::{Handler, Table};
use super::message::{List, Reading, Register, Via};
use super::network::Packet;
use super::node;
use super::plan::Plan;
use super::reference::gate::Gate;
use super::reference::{Accepted, Changes, Expected, Heard, Reference};
use super::ua::response::Response;
use credentials::Passage;
pub use errands::Ran;
use memory::{Memory, Remembered};
use shards::auth::Cause;
use shards::io::{Class, CoreId, Instant, LocalAddr, Outcome, Reason, UnixTime, Verdict};
use shards::shard::{Limits, Metrics};
use shards::wire::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

/// The rules that hold in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Every input has one verdict, and its counters say so.
    InputsEqualVerdicts,
    /// A verdict and what was put into the outbox belong together.
    VerdictMatchesResponse,
    /// What the tables count adds up: made less removed, replaced and expired is there.
    BindingsAddUp,
    /// A message is handled by one core, whichever it reached first.
    HandledAtHome,
    /// A response goes to the packet's source and leaves from the address it reached.
    AnsweredToSource,
    /// A refusal is at most twice as long as the request.
    NeverAmplified,
    /// A response is a message, and answers the request.
    SoundResponse,
    /// The parser reads what the sender meant.
    ReadAsMeant,
    /// A retransmission gets the same bytes the same way while its record lives.
    RetransmissionIdentical,
    /// A retransmission, and whatever is refused, changes nothing.
    ReplayChangesNothing,
    /// What the registrar answers is what RFC 3261 10.3 asks for.
    AsTheReference,
    /// Nobody registers without the right credentials.
    OnlyWithCredentials,
    /// Nobody registers what is another's.
    OnlyOnesOwn,
    /// No count of a nonce passes twice.
    ReplayNeverPasses,
    /// A challenge does not tell who there is.
    StrangersLookAlike,
    /// A challenge is made anew each time, and not kept.
    ChallengeStateless,
    /// What an operator wishes is done, and nothing else.
    ErrandDone,
    /// A binding that was acknowledged is there until it expires or is removed.
    BindingKept,
    /// What has expired is not offered.
    NothingExpiredOffered,
    /// Memory stays within the limits.
    WithinLimits,
    /// With a healed network everybody is registered within the bound.
    EverybodyRegistered,
    /// When everybody has gone, the tables are empty.
    TablesEmpty,
    /// Of calls: a server transaction has one final response, but for several 2xx to an INVITE.
    OneFinalResponse,
    /// Of calls: what somebody gets was sent by somebody, or is what a proxy may say itself.
    ReallySent,
    /// Of calls: a CANCEL and the ACK of a refusal follow their INVITE.
    MatchesItsInvite,
    /// Of calls: only who is called, or is in the call, gets something of it.
    OnlyParties,
    /// Of calls: nothing is sent again once its transaction should be over.
    WithinTimers,
    /// Of calls: with a healed network every call comes to its end as it should.
    CallsComplete,
    /// A shard's own invariants hold, and it never panics.
    Sound,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// One input and what came of it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The time.
    pub now: Instant,
    /// The wall clock.
    pub wall: UnixTime,
    /// The core that handled it.
    pub core: CoreId,
    /// Whether another core passed it on.
    pub moved: bool,
    /// The input.
    pub packet: &'a Packet,
    /// The verdict.
    pub outcome: Outcome,
    /// What it put into the outbox: whom for, from where, and the bytes.
    pub sends: Vec<(SocketAddr, LocalAddr, &'a [u8])>,
    /// The core's thinking, after it.
    pub handler: &'a dyn Handler,
}

/// What is known of a core from its inputs.
#[derive(Clone, Debug, Default)]
struct Ledger {
    inputs: u64,
    before: Totals,
    /// Requests that did not show whose they are, by their causes.
    challenged: [u64; Cause::ALL.len()],
    /// Since the invariants were last walked.
    unchecked: u64,
}

/// What a core says it has done to its bindings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    changes: Changes,
    expired: u64,
}

/// The judge of a world.
#[derive(Debug)]
pub struct Oracle {
    reference: Reference,
    /// Who may register, where that is asked.
    gate: Option<Gate>,
    limits: Limits,
    ledgers: Vec<Ledger>,
    memory: Memory,
    /// Where each address-of-record and Call-ID was handled.
    homes: BTreeMap<Vec<u8>, CoreId>,
    index: Index,
    asked: u64,
    violations: Vec<Violation>,
    seen: BTreeMap<String, u64>,
}

impl Oracle {
    /// The judge of a plan's node, which has read a file of subscribers.
    #[must_use]
    pub fn new(plan: &Plan, directory: &Rc<Directory>) -> Self {
        Oracle {
            gate: plan.digest.as_ref().map(|digest| Gate::new(plan, digest, directory)),
            reference: Reference::new(plan.policy.clone(), plan.limits.contacts, plan.place()),
            limits: plan.limits.clone(),
            ledgers: vec![Ledger::default(); usize::from(plan.cores)],
            memory: Memory::default(),
            homes: BTreeMap::new(),
            index: Index::new(plan.limits.header_lines),
            asked: 0,
            violations: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// The node was started again: what it held in memory is gone, and that is declared.
    pub fn restarted(&mut self, cores: u16, directory: &Rc<Directory>) {
        self.reference.clear();
        if let Some(gate) = &mut self.gate {
            gate.restarted(cores, directory);
        }
        self.memory.clear();
        self.homes.clear();
        self.ledgers = vec![Ledger::default(); usize::from(cores)];
    }

    /// What was broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each thing was seen.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<String, u64> {
        &self.seen
    }

    /// What has to be bound.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Counts that something was seen.
    pub fn saw(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.seen.insert(what.to_owned(), 1)),
        }
    }

    /// Says that a rule was broken.
    pub fn broken(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation { rule, what });
    }

    /// Judges an input.
    pub fn handled(&mut self, step: &Step<'_>) {
        let Outcome { class, verdict } = step.outcome;
        if let Some(gate) = &mut self.gate {
            gate.shown(step.core, step.now, step.wall);
        }
        self.saw(class.label());
        match verdict {
            Verdict::Refused(status) => self.saw(&status.to_string()),
            Verdict::Dropped(reason) => self.saw(reason.label()),
            Verdict::Replied
            | Verdict::Forwarded
            | Verdict::Held
            | Verdict::Hopped(_)
            | Verdict::Absorbed => {}
        }
        let changes = self.count(step);
        let response = self.check_sends(step);
        let reading = Reading::of(&step.packet.bytes, &mut self.index);
        if let Some(meant) = &step.packet.meant
            && step.packet.bytes.len() <= self.limits.message_bytes
            && !matches!(&reading, Reading::Register(read, _) if **read == **meant)
            && !self.has_too_many_lines(&step.packet.bytes)
        {
            self.broken(Rule::ReadAsMeant, format!("{meant:?} was read as {reading:?}"));
        }
        self.check_home(step, &reading);
        match &reading {
            Reading::Register(register, raw)
                if step.packet.bytes.len() <= self.limits.message_bytes =>
            {
                if !matches!(verdict, Verdict::Hopped(_)) {
                    let Packet { from, to, ref bytes, .. } = *step.packet;
                    let heard = Heard { register, raw, from, to, bytes: bytes.len() };
                    self.register(step, &heard, changes, response);
                }
            }
            Reading::Register(..) | Reading::Other { .. } | Reading::Nothing => {
                if changes != Changes::default() {
                    self.broken(
                        Rule::AsTheReference,
                        format!("what is no REGISTER came to {changes:?}"),
                    );
                }
            }
        }
        self.check_core(step.now, step.core, step.handler);
    }

    /// Judges that a core has let bindings expire.
    pub fn expired(&mut self, now: Instant, core: CoreId, handler: &dyn Handler) {
        let ledger = &mut self.ledgers[usize::from(core.0)];
        let after = Totals::of(handler.metrics());
        let is_only_expiry = Totals { expired: after.expired, ..ledger.before } == after;
        let expired = after.expired - ledger.before.expired;
        ledger.before = after;
        if !is_only_expiry {
            self.broken(Rule::BindingsAddUp, "time alone has made or removed bindings".to_owned());
        }
        if expired > 0 {
            self.saw("expiry");
        }
        self.check_core(now, core, handler);
    }

    /// A query for an address-of-record, and the core it goes to. Nobody else sees it or its answer.
    pub fn question(&mut self, aor: &[u8], listener: u16) -> Option<(usize, Packet)> {
        let home = self.homes.get(&[b"aor ", aor].concat())?;
        self.asked += 1;
        let to = super::operator::uri(aor);
        let domain = aor.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
        let register = Register {
            request_uri: [b"sip:", domain].concat(),
            from: b"sip:oracle@sip.test".to_vec(),
            from_tag: b"1".to_vec(),
            call_id: b"oracle".to_vec(),
            cseq: 1,
            via: Via {
                host: b"oracle.invalid".to_vec(),
                port: None,
                branch: Some(format!("z9hG4bKoracle{}", self.asked).into_bytes()),
                rport: true,
            },
            contacts: List::default(),
            to,
            ..Register::default()
        };
        let to = node::listener(listener);
        let from = if to.ip.is_ipv4() { "192.0.2.99:5060" } else { "[2001:db8::99]:5060" };
        let bytes =
            register.write(&super::message::Style::default(), &mut super::random::Random::new(0));
        let from = from.parse().unwrap();
        let packet =
            Packet { from, to, bytes: bytes.into(), meant: Some(Rc::new(register)), group: 0 };
        Some((usize::from(home.0), packet))
    }

    /// Compares all that a core offers with the reference.
    pub fn compare(&mut self, now: Instant, core: CoreId, table: &Table) {
        let is_here = |aor: &&Vec<u8>| self.homes.get(&[b"aor ", &aor[..]].concat()) == Some(&core);
        let mut wanted = Table::new();
        for aor in self.reference.aors().filter(is_here) {
            let bindings = self.reference.bindings(aor, now).rev();
            let bindings: Vec<_> =
                bindings.map(|binding| (binding.uri.clone(), binding.expires)).collect();
            if !bindings.is_empty() {
                wanted.insert(aor.clone(), bindings);
            }
        }
        if wanted == *table {
            return;
        }
        let aors: BTreeSet<_> = wanted.keys().chain(table.keys()).collect();
        for aor in aors {
            let (wanted, offered) = (wanted.get(aor), table.get(aor));
            if wanted == offered {
                continue;
            }
            let (wanted, offered) =
                (wanted.cloned().unwrap_or_default(), offered.cloned().unwrap_or_default());
            let what = format!(
                "core {} offers for {} {offered:?}, and not {wanted:?}",
                core.0,
                aor.escape_ascii()
            );
            let rule =
                if wanted.iter().any(|(uri, _)| offered.iter().all(|(other, _)| other != uri)) {
                    Rule::BindingKept
                } else if offered.iter().any(|(_, expires)| *expires <= now) {
                    Rule::NothingExpiredOffered
                } else {
                    Rule::AsTheReference
                };
            self.broken(rule, what);
            return;
        }
    }

    /// Walks the invariants of a core now.
    pub fn walk(&mut self, now: Instant, core: CoreId, handler: &dyn Handler) {
        self.check_core(now, core, handler);
        self.walk_core(now, core, handler);
    }

    /// Brings the counters of a core up to date, and gives what this input has changed.
    fn count(&mut self, step: &Step<'_>) -> Changes {
        let ledger = &mut self.ledgers[usize::from(step.core.0)];
        ledger.inputs += 1;
        ledger.unchecked += 1;
        let metrics = step.handler.metrics();
        let (counted, inputs) = (metrics.inputs.iter().sum::<u64>(), ledger.inputs);
        let (before, after) = (ledger.before, Totals::of(metrics));
        ledger.before = after;
        let is_one_verdict = counted == inputs && metrics.reconciles();
        if !is_one_verdict {
            self.broken(
                Rule::InputsEqualVerdicts,
                format!("{inputs} inputs were counted as {counted}"),
            );
        }
        if before.expired != after.expired {
            self.broken(Rule::BindingsAddUp, "an input has let bindings expire".to_owned());
        }
        after.changes.since(before.changes)
    }

    /// A message lives on one core, and only there it is more than passed on.
    fn check_home(&mut self, step: &Step<'_>, reading: &Reading) {
        let key = match reading {
            Reading::Register(register, _) => {
                let aor = self.reference.place.canonical(&register.to, step.packet.to.ip);
                aor.map(|aor| [b"aor ", &aor[..]].concat())
            }
            Reading::Other { call_id } => Some([b"call ", &call_id[..]].concat()),
            Reading::Nothing => None,
        };
        let home = match step.outcome.verdict {
            Verdict::Hopped(home) => home,
            Verdict::Replied
            | Verdict::Forwarded
            | Verdict::Held
            | Verdict::Absorbed
            | Verdict::Refused(_)
            | Verdict::Dropped(_) => step.core,
        };
        let is_elsewhere = home != step.core;
        let is_hop = matches!(step.outcome.verdict, Verdict::Hopped(_));
        if is_hop && (!is_elsewhere || step.moved || usize::from(home.0) >= self.ledgers.len()) {
            self.broken(
                Rule::HandledAtHome,
                format!("core {} passes on to core {}", step.core.0, home.0),
            );
        }
        let is_read = step.packet.bytes.len() <= self.limits.message_bytes;
        if let Some(key) = key.filter(|_| is_read) {
            let known = *self.homes.entry(key).or_insert(home);
            if known != home {
                self.broken(
                    Rule::HandledAtHome,
                    format!(
                        "core {} takes for core {}'s what is core {}'s",
                        step.core.0, home.0, known.0
                    ),
                );
            }
        }
    }

    /// A REGISTER that was not passed on.
    fn register(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        changes: Changes,
        response: Option<Response>,
    ) {
        let aor = self.reference.place.canonical(&heard.register.to, heard.to.ip);
        let evicted = step.handler.gauges().completed_evicted;
        match self.memory.recall(step, heard, aor.as_deref(), evicted) {
            Remembered::Nothing => {}
            Remembered::Repeated => {
                self.saw("retransmission");
                if changes != Changes::default() {
                    self.broken(
                        Rule::ReplayChangesNothing,
                        format!("a retransmission came to {changes:?}"),
                    );
                }
                return;
            }
            Remembered::Otherwise(how) => {
                self.broken(Rule::RetransmissionIdentical, how);
                if changes != Changes::default() {
                    self.broken(
                        Rule::ReplayChangesNothing,
                        format!("a retransmission came to {changes:?}"),
                    );
                }
                return;
            }
        }
        let passage =
            self.check_credentials(step, heard, aor.as_deref(), changes, response.as_ref());
        let is_refused = !matches!(step.outcome.verdict, Verdict::Replied);
        if is_refused && changes != Changes::default() {
            let verdict = step.outcome.verdict;
            self.broken(Rule::ReplayChangesNothing, format!("{verdict:?} came to {changes:?}"));
        }
        if passage == Passage::Closed {
            return;
        }
        let expected = self.reference.judge(step.now, heard);
        let Outcome { class, verdict } = step.outcome;
        match (expected, verdict, response) {
            (Expected::Accepted(accepted), Verdict::Replied, Some(response)) => {
                if (class, changes) != (accepted.class, accepted.changes) {
                    let (wanted, expected) = (accepted.class, accepted.changes);
                    self.broken(
                        Rule::AsTheReference,
                        format!("{class:?} with {changes:?}, not {wanted:?} with {expected:?}"),
                    );
                }
                self.check_200(
                    step,
                    heard,
                    &accepted.aor,
                    &accepted.after,
                    accepted.is_outbound,
                    &response,
                );
                self.accept(*accepted);
                self.memory.remember(step, heard, aor.as_deref(), evicted);
            }
            (Expected::Repeated(aor, _), Verdict::Replied, Some(response)) => {
                self.saw("repetition");
                let current: Vec<_> = self.reference.bindings(&aor, step.now).cloned().collect();
                if class != Class::Duplicate || changes != Changes::default() {
                    self.broken(
                        Rule::ReplayChangesNothing,
                        format!("{class:?} with {changes:?} of a request that came again"),
                    );
                }
                self.check_200(step, heard, &aor, &current, false, &response);
                self.memory.remember(step, heard, Some(&aor), evicted);
            }
            (Expected::Repeated(_, objections), Verdict::Refused(status), _)
                if objections.contains(&status) => {}
            (Expected::Refused(objections), Verdict::Refused(status), _)
                if objections.contains(&status) => {}
            (Expected::Refused(_), Verdict::Dropped(Reason::Amplifies), _) => {}
            // A full table is noticed contact by contact, maybe before what else is wrong.
            (Expected::Accepted(_) | Expected::Refused(_), Verdict::Refused(503), _)
                if self.is_full(step, heard) => {}
            (expected, verdict, _) => {
                let expected = match expected {
                    Expected::Accepted(accepted) => format!("a 200 with {:?}", accepted.changes),
                    Expected::Repeated(_, objections) => {
                        format!("a 200 that changes nothing, or {objections:?}")
                    }
                    Expected::Refused(objections) => format!("one of {objections:?}"),
                };
                let sent = step
                    .sends
                    .first()
                    .map(|(_, _, bytes)| bytes.escape_ascii().to_string())
                    .unwrap_or_default();
                let request = step.packet.bytes.escape_ascii();
                let what = format!(
                    "{class:?}, {verdict:?}, where the reference has {expected}\n  to {request}\n  {sent}"
                );
                self.broken(Rule::AsTheReference, what);
            }
        }
    }

    fn accept(&mut self, accepted: Accepted) {
        self.reference.accept(accepted);
    }

    /// Whether a core may say that its table is full.
    fn is_full(&self, step: &Step<'_>, heard: &Heard<'_>) -> bool {
        self.is_crowded(step.handler, heard.register.contacts.values.len())
    }

    /// Whether a core may have no room for some more bindings.
    fn is_crowded(&self, handler: &dyn Handler, contacts: usize) -> bool {
        /// The largest block of an arena, and a page for each of the strings of a request.
        const ROOM_BYTES: usize = 64 * 1024 + 32 * 4096;
        let gauges = handler.gauges();
        gauges.bindings + contacts > self.limits.bindings
            || gauges.arena_bytes - gauges.arena_used_bytes < ROOM_BYTES
    }

    /// What holds for a core at any time; the costly part of it every so often, by how much there is to walk.
    fn check_core(&mut self, now: Instant, core: CoreId, handler: &dyn Handler) {
        let gauges = handler.gauges();
        let totals = self.ledgers[usize::from(core.0)].before;
        let Changes { created, removed, replaced, .. } = totals.changes;
        let there = created.checked_sub(removed + replaced + totals.expired);
        if there != Some(gauges.bindings as u64) {
            self.broken(
                Rule::BindingsAddUp,
                format!("{totals:?} leaves {there:?}, and there are {gauges:?}"),
            );
        }
        if gauges.bindings > self.limits.bindings
            || gauges.aors > gauges.bindings
            || gauges.arena_used_bytes > gauges.arena_bytes
            || gauges.arena_bytes > self.limits.arena_bytes.next_multiple_of(4096)
        {
            self.broken(Rule::WithinLimits, format!("{gauges:?} under {:?}", self.limits));
        }
        let ledger = &mut self.ledgers[usize::from(core.0)];
        let size = gauges.bindings as u64 + (self.limits.completed_bytes as u64 >> 10) + 64;
        if ledger.unchecked * 16 >= size {
            self.walk_core(now, core, handler);
        }
    }

    fn walk_core(&mut self, now: Instant, core: CoreId, handler: &dyn Handler) {
        self.ledgers[usize::from(core.0)].unchecked = 0;
        handler.check();
        let live: u64 = self
            .reference
            .aors()
            .filter(|aor| self.homes.get(&[b"aor ", &aor[..]].concat()) == Some(&core))
            .map(|aor| self.reference.bindings(aor, now).count() as u64)
            .sum();
        let there = handler.gauges().bindings;
        if live > there as u64 {
            self.broken(
                Rule::BindingKept,
                format!("core {} has {there} bindings of {live}", core.0),
            );
        }
    }

    fn has_too_many_lines(&self, bytes: &[u8]) -> bool {
        bytes.split(|&byte| byte == b'\n').count() > self.limits.header_lines + 1
    }

    /// Every address-of-record that was ever handled, in order.
    #[must_use]
    pub fn known_aors(&self) -> BTreeSet<Vec<u8>> {
        self.homes.keys().filter_map(|key| key.strip_prefix(b"aor ")).map(<[u8]>::to_vec).collect()
    }
}

impl Totals {
    fn of(metrics: &Metrics) -> Self {
        Totals {
            changes: Changes {
                created: metrics.bindings_created,
                refreshed: metrics.bindings_refreshed,
                removed: metrics.bindings_removed,
                replaced: metrics.bindings_replaced,
            },
            expired: metrics.bindings_expired,
        }
    }
}
