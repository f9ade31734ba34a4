//! A slab: numbered places for values of one type, handed out and taken back in constant time. It never moves a value
//! and never answers a handle whose value is gone.

use super::{Full, Prefetch};
use alloc::vec::Vec;
use core::ops::Range;

const NONE: u32 = u32::MAX;

/// A place and how often it was emptied before: a handle that outlives its value finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The place, below the slab's capacity. It stays the same as long as the value lives.
    pub index: u32,
    /// How often this place was emptied, modulo 2^32.
    pub generation: u32,
}

/// A fixed number of places for values of type `T`. Beside the value a place costs 8 bytes, less where
/// `T` has room for the tag.
#[derive(Debug)]
pub struct Slab<T> {
    /// Grows up to `capacity` within what was reserved; a place that was never used costs no memory that is touched.
    places: Vec<Place<T>>,
    capacity: u32,
    /// The place emptied last, head of the list through [`Place::Free`].
    free: u32,
    len: u32,
}

#[derive(Debug)]
enum Place<T> {
    Used { generation: u32, value: T },
    Free { generation: u32, next: u32 },
}

impl<T> Slab<T> {
    /// A slab for `capacity` values; at most 2^32 - 1.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Slab { places: Vec::with_capacity(capacity as usize), capacity, free: NONE, len: 0 }
    }

    /// Bytes of memory that [`Slab::new`] reserves.
    #[must_use]
    pub const fn bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<Place<T>>()
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Puts a value into the place that was emptied last, or into the first that was never used.
    ///
    /// # Errors
    /// [`Full`] at capacity; the value is dropped.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Handle, Full> {
        let handle = if let Some(place) = self.places.get_mut(self.free as usize) {
            let Place::Free { generation, next } = *place else {
                unreachable!("the free list leads to a used place");
            };
            let handle = Handle { index: self.free, generation };
            *place = Place::Used { generation, value };
            self.free = next;
            handle
        } else {
            let index = self.places.len();
            if index >= self.capacity as usize {
                return Err(Full);
            }
            self.places.push(Place::Used { generation: 0, value });
            #[allow(clippy::cast_possible_truncation, reason = "below capacity, a u32")]
            Handle { index: index as u32, generation: 0 }
        };
        self.len += 1;
        Ok(handle)
    }

    /// The value of a handle, unless it was removed.
    #[inline]
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        match self.places.get(handle.index as usize)? {
            Place::Used { generation, value } if *generation == handle.generation => Some(value),
            Place::Used { .. } | Place::Free { .. } => None,
        }
    }

    /// As [`get`](Self::get), to change it.
    #[inline]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        match self.places.get_mut(handle.index as usize)? {
            Place::Used { generation, value } if *generation == handle.generation => Some(value),
            Place::Used { .. } | Place::Free { .. } => None,
        }
    }

    /// The value in a place, whatever its generation: for owners that keep the index only while the value lives.
    #[inline]
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&T> {
        match self.places.get(index as usize)? {
            Place::Used { value, .. } => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// As [`at`](Self::at), to change it.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.places.get_mut(index as usize)? {
            Place::Used { value, .. } => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// Begins to fetch what [`at`](Self::at) would read.
    #[inline]
    pub fn prefetch(&self, index: u32, prefetch: Prefetch) {
        if let Some(place) = self.places.get(index as usize) {
            prefetch.line(place);
        }
    }

    /// The handle of the value in a place.
    #[inline]
    #[must_use]
    pub fn handle_at(&self, index: u32) -> Option<Handle> {
        match self.places.get(index as usize)? {
            Place::Used { generation, .. } => Some(Handle { index, generation: *generation }),
            Place::Free { .. } => None,
        }
    }

    /// Takes a value out; its handle finds nothing from now on.
    #[inline]
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        self.get(handle)?;
        self.remove_at(handle.index)
    }

    /// Takes the value out of a place, whatever its generation.
    #[inline]
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        let place = self.places.get_mut(index as usize)?;
        let generation = match place {
            Place::Used { generation, .. } => generation.wrapping_add(1),
            Place::Free { .. } => return None,
        };
        let taken = core::mem::replace(place, Place::Free { generation, next: self.free });
        self.free = index;
        self.len -= 1;
        match taken {
            Place::Used { value, .. } => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// The values in a range of places, in order of their index: a page of a listing costs what it looks at, however
    /// empty the slab is. The whole slab is `scan(0..capacity)`.
    pub fn scan(&self, range: Range<u32>) -> impl Iterator<Item = (Handle, &T)> {
        let end = range.end.min(self.used_places());
        let start = range.start.min(end);
        (start..end).zip(&self.places[start as usize..end as usize]).filter_map(|(index, place)| {
            match place {
                Place::Used { generation, value } => {
                    Some((Handle { index, generation: *generation }, value))
                }
                Place::Free { .. } => None,
            }
        })
    }

    /// One above the highest place that was ever used: where a listing ends.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "at most capacity, a u32")]
    pub fn used_places(&self) -> u32 {
        self.places.len() as u32
    }

    /// Walks the invariants: every place is either used and counted, or on the free list once.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        assert!(self.places.len() <= self.capacity as usize, "more places than capacity");
        let used = self.scan(0..self.capacity).count();
        assert_eq!(used, self.len as usize, "values counted");
        let mut free = 0;
        let mut next = self.free;
        while let Some(place) = self.places.get(next as usize) {
            let Place::Free { next: after, .. } = place else {
                panic!("the free list leads to a used place")
            };
            free += 1;
            assert!(free <= self.places.len(), "the free list has no end");
            next = *after;
        }
        assert_eq!(next, NONE, "the free list leads outside");
        assert_eq!(used + free, self.places.len(), "a place is neither used nor free");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn a_place_costs_eight_bytes() {
        assert_eq!(Slab::<[u64; 4]>::bytes(1), 32 + 8);
        assert_eq!(Slab::<(core::num::NonZeroU64, u64)>::bytes(10), 10 * (16 + 8));
        assert_eq!(Slab::<u32>::bytes(1), 4 + 8);
    }

    #[test]
    fn a_listing_by_pages_sees_every_value_that_stays() {
        let mut slab = Slab::new(100);
        let handles: Vec<_> = (0..100).map(|value| slab.insert(value).unwrap()).collect();
        assert_eq!(slab.insert(100), Err(Full));
        let mut seen = Vec::new();
        for start in (0..100).step_by(10) {
            seen.extend(slab.scan(start..start + 10).map(|(_, &value)| value));
            slab.remove(handles[start as usize]);
            slab.remove(handles[99 - start as usize]);
            slab.insert(1000).unwrap();
        }
        for value in (0..100).filter(|value| value % 10 != 0 && value % 10 != 9) {
            assert!(seen.contains(&value), "{value} was there all the time");
        }
        slab.check();
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(usize),
        RemoveAt(u32),
        Change(usize, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<u64>().prop_map(Step::Insert),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => (0..24_u32).prop_map(Step::RemoveAt),
            1 => (any::<usize>(), any::<u64>()).prop_map(|(at, value)| Step::Change(at, value)),
        ]
    }

    proptest! {
        #[test]
        fn answers_as_a_map_that_never_reuses_a_key(capacity in 0..20_u32, steps in prop::collection::vec(step(), 1..300)) {
            let mut slab = Slab::new(capacity);
            let reserved = slab.places.capacity();
            // Every handle ever given, with its value as long as that lives.
            let mut given: Vec<(Handle, Option<u64>)> = Vec::new();
            for step in steps {
                let alive = given.iter().filter(|(_, value)| value.is_some()).count();
                match step {
                    Step::Insert(value) => match slab.insert(value) {
                        Ok(handle) => {
                            prop_assert!(alive < capacity as usize);
                            given.push((handle, Some(value)));
                        }
                        Err(Full) => prop_assert_eq!(alive, capacity as usize),
                    },
                    Step::Remove(at) if !given.is_empty() => {
                        let at = at % given.len();
                        let (handle, value) = &mut given[at];
                        prop_assert_eq!(slab.remove(*handle), value.take());
                    }
                    Step::RemoveAt(index) => {
                        let value = given.iter_mut().find(|(handle, value)| handle.index == index && value.is_some());
                        prop_assert_eq!(slab.handle_at(index), value.as_ref().map(|(handle, _)| *handle));
                        prop_assert_eq!(slab.remove_at(index), value.and_then(|(_, value)| value.take()));
                    }
                    Step::Change(at, new) if !given.is_empty() => {
                        let at = at % given.len();
                        let (handle, value) = &mut given[at];
                        prop_assert_eq!(slab.get_mut(*handle).copied(), *value);
                        if let (Some(place), Some(value)) = (slab.get_mut(*handle), value) {
                            (*place, *value) = (new, new);
                        }
                    }
                    Step::Remove(_) | Step::Change(..) => {}
                }
                slab.check();
                for &(handle, value) in &given {
                    prop_assert_eq!(slab.get(handle).copied(), value);
                    if value.is_some() {
                        prop_assert_eq!(slab.at(handle.index).copied(), value);
                        prop_assert_eq!(slab.at_mut(handle.index).copied(), value);
                    }
                }
                let listed: BTreeMap<_, _> = slab.scan(0..u32::MAX).map(|(handle, &value)| (handle.index, value)).collect();
                let alive = given.iter().filter_map(|(handle, value)| Some((handle.index, (*value)?)));
                prop_assert_eq!(listed, alive.collect::<BTreeMap<_, _>>());
            }
            prop_assert_eq!(slab.places.capacity(), reserved);
        }
    }
}
