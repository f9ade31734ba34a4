use super::super::{Calls, Hostile, KeepAlive, Refresh, Restart, builtin};
use super::*;

const KAPPA: f64 = 20_000.0;
const FULL: Wanted = Wanted { scale: 1.0, multiple: None };
const QUICK: Wanted = Wanted { scale: 0.2, multiple: None };

/// S1 and nothing beside it: a hundred seconds of kappa within ten.
fn plain() -> Scenario {
    let mut scenario = builtin::find("S1").unwrap().scenario();
    scenario.population.steady_load = 0.0;
    scenario
}

fn close(value: f64, expected: f64) {
    assert!(
        (value - expected).abs() <= 1e-3 * expected.abs().max(1e-3),
        "{value} is not {expected}"
    );
}

#[test]
fn a_quick_run_is_a_part_in_a_part_of_the_time() {
    let scaled = scale(&plain(), KAPPA, None, FULL);
    // 100 s x 20,000/s within 10 s: 200,000/s, ten times kappa; done after 2,000,000 / 20,000/s.
    assert_eq!(scaled.user_agents, 2_000_000);
    close(scaled.multiple, 10.0);
    close(scaled.arrival_secs, 10.0);
    close(scaled.t_min_secs, 100.0);
    assert_eq!(scaled.expires_secs, 3600);
    // Twice 100 s.
    close(scaled.end_secs, 200.0);
    let scaled = scale(&plain(), KAPPA, None, QUICK);
    assert_eq!(scaled.user_agents, 400_000);
    close(scaled.multiple, 10.0);
    close(scaled.arrival_secs, 2.0);
    close(scaled.t_min_secs, 20.0);
    assert_eq!(scaled.expires_secs, 720);
    // Twice 20 s; below that phones' patience asks for 40.
    close(scaled.end_secs, 40.0);
    close(scale(&plain(), KAPPA, None, Wanted { scale: 0.1, ..QUICK }).end_secs, 40.0);
    close(scale(&plain(), KAPPA, None, Wanted { scale: 0.3, ..QUICK }).end_secs, 60.0);
}

#[test]
fn what_belongs_to_others_is_no_capacity() {
    let mut scenario = plain();
    scenario.population.steady_load = 0.4;
    let scaled = scale(&scenario, KAPPA, None, FULL);
    close(scaled.steady_per_second, 8000.0);
    // 100 / (1 - 0.4)
    close(scaled.t_min_secs, 166.667);
    scenario.population.steady_load = 0.0;
    scenario.calls = Some(Calls { per_kappa: 0.05, ring_secs: 1.0, talk_secs: 1.0 });
    let scaled = scale(&scenario, KAPPA, None, FULL);
    close(scaled.calls_per_second, 1000.0);
    // A call is 3.4 registrations in both legs: 0.05 x 3.4 = 0.17, and 100 / 0.83.
    close(scaled.t_min_secs, 120.482);
    scenario.population.nonces = Nonces::Valid;
    // 6 registrations of one leg: 100 / 0.7.
    close(scale(&scenario, KAPPA, None, FULL).t_min_secs, 142.857);
}

#[test]
fn nobody_is_registered_before_he_comes() {
    let mut scenario = plain();
    scenario.arrival = Arrival::Uniform { over_secs: 400.0 };
    // A quarter of kappa: each is registered as he comes.
    close(scale(&scenario, KAPPA, None, FULL).t_min_secs, 400.0);
    scenario.arrival = Arrival::Waves { count: 4, every_secs: 60.0, over_secs: 5.0 };
    // Each wave takes 25 s; the last begins at 180 s.
    let scaled = scale(&scenario, KAPPA, None, FULL);
    close(scaled.t_min_secs, 205.0);
    // A quarter of 100 kappa within 5 s.
    close(scaled.multiple, 5.0);
    close(scaled.arrival_secs, 185.0);
    scenario.arrival = Arrival::Waves { count: 4, every_secs: 10.0, over_secs: 5.0 };
    // Waves that come before the last is served make one storm.
    close(scale(&scenario, KAPPA, None, FULL).t_min_secs, 100.0);
}

#[test]
fn of_a_ramp_the_last_stragglers_are_not_waited_for() {
    let mut scenario = plain();
    let ramp = |tail_share| Arrival::Ramp {
        tau_secs: 60.0,
        tail_exponent: 1.5,
        tail_share,
        most_secs: 600.0,
    };
    scenario.arrival = ramp(0.0);
    let scaled = scale(&scenario, KAPPA, None, FULL);
    // At its start 100 kappa / 60 s.
    close(scaled.multiple, 1.667);
    // It is over capacity while exp(-t / 60) > 0.6, and of 99 % the ramp brings the last at 60 ln 100 = 276 s.
    close(scaled.t_min_secs, 276.1);
    scenario.arrival = ramp(0.1);
    let scaled = scale(&scenario, KAPPA, None, FULL);
    close(scaled.multiple, 1.5);
    // Of the stragglers 1 - 0.1^1.5 = 96.8 % come by 600 s, so the last percent of all is a tenth of the tail:
    // 0.9 exp(-t / 60) + 0.1 (1 - (1 - (60 / t)^1.5) / 0.968) = 0.01 at t = 315.
    close(scaled.t_min_secs, 315.0);
}

#[test]
fn an_outage_is_not_held_against_the_server() {
    let scenario = builtin::find("S5").unwrap().scenario();
    let scaled = scale(&scenario, KAPPA, None, FULL);
    // The arrival is over when the route comes back; then 100 / 0.95.
    close(scaled.t_min_from_secs, 80.0);
    close(scaled.t_min_secs, 105.263);
    let scaled = scale(&scenario, KAPPA, None, QUICK);
    close(scaled.t_min_from_secs, 16.0);
    close(scaled.t_min_secs, 21.053);
    close(scaled.end_secs, 16.0 + 42.106);
    // One in the middle is time that is lost, but nothing is counted from its end.
    let mut scenario = plain();
    scenario.outage = Some(Outage { from_secs: 5.0, for_secs: 20.0 });
    let scaled = scale(&scenario, KAPPA, None, FULL);
    close(scaled.t_min_from_secs, 0.0);
    close(scaled.t_min_secs, 120.0);
}

#[test]
fn a_restart_is_half_way_through() {
    let mut scenario = plain();
    scenario.restart = Some(Restart { at_t_min: 0.5, down_secs: 5.0 });
    let scaled = scale(&scenario, KAPPA, None, QUICK);
    assert_eq!(scaled.restart_at_secs.map(f64::round), Some(10.0));
    close(scaled.restart_down_secs, 1.0);
    close(scaled.t_min_secs, 21.0);
}

#[test]
fn a_herd_keeps_its_height_and_does_not_go_below_a_minute() {
    let scenario = builtin::find("S7").unwrap().scenario();
    let scaled = scale(&scenario, KAPPA, None, FULL);
    assert_eq!((scaled.user_agents, scaled.expires_secs), (480_000, 120));
    // 2 % of 60 s to both sides; 24 kappa within 2.4 s; two more cycles, and twice 24 s.
    close(scaled.arrival_secs, 2.4);
    close(scaled.multiple, 10.0);
    close(scaled.t_min_secs, 24.0);
    close(scaled.end_secs, 2.0 * 60.0 + 48.0);
    let scaled = scale(&scenario, KAPPA, None, QUICK);
    close(scaled.scale, 0.5);
    assert_eq!((scaled.user_agents, scaled.expires_secs), (240_000, 60));
    close(scaled.multiple, 10.0);
    close(scaled.arrival_secs, 1.2);
}

#[test]
fn a_steady_load_keeps_its_height() {
    let mut scenario = builtin::find("S0").unwrap().scenario();
    for wanted in [FULL, QUICK, Wanted { multiple: Some(10.0), ..QUICK }] {
        let scaled = scale(&scenario, KAPPA, None, wanted);
        // 100 / 1800
        close(scaled.multiple, 0.05556);
        close(scaled.end_secs, 100.0 * wanted.scale);
        close(scaled.t_min_secs, 0.0);
    }
    scenario.registration.refresh =
        vec![Refresh { share: 0.5, at: 0.5 }, Refresh { share: 0.5, at: 0.9 }];
    // Half of them each 1800 s, half each 3240 s.
    close(scale(&scenario, KAPPA, None, FULL).multiple, 0.04321);
}

#[test]
fn keep_alives_keep_their_height() {
    let mut scenario = plain();
    scenario.keep_alive = Some(KeepAlive { every_secs: 30.0, options_share: 0.0 });
    for wanted in [FULL, QUICK] {
        // 2,000,000 / 30 s
        close(scale(&scenario, KAPPA, None, wanted).keep_alives_per_second, 66_667.0);
    }
}

#[test]
fn another_multiple_stretches_the_arrival_and_nothing_else() {
    let scaled = scale(&plain(), KAPPA, None, Wanted { scale: 1.0, multiple: Some(2.0) });
    assert_eq!(scaled.user_agents, 2_000_000);
    close(scaled.multiple, 2.0);
    close(scaled.multiple_asked, 2.0);
    close(scaled.arrival_secs, 50.0);
    close(scaled.t_min_secs, 100.0);
}

/// 150,000 registrations a second, or half a million datagrams that nobody answers.
const HEADROOM: Headroom =
    Headroom { messages: 300_000.0, registrations: 150_000.0, sends: 500_000.0 };

#[test]
fn what_nobody_answers_is_sent_eleven_times() {
    let after = resent_after_secs(&plain());
    assert_eq!(after, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
    let mut scenario = plain();
    let (first, resent) = datagrams_at_worst(&scenario, &scale(&scenario, KAPPA, None, FULL));
    // Within ten seconds of arrival 200,000/s send for the first time, and those of 0.5, 1.5, 3.5 and 7.5 s ago again.
    close(first, 200_000.0);
    close(resent, 800_000.0);
    // Later, of those within 10 s no more than 3 at a time: 4 s apart.
    scenario.arrival = Arrival::Uniform { over_secs: 0.4 };
    let (first, resent) = datagrams_at_worst(&scenario, &scale(&scenario, KAPPA, None, FULL));
    close(first + resent, 5_000_000.0);
}

#[test]
fn at_the_end_of_an_outage_whoever_is_in_an_attempt_sends() {
    let mut scenario = builtin::find("S5").unwrap().scenario();
    let at_end = |scenario: &Scenario, wanted| {
        datagrams_at_worst(scenario, &scale(scenario, KAPPA, None, wanted))
    };
    // After 16 s nobody has given up: 400,000 within 4 s, and a little more of those who came last and are still at 1 to 3.5 s.
    let (first, resent) = at_end(&scenario, QUICK);
    assert!(first < 1.0 && (100_000.0..140_000.0).contains(&resent), "{resent}");
    // After 80 s all have given up once, at 32 to 62 s. Of those who wait for 30 s the first to come, within 18 s of 30, try again: 0.6. Of
    // the rude nearly all do, since 5 s of waiting are 5 of 37. Back-offs of 30 to 60 s end from 62 s on.
    scenario.clients.retain(|client| client.name == "fixed-30");
    scenario.clients[0].share = 1.0;
    close(at_end(&scenario, FULL).1 / (2_000_000.0 * 0.6 / 4.0), 1.0);
    scenario.clients[0].retry =
        Retry::Fixed { after_timeout_secs: 120.0, after_refusal_secs: 1.0, spread: 0.0 };
    close(at_end(&scenario, FULL).1, 0.0);
    scenario.clients[0].retry = Retry::Backoff { base_secs: 30.0, most_secs: 1800.0 };
    // One who gave up at x and waits for y, each of 30 s evenly: x + y <= 18 in a triangle of 18 x 18 / 2 in 30 x 30, 0.18.
    let share = at_end(&scenario, FULL).1 / (2_000_000.0 / 4.0);
    assert!((share - 0.18).abs() < 0.02, "{share}");
}

#[test]
fn a_generator_that_reaches_the_multiple_leaves_it_as_it_is() {
    let kappa = 5000.0;
    let scaled = scale(&plain(), kappa, Some(HEADROOM), FULL);
    close(scaled.multiple, 10.0);
    // 5000/s are answered: 5000 / 150,000; of the 50,000/s 9 in 10 are sent five times: 225,000 / 500,000.
    close(generator_busy(&plain(), &scaled, kappa, HEADROOM), 0.0333 + 0.45);
    let mut scenario = plain();
    scenario.hostile = Some(Hostile { share: 0.2, guessing_share: 0.0 });
    // One in five is hostile: 225,000 / 0.8.
    close(generator_busy(&scenario, &scaled, kappa, HEADROOM), 0.0333 + 0.5625);
}

#[test]
fn a_generator_that_does_not_reach_the_multiple_stretches_the_arrival() {
    let kappa = 50_000.0;
    let scaled = scale(&plain(), kappa, Some(HEADROOM), FULL);
    close(scaled.multiple_asked, 10.0);
    // 50,000/s answered are a third of its time. 0.467 x 500,000 = 233,300 datagrams/s are left. Stretched to 50 s and more, all eleven of
    // an attempt overlap: 21,200 attempts/s beyond kappa, a multiple of 1.42 and 70 s.
    close(scaled.multiple, 1.424);
    close(scaled.arrival_secs, 70.2);
    close(generator_busy(&plain(), &scaled, kappa, HEADROOM), 0.8);
    assert_eq!(scaled.user_agents, 5_000_000);
    // A third of the population in a third of the time has fewer of its copies under way together, and reaches more.
    let quick = scale(&plain(), kappa, Some(HEADROOM), QUICK);
    assert!(quick.multiple > scaled.multiple, "{quick:?}");
    // Where the server alone fills the generator a longer arrival helps nobody.
    let hopeless = scale(&plain(), 140_000.0, Some(HEADROOM), FULL);
    close(hopeless.multiple, 1.0);
}
