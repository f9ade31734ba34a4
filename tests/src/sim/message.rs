//! What a REGISTER means, apart from how it is written; the many ways to write it; and reading it back with the server's parser.
//! A message that nobody altered is judged by what its sender meant, and the parser has to have read just that.

use super::credentials::{Authorization, Credentials, REALM};
use super::random::Random;
use shards::wire::{
    self, Contact as WireContact, HeaderId, Index, Message, Method, Peek, StartLine, Uri,
};

/// What a REGISTER asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The Request-URI.
    pub request_uri: Vec<u8>,
    /// The URI in To.
    pub to: Vec<u8>,
    /// The URI in From, its tag behind it.
    pub from: Vec<u8>,
    /// The tag of From.
    pub from_tag: Vec<u8>,
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// The number of the `CSeq`.
    pub cseq: u32,
    /// The topmost Via.
    pub via: Via,
    /// Further Vias, those of the proxies on the way.
    pub vias_below: List<Vec<u8>>,
    /// The values of Contact.
    pub contacts: List<Contact>,
    /// Expires, in seconds.
    pub expires: Option<u32>,
    /// The values of Path.
    pub path: List<Vec<u8>>,
    /// The option tags in Require.
    pub require: List<Vec<u8>>,
    /// The option tags in Supported.
    pub supported: List<Vec<u8>>,
    /// What it says of its sender.
    pub authorization: Authorization,
}

/// The values of a header, and whether they end in something that breaks the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// The values before the first defect.
    pub values: Vec<T>,
    /// Whether there is one.
    pub is_broken: bool,
}

/// The topmost Via.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// The host of the sent-by.
    pub host: Vec<u8>,
    /// Its port.
    pub port: Option<u16>,
    /// The branch.
    pub branch: Option<Vec<u8>>,
    /// Whether it has `rport`.
    pub rport: bool,
}

/// A value of Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// `*`
    Star,
    /// An address.
    Address(Address),
}

/// An address to bind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The URI.
    pub uri: Vec<u8>,
    /// Its parameters but for `expires` and `q`, each with its semicolon.
    pub params: Vec<u8>,
    /// `q` in thousandths.
    pub q: Option<u16>,
    /// `expires` in seconds.
    pub expires: Option<u32>,
    /// What stands between the quotes of `+sip.instance`.
    pub instance: Option<Vec<u8>>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
}

impl<T> List<T> {
    /// A sound list.
    #[must_use]
    pub fn of(values: Vec<T>) -> Self {
        List { values, is_broken: false }
    }

    fn read<E>(items: impl Iterator<Item = Result<T, E>>) -> Self {
        let mut list = List::of(Vec::new());
        for item in items {
            match item {
                Ok(value) => list.values.push(value),
                Err(_) => list.is_broken = true,
            }
        }
        list
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List::of(Vec::new())
    }
}

/// What a datagram is, as far as a registrar cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A REGISTER that the parser accepts, and its topmost Via and the tag of its To as they came: by these, too, one is told from
    /// another where it has no unique branch, RFC 3261 17.2.3.
    Register(Box<Register>, [Vec<u8>; 2]),
    /// Another request that the parser accepts.
    Other {
        /// Its Call-ID.
        call_id: Vec<u8>,
    },
    /// What is not accepted.
    Nothing,
}

impl Reading {
    /// Reads a datagram with the server's parser.
    #[must_use]
    pub fn of(bytes: &[u8], index: &mut Index) -> Self {
        let Peek::Request { method, .. } = wire::peek(bytes, index) else {
            return Reading::Nothing;
        };
        let Ok(message) = Message::parse(bytes, index) else { return Reading::Nothing };
        if method != Method::Register {
            return Reading::Other { call_id: message.call_id().to_vec() };
        }
        let StartLine::Request { uri, .. } = message.start_line() else { return Reading::Nothing };
        let raw = [message.via().raw.to_vec(), message.to().tag.unwrap_or_default().to_vec()];
        Reading::Register(Box::new(Register::read(&message, uri)), raw)
    }
}

impl Register {
    fn read(message: &Message<'_>, uri: &Uri<'_>) -> Self {
        let via = message.via();
        let tags = |id| List::read(message.option_tags(id).map(|tag| tag.map(<[u8]>::to_vec)));
        let path = message.addresses(HeaderId::Path);
        Register {
            request_uri: uri.raw.to_vec(),
            to: message.to().uri.to_vec(),
            from: message.from().uri.to_vec(),
            from_tag: message.from().tag.unwrap_or_default().to_vec(),
            call_id: message.call_id().to_vec(),
            cseq: message.cseq().number,
            via: Via {
                host: via.host.raw().to_vec(),
                port: via.port,
                branch: via.branch.map(<[u8]>::to_vec),
                rport: via.rport != wire::Rport::Absent,
            },
            vias_below: List::read(
                message.vias().skip(1).map(|via| via.map(|via| via.raw.to_vec())),
            ),
            contacts: List::read(message.contacts().map(|contact| contact.map(Contact::read))),
            expires: message.expires(),
            path: List::read(path.map(|address| address.map(|address| address.raw.to_vec()))),
            require: tags(HeaderId::Require),
            supported: tags(HeaderId::Supported),
            authorization: match message.credentials(HeaderId::Authorization, REALM.as_bytes()) {
                Ok(Some(read)) => Authorization::Given(Box::new(Credentials::read(&read))),
                Ok(None) => Authorization::Nothing,
                Err(_) => Authorization::Broken,
            },
        }
    }

    /// Writes it, in one of the ways in which it may be written.
    #[must_use]
    pub fn write(&self, style: &Style, random: &mut Random) -> Vec<u8> {
        let mut out = Vec::with_capacity(700);
        put(&mut out, &[b"REGISTER ", &self.request_uri, b" SIP/2.0\r\n"]);
        let mut via = Vec::new();
        put(&mut via, &[b"SIP/2.0/UDP ", &self.via.host]);
        if let Some(port) = self.via.port {
            put(&mut via, &[format!(":{port}").as_bytes()]);
        }
        let branch = self.via.branch.as_ref().map(|branch| [b";branch=", &branch[..]].concat());
        let rport: &[u8] = if self.via.rport { b";rport" } else { b"" };
        // The order of parameters means nothing.
        let branch = branch.unwrap_or_default();
        if style.reorders && random.chance(500) {
            put(&mut via, &[rport, &branch]);
        } else {
            put(&mut via, &[&branch, rport]);
        }
        style.header(&mut out, random, b"Via", b"v", &via);
        for below in &self.vias_below.values {
            style.header(&mut out, random, b"Via", b"v", below);
        }
        let mut rest = self.other_headers(style, random);
        if style.reorders {
            // The order of headers of different names means nothing, RFC 3261 7.3.1.
            for place in (1..rest.len()).rev() {
                rest.swap(place, random.index(place + 1));
            }
        }
        for (name, compact, values) in &rest {
            let (first, others) = values.split_first().expect("a header has a value");
            if style.one_line {
                style.header(&mut out, random, name, compact, &values.join(&b", "[..]));
                continue;
            }
            style.header(&mut out, random, name, compact, first);
            for value in others {
                style.header(&mut out, random, name, compact, value);
            }
        }
        style.header(&mut out, random, b"Content-Length", b"l", b"0");
        out.extend_from_slice(b"\r\n");
        out
    }

    fn other_headers(&self, style: &Style, random: &mut Random) -> Vec<HeaderLines> {
        let display: &[u8] = if style.display_names { b"\"Al, ice\" " } else { b"" };
        let mut headers: Vec<HeaderLines> = vec![
            (b"Max-Forwards", b"Max-Forwards", vec![b"70".to_vec()]),
            (b"From", b"f", vec![[display, b"<", &self.from, b">;tag=", &self.from_tag].concat()]),
            (b"To", b"t", vec![[display, b"<", &self.to, b">"].concat()]),
            (b"Call-ID", b"i", vec![self.call_id.clone()]),
            (b"CSeq", b"CSeq", vec![format!("{} REGISTER", self.cseq).into_bytes()]),
        ];
        if !self.contacts.values.is_empty() {
            let contacts = self.contacts.values.iter().map(|contact| contact.write(style, random));
            headers.push((b"Contact", b"m", contacts.collect()));
        }
        if let Some(expires) = self.expires {
            headers.push((b"Expires", b"Expires", vec![expires.to_string().into_bytes()]));
        }
        for (name, compact, values) in [
            (&b"Path"[..], &b"Path"[..], &self.path.values),
            (b"Require", b"Require", &self.require.values),
            (b"Supported", b"k", &self.supported.values),
        ] {
            if !values.is_empty() {
                headers.push((name, compact, values.clone()));
            }
        }
        if let Authorization::Given(credentials) = &self.authorization {
            let value = credentials.write(style, random);
            headers.push((b"Authorization", b"Authorization", vec![value]));
        }
        if style.talkative {
            headers.push((
                b"User-Agent",
                b"User-Agent",
                vec![b"Desk 480/1.2.3 (build 2026-11)".to_vec()],
            ));
            headers.push((b"Allow", b"Allow", vec![b"INVITE, ACK, BYE, CANCEL, OPTIONS".to_vec()]));
            headers.push((b"X-Vendor", b"X-Vendor", vec![b"\"<a,b;c>\" \xC3\xA4".to_vec()]));
        }
        headers
    }
}

/// A header's name in full and in short, and its values.
type HeaderLines = (&'static [u8], &'static [u8], Vec<Vec<u8>>);

impl Contact {
    fn read(contact: WireContact<'_>) -> Self {
        let WireContact::Address(contact) = contact else { return Contact::Star };
        let mut params = Vec::new();
        for param in contact.address.params {
            if ![&b"expires"[..], b"q"].iter().any(|name| param.name.eq_ignore_ascii_case(name)) {
                put(&mut params, &[b";", param.name]);
                if let Some(value) = param.value {
                    put(&mut params, &[b"=", value]);
                }
            }
        }
        Contact::Address(Address {
            uri: contact.address.uri.to_vec(),
            params,
            q: contact.q,
            expires: contact.expires,
            instance: contact.instance.map(<[u8]>::to_vec),
            reg_id: contact.reg_id,
        })
    }

    fn write(&self, style: &Style, random: &mut Random) -> Vec<u8> {
        let Contact::Address(address) = self else { return b"*".to_vec() };
        let mut own = Vec::new();
        if let Some(q) = address.q {
            own.push(format!(";q={}.{:03}", q / 1000, q % 1000).into_bytes());
        }
        if let Some(expires) = address.expires {
            own.push(format!(";expires={expires}").into_bytes());
        }
        own.insert(random.index(own.len() + 1), address.params.clone());
        // RFC 3261 20: brackets may be left out where the URI has neither comma, question mark nor semicolon.
        let is_plain = !address.uri.iter().any(|byte| b",?;".contains(byte));
        let mut written = if is_plain && style.bare_contacts {
            address.uri.clone()
        } else {
            [b"<", &address.uri[..], b">"].concat()
        };
        written.extend(own.concat());
        written
    }
}

/// A sender's habits, none of which changes what a message means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Compact header names, RFC 3261 7.3.3.
    pub compact: bool,
    /// Names in upper case.
    pub shouts: bool,
    /// White space and folds where they may stand, RFC 3261 7.3.1.
    pub folds: bool,
    /// Headers and parameters in any order.
    pub reorders: bool,
    /// Several values on a line.
    pub one_line: bool,
    /// Contacts without brackets where that is allowed.
    pub bare_contacts: bool,
    /// Display names in From and To.
    pub display_names: bool,
    /// Headers that a registrar does not care for.
    pub talkative: bool,
}

impl Style {
    /// Some habits.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        if random.chance(500) {
            // Most phones write plainly; the server has a faster way for what they write.
            return Style { talkative: random.chance(500), ..Style::default() };
        }
        let mut has = || random.chance(400);
        Style {
            compact: has(),
            shouts: has(),
            folds: has(),
            reorders: has(),
            one_line: has(),
            bare_contacts: has(),
            display_names: has(),
            talkative: has(),
        }
    }

    fn header(
        &self,
        out: &mut Vec<u8>,
        random: &mut Random,
        name: &[u8],
        compact: &[u8],
        value: &[u8],
    ) {
        let name = if self.compact { compact } else { name };
        let name = if self.shouts { name.to_ascii_uppercase() } else { name.to_vec() };
        let colon: &[u8] =
            if self.folds { random.pick(&[&b": "[..], b":", b" : ", b"\t:\r\n "]) } else { b": " };
        let end: &[u8] = if self.folds && random.chance(200) { b" \r\n" } else { b"\r\n" };
        put(out, &[&name, colon, value, end]);
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_any_style_is_read_as_meant() {
        let mut random = Random::new(1);
        let mut index = Index::new(64);
        for round in 0..2_000 {
            let meant = sample(&mut random);
            let bytes = meant.write(&Style::random(&mut random), &mut random);
            let Reading::Register(read, _) = Reading::of(&bytes, &mut index) else {
                panic!("{round}: {} is refused", bytes.escape_ascii());
            };
            assert_eq!(*read, meant, "{round}: {}", bytes.escape_ascii());
        }
    }

    fn sample(random: &mut Random) -> Register {
        let address = |random: &mut Random| Address {
            uri: format!("sip:a{}@192.0.2.1", random.hex(2)).into_bytes(),
            params: if random.chance(500) { b";+x=\"a,b\";audio".to_vec() } else { Vec::new() },
            q: random.chance(500).then(|| u16::try_from(random.below(1001)).unwrap()),
            expires: random.chance(500).then(|| u32::try_from(random.below(5000)).unwrap()),
            instance: None,
            reg_id: None,
        };
        let contacts = (0..random.below(4)).map(|_| Contact::Address(address(random))).collect();
        Register {
            request_uri: b"sip:sip.test".to_vec(),
            to: b"sip:%61lice@SIP.test".to_vec(),
            from: b"sip:alice@sip.test".to_vec(),
            from_tag: b"1".to_vec(),
            call_id: b"abc@host".to_vec(),
            cseq: u32::try_from(random.below(1 << 31)).unwrap(),
            via: Via {
                host: b"phone.test".to_vec(),
                port: random.chance(500).then_some(5070),
                branch: random.chance(900).then(|| b"z9hG4bK77".to_vec()),
                rport: random.chance(500),
            },
            vias_below: List::of(
                (0..random.below(2))
                    .map(|_| b"SIP/2.0/UDP edge.test;branch=z9hG4bK1".to_vec())
                    .collect(),
            ),
            contacts: List::of(contacts),
            expires: random.chance(500).then_some(300),
            path: List::of(
                (0..random.below(3))
                    .map(|hop| format!("<sip:edge{hop}.test;lr>").into_bytes())
                    .collect(),
            ),
            require: List::default(),
            supported: List::of((0..random.below(2)).map(|_| b"path".to_vec()).collect()),
            authorization: if random.chance(500) {
                Authorization::Given(Box::new(credentials(random)))
            } else {
                Authorization::Nothing
            },
        }
    }

    fn credentials(random: &mut Random) -> Credentials {
        let mut option = |value: &[u8]| random.chance(500).then(|| value.to_vec());
        Credentials {
            username: b"al\\\"ice".to_vec(),
            realm: REALM.as_bytes().to_vec(),
            nonce: b"abc-_".to_vec(),
            uri: b"sip:sip.test;x=1,2".to_vec(),
            response: b"0123".to_vec(),
            algorithm: option(b"SHA-512-256"),
            qop: option(b"auth"),
            nc: option(b"0000000a"),
            cnonce: option(b""),
        }
    }
}
