//! URIs: SIP and SIPS taken apart and checked, others carried as they came. It decodes escapes only to compare or to
//! copy them out, and never parses what it decoded.

use super::cursor::{Cursor, Span};
use super::malformed::Malformed;
use super::number;
use super::scan::{self, HOST, SCHEME, Text, URI_HEADERS, URI_PARAMS, USER};
use super::via;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wide::u8x16;

/// What a URI begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'m> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`, RFC 3966.
    Tel,
    /// Another one, as it came.
    Other(&'m [u8]),
}

/// A host: a name, an IPv4 address or an IPv6 reference, as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host<'m> {
    raw: &'m [u8],
}

impl<'m> Host<'m> {
    /// A host, as it came.
    #[must_use]
    #[inline]
    pub fn new(raw: &'m [u8]) -> Self {
        Host { raw }
    }

    /// The bytes; an IPv6 reference keeps its brackets.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'m [u8] {
        self.raw
    }

    /// The address, where it is one and no name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self.raw {
            [b'[', inner @ .., b']'] => {
                let text = core::str::from_utf8(inner).ok()?;
                text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
            }
            [b'0'..=b'9', ..] => ipv4(self.raw).map(IpAddr::V4),
            _ => None,
        }
    }

    /// Whether it is an address. Nearly all are written in the one way that needs not be read.
    #[must_use]
    pub fn is(&self, ip: IpAddr) -> bool {
        if let IpAddr::V4(ip) = ip {
            let (text, length) = number::dotted(ip);
            if text.get(..length).is_some_and(|text| scan::same(text, self.raw)) {
                return true;
            }
        }
        self.ip() == Some(ip)
    }

    /// Writes it in lower case; `None` where the buffer is too small.
    #[must_use]
    pub fn write_lower(&self, buffer: &mut [u8]) -> Option<usize> {
        let target = buffer.get_mut(..self.raw.len())?;
        for (to, from) in target.iter_mut().zip(self.raw) {
            *to = from.to_ascii_lowercase();
        }
        Some(self.raw.len())
    }

    /// RFC 3261 19.1.4: names compare without case, IPv6 addresses as addresses.
    #[must_use]
    pub fn equivalent(&self, other: &Host<'_>) -> bool {
        if self.raw.eq_ignore_ascii_case(other.raw) {
            return true;
        }
        let references = self.raw.first() == Some(&b'[') && other.raw.first() == Some(&b'[');
        references && self.ip().is_some() && self.ip() == other.ip()
    }
}

/// The value of the first of some parameters, empty where it has none, if that is its name.
fn first_value<'m>(params: &'m [u8], name: &[u8]) -> Option<&'m [u8]> {
    let (start, behind) = params.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    match behind {
        [] | [b';', ..] => Some(&[]),
        [b'=', value @ ..] => value.split(|&byte| byte == b';').next(),
        _ => None,
    }
}

/// Four decimal octets; leading zeros are taken as decimal, as everybody in the field does.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (a, rest) = octet(text)?;
    let (b, rest) = octet(rest.strip_prefix(b".")?)?;
    let (c, rest) = octet(rest.strip_prefix(b".")?)?;
    let (d, rest) = octet(rest.strip_prefix(b".")?)?;
    rest.is_empty().then(|| Ipv4Addr::new(a, b, c, d))
}

/// One to three digits, and what stands behind them.
#[inline(always)]
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |at: usize| match text.get(at) {
        Some(byte @ b'0'..=b'9') => Some(u32::from(byte - b'0')),
        Some(_) | None => None,
    };
    let a = digit(0)?;
    let Some(b) = digit(1) else { return Some((u8::try_from(a).ok()?, text.get(1..)?)) };
    let Some(c) = digit(2) else { return Some((u8::try_from(10 * a + b).ok()?, text.get(2..)?)) };
    Some((u8::try_from(100 * a + 10 * b + c).ok()?, text.get(3..)?))
}

/// A URI. For schemes other than `sip` and `sips` only `scheme` and `raw` mean something.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'m> {
    /// All of it, byte for byte.
    pub raw: &'m [u8],
    /// Its scheme.
    pub scheme: Scheme<'m>,
    /// The user, escapes as they came.
    pub user: Option<&'m [u8]>,
    is_user_escaped: bool,
    /// The password, escapes as they came.
    pub password: Option<&'m [u8]>,
    /// The host.
    pub host: Host<'m>,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// What stands between the first semicolon behind the host and the question mark: `lr;transport=udp`.
    pub params: &'m [u8],
    /// What stands behind the question mark: `a=b&c=d`.
    pub headers: &'m [u8],
}

impl<'m> Uri<'m> {
    /// The most parameters or headers that [`equivalent`](Self::equivalent) compares without regard to order.
    pub const COMPARED_MAX: usize = 12;

    /// Takes a URI apart. `raw` is all of it, without brackets.
    ///
    /// # Errors
    /// 400 where it has no scheme, holds white space or controls, or is a SIP URI that breaks the grammar.
    #[inline]
    pub fn parse(raw: &'m [u8]) -> Result<Self, Malformed> {
        match Uri::common(raw) {
            Some(uri) => Ok(uri),
            None => Uri::read_any(Cursor { bytes: raw, at: 0, end: raw.len(), reason: "Bad URI" }),
        }
    }

    /// `sip:host` and `sip:user@host[:port][;params]` of 16 to 64 bytes, the host a name or an IPv4 address and nothing escaped:
    /// what nearly every To, Request-URI and Contact is. What it takes, [`read_any`](Self::read_any) takes as well.
    #[inline(always)]
    pub(super) fn common(raw: &'m [u8]) -> Option<Self> {
        let marks = marks(raw)?;
        if marks == 0 {
            let host = Host::new(raw.get(4..)?);
            return if host.raw.is_empty() {
                None
            } else {
                Some(Uri { host, ..Uri::without_parts(raw) })
            };
        }
        Uri::common_with_user(raw, marks)
    }

    /// The same for one with a user.
    #[inline]
    fn common_with_user(raw: &'m [u8], mut marks: u64) -> Option<Self> {
        /// Takes the first of the marks.
        fn next(marks: &mut u64) -> usize {
            let at = marks.trailing_zeros() as usize;
            *marks &= marks.wrapping_sub(1);
            at.min(64)
        }
        let mut at_sign = next(&mut marks);
        while *raw.get(at_sign)? != b'@' {
            if !scan::is(raw[at_sign], USER) {
                return None;
            }
            at_sign = next(&mut marks);
        }
        let mut uri = Uri { user: Some(raw.get(4..at_sign)?), ..Uri::without_parts(raw) };
        let host = at_sign + 1;
        let mut end = next(&mut marks).min(raw.len());
        uri.host = Host::new(raw.get(host..end)?);
        if raw.get(end) == Some(&b':') {
            let port = end + 1;
            end = next(&mut marks).min(raw.len());
            let port = number::decimal(raw.get(port..end)?)?;
            uri.port = Some(u16::try_from(port).ok()?);
        }
        if raw.get(end) == Some(&b';') {
            uri.params = raw.get(end + 1..)?;
            while marks != 0 {
                if !scan::is(*raw.get(next(&mut marks))?, URI_PARAMS) {
                    return None;
                }
            }
        } else if end != raw.len() {
            return None;
        }
        if at_sign == 4 || uri.host.raw.is_empty() { None } else { Some(uri) }
    }

    /// Where the host begins in a URI that is just `sip:user@domain`, the domain as it is given and nothing escaped in the user.
    /// `None` says nothing of what it is. A domain is made of letters, digits, dots and hyphens.
    #[must_use]
    #[inline(always)]
    pub fn host_if_usual(raw: &[u8], domain: &[u8]) -> Option<usize> {
        let at_sign = raw.len().checked_sub(domain.len() + 1)?;
        let (user, host) = raw.split_at_checked(at_sign)?;
        if user.len() <= 4 || host.first() != Some(&b'@') || !scan::same(&host[1..], domain) {
            return None;
        }
        let mut marks = marks(raw)? & !(u64::MAX << (at_sign & 63));
        while marks != 0 {
            let byte = raw.get(marks.trailing_zeros() as usize)?;
            marks &= marks - 1;
            if !scan::is(*byte, USER) {
                return None;
            }
        }
        Some(at_sign + 1)
    }

    #[inline]
    fn without_parts(raw: &'m [u8]) -> Self {
        Uri {
            raw,
            scheme: Scheme::Sip,
            user: None,
            is_user_escaped: false,
            password: None,
            host: Host::default(),
            port: None,
            params: &[],
            headers: &[],
        }
    }

    /// Takes a URI apart that fills a cursor.
    #[inline(never)]
    pub(super) fn read_any(mut cursor: Cursor<'m>) -> Result<Self, Malformed> {
        const SIP: Text = Text::new("sip:");
        const SIPS: Text = Text::new("sips:");
        const TEL: Text = Text::new("tel:");
        let start = cursor.at;
        let word = scan::word(cursor.bytes, start);
        let mut uri = Uri::without_parts(&cursor.value()[start..]);
        if SIP.begins(word) && cursor.end - start > 4 {
            cursor.at += 4;
            uri.hierarchical(&mut cursor)?;
            return Ok(uri);
        }
        if SIPS.begins(word) && cursor.end - start > 5 {
            uri.scheme = Scheme::Sips;
            cursor.at += 5;
            uri.hierarchical(&mut cursor)?;
            return Ok(uri);
        }
        let colon = scan::run(uri.raw, 0, SCHEME);
        let named = uri.raw.first().is_some_and(u8::is_ascii_alphabetic);
        if !named || uri.raw.get(colon) != Some(&b':') || uri.raw.len() == colon + 1 {
            return Err(cursor.fail());
        }
        let end = scan::uri_end(uri.raw, colon);
        if end != uri.raw.len() {
            cursor.at += end;
            return Err(cursor.fail());
        }
        uri.scheme = if TEL.begins(word) { Scheme::Tel } else { Scheme::Other(&uri.raw[..colon]) };
        Ok(uri)
    }

    /// RFC 3261 25.1: `SIP-URI = "sip:" [ userinfo ] hostport uri-parameters [ headers ]`
    #[inline]
    fn hierarchical(&mut self, cursor: &mut Cursor<'m>) -> Result<(), Malformed> {
        let start = cursor.at;
        let mut host = cursor.run(HOST);
        match cursor.byte() {
            Some(b'@') if !host.is_empty() => {
                self.user = Some(host.of(cursor.bytes));
                cursor.at += 1;
                host = take_host(cursor)?;
            }
            None if !host.is_empty() => {}
            Some(_) | None => {
                cursor.at = start;
                // No '@' may stand behind the one that ends the userinfo, so the first one is it.
                let at_sign = scan::at_sign(cursor.value(), start);
                if at_sign < cursor.end {
                    self.userinfo(cursor, at_sign)?;
                }
                host = take_host(cursor)?;
            }
        }
        self.host = Host::new(host.of(cursor.bytes));
        if cursor.byte() == Some(b':') {
            cursor.at += 1;
            self.port = Some(via::port(cursor).ok_or_else(|| cursor.fail())?);
        }
        if cursor.byte() == Some(b';') {
            cursor.at += 1;
            self.params = escaped_run(cursor, URI_PARAMS)?;
        }
        if cursor.byte() == Some(b'?') {
            cursor.at += 1;
            self.headers = escaped_run(cursor, URI_HEADERS)?;
        }
        if cursor.is_done() { Ok(()) } else { Err(cursor.fail()) }
    }

    /// `( user / telephone-subscriber ) [ ":" password ] "@"`.
    #[inline]
    fn userinfo(&mut self, cursor: &mut Cursor<'m>, at_sign: usize) -> Result<(), Malformed> {
        let user = escaped_run(cursor, USER)?;
        if user.is_empty() {
            return Err(cursor.fail());
        }
        self.user = Some(user);
        self.is_user_escaped = user.contains(&b'%');
        if cursor.byte() == Some(b':') {
            cursor.at += 1;
            self.password = Some(escaped_run(cursor, USER)?);
        }
        if cursor.at != at_sign {
            return Err(cursor.fail());
        }
        cursor.at += 1;
        Ok(())
    }

    /// Whether it is `sip:` or `sips:`.
    #[must_use]
    #[inline]
    pub fn is_sip(&self) -> bool {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => true,
            Scheme::Tel | Scheme::Other(_) => false,
        }
    }

    /// The value of the first URI parameter of this name, empty where it has none; names compare without case.
    #[must_use]
    #[inline]
    pub fn param(&self, name: &[u8]) -> Option<&'m [u8]> {
        let [value] = self.params_named([name]);
        value
    }

    /// The same for several names.
    #[must_use]
    #[inline]
    pub fn params_named<const N: usize>(&self, names: [&[u8]; N]) -> [Option<&'m [u8]>; N] {
        let mut values: [Option<&[u8]>; N] = [None; N];
        let mut rest = self.params;
        while let Some(first) = rest.first() {
            for (name, value) in names.iter().zip(&mut values) {
                // Nearly always another letter says that it is another one.
                if name.first().is_some_and(|letter| letter.eq_ignore_ascii_case(first))
                    && value.is_none()
                {
                    *value = first_value(rest, name);
                }
            }
            let Some(end) = rest.iter().position(|&byte| byte == b';') else { break };
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        values
    }

    /// Writes the user with its escapes decoded; 0 where there is none, `None` where the buffer is too small. The
    /// result may hold any byte and must never be parsed again.
    #[must_use]
    pub fn write_user(&self, buffer: &mut [u8]) -> Option<usize> {
        let user = self.user.unwrap_or_default();
        if !self.is_user_escaped {
            buffer.get_mut(..user.len())?.copy_from_slice(user);
            return Some(user.len());
        }
        let mut written = 0;
        for decoded in decode(user) {
            *buffer.get_mut(written)? = decoded.byte;
            written += 1;
        }
        Some(written)
    }

    /// RFC 3261 19.1.4. More than [`COMPARED_MAX`](Self::COMPARED_MAX) parameters or headers must be byte-identical.
    #[must_use]
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        match (self.scheme, other.scheme) {
            // "A SIP and SIPS URI are never equivalent."
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {}
            (Scheme::Tel, Scheme::Tel) => {
                return same(&self.raw[4..], &other.raw[4..], Case::Ignored);
            }
            (Scheme::Other(a), Scheme::Other(b)) => {
                return a.eq_ignore_ascii_case(b)
                    && same(&self.raw[a.len()..], &other.raw[b.len()..], Case::Matters);
            }
            (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other(_), _) => return false,
        }
        // "A URI omitting any component with a default value will not match a URI explicitly containing that
        // component with its default value", so the ports are compared as written.
        self.port == other.port
            && self.host.equivalent(&other.host)
            && same_or_absent(self.user, other.user)
            && same_or_absent(self.password, other.password)
            && self.params_agree(other)
            && self.headers_agree(other)
    }

    fn params_agree(&self, other: &Uri<'_>) -> bool {
        if self.params == other.params {
            return true;
        }
        if too_many(self.params, b';') || too_many(other.params, b';') {
            return false;
        }
        one_way(self.params, other.params) && one_way(other.params, self.params)
    }

    /// "URI header components are never ignored. Any present header component MUST be present in both URIs and match."
    fn headers_agree(&self, other: &Uri<'_>) -> bool {
        if self.headers == other.headers {
            return true;
        }
        if too_many(self.headers, b'&') || too_many(other.headers, b'&') {
            return false;
        }
        let all_in = |a: &[u8], b: &[u8]| {
            pairs(a, b'&').all(|(name, value)| {
                pairs(b, b'&')
                    .any(|(n, v)| same(n, name, Case::Ignored) && same(v, value, Case::Matters))
            })
        };
        all_in(self.headers, other.headers) && all_in(other.headers, self.headers)
    }
}

/// A bit for each byte behind the `sip:` of a URI of 16 to 64 bytes that is no letter, digit, dot or hyphen; `None` for others.
#[inline(always)]
fn marks(raw: &[u8]) -> Option<u64> {
    const SIP: Text = Text::new("sip:");
    let (first, last) = (raw.first_chunk::<16>()?, raw.last_chunk::<16>()?);
    if raw.len() > 64 || !SIP.begins(scan::word(first, 0)) {
        return None;
    }
    // Some bytes are looked at twice.
    let mut marks = u64::from(scan::not_plain(u8x16::new(*first)));
    marks |= u64::from(scan::not_plain(u8x16::new(*last))) << (raw.len() - 16);
    if raw.len() > 32 {
        for (place, chunk) in raw.as_chunks::<16>().0.iter().enumerate().skip(1) {
            marks |= u64::from(scan::not_plain(u8x16::new(*chunk))) << (16 * place);
        }
    }
    Some(marks & !0xF)
}

/// "Any uri-parameter appearing in both URIs must match." Those that matter even where only one URI has them: user, ttl
/// and method by the rule's text, maddr and transport by its text and examples.
fn one_way(a: &[u8], b: &[u8]) -> bool {
    pairs(a, b';').all(|(name, value)| {
        match pairs(b, b';').find(|pair| same(pair.0, name, Case::Ignored)) {
            Some(pair) => same(pair.1, value, Case::Ignored),
            None => ![&b"user"[..], b"ttl", b"method", b"maddr", b"transport"]
                .iter()
                .any(|special| same(special, name, Case::Ignored)),
        }
    })
}

/// The elements of a list of `name[=value]`; empty elements are passed over.
fn pairs(list: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    list.split(move |&byte| byte == separator).filter(|pair| !pair.is_empty()).map(
        |pair| match pair.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (pair, &[][..]),
        },
    )
}

fn too_many(list: &[u8], separator: u8) -> bool {
    pairs(list, separator).nth(Uri::COMPARED_MAX).is_some()
}

/// Takes `hostname / IPv4address / IPv6reference`.
#[inline]
fn take_host(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    if cursor.byte() == Some(b'[') {
        return via::ipv6_reference(cursor);
    }
    let host = cursor.run(HOST);
    if host.is_empty() { Err(cursor.fail()) } else { Ok(host) }
}

/// Takes a run in which every `%` begins an escape.
#[inline]
fn escaped_run<'m>(cursor: &mut Cursor<'m>, class: u8) -> Result<&'m [u8], Malformed> {
    let start = cursor.at;
    loop {
        cursor.run(class);
        if cursor.byte() != Some(b'%') {
            return Ok(&cursor.bytes[start..cursor.at]);
        }
        match cursor.value()[cursor.at + 1..] {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                cursor.at += 3;
            }
            _ => return Err(cursor.fail()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Matters,
    Ignored,
}

/// A byte after decoding, and whether it is a reserved character that was escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Decoded {
    byte: u8,
    reserved: bool,
}

fn same_or_absent(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b, Case::Matters),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// "Characters other than those in the 'reserved' set are equivalent to their "%" HEX HEX encoding."
fn same(a: &[u8], b: &[u8], case: Case) -> bool {
    if a == b {
        return true;
    }
    let fold = |decoded: Decoded| match case {
        Case::Matters => decoded,
        Case::Ignored => Decoded { byte: decoded.byte.to_ascii_lowercase(), ..decoded },
    };
    decode(a).map(fold).eq(decode(b).map(fold))
}

fn decode(text: &[u8]) -> impl Iterator<Item = Decoded> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte == b'%'
            && let [high, low, tail @ ..] = after
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            let byte = high << 4 | low;
            // RFC 2396 2.2.
            return Some(Decoded { byte, reserved: b";/?:@&=+$,".contains(&byte) });
        }
        Some(Decoded { byte, reserved: false })
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
