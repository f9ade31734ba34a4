//! What user agents say and where from: owns the texts of their requests, the names and places that belong to their numbers, and what the numbers
//! in branches mean. It remembers nothing of what was said.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::super::record::Scaled;
use super::super::scenario::{Addresses, Scenario};
use super::{Setup, Sink, ua::Ua};
use crate::digest::{self, Answer, HEX_BYTES, Nonces};
use crate::generator::CSEQ_MIN;
use crate::population::{
    CALL_ID_BYTES, Population, UserAgent, golden_stride, write_call_id_of, write_decimal,
};
use crate::response::{Response, hex};
use crate::template::{
    ADDRESS_BYTES, BRANCH_BYTES, MAGIC_COOKIE, PORT_DIGITS, RUN_DIGITS, Registering, Request,
    Template, address_text,
};

/// Bits of a user agent's number in a branch, and so the most user agents there can be.
pub(super) const UA_BITS: u32 = 24;
/// Bits of a CSeq, counted from the first one, behind it.
const SERIAL_BITS: u32 = 22;
/// Bits of a number that says what kind of request it is, above all others.
const KIND_AT: u32 = UA_BITS + SERIAL_BITS;
const OPTIONS: u64 = 1;
const HOSTILE: u64 = 2;
const HOSTILE_SECOND: u64 = 3;

/// From where Call-IDs of other than registrations are numbered.
const CALLS_OF_OPTIONS: u64 = 1 << 40;
const CALLS_OF_HOSTILE: u64 = 1 << 48;

/// Names above it are nobody's, so that hostile senders can make them up.
const NAMES_TAKEN: u32 = 500_000_000;
const NAMES_FREE: u32 = 1_000_000_000 - NAMES_TAKEN;
/// Address and port pairs of hostile senders.
pub(super) const HOSTILE_PAIRS: u32 = 1 << 16;

/// What the branch of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// A user agent's REGISTER, with the lowest bits of its CSeq.
    Register { number: u32, serial: u32 },
    /// A keep-alive, by its turn.
    Options { turn: u64 },
    /// One of a hostile sender's, and whether it answers a challenge.
    Hostile { number: u64, is_second: bool },
}

impl Number {
    fn of_register(number: u32, cseq: u32) -> Number {
        Number::Register { number, serial: cseq.wrapping_sub(CSEQ_MIN) & ((1 << SERIAL_BITS) - 1) }
    }

    fn sequence(self) -> u64 {
        let rest = (1 << KIND_AT) - 1;
        match self {
            Number::Register { number, serial } => {
                (u64::from(number) << SERIAL_BITS) | u64::from(serial)
            }
            Number::Options { turn } => (OPTIONS << KIND_AT) | (turn & rest),
            Number::Hostile { number, is_second: false } => (HOSTILE << KIND_AT) | (number & rest),
            Number::Hostile { number, is_second: true } => {
                (HOSTILE_SECOND << KIND_AT) | (number & rest)
            }
        }
    }

    fn read(sequence: u64) -> Number {
        let rest = sequence & ((1 << KIND_AT) - 1);
        match sequence >> KIND_AT {
            OPTIONS => Number::Options { turn: rest },
            HOSTILE => Number::Hostile { number: rest, is_second: false },
            HOSTILE_SECOND => Number::Hostile { number: rest, is_second: true },
            _ => Number::Register {
                number: (rest >> SERIAL_BITS) as u32,
                serial: (rest & ((1 << SERIAL_BITS) - 1)) as u32,
            },
        }
    }
}

/// Where a datagram leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) port: usize,
    pub(super) address: Ipv4Addr,
}

/// The two texts of a REGISTER.
#[derive(Clone, Debug)]
struct Texts {
    bare: Template,
    with_credentials: Template,
}

impl Texts {
    fn new(registering: &Registering<'_>) -> Texts {
        Texts {
            bare: Template::bare(registering),
            with_credentials: Template::with_credentials(registering),
        }
    }
}

/// All texts, names and places.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) population: Population,
    target: SocketAddrV4,
    domain: String,
    run: u32,
    ports: Vec<u16>,
    /// Where all are, if they are at one address, and how that is written in their contacts: without leading zeros.
    at: Option<Ipv4Addr>,
    at_text: Vec<u8>,
    behind_one_address: u32,
    /// Those whom the scenario is about; others are behind them.
    own: u32,
    own_stride: u64,
    others_stride: u64,
    expires_secs: u32,
    /// What a Min-Expires told, at least what is asked for otherwise.
    lengthened_secs: u32,
    plain: Texts,
    lengthened: Texts,
    options: Template,
    asked: [u8; HEX_BYTES],
}

impl Desk {
    pub(super) fn new(scenario: &Scenario, scaled: &Scaled, setup: &Setup) -> Desk {
        let own = scaled.user_agents;
        let others = setup.others;
        let at = match scenario.population.addresses {
            Addresses::Own => setup.at,
            Addresses::One => Some(setup.at.unwrap_or_else(Population::shared_address)),
        };
        let registering = Registering {
            domain: &setup.domain,
            run: setup.run_id,
            expires_secs: scaled.expires_secs,
            at,
        };
        let texts = Texts::new(&registering);
        Desk {
            population: setup.population.clone(),
            target: setup.target,
            domain: setup.domain.clone(),
            run: setup.run_id,
            ports: setup.ports.clone(),
            at,
            at_text: at.map(|at| at.to_string().into_bytes()).unwrap_or_default(),
            behind_one_address: scaled.behind_one_address,
            own,
            own_stride: u64::from(golden_stride(own)),
            others_stride: u64::from(golden_stride(others)),
            expires_secs: scaled.expires_secs,
            lengthened_secs: scaled.expires_secs,
            lengthened: texts.clone(),
            plain: texts,
            options: Template::options_from(&setup.domain, setup.run_id, at),
            asked: digest::asked_in(&setup.domain),
        }
    }

    /// Who the user agent of this number is. Neighbours in time are no neighbours by name, so that no server's prefetcher makes them
    /// look cheaper than they are.
    pub(super) fn who(&self, number: u32) -> UserAgent {
        let own = u64::from(self.own);
        let others = u64::from(self.population.size().saturating_sub(self.own)).max(1);
        let place = if number < self.own {
            u64::from(number) * self.own_stride % own.max(1)
        } else {
            own + u64::from(number - self.own) * self.others_stride % others
        };
        UserAgent(place as u32)
    }

    /// Where that user agent is.
    pub(super) fn place(&self, who: UserAgent) -> Place {
        let address = match self.at {
            Some(address) => address,
            None if who.0 < self.behind_one_address => Population::shared_address(),
            None => self.population.address(who),
        };
        Place { port: self.port(who), address }
    }

    fn port(&self, who: UserAgent) -> usize {
        self.population.port_index(who).min(self.ports.len() - 1)
    }

    /// The realm in which they know a password.
    pub(super) fn realm(&self) -> &[u8] {
        self.domain.as_bytes()
    }

    /// The secret of a user agent.
    pub(super) fn ha1(&self, number: u32) -> [u8; 16] {
        self.population.ha1(self.who(number), &self.domain, true)
    }

    /// What they ask for, in seconds.
    pub(super) fn expires_secs(&self, lengthened: bool) -> u32 {
        if lengthened { self.lengthened_secs } else { self.expires_secs }
    }

    /// RFC 3261 10.2.8: who is told a Min-Expires asks for that from now on. Servers have one, so all learn from each other.
    pub(super) fn lengthen(&mut self, min_expires_secs: u32) {
        if min_expires_secs > self.lengthened_secs {
            self.lengthened_secs = min_expires_secs;
            self.lengthened = Texts::new(&Registering {
                domain: &self.domain,
                run: self.run,
                expires_secs: min_expires_secs,
                at: self.at,
            });
        }
    }

    /// Says a user agent's REGISTER, for the first time or again: the bytes are the same.
    pub(super) fn register(
        &self,
        number: u32,
        ua: &Ua,
        credentials: Option<&Nonces>,
        lengthened: bool,
        sink: &mut impl Sink,
    ) {
        let who = self.who(number);
        let Place { port, address } = self.place(who);
        let sequence = Number::of_register(number, ua.cseq).sequence();
        let request = Request {
            ua: who,
            call: None,
            address,
            port: self.ports[port],
            sequence,
            cseq: ua.cseq,
        };
        let texts = if lengthened { &self.lengthened } else { &self.plain };
        let slot = sink.slot(port);
        let length = match credentials {
            None => texts.bare.write(slot, &self.population, &request, &Answer::NONE),
            Some(nonces) => {
                let nonce = nonces.of(number as usize, ua.nonce_bytes);
                let answer = digest::answer(ua.ha1, &self.asked, nonce, ua.nc, sequence);
                texts.with_credentials.write(slot, &self.population, &request, &answer)
            }
        };
        sink.push(port, address, length);
    }

    /// Says a user agent's OPTIONS of a turn.
    pub(super) fn options(&self, number: u32, turn: u64, round: u32, sink: &mut impl Sink) {
        let who = self.who(number);
        let Place { port, address } = self.place(who);
        let request = Request {
            ua: who,
            call: Some(CALLS_OF_OPTIONS + u64::from(self.population.name(who))),
            address,
            port: self.ports[port],
            sequence: Number::Options { turn }.sequence(),
            cseq: CSEQ_MIN + round,
        };
        let slot = sink.slot(port);
        let length = self.options.write(slot, &self.population, &request, &Answer::NONE);
        sink.push(port, address, length);
    }

    /// Says CRLF CRLF, RFC 5626 4.4.1.
    pub(super) fn crlf(&self, number: u32, sink: &mut impl Sink) {
        let Place { port, address } = self.place(self.who(number));
        sink.slot(port)[..4].copy_from_slice(b"\r\n\r\n");
        sink.push(port, address, 4);
    }

    /// Where a hostile sender is.
    pub(super) fn hostile_place(&self, number: u64) -> Place {
        // Behind the addresses of all others.
        let pair = UserAgent(self.population.size() + (number % u64::from(HOSTILE_PAIRS)) as u32);
        let address = self.at.unwrap_or_else(|| self.population.address(pair));
        Place { port: self.port(pair), address }
    }

    /// A name that nobody has.
    pub(super) fn nobody(&self, bits: u64) -> UserAgent {
        let name = NAMES_TAKEN + (bits % u64::from(NAMES_FREE)) as u32;
        UserAgent(name.wrapping_sub(self.population.name(UserAgent(0))))
    }

    /// Says a hostile sender's REGISTER in the name of `victim`, with credentials for `nonce` where there is one.
    pub(super) fn hostile(
        &self,
        number: u64,
        victim: UserAgent,
        nonce: Option<&[u8]>,
        sink: &mut impl Sink,
    ) {
        let Place { port, address } = self.hostile_place(number);
        let is_second = nonce.is_some();
        let sequence = Number::Hostile { number, is_second }.sequence();
        let request = Request {
            ua: victim,
            call: Some(CALLS_OF_HOSTILE + number),
            address,
            port: self.ports[port],
            sequence,
            cseq: CSEQ_MIN + u32::from(is_second),
        };
        let slot = sink.slot(port);
        let length = match nonce {
            None => self.plain.bare.write(slot, &self.population, &request, &Answer::NONE),
            Some(nonce) => {
                let guess = self.population.ha1(victim, &self.domain, false);
                let answer = digest::answer(guess, &self.asked, nonce, 1, sequence);
                self.plain.with_credentials.write(slot, &self.population, &request, &answer)
            }
        };
        sink.push(port, address, length);
    }

    /// What a branch of this run says.
    pub(super) fn number_of(&self, branch: &[u8]) -> Option<Number> {
        if branch.len() != BRANCH_BYTES {
            return None;
        }
        let (run, sequence) = branch.strip_prefix(MAGIC_COOKIE)?.split_at(RUN_DIGITS);
        if hex(run)? != u64::from(self.run) {
            return None;
        }
        Some(Number::read(hex(sequence)?))
    }

    /// Whether an answer came from where requests go.
    pub(super) fn is_target(&self, from: SocketAddrV4) -> bool {
        from == self.target
    }

    /// Whether Call-ID, method and branch are those of the REGISTER with this CSeq.
    pub(super) fn is_of_register(&self, number: u32, serial: u32, response: &Response<'_>) -> bool {
        Number::of_register(number, response.cseq) == Number::Register { number, serial }
            && response.method == b"REGISTER"
            && is_call_id(response, u64::from(self.population.name(self.who(number))))
    }

    /// Whether Call-ID, method and CSeq are those of an OPTIONS.
    pub(super) fn is_of_options(&self, number: u32, round: u32, response: &Response<'_>) -> bool {
        let name = u64::from(self.population.name(self.who(number)));
        response.cseq == CSEQ_MIN + round
            && response.method == b"OPTIONS"
            && is_call_id(response, CALLS_OF_OPTIONS + name)
    }

    /// Whether Call-ID, method and CSeq are those of a hostile sender's REGISTER.
    pub(super) fn is_of_hostile(
        &self,
        number: u64,
        is_second: bool,
        response: &Response<'_>,
    ) -> bool {
        response.cseq == CSEQ_MIN + u32::from(is_second)
            && response.method == b"REGISTER"
            && is_call_id(response, CALLS_OF_HOSTILE + number)
    }

    /// How a user agent's contact says where it is.
    pub(super) fn contact<'a>(
        &self,
        place: Place,
        to: &'a mut [u8; ADDRESS_BYTES + 1 + PORT_DIGITS],
    ) -> &'a [u8] {
        let (address, rest) = to.split_at_mut(ADDRESS_BYTES);
        rest[0] = b':';
        write_decimal(&mut rest[1..], u32::from(self.ports[place.port]));
        if self.at.is_none() {
            address.copy_from_slice(&address_text(place.address));
        }
        let start = ADDRESS_BYTES - self.at_text.len();
        address[start..].copy_from_slice(&self.at_text);
        if self.at.is_none() { to } else { &to[start..] }
    }
}

fn is_call_id(response: &Response<'_>, call: u64) -> bool {
    let mut id = [0; CALL_ID_BYTES];
    write_call_id_of(call, &mut id);
    response.call_id == id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [
            Number::Register { number: 0, serial: 0 },
            Number::Register { number: (1 << UA_BITS) - 1, serial: (1 << SERIAL_BITS) - 1 },
            Number::Options { turn: (1 << KIND_AT) - 1 },
            Number::Hostile { number: 5, is_second: false },
            Number::Hostile { number: 5, is_second: true },
        ] {
            assert_eq!(Number::read(number.sequence()), number);
            assert!(number.sequence() < 1 << 48);
        }
    }
}
