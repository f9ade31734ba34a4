//! The plots of a run, one function each; every one of them is drawn from what was recorded, or says what was not.

mod generator;
mod heat;
mod latency;
mod load;
mod recovery;

pub(super) use generator::generator;
pub(super) use heat::queue_age;
pub(super) use latency::{by_percentile, calls};
pub(super) use load::{offered_against_goodput, where_datagrams_went};
pub(super) use recovery::{goodput, share_registered};

use super::axis::{Scale, round_up};
use super::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP};
use super::number::{compact, plain};
use super::timeline::Moment;
use crate::storm::record::Run;

/// Why there is no plot of a run without seconds.
const NO_SECONDS: &str = "The run ended before its first second.";

/// A plot over the time of the run; all of them share their horizontal axis. `most` is the largest value shown.
fn over_time(run: &Run, moments: &[Moment<'_>], title: &str, caption: &str, most: f64) -> Chart {
    let y = Scale::linear(0.0, round_up(most), BOTTOM, TOP);
    let mut chart = Chart::new(title, caption, time(moments, LEFT, RIGHT), y);
    mark_time(run, &mut chart);
    chart
}

/// Marks the vertical axis of counts.
fn count_axis(chart: &mut Chart, unit: &str) {
    chart.y_axis(&chart.y.ticks(4), compact, unit);
}

fn time(moments: &[Moment<'_>], from: f64, to: f64) -> Scale {
    let start = moments.first().map_or(0.0, |moment| moment.from_secs);
    let end = moments.last().map_or(1.0, |moment| moment.to_secs);
    Scale::linear(start, end, from, to)
}

/// The axis of time, its part before the storm, and when nearly all were back.
fn mark_time(run: &Run, chart: &mut Chart) {
    if chart.x.least() < 0.0 {
        chart.shade_until(0.0);
    }
    chart.x_axis(&chart.x.ticks(6), plain, "seconds from the start of the arrival");
    if let Some(t99) = run.outcome.registered_percent_secs.get(&99)
        && (0.0..=chart.x.most()).contains(t99)
    {
        chart.moment(*t99, "99 % back");
    }
}
