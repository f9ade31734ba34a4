//! What a phone asks of others: client transactions, RFC 3261 17.1, registrations, calls that are placed, cancelled and acknowledged.

use super::super::message::{self, Message, uri_of};
use super::super::plan::Plan;
use super::{Dialog, DialogKey, Due, Key, LIFETIME, Phone, Placed, T1, T2, What};
use shards::io::Instant;
use std::rc::Rc;
use std::time::Duration;

/// A client transaction.
#[derive(Debug)]
pub(super) struct Client {
    request: Message,
    bytes: Rc<[u8]>,
    interval: Duration,
    state: State,
    is_cancel_wanted: bool,
    /// The ACK of a refusal.
    ack: Option<Rc<[u8]>>,
    dialog: Option<DialogKey>,
    /// When it is forgotten, at the earliest.
    ends_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Done,
}

impl Phone {
    /// Opens a client transaction with a request.
    pub(super) fn open(
        &mut self,
        now: Instant,
        key: Key,
        bytes: Rc<[u8]>,
        dialog: Option<DialogKey>,
    ) {
        let Some(request) = Message::read(&bytes) else { return };
        self.plan(now.plus(T1), Due::Repeat(key.clone()));
        self.plan(now.plus(LIFETIME), Due::GiveUp(key.clone()));
        self.send(Rc::clone(&bytes));
        let client = Client {
            request,
            bytes,
            interval: T1,
            state: State::Trying,
            is_cancel_wanted: false,
            ack: None,
            dialog,
            ends_at: now.plus(LIFETIME),
        };
        self.clients.insert(key, client);
    }

    pub(super) fn repeat(&mut self, now: Instant, key: &Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let is_invite = key.1 == "INVITE";
        client.interval = match client.state {
            // Timer A doubles, Timer E doubles up to T2.
            State::Trying if is_invite => client.interval * 2,
            State::Trying => (client.interval * 2).min(T2),
            State::Proceeding if !is_invite => T2,
            State::Proceeding | State::Done => return,
        };
        let (bytes, interval) = (Rc::clone(&client.bytes), client.interval);
        self.plan(now.plus(interval), Due::Repeat(key.clone()));
        self.send(bytes);
    }

    pub(super) fn give_up(&mut self, now: Instant, key: &Key) {
        let Some(client) = self.clients.get(key) else { return };
        if client.ends_at > now {
            return;
        }
        let Some(client) = self.clients.remove(key) else { return };
        if client.state != State::Done {
            self.ended(now, key, &client, None);
        }
    }

    /// A transaction has its final response, or will never have one.
    fn ended(&mut self, now: Instant, key: &Key, client: &Client, status: Option<u16>) {
        let is_within = client.dialog.is_some() && key.1 != "BYE";
        let method = if is_within { format!("in-dialog {}", key.1) } else { key.1.clone() };
        self.tell(client.request.call_id(), What::Final(method, status));
        match key.1.as_str() {
            "REGISTER" => {
                let next = if status == Some(200) {
                    self.registered_until = now.plus_secs(Plan::EXPIRES_SECS);
                    Duration::from_secs(15) + Duration::from_millis(self.random.below(5000))
                } else {
                    self.registration = (self.unique("reg"), 0);
                    Duration::from_secs(1)
                };
                self.plan(now.plus(next), Due::Register);
            }
            "BYE" => {
                if let Some(dialog) = &client.dialog {
                    self.dialogs.remove(dialog);
                }
            }
            _ => {}
        }
    }

    pub(super) fn register(&mut self, now: Instant) {
        let Some(q) = self.seat.q else { return };
        let branch = self.unique("z9hG4bK");
        let tag = self.unique("t");
        let (call_id, cseq) = &mut self.registration;
        *cseq += 1;
        let (call_id, cseq) = (call_id.clone(), *cseq);
        let headers = [
            ("Via", self.via(&branch)),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{};tag={tag}", self.address())),
            ("To", self.address()),
            ("Call-ID", call_id),
            ("CSeq", format!("{cseq} REGISTER")),
            ("Contact", format!("{};q={}.{:03}", self.contact(), q / 1000, q % 1000)),
            ("Expires", Plan::EXPIRES_SECS.to_string()),
        ];
        let first = format!("REGISTER sip:{} SIP/2.0", self.seat.domain);
        let bytes = message::write(&first, &headers, "").into();
        self.open(now, (branch, "REGISTER".to_owned()), bytes, None);
    }

    /// Calls somebody, as one does.
    pub(super) fn place_any(&mut self, now: Instant) {
        let peers = Rc::clone(&self.peers);
        let target = self.random.pick(&peers);
        let method = match self.random.below(20) {
            0 => "OPTIONS",
            1 | 2 => "MESSAGE",
            _ => "INVITE",
        };
        let cancelled = method == "INVITE" && self.random.chance(self.cancelled);
        let after = match self.random.below(4) {
            0 => Duration::from_millis(self.random.below(20)),
            1 => Duration::from_millis(self.random.below(600)),
            _ => self.random.exponential(Duration::from_secs(2)),
        };
        let hangs_up = match self.random.below(10) {
            0..3 => Some(Duration::from_millis(self.random.below(1500))),
            3..7 => Some(self.random.exponential(Duration::from_secs(10))),
            _ => None,
        };
        self.place(now, method, &target, None, cancelled.then_some(after), hangs_up);
    }

    /// Sends a request to a user, and gives its Call-ID. Whoever is asked does what is wished, if anything is.
    pub fn place(
        &mut self,
        now: Instant,
        method: &str,
        target: &str,
        wish: Option<&str>,
        cancel_after: Option<Duration>,
        hangs_up_after: Option<Duration>,
    ) -> String {
        let (call_id, tag) = (self.unique("call"), self.unique("t"));
        let branch = self.unique("z9hG4bK");
        let mut headers = vec![
            ("Via", self.via(&branch)),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{};tag={tag}", self.address())),
            ("To", format!("<{target}>")),
            ("Call-ID", call_id.clone()),
            ("CSeq", format!("1 {method}")),
            ("Contact", self.contact()),
        ];
        if let Some(wish) = wish {
            headers.push(("X-Wish", wish.to_owned()));
        }
        let bytes = message::write(&format!("{method} {target} SIP/2.0"), &headers, "v=0\r\n");
        let key = (branch, method.to_owned());
        if method == "INVITE" {
            let placed = Placed { hangs_up_after, ..Placed::default() };
            self.calls.insert(call_id.clone(), placed);
            if let Some(after) = cancel_after {
                self.plan(now.plus(after), Due::Cancel(key.clone()));
            }
        }
        self.open(now, key, bytes.into(), None);
        call_id
    }

    pub(super) fn cancel_due(&mut self, now: Instant, key: &Key) {
        // Some do not wait for a provisional response, whatever RFC 3261 9.1 says.
        let is_rude = self.random.chance(150);
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.state {
            State::Trying if !is_rude => client.is_cancel_wanted = true,
            State::Trying | State::Proceeding => self.cancel(now, key),
            State::Done => {}
        }
    }

    /// Cancels, RFC 3261 9.1.
    fn cancel(&mut self, now: Instant, key: &Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.is_cancel_wanted = true;
        // RFC 3261 9.1, and as long again for whoever is on the way.
        client.ends_at = now.plus(LIFETIME * 2);
        let bytes = derived(&client.request, "CANCEL", None);
        let call_id = client.request.call_id().to_owned();
        if let Some(placed) = self.calls.get_mut(&call_id) {
            placed.is_cancelled = true;
        }
        self.plan(now.plus(LIFETIME * 2), Due::GiveUp(key.clone()));
        self.open(now, (key.0.clone(), "CANCEL".to_owned()), bytes, None);
    }

    pub(super) fn response(&mut self, now: Instant, message: &Message, status: u16) {
        let Some((_, method)) = message.cseq() else { return };
        let key = (message.branch(), method.to_owned());
        if method == "INVITE" && (200..300).contains(&status) {
            self.accepted(now, &key, message);
            return;
        }
        let Some(client) = self.clients.get_mut(&key) else { return };
        if status < 200 {
            if client.state == State::Trying {
                client.state = State::Proceeding;
                if method == "INVITE" {
                    // Only the callee or the proxy ends what rings; after ten minutes nobody believes in it any more.
                    client.ends_at = now.plus(LIFETIME * 20);
                    self.plan(now.plus(LIFETIME * 20), Due::GiveUp(key.clone()));
                }
                let Some(client) = self.clients.get(&key) else { return };
                if client.is_cancel_wanted {
                    self.cancel(now, &key);
                }
            }
            return;
        }
        let was_done = std::mem::replace(&mut client.state, State::Done) == State::Done;
        if method == "INVITE" {
            let to = message.header("To").map(str::to_owned);
            let ack = client.ack.get_or_insert_with(|| derived(&client.request, "ACK", to));
            let ack = Rc::clone(ack);
            self.send(ack);
        }
        if !was_done {
            self.done(now, &key, status);
        }
    }

    /// A transaction has got its first final response: it stays to absorb others.
    fn done(&mut self, now: Instant, key: &Key, status: u16) {
        if let Some(mut client) = self.clients.remove(key) {
            self.ended(now, key, &client, Some(status));
            client.ends_at = now.plus(LIFETIME);
            self.clients.insert(key.clone(), client);
            self.plan(now.plus(LIFETIME), Due::GiveUp(key.clone()));
        }
    }

    /// Somebody has accepted an INVITE; RFC 3261 13.2.2.4: each 2xx is acknowledged, each time it comes.
    fn accepted(&mut self, now: Instant, key: &Key, message: &Message) {
        let (Some(own), Some(other)) = (message.tag("From"), message.tag("To")) else { return };
        let call_id = message.call_id().to_owned();
        let dialog_key = (call_id.clone(), own, other.clone());
        let Some((cseq, _)) = message.cseq() else { return };
        let Some(client) = self.clients.get_mut(key) else {
            self.acknowledge(&dialog_key, cseq);
            return;
        };
        let was_done = std::mem::replace(&mut client.state, State::Done) == State::Done;
        if client.dialog.is_none() && !self.dialogs.contains_key(&dialog_key) {
            let mut routes = message.values("Record-Route");
            routes.reverse();
            let dialog = Dialog {
                from: message.header("From").unwrap_or_default().to_owned(),
                to: message.header("To").unwrap_or_default().to_owned(),
                target: uri_of(message.header("Contact").unwrap_or_default()),
                routes,
                cseq,
                ack: None,
                is_confirmed: true,
                is_ending: false,
                hangs_up_after: None,
            };
            let placed = self.calls.entry(call_id).or_default();
            let is_wanted = !placed.is_cancelled && placed.accepted.is_none();
            let hangs_up_after = placed.hangs_up_after;
            placed.accepted.get_or_insert(other);
            if self.is_new(&dialog_key, message) {
                self.dialogs.insert(dialog_key.clone(), dialog);
                self.acknowledge(&dialog_key, cseq);
                if is_wanted {
                    self.talk(now, &dialog_key, hangs_up_after);
                } else {
                    // One is enough, and who has hung up does not want any.
                    self.hang_up(now, &dialog_key);
                }
            }
        } else {
            self.acknowledge(&dialog_key, cseq);
        }
        if !was_done {
            self.done(now, key, message.status().unwrap_or(200));
        }
    }

    /// Whether a 2xx makes a dialog that this phone has not ended already.
    fn is_new(&self, key: &DialogKey, message: &Message) -> bool {
        let is_bye = |client: &Client| client.dialog.as_ref() == Some(key);
        !self.clients.values().any(is_bye) && message.header("Contact").is_some()
    }

    pub(super) fn talk(&mut self, now: Instant, key: &DialogKey, hangs_up_after: Option<Duration>) {
        if let Some(after) = hangs_up_after {
            self.plan(now.plus(after), Due::HangUp(key.clone()));
        }
        if self.random.chance(300) {
            let after = self.random.exponential(Duration::from_secs(3));
            self.plan(now.plus(after), Due::Ask(key.clone()));
        }
    }

    /// Sends the ACK of a 2xx, a new one or again.
    fn acknowledge(&mut self, key: &DialogKey, cseq: u32) {
        let branch = self.unique("z9hG4bK");
        let Some(dialog) = self.dialogs.get(key) else { return };
        let known = dialog.ack.as_ref().filter(|(number, _)| *number == cseq);
        let ack = known.map_or_else(
            || self.within(dialog, &key.0, "ACK", cseq, &branch),
            |(_, ack)| Rc::clone(ack),
        );
        if let Some(dialog) = self.dialogs.get_mut(key) {
            dialog.ack = Some((cseq, Rc::clone(&ack)));
        }
        self.send(ack);
    }
}

/// The CANCEL of an INVITE, or the ACK of a refusal with its To: RFC 3261 9.1 and 17.1.1.3.
fn derived(invite: &Message, method: &str, to: Option<String>) -> Rc<[u8]> {
    let uri = match &invite.start {
        message::Start::Request { uri, .. } => uri.clone(),
        message::Start::Response { .. } => String::new(),
    };
    let header = |name: &str| invite.header(name).unwrap_or_default().to_owned();
    let (number, _) = invite.cseq().unwrap_or((0, ""));
    let mut headers = vec![("Via", header("Via")), ("Max-Forwards", "70".to_owned())];
    headers.extend(invite.values("Route").into_iter().map(|route| ("Route", route)));
    headers.push(("From", header("From")));
    headers.push(("To", to.unwrap_or_else(|| header("To"))));
    headers.push(("Call-ID", header("Call-ID")));
    headers.push(("CSeq", format!("{number} {method}")));
    message::write(&format!("{method} {uri} SIP/2.0"), &headers, "").into()
}
