//! Latencies in the two forms of `HdrHistogram`'s public tools: the interval log (`latency.hlog`), written as the run goes and read back, and
//! the percentile text (`<class>.hgrm`). Recorded are nanoseconds; what these forms show to people is in milliseconds.

use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

use crate::storm::record::Class;
use crate::storm::tally::Tally;

/// Nanoseconds in what is shown.
const SHOWN_NS: f64 = 1e6;
/// Steps of the percentile text each time the distance to 100 % halves: what the public tools take.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Where intervals go: `Tag=class,start,length,max,histogram`, times in seconds from the start of the log.
pub(super) struct Log<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
    payload: Vec<u8>,
}

impl<W: Write> Log<W> {
    /// Writes the header; times count from `started_unix_secs`.
    pub(super) fn begin(mut out: W, started_unix_secs: u64) -> io::Result<Log<W>> {
        writeln!(
            out,
            "#[Latencies of a registration storm in nanoseconds, a tag for each class; Interval_Max is in milliseconds]"
        )?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        for time in ["StartTime", "BaseTime"] {
            writeln!(out, "#[{time}: {started_unix_secs}.000 (seconds since epoch)]")?;
        }
        writeln!(out, "#[MaxValueDivisor: {SHOWN_NS:.3}]")?;
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        out.flush()?;
        Ok(Log { out, serializer: V2DeflateSerializer::new(), payload: Vec::new() })
    }

    /// Writes an interval of each class that has anything in it.
    pub(super) fn interval(
        &mut self,
        start_secs: f64,
        length_secs: f64,
        tally: &Tally,
    ) -> io::Result<()> {
        for class in Class::ALL {
            let histogram = tally.of(class);
            if histogram.is_empty() {
                continue;
            }
            self.payload.clear();
            self.serializer
                .serialize(histogram, &mut self.payload)
                .map_err(|e| io::Error::other(e.to_string()))?;
            let line = format!(
                "Tag={},{start_secs:.3},{length_secs:.3},{:.3},{}\n",
                class.name(),
                histogram.max() as f64 / SHOWN_NS,
                BASE64.encode(&self.payload),
            );
            self.out.write_all(line.as_bytes())?;
        }
        self.out.flush()
    }
}

/// All intervals of a log together. A last line without an end is one that was being written when its writer was killed, and is left out.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn sum(log: &[u8]) -> Result<Tally, String> {
    let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut sum = Tally::default();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&log[..whole]) {
        let LogEntry::Interval(interval) = entry.map_err(|e| format!("{e:?}"))? else { continue };
        let Some(class) = interval
            .tag()
            .and_then(|tag| Class::ALL.into_iter().find(|class| class.name() == tag.as_str()))
        else {
            continue;
        };
        let payload = BASE64.decode(interval.encoded_histogram()).map_err(|e| e.to_string())?;
        let histogram: Histogram<u64> =
            deserializer.deserialize(&mut payload.as_slice()).map_err(|e| e.to_string())?;
        sum.add_to(class, &histogram).map_err(|e| e.to_string())?;
    }
    Ok(sum)
}

/// The percentile text of one class.
pub(super) fn percentile_text(histogram: &Histogram<u64>) -> String {
    let digits = usize::from(histogram.sigfig());
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / SHOWN_NS;
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value:12.digits$} {quantile:2.12} {count:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let shown = |ns: f64| ns / SHOWN_NS;
    // As many as tell twice the wanted precision apart.
    let sub_buckets = (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let _ = write!(
        text,
        "#[Mean    = {:12.digits$}, StdDeviation   = {:12.digits$}]\n\
         #[Max     = {:12.digits$}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]\n",
        shown(histogram.mean()),
        shown(histogram.stdev()),
        shown(histogram.max() as f64),
        histogram.len(),
        histogram.buckets(),
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tally(values_ms: std::ops::Range<u64>) -> Tally {
        let mut tally = Tally::default();
        for ms in values_ms {
            tally.record(Class::Reg200New, ms * 1_000_000);
            tally.record(Class::Registration, ms * 1_000_000_000);
        }
        tally
    }

    fn log() -> Vec<u8> {
        let mut out = Vec::new();
        let mut log = Log::begin(&mut out, 1_795_824_000).unwrap();
        log.interval(0.0, 1.0, &tally(1..11)).unwrap();
        log.interval(1.0, 1.0, &Tally::default()).unwrap();
        log.interval(2.0, 1.004, &tally(11..31)).unwrap();
        out
    }

    #[test]
    fn a_log_has_an_interval_for_each_second_and_class_with_anything_in_it() {
        let log = log();
        let found: Vec<_> = IntervalLogIterator::new(&log)
            .map(Result::unwrap)
            .filter_map(|entry| match entry {
                LogEntry::Interval(one) => {
                    Some((one.tag().unwrap().as_str(), one.start_timestamp(), one.duration()))
                }
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => {
                    assert_eq!(at, Duration::from_secs(1_795_824_000));
                    None
                }
            })
            .collect();
        let ms = Duration::from_millis;
        assert_eq!(
            found,
            [
                ("reg-200-new", ms(0), ms(1_000)),
                ("registration", ms(0), ms(1_000)),
                ("reg-200-new", ms(2_000), ms(1_004)),
                ("registration", ms(2_000), ms(1_004)),
            ]
        );
    }

    #[test]
    fn a_log_is_read_back_bucket_by_bucket_even_when_its_end_is_missing() {
        let log = log();
        let sum_of = |log: &[u8]| sum(log).unwrap();
        assert_eq!(sum_of(&log).of(Class::Reg200New), tally(1..31).of(Class::Reg200New));
        let cut = &log[..log.len() - 10];
        assert_eq!(sum_of(cut).of(Class::Reg200New), tally(1..31).of(Class::Reg200New));
        assert_eq!(sum_of(cut).of(Class::Registration), tally(1..11).of(Class::Registration));
        assert!(sum_of(b"").of(Class::Registration).is_empty());
        assert!(sum(b"Tag=refusal,0.0,1.0,2.0,!!!\n").is_err());
    }

    #[test]
    fn the_percentile_text_is_in_milliseconds_and_ends_with_everything() {
        let text = percentile_text(tally(1..101).of(Class::Reg200New));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        let median = lines.iter().find(|line| line.contains(" 0.500000000000 ")).unwrap();
        assert!(median.trim_start().starts_with("50.0"), "{median}");
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        assert_eq!(last.split_whitespace().collect::<Vec<_>>()[1..], ["1.000000000000", "100"]);
        assert!(text.contains("Total count    =          100]"), "{text}");
    }
}
