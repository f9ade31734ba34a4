//! Calls through the server: sipp and baresip on both sides, and another domain's proxy beyond. Whoever is in doubt of a scenario runs it
//! with `CALLS_THROUGH=kamailio`, which puts Kamailio in Seawall's place.

mod cast;
mod dialog;
mod facts;
mod forking;
mod nat;
mod neighbour;
mod outcomes;
mod phone;
mod restart;
mod server;
mod talk;
mod trace;

pub(crate) use nat::inside;

use libtest_mimic::Trial;
use tests::process::Setup;

/// They mostly wait: more of them run at a time than there are CPUs.
pub(crate) fn trials(setups: &[(&'static str, Setup)]) -> Vec<Trial> {
    let mut trials = outcomes::trials(setups);
    trials.extend(forking::trials());
    trials.extend(dialog::trials());
    trials.extend(neighbour::trials());
    trials.extend(restart::trials());
    trials.extend(talk::trials());
    trials.extend(nat::trials());
    trials
}

/// Two cores: what a call needs is on either.
fn two_cores() -> Setup {
    Setup { io: "epoll", cores: 2, ..Setup::simple() }
}
