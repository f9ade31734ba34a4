//! What a message costs from the datagram to the outbox: peek, parse and handle.

use super::any_below;
use perf::gate::digest::{Answering, CHALLENGED};
use perf::gate::phones::{Home, Template};
use perf::gate::{Gate, Rounds};
use shards::io::{Class, Outcome, Reason, Verdict};

pub(crate) const GATES: &[Gate] = &[
    Gate { name: "REGISTER refresh, 500 bytes", bound: 3670, goal: Some(3000), run: refresh },
    Gate { name: "REGISTER initial, 500 bytes", bound: 5655, goal: None, run: initial },
    Gate {
        name: "REGISTER retransmitted, 500 bytes",
        bound: 2880,
        goal: None,
        run: retransmission,
    },
    Gate { name: "REGISTER challenged (401)", bound: 3710, goal: None, run: challenged },
    Gate {
        name: "REGISTER refresh with digest, nonce reused",
        bound: 8330,
        goal: None,
        run: authenticated,
    },
    Gate { name: "REGISTER with a bad password", bound: 8060, goal: None, run: bad_password },
    Gate { name: "REGISTER of an unknown user", bound: 8045, goal: None, run: unknown_user },
    Gate { name: "OPTIONS", bound: 3725, goal: None, run: options },
    Gate { name: "move to another core (peek only)", bound: 1445, goal: None, run: move_on },
    Gate { name: "drop of junk", bound: 186, goal: None, run: junk },
];

/// A home, the message it hears, and what came of it.
struct Scene {
    home: Home,
    message: Template,
    wrong: u32,
}

impl Scene {
    fn new(home: Home, message: Template) -> Self {
        Scene { home, message, wrong: 0 }
    }

    /// Counts `operation` after `numbers` (phone and `CSeq` of a round), and checks every outcome.
    fn run(mut self, rounds: Rounds, expected: Outcome, numbers: impl Fn(u32) -> (u32, u32)) {
        rounds.measure_after(
            &mut self,
            |scene, round| {
                let (phone, cseq) = numbers(round);
                scene.message.write(phone, cseq);
            },
            |scene| scene.wrong += u32::from(scene.home.hear(scene.message.bytes()) != expected),
        );
        assert_eq!(self.wrong, 0, "rounds whose outcome is not {expected:?}");
        self.home.shard.check();
    }
}

fn replied(class: Class) -> Outcome {
    Outcome { class, verdict: Verdict::Replied }
}

fn refresh(size: u32, rounds: Rounds) {
    let scene = Scene::new(Home::with_phones(size, 0), Template::register(|text| text));
    scene.run(rounds, replied(Class::RegisterRefresh), |round| (any_below(size, round), 2 + round));
}

fn initial(size: u32, rounds: Rounds) {
    let scene =
        Scene::new(Home::with_phones(size, rounds.total()), Template::register(|text| text));
    scene.run(rounds, replied(Class::RegisterNew), |round| (size + round, 1));
}

fn retransmission(size: u32, rounds: Rounds) {
    let mut scene = Scene::new(Home::with_phones(size, 0), Template::register(|text| text));
    for phone in 0..1000 {
        scene.message.write(phone, 2);
        scene.home.hear(scene.message.bytes());
    }
    scene.run(rounds, replied(Class::Duplicate), |round| (any_below(1000, round), 2));
}

fn challenged(size: u32, rounds: Rounds) {
    let home = Answering::new(size).home;
    let scene = Scene::new(home, Template::register(|text| text));
    scene.run(rounds, CHALLENGED, |round| (any_below(size, round), 2 + round));
}

fn authenticated(size: u32, rounds: Rounds) {
    let refreshed = replied(Class::RegisterRefresh);
    let answers = answers(Answering::new(size), "secret", rounds, |round| any_below(size, round));
    // A nonce in three thousand had to make room, and its phone is challenged again.
    let wrong = answers.iter().filter(|&&outcome| outcome != refreshed).count();
    assert!(wrong <= answers.len() / 1000, "{wrong} of {} were no refresh", answers.len());
}

/// The subscribers are half of the phones, so that nothing but being known tells them from the others.
fn bad_password(size: u32, rounds: Rounds) {
    let mut answering = Answering::unregistered(size, size / 2);
    (0..1000).for_each(|phone| answering.challenge(phone));
    let answers = answers(answering, "wrong", rounds, |round| any_below(1000, round));
    assert!(answers.iter().all(|&outcome| outcome == CHALLENGED));
}

fn unknown_user(size: u32, rounds: Rounds) {
    let mut answering = Answering::unregistered(size, size / 2);
    (0..1000).for_each(|phone| answering.challenge(size - 1 - phone));
    let answers = answers(answering, "wrong", rounds, |round| size - 1 - any_below(1000, round));
    assert!(answers.iter().all(|&outcome| outcome == CHALLENGED));
}

/// What comes of answers to challenges with nonces that were used before.
fn answers(
    answering: Answering,
    password: &str,
    rounds: Rounds,
    phone: impl Fn(u32) -> u32,
) -> Vec<Outcome> {
    let mut state = (answering, Vec::with_capacity(rounds.total() as usize));
    rounds.measure_after(
        &mut state,
        |(answering, _), round| answering.write(phone(round), 2 + round, password),
        |(answering, outcomes)| outcomes.push(answering.hear()),
    );
    state.0.home.shard.check();
    state.1
}

fn options(_: u32, rounds: Rounds) {
    let scene = Scene::new(Home::new(1000, 1), Template::options());
    scene.run(rounds, replied(Class::Options), |round| (round, 1));
}

fn move_on(_: u32, rounds: Rounds) {
    // Of 60,000 cores, this is the home of next to nobody.
    let mut state = (Home::new(1000, 60_000), Template::register(|text| text), 0);
    rounds.measure_after(
        &mut state,
        |(_, message, _), round| message.write(round, 1),
        |(home, message, here)| {
            *here += u32::from(!matches!(home.hear(message.bytes()).verdict, Verdict::Hopped(_)));
        },
    );
    assert!(state.2 < rounds.total() / 1000, "{} of {} were at home", state.2, rounds.total());
}

fn junk(_: u32, rounds: Rounds) {
    let mut home = Home::new(1000, 1);
    let junk: Vec<u8> = (0..500_u32).map(|at| (at * 7 + 200).to_le_bytes()[0]).collect();
    let mut wrong = 0;
    rounds.measure(|_| {
        let verdict = home.hear(&junk).verdict;
        wrong += u32::from(verdict != Verdict::Dropped(Reason::NotSip));
    });
    assert_eq!(wrong, 0, "rounds in which junk was taken for something");
}
