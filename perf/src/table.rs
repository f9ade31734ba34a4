//! The table of a comparison: medians over rounds and the ratios between servers, as text. It
//! measures nothing.

use std::fmt::Write;

use crate::rows::{ECHO_SHARE, Row};
use crate::servers::Server;
use crate::trial::{Measured, Measurement};

/// The medians of one row and server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// Rounds behind the medians.
    pub rounds: usize,
    /// Requests answered a second.
    pub rate: f64,
    /// The server's CPU time a request in microseconds.
    pub cpu_us: f64,
    /// Latencies in microseconds: p50, p99, p99.9.
    pub latency_us: [f64; 3],
    /// Rounds in which the generator was the limit.
    pub generator_limited: usize,
    /// Requests that were not answered as expected, in all rounds.
    pub failed: u64,
}

impl Cell {
    /// The medians of what `measured` holds of this row and server; none if it holds nothing.
    pub fn of(measured: &[Measured], row: Row, server: Server) -> Option<Cell> {
        let reports: Vec<&Measurement> = measured
            .iter()
            .filter(|m| m.row == row && m.server == server)
            .map(|m| &m.report)
            .collect();
        if reports.is_empty() {
            return None;
        }
        let of = |f: &dyn Fn(&Measurement) -> f64| median(reports.iter().map(|r| f(r)).collect());
        Some(Cell {
            rounds: reports.len(),
            rate: of(&|r| r.rate()),
            cpu_us: of(&|r| r.cpu_us()),
            latency_us: [
                of(&|r| r.latency().p50_us),
                of(&|r| r.latency().p99_us),
                of(&|r| r.latency().p999_us),
            ],
            generator_limited: reports.iter().filter(|r| r.generator_limited()).count(),
            failed: reports.iter().map(|r| r.failed()).sum(),
        })
    }
}

/// The whole table in Markdown, with notes on what was limited by the generator or failed.
pub fn markdown(measured: &[Measured]) -> String {
    let mut text = String::from(
        "| what | echo | Seawall | Kamailio | Seawall / Kamailio, CPU | by rate | share of echo \
         | to reach | |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut notes = String::new();
    for row in Row::ALL {
        let cells = Server::ALL.map(|server| Cell::of(measured, row, server));
        if cells.iter().all(Option::is_none) {
            continue;
        }
        line(&mut text, row, &cells);
        for (server, cell) in Server::ALL.iter().zip(&cells) {
            note(&mut notes, row, *server, cell.as_ref());
        }
    }
    if !notes.is_empty() {
        let _never_fails = write!(text, "\n{notes}");
    }
    text
}

fn line(text: &mut String, row: Row, cells: &[Option<Cell>; 3]) {
    let [echo, seawall, kamailio] = cells;
    let written = cells.map(|cell| cell.map_or_else(|| "-".to_owned(), |c| written(row, &c)));
    // CPU time a request is what counts: it is the server's alone, even where the generator
    // could not keep the server busy.
    let by_cpu = ratio(kamailio.map(|k| k.cpu_us), seawall.map(|s| s.cpu_us));
    let by_rate = ratio(seawall.map(|s| s.rate), kamailio.map(|k| k.rate))
        .filter(|_| row != Row::Latency50k && seawall.is_some_and(|s| s.generator_limited == 0));
    let share = ratio(echo.map(|e| e.cpu_us), seawall.map(|s| s.cpu_us));
    let (aim, reached) = match (row.factor(), seawall, kamailio) {
        (Some(factor), Some(_), Some(_)) => {
            let reached = by_cpu.is_some_and(|r| r >= factor)
                || share.is_some_and(|share| share >= ECHO_SHARE);
            (format!("{factor:.1}x or {:.0} %", ECHO_SHARE * 100.0), Some(reached))
        }
        (None, Some(s), Some(k)) => {
            ("p99 not above".to_owned(), Some(s.latency_us[1] <= k.latency_us[1]))
        }
        (_, None, _) | (_, _, None) => ("-".to_owned(), None),
    };
    let verdict = match reached {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "",
    };
    let times = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}x"));
    let percent = share.map_or_else(|| "-".to_owned(), |s| format!("{:.0} %", s * 100.0));
    let _never_fails = writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {percent} | {aim} | {verdict} |",
        row.title(),
        written[0],
        written[1],
        written[2],
        times(by_cpu),
        times(by_rate),
    );
}

fn written(row: Row, cell: &Cell) -> String {
    let mark = if cell.generator_limited > 0 { "\\*" } else { "" };
    let Cell { rate, cpu_us, latency_us: [p50, p99, p999], .. } = cell;
    if row == Row::Latency50k {
        format!("p50 {p50:.0}, p99 {p99:.0}, p99.9 {p999:.0} us{mark}; {cpu_us:.1} us CPU")
    } else {
        format!("{:.1}k/s{mark}, {cpu_us:.2} us", rate / 1e3)
    }
}

fn note(notes: &mut String, row: Row, server: Server, cell: Option<&Cell>) {
    let Some(cell) = cell else { return };
    let place = format!("{}, {}", row.title(), server.name());
    if cell.generator_limited > 0 {
        let capacity = 1e3 / cell.cpu_us;
        let _never_fails = writeln!(
            notes,
            "\\* {place}: the generator was the limit in {} of {} rounds; {:.2} us a request \
             would be {capacity:.0}k/s on a full core.",
            cell.generator_limited, cell.rounds, cell.cpu_us
        );
    }
    if cell.failed > 0 {
        let _never_fails =
            writeln!(notes, "{place}: {} requests were not answered as expected.", cell.failed);
    }
}

fn ratio(over: Option<f64>, under: Option<f64>) -> Option<f64> {
    let ratio = over? / under?;
    ratio.is_finite().then_some(ratio)
}

/// The middle of `values`, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    fn cell(rate: f64, cpu_us: f64) -> Cell {
        Cell { rounds: 3, rate, cpu_us, latency_us: [50.0, 500.0, 900.0], ..Cell::default() }
    }

    fn row_text(row: Row, echo: Cell, seawall: Cell, kamailio: Cell) -> String {
        let mut text = String::new();
        line(&mut text, row, &[Some(echo), Some(seawall), Some(kamailio)]);
        text
    }

    #[test]
    fn a_row_is_reached_by_factor_or_by_share_of_the_echo() {
        let echo = cell(4e5, 2.5);
        let kamailio = cell(1e5, 9.3);
        let by_factor = row_text(Row::Refresh100k, echo, cell(3e5, 3.3), kamailio);
        assert!(by_factor.contains("| 2.82x | 3.00x | 76 % | 2.8x or 85 % | reached |"));
        let by_share = row_text(Row::Refresh100k, echo, cell(3e5, 2.9), cell(1e5, 7.0));
        assert!(by_share.contains("| 2.41x | 3.00x | 86 % | 2.8x or 85 % | reached |"));
        let missed = row_text(Row::Refresh100k, echo, cell(2e5, 5.0), kamailio);
        assert!(missed.contains("| 1.86x | 2.00x | 50 % | 2.8x or 85 % | MISSED |"));
    }

    #[test]
    fn a_rate_that_was_the_generator_s_makes_no_ratio() {
        let limited = Cell { generator_limited: 1, ..cell(2.8e5, 3.0) };
        let text = row_text(Row::Options, cell(2.8e5, 2.5), limited, cell(1.5e5, 6.5));
        assert!(text.contains("280.0k/s\\*, 3.00 us"), "{text}");
        assert!(text.contains("| 2.17x | - |"), "{text}");
        let mut notes = String::new();
        note(&mut notes, Row::Options, Server::Seawall, Some(&limited));
        assert!(notes.contains("in 1 of 3 rounds; 3.00 us a request would be 333k/s"), "{notes}");
    }
}
