//! One user agent and a registrar: RFC 3261 17.1.2, 22 and 10.2 as they are seen in datagrams.

use crate::storm::crowd::Taken;
use crate::storm::crowd::testing::{MS, SEC, World, crowd, scenario};

/// When each of these was sent, from the first, in milliseconds.
fn times_ms(sent: &[crate::storm::crowd::testing::Sent]) -> Vec<u64> {
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
