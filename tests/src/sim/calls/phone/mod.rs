//! A phone: it registers, calls others and is called, with the transactions and dialogs that RFC 3261 asks of a user agent on UDP. It
//! sees nothing of the world but what it receives, and tells what became of its calls as facts.

mod callee;
mod caller;

use super::message::{self, Message, Start};
use super::plan::Plan;
use crate::sim::network::Packet;
use crate::sim::random::Random;
use callee::Server;
use caller::Client;
use shards::io::{Instant, LocalAddr};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// RFC 3261 17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 17.1.2.1.
const T2: Duration = Duration::from_secs(4);
/// Timers B, D, F, H, J, L and M.
const LIFETIME: Duration = Duration::from_secs(32);

/// Where a phone is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Whose phone it is.
    pub user: String,
    /// The domain of the user.
    pub domain: &'static str,
    /// The address that others see.
    pub source: SocketAddr,
    /// The address that it knows of itself.
    pub own: SocketAddr,
    /// The address of the node that it sends to.
    pub node: LocalAddr,
    /// The network it is in.
    pub group: usize,
    /// Its preference in thousandths, where it registers.
    pub q: Option<u16>,
}

/// What a phone saw happen to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The call.
    pub call_id: String,
    /// What.
    pub what: What,
}

/// What can happen to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A request of this method has got its final response; none where nobody has answered in time.
    Final(String, Option<u16>),
    /// The callee got the ACK of its final response.
    Acknowledged(u16),
    /// The callee never got it.
    Unacknowledged(u16),
    /// The callee still rings.
    RingsOn,
}

/// A transaction: its branch and its method.
type Key = (String, String);
/// A dialog: its Call-ID, the own and the other tag.
pub type DialogKey = (String, String, String);

/// What a phone will do.
#[derive(Clone, Debug)]
enum Due {
    Register,
    Place,
    /// Timer A or E.
    Repeat(Key),
    /// Timer B or F, and the end of what was answered.
    GiveUp(Key),
    Cancel(Key),
    /// Timer G, and a 2xx until its ACK.
    RepeatResponse(Key),
    /// Timer H, I or J.
    EndServer(Key),
    /// The callee says something.
    Say(Key, u16),
    HangUp(DialogKey),
    Ask(DialogKey),
}

/// A dialog, RFC 3261 12.
#[derive(Clone, Debug)]
struct Dialog {
    /// From and To of what this side sends.
    from: String,
    to: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    /// The ACK that was sent last, and its number.
    ack: Option<(u32, Rc<[u8]>)>,
    is_confirmed: bool,
    is_ending: bool,
    hangs_up_after: Option<Duration>,
}

/// A phone.
#[derive(Debug)]
pub struct Phone {
    /// Where it is.
    pub seat: Seat,
    /// What it saw since it was last asked.
    pub facts: Vec<Fact>,
    random: Random,
    /// Whom it calls when nobody tells it whom.
    peers: Rc<Vec<String>>,
    pause: Duration,
    cancelled: u32,
    is_calling: bool,
    /// Counts everything that has to be unique.
    made: u64,
    registration: (String, u32),
    registered_until: Instant,
    clients: BTreeMap<Key, Client>,
    servers: BTreeMap<Key, Server>,
    dialogs: BTreeMap<DialogKey, Dialog>,
    /// By Call-ID: the tag of whoever accepted first, where somebody has.
    calls: BTreeMap<String, Placed>,
    agenda: BTreeMap<(Instant, u64), Due>,
    out: Vec<Packet>,
}

/// A call that was placed.
#[derive(Clone, Debug, Default)]
struct Placed {
    accepted: Option<String>,
    is_cancelled: bool,
    hangs_up_after: Option<Duration>,
}

impl Phone {
    /// A phone that begins to register at once, and to call after a while.
    #[must_use]
    pub fn new(seat: Seat, plan: &Plan, peers: Rc<Vec<String>>, random: Random) -> Self {
        let mut phone = Phone {
            seat,
            facts: Vec::new(),
            random,
            peers,
            pause: plan.pause,
            cancelled: plan.cancelled,
            is_calling: true,
            made: 0,
            registration: (String::new(), 0),
            registered_until: Instant::START,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            calls: BTreeMap::new(),
            agenda: BTreeMap::new(),
            out: Vec::new(),
        };
        phone.begin(Instant::START);
        phone
    }

    /// Starts with nothing.
    fn begin(&mut self, now: Instant) {
        self.registration = (self.unique("reg"), 0);
        self.registered_until = now;
        let soon = Duration::from_millis(self.random.below(1000));
        self.plan(now.plus(soon), Due::Register);
        self.plan_call(now.plus(Duration::from_secs(2)));
    }

    /// Has lost all that it knew.
    pub fn reboot(&mut self, now: Instant) {
        self.clients.clear();
        self.servers.clear();
        self.dialogs.clear();
        self.calls.clear();
        self.agenda.clear();
        self.begin(now);
    }

    /// Places no further calls by itself.
    pub fn calm(&mut self) {
        self.is_calling = false;
    }

    /// Whether its last REGISTER was answered well enough.
    #[must_use]
    pub fn is_registered(&self, now: Instant) -> bool {
        self.seat.q.is_none() || self.registered_until > now
    }

    /// The dialogs in which both sides have all they need, as far as this one knows.
    pub fn confirmed(&self) -> impl Iterator<Item = &DialogKey> {
        let is_on = |dialog: &Dialog| dialog.is_confirmed && !dialog.is_ending;
        self.dialogs.iter().filter(move |(_, dialog)| is_on(dialog)).map(|(key, _)| key)
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Does what is due, and gives what it sends.
    pub fn wake(&mut self, now: Instant) -> Vec<Packet> {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let due = entry.remove();
            self.happen(now, due);
        }
        std::mem::take(&mut self.out)
    }

    /// Takes a datagram, and gives what it sends.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Packet> {
        if let Some(message) = Message::read(bytes) {
            match &message.start {
                Start::Response { status } => self.response(now, &message, *status),
                Start::Request { method, .. } => self.request(now, method, &message),
            }
        }
        std::mem::take(&mut self.out)
    }

    fn happen(&mut self, now: Instant, due: Due) {
        match due {
            Due::Register => self.register(now),
            Due::Place => {
                if self.is_calling {
                    self.place_any(now);
                    self.plan_call(now);
                }
            }
            Due::Repeat(key) => self.repeat(now, &key),
            Due::GiveUp(key) => self.give_up(now, &key),
            Due::Cancel(key) => self.cancel_due(now, &key),
            Due::RepeatResponse(key) => self.repeat_response(now, &key),
            Due::EndServer(key) => self.end_server(now, &key),
            Due::Say(key, status) => self.say(now, &key, status),
            Due::HangUp(key) => {
                self.hang_up(now, &key);
            }
            Due::Ask(key) => self.ask(now, &key),
        }
    }

    fn plan_call(&mut self, now: Instant) {
        if self.is_calling {
            let pause = self.random.exponential(self.pause);
            self.plan(now.plus(pause), Due::Place);
        }
    }

    fn plan(&mut self, at: Instant, due: Due) {
        self.made += 1;
        self.agenda.insert((at, self.made), due);
    }

    fn unique(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}{}x{}x{}", self.seat.source.port(), self.made, self.random.hex(8))
    }

    fn send(&mut self, bytes: Rc<[u8]>) {
        let Seat { source, node, group, .. } = self.seat;
        self.out.push(Packet { from: source, to: node, bytes, meant: None, group });
    }

    fn tell(&mut self, call_id: &str, what: What) {
        self.facts.push(Fact { call_id: call_id.to_owned(), what });
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.seat.user, self.seat.own)
    }

    fn address(&self) -> String {
        format!("<sip:{}@{}>", self.seat.user, self.seat.domain)
    }

    fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch={branch};rport", self.seat.own)
    }

    /// A request within a dialog, RFC 3261 12.2.1.1.
    fn within(
        &self,
        dialog: &Dialog,
        call_id: &str,
        method: &str,
        cseq: u32,
        branch: &str,
    ) -> Rc<[u8]> {
        let mut headers = vec![("Via", self.via(branch)), ("Max-Forwards", "70".to_owned())];
        headers.extend(dialog.routes.iter().map(|route| ("Route", route.clone())));
        headers.push(("From", dialog.from.clone()));
        headers.push(("To", dialog.to.clone()));
        headers.push(("Call-ID", call_id.to_owned()));
        headers.push(("CSeq", format!("{cseq} {method}")));
        headers.push(("Contact", self.contact()));
        message::write(&format!("{method} {} SIP/2.0", dialog.target), &headers, "").into()
    }

    /// Sends a request within a dialog.
    fn send_within(&mut self, now: Instant, key: &DialogKey, method: &str) -> bool {
        let branch = self.unique("z9hG4bK");
        let Some(dialog) = self.dialogs.get_mut(key) else { return false };
        dialog.cseq += 1;
        let dialog = dialog.clone();
        let bytes = self.within(&dialog, &key.0, method, dialog.cseq, &branch);
        self.open(now, (branch, method.to_owned()), bytes, Some(key.clone()));
        true
    }

    /// Hangs up; false where there is nothing to hang up.
    pub fn hang_up(&mut self, now: Instant, key: &DialogKey) -> bool {
        let Some(dialog) = self.dialogs.get_mut(key).filter(|dialog| !dialog.is_ending) else {
            return false;
        };
        dialog.is_ending = true;
        self.send_within(now, key, "BYE")
    }

    /// Says something else within a dialog.
    fn ask(&mut self, now: Instant, key: &DialogKey) {
        if self.dialogs.get(key).is_some_and(|dialog| dialog.is_confirmed && !dialog.is_ending) {
            let method = self.random.pick(&["MESSAGE", "UPDATE", "INVITE", "INFO", "X-ASK"]);
            self.send_within(now, key, method);
        }
    }
}
