//! What will happen in a world, by time and then by the order in which it was planned. It never looks into it.

use shards::io::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What will happen.
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    /// By number.
    coming: BTreeMap<u64, T>,
    planned: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { heap: BinaryHeap::new(), coming: BTreeMap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub fn plan(&mut self, at: Instant, coming: T) {
        self.planned += 1;
        self.heap.push(Reverse((at, self.planned)));
        self.coming.insert(self.planned, coming);
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next thing.
    pub fn take(&mut self) -> Option<T> {
        let Reverse((_, number)) = self.heap.pop()?;
        self.coming.remove(&number)
    }
}
