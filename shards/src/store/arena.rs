//! A fixed budget of bytes for strings of any length. It never moves a string and never keeps memory for a length that is
//! no longer stored.
//!
//! The budget is cut into pages of 4 KiB. A page serves strings of one size class while it holds any and goes back to the
//! common pool with its last one, so a change of traffic cannot strand more than one page a class beyond what the
//! strings' own places cause. An empty page that is all the room its class has stays with it until the pool needs it: where
//! strings come and go one by one, each would be brought a page and take it back. What does not fit into a page takes 2, 4, 8 or
//! 16 neighbouring ones: the pool is a buddy allocator of five sizes. A string is stored behind its length (2 bytes) in a
//! multiple of 8 bytes.

use super::{Full, Prefetch};
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Strings begin at multiples of this, so that a 32-bit reference reaches 32 GiB.
const UNIT_BYTES: usize = 8;
const PAGE_BYTES: usize = 4096;
const PAGE_UNITS: usize = PAGE_BYTES / UNIT_BYTES;
/// Blocks of 2^0 to 2^4 pages; the largest holds the longest string.
const ORDERS: usize = 5;
const LENGTH_BYTES: usize = 2;
const CLASSES: usize = 44;
/// Places' sizes, in units: every multiple of 8 bytes to 128, then an n-th of a page.
const CLASS_UNITS: [u16; CLASSES] = class_units();
/// The smallest class that has a given number of units.
const CLASS_OF: [u8; PAGE_UNITS + 1] = class_of();
/// No page, and no place in a page.
const NONE: u32 = u32::MAX;
const NO_UNIT: u16 = u16::MAX;

/// Where a string is. It holds as long as the string; used later it gives other bytes or a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref(NonZeroU32);

/// Where the bytes of an arena are; the four add up to its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In strings, without their lengths.
    pub string_bytes: usize,
    /// In places that hold a string: its length, and what rounding up cost.
    pub rounding_bytes: usize,
    /// In pages of a class that hold strings: places without one, and ends too short for one. Only strings of that class go there.
    pub class_free_bytes: usize,
    /// In pages that hold nothing, which are free for anything.
    pub free_bytes: usize,
}

/// A budget of bytes for strings of up to [`Arena::STRING_BYTES_MAX`] bytes.
#[derive(Debug)]
pub struct Arena {
    bytes: Vec<u8>,
    pages: Vec<Page>,
    /// First free block of each order.
    free: [u32; ORDERS],
    /// First page of each class that has a free place.
    open: [u32; CLASSES],
    /// The page of each class that has stayed with it empty; it may be in use again.
    spare: [u32; CLASSES],
    string_bytes: usize,
    place_bytes: usize,
    /// Pages that hold nothing, spare ones among them.
    free_pages: usize,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    /// Neighbours in the list of free blocks or open pages.
    next: u32,
    prev: u32,
    /// The place emptied last, in units from the page's start; its first two bytes name the one before.
    free: u16,
    /// Where the places that were never used begin, in units.
    fresh: u16,
    /// Places that hold a string.
    live: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first page of a free block of this order.
    Free(u8),
    /// Holds places of this class.
    Class(u8),
    /// The first page of a block of this order that holds one string.
    Block(u8),
    /// A further page of a block.
    Inner,
}

impl Arena {
    /// The longest string: 64 KiB less its length.
    pub const STRING_BYTES_MAX: usize = (PAGE_BYTES << (ORDERS - 1)) - LENGTH_BYTES;

    /// An arena of `budget` bytes, rounded up to whole pages; 16 bytes a page are needed beside it.
    ///
    /// # Panics
    /// Where `budget` exceeds 32 GiB - 4 KiB.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        let count = budget.div_ceil(PAGE_BYTES);
        assert!(count * PAGE_UNITS < u32::MAX as usize, "an arena holds less than 32 GiB");
        let page =
            Page { next: NONE, prev: NONE, free: NO_UNIT, fresh: 0, live: 0, state: State::Inner };
        let mut arena = Arena {
            bytes: vec![0; count * PAGE_BYTES],
            pages: vec![page; count],
            free: [NONE; ORDERS],
            open: [NONE; CLASSES],
            spare: [NONE; CLASSES],
            string_bytes: 0,
            place_bytes: 0,
            free_pages: count,
        };
        // Backwards, so that the lowest pages are used first and the highest are not touched until they are needed.
        let mut end = count;
        while end > 0 {
            let order = (end.trailing_zeros() as usize).min(ORDERS - 1);
            end -= 1 << order;
            arena.push_free(page_number(end), order);
        }
        arena
    }

    /// Bytes of memory that [`Arena::new`] reserves.
    #[must_use]
    pub const fn bytes(budget: usize) -> usize {
        budget.div_ceil(PAGE_BYTES) * (PAGE_BYTES + size_of::<Page>())
    }

    /// Bytes of the budget that a string of `length` bytes takes.
    #[must_use]
    pub const fn place_bytes(length: usize) -> usize {
        let bytes = length + LENGTH_BYTES;
        if bytes <= PAGE_BYTES {
            let class = CLASS_OF[bytes.div_ceil(UNIT_BYTES)];
            CLASS_UNITS[class as usize] as usize * UNIT_BYTES
        } else {
            PAGE_BYTES << order_of(bytes)
        }
    }

    /// Stores a copy of `string`.
    ///
    /// # Errors
    /// [`Full`] where the budget is spent or the string is longer than [`Arena::STRING_BYTES_MAX`].
    #[inline]
    pub fn insert(&mut self, string: &[u8]) -> Result<Ref, Full> {
        self.insert_with(string.len(), |bytes| bytes.copy_from_slice(string))
    }

    /// Stores a string of `length` bytes that `write` fills in; before, they hold anything.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    #[inline]
    pub fn insert_with(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Ref, Full> {
        let bytes = length + LENGTH_BYTES;
        let unit = if bytes <= PAGE_BYTES {
            self.take_place(CLASS_OF[bytes.div_ceil(UNIT_BYTES)])?
        } else if length <= Self::STRING_BYTES_MAX {
            self.take_block(order_of(bytes))?
        } else {
            return Err(Full);
        };
        let start = unit as usize * UNIT_BYTES;
        write_u16(&mut self.bytes, start, length_number(length));
        write(&mut self.bytes[start + LENGTH_BYTES..start + bytes]);
        self.string_bytes += length;
        Ok(Ref(NonZeroU32::MIN.saturating_add(unit)))
    }

    /// The bytes of a string.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, string: Ref) -> &[u8] {
        let place = &self.bytes[start_of(string)..];
        let length = read_u16(place, 0) as usize;
        &place[LENGTH_BYTES..LENGTH_BYTES + length]
    }

    /// Begins to fetch what [`get`](Self::get) would read of a string of about `length` bytes, at most four cache lines.
    #[inline]
    pub fn prefetch(&self, string: Ref, length: usize, prefetch: Prefetch) {
        let start = start_of(string);
        if let Some(bytes) = self.bytes.get(start..start + LENGTH_BYTES + length) {
            prefetch.lines(bytes);
        }
    }

    /// The bytes of a string, to change them; its length stays.
    #[inline]
    pub fn get_mut(&mut self, string: Ref) -> &mut [u8] {
        let start = start_of(string);
        let length = read_u16(&self.bytes, start) as usize;
        &mut self.bytes[start + LENGTH_BYTES..start + LENGTH_BYTES + length]
    }

    /// Puts another string in the place of `old`, where it stays if the new one takes as many bytes of the budget.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); `old` is then unchanged.
    #[inline]
    pub fn replace(&mut self, old: Ref, string: &[u8]) -> Result<Ref, Full> {
        let length = self.get(old).len();
        if string.len() <= Self::STRING_BYTES_MAX
            && Self::place_bytes(length) == Self::place_bytes(string.len())
        {
            let start = start_of(old);
            write_u16(&mut self.bytes, start, length_number(string.len()));
            self.get_mut(old).copy_from_slice(string);
            self.string_bytes = self.string_bytes - length + string.len();
            return Ok(old);
        }
        let new = self.insert(string)?;
        self.remove(old);
        Ok(new)
    }

    /// Gives the bytes of a string back.
    ///
    /// # Panics
    /// Where `string` was removed before and its page with it.
    #[inline]
    pub fn remove(&mut self, string: Ref) {
        self.string_bytes -= self.get(string).len();
        let unit = start_of(string) / UNIT_BYTES;
        let number = page_number(unit / PAGE_UNITS);
        match self.pages[number as usize].state {
            State::Class(class) => self.give_place(number, class, unit % PAGE_UNITS),
            State::Block(order) => {
                self.place_bytes -= PAGE_BYTES << order;
                self.free_pages += 1 << order;
                self.free_block(number, order as usize);
            }
            State::Free(_) | State::Inner => panic!("a reference that outlived its string"),
        }
    }

    /// Where the bytes are.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let free_bytes = self.free_pages * PAGE_BYTES;
        Usage {
            string_bytes: self.string_bytes,
            rounding_bytes: self.place_bytes - self.string_bytes,
            class_free_bytes: self.bytes.len() - free_bytes - self.place_bytes,
            free_bytes,
        }
    }

    /// Whether less than half of the pages are free for anything.
    #[must_use]
    #[inline]
    pub fn is_half_full(&self) -> bool {
        self.free_pages < self.pages.len() / 2
    }

    /// Walks the invariants: every page is free, of a class or part of a block; no two free buddies remain apart; places
    /// and bytes are counted.
    ///
    /// # Panics
    /// Where one is broken.
    pub fn check(&self) {
        let (mut free_pages, mut place_bytes, mut string_bytes) = (0, 0, 0);
        let (mut free_blocks, mut open_pages) = (0, 0);
        let mut number = 0;
        while number < self.pages.len() {
            let page = &self.pages[number];
            let order = match page.state {
                State::Free(order) => {
                    free_blocks += 1;
                    free_pages += 1 << order;
                    let buddy = self.pages.get(number ^ 1 << order);
                    let apart = (order as usize) < ORDERS - 1
                        && buddy.is_some_and(|buddy| buddy.state == page.state);
                    assert!(!apart, "two free buddies of order {order} at page {number}");
                    order
                }
                State::Class(class) => {
                    let (places, strings) = self.check_places(number, class);
                    let is_spare = self.spare[class as usize] as usize == number;
                    assert!(places > 0 || is_spare, "an empty page of class {class}");
                    free_pages += usize::from(places == 0);
                    open_pages += usize::from(page.has_room(class));
                    place_bytes += places * CLASS_UNITS[class as usize] as usize * UNIT_BYTES;
                    string_bytes += strings;
                    0
                }
                State::Block(order) => {
                    place_bytes += PAGE_BYTES << order;
                    string_bytes += read_u16(&self.bytes, number * PAGE_BYTES) as usize;
                    order
                }
                State::Inner => panic!("page {number} belongs to no block"),
            };
            assert_eq!(number % (1 << order), 0, "a block of order {order} at page {number}");
            let inner = &self.pages[number + 1..number + (1 << order)];
            assert!(
                inner.iter().all(|page| page.state == State::Inner),
                "a block that overlaps another"
            );
            number += 1 << order;
        }
        assert_eq!(free_pages, self.free_pages, "free pages counted");
        assert_eq!(place_bytes, self.place_bytes, "places counted");
        assert_eq!(string_bytes, self.string_bytes, "strings counted");
        for (head, order) in self.free.into_iter().zip(0..) {
            free_blocks -= self.check_list(head, |page| page.state == State::Free(order));
        }
        assert_eq!(free_blocks, 0, "a free block in no list");
        for (head, class) in self.open.into_iter().zip(0..) {
            open_pages -= self
                .check_list(head, |page| page.state == State::Class(class) && page.has_room(class));
        }
        assert_eq!(open_pages, 0, "an open page in no list");
    }

    /// How many places of a page hold a string, and how many bytes these have.
    fn check_places(&self, number: usize, class: u8) -> (usize, usize) {
        let page = &self.pages[number];
        let units = CLASS_UNITS[class as usize];
        let mut empty = [false; PAGE_UNITS];
        let mut next = page.free;
        while next != NO_UNIT {
            assert!(next < page.fresh && next.is_multiple_of(units), "an empty place that is none");
            let was_empty = core::mem::replace(&mut empty[next as usize], true);
            assert!(!was_empty, "a place that was emptied twice");
            next = read_u16(&self.bytes, number * PAGE_BYTES + next as usize * UNIT_BYTES);
        }
        let (mut places, mut strings) = (0, 0);
        for unit in (0..page.fresh as usize).step_by(units as usize).filter(|&unit| !empty[unit]) {
            let length = read_u16(&self.bytes, number * PAGE_BYTES + unit * UNIT_BYTES) as usize;
            assert_eq!(
                Self::place_bytes(length),
                units as usize * UNIT_BYTES,
                "a string in another class's place"
            );
            places += 1;
            strings += length;
        }
        assert_eq!(places, page.live as usize, "the page's strings counted");
        (places, strings)
    }

    fn check_list(&self, head: u32, belongs: impl Fn(&Page) -> bool) -> usize {
        let (mut prev, mut number, mut length) = (NONE, head, 0);
        while let Some(page) = self.pages.get(number as usize) {
            assert!(belongs(page), "page {number} in a list of others");
            assert_eq!(page.prev, prev, "links that disagree");
            (prev, number) = (number, page.next);
            length += 1;
            assert!(length <= self.pages.len(), "a list without an end");
        }
        length
    }

    #[inline]
    fn take_place(&mut self, class: u8) -> Result<u32, Full> {
        if self.open[class as usize] == NONE {
            let number = self.take_pages(0)?;
            let page = &mut self.pages[number as usize];
            (page.free, page.fresh, page.live) = (NO_UNIT, 0, 0);
            page.state = State::Class(class);
            self.push_open(number, class);
        }
        let number = self.open[class as usize];
        let first = first_unit(number);
        let units = CLASS_UNITS[class as usize];
        let page = &mut self.pages[number as usize];
        let unit = if page.free == NO_UNIT {
            page.fresh += units;
            page.fresh - units
        } else {
            let unit = page.free;
            page.free = read_u16(&self.bytes, (first as usize + unit as usize) * UNIT_BYTES);
            unit
        };
        self.free_pages -= usize::from(page.live == 0);
        page.live += 1;
        if !page.has_room(class) {
            self.unlink_open(number, class);
        }
        self.place_bytes += units as usize * UNIT_BYTES;
        Ok(first + u32::from(unit))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a unit within a page, below 512")]
    fn give_place(&mut self, number: u32, class: u8, unit: usize) {
        self.place_bytes -= CLASS_UNITS[class as usize] as usize * UNIT_BYTES;
        let page = &mut self.pages[number as usize];
        let had_room = page.has_room(class);
        page.live -= 1;
        if page.live == 0 {
            self.free_pages += 1;
            let open = self.open[class as usize];
            if open == NONE || open == number && page.next == NONE {
                (page.free, page.fresh) = (NO_UNIT, 0);
                self.spare[class as usize] = number;
                if !had_room {
                    self.push_open(number, class);
                }
                return;
            }
            if had_room {
                self.unlink_open(number, class);
            }
            self.free_block(number, 0);
            return;
        }
        write_u16(&mut self.bytes, number as usize * PAGE_BYTES + unit * UNIT_BYTES, page.free);
        page.free = unit as u16;
        if !had_room {
            self.push_open(number, class);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "an order, below 5")]
    fn take_block(&mut self, order: usize) -> Result<u32, Full> {
        let number = self.take_pages(order)?;
        self.free_pages -= 1 << order;
        self.pages[number as usize].state = State::Block(order as u8);
        self.place_bytes += PAGE_BYTES << order;
        Ok(first_unit(number))
    }

    /// Takes a block from the smallest order that has one, and gives back the upper halves it does not need.
    fn take_pages(&mut self, order: usize) -> Result<u32, Full> {
        let mut from = self.order_for(order);
        if from.is_none() {
            self.take_spares();
            from = self.order_for(order);
        }
        let from = from.ok_or(Full)?;
        let number = self.free[from];
        self.unlink_free(number, from);
        for half in (order..from).rev() {
            self.push_free(number + (1 << half), half);
        }
        Ok(number)
    }

    /// The smallest order from `order` on that has a block.
    #[inline]
    fn order_for(&self, order: usize) -> Option<usize> {
        (order..ORDERS).find(|&from| self.free[from] != NONE)
    }

    /// Brings the pages that have stayed with their class, and are still empty, back to the pool.
    #[cold]
    fn take_spares(&mut self) {
        for class in 0..CLASSES {
            let number = core::mem::replace(&mut self.spare[class], NONE);
            if let Some(page) = self.pages.get(number as usize)
                && let State::Class(own) = page.state
                && usize::from(own) == class
                && page.live == 0
            {
                self.unlink_open(number, own);
                self.free_block(number, 0);
            }
        }
    }

    /// Gives a block back, together with its buddy where that is free, and so on.
    fn free_block(&mut self, mut number: u32, mut order: usize) {
        while order < ORDERS - 1 {
            let buddy = number ^ 1 << order;
            if self.pages.get(buddy as usize).is_none_or(|page| page.state != free_state(order)) {
                break;
            }
            self.unlink_free(buddy, order);
            self.pages[number.max(buddy) as usize].state = State::Inner;
            number = number.min(buddy);
            order += 1;
        }
        self.push_free(number, order);
    }

    fn push_free(&mut self, number: u32, order: usize) {
        self.pages[number as usize].state = free_state(order);
        push(&mut self.pages, &mut self.free[order], number);
    }

    fn unlink_free(&mut self, number: u32, order: usize) {
        unlink(&mut self.pages, &mut self.free[order], number);
    }

    fn push_open(&mut self, number: u32, class: u8) {
        push(&mut self.pages, &mut self.open[class as usize], number);
    }

    fn unlink_open(&mut self, number: u32, class: u8) {
        unlink(&mut self.pages, &mut self.open[class as usize], number);
    }
}

impl Page {
    /// Whether another string fits into this page of a class.
    #[inline]
    fn has_room(&self, class: u8) -> bool {
        self.free != NO_UNIT || (self.fresh + CLASS_UNITS[class as usize]) as usize <= PAGE_UNITS
    }
}

fn push(pages: &mut [Page], head: &mut u32, number: u32) {
    if let Some(next) = pages.get_mut(*head as usize) {
        next.prev = number;
    }
    (pages[number as usize].next, pages[number as usize].prev) = (*head, NONE);
    *head = number;
}

fn unlink(pages: &mut [Page], head: &mut u32, number: u32) {
    let Page { next, prev, .. } = pages[number as usize];
    if let Some(next) = pages.get_mut(next as usize) {
        next.prev = prev;
    }
    match pages.get_mut(prev as usize) {
        Some(prev) => prev.next = next,
        None => *head = next,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "Arena::new keeps the count of pages below 2^23"
)]
fn page_number(page: usize) -> u32 {
    page as u32
}

#[inline]
const fn first_unit(number: u32) -> u32 {
    number << PAGE_UNITS.ilog2()
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "at most STRING_BYTES_MAX")]
fn length_number(length: usize) -> u16 {
    length as u16
}

#[allow(clippy::cast_possible_truncation, reason = "an order, below 5")]
fn free_state(order: usize) -> State {
    State::Free(order as u8)
}

#[inline]
fn start_of(string: Ref) -> usize {
    (string.0.get() - 1) as usize * UNIT_BYTES
}

#[inline]
fn read_u16(bytes: &[u8], at: usize) -> u16 {
    let mut value = [0; LENGTH_BYTES];
    value.copy_from_slice(&bytes[at..at + LENGTH_BYTES]);
    u16::from_ne_bytes(value)
}

#[inline]
fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + LENGTH_BYTES].copy_from_slice(&value.to_ne_bytes());
}

/// The order of the smallest block of at least `bytes`.
const fn order_of(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES).next_power_of_two().ilog2() as usize
}

#[allow(clippy::cast_possible_truncation, reason = "at most PAGE_UNITS")]
const fn class_units() -> [u16; CLASSES] {
    let mut units = [0; CLASSES];
    let (mut class, mut size) = (0, 1);
    while size <= PAGE_UNITS {
        // The largest places of which as many fit into a page, save that up to 128 bytes every size is a class.
        let places = PAGE_UNITS / size;
        if size > 16 {
            size = PAGE_UNITS / places;
        }
        units[class] = size as u16;
        class += 1;
        size += 1;
    }
    assert!(class == CLASSES);
    units
}

#[allow(clippy::cast_possible_truncation, reason = "below CLASSES")]
const fn class_of() -> [u8; PAGE_UNITS + 1] {
    let mut classes = [0; PAGE_UNITS + 1];
    let (mut units, mut class) = (0, 0);
    while units <= PAGE_UNITS {
        if CLASS_UNITS[class] < units as u16 {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
}

#[cfg(test)]
mod tests;
