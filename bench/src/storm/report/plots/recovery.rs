//! How fast they came back: the share registered, and the registrations finished a second.

use super::{NO_SECONDS, count_axis, over_time};
use crate::storm::record::{Run, Second};
use crate::storm::report::axis::Scale;
use crate::storm::report::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP, without};
use crate::storm::report::number::{
    compact, grouped, over, percent, plain, ratio, rounded, seconds,
};
use crate::storm::report::svg::Anchor;
use crate::storm::report::timeline::{Moment, moments};

/// The share registered against t / `T_min`, with the ideal line.
pub(in crate::storm::report) fn share_registered(run: &Run) -> String {
    let title = "Who is back";
    let t_min = run.scaled.t_min_secs;
    let population = f64::from(run.scaled.user_agents);
    // Until an outage ends nobody can be registered, and T_min does not count.
    let begin_secs = run.scaled.t_min_from_secs;
    let over_t_min = |secs: f64| (secs - begin_secs) / t_min;
    let moments = moments(run);
    let (earlier, storm): (Vec<&Moment<'_>>, Vec<&Moment<'_>>) =
        moments.iter().partition(|moment| moment.to_secs <= begin_secs);
    let Some(last) = storm.last() else { return without(title, NO_SECONDS) };
    if t_min <= 0.0 || population <= 0.0 {
        return without(title, "The run had no shortest possible time to be held against.");
    }
    let caption = format!(
        "Share of the user agents that hold a binding, over time as a multiple of the shortest possible recovery ({}).",
        seconds(t_min)
    );
    let x = Scale::linear(0.0, over_t_min(last.to_secs).max(1.1), LEFT, RIGHT);
    let y = Scale::linear(0.0, 1.0, BOTTOM, TOP);
    let mut chart = Chart::new(title, &caption, x, y);
    chart.y_axis(&[0.0, 0.25, 0.5, 0.75, 1.0], percent, "of the user agents");
    chart.x_axis(&x.ticks(5), plain, "time / shortest possible time");
    let of = |count: f64| count / population;
    let points =
        |of_moment: &dyn Fn(&Second) -> f64| {
            let start = [(0.0, earlier.last().map_or(0.0, |moment| of(moment.last(of_moment))))]
                .into_iter();
            start
                .chain(storm.iter().map(|moment| {
                    (over_t_min(moment.to_secs), of(moment.last(of_moment)).min(1.0))
                }))
                .collect::<Vec<_>>()
        };
    let registered = points(&|second| second.total_registered as f64);
    let arrived = points(&|second| second.total_arrived as f64);
    let ideal = [(0.0, 0.0), (1.0, 1.0), (x.most(), 1.0)];
    chart.line("arrived", &arrived);
    chart.line("ideal", &ideal);
    chart.line("good strong", &registered);
    chart.note("ideal", 0.5, 0.5, (-8.0, -4.0), Anchor::End, "ideal");
    // The two of them end at the same height where all are back: one stands above the other.
    let end = registered.last().map_or(0.0, |point| point.1);
    chart.label("arrived", arrived.last().map_or(0.0, |point| point.1), "have come");
    chart.label("good", end, &format!("{} back", percent(end)));
    if let Some(t99) = run.outcome.registered_percent_secs.get(&99).map(|secs| over_t_min(*secs)) {
        chart.dot("good", t99, 0.99, 4.0);
        let (aside, anchor) = if t99 > 0.6 * x.most() {
            ((-14.0, 16.0), Anchor::End)
        } else {
            ((6.0, 18.0), Anchor::Start)
        };
        chart.note("good", t99, 0.99, aside, anchor, &format!("99 % at {}", ratio(t99)));
    }
    for moment in &storm {
        let back = moment.last(|second| second.total_registered as f64);
        chart.hover(
            over_t_min(moment.from_secs).max(0.0),
            over_t_min(moment.to_secs),
            &format!(
                "{}: {} of {} back ({}), {} wait to try again",
                moment.named(),
                rounded(back),
                grouped(u64::from(run.scaled.user_agents)),
                percent(of(back)),
                rounded(moment.last(|second| second.total_waiting as f64))
            ),
        );
    }
    chart.into_figure()
}

/// Registrations finished a second, with kappa.
pub(in crate::storm::report) fn goodput(run: &Run) -> String {
    let title = "Goodput";
    let moments = moments(run);
    if moments.is_empty() {
        return without(title, NO_SECONDS);
    }
    let kappa = run.capacity.kappa;
    let peak = moments
        .iter()
        .map(|moment| moment.mean(|second| second.registered as f64))
        .fold(kappa, f64::max);
    let caption = "Registrations finished a second. The dashed line is what the server can finish when nobody pushes.";
    let mut chart = over_time(run, &moments, title, caption, peak * 1.02);
    count_axis(&mut chart, "registrations/s");
    let of = |second: &Second| second.registered as f64;
    let first = |second: &Second| second.registered_at_first as f64;
    let points: Vec<_> = moments.iter().map(|moment| (moment.at(), moment.mean(of))).collect();
    let floor: Vec<_> = points.iter().map(|(x, _)| (*x, 0.0)).collect();
    chart.area("good", &points, &floor);
    let at_first: Vec<_> = moments.iter().map(|moment| (moment.at(), moment.mean(first))).collect();
    chart.line("quiet", &at_first);
    chart.line("good strong", &points);
    if kappa > 0.0 {
        chart.rule("ideal", kappa, &format!("capacity {}/s", compact(kappa)));
    }
    chart.key(&[
        ("good", format!("all, {}", rounded(run.seconds.iter().map(of).sum()))),
        (
            "quiet",
            format!("by the first attempt, {}", rounded(run.seconds.iter().map(first).sum())),
        ),
    ]);
    for moment in &moments {
        let goodput = moment.mean(of);
        let share = over(goodput, kappa)
            .map_or(String::new(), |share| format!(", {} of capacity", percent(share)));
        chart.hover(
            moment.from_secs,
            moment.to_secs,
            &format!("{}: {}/s{share}", moment.named(), rounded(goodput)),
        );
    }
    chart.into_figure()
}
