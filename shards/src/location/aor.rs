//! The one way in which an address-of-record becomes canonical. Registrar, router and the choice of the home core all
//! use it, so they can't disagree.

use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// An address-of-record in its canonical form, `user@host` or `host`, and its keyed hash. It is a buffer to be reused.
///
/// Scheme, password, parameters and headers are dropped (sip and sips share), the user is %-decoded, the host in lower
/// case, a port of ours dropped, and an alias replaced by its domain.
#[derive(Debug)]
pub struct Aor {
    bytes: Vec<u8>,
    hash: u64,
}

/// Why a URI is no address-of-record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// Neither sip nor sips.
    Scheme,
    /// A domain we do not answer for.
    Domain,
    /// Longer than [`Aor::BYTES_MAX`].
    TooLong,
}

impl Aor {
    /// The longest address-of-record, in canonical bytes.
    pub const BYTES_MAX: usize = 512;

    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Aor { bytes: Vec::with_capacity(Self::BYTES_MAX), hash: 0 }
    }

    /// `user@host`, or `host` where the URI had no user.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The keyed hash that chooses the home core and the place in its table.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes over an address-of-record that is canonical already, as a peer of the same node gave it.
    ///
    /// # Errors
    /// [`NotOurs::TooLong`].
    pub fn set(&mut self, key: &[u8; 16], canonical: &[u8]) -> Result<(), NotOurs> {
        if canonical.len() > Self::BYTES_MAX {
            return Err(NotOurs::TooLong);
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(canonical);
        self.hash = home_hash(key, &self.bytes);
        Ok(())
    }
}

impl Default for Aor {
    fn default() -> Self {
        Aor::new()
    }
}

/// The keyed hash by which everything finds its home core: canonical addresses-of-record and Call-IDs.
#[must_use]
pub fn home_hash(key: &[u8; 16], bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(bytes);
    hasher.finish()
}
