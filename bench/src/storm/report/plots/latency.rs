//! How long it took: latency by percentile for each class, and what became of calls.

use super::{NO_SECONDS, over_time};
use crate::storm::record::{CallCounts, Class, Run, Second};
use crate::storm::report::axis::{Scale, decade_above, decade_below, percentile};
use crate::storm::report::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP, without};
use crate::storm::report::goals::success;
use crate::storm::report::number::{grouped, percent, time_us};
use crate::storm::report::timeline::moments;
use crate::storm::tally::Tally;

/// Points of a curve for each nine.
const POINTS: u32 = 24;
/// RFC 3261 17.1.1.1, T1: what is later than it is sent again.
const T1_US: f64 = 500_000.0;

/// How a class is drawn and what it is called where there is little room.
fn look(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Reg401 => ("c-challenge", "challenge"),
        Class::Reg200New => ("good", "new binding"),
        Class::RegRefresh => ("c-refresh", "refresh"),
        Class::Refusal => ("refused", "refusal"),
        Class::Registration => ("ink strong", "all attempts"),
        Class::Options => ("quiet", "OPTIONS"),
        Class::Invite => ("c-invite", "INVITE"),
        Class::EmergencyInvite => ("c-emergency", "emergency"),
        Class::InDialog => ("quiet dotted", "BYE"),
    }
}

/// Latency by percentile, an axis of nines across and of decades upward.
pub(in crate::storm::report) fn by_percentile(tally: &Tally) -> String {
    let title = "Latency by percentile";
    let used: Vec<Class> =
        Class::ALL.into_iter().filter(|class| !tally.of(*class).is_empty()).collect();
    if used.is_empty() {
        return without(title, "Nothing was answered.");
    }
    let nines_of = |class: Class| (tally.of(class).len() as f64).log10();
    let nines = used.iter().map(|class| nines_of(*class)).fold(1.0, f64::max).ceil().min(7.0);
    let least = used.iter().map(|class| tally.of(*class).min()).min().unwrap_or(1).max(1);
    let most = used.iter().map(|class| tally.of(*class).max()).max().unwrap_or(1).max(1);
    let caption = "How long each kind of request took at most, for so many percent of them. “All attempts” is from the first \
                   datagram of a user agent until it was registered, failures and waiting included.";
    let x = Scale::linear(0.0, nines, LEFT, RIGHT);
    let y = Scale::logarithmic(
        decade_below(least as f64 / 1e3),
        decade_above(most as f64 / 1e3),
        BOTTOM,
        TOP,
    );
    let mut chart = Chart::new(title, caption, x, y);
    chart.y_axis(&y.ticks(8), time_us, "latency");
    chart.x_axis(
        &x.ticks(7).into_iter().filter(|nines| nines.fract() < 0.01).collect::<Vec<_>>(),
        percentile,
        "percentile",
    );
    if (y.least()..=y.most()).contains(&T1_US) {
        chart.rule("ideal", T1_US, "T1: sent again");
    }
    for class in used {
        let histogram = tally.of(class);
        let (look, name) = look(class);
        let end = nines_of(class).min(nines);
        let at = |nines: f64| histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e3;
        let steps = (0..).map(|step| f64::from(step) / f64::from(POINTS));
        let mut points: Vec<_> =
            steps.take_while(|nines| *nines < end).map(|nines| (nines, at(nines))).collect();
        let top = histogram.max() as f64 / 1e3;
        points.push((end, top));
        chart.line(look, &points);
        if end < nines {
            // A class with fewer samples knows no finer percentile; its label stands at the margin all the same.
            chart.line(&format!("{look} lead"), &[(end, top), (nines, top)]);
        }
        chart.label(look, top, name);
    }
    chart.into_figure()
}

/// Which calls and emergency calls were answered, over time.
pub(in crate::storm::report) fn calls(run: &Run) -> String {
    let title = "Calls in the storm";
    let moments = moments(run);
    if run.scenario.calls.is_none() && run.scenario.emergency_calls.is_none() {
        return without(title, "The scenario has no calls.");
    }
    if moments.is_empty() {
        return without(title, NO_SECONDS);
    }
    let caption = "Of the calls settled in each second, the share that was answered. Dots are seconds with emergency calls.";
    let mut chart = over_time(run, &moments, title, caption, 1.0);
    chart.y_axis(&[0.0, 0.25, 0.5, 0.75, 1.0], percent, "of the calls answered");
    let sum = |seconds: &[Second], of: fn(&Second) -> CallCounts| {
        seconds.iter().map(of).fold(CallCounts::default(), |sum, one| CallCounts {
            begun: sum.begun + one.begun,
            answered: sum.answered + one.answered,
            refused: sum.refused + one.refused,
            lost: sum.lost + one.lost,
            completed: sum.completed + one.completed,
        })
    };
    let ordinary: Vec<(f64, f64)> = moments
        .iter()
        .map(|moment| {
            (moment.at(), success(&sum(moment.seconds, |second| second.calls)).unwrap_or(f64::NAN))
        })
        .collect();
    chart.line("c-invite strong", &ordinary);
    for moment in &moments {
        let counts = sum(moment.seconds, |second| second.emergency_calls);
        if let Some(share) = success(&counts) {
            chart.dot("c-emergency", moment.at(), share, 3.5);
        }
    }
    let outcome = &run.outcome;
    let of = |name: &str, counts: &CallCounts| {
        let share = success(counts).map_or("none".to_owned(), percent);
        format!("{name} {share} of {}", grouped(counts.answered + counts.refused + counts.lost))
    };
    chart.key(&[
        ("c-invite", of("calls", &outcome.calls)),
        ("c-emergency round", of("emergency calls", &outcome.emergency_calls)),
    ]);
    for moment in &moments {
        let told = |name: &str, counts: CallCounts| {
            format!(
                "{name}: {} begun, {} answered, {} refused, {} lost",
                counts.begun, counts.answered, counts.refused, counts.lost
            )
        };
        let ordinary = told("calls", sum(moment.seconds, |second| second.calls));
        let emergency = told("emergency", sum(moment.seconds, |second| second.emergency_calls));
        chart.hover(
            moment.from_secs,
            moment.to_secs,
            &format!("{}: {ordinary}; {emergency}", moment.named()),
        );
    }
    chart.into_figure()
}
