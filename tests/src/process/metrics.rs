//! Reads the Prometheus text of a node. It never asks for it.

use std::collections::BTreeMap;
use std::fmt;

/// Samples by their full series, `name{label="value",…}`.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text.
    ///
    /// # Errors
    /// The first line that is no sample.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let sample = line
                .rsplit_once(' ')
                .and_then(|(series, value)| Some((series.to_owned(), value.parse::<f64>().ok()?)));
            let (series, value) = sample.ok_or_else(|| format!("`{line}` is no sample"))?;
            samples.insert(series, value);
        }
        if samples.is_empty() {
            Err("there are no samples".to_owned())
        } else {
            Ok(Metrics(samples))
        }
    }

    /// The sum over all cores of a counter or gauge, of those series only that contain all `labels`, as `name="value"`.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let sum: f64 = self
            .0
            .iter()
            .filter(|(series, _)| {
                series.split('{').next() == Some(name)
                    && labels.iter().all(|label| series.contains(label))
            })
            .map(|(_, value)| value)
            .sum();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counters are whole and not negative"
        )]
        {
            sum as u64
        }
    }

    /// Inputs handled, moves not counted twice.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.sum("seawall_inputs_total", &[])
            - self.sum("seawall_verdicts_total", &["verdict=\"hopped\""])
    }

    /// Those of them that were datagrams: not what cores move and write to each other, what routers report and what resolvers answer.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        let others: u64 = ["move", "letter", "unreachable", "addresses"]
            .iter()
            .map(|class| self.sum("seawall_inputs_total", &[&format!("class=\"{class}\"")]))
            .sum();
        self.sum("seawall_inputs_total", &[]) - others
    }

    /// Inputs dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        self.sum("seawall_dropped_total", &[&format!("reason=\"{reason}\"")])
    }

    /// Responses with this status code.
    #[must_use]
    pub fn responses(&self, status: u16) -> u64 {
        self.sum("seawall_responses_total", &[&format!("code=\"{status}\"")])
    }

    /// Everything that was read is accounted for: as an input with one verdict, or as truncated.
    ///
    /// # Errors
    /// The sum that does not add up.
    pub fn account(&self) -> Result<(), String> {
        let read = self.sum("seawall_received_datagrams_total", &[]);
        let truncated = self.sum("seawall_truncated_total", &[]);
        let lost = self.sum("seawall_hops_dropped_total", &[])
            + self.sum("seawall_hops_refused_total", &[]);
        let verdicts = self.sum("seawall_verdicts_total", &[]);
        let inputs = self.sum("seawall_inputs_total", &[]);
        let dropped = self.sum("seawall_verdicts_total", &["verdict=\"dropped\""]);
        let reasons = self.sum("seawall_dropped_total", &[]);
        self.same("datagrams read and inputs", read, self.datagrams() + truncated + lost)?;
        self.same("inputs and verdicts", inputs, verdicts)?;
        self.same("drops and their reasons", dropped, reasons)
    }

    /// The same, and every answer was handed to the kernel, where nothing was passed on.
    ///
    /// # Errors
    /// The sum that does not add up.
    pub fn reconcile(&self) -> Result<(), String> {
        let answered = self.sum("seawall_verdicts_total", &["verdict=\"replied\""])
            + self.sum("seawall_verdicts_total", &["verdict=\"refused\""]);
        let sent = self.sum("seawall_sent_datagrams_total", &[])
            + self.sum("seawall_send_refused_total", &[])
            + self.sum("seawall_send_dropped_total", &[]);
        self.account()?;
        self.same("answers and datagrams sent", answered, sent)
    }

    fn same(&self, what: &str, one: u64, other: u64) -> Result<(), String> {
        if one == other {
            Ok(())
        } else {
            Err(format!("{what} differ, {one} and {other}:\n{self}"))
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted =
            self.0.iter().filter(|(series, value)| **value != 0.0 && !series.contains("_bucket"));
        for (series, value) in counted {
            writeln!(f, "    {series} {value}")?;
        }
        Ok(())
    }
}
