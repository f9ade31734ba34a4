//! What an operator's wish has to come to: bindings that are added and ended by hand, over the reference's plain map.

use super::{Accepted, Address, Binding, Change, Changes, Fate, Heard, Reference};
use crate::sim::message::{List, Register, Via};
use shards::io::{Class, Instant, LocalAddr};
use shards::registrar::Unmet;
use shards::wire::Uri;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A binding that an operator wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The contact.
    pub contact: Vec<u8>,
    /// How long, in seconds; `None` for ever.
    pub expires_secs: Option<u32>,
    /// The preference in thousandths.
    pub q: Option<u16>,
    /// The proxy on the way to it, or nothing.
    pub path: Vec<u8>,
    /// Where it is served from.
    pub to: LocalAddr,
}

impl Reference {
    /// Ends the bindings of an address-of-record, or those of an equivalent contact, as far as there are any.
    ///
    /// # Errors
    /// Why not.
    pub fn end(
        &mut self,
        now: Instant,
        aor: &[u8],
        contact: Option<&[u8]>,
    ) -> Result<Changes, Unmet> {
        if contact.is_some_and(|contact| Uri::parse(contact).is_err()) {
            return Err(Unmet::BadContact);
        }
        let before: Vec<Binding> = self.bindings(aor, now).cloned().collect();
        if before.is_empty() {
            return Err(Unmet::NoSuchAor);
        }
        let is_meant = |binding: &Binding| {
            contact.is_none_or(|contact| super::uri::are_equivalent(&binding.uri, contact))
        };
        let after: Vec<Binding> =
            before.iter().filter(|binding| !is_meant(binding)).cloned().collect();
        let removed = (before.len() - after.len()) as u64;
        if removed == 0 {
            return Err(Unmet::NoSuchContact);
        }
        let changes = Changes { removed, ..Changes::default() };
        self.accept(accepted(aor, after, changes));
        Ok(changes)
    }

    /// What adding a binding has to come to.
    ///
    /// # Errors
    /// Why not.
    pub fn adding(&self, now: Instant, aor: &[u8], wanted: &Wanted) -> Result<Accepted, Unmet> {
        if Uri::parse(&wanted.contact).is_err() {
            return Err(Unmet::BadContact);
        }
        let path = &wanted.path;
        if !path.is_empty() && (path.len() > 512 || !super::uri::is_sip(path)) {
            return Err(Unmet::BadPath);
        }
        let register = Register {
            call_id: b"added@seawall".to_vec(),
            cseq: 1,
            via: Via::default(),
            path: List::of(
                [path]
                    .into_iter()
                    .filter(|path| !path.is_empty())
                    .map(|path| bracketed(path))
                    .collect(),
            ),
            ..Register::default()
        };
        let raw = [Vec::new(), Vec::new()];
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let heard =
            Heard { register: &register, raw: &raw, from: nowhere, to: wanted.to, bytes: 0 };
        let before: Vec<Binding> = self.bindings(aor, now).cloned().collect();
        let fates = before.iter().map(|_| Fate::Kept).collect();
        let mut change =
            Change { reference: self, now, heard: &heard, before, fates, created: Vec::new() };
        let address = Address { uri: wanted.contact.clone(), q: wanted.q, ..Address::default() };
        let mut binding = change.binding(&address, false, wanted.expires_secs.unwrap_or(0));
        if wanted.expires_secs.is_none() {
            binding.expires = Instant::from_nanos(u64::MAX);
        }
        let held = change.before.iter().rposition(|held| held.is_meant_by(&binding));
        let mut changes = Changes::default();
        match held {
            Some(held) => {
                change.fates[held] = Fate::Changed(Box::new(binding));
                changes.refreshed = 1;
            }
            None => {
                change.created.push(binding);
                changes.created = 1;
            }
        }
        changes.replaced = change.make_room().ok_or(Unmet::TooManyContacts)?;
        let after = change.after().map(|(_, binding)| binding.clone()).collect();
        Ok(accepted(aor, after, changes))
    }
}

fn accepted(aor: &[u8], after: Vec<Binding>, changes: Changes) -> Accepted {
    Accepted { aor: aor.to_vec(), after, class: Class::RegisterQuery, changes, is_outbound: false }
}

fn bracketed(path: &[u8]) -> Vec<u8> {
    [b"<", path, b">"].concat()
}
