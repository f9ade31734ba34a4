//! What an operator does to bindings by hand, without a REGISTER: add and end. It knows no commands; who may is settled before.

use super::Registrar;
use crate::io::{Instant, LocalAddr, Peer};
use crate::location::{Aor, Location, Record, Terms};
use crate::wire::Uri;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The Call-ID of what an operator added: any REGISTER for the same contact is of another call, and so replaces it.
const CALL_ID: &[u8] = b"added@seawall";
/// Where it came from: nowhere, so the contact itself is all there is to go by.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A binding to add.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// The contact URI, without angle brackets.
    pub contact: &'a [u8],
    /// How long it is to live; `None` for as long as the process. The policy's bounds are for UAs.
    pub expires_secs: Option<u32>,
    /// The preference in thousandths.
    pub q: Option<u16>,
    /// The URI of the proxy on the way to it, without angle brackets; empty where there is none. RFC 3327.
    pub path: &'a [u8],
    /// The local address that it is served from.
    pub to: LocalAddr,
}

/// What adding a binding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Whether it was not bound before.
    pub is_new: bool,
    /// Bindings removed to make room.
    pub replaced: u32,
}

/// Why an operator's wish was not met; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The address-of-record has no binding.
    NoSuchAor,
    /// The address-of-record is not bound to this contact.
    NoSuchContact,
    /// The contact is no URI.
    BadContact,
    /// The Path is no SIP URI.
    BadPath,
    /// The address-of-record has all the bindings it may have.
    TooManyContacts,
    /// The location table has no room.
    LocationFull,
}

impl Registrar {
    /// Binds an address-of-record to a contact, or gives an equivalent binding new terms.
    ///
    /// # Errors
    /// Why not.
    pub fn add(
        &self,
        now: Instant,
        aor: &Aor,
        added: &Added<'_>,
        location: &mut Location,
    ) -> Result<Addition, Unmet> {
        let uri = Uri::parse(added.contact).map_err(|_malformed| Unmet::BadContact)?;
        let mut path = [0; 2 + Self::PATH_BYTES_MAX];
        let path = bracketed(added.path, &mut path)?;
        let id = location.find(aor);
        let mut update = location.update();
        let held = update
            .before()
            .bindings(id, now)
            .find(|(_, held)| held.terms.reg_id == 0 && means(held.record.contact, &uri))
            .map(|(binding, _)| binding);
        let record = Record {
            contact: added.contact,
            params: b"",
            path,
            call_id: CALL_ID,
            from: Peer::udp(NOWHERE),
            to: added.to,
        };
        let expires = match added.expires_secs {
            Some(seconds) => now.plus_secs(seconds),
            None => Instant::from_nanos(u64::MAX),
        };
        let terms = Terms { expires, cseq: 1, branch: 0, q: added.q, reg_id: 0 };
        update.save(held, &record, terms).map_err(|_full| Unmet::LocationFull)?;
        let replaced =
            self.make_room(now, id, &mut update).map_err(|_refusal| Unmet::TooManyContacts)?;
        update.commit(aor, id).map_err(|_full| Unmet::LocationFull)?;
        Ok(Addition { is_new: held.is_none(), replaced })
    }

    /// Ends an address-of-record's bindings, or those only whose contact is equivalent to a URI, and gives how many.
    ///
    /// # Errors
    /// Where there are none.
    pub fn end(
        now: Instant,
        aor: &Aor,
        contact: Option<&[u8]>,
        location: &mut Location,
    ) -> Result<u32, Unmet> {
        let uri = contact.map(Uri::parse).transpose().map_err(|_malformed| Unmet::BadContact)?;
        let id = location.find(aor);
        if location.bindings(id, now).next().is_none() {
            return Err(Unmet::NoSuchAor);
        }
        let is_meant = |held: &[u8]| uri.as_ref().is_none_or(|uri| means(held, uri));
        let mut update = location.update();
        let (mut removed, mut seen) = (0, 0);
        loop {
            let found = update.before().bindings(id, now).nth(seen);
            let Some((binding, held)) = found else { break };
            seen += 1;
            if is_meant(held.record.contact) {
                update.remove(binding);
                removed += 1;
            }
        }
        if removed == 0 {
            return Err(Unmet::NoSuchContact);
        }
        update.commit(aor, id).map_err(|_full| Unmet::LocationFull)?;
        Ok(removed)
    }

    const PATH_BYTES_MAX: usize = 512;
}

/// RFC 3261 19.1.4: whether a contact is the URI, or equivalent to it.
fn means(contact: &[u8], uri: &Uri<'_>) -> bool {
    contact == uri.raw || Uri::parse(contact).is_ok_and(|contact| contact.equivalent(uri))
}

/// A SIP URI in the brackets that Path puts it in.
fn bracketed<'b>(uri: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], Unmet> {
    if uri.is_empty() {
        return Ok(b"");
    }
    if !Uri::parse(uri).is_ok_and(|uri| uri.is_sip()) {
        return Err(Unmet::BadPath);
    }
    let whole = buffer.get_mut(..uri.len() + 2).ok_or(Unmet::BadPath)?;
    whole[0] = b'<';
    whole[1..=uri.len()].copy_from_slice(uri);
    whole[uri.len() + 1] = b'>';
    Ok(whole)
}
