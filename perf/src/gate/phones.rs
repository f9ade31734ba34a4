//! Phones and a shard that they register at, without sockets: the inputs of the gates. A message is written over the last
//! one in place, so that making it costs no memory.

use shards::auth::Realm;
use shards::io::{
    CoreId, Datagram, Input, Instant, ListenerId, LocalAddr, Outbox, Outcome, Peer, UnixTime,
};
use shards::location::Domains;
use shards::registrar::Policy;
use shards::shard::{Homes, Keys, Limits, Settings, Shard};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What a desk phone sends: 500 bytes, with an address-of-record of 25 bytes, a contact of 45 and a Call-ID of 36.
const REGISTER: &str = "REGISTER sip:sip.example.net SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.178.23:5060;branch=z9hG4bK-0000000000000000;rport\r\n\
Max-Forwards: 70\r\n\
From: <sip:+00000000@sip.example.net>;tag=1f7c3a90\r\n\
To: <sip:+00000000@sip.example.net>\r\n\
Call-ID: 7a1d0c52-4b6e-4f7b-9d0e-cafe00000000\r\n\
CSeq: 00000000 REGISTER\r\n\
Contact: <sip:+00000000@192.168.178.23:5060;line=a1b2c3>;expires=3600\r\n\
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, INFO, UPDATE\r\n\
User-Agent: Desk 480/1.2.3 (build 2026-11)\r\n\
Content-Length: 0\r\n\r\n";

/// What a monitor sends.
const OPTIONS: &str = "OPTIONS sip:sip.example.net SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.178.23:5060;branch=z9hG4bK-0000000000000000;rport\r\n\
Max-Forwards: 70\r\n\
From: <sip:monitor@sip.example.net>;tag=1f7c3a90\r\n\
To: <sip:sip.example.net>\r\n\
Call-ID: 7a1d0c52-4b6e-4f7b-9d0e-cafe00000000\r\n\
CSeq: 00000000 OPTIONS\r\n\
Accept: application/sdp\r\n\
User-Agent: monitor/1.0\r\n\
Content-Length: 0\r\n\r\n";

/// A message whose numbers can be written anew.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    branch: usize,
    cseq: usize,
    /// Where the phone's number stands.
    phones: Vec<usize>,
}

impl Template {
    /// A phone's REGISTER, with `edit` made to its text.
    #[must_use]
    pub fn register(edit: impl FnOnce(String) -> String) -> Self {
        Self::new(&edit(REGISTER.to_owned()))
    }

    /// An OPTIONS to the server.
    #[must_use]
    pub fn options() -> Self {
        Self::new(OPTIONS)
    }

    fn new(text: &str) -> Self {
        let after =
            |what: &str| text.find(what).map(|at| at + what.len()).expect("the template has it");
        let (branch, cseq) = (after("branch=z9hG4bK-"), after("CSeq: "));
        let phones = text
            .match_indices("00000000")
            .map(|(at, _)| at)
            .filter(|&at| at != cseq && !(branch..branch + 16).contains(&at));
        Template { bytes: text.as_bytes().to_vec(), branch, cseq, phones: phones.collect() }
    }

    /// Writes the numbers of a message; the branch follows from all of them.
    pub fn write(&mut self, phone: u32, cseq: u32) {
        for &at in &self.phones {
            write_digits(&mut self.bytes[at..at + 8], phone);
        }
        write_digits(&mut self.bytes[self.branch..self.branch + 8], phone);
        write_digits(&mut self.bytes[self.branch + 8..self.branch + 16], cseq);
        write_digits(&mut self.bytes[self.cseq..self.cseq + 8], cseq);
    }

    /// Where a text stands in the message.
    #[must_use]
    pub fn place(&self, what: &str) -> Option<usize> {
        String::from_utf8_lossy(&self.bytes).find(what)
    }

    /// Writes over what stands at a place.
    ///
    /// # Panics
    /// Where it does not end within the message.
    pub fn overwrite(&mut self, place: usize, bytes: &[u8]) {
        self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn write_digits(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A shard, its outbox and its time.
#[derive(Debug)]
pub struct Home {
    /// The shard.
    pub shard: Shard,
    /// Where its answers go; emptied before each input.
    pub out: Outbox,
    /// Moves on by 3 microseconds with each input.
    pub now: Instant,
}

impl Home {
    /// A home for `bindings` bindings, alone or the first of `cores`.
    #[must_use]
    pub fn new(bindings: u32, cores: u16) -> Self {
        Home::with_realm(bindings, cores, None)
    }

    /// The same, where whoever registers has to be known in a realm.
    #[must_use]
    pub fn with_realm(bindings: u32, cores: u16, realm: Option<Realm>) -> Self {
        Home::made(bindings, cores, realm, |_| {})
    }

    /// A home for `bindings` bindings, alone, with limits of its own.
    #[must_use]
    pub fn with_limits(bindings: u32, limits: impl FnOnce(&mut Limits)) -> Self {
        Home::made(bindings, 1, None, limits)
    }

    fn made(
        bindings: u32,
        cores: u16,
        realm: Option<Realm>,
        limits: impl FnOnce(&mut Limits),
    ) -> Self {
        let bindings = bindings as usize;
        let mut settings = Settings {
            core: CoreId(0),
            homes: Homes::all(cores),
            keys: Keys::derive(&[7; 32]),
            domains: Arc::new(Domains::new(["sip.example.net"])),
            listeners: Arc::new([SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060)]),
            policy: Policy::default(),
            proxy: shards::proxy::Policy::default(),
            realm,
            limits: Limits {
                message_bytes: 16 * 1024,
                header_lines: 64,
                contacts: 8,
                bindings,
                arena_bytes: (bindings * 384).max(1 << 20),
                completed_bytes: 64 << 20,
                transactions: 1000,
                branches: 2000,
                transaction_bytes: 4 << 20,
            },
        };
        limits(&mut settings.limits);
        Home {
            shard: Shard::new(settings),
            out: Outbox::new(4, 0),
            now: Instant::START.plus_secs(1),
        }
    }

    /// A home at which the phones from 0 on have registered, with a `CSeq` of 1.
    ///
    /// # Panics
    /// Where one was not registered.
    #[must_use]
    pub fn with_phones(phones: u32, room: u32) -> Self {
        let mut home = Home::new(phones + room, 1);
        let mut register = Template::register(|text| text);
        for phone in 0..phones {
            register.write(phone, 1);
            home.hear(register.bytes());
        }
        assert_eq!(home.shard.gauges().bindings, phones as usize, "each phone is registered");
        home
    }

    /// Handles a datagram from a phone.
    #[inline]
    pub fn hear(&mut self, bytes: &[u8]) -> Outcome {
        self.hear_from(
            Peer::udp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 5060)),
            bytes,
        )
    }

    /// Handles a datagram from anywhere.
    #[inline]
    pub fn hear_from(&mut self, from: Peer, bytes: &[u8]) -> Outcome {
        let to = LocalAddr { listener: ListenerId(0), ip: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let datagram = Datagram { from, to, bytes, age: Duration::ZERO };
        self.now = self.now.plus(Duration::from_micros(3));
        self.out.clear();
        let wall = UnixTime(1_800_000_000 + self.now.as_nanos() / 1_000_000_000);
        self.shard.handle(self.now, wall, Input::Datagram(datagram), &mut self.out)
    }

    /// Does what time has made due, at most `budget` things of it.
    pub fn expire(&mut self, budget: u32) {
        self.out.clear();
        self.shard.expire(self.now, budget, &mut self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_what_the_gates_say() {
        let register = Template::register(|text| text);
        assert_eq!(register.bytes().len(), 500);
        assert_eq!(register.phones.len(), 4);
        assert_eq!("+00000000@sip.example.net".len(), 25);
        assert_eq!("sip:+00000000@192.168.178.23:5060;line=a1b2c3".len(), 45);
        assert_eq!("7a1d0c52-4b6e-4f7b-9d0e-cafe00000000".len(), 36);
        let mut options = Template::options();
        options.write(12_345_678, 9);
        let text = String::from_utf8_lossy(options.bytes()).into_owned();
        assert!(text.contains("cafe12345678\r\nCSeq: 00000009 OPTIONS"), "{text}");
        assert!(text.contains("z9hG4bK-1234567800000009;rport"), "{text}");
    }
}
