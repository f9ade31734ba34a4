//! What a server must do in a storm, and what it did: each goal with its threshold and the figure that is held against it. What a run did
//! not measure is said to be so, never taken for met.

use super::number::{grouped, over, percent, plain, ratio, seconds, time_us};
use crate::storm::record::{CallCounts, Class, Percentiles, Run, Second};
use crate::storm::scenario::Arrival;

/// Of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It was reached.
    Met,
    /// It was not.
    Missed,
    /// The run could not tell.
    NotMeasured,
    /// There is no threshold: the figure is published as measured.
    Published,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What is asked, in a few words.
    pub name: &'static str,
    /// The threshold, in words; empty where there is none.
    pub threshold: String,
    /// The figure, in words.
    pub measured: String,
    /// Whether it was reached.
    pub judgement: Judgement,
}

impl Goal {
    fn new(name: &'static str, threshold: impl Into<String>, measured: String, met: bool) -> Goal {
        let judgement = if met { Judgement::Met } else { Judgement::Missed };
        Goal { name, threshold: threshold.into(), measured, judgement }
    }

    fn not_measured(name: &'static str, threshold: impl Into<String>, why: &str) -> Goal {
        let judgement = Judgement::NotMeasured;
        Goal { name, threshold: threshold.into(), measured: why.to_owned(), judgement }
    }

    fn at_least(name: &'static str, figure: f64, least: f64, text: fn(f64) -> String) -> Goal {
        Goal::new(name, format!("≥ {}", text(least)), text(figure), figure >= least)
    }

    fn at_most(name: &'static str, figure: f64, most: f64, text: fn(f64) -> String) -> Goal {
        Goal::new(name, format!("≤ {}", text(most)), text(figure), figure <= most)
    }
}

/// All that this run's scenario asks for, in the order of a report.
pub fn goals(run: &Run) -> Vec<Goal> {
    let mut goals = Vec::new();
    match run.scenario.arrival {
        Arrival::Steady { .. } => {}
        Arrival::Herd { cycles, .. } => goals.push(flattening(run, cycles)),
        Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. } => {
            recovery(run, &mut goals);
        }
    }
    latency(run, &mut goals);
    if let Some(fairness) = run.outcome.fairness {
        goals.push(Goal::at_least(
            "Fairness among those who honour Retry-After",
            fairness,
            0.9,
            ratio,
        ));
    }
    calls(run, &mut goals);
    goals.push(reconciles(run));
    goals
}

fn reconciles(run: &Run) -> Goal {
    let name = "Datagrams reconcile";
    let reconciliation = &run.reconciliation;
    let measured = match reconciliation.unaccounted {
        0 if reconciliation.sent == 0 => {
            return Goal::not_measured(name, "all", "nothing was sent");
        }
        0 => "all".to_owned(),
        left if left < 0 => format!("{} too many", grouped(left.unsigned_abs())),
        left => format!("{} missing", grouped(left.unsigned_abs())),
    };
    Goal::new(name, "all", measured, reconciliation.reconciles)
}

/// How fast all were back, and what the server made of its capacity until then.
fn recovery(run: &Run, goals: &mut Vec<Goal>) {
    let outcome = &run.outcome;
    // Those who all come within a second leave no time to turn the first of them away in good order.
    let sudden = run.scaled.multiple_asked >= 50.0;
    if !run.seconds.iter().any(|second| second.at_secs > 0.0) {
        goals.push(Goal::not_measured("Recovery", "", "nobody had come yet"));
        return;
    }
    let goodput = "Goodput over capacity while recovering";
    goals.push(Goal::at_least(
        goodput,
        outcome.goodput_share,
        if sudden { 0.5 } else { 0.9 },
        percent,
    ));
    if sudden {
        let standstill = stood_still(run);
        let measured = match standstill {
            0 => "none".to_owned(),
            secs => format!("{secs} s"),
        };
        goals.push(Goal::new(
            "Seconds without goodput while recovering",
            "none",
            measured,
            standstill == 0,
        ));
    } else {
        let name = "Goodput over capacity, first 5 s";
        goals.push(Goal::at_least(name, outcome.goodput_share_first_5_secs, 0.6, percent));
    }
    let name = "T99 over the shortest possible time";
    let p = run.scenario.honour_retry_after;
    let most = match p {
        _ if p >= 0.8 => Some(1.25),
        _ if p >= 0.5 => Some(1.5),
        _ => None,
    };
    goals.push(match (outcome.t99_over_t_min, most) {
        (Some(figure), Some(most)) => Goal::at_most(name, figure, most, ratio),
        (None, Some(most)) if run.cut_short => {
            Goal::not_measured(name, format!("≤ {}", ratio(most)), "cut short")
        }
        (None, Some(most)) => {
            Goal::new(name, format!("≤ {}", ratio(most)), "never".to_owned(), false)
        }
        (figure, None) => Goal {
            name,
            threshold: String::new(),
            measured: figure.map_or("never".to_owned(), ratio),
            judgement: Judgement::Published,
        },
    });
    let name = "Datagrams per user agent registered";
    goals.push(match outcome.amplification {
        _ if run.cut_short && outcome.t99_over_t_min.is_none() => {
            Goal::not_measured(name, "≤ 7", "cut short")
        }
        Some(figure) => Goal::at_most(name, figure, 7.0, plain),
        None => Goal::new(name, "≤ 7", "nobody registered".to_owned(), false),
    });
    goals.extend(back_to_normal(run));
}

/// Seconds in which the server finished nothing although user agents waited for it.
fn stood_still(run: &Run) -> usize {
    let until = run.outcome.registered_percent_secs.get(&99).copied().unwrap_or(f64::MAX);
    run.seconds
        .iter()
        .filter(|second| second.at_secs > 0.0 && second.at_secs <= until)
        .filter(|second| second.total_arrived > second.total_registered && second.registered == 0)
        .count()
}

/// Whether answers took as long as before again, 5 s after the last were registered.
fn back_to_normal(run: &Run) -> Option<Goal> {
    let name = "Normal latency again after the end";
    let end = *run.outcome.registered_percent_secs.get(&100)?;
    let before = p99_us(run.seconds.iter().filter(|second| second.at_secs <= 0.0))?;
    let after = |second: &&Second| second.at_secs > end;
    let took = run.seconds.iter().filter(after).find_map(|second| {
        // Bounds of a histogram are the finest that can be told; an idle second has nothing late in it.
        let calm = p99_us([second]).is_none_or(|p99| p99 <= before * 1.25);
        calm.then_some(second.at_secs - end)
    });
    let observed = run.seconds.last().map_or(0.0, |second| second.at_secs - end);
    match took {
        Some(secs) => Some(Goal::at_most(name, secs, 5.0, seconds)),
        None if observed >= 5.0 => {
            Some(Goal::new(name, "≤ 5 s", format!("not within {}", seconds(observed)), false))
        }
        None => None,
    }
}

/// Upper bound of the 99th percentile of the answers in these seconds.
pub(crate) fn p99_us<'a>(seconds: impl IntoIterator<Item = &'a Second>) -> Option<f64> {
    let mut counts: Vec<(f64, u64)> = Vec::new();
    for second in seconds {
        counts.extend(&second.answer_age_us);
    }
    counts.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut up_to = 0;
    counts.iter().find_map(|(bound, count)| {
        up_to += count;
        (all > 0 && up_to as f64 >= 0.99 * all as f64).then_some(*bound)
    })
}

/// Whether the refreshes of the last cycle are spread.
fn flattening(run: &Run, cycles: u32) -> Goal {
    let name = "Peak over mean of refreshes, last cycle";
    let storm: Vec<f64> = run
        .seconds
        .iter()
        .filter(|second| second.at_secs > 0.0)
        .map(|second| second.attempts as f64)
        .collect();
    let length = storm.len() / (cycles.max(1) as usize);
    let last = &storm[storm.len() - length..];
    let mean = last.iter().sum::<f64>() / length.max(1) as f64;
    let peak = last.iter().copied().fold(0.0, f64::max);
    match over(peak, mean) {
        Some(figure) if cycles >= 2 => Goal::at_most(name, figure, 1.5, ratio),
        Some(_) | None => Goal::not_measured(name, "≤ 1.50", "fewer than two cycles"),
    }
}

/// What was admitted: the request that a binding is made or refreshed by, which with digest is the one after the challenge. Of the first
/// leg, latency counts from its first datagram, and so tells how long it waited to be admitted.
fn latency(run: &Run, goals: &mut Vec<Goal>) {
    let name = "Latency of admitted registrations, p99";
    let worst = "Latency of admitted registrations, longest";
    let admitted = [Class::Reg200New, Class::RegRefresh]
        .iter()
        .filter_map(|class| run.outcome.latency.get(class.name()))
        .filter(|of| of.count > 0);
    let worst_of = |figure: fn(&Percentiles) -> f64| admitted.clone().map(figure).reduce(f64::max);
    match worst_of(|of| of.p99_us).zip(worst_of(|of| of.max_us)) {
        Some((p99, max)) => {
            goals.push(Goal::at_most(name, p99, 100_000.0, time_us));
            let threshold = "≤ 500 ms";
            goals.push(Goal::new(worst, threshold, time_us(max), max <= 500_000.0));
        }
        None => goals.push(Goal::not_measured(name, "≤ 100 ms", "nothing was admitted")),
    }
}

fn calls(run: &Run, goals: &mut Vec<Goal>) {
    let outcome = &run.outcome;
    if run.scenario.emergency_calls.is_some() {
        let name = "Emergency calls lost or refused";
        let CallCounts { begun, refused, lost, .. } = outcome.emergency_calls;
        goals.push(match begun {
            0 => Goal::not_measured(name, "none", "none was begun"),
            _ => Goal::new(
                name,
                "none",
                format!("{} of {begun}", refused + lost),
                refused + lost == 0,
            ),
        });
    }
    if run.scenario.calls.is_some() {
        let name = "Calls answered";
        goals.push(match success(&outcome.calls) {
            Some(share) => Goal::at_least(name, share, 0.999, percent),
            None => Goal::not_measured(name, "≥ 99.9 %", "none was begun"),
        });
        let p99 = |of: Option<&Percentiles>| of.filter(|of| of.count > 0).map(|of| of.p99_us);
        let invite = Class::Invite.name();
        let name = "Latency of calls at p99, storm over before";
        let during = p99(outcome.latency.get(invite));
        goals.push(match during.zip(p99(outcome.latency_before.get(invite))) {
            Some((during, before)) if before > 0.0 => {
                Goal::at_most(name, during / before, 2.0, ratio)
            }
            Some(_) | None => Goal::not_measured(name, "≤ 2.00", "no calls before the storm"),
        });
    }
}

/// Share of the calls that were settled which were answered.
pub(crate) fn success(calls: &CallCounts) -> Option<f64> {
    over(calls.answered as f64, (calls.answered + calls.refused + calls.lost) as f64)
}
