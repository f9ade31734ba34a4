//! What an operator decides about registrations. Plain values; the configuration makes sure that they fit together.

/// The registrar's policy, RFC 3261 10.3. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A shorter wish, other than 0, is refused with 423 (Interval Too Brief). At most an hour, RFC 3261 10.3 step 7.
    pub min_expires_secs: u32,
    /// Granted where the request states no time.
    pub default_expires_secs: u32,
    /// A longer wish is cut to this.
    pub max_expires_secs: u32,
    /// The most bindings an address-of-record may have.
    pub max_contacts: u16,
    /// The most bytes that the bindings of an address-of-record may take, in a response and with their Path and Call-ID, so that
    /// a response fits into a datagram and nobody fills the arena.
    pub max_contact_bytes: u32,
    /// What happens to a new binding beyond either maximum.
    pub when_full: WhenFull,
    /// What happens to a Path from a UA that does not say that it supports Path.
    pub unsupported_path: UnsupportedPath,
}

/// What happens when an address-of-record has all the bindings it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The request is refused with 403 and nothing changes.
    Refuse,
    /// The bindings that would expire first make room.
    ReplaceOldest,
}

/// What happens to a REGISTER with Path but without `Supported: path`, RFC 3327 5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedPath {
    /// 420 (Bad Extension), the policy that RFC 3327 recommends.
    Reject,
    /// The Path is stored and used all the same, for UAs behind an edge proxy that know nothing of it.
    Store,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            min_expires_secs: 60,
            default_expires_secs: 3600,
            max_expires_secs: 7200,
            max_contacts: 10,
            max_contact_bytes: 8 * 1024,
            when_full: WhenFull::Refuse,
            unsupported_path: UnsupportedPath::Reject,
        }
    }
}
