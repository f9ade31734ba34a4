//! What a complete call costs, from the datagrams to the outbox: peek, parse and handle of six messages in, seven out; and each of
//! the six alone.

use super::any_below;
use perf::gate::calls::{Call, Exchange, Line};
use perf::gate::{Gate, Rounds};

pub(crate) const GATES: &[Gate] = &[
    Gate {
        name: "call: all 13 messages in and out",
        bound: 36_620,
        goal: Some(30_000),
        run: complete,
    },
    Gate { name: "call: INVITE, 900 bytes", bound: 10_730, goal: None, run: line::<0> },
    Gate { name: "call: 180", bound: 3_210, goal: None, run: line::<1> },
    Gate { name: "call: 200 to INVITE", bound: 3_680, goal: None, run: line::<2> },
    Gate { name: "call: ACK", bound: 6_520, goal: None, run: line::<3> },
    Gate { name: "call: BYE", bound: 8_840, goal: None, run: line::<4> },
    Gate { name: "call: 200 to BYE", bound: 3_660, goal: None, run: line::<5> },
];

/// A call takes as long as a dozen of what others count, so there are fewer of them.
const PART: u32 = 5;

/// Any phone is called by the one half of them away.
fn call(size: u32, round: u32) -> Call {
    let callee = any_below(size, round);
    Call { caller: (callee + size / 2) % size, callee, number: round }
}

/// An exchange, the line that it hears next, and how often what came of it was wrong.
struct Scene {
    exchange: Exchange,
    line: Line,
    wrong: u32,
}

impl Scene {
    fn new(size: u32) -> Self {
        Scene { exchange: Exchange::new(size, |_| {}), line: Line::Invite, wrong: 0 }
    }

    fn prepare(&mut self, call: Call, step: usize) {
        self.line = Line::COMPLETE[step];
        self.exchange.prepare(call, self.line);
    }

    fn hear(&mut self) {
        let outcome = self.exchange.hear();
        let sent = self.exchange.home.out.sends().len();
        self.wrong += u32::from((outcome, sent) != self.line.expected());
    }

    fn play(&mut self, call: Call, steps: std::ops::Range<usize>) {
        for step in steps {
            self.prepare(call, step);
            self.hear();
        }
    }

    fn end(self) {
        assert_eq!(self.wrong, 0, "messages that were not passed on as they must be");
        self.exchange.home.shard.check();
    }
}

/// Calls one after the other. What has ended stays for its time, so that tables are full and the oldest makes room.
fn complete(size: u32, rounds: Rounds) {
    let mut scene = Scene::new(size);
    rounds.one_in(PART).measure_steps(
        &mut scene,
        Line::COMPLETE.len(),
        |scene, round, step| scene.prepare(call(size, round), step),
        Scene::hear,
    );
    scene.end();
}

/// The same, but only one of the six is counted.
fn line<const STEP: usize>(size: u32, rounds: Rounds) {
    let mut scene = Scene::new(size);
    rounds.one_in(PART).measure_after(
        &mut scene,
        |scene, round| {
            if round > 0 {
                scene.play(call(size, round - 1), STEP + 1..Line::COMPLETE.len());
            }
            scene.play(call(size, round), 0..STEP);
            scene.prepare(call(size, round), STEP);
        },
        Scene::hear,
    );
    scene.end();
}
