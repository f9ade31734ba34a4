//! Both ends of calls and a shard between them, without sockets: the inputs of the gates on calls. An end says what it learned from
//! the outbox, as phones learn it from the wire: Via, Record-Route, tags and targets. Nothing here is part of what is counted.

use super::phones::{Home, Template};
use shards::io::{Class, Outcome, Peer, Verdict};
use shards::shard::Limits;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address that all phones are at, which is also the one in their Contacts and Vias.
const PHONE: &str = "192.168.178.23:5060";

const SDP: &str = "v=0\r\n\
o=- 3724394400 3724394405 IN IP4 192.168.178.23\r\n\
s=Desk 480\r\n\
c=IN IP4 192.168.178.23\r\n\
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

/// Who speaks with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The phone that calls.
    pub caller: u32,
    /// The phone that is called.
    pub callee: u32,
    /// Tells it from other calls.
    pub number: u32,
}

/// What the shard hears in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The caller's INVITE.
    Invite,
    /// The callee's 180.
    Ringing,
    /// The callee's 200 to the INVITE.
    Answer,
    /// The caller's ACK to it.
    Ack,
    /// The caller's BYE.
    Bye,
    /// The callee's 200 to the BYE.
    ByeAnswer,
    /// The caller's CANCEL.
    Cancel,
    /// The callee's 200 to the CANCEL of the shard.
    CancelAnswer,
    /// The callee's 487.
    Terminated,
    /// The caller's ACK to it.
    AckTerminated,
}

impl Line {
    /// A call that is answered and ended by the caller: six messages in, seven out.
    pub const COMPLETE: [Line; 6] =
        [Line::Invite, Line::Ringing, Line::Answer, Line::Ack, Line::Bye, Line::ByeAnswer];

    /// What begins a call that is left ringing.
    pub const RING: [Line; 2] = [Line::Invite, Line::Ringing];

    /// How such a call goes on when it is answered.
    pub const ANSWER: [Line; 4] = [Line::Answer, Line::Ack, Line::Bye, Line::ByeAnswer];

    /// How such a call goes on when it is cancelled.
    pub const CANCEL: [Line; 4] =
        [Line::Cancel, Line::CancelAnswer, Line::Terminated, Line::AckTerminated];

    /// What must come of it, and how many messages must leave.
    #[must_use]
    pub fn expected(self) -> (Outcome, usize) {
        let of = |class, verdict, sent| (Outcome { class, verdict }, sent);
        match self {
            // The 100 leaves first.
            Line::Invite => of(Class::Invite, Verdict::Forwarded, 2),
            Line::Ringing | Line::Answer | Line::ByeAnswer => {
                of(Class::Response, Verdict::Forwarded, 1)
            }
            Line::Ack => of(Class::Ack, Verdict::Forwarded, 1),
            Line::Bye => of(Class::InDialog, Verdict::Forwarded, 1),
            // Its 200, and the CANCEL for the callee.
            Line::Cancel => of(Class::Cancel, Verdict::Replied, 2),
            Line::CancelAnswer => of(Class::Response, Verdict::Absorbed, 0),
            // The ACK for the callee, and the 487.
            Line::Terminated => of(Class::Response, Verdict::Forwarded, 2),
            Line::AckTerminated => of(Class::Ack, Verdict::Absorbed, 0),
        }
    }
}

/// What both ends have to repeat of the INVITE as it reached the callee: its Via and Record-Route lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Via lines with their CRLF.
    pub via: String,
    /// Record-Route lines with their CRLF.
    pub record_route: String,
}

/// A home that calls go through, and the message that it hears next.
#[derive(Debug)]
pub struct Exchange {
    /// The home.
    pub home: Home,
    message: String,
    learned: Learned,
}

impl Exchange {
    /// A home for so many `phones`, all registered, with room for the calls that `limits` is edited for.
    ///
    /// # Panics
    /// Where a phone is not registered.
    #[must_use]
    pub fn new(phones: u32, limits: impl FnOnce(&mut Limits)) -> Self {
        let mut home = Home::with_limits(phones, limits);
        let mut register = Template::register(|text| text);
        for phone in 0..phones {
            register.write(phone, 1);
            home.hear_from(phone_peer(), register.bytes());
        }
        assert_eq!(home.shard.gauges().bindings, phones as usize, "each phone is registered");
        Exchange { home, message: String::with_capacity(2048), learned: Learned::default() }
    }

    /// Writes what is said next in a call, after the line before it was heard.
    ///
    /// # Panics
    /// Where what the shard sent last is not what the next line answers.
    pub fn prepare(&mut self, call: Call, line: Line) {
        match line {
            Line::Ringing => self.learned = self.learn(),
            Line::Invite
            | Line::Answer
            | Line::Ack
            | Line::Bye
            | Line::ByeAnswer
            | Line::Cancel
            | Line::CancelAnswer
            | Line::Terminated
            | Line::AckTerminated => {}
        }
        let learned = std::mem::take(&mut self.learned);
        self.prepare_with(call, line, &learned);
        self.learned = learned;
    }

    /// The same of a call whose INVITE was not the last that was heard.
    ///
    /// # Panics
    /// As [`prepare`](Self::prepare).
    pub fn prepare_with(&mut self, call: Call, line: Line, learned: &Learned) {
        let mut text = std::mem::take(&mut self.message);
        text.clear();
        match line {
            Line::Invite => {
                call.request(&mut text, "INVITE", "i", None);
                let _ = write!(
                    text,
                    "Contact: <{}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, INFO, UPDATE\r\n\
                     Supported: path, outbound, replaces, timer\r\nSession-Expires: 1800\r\n",
                    contact(call.caller)
                );
                end_with_sdp(&mut text);
            }
            Line::Ringing => call.response(&mut text, "180 Ringing", learned),
            Line::Answer => call.response(&mut text, "200 OK", learned),
            Line::Terminated => call.response(&mut text, "487 Request Terminated", learned),
            Line::Ack => call.in_dialog(&mut text, "ACK", "a", learned),
            Line::Bye => call.in_dialog(&mut text, "BYE", "b", learned),
            Line::ByeAnswer => call.accept(&mut text, "BYE", &self.lines("BYE", "Via:")),
            Line::Cancel => {
                call.request(&mut text, "CANCEL", "i", None);
                text.push_str("Content-Length: 0\r\n\r\n");
            }
            Line::CancelAnswer => call.accept(&mut text, "CANCEL", &self.lines("CANCEL", "Via:")),
            Line::AckTerminated => {
                call.request(&mut text, "ACK", "i", Some(call.number));
                text.push_str("Content-Length: 0\r\n\r\n");
            }
        }
        self.message = text;
    }

    /// Lets the shard hear what was prepared.
    #[inline]
    pub fn hear(&mut self) -> Outcome {
        self.home.hear_from(phone_peer(), self.message.as_bytes())
    }

    /// Bytes of what was prepared.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.message.len()
    }

    /// What the INVITE that was sent last has above the caller's headers.
    ///
    /// # Panics
    /// Where none was sent.
    #[must_use]
    pub fn learn(&self) -> Learned {
        Learned {
            via: self.lines("INVITE", "Via:"),
            record_route: self.lines("INVITE", "Record-Route:"),
        }
    }

    /// The lines of a header in the request of a method that was sent last.
    fn lines(&self, method: &str, name: &str) -> String {
        let out = &self.home.out;
        let sent = out.sends().iter().map(|send| out.bytes(send));
        let request = sent.into_iter().find(|bytes| bytes.starts_with(method.as_bytes()));
        let request = request.expect("the request was passed on");
        let request = std::str::from_utf8(request).expect("what is sent is text");
        request.split_inclusive("\r\n").filter(|line| line.starts_with(name)).collect()
    }
}

impl Call {
    /// A request of the caller to the address-of-record, up to `CSeq`; its To has a tag where it acknowledges a refusal.
    fn request(self, text: &mut String, method: &str, branch: &str, tag: Option<u32>) {
        let Call { caller, callee, number } = self;
        let _ = write!(
            text,
            "{method} sip:+{callee:08}@sip.example.net SIP/2.0\r\n\
             Via: SIP/2.0/UDP {PHONE};branch=z9hG4bK-{number:08x}{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+{caller:08}@sip.example.net>;tag=f{number:08x}\r\n\
             To: <sip:+{callee:08}@sip.example.net>"
        );
        if let Some(tag) = tag {
            let _ = write!(text, ";tag=t{tag:08x}");
        }
        let _ = write!(
            text,
            "\r\nCall-ID: 7a1d0c52-4b6e-4f7b-9d0e-ca11{number:08x}\r\nCSeq: 1 {method}\r\n"
        );
    }

    /// A request of the caller along the route set. Seawall puts in one Record-Route here, so that its reverse is itself.
    fn in_dialog(self, text: &mut String, method: &str, branch: &str, learned: &Learned) {
        let Call { caller, callee, number } = self;
        let cseq = if method == "ACK" { 1 } else { 2 };
        let route = learned.record_route.replace("Record-Route:", "Route:");
        let _ = write!(
            text,
            "{method} {} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {PHONE};branch=z9hG4bK-{number:08x}{branch};rport\r\n{route}\
             Max-Forwards: 70\r\nFrom: <sip:+{caller:08}@sip.example.net>;tag=f{number:08x}\r\n\
             To: <sip:+{callee:08}@sip.example.net>;tag=t{number:08x}\r\n\
             Call-ID: 7a1d0c52-4b6e-4f7b-9d0e-ca11{number:08x}\r\nCSeq: {cseq} {method}\r\n\
             User-Agent: Desk 480/1.2.3 (build 2026-11)\r\nContent-Length: 0\r\n\r\n",
            contact(callee)
        );
    }

    /// A response of the callee to the INVITE.
    fn response(self, text: &mut String, status: &str, learned: &Learned) {
        let Call { caller, callee, number } = self;
        let Learned { via, record_route } = learned;
        let _ = write!(
            text,
            "SIP/2.0 {status}\r\n{via}{record_route}\
             From: <sip:+{caller:08}@sip.example.net>;tag=f{number:08x}\r\n\
             To: <sip:+{callee:08}@sip.example.net>;tag=t{number:08x}\r\n\
             Call-ID: 7a1d0c52-4b6e-4f7b-9d0e-ca11{number:08x}\r\nCSeq: 1 INVITE\r\n\
             Contact: <{}>\r\nUser-Agent: Desk 480/1.2.3 (build 2026-11)\r\n",
            contact(callee)
        );
        if status.starts_with('2') {
            end_with_sdp(text);
        } else {
            text.push_str("Content-Length: 0\r\n\r\n");
        }
    }

    /// The 200 of the callee to another request.
    fn accept(self, text: &mut String, method: &str, via: &str) {
        let Call { caller, callee, number } = self;
        let cseq = if method == "BYE" { 2 } else { 1 };
        let _ = write!(
            text,
            "SIP/2.0 200 OK\r\n{via}From: <sip:+{caller:08}@sip.example.net>;tag=f{number:08x}\r\n\
             To: <sip:+{callee:08}@sip.example.net>;tag=t{number:08x}\r\n\
             Call-ID: 7a1d0c52-4b6e-4f7b-9d0e-ca11{number:08x}\r\nCSeq: {cseq} {method}\r\n\
             User-Agent: Desk 480/1.2.3 (build 2026-11)\r\nContent-Length: 0\r\n\r\n"
        );
    }
}

/// As it was registered.
fn contact(phone: u32) -> String {
    format!("sip:+{phone:08}@{PHONE};line=a1b2c3")
}

fn end_with_sdp(text: &mut String) {
    let length = SDP.len();
    let _ = write!(text, "Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}");
}

fn phone_peer() -> Peer {
    Peer::udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 178, 23)), 5060))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(exchange: &mut Exchange, call: Call, lines: &[Line]) {
        for &line in lines {
            exchange.prepare(call, line);
            let outcome = exchange.hear();
            let sent = exchange.home.out.sends().len();
            assert_eq!((outcome, sent), line.expected(), "{line:?}: {}", exchange.message);
        }
    }

    #[test]
    fn a_call_is_thirteen_messages_of_the_usual_size() {
        let mut exchange = Exchange::new(10, |_| {});
        let call = Call { caller: 1, callee: 2, number: 7 };
        exchange.prepare(call, Line::Invite);
        assert!((850..=950).contains(&exchange.message_bytes()), "{}", exchange.message_bytes());
        play(&mut exchange, call, &Line::COMPLETE);
        let messages: usize = Line::COMPLETE.iter().map(|line| 1 + line.expected().1).sum();
        assert_eq!(messages, 13);
        exchange.home.shard.check();
    }

    #[test]
    fn a_call_that_rings_is_answered_or_cancelled() {
        for goes_on in [Line::ANSWER, Line::CANCEL] {
            let mut exchange = Exchange::new(10, |_| {});
            let call = Call { caller: 1, callee: 2, number: 7 };
            play(&mut exchange, call, &Line::RING);
            assert_eq!(exchange.home.shard.gauges().calls.transactions, 1);
            play(&mut exchange, call, &goes_on);
            exchange.home.shard.check();
        }
    }
}
