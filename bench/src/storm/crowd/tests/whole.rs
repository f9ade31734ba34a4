//! Whole crowds against a registrar that loses, refuses and challenges: what holds at any time, and that a seed says it all.

use crate::population::mix;
use crate::storm::crowd::testing::{MS, SEC, Sent, World, crowd, fixed, scenario, setup};
use crate::storm::crowd::{Crowd, Taken};
use crate::storm::record::{Scaled, Second};
use crate::storm::scenario::{Client, Hostile, KeepAlive, Retry, Scenario};

/// A scenario with everything in it.
fn everything(size: u32) -> (Scenario, Scaled) {
    let (mut scenario, mut scaled) = scenario(size);
    let backoff = Retry::Backoff { base_secs: 2.0, most_secs: 60.0 };
    scenario.clients = vec![
        Client { share: 0.5, ..fixed("fixed", 6.0) },
        Client { name: "backs-off".to_owned(), share: 0.5, retry: backoff },
    ];
    scenario.honour_retry_after = 0.5;
    scenario.keep_alive = Some(KeepAlive { every_secs: 10.0, options_share: 0.5 });
    scenario.hostile = Some(Hostile { share: 0.1, guessing_share: 0.5 });
    scaled.before_secs = 1.0;
    scaled.steady_per_second = 20.0;
    scaled.expires_secs = 40;
    (scenario, scaled)
}

/// When nothing reaches the registrar.
const OUTAGE: std::ops::Range<u64> = 40 * SEC..80 * SEC;

/// A registrar that loses, is late, challenges, refuses and answers twice, as its numbers say.
struct Registrar {
    drawn: u64,
    /// What arrives when.
    on_the_way: Vec<(u64, Sent, String)>,
}

impl Registrar {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.drawn) >> 8
    }

    fn hear(&mut self, sent: &Sent) {
        if sent.text == "\r\n\r\n" || OUTAGE.contains(&sent.at_ns) {
            return;
        }
        let response = match (self.draw() % 20, sent.header("Authorization")) {
            (0..4, _) => return,
            (4, _) => sent.response(100, ""),
            (5, _) => sent.response(503, "Retry-After: 3\r\n"),
            (6, _) => sent.response(500, ""),
            (7, _) => sent.response(423, "Min-Expires: 60\r\n"),
            (8, _) => sent.challenge(&format!("n{}", self.draw()), ", stale=true"),
            _ if sent.text.starts_with("OPTIONS") => sent.response(200, ""),
            (_, None) => sent.challenge(&format!("n{}", self.draw()), ""),
            (_, Some(_)) => sent.granted(40),
        };
        for _ in 0..=u64::from(self.draw().is_multiple_of(8)) {
            let late_ns = match self.draw() % 16 {
                0 => 35 * SEC,
                1..4 => 900 * MS,
                _ => 5 * MS,
            };
            self.on_the_way.push((sent.at_ns + late_ns, sent.clone(), response.clone()));
        }
    }
}

/// Plays until `until_ns`, and answers with all that was sent, and how everything was taken.
fn play(world: &mut World, registrar: &mut Registrar, until_ns: u64) -> (Vec<Sent>, Vec<Taken>) {
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    let mut now_ns = 0;
    while now_ns < until_ns {
        now_ns += 20 * MS;
        let mut sent = world.run_until(now_ns);
        let (now, later): (Vec<_>, Vec<_>) =
            registrar.on_the_way.drain(..).partition(|(at_ns, ..)| *at_ns <= now_ns);
        registrar.on_the_way = later;
        for (_, request, response) in &now {
            taken.push(world.answer(request, response));
        }
        sent.extend(world.sent());
        for one in &sent {
            registrar.hear(one);
        }
        all.extend(sent);
    }
    (all, taken)
}

fn world(seed: u64) -> World {
    let (scenario, scaled) = everything(400);
    World::new(Crowd::new(&scenario, &scaled, &setup(400, 80, seed)))
}

#[test]
fn everything_is_accounted_for_at_any_time() {
    let mut world = world(5);
    let mut registrar = Registrar { drawn: 0, on_the_way: Vec::new() };
    let (mut sent, mut received) = (0, 0);
    let mut kinds = std::collections::HashSet::new();
    let mut before = world.crowd.counts().clone();
    let mut sums = Second::default();
    for step in 1..=60 {
        let (all, taken) = play(&mut world, &mut registrar, step * 2 * SEC);
        sent += all.len() as u64;
        received += taken.len() as u64;
        kinds.extend(taken.iter().map(|taken| format!("{taken:?}")));
        world.crowd.check();
        let counts = world.crowd.counts().clone();
        assert_eq!(counts.sent, sent);
        assert_eq!(counts.received, received);
        let mut second = Second::default();
        counts.fill(&before, &mut second);
        sums.attempts += second.attempts;
        sums.registered += second.registered;
        sums.sent += second.sent;
        for (status, count) in second.refused {
            *sums.refused.entry(status).or_default() += count;
        }
        before = counts;
    }
    assert_eq!((sums.attempts, sums.sent), (before.own.begun, before.sent), "seconds add up");
    assert_eq!(sums.registered, before.own.registered);
    assert_eq!(
        sums.refused.into_iter().collect::<Vec<_>>(),
        before.own.refused.iter().collect::<Vec<_>>()
    );
    // Nothing of all that can happen is missing, and nothing was taken for what it is not.
    for kind in [
        "Late",
        "Provisional",
        "Challenged",
        "Lengthened",
        "Registered",
        "Refused",
        "KeptAlive",
        "Hostile",
    ] {
        assert!(kinds.contains(kind), "{kind} of {kinds:?}");
    }
    assert!(!kinds.contains("Stray") && !kinds.contains("NotMine"), "{kinds:?}");
    assert!(
        before.own.timed_out > 0 && before.registered_late > 0 && before.keep_alives_lost > 0,
        "{before:?}"
    );
    assert_eq!(before.total_arrived, 400);
}

#[test]
fn a_seed_says_it_all() {
    let run = |seed| {
        let mut registrar = Registrar { drawn: 9, on_the_way: Vec::new() };
        play(&mut world(seed), &mut registrar, 20 * SEC).0
    };
    let first = run(1);
    assert!(first.len() > 2000);
    assert_eq!(first, run(1), "the same bytes at the same times");
    assert_ne!(first, run(2));
}

#[test]
fn a_small_budget_only_takes_longer() {
    let mut slow = World::new(crowd(&scenario(50)));
    let all = World::new(crowd(&scenario(50))).run_until(3 * SEC);
    slow.kept.now_ns = 3 * SEC;
    let mut rounds = 0;
    while slow.crowd.expire(3 * SEC, 7, &mut slow.kept) > 0 {
        rounds += 1;
    }
    let texts = |sent: &[Sent]| sent.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&slow.sent()), texts(&all), "in the order in which it was due");
    assert!(rounds > all.len() / 7);
}

#[test]
fn a_million_take_a_hundred_megabytes() {
    let (mut scenario, scaled) = scenario(1_000_000);
    scenario.registration.digest = false;
    let crowd = crowd(&(scenario, scaled));
    let bytes = crowd.memory();
    println!("{} bytes a user agent, {bytes} in all", bytes / 1_000_000);
    // 64 bytes each, 24 more for a nonce as Seawall makes them, and 9 MB of timers for all.
    assert!(bytes + 24_000_000 < 100_000_000, "{bytes}");
}
