//! The location table of one core: which contacts an address-of-record is bound to, RFC 3261 10. It owns the bindings
//! and their expiry; what a REGISTER means is the registrar's business.
//!
//! An address-of-record and its bindings are entries of slabs, their strings lie in an arena, a hash index finds the
//! address-of-record and a wheel the bindings that expire. A refresh only writes a new deadline into its binding; the
//! wheel finds out when the old one fires.

use super::record::Listed;
use super::{Aor, HomeHash, Listing, Record};
use crate::io::Instant;
use crate::store::{Arena, Full, Memory, Prefetch, Ref, Slab, Table, Wheel};
use alloc::vec::Vec;

const NONE: u32 = u32::MAX;

/// An address-of-record that has bindings. It is valid until the next change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AorId(u32);

/// One binding. It is valid until the next change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingId(u32);

/// A binding as it is kept and offered.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Its strings and addresses.
    pub record: Record<'a>,
    /// What decides whether a later request may change it.
    pub terms: Terms,
}

/// The parts of a binding that a refresh changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It is not offered from this point on.
    pub expires: Instant,
    /// The `CSeq` number of the request that made or refreshed it last.
    pub cseq: u32,
    /// A keyed hash of that request's branch: the same request is recognised when its transaction is forgotten.
    pub branch: u32,
    /// The preference in thousandths, RFC 3261 20.10.
    pub q: Option<u16>,
    /// The `reg-id` under which its instance registered it, RFC 5626; 0 where outbound is not used.
    pub reg_id: u32,
}

/// The location table of one core.
#[derive(Debug)]
pub struct Location {
    aors: Slab<AorEntry>,
    bindings: Slab<BindingEntry>,
    index: Table,
    arena: Arena,
    wheel: Wheel,
    /// The record that is being written.
    scratch: Vec<u8>,
    /// The changes of an update that is not committed yet.
    staged: Vec<Staged>,
}

/// Changes to one address-of-record that are made together or not at all. Dropped without [`Update::commit`], nothing
/// has changed.
#[derive(Debug)]
pub struct Update<'l> {
    location: &'l mut Location,
}

#[derive(Debug)]
struct AorEntry {
    name: Ref,
    /// The binding made last, head of the list through [`BindingEntry::next`].
    first: u32,
    /// The 128 bits that stand for the name. They are keyed, so nobody can make two names meet, and a look-up does not have to
    /// read the name from elsewhere; words of 32 bits keep the entry small.
    hash: [u32; 4],
}

// Words of 32 bits keep this one small, too: the point of expiry is read and written as a whole.
#[derive(Debug)]
#[repr(Rust, packed(4))]
struct BindingEntry {
    record: Ref,
    aor: u32,
    next: u32,
    terms: Terms,
}

#[derive(Clone, Copy, Debug)]
enum Staged {
    /// A binding is made; nothing refers to its record yet.
    Create { record: Ref, terms: Terms },
    /// A binding gets another record.
    Rewrite { id: u32, record: Ref, terms: Terms },
    /// A binding keeps its record.
    Refresh { id: u32, terms: Terms },
    /// A binding ends.
    Remove { id: u32 },
}

impl Location {
    /// Bytes that the entry of an address-of-record takes.
    pub const AOR_BYTES: usize = Slab::<AorEntry>::bytes(1);
    /// Bytes that the entry of a binding takes.
    pub const BINDING_BYTES: usize = Slab::<BindingEntry>::bytes(1);

    /// A table for `bindings` bindings whose strings take `arena_bytes`; `changes` is the most one update may have.
    #[must_use]
    pub fn new(bindings: u32, arena_bytes: usize, changes: usize) -> Self {
        Location {
            aors: Slab::new(bindings),
            bindings: Slab::new(bindings),
            index: Table::new(bindings),
            arena: Arena::new(arena_bytes),
            wheel: Wheel::new(bindings),
            scratch: Vec::with_capacity(4 * usize::from(u16::MAX) + Record::OVERHEAD_BYTES_MAX),
            staged: Vec::with_capacity(changes),
        }
    }

    /// Finds an address-of-record; `None` where it has no binding.
    #[must_use]
    #[inline(always)]
    pub fn find(&self, aor: &Aor) -> Option<AorId> {
        self.find_hash(aor.hash())
    }

    /// The same, by what stands for it: who asks from another core has nothing else.
    #[must_use]
    #[inline(always)]
    pub fn find_hash(&self, hash: HomeHash) -> Option<AorId> {
        let hash = words(hash);
        let is_it = |id| self.aors.at(id).is_some_and(|entry| entry.hash == hash);
        self.index.find(place(hash), is_it).map(AorId)
    }

    /// Begins to fetch what refreshing these addresses-of-record will read: one step at a time for all of them, so that each step
    /// waits for memory about once. What stands for them in the index has been asked for with
    /// [`prefetch_index`](Self::prefetch_index) before.
    pub fn prefetch<const N: usize>(&self, sought: &[Option<HomeHash>; N], prefetch: Prefetch) {
        /// What a usual binding's strings take.
        const RECORD_BYTES: usize = 160;
        let aors = sought.map(|hash| self.index.find(place(words(hash?)), |_| true));
        for id in aors.into_iter().flatten() {
            self.aors.prefetch(id, prefetch);
        }
        let firsts = aors.map(|id| Some(self.aors.at(id?)?.first));
        for first in firsts.into_iter().flatten() {
            self.bindings.prefetch(first, prefetch);
        }
        for first in firsts.into_iter().flatten() {
            if let Some(binding) = self.bindings.at(first) {
                self.arena.prefetch(binding.record, RECORD_BYTES, prefetch);
            }
        }
    }

    /// Begins to fetch where the index leads to an address-of-record.
    #[inline]
    pub fn prefetch_index(&self, hash: HomeHash, prefetch: Prefetch) {
        self.index.prefetch(place(words(hash)), prefetch);
    }

    /// The bindings of an address-of-record that have not expired at `now`, the newest first.
    pub fn bindings(
        &self,
        aor: Option<AorId>,
        now: Instant,
    ) -> impl Iterator<Item = (BindingId, Binding<'_>)> {
        self.live(aor, now).map(|(id, entry)| {
            let record = Record::decode(self.arena.get(entry.record));
            (BindingId(id), Binding { record, terms: entry.terms })
        })
    }

    /// The contacts of an address-of-record in brackets and with their parameters, and their terms, in the order of
    /// [`bindings`](Self::bindings).
    pub fn contacts(
        &self,
        aor: Option<AorId>,
        now: Instant,
    ) -> impl Iterator<Item = (Listed<'_>, Terms)> {
        self.live(aor, now)
            .map(|(_, entry)| (Record::listed(self.arena.get(entry.record)), entry.terms))
    }

    /// Lists the next addresses-of-record from place `from` on, as far as a page goes, and gives where the next page begins, if
    /// there is one. An address-of-record keeps its place as long as it has bindings.
    pub fn page(&self, from: u32, now: Instant, listing: &mut Listing) -> Option<u32> {
        let end = self.aors.used_places();
        let until = from.saturating_add(Listing::PAGE_PLACES).min(end);
        for (handle, entry) in self.aors.scan(from..until) {
            let bindings =
                self.bindings(Some(AorId(handle.index)), now).map(|(_, binding)| binding);
            if !listing.push(self.arena.get(entry.name), bindings) {
                return Some(handle.index);
            }
        }
        (until < end).then_some(until)
    }

    /// The newest binding of an address-of-record, expired or not.
    #[must_use]
    #[inline(always)]
    pub fn newest(&self, aor: AorId) -> Option<BindingId> {
        Some(self.first(Some(aor))).filter(|&first| first != NONE).map(BindingId)
    }

    /// The binding made before another of the same address-of-record.
    #[must_use]
    #[inline(always)]
    pub fn older(&self, BindingId(id): BindingId) -> Option<BindingId> {
        self.bindings.at(id).map(|entry| entry.next).filter(|&next| next != NONE).map(BindingId)
    }

    /// The terms of a binding, and its contact in brackets, where its record is this one but for the contact and it has not
    /// expired at `now`. `None` says nothing; see [`Record::but_for_contact`].
    #[must_use]
    #[inline(always)]
    pub fn held_as(
        &self,
        BindingId(id): BindingId,
        now: Instant,
        record: &Record<'_>,
    ) -> Option<(&[u8], Terms)> {
        let entry = self.bindings.at(id)?;
        if { entry.terms.expires } <= now {
            return None;
        }
        Some((record.but_for_contact(self.arena.get(entry.record))?, entry.terms))
    }

    /// Gives a binding of an address-of-record new terms, and nothing else.
    ///
    /// # Panics
    /// Where it is none of that address-of-record's.
    #[inline(always)]
    pub fn refresh(&mut self, AorId(aor): AorId, BindingId(id): BindingId, terms: Terms) {
        self.renew(aor, id, terms);
    }

    /// Begins an update.
    pub fn update(&mut self) -> Update<'_> {
        Update { location: self }
    }

    /// Removes bindings that have expired at `now`, touching at most `budget` timers, and gives how many it removed. Where the
    /// budget ends it early, [`deadline`](Self::deadline) stays in the past.
    pub fn expire(&mut self, now: Instant, mut budget: u32) -> u32 {
        let mut removed = 0;
        while let Some(binding) = self.wheel.pop(now, &mut budget) {
            let entry = self.bindings.at(binding).expect("a timer without a binding");
            let (aor, expires) = (entry.aor, entry.terms.expires);
            if expires > now {
                self.wheel.schedule(binding, expires);
                continue;
            }
            self.remove_binding(binding);
            removed += 1;
            if self.aors.at(aor).is_some_and(|aor| aor.first == NONE) {
                self.remove_aor(aor);
            }
        }
        removed
    }

    /// When [`expire`](Self::expire) has work to do, at the earliest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.wheel.deadline()
    }

    /// How many addresses-of-record have bindings.
    #[must_use]
    pub fn aors_len(&self) -> u32 {
        self.aors.len()
    }

    /// How many bindings there are, with those whose removal is due.
    #[must_use]
    pub fn bindings_len(&self) -> u32 {
        self.bindings.len()
    }

    /// The arena in which the strings lie, to see how full it is.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// How full its tables are: addresses-of-record, bindings, index, timers and strings.
    #[must_use]
    pub fn memory(&self) -> [Memory; 5] {
        let places = self.bindings.capacity();
        let usage = self.arena.usage();
        let string_bytes =
            usage.string_bytes + usage.rounding_bytes + usage.class_free_bytes + usage.free_bytes;
        [
            Memory::of_places(self.aors.len(), places, Slab::<AorEntry>::bytes(places)),
            Memory::of_places(self.bindings.len(), places, Slab::<BindingEntry>::bytes(places)),
            Memory::of_places(self.index.len(), places, Table::bytes(places)),
            Memory::of_places(self.wheel.len(), places, Wheel::bytes(places)),
            Memory {
                used_bytes: string_bytes - usage.free_bytes,
                reserved_bytes: Arena::bytes(string_bytes),
                entries: None,
                capacity: None,
            },
        ]
    }

    /// Walks the invariants: every list reaches every binding once, every address-of-record is found, every binding has its
    /// timer, and nothing refers to what is gone.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        self.aors.check();
        self.bindings.check();
        self.index.check();
        self.arena.check();
        self.wheel.check();
        let mut reached = 0;
        for (handle, aor) in self.aors.scan(0..self.aors.used_places()) {
            assert_eq!(
                self.index.find(place(aor.hash), |id| id == handle.index),
                Some(handle.index),
                "an address-of-record that is not found"
            );
            assert_ne!(aor.first, NONE, "an address-of-record without a binding");
            let mut next = aor.first;
            while let Some(entry) = self.bindings.at(next) {
                assert_eq!(entry.aor, handle.index, "a binding in another's list");
                assert!(self.wheel.is_scheduled(next), "a binding without a timer");
                let _ = Record::decode(self.arena.get(entry.record));
                reached += 1;
                assert!(reached <= self.bindings.len(), "a list that meets itself");
                next = entry.next;
            }
        }
        assert_eq!(reached, self.bindings.len(), "a binding that no list reaches");
        assert_eq!(self.index.len(), self.aors.len());
        assert_eq!(self.wheel.len(), self.bindings.len());
        assert!(self.staged.is_empty());
    }

    fn live(&self, aor: Option<AorId>, now: Instant) -> impl Iterator<Item = (u32, &BindingEntry)> {
        let mut next = self.first(aor);
        core::iter::from_fn(move || {
            let id = next;
            let entry = self.bindings.at(id)?;
            next = entry.next;
            Some((id, entry))
        })
        .filter(move |(_, entry)| { entry.terms.expires } > now)
    }

    /// The newest binding of an address-of-record.
    fn first(&self, aor: Option<AorId>) -> u32 {
        aor.and_then(|AorId(id)| self.aors.at(id)).map_or(NONE, |aor| aor.first)
    }

    /// Carries out one staged change. Everything that can fail has been done.
    fn apply(&mut self, aor: u32, change: Staged) {
        match change {
            Staged::Create { record, terms } => {
                let first = &mut self.aors.at_mut(aor).expect("the caller found it").first;
                let entry = BindingEntry { record, aor, next: *first, terms };
                let id = self.bindings.insert(entry).expect("commit made sure of the place").index;
                *first = id;
                self.wheel.schedule(id, terms.expires);
            }
            Staged::Rewrite { id, record, terms } => {
                let entry = self.bindings.at_mut(id).expect("a change of a binding that is gone");
                let old = core::mem::replace(&mut entry.record, record);
                self.arena.remove(old);
                self.renew(aor, id, terms);
            }
            Staged::Refresh { id, terms } => self.renew(aor, id, terms),
            Staged::Remove { id } => {
                assert_eq!(self.bindings.at(id).map(|entry| entry.aor), Some(aor));
                self.remove_binding(id);
            }
        }
    }

    #[inline(always)]
    fn renew(&mut self, aor: u32, id: u32, terms: Terms) {
        let entry = self.bindings.at_mut(id).expect("a change of a binding that is gone");
        assert_eq!(entry.aor, aor, "a change of another's binding");
        // An earlier deadline has to be scheduled; a later one is found when the old one fires.
        let earlier = terms.expires < { entry.terms.expires };
        entry.terms = terms;
        if earlier {
            self.wheel.schedule(id, terms.expires);
        }
    }

    fn insert_aor(&mut self, aor: &Aor) -> Result<u32, Full> {
        let name = self.arena.insert(aor.bytes())?;
        let entry = AorEntry { name, first: NONE, hash: words(aor.hash()) };
        let id = match self.aors.insert(entry) {
            Ok(handle) => handle.index,
            Err(full) => {
                self.arena.remove(name);
                return Err(full);
            }
        };
        if let Err(full) = self.index.insert(place(words(aor.hash())), id) {
            self.aors.remove_at(id);
            self.arena.remove(name);
            return Err(full);
        }
        Ok(id)
    }

    fn remove_aor(&mut self, id: u32) {
        let entry = self.aors.remove_at(id).expect("the caller found it");
        self.index.remove(place(entry.hash), |other| other == id);
        self.arena.remove(entry.name);
    }

    /// Unlinks a binding and frees what it holds; its address-of-record stays.
    fn remove_binding(&mut self, id: u32) {
        let entry = self.bindings.remove_at(id).expect("the caller found it");
        self.wheel.cancel(id);
        self.arena.remove(entry.record);
        let aor = self.aors.at_mut(entry.aor).expect("a binding without an address-of-record");
        if aor.first == id {
            aor.first = entry.next;
            return;
        }
        let mut before = aor.first;
        loop {
            let at = self.bindings.at_mut(before).expect("a binding that its list does not reach");
            if at.next == id {
                at.next = entry.next;
                return;
            }
            before = at.next;
        }
    }
}

impl Update<'_> {
    /// The binding that has this very record at `now`, as a refresh finds it, and its terms.
    #[must_use]
    #[inline]
    pub fn identical(
        &self,
        aor: Option<AorId>,
        now: Instant,
        record: &Record<'_>,
    ) -> Option<(BindingId, Terms)> {
        let Location { bindings, arena, .. } = &*self.location;
        let mut next = self.location.first(aor);
        while let Some(entry) = bindings.at(next) {
            if { entry.terms.expires } > now && record.is(arena.get(entry.record)) {
                return Some((BindingId(next), entry.terms));
            }
            next = entry.next;
        }
        None
    }

    /// Makes a binding of a record, or puts it in the place of `replaces`.
    ///
    /// # Errors
    /// [`Full`] where the arena has no room for its strings, or one is longer than a record can hold.
    ///
    /// # Panics
    /// Where there are more changes than [`Location::new`] was told.
    pub fn save(
        &mut self,
        replaces: Option<BindingId>,
        record: &Record<'_>,
        terms: Terms,
    ) -> Result<(), Full> {
        let Location { arena, scratch, .. } = &mut *self.location;
        if !record.encode(scratch) {
            return Err(Full);
        }
        let record = arena.insert(scratch)?;
        self.stage(match replaces {
            None => Staged::Create { record, terms },
            Some(BindingId(id)) => Staged::Rewrite { id, record, terms },
        });
        Ok(())
    }

    /// Gives a binding new terms; its record stays.
    ///
    /// # Panics
    /// As [`save`](Self::save).
    pub fn refresh(&mut self, BindingId(id): BindingId, terms: Terms) {
        self.stage(Staged::Refresh { id, terms });
    }

    /// Ends a binding.
    ///
    /// # Panics
    /// As [`save`](Self::save).
    pub fn remove(&mut self, BindingId(id): BindingId) {
        self.stage(Staged::Remove { id });
    }

    fn stage(&mut self, change: Staged) {
        let staged = &mut self.location.staged;
        assert!(staged.len() < staged.capacity(), "more changes than an update may have");
        staged.push(change);
    }

    /// Whether this update changes `binding` already.
    #[must_use]
    pub fn changes(&self, BindingId(binding): BindingId) -> bool {
        self.location.staged.iter().any(|change| match *change {
            Staged::Create { .. } => false,
            Staged::Rewrite { id, .. } | Staged::Refresh { id, .. } | Staged::Remove { id } => {
                id == binding
            }
        })
    }

    /// The bindings that this update makes, in the order in which they were saved.
    pub fn created(&self) -> impl Iterator<Item = Binding<'_>> {
        self.location.staged.iter().filter_map(|change| match *change {
            Staged::Create { record, terms } => {
                Some(Binding { record: Record::decode(self.location.arena.get(record)), terms })
            }
            Staged::Rewrite { .. } | Staged::Refresh { .. } | Staged::Remove { .. } => None,
        })
    }

    /// The bindings of an address-of-record as this update would leave them. Those it does not touch come with their id.
    pub fn after(
        &self,
        aor: Option<AorId>,
        now: Instant,
    ) -> impl Iterator<Item = (Option<BindingId>, Binding<'_>)> {
        let Location { bindings, arena, staged, .. } = &*self.location;
        let untouched = self.location.bindings(aor, now).filter(|&(id, _)| !self.changes(id));
        let touched = staged.iter().filter_map(|change| {
            let (record, terms) = match *change {
                Staged::Create { record, terms } | Staged::Rewrite { record, terms, .. } => {
                    (record, terms)
                }
                Staged::Refresh { id, terms } => (bindings.at(id)?.record, terms),
                Staged::Remove { .. } => return None,
            };
            Some((None, Binding { record: Record::decode(arena.get(record)), terms }))
        });
        untouched.map(|(id, binding)| (Some(id), binding)).chain(touched)
    }

    /// Whether any of the changes stores strings: a mere refresh does not.
    #[must_use]
    pub fn stores(&self) -> bool {
        self.location.staged.iter().any(|change| match change {
            Staged::Create { .. } | Staged::Rewrite { .. } => true,
            Staged::Refresh { .. } | Staged::Remove { .. } => false,
        })
    }

    /// Whether another change fits into this update.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.location.staged.len() < self.location.staged.capacity()
    }

    /// The table as it is without this update.
    #[must_use]
    pub fn before(&self) -> &Location {
        self.location
    }

    /// Makes all of the changes to `aor`, which [`Location::find`] has found as `id`, and gives where it is now.
    ///
    /// # Errors
    /// [`Full`] where the table has no place for the new bindings; nothing has changed then.
    ///
    /// # Panics
    /// Where a change names a binding of another address-of-record.
    pub fn commit(self, aor: &Aor, id: Option<AorId>) -> Result<Option<AorId>, Full> {
        let created = self.created_len();
        let location = &mut *self.location;
        if created > location.bindings.capacity() - location.bindings.len() {
            return Err(Full);
        }
        let id = match id {
            Some(AorId(id)) => id,
            None if created == 0 => return Ok(None),
            None => location.insert_aor(aor)?,
        };
        for at in 0..location.staged.len() {
            let change = location.staged[at];
            location.apply(id, change);
        }
        location.staged.clear();
        if location.aors.at(id).is_some_and(|aor| aor.first == NONE) {
            location.remove_aor(id);
            return Ok(None);
        }
        Ok(Some(AorId(id)))
    }

    fn created_len(&self) -> u32 {
        let created =
            self.location.staged.iter().filter(|change| matches!(change, Staged::Create { .. }));
        u32::try_from(created.count()).unwrap_or(u32::MAX)
    }
}

impl Drop for Update<'_> {
    fn drop(&mut self) {
        let Location { arena, staged, .. } = &mut *self.location;
        if staged.is_empty() {
            return;
        }
        for change in staged.drain(..) {
            match change {
                Staged::Create { record, .. } | Staged::Rewrite { record, .. } => {
                    arena.remove(record);
                }
                Staged::Refresh { .. } | Staged::Remove { .. } => {}
            }
        }
    }
}

/// Where the index keeps a hash: by its lower half, since the upper one has chosen the home core.
fn place(hash: [u32; 4]) -> u64 {
    u64::from(hash[1]) << 32 | u64::from(hash[0])
}

/// The words of a hash.
fn words(hash: HomeHash) -> [u32; 4] {
    let bits = u128::from(hash.seed) << 64 | u128::from(hash.place);
    [0, 32, 64, 96].map(|shift| {
        #[allow(clippy::cast_possible_truncation, reason = "a word at a time")]
        let word = (bits >> shift) as u32;
        word
    })
}

#[cfg(test)]
mod tests;
