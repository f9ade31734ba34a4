//! The peek: what a datagram is and where it lives, from as few of its lines as tell it. It never judges a whole message.

use super::header::HeaderId;
use super::index::Index;
use super::malformed::Malformed;
use super::method::Method;
use super::scan::{self, TOKEN};
use super::start::{self, Start};

/// What a datagram turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek<'m> {
    /// No byte.
    Empty,
    /// Nothing but CR and LF: a keep-alive, RFC 5626 3.5.1.
    Crlf,
    /// A STUN message, RFC 5389 6.
    Stun,
    /// The first line is no request line and no status line.
    NotSip,
    /// A request.
    Request {
        /// Its method.
        method: Method<'m>,
        /// What decides where it lives.
        home: Home<'m>,
    },
    /// A response.
    Response {
        /// Its status code.
        status: u16,
        /// The branch of its topmost Via.
        branch: Option<&'m [u8]>,
    },
    /// SIP with a defect before or at what decides where it lives. The index holds what a response needs.
    Malformed(Malformed),
}

/// What decides where a request lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home<'m> {
    /// The URI in the To of a REGISTER, without brackets.
    AddressOfRecord(&'m [u8]),
    /// The Call-ID of any other request.
    CallId(&'m [u8]),
}

/// Looks at a datagram as far as needed to tell where it lives. [`Message::parse`](super::Message::parse) goes on from there
/// with the same index.
#[inline(always)]
pub fn peek<'m>(bytes: &'m [u8], index: &mut Index) -> Peek<'m> {
    // Junk is told by its first bytes: the rest of it is not even looked at.
    index.forget();
    let Some(&first) = bytes.first() else { return Peek::Empty };
    if !scan::is(first, TOKEN) {
        return not_sip(bytes);
    }
    let Some(method_end) = start::method_end(bytes) else { return not_sip(bytes) };
    index.reset(bytes);
    if let Some(malformed) = index.failure() {
        return Peek::Malformed(malformed);
    }
    let Some(end) = index.start_line_end(bytes) else { return Peek::NotSip };
    let Some((start, verdict)) = start::read(bytes, method_end, end) else { return Peek::NotSip };
    index.start = Some(start);
    if let Err(malformed) = verdict {
        index.note(malformed);
        return failed(bytes, index, "Bad Start Line");
    }
    match start {
        Start::Request { method, .. } => {
            let method = Method::named(method.of(bytes));
            let wanted = if method == Method::Register { HeaderId::To } else { HeaderId::CallId };
            if !found(bytes, index, wanted) {
                let missing =
                    if method == Method::Register { "Missing To" } else { "Missing Call-ID" };
                return failed(bytes, index, missing);
            }
            let home = if method == Method::Register {
                Home::AddressOfRecord(index.essentials.to.uri.of(bytes))
            } else {
                Home::CallId(index.essentials.call_id.of(bytes))
            };
            Peek::Request { method, home }
        }
        Start::Response { status, .. } => {
            if !found(bytes, index, HeaderId::Via) {
                return failed(bytes, index, "Missing Via");
            }
            let branch = index.essentials.via.branch;
            Peek::Response { status, branch: branch.map(|branch| branch.of(bytes)) }
        }
    }
}

/// The URI in the To of a REGISTER in the form in which nearly all of them come. `None` says nothing of the datagram; what is
/// said here, [`peek`] would have said as well, and left the index in the same state.
#[inline(always)]
pub fn peek_register<'m>(bytes: &'m [u8], index: &mut Index) -> Option<&'m [u8]> {
    const REGISTER: &[u8; 9] = b"REGISTER ";
    let method_end = REGISTER.len() - 1;
    if bytes.first_chunk() != Some(REGISTER) || bytes.len() > Index::MESSAGE_BYTES_MAX {
        return None;
    }
    index.forget();
    index.reset(bytes);
    let end = index.usual_start_line_end()?;
    index.start = Some(start::usual_request(bytes, method_end, end)?);
    index.finds_at_once(bytes, HeaderId::To).then(|| index.essentials.to.uri.of(bytes))
}

/// Reads up to the first line of a header; false where it is missing or something before it or in it is malformed.
#[inline]
fn found(bytes: &[u8], index: &mut Index, wanted: HeaderId) -> bool {
    index.finds(bytes, wanted)
}

/// Reads all lines that are left, for the response. Where none of them is malformed, the wanted one is missing.
#[cold]
fn failed<'m>(bytes: &[u8], index: &mut Index, missing: &'static str) -> Peek<'m> {
    index.read_all(bytes);
    let missing = Malformed::bad(missing, bytes.len());
    index.note(missing);
    Peek::Malformed(index.failure().unwrap_or(missing))
}

/// Tells what keeps a NAT binding open from junk.
#[cold]
fn not_sip<'m>(bytes: &[u8]) -> Peek<'m> {
    // RFC 5626 3.5.1 sends two CRLF and answers with one; some send more, and nobody sends many.
    const KEEP_ALIVE_BYTES_MAX: usize = 16;
    if bytes.len() <= KEEP_ALIVE_BYTES_MAX
        && bytes.iter().all(|&byte| byte == b'\r' || byte == b'\n')
    {
        return Peek::Crlf;
    }
    // RFC 5389 6: two zero bits, 14 bits of type, a length in multiples of 4, the magic cookie.
    match bytes {
        [0x00..=0x3F, _, _, length, 0x21, 0x12, 0xA4, 0x42, ..]
            if bytes.len() >= 20 && length & 3 == 0 =>
        {
            Peek::Stun
        }
        _ => Peek::NotSip,
    }
}
