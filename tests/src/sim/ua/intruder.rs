//! The attacker where whoever registers has to show who he is: with credentials that it has heard it tries everything but the right
//! password, and with a password of its own, others' addresses.

use super::hostile::Hostile;
use crate::sim::credentials::{Authorization, Credentials, REALM};
use crate::sim::directory::{Directory, MALLORY};
use crate::sim::message::{Address, Contact, List, Register, Style};
use crate::sim::network::Packet;
use crate::sim::random::Random;
use std::rc::Rc;

impl Hostile {
    /// A REGISTER that must not pass, unless it comes before the one that it is made of: who hears a request may be first with it.
    pub(super) fn break_in(&mut self, victim: &Packet) -> Option<Packet> {
        let other = self.heard[self.random.index(self.heard.len())].clone();
        let random = &mut self.random;
        let mut register = Register::clone(victim.meant.as_ref()?);
        let Authorization::Given(given) = register.authorization.clone() else {
            register.authorization = Authorization::Given(Box::new(invented(&register, random)));
            return Some(self.sent(victim, register, true));
        };
        let mut given = *given;
        let mut is_meant = true;
        // Verbatim, or in another transaction and for another contact.
        if random.chance(800) {
            anew(&mut register, random);
        }
        match random.below(14) {
            0..2 => {}
            2 => given.nc = Some(format!("{:08x}", random.log_within(1, 1 << 31)).into_bytes()),
            3 => given.username = format!("user{}", random.below(50)).into_bytes(),
            4 => given.username = format!("nobody{}", random.hex(3)).into_bytes(),
            5 => {
                if let Some(Authorization::Given(theirs)) =
                    other.meant.as_ref().map(|meant| &meant.authorization)
                {
                    given.nonce.clone_from(&theirs.nonce);
                }
            }
            6 => {
                given.uri = b"sip:%73ip@sip.test".to_vec();
                if random.chance(500) {
                    register.request_uri.clone_from(&given.uri);
                }
            }
            7 => match given.response.get_mut(random.index(16)) {
                Some(digit) if random.chance(500) => *digit ^= 1,
                Some(_) | None => given.response = given.response.to_ascii_uppercase(),
            },
            8..10 => {
                // Mallory's own password is right, and the address another's.
                given.username = MALLORY.as_bytes().to_vec();
                given.nc = Some(format!("{:08x}", random.log_within(1, 1 << 12)).into_bytes());
                given.response = given.right_response(&Directory::password(MALLORY, 0));
            }
            10 => match random.below(3) {
                0 => given.qop = None,
                1 => given.algorithm = Some(b"MD5-sess".to_vec()),
                _ => given.algorithm = random.chance(500).then(|| b"SHA-1".to_vec()),
            },
            11 => {
                let place = random.index(given.nonce.len().max(1));
                if let Some(byte) = given.nonce.get_mut(place) {
                    *byte = if *byte == b'A' { b'B' } else { b'A' };
                }
            }
            12 => given.response = given.right_response("guessed"),
            // The first realm is not ours, so nothing is meant by it.
            _ => (given.realm, is_meant) = (b"other.test".to_vec(), false),
        }
        register.authorization = Authorization::Given(Box::new(given));
        Some(self.sent(victim, register, is_meant))
    }

    fn sent(&mut self, victim: &Packet, register: Register, is_meant: bool) -> Packet {
        let style = Style::random(&mut self.random);
        let bytes = register.write(&style, &mut self.random).into();
        let meant = is_meant.then(|| Rc::new(register));
        let mut packet = Packet { bytes, meant, ..victim.clone() };
        self.may_move(&mut packet);
        packet
    }
}

/// Another transaction, maybe of another call, for a contact of the attacker's.
fn anew(register: &mut Register, random: &mut Random) {
    if random.chance(800) {
        register.via.branch = Some([b"z9hG4bK", random.hex(8).as_bytes()].concat());
    }
    if random.chance(500) {
        register.call_id = format!("mallory-{}", random.hex(2)).into_bytes();
    }
    if random.chance(500) {
        register.cseq = (register.cseq + 1).min((1 << 31) - 1);
    }
    if random.chance(700) {
        register.contacts = List::of(vec![Contact::Address(Address {
            uri: format!("sip:mallory@203.0.113.{}", random.below(3)).into_bytes(),
            expires: Some(3600),
            ..Address::default()
        })]);
    }
}

/// Credentials of somebody who has not been challenged.
fn invented(register: &Register, random: &mut Random) -> Credentials {
    let mut credentials = Credentials {
        username: random.pick(&[&b"user0"[..], b"nobody", b"user1@sip.test", b"a\\\"b"]).to_vec(),
        realm: REALM.as_bytes().to_vec(),
        nonce: random.hex(24).into_bytes(),
        uri: register.request_uri.clone(),
        response: Vec::new(),
        algorithm: Some(b"MD5".to_vec()),
        qop: Some(b"auth".to_vec()),
        nc: Some(b"00000001".to_vec()),
        cnonce: Some(random.hex(8).into_bytes()),
    };
    credentials.response = credentials.right_response(&Directory::password("user0", 0));
    credentials
}
