//! What the user agents know of digest, RFC 7616 by MD5 with qop=auth: the secret of each, the nonce that it keeps and how often
//! it has used it. It reads no message and sends none.

use std::io::{self, Write};

use md5::{Digest, Md5};

use crate::population::{Population, USER_DIGITS, UserAgent, hex_digits, mix, write_hex};

/// Bytes of a hash in hex.
pub(crate) const HEX_BYTES: usize = 32;
pub(crate) const NC_DIGITS: usize = 8;
pub(crate) const CNONCE_BYTES: usize = 8;

const PASSWORD_BYTES: usize = 16;

/// What passwords are made from, with the number of the user agent, and what wrong ones are made from.
const RIGHT: u64 = 0x0ba5_5e77_0000_0000;
const WRONG: u64 = 0x0bad_5e77_0000_0000;

/// What the echo's user agents answer, who are never challenged: as long as a nonce of Seawall's.
const NONCE_OF_ECHO: [u8; 24] = *b"0123456789abcdefghijklmn";

/// The parts of credentials that differ from message to message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) nonce: &'a [u8],
    pub(crate) nc: [u8; NC_DIGITS],
    pub(crate) cnonce: [u8; CNONCE_BYTES],
    pub(crate) response: [u8; HEX_BYTES],
}

impl Answer<'_> {
    /// For templates without credentials.
    pub(crate) const NONE: Answer<'static> = Answer {
        nonce: b"",
        nc: [b'0'; NC_DIGITS],
        cnonce: [b'0'; CNONCE_BYTES],
        response: [b'0'; HEX_BYTES],
    };
}

/// Credentials for `nonce`, used for the `nc`th time, RFC 7616 3.4.1; `salt` makes the cnonce.
pub(crate) fn answer<'a>(
    ha1: [u8; 16],
    asked: &[u8; HEX_BYTES],
    nonce: &'a [u8],
    nc: u32,
    salt: u64,
) -> Answer<'a> {
    let (mut count, mut cnonce) = ([0; NC_DIGITS], [0; CNONCE_BYTES]);
    write_hex(&mut count, u64::from(nc));
    write_hex(&mut cnonce, mix(salt));
    let mut hash = Md5::new();
    hash.update(hex(ha1));
    for part in [nonce, &count, &cnonce] {
        hash.update(b":");
        hash.update(part);
    }
    hash.update(b":auth:");
    hash.update(asked);
    Answer { nonce, nc: count, cnonce, response: hex(hash.finalize().into()) }
}

/// The hash of method and URI of every REGISTER in `domain`, RFC 7616 3.4.3.
pub(crate) fn asked_in(domain: &str) -> [u8; HEX_BYTES] {
    hex(Md5::digest(format!("REGISTER:sip:{domain}")).into())
}

/// The nonce of each of so many holders: as many bytes each as the longest has.
#[derive(Debug)]
pub(crate) struct Nonces {
    bytes: Vec<u8>,
    room: usize,
    holders: usize,
}

impl Nonces {
    pub(crate) fn new(holders: usize) -> Nonces {
        Nonces { bytes: Vec::new(), room: 0, holders }
    }

    /// Keeps `nonce` instead of what this holder had; answers its length, none where it is too long.
    pub(crate) fn keep(&mut self, holder: usize, nonce: &[u8]) -> Option<u8> {
        let length = u8::try_from(nonce.len()).ok()?;
        if nonce.len() > self.room {
            self.widen(nonce.len());
        }
        let start = holder * self.room;
        self.bytes[start..start + nonce.len()].copy_from_slice(nonce);
        Some(length)
    }

    /// That of a holder, which was so long.
    pub(crate) fn of(&self, holder: usize, length: u8) -> &[u8] {
        let start = holder * self.room;
        &self.bytes[start..start + usize::from(length)]
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Servers make nonces of one length, so this happens once a server.
    #[cold]
    fn widen(&mut self, room: usize) {
        let mut bytes = vec![0; room * self.holders];
        if self.room > 0 {
            for (new, old) in bytes.chunks_mut(room).zip(self.bytes.chunks(self.room)) {
                new[..old.len()].copy_from_slice(old);
            }
        }
        (self.bytes, self.room) = (bytes, room);
    }
}

/// The accounts of a whole population in one realm: 24 bytes each, and their nonces.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    nonces: Nonces,
    realm: Vec<u8>,
    /// The hash of method and URI, which are the same for all.
    asked: [u8; HEX_BYTES],
}

#[derive(Clone, Copy, Debug)]
struct Account {
    ha1: [u8; 16],
    /// How often its nonce has been used.
    nc: u32,
    /// Length of its nonce; 0 for none.
    nonce_bytes: u8,
}

impl Accounts {
    /// Those of a population that registers in `domain`, which is its realm, too. They all know their passwords, or nobody does.
    pub(crate) fn new(population: &Population, domain: &str, knowing: bool) -> Accounts {
        let account = |number| Account {
            ha1: population.ha1(UserAgent(number), domain, knowing),
            nc: 0,
            nonce_bytes: 0,
        };
        Accounts {
            accounts: (0..population.size()).map(account).collect(),
            nonces: Nonces::new(population.size() as usize),
            realm: domain.as_bytes().to_vec(),
            asked: asked_in(domain),
        }
    }

    /// The realm in which they are.
    pub(crate) fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// Gives everybody a nonce that no server made.
    pub(crate) fn pretend(&mut self) {
        for number in 0..self.accounts.len() {
            self.keep(number, &NONCE_OF_ECHO);
        }
    }

    pub(crate) fn has_nonce(&self, ua: UserAgent) -> bool {
        self.accounts[ua.0 as usize].nonce_bytes > 0
    }

    /// Keeps `nonce` instead of what this user agent had; false where it is too long.
    pub(crate) fn take_nonce(&mut self, ua: UserAgent, nonce: &[u8]) -> bool {
        self.keep(ua.0 as usize, nonce)
    }

    pub(crate) fn forget_nonce(&mut self, ua: UserAgent) {
        self.accounts[ua.0 as usize].nonce_bytes = 0;
    }

    /// Uses this user agent's nonce once more; `salt` makes the cnonce.
    pub(crate) fn answer(&mut self, ua: UserAgent, salt: u64) -> Answer<'_> {
        let number = ua.0 as usize;
        let account = &mut self.accounts[number];
        account.nc += 1;
        let nonce = self.nonces.of(number, account.nonce_bytes);
        answer(account.ha1, &self.asked, nonce, account.nc, salt)
    }

    /// The nonce of this user agent, if it has one, and how often it has used it.
    pub(crate) fn kept(&self, ua: UserAgent) -> Option<(&[u8], u32)> {
        let number = ua.0 as usize;
        let account = self.accounts.get(number).filter(|account| account.nonce_bytes > 0)?;
        Some((self.nonces.of(number, account.nonce_bytes), account.nc))
    }

    fn keep(&mut self, number: usize, nonce: &[u8]) -> bool {
        let Some(length) = self.nonces.keep(number, nonce) else { return false };
        let account = &mut self.accounts[number];
        (account.nc, account.nonce_bytes) = (0, length);
        true
    }
}

/// What a server has to know of a user agent to let it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The user of its address-of-record and of its credentials.
    pub username: String,
    /// The hash of username, realm and password by MD5, in hex.
    pub ha1: String,
}

impl Population {
    /// All user agents as the subscribers of `domain`, which is the realm, too.
    pub fn subscribers(&self, domain: &str) -> impl Iterator<Item = Subscriber> {
        (0..self.size()).map(UserAgent).map(move |ua| {
            let mut user = [0; USER_DIGITS];
            self.write_user(ua, &mut user);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Subscriber { username: text(&user), ha1: text(&hex(self.ha1(ua, domain, true))) }
        })
    }

    /// Writes them as Seawall reads them: a line `username,domain,ha1` for each.
    pub fn write_subscribers(&self, domain: &str, to: &mut impl Write) -> io::Result<()> {
        for Subscriber { username, ha1 } in self.subscribers(domain) {
            writeln!(to, "{username},{domain},{ha1}")?;
        }
        Ok(())
    }

    /// The hash that stands for this user agent's password, RFC 7616 3.4.2, or for a wrong one.
    pub(crate) fn ha1(&self, ua: UserAgent, realm: &str, right: bool) -> [u8; 16] {
        let salt = if right { RIGHT } else { WRONG };
        let (mut user, mut password) = ([0; USER_DIGITS], [0; PASSWORD_BYTES]);
        self.write_user(ua, &mut user);
        write_hex(&mut password, mix(u64::from(self.name(ua)) ^ salt));
        let mut hash = Md5::new();
        for part in [&user[..], b":", realm.as_bytes(), b":", &password] {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

fn hex(hash: [u8; 16]) -> [u8; HEX_BYTES] {
    let mut text = [0; HEX_BYTES];
    let halves = hash.as_chunks().0.iter().map(|half| u64::from_be_bytes(*half));
    for (digits, half) in text.as_chunks_mut().0.iter_mut().zip(halves) {
        *digits = hex_digits(half);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_rfc_reckons() {
        let population = Population::new(3, 1, 1);
        let mut accounts = Accounts::new(&population, "sip.test", true);
        let ua = UserAgent(1);
        assert!(!accounts.has_nonce(ua));
        let subscriber = population.subscribers("sip.test").nth(1).unwrap();
        let asked = hex(Md5::digest("REGISTER:sip:sip.test").into());
        for nonce in ["short", "a longer one", "mid-size"] {
            assert!(accounts.take_nonce(ua, nonce.as_bytes()));
            for nc in 1..4 {
                let answer = accounts.answer(ua, 77);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let (cnonce, asked) = (text(&answer.cnonce), text(&asked));
                let all = format!("{}:{nonce}:{nc:08x}:{cnonce}:auth:{asked}", subscriber.ha1);
                assert_eq!(text(answer.nonce), nonce);
                assert_eq!(text(&answer.nc), format!("{nc:08x}"));
                assert_eq!(answer.response, hex(Md5::digest(all).into()));
            }
        }
        accounts.forget_nonce(ua);
        assert!(!accounts.has_nonce(ua));
        assert!(!accounts.take_nonce(ua, &[b'n'; 256]));
    }

    #[test]
    fn a_longer_nonce_leaves_those_of_others() {
        let mut accounts = Accounts::new(&Population::new(3, 1, 1), "sip.test", true);
        assert!(accounts.take_nonce(UserAgent(2), b"first"));
        assert!(accounts.take_nonce(UserAgent(0), b"the second one"));
        assert_eq!(accounts.answer(UserAgent(2), 1).nonce, b"first");
        assert_eq!(accounts.answer(UserAgent(0), 1).nonce, b"the second one");
        accounts.pretend();
        assert_eq!(accounts.answer(UserAgent(1), 1).nonce, NONCE_OF_ECHO);
    }

    #[test]
    fn subscribers_are_written_as_a_table() {
        let population = Population::new(2, 1, 1);
        let mut csv = Vec::new();
        population.write_subscribers("sip.test", &mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let all: Vec<Subscriber> = population.subscribers("sip.test").collect();
        assert_eq!(all[0].username, "493000000000");
        assert_ne!(all[0].ha1, all[1].ha1);
        let line = |s: &Subscriber| format!("{},sip.test,{}\n", s.username, s.ha1);
        assert_eq!(csv, line(&all[0]) + &line(&all[1]));
        // username, realm and password of 16 hex digits.
        let password = format!("{:016x}", mix(RIGHT));
        let expected = Md5::digest(format!("493000000000:sip.test:{password}"));
        assert_eq!(all[0].ha1.as_bytes(), hex(expected.into()));
        let second = Population::new(1, 1, 1).starting_at(1).subscribers("sip.test").next();
        assert_eq!(second.as_ref(), all.get(1));
    }

    #[test]
    fn who_guesses_is_wrong() {
        let population = Population::new(1, 1, 1);
        let [right, wrong] = [true, false].map(|knowing| {
            let mut accounts = Accounts::new(&population, "sip.test", knowing);
            assert!(accounts.take_nonce(UserAgent(0), b"nonce"));
            accounts.answer(UserAgent(0), 1).response
        });
        assert_ne!(right, wrong);
    }
}
