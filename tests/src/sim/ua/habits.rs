//! What tells one user agent from another, apart from its state: how it writes, what it supports and what it asks for.

use super::Seat;
use crate::sim::message::{Address, Contact, Style};
use crate::sim::plan::Plan;
use crate::sim::random::Random;

/// A user agent's habits.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) style: Style,
    /// What it writes into Request-URI, To and From.
    pub(super) request_uri: Vec<u8>,
    pub(super) to: Vec<u8>,
    /// What it writes into its Via.
    pub(super) sent_by_host: String,
    pub(super) sent_by_port: Option<u16>,
    pub(super) rport: bool,
    branches: Branches,
    /// What it wishes, in seconds; nothing leaves it to the registrar.
    pub(super) lifetime_secs: Option<u32>,
    pub(super) lifetime_in_header: bool,
    /// How often in a thousand it refreshes in time, and sends a request again that was answered.
    pub(super) refreshes: u32,
    pub(super) repeats: u32,
    pub(super) edge: Option<Edge>,
    pub(super) supports_path: bool,
    pub(super) supports_outbound: bool,
    /// Its instance and `reg-id`, RFC 5626.
    flow: Option<(String, u32)>,
    contacts: u64,
    user: String,
}

/// The edge proxy that a user agent registers through, RFC 3327.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) path: Vec<u8>,
    /// The user agent's own Via, below the proxy's.
    pub(super) via_below: Vec<u8>,
}

/// How a user agent makes branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branches {
    /// As RFC 3261 8.1.1.7 says.
    Unique,
    /// Without the magic cookie, as RFC 2543 allowed.
    Old,
}

impl Habits {
    pub(super) fn random(user: &str, seat: &Seat, random: &mut Random) -> Self {
        let domain = random.pick(&[
            Plan::DOMAIN,
            Plan::DOMAIN,
            Plan::DOMAIN,
            "SIP.test",
            Plan::ALIAS,
            "sip.test:5060",
        ]);
        let scheme = random.pick(&["sip", "sip", "sip", "sips"]);
        // %-escapes that need not be: the address-of-record is the same.
        let written = match random.below(5) {
            0 => user.replacen('u', "%75", 1),
            1 => format!("{user}:secret"),
            _ => user.to_owned(),
        };
        let params = random.pick(&["", "", "", ";transport=udp", ";x=1"]);
        let lifetime_secs =
            random.pick(&[None, Some(3600), Some(60), Some(35), Some(8), Some(2), Some(100)]);
        let rport = seat.is_behind_nat || random.chance(700);
        let named = seat.is_behind_nat || random.chance(200);
        let sent_by_host = if named { format!("{user}.phone.invalid") } else { bracketed(seat) };
        let supports_outbound = random.chance(300);
        let edge = random.chance(150).then(|| Edge {
            path: format!("<sip:edge{}.test;lr{}>", seat.group, random.pick(&["", ";ob"]))
                .into_bytes(),
            via_below: format!("SIP/2.0/UDP {user}.invalid;branch=z9hG4bK{}", random.hex(6))
                .into_bytes(),
        });
        let has_flow = supports_outbound && random.chance(600);
        Habits {
            style: Style::random(random),
            request_uri: format!("sip:{}", random.pick(&[Plan::DOMAIN, "SIP.TEST", Plan::ALIAS]))
                .into_bytes(),
            to: format!("{scheme}:{written}@{domain}{params}").into_bytes(),
            sent_by_host,
            // RFC 3581: without rport an answer goes to the port of the sent-by.
            sent_by_port: if rport {
                random.pick(&[None, Some(5060), Some(5080)])
            } else {
                Some(seat.source.port())
            },
            rport,
            branches: if random.chance(60) { Branches::Old } else { Branches::Unique },
            lifetime_secs,
            lifetime_in_header: random.chance(500),
            refreshes: random.pick(&[1000, 700, 200]),
            repeats: if random.chance(200) { 300 } else { 0 },
            supports_path: random.chance(700),
            supports_outbound,
            flow: has_flow.then(|| {
                (
                    format!("<urn:uuid:{}>", random.hex(12)),
                    u32::try_from(random.within(1, 2)).unwrap(),
                )
            }),
            contacts: random.pick(&[1, 1, 1, 2, 3]),
            edge,
            user: user.to_owned(),
        }
    }

    /// The contacts that it wants bound from where it is now.
    pub(super) fn contacts(&self, seat: &Seat, random: &mut Random) -> Vec<Contact> {
        let count = if self.flow.is_some() { 1 } else { self.contacts };
        (0..count).map(|number| Contact::Address(self.contact(number, seat, random))).collect()
    }

    fn contact(&self, number: u64, seat: &Seat, random: &mut Random) -> Address {
        let host = if seat.is_behind_nat {
            format!("192.168.0.{}", random.within(1, 250))
        } else {
            bracketed(seat)
        };
        let line = random.pick(&["", ";transport=udp", ";line=a1b2c3", "?X=%20"]);
        let mut params = String::new();
        if let Some((instance, reg_id)) = &self.flow {
            params = format!(";+sip.instance=\"{instance}\";reg-id={reg_id}");
        } else if random.chance(200) {
            params = random.pick(&[";audio", ";methods=\"INVITE, BYE\"", ";+sip.ice"]).to_owned();
        }
        Address {
            uri: format!("sip:{}-{number}@{host}:{}{line}", self.user, random.within(1024, 65_535))
                .into_bytes(),
            params: params.into_bytes(),
            q: random.chance(300).then(|| u16::try_from(random.below(1001)).unwrap()),
            expires: None,
            instance: self.flow.as_ref().map(|(instance, _)| instance.clone().into_bytes()),
            reg_id: self.flow.as_ref().map(|(_, reg_id)| *reg_id),
        }
    }

    pub(super) fn forget_outbound(&mut self) {
        self.supports_outbound = false;
        self.flow = None;
    }

    pub(super) fn branch(&self, random: &mut Random) -> Vec<u8> {
        let cookie = match self.branches {
            Branches::Unique => "z9hG4bK",
            Branches::Old => "",
        };
        format!("{cookie}{}", random.hex(12)).into_bytes()
    }
}

fn bracketed(seat: &Seat) -> String {
    let ip = seat.source.ip();
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}
