//! Contact values with the parameters a registrar acts on. It does not decide what a registration means.

use super::address::{self, Address};
use super::common;
use super::cursor::{Cursor, Span};
use super::header::HeaderId;
use super::index::{Index, Line};
use super::list::Values;
use super::malformed::Malformed;
use super::message::Message;
use super::number;
use super::padded::Padded;
use super::params::Params;
use super::scan::{self, Text};

/// One value of Contact.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'m> {
    /// `*`
    Star,
    /// An address.
    Address(ContactAddress<'m>),
}

/// A Contact address and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct ContactAddress<'m> {
    /// The URI without brackets, with the display name and all parameters as they came.
    pub address: Address<'m>,
    /// `q` in thousandths.
    pub q: Option<u16>,
    /// `expires` in seconds: saturated, and 3600 where it is no number.
    pub expires: Option<u32>,
    /// `+sip.instance` (RFC 5626 4.1): what stands between its quotes, escapes as they came.
    pub instance: Option<&'m [u8]>,
    /// `reg-id` (RFC 5626 4.2), above 0.
    pub reg_id: Option<u32>,
    /// Whether it has parameters besides `q` and `expires`.
    pub has_other_params: bool,
}

/// The only Contact of a message, where it is a contact that is known already, in brackets, with `expires` if any parameter.
#[derive(Clone, Copy, Debug)]
pub struct KnownContact {
    /// `expires` in seconds.
    pub expires: Option<u32>,
    /// The contact with its brackets.
    pub place: ContactPlace,
    /// The line, where a response that grants what it wishes has the same one.
    pub line: Option<ContactPlace>,
}

/// A range of a message, for [`Response::contact`](super::Response::contact).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactPlace(pub(super) Span);

impl KnownContact {
    /// `known` stands in brackets and was read from a message before.
    #[inline(always)]
    pub(super) fn of(message: &Message<'_>, known: &[u8]) -> Option<Self> {
        const EXPIRES: Text = Text::new(";expires");
        let Index { text, .. } = message.index;
        let line = message.index.only_line(HeaderId::Contact)?;
        let (start, end) = line.common_value();
        // What is known has no line end in it, so it ends within the line.
        if text.byte(start - 1) != b' ' || !text.holds(start, known) {
            return None;
        }
        let at = start + known.len();
        let place = ContactPlace(Span::new(start, at));
        if at == end {
            return Some(KnownContact { expires: None, place, line: None });
        }
        let name = text.word(at);
        if !EXPIRES.begins(name) || text.byte(at + 8) != b'=' {
            return None;
        }
        let expires = Some(common::decimal(text, at + 9, end)?);
        let is_as_written = name == u64::from_le_bytes(*b";expires")
            && text.byte(at + 9) != b'0'
            && text.word(usize::from(line.start())) == u64::from_le_bytes(*b"Contact:");
        let whole = ContactPlace(Span { start: line.start(), end: line.end() });
        Some(KnownContact { expires, place, line: is_as_written.then_some(whole) })
    }
}

/// The values of Contact, over all its lines. It stops behind its first error.
#[derive(Clone, Debug)]
pub struct Contacts<'m> {
    bytes: &'m [u8],
    text: &'m Padded,
    values: Values<'m>,
}

impl<'m> Contacts<'m> {
    #[inline]
    pub(super) fn new(message: &Message<'m>) -> Self {
        let values = Values::new(message, HeaderId::Contact, "Bad Contact");
        Contacts { bytes: message.bytes, text: &message.index.text, values }
    }
}

impl<'m> Iterator for Contacts<'m> {
    type Item = Result<Contact<'m>, Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        // The end is told without a call, and a line in its common form is read here.
        if self.values.is_at_end() {
            return None;
        }
        match self.values.next_line(|line| common(self.text, self.bytes, line)) {
            Some(contact) => Some(Ok(Contact::Address(contact))),
            None => self.next_value(),
        }
    }
}

impl<'m> Contacts<'m> {
    #[inline(never)]
    fn next_value(&mut self) -> Option<Result<Contact<'m>, Malformed>> {
        let bytes = self.bytes;
        self.values.next_with(|cursor| {
            // A token may begin with a star too: a display name does not make it a wildcard.
            if cursor.byte() == Some(b'*') && is_alone(cursor) {
                cursor.at += 1;
                return Ok(Contact::Star);
            }
            address(bytes, cursor).map(Contact::Address)
        })
    }
}

/// A line in its common form: one address in brackets, and `expires` if any parameter.
#[inline(always)]
fn common<'m>(text: &Padded, bytes: &'m [u8], line: &Line) -> Option<ContactAddress<'m>> {
    const EXPIRES: Text = Text::new("expires=");
    let (start, end) = line.common_value();
    if text.byte(start - 1) != b' ' {
        return None;
    }
    let name_addr = common::name_addr(text, start)?;
    let at = name_addr.end;
    let mut expires = None;
    if at != end {
        if text.byte(at) != b';' || !EXPIRES.begins(text.word(at + 1)) {
            return None;
        }
        expires = Some(common::decimal(text, at + 9, end)?);
    }
    let address = Address {
        display: name_addr.display.of(bytes),
        uri: name_addr.uri.of(bytes),
        params: Params::new(Span::new(at, end).of(bytes)),
        tag: None,
        raw: Span::new(start, end).of(bytes),
    };
    Some(ContactAddress {
        address,
        q: None,
        expires,
        instance: None,
        reg_id: None,
        has_other_params: false,
    })
}

/// Whether the byte here is followed by the end or a comma.
fn is_alone(cursor: &Cursor<'_>) -> bool {
    let mut behind = *cursor;
    behind.at += 1;
    behind.lws();
    matches!(behind.byte(), None | Some(b','))
}

#[inline]
fn address<'m>(bytes: &'m [u8], cursor: &mut Cursor<'m>) -> Result<ContactAddress<'m>, Malformed> {
    const Q: Text = Text::new("q");
    const EXPIRES: Text = Text::new("expires");
    const SIP_INSTANCE: [Text; 2] = [Text::new("+sip.ins"), Text::new("tance")];
    const REG_ID: Text = Text::new("reg-id");
    let (mut q, mut expires, mut instance, mut reg_id) = (None, None, None, None);
    let mut others = 0;
    let spans = address::take(cursor, |cursor, param| {
        let name = usize::from(param.name.start);
        let word = scan::word(bytes, name);
        let value = param.value.map(|value| value.of(bytes));
        // Twice the same parameter: which one is meant?
        let twice = match param.name.end - param.name.start {
            1 if Q.begins(word) => {
                let Some(thousandths) = value.and_then(number::q_thousandths) else {
                    return Err(cursor.fail());
                };
                q.replace(thousandths).is_some()
            }
            7 if EXPIRES.begins(word) => {
                expires.replace(number::lifetime_secs(value.unwrap_or_default())).is_some()
            }
            13 if SIP_INSTANCE[0].begins(word)
                && SIP_INSTANCE[1].begins(scan::word(bytes, name + 8)) =>
            {
                // RFC 5626 10: "+sip.instance" EQUAL DQUOTE "<" instance-val ">" DQUOTE
                let Some([b'"', inner @ .., b'"']) = value else { return Err(cursor.fail()) };
                instance.replace(inner).is_some()
            }
            6 if REG_ID.begins(word) => {
                // RFC 5626 10: 1*DIGIT; 4.2: from 1 to 2^31 - 1.
                match value.and_then(number::decimal) {
                    Some(id @ 1..=0x7FFF_FFFF) => reg_id.replace(id).is_some(),
                    Some(_) | None => return Err(cursor.fail()),
                }
            }
            _ => {
                others += 1;
                false
            }
        };
        if twice { Err(cursor.fail()) } else { Ok(()) }
    })?;
    let has_other_params = others > 0 || instance.is_some() || reg_id.is_some();
    Ok(ContactAddress { address: spans.of(bytes), q, expires, instance, reg_id, has_other_params })
}
