//! A user agent that means well: it registers, refreshes, moves, is switched off and on again, and waits for answers as RFC 3261
//! says. It sees nothing of the node but the datagrams that reach it.

mod account;
mod habits;
pub mod hostile;
mod intruder;
pub mod response;
pub mod transaction;

use super::credentials::Authorization;
use super::directory::Directory;
use super::message::{Contact, List, Register, Via};
use super::network::Packet;
use super::plan::Plan;
use super::random::Random;
use account::Account;
use habits::Habits;
use response::Response;
use shards::io::{Instant, LocalAddr};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use transaction::{Due, Transaction};

/// Where a user agent is.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// The network it is in.
    pub group: usize,
    /// Its address as the node sees it.
    pub source: SocketAddr,
    /// The node's address that it knows.
    pub node: LocalAddr,
    /// Whether others share its address, and only the port tells them apart.
    pub is_behind_nat: bool,
}

/// The ports behind a NAT: each user agent has every so many-th.
pub const FIRST_PORT: u16 = 10_000;
/// How far apart the ports of one user agent are.
pub const PORT_STRIDE: u16 = 5_000;

/// One user agent.
#[derive(Debug)]
pub struct UserAgent {
    /// The user of its address-of-record.
    pub user: String,
    /// Where it is.
    pub seat: Seat,
    /// What was noted of its decisions since the last time.
    pub notes: Vec<String>,
    random: Random,
    habits: Habits,
    /// How it shows who it is, where that is asked.
    account: Option<Account>,
    /// What it was challenged for, and asks for again.
    again: Option<Wish>,
    mode: Mode,
    pause: Duration,
    call_id: Vec<u8>,
    cseq: u32,
    from_tag: Vec<u8>,
    /// What it wants to be reached at. Each knows until when it is bound, as far as the node has said.
    contacts: Vec<(Contact, Instant)>,
    transaction: Option<(Transaction, Wish)>,
    /// When it does something of its own accord.
    act_at: Instant,
    /// Refusals in a row.
    refusals: u32,
    /// Its address-of-record has contacts that are no user agent's of it.
    sees_strangers: bool,
    /// A datagram that it sends once more although it was answered.
    echo: Option<(Instant, Packet)>,
}

/// How a user agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It does this and that.
    Lively,
    /// It wants to be registered and to stay so.
    Settled,
    /// It wants its bindings removed.
    Leaving,
    /// It is switched off.
    Silent,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Its contacts, bound.
    Bind,
    /// To know.
    Query,
    /// One contact less.
    RemoveOne,
    /// Its own contacts gone.
    RemoveOwn,
    /// All bindings of the address-of-record gone.
    RemoveAll,
    /// To see whether the node lives.
    Options,
}

impl UserAgent {
    /// A user agent that has not done anything yet.
    #[must_use]
    pub fn new(user: String, seat: Seat, plan: &Plan, mut random: Random) -> Self {
        let habits = Habits::random(&user, &seat, &mut random);
        let contacts = habits
            .contacts(&seat, &mut random)
            .into_iter()
            .map(|contact| (contact, Instant::START));
        let contacts = contacts.collect();
        let account = plan
            .digest
            .is_some()
            .then(|| Account::random(&user, Directory::password(&user, 0), &mut random));
        let start = random.below(u64::try_from(plan.pause.as_nanos()).unwrap() + 1);
        let mut agent = UserAgent {
            user,
            seat,
            notes: Vec::new(),
            habits,
            account,
            again: None,
            mode: Mode::Lively,
            pause: plan.pause,
            call_id: Vec::new(),
            cseq: 0,
            from_tag: random.hex(8).into_bytes(),
            contacts,
            transaction: None,
            act_at: Instant::from_nanos(start),
            refusals: 0,
            sees_strangers: false,
            echo: None,
            random,
        };
        agent.begin_call();
        agent
    }

    /// When it wants to be woken; `None` where it waits for nothing.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let transaction = self.transaction.as_ref().map(|(transaction, _)| transaction.deadline());
        let echo = self.echo.as_ref().map(|(at, _)| *at);
        let act = if self.transaction.is_none() && self.mode != Mode::Silent {
            Some(self.act_at)
        } else {
            None
        };
        [transaction, echo, act].into_iter().flatten().min()
    }

    /// Lets time pass; what is to be sent goes into `out`.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<Packet>) {
        if let Some((_, packet)) = self.echo.take_if(|(at, _)| *at <= now) {
            out.push(packet);
        }
        if let Some((transaction, _)) = &mut self.transaction {
            match transaction.wake(now) {
                Due::Nothing => {}
                Due::Send => out.push(transaction.packet.clone()),
                Due::GiveUp => {
                    self.transaction = None;
                    self.act_at = now.plus(self.back_off());
                }
            }
        } else if self.mode != Mode::Silent && self.act_at <= now {
            self.act(now, out);
        }
    }

    /// Takes a datagram from the node.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(response) = Response::read(bytes) else { return };
        // RFC 3261 17.1.3: by branch and method; the number of the CSeq tells one REGISTER of a poor branch from the next.
        let is_ours = |(transaction, _): &mut (Transaction, Wish)| {
            transaction.branch == response.branch && transaction.cseq == response.cseq
        };
        let Some((transaction, wish)) = self.transaction.take_if(is_ours) else { return };
        if self.random.chance(self.habits.repeats) {
            // Its answer came too late for a copy that is on its way.
            let at = now.plus(self.random.exponential(Duration::from_secs(5)));
            self.echo = Some((at, transaction.packet));
        }
        self.answered(now, wish, &response);
    }

    /// It is told its password.
    pub fn is_told(&mut self, password: String) {
        if let Some(account) = &mut self.account {
            account.is_told(password);
        }
    }

    /// From now on it only wants to be registered.
    pub fn settle(&mut self, now: Instant) {
        self.mode = Mode::Settled;
        self.again = None;
        self.refusals = 0;
        // A lifetime near a round trip is not kept on any network.
        self.habits.lifetime_secs = self.habits.lifetime_secs.map(|secs| secs.max(60));
        self.act_at = now.plus(Duration::from_millis(self.random.below(5_000)));
    }

    /// From now on it only wants to be gone: politely, or it is just switched off.
    pub fn leave(&mut self, now: Instant) {
        self.echo = None;
        self.again = None;
        self.refusals = 0;
        if self.random.chance(500) {
            self.mode = Mode::Leaving;
            self.act_at = now.plus(Duration::from_millis(self.random.below(5_000)));
        } else {
            self.mode = Mode::Silent;
            self.transaction = None;
        }
    }

    /// Whether the node has told it that all of its contacts are bound.
    #[must_use]
    pub fn is_registered(&self, now: Instant) -> bool {
        self.contacts.iter().all(|(_, until)| *until > now)
    }

    /// Whether it waits for nothing any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.mode == Mode::Silent
    }

    /// The URIs of its contacts.
    pub fn contacts(&self) -> impl Iterator<Item = &[u8]> {
        self.contacts.iter().filter_map(|(contact, _)| match contact {
            Contact::Address(address) => Some(&address.uri[..]),
            Contact::Star => None,
        })
    }

    /// Does what it feels like.
    fn act(&mut self, now: Instant, out: &mut Vec<Packet>) {
        let wish = match (self.again.take(), self.mode) {
            (Some(wish), Mode::Lively | Mode::Settled | Mode::Leaving) => wish,
            (None, Mode::Lively) => self.whim(),
            // Somebody else fills its address-of-record.
            (None, Mode::Settled) if self.refusals % 3 == 2 || self.sees_strangers => {
                Wish::RemoveAll
            }
            (None, Mode::Settled) => Wish::Bind,
            (None, Mode::Leaving) if self.refusals % 3 == 2 => Wish::RemoveAll,
            (None, Mode::Leaving) => Wish::RemoveOwn,
            (_, Mode::Silent) => return,
        };
        let packet = match wish {
            Wish::Options => self.options(now),
            Wish::Bind | Wish::Query | Wish::RemoveOne | Wish::RemoveOwn | Wish::RemoveAll => {
                self.register(now, wish)
            }
        };
        out.push(packet);
    }

    fn whim(&mut self) -> Wish {
        match self.random.below(100) {
            0..4 => {
                // Switched off and on again: the call is another one, and often the contact, too.
                self.begin_call();
                if self.random.chance(500) {
                    self.renew_contacts();
                }
                Wish::Bind
            }
            4..8 => {
                if self.seat.is_behind_nat {
                    // The NAT has forgotten it, and gives it another port, which no other user agent ever has.
                    let own = (self.seat.source.port() - FIRST_PORT) % PORT_STRIDE;
                    let turn = u16::try_from(self.random.within(1, 10)).unwrap();
                    self.seat.source.set_port(FIRST_PORT + turn * PORT_STRIDE + own);
                    self.notes.push(format!("{} moves to {}", self.user, self.seat.source));
                }
                Wish::Bind
            }
            8..16 => Wish::Query,
            16..22 => Wish::RemoveOne,
            22..26 => Wish::RemoveOwn,
            26..30 => Wish::RemoveAll,
            30..34 => Wish::Options,
            _ => Wish::Bind,
        }
    }

    fn begin_call(&mut self) {
        self.call_id = format!("{}@{}", self.random.hex(16), self.habits.sent_by_host).into_bytes();
        self.cseq = match self.random.below(20) {
            0 => 0,
            // RFC 3261 8.1.1.5: less than 2^31; soon it needs another Call-ID.
            1 => (1 << 31) - 4,
            2 => u32::try_from(self.random.below(1 << 31)).unwrap(),
            _ => 1,
        };
    }

    fn renew_contacts(&mut self) {
        let contacts = self.habits.contacts(&self.seat, &mut self.random);
        self.contacts = contacts.into_iter().map(|contact| (contact, Instant::START)).collect();
    }

    fn next_cseq(&mut self) -> u32 {
        if self.cseq == (1 << 31) - 1 {
            self.begin_call();
        }
        self.cseq += 1;
        self.cseq
    }

    /// Starts a REGISTER.
    fn register(&mut self, now: Instant, wish: Wish) -> Packet {
        let cseq = self.next_cseq();
        let (contacts, expires) = self.wished(wish);
        let branch = self.habits.branch(&mut self.random);
        let habits = &self.habits;
        let blunders = self.mode == Mode::Lively;
        let authorization = match &mut self.account {
            Some(account) => account.answer(&habits.request_uri, blunders, &mut self.random),
            None => Authorization::Nothing,
        };
        let mut supported: Vec<Vec<u8>> = Vec::new();
        supported.extend(habits.supports_path.then(|| b"path".to_vec()));
        supported.extend(habits.supports_outbound.then(|| b"outbound".to_vec()));
        let register = Register {
            request_uri: habits.request_uri.clone(),
            to: habits.to.clone(),
            from: habits.to.clone(),
            from_tag: self.from_tag.clone(),
            call_id: self.call_id.clone(),
            cseq,
            via: Via {
                host: habits.sent_by_host.clone().into_bytes(),
                port: habits.sent_by_port,
                branch: Some(branch.clone()),
                rport: habits.rport,
            },
            vias_below: List::of(habits.edge.iter().map(|edge| edge.via_below.clone()).collect()),
            contacts: List::of(contacts),
            expires,
            path: List::of(habits.edge.iter().map(|edge| edge.path.clone()).collect()),
            require: List::default(),
            supported: List::of(supported),
            authorization,
        };
        let bytes = register.write(&habits.style, &mut self.random);
        self.send(now, wish, bytes, Some(register), branch, cseq)
    }

    /// The contacts of a REGISTER, and its Expires.
    fn wished(&mut self, wish: Wish) -> (Vec<Contact>, Option<u32>) {
        let lifetime = self.habits.lifetime_secs;
        let in_header = self.habits.lifetime_in_header;
        let own = |expires: Option<u32>| -> Vec<Contact> {
            let contacts = self.contacts.iter().map(|(contact, _)| contact.clone());
            contacts.map(|contact| with_expires(contact, expires)).collect()
        };
        match wish {
            Wish::Bind => match lifetime {
                Some(_) if in_header => (own(None), lifetime),
                Some(_) | None => (own(lifetime), None),
            },
            Wish::Query | Wish::Options => (Vec::new(), None),
            Wish::RemoveAll => (vec![Contact::Star], Some(0)),
            Wish::RemoveOwn if in_header => (own(None), Some(0)),
            Wish::RemoveOwn => (own(Some(0)), None),
            Wish::RemoveOne => {
                let one = self.random.index(self.contacts.len());
                (vec![with_expires(self.contacts[one].0.clone(), Some(0))], lifetime)
            }
        }
    }

    fn options(&mut self, now: Instant) -> Packet {
        let cseq = self.next_cseq();
        let branch = [b"z9hG4bK", self.random.hex(12).as_bytes()].concat();
        let habits = &self.habits;
        let port = habits.sent_by_port.map(|port| format!(":{port}")).unwrap_or_default();
        let rport = if habits.rport { ";rport" } else { "" };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let bytes = format!(
            "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {}{port};branch={}{rport}\r\nMax-Forwards: 70\r\nFrom: <{to}>;tag={}\r\n\
             To: <sip:{}>\r\nCall-ID: {}\r\nCSeq: {cseq} OPTIONS\r\nContent-Length: 0\r\n\r\n",
            Plan::DOMAIN,
            habits.sent_by_host,
            text(&branch),
            text(&self.from_tag),
            Plan::DOMAIN,
            text(&self.call_id),
            to = text(&habits.to),
        );
        self.send(now, Wish::Options, bytes.into_bytes(), None, branch, cseq)
    }

    fn send(
        &mut self,
        now: Instant,
        wish: Wish,
        bytes: Vec<u8>,
        meant: Option<Register>,
        branch: Vec<u8>,
        cseq: u32,
    ) -> Packet {
        let Seat { group, source, node, .. } = self.seat;
        let packet = Packet {
            from: source,
            to: node,
            bytes: bytes.into(),
            meant: meant.map(Rc::new),
            group,
        };
        self.transaction = Some((Transaction::new(now, packet.clone(), branch, cseq), wish));
        packet
    }

    /// Draws its conclusions from a final response.
    fn answered(&mut self, now: Instant, wish: Wish, response: &Response) {
        match response.status {
            401 => {
                let is_answered =
                    self.account.as_mut().is_some_and(|account| account.is_challenged(response));
                self.again = is_answered.then_some(wish);
                self.act_at = if is_answered { now } else { now.plus(self.back_off()) };
            }
            200 => {
                self.refusals = 0;
                if let Some(account) = self.account.as_mut().filter(|_| wish != Wish::Options) {
                    account.is_known();
                }
                if wish == Wish::Bind || wish == Wish::Query {
                    self.learn(now, response);
                } else if wish != Wish::Options {
                    self.sees_strangers = false;
                    self.contacts.iter_mut().for_each(|(_, until)| *until = Instant::START);
                }
                if self.mode == Mode::Leaving
                    && (wish == Wish::RemoveOwn || wish == Wish::RemoveAll)
                {
                    self.mode = Mode::Silent;
                }
                self.act_at = now.plus(self.rest(now));
            }
            status => {
                self.refusals += 1;
                match status {
                    423 => self.habits.lifetime_secs = response.min_expires.or(Some(60)),
                    420 => self.habits.supports_path = true,
                    439 => self.habits.forget_outbound(),
                    // Whoever has taken its call: it begins another.
                    500 => self.begin_call(),
                    _ => {}
                }
                if status == 439 {
                    self.renew_contacts();
                }
                // RFC 3261 21.5.4: a server that can't asks to be left alone for a while.
                let patience = if status == 503 { 5 } else { 1 };
                self.act_at = now.plus(self.back_off() * patience);
            }
        }
    }

    /// Remembers what a 200 lists of its own, and whether it lists what it should not.
    fn learn(&mut self, now: Instant, response: &Response) {
        let own = format!("sip:{}-", self.user).into_bytes();
        let mut uris = response.contacts.iter().filter_map(|line| Response::listed(line));
        self.sees_strangers = uris.any(|(uri, _)| !uri.starts_with(&own));
        for (contact, until) in &mut self.contacts {
            let Contact::Address(own) = contact else { continue };
            let listed = response.contacts.iter().filter_map(|line| Response::listed(line));
            let secs = listed.filter(|(uri, _)| *uri == own.uri).map(|(_, secs)| secs).max();
            *until = secs.map_or(Instant::START, |secs| now.plus_secs(secs));
        }
    }

    /// How long it rests after a 200.
    fn rest(&mut self, now: Instant) -> Duration {
        if self.mode == Mode::Leaving {
            return Duration::from_millis(200);
        }
        if self.mode == Mode::Settled {
            if !self.is_registered(now) {
                return Duration::from_millis(200);
            }
            let first = self.contacts.iter().map(|(_, until)| until.since(now)).min();
            return (first.unwrap_or_default() / 2).min(Duration::from_secs(20));
        }
        if self.mode == Mode::Lively && self.random.chance(self.habits.refreshes) {
            let first = self.contacts.iter().map(|(_, until)| until.since(now)).min();
            return (first.unwrap_or_default() * 3 / 4).clamp(Duration::from_secs(1), self.pause);
        }
        self.random.exponential(self.pause)
    }

    fn back_off(&mut self) -> Duration {
        Duration::from_millis(self.random.within(200, 3_000))
    }
}

fn with_expires(contact: Contact, expires: Option<u32>) -> Contact {
    match contact {
        Contact::Address(address) => {
            Contact::Address(super::message::Address { expires, ..address })
        }
        Contact::Star => Contact::Star,
    }
}
