//! What is asked where whoever registers has to show who he is: nobody without the right credentials, nobody for another, no count of
//! a nonce twice, and challenges that cost nothing and tell nothing.

use super::{Changes, Oracle, Rule, Step};
use crate::sim::credentials::{Authorization, Credentials, REALM};
use crate::sim::reference::Heard;
use crate::sim::reference::gate::Way;
use crate::sim::ua::response::Response;
use shards::auth::Cause;
use shards::io::{Class, Verdict};
use std::time::Duration;

/// How long a core may hand out the same nonce to the same transaction: its clock has seconds.
const SAME_NONCE: Duration = Duration::from_secs(2);

/// Whether a REGISTER has passed the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It has; what it asks for is to be judged.
    Open,
    /// It has not, and all that is to be said of it is said.
    Closed,
}

impl Oracle {
    /// Judges what became of the credentials of a REGISTER that was not answered before.
    pub(super) fn check_credentials(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: Option<&[u8]>,
        changes: Changes,
        response: Option<&Response>,
    ) -> Passage {
        let (Some(gate), Some(aor)) = (&self.gate, aor) else { return Passage::Open };
        if !self.reference.objections_before_asking_who(heard).is_empty() {
            // It is refused for that, and asked for nothing.
            return Passage::Open;
        }
        let ways = gate.ways(step.core, step.now, step.wall, heard, aor);
        let given = match &heard.register.authorization {
            Authorization::Given(given) => Some(&**given),
            Authorization::Nothing | Authorization::Broken => None,
        };
        let is_either = ways.len() > 1;
        let is_replay = given.is_some_and(|given| gate.was_used(given));
        if is_either {
            self.saw("either answer is right");
        }
        let cause = self.cause(step);
        let Verdict::Replied = step.outcome.verdict else {
            return self.check_denial(step, heard, aor, &ways, cause, response);
        };
        if cause == Some(Cause::Replayed) && ways.contains(&Way::Challenged(Cause::Replayed)) {
            self.check_repetition(step, heard, aor, changes, response);
            return Passage::Closed;
        }
        if let (Some(given), true, None) = (given, ways.contains(&Way::Pass), cause) {
            self.passes(step, given);
            return Passage::Open;
        }
        let rule = if is_replay {
            Rule::ReplayNeverPasses
        } else if ways.contains(&Way::Refused(403)) {
            Rule::OnlyOnesOwn
        } else {
            Rule::OnlyWithCredentials
        };
        self.broken_way(rule, step, &ways, cause);
        Passage::Closed
    }

    /// What is not answered with a 200.
    fn check_denial(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: &[u8],
        ways: &[Way],
        cause: Option<Cause>,
        response: Option<&Response>,
    ) -> Passage {
        let Authorization::Given(given) = &heard.register.authorization else {
            return self.check_stranger(step, heard, aor, ways, cause, response);
        };
        if cause.is_some() || step.outcome.class == Class::RegisterChallenged {
            return self.check_stranger(step, heard, aor, ways, cause, response);
        }
        match step.outcome.verdict {
            Verdict::Refused(status) if ways.contains(&Way::Refused(status)) => {
                if status == 403 {
                    self.saw("403 for another's");
                    self.passes(step, given);
                }
                Passage::Closed
            }
            // Too short a request to be refused aloud.
            Verdict::Dropped(_) if ways.iter().any(|way| matches!(way, Way::Refused(_))) => {
                Passage::Closed
            }
            Verdict::Replied
            | Verdict::Forwarded
            | Verdict::Held
            | Verdict::Hopped(_)
            | Verdict::Absorbed
            | Verdict::Refused(_)
            | Verdict::Dropped(_) => {
                if ways.contains(&Way::Pass) {
                    self.passes(step, given);
                    return Passage::Open;
                }
                self.broken_way(Rule::AsTheReference, step, ways, cause);
                Passage::Closed
            }
        }
    }

    /// Whoever did not show who he is: a challenge, the same for all of them.
    fn check_stranger(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: &[u8],
        ways: &[Way],
        cause: Option<Cause>,
        response: Option<&Response>,
    ) -> Passage {
        let is_refused = |status| ways.contains(&Way::Refused(status));
        let Some(cause) = cause else {
            let is_right = match step.outcome.verdict {
                Verdict::Refused(status) => is_refused(status),
                Verdict::Dropped(_) => ways.iter().any(|way| matches!(way, Way::Refused(_))),
                Verdict::Replied
                | Verdict::Forwarded
                | Verdict::Held
                | Verdict::Hopped(_)
                | Verdict::Absorbed => false,
            };
            if !is_right {
                self.broken_way(Rule::AsTheReference, step, ways, None);
            }
            return Passage::Closed;
        };
        let is_shown_again =
            cause == Cause::Replayed && self.reference.is_repetition(step.now, heard, aor);
        if !ways.contains(&Way::Challenged(cause))
            || is_shown_again
            || step.outcome.class != Class::RegisterChallenged
        {
            self.broken_way(Rule::AsTheReference, step, ways, Some(cause));
            return Passage::Closed;
        }
        self.saw(&format!("challenged as {}", cause.label()));
        if let (Verdict::Refused(401), Some(response)) = (step.outcome.verdict, response) {
            self.check_challenge(step, aor, cause, response);
        }
        Passage::Closed
    }

    /// A challenge says nothing but what it has to: nobody learns from it whether there is such a user. And it is made anew each time.
    fn check_challenge(&mut self, step: &Step<'_>, aor: &[u8], cause: Cause, response: &Response) {
        let Some(gate) = &mut self.gate else { return };
        let nonce = response.challenges().next().map(|(nonce, _)| nonce).unwrap_or_default();
        let stale =
            if matches!(cause, Cause::Stale | Cause::Replayed) { ", stale=true" } else { "" };
        let line = |name: &str| {
            let nonce = nonce.escape_ascii();
            format!(
                "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}"
            )
        };
        let lines: Vec<Vec<u8>> =
            gate.algorithms.iter().map(|one| line(one.name()).into_bytes()).collect();
        let Some((end, offered)) = response.others.split_last() else { return };
        // As many as there is room for in twice the request, from the strongest on.
        let sent = step.sends.first().map_or(0, |(_, _, bytes)| bytes.len());
        let left = (2 * step.packet.bytes.len()).saturating_sub(sent);
        let is_whole = lines.get(offered.len()).is_none_or(|next| next.len() + 2 > left);
        let is_alike = !offered.is_empty()
            && lines.starts_with(offered)
            && is_whole
            && end == b"Content-Length: 0"
            && response.reason == b"Unauthorized"
            && nonce.len() == 24
            && nonce.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        let is_short = offered.len() < lines.len();
        let age = gate.challenged(step.core, step.now, step.wall, aor, nonce);
        if !is_alike {
            self.broken(Rule::StrangersLookAlike, format!("{cause:?} is told by {response:?}"));
        }
        if is_short {
            self.saw("a shortened offer");
        }
        if age > SAME_NONCE {
            self.broken(
                Rule::ChallengeStateless,
                format!("a nonce is handed out again after {age:?}"),
            );
        }
    }

    /// A request whose count was used, by itself: it gets what it has bound, and changes nothing.
    fn check_repetition(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: &[u8],
        changes: Changes,
        response: Option<&Response>,
    ) {
        let is_repetition = self.reference.is_repetition(step.now, heard, aor);
        if !is_repetition || changes != Changes::default() {
            self.broken(
                Rule::ReplayNeverPasses,
                format!("{:?} with {changes:?} of a count that was used", step.outcome),
            );
            return;
        }
        self.saw("repetition of a replay");
        if step.outcome.class != Class::Duplicate {
            self.broken(Rule::AsTheReference, format!("{:?} of a repetition", step.outcome));
        }
        let current: Vec<_> = self.reference.bindings(aor, step.now).cloned().collect();
        if let Some(response) = response {
            self.check_200(step, heard, aor, &current, false, response);
        }
        let evicted = step.handler.gauges().completed_evicted;
        self.memory.remember(step, heard, Some(aor), evicted);
    }

    /// Credentials were found right: their count is used up, and it was not before.
    fn passes(&mut self, step: &Step<'_>, given: &Credentials) {
        let Some(gate) = &mut self.gate else { return };
        let is_replay = gate.was_used(given);
        gate.used(step.core, step.now, step.wall, given);
        let is_reuse = gate.uses(given) > 1;
        if is_replay {
            let nonce = given.nonce.escape_ascii();
            self.broken(Rule::ReplayNeverPasses, format!("{nonce} passes with {:?}", given.nc));
        }
        if is_reuse {
            self.saw("a nonce used again");
        }
    }

    /// Why the core says that it does not know the sender, by its counters.
    fn cause(&mut self, step: &Step<'_>) -> Option<Cause> {
        let ledger = &mut self.ledgers[usize::from(step.core.0)];
        let counted = step.handler.metrics().challenged;
        let before = std::mem::replace(&mut ledger.challenged, counted);
        Cause::ALL.into_iter().find(|cause| counted[cause.index()] > before[cause.index()])
    }

    fn broken_way(&mut self, rule: Rule, step: &Step<'_>, ways: &[Way], cause: Option<Cause>) {
        let sent = step.sends.first().map(|(_, _, bytes)| bytes.escape_ascii().to_string());
        let request = step.packet.bytes.escape_ascii();
        self.broken(
            rule,
            format!(
                "{:?} for {cause:?}, where the reference has {ways:?}\n  to {request}\n  {}",
                step.outcome,
                sent.unwrap_or_default()
            ),
        );
    }
}
