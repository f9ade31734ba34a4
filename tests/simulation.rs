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

/// Seeds that have found a fault of the server, and what it was.
const FOUND: &[(&str, u64)] = &[(
    "Contact: * under the branch and CSeq that made a binding ended it, once the transaction was forgotten",
    2,
)];

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
    for &(what, seed) in FOUND {
        trials.push(Trial::test(format!("seed {seed} found: {what}"), move || {
            run(seed, &Wishes::default()).map(|_| ()).map_err(|failure| failure.to_string().into())
        }));
    }
    trials.push(Trial::test("a seed is the same world every time", same_world));
    trials.push(Trial::test("leaving out a fault leaves the others as they are", wishes));
    for &(sabotage, rule) in SABOTAGES {
        trials.push(Trial::test(format!("{sabotage:?} breaks {rule:?}"), move || {
            noticed(sabotage, rule)
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
    // Nobody is challenged where everybody is believed.
    let classes = Class::ALL.iter().filter(|&&class| class != Class::RegisterChallenged);
    let classes = classes.map(|class| class.label());
    // What a correct server never says: the answer to a REGISTER always fits.
    let reasons = Reason::ALL
        .iter()
        .filter(|&&reason| reason != Reason::ResponseTooLarge)
        .map(|reason| reason.label());
    let statuses =
        ["400", "403", "404", "405", "416", "420", "423", "439", "481", "500", "501", "503", "513"];
    let faults = [
        Fault::Clogs,
        Fault::Stalls,
        Fault::Restarts,
        Fault::WallSteps,
        Fault::EgressBlocks,
        Fault::Hostile,
    ];
    let faults = faults.iter().map(|fault| fault.name());
    let losses =
        ["the network", "a full socket", "a full ring", "the way out", "a node that is down"];
    let others = ["altered", "duplicated", "expiry", "retransmission", "repetition"];
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
];

/// A broken shard is noticed within a few seeds, by the rule that it breaks.
fn noticed(sabotage: Sabotage, rule: Rule) -> Result<(), Failed> {
    let wishes = Wishes { agents: Some(40), chaos_secs: Some(300), ..Wishes::default() };
    let mut others = Vec::new();
    for seed in 0..12 {
        let make = move |settings| {
            Box::new(Saboteur::new(settings, sabotage)) as Box<dyn tests::sim::handler::Handler>
        };
        match run_with(seed, &wishes, &make) {
            Err(failure) if failure.breaks(rule) => return Ok(()),
            Err(failure) => {
                others.extend(failure.violations.iter().map(ToString::to_string));
            }
            Ok(_) => {}
        }
    }
    Err(format!("no seed has noticed it; what was noticed instead: {others:#?}").into())
}
