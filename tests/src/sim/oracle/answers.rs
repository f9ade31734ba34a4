//! What is asked of every response, and of the 200 to a REGISTER above all.

use super::{Oracle, Rule, Step};
use crate::sim::reference::{Binding, Heard, Reference};
use crate::sim::ua::response::Response;
use shards::io::{Class, Outbox, Verdict};
use std::net::SocketAddr;

impl Oracle {
    /// A verdict has its response; that goes back where the request came from, and is no more than may be sent there. Gives it, read.
    pub(super) fn check_sends(&mut self, step: &Step<'_>) -> Option<Response> {
        let status = match step.outcome.verdict {
            Verdict::Replied => Some(200),
            Verdict::Refused(status) => Some(status),
            Verdict::Forwarded
            | Verdict::Held
            | Verdict::Hopped(_)
            | Verdict::Absorbed
            | Verdict::Dropped(_) => None,
        };
        let responses: Vec<_> =
            step.sends.iter().map(|(_, _, bytes)| Response::read(bytes)).collect();
        let matches = match (status, &responses[..]) {
            (None, []) => true,
            (Some(status), [Some(response)]) => response.status == status,
            _ => false,
        };
        if !matches || step.sends.len() > Outbox::FAN_OUT_MAX {
            let sent: Vec<_> =
                step.sends.iter().map(|(_, _, bytes)| bytes.escape_ascii().to_string()).collect();
            self.broken(Rule::VerdictMatchesResponse, format!("{:?} with {sent:?}", step.outcome));
        }
        for (to, from, bytes) in &step.sends {
            // RFC 3581 4: to the source's port, or that of the sent-by where there is no rport; a retransmission is answered where
            // the first copy was, which may have come from another port of the same address.
            let source = step.packet.from;
            let is_source = SocketAddr::new(to.ip(), source.port()) == source;
            if !is_source || *from != step.packet.to && step.outcome.class != Class::Duplicate {
                self.broken(
                    Rule::AnsweredToSource,
                    format!("what came from {source} is answered to {to} from {from:?}"),
                );
            }
            let (asked, answered) = (step.packet.bytes.len(), bytes.len());
            if matches!(step.outcome.verdict, Verdict::Refused(_)) && answered > 2 * asked {
                self.broken(Rule::NeverAmplified, format!("{answered} bytes for {asked}"));
            }
        }
        for response in responses.iter().flatten() {
            let is_tagged = !response.to_tag.is_empty() || step.packet.meant.is_none();
            if !response.is_whole || !is_tagged {
                self.broken(Rule::SoundResponse, format!("{response:?}"));
            }
        }
        responses.into_iter().next().flatten()
    }

    /// The port that a response goes to, and the 200 of a REGISTER in each part.
    pub(super) fn check_200(
        &mut self,
        step: &Step<'_>,
        heard: &Heard<'_>,
        aor: &[u8],
        bindings: &[Binding],
        is_outbound: bool,
        response: &Response,
    ) {
        let register = heard.register;
        let port =
            if register.via.rport { heard.from.port() } else { register.via.port.unwrap_or(5060) };
        let to = step.sends.first().map(|(to, _, _)| to.port());
        if to != Some(port) {
            self.broken(Rule::AnsweredToSource, format!("to port {to:?}, not {port}"));
        }
        let is_answer = response.call_id == register.call_id
            && response.cseq == register.cseq
            && register.via.branch.as_ref().is_none_or(|branch| *branch == response.branch);
        if !is_answer && step.packet.meant.is_some() {
            self.broken(Rule::SoundResponse, format!("{response:?} to {register:?}"));
        }
        if response.date != shards::wire::sip_date(step.wall) {
            self.broken(
                Rule::SoundResponse,
                format!("Date is {} at {:?}", response.date.escape_ascii(), step.wall),
            );
        }
        let path = register.path.values.join(&b","[..]);
        let require: &[u8] = if is_outbound { b"outbound" } else { b"" };
        if response.require != require || without_folds(&response.path) != without_folds(&path) {
            self.broken(
                Rule::AsTheReference,
                format!("Path or Require of {response:?}, not {}", path.escape_ascii()),
            );
        }
        self.check_listing(step, aor, bindings, response);
    }

    /// The bindings in a 200 are those that there are, the newest first.
    fn check_listing(
        &mut self,
        step: &Step<'_>,
        aor: &[u8],
        bindings: &[Binding],
        response: &Response,
    ) {
        let wanted = Reference::listing(bindings, step.now);
        let listed: Vec<Vec<u8>> =
            response.contacts.iter().map(|line| without_folds(line)).collect();
        let wanted: Vec<Vec<u8>> = wanted.iter().map(|line| without_folds(line)).collect();
        if listed == wanted {
            return;
        }
        let text = |lines: &[Vec<u8>]| -> String {
            lines.iter().map(|line| format!("\n    {}", line.escape_ascii())).collect()
        };
        let what = format!(
            "{} lists{}\n  and should list{}",
            aor.escape_ascii(),
            text(&listed),
            text(&wanted)
        );
        let uri = |line: &Vec<u8>| Response::listed(line).map(|(uri, _)| uri.to_vec());
        let listed_uris: Vec<_> = listed.iter().filter_map(uri).collect();
        let wanted_uris: Vec<_> = wanted.iter().filter_map(uri).collect();
        if wanted_uris.iter().any(|uri| !listed_uris.contains(uri)) {
            self.broken(Rule::BindingKept, what.clone());
        }
        let has_expired = listed_uris
            .iter()
            .any(|uri| !wanted_uris.contains(uri) && self.reference.had(aor, uri));
        if has_expired || listed.iter().any(|line| line.ends_with(b";expires=0")) {
            self.broken(Rule::NothingExpiredOffered, what.clone());
        }
        self.broken(Rule::AsTheReference, what);
    }
}

/// White space inside of values may be written in other ways.
fn without_folds(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}
