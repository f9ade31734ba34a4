//! The registrar, RFC 3261 10.3: what a REGISTER asks for, whether it may, and the answer. The bindings themselves are kept by
//! [`location`](crate::location).

mod contacts;
mod operator;
mod policy;
mod response;

pub use operator::{Added, Addition, Unmet};
pub use policy::{Policy, UnsupportedPath, WhenFull};

use crate::io::{Class, Datagram, Instant, Outbox};
use crate::location::{Aor, AorId, Binding, Here, Location, NotOurs};
use crate::uas::{self, Refusal};
use crate::wire::{ContactPlace, HeaderId, Message, Uri};
use alloc::vec::Vec;

/// The registrar of one core: its policy, and scratch for one request.
#[derive(Debug)]
pub struct Registrar {
    policy: Policy,
    contacts_max: usize,
    /// The Path values of the request, with commas between them.
    path: Vec<u8>,
    /// The parameters of one contact.
    params: Vec<u8>,
}

/// A REGISTER for an address-of-record, with what is known of it besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Register<'m> {
    /// The request.
    pub message: &'m Message<'m>,
    /// Its Request-URI.
    pub uri: &'m Uri<'m>,
    /// How it arrived.
    pub datagram: &'m Datagram<'m>,
    /// A keyed hash of its branch.
    pub branch: u32,
}

/// What a REGISTER did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// [`Class::RegisterNew`], [`Class::RegisterRefresh`], [`Class::RegisterRemove`], [`Class::RegisterQuery`] or
    /// [`Class::Duplicate`].
    pub class: Class,
    /// Bindings made.
    pub created: u32,
    /// Bindings given a new expiry.
    pub refreshed: u32,
    /// Bindings removed at the UA's wish.
    pub removed: u32,
    /// Bindings removed to make room.
    pub replaced: u32,
    /// Where the address-of-record is afterwards.
    aor: Option<AorId>,
    /// Whether outbound was used, RFC 5626 6.
    is_outbound: bool,
    /// The only binding of the address-of-record, where it is known to be just what the request lists, and its lifetime; without
    /// one the whole line of the request.
    only: Option<(ContactPlace, Option<u32>)>,
}

impl Registered {
    /// Nothing changed.
    fn nothing(class: Class, aor: Option<AorId>) -> Self {
        Registered {
            class,
            created: 0,
            refreshed: 0,
            removed: 0,
            replaced: 0,
            aor,
            is_outbound: false,
            only: None,
        }
    }
}

impl Registrar {
    /// A registrar for requests with up to `contacts_max` contacts and `message_bytes` bytes.
    #[must_use]
    pub fn new(policy: Policy, contacts_max: usize, message_bytes: usize) -> Self {
        // A path of many short values grows by a comma each, which stood in the message too.
        let scratch = || Vec::with_capacity(message_bytes);
        Registrar { policy, contacts_max, path: scratch(), params: scratch() }
    }

    /// Whether this registrar is asked for what it does, RFC 3261 10.3 steps 1, 2 and 5, before it is looked who asks: the
    /// address-of-record that it is asked about.
    ///
    /// # Errors
    /// Why it is refused.
    #[inline(always)]
    pub fn accept<'a>(
        &self,
        request: &Register<'_>,
        aor: Result<&'a Aor, NotOurs>,
        here: &Here<'_>,
    ) -> Result<&'a Aor, Refusal> {
        let Register { message, uri, .. } = *request;
        // The answer repeats lines of the request and lists all bindings. What might not fit changes nothing.
        const OTHER_BYTES: usize = 1024;
        let contact_bytes = self.policy.max_contact_bytes as usize;
        if message.bytes().len() + contact_bytes + OTHER_BYTES > Outbox::MESSAGE_BYTES_MAX {
            return Err(Refusal::MessageTooLarge);
        }
        if !uri.is_sip() {
            return Err(Refusal::UnsupportedScheme);
        }
        if message.has(HeaderId::Require) {
            uas::check_extensions(message, HeaderId::Require)?;
        }
        // RFC 3261 10.3 steps 1 and 5: both the domain of the Request-URI and the address-of-record are ours, and belong together.
        let aor = aor.map_err(|reason| match reason {
            NotOurs::Domain => Refusal::NotFound,
            NotOurs::Unreadable => Refusal::BadRequest("Bad URI In To"),
            NotOurs::Scheme => Refusal::BadRequest("Unsupported URI Scheme In To"),
            NotOurs::TooLong => Refusal::BadRequest("Address-of-Record Too Long"),
        })?;
        if here.serves(uri, aor) { Ok(aor) } else { Err(Refusal::NotFound) }
    }

    /// What a REGISTER did that has made a binding as it is and comes again from where it came from; `None` for any other. It
    /// changes nothing, whatever the copy says.
    #[must_use]
    pub fn repetition(
        &mut self,
        now: Instant,
        request: &Register<'_>,
        aor: &Aor,
        location: &Location,
    ) -> Option<Registered> {
        let Register { message, datagram, branch, .. } = *request;
        let id = location.find(aor);
        let is_repeated = location.bindings(id, now).any(|(_, Binding { record, terms })| {
            record.call_id == message.call_id()
                && (terms.cseq, terms.branch) == (message.cseq().number, branch)
                && record.from == datagram.from
        });
        // RFC 3327 5.3: the answer has the Path. What can't be read is not what made the binding.
        (is_repeated && self.read_path(message).is_ok())
            .then(|| Registered::nothing(Class::Duplicate, id))
    }

    /// Collects the Path of a REGISTER that was [accepted](Self::accept), RFC 3327 5.3, for what follows.
    ///
    /// # Errors
    /// Why it is refused.
    #[inline(always)]
    pub fn read_path(&mut self, message: &Message<'_>) -> Result<(), Refusal> {
        self.path.clear();
        if !message.has(HeaderId::Path) {
            return Ok(());
        }
        for address in message.addresses(HeaderId::Path) {
            if !self.path.is_empty() {
                self.path.push(b',');
            }
            self.path.extend_from_slice(address.map_err(Refusal::Malformed)?.raw);
        }
        match self.policy.unsupported_path {
            UnsupportedPath::Reject if !supports(message, b"path")? => {
                Err(Refusal::PathNotSupportedByUa)
            }
            UnsupportedPath::Reject | UnsupportedPath::Store => Ok(()),
        }
    }
}

/// Whether the UA says that it supports an extension.
fn supports(message: &Message<'_>, extension: &[u8]) -> Result<bool, Refusal> {
    for tag in message.option_tags(HeaderId::Supported) {
        if tag.map_err(Refusal::Malformed)?.eq_ignore_ascii_case(extension) {
            return Ok(true);
        }
    }
    Ok(false)
}
