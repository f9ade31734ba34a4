//! A chain: ids in the order in which they were added, any of which can be taken out in constant time. It owns the order and
//! nothing that the ids stand for.

use alloc::vec;
use alloc::vec::Vec;

/// No neighbour, or not in the chain.
const NONE: u32 = u32::MAX;

/// An order of ids below a fixed capacity, each at most once. It costs 8 bytes an id.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    /// The next older id; the id itself where there is none; `NONE` where it is not in the chain.
    older: u32,
    /// The next newer id, or `NONE`.
    newer: u32,
}

impl Chain {
    /// A chain for the ids below `capacity`.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let links = vec![Link { older: NONE, newer: NONE }; capacity as usize];
        Chain { links, oldest: NONE, newest: NONE, len: 0 }
    }

    /// Bytes of memory that [`Chain::new`] reserves.
    #[must_use]
    pub const fn bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<Link>()
    }

    /// How many ids are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no id is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether an id is in it.
    #[must_use]
    pub fn holds(&self, id: u32) -> bool {
        self.links[id as usize].older != NONE
    }

    /// The id that was added first.
    #[must_use]
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Adds an id as the newest; false where it was in already, and keeps its place.
    ///
    /// # Panics
    /// Where `id` is not below the capacity.
    pub fn push(&mut self, id: u32) -> bool {
        if self.holds(id) {
            return false;
        }
        let older = if self.newest == NONE { id } else { self.newest };
        self.links[id as usize] = Link { older, newer: NONE };
        match self.links.get_mut(self.newest as usize) {
            Some(link) => link.newer = id,
            None => self.oldest = id,
        }
        self.newest = id;
        self.len += 1;
        true
    }

    /// Takes an id out; false where it was not in.
    ///
    /// # Panics
    /// Where `id` is not below the capacity.
    pub fn remove(&mut self, id: u32) -> bool {
        let Link { older, newer } = self.links[id as usize];
        if older == NONE {
            return false;
        }
        let is_oldest = older == id;
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = if is_oldest { newer } else { older },
            None => self.newest = if is_oldest { NONE } else { older },
        }
        if is_oldest {
            self.oldest = newer;
        } else {
            self.links[older as usize].newer = newer;
        }
        self.links[id as usize] = Link { older: NONE, newer: NONE };
        self.len -= 1;
        true
    }

    /// Walks the invariants: each id that is in has its neighbours, and all are counted.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        let (mut id, mut older, mut len) = (self.oldest, self.oldest, 0);
        while id != NONE {
            assert_eq!(self.links[id as usize].older, older, "links that disagree");
            len += 1;
            assert!(len <= self.len, "a chain that meets itself");
            (older, id) = (id, self.links[id as usize].newer);
        }
        assert_eq!(if len == 0 { NONE } else { older }, self.newest, "the newest is last");
        assert_eq!(len, self.len, "ids counted");
        let linked = self.links.iter().filter(|link| link.older != NONE).count();
        assert_eq!(linked, len as usize, "an id outside of the chain");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_queue(steps in prop::collection::vec((any::<bool>(), 0u32..8), 0..200)) {
            let mut chain = Chain::new(8);
            let mut queue = VecDeque::new();
            for (adds, id) in steps {
                let is_in = queue.contains(&id);
                prop_assert_eq!(chain.holds(id), is_in);
                if adds {
                    prop_assert_eq!(chain.push(id), !is_in);
                    if !is_in {
                        queue.push_back(id);
                    }
                } else {
                    prop_assert_eq!(chain.remove(id), is_in);
                    queue.retain(|&other| other != id);
                }
                prop_assert_eq!(chain.oldest(), queue.front().copied());
                prop_assert_eq!(chain.len() as usize, queue.len());
                chain.check();
            }
        }
    }
}
