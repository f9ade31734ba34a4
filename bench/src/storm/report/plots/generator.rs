//! Whether the generator itself kept up: how busy it was, and how late its datagrams left.

use super::{NO_SECONDS, count_axis, over_time};
use crate::storm::record::Run;
use crate::storm::report::chart::without;
use crate::storm::report::number::{compact, percent, time_us};
use crate::storm::report::timeline::moments;

/// How busy, and how late: a plot each.
pub(in crate::storm::report) fn generator(run: &Run) -> [String; 2] {
    let titles = ["The generator's own load", "The generator's lateness"];
    let moments = moments(run);
    if moments.is_empty() {
        return titles.map(|title| without(title, NO_SECONDS));
    }
    let caption = "Share of each second in which the generator was busy. Near 100 % the figures are its own, not the server's.";
    let mut busy = over_time(run, &moments, titles[0], caption, 1.0);
    busy.y_axis(&[0.0, 0.25, 0.5, 0.75, 1.0], percent, "of a CPU");
    let points: Vec<_> = moments
        .iter()
        .map(|moment| (moment.at(), moment.most(|second| second.generator_busy)))
        .collect();
    let floor: Vec<_> = points.iter().map(|(x, _)| (*x, 0.0)).collect();
    busy.area("quiet", &points, &floor);
    busy.line("ink", &points);
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    busy.label(
        "ink",
        points.last().map_or(0.0, |point| point.1),
        &format!("at most {}", percent(most)),
    );
    let caption = "How late datagrams left at the 99th percentile, against when they were due. Latencies include it.";
    let lateness: Vec<_> = moments
        .iter()
        .map(|moment| (moment.at(), moment.most(|second| second.lateness_p99_us) / 1e3))
        .collect();
    let most_ms = lateness.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut late = over_time(run, &moments, titles[1], caption, most_ms.max(1.0));
    count_axis(&mut late, "ms");
    late.line("ink", &lateness);
    late.label(
        "ink",
        lateness.last().map_or(0.0, |point| point.1),
        &format!("≤ {}", time_us(most_ms * 1e3)),
    );
    for moment in &moments {
        let told = format!(
            "{}: {} busy, {} late, {}/s sent",
            moment.named(),
            percent(moment.most(|second| second.generator_busy)),
            time_us(moment.most(|second| second.lateness_p99_us)),
            compact(moment.mean(|second| second.sent as f64))
        );
        busy.hover(moment.from_secs, moment.to_secs, &told);
        late.hover(moment.from_secs, moment.to_secs, &told);
    }
    [busy.into_figure(), late.into_figure()]
}
