//! Who is registered: owns how many user agents hold a binding, and in which second each binding lapses. It waits for nothing: what lapses in a
//! second is known by its count.

use super::ua::{Flags, Ua};

const NS_PER_SEC: u64 = 1_000_000_000;

/// The bindings of a population.
#[derive(Debug)]
pub(super) struct Bindings {
    /// How many lapse in each second of the run; the last one stands for all later ones, and never comes.
    lapse_in: Vec<u32>,
    /// The last second that has begun.
    second: u16,
    known: u64,
}

impl Bindings {
    pub(super) fn new() -> Bindings {
        Bindings { lapse_in: vec![0; usize::from(u16::MAX) + 1], second: 0, known: 0 }
    }

    /// How many user agents hold a binding as far as they know.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        4 * self.lapse_in.len()
    }

    /// Lets the bindings lapse whose time is over.
    pub(super) fn pass(&mut self, now_ns: u64) {
        let now = second_of(now_ns).min(u16::MAX - 1);
        while self.second < now {
            self.second += 1;
            self.known -= u64::from(self.lapse_in[usize::from(self.second)]);
        }
    }

    /// Whether the server holds a binding of this user agent.
    pub(super) fn is_held(&self, ua: &Ua) -> bool {
        ua.held_until_secs > self.second
    }

    /// Whether this user agent knows of it.
    pub(super) fn is_known(&self, ua: &Ua) -> bool {
        self.is_held(ua) && ua.flags.has(Flags::KNOWS_BINDING)
    }

    /// The server holds a binding of this user agent until `until_ns`, and the user agent knows it, or knows of an older one if
    /// it does.
    pub(super) fn hold(&mut self, ua: &mut Ua, until_ns: u64, knows: bool) {
        let was_known = self.is_known(ua);
        if was_known {
            self.lapse_in[usize::from(ua.held_until_secs)] -= 1;
            self.known -= 1;
        }
        // What lapses within a second counts until its end.
        ua.held_until_secs =
            second_of(until_ns.saturating_add(NS_PER_SEC - 1)).max(self.second + 1);
        if was_known || knows {
            ua.flags.set(Flags::KNOWS_BINDING);
            self.lapse_in[usize::from(ua.held_until_secs)] += 1;
            self.known += 1;
        } else {
            ua.flags.clear(Flags::KNOWS_BINDING);
        }
    }
}

fn second_of(ns: u64) -> u16 {
    u16::try_from(ns / NS_PER_SEC).unwrap_or(u16::MAX)
}
