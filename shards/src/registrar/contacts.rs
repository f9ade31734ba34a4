//! The contacts of one REGISTER against the bindings of its address-of-record, RFC 3261 10.3 step 7.

use super::{Register, Registered, Registrar, WhenFull};
use crate::io::{Class, Instant};
use crate::location::{Aor, AorId, Binding, BindingId, Location, Record, Terms, Update};
use crate::uas::Refusal;
use crate::wire::{Contact, ContactAddress, HeaderId, Message, Params, Uri};
use alloc::vec::Vec;

/// What a REGISTER asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The bindings, unchanged.
    Query,
    /// To be bound to nothing.
    RemoveAll,
    /// To be bound to what it lists.
    Contacts {
        /// Whether a `reg-id` means a flow, RFC 5626 6.
        is_first_hop_outbound: bool,
    },
}

/// Whether a request may change a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It is newer than what the binding was made by, or from another call.
    Newer,
    /// It is the very request that made the binding as it is.
    Same,
}

impl Registrar {
    /// Binds, refreshes and removes what the request lists: all of it, or nothing.
    pub(super) fn change(
        &mut self,
        now: Instant,
        request: &Register<'_>,
        aor: &Aor,
        is_first_hop_outbound: bool,
        location: &mut Location,
    ) -> Result<Registered, Refusal> {
        let mut done = Registered::QUERY;
        let id = location.find(aor);
        let mut update = location.update();
        for contact in request.message.contacts() {
            let Contact::Address(contact) = contact.map_err(Refusal::Malformed)? else { continue };
            let wanted = Wanted::new(&contact, is_first_hop_outbound)?;
            let held = find(update.before(), id, now, &wanted);
            if let Some((_, held)) = &held
                && check_order(request, held)? == Order::Same
            {
                // Its transaction was forgotten under load; the answer is what it bound.
                return Ok(Registered { class: Class::Duplicate, ..Registered::QUERY });
            }
            let held = held.map(|(binding, _)| binding);
            if held.is_some_and(|held| update.changes(held))
                || update.created().any(|made| wanted.is(&made))
            {
                return Err(Refusal::BadRequest("Repeated Contact"));
            }
            let expires_secs = self.granted_secs(&contact, request.message)?;
            if expires_secs == 0 {
                if let Some(held) = held {
                    update.remove(held);
                    done.removed += 1;
                }
                continue;
            }
            collect_params(&contact, &mut self.params);
            let record = Record {
                contact: contact.address.uri,
                params: &self.params,
                path: &self.path,
                call_id: request.message.call_id(),
                from: request.datagram.from,
                to: request.datagram.to,
            };
            let terms = Terms {
                expires: now.plus_secs(expires_secs),
                cseq: request.message.cseq().number,
                branch: request.branch,
                q: contact.q,
                reg_id: wanted.flow.map_or(0, |(reg_id, _)| reg_id),
            };
            update.save(held, &Binding { record, terms }).map_err(|_full| Refusal::LocationFull)?;
            done.is_outbound |= wanted.flow.is_some();
            match held {
                None => done.created += 1,
                Some(_) => done.refreshed += 1,
            }
        }
        if update.stores() {
            done.replaced = self.make_room(now, id, &mut update)?;
        }
        update.commit(aor).map_err(|_full| Refusal::LocationFull)?;
        done.class = if done.created > 0 {
            Class::RegisterNew
        } else if done.refreshed > 0 {
            Class::RegisterRefresh
        } else {
            Class::RegisterRemove
        };
        Ok(done)
    }

    /// The lifetime that a contact is granted, RFC 3261 10.3 steps 6 and 7.
    fn granted_secs(
        &self,
        contact: &ContactAddress<'_>,
        message: &Message<'_>,
    ) -> Result<u32, Refusal> {
        let policy = &self.policy;
        let wished = contact.expires.or(message.expires()).unwrap_or(policy.default_expires_secs);
        if wished > 0 && wished < policy.min_expires_secs {
            return Err(Refusal::IntervalTooBrief(policy.min_expires_secs));
        }
        Ok(wished.min(policy.max_expires_secs))
    }

    /// Keeps the address-of-record within its limits, and gives how many bindings had to go.
    fn make_room(
        &self,
        now: Instant,
        id: Option<AorId>,
        update: &mut Update<'_>,
    ) -> Result<u32, Refusal> {
        let mut replaced = 0;
        loop {
            let (mut count, mut bytes, mut oldest) = (0, 0, None::<(Instant, BindingId)>);
            for (binding, after) in update.after(id, now) {
                count += 1;
                bytes += super::response::contact_bytes(&after.record);
                if let Some(binding) = binding
                    && oldest.is_none_or(|(expires, _)| after.terms.expires < expires)
                {
                    oldest = Some((after.terms.expires, binding));
                }
            }
            if count <= usize::from(self.policy.max_contacts)
                && bytes <= self.policy.max_contact_bytes as usize
            {
                return Ok(replaced);
            }
            match (self.policy.when_full, oldest) {
                (WhenFull::ReplaceOldest, Some((_, binding))) if update.has_room() => {
                    update.remove(binding);
                }
                (WhenFull::ReplaceOldest | WhenFull::Refuse, _) => {
                    return Err(Refusal::TooManyContacts);
                }
            }
            replaced += 1;
        }
    }
}

/// Refuses what is not newer than the binding it would change, RFC 3261 10.3 steps 6 and 7.
pub(super) fn check_order(request: &Register<'_>, held: &Binding<'_>) -> Result<Order, Refusal> {
    let cseq = request.message.cseq().number;
    if held.record.call_id != request.message.call_id() || cseq > held.terms.cseq {
        return Ok(Order::Newer);
    }
    if cseq == held.terms.cseq && request.branch == held.terms.branch {
        return Ok(Order::Same);
    }
    Err(Refusal::OutOfOrder)
}

/// Whether the edge proxy that is the UA's first hop supports outbound: the last Path value is its, RFC 5626 5.1 and 6.
pub(super) fn first_path_is_outbound(message: &Message<'_>) -> bool {
    let Some(Ok(address)) = message.addresses(HeaderId::Path).last() else { return false };
    Uri::parse(address.uri).is_ok_and(|uri| uri.param(b"ob").is_some())
}

/// A contact as it is looked for among the bindings.
struct Wanted<'m> {
    text: &'m [u8],
    uri: Uri<'m>,
    /// The `reg-id` and the instance of a flow, RFC 5626 6.
    flow: Option<(u32, &'m [u8])>,
}

impl<'m> Wanted<'m> {
    fn new(contact: &ContactAddress<'m>, is_first_hop_outbound: bool) -> Result<Self, Refusal> {
        let text = contact.address.uri;
        let uri = Uri::parse(text).map_err(Refusal::Malformed)?;
        // RFC 5626 6: a reg-id without an instance is ignored.
        let flow = contact.reg_id.zip(contact.instance).filter(|_| is_first_hop_outbound);
        Ok(Wanted { text, uri, flow })
    }

    /// Whether a binding is the one meant: by its flow (RFC 5626 6), else by its URI (RFC 3261 19.1.4).
    fn is(&self, binding: &Binding<'_>) -> bool {
        match self.flow {
            Some((reg_id, instance)) => {
                let held = || Params::checked(binding.record.params).find(b"+sip.instance");
                binding.terms.reg_id == reg_id
                    && held()
                        .and_then(|param| param.value)
                        .is_some_and(|value| unquoted(value) == instance)
            }
            None if binding.terms.reg_id != 0 => false,
            None => {
                binding.record.contact == self.text
                    || Uri::parse(binding.record.contact)
                        .is_ok_and(|held| held.equivalent(&self.uri))
            }
        }
    }
}

fn find<'l>(
    location: &'l Location,
    id: Option<AorId>,
    now: Instant,
    wanted: &Wanted<'_>,
) -> Option<(BindingId, Binding<'l>)> {
    location.bindings(id, now).find(|(_, binding)| wanted.is(binding))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The parameters that belong to the binding: all but `expires` and `q`, which its terms hold.
fn collect_params(contact: &ContactAddress<'_>, params: &mut Vec<u8>) {
    params.clear();
    for param in contact.address.params {
        if param.name.eq_ignore_ascii_case(b"expires") || param.name.eq_ignore_ascii_case(b"q") {
            continue;
        }
        params.push(b';');
        params.extend_from_slice(param.name);
        if let Some(value) = param.value {
            params.push(b'=');
            params.extend_from_slice(value);
        }
    }
}
