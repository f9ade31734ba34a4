//! The cookie in our Record-Route: what shows that a request belongs to a dialog that began here, where the user of ours is whose
//! dialog it is, and where a UA behind a NAT is reached. It authorises and does not steer; nothing of it is kept here.
//!
//! ```text
//! key         u8    tells which key of the node sealed it
//! flags       u8    for caller and callee three bits each: whether there is a flow, and whether its ends are IPv6 addresses; and
//!                   whether the callee is the user of ours
//! user              where there is no flow to it: port u16, address, that of IPv6 with its scope u32; its flag tells which
//! From tag    u32   where there is a flow: a hash of the caller's, by which the direction of a request is told
//! caller            the flow, if any: port u16, listener u16, remote and local address; a remote IPv6 one with its scope u32
//! callee            the same
//! MAC         u64   SipHash-2-4 of the above and of the Call-ID
//! ```
//! The MAC needs no more than 64 bits: a forged cookie can only be tried here, one datagram a try. The key outlives a restart,
//! and the one before it stays good for the dialogs that began with it.

use super::digits::{base64url, base64url_length, read_base64url};
use crate::io::{ListenerId, LocalAddr, Peer, Transport};
use crate::location::Sip;
use crate::wire::Uri;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use subtle::ConstantTimeEq;

/// The way to a UA that can't be reached at the address it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Where it is reached.
    pub(super) to: Peer,
    /// Where from.
    pub(super) from: LocalAddr,
}

/// What a cookie says about its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Where the user of ours was when the dialog began: the caller, where it is one, otherwise the callee.
    user: SocketAddr,
    is_user_callee: bool,
    /// The flow to the UA that began the dialog, where it needs one.
    caller: Option<Flow>,
    /// The flow to the other UA, where it needs one.
    callee: Option<Flow>,
    /// By which the two are told, where one has a flow.
    from_tag: u32,
    /// With what the tag was hashed, and the rest is sealed.
    key: Key,
}

/// One of the two ends of a dialog, as it is seen when the dialog begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Its address: that of a UA, or of the proxy before it.
    pub(super) addr: SocketAddr,
    /// The flow, where it needs one.
    pub(super) flow: Option<Flow>,
    /// Whether it is a user of ours.
    pub(super) is_user: bool,
}

/// A cookie as it is written into a URI.
#[derive(Clone, Copy, Debug)]
pub(super) struct CookieText {
    bytes: [u8; TEXT_BYTES_MAX],
    used: usize,
}

/// What stands before a cookie in a URI.
pub(super) const COOKIE_PARAM: &[u8; 3] = b";c=";
const HEAD_BYTES: usize = 2;
const TAG_BYTES: usize = 4;
const FLOW_BYTES_MAX: usize = 2 + 2 + 16 + 4 + 16;
const MAC_BYTES: usize = 8;
const SEALED_BYTES_MAX: usize = HEAD_BYTES + TAG_BYTES + 2 * FLOW_BYTES_MAX;
const BYTES_MAX: usize = SEALED_BYTES_MAX + MAC_BYTES;
const TEXT_BYTES_MAX: usize = COOKIE_PARAM.len() + base64url_length(BYTES_MAX);

const HAS_FLOW: u8 = 1;
const REMOTE_IPV6: u8 = 2;
const LOCAL_IPV6: u8 = 4;
/// How far the flags of the callee are from those of the caller.
const CALLEE_SHIFT: u32 = 3;
const USER_IS_CALLEE: u8 = 0x40;
const FLAGS: u8 = 0x7F;

impl Default for CookieText {
    fn default() -> Self {
        CookieText::new()
    }
}

impl CookieText {
    /// An empty text, to be written over.
    #[must_use]
    pub(super) fn new() -> Self {
        CookieText { bytes: [0; TEXT_BYTES_MAX], used: 0 }
    }

    /// The URI parameter with the semicolon before it; empty where nothing was written.
    #[must_use]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl Cookie {
    /// The cookie of a dialog that begins with a request with this From tag, to be written with the first of `keys`.
    #[must_use]
    pub(super) fn new(from_tag: &[u8], caller: &End, callee: &End, keys: &[[u8; 16]]) -> Self {
        let key = Key(keys.first().copied().unwrap_or_default());
        let is_user_callee = !caller.is_user;
        let user = if is_user_callee { callee } else { caller };
        let mut cookie = Cookie {
            user: user.addr,
            is_user_callee,
            caller: caller.flow,
            callee: callee.flow,
            from_tag: 0,
            key,
        };
        if cookie.has_flow() {
            cookie.from_tag = key.tag_hash(from_tag);
        }
        cookie
    }

    /// Writes it for a Call-ID with the key it was made with; nothing where that is not among `keys`.
    pub(super) fn write(&self, keys: &[[u8; 16]], call_id: &[u8], out: &mut CookieText) {
        out.used = 0;
        if !keys.contains(&self.key.0) {
            return;
        }
        let mut bytes = [0; BYTES_MAX];
        let mut writer = Writer { bytes: &mut bytes, used: 0 };
        let mut flags = flags(self.caller.as_ref()) | flags(self.callee.as_ref()) << CALLEE_SHIFT;
        if self.is_user_callee {
            flags |= USER_IS_CALLEE;
        }
        if self.user_flow().is_none() && self.user.is_ipv6() {
            flags |= REMOTE_IPV6 << user_shift(flags);
        }
        writer.put([self.key.id(), flags]);
        if self.user_flow().is_none() {
            writer.addr(self.user);
        }
        if self.has_flow() {
            writer.put(self.from_tag.to_le_bytes());
        }
        for flow in [&self.caller, &self.callee].into_iter().flatten() {
            writer.flow(flow);
        }
        let sealed = writer.used;
        let mac = seal(&self.key, bytes.get(..sealed).unwrap_or_default(), call_id);
        let mut writer = Writer { bytes: &mut bytes, used: sealed };
        writer.put(mac.to_le_bytes());
        let used = writer.used;
        let (name, digits) = out.bytes.split_at_mut(COOKIE_PARAM.len());
        name.copy_from_slice(COOKIE_PARAM);
        let written = base64url(bytes.get(..used).unwrap_or_default(), digits);
        out.used = written.map_or(0, |digits| COOKIE_PARAM.len() + digits);
    }

    /// The cookie in a URI, if it was written for this Call-ID with one of `keys`.
    #[must_use]
    pub(super) fn read(uri: &Uri<'_>, call_id: &[u8], keys: &[[u8; 16]]) -> Option<Cookie> {
        Cookie::read_text(uri.param(b"c")?, call_id, keys)
    }

    /// The same from the value of its parameter.
    #[must_use]
    pub(super) fn read_text(text: &[u8], call_id: &[u8], keys: &[[u8; 16]]) -> Option<Cookie> {
        let mut bytes = [0; BYTES_MAX];
        let used = read_base64url(text, &mut bytes)?;
        let (sealed, mac) = bytes.get(..used)?.split_last_chunk::<MAC_BYTES>()?;
        let mac = u64::from_le_bytes(*mac);
        let (head, rest) = sealed.split_first_chunk::<HEAD_BYTES>()?;
        let [id, flags] = *head;
        let is_sealed_by =
            |key: &Key| key.id() == id && bool::from(seal(key, sealed, call_id).ct_eq(&mac));
        let key = keys.iter().copied().map(Key).find(is_sealed_by)?;
        if flags & !FLAGS != 0 {
            return None;
        }
        let mut reader = Reader { rest };
        let user_flags = flags >> user_shift(flags);
        let plain = if user_flags & HAS_FLOW == 0 { Some(reader.addr(user_flags)?) } else { None };
        let has_flow = (flags | flags >> CALLEE_SHIFT) & HAS_FLOW != 0;
        let from_tag = if has_flow { u32::from_le_bytes(reader.take()?) } else { 0 };
        let caller = reader.flow(flags)?;
        let callee = reader.flow(flags >> CALLEE_SHIFT)?;
        let is_user_callee = flags & USER_IS_CALLEE != 0;
        let flow = if is_user_callee { &callee } else { &caller };
        let user = plain.or_else(|| flow.map(|flow| flow.to.addr))?;
        let cookie = Cookie { user, is_user_callee, caller, callee, from_tag, key };
        reader.rest.is_empty().then_some(cookie)
    }

    /// Whether an address is that of the user of ours, whatever the port: a NAT may give it another one.
    #[must_use]
    #[inline]
    pub(super) fn is_user_at(&self, ip: IpAddr) -> bool {
        self.user.ip().to_canonical() == ip.to_canonical()
    }

    /// Whether the user of ours was called. Whoever has called it was none then.
    #[must_use]
    pub(super) fn is_user_callee(&self) -> bool {
        self.is_user_callee
    }

    /// Where the user of ours was when the dialog began.
    #[must_use]
    pub(super) fn user(&self) -> SocketAddr {
        self.user
    }

    /// The flow to the user of ours, where it needs one.
    #[must_use]
    #[inline]
    pub(super) fn user_flow(&self) -> Option<Flow> {
        if self.is_user_callee { self.callee } else { self.caller }
    }

    /// The flow to whom a request with this From tag is for, where it needs one.
    #[must_use]
    #[inline]
    pub(super) fn flow_towards(&self, from_tag: &[u8]) -> Option<Flow> {
        if !self.has_flow() {
            return None;
        }
        if self.is_from_caller(from_tag) { self.callee } else { self.caller }
    }

    #[inline]
    fn has_flow(&self) -> bool {
        self.caller.is_some() || self.callee.is_some()
    }

    /// Whether a request with this From tag comes from the UA that began the dialog.
    #[must_use]
    fn is_from_caller(&self, from_tag: &[u8]) -> bool {
        self.key.tag_hash(from_tag) == self.from_tag
    }
}

/// A key that is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// The number that it is known by. It gives away eight bits of 128.
    #[inline]
    fn id(&self) -> u8 {
        let [low, high] = [0, 8].map(|half| {
            self.0
                .get(half..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |half| u64::from_le_bytes(*half))
        });
        let [.., id] =
            (low ^ high.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        id
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "32 bits tell two tags apart")]
    fn tag_hash(&self, tag: &[u8]) -> u32 {
        let mut hash = Sip::<1>::new(&self.0);
        hash.text(tag);
        hash.finish(tag.len() as u64) as u32
    }
}

/// The MAC. The lengths go with it, so that no byte of one can pass for one of the other.
fn seal(key: &Key, sealed: &[u8], call_id: &[u8]) -> u64 {
    let mut seal = Sip::<2>::new(&key.0);
    seal.text(sealed);
    seal.text(call_id);
    seal.finish((sealed.len() as u64) << 32 | call_id.len() as u64)
}

fn flags(flow: Option<&Flow>) -> u8 {
    let Some(Flow { to, from }) = flow else { return 0 };
    let remote = if to.addr.is_ipv6() { REMOTE_IPV6 } else { 0 };
    let local = if from.ip.is_ipv6() { LOCAL_IPV6 } else { 0 };
    HAS_FLOW | remote | local
}

/// How far the flags of the user of ours are from those of the caller.
#[inline]
fn user_shift(flags: u8) -> u32 {
    if flags & USER_IS_CALLEE != 0 { CALLEE_SHIFT } else { 0 }
}

struct Writer<'a> {
    bytes: &'a mut [u8; BYTES_MAX],
    used: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        // What is put is at most as long as `BYTES_MAX` adds up.
        if let Some(place) = self.bytes.get_mut(self.used..self.used + N) {
            place.copy_from_slice(&bytes);
            self.used += N;
        }
    }

    fn flow(&mut self, flow: &Flow) {
        // There is one transport; another one would have to be told.
        let Transport::Udp = flow.to.transport;
        self.put(flow.to.addr.port().to_le_bytes());
        self.put(flow.from.listener.0.to_le_bytes());
        self.ip(flow.to.addr.ip());
        if let SocketAddr::V6(addr) = flow.to.addr {
            self.put(addr.scope_id().to_le_bytes());
        }
        self.ip(flow.from.ip);
    }

    fn addr(&mut self, addr: SocketAddr) {
        self.put(addr.port().to_le_bytes());
        self.ip(addr.ip());
        if let SocketAddr::V6(addr) = addr {
            self.put(addr.scope_id().to_le_bytes());
        }
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// `None` where it ends too early; none inside where the flags name no flow.
    fn flow(&mut self, flags: u8) -> Option<Option<Flow>> {
        if flags & HAS_FLOW == 0 {
            return Some(None);
        }
        let port = u16::from_le_bytes(self.take()?);
        let listener = ListenerId(u16::from_le_bytes(self.take()?));
        let addr = self.host(flags, port)?;
        let ip = if flags & LOCAL_IPV6 == 0 {
            IpAddr::from(self.take::<4>()?)
        } else {
            IpAddr::from(self.take::<16>()?)
        };
        Some(Some(Flow { to: Peer::udp(addr), from: LocalAddr { listener, ip } }))
    }

    fn addr(&mut self, flags: u8) -> Option<SocketAddr> {
        let port = u16::from_le_bytes(self.take()?);
        self.host(flags, port)
    }

    fn host(&mut self, flags: u8, port: u16) -> Option<SocketAddr> {
        if flags & REMOTE_IPV6 == 0 {
            return Some(SocketAddr::from((self.take::<4>()?, port)));
        }
        let ip = Ipv6Addr::from(self.take::<16>()?);
        Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::from_le_bytes(self.take()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    const KEY: [u8; 16] = *b"0123456789abcdef";
    const OLD: [u8; 16] = *b"fedcba9876543210";
    const CALL_ID: &[u8] = b"c1@192.0.2.1";

    fn end(addr: &str) -> End {
        End { addr: addr.parse().unwrap(), flow: None, is_user: false }
    }

    fn user(end: End) -> End {
        End { is_user: true, ..end }
    }

    fn flow(to: &str, listener: u16, from: &str) -> End {
        let from = LocalAddr { listener: ListenerId(listener), ip: from.parse().unwrap() };
        End { flow: Some(Flow { to: Peer::udp(to.parse().unwrap()), from }), ..end(to) }
    }

    fn text(cookie: &Cookie, keys: &[[u8; 16]], call_id: &[u8]) -> String {
        let mut text = CookieText::new();
        cookie.write(keys, call_id, &mut text);
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    fn read(text: &str, call_id: &[u8], keys: &[[u8; 16]]) -> Option<Cookie> {
        let uri = format!("sip:192.0.2.9:5060;lr{text};x=y");
        Cookie::read(&Uri::parse(uri.as_bytes()).unwrap(), call_id, keys)
    }

    #[test]
    fn what_is_written_is_read() {
        let four = flow("192.0.2.1:5062", 0, "192.0.2.9");
        let six = flow("[fe80::1%7]:65535", 513, "fe80::9");
        let mixed = flow("192.0.2.1:1", u16::MAX, "::1");
        let mapped = flow("[::ffff:192.0.2.1]:1", 0, "192.0.2.9");
        let (plain, plain6) = (end("192.0.2.7:5060"), end("[2001:db8::1]:1"));
        for (caller, callee) in [
            (user(plain), plain6),
            (plain6, user(plain)),
            (plain, user(plain6)),
            (user(four), plain),
            (four, user(plain)),
            (four, user(plain6)),
            (plain, user(six)),
            (user(plain6), six),
            (user(six), user(six)),
            (mixed, user(four)),
            (user(mapped), mixed),
        ] {
            let cookie = Cookie::new(b"from", &caller, &callee, &[KEY, OLD]);
            let text = text(&cookie, &[KEY, OLD], CALL_ID);
            assert!(text.starts_with(";c=") && text.len() <= 131, "{text}");
            assert_eq!(read(&text, CALL_ID, &[KEY]), Some(cookie));
            assert_eq!(read(&text, CALL_ID, &[OLD, KEY]), Some(cookie));
            assert_eq!(read(&text, CALL_ID, &[OLD]), None);
            assert_eq!(read(&text, CALL_ID, &[]), None);
            assert_eq!(read(&text, b"c1@192.0.2.", &[KEY]), None);
            let (forth, back) = (cookie.flow_towards(b"from"), cookie.flow_towards(b"to"));
            assert_eq!((forth, back), (callee.flow, caller.flow));
            let user = if caller.is_user { caller } else { callee };
            assert_eq!((cookie.user(), cookie.user_flow()), (user.addr, user.flow));
        }
        let small = Cookie::new(b"from", &user(plain), &plain, &[KEY]);
        assert_eq!(text(&small, &[KEY], CALL_ID).len(), 3 + 22);
        assert!(
            small.is_user_at([192, 0, 2, 7].into()) && !small.is_user_at([192, 0, 2, 8].into())
        );
        assert!(small.is_user_at("::ffff:192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn a_key_that_was_replaced_is_good_for_what_it_sealed() {
        let (a, b) = (flow("192.0.2.1:1", 0, "192.0.2.9"), user(end("192.0.2.2:2")));
        let cookie = Cookie::new(b"from", &a, &b, &[OLD]);
        let before = text(&cookie, &[OLD], CALL_ID);
        let read_now = read(&before, CALL_ID, &[KEY, OLD]).unwrap();
        assert!(read_now.is_from_caller(b"from") && !read_now.is_from_caller(b"other"));
        assert_eq!(text(&read_now, &[KEY, OLD], CALL_ID), before);
        assert_eq!(text(&read_now, &[KEY], CALL_ID), "", "its key is gone");
        assert_eq!(text(&Cookie::new(b"from", &a, &b, &[]), &[], CALL_ID), "");
    }

    #[test]
    fn what_was_changed_is_not_read() {
        let (a, b) = (flow("192.0.2.1:5062", 0, "192.0.2.9"), user(end("192.0.2.2:2")));
        let cookie = Cookie::new(b"from", &a, &b, &[KEY]);
        let text = text(&cookie, &[KEY], CALL_ID);
        for place in 3..text.len() {
            for digit in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!" {
                let mut other = text.clone().into_bytes();
                other[place] = *digit;
                let other = String::from_utf8(other).unwrap();
                let is_read = read(&other, CALL_ID, &[KEY]).is_some();
                assert_eq!(is_read, other == text, "{other}");
            }
            assert_eq!(read(&text[..place], CALL_ID, &[KEY]), None);
        }
        assert_eq!(read(&format!("{text}A"), CALL_ID, &[KEY]), None);
        assert_eq!(read("", CALL_ID, &[KEY]), None);
        assert_eq!(read(";c", CALL_ID, &[KEY]), None);
        assert_eq!(read(&format!(";c={}", "A".repeat(300)), CALL_ID, &[KEY]), None);
    }

    #[test]
    fn no_bytes_under_a_good_mac_panic() {
        // Sealed by us, and still not as it should be: flags that promise more, or less, than there is.
        for flags in 0..=u8::MAX {
            for length in 0..=SEALED_BYTES_MAX - HEAD_BYTES {
                let mut bytes = [7; BYTES_MAX];
                bytes[0] = Key(KEY).id();
                bytes[1] = flags;
                let sealed = HEAD_BYTES + length;
                let mac = seal(&Key(KEY), &bytes[..sealed], CALL_ID);
                bytes[sealed..sealed + MAC_BYTES].copy_from_slice(&mac.to_le_bytes());
                let mut digits = [0; TEXT_BYTES_MAX];
                let used = base64url(&bytes[..sealed + MAC_BYTES], &mut digits).unwrap();
                let text = format!(";c={}", core::str::from_utf8(&digits[..used]).unwrap());
                let Some(cookie) = read(&text, CALL_ID, &[KEY]) else { continue };
                let all = [cookie.caller, cookie.callee];
                assert_eq!(all.iter().flatten().count(), (flags & 9).count_ones() as usize);
            }
        }
    }
}
