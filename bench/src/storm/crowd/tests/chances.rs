//! What is drawn is drawn from what the scenario says: times of arrival, of retries and of refreshes against their distribution functions.

use crate::storm::crowd::Crowd;
use crate::storm::crowd::testing::{SEC, Sent, World, crowd, fixed, scenario, setup};
use crate::storm::record::{Outcome, Scaled};
use crate::storm::scenario::{Arrival, Client, Refresh, Retry, Scenario};

const MANY: u32 = 4000;

/// Asserts by Kolmogorov and Smirnov that a sample has this distribution function. The bound is passed by one true sample in a thousand; the seeds
/// are fixed.
fn assert_distributed(mut sample: Vec<f64>, cumulative: impl Fn(f64) -> f64, what: &str) {
    sample.sort_by(f64::total_cmp);
    let size = sample.len() as f64;
    let distance = sample.iter().zip(0..).fold(0.0, |most: f64, (&value, before)| {
        let share = cumulative(value);
        let before = f64::from(before);
        most.max((share - before / size).abs()).max((share - (before + 1.0) / size).abs())
    });
    assert!(size > 500.0 && distance < 1.95 / size.sqrt(), "{what}: {distance} of {size}");
}

fn evenly(from: f64, until: f64) -> impl Fn(f64) -> f64 {
    move |value| ((value - from) / (until - from)).clamp(0.0, 1.0)
}

/// When everybody begins, in seconds, in the order of sending.
fn arrivals(scenario: &Scenario, scaled: &Scaled, until_secs: f64) -> Vec<f64> {
    let mut world = World::new(Crowd::new(scenario, scaled, &setup(scaled.user_agents, 0, 7)));
    let sent = world.run_until((until_secs * 1e9) as u64);
    let first = sent.iter().filter(|one| one.cseq() == crate::generator::CSEQ_MIN + 1);
    let mut seen = std::collections::HashSet::new();
    let first = first.filter(|one| seen.insert(one.branch().to_owned()));
    first.map(|one| one.at_ns as f64 / 1e9 - scaled.before_secs).collect()
}

fn arriving(arrival: Arrival) -> (Scenario, Scaled) {
    let (mut scenario, mut scaled) = scenario(MANY);
    (scenario.arrival, scaled.arrival) = (arrival, arrival);
    // Whoever has begun waits for the rest of the test.
    scenario.clients = vec![fixed("patient", 1e6)];
    (scenario, scaled)
}

#[test]
fn all_come_evenly() {
    let (scenario, mut scaled) = arriving(Arrival::Uniform { over_secs: 10.0 });
    scaled.before_secs = 5.0;
    let times = arrivals(&scenario, &scaled, 16.0);
    assert_eq!(times.len(), MANY as usize);
    assert_distributed(times, evenly(0.0, 10.0), "uniform");
}

#[test]
fn a_ramp_has_a_tail() {
    let (tau_secs, tail_exponent, tail_share, most_secs) = (6.0, 1.5, 0.2, 60.0);
    let (scenario, scaled) =
        arriving(Arrival::Ramp { tau_secs, tail_exponent, tail_share, most_secs });
    let times = arrivals(&scenario, &scaled, 61.0);
    assert_eq!(times.len(), MANY as usize, "nobody comes later than the bound");
    let ramp = move |t: f64| {
        let exponential = (1.0 - (-t / tau_secs).exp()) / (1.0 - (-most_secs / tau_secs).exp());
        let pareto = (1.0 - (tau_secs / t.max(tau_secs)).powf(tail_exponent))
            / (1.0 - (tau_secs / most_secs).powf(tail_exponent));
        (1.0 - tail_share) * exponential + tail_share * pareto
    };
    assert_distributed(times, ramp, "ramp");
}

#[test]
fn waves_come_one_after_the_other() {
    let (count, every_secs, over_secs) = (5_u32, 6.0, 2.0);
    let (scenario, scaled) = arriving(Arrival::Waves { count, every_secs, over_secs });
    let times = arrivals(&scenario, &scaled, 27.0);
    assert_eq!(times.len(), MANY as usize);
    let waves = move |t: f64| {
        let wave = (t / every_secs).floor();
        (wave + ((t - wave * every_secs) / over_secs).min(1.0)) / f64::from(count)
    };
    assert_distributed(times, waves, "waves");
}

#[test]
fn a_steady_load_is_spread_over_the_time_to_a_refresh() {
    let (mut scenario, mut scaled) = arriving(Arrival::Steady { for_secs: 90.0 });
    scaled.expires_secs = 100;
    scenario.registration.refresh =
        vec![Refresh { share: 0.75, at: 0.5 }, Refresh { share: 0.25, at: 0.9 }];
    let times = arrivals(&scenario, &scaled, 91.0);
    assert_eq!(times.len(), MANY as usize);
    let mixed = |t: f64| 0.75 * evenly(0.0, 50.0)(t) + 0.25 * evenly(0.0, 90.0)(t);
    assert_distributed(times, mixed, "steady");
}

#[test]
fn a_herd_stays_together_for_its_cycles() {
    let (mut scenario, mut scaled) = arriving(Arrival::Herd { spread: 0.02, cycles: 3 });
    scaled.expires_secs = 1000;
    scenario.registration.refresh = vec![Refresh { share: 1.0, at: 0.5 }];
    let mut world = World::new(crowd(&(scenario, scaled)));
    let mut cycles: Vec<Vec<f64>> = Vec::new();
    let mut last: std::collections::HashMap<String, f64> = std::collections::HashMap::new();
    while let Some(due_ns) = world.crowd.deadline_ns().filter(|ns| *ns < 4000 * SEC) {
        for sent in world.run_until(due_ns) {
            let now = sent.at_ns as f64 / 1e9;
            let cycle = (sent.cseq() - crate::generator::CSEQ_MIN - 1) as usize;
            cycles.resize_with(cycles.len().max(cycle + 1), Vec::new);
            let before = last.insert(sent.header("Call-ID").unwrap().to_owned(), now);
            cycles[cycle].push(now - before.unwrap_or(0.0));
            world.answer(&sent, &sent.granted(1000));
        }
    }
    assert_eq!(cycles.len(), 3);
    assert_distributed(cycles.remove(0), evenly(0.0, 20.0), "the first");
    for times in cycles {
        assert_eq!(times.len(), MANY as usize);
        assert_distributed(times, evenly(490.0, 510.0), "another");
    }
    assert_eq!(world.crowd.counts().own.registered, 3 * u64::from(MANY));
    world.crowd.check();
}

/// What becomes of every REGISTER.
#[derive(Clone, Copy)]
enum Fate<'a> {
    Silence,
    Refused(u16, &'a str),
}

/// Seconds from the failure of each user agent's attempt of a number, from 1 on, to its next.
fn waits(scenario: &(Scenario, Scaled), fate: Fate<'_>, attempt: u32) -> Vec<f64> {
    let mut world = World::new(crowd(scenario));
    let mut failed: std::collections::HashMap<String, (u32, u64)> =
        std::collections::HashMap::new();
    let mut waits = Vec::new();
    while waits.len() < scenario.1.user_agents as usize {
        for sent in world.run_until_sent() {
            let number = sent.cseq() - crate::generator::CSEQ_MIN;
            let call = sent.header("Call-ID").unwrap().to_owned();
            if let Some((_, failed_ns)) = failed.get(&call).filter(|(last, _)| *last < number) {
                if number == attempt + 1 {
                    waits.push((sent.at_ns - failed_ns) as f64 / 1e9);
                }
            } else if failed.contains_key(&call) {
                continue;
            }
            let failed_ns = match fate {
                Fate::Silence => sent.at_ns + 32 * SEC,
                Fate::Refused(status, lines) => {
                    world.answer(&sent, &sent.response(status, lines));
                    sent.at_ns
                }
            };
            failed.insert(call, (number, failed_ns));
        }
    }
    world.crowd.check();
    waits
}

fn retrying(retry: Retry, size: u32) -> (Scenario, Scaled) {
    let (mut scenario, scaled) = scenario(size);
    scenario.clients = vec![Client { name: "one".to_owned(), share: 1.0, retry }];
    (scenario, scaled)
}

#[test]
fn a_fixed_client_waits_as_long_as_it_says() {
    let retry = Retry::Fixed { after_timeout_secs: 120.0, after_refusal_secs: 1800.0, spread: 0.0 };
    let one = retrying(retry, 10);
    for (fate, secs) in
        [(Fate::Silence, 120.0), (Fate::Refused(503, ""), 1800.0), (Fate::Refused(403, ""), 1800.0)]
    {
        assert!(waits(&one, fate, 1).iter().all(|wait| (wait - secs).abs() < 1e-6));
    }
    let spread = retrying(
        Retry::Fixed { after_timeout_secs: 300.0, after_refusal_secs: 5.0, spread: 0.1 },
        1000,
    );
    assert_distributed(waits(&spread, Fate::Silence, 1), evenly(270.0, 330.0), "after silence");
    assert_distributed(waits(&spread, Fate::Refused(500, ""), 2), evenly(4.5, 5.5), "after 500");
}

#[test]
fn who_backs_off_waits_twice_as_long_each_time() {
    // RFC 5626 4.5: after n failures 50 to 100 % of min(1800, 30 x 2^n) seconds.
    let one = retrying(Retry::Backoff { base_secs: 30.0, most_secs: 1800.0 }, 1000);
    for (failures, most_secs) in [(1, 60.0), (2, 120.0), (3, 240.0), (6, 1800.0), (8, 1800.0)] {
        let waits = waits(&one, Fate::Refused(480, ""), failures);
        assert_distributed(waits, evenly(most_secs / 2.0, most_secs), &format!("{failures}"));
    }
    assert_distributed(waits(&one, Fate::Silence, 1), evenly(30.0, 60.0), "after silence");
}

#[test]
fn a_share_honours_retry_after() {
    for share in [0.0, 0.3, 0.8, 1.0] {
        let (mut scenario, scaled) = scenario(1000);
        scenario.honour_retry_after = share;
        let one = (scenario, scaled);
        let after = Fate::Refused(503, "Retry-After: 17 (busy)\r\n");
        let waits = waits(&one, after, 1);
        let honoured = waits.iter().filter(|wait| (*wait - 17.0).abs() < 1e-6).count() as f64;
        let own = waits.iter().filter(|wait| (*wait - 30.0).abs() < 1e-6).count() as f64;
        assert_eq!(honoured + own, 1000.0);
        // Three standard deviations.
        let bound = 3.0 * (1000.0 * share * (1.0 - share)).sqrt();
        assert!((honoured - 1000.0 * share).abs() <= bound, "{honoured} of 1000 for {share}");
        // Silence says nothing of when to come back.
        let silent = self::waits(&one, Fate::Silence, 1);
        assert!(silent.iter().all(|wait| (wait - 30.0).abs() < 1e-6));
    }
}

#[test]
fn clients_are_as_many_as_their_shares() {
    let (mut scenario, scaled) = scenario(MANY);
    scenario.clients = [("a", 0.5, 30.0), ("b", 0.3, 120.0), ("c", 0.2, 5.0)]
        .map(|(name, share, secs)| Client { share, ..fixed(name, secs) })
        .to_vec();
    scenario.honour_retry_after = 1.0;
    let mut world = World::new(crowd(&(scenario, scaled)));
    let refused = world.run_until(2 * SEC);
    let first: Vec<&Sent> = refused.iter().filter(|one| one.at_ns < 2 * SEC).collect();
    let mut done = std::collections::HashSet::new();
    for sent in first {
        if done.insert(sent.branch().to_owned()) {
            world.answer(sent, &sent.response(500, ""));
        }
    }
    while world.crowd.counts().own.registered < u64::from(MANY) {
        for sent in world.run_until_sent() {
            world.answer(&sent, &sent.granted(3600));
        }
    }
    let mut outcome = Outcome::default();
    world.crowd.fill(&mut outcome);
    for (name, share, secs) in [("a", 0.5, 32.0), ("b", 0.3, 122.0), ("c", 0.2, 7.0)] {
        let of = outcome.by_client[name];
        let expected = f64::from(MANY) * share;
        assert!((of.user_agents as f64 - expected).abs() < 3.5 * expected.sqrt(), "{name}: {of:?}");
        assert_eq!(of.registered, of.user_agents);
        assert_eq!(of.attempts, 2 * of.user_agents);
        assert!(of.p50_secs > secs - 2.0 && of.p50_secs < secs, "{name}: {of:?}");
        assert!(of.p99_secs >= of.p50_secs);
    }
    assert_eq!(outcome.registered_share, 1.0);
    assert_eq!(outcome.attempts, 2 * u64::from(MANY));
    let percent = &outcome.registered_percent_secs;
    assert!(percent[&50] < percent[&90] && percent[&90] <= percent[&99], "{percent:?}");
    assert!(percent[&100] <= 124.0);
    // Jain's index of three times, each by its share: (sum p t)^2 / sum p t^2.
    let fairness = outcome.fairness.unwrap();
    assert!((0.45..0.65).contains(&fairness), "{fairness}");
}
