//! The folder of a run: `run.json`, `timeseries.csv`, `latency.hlog`, a `.hgrm` for each class, and `report.html`. It writes them from what was
//! recorded, reads them back, and measures nothing.
//!
//! The rows and the log are written each second, so that a run that is killed leaves them.

mod axis;
mod chart;
mod compare;
mod goals;
mod histograms;
pub(crate) mod number;
mod page;
mod plots;
mod series;
mod story;
mod svg;
mod tables;
mod timeline;
mod words;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use compare::{COMPARISON, CompareError, Comparison, compare};
pub(crate) use goals::p99_us;
pub use goals::{Goal, Judgement, goals};
pub use words::{Ending, label, verdict};

use super::record::{Class, Run, SCHEMA, Second};
use super::tally::Tally;

/// The numbers of a run, all but the histograms.
pub const RUN: &str = "run.json";
/// A row a second.
pub const SERIES: &str = "timeseries.csv";
/// Latencies, a histogram for each second and class.
pub const LOG: &str = "latency.hlog";
/// What people read.
pub const PAGE: &str = "report.html";

/// The folder of a run that is being played.
pub struct Folder {
    path: PathBuf,
    series: series::Series<File>,
    log: histograms::Log<File>,
    /// Ends of the first second and of the last one, in seconds from the start of the arrival.
    span: Option<(f64, f64)>,
}

impl Folder {
    /// A name that tells runs apart and sorts by time: `storm-S1-20261128-014000`.
    pub fn name(scenario_id: &str, started_unix_secs: u64) -> String {
        let date = number::date(started_unix_secs);
        let digits = |part: &str| part.replace(['-', ':'], "");
        let mut parts = date.split(' ').map(digits);
        let (day, time) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        let id: String = scenario_id.chars().map(plain).collect();
        format!("storm-{id}-{day}-{time}")
    }

    /// Makes the folder with what is written as the run goes.
    ///
    /// # Errors
    /// It already holds a run, or it cannot be written.
    pub fn create(path: &Path, started_unix_secs: u64) -> io::Result<Folder> {
        fs::create_dir_all(path)?;
        // `create_new`: the figures of another run are not overwritten.
        let make = |name: &str| File::create_new(path.join(name));
        let series = series::Series::begin(make(SERIES)?)?;
        let log = histograms::Log::begin(make(LOG)?, started_unix_secs)?;
        Ok(Folder { path: path.to_owned(), series, log, span: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a second and its latencies; they are in the files when it returns.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn second(&mut self, second: &Second, tally: &Tally) -> io::Result<()> {
        let (first, last) = self.span.unwrap_or((second.at_secs, second.at_secs - 1.0));
        self.span = Some((first, second.at_secs));
        self.series.second(second, tally)?;
        // The log counts from the start of the first second.
        let start_secs = (last + 1.0 - first).max(0.0);
        self.log.interval(start_secs, (second.at_secs - last).max(0.0), tally)
    }

    /// Adds what a run leaves at its end; `whole` holds the latencies of all its seconds. Returns the path of the page to read.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn finish(self, run: &Run, whole: &Tally) -> io::Result<PathBuf> {
        for class in Class::ALL {
            let histogram = whole.of(class);
            if !histogram.is_empty() {
                let name = format!("{}.hgrm", class.name());
                fs::write(self.path.join(name), histograms::percentile_text(histogram))?;
            }
        }
        let mut json = serde_json::to_vec_pretty(run)?;
        json.push(b'\n');
        fs::write(self.path.join(RUN), json)?;
        let page = self.path.join(PAGE);
        fs::write(&page, page::render(run, whole))?;
        Ok(page)
    }

    /// Reads a run and its latencies back, from its folder or its `run.json`.
    ///
    /// # Errors
    /// What is missing or not understood.
    pub fn read(path: &Path) -> Result<Recorded, ReadError> {
        let names_the_file = path.file_name().is_some_and(|name| name == RUN);
        let folder = if names_the_file { path.parent().unwrap_or(path) } else { path };
        let text = |name: &str| {
            let file = folder.join(name);
            fs::read(&file).map_err(|e| ReadError { file, why: e.to_string() })
        };
        let wrong = |name: &str, why: String| ReadError { file: folder.join(name), why };
        let json = text(RUN)?;
        /// What is read first, since the rest may have changed.
        #[derive(serde::Deserialize)]
        struct Head {
            schema: u32,
        }
        let head: Head = serde_json::from_slice(&json).map_err(|e| wrong(RUN, e.to_string()))?;
        if head.schema != SCHEMA {
            let why = format!("its schema is {}, this program reads {SCHEMA}", head.schema);
            return Err(wrong(RUN, why));
        }
        let run: Run = serde_json::from_slice(&json).map_err(|e| wrong(RUN, e.to_string()))?;
        let tally = histograms::sum(&text(LOG)?).map_err(|why| wrong(LOG, why))?;
        Ok(Recorded { run, tally })
    }
}

/// A run that was read back.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its numbers.
    pub run: Run,
    /// Its latencies.
    pub tally: Tally,
}

/// A folder that is none of a run, or not one that this program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, for people.
    pub why: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for ReadError {}
