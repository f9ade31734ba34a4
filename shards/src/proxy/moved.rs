//! Users of ours who have moved within a dialog and have shown who they are since: from where they go on with it. It owns a table of
//! fixed size and forgets what is in the way; whoever is forgotten is only asked again.

use crate::location::HomeHash;
use alloc::boxed::Box;
use core::net::IpAddr;

/// How many dialogs are remembered; a power of two.
const DIALOGS: usize = 1024;

/// Where users have moved to.
#[derive(Debug)]
pub(super) struct Moved(Box<[Option<Entry>]>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The keyed hash of the Call-ID, of which the other half tells the place.
    seed: u64,
    place: u64,
    ip: IpAddr,
}

impl Moved {
    pub(super) fn new() -> Self {
        Moved([None; DIALOGS].into())
    }

    /// Remembers that the user of a dialog, by its Call-ID, is at an address now.
    pub(super) fn remember(&mut self, call_id: HomeHash, ip: IpAddr) {
        let HomeHash { seed, place } = call_id;
        self.0[index(call_id)] = Some(Entry { seed, place, ip });
    }

    /// Whether the user of a dialog is known to be at an address.
    pub(super) fn has(&self, call_id: HomeHash, ip: IpAddr) -> bool {
        self.0[index(call_id)].is_some_and(|entry| {
            (entry.seed, entry.place, entry.ip) == (call_id.seed, call_id.place, ip)
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is below DIALOGS")]
fn index(call_id: HomeHash) -> usize {
    (call_id.seed & (DIALOGS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_remembered_until_another_takes_its_place() {
        let mut moved = Moved::new();
        let hash = |number: u64| HomeHash { place: number, seed: number << 4 };
        let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        moved.remember(hash(1), here);
        assert!(moved.has(hash(1), here) && !moved.has(hash(1), there));
        assert!(!moved.has(hash(2), here) && !moved.has(hash(1 + 1024), here));
        moved.remember(hash(1 + 1024), there);
        assert!(!moved.has(hash(1), here) && moved.has(hash(1 + 1024), there));
    }
}
