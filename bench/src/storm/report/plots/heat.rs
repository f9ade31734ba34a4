//! How old datagrams were when the server read them, over time; of a server that does not tell, how long answers took.

use super::{NO_SECONDS, mark_time, time};
use crate::storm::record::{Run, Second};
use crate::storm::report::axis::{Scale, decade_above, decade_below};
use crate::storm::report::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP, without};
use crate::storm::report::number::{percent, time_us};
use crate::storm::report::timeline::{Moment, moments};

/// Shades, by the share of a moment's datagrams from which they begin.
const SHADES: [f64; 6] = [0.0, 0.02, 0.05, 0.15, 0.35, 0.65];

/// The heat map of ages.
pub(in crate::storm::report) fn queue_age(run: &Run) -> String {
    let told = run.seconds.iter().any(|second| {
        second
            .server_queue_age_us
            .as_ref()
            .is_some_and(|ages| ages.iter().any(|(_, count)| *count > 0))
    });
    let (title, what) = if told {
        (
            "Age of what the server read",
            "Age of datagrams when the server read them, by its own clock.",
        )
    } else {
        (
            "Time until an answer",
            "The server does not tell how old its queue is; shown is how long answers took.",
        )
    };
    let of = |second: &Second| {
        if told {
            second.server_queue_age_us.clone().unwrap_or_default()
        } else {
            second.answer_age_us.clone()
        }
    };
    let moments = moments(run);
    if moments.is_empty() {
        return without(title, NO_SECONDS);
    }
    let columns: Vec<Vec<(f64, u64)>> = moments.iter().map(|moment| merged(moment, of)).collect();
    let used: Vec<f64> =
        columns.iter().flatten().filter(|(_, count)| *count > 0).map(|(bound, _)| *bound).collect();
    let finite = || used.iter().copied().filter(|bound| *bound < f64::MAX);
    let Some(most) = finite().reduce(f64::max) else {
        return without(title, "Nothing was answered.");
    };
    let least = finite().reduce(f64::min).unwrap_or(most);
    let beyond = used.iter().any(|bound| *bound >= f64::MAX);
    let top = decade_above(if beyond { most * 2.0 } else { most });
    let y = Scale::logarithmic(decade_below(least / 2.5).max(1.0), top, BOTTOM, TOP);
    let caption = format!("{what} The darker, the larger the share of that second's.");
    let mut chart = Chart::new(title, &caption, time(&moments, LEFT, RIGHT), y);
    chart.y_axis(&y.ticks(6), time_us, if told { "age" } else { "latency" });
    mark_time(run, &mut chart);
    let mut cells: [Vec<(f64, f64, f64, f64)>; SHADES.len()] = Default::default();
    for (moment, column) in moments.iter().zip(&columns) {
        let all: u64 = column.iter().map(|(_, count)| count).sum();
        let mut below = y.least();
        for (bound, count) in column {
            let upper = bound.min(y.most());
            let share = *count as f64 / all.max(1) as f64;
            if *count > 0 && upper > below {
                let shade = SHADES.iter().rposition(|from| share >= *from).unwrap_or(0);
                cells[shade].push((moment.from_secs, below, moment.to_secs, upper));
            }
            below = upper.max(below);
        }
    }
    for (shade, cells) in cells.iter().enumerate() {
        chart.cells(&format!("shade{shade}"), cells);
    }
    if (y.least()..=y.most()).contains(&500_000.0) {
        chart.rule("ideal", 500_000.0, "T1: sent again");
    }
    for (moment, column) in moments.iter().zip(&columns) {
        chart.hover(moment.from_secs, moment.to_secs, &told_of(moment, column));
    }
    chart.into_figure()
}

/// The counts of a moment's seconds by bound, rising.
fn merged(moment: &Moment<'_>, of: impl Fn(&Second) -> Vec<(f64, u64)>) -> Vec<(f64, u64)> {
    let mut counts: Vec<(f64, u64)> = moment.seconds.iter().flat_map(of).collect();
    counts.sort_by(|one, other| one.0.total_cmp(&other.0));
    counts.dedup_by(|next, kept| {
        let same = next.0.total_cmp(&kept.0).is_eq();
        if same {
            kept.1 += next.1;
        }
        same
    });
    counts
}

fn told_of(moment: &Moment<'_>, column: &[(f64, u64)]) -> String {
    let all: u64 = column.iter().map(|(_, count)| count).sum();
    if all == 0 {
        return format!("{}: none", moment.named());
    }
    let mut up_to = 0;
    let mut parts = Vec::new();
    for (bound, count) in column.iter().filter(|(_, count)| *count > 0) {
        up_to += count;
        let share = percent(up_to as f64 / all as f64);
        parts.push(if *bound < f64::MAX {
            format!("{share} ≤ {}", time_us(*bound))
        } else {
            format!("{share} in all")
        });
    }
    format!("{}: {}", moment.named(), parts.join(", "))
}
