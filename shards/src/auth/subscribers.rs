//! The subscribers: whose password is which, as one immutable table that all cores share. It keeps no name and no password, and
//! does not read files.
//!
//! A name is kept as 64 bits of a keyed hash. The key is secret, so nobody can make two names meet; whoever fills the table sees
//! all names, is told of two that meet by chance (one table of a million in thirty million has such two) and takes another
//! key. A stranger's name that meets a subscriber's gains nothing: the password's hash has the subscriber's name in it.
//!
//! Eight subscribers make a bucket: their hashes in one cache line, and behind it what they are verified by. A look-up reads a
//! bucket whole, and goes on to the next one where it is full, whoever is looked for: it costs the same for whom there is and for
//! whom there is not.

use super::digest::Algorithm;
use crate::store::Prefetch;
use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use siphasher::sip::SipHasher13;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Subscribers of a bucket.
const PLACES: usize = 8;
/// Of twelve places eight are taken, so that one bucket in fourteen is full and look-ups are short.
const PLACES_OF_TWO_THIRDS: usize = 12;

/// Everybody's verifiers: for each algorithm of the realm the hash of name, realm and password.
pub struct Subscribers {
    key: [u8; 16],
    /// Where the words of each algorithm begin behind a subscriber's place, by [`Algorithm`]'s index; `None` where it is not kept.
    offsets: [Option<usize>; Algorithm::ALL.len()],
    verifier_words: usize,
    /// For each bucket the hashes of eight names, 0 for a free place, and then eight verifiers.
    words: Box<[u64]>,
    buckets: usize,
    count: usize,
}

/// Fills a table.
pub struct Builder {
    table: Subscribers,
    /// For each place, where its subscriber came from.
    origins: Box<[u64]>,
}

/// Why a subscriber was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// One with the same hash came from here before: the same name, or one that can't be told from it under this key.
    Present(u64),
    /// All places are taken.
    Full,
}

/// What stands for a name in one table, and means nothing in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NameHash(u64);

/// What a look-up finds, whether there is such a subscriber or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Whether there is one.
    pub(super) is_known: Choice,
    /// Its verifier, as long as the algorithm's hash. Where there is none it is whatever stands at the place, so that as much is
    /// read and hashed; no response is right then.
    pub(super) verifier: [u8; Algorithm::BYTES_MAX],
}

impl Subscribers {
    /// A table without anybody in it.
    #[must_use]
    pub fn nobody() -> Self {
        Builder::new([0; 16], &[], 0).finish()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of a table for `count` subscribers that are verified by some algorithms.
    #[must_use]
    pub fn bytes(count: usize, algorithms: &[Algorithm]) -> usize {
        let verifier_words: usize = algorithms.iter().map(|one| one.bytes() / 8).sum();
        buckets(count) * PLACES * (1 + verifier_words) * 8
    }

    /// Begins to fetch what [`find`](Self::find) will read for the name of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: NameHash, prefetch: Prefetch) {
        let start = self.bucket(hash.0) * self.bucket_words();
        for line in self.words.get(start..start + self.bucket_words()).unwrap_or_default().chunks(8)
        {
            prefetch.line(line);
        }
    }

    /// Looks for a subscriber by the hash of its name.
    #[inline]
    pub(super) fn find(&self, NameHash(hash): NameHash, algorithm: Algorithm) -> Found {
        let stride = self.bucket_words();
        let mut bucket = self.bucket(hash);
        let (mut place, mut is_known) = ((bucket * stride + PLACES) as u64, Choice::from(0));
        loop {
            // A bit for each place with this name, and one for each that is free.
            let (mut here, mut free) = (0u64, 0u64);
            for (at, &name) in self.names(bucket).iter().enumerate() {
                here |= u64::from(name == hash) << at;
                free |= u64::from(name == 0) << at;
            }
            let is_here = !here.ct_eq(&0);
            let at = bucket * stride
                + PLACES
                + (here.trailing_zeros() as usize % PLACES) * self.verifier_words;
            place.conditional_assign(&(at as u64), is_here);
            is_known |= is_here;
            if free != 0 {
                break;
            }
            bucket = if bucket + 1 == self.buckets { 0 } else { bucket + 1 };
        }
        let offset = self.offsets[algorithm as usize];
        // A table without this algorithm knows nobody by it.
        is_known &= Choice::from(u8::from(offset.is_some()));
        #[allow(clippy::cast_possible_truncation, reason = "an index of words")]
        let at = place as usize + offset.unwrap_or(0);
        let kept = self.words.get(at..).unwrap_or_default();
        let mut verifier = [0; Algorithm::BYTES_MAX];
        let words = verifier.as_chunks_mut::<8>().0.iter_mut().take(algorithm.bytes() / 8);
        for (word, kept) in words.zip(kept) {
            *word = kept.to_le_bytes();
        }
        Found { is_known, verifier }
    }

    /// The hash of a name and domain, `user@domain`.
    #[inline]
    pub(super) fn hash(&self, name: &[u8]) -> NameHash {
        NameHash(SipHasher13::new_with_key(&self.key).hash(name).max(1))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
    fn bucket(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets as u128) >> 64) as usize
    }

    #[inline]
    fn bucket_words(&self) -> usize {
        PLACES * (1 + self.verifier_words)
    }

    #[inline]
    fn names(&self, bucket: usize) -> &[u64; PLACES] {
        const NOBODY: &[u64; PLACES] = &[0; PLACES];
        let start = bucket * self.bucket_words();
        self.words.get(start..).and_then(|words| words.first_chunk()).unwrap_or(NOBODY)
    }
}

impl Builder {
    /// A table for `capacity` subscribers with verifiers for `algorithms`, their names hashed under `key`.
    ///
    /// # Panics
    /// Where there is no room for it.
    #[must_use]
    pub fn new(key: [u8; 16], algorithms: &[Algorithm], capacity: usize) -> Self {
        let mut offsets = [None; Algorithm::ALL.len()];
        let mut verifier_words = 0;
        for &algorithm in algorithms {
            offsets[algorithm as usize] = Some(verifier_words);
            verifier_words += algorithm.bytes() / 8;
        }
        let buckets = buckets(capacity);
        let words = vec![0; buckets * PLACES * (1 + verifier_words)].into_boxed_slice();
        let table = Subscribers { key, offsets, verifier_words, words, buckets, count: 0 };
        Builder { table, origins: vec![0; buckets * PLACES].into_boxed_slice() }
    }

    /// Adds a subscriber by name and domain, `user@domain`, with a verifier for each of the table's algorithms. `origin` is told
    /// where another one can't be told from it.
    ///
    /// # Errors
    /// Why it was not added.
    ///
    /// # Panics
    /// Where a verifier has not the length of its algorithm's hash.
    pub fn add<'v>(
        &mut self,
        name: &[u8],
        verifiers: impl Fn(Algorithm) -> &'v [u8],
        origin: u64,
    ) -> Result<(), NotAdded> {
        let table = &mut self.table;
        if table.count + 1 >= table.buckets * PLACES {
            // One place stays free, where look-ups end.
            return Err(NotAdded::Full);
        }
        let NameHash(hash) = table.hash(name);
        let mut bucket = table.bucket(hash);
        let place = loop {
            let names = table.names(bucket);
            if let Some(place) = names.iter().position(|&name| name == hash) {
                return Err(NotAdded::Present(self.origins[bucket * PLACES + place]));
            }
            if let Some(place) = names.iter().position(|&name| name == 0) {
                break place;
            }
            bucket = if bucket + 1 == table.buckets { 0 } else { bucket + 1 };
        };
        let start = bucket * table.bucket_words();
        table.words[start + place] = hash;
        let verifier = start + PLACES + place * table.verifier_words;
        for algorithm in Algorithm::ALL {
            let Some(offset) = table.offsets[algorithm as usize] else { continue };
            let bytes = verifiers(algorithm);
            assert_eq!(bytes.len(), algorithm.bytes(), "a verifier is a hash");
            let words = &mut table.words[verifier + offset..];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        self.origins[bucket * PLACES + place] = origin;
        table.count += 1;
        Ok(())
    }

    /// The table.
    #[must_use]
    pub fn finish(self) -> Subscribers {
        self.table
    }
}

fn buckets(count: usize) -> usize {
    (count * PLACES_OF_TWO_THIRDS).div_ceil(PLACES * PLACES).max(1)
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribers").field("count", &self.count).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn verifier(number: usize, algorithm: Algorithm) -> Vec<u8> {
        (0..algorithm.bytes())
            .map(|at| (number * 7 + at + algorithm as usize).to_le_bytes()[0])
            .collect()
    }

    fn table(count: usize, algorithms: &[Algorithm]) -> Subscribers {
        let mut builder = Builder::new(KEY, algorithms, count);
        for number in 0..count {
            let verifiers = Algorithm::ALL.map(|algorithm| verifier(number, algorithm));
            let name = format!("{number}@sip.test");
            let added = builder.add(name.as_bytes(), |one| &verifiers[one as usize], number as u64);
            assert_eq!(added, Ok(()));
        }
        builder.finish()
    }

    #[test]
    fn everybody_is_found_and_nobody_else() {
        for algorithms in
            [&[Algorithm::Md5][..], &[Algorithm::Sha256, Algorithm::Md5], &Algorithm::ALL]
        {
            let table = table(5000, algorithms);
            assert_eq!(table.len(), 5000);
            for number in 0..6000 {
                for &algorithm in algorithms {
                    let name = format!("{number}@sip.test");
                    let found = table.find(table.hash(name.as_bytes()), algorithm);
                    assert_eq!(bool::from(found.is_known), number < 5000);
                    if number < 5000 {
                        let verifier = verifier(number, algorithm);
                        assert_eq!(found.verifier[..algorithm.bytes()], verifier);
                    }
                }
            }
            assert_eq!(size_of_val(&*table.words), Subscribers::bytes(5000, algorithms));
        }
        assert_eq!(Subscribers::bytes(1_000_000, &[Algorithm::Md5]), 36_000_000);
    }

    #[test]
    fn a_table_knows_nobody_by_an_algorithm_that_it_does_not_keep() {
        let table = table(10, &[Algorithm::Md5]);
        assert!(bool::from(table.find(table.hash(b"1@sip.test"), Algorithm::Md5).is_known));
        assert!(!bool::from(table.find(table.hash(b"1@sip.test"), Algorithm::Sha256).is_known));
        let nobody = Subscribers::nobody();
        assert!(!bool::from(nobody.find(nobody.hash(b"1@sip.test"), Algorithm::Md5).is_known));
    }

    #[test]
    fn who_is_there_already_is_told_with_its_origin() {
        let mut builder = Builder::new(KEY, &[Algorithm::Md5], 2);
        let verifier = [1; 16];
        assert_eq!(builder.add(b"a@b", |_| &verifier, 70), Ok(()));
        assert_eq!(builder.add(b"a@b", |_| &verifier, 90), Err(NotAdded::Present(70)));
        let added = (0..8).map(|name| builder.add(&[name], |_| &verifier, 0)).collect::<Vec<_>>();
        assert_eq!(added.iter().filter(|&&added| added == Err(NotAdded::Full)).count(), 2);
        assert_eq!(builder.finish().len(), 7);
    }
}
