//! What the server was asked and what it made of it: where datagrams went, and goodput against what was offered.

use super::{NO_SECONDS, count_axis, over_time};
use crate::storm::record::{Run, Second};
use crate::storm::report::axis::Scale;
use crate::storm::report::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP, without};
use crate::storm::report::number::{compact, percent, plain, rounded};
use crate::storm::report::svg::Anchor;
use crate::storm::report::timeline::{Moment, moments};
use crate::storm::scenario::Nonces;

/// The cost of a refusal, as a part of a registration's, at which nine tenths of the goodput are left at ten times capacity.
const BEARABLE_REFUSAL_COST: f64 = 0.011;

/// What became of some datagrams: how it is drawn, what it is called, and how many there were.
type Fate = (&'static str, &'static str, fn(&Second) -> f64);

/// From the bottom of the stack to its top.
const FATES: [Fate; 4] = [
    ("good", "admitted", admitted),
    ("refused", "refused", refused),
    ("dropped", "dropped by the server", dropped_by_server),
    ("kernel", "dropped by the kernel", |second| second.kernel_drops as f64),
];

fn admitted(second: &Second) -> f64 {
    (second.received as f64 - refused(second)).max(0.0)
}

fn refused(second: &Second) -> f64 {
    second.refused.values().sum::<u64>() as f64
}

fn dropped_by_server(second: &Second) -> f64 {
    second.server_drops.values().sum::<u64>() as f64
}

/// Offered, admitted, refused and dropped over time.
pub(in crate::storm::report) fn where_datagrams_went(run: &Run) -> String {
    let title = "What became of the datagrams";
    let moments = moments(run);
    if moments.is_empty() {
        return without(title, NO_SECONDS);
    }
    let offered = |second: &Second| second.sent as f64;
    let height = |moment: &Moment<'_>| {
        let stacked: f64 = FATES.iter().map(|(.., of)| moment.mean(of)).sum();
        stacked.max(moment.mean(offered))
    };
    let peak = moments.iter().map(height).fold(0.0, f64::max);
    let caption = "Datagrams a second, stacked by what became of them; the line is what was sent to the server.";
    let mut chart = over_time(run, &moments, title, caption, peak);
    count_axis(&mut chart, "datagrams/s");
    let mut below: Vec<(f64, f64)> = moments.iter().map(|moment| (moment.at(), 0.0)).collect();
    for (class, _, of) in FATES {
        let upper: Vec<(f64, f64)> =
            below.iter().zip(&moments).map(|((x, y), moment)| (*x, y + moment.mean(of))).collect();
        chart.area(&format!("solid {class}"), &upper, &below);
        below = upper;
    }
    let line: Vec<_> = moments.iter().map(|moment| (moment.at(), moment.mean(offered))).collect();
    chart.line("ink", &line);
    let total = |of: fn(&Second) -> f64| rounded(run.seconds.iter().map(of).sum());
    let mut key = vec![("ink", format!("offered {}", total(|second| second.sent as f64)))];
    key.extend(FATES.map(|(class, name, of)| {
        let told = class != "dropped" || run.reconciliation.dropped_by_server.is_some();
        let count = if told { total(of) } else { "not told".to_owned() };
        (class, format!("{name} {count}"))
    }));
    chart.key(&key);
    for moment in &moments {
        let fates = FATES.map(|(_, name, of)| format!("{name} {}", rounded(moment.mean(of))));
        let told = format!(
            "{}: offered {}/s; {}",
            moment.named(),
            rounded(moment.mean(offered)),
            fates.join(", ")
        );
        chart.hover(moment.from_secs, moment.to_secs, &told);
    }
    chart.into_figure()
}

/// Goodput left at an overload of x, where turning one away costs r of a registration.
fn goodput_left(x: f64, r: f64) -> f64 {
    if x <= 1.0 { x } else { ((1.0 - x * r) / (1.0 - r)).max(0.0) }
}

/// Offered against goodput, each as a multiple of kappa, with what a cost of refusals allows.
pub(in crate::storm::report) fn offered_against_goodput(run: &Run) -> String {
    let title = "Offered against goodput";
    let kappa = run.capacity.kappa;
    let moments: Vec<_> = moments(run).into_iter().filter(|moment| moment.to_secs > 0.0).collect();
    if moments.is_empty() || kappa <= 0.0 {
        return without(title, NO_SECONDS);
    }
    // With a challenge, a registration is two datagrams.
    let challenged =
        run.scenario.registration.digest && run.scenario.population.nonces != Nonces::Valid;
    let legs = if challenged { 2.0 } else { 1.0 };
    let caption = "A dot for each second of the storm: REGISTERs sent, copies included, against registrations finished, both as \
                   multiples of capacity. The curves are the most that is left where turning one away costs r of a registration.";
    let x = Scale::logarithmic(0.5, 100.0, LEFT, RIGHT);
    let y = Scale::linear(0.0, 1.2, BOTTOM, TOP);
    let mut chart = Chart::new(title, caption, x, y);
    chart.y_axis(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2], plain, "goodput / capacity");
    chart.x_axis(&[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0], plain, "offered / capacity");
    let curve = |r: f64| -> Vec<(f64, f64)> {
        let steps = (0..=200).map(|step| 0.5 * 200_f64.powf(f64::from(step) / 200.0));
        steps.map(|x| (x, goodput_left(x, r))).collect()
    };
    let mut draw = |class: &str, r: f64| {
        chart.line(class, &curve(r));
        let name = format!("r = {}", percent(r));
        // Where the curve has reached the bottom, its label stands where it falls.
        let falls_at = (0.5 * (1.0 - r) - 1.0) / -r;
        if goodput_left(100.0, r) > 0.0 {
            chart.label(class, goodput_left(100.0, r), &name);
        } else {
            chart.note(class, falls_at, 0.5, (12.0, 0.0), Anchor::Start, &name);
        }
    };
    draw("ideal", BEARABLE_REFUSAL_COST);
    if let Some(r) = run.capacity.refusal_cost.filter(|r| (1e-6..0.9).contains(r)) {
        draw("measured", r);
        chart.key(&[
            ("measured", format!("r = {} was measured", percent(r))),
            (
                "ideal",
                format!("r = {} keeps 90 % at ten times capacity", percent(BEARABLE_REFUSAL_COST)),
            ),
        ]);
    }
    for moment in &moments {
        let offered = moment.mean(|second| second.sent_registers as f64) / legs / kappa;
        let goodput = moment.mean(|second| second.registered as f64) / kappa;
        if offered >= 0.5 {
            chart.dot("good", offered, goodput, 3.0);
        }
    }
    let peak = moments
        .iter()
        .map(|moment| moment.mean(|second| second.sent_registers as f64) / legs / kappa)
        .fold(0.0, f64::max);
    if peak >= 0.5 {
        chart.moment(peak.min(100.0), &format!("peak {}×", compact(peak)));
    }
    chart.into_figure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_are_left_at_ten_times_capacity_with_that_cost() {
        assert!((goodput_left(10.0, BEARABLE_REFUSAL_COST) - 0.9).abs() < 0.001);
        assert_eq!([0.5, 1.0, 1000.0].map(|x| goodput_left(x, 0.1)), [0.5, 1.0, 0.0]);
    }
}
