//! Bindings copied out of the table for somebody who reads them elsewhere. A listing has a fixed size, is filled by one core
//! and read by another thread, and is used again.

use super::{Binding, Record, Terms};
use crate::io::{Instant, LocalAddr, Peer};
use alloc::vec::Vec;

/// Some addresses-of-record with their bindings, as they were at one time.
#[derive(Debug)]
pub struct Listing {
    at: Instant,
    /// Addresses-of-record that it may get.
    most: usize,
    strings: Vec<u8>,
    aors: Vec<ListedAor>,
    bindings: Vec<ListedBinding>,
}

#[derive(Clone, Copy, Debug)]
struct ListedAor {
    /// Where its name begins among the strings, and its length.
    name: (usize, usize),
    /// Its first binding, and how many there are.
    bindings: (usize, usize),
}

#[derive(Clone, Copy, Debug)]
struct ListedBinding {
    /// Where its strings begin.
    start: usize,
    /// Contact, parameters, Path and Call-ID, one behind the other.
    lengths: [u16; 4],
    from: Peer,
    to: LocalAddr,
    terms: Terms,
}

impl Listing {
    /// Addresses-of-record in a page: copying that many takes a core about as long as ten REGISTERs.
    pub const PAGE_AORS: usize = 64;
    /// Places of the table that are looked at for a page, however few of them are in use.
    pub const PAGE_PLACES: u32 = 1024;
    /// Bytes of strings beyond which a page gets no further address-of-record.
    const PAGE_BYTES: usize = 16 * 1024;
    /// Bytes of strings: the most that the configuration lets one address-of-record have fits into an empty listing.
    const STRING_BYTES: usize = 64 * 1024;
    /// Bindings: a page and one more address-of-record with all that it may have.
    const BINDINGS: usize = Self::PAGE_AORS + 128;

    /// An empty listing. All its memory is reserved here.
    #[must_use]
    pub fn new() -> Self {
        Listing {
            at: Instant::START,
            most: 0,
            strings: Vec::with_capacity(Self::STRING_BYTES),
            aors: Vec::with_capacity(Self::PAGE_AORS),
            bindings: Vec::with_capacity(Self::BINDINGS),
        }
    }

    /// A listing without memory, for what lists nothing.
    #[must_use]
    pub fn none() -> Self {
        Listing {
            at: Instant::START,
            most: 0,
            strings: Vec::new(),
            aors: Vec::new(),
            bindings: Vec::new(),
        }
    }

    /// When the bindings were as they are listed; what remains of each counts from here.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The addresses-of-record, each in canonical form and with its bindings, the newest first.
    pub fn aors(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = Binding<'_>>)> {
        self.aors.iter().map(|aor| {
            let (start, length) = aor.name;
            let (first, count) = aor.bindings;
            let bindings = self.bindings[first..first + count].iter();
            (&self.strings[start..start + length], bindings.map(|binding| self.binding(binding)))
        })
    }

    /// Empties it for what is there at `now`, of at most as many addresses-of-record as this and a page.
    pub fn begin(&mut self, now: Instant, most: usize) {
        self.at = now;
        self.most = most.min(Self::PAGE_AORS);
        self.strings.clear();
        self.aors.clear();
        self.bindings.clear();
    }

    /// Adds an address-of-record, unless it has no bindings. False where there is no room for it beside others, and nothing of
    /// it is listed; alone it is listed with as many of its bindings as there is room for.
    #[must_use]
    pub fn push<'b>(&mut self, name: &[u8], bindings: impl Iterator<Item = Binding<'b>>) -> bool {
        if self.aors.len() == self.most || self.strings.len() > Self::PAGE_BYTES {
            return false;
        }
        let (start, first) = (self.strings.len(), self.bindings.len());
        let mut fits = self.put(name);
        for binding in bindings {
            fits = fits && self.put_binding(&binding);
            if !fits && !self.aors.is_empty() {
                self.strings.truncate(start);
                self.bindings.truncate(first);
                return false;
            }
        }
        let count = self.bindings.len() - first;
        if count == 0 {
            self.strings.truncate(start);
        } else {
            let aor = ListedAor { name: (start, name.len()), bindings: (first, count) };
            self.aors.push(aor);
        }
        true
    }

    fn put_binding(&mut self, binding: &Binding<'_>) -> bool {
        let Record { contact, params, path, call_id, from, to } = binding.record;
        let strings = [contact, params, path, call_id];
        let start = self.strings.len();
        if self.bindings.len() == Self::BINDINGS || !strings.iter().all(|string| self.put(string)) {
            self.strings.truncate(start);
            return false;
        }
        #[allow(clippy::cast_possible_truncation, reason = "put takes no longer ones")]
        let lengths = strings.map(|string| string.len() as u16);
        self.bindings.push(ListedBinding { start, lengths, from, to, terms: binding.terms });
        true
    }

    fn put(&mut self, string: &[u8]) -> bool {
        let fits = string.len() <= usize::from(u16::MAX)
            && self.strings.len() + string.len() <= Self::STRING_BYTES;
        if fits {
            self.strings.extend_from_slice(string);
        }
        fits
    }

    fn binding(&self, listed: &ListedBinding) -> Binding<'_> {
        let mut rest = &self.strings[listed.start..];
        let [contact, params, path, call_id] = listed.lengths.map(|length| {
            let (string, behind) = rest.split_at(usize::from(length));
            rest = behind;
            string
        });
        let record = Record { contact, params, path, call_id, from: listed.from, to: listed.to };
        Binding { record, terms: listed.terms }
    }
}

impl Default for Listing {
    fn default() -> Self {
        Listing::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ListenerId;
    use alloc::vec;

    fn binding<'a>(contact: &'a [u8], path: &'a [u8]) -> Binding<'a> {
        let addr: core::net::SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let record = Record {
            contact,
            params: b";a=b",
            path,
            call_id: b"call",
            from: Peer::udp(addr),
            to: LocalAddr { listener: ListenerId(1), ip: addr.ip() },
        };
        let terms =
            Terms { expires: Instant::from_nanos(9), cseq: 7, branch: 5, q: Some(500), reg_id: 3 };
        Binding { record, terms }
    }

    #[test]
    fn what_was_listed_is_read_back() {
        let mut listing = Listing::new();
        listing.begin(Instant::from_nanos(4), 2);
        let (one, two) = (binding(b"sip:a@b", b"<sip:p;lr>"), binding(b"sip:c@d", b""));
        assert!(listing.push(b"alice@sip.test", [one, two].into_iter()));
        assert!(listing.push(b"expired@sip.test", core::iter::empty()));
        assert!(listing.push(b"sip.test", [two].into_iter()));
        let read: Vec<(&[u8], Vec<_>)> = listing
            .aors()
            .map(|(aor, bindings)| (aor, bindings.map(|b| (b.record, b.terms)).collect()))
            .collect();
        let [one, two] = [one, two].map(|binding| (binding.record, binding.terms));
        assert_eq!(read, [(&b"alice@sip.test"[..], vec![one, two]), (&b"sip.test"[..], vec![two])]);
        assert_eq!(listing.at(), Instant::from_nanos(4));
        assert!(!listing.push(
            b"bob@sip.test",
            [two].into_iter().map(|(record, terms)| Binding { record, terms })
        ));
    }

    #[test]
    fn it_never_grows_and_an_address_of_record_is_whole_or_alone() {
        let mut listing = Listing::new();
        let reserved = |listing: &Listing| {
            (listing.strings.capacity(), listing.aors.capacity(), listing.bindings.capacity())
        };
        let before = reserved(&listing);
        listing.begin(Instant::START, usize::MAX);
        let long = vec![b'x'; 10_000];
        assert!(listing.push(b"a", [binding(&long, b"")].into_iter()));
        // Six more would exceed the strings: nothing of it may be listed beside others.
        let many = [binding(&long, b""); 6];
        assert!(!listing.push(b"b", many.into_iter()));
        assert_eq!(listing.aors().count(), 1);
        assert!(listing.push(b"c", [binding(&long, b"")].into_iter()));
        assert!(!listing.push(b"d", [binding(b"", b"")].into_iter()), "the page has its bytes");

        listing.begin(Instant::START, usize::MAX);
        assert!(listing.push(b"b", [binding(&long, b""); 9].into_iter()));
        assert_eq!(listing.aors().next().map(|(_, bindings)| bindings.count()), Some(6));

        listing.begin(Instant::START, usize::MAX);
        for number in 0..Listing::PAGE_AORS {
            assert!(listing.push(b"e", [binding(b"f", b"")].into_iter()), "{number}");
        }
        assert!(!listing.push(b"e", [binding(b"f", b"")].into_iter()));
        listing.begin(Instant::START, usize::MAX);
        assert!(listing.push(b"g", [binding(b"h", b""); 300].into_iter()));
        assert_eq!(reserved(&listing), before);
    }
}
