//! What the operations of the store cost in full tables.

use super::{any_below, hash};
use perf::gate::{Gate, Rounds};
use shards::io::Instant;
use shards::store::{Arena, Handle, Ref, Slab, Table, Wheel};
use std::time::Duration;

pub(crate) const GATES: &[Gate] = &[
    Gate { name: "the loop alone: a hash, a random number", bound: 40, goal: None, run: nothing },
    Gate { name: "table: find", bound: 98, goal: None, run: table_find },
    Gate { name: "table: miss", bound: 86, goal: None, run: table_miss },
    Gate { name: "table: remove and insert", bound: 435, goal: None, run: table_replace },
    Gate { name: "slab: remove and insert", bound: 100, goal: None, run: slab_replace },
    Gate { name: "arena: get, 81 bytes", bound: 60, goal: None, run: arena_get },
    Gate { name: "arena: remove and insert, 81 bytes", bound: 235, goal: None, run: arena_replace },
    Gate { name: "wheel: schedule again", bound: 175, goal: None, run: wheel_schedule },
    Gate {
        name: "wheel: fire, with what moves down for it",
        bound: 620,
        goal: None,
        run: wheel_fire,
    },
];

fn nothing(size: u32, rounds: Rounds) {
    rounds.measure(|round| hash(any_below(size, round)));
}

fn full_table(size: u32) -> Table {
    let mut table = Table::new(size);
    for id in 0..size {
        table.insert(hash(id), id).expect("room for each");
    }
    table
}

fn table_find(size: u32, rounds: Rounds) {
    let table = full_table(size);
    rounds.measure(|round| {
        let id = any_below(size, round);
        table.find(hash(id), |candidate| candidate == id).expect("it is there")
    });
}

fn table_miss(size: u32, rounds: Rounds) {
    let table = full_table(size);
    rounds.measure(|round| table.find(hash(size + any_below(size, round)), |_| false));
}

fn table_replace(size: u32, rounds: Rounds) {
    let mut table = full_table(size);
    rounds.measure(|round| {
        let id = any_below(size, round);
        table.remove(hash(id), |candidate| candidate == id).expect("it is there");
        table.insert(hash(id), id).expect("room for it");
    });
}

fn slab_replace(size: u32, rounds: Rounds) {
    let mut slab = Slab::new(size);
    let mut handles: Vec<Handle> =
        (0..size).map(|id| slab.insert([u64::from(id); 6]).expect("room for each")).collect();
    rounds.measure(|round| {
        let handle = &mut handles[any_below(size, round) as usize];
        let value = slab.remove(*handle).expect("it is there");
        *handle = slab.insert(value).expect("room for it");
    });
}

/// As many strings as `size`, of the length of a contact and a Call-ID together.
fn full_arena(size: u32) -> (Arena, Vec<Ref>) {
    let mut arena = Arena::new(size as usize * Arena::place_bytes(81) * 46 / 45);
    let refs = (0..size).map(|_| arena.insert(&[b'c'; 81]).expect("room for each")).collect();
    (arena, refs)
}

fn arena_get(size: u32, rounds: Rounds) {
    let (arena, refs) = full_arena(size);
    rounds.measure(|round| arena.get(refs[any_below(size, round) as usize])[40]);
}

fn arena_replace(size: u32, rounds: Rounds) {
    let (mut arena, mut refs) = full_arena(size);
    rounds.measure(|round| {
        let string = &mut refs[any_below(size, round) as usize];
        arena.remove(*string);
        *string = arena.insert(&[b'd'; 81]).expect("room for it");
    });
}

/// Deadlines spread over an hour, as a registrar's are.
fn deadline(start_secs: u32, id: u32) -> Instant {
    let millis = ((hash(id) >> 32) * 3_600_000) >> 32;
    Instant::START.plus_secs(start_secs).plus(Duration::from_millis(millis))
}

fn wheel_schedule(size: u32, rounds: Rounds) {
    let mut wheel = Wheel::new(size);
    for id in 0..size {
        wheel.schedule(id, deadline(60, id));
    }
    rounds.measure(|round| wheel.schedule(any_below(size, round), deadline(60, round)));
}

fn wheel_fire(size: u32, rounds: Rounds) {
    let mut wheel = Wheel::new(size);
    for id in 0..size {
        wheel.schedule(id, deadline(0, id));
    }
    let mut now = Instant::START;
    rounds.measure(|round| {
        loop {
            if let Some(id) = wheel.pop(now, &mut 1) {
                // Fires again in an hour, so that the wheel stays full.
                wheel.schedule(id, now.plus_secs(3600));
                return round;
            }
            if let Some(next) = wheel.deadline().filter(|&next| next > now) {
                now = next;
            }
        }
    });
}
