//! Target sets, RFC 3261 16.5: the bindings of an address-of-record as bytes, in the order in which they are tried; and the letters
//! by which one core asks another for them. It decides nothing.
//!
//! ```text
//! target    preference u16, length of the record u16, record (contact, Path and addresses as in location)
//! look-up   0u8, core that asks u16, ticket u64, two words of the address-of-record's hash
//! found     1u8, ticket u64, targets
//! ```

use crate::io::{CoreId, Instant, Outbox};
use crate::location::{HomeHash, Location, Record};
use crate::store::Handle;
use alloc::vec::Vec;

/// The preference of a contact that has none, RFC 3261 20.10: the highest.
const Q_DEFAULT: u16 = 1000;
const HEADER_BYTES: usize = 4;
/// What a letter carries beside its kind and ticket.
const SET_BYTES_MAX: usize = Outbox::TEXT_BYTES_MAX - 1 - size_of::<u64>();

/// A target: a contact, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The preference in thousandths.
    pub(super) q: u16,
    /// The binding.
    pub(super) record: Record<'a>,
    /// How many bytes it takes in the set.
    pub(super) bytes: usize,
}

/// Appends the bindings of an address-of-record to `set`, the preferred first; as many as letters and branches can carry.
pub(super) fn write(
    location: &Location,
    hash: HomeHash,
    now: Instant,
    set: &mut Vec<u8>,
    order: &mut Vec<(u16, u32)>,
) {
    let aor = location.find_hash(hash);
    order.clear();
    // The newest first, where preferences are equal.
    for (place, (_, binding)) in (0..).zip(location.bindings(aor, now)) {
        if order.len() == order.capacity() {
            break;
        }
        order.push((1000 - binding.terms.q.unwrap_or(Q_DEFAULT).min(1000), place));
    }
    order.sort_unstable();
    for &(cost, place) in order.iter() {
        let Some((_, binding)) = location.bindings(aor, now).nth(place as usize) else { continue };
        // Neither the parameters of the contact nor the Call-ID that made it are of use here.
        let record = Record { params: b"", call_id: b"", ..binding.record };
        let start = set.len();
        set.extend_from_slice(&(1000 - cost).to_le_bytes());
        set.extend_from_slice(&[0; 2]);
        let is_written = record.append(set);
        let length = u16::try_from(set.len() - start - HEADER_BYTES).ok();
        match length.filter(|_| is_written && set.len() <= SET_BYTES_MAX) {
            Some(length) => {
                set[start + 2..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
            }
            None => set.truncate(start),
        }
    }
}

/// The binding of an address-of-record that has just one, as nearly all have, without writing it down. `None` says nothing.
pub(super) fn only(location: &Location, hash: HomeHash, now: Instant) -> Option<Record<'_>> {
    let mut bindings = location.bindings(location.find_hash(hash), now);
    let (Some((_, only)), None) = (bindings.next(), bindings.next()) else { return None };
    // What is so long that it might not fit into a set takes the other way.
    let is_short = only.record.contact.len() + only.record.path.len() <= Outbox::TEXT_BYTES_MAX / 2;
    // Neither the parameters of the contact nor the Call-ID that made it are of use here.
    is_short.then_some(Record { params: b"", call_id: b"", ..only.record })
}

/// The target at the start of a set, or what is left of one.
pub(super) fn first(set: &[u8]) -> Option<Target<'_>> {
    let (header, rest) = set.split_first_chunk::<HEADER_BYTES>()?;
    let [q0, q1, length0, length1] = *header;
    let length = usize::from(u16::from_le_bytes([length0, length1]));
    let record = Record::decode(rest.get(..length)?);
    let q = u16::from_le_bytes([q0, q1]);
    Some(Target { q, record, bytes: HEADER_BYTES + length })
}

/// What a letter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter<'a> {
    /// A core asks for the target set of an address-of-record.
    LookUp { asker: CoreId, ticket: Handle, hash: HomeHash },
    /// The target set, empty where there is no binding.
    Found { ticket: Handle, targets: &'a [u8] },
}

const LOOK_UP: u8 = 0;
const FOUND: u8 = 1;

impl<'a> Letter<'a> {
    /// Writes the letter. A target set is appended by the caller where it is made on the spot.
    pub(super) fn put(&self, put: &mut impl FnMut(&[u8])) {
        match *self {
            Letter::LookUp { asker, ticket, hash } => {
                put(&[LOOK_UP]);
                put(&asker.0.to_le_bytes());
                put_ticket(ticket, put);
                put(&hash.place.to_le_bytes());
                put(&hash.seed.to_le_bytes());
            }
            Letter::Found { ticket, targets } => {
                put(&[FOUND]);
                put_ticket(ticket, put);
                put(targets);
            }
        }
    }

    /// Reads a letter. Only shards write them, so what can't be read was never written.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            LOOK_UP => {
                let (asker, rest) = rest.split_first_chunk()?;
                let (ticket, rest) = take_ticket(rest)?;
                let (place, rest) = rest.split_first_chunk()?;
                let (seed, _) = rest.split_first_chunk()?;
                let hash =
                    HomeHash { place: u64::from_le_bytes(*place), seed: u64::from_le_bytes(*seed) };
                Some(Letter::LookUp { asker: CoreId(u16::from_le_bytes(*asker)), ticket, hash })
            }
            FOUND => {
                let (ticket, targets) = take_ticket(rest)?;
                Some(Letter::Found { ticket, targets })
            }
            _ => None,
        }
    }
}

/// A handle as a ticket of 64 bits.
pub(super) fn ticket(handle: Handle) -> u64 {
    u64::from(handle.index) << 32 | u64::from(handle.generation)
}

/// The handle of a ticket.
#[allow(clippy::cast_possible_truncation, reason = "each is a half")]
pub(super) fn handle(ticket: u64) -> Handle {
    Handle { index: (ticket >> 32) as u32, generation: ticket as u32 }
}

fn put_ticket(handle: Handle, put: &mut impl FnMut(&[u8])) {
    put(&ticket(handle).to_le_bytes());
}

fn take_ticket(bytes: &[u8]) -> Option<(Handle, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((handle(u64::from_le_bytes(*number)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_set_goes_into_a_letter() {
        let (mut out, ticket) = (Outbox::new(1, 0), Handle { index: 7, generation: 9 });
        for (bytes, is_posted) in [(SET_BYTES_MAX, true), (SET_BYTES_MAX + 1, false)] {
            let mut letter = out.reply();
            let targets = &[1; SET_BYTES_MAX + 1][..bytes];
            Letter::Found { ticket, targets }.put(&mut |bytes| letter.put(bytes));
            assert_eq!(letter.post(CoreId(1)), is_posted);
        }
        let text = out.text(&out.letters()[0].range);
        let targets = &[1; SET_BYTES_MAX][..];
        assert_eq!(Letter::read(text), Some(Letter::Found { ticket, targets }));
    }
}
