//! What is asked of errands: an operator's wish is met as the reference meets it, and a look-up tells what there is.

use super::{Changes, Oracle, Rule, Totals};
use crate::sim::directory::Directory;
use crate::sim::handler::Handler;
use crate::sim::node;
use crate::sim::operator::Told;
use crate::sim::reference::operator::Wanted;
use shards::io::{CoreId, Instant};
use shards::location::Aor;
use shards::registrar::Unmet;
use shards::shard::{Command, Done, Errand};
use std::rc::Rc;

/// An errand that a core has run.
#[derive(Debug)]
pub struct Ran<'a> {
    /// When.
    pub now: Instant,
    /// Which core.
    pub core: CoreId,
    /// The errand, with what came of it.
    pub errand: &'a Errand,
    /// The file that [`Command::Subscribers`] was made of.
    pub directory: Option<&'a Rc<Directory>>,
    /// The core's thinking, after it.
    pub handler: &'a dyn Handler,
}

impl Oracle {
    /// Judges an errand.
    pub fn ran(&mut self, ran: &Ran<'_>) {
        let Ran { now, core, errand, handler, .. } = *ran;
        let ledger = &mut self.ledgers[usize::from(core.0)];
        let (before, after) = (ledger.before, Totals::of(handler.metrics()));
        ledger.before = after;
        let wanted = self.wanted(ran);
        let changes = after.changes.since(before.changes);
        let is_met = match &wanted {
            Ok((done, expected)) => errand.result == Ok(*done) && changes == *expected,
            Err(unmet) => errand.result == Err(*unmet) && changes == Changes::default(),
        };
        let is_full = errand.result == Err(Unmet::LocationFull) && self.is_crowded(handler, 1);
        if is_full && changes == Changes::default() {
            self.saw("a full table for an operator");
        } else if !is_met {
            self.broken(
                Rule::ErrandDone,
                format!("{} with {changes:?}, and not {wanted:?}", Told(errand)),
            );
        } else {
            self.met(ran);
        }
        self.check_core(now, core, handler);
    }

    /// What has to come of an errand, and of the bindings by it.
    fn wanted(&mut self, ran: &Ran<'_>) -> Result<(Done, Changes), Unmet> {
        let Ran { now, core, errand, .. } = *ran;
        let nothing = Changes::default();
        match &errand.command {
            Command::LookUp(aor) => {
                self.check_lives(aor, core);
                let mut bindings = self.reference.bindings(aor.bytes(), now).peekable();
                bindings.peek().ok_or(Unmet::NoSuchAor)?;
                Ok((Done::Listed(None), nothing))
            }
            Command::Remove { aor, contact } => {
                self.check_lives(aor, core);
                // What is wrongly refused is broken anyway, so that the reference may go ahead.
                let changes = self.reference.end(now, aor.bytes(), contact.as_deref())?;
                Ok((Done::Removed(u32::try_from(changes.removed).unwrap()), changes))
            }
            Command::Add { aor, .. } => {
                self.check_lives(aor, core);
                let added = self.reference.adding(now, aor.bytes(), &asked(&errand.command))?;
                Ok((Done::Added(added.changes.created > 0), added.changes))
            }
            Command::Memory => Ok((Done::Measured, nothing)),
            Command::Subscribers(_) => Ok((Done::Replaced, nothing)),
            Command::Page { .. } => Ok((Done::Listed(None), nothing)),
            Command::Resolved(_) | Command::Route { .. } => Ok((Done::Nothing, nothing)),
        }
    }

    /// What follows from an errand that was done.
    fn met(&mut self, ran: &Ran<'_>) {
        let Ran { now, core, errand, directory, .. } = *ran;
        match (&errand.command, &errand.result) {
            (Command::Add { aor, .. }, Ok(_)) => {
                let added = self.reference.adding(now, aor.bytes(), &asked(&errand.command));
                self.accept(added.expect("it was looked at before"));
                self.saw("added by hand");
            }
            (Command::Remove { .. }, Ok(_)) => self.saw("removed by hand"),
            (Command::LookUp(aor), Ok(_)) => {
                let listed: Vec<_> = errand
                    .listing
                    .aors()
                    .flat_map(|(_, bindings)| bindings)
                    .map(|binding| (binding.record.contact.to_vec(), binding.terms.expires))
                    .collect();
                let bindings = self.reference.bindings(aor.bytes(), now).rev();
                let wanted: Vec<_> =
                    bindings.map(|binding| (binding.uri.clone(), binding.expires)).collect();
                if listed != wanted {
                    let aor = aor.bytes().escape_ascii();
                    self.broken(
                        Rule::ErrandDone,
                        format!("{aor} is looked up as {listed:?}, not {wanted:?}"),
                    );
                }
                self.saw("looked up");
            }
            (Command::Subscribers(_), Ok(_)) => {
                if let (Some(gate), Some(directory)) = (&mut self.gate, directory) {
                    gate.replace(core, directory);
                }
                self.saw("other subscribers");
            }
            (Command::Memory, Ok(_)) => {
                for (name, memory) in errand.memory {
                    if memory.used_bytes > memory.reserved_bytes {
                        self.broken(Rule::WithinLimits, format!("{name} with {memory:?}"));
                    }
                }
                self.saw("measured");
            }
            (_, Ok(_)) => {}
            (_, Err(_)) => self.saw("an errand in vain"),
        }
    }

    /// An address-of-record lives where the control side says it does.
    fn check_lives(&mut self, aor: &Aor, core: CoreId) {
        let key = [b"aor ", aor.bytes()].concat();
        let known = *self.homes.entry(key).or_insert(core);
        if known != core {
            let aor = aor.bytes().escape_ascii();
            self.broken(
                Rule::HandledAtHome,
                format!("{aor} is core {}'s, and looked for at core {}", known.0, core.0),
            );
        }
    }

    /// Where an address-of-record lives.
    #[must_use]
    pub fn home(&self, aor: &[u8]) -> Option<CoreId> {
        self.homes.get(&[b"aor ", aor].concat()).copied()
    }
}

/// What an operator adds.
fn asked(command: &Command) -> Wanted {
    let Command::Add { contact, expires_secs, q, path, .. } = command else {
        unreachable!("it is asked of Add alone")
    };
    Wanted {
        contact: contact.to_vec(),
        expires_secs: *expires_secs,
        q: *q,
        path: path.to_vec(),
        to: node::listener(0),
    }
}
