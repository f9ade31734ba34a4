//! The text obeys the format to the letter and says what was counted.

use super::*;
use shards::io::{Outcome, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn node() -> NodeSnapshot {
    let mut core = CoreSnapshot::default();
    core.shard.count(Outcome { class: Class::RegisterNew, verdict: Verdict::Replied });
    core.shard.count(Outcome { class: Class::Refusal, verdict: Verdict::Refused(423) });
    core.shard.count(Outcome { class: Class::Junk, verdict: Verdict::Dropped(Reason::NotSip) });
    core.worker.service_time.of_mut(Class::RegisterNew).record(Duration::from_nanos(3_000));
    core.worker.queue_age.of_mut(Class::RegisterNew).record(Duration::MAX);
    core.worker.register.overflowed = 7;
    core.worker.parked_ns = 2_500_000_000;
    NodeSnapshot {
        name: "a \"quoted\"\\name".to_owned(),
        uptime_seconds: 1.5,
        cores: vec![core, CoreSnapshot::default()],
        heartbeat_ages: vec![0.001, 9.0],
        names: NameCounts { asked: 6, answered: 3, failed: 2, refused: 1 },
    }
}

#[test]
fn the_text_obeys_the_format() {
    let samples = Exposition::read(&render(&node()));
    assert_eq!(
        samples.value("seawall_verdicts_total", &[("core", "0"), ("verdict", "refused")]),
        1.0
    );
    assert_eq!(samples.value("seawall_responses_total", &[("code", "423"), ("core", "0")]), 1.0);
    assert_eq!(
        samples.value("seawall_kernel_overflow_total", &[("core", "0"), ("socket", "register")]),
        7.0
    );
    assert_eq!(samples.value("seawall_heartbeat_age_seconds", &[("core", "1")]), 9.0);
    assert_eq!(samples.value("seawall_names_refused_total", &[]), 1.0);
    let class = |le| [("class", "reg-200-new"), ("core", "0"), ("le", le)];
    assert_eq!(samples.value("seawall_service_seconds_bucket", &class("0.000002048")), 0.0);
    assert_eq!(samples.value("seawall_service_seconds_bucket", &class("0.000004096")), 1.0);
    assert_eq!(samples.value("seawall_queue_age_seconds_bucket", &class("17.179869184")), 0.0);
    assert_eq!(samples.value("seawall_queue_age_seconds_bucket", &class("+Inf")), 1.0);
    assert_eq!(samples.value("seawall_parked_seconds_total", &[("core", "0")]), 2.5);
    for reason in Reason::ALL {
        let expected = if *reason == Reason::NotSip { 1.0 } else { 0.0 };
        let labels = [("core", "0"), ("reason", reason.label())];
        assert_eq!(samples.value("seawall_dropped_total", &labels), expected);
    }
    let verdicts = samples.sum("seawall_verdicts_total");
    assert_eq!((samples.sum("seawall_inputs_total"), verdicts), (3.0, 3.0));
}

/// A strict reader of the `OpenMetrics` text format, version 1.0.0, as far as counters, gauges and histograms go.
struct Exposition {
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Exposition {
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels =
            labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let key = (name.to_owned(), labels);
        *self
            .samples
            .get(&key)
            .unwrap_or_else(|| panic!("no {key:?} in {:#?}", self.samples.keys()))
    }

    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((key, _), _)| key == name).map(|(_, value)| value).sum()
    }

    fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("ends with EOF");
        let mut families = BTreeSet::new();
        let mut samples = BTreeMap::new();
        let mut lines = body.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) =
                line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
            assert!(is_name(name) && name.starts_with("seawall_"), "{line}");
            assert!(help.len() > 5 && !help.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} twice");
            let line = lines.next().expect("a TYPE follows HELP");
            let kind = line.strip_prefix(&format!("# TYPE {name} ")).expect(line);
            let mut family = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, labels, value) = sample(line);
                let suffix = sample.strip_prefix(name).expect(line);
                let suffixes: &[&str] = match kind {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    _ => panic!("{line}"),
                };
                assert!(suffixes.contains(&suffix), "{line}");
                assert!(kind != "counter" || value >= 0.0, "{line}");
                let whole = !name.ends_with("_seconds") && kind != "gauge" && kind != "histogram";
                assert!(!whole || value.fract() == 0.0, "{line}");
                family.push((suffix.to_owned(), labels.clone(), value));
                assert!(samples.insert((sample, labels), value).is_none(), "{line} twice");
            }
            if kind == "histogram" {
                check_histograms(&family);
            }
        }
        Exposition { samples }
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `name{key="value",...} number`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').expect(line)),
        None => (series, ""),
    };
    assert!(is_name(name), "{line}");
    let mut set = BTreeMap::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"").expect(line);
        assert!(is_name(key), "{line}");
        let mut end = 0;
        while quoted.as_bytes()[end] != b'"' {
            end += if quoted.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        assert!(set.insert(key.to_owned(), quoted[..end].to_owned()).is_none(), "{line}");
        rest = &quoted[end + 1..];
        assert!(rest.is_empty() || rest.starts_with(','), "{line}");
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name.to_owned(), set, value.parse().expect(line))
}

/// Buckets rise, end in +Inf, and that equals the count.
fn check_histograms(family: &[(String, BTreeMap<String, String>, f64)]) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (_, labels, value) in family.iter().filter(|(suffix, ..)| suffix == "_bucket") {
        let mut labels = labels.clone();
        let bound = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
        series.entry(labels).or_default().push((bound, *value));
    }
    assert!(!series.is_empty());
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{labels:?} {buckets:?}");
        let &(bound, most) = buckets.last().unwrap();
        assert_eq!(bound, f64::INFINITY);
        for suffix in ["_count", "_sum"] {
            assert_eq!(family.iter().filter(|(s, l, _)| s == suffix && *l == labels).count(), 1);
        }
        assert!(family.iter().any(|(s, l, v)| s == "_count" && *l == labels && *v == most));
    }
}
