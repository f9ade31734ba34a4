//! Hundreds of simulated worlds: that nothing breaks in them, that they see all there is to see, that a seed is the same world every
//! time, and that a broken shard is noticed. `cargo run -p tests --bin sim -- 0..10000` lives more of them.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use libtest_mimic::{Arguments, Failed, Trial};
use shards::io::{Class, Reason};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use tests::sim::oracle::Rule;
use tests::sim::plan::{Fault, Wishes};
use tests::sim::sabotage::{Sabotage, Saboteur};
use tests::sim::{run, run_with};

/// The seeds of every run of the tests, in so many shares.
const SEEDS: u64 = 256;
const SHARES: u64 = 8;

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

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let mut trials = Vec::new();
    for share in 0..SHARES {
        let (first, end) = (SEEDS / SHARES * share, SEEDS / SHARES * (share + 1));
        let seen = Arc::clone(&seen);
        trials.push(Trial::test(format!("seeds {first}..{end} break no rule"), move || {
            live(first..end, &seen)
        }));
    }
    for &(what, seed, wishes) in FOUND {
        trials.push(Trial::test(format!("seed {seed} found: {what}"), move || {
            run(seed, &wishes()).map(|_| ()).map_err(|failure| failure.to_string().into())
        }));
    }
    trials.push(Trial::test("a seed is the same world every time", same_world));
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
    if is_whole && let Err(missing) = saw_everything(&seen.lock().unwrap()) {
        eprintln!("no seed has seen: {missing}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn live(seeds: std::ops::Range<u64>, seen: &Mutex<BTreeMap<String, u64>>) -> Result<(), Failed> {
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
    let missing: Vec<&str> = all.filter(|what| !seen.contains_key(*what)).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
}

fn same_world() -> Result<(), Failed> {
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
