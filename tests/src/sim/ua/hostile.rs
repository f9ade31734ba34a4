//! One that means harm: it hears what others send, forges, replays, floods and sends garbage, from any address it likes.

use crate::sim::message::{Address, Contact, List, Register, Style, Via};
use crate::sim::mutation;
use crate::sim::network::Packet;
use crate::sim::plan::Plan;
use crate::sim::random::Random;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Messages of others that are kept for later.
const KEPT: usize = 256;

/// The attacker.
#[derive(Debug)]
pub struct Hostile {
    pub(super) random: Random,
    pub(super) heard: VecDeque<Packet>,
    /// Whether others have to show who they are.
    breaks_in: bool,
}

impl Hostile {
    /// An attacker that has heard nothing yet.
    #[must_use]
    pub fn new(plan: &Plan, random: Random) -> Self {
        Hostile { random, heard: VecDeque::new(), breaks_in: plan.digest.is_some() }
    }

    /// Hears some of what others send.
    pub fn hear(&mut self, packet: &Packet) {
        if self.random.chance(300) {
            if self.heard.len() == KEPT {
                self.heard.pop_front();
            }
            self.heard.push_back(packet.clone());
        }
    }

    /// Strikes: what it sends.
    pub fn strike(&mut self) -> Vec<Packet> {
        let mut out = Vec::new();
        if self.heard.is_empty() {
            return out;
        }
        let victim = self.heard[self.random.index(self.heard.len())].clone();
        if self.breaks_in && self.random.chance(500) {
            out.extend(self.break_in(&victim));
            return out;
        }
        match self.random.below(10) {
            // A replay, from where the victim is or from elsewhere.
            0..2 => {
                let mut packet = victim.clone();
                self.may_move(&mut packet);
                out.push(packet);
            }
            2..4 => {
                let bytes = mutation::mutated(&victim.bytes, &mut self.random);
                out.push(self.altered(&victim, bytes));
            }
            4 => {
                let bytes = mutation::garbage(&mut self.random);
                out.push(self.altered(&victim, bytes));
            }
            5 => {
                let bytes = self.oversized(&victim.bytes);
                out.push(self.altered(&victim, bytes));
            }
            6 => {
                let bytes = self.other_method(&victim.bytes);
                out.push(self.altered(&victim, bytes));
            }
            7 => {
                // A flood under one branch, each with something else in it.
                let branch = [b"z9hG4bK", self.random.hex(4).as_bytes()].concat();
                for _ in 0..self.random.within(2, 12) {
                    let forged = self.forged(&victim, Some(branch.clone()));
                    out.extend(forged);
                }
            }
            _ => {
                let forged = self.forged(&victim, None);
                out.extend(forged);
            }
        }
        out
    }

    /// A REGISTER for the victim's address-of-record, in its call or in another.
    fn forged(&mut self, victim: &Packet, branch: Option<Vec<u8>>) -> Option<Packet> {
        let random = &mut self.random;
        let theirs = victim.meant.as_ref()?;
        let mut register = Register::clone(theirs);
        register.via = Via {
            host: b"mallory.invalid".to_vec(),
            port: None,
            branch: Some(branch.unwrap_or_else(|| [b"z9hG4bK", random.hex(8).as_bytes()].concat())),
            rport: random.chance(800),
        };
        if random.chance(500) {
            register.via.branch.clone_from(&theirs.via.branch);
        }
        if random.chance(400) {
            register.call_id = format!("mallory-{}", random.hex(2)).into_bytes();
        }
        register.cseq = match random.below(6) {
            0 => theirs.cseq,
            1 => theirs.cseq.saturating_sub(1),
            2 => (1 << 31) - 1,
            3 => 0,
            _ => (theirs.cseq + 1).min((1 << 31) - 1),
        };
        let own = |random: &mut Random| {
            Contact::Address(Address {
                uri: format!("sip:mallory{}@203.0.113.{}", random.hex(1), random.below(3))
                    .into_bytes(),
                expires: Some(u32::try_from(random.log_within(1, 4_000_000)).unwrap()),
                ..Address::default()
            })
        };
        match random.below(6) {
            0 => {
                register.contacts =
                    List::of((0..random.within(1, 20)).map(|_| own(random)).collect());
            }
            1 => (register.contacts, register.expires) = (List::of(vec![Contact::Star]), Some(0)),
            2 => {
                // What two URIs can't both be equivalent to without being so to each other, one is: 19.1.4.
                let uri = |tail: &str| {
                    let uri = format!("sip:same@203.0.113.9{tail}").into_bytes();
                    Contact::Address(Address { uri, ..Address::default() })
                };
                let tail = random.pick(&["", ";x=1", ";x=2", ";X=1;y=%31", ";ttl=1", "?a=b"]);
                let other = random.pick(&["", ";x=1", ";x=3", ";y=1"]);
                register.contacts = List::of(vec![uri(tail), uri(other)]);
            }
            3 => register.contacts.values.push(own(random)),
            4 => {
                // Users nobody else has, so that the table fills.
                register.to =
                    format!("sip:%6dallory{}@{}", random.hex(2), Plan::DOMAIN).into_bytes();
                register.contacts = List::of(vec![own(random)]);
            }
            _ => {
                register.require =
                    List::of(vec![random.pick(&[&b"path"[..], b"outbound", b"gruu"]).to_vec()]);
            }
        }
        let style = Style::random(random);
        let bytes = register.write(&style, random).into();
        let mut packet = Packet { bytes, meant: Some(Rc::new(register)), ..victim.clone() };
        self.may_move(&mut packet);
        Some(packet)
    }

    /// Longer than is read, more headers, longer names.
    fn oversized(&mut self, bytes: &[u8]) -> Vec<u8> {
        let random = &mut self.random;
        let text = match random.below(4) {
            0 => vec![b'x'; random.index(70_000)],
            1 => b"X: y\r\n".repeat(random.index(200)),
            2 => [b"Via: SIP/2.0/UDP ", &vec![b'h'; random.index(5_000)][..], b"\r\n"].concat(),
            _ => [b"Contact: ", &b"<sip:a@b>, ".repeat(random.index(200))[..], b"<sip:c@d>\r\n"]
                .concat(),
        };
        let text =
            if random.chance(300) { [b"Subject: ", &text[..], b"\r\n"].concat() } else { text };
        // Behind the first line, or inside To.
        let at = bytes.windows(2).position(|window| window == b"\r\n").map_or(0, |at| at + 2);
        let mut bytes = bytes.to_vec();
        drop(bytes.splice(at..at, text));
        bytes.truncate(65_507);
        bytes
    }

    /// The victim's message as another request, or as a response.
    fn other_method(&mut self, bytes: &[u8]) -> Vec<u8> {
        let methods: [&[u8]; 8] =
            [b"INVITE", b"ACK", b"CANCEL", b"BYE", b"OPTIONS", b"SUBSCRIBE", b"FOO", b"register"];
        let method = self.random.pick(&methods);
        let first = bytes.windows(2).position(|window| window == b"\r\n").unwrap_or(0);
        let rest = bytes.get(first..).unwrap_or_default();
        if self.random.chance(200) {
            return [b"SIP/2.0 200 OK", rest].concat();
        }
        let mut written = [method, b" sip:sip.test SIP/2.0", rest].concat();
        if let Some(at) = written.windows(9).position(|window| window == b" REGISTER") {
            drop(written.splice(at + 1..at + 9, method.iter().copied()));
        }
        written
    }

    fn altered(&mut self, victim: &Packet, bytes: Vec<u8>) -> Packet {
        let mut packet = Packet { bytes: bytes.into(), meant: None, ..victim.clone() };
        self.may_move(&mut packet);
        packet
    }

    /// Whether it is sent under the victim's address, or under one that nobody has.
    pub(super) fn may_move(&mut self, packet: &mut Packet) {
        if packet.from.is_ipv4() && self.random.chance(500) {
            let ip = Ipv4Addr::new(203, 0, 113, u8::try_from(self.random.below(4)).unwrap());
            packet.from =
                SocketAddr::new(ip.into(), u16::try_from(self.random.within(1024, 1030)).unwrap());
        }
    }
}
