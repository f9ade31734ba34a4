//! What became of a scenario, from its seconds and what the crowd knows of its user agents. It is arithmetic, and measures nothing.

use std::collections::BTreeMap;

use crate::storm::record::{Class, Outcome, Percentiles, Scaled, Second};
use crate::storm::tally::Tally;

/// How long the first seconds are, which are told apart.
const FIRST_SECS: f64 = 5.0;

/// Completes what the crowd has filled in.
pub(super) fn complete(
    outcome: &mut Outcome,
    scaled: &Scaled,
    kappa: f64,
    seconds: &[Second],
    (before, after): (&Tally, &Tally),
) {
    let t99 = outcome.registered_percent_secs.get(&99).copied();
    outcome.t99_over_t_min = t99
        .filter(|_| scaled.t_min_secs > 0.0)
        .map(|t99| (t99 - scaled.t_min_from_secs) / scaled.t_min_secs);
    let arrived: Vec<&Second> = seconds.iter().filter(|second| second.at_secs > 0.0).collect();
    let end_secs = arrived.last().map_or(0.0, |second| second.at_secs);
    let share = |from_secs: f64, until_secs: f64| {
        let time = until_secs - from_secs;
        if time > 0.0 && kappa > 0.0 {
            registered_between(&arrived, from_secs, until_secs) / time / kappa
        } else {
            0.0
        }
    };
    let from_secs = scaled.t_min_from_secs;
    outcome.goodput_share = share(from_secs, t99.unwrap_or(end_secs));
    outcome.goodput_share_first_5_secs =
        share(from_secs, (from_secs + FIRST_SECS).min(end_secs.max(from_secs)));
    outcome.latency = percentiles(after);
    outcome.latency_before = percentiles(before);
}

/// Registrations between two times, those of a second that is only partly between them in proportion.
fn registered_between(seconds: &[&Second], from_secs: f64, until_secs: f64) -> f64 {
    let mut start_secs = 0.0;
    let mut registered = 0.0;
    for second in seconds {
        let length = second.at_secs - start_secs;
        let inside = second.at_secs.min(until_secs) - f64::max(start_secs, from_secs);
        if length > 0.0 && inside > 0.0 {
            registered += second.registered as f64 * inside / length;
        }
        start_secs = second.at_secs;
    }
    registered
}

fn percentiles(tally: &Tally) -> BTreeMap<String, Percentiles> {
    let of = |class: Class| {
        let histogram = tally.of(class);
        (!histogram.is_empty()).then(|| (class.name().to_owned(), Percentiles::of(histogram)))
    };
    Class::ALL.into_iter().filter_map(of).collect()
}

/// Share of its CPU time that a server uses when it has no time to idle, and seconds of that from which costs can be told.
const BUSY_SHARE_MIN: f64 = 0.9;
const BUSY_SECONDS_MIN: usize = 3;
/// Share of what was read that must have been in vain, so that its cost can be told, and that other traffic may be.
const IN_VAIN_SHARE_MIN: f64 = 0.1;
const OTHER_SHARE_MAX: f64 = 0.15;

/// The cost of reading a datagram that leads to nothing, as a part of a registration's: r. It is told of the seconds in which the server,
/// which has the part `cpu` of a CPU, was busy, and where a registration takes `legs` datagrams. None where there are few such seconds,
/// where little was in vain, or where much else went on.
pub(super) fn refusal_cost(
    seconds: &[Second],
    cpu: f64,
    legs: u64,
    registration_us: f64,
) -> Option<f64> {
    let busy_ns = BUSY_SHARE_MIN * cpu * 1e9;
    let is_busy = |second: &&Second| {
        second.at_secs > 0.0 && second.server_cpu_ns.is_some_and(|ns| ns as f64 >= busy_ns)
    };
    let (mut count, mut cpu_us, mut read, mut useful, mut other) = (0, 0.0, 0, 0, 0);
    for second in seconds.iter().filter(is_busy) {
        count += 1;
        cpu_us += second.server_cpu_ns.unwrap_or(0) as f64 / 1e3;
        read += second.sent.saturating_sub(second.kernel_drops);
        // A challenge is half of a registration, be the other half lost or not.
        useful += second.registered + second.challenged;
        let said = second.sent_registers + second.lost_on_purpose;
        other += second.sent.saturating_sub(said);
    }
    let in_vain = read.saturating_sub(useful + other) as f64;
    let all = read.max(1) as f64;
    let is_told = count >= BUSY_SECONDS_MIN
        && in_vain / all >= IN_VAIN_SHARE_MIN
        && other as f64 / all <= OTHER_SHARE_MAX
        && registration_us > 0.0;
    let left_us = cpu_us - registration_us * (useful + other) as f64 / legs.max(1) as f64;
    (is_told && left_us > 0.0).then(|| left_us / in_vain / registration_us)
}

/// The latencies of a second in a few buckets: counts by upper bound in microseconds, the bounds powers of two from 64 us on. Whole
/// registrations, with all their waiting, are left out.
pub(super) fn answer_ages(tally: &Tally) -> Vec<(f64, u64)> {
    let mut buckets = [0u64; AGE_BUCKETS];
    for class in Class::ALL.into_iter().filter(|class| *class != Class::Registration) {
        for value in tally.of(class).iter_recorded() {
            let us = value.value_iterated_to() / 1000;
            let power = (u64::BITS - us.leading_zeros()).max(AGE_POWER_MIN) - AGE_POWER_MIN;
            buckets[(power as usize).min(AGE_BUCKETS - 1)] += value.count_at_value();
        }
    }
    (AGE_POWER_MIN..)
        .zip(buckets)
        .filter(|(_, count)| *count > 0)
        .map(|(power, count)| ((1u64 << power) as f64, count))
        .collect()
}

const AGE_POWER_MIN: u32 = 6;
/// Up to more than a minute.
const AGE_BUCKETS: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_secs: f64, registered: u64) -> Second {
        Second { at_secs, registered, ..Second::default() }
    }

    fn scaled(t_min_secs: f64, t_min_from_secs: f64) -> Scaled {
        serde_json::from_value(serde_json::json!({
            "user_agents": 1000, "behind_one_address": 0, "scale": 1.0, "multiple": 10.0, "multiple_asked": 10.0,
            "arrival": { "shape": "uniform", "over_secs": 1.0 }, "arrival_secs": 1.0, "outage": null, "expires_secs": 3600,
            "t_min_secs": t_min_secs, "t_min_from_secs": t_min_from_secs, "restart_at_secs": null, "restart_down_secs": 0.0,
            "steady_per_second": 0.0, "calls_per_second": 0.0, "emergency_calls_per_second": 0.0, "keep_alives_per_second": 0.0,
            "before_secs": 2.0, "after_secs": 2.0, "end_secs": 60.0
        }))
        .unwrap()
    }

    #[test]
    fn goodput_is_told_until_99_percent_are_there() {
        let seconds =
            [second(-1.0, 50), second(0.0, 50), second(1.0, 80), second(2.0, 100), second(3.0, 7)];
        let registered_percent_secs = [(50, 1.0), (99, 1.5)].into();
        let mut outcome = Outcome { registered_percent_secs, ..Outcome::default() };
        let tallies = (&Tally::default(), &Tally::default());
        complete(&mut outcome, &scaled(1.0, 0.0), 100.0, &seconds, tallies);
        assert_eq!(outcome.t99_over_t_min, Some(1.5));
        assert!((outcome.goodput_share - (80.0 + 50.0) / 1.5 / 100.0).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.goodput_share_first_5_secs - 187.0 / 3.0 / 100.0).abs() < 1e-9);
        assert!(outcome.latency.is_empty());
    }

    #[test]
    fn an_outage_does_not_count() {
        let seconds: Vec<Second> =
            (1..=10).map(|n| second(f64::from(n), if n > 4 { 100 } else { 0 })).collect();
        let registered_percent_secs = [(99, 8.0)].into();
        let mut outcome = Outcome { registered_percent_secs, ..Outcome::default() };
        let tallies = (&Tally::default(), &Tally::default());
        complete(&mut outcome, &scaled(4.0, 4.0), 100.0, &seconds, tallies);
        assert_eq!(outcome.t99_over_t_min, Some(1.0));
        assert!((outcome.goodput_share - 1.0).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.goodput_share_first_5_secs - 1.0).abs() < 1e-9, "{outcome:?}");
    }

    #[test]
    fn what_is_left_of_the_cpu_went_into_refusals() {
        let busy = |at_secs: f64| Second {
            at_secs,
            server_cpu_ns: Some(200_000_000),
            registered: 9_000,
            challenged: 11_000,
            sent: 150_000,
            sent_registers: 150_000,
            kernel_drops: 30_000,
            ..Second::default()
        };
        let mut seconds: Vec<Second> = (1..=4).map(|n| busy(f64::from(n))).collect();
        // Of 200 ms registrations took 100: the other 100,000 datagrams took 1 us each.
        let r = refusal_cost(&seconds, 0.2, 2, 10.0).unwrap();
        assert!((r - 0.1).abs() < 1e-9, "{r}");
        // One that idles says nothing, and neither does what was before the arrival.
        seconds.push(Second { server_cpu_ns: Some(90_000_000), ..busy(5.0) });
        seconds.push(busy(-1.0));
        assert!((refusal_cost(&seconds, 0.2, 2, 10.0).unwrap() - r).abs() < 1e-9);
        assert_eq!(refusal_cost(&seconds[..2], 0.2, 2, 10.0), None, "too few");
        for second in &mut seconds {
            second.sent = 50_500;
        }
        assert_eq!(refusal_cost(&seconds, 0.2, 2, 10.0), None, "nothing was in vain");
    }

    #[test]
    fn ages_fall_into_buckets_by_powers_of_two() {
        let mut tally = Tally::default();
        for us in [10, 63, 64, 100, 1000, 100_000_000] {
            tally.record(Class::Reg401, us * 1000);
        }
        tally.record(Class::Registration, 5_000_000_000);
        let ages = answer_ages(&tally);
        assert_eq!(ages.iter().map(|(_, count)| count).sum::<u64>(), 6);
        assert_eq!(ages[..3], [(64.0, 2), (128.0, 2), (1024.0, 1)]);
        assert!(ages.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
