//! Request texts with places of fixed width: a message is made by overwriting these places in a
//! buffer that already holds the text, never by formatting it anew.

use std::net::Ipv4Addr;

use crate::digest::{Answer, CNONCE_BYTES, HEX_BYTES, NC_DIGITS};
use crate::population::{
    CALL_ID_BYTES, Population, TAG_BYTES, USER_DIGITS, UserAgent, write_call_id_of, write_decimal,
    write_hex, write_tag_of,
};
use crate::response::{Response, decimal};

/// What every branch begins with.
pub(crate) const MAGIC_COOKIE: &[u8] = b"z9hG4bK";
/// Hex digits that name the run.
pub(crate) const RUN_DIGITS: usize = 8;
/// Hex digits that name the request within its run.
pub(crate) const SEQUENCE_DIGITS: usize = 12;
/// Bytes of a branch.
pub(crate) const BRANCH_BYTES: usize = MAGIC_COOKIE.len() + RUN_DIGITS + SEQUENCE_DIGITS;

/// Bytes of an address: four numbers of three digits.
pub(crate) const ADDRESS_BYTES: usize = 15;
/// Digits of a port.
pub(crate) const PORT_DIGITS: usize = 5;
const CSEQ_DIGITS: usize = 10;

/// The text of a request and where in it the changing parts are.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: Vec<u8>,
    places: Vec<(Field, usize)>,
    /// Where a nonce of any length is put in. Nothing behind it changes.
    nonce_at: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    User,
    Address,
    Port,
    Sequence,
    CallId,
    Tag,
    CSeq,
    Response,
    Cnonce,
    Nc,
}

impl Field {
    const fn width(self) -> usize {
        match self {
            Field::User => USER_DIGITS,
            Field::Address => ADDRESS_BYTES,
            Field::Port => PORT_DIGITS,
            Field::Sequence => SEQUENCE_DIGITS,
            Field::CallId => CALL_ID_BYTES,
            Field::Tag => TAG_BYTES,
            Field::CSeq => CSEQ_DIGITS,
            Field::Response => HEX_BYTES,
            Field::Cnonce => CNONCE_BYTES,
            Field::Nc => NC_DIGITS,
        }
    }
}

/// The parts of a registration that are the same in all of a template's requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registering<'a> {
    /// Of the addresses-of-record, and the realm.
    pub(crate) domain: &'a str,
    pub(crate) run: u32,
    /// What Expires asks for.
    pub(crate) expires_secs: u32,
    /// Where all user agents are, unless each has an address of its own.
    pub(crate) at: Option<Ipv4Addr>,
}

impl Registering<'_> {
    /// What phones ask for that are to stay registered for longer than anything is measured.
    pub(crate) fn usual(domain: &str, run: u32, at: Option<Ipv4Addr>) -> Registering<'_> {
        Registering { domain, run, expires_secs: USUAL_EXPIRES_SECS, at }
    }
}

/// What [`Registering::usual`] asks for.
pub(crate) const USUAL_EXPIRES_SECS: u32 = 3600;

/// The changing parts of one request.
pub(crate) struct Request {
    pub(crate) ua: UserAgent,
    /// By which Call-ID and tag are made; none: those that the user agent registers with.
    pub(crate) call: Option<u64>,
    pub(crate) address: Ipv4Addr,
    /// Five digits.
    pub(crate) port: u16,
    pub(crate) sequence: u64,
    /// Ten digits, below 2^31.
    pub(crate) cseq: u32,
}

impl Template {
    /// A phone's REGISTER of about 500 bytes for `domain` with one contact.
    pub(crate) fn register(domain: &str, run: u32) -> Template {
        Template::bare(&Registering::usual(domain, run, None))
    }

    /// The same with digest credentials for the realm `domain`, RFC 7616 3.4.
    pub(crate) fn register_with_credentials(domain: &str, run: u32) -> Template {
        Template::with_credentials(&Registering::usual(domain, run, None))
    }

    /// A phone's REGISTER.
    pub(crate) fn bare(registering: &Registering<'_>) -> Template {
        let mut t = Template::registration(registering);
        t.phone_headers();
        t
    }

    /// The same with digest credentials.
    pub(crate) fn with_credentials(registering: &Registering<'_>) -> Template {
        let domain = registering.domain;
        let mut t = Template::registration(registering);
        t.literal("Authorization: Digest username=\"");
        t.place(Field::User);
        t.literal(&format!("\", realm=\"{domain}\", uri=\"sip:{domain}\", response=\""));
        t.place(Field::Response);
        t.literal("\", algorithm=MD5, qop=auth, cnonce=\"");
        t.place(Field::Cnonce);
        t.literal("\", nc=");
        t.place(Field::Nc);
        t.literal(", nonce=\"");
        t.nonce_at = Some(t.text.len());
        t.literal("\"\r\n");
        t.phone_headers();
        t
    }

    fn registration(registering: &Registering<'_>) -> Template {
        let &Registering { domain, run, expires_secs, at } = registering;
        let mut t = Template::request("REGISTER", domain, run, at);
        t.literal("Contact: <sip:");
        t.place(Field::User);
        t.literal("@");
        t.address(at);
        t.literal(":");
        t.place(Field::Port);
        t.literal(&format!(";line=1>\r\nExpires: {expires_secs}\r\n"));
        t
    }

    /// The same with a Max-Forwards that is no number.
    pub(crate) fn malformed_register(domain: &str, run: u32) -> Template {
        const SOUND: &[u8] = b"Max-Forwards: 70";
        let mut t = Template::register(domain, run);
        let at = t.text.windows(SOUND.len()).position(|bytes| bytes == SOUND);
        let at = at.expect("a REGISTER has a Max-Forwards");
        t.text[at + SOUND.len() - 1] = b'x';
        t
    }

    /// A phone's OPTIONS to the server itself, from user agents that are all at one address if there is one.
    pub(crate) fn options_from(domain: &str, run: u32, at: Option<Ipv4Addr>) -> Template {
        let mut t = Template::request("OPTIONS", domain, run, at);
        t.literal("Accept: application/sdp\r\n");
        t.phone_headers();
        t
    }

    /// A datagram that is the same from everybody.
    pub(crate) fn constant(bytes: &[u8]) -> Template {
        Template { text: bytes.to_vec(), places: Vec::new(), nonce_at: None }
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Writes the whole request into `buffer`, whatever it holds, with `answer` if the template has credentials; answers its
    /// length.
    pub(crate) fn write(
        &self,
        buffer: &mut [u8],
        population: &Population,
        request: &Request,
        answer: &Answer<'_>,
    ) -> usize {
        let (head, tail) = self.text.split_at(self.nonce_at.unwrap_or(self.text.len()));
        let nonce = if self.nonce_at.is_some() { answer.nonce } else { b"" };
        let mut length = 0;
        for part in [head, nonce, tail] {
            buffer[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        self.patch(buffer, population, request);
        for &(field, at) in &self.places {
            match field {
                Field::Response => put(buffer, at, &answer.response),
                Field::Cnonce => put(buffer, at, &answer.cnonce),
                Field::Nc => put(buffer, at, &answer.nc),
                Field::User
                | Field::Address
                | Field::Port
                | Field::Sequence
                | Field::CallId
                | Field::Tag
                | Field::CSeq => {}
            }
        }
        length
    }

    /// Overwrites the changing parts but credentials in `buffer`, which holds this template's text.
    pub(crate) fn patch(&self, buffer: &mut [u8], population: &Population, request: &Request) {
        let mut user = [0; USER_DIGITS];
        population.write_user(request.ua, &mut user);
        let address = address_text(request.address);
        let call = request.call.unwrap_or_else(|| u64::from(population.name(request.ua)));
        for &(field, at) in &self.places {
            match field {
                Field::User => put(buffer, at, &user),
                Field::Address => put(buffer, at, &address),
                Field::Port => {
                    let mut digits = [0; PORT_DIGITS];
                    write_decimal(&mut digits, u32::from(request.port));
                    put(buffer, at, &digits);
                }
                Field::Sequence => {
                    let mut digits = [0; SEQUENCE_DIGITS];
                    write_hex(&mut digits, request.sequence);
                    put(buffer, at, &digits);
                }
                Field::CallId => {
                    let mut id = [0; CALL_ID_BYTES];
                    write_call_id_of(call, &mut id);
                    put(buffer, at, &id);
                }
                Field::Tag => {
                    let mut tag = [0; TAG_BYTES];
                    write_tag_of(call, &mut tag);
                    put(buffer, at, &tag);
                }
                Field::CSeq => {
                    let mut digits = [0; CSEQ_DIGITS];
                    write_decimal(&mut digits, request.cseq);
                    put(buffer, at, &digits);
                }
                Field::Response | Field::Cnonce | Field::Nc => {}
            }
        }
    }

    /// Reads a request, or its first bytes up to the CSeq at least, that a server sent back as it
    /// was, as if it were a 200 to itself.
    pub(crate) fn read_echo<'a>(&self, bytes: &'a [u8]) -> Option<Response<'a>> {
        let via = self.at(Field::Address)?;
        let enough = self.at(Field::CSeq)? + CSEQ_DIGITS;
        if bytes.len() < enough || bytes[..via] != self.text[..via] {
            return None;
        }
        let branch = self.at(Field::Sequence)? + SEQUENCE_DIGITS - BRANCH_BYTES;
        let call_id = self.at(Field::CallId)?;
        let cseq = self.at(Field::CSeq)?;
        Some(Response {
            status: 200,
            branch: &bytes[branch..branch + BRANCH_BYTES],
            call_id: &bytes[call_id..call_id + CALL_ID_BYTES],
            cseq: decimal(&bytes[cseq..cseq + CSEQ_DIGITS])?,
            method: bytes.split(|b| *b == b' ').next()?,
            contacts: 1,
            ..Response::default()
        })
    }

    fn at(&self, field: Field) -> Option<usize> {
        self.places.iter().find(|(f, _)| *f == field).map(|(_, at)| *at)
    }

    fn request(method: &str, domain: &str, run: u32, at: Option<Ipv4Addr>) -> Template {
        let mut t = Template { text: Vec::with_capacity(1024), places: Vec::new(), nonce_at: None };
        t.literal(method);
        t.literal(" sip:");
        t.literal(domain);
        t.literal(" SIP/2.0\r\nVia: SIP/2.0/UDP ");
        t.address(at);
        t.literal(":");
        t.place(Field::Port);
        t.literal(";rport;branch=");
        t.text.extend_from_slice(MAGIC_COOKIE);
        t.literal(&format!("{run:08x}"));
        t.place(Field::Sequence);
        t.literal("\r\nMax-Forwards: 70\r\nFrom: <sip:");
        t.place(Field::User);
        t.literal("@");
        t.literal(domain);
        t.literal(">;tag=");
        t.place(Field::Tag);
        // RFC 3261 11.1: an OPTIONS to the server itself has no user in its To either.
        t.literal("\r\nTo: <sip:");
        if method == "REGISTER" {
            t.place(Field::User);
            t.literal("@");
        }
        t.literal(domain);
        t.literal(">\r\nCall-ID: ");
        t.place(Field::CallId);
        t.literal("\r\nCSeq: ");
        t.place(Field::CSeq);
        t.literal(" ");
        t.literal(method);
        t.literal("\r\n");
        t
    }

    fn phone_headers(&mut self) {
        self.literal(
            "User-Agent: Deskphone 785/10.1\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, UPDATE\r\n\
             Supported: path, outbound, replaces\r\n\
             Content-Length: 0\r\n\r\n",
        );
    }

    /// The address `at`, or a place for one.
    fn address(&mut self, at: Option<Ipv4Addr>) {
        match at {
            Some(address) => self.literal(&address.to_string()),
            None => self.place(Field::Address),
        }
    }

    fn literal(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn place(&mut self, field: Field) {
        self.places.push((field, self.text.len()));
        self.text.resize(self.text.len() + field.width(), b'0');
    }
}

fn put<const N: usize>(buffer: &mut [u8], at: usize, value: &[u8; N]) {
    buffer[at..at + N].copy_from_slice(value);
}

pub(crate) fn address_text(address: Ipv4Addr) -> [u8; ADDRESS_BYTES] {
    let mut text = *b"000.000.000.000";
    for (i, octet) in address.octets().into_iter().enumerate() {
        write_decimal(&mut text[4 * i..4 * i + 3], u32::from(octet));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(template: &Template, request: &Request, population: &Population) -> String {
        let mut buffer = template.text().to_vec();
        // What an earlier request left in the buffer must not show through.
        let other = Request {
            ua: UserAgent(999_999_999),
            call: None,
            address: Ipv4Addr::new(127, 227, 226, 225),
            port: 65535,
            sequence: u64::MAX,
            cseq: 2_147_483_647,
        };
        template.patch(&mut buffer, population, &other);
        template.patch(&mut buffer, population, request);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_register_reads_like_a_phone_s() {
        let population = Population::new(100, 1, 100);
        let request = Request {
            ua: UserAgent(42),
            call: None,
            address: Ipv4Addr::new(127, 100, 101, 142),
            port: 20001,
            sequence: 0xabc,
            cseq: 1_000_000_007,
        };
        let text = made(&Template::register("sip.test", 0x1234), &request, &population);
        let mut id = [0; CALL_ID_BYTES];
        population.write_call_id(UserAgent(42), &mut id);
        let id = String::from_utf8(id.to_vec()).unwrap();
        let mut tag = [0; TAG_BYTES];
        write_tag_of(42, &mut tag);
        let tag = String::from_utf8(tag.to_vec()).unwrap();
        let expected = format!(
            "REGISTER sip:sip.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.100.101.142:20001;rport;branch=z9hG4bK00001234000000000abc\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:493000000042@sip.test>;tag={tag}\r\n\
             To: <sip:493000000042@sip.test>\r\n\
             Call-ID: {id}\r\n\
             CSeq: 1000000007 REGISTER\r\n\
             Contact: <sip:493000000042@127.100.101.142:20001;line=1>\r\n\
             Expires: 3600\r\n\
             User-Agent: Deskphone 785/10.1\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, UPDATE\r\n\
             Supported: path, outbound, replaces\r\n\
             Content-Length: 0\r\n\r\n"
        );
        assert_eq!(text, expected);
        assert!((480..=520).contains(&text.len()), "{} bytes", text.len());
        // The sizes by which a binding's memory is compared.
        assert_eq!("sip:493000000042@sip.test".len(), 25);
        assert_eq!("sip:493000000042@127.100.101.142:20001;line=1".len(), 45);
        assert_eq!(id.len(), 36);
    }

    #[test]
    fn credentials_have_a_nonce_of_any_length() {
        let population = Population::new(100, 1, 100);
        let request = Request {
            ua: UserAgent(42),
            call: None,
            address: Ipv4Addr::new(127, 100, 101, 142),
            port: 20001,
            sequence: 1,
            cseq: 1_000_000_007,
        };
        let template = Template::register_with_credentials("sip.test", 1);
        let mut buffer = [b'x'; 2048];
        for nonce in [&b"a nonce of some length"[..], b"n", b"another, again longer nonce"] {
            let answer = Answer {
                nonce,
                nc: *b"0000000f",
                cnonce: *b"01234567",
                response: *b"0123456789abcdef0123456789abcdef",
            };
            let length = template.write(&mut buffer, &population, &request, &answer);
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let plain = made(&Template::register("sip.test", 1), &request, &population);
            let credentials = format!(
                "Authorization: Digest username=\"493000000042\", realm=\"sip.test\", \
                 uri=\"sip:sip.test\", response=\"0123456789abcdef0123456789abcdef\", \
                 algorithm=MD5, qop=auth, cnonce=\"01234567\", nc=0000000f, nonce=\"{}\"\r\n",
                std::str::from_utf8(nonce).unwrap()
            );
            assert_eq!(text.replace(&credentials, ""), plain);
            assert!(text.contains(&credentials), "{text}");
        }
    }

    #[test]
    fn an_options_addresses_the_server() {
        let population = Population::new(100, 1, 100);
        let request = Request {
            ua: UserAgent(7),
            call: None,
            address: Ipv4Addr::new(127, 100, 100, 107),
            port: 20000,
            sequence: 1,
            cseq: 1_000_000_000,
        };
        let text = made(&Template::options_from("sip.test", 1, None), &request, &population);
        assert!(text.starts_with("OPTIONS sip:sip.test SIP/2.0\r\nVia: "), "{text}");
        assert!(text.contains("\r\nTo: <sip:sip.test>\r\n"), "{text}");
        assert!(text.contains("\r\nCSeq: 1000000000 OPTIONS\r\n"), "{text}");
        assert!(!text.contains("Contact"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n"), "{text}");
    }
}
