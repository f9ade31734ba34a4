//! Writes metric families, each with a sample or more for every core. It does not know which there are.

use crate::control::CoreSnapshot;
use crate::worker::Histogram;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use shards::io::Class;
use std::fmt;
use std::ops::RangeInclusive;

/// Adds one value under labels beyond `core`.
pub(super) type Add<'a> = &'a mut dyn FnMut(&[(&str, &str)], u64) -> fmt::Result;

/// Writes one family after the other, each with a sample or more for every core.
pub(super) struct Families<'a, 'e> {
    pub(super) encoder: DescriptorEncoder<'e>,
    pub(super) cores: &'a [CoreSnapshot],
}

impl Families<'_, '_> {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        values: impl Fn(&CoreSnapshot, Add<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (id, core) in self.cores.iter().enumerate() {
            values(core, &mut |labels, value| {
                let labels = Labels::of(id, labels);
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
            })?;
        }
        Ok(())
    }

    /// One sample for the whole node.
    pub(super) fn total(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        let labels = Labels(Vec::new());
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        values: impl Fn(&CoreSnapshot, Add<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (id, core) in self.cores.iter().enumerate() {
            values(core, &mut |labels, value| {
                family.encode_family(&Labels::of(id, labels))?.encode_gauge(&value)
            })?;
        }
        Ok(())
    }

    pub(super) fn seconds(
        &mut self,
        name: &str,
        help: &str,
        values: &[(Labels, f64)],
    ) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    pub(super) fn seconds_counter(
        &mut self,
        name: &str,
        help: &str,
        values: &[(Labels, f64)],
    ) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(labels)?.encode_counter::<NoLabelSet, f64, f64>(value, None)?;
        }
        Ok(())
    }

    /// Classes that never occurred on a core are left out: a histogram is some thirty lines.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        values: impl Fn(&CoreSnapshot, Class) -> &Histogram,
    ) -> fmt::Result {
        let name = format!("seawall_{name}");
        let mut family =
            self.encoder.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        for (id, core) in self.cores.iter().enumerate() {
            for &class in Class::ALL {
                let histogram = values(core, class);
                if histogram.count() == 0 {
                    continue;
                }
                let buckets = buckets(histogram);
                let labels = Labels::of(id, &[("class", class.label())]);
                family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    histogram.sum().as_secs_f64(),
                    histogram.count(),
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn info(&mut self, node: &str) -> fmt::Result {
        let help = "The version that runs and the name of the node";
        let mut family =
            self.encoder.encode_descriptor("seawall_build_info", help, None, MetricType::Gauge)?;
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let labels = Labels(vec![label("version", env!("CARGO_PKG_VERSION")), label("node", node)]);
        family.encode_family(&labels)?.encode_gauge(&1u64)
    }
}

/// Powers of two of nanoseconds that bound the buckets: 256 ns to 17 s.
const BOUNDS: RangeInclusive<u32> = 8..=34;

/// Upper bounds in seconds with what fell between each and the one before.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let bounded = BOUNDS.map(|power| (seconds(1 << power), histogram.below_power_of_two(power)));
    let cumulative = bounded.chain([(f64::INFINITY, histogram.count())]);
    let mut before = 0;
    cumulative
        .map(|(bound, count)| (bound, count - std::mem::replace(&mut before, count)))
        .collect()
}

/// Nanoseconds in seconds.
#[allow(clippy::cast_precision_loss, reason = "a figure for people and graphs; 53 bits are plenty")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Labels in the order in which they are written.
#[derive(Debug)]
pub(super) struct Labels(pub(super) Vec<(String, String)>);

impl Labels {
    pub(super) fn of(core: usize, more: &[(&str, &str)]) -> Self {
        let core = ("core".to_owned(), core.to_string());
        let more = more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Labels(std::iter::once(core).chain(more).collect())
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (key, value) in &self.0 {
            (key.as_str(), value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
