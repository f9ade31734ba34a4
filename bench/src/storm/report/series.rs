//! `timeseries.csv`: a row a second in RFC 4180's form, written as the run goes. It holds counts as they were told and sums up nothing over time.

use std::io::{self, Write};

use crate::storm::record::{Class, Percentiles, Second};
use crate::storm::tally::Tally;

/// One column: its name with its unit last, and its text in a row. An empty field says that it was not measured.
type Column = (&'static str, fn(&Second) -> String);

/// The columns before those of the classes' latencies.
const COLUMNS: &[Column] = &[
    ("at_secs", |s| number(s.at_secs)),
    ("attempts_count", |s| s.attempts.to_string()),
    ("first_attempts_count", |s| s.first_attempts.to_string()),
    ("registered_count", |s| s.registered.to_string()),
    ("registered_at_first_count", |s| s.registered_at_first.to_string()),
    ("timed_out_count", |s| s.timed_out.to_string()),
    ("refused_count", |s| s.refused.values().sum::<u64>().to_string()),
    ("refused_by_status", |s| by_name(s.refused.iter())),
    ("challenged_count", |s| s.challenged.to_string()),
    ("total_registered_count", |s| s.total_registered.to_string()),
    ("total_arrived_count", |s| s.total_arrived.to_string()),
    ("total_waiting_count", |s| s.total_waiting.to_string()),
    ("sent_datagrams", |s| s.sent.to_string()),
    ("retransmitted_datagrams", |s| s.retransmitted.to_string()),
    ("sent_registers_datagrams", |s| s.sent_registers.to_string()),
    ("sent_keep_alives_datagrams", |s| s.sent_keep_alives.to_string()),
    ("sent_hostile_datagrams", |s| s.sent_hostile.to_string()),
    ("lost_on_purpose_datagrams", |s| s.lost_on_purpose.to_string()),
    ("received_datagrams", |s| s.received.to_string()),
    ("received_late_datagrams", |s| s.received_late.to_string()),
    ("received_stray_datagrams", |s| s.received_stray.to_string()),
    ("calls_begun_count", |s| s.calls.begun.to_string()),
    ("calls_answered_count", |s| s.calls.answered.to_string()),
    ("calls_refused_count", |s| s.calls.refused.to_string()),
    ("calls_lost_count", |s| s.calls.lost.to_string()),
    ("calls_completed_count", |s| s.calls.completed.to_string()),
    ("emergency_calls_begun_count", |s| s.emergency_calls.begun.to_string()),
    ("emergency_calls_answered_count", |s| s.emergency_calls.answered.to_string()),
    ("emergency_calls_refused_count", |s| s.emergency_calls.refused.to_string()),
    ("emergency_calls_lost_count", |s| s.emergency_calls.lost.to_string()),
    ("emergency_calls_completed_count", |s| s.emergency_calls.completed.to_string()),
    ("kernel_drops_datagrams", |s| s.kernel_drops.to_string()),
    ("server_cpu_ms", |s| s.server_cpu_ns.map_or(String::new(), |ns| number(ns as f64 / 1e6))),
    ("server_drops_datagrams", |s| s.server_drops.values().sum::<u64>().to_string()),
    ("server_drops_by_reason", |s| by_name(s.server_drops.iter())),
    ("generator_busy_share", |s| number(s.generator_busy)),
    ("lateness_p99_us", |s| number(s.lateness_p99_us)),
];

/// Where the rows go.
pub(super) struct Series<W: Write> {
    out: W,
}

impl<W: Write> Series<W> {
    /// Writes the header.
    pub(super) fn begin(mut out: W) -> io::Result<Series<W>> {
        let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
        let of_classes = Class::ALL.iter().flat_map(|class| {
            ["count", "p50_ms", "p99_ms", "max_ms"].map(|what| format!("{}_{what}", class.name()))
        });
        write_row(&mut out, names.chain(of_classes))?;
        Ok(Series { out })
    }

    /// Writes a row, so that it is there whatever happens next.
    pub(super) fn second(&mut self, second: &Second, tally: &Tally) -> io::Result<()> {
        let fields = COLUMNS.iter().map(|(_, text)| text(second));
        let of_classes = Class::ALL.iter().flat_map(|class| {
            let of = Percentiles::of(tally.of(*class));
            let ms = |us: f64| if of.count == 0 { String::new() } else { number(us / 1e3) };
            [of.count.to_string(), ms(of.p50_us), ms(of.p99_us), ms(of.max_us)]
        });
        write_row(&mut self.out, fields.chain(of_classes))
    }
}

/// In one write, so that a row is there as a whole or not at all.
fn write_row(out: &mut impl Write, fields: impl Iterator<Item = String>) -> io::Result<()> {
    let mut line = fields.map(quoted).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// RFC 4180 2: a field with a comma, a quote or a line break is quoted, and quotes in it are doubled.
fn quoted(field: String) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

/// Up to six decimals; empty for what is no number.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `503:12 480:1`
fn by_name<'a, N: ToString + 'a>(counts: impl Iterator<Item = (&'a N, &'a u64)>) -> String {
    counts
        .map(|(name, count)| format!("{}:{count}", name.to_string()))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(seconds: &[Second]) -> Vec<String> {
        let mut out = Vec::new();
        let mut series = Series::begin(&mut out).unwrap();
        for second in seconds {
            let mut tally = Tally::default();
            tally.record(Class::Reg200New, 2_000_000);
            series.second(second, &tally).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\r\n"), "RFC 4180 2: lines end with CRLF");
        text.trim_end().split("\r\n").map(str::to_owned).collect()
    }

    fn field(rows: &[String], row: usize, name: &str) -> String {
        let place = rows[0].split(',').position(|column| column == name).unwrap();
        rows[row].split(',').nth(place).unwrap().to_owned()
    }

    #[test]
    fn a_row_has_a_field_for_each_name_and_leaves_empty_what_was_not_measured() {
        let second = Second {
            at_secs: -0.5,
            refused: [(503, 12), (480, 1)].into(),
            server_cpu_ns: Some(250_000_000),
            generator_busy: f64::NAN,
            ..Second::default()
        };
        let rows = rows(&[second, Second::default()]);
        let columns = |row: &str| row.split(',').count();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| columns(row) == columns(&rows[0])));
        assert_eq!(field(&rows, 1, "at_secs"), "-0.5");
        assert_eq!(field(&rows, 1, "refused_count"), "13");
        assert_eq!(field(&rows, 1, "refused_by_status"), "480:1 503:12");
        assert_eq!(field(&rows, 1, "server_cpu_ms"), "250");
        assert_eq!(field(&rows, 2, "server_cpu_ms"), "");
        assert_eq!(field(&rows, 1, "generator_busy_share"), "");
        assert_eq!(field(&rows, 1, "reg-200-new_count"), "1");
        assert_eq!(field(&rows, 1, "reg-401_p99_ms"), "");
    }

    #[test]
    fn a_reason_with_commas_and_quotes_stays_one_field() {
        let second = Second {
            server_drops: [("too \"old\", unread".to_owned(), 7)].into(),
            ..Second::default()
        };
        assert!(rows(&[second])[1].contains("\"too \"\"old\"\", unread:7\""));
    }
}
