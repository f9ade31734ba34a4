//! A world of calls: phones with the transactions of RFC 3261 call each other through a whole node under virtual time, while the
//! faults of the other world hit them. First things break; then all is healed, and every call has to come to its end, and nothing of
//! them may be left.
//!
//! - [`plan`]: what a seed draws
//! - [`world`]: virtual time, from chaos to healing to emptiness
//! - [`node`]: cores, sockets, rings with letters, errors and addresses
//! - [`phone`]: user agents that call, answer, refuse, cancel and hang up
//! - [`message`]: what they read and write
//! - [`oracle`]: the rules
//! - [`sabotage`]: shards broken on purpose, to try the rules on

pub mod message;
pub mod node;
pub mod oracle;
pub mod phone;
pub mod plan;
pub mod sabotage;
pub mod world;

use super::handler::{self, Make};
use super::plan::Wishes;
use super::{Failure, Report};
use plan::Plan;
use world::World;

/// Lives the calls of a seed.
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
    let command = format!("cargo run -p tests --bin sim -- --calls {seed}{wishes}");
    super::live(&plan, command, |log| {
        let mut world = World::new(&plan, make, log);
        world.run();
        (world.now(), world.oracle().seen().clone(), world.oracle().violations().to_vec())
    })
}
