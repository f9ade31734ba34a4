//! The 200 to a REGISTER, RFC 3261 10.3 step 8: every binding with the time it has left.

use super::{Registered, Registrar};
use crate::io::Instant;
use crate::location::{Location, Record};
use crate::wire::{Index, Response};

/// What a binding counts towards the limit of its address-of-record: what it takes in a response, and what is kept besides.
pub(super) fn contact_bytes(record: &Record<'_>) -> usize {
    const AROUND: usize = "Contact: <>;q=0.123;expires=4294967295\r\n".len();
    AROUND + record.contact.len() + record.params.len() + record.path.len() + record.call_id.len()
}

impl Registrar {
    /// Writes what is particular to the 200 to the request whose Path was [read](Self::read_path) last, behind whose message
    /// `index` is.
    #[inline(always)]
    pub fn write_bindings(
        &self,
        now: Instant,
        registered: &Registered,
        location: &Location,
        index: &Index,
        response: &mut Response<'_>,
    ) {
        match registered.only {
            Some((contact, secs)) => response.contact(index, contact, secs),
            None => list(now, registered, location, response),
        }
        // RFC 3327 5.3: the UA learns which Path was stored for it.
        if !self.path.is_empty() {
            response.header("Path", &self.path);
        }
        if registered.is_outbound {
            // RFC 5626 6.
            response.header("Require", b"outbound");
        }
    }
}

/// Lists the bindings as they are kept.
#[inline(never)]
fn list(now: Instant, registered: &Registered, location: &Location, response: &mut Response<'_>) {
    for (contact, terms) in location.contacts(registered.aor, now) {
        response.put(b"Contact: ");
        response.put_start(contact.text, contact.length);
        if let Some(thousandths) = terms.q {
            put_q(response, thousandths);
        }
        response.end_with_expires(now.secs_until(terms.expires));
    }
}

/// RFC 3261 25.1: `( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`.
fn put_q(response: &mut Response<'_>, thousandths: u16) {
    let digits = [thousandths / 100 % 10, thousandths / 10 % 10, thousandths % 10];
    let length = digits.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
    response.put(if thousandths >= 1000 { b";q=1" } else { b";q=0" });
    if length > 0 {
        response.put(b".");
    }
    for &digit in &digits[..length] {
        response.put_number(u32::from(digit));
    }
}
