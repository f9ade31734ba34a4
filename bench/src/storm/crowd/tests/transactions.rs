//! One user agent and a registrar: RFC 3261 17.1.2, 22 and 10.2 as they are seen in datagrams.

use std::net::Ipv4Addr;

use crate::population::Population;
use crate::storm::crowd::testing::{DOMAIN, MS, SEC, Sent, World, crowd, md5_hex, scenario, setup};
use crate::storm::crowd::{Arrived, Crowd, Taken};
use crate::storm::record::{Class, Percentiles};
use crate::storm::scenario::Addresses;
use crate::storm::tally::Tally;

/// When each of these was sent, from the first, in milliseconds.
fn times_ms(sent: &[Sent]) -> Vec<u64> {
    sent.iter().map(|one| (one.at_ns - sent[0].at_ns) / MS).collect()
}

#[test]
fn silence_is_asked_eleven_times() {
    let mut world = World::new(crowd(&scenario(1)));
    let sent = world.run_until(33 * SEC);
    assert_eq!(
        times_ms(&sent),
        [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    );
    assert!(sent.iter().all(|one| one.text == sent[0].text), "the same bytes each time");
    let counts = world.crowd.counts();
    assert_eq!((counts.own.begun, counts.own.timed_out, counts.total_waiting), (1, 1, 1));
    assert_eq!((counts.sent, counts.retransmitted), (11, 10));
    world.crowd.check();
    // Timer F at 32 s, then 30 s of patience.
    let again = world.run_until(63 * SEC);
    assert_eq!(again[0].at_ns - sent[0].at_ns, 62 * SEC);
    assert_eq!(again[0].cseq(), sent[0].cseq() + 1);
    assert_ne!(again[0].branch(), sent[0].branch());
    world.crowd.check();
}

#[test]
fn a_challenge_is_answered_by_a_second_transaction() {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    assert_eq!(first.header("Authorization"), None);
    world.kept.now_ns += 3 * MS;
    assert_eq!(world.answer(&first, &first.challenge("abc", "")), Taken::Challenged);
    let second = world.sent().remove(0);
    assert_eq!(second.cseq(), first.cseq() + 1);
    assert_ne!(second.branch(), first.branch());
    assert_eq!(second.credential("nonce"), Some("abc"));
    assert_eq!(second.credential("nc"), Some("00000001"));
    // It has timers of its own.
    let again = world.run_until(second.at_ns + 8 * SEC);
    let times: Vec<u64> = again.iter().map(|one| (one.at_ns - second.at_ns) / MS).collect();
    assert_eq!(times, [500, 1500, 3500, 7500]);
    assert!(again.iter().all(|one| one.text == second.text));
    assert_eq!(world.answer(&first, &first.challenge("abc", "")), Taken::Late);
    assert_eq!(world.answer(&second, &second.granted(3600)), Taken::Registered);
    assert_eq!(world.answer(&second, &second.granted(3600)), Taken::Late);
    let counts = world.crowd.counts();
    assert_eq!((counts.own.registered, counts.own.registered_at_first), (1, 1));
    assert_eq!((counts.total_registered, counts.received_late), (1, 2));
    world.crowd.check();
    // Half of what was granted later it refreshes, and uses its nonce once more.
    let registered_ns = world.kept.now_ns;
    let refresh = world.run_until_sent().remove(0);
    assert_eq!(refresh.at_ns, registered_ns + 1800 * SEC);
    assert_eq!(refresh.credential("nonce"), Some("abc"));
    assert_eq!(refresh.credential("nc"), Some("00000002"));
    world.crowd.check();
}

/// One user agent that has just been challenged, and its second REGISTER.
fn challenged() -> (World, Sent) {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    assert_eq!(world.answer(&first, &first.challenge("abc", "")), Taken::Challenged);
    let second = world.sent().remove(0);
    (world, second)
}

/// The same, registered for an hour, when it refreshes.
fn refreshing() -> (World, Sent) {
    let (mut world, second) = challenged();
    assert_eq!(world.answer(&second, &second.granted(3600)), Taken::Registered);
    let refresh = world.run_until_sent().remove(0);
    assert_eq!(refresh.credential("nonce"), Some("abc"));
    (world, refresh)
}

#[test]
fn a_provisional_response_slows_retransmissions_down() {
    // RFC 3261 17.1.2.2: what is armed runs out, and then it is T2.
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    world.run_until(first.at_ns + 600 * MS);
    assert_eq!(world.answer(&first, &first.response(100, "")), Taken::Provisional);
    let again = world.run_until(first.at_ns + 33 * SEC);
    let times: Vec<u64> = again.iter().map(|one| (one.at_ns - first.at_ns) / MS).collect();
    assert_eq!(times, [1500, 5500, 9500, 13500, 17500, 21500, 25500, 29500]);
    assert_eq!(world.crowd.counts().own.timed_out, 1);
    world.crowd.check();
}

#[test]
fn due_times_do_not_drift_when_the_caller_is_late() {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    let due_ns = first.at_ns;
    // Nobody calls for two seconds: what was due meanwhile leaves at once.
    world.kept.now_ns = due_ns + 2 * SEC;
    world.crowd.expire(world.kept.now_ns, u32::MAX, &mut world.kept);
    assert_eq!(world.sent().len(), 2, "0.5 s and 1.5 s");
    assert_eq!(world.run_until(due_ns + 3 * SEC), []);
    assert_eq!(world.run_until_sent()[0].at_ns, due_ns + 3500 * MS);
    // Latency counts from when the first datagram was due.
    assert_eq!(world.answer(&first, &first.granted(3600)), Taken::Registered);
    let mut tally = Tally::default();
    world.crowd.swap_tally(&mut tally);
    let percentiles = Percentiles::of(tally.of(Class::Reg200New));
    assert_eq!(percentiles.count, 1);
    assert!((percentiles.max_us / 3.5e6 - 1.0).abs() < 0.001, "{percentiles:?}");
}

#[test]
fn a_second_challenge_to_good_credentials_is_a_refusal() {
    let (mut world, second) = challenged();
    assert_eq!(world.answer(&second, &second.challenge("def", ", stale=true")), Taken::Refused);
    assert_eq!(world.sent(), []);
    let counts = world.crowd.counts();
    assert_eq!(counts.own.refused.iter().collect::<Vec<_>>(), [(401, 1)]);
    world.crowd.check();
    // It starts over without credentials.
    let again = world.run_until_sent().remove(0);
    assert_eq!(again.at_ns, second.at_ns + 30 * SEC);
    assert_eq!(again.header("Authorization"), None);
}

#[test]
fn a_stale_nonce_is_replaced() {
    let (mut world, refresh) = refreshing();
    let stale = refresh.challenge("def", ", stale=true");
    assert_eq!(world.answer(&refresh, &stale), Taken::Challenged);
    let second = world.sent().remove(0);
    assert_eq!(second.credential("nonce"), Some("def"));
    assert_eq!(second.credential("nc"), Some("00000001"));
    assert_eq!(second.cseq(), refresh.cseq() + 1);
}

#[test]
fn the_same_nonce_again_is_no_new_challenge() {
    let (mut world, refresh) = refreshing();
    assert_eq!(world.answer(&refresh, &refresh.challenge("abc", "")), Taken::Refused);
    let (mut world, refresh) = refreshing();
    assert_eq!(world.answer(&refresh, &refresh.challenge("def", "")), Taken::Challenged);
    // Nor is one for another realm.
    let (mut world, refresh) = refreshing();
    let other = refresh.challenge("def", "").replace("realm=\"sip.test\"", "realm=\"else.test\"");
    assert_eq!(world.answer(&refresh, &other), Taken::Refused);
}

#[test]
fn credentials_are_what_the_rfc_reckons() {
    let (_, second) = challenged();
    let user = second.credential("username").unwrap();
    let population = Population::new(1, 4, u32::MAX);
    let subscriber = population.subscribers(DOMAIN).next().unwrap();
    assert_eq!(subscriber.username, user);
    let asked = md5_hex(format!("REGISTER:sip:{DOMAIN}"));
    let cnonce = second.credential("cnonce").unwrap();
    let all = format!("{}:abc:00000001:{cnonce}:auth:{asked}", subscriber.ha1);
    assert_eq!(second.credential("response"), Some(md5_hex(all).as_str()));
}

#[test]
fn a_longer_time_that_is_asked_for_is_given() {
    let (mut scenario, mut scaled) = scenario(1);
    (scenario.registration.expires_secs, scaled.expires_secs) = (60, 60);
    let mut world = World::new(crowd(&(scenario, scaled)));
    let first = world.run_until_sent().remove(0);
    assert_eq!(first.header("Expires"), Some("60"));
    let brief = |sent: &Sent| sent.response(423, "Min-Expires: 300\r\n");
    assert_eq!(world.answer(&first, &brief(&first)), Taken::Lengthened);
    let second = world.sent().remove(0);
    assert_eq!(second.header("Expires"), Some("300"));
    assert_eq!(second.cseq(), first.cseq() + 1);
    assert_eq!(world.crowd.counts().own.begun, 1, "the same attempt");
    // What was obeyed is not obeyed again.
    assert_eq!(world.answer(&second, &brief(&second)), Taken::Refused);
    let third = world.run_until_sent().remove(0);
    assert_eq!(third.header("Expires"), Some("300"));
    assert_eq!(world.answer(&third, &third.response(423, "")), Taken::Refused);
    world.crowd.check();
}

#[test]
fn a_200_without_the_binding_is_a_failure() {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    let other = "Contact: <sip:x@192.0.2.1:5060>;expires=60\r\n";
    assert_eq!(world.answer(&first, &first.response(200, other)), Taken::Refused);
    let counts = world.crowd.counts();
    assert_eq!(counts.own.refused.iter().collect::<Vec<_>>(), [(200, 1)]);
    assert_eq!(counts.total_registered, 0);
    world.crowd.check();
}

#[test]
fn what_is_granted_is_the_contact_s_or_the_message_s() {
    for (lines, granted_secs) in [
        ("Contact: OWN;expires=120\r\nExpires: 60\r\n", 120),
        ("Contact: OWN\r\nExpires: 60\r\n", 60),
        ("Contact: <sip:x@y>;expires=9, OWN;expires=90\r\n", 90),
    ] {
        let mut world = World::new(crowd(&scenario(1)));
        let first = world.run_until_sent().remove(0);
        let lines = lines.replace("OWN", first.header("Contact").unwrap());
        assert_eq!(world.answer(&first, &first.response(200, &lines)), Taken::Registered);
        let refresh = world.run_until_sent().remove(0);
        assert_eq!(refresh.at_ns - first.at_ns, granted_secs * SEC / 2);
    }
}

#[test]
fn what_is_forged_is_no_answer() {
    let mut world = World::new(crowd(&scenario(4)));
    let first = world.run_until_sent().remove(0);
    let good = first.granted(3600);
    let call_id = first.header("Call-ID").unwrap();
    let cseq = first.cseq();
    let branch = first.branch();
    let wrong = [
        good.replace(call_id, "01234567-89ab-cdef-0123-456789abcdef"),
        good.replace(&format!("{cseq} REGISTER"), &format!("{} REGISTER", cseq + 1)),
        good.replace(&format!("{cseq} REGISTER"), &format!("{cseq} OPTIONS")),
        good.replace(branch, &format!("{}f", &branch[..branch.len() - 1])),
        // A user agent that there is not.
        good.replace(branch, "z9hG4bK05ea0a113fffffffffff"),
    ];
    for text in &wrong {
        assert_eq!(world.answer(&first, text), Taken::Stray, "{text}");
    }
    let arrived = first.arrived();
    let other = |port, to, from| Arrived { port, to, from };
    let elsewhere = "127.0.0.9:5060".parse().unwrap();
    for at in [
        other((arrived.port + 1) % 4, arrived.to, arrived.from),
        other(arrived.port, "127.1.2.3".parse().unwrap(), arrived.from),
        other(arrived.port, arrived.to, elsewhere),
    ] {
        let taken = world.crowd.take(world.kept.now_ns, at, good.as_bytes(), &mut world.kept);
        assert_eq!(taken, Taken::Stray);
    }
    assert_eq!(world.crowd.counts().received_stray, wrong.len() as u64 + 3);
    for text in ["", "\0\0\0", "INVITE sip:a SIP/2.0\r\n\r\n", &good.replace("5ea0a11", "5ea0a12")]
    {
        assert_eq!(world.answer(&first, text), Taken::NotMine);
    }
    assert_eq!(world.crowd.counts().received, wrong.len() as u64 + 3);
    assert_eq!(world.answer(&first, &good), Taken::Registered);
    world.crowd.check();
}

#[test]
fn a_200_that_comes_too_late_leaves_a_binding_with_the_server() {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    world.run_until(first.at_ns + 33 * SEC);
    assert_eq!(world.crowd.counts().own.timed_out, 1);
    assert_eq!(world.answer(&first, &first.granted(3600)), Taken::Late);
    assert_eq!(world.answer(&first, &first.granted(3600)), Taken::Late);
    let counts = world.crowd.counts();
    assert_eq!((counts.registered_late, counts.received_late), (1, 2));
    assert_eq!((counts.total_registered, counts.own.registered), (0, 0), "it does not know");
    // So what comes next is a refresh to the server.
    let again = world.run_until_sent().remove(0);
    assert_eq!(world.answer(&again, &again.granted(3600)), Taken::Registered);
    let mut tally = Tally::default();
    world.crowd.swap_tally(&mut tally);
    assert_eq!(tally.of(Class::RegRefresh).len(), 1);
    assert_eq!(tally.of(Class::Reg200New).len(), 0);
    // From the first datagram of the first attempt.
    let whole = Percentiles::of(tally.of(Class::Registration));
    assert!((whole.max_us / 62e6 - 1.0).abs() < 0.001, "{whole:?}");
    world.crowd.check();
}

#[test]
fn bindings_lapse() {
    let mut world = World::new(crowd(&scenario(1)));
    let first = world.run_until_sent().remove(0);
    world.answer(&first, &first.granted(100));
    // Its refreshes are not answered.
    world.run_until(first.at_ns + 99 * SEC);
    assert_eq!(world.crowd.counts().total_registered, 1);
    world.run_until(first.at_ns + 102 * SEC);
    assert_eq!(world.crowd.counts().total_registered, 0);
    world.crowd.check();
}

#[test]
fn one_address_is_written_as_it_is() {
    let (mut scenario, scaled) = scenario(3);
    scenario.population.addresses = Addresses::One;
    let mut setup = setup(3, 0, 1);
    setup.at = Some(Ipv4Addr::new(10, 1, 2, 30));
    let mut world = World::new(Crowd::new(&scenario, &scaled, &setup));
    let first = world.run_until_sent().remove(0);
    assert_eq!(first.source, Ipv4Addr::new(10, 1, 2, 30));
    assert!(first.header("Via").unwrap().contains(" 10.1.2.30:2000"), "{}", first.text);
    assert!(first.header("Contact").unwrap().contains("@10.1.2.30:2000"), "{}", first.text);
    assert_eq!(world.answer(&first, &first.granted(60)), Taken::Registered);
}
