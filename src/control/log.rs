//! The log: events as single lines on standard error, each place in the code rate-limited. It never waits for anything
//! but standard error itself, so nothing on the call path logs.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};

/// Lines that one place may write at once.
const BURST: u32 = 20;
/// After a burst, one more line each.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sends everything that is logged from now on to standard error: our own lines from INFO on, those of libraries from
/// WARN on. A second call changes nothing.
pub fn init() {
    // The only error is that a subscriber is set already.
    let _ = set_global_default(&LOG);
}

/// Tells what was suppressed and not told yet; for the end of the process.
pub fn finish() {
    LOG.finish();
}

static LOG: Log = Log { places: Mutex::new(None) };

struct Log {
    /// `None` until the first line.
    places: Mutex<Option<HashMap<Identifier, Place>>>,
}

/// One place in the code that logs.
struct Place {
    name: &'static str,
    limit: Limit,
}

impl Log {
    fn places(&self) -> MutexGuard<'_, Option<HashMap<Identifier, Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        for place in self.places().iter_mut().flat_map(HashMap::values_mut) {
            let suppressed = std::mem::take(&mut place.limit.suppressed);
            if suppressed > 0 {
                write_line(
                    Level::WARN,
                    &format!("{suppressed} more lines from {} were suppressed", place.name),
                );
            }
        }
    }
}

impl Subscriber for &'static Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        *metadata.level() <= if ours { Level::INFO } else { Level::WARN }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let passed = {
            let mut places = self.places();
            let place = places
                .get_or_insert_default()
                .entry(metadata.callsite())
                .or_insert_with(|| Place { name: metadata.name(), limit: Limit::new() });
            place.limit.pass(Instant::now())
        };
        let Some(suppressed) = passed else { return };
        let mut text = Text::default();
        event.record(&mut text);
        if suppressed > 0 {
            // Writing into a String can't fail.
            let _ = write!(text.fields, " (suppressed {suppressed} like this)");
        }
        write_line(*metadata.level(), &format!("{}{}", text.message, text.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// How often one place may speak: a burst, then one line an interval.
#[derive(Debug)]
struct Limit {
    tokens: u32,
    refilled: Option<Instant>,
    suppressed: u64,
}

impl Limit {
    fn new() -> Self {
        Limit { tokens: BURST, refilled: None, suppressed: 0 }
    }

    /// `None` where the line is suppressed, else how many were since the last one that passed.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let refilled = *self.refilled.get_or_insert(now);
        let intervals = now.saturating_duration_since(refilled).as_nanos() / INTERVAL.as_nanos();
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        if intervals > 0 {
            self.tokens = self.tokens.saturating_add(intervals).min(BURST);
            self.refilled = Some(now);
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The message of an event, and its fields as ` key=value`, with whatever would break the line escaped.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = one_line(&format!("{value:?}"));
        if field.name() == "message" {
            self.message = value;
        } else {
            // Writing into a String can't fail.
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { line.extend(char.escape_default()) } else { line.push(char) }
    }
    line
}

fn write_line(level: Level, text: &str) {
    let line = format!("{} {level:5} {text}\n", timestamp(SystemTime::now()));
    // Where standard error is gone there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the leap day is the last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_line_an_interval_with_what_was_suppressed() {
        let start = Instant::now();
        let mut limit = Limit::new();
        for _ in 0..BURST {
            assert_eq!(limit.pass(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.pass(start + INTERVAL / 2), None);
        }
        assert_eq!(limit.pass(start + INTERVAL), Some(7));
        assert_eq!(limit.pass(start + INTERVAL), None);
        assert_eq!(limit.pass(start + INTERVAL * 1000), Some(1));
        for _ in 1..BURST {
            assert_eq!(limit.pass(start + INTERVAL * 1000), Some(0));
        }
        assert_eq!(limit.pass(start + INTERVAL * 1000), None);
    }

    #[test]
    fn times_are_written_as_date_writes_them() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), written);
        }
    }

    #[test]
    fn nothing_breaks_a_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[0mü"), "a\\r\\nb\\u{1b}[0mü");
    }
}
