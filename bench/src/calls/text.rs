//! Writes the messages of a call into buffers. It owns their wording and keeps nothing of a call.

use crate::population::{Population, USER_DIGITS, UserAgent, write_decimal, write_hex};
use crate::template::{ADDRESS_BYTES, MAGIC_COOKIE, PORT_DIGITS, RUN_DIGITS, address_text};

use super::message::Message;
use super::table::{Call, Dialog, HANDLE_DIGITS};

/// What both ends offer.
pub(super) const SDP: &[u8] = b"v=0\r\n\
o=- 3724394400 3724394405 IN IP4 203.0.113.141\r\n\
s=Deskphone 785\r\n\
c=IN IP4 203.0.113.141\r\n\
t=0 0\r\n\
m=audio 16384 RTP/AVP 9 8 0 18 101\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:18 G729/8000\r\n\
a=fmtp:18 annexb=no\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

/// The bytes of [`SDP`], in digits.
const SDP_LENGTH: &[u8] = b"323";

/// What a proxy would have put into the INVITE, for an echo, which puts in nothing.
const ECHO_ROUTE: &[u8] = b"Record-Route: <sip:127.0.0.1:5066;lr;c=0123456789abcdef01234567>\r\n";

/// Bytes of a branch: the cookie, the run, the call, and a letter for the transaction.
pub(super) const BRANCH_BYTES: usize = MAGIC_COOKIE.len() + RUN_DIGITS + HANDLE_DIGITS + 1;

/// The client transactions of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// INVITE, its CANCEL, and the ACK to a refusal.
    Invite,
    /// The ACK to a 2xx.
    Ack,
    Bye,
}

/// Writes messages of one run.
#[derive(Clone, Debug)]
pub(super) struct Texts<'a> {
    pub(super) population: &'a Population,
    pub(super) domain: &'a [u8],
    /// Of callers.
    pub(super) from_domain: &'a [u8],
    /// The ports of the population, in order.
    pub(super) ports: Vec<u16>,
    pub(super) run: u32,
    pub(super) is_echo: bool,
    pub(super) is_emergency: bool,
}

/// A message being written.
struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

impl Texts<'_> {
    /// The caller's INVITE.
    pub(super) fn invite(&self, to: &mut [u8], call: &Call) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        self.start_at_registrar(&mut w, b"INVITE", call);
        w.put(b"Max-Forwards: 70\r\n");
        if self.is_echo {
            w.put(ECHO_ROUTE);
        }
        self.callee_address(&mut w, call);
        self.dialog_headers(&mut w, call, b"INVITE", 1);
        self.contact(&mut w, call.caller_ua);
        w.put(
            b"User-Agent: Deskphone 785/10.1\r\n\
              Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, UPDATE\r\n\
              Supported: path, outbound, replaces, timer\r\n\
              Session-Expires: 1800\r\n\
              Accept: application/sdp\r\n",
        );
        if self.is_emergency {
            w.put(b"Priority: emergency\r\nResource-Priority: esnet.1\r\n");
        }
        sdp(&mut w);
        w.length
    }

    /// The caller's CANCEL.
    pub(super) fn cancel(&self, to: &mut [u8], call: &Call) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        self.start_at_registrar(&mut w, b"CANCEL", call);
        w.put(b"Max-Forwards: 70\r\n");
        self.callee_address(&mut w, call);
        self.dialog_headers(&mut w, call, b"CANCEL", 1);
        w.put(b"Content-Length: 0\r\n\r\n");
        w.length
    }

    /// The caller's ACK to a refusal whose To has the value `refused_to`, RFC 3261 17.1.1.3.
    pub(super) fn ack_to_refusal(&self, to: &mut [u8], call: &Call, refused_to: &[u8]) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        self.start_at_registrar(&mut w, b"ACK", call);
        w.put(b"Max-Forwards: 70\r\nTo: ");
        w.put(refused_to);
        w.put(b"\r\n");
        self.dialog_headers(&mut w, call, b"ACK", 1);
        w.put(b"Content-Length: 0\r\n\r\n");
        w.length
    }

    /// The caller's ACK to the 200.
    pub(super) fn ack(&self, to: &mut [u8], call: &Call, dialog: &Dialog<'_>) -> usize {
        self.within(to, call, dialog, (b"ACK", 1), Transaction::Ack)
    }

    /// The caller's BYE.
    pub(super) fn bye(&self, to: &mut [u8], call: &Call, dialog: &Dialog<'_>) -> usize {
        self.within(to, call, dialog, (b"BYE", 2), Transaction::Bye)
    }

    /// The callee's 180.
    pub(super) fn ringing(&self, to: &mut [u8], call: &Call, head: &[u8]) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        w.put(b"SIP/2.0 180 Ringing\r\n");
        w.put(head);
        self.contact(&mut w, call.callee_ua);
        w.put(b"User-Agent: Deskphone 785/10.1\r\nContent-Length: 0\r\n\r\n");
        w.length
    }

    /// The callee's 200 to the INVITE.
    pub(super) fn answer(&self, to: &mut [u8], call: &Call, head: &[u8]) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        w.put(b"SIP/2.0 200 OK\r\n");
        w.put(head);
        self.contact(&mut w, call.callee_ua);
        w.put(
            b"User-Agent: Deskphone 785/10.1\r\n\
              Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, UPDATE\r\n",
        );
        sdp(&mut w);
        w.length
    }

    /// The callee's 487 to an INVITE that was cancelled.
    pub(super) fn terminated(to: &mut [u8], head: &[u8]) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        w.put(b"SIP/2.0 487 Request Terminated\r\n");
        w.put(head);
        w.put(b"Content-Length: 0\r\n\r\n");
        w.length
    }

    /// The callee's 200 to any other request, whose To has a tag or gets none; 0 where it does not fit.
    pub(super) fn accept(to: &mut [u8], request: &Message<'_>, method: &[u8]) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        let fixed = 64 + request.from.len() + request.to.len() + request.call_id.len();
        let vias: usize = request.via.lines().iter().map(|line| line.len() + 2).sum();
        if fixed + vias + 64 > w.buffer.len() {
            return 0;
        }
        w.put(b"SIP/2.0 200 OK\r\n");
        for line in request.via.lines() {
            w.put(line);
            w.put(b"\r\n");
        }
        for (name, value) in
            [(&b"From: "[..], request.from), (b"To: ", request.to), (b"Call-ID: ", request.call_id)]
        {
            w.put(name);
            w.put(value);
            w.put(b"\r\n");
        }
        w.put(b"CSeq: ");
        let mut digits = [0; 10];
        write_decimal(&mut digits, request.cseq);
        let zeros =
            digits.iter().take(digits.len() - 1).take_while(|digit| **digit == b'0').count();
        w.put(&digits[zeros..]);
        w.put(b" ");
        w.put(method);
        w.put(b"\r\nContent-Length: 0\r\n\r\n");
        w.length
    }

    /// The branch of a transaction.
    pub(super) fn branch(&self, call: &Call, transaction: Transaction) -> [u8; BRANCH_BYTES] {
        let mut branch = [0; BRANCH_BYTES];
        let (cookie, rest) = branch.split_at_mut(MAGIC_COOKIE.len());
        cookie.copy_from_slice(MAGIC_COOKIE);
        write_hex(&mut rest[..RUN_DIGITS], u64::from(self.run));
        let mut handle = [0; HANDLE_DIGITS];
        call.handle.write(&mut handle);
        rest[RUN_DIGITS..RUN_DIGITS + HANDLE_DIGITS].copy_from_slice(&handle);
        rest[RUN_DIGITS + HANDLE_DIGITS] = match transaction {
            Transaction::Invite => b'i',
            Transaction::Ack => b'a',
            Transaction::Bye => b'b',
        };
        branch
    }

    /// The URI at which a user agent is reached.
    pub(super) fn contact_uri(&self, ua: UserAgent) -> ContactUri {
        let mut bytes = [0; CONTACT_BYTES];
        let mut w = Writer { buffer: &mut bytes, length: 0 };
        w.put(b"sip:");
        w.put(&self.user(ua));
        w.put(b"@");
        self.place(&mut w, ua);
        w.put(b";line=1");
        let length = w.length;
        ContactUri { bytes, length }
    }

    /// A request to whoever the registrar knows: request line and Via.
    fn start_at_registrar(&self, w: &mut Writer<'_>, method: &[u8], call: &Call) {
        w.put(method);
        w.put(b" sip:");
        w.put(&self.user(call.callee_ua));
        w.put(b"@");
        w.put(self.domain);
        w.put(b" SIP/2.0\r\n");
        self.via(w, call, Transaction::Invite);
    }

    fn via(&self, w: &mut Writer<'_>, call: &Call, transaction: Transaction) {
        w.put(b"Via: SIP/2.0/UDP ");
        self.place(w, call.caller_ua);
        w.put(b";rport;branch=");
        w.put(&self.branch(call, transaction));
        w.put(b"\r\n");
    }

    /// A request within the dialog, RFC 3261 12.2.1.1.
    fn within(
        &self,
        to: &mut [u8],
        call: &Call,
        dialog: &Dialog<'_>,
        (method, cseq): (&[u8], u8),
        transaction: Transaction,
    ) -> usize {
        let mut w = Writer { buffer: to, length: 0 };
        w.put(method);
        w.put(b" ");
        w.put(dialog.target);
        w.put(b" SIP/2.0\r\n");
        self.via(&mut w, call, transaction);
        w.put(dialog.routes);
        w.put(b"Max-Forwards: 70\r\nTo: ");
        w.put(dialog.to);
        w.put(b"\r\n");
        self.dialog_headers(&mut w, call, method, cseq);
        w.put(b"User-Agent: Deskphone 785/10.1\r\nContent-Length: 0\r\n\r\n");
        w.length
    }

    /// To without a tag.
    fn callee_address(&self, w: &mut Writer<'_>, call: &Call) {
        w.put(b"To: <sip:");
        w.put(&self.user(call.callee_ua));
        w.put(b"@");
        w.put(self.domain);
        w.put(b">\r\n");
    }

    /// From, Call-ID and CSeq. The CSeq is one digit.
    fn dialog_headers(&self, w: &mut Writer<'_>, call: &Call, method: &[u8], cseq: u8) {
        w.put(b"From: <sip:");
        w.put(&self.user(call.caller_ua));
        w.put(b"@");
        w.put(self.from_domain);
        w.put(b">;tag=");
        w.put(&call.from_tag);
        w.put(b"\r\nCall-ID: ");
        w.put(&call.id);
        w.put(b"\r\nCSeq: ");
        w.put(&[b'0' + cseq]);
        w.put(b" ");
        w.put(method);
        w.put(b"\r\n");
    }

    fn contact(&self, w: &mut Writer<'_>, ua: UserAgent) {
        w.put(b"Contact: <");
        w.put(self.contact_uri(ua).bytes());
        w.put(b">\r\n");
    }

    fn user(&self, ua: UserAgent) -> [u8; USER_DIGITS] {
        let mut user = [0; USER_DIGITS];
        self.population.write_user(ua, &mut user);
        user
    }

    /// Address and port.
    fn place(&self, w: &mut Writer<'_>, ua: UserAgent) {
        match self.population.one_address() {
            Some(address) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    let mut digits = [0; 3];
                    write_decimal(&mut digits, u32::from(octet));
                    let zeros = digits[..2].iter().take_while(|digit| **digit == b'0').count();
                    w.put(if index == 0 { b"" } else { b"." });
                    w.put(&digits[zeros..]);
                }
            }
            // Three digits each, always.
            None => w.put(&address_text(self.population.address(ua))),
        }
        let mut digits = [0; PORT_DIGITS];
        write_decimal(&mut digits, u32::from(self.ports[self.population.port_index(ua)]));
        w.put(b":");
        w.put(&digits);
    }
}

/// The URI of a user agent's Contact.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContactUri {
    bytes: [u8; CONTACT_BYTES],
    length: usize,
}

impl ContactUri {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Bytes of [`Texts::contact_uri`] at most.
const CONTACT_BYTES: usize =
    "sip:".len() + USER_DIGITS + 1 + ADDRESS_BYTES + 1 + PORT_DIGITS + ";line=1".len();

fn sdp(w: &mut Writer<'_>) {
    w.put(b"Content-Type: application/sdp\r\nContent-Length: ");
    w.put(SDP_LENGTH);
    w.put(b"\r\n\r\n");
    w.put(SDP);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::message::{Method, Start, branch_of, routes_reversed, tag_of};
    use crate::calls::table::{TAG_BYTES, Table};
    use crate::population::CALL_ID_BYTES;

    fn with_call(test: impl FnOnce(&Texts<'_>, &mut Table, super::super::table::Handle)) {
        let population = Population::new(100, 2, 100);
        let texts = Texts {
            population: &population,
            domain: b"sip.test",
            from_domain: b"sip.test",
            ports: vec![20_000, 20_001],
            run: 0x1234,
            is_echo: false,
            is_emergency: false,
        };
        let mut table = Table::new(4, 0x1234);
        let handle = table.begin(UserAgent(41), UserAgent(42), 5);
        test(&texts, &mut table, handle);
    }

    #[test]
    fn an_emergency_says_so() {
        with_call(|texts, table, handle| {
            let mut buffer = [0; 2048];
            let call = table.look(handle).0;
            let plain = texts.invite(&mut buffer, call);
            let plain = String::from_utf8(buffer[..plain].to_vec()).unwrap();
            let texts =
                Texts { is_emergency: true, from_domain: b"elsewhere.test", ..texts.clone() };
            let length = texts.invite(&mut buffer, call);
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            const HEADERS: &str = "Priority: emergency\r\nResource-Priority: esnet.1\r\n";
            assert!(text.contains(HEADERS) && text.contains("@elsewhere.test>;tag="), "{text}");
            let from = "From: <sip:493000000041@";
            let same = text.replace(HEADERS, "").replace("elsewhere.test", "sip.test");
            assert!(same == plain && plain.contains(from), "{text}");
        });
    }

    #[test]
    fn all_at_one_address_name_it_as_it_is_written() {
        with_call(|texts, table, handle| {
            let population = texts.population.clone().at(std::net::Ipv4Addr::new(10, 0, 127, 5));
            let texts = Texts { population: &population, ..texts.clone() };
            let mut buffer = [0; 2048];
            let length = texts.invite(&mut buffer, table.look(handle).0);
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            assert!(text.contains("\r\nVia: SIP/2.0/UDP 10.0.127.5:20001;rport"), "{text}");
            assert!(text.contains("\r\nContact: <sip:493000000041@10.0.127.5:20001;line=1>\r\n"));
        });
    }

    #[test]
    fn an_invite_reads_like_a_phone_s() {
        with_call(|texts, table, handle| {
            let call = table.look(handle).0;
            let mut buffer = [0; 2048];
            let length = texts.invite(&mut buffer, call);
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let (id, tag) =
                (String::from_utf8_lossy(&call.id), String::from_utf8_lossy(&call.from_tag));
            let expected = format!(
                "INVITE sip:493000000042@sip.test SIP/2.0\r\n\
                 Via: SIP/2.0/UDP 127.100.100.120:20001;rport;branch=z9hG4bK00001234000000000000i\r\n\
                 Max-Forwards: 70\r\n\
                 To: <sip:493000000042@sip.test>\r\n\
                 From: <sip:493000000041@sip.test>;tag={tag}\r\n\
                 Call-ID: {id}\r\n\
                 CSeq: 1 INVITE\r\n\
                 Contact: <sip:493000000041@127.100.100.120:20001;line=1>\r\n\
                 User-Agent: Deskphone 785/10.1\r\n\
                 Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, UPDATE\r\n\
                 Supported: path, outbound, replaces, timer\r\n\
                 Session-Expires: 1800\r\n\
                 Accept: application/sdp\r\n\
                 Content-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{}",
                SDP.len(),
                std::str::from_utf8(SDP).unwrap()
            );
            assert_eq!(text, expected);
            assert!((850..=950).contains(&length), "{length} bytes");
            assert_eq!(call.id.len(), CALL_ID_BYTES);
            assert_eq!(tag.len(), TAG_BYTES);
            assert_eq!(CONTACT_BYTES, 45);
        });
    }

    #[test]
    fn both_ends_understand_each_other() {
        with_call(|texts, table, handle| {
            let mut buffer = [0; 2048];
            let length = texts.invite(&mut buffer, table.look(handle).0);
            let invite = Message::read(&buffer[..length]).unwrap();
            assert_eq!(invite.body, SDP);
            let via = [invite.via.lines()[0], b"\r\nRecord-Route: <sip:p;lr>, <sip:q;lr>\r\nTo: "]
                .concat();
            let to = [invite.to, b";tag=abc\r\n"].concat();
            assert!(
                table.keep_head(
                    handle,
                    &[&via, &to, b"From: x\r\nCall-ID: y\r\nCSeq: 1 INVITE\r\n"]
                )
            );
            let mut answer = [0; 2048];
            let (call, head, _) = table.look(handle);
            let length = texts.answer(&mut answer, call, head);
            let answer = Message::read(&answer[..length]).unwrap();
            assert_eq!(answer.start, Start::Response { status: 200 });
            assert_eq!(answer.contact, texts.contact_uri(UserAgent(42)).bytes());
            assert_eq!(
                branch_of(answer.via.lines()[0]),
                Some(&texts.branch(call, Transaction::Invite)[..])
            );
            let routes = routes_reversed(answer.record_route.lines());
            assert!(table.keep_dialog(handle, answer.contact, routes, answer.to));
            let (call, _, dialog) = table.look(handle);
            let mut bye = [0; 2048];
            let length = texts.bye(&mut bye, call, &dialog);
            let text = std::str::from_utf8(&bye[..length]).unwrap();
            assert!(
                text.starts_with("BYE sip:493000000042@127.100.100.121:20000;line=1 SIP/2.0\r\n"),
                "{text}"
            );
            assert!(text.contains("\r\nRoute: <sip:q;lr>\r\nRoute: <sip:p;lr>\r\n"), "{text}");
            let bye = Message::read(&bye[..length]).unwrap();
            assert_eq!((bye.cseq, bye.method, tag_of(bye.to)), (2, Method::Bye, Some(&b"abc"[..])));
            let mut accepted = [0; 2048];
            let length = Texts::accept(&mut accepted, &bye, b"BYE");
            let accepted = Message::read(&accepted[..length]).unwrap();
            assert_eq!((accepted.cseq, accepted.to), (2, bye.to));
        });
    }
}
