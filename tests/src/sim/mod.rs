//! A deterministic world in which a whole node lives under virtual time: shards as they are, rings and sockets that overflow, a
//! network that loses, repeats and alters, clocks that step, cores that stall and restart, thousands of user agents and one that
//! means harm. Its only randomness is a seed, so every failure can be run again.
//!
//! - [`plan`]: what a seed draws: sizes, policy, limits, faults
//! - [`world`]: virtual time, from chaos to healing to emptiness
//! - [`agenda`]: what will happen in it
//! - [`network`], [`mutation`]: links and what they do to datagrams
//! - [`node`], [`handler`]: cores, sockets, rings and outboxes around the shards
//! - [`ua`]: user agents, their transactions and habits, and the attacker
//! - [`message`], [`credentials`]: what a REGISTER means and says of its sender, and the ways to write it
//! - [`operator`], [`directory`]: who changes bindings by hand, and who may register
//! - [`mod@reference`]: the registrar that says what had to come of it
//! - [`oracle`]: the rules
//! - [`log`]: the hash over all events, and the last of them as text
//! - [`sabotage`]: shards broken on purpose, to try the rules on
//! - [`calls`]: another world, whose phones call each other

pub mod agenda;
pub mod calls;
pub mod credentials;
pub mod directory;
pub mod handler;
pub mod log;
pub mod message;
pub mod mutation;
pub mod network;
pub mod node;
pub mod operator;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod reference;
pub mod sabotage;
pub mod ua;
pub mod world;

use handler::Make;
use log::Log;
use oracle::{Rule, Violation};
use plan::{Plan, Wishes};
use shards::io::Instant;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::World;

/// What a seed came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash over all events.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How long the world lived.
    pub lived: Instant,
    /// How often each thing was seen: classes, statuses, reasons, faults, losses.
    pub seen: BTreeMap<String, u64>,
}

/// A seed in which a rule was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was broken, the first first.
    pub violations: Vec<Violation>,
    /// The plan, in words.
    plan: String,
    /// The command that shows it again.
    command: String,
    /// The last events that are kept, a line each.
    tail: Vec<String>,
    /// How many events there were.
    events: u64,
}

impl Failure {
    /// Whether a rule is among those broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|violation| violation.rule == rule)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        // `{:#}`: all that are kept.
        let shown = if f.alternate() { self.tail.len() } else { TAIL.min(self.tail.len()) };
        writeln!(f, "the last {shown} of {} events:", self.events)?;
        for event in &self.tail[self.tail.len() - shown..] {
            writeln!(f, "{event}")?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        write!(f, "again: {}", self.command)
    }
}

/// Events that a failure shows unless asked for all.
const TAIL: usize = 60;

/// Lives the world of a seed.
///
/// # Errors
/// Where a rule was broken.
pub fn run(seed: u64, wishes: &Wishes) -> Result<Report, Box<Failure>> {
    run_with(seed, wishes, &handler::shard)
}

/// The same with other handlers than the server's shards.
///
/// # Errors
/// As [`run`].
pub fn run_with(seed: u64, wishes: &Wishes, make: &Make) -> Result<Report, Box<Failure>> {
    let plan = Plan::new(seed, wishes);
    let command = format!("cargo run -p tests --bin sim -- {seed}{wishes}");
    live(&plan, command, |log| {
        let mut world = World::new(&plan, make, log);
        world.run();
        (world.now(), world.oracle().seen().clone(), world.oracle().violations().to_vec())
    })
}

/// How long a world lived, what it saw, and which rules were broken in it.
type Lived = (Instant, BTreeMap<String, u64>, Vec<Violation>);

/// Lives a world, and reports on it.
fn live(
    plan: &dyn fmt::Display,
    command: String,
    world: impl FnOnce(Rc<RefCell<Log>>) -> Lived,
) -> Result<Report, Box<Failure>> {
    let log = Rc::new(RefCell::new(Log::new()));
    let lived = catch_unwind(AssertUnwindSafe(|| world(Rc::clone(&log))));
    // A borrow ends with the panic that unwinds through it.
    let log = log.borrow();
    let (lived, seen, violations) = match lived {
        Ok(lived) => lived,
        Err(panic) => {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let what = format!("panicked: {}", what.unwrap_or_default());
            (Instant::START, BTreeMap::new(), vec![Violation { rule: Rule::Sound, what }])
        }
    };
    if violations.is_empty() {
        return Ok(Report { hash: log.hash(), events: log.count(), lived, seen });
    }
    Err(Box::new(Failure {
        violations,
        plan: plan.to_string(),
        command,
        tail: log.tail(),
        events: log.count(),
    }))
}
