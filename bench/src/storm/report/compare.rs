//! Runs side by side: a table for the terminal and a page with their curves together. It says when they were come by in different ways, and
//! computes nothing that was not in them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::axis::{Scale, decade_above, decade_below, percentile, round_up};
use super::chart::{BOTTOM, Chart, LEFT, RIGHT, TOP, without};
use super::number::{date, grouped, over, percent, plain, ratio, rounded, seconds, time_us};
use super::svg::Markup;
use super::timeline::moments;
use super::words::{label_name, verdict};
use super::{Folder, Judgement, ReadError, Recorded, goals, page};
use crate::storm::record::{Class, Run};

/// The page of a comparison.
pub const COMPARISON: &str = "compare.html";
/// Runs that have a colour of their own; more take the same again.
const COLOURS: usize = 6;
/// Runs whose tables fit beside each other.
const BESIDE_MOST: usize = 2;
/// Runs that a letter names.
const RUNS_MOST: usize = 26;

/// Runs side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// For a terminal.
    pub table: String,
    /// The page that was written.
    pub page: PathBuf,
}

/// Why runs could not be compared.
#[derive(Debug)]
pub enum CompareError {
    /// One of them could not be read.
    Read(ReadError),
    /// It takes two to twenty-six.
    Count(usize),
    /// The page could not be written.
    Write(PathBuf, io::Error),
}

impl std::fmt::Display for CompareError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompareError::Read(error) => write!(f, "{error}"),
            CompareError::Count(count) => {
                write!(f, "{count} runs were named; 2 to {RUNS_MOST} can be compared")
            }
            CompareError::Write(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for CompareError {}

/// Reads the runs in these folders and writes [`COMPARISON`] into the folder `out`.
///
/// # Errors
/// See [`CompareError`].
pub fn compare(folders: &[PathBuf], out: &Path) -> Result<Comparison, CompareError> {
    if !(2..=RUNS_MOST).contains(&folders.len()) {
        return Err(CompareError::Count(folders.len()));
    }
    let runs = folders
        .iter()
        .map(|folder| Folder::read(folder))
        .collect::<Result<Vec<Recorded>, ReadError>>()
        .map_err(CompareError::Read)?;
    let page = out.join(COMPARISON);
    fs::create_dir_all(out)
        .and_then(|()| fs::write(&page, render(&runs)))
        .map_err(|error| CompareError::Write(page.clone(), error))?;
    Ok(Comparison { table: table(&runs), page })
}

/// One line of the table.
struct Figure {
    name: &'static str,
    of: fn(&Run) -> Option<f64>,
    text: fn(f64) -> String,
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "user agents",
        of: |run| Some(f64::from(run.scaled.user_agents)),
        text: rounded,
    },
    Figure { name: "capacity, registrations/s", of: |run| Some(run.capacity.kappa), text: rounded },
    Figure {
        name: "arrival, multiple of capacity",
        of: |run| Some(run.scaled.multiple),
        text: plain,
    },
    Figure {
        name: "registered at the end",
        of: |run| Some(run.outcome.registered_share),
        text: percent,
    },
    Figure {
        name: "T99",
        of: |run| run.outcome.registered_percent_secs.get(&99).copied(),
        text: seconds,
    },
    Figure {
        name: "T99 over the shortest possible",
        of: |run| run.outcome.t99_over_t_min,
        text: ratio,
    },
    Figure {
        name: "goodput over capacity",
        of: |run| Some(run.outcome.goodput_share),
        text: percent,
    },
    Figure {
        name: "the same, first 5 s",
        of: |run| Some(run.outcome.goodput_share_first_5_secs),
        text: percent,
    },
    Figure { name: "p99 of a new binding", of: |run| p99_us(run, Class::Reg200New), text: time_us },
    Figure { name: "p99 of a refresh", of: |run| p99_us(run, Class::RegRefresh), text: time_us },
    Figure { name: "p99 of a call", of: |run| p99_us(run, Class::Invite), text: time_us },
    Figure { name: "datagrams per user agent", of: |run| run.outcome.amplification, text: plain },
    Figure { name: "fairness", of: |run| run.outcome.fairness, text: ratio },
    Figure { name: "calls answered", of: |run| goals::success(&run.outcome.calls), text: percent },
    Figure {
        name: "emergency calls answered",
        of: |run| goals::success(&run.outcome.emergency_calls),
        text: percent,
    },
    Figure { name: "cost of a refusal, r", of: |run| run.capacity.refusal_cost, text: percent },
];

fn p99_us(run: &Run, class: Class) -> Option<f64> {
    run.outcome.latency.get(class.name()).filter(|of| of.count > 0).map(|of| of.p99_us)
}

/// A figure of each run, and of all but the first its ratio to the first.
fn row(figure: &Figure, runs: &[Recorded]) -> Vec<(String, String)> {
    let first = runs.first().and_then(|one| (figure.of)(&one.run));
    let cell = |(place, one): (usize, &Recorded)| {
        let value = (figure.of)(&one.run);
        let against = if place == 0 {
            None
        } else {
            value.zip(first).and_then(|(value, first)| over(value, first))
        };
        (
            value.map_or(super::number::NOTHING.to_owned(), figure.text),
            against.map_or(String::new(), |against| format!("{}×", ratio(against))),
        )
    };
    runs.iter().enumerate().map(cell).collect()
}

/// The letter by which a run is named.
fn letter(place: usize) -> char {
    char::from(b'A' + u8::try_from(place).unwrap_or(25))
}

/// Its letter and who served, where there is little room.
fn short(place: usize, run: &Run) -> String {
    let server = run.about.server.split([' ', '(', '/']).next().unwrap_or_default();
    let server: String = server.chars().take(10).collect();
    format!("{} {server}", letter(place))
}

/// What keeps the figures of these runs from being held against each other.
fn cautions(runs: &[Recorded]) -> Vec<String> {
    let mut found = Vec::new();
    let mut told_apart = |what: &str, names: Vec<String>| {
        let mut groups: Vec<(String, String)> = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            match groups.iter_mut().find(|(known, _)| *known == name) {
                Some((_, letters)) => {
                    letters.push_str(", ");
                    letters.push(letter(place));
                }
                None => groups.push((name, letter(place).to_string())),
            }
        }
        if groups.len() > 1 {
            let each = groups.iter().map(|(name, letters)| format!("{name} ({letters})"));
            found.push(format!("{what}: {}", each.collect::<Vec<_>>().join(", ")));
        }
    };
    let of =
        |text: fn(&Run) -> String| runs.iter().map(|one| text(&one.run)).collect::<Vec<String>>();
    told_apart(
        "figures of different kinds, which must not be compared",
        of(|run| label_name(&run.about.label)),
    );
    told_apart("different scenarios", of(|run| run.scenario.id.clone()));
    told_apart(
        "different shares that honour Retry-After",
        of(|run| percent(run.scenario.honour_retry_after)),
    );
    let which = |wanted: fn(&Run) -> bool| {
        let places = runs.iter().enumerate().filter(|(_, one)| wanted(&one.run));
        places.map(|(place, _)| letter(place).to_string()).collect::<Vec<_>>().join(", ")
    };
    for (what, letters) in [
        ("not valid", which(|run| !run.invalid.is_empty())),
        ("cut short", which(|run| run.cut_short)),
    ] {
        if !letters.is_empty() {
            found.push(format!("{what}: {letters}"));
        }
    }
    found
}

/// The table for a terminal.
fn table(runs: &[Recorded]) -> String {
    let mut text = String::new();
    for (place, one) in runs.iter().enumerate() {
        let _ = writeln!(
            text,
            "{}  {} {}, {}, {}, {}",
            letter(place),
            one.run.scenario.id,
            one.run.scenario.title,
            one.run.about.server,
            label_name(&one.run.about.label),
            date(one.run.about.started_unix_secs)
        );
    }
    for caution in cautions(runs) {
        let _ = writeln!(text, "!  {caution}");
    }
    let rows: Vec<(&str, Vec<(String, String)>)> =
        FIGURES.iter().map(|figure| (figure.name, row(figure, runs))).collect();
    let width = |place: usize, of: fn(&(String, String)) -> &String, least: usize| {
        rows.iter()
            .map(|(_, cells)| of(&cells[place]).chars().count())
            .max()
            .unwrap_or(0)
            .max(least)
    };
    let widths: Vec<(usize, usize)> = (0..runs.len())
        .map(|place| (width(place, |cell| &cell.0, 6), width(place, |cell| &cell.1, 0)))
        .collect();
    let _ = write!(text, "\n{:<30}", "");
    for (place, (figure, against)) in widths.iter().enumerate() {
        let gap = if *against > 0 { against + 1 } else { 0 };
        let _ = write!(text, "  {:>figure$}{:gap$}", letter(place), "");
    }
    for (name, cells) in &rows {
        let _ = write!(text, "\n{name:<30}");
        for ((value, against), (figure, ratio)) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {value:>figure$}");
            if *ratio > 0 {
                let _ = write!(text, " {against:>ratio$}");
            }
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The page.
fn render(runs: &[Recorded]) -> String {
    let title = format!("{} runs side by side", runs.len());
    let mut body = Markup::default();
    body.raw("<header>")
        .element("p", "over", "Seawall storm comparison")
        .element("h1", "", &title)
        .raw("</header>\n");
    for caution in cautions(runs) {
        body.element("p", "banner", &caution);
    }
    page::section(&mut body, "The runs", "", |page| legend(runs, page));
    // Two tables fit beside each other while each has few columns.
    let beside = if runs.len() <= BESIDE_MOST { "plots" } else { "" };
    page::section(&mut body, "Figures, and what must hold", beside, |page| {
        page.raw("<div class=\"scroll\">");
        figures(runs, page);
        page.raw("</div><div class=\"scroll\">");
        judgements(runs, page);
        page.raw("</div>");
    });
    page::section(&mut body, "Curves", "plots", |page| {
        page.raw(&share_registered(runs)).raw(&goodput(runs));
        page.raw(&latency(runs, Class::Reg200New, "Latency of a new binding"));
        page.raw(&latency(runs, Class::Registration, "From the first datagram until registered"));
    });
    page::document(&title, &body.into_text())
}

fn colour(place: usize) -> String {
    format!("run{}{}", place % COLOURS, if place >= COLOURS { " dotted" } else { "" })
}

fn legend(runs: &[Recorded], page: &mut Markup) {
    page.raw("<table class=\"legend\"><tbody>");
    for (place, one) in runs.iter().enumerate() {
        let run = &one.run;
        page.raw(&format!("<tr><td class=\"{}\"><b>{}</b></td>", colour(place), letter(place)));
        page.element("td", "", &format!("{} {}", run.scenario.id, run.scenario.title));
        page.element("td", "", &run.about.server);
        page.element("td", "", &label_name(&run.about.label));
        page.element("td", "soft", &date(run.about.started_unix_secs));
        page.element("td", "", &verdict(run).1).raw("</tr>");
    }
    page.raw("</tbody></table>");
}

fn heads(runs: &[Recorded], page: &mut Markup) {
    page.raw("<thead><tr><th></th>");
    for (place, one) in runs.iter().enumerate() {
        page.element("th", &colour(place), &short(place, &one.run));
        if place > 0 {
            page.element("th", "n", "over A");
        }
    }
    page.raw("</tr></thead>");
}

fn figures(runs: &[Recorded], page: &mut Markup) {
    page.raw("<table class=\"runs\">");
    heads(runs, page);
    page.raw("<tbody>");
    for figure in FIGURES {
        page.raw("<tr>").element("td", "", figure.name);
        for (place, (value, against)) in row(figure, runs).into_iter().enumerate() {
            page.element("td", "n", &value);
            if place > 0 {
                page.element("td", "n soft", &against);
            }
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table>");
}

/// Every goal that one of them has, met or not by each.
fn judgements(runs: &[Recorded], page: &mut Markup) {
    let all: Vec<_> = runs.iter().map(|one| goals(&one.run)).collect();
    let mut names: Vec<&str> = Vec::new();
    for goal in all.iter().flatten() {
        if !names.contains(&goal.name) {
            names.push(goal.name);
        }
    }
    page.raw("<table class=\"runs\"><thead><tr><th></th>");
    for (place, one) in runs.iter().enumerate() {
        page.element("th", &colour(place), &short(place, &one.run));
    }
    page.raw("</tr></thead><tbody>");
    for name in names {
        page.raw("<tr>").element("td", "", name);
        for goals in &all {
            let (class, text) = match goals.iter().find(|goal| goal.name == name) {
                None => ("n soft", String::new()),
                Some(goal) => match goal.judgement {
                    Judgement::Met => ("n good-mark", format!("{} ✓", goal.measured)),
                    Judgement::Missed => ("n bad-mark", format!("{} ✗", goal.measured)),
                    Judgement::NotMeasured | Judgement::Published => {
                        ("n soft", goal.measured.clone())
                    }
                },
            };
            page.element("td", class, &text);
        }
        page.raw("</tr>");
    }
    page.raw("</tbody></table>");
}

/// Time over `T_min`, counted as T99 is, and a value of each moment.
fn curve(run: &Run, of: impl Fn(&super::timeline::Moment<'_>) -> f64) -> Vec<(f64, f64)> {
    let (t_min, begin_secs) = (run.scaled.t_min_secs, run.scaled.t_min_from_secs);
    let storm = moments(run);
    let storm = storm.iter().filter(|moment| moment.to_secs > begin_secs);
    storm
        .filter_map(|moment| over(moment.to_secs - begin_secs, t_min).map(|at| (at, of(moment))))
        .collect()
}

/// A plot with a curve of each run over time as a multiple of the shortest possible.
fn together(
    title: &str,
    caption: &str,
    runs: &[Recorded],
    curves: &[Vec<(f64, f64)>],
    top: f64,
    unit: &str,
) -> Chart {
    let end = curves.iter().flatten().map(|point| point.0).fold(1.1, f64::max);
    let (x, y) = (Scale::linear(0.0, end, LEFT, RIGHT), Scale::linear(0.0, top, BOTTOM, TOP));
    let mut chart = Chart::new(title, caption, x, y);
    chart.x_axis(&x.ticks(5), plain, "time / shortest possible time");
    chart.y_axis(&y.ticks(5), percent, unit);
    for (place, (one, points)) in runs.iter().zip(curves).enumerate() {
        if let Some((_, last)) = points.last() {
            chart.line(&format!("{} strong", colour(place)), points);
            chart.label(&colour(place), *last, &short(place, &one.run));
        }
    }
    chart
}

fn share_registered(runs: &[Recorded]) -> String {
    let of = |one: &Recorded| {
        let population = f64::from(one.run.scaled.user_agents).max(1.0);
        let points = curve(&one.run, |moment| {
            moment.last(|second| second.total_registered as f64) / population
        });
        [(0.0, 0.0)].into_iter().chain(points).collect::<Vec<_>>()
    };
    let curves: Vec<_> = runs.iter().map(of).collect();
    let caption = "Share of the user agents registered, each run over its own shortest possible time; dashed is the ideal.";
    let mut chart = together("Who is back", caption, runs, &curves, 1.0, "of the user agents");
    let end = chart.x.most();
    chart.line("ideal", &[(0.0, 0.0), (1.0, 1.0), (end, 1.0)]);
    chart.into_figure()
}

fn goodput(runs: &[Recorded]) -> String {
    let of = |one: &Recorded| {
        let kappa = one.run.capacity.kappa;
        curve(&one.run, |moment| {
            over(moment.mean(|second| second.registered as f64), kappa).unwrap_or(0.0)
        })
    };
    let curves: Vec<_> = runs.iter().map(of).collect();
    let top = curves.iter().flatten().map(|point| point.1).fold(1.0, f64::max);
    let caption = "Registrations finished a second, as a share of each server's own capacity.";
    let mut chart = together("Goodput", caption, runs, &curves, round_up(top), "of capacity");
    chart.rule("ideal", 1.0, "capacity");
    chart.into_figure()
}

fn latency(runs: &[Recorded], class: Class, title: &str) -> String {
    let histograms: Vec<_> = runs.iter().map(|one| one.tally.of(class)).collect();
    let used = || histograms.iter().filter(|histogram| !histogram.is_empty());
    let (Some(least), Some(most)) = (used().map(|h| h.min()).min(), used().map(|h| h.max()).max())
    else {
        return without(title, "None of the runs has any.");
    };
    let nines_of = |count: u64| (count.max(1) as f64).log10();
    let nines = used().map(|h| nines_of(h.len())).fold(1.0, f64::max).ceil().min(7.0);
    let x = Scale::linear(0.0, nines, LEFT, RIGHT);
    let y = Scale::logarithmic(
        decade_below(least as f64 / 1e3),
        decade_above(most as f64 / 1e3),
        BOTTOM,
        TOP,
    );
    let mut chart =
        Chart::new(title, "Latency by percentile, from when the first datagram was due.", x, y);
    chart.y_axis(&y.ticks(8), time_us, "latency");
    let ticks: Vec<f64> = x.ticks(7).into_iter().filter(|nines| nines.fract() < 0.01).collect();
    chart.x_axis(&ticks, percentile, "percentile");
    let mut counts = Vec::new();
    for (place, (one, histogram)) in runs.iter().zip(&histograms).enumerate() {
        if histogram.is_empty() {
            continue;
        }
        let end = nines_of(histogram.len()).min(nines);
        let steps = (0..=120).map(|step| end * f64::from(step) / 120.0);
        let points: Vec<_> = steps
            .map(|nines| {
                (nines, histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e3)
            })
            .collect();
        let top = points.last().map_or(0.0, |point| point.1);
        chart.line(&format!("{} strong", colour(place)), &points);
        if end < nines {
            chart.line(&format!("{} lead", colour(place)), &[(end, top), (nines, top)]);
        }
        chart.label(&colour(place), top, &short(place, &one.run));
        counts.push(format!("{} {}", letter(place), grouped(histogram.len())));
    }
    chart.key(&[("quiet", format!("how many: {}", counts.join(", ")))]);
    chart.into_figure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_letters() {
        assert_eq!((letter(0), letter(25), letter(400)), ('A', 'Z', 'Z'));
        assert_eq!((colour(0), colour(7)), ("run0".to_owned(), "run1 dotted".to_owned()));
    }

    #[test]
    fn one_run_is_not_compared() {
        let error = compare(&[PathBuf::from("/nowhere")], Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.to_string(), "1 runs were named; 2 to 26 can be compared");
    }
}
