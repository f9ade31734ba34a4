//! The judge of the calls: it sees what phones send, every input of every core and all that leaves it, and names each rule that was
//! broken. It never touches the node.

use super::message::{Message, Start, user_and_host};
use super::phone::{Fact, What};
use super::plan::Plan;
use crate::sim::handler::Handler;
use crate::sim::network::Packet;
use crate::sim::oracle::{Rule, Violation};
use crate::sim::plan::{Fault, Plan as Base};
use shards::io::{Class, Instant, Outcome, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

/// One input, or a look at the timers, and what came of it.
#[derive(Debug)]
pub struct Step<'a> {
    /// The time.
    pub now: Instant,
    /// The core.
    pub core: usize,
    /// The datagram, where it was one.
    pub packet: Option<&'a Packet>,
    /// The verdict, where it was an input.
    pub outcome: Option<Outcome>,
    /// What it put into the outbox.
    pub sends: Vec<(SocketAddr, &'a [u8])>,
    /// The core's thinking, after it.
    pub handler: &'a dyn Handler,
}

/// What phones have sent of a call.
#[derive(Debug, Default)]
struct Call {
    /// Whose phones are called.
    user: String,
    /// Who has sent or received something of it.
    parties: BTreeSet<SocketAddr>,
    /// What was sent: methods and numbers.
    requests: BTreeSet<(String, u32)>,
    /// What was said: number, method, status and To tag.
    said: BTreeSet<(u32, String, u16, String)>,
}

/// The final response of a server transaction of the node.
#[derive(Debug)]
struct Final {
    status: u16,
    bytes: Rc<[u8]>,
    at: Instant,
    acknowledged: Option<Instant>,
    evicted: u64,
}

/// What has to come of a call that was placed with a healed network.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What it is, for people.
    pub what: String,
    /// The final response of each request, by its method.
    pub finals: Vec<(&'static str, u16)>,
    /// Whether every callee has to come to a final response that is acknowledged.
    pub judges_acks: bool,
    /// What a callee says last, which one has to see acknowledged.
    pub acknowledged: Option<u16>,
}

/// A transaction of the node: who asked, by which branch, for what.
type Asked = (SocketAddr, String, String);

/// The judge.
#[derive(Debug)]
pub struct Oracle {
    is_pure: bool,
    is_small: bool,
    is_lossless: bool,
    is_punctual: bool,
    /// Whose phone is at an address.
    users: BTreeMap<SocketAddr, String>,
    calls: BTreeMap<String, Call>,
    /// Who has sent a request with a branch.
    askers: BTreeMap<String, BTreeSet<SocketAddr>>,
    /// Where an INVITE with a branch of the node went.
    invites: BTreeMap<String, SocketAddr>,
    finals: BTreeMap<Asked, Final>,
    /// When the node sent a request with a branch and of a method first.
    firsts: BTreeMap<(String, String), Instant>,
    wishes: BTreeMap<String, Wish>,
    facts: BTreeMap<String, Vec<What>>,
    inputs: Vec<u64>,
    unchecked: Vec<u64>,
    seen: BTreeMap<String, u64>,
    violations: Vec<Violation>,
}

/// How many steps there are between two walks through the tables of a core.
const UNCHECKED_MAX: u64 = 8;
/// How long a server transaction that is answered lives; Timers H, J and L, and I.
const LIFETIME_SECS: u32 = 32;
const TIMER_I_SECS: u32 = 5;

impl Oracle {
    /// The judge of a plan, who knows whose phones are where.
    #[must_use]
    pub fn new(plan: &Plan, users: BTreeMap<SocketAddr, String>) -> Self {
        let mut oracle = Oracle {
            is_pure: plan.is_pure(),
            is_lossless: plan.is_lossless(),
            is_punctual: plan.is_punctual(),
            is_small: plan.strength(Fault::SmallMemory) > 0,
            users,
            calls: BTreeMap::new(),
            askers: BTreeMap::new(),
            invites: BTreeMap::new(),
            finals: BTreeMap::new(),
            firsts: BTreeMap::new(),
            wishes: BTreeMap::new(),
            facts: BTreeMap::new(),
            inputs: Vec::new(),
            unchecked: Vec::new(),
            seen: BTreeMap::new(),
            violations: Vec::new(),
        };
        oracle.restarted(plan.base.cores);
        oracle
    }

    /// The node has started again: it knows of nothing but its keys.
    pub fn restarted(&mut self, cores: u16) {
        self.finals.clear();
        self.firsts.clear();
        self.invites.clear();
        self.inputs = vec![0; usize::from(cores)];
        self.unchecked = vec![0; usize::from(cores)];
    }

    /// What was broken, the first first.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each thing was seen.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<String, u64> {
        &self.seen
    }

    /// Counts something that was seen.
    pub fn saw(&mut self, what: &str) {
        if let Some(count) = self.seen.get_mut(what) {
            *count += 1;
        } else {
            self.seen.insert(what.to_owned(), 1);
        }
    }

    /// Notes that a rule was broken.
    pub fn broken(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation { rule, what });
    }

    /// A phone sends something.
    pub fn sent(&mut self, packet: &Packet) {
        let Some(message) = Message::read(&packet.bytes) else { return };
        let (Some((number, method)), from) = (message.cseq(), packet.from) else { return };
        let method = method.to_owned();
        let call = self.calls.entry(message.call_id().to_owned()).or_default();
        match &message.start {
            Start::Request { uri, .. } => {
                call.parties.insert(from);
                call.requests.insert((method, number));
                if message.tag("To").is_none() && call.user.is_empty() {
                    call.user = user_called(uri);
                }
                self.askers.entry(message.branch()).or_default().insert(from);
            }
            Start::Response { status } => {
                let tag = message.tag("To").unwrap_or_default();
                call.said.insert((number, method, *status, tag));
            }
        }
    }

    /// What phones saw.
    pub fn told(&mut self, facts: Vec<Fact>) {
        for Fact { call_id, what } in facts {
            let seen = match &what {
                What::Final(method, Some(status)) => format!("{method} got {status}"),
                What::Final(method, None) => format!("{method} got nothing"),
                What::Acknowledged(200..=299) => "2xx acknowledged".to_owned(),
                What::Acknowledged(_) => "refusal acknowledged".to_owned(),
                What::Unacknowledged(_) => "not acknowledged".to_owned(),
                What::RingsOn => "rings on".to_owned(),
            };
            self.saw(&seen);
            if let What::Final(method, None) = &what
                && self.is_lossless
            {
                let text = format!("{method} of {call_id} got no answer, and nothing was lost");
                self.broken(Rule::CallsComplete, text);
            }
            if self.wishes.contains_key(&call_id) {
                self.facts.entry(call_id).or_default().push(what);
            }
        }
    }

    /// Something is placed that has to come to an end.
    pub fn wish(&mut self, call_id: String, wish: Wish) {
        self.wishes.insert(call_id, wish);
    }

    /// Judges all that was wished, and forgets it.
    pub fn judge_wishes(&mut self) {
        let mut facts = std::mem::take(&mut self.facts);
        for (call_id, wish) in std::mem::take(&mut self.wishes) {
            let facts = facts.remove(&call_id).unwrap_or_default();
            self.saw(&wish.what);
            for (method, status) in &wish.finals {
                let wanted = What::Final((*method).to_owned(), Some(*status));
                let is_here =
                    |fact: &&What| matches!(fact, What::Final(other, _) if other == method);
                let all: Vec<&What> = facts.iter().filter(is_here).collect();
                if !all.contains(&&wanted)
                    || all.iter().any(|what| **what != wanted && *method != "BYE")
                {
                    let text =
                        format!("{} {call_id}: {method} wants {status}: {facts:?}", wish.what);
                    self.broken(Rule::CallsComplete, text);
                }
            }
            let is_lost = |fact: &What| matches!(fact, What::Unacknowledged(_) | What::RingsOn);
            let is_acknowledged = |wanted: u16| facts.contains(&What::Acknowledged(wanted));
            if wish.judges_acks && facts.iter().any(is_lost)
                || wish.acknowledged.is_some_and(|wanted| !is_acknowledged(wanted))
            {
                let text =
                    format!("{} {call_id} did not end for its callees: {facts:?}", wish.what);
                self.broken(Rule::CallsComplete, text);
            }
        }
    }

    /// A core has done something.
    pub fn step(&mut self, step: &Step<'_>) {
        if let Some(outcome) = step.outcome {
            self.counted(step, outcome);
        }
        self.unchecked[step.core] += 1;
        if self.unchecked[step.core] >= UNCHECKED_MAX {
            self.walk(step.core, step.handler);
        }
        let mut sent = BTreeSet::new();
        for &(to, bytes) in &step.sends {
            if !sent.insert((to, bytes)) {
                let text = format!("the same goes to {to} twice");
                self.broken(Rule::OneFinalResponse, text);
            }
            let Some(message) = Message::read(bytes) else {
                if self.is_pure {
                    self.broken(Rule::ReallySent, format!("{to} gets no message"));
                }
                continue;
            };
            match &message.start {
                Start::Request { method, .. } => {
                    self.request_sent(step.now, to, &message, method);
                }
                Start::Response { status } => {
                    self.saw(&status.to_string());
                    self.response_sent(step, to, &message, *status, bytes);
                }
            }
        }
        if let (Some(packet), Some(outcome)) = (step.packet, step.outcome) {
            self.ack_handled(step.now, packet, outcome);
        }
    }

    /// Walks the invariants of a core. It panics where one is broken.
    pub fn walk(&mut self, core: usize, handler: &dyn Handler) {
        self.unchecked[core] = 0;
        handler.check();
    }

    fn counted(&mut self, step: &Step<'_>, outcome: Outcome) {
        self.inputs[step.core] += 1;
        self.saw(outcome.class.label());
        if let Verdict::Dropped(reason) = outcome.verdict {
            self.saw(reason.label());
        }
        let metrics = step.handler.metrics();
        if metrics.inputs.iter().sum::<u64>() != self.inputs[step.core] || !metrics.reconciles() {
            let text = format!("core {} has had {} inputs", step.core, self.inputs[step.core]);
            self.broken(Rule::InputsEqualVerdicts, text);
        }
        let is_quiet = matches!(outcome.verdict, Verdict::Dropped(_) | Verdict::Hopped(_));
        if is_quiet && !step.sends.is_empty() {
            let text = format!("{:?} and something was sent", outcome.verdict);
            self.broken(Rule::VerdictMatchesResponse, text);
        }
    }

    /// The ACK of a refusal ends its transaction after Timer I.
    fn ack_handled(&mut self, now: Instant, packet: &Packet, outcome: Outcome) {
        if outcome.class == Class::Ack
            && let Some(message) = Message::read(&packet.bytes)
            && let Some(last) =
                self.finals.get_mut(&(packet.from, message.branch(), "INVITE".to_owned()))
        {
            last.acknowledged.get_or_insert(now);
        }
    }

    /// The node passes a request on, cancels or acknowledges one.
    fn request_sent(&mut self, now: Instant, to: SocketAddr, message: &Message, method: &str) {
        let (branch, call_id) = (message.branch(), message.call_id());
        // Timers B and F; an ACK follows what it acknowledges.
        let first = *self.firsts.entry((branch.clone(), method.to_owned())).or_insert(now);
        if self.is_punctual && method != "ACK" && now >= first.plus_secs(LIFETIME_SECS + 1) {
            let text = format!("{method} of {call_id} goes to {to} again after {first:?}");
            self.broken(Rule::WithinTimers, text);
        }
        if method == "INVITE" {
            self.invites.entry(branch.clone()).or_insert(to);
        }
        let invited = self.invites.get(&branch);
        let is_ours = method == "CANCEL" || method == "ACK" && invited.is_some();
        if is_ours && invited != Some(&to) {
            let text =
                format!("{method} with branch {branch} goes to {to}, its INVITE to {invited:?}");
            self.broken(Rule::MatchesItsInvite, text);
        }
        if !self.is_pure {
            return;
        }
        let number = message.cseq().map_or(0, |(number, _)| number);
        let Some(call) = self.calls.get_mut(call_id) else {
            self.broken(Rule::ReallySent, format!("{to} gets {method} of call {call_id}"));
            return;
        };
        let was_sent = call.requests.contains(&(method.to_owned(), number));
        let user = self.users.get(&to).cloned();
        let is_called = message.tag("To").is_none() && user.as_ref() == Some(&call.user);
        let is_party = call.parties.contains(&to);
        if is_called {
            call.parties.insert(to);
        }
        if !is_ours && !was_sent {
            self.broken(Rule::ReallySent, format!("{to} gets {number} {method} of {call_id}"));
        }
        if user.is_none() || !is_called && !is_party {
            let text = format!("{to} of {user:?} gets {number} {method} of {call_id}");
            self.broken(Rule::OnlyParties, text);
        }
    }

    /// The node answers, or passes an answer back.
    fn response_sent(
        &mut self,
        step: &Step<'_>,
        to: SocketAddr,
        message: &Message,
        status: u16,
        bytes: &[u8],
    ) {
        if !self.is_pure {
            return;
        }
        let Some((number, method)) = message.cseq() else { return };
        let (branch, method) = (message.branch(), method.to_owned());
        if !self.askers.get(&branch).is_some_and(|askers| askers.contains(&to)) {
            let text = format!("{to} gets {status} to {method} {branch}, which it has not sent");
            self.broken(Rule::OnlyParties, text);
        }
        let tag = message.tag("To").unwrap_or_default();
        let was_said = self.calls.get(message.call_id()).is_some_and(|call| {
            let said = |status| call.said.contains(&(number, method.clone(), status, tag.clone()));
            // RFC 3261 16.7 step 6.
            said(status) || status == 500 && said(503)
        });
        if !was_said && !may_say_itself(&method, status) {
            let text = format!("{to} gets {status} to {method} from {tag:?}, who never said it");
            self.broken(Rule::ReallySent, text);
        }
        // Also where another core has found nobody.
        let is_stateless = step.outcome.is_some_and(|Outcome { class, verdict }| {
            class == Class::Refusal
                || class == Class::Letter && matches!(verdict, Verdict::Refused(_))
        });
        let is_answered_here = ["REGISTER", "CANCEL"].contains(&&*method);
        if status >= 200 && !is_stateless && !is_answered_here {
            self.final_sent(step, (to, branch, method), status, bytes);
        }
    }

    /// RFC 3261 17.2: one final response while its record lives, but for several 2xx to an INVITE.
    fn final_sent(&mut self, step: &Step<'_>, asked: Asked, status: u16, bytes: &[u8]) {
        let gauges = step.handler.gauges();
        let evicted = gauges.calls.evicted + gauges.completed_evicted;
        let is_invite = asked.2 == "INVITE";
        let is_over = |last: &Final| {
            let end = last.at.plus_secs(LIFETIME_SECS);
            let end = last.acknowledged.map_or(end, |at| at.plus_secs(TIMER_I_SECS).min(end));
            step.now >= end || last.evicted != evicted
        };
        let last = self.finals.get(&asked).filter(|last| !is_over(last));
        let (is_success, text) = ((200..300).contains(&status), format!("{asked:?}: {status}"));
        match last {
            // After another 2xx, or late: RFC 3261 16.7 step 5.
            Some(_) if is_invite && is_success => {}
            Some(last) if *last.bytes == *bytes => {}
            // What finds no room to be kept can't be sent again: the INVITE is taken for a new one.
            Some(_) if is_invite && self.is_small => {}
            Some(last) => {
                let rule = if is_invite || last.status != status {
                    Rule::OneFinalResponse
                } else {
                    Rule::RetransmissionIdentical
                };
                let text = format!("{text} after {} at {:?}", last.status, last.at);
                self.broken(rule, text);
            }
            None => {
                let last = Final {
                    status,
                    bytes: bytes.into(),
                    at: step.now,
                    acknowledged: None,
                    evicted,
                };
                self.finals.insert(asked, last);
            }
        }
    }
}

/// Whose phones a Request-URI means.
fn user_called(uri: &str) -> String {
    let (user, host) = user_and_host(uri);
    match host.as_str() {
        Plan::CARRIER => "carrier".to_owned(),
        Base::DOMAIN => user,
        _ => String::new(),
    }
}

/// What a proxy that nobody asks anything wrong may say without having heard it.
fn may_say_itself(method: &str, status: u16) -> bool {
    match method {
        "REGISTER" => true,
        "CANCEL" => [200, 481, 503].contains(&status),
        "INVITE" => [100, 403, 404, 408, 480, 482, 483, 487, 500, 503].contains(&status),
        _ => [403, 404, 480, 482, 483, 500, 503].contains(&status),
    }
}
