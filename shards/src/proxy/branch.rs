//! The branch of our Via, RFC 3261 16.6 step 8: it leads a response to the client transaction without a search, and a request
//! that comes back shows by it whether it loops. It owns no transaction and keeps no branch.
//!
//! ```text
//! z9hG4bKt                the magic cookie; of a transaction
//! core         4 digits   the core of the transaction
//! index        8 digits   its place there
//! loop hash   16 digits   what RFC 5393 4.2.2 calls the loop detection part
//! seal        16 digits   `SipHash`-2-4 of the above, and of how often that place was used, under a key of the node
//!
//! z9hG4bKs                the magic cookie; stateless
//! seed        16 digits   a hash of what makes the request the same
//! ```
//! A transaction keeps its seal: what comes back is not sealed again but compared. The seal needs no more than 64 bits: a forged
//! branch can only be tried here, one datagram a try.

use super::digits::{hex8, hex16, read_hex8, read_hex16};
use crate::io::CoreId;
use crate::location::{HomeHash, Sip};
use crate::store::Handle;
use crate::wire::{HeaderId, Malformed, Message, Via};
use core::fmt;

/// Where the client transaction of a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    /// The core that has it.
    pub(super) core: CoreId,
    /// Its place on that core.
    pub(super) handle: Handle,
}

/// What a branch says of its transaction, on the core that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim<'b> {
    /// Where it should be.
    pub(super) index: u32,
    /// The digits of the seal that it should have there.
    pub(super) seal: &'b [u8; 16],
}

/// What nobody can write who has not seen it: a MAC of all else in the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seal(u64);

/// A branch as it is written into a Via: the end of a line, from the semicolon on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BranchText {
    line_end: [u8; LINE_END_BYTES],
    used: usize,
}

const HEAD_BYTES: usize = 8;
const BYTES: usize = HEAD_BYTES + 4 + 8 + 2 * 16;
const PARAM: &[u8; 8] = b";branch=";
pub(super) const LINE_END_BYTES: usize = PARAM.len() + BYTES + 2;
const OF_A_TRANSACTION: &[u8; HEAD_BYTES] = b"z9hG4bKt";
const STATELESS: &[u8; HEAD_BYTES] = b"z9hG4bKs";
/// What branches begin with that are told apart everywhere and for all time, RFC 3261 8.1.1.7.
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl Seal {
    /// That of a transaction of which nothing was sent yet.
    pub(super) const NONE: Seal = Seal(0);

    #[inline]
    fn new(key: &[u8; 16], token: Token, loop_hash: u64) -> Self {
        let mut seal = Sip::<2>::new(key);
        seal.word(u64::from(token.handle.index) | u64::from(token.handle.generation) << 32);
        seal.word(loop_hash);
        Seal(seal.finish(u64::from(token.core.0)))
    }

    /// Whether these are its digits.
    #[inline]
    pub(super) fn is(self, digits: &[u8; 16]) -> bool {
        hex16(self.0) == *digits
    }
}

impl BranchText {
    /// The branch of a client transaction, and its seal. `loop_hash` is that of the request, of [`loop_hash()`].
    #[must_use]
    pub(super) fn new(key: &[u8; 16], token: Token, loop_hash: u64) -> (Self, Seal) {
        let seal = Seal::new(key, token, loop_hash);
        let mut line_end = [b'\n'; LINE_END_BYTES];
        let (front, rest) = line_end.split_at_mut(PARAM.len() + HEAD_BYTES);
        let (param, head) = front.split_at_mut(PARAM.len());
        param.copy_from_slice(PARAM);
        head.copy_from_slice(OF_A_TRANSACTION);
        let (core, rest) = rest.split_at_mut(4);
        let [a, b, c, d, ..] = hex8(u32::from(token.core.0));
        core.copy_from_slice(&[a, b, c, d]);
        let (index, rest) = rest.split_at_mut(8);
        index.copy_from_slice(&hex8(token.handle.index));
        let (digits, end) = rest.as_chunks_mut::<16>();
        for (digits, number) in digits.iter_mut().zip([loop_hash, seal.0]) {
            *digits = hex16(number);
        }
        end[0] = b'\r';
        (BranchText { line_end, used: LINE_END_BYTES }, seal)
    }

    /// A branch without a transaction, RFC 3261 16.11: the same request has to get the same one, so `seed` is a hash of what makes
    /// it the same.
    #[must_use]
    pub(super) fn stateless(seed: u64) -> Self {
        let mut line_end = [0; LINE_END_BYTES];
        let mut used = 0;
        for part in [&PARAM[..], STATELESS, &hex16(seed), b"\r\n"] {
            line_end[used..used + part.len()].copy_from_slice(part);
            used += part.len();
        }
        BranchText { line_end, used }
    }

    /// The text as the only parameter of a Via line, and the line's end, in front of a block that is copied at once.
    #[must_use]
    #[inline]
    pub(super) fn as_line_end(&self) -> (&[u8; LINE_END_BYTES], usize) {
        (&self.line_end, self.used)
    }

    /// The text: the magic cookie of RFC 3261 8.1.1.7, and digits.
    #[cfg(test)]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.line_end[PARAM.len()..self.used - 2]
    }
}

/// What one of our branches says; `None` where it is not that of a transaction. Whether it is true, the transaction's seal tells.
#[must_use]
pub(super) fn read(branch: &[u8]) -> Option<Claim<'_>> {
    let Parts { index, seal, .. } = Parts::of(branch)?;
    Some(Claim { index: read_hex8(index)?, seal })
}

/// The core that a branch names, for moving a response there. It is believed only once that core has read it; `None` where it
/// has not the form of a transaction's branch.
#[must_use]
#[inline]
pub fn core_of(branch: &[u8]) -> Option<CoreId> {
    core(Parts::of(branch)?.core).map(CoreId)
}

/// The loop hash in a branch that has the form of a transaction's. Nothing shows that we wrote it: who lies about it loses his own
/// request.
#[must_use]
#[inline]
pub(super) fn loop_hash_of(branch: &[u8]) -> Option<u64> {
    read_hex16(Parts::of(branch)?.loop_hash)
}

/// What tells a spiral from a loop, RFC 3261 16.6 step 8 and RFC 5393 4.2.2: a keyed hash of what decides where a request goes.
/// `uri` is its Request-URI as it was received. A request that comes back unchanged but for its Vias and Max-Forwards has the same
/// hash; the method is left out, so that an ACK or a CANCEL with the same fields has it too. `call` is a keyed hash of its Call-ID.
/// Route counts where `routes` says so: what is ours in it has done its work, and does not come back.
#[must_use]
pub(super) fn loop_hash(
    key: &LoopKey,
    call: u64,
    message: &Message<'_>,
    uri: &[u8],
    routes: bool,
) -> u64 {
    let (from_tag, to_tag) =
        (message.from().tag.unwrap_or_default(), message.to().tag.unwrap_or_default());
    let mut hash = LoopHash { key: key.0, hash: 0 };
    // Lengths go first, so that no byte can wander from one field to the next.
    hash.words(length(uri) << 48 | length(from_tag) << 32 | u64::from(message.cseq().number), call);
    hash.word(length(to_tag));
    for field in [uri, from_tag, to_tag] {
        hash.text(field);
    }
    for id in [HeaderId::Route, HeaderId::ProxyRequire, HeaderId::ProxyAuthorization] {
        if !message.has(id) || id == HeaderId::Route && !routes {
            continue;
        }
        for value in message.values(id) {
            hash.word((id as u64) << 16 | length(value));
            hash.text(value);
        }
    }
    hash.finish()
}

/// What stands for all that makes a request the same where it is passed on without a transaction, RFC 3261 16.11.
#[must_use]
pub(super) fn stateless_seed(key: &LoopKey, message: &Message<'_>, uri: &[u8]) -> u64 {
    let mut hash = LoopHash { key: key.0, hash: 0 };
    match message.branch() {
        Some(branch) if branch.starts_with(MAGIC_COOKIE) => {
            hash.word(length(branch));
            hash.text(branch);
        }
        Some(_) | None => {
            hash.word(u64::from(message.cseq().number));
            let (from, to) = (message.from().tag, message.to().tag);
            let fields = [message.via().raw, message.call_id(), uri].into_iter();
            for field in fields.chain(from).chain(to) {
                hash.word(length(field));
                hash.text(field);
            }
        }
    }
    hash.finish()
}

/// The key of hashes that everybody can see and that seal nothing.
#[derive(Clone, Copy)]
pub(super) struct LoopKey([u64; 2]);

impl fmt::Debug for LoopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoopKey")
    }
}

impl LoopKey {
    /// Derived from the key that seals branches, of which it tells nothing.
    pub(super) fn derive(key: &[u8; 16]) -> Self {
        let HomeHash { place, seed } = HomeHash::new(key, b"loop hash");
        LoopKey([place, seed])
    }
}

/// A hash that is made of products of words, each of which depends on the one before: a quarter of what `SipHash` costs. It need not
/// withstand whoever works on it: two requests that meet in it are taken for one and the same, and only their sender suffers.
struct LoopHash {
    key: [u64; 2],
    hash: u64,
}

impl LoopHash {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "each is a half")]
    fn words(&mut self, low: u64, high: u64) {
        let product = u128::from(low ^ self.key[0]) * u128::from(high ^ self.key[1] ^ self.hash);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.words(word, 0);
    }

    /// Sixteen bytes at a time. A word before it has to tell the length.
    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks::<16>();
        for block in blocks {
            self.block(u128::from_le_bytes(*block));
        }
        if rest.is_empty() {
            return;
        }
        match (text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(last), ..) => self.block(u128::from_le_bytes(*last) >> (8 * (16 - rest.len()))),
            // Some bytes may be in both words: the length was told.
            (None, Some(first), Some(last)) => {
                self.words(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            }
            (None, ..) => {
                self.word(rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "each is a half")]
    fn block(&mut self, block: u128) {
        self.words(block as u64, (block >> 64) as u64);
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.word(self.hash);
        self.hash
    }
}

/// Whether a request has been here before and nothing has changed since: a Via value that `is_ours` by its sent-by carries this
/// loop hash.
///
/// # Errors
/// A Via value that is malformed, where none before it shows a loop.
pub(super) fn is_loop(
    message: &Message<'_>,
    hash: u64,
    is_ours: impl Fn(&Via<'_>) -> bool,
) -> Result<bool, Malformed> {
    let carries_hash = |branch: Option<&[u8]>| branch.and_then(loop_hash_of) == Some(hash);
    if carries_hash(message.branch()) && is_ours(&message.via()) {
        return Ok(true);
    }
    // Most requests come from a phone: their one Via was read already.
    let line_end = message.first_line_range(HeaderId::Via).map(|line| line.end);
    let value_end = message.range_of(message.via().raw).end;
    if line_end == Some(value_end + 2) && !message.is_repeated(HeaderId::Via) {
        return Ok(false);
    }
    for via in message.vias().skip(1) {
        let via = via?;
        if carries_hash(via.branch) && is_ours(&via) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The length of a field of a message, which is below 2^16.
#[inline]
fn length(field: &[u8]) -> u64 {
    field.len() as u64 & 0xFFFF
}

/// The digits of a branch that has the form of a transaction's.
struct Parts<'b> {
    core: &'b [u8; 4],
    index: &'b [u8; 8],
    loop_hash: &'b [u8; 16],
    seal: &'b [u8; 16],
}

impl<'b> Parts<'b> {
    #[inline]
    fn of(branch: &'b [u8]) -> Option<Self> {
        let branch: &[u8; BYTES] = branch.try_into().ok()?;
        let (head, rest) = branch.split_first_chunk()?;
        if head != OF_A_TRANSACTION {
            return None;
        }
        let (core, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (loop_hash, seal) = rest.split_first_chunk()?;
        Some(Parts { core, index, loop_hash, seal: seal.first_chunk()? })
    }
}

/// The number of a core, from its four digits.
#[inline]
fn core(digits: &[u8; 4]) -> Option<u16> {
    let [a, b, c, d] = *digits;
    u16::try_from(read_hex8(&[a, b, c, d, b'0', b'0', b'0', b'0'])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::with;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn token(core: u16, index: u32, generation: u32) -> Token {
        Token { core: CoreId(core), handle: Handle { index, generation } }
    }

    #[test]
    fn a_branch_leads_back_to_its_transaction() {
        for (core, index, generation, hash) in
            [(0, 0, 0, 0), (3, 70_000, 9, 1 << 63), (u16::MAX, u32::MAX, u32::MAX, u64::MAX)]
        {
            let token = token(core, index, generation);
            let (text, seal) = BranchText::new(&KEY, token, hash);
            let claim = read(text.as_bytes()).unwrap();
            assert!(claim.index == index && seal.is(claim.seal));
            assert_eq!(core_of(text.as_bytes()), Some(token.core));
            assert_eq!(loop_hash_of(text.as_bytes()), Some(hash));
            assert_ne!(BranchText::new(b"another key 1234", token, hash).1, seal);
            assert_ne!(BranchText::new(&KEY, token, hash ^ 1).1, seal);
            let later = Handle { generation: generation.wrapping_add(1), ..token.handle };
            assert_ne!(BranchText::new(&KEY, Token { handle: later, ..token }, hash).1, seal);
            let (line_end, length) = text.as_line_end();
            assert_eq!(length, line_end.len());
            assert!(line_end.starts_with(b";branch=z9hG4bKt") && line_end.ends_with(b"\r\n"));
            let text = text.as_bytes();
            assert!(text.starts_with(b"z9hG4bK") && text.len() <= 60);
            assert!(text.iter().all(u8::is_ascii_alphanumeric));
        }
    }

    #[test]
    fn no_other_text_claims_the_same() {
        const CORE: core::ops::Range<usize> = HEAD_BYTES..HEAD_BYTES + 4;
        const LOOP_HASH: core::ops::Range<usize> = HEAD_BYTES + 12..HEAD_BYTES + 28;
        let (text, _) = BranchText::new(&KEY, token(2, 5, 7), 11);
        let text: [u8; BYTES] = text.as_bytes().try_into().unwrap();
        let claim = read(&text);
        assert!(claim.is_some());
        for place in 0..BYTES {
            for byte in 0..=u8::MAX {
                let mut other = text;
                other[place] = byte;
                // Where it comes back to, nobody asks what showed a loop on the way there; nor whether it is the right core.
                let is_same =
                    other == text || [CORE, LOOP_HASH].iter().any(|of| of.contains(&place));
                assert_eq!(read(&other) == claim, is_same, "{place}: {byte}");
                let is_read = place >= HEAD_BYTES && !LOOP_HASH.contains(&place);
                assert_eq!(loop_hash_of(&other) == Some(11), other == text || is_read);
                assert_eq!(core_of(&other) == Some(CoreId(2)), other == text || place >= CORE.end);
            }
            assert_eq!(read(&text[..place]), None);
            assert_eq!(core_of(&text[..place]), None);
        }
        let longer = [&text[..], b"0"].concat();
        assert_eq!((read(&longer), core_of(&longer), loop_hash_of(&longer)), (None, None, None));
        assert_eq!(loop_hash_of(b"z9hG4bKabc"), None);
    }

    #[test]
    fn a_stateless_branch_is_ours_but_no_transactions() {
        let text = BranchText::stateless(5);
        let (line_end, length) = text.as_line_end();
        assert_eq!(&line_end[..length], b";branch=z9hG4bKs5000000000000000\r\n");
        assert_eq!(text, BranchText::stateless(5));
        assert_ne!(text, BranchText::stateless(6));
        assert_eq!(read(text.as_bytes()), None);
        assert_eq!(core_of(text.as_bytes()), None);
        assert_eq!(loop_hash_of(text.as_bytes()), None);
    }

    /// A request with these lines between its Via and its `CSeq`.
    fn request(method: &str, uri: &str, vias: &str, lines: &str) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\n{vias}{lines}CSeq: 7 {method}\r\nMax-Forwards: 9\r\n\r\n"
        )
    }

    const LINES: &str = "From: <sip:a@a.test>;tag=f\r\nTo: <sip:b@b.test>\r\nCall-ID: c\r\n";
    const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n";

    fn hash(text: &str) -> u64 {
        with(text.as_bytes(), |message| {
            let crate::wire::StartLine::Request { uri, .. } = message.start_line() else {
                panic!("a request")
            };
            let call = HomeHash::new(&KEY, message.call_id()).seed;
            loop_hash(&LoopKey::derive(&KEY), call, message, uri.raw, true)
        })
    }

    #[test]
    fn what_decides_where_a_request_goes_makes_it_another() {
        let uri = "sip:b@b.test";
        let one = hash(&request("INVITE", uri, VIA, LINES));
        let more_vias = format!("{VIA}v: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKy\r\n");
        assert_eq!(one, hash(&request("INVITE", uri, &more_vias, LINES)));
        assert_eq!(one, hash(&request("CANCEL", uri, VIA, LINES)));
        assert_eq!(one, hash(&request("INVITE", uri, VIA, LINES).replace("ds: 9", "ds: 8")));
        assert_eq!(one, hash(&request("INVITE", uri, VIA, &format!("{LINES}X: y\r\n"))));
        let mut hashes = Vec::from([one]);
        hashes.push(hash(&request("INVITE", "sip:c@b.test", VIA, LINES)));
        for (from, to) in [("tag=f", "tag=g"), ("b.test>", "b.test>;tag=f"), ("ID: c", "ID: d")] {
            hashes.push(hash(&request("INVITE", uri, VIA, &LINES.replace(from, to))));
        }
        hashes.push(hash(&request("INVITE", uri, VIA, LINES).replace("CSeq: 7", "CSeq: 8")));
        for line in [
            "Route: <sip:x;lr>",
            "Route: <sip:y;lr>",
            "Proxy-Require: x",
            "Proxy-Authorization: Digest x=y",
            "Proxy-Authorization: Digest x=z",
        ] {
            hashes.push(hash(&request("INVITE", uri, VIA, &format!("{LINES}{line}\r\n"))));
        }
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }

    #[test]
    fn a_loop_shows_in_any_via_of_ours() {
        let ours = |hash| {
            let (text, _) = BranchText::new(&KEY, token(1, 2, 3), hash);
            format!(
                "SIP/2.0/UDP 192.0.2.9:5060;branch={}",
                core::str::from_utf8(text.as_bytes()).unwrap()
            )
        };
        let (looped, spiralled) = (ours(11), ours(12));
        let foreign = looped.replace("192.0.2.9", "192.0.2.8");
        let phone = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx";
        let check = |vias: &str| {
            let text = request("INVITE", "sip:b@b.test", &format!("Via: {vias}\r\n"), LINES);
            with(text.as_bytes(), |message| {
                is_loop(message, 11, |via| via.host.raw() == b"192.0.2.9" && via.port == Some(5060))
            })
        };
        assert_eq!(check(phone), Ok(false));
        assert_eq!(check(&looped), Ok(true));
        assert_eq!(check(&format!("{spiralled}\r\nVia: {phone}")), Ok(false));
        assert_eq!(check(&format!("{phone}\r\nVia: {foreign}\r\nVia: {phone}")), Ok(false));
        assert_eq!(check(&format!("{phone},{spiralled} ,\r\n {looped},{phone}")), Ok(true));
        assert_eq!(check(&format!("{phone}\r\nX: y\r\nv: {phone}\r\nVIA: {looped}")), Ok(true));
        assert_eq!(check(&format!("{phone}\r\nVia: x")).unwrap_err().reason, "Bad Via");
        assert_eq!(check(&format!("{phone},x")).unwrap_err().reason, "Bad Via");
        assert_eq!(check(&format!("{phone}\r\nVia: {looped}\r\nVia: x")), Ok(true));
    }
}
