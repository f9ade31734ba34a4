//! The real executable on loopback, met by real clients and by hostile datagrams, on both readiness implementations:
//! `cargo test -p tests --test clients epoll`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

mod baresip;
mod calls;
mod control;
mod digest;
mod hostile;
mod kamailio;
mod life;
mod sipp;
mod sipsak;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use tests::process::Setup;

fn main() -> ExitCode {
    if let Some(outcome) = calls::inside() {
        return outcome;
    }
    let mut arguments = Arguments::from_args();
    // Each trial runs a server and a client at least.
    let threads = arguments.test_threads;
    arguments.test_threads = Some(threads.unwrap_or(2));
    let mut trials = Vec::new();
    for (label, setup) in setups() {
        trials.extend(sipp::trials(label, &setup));
        trials.extend(sipsak::trials(label, &setup));
        trials.extend(digest::trials(label, &setup));
        trials.extend(hostile::trials(label, &setup));
    }
    trials.extend(baresip::trials());
    trials.extend(kamailio::trials());
    trials.extend(life::trials());
    trials.extend(control::trials());
    trials.extend(digest::general_trials());
    let alone = libtest_mimic::run(&arguments, trials);
    // In a call everybody waits for somebody most of the time.
    arguments.test_threads = Some(threads.unwrap_or(6));
    let together = libtest_mimic::run(&arguments, calls::trials(&setups()));
    if alone.has_failed() { alone.exit_code() } else { together.exit_code() }
}

/// Every way in which datagrams find their core.
fn setups() -> Vec<(&'static str, Setup)> {
    let setup = |io, cores, wrong_core| Setup { io, cores, wrong_core, ..Setup::simple() };
    vec![
        ("uring, one core", setup("uring", 1, false)),
        ("uring, two cores", setup("uring", 2, false)),
        ("uring, all at the wrong core", setup("uring", 2, true)),
        ("epoll, one core", setup("epoll", 1, false)),
        ("epoll, two cores", setup("epoll", 2, false)),
        ("epoll, all at the wrong core", setup("epoll", 2, true)),
    ]
}

/// A trial by its name, the setup it runs in, and what it does.
fn trial(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(Into::into))
}
