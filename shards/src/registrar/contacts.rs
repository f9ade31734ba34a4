//! The contacts of one REGISTER against the bindings of its address-of-record, RFC 3261 10.3 steps 6 and 7.
//!
//! A binding remembers the request that made it, so a copy that comes when its transaction is forgotten changes nothing. What was
//! removed remembers nothing: a late copy of a removal also ends what another call has bound to the same contact since then.

use super::{Register, Registered, Registrar, WhenFull, supports};
use crate::io::{Class, Instant};
use crate::location::{Aor, AorId, Binding, BindingId, Location, Record, Terms, Update};
use crate::uas::Refusal;
use crate::wire::{Contact, ContactAddress, ContactPlace, HeaderId, Message, Params, Uri};
use alloc::vec::Vec;

/// Whether a request may change a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// It is newer than what the binding was made by, or from another call.
    Newer,
    /// It is the very request that made the binding as it is.
    Same,
}

impl Registrar {
    /// Refreshes the only contact that the request lists, which is bound exactly as it stands: what nearly every REGISTER is for. Its
    /// [Path](Self::read_path) was read. `None` for any other, and where something speaks against it; nothing has changed then, and
    /// [`change`](Self::change), which would have done the same, says what comes of it.
    #[inline(always)]
    #[must_use]
    pub fn refresh(
        &self,
        now: Instant,
        request: &Register<'_>,
        aor: &Aor,
        location: &mut Location,
    ) -> Option<Registered> {
        if self.contacts_max.min(usize::from(self.policy.max_contacts)) == 0 {
            return None;
        }
        let id = location.find(aor)?;
        let newest = location.newest(id)?;
        let Some((terms, line)) = self.renewed(now, request, newest, location) else {
            return self.refresh_older(now, request, id, newest, location);
        };
        let only = if location.older(newest).is_none() { Some(line) } else { None };
        location.refresh(id, newest, terms);
        let nothing = Registered::nothing(Class::RegisterRefresh, Some(id));
        Some(Registered { refreshed: 1, only, ..nothing })
    }

    /// The same for a contact whose binding is older than one. Apart, so that the way of the newest has no loop around it.
    #[inline(never)]
    fn refresh_older(
        &self,
        now: Instant,
        request: &Register<'_>,
        id: AorId,
        newest: BindingId,
        location: &mut Location,
    ) -> Option<Registered> {
        let mut binding = location.older(newest)?;
        loop {
            if let Some((terms, _)) = self.renewed(now, request, binding, location) {
                location.refresh(id, binding, terms);
                let nothing = Registered::nothing(Class::RegisterRefresh, Some(id));
                return Some(Registered { refreshed: 1, ..nothing });
            }
            binding = location.older(binding)?;
        }
    }

    /// The new terms of a binding that the request lists as it stands, and what the answer has for it.
    #[inline(always)]
    fn renewed(
        &self,
        now: Instant,
        request: &Register<'_>,
        binding: BindingId,
        location: &Location,
    ) -> Option<(Terms, (ContactPlace, Option<u32>))> {
        let message = request.message;
        let record = Record {
            contact: b"",
            params: b"",
            path: &self.path,
            call_id: message.call_id(),
            from: request.datagram.from,
            to: request.datagram.to,
        };
        let (contact, held) = location.held_as(binding, now, &record)?;
        let contact = message.known_contact(contact)?;
        let wished = contact.expires.or_else(|| message.expires());
        let secs = self.granted_secs(wished).ok().filter(|&secs| secs > 0)?;
        // The Call-ID is the same, so the order counts; the binding is no flow, and this is not about one.
        let cseq = message.cseq().number;
        if held.reg_id != 0 || cseq <= held.cseq {
            return None;
        }
        let expires = now.plus_secs(secs);
        let terms = Terms { expires, cseq, branch: request.branch, q: None, reg_id: 0 };
        match contact.line {
            Some(line) if contact.expires == Some(secs) => Some((terms, (line, None))),
            Some(_) | None => Some((terms, (contact.place, Some(secs)))),
        }
    }

    /// Binds, refreshes and removes what the request lists: all of it, or nothing. Its [Path](Self::read_path) was read.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn change(
        &mut self,
        now: Instant,
        request: &Register<'_>,
        aor: &Aor,
        location: &mut Location,
    ) -> Result<Registered, Refusal> {
        let message = request.message;
        let id = location.find(aor);
        let mut done = Registered::nothing(Class::RegisterQuery, id);
        let expires = message.expires();
        let (mut count, mut bound, mut is_first_hop_outbound) = (0, 0, None);
        let mut update = location.update();
        for contact in message.contacts() {
            let Contact::Address(contact) = contact.map_err(Refusal::Malformed)? else {
                // RFC 3261 10.3 step 6: alone, and with an Expires of 0.
                let is_alone = message.contacts().nth(1).is_none();
                if !is_alone || expires != Some(0) {
                    return Err(Refusal::BadRequest("Bad Wildcard Contact"));
                }
                done.removed = remove_all(now, request, id, &mut update)?;
                continue;
            };
            count += 1;
            if count > self.contacts_max {
                return Err(Refusal::BadRequest("Too Many Contacts"));
            }
            // RFC 5626 6: a reg-id without an instance is ignored, and so is one when the first hop knows nothing of outbound.
            let flow = match contact.reg_id.zip(contact.instance) {
                Some(flow) if first_hop(&mut is_first_hop_outbound, message)? => Some(flow),
                Some(_) | None => None,
            };
            let expires_secs = self.granted_secs(contact.expires.or(expires))?;
            if expires_secs > 0 && bound == usize::from(self.policy.max_contacts) {
                // Never to be kept together, so not to be compared with each other either.
                return Err(Refusal::TooManyContacts);
            }
            collect_params(&contact, &mut self.params);
            let record = Record {
                contact: contact.address.uri,
                params: &self.params,
                path: &self.path,
                call_id: message.call_id(),
                from: request.datagram.from,
                to: request.datagram.to,
            };
            let held = held(&update, id, now, request, &contact, flow, &record)?;
            if held.is_repetition {
                // Its transaction was forgotten under load; the answer is what it bound.
                return Ok(Registered::nothing(Class::Duplicate, id));
            }
            if expires_secs == 0 {
                if let Some(binding) = held.binding {
                    update.remove(binding);
                    done.removed += 1;
                }
                continue;
            }
            let terms = Terms {
                expires: now.plus_secs(expires_secs),
                cseq: message.cseq().number,
                branch: request.branch,
                q: contact.q,
                reg_id: flow.map_or(0, |(reg_id, _)| reg_id),
            };
            match held.binding {
                Some(binding) if held.is_identical => update.refresh(binding, terms),
                binding => {
                    update.save(binding, &record, terms).map_err(|_full| Refusal::LocationFull)?;
                }
            }
            bound += 1;
            done.is_outbound |= flow.is_some();
            match held.binding {
                None => done.created += 1,
                Some(_) => done.refreshed += 1,
            }
        }
        if done.is_outbound && bound > 1 {
            // RFC 5626 6: a flow is registered alone.
            return Err(Refusal::BadRequest("More Than One Contact With reg-id"));
        }
        if update.stores() {
            done.replaced = self.make_room(now, id, &mut update)?;
        }
        done.aor = update.commit(aor, id).map_err(|_full| Refusal::LocationFull)?;
        done.class = if done.created > 0 {
            Class::RegisterNew
        } else if done.refreshed > 0 {
            Class::RegisterRefresh
        } else if message.has(HeaderId::Contact) {
            Class::RegisterRemove
        } else {
            Class::RegisterQuery
        };
        Ok(done)
    }

    /// The lifetime that a contact is granted, RFC 3261 10.3 steps 6 and 7.
    #[inline(always)]
    fn granted_secs(&self, wished: Option<u32>) -> Result<u32, Refusal> {
        let policy = &self.policy;
        let wished = wished.unwrap_or(policy.default_expires_secs);
        if wished > 0 && wished < policy.min_expires_secs {
            return Err(Refusal::IntervalTooBrief(policy.min_expires_secs));
        }
        Ok(wished.min(policy.max_expires_secs))
    }

    /// Keeps the address-of-record within its limits, and gives how many bindings had to go.
    pub(super) fn make_room(
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

/// `Contact: *` with an Expires of 0, RFC 3261 10.3 step 6.
fn remove_all(
    now: Instant,
    request: &Register<'_>,
    id: Option<AorId>,
    update: &mut Update<'_>,
) -> Result<u32, Refusal> {
    let mut removed = 0;
    loop {
        let Some((binding, held)) = update.before().bindings(id, now).nth(removed) else { break };
        match check_order(request, held.record.call_id, &held.terms)? {
            Order::Newer => update.remove(binding),
            // A wildcard binds nothing: what has its branch and its CSeq was made by another request.
            Order::Same => return Err(Refusal::OutOfOrder),
        }
        removed += 1;
    }
    Ok(u32::try_from(removed).unwrap_or(u32::MAX))
}

/// The binding that a contact is about.
fn held(
    update: &Update<'_>,
    id: Option<AorId>,
    now: Instant,
    request: &Register<'_>,
    contact: &ContactAddress<'_>,
    flow: Option<(u32, &[u8])>,
    record: &Record<'_>,
) -> Result<Held, Refusal> {
    let reg_id = flow.map_or(0, |(reg_id, _)| reg_id);
    let identical = update.identical(id, now, record).filter(|(_, terms)| terms.reg_id == reg_id);
    let held = if let Some((binding, terms)) = identical {
        let order = check_order(request, request.message.call_id(), &terms)?;
        Held { binding: Some(binding), is_identical: true, is_repetition: order == Order::Same }
    } else {
        let wanted = Wanted::new(contact, flow)?;
        if update.created().any(|made| wanted.is(&made)) {
            return Err(Refusal::BadRequest("Repeated Contact"));
        }
        let found = update.before().bindings(id, now).find(|(_, binding)| wanted.is(binding));
        let order = match &found {
            Some((_, held)) => check_order(request, held.record.call_id, &held.terms)?,
            None => Order::Newer,
        };
        let binding = found.map(|(binding, _)| binding);
        Held { binding, is_identical: false, is_repetition: order == Order::Same }
    };
    if held.binding.is_some_and(|binding| update.changes(binding)) {
        return Err(Refusal::BadRequest("Repeated Contact"));
    }
    Ok(held)
}

/// What a contact finds among the bindings.
struct Held {
    /// The binding it is about.
    binding: Option<BindingId>,
    /// The binding has this very record.
    is_identical: bool,
    /// The request has made the binding as it is, and asks a second time.
    is_repetition: bool,
}

/// Refuses what is not newer than the binding it would change, RFC 3261 10.3 steps 6 and 7.
fn check_order(request: &Register<'_>, call_id: &[u8], terms: &Terms) -> Result<Order, Refusal> {
    let cseq = request.message.cseq().number;
    if cseq > terms.cseq || call_id != request.message.call_id() {
        return Ok(Order::Newer);
    }
    if cseq == terms.cseq && request.branch == terms.branch {
        return Ok(Order::Same);
    }
    Err(Refusal::OutOfOrder)
}

/// Whether the UA's first hop supports outbound, found out once a request. RFC 5626 6: the first hop is us, or it says `ob` in
/// the Path; the last value is the one of the edge proxy, 5.1.
#[cold]
fn first_hop(known: &mut Option<bool>, message: &Message<'_>) -> Result<bool, Refusal> {
    if let Some(is_outbound) = *known {
        return Ok(is_outbound);
    }
    let says_ob = || {
        let Some(Ok(edge)) = message.addresses(HeaderId::Path).last() else { return false };
        Uri::parse(edge.uri).is_ok_and(|uri| uri.param(b"ob").is_some())
    };
    let is_outbound = message.vias().nth(1).is_none() || says_ob();
    if !is_outbound && supports(message, b"outbound")? {
        return Err(Refusal::FirstHopLacksOutbound);
    }
    *known = Some(is_outbound);
    Ok(is_outbound)
}

/// A contact as it is looked for among the bindings.
struct Wanted<'m> {
    text: &'m [u8],
    uri: Uri<'m>,
    /// The `reg-id` and the instance of a flow, RFC 5626 6.
    flow: Option<(u32, &'m [u8])>,
}

impl<'m> Wanted<'m> {
    fn new(contact: &ContactAddress<'m>, flow: Option<(u32, &'m [u8])>) -> Result<Self, Refusal> {
        let text = contact.address.uri;
        let uri = Uri::parse(text).map_err(Refusal::Malformed)?;
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

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The parameters that belong to the binding: all but `expires` and `q`, which its terms hold.
#[inline]
fn collect_params(contact: &ContactAddress<'_>, params: &mut Vec<u8>) {
    params.clear();
    if !contact.has_other_params {
        return;
    }
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

#[cfg(test)]
mod tests;
