//! What goes on beside registrations: keep-alives, hostile senders, a steady load of others, and what is there from before.

use std::collections::{HashMap, HashSet};

use crate::digest::Accounts;
use crate::generator::CSEQ_MIN;
use crate::population::{Population, UserAgent};
use crate::storm::crowd::testing::{DOMAIN, MS, SEC, World, crowd, md5_hex, scenario, setup};
use crate::storm::crowd::{Crowd, Taken};
use crate::storm::record::Class;
use crate::storm::scenario::{Arrival, Hostile, KeepAlive, Nonces};
use crate::storm::tally::Tally;

/// A crowd of so many who are registered and keep alive, at 2 s, without what was sent until then.
fn keeping(size: u32, options_share: f64) -> World {
    let (mut scenario, scaled) = scenario(size);
    scenario.keep_alive = Some(KeepAlive { every_secs: 30.0, options_share });
    let mut world = World::new(crowd(&(scenario, scaled)));
    while world.kept.now_ns < 2 * SEC {
        let until_ns = world.kept.now_ns + MS;
        for sent in world.run_until(until_ns) {
            if sent.text.starts_with("REGISTER") {
                world.answer(&sent, &sent.granted(36_000));
            }
        }
    }
    world
}

#[test]
fn each_keeps_alive_in_its_turn() {
    let mut world = keeping(100, 0.0);
    let sent = world.run_until(92 * SEC);
    let mut times: HashMap<(usize, std::net::Ipv4Addr), Vec<u64>> = HashMap::new();
    for one in &sent {
        assert_eq!(one.text, "\r\n\r\n");
        times.entry((one.port, one.source)).or_default().push(one.at_ns);
    }
    assert_eq!(times.len(), 100);
    for times in times.values() {
        assert_eq!(times.len(), 3);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 30 * SEC));
    }
    // They are spread over the time between two turns.
    assert!(sent.windows(2).all(|pair| pair[1].at_ns - pair[0].at_ns == 300 * MS));
    assert_eq!(world.answer(&sent[0], "\r\n"), Taken::KeptAlive);
    world.crowd.check();
}

#[test]
fn who_has_not_begun_keeps_nothing_alive() {
    let (mut scenario, mut scaled) = scenario(10);
    scenario.keep_alive = Some(KeepAlive { every_secs: 10.0, options_share: 0.0 });
    scaled.before_secs = 60.0;
    let mut world = World::new(crowd(&(scenario, scaled)));
    assert_eq!(world.run_until(60 * SEC), []);
    let sent = world.run_until(75 * SEC);
    assert!(sent.iter().any(|one| one.text == "\r\n\r\n"));
}

#[test]
fn options_are_said_again_until_they_are_answered() {
    let mut world = keeping(2, 1.0);
    let first = world.run_until_sent().remove(0);
    assert!(first.text.starts_with("OPTIONS sip:sip.test SIP/2.0\r\n"), "{}", first.text);
    let again = world.run_until(first.at_ns + 14 * SEC);
    let times: Vec<u64> = again.iter().map(|one| (one.at_ns - first.at_ns) / MS).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 11500], "RFC 3261 17.1.2.1");
    assert!(again.iter().all(|one| one.text == first.text));
    assert_eq!(world.answer(&first, &first.response(100, "")), Taken::Provisional);
    assert_eq!(world.answer(&first, &first.response(200, "")), Taken::KeptAlive);
    assert_eq!(world.answer(&first, &first.response(200, "")), Taken::Late);
    let wrong = first.response(200, "").replace("OPTIONS", "REGISTER");
    assert_eq!(world.answer(&first, &wrong), Taken::Stray);
    let mut tally = Tally::default();
    world.crowd.swap_tally(&mut tally);
    let latency_ns = tally.of(Class::Options).max() as f64;
    assert!((latency_ns / 14e9 - 1.0).abs() < 0.001, "{latency_ns}");
    // The other's turn, and then its own again; what has no answer until the next turn is lost.
    let second = world.run_until_sent().remove(0);
    assert_eq!(second.at_ns - first.at_ns, 15 * SEC);
    world.run_until(second.at_ns + 31 * SEC);
    assert_eq!(world.crowd.counts().keep_alives_lost, 1);
    assert_eq!(world.answer(&second, &second.response(200, "")), Taken::Late);
    world.crowd.check();
}

#[test]
fn hostile_senders_are_their_share_of_all_registers() {
    let (mut scenario, scaled) = scenario(2000);
    scenario.hostile = Some(Hostile { share: 0.2, guessing_share: 0.0 });
    let mut world = World::new(crowd(&(scenario, scaled)));
    let sent = world.run_until(20 * SEC);
    let counts = world.crowd.counts();
    let share = counts.sent_hostile as f64 / (counts.sent_hostile + counts.sent_registers) as f64;
    assert!((share - 0.2).abs() < 0.001, "{share}");
    let population = Population::new(2000, 4, u32::MAX);
    let names: HashSet<String> = population.subscribers(DOMAIN).map(|s| s.username).collect();
    let places: HashSet<_> = (0..2000).map(|n| population.address(UserAgent(n))).collect();
    let (mut hostile, mut calls) = (0, HashSet::new());
    for one in &sent {
        let user = one.header("To").unwrap().trim_start_matches("<sip:").split('@').next().unwrap();
        if !names.contains(user) {
            hostile += 1;
            assert!(!places.contains(&one.source), "from an address of its own");
            assert!(calls.insert(one.header("Call-ID").unwrap()), "once each");
        }
    }
    assert_eq!(hostile, counts.sent_hostile);
    world.crowd.check();
}

#[test]
fn who_guesses_answers_challenges_and_is_wrong() {
    let (mut scenario, scaled) = scenario(200);
    scenario.hostile = Some(Hostile { share: 0.5, guessing_share: 1.0 });
    let mut world = World::new(crowd(&(scenario, scaled)));
    let population = Population::new(200, 4, u32::MAX);
    let places: HashSet<_> = (0..200).map(|n| population.address(UserAgent(n))).collect();
    let subscribers: HashMap<String, String> =
        population.subscribers(DOMAIN).map(|s| (s.username, s.ha1)).collect();
    let sent = world.run_until(900 * MS);
    let guess = sent.iter().find(|one| !places.contains(&one.source)).unwrap();
    assert_eq!(guess.header("Authorization"), None);
    assert_eq!(world.answer(guess, &guess.challenge("xyz", "")), Taken::Hostile);
    let second = world.sent().remove(0);
    assert_eq!((second.source, second.port), (guess.source, guess.port));
    assert_eq!(second.cseq(), guess.cseq() + 1);
    assert_eq!(second.header("Call-ID"), guess.header("Call-ID"));
    let ha1 = &subscribers[second.credential("username").unwrap()];
    let (nc, cnonce) = (second.credential("nc").unwrap(), second.credential("cnonce").unwrap());
    let asked = md5_hex(format!("REGISTER:sip:{DOMAIN}"));
    let right = md5_hex(format!("{ha1}:xyz:{nc}:{cnonce}:auth:{asked}"));
    assert_ne!(second.credential("response"), Some(right.as_str()));
    // It gives up then.
    assert_eq!(world.answer(&second, &second.challenge("uvw", "")), Taken::Hostile);
    assert_eq!(world.sent(), []);
    assert_eq!(world.crowd.counts().received_hostile, 2);
    world.crowd.check();
}

#[test]
fn others_refresh_all_the_time() {
    let (scenario, mut scaled) = scenario(10);
    scaled.steady_per_second = 50.0;
    scaled.before_secs = 20.0;
    let mut crowd = Crowd::new(&scenario, &scaled, &setup(10, 200, 3));
    let mut accounts = Accounts::new(&Population::new(210, 4, u32::MAX), DOMAIN, true);
    for number in 0..210 {
        assert!(accounts.take_nonce(UserAgent(number), b"from before"));
    }
    crowd.adopt(Some(&accounts), CSEQ_MIN + 8, 3600, false);
    let mut world = World::new(crowd);
    let mut calls: HashMap<String, Vec<u64>> = HashMap::new();
    while world.kept.now_ns < 16 * SEC {
        let until_ns = world.kept.now_ns + MS;
        for sent in world.run_until(until_ns) {
            assert_eq!(sent.credential("nonce"), Some("from before"));
            calls.entry(sent.header("Call-ID").unwrap().to_owned()).or_default().push(sent.at_ns);
            world.answer(&sent, &sent.granted(3600));
        }
    }
    assert_eq!(calls.len(), 200, "every 4 s each");
    let counts = world.crowd.counts().clone();
    assert!((counts.others.registered as f64 / (50.0 * 16.0) - 1.0).abs() < 0.02, "{counts:?}");
    assert_eq!(counts.others.begun, counts.others.registered);
    assert_eq!((counts.own.begun, counts.total_registered), (0, 0));
    let mut tally = Tally::default();
    world.crowd.swap_tally(&mut tally);
    assert_eq!(tally.of(Class::RegRefresh).len(), counts.others.registered);
    world.crowd.check();
}

#[test]
fn what_is_held_from_before_is_as_the_scenario_says() {
    for (nonces, expected) in [
        (Nonces::None, None),
        (Nonces::Valid, Some("aaaa1234")),
        (Nonces::Foreign, Some("bbbb2345")),
    ] {
        let (mut scenario, mut scaled) = scenario(50);
        scenario.population.nonces = nonces;
        scaled.arrival = Arrival::Herd { spread: 0.02, cycles: 1 };
        let mut crowd = crowd(&(scenario, scaled));
        let mut accounts = Accounts::new(&Population::new(50, 4, u32::MAX), DOMAIN, true);
        for number in 0..50 {
            assert!(accounts.take_nonce(UserAgent(number), b"aaaa1234"));
            accounts.answer(UserAgent(number), 1);
        }
        crowd.adopt(Some(&accounts), CSEQ_MIN + 8, 3600, true);
        assert_eq!(crowd.counts().total_registered, 50);
        let mut world = World::new(crowd);
        let first = world.run_until_sent().remove(0);
        assert_eq!(first.credential("nonce"), expected);
        assert_eq!(first.cseq(), CSEQ_MIN + 9);
        if expected.is_some() {
            assert_eq!(first.credential("nc"), Some("00000002"));
        }
        if nonces == Nonces::Foreign {
            assert_eq!(world.answer(&first, &first.challenge("own", "")), Taken::Challenged);
        }
        world.crowd.check();
    }
}

#[test]
fn some_are_behind_one_address() {
    let (scenario, mut scaled) = scenario(100);
    scaled.behind_one_address = 40;
    let mut world = World::new(crowd(&(scenario, scaled)));
    let sent = world.run_until(1100 * MS);
    let first: HashMap<&str, _> = sent.iter().map(|s| (s.header("Call-ID").unwrap(), s)).collect();
    let shared = first.values().filter(|one| one.source == Population::shared_address());
    assert_eq!((first.len(), shared.count()), (100, 40));
    let own: HashSet<_> = first.values().map(|one| (one.source, one.port)).collect();
    assert_eq!(own.len(), 60 + 4, "a pair each, and the one address on all ports");
}
