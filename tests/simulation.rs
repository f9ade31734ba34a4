//! Hundreds of simulated worlds: that nothing breaks in them, that they see all there is to see, that a seed is the same world every
//! time, and that a broken shard is noticed. `cargo run -p tests --bin sim -- 0..10000` lives more of them, and
//! `cargo run -p tests --bin sim -- --calls 0..10000` more of those in which phones call each other.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use libtest_mimic::{Arguments, Failed, Trial};
use shards::io::{Class, Reason};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use tests::sim::calls;
use tests::sim::oracle::Rule;
use tests::sim::plan::{Fault, Wishes};
use tests::sim::sabotage::{Sabotage, Saboteur};
use tests::sim::{Failure, Report, run, run_with};

/// The seeds of every run of the tests, of both worlds, in so many shares.
const SEEDS: u64 = 256;
const SHARES: u64 = 8;

/// One of the two worlds.
type Live = fn(u64, &Wishes) -> Result<Report, Box<Failure>>;

/// A fault of the server that a seed has found, and what the world has to be like for it.
type Found = (&'static str, u64, fn() -> Wishes);

const FOUND: &[Found] = &[
    (
        "Contact: * under the branch and CSeq that made a binding ended it, once the transaction was forgotten",
        2,
        || Wishes { digest: Some(false), without: vec![Fault::Operator], ..Wishes::default() },
    ),
    (
        "what an operator added in the place of another binding was not counted as replaced",
        94,
        || Wishes { digest: Some(true), ..Wishes::default() },
    ),
    ("a retransmission whose count was used got its bindings without its Path", 121, || Wishes {
        digest: Some(true),
        ..Wishes::default()
    }),
    ("a phone whose request was too short for three challenges never got in", 35, || Wishes {
        agents: Some(30),
        chaos_secs: Some(200),
        digest: Some(true),
        only: vec![Fault::Loss],
        ..Wishes::default()
    }),
];

/// The same of the calls.
const FOUND_BY_CALLS: &[Found] = &[
    (
        "what a callee sent to the process before was taken for the answer of another call",
        25,
        || Wishes::default(),
    ),
    ("the same, with several cores", 172, || Wishes::default()),
    ("a challenge was kept that could not be read any more", 1153, || Wishes::default()),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let seen_of_calls = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let mut trials = Vec::new();
    let worlds: [(&str, Live, _, _); 2] =
        [("", run, FOUND, &seen), (" of calls", calls::run, FOUND_BY_CALLS, &seen_of_calls)];
    for (of, run, found, seen) in worlds {
        for share in 0..SHARES {
            let (first, end) = (SEEDS / SHARES * share, SEEDS / SHARES * (share + 1));
            let seen = Arc::clone(seen);
            trials
                .push(Trial::test(format!("seeds {first}..{end}{of} break no rule"), move || {
                    live(run, first..end, &seen)
                }));
        }
        for &(what, seed, wishes) in found {
            trials.push(Trial::test(format!("seed {seed}{of} found: {what}"), move || {
                run(seed, &wishes()).map(|_| ()).map_err(|failure| failure.to_string().into())
            }));
        }
        trials.push(Trial::test(format!("a seed{of} is the same world every time"), move || {
            same_world(run)
        }));
    }
    for &(sabotage, rule) in OF_CALLS {
        trials.push(Trial::test(format!("{sabotage:?} breaks {rule:?}, of calls"), move || {
            noticed_in_calls(sabotage, rule)
        }));
    }
    trials.push(Trial::test("leaving out a fault leaves the others as they are", wishes));
    for &(sabotage, rule) in SABOTAGES {
        trials.push(Trial::test(format!("{sabotage:?} breaks {rule:?}"), move || {
            let wishes = Wishes { agents: Some(40), chaos_secs: Some(300), ..Wishes::default() };
            noticed(sabotage, rule, &wishes)
        }));
    }
    for &(sabotage, rule) in WITH_DIGEST {
        trials.push(Trial::test(format!("{sabotage:?} breaks {rule:?}, with digest"), move || {
            // Who forges credentials knows the first passwords, so nobody gets a second one.
            let is_of_operator = sabotage == Sabotage::KeepsOldSubscribers;
            let only = if is_of_operator { Fault::Operator } else { Fault::Hostile };
            let wishes = Wishes {
                agents: Some(20),
                chaos_secs: Some(300),
                digest: Some(true),
                only: vec![only],
                ..Wishes::default()
            };
            noticed(sabotage, rule, &wishes)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // What all seeds have seen together; where only some were asked for, nothing can be said.
    let is_whole =
        arguments.filter.is_none() && !arguments.list && conclusion.num_filtered_out == 0;
    let saw = || {
        saw_everything(&seen.lock().unwrap())?;
        saw_every_call(&seen_of_calls.lock().unwrap())
    };
    if is_whole && let Err(missing) = saw() {
        eprintln!("no seed has seen: {missing}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn live(
    run: Live,
    seeds: std::ops::Range<u64>,
    seen: &Mutex<BTreeMap<String, u64>>,
) -> Result<(), Failed> {
    for seed in seeds {
        let report = run(seed, &Wishes::default()).map_err(|failure| failure.to_string())?;
        let mut seen = seen.lock().unwrap();
        for (what, count) in report.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    Ok(())
}

/// What the worlds are for: every class, every status, every reason to drop, every fault and every loss happens in some of them.
fn saw_everything(seen: &BTreeMap<String, u64>) -> Result<(), String> {
    // These worlds have no calls, and so nothing of what becomes of them.
    let of_calls = [
        "invite",
        "in-dialog",
        "request",
        "cancel",
        "letter",
        "unreachable",
        "addresses",
        "too_many_hops",
        "no_way",
    ];
    // What a correct server never says: the answer to a REGISTER always fits.
    let never = Reason::ResponseTooLarge.label();
    let is_here = |label: &&str| *label != never && !of_calls.contains(label);
    let classes = Class::ALL.iter().map(|class| class.label()).filter(is_here);
    let reasons = Reason::ALL.iter().map(|reason| reason.label()).filter(is_here);
    let statuses = [
        "400", "401", "403", "404", "405", "416", "420", "423", "439", "481", "500", "501", "503",
        "513",
    ];
    let faults = [
        Fault::Clogs,
        Fault::Stalls,
        Fault::Restarts,
        Fault::WallSteps,
        Fault::EgressBlocks,
        Fault::Hostile,
        Fault::Operator,
    ];
    let faults = faults.iter().map(|fault| fault.name());
    let losses =
        ["the network", "a full socket", "a full ring", "the way out", "a node that is down"];
    let others = [
        "altered",
        "duplicated",
        "expiry",
        "retransmission",
        "repetition",
        "repetition of a replay",
        "a nonce used again",
        "a shortened offer",
        "403 for another's",
        "challenged as absent",
        "challenged as stale",
        "challenged as replayed",
        "challenged as bad_response",
        "challenged as unknown_user",
        "added by hand",
        "removed by hand",
        "looked up",
        "measured",
        "other subscribers",
        "an errand in vain",
        "a full table for an operator",
    ];
    let all = classes.chain(reasons).chain(statuses).chain(faults).chain(losses).chain(others);
    all_seen(all, seen)
}

/// The same for the worlds of calls: each outcome that a call may have, and each way in which one may be disturbed.
fn saw_every_call(seen: &BTreeMap<String, u64>) -> Result<(), String> {
    let classes = [
        "duplicate",
        "invite",
        "in-dialog",
        "request",
        "cancel",
        "refusal",
        "ack",
        "response",
        "letter",
        "unreachable",
        "addresses",
        "move",
    ];
    let reasons = ["no_transaction", "no_way", "too_many_hops", "bad_request", "bad_response"];
    let statuses =
        ["100", "180", "183", "302", "404", "407", "480", "481", "482", "486", "487", "600"];
    let outcomes = [
        "INVITE got 200",
        "INVITE got 302",
        "INVITE got 408",
        "INVITE got 480",
        "INVITE got 486",
        "INVITE got 487",
        "INVITE got 500",
        "INVITE got 503",
        "INVITE got 603",
        "INVITE got nothing",
        "CANCEL got 200",
        "CANCEL got 481",
        "BYE got 200",
        "BYE got 481",
        "MESSAGE got 200",
        "in-dialog INVITE got 200",
        "in-dialog UPDATE got 200",
        "in-dialog X-ASK got 200",
        "2xx acknowledged",
        "refusal acknowledged",
        "not acknowledged",
        "hung up from before",
    ];
    let faults = [
        Fault::Clogs,
        Fault::Stalls,
        Fault::Restarts,
        Fault::EgressBlocks,
        Fault::Hostile,
        Fault::DeadPhones,
    ];
    let losses = [
        "the network",
        "a full socket",
        "a full ring",
        "the way out",
        "a node that is down",
        "a dead phone",
        "an ICMP error",
        "a name without an answer",
        "altered",
        "duplicated",
    ];
    let faults = faults.iter().map(|fault| fault.name());
    let all = classes.into_iter().chain(reasons).chain(statuses).chain(outcomes);
    all_seen(all.chain(faults).chain(losses), seen)
}

fn all_seen<'a>(
    all: impl Iterator<Item = &'a str>,
    seen: &BTreeMap<String, u64>,
) -> Result<(), String> {
    let missing: Vec<&str> = all.filter(|what| !seen.contains_key(*what)).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
}

fn same_world(run: Live) -> Result<(), Failed> {
    let mut hashes = Vec::new();
    for seed in [1, 7, 19, 22, 28, 46] {
        let [one, other] = [(); 2].map(|()| run(seed, &Wishes::default()));
        let (one, other) = (
            one.map_err(|failure| failure.to_string())?,
            other.map_err(|failure| failure.to_string())?,
        );
        if (one.hash, one.events) != (other.hash, other.events) {
            return Err(format!("seed {seed}: {:016x} and {:016x}", one.hash, other.hash).into());
        }
        hashes.push(one.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.len() == 6 { Ok(()) } else { Err("two seeds are the same world".into()) }
}

fn wishes() -> Result<(), Failed> {
    use tests::sim::plan::Plan;
    for seed in 0..100 {
        let whole = Plan::new(seed, &Wishes::default());
        for &fault in Fault::ALL {
            let plan = Plan::new(seed, &Wishes { without: vec![fault], ..Wishes::default() });
            let mut expected = whole.faults.clone();
            expected.remove(&fault);
            if plan.faults != expected || plan.agents != whole.agents || plan.cores != whole.cores {
                return Err(format!(
                    "seed {seed} without {}: {:?}, not {expected:?}",
                    fault.name(),
                    plan.faults
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Each way to break a shard, and the rule that has to notice it.
const SABOTAGES: &[(Sabotage, Rule)] = &[
    (Sabotage::ForgetsBindings, Rule::BindingKept),
    (Sabotage::AnswersOtherwise, Rule::RetransmissionIdentical),
    (Sabotage::OffersExpired, Rule::NothingExpiredOffered),
    (Sabotage::ReplaysChange, Rule::ReplayChangesNothing),
    (Sabotage::ForgetsAnswers, Rule::RetransmissionIdentical),
    (Sabotage::AnswersElsewhere, Rule::AnsweredToSource),
    (Sabotage::IgnoresHomes, Rule::HandledAtHome),
    (Sabotage::LosesInputs, Rule::InputsEqualVerdicts),
    (Sabotage::NeverExpires, Rule::TablesEmpty),
    (Sabotage::SkimpsOnMemory, Rule::EverybodyRegistered),
    (Sabotage::IgnoresSome, Rule::AsTheReference),
    (Sabotage::IgnoresOrder, Rule::AsTheReference),
    (Sabotage::Amplifies, Rule::NeverAmplified),
    (Sabotage::BindsTheFirst, Rule::AsTheReference),
    (Sabotage::GrantsLess, Rule::AsTheReference),
    (Sabotage::Panics, Rule::Sound),
    (Sabotage::AddsNothing, Rule::ErrandDone),
    (Sabotage::TellsNothing, Rule::ErrandDone),
];

/// The same where whoever registers has to show who he is.
const WITH_DIGEST: &[(Sabotage, Rule)] = &[
    (Sabotage::ForgetsUses, Rule::ReplayNeverPasses),
    (Sabotage::AcceptsAnyNonce, Rule::OnlyWithCredentials),
    (Sabotage::AcceptsAnyPassword, Rule::OnlyWithCredentials),
    (Sabotage::ActsForAnybody, Rule::OnlyOnesOwn),
    (Sabotage::TakesNoncesOnce, Rule::AsTheReference),
    (Sabotage::TellsStrangers, Rule::StrangersLookAlike),
    (Sabotage::KeepsChallenges, Rule::ChallengeStateless),
    (Sabotage::KeepsOldSubscribers, Rule::OnlyWithCredentials),
    (Sabotage::Amplifies, Rule::NeverAmplified),
    (Sabotage::IgnoresSome, Rule::AsTheReference),
];

/// The same for what becomes of calls.
const OF_CALLS: &[(calls::sabotage::Sabotage, Rule)] = &[
    (calls::sabotage::Sabotage::DropsAcks, Rule::CallsComplete),
    (calls::sabotage::Sabotage::AcknowledgesNothing, Rule::CallsComplete),
    (calls::sabotage::Sabotage::AnswersTwice, Rule::OneFinalResponse),
    (calls::sabotage::Sabotage::RefusesOtherwise, Rule::OneFinalResponse),
    (calls::sabotage::Sabotage::AnswersOtherwise, Rule::RetransmissionIdentical),
    (calls::sabotage::Sabotage::ForgetsCancel, Rule::CallsComplete),
    (calls::sabotage::Sabotage::CancelsAnother, Rule::MatchesItsInvite),
    (calls::sabotage::Sabotage::NeverExpires, Rule::TablesEmpty),
    (calls::sabotage::Sabotage::SendsElsewhere, Rule::OnlyParties),
    (calls::sabotage::Sabotage::SendsToStrangers, Rule::OnlyParties),
    (calls::sabotage::Sabotage::Flatters, Rule::ReallySent),
    (calls::sabotage::Sabotage::Invents, Rule::ReallySent),
    (calls::sabotage::Sabotage::WritesNoLetters, Rule::CallsComplete),
    (calls::sabotage::Sabotage::KeepsAnswers, Rule::CallsComplete),
    (calls::sabotage::Sabotage::AnswersStrangers, Rule::OnlyParties),
    (calls::sabotage::Sabotage::RepeatsForever, Rule::WithinTimers),
    (calls::sabotage::Sabotage::LosesInputs, Rule::InputsEqualVerdicts),
];

/// A broken shard is noticed within a few seeds of calls, in which nothing but it is wrong but that datagrams are lost and repeated.
fn noticed_in_calls(sabotage: calls::sabotage::Sabotage, rule: Rule) -> Result<(), Failed> {
    let only = vec![Fault::Loss, Fault::Duplicates];
    let wishes = Wishes { cores: Some(3), agents: Some(8), only, ..Wishes::default() };
    let mut others = Vec::new();
    for seed in 0..12 {
        let make = move |settings| {
            Box::new(calls::sabotage::Saboteur::new(settings, sabotage))
                as Box<dyn tests::sim::handler::Handler>
        };
        match calls::run_with(seed, &wishes, &make) {
            Err(failure) if failure.breaks(rule) => return Ok(()),
            Err(failure) => {
                others.extend(failure.violations.iter().map(ToString::to_string));
            }
            Ok(_) => {}
        }
    }
    Err(format!("no seed has noticed it; what was noticed instead: {others:#?}").into())
}

/// A broken shard is noticed within a few seeds, by the rule that it breaks.
fn noticed(sabotage: Sabotage, rule: Rule, wishes: &Wishes) -> Result<(), Failed> {
    let mut others = Vec::new();
    for seed in 0..12 {
        let make = move |settings| {
            Box::new(Saboteur::new(settings, sabotage)) as Box<dyn tests::sim::handler::Handler>
        };
        match run_with(seed, wishes, &make) {
            Err(failure) if failure.breaks(rule) => return Ok(()),
            Err(failure) => {
                others.extend(failure.violations.iter().map(ToString::to_string));
            }
            Ok(_) => {}
        }
    }
    Err(format!("no seed has noticed it; what was noticed instead: {others:#?}").into())
}
