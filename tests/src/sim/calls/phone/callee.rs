//! What others ask of a phone: server transactions, RFC 3261 17.2, and whether it answers, refuses, rings on or says nothing.

use super::super::message::{self, Message, uri_of};
use super::{Dialog, DialogKey, Due, Fact, Key, LIFETIME, Phone, T1, T2, What};
use shards::io::Instant;
use std::rc::Rc;
use std::time::Duration;

/// A server transaction.
#[derive(Debug)]
pub(super) struct Server {
    request: Message,
    to_tag: String,
    last: Option<Rc<[u8]>>,
    /// The status of the final response, 0 before it.
    status: u16,
    is_acknowledged: bool,
    interval: Duration,
}

impl Server {
    fn begins_call(&self) -> bool {
        self.request.tag("To").is_none()
    }
}

impl Phone {
    pub(super) fn request(&mut self, now: Instant, method: &str, message: &Message) {
        let branch = message.branch();
        match method {
            "ACK" => self.acknowledged(now, branch, message),
            "CANCEL" => self.cancelled(now, branch, message),
            _ => self.begun(now, &(branch, method.to_owned()), message),
        }
    }

    /// The calls that it was asked to take and has said nothing final to.
    pub fn ringing(&self) -> impl Iterator<Item = Fact> {
        let rings = |(key, server): &(&Key, &Server)| {
            key.1 == "INVITE" && server.begins_call() && server.status == 0
        };
        self.servers.iter().filter(rings).map(|(_, server)| Fact {
            call_id: server.request.call_id().to_owned(),
            what: What::RingsOn,
        })
    }

    /// A request comes for the first time, or again.
    fn begun(&mut self, now: Instant, key: &Key, message: &Message) {
        if let Some(server) = self.servers.get(key) {
            if let Some(last) =
                server.last.clone().filter(|_| server.status < 300 || !server.is_acknowledged)
            {
                self.send(last);
            }
            return;
        }
        let to_tag = message.tag("To").unwrap_or_else(|| self.unique("t"));
        let is_merged = message.tag("To").is_none()
            && self.servers.iter().any(|((_, method), other)| {
                *method == key.1
                    && other.request.call_id() == message.call_id()
                    && other.request.tag("From") == message.tag("From")
                    && other.request.cseq() == message.cseq()
            });
        let server = Server {
            request: message.clone(),
            to_tag: to_tag.clone(),
            last: None,
            status: 0,
            is_acknowledged: false,
            interval: T1,
        };
        self.servers.insert(key.clone(), server);
        let dialog =
            (message.call_id().to_owned(), to_tag.clone(), message.tag("From").unwrap_or_default());
        if is_merged {
            // RFC 3261 8.2.2.2.
            self.say(now, key, 482);
        } else if message.tag("To").is_some() {
            self.asked(now, key, &dialog);
        } else if key.1 == "INVITE" {
            self.called(now, key, message);
        } else {
            self.say(now, key, 200);
        }
    }

    /// Something within a dialog.
    fn asked(&mut self, now: Instant, key: &Key, dialog: &DialogKey) {
        let is_on = self.dialogs.contains_key(dialog);
        if !is_on {
            self.say(now, key, 481);
        } else if key.1 == "BYE" {
            self.dialogs.remove(dialog);
            self.say(now, key, 200);
        } else {
            self.say(now, key, 200);
        }
    }

    /// Somebody calls: what is said to it, and when.
    fn called(&mut self, now: Instant, key: &Key, message: &Message) {
        let random = &mut self.random;
        let soon =
            |random: &mut crate::sim::random::Random| Duration::from_millis(random.below(400));
        let words: Vec<(Duration, u16)> = match message.header("X-Wish").map(|wish| &wish[..4]) {
            Some("answ") => {
                let rings = soon(random);
                vec![(rings, 180), (rings + Duration::from_millis(random.below(1500)), 200)]
            }
            Some("refu") => vec![(soon(random), 180), (Duration::from_millis(600), 603)],
            Some(_) => vec![(soon(random), 180)],
            None => {
                let rings = soon(random);
                let long = rings + random.exponential(Duration::from_secs(3));
                match random.below(20) {
                    0..8 => vec![(rings, 180), (long, 200)],
                    8 | 9 => vec![(Duration::ZERO, 200)],
                    10 => vec![(rings, 183), (long, 180), (long * 2, 200)],
                    11..15 => {
                        let status =
                            random.pick(&[302, 404, 486, 500, 503, 480, 407, 408, 600, 603]);
                        vec![(rings, 180), (long, status)]
                    }
                    15 => vec![(Duration::ZERO, random.pick(&[486, 603, 503, 404]))],
                    16 => vec![(rings, 100)],
                    17 => Vec::new(),
                    _ => vec![(rings, 180)],
                }
            }
        };
        for (after, status) in words {
            self.plan(now.plus(after), Due::Say(key.clone(), status));
        }
        // What nobody cancels is forgotten some time.
        self.plan(now.plus(LIFETIME * 10), Due::EndServer(key.clone()));
    }

    /// Answers a request, unless it has its final response.
    pub(super) fn say(&mut self, now: Instant, key: &Key, status: u16) {
        let contact = self.contact();
        let Some(server) = self.servers.get_mut(key).filter(|server| server.status == 0) else {
            return;
        };
        let more: &[(&str, String)] = &[("Contact", contact)];
        let has_contact = status > 100 && status < 400;
        let more = if has_contact { more } else { &[] };
        let bytes: Rc<[u8]> =
            message::response(&server.request, status, &server.to_tag, more).into();
        server.last = Some(Rc::clone(&bytes));
        if status >= 200 {
            server.status = status;
            let request = server.request.clone();
            let tag = server.to_tag.clone();
            self.plan(now.plus(LIFETIME), Due::EndServer(key.clone()));
            if key.1 == "INVITE" {
                self.plan(now.plus(T1), Due::RepeatResponse(key.clone()));
                if status < 300 {
                    self.answered(&request, &tag);
                }
            }
        }
        self.send(bytes);
    }

    /// The callee's side of a dialog begins, RFC 3261 12.1.1.
    fn answered(&mut self, request: &Message, tag: &str) {
        let call_id = request.call_id().to_owned();
        let key = (call_id, tag.to_owned(), request.tag("From").unwrap_or_default());
        if self.dialogs.contains_key(&key) {
            return;
        }
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let hangs_up = match request.header("X-Wish") {
            Some(wish) if wish.ends_with("bye") => Some(Duration::from_millis(1500)),
            Some(_) => None,
            None if self.random.chance(400) => {
                Some(self.random.exponential(Duration::from_secs(8)))
            }
            None => None,
        };
        let dialog = Dialog {
            from: format!("{};tag={tag}", header("To")),
            to: header("From"),
            target: uri_of(&header("Contact")),
            routes: request.values("Record-Route"),
            cseq: 1000,
            ack: None,
            is_confirmed: false,
            is_ending: false,
            hangs_up_after: hangs_up,
        };
        self.dialogs.insert(key, dialog);
    }

    pub(super) fn repeat_response(&mut self, now: Instant, key: &Key) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.is_acknowledged {
            return;
        }
        server.interval = (server.interval * 2).min(T2);
        let (last, interval) = (server.last.clone(), server.interval);
        self.plan(now.plus(interval), Due::RepeatResponse(key.clone()));
        if let Some(last) = last {
            self.send(last);
        }
    }

    pub(super) fn end_server(&mut self, now: Instant, key: &Key) {
        let Some(server) = self.servers.remove(key) else { return };
        if key.1 != "INVITE" || server.is_acknowledged || server.status == 0 {
            return;
        }
        let call_id = server.request.call_id().to_owned();
        if server.begins_call() {
            self.tell(&call_id, What::Unacknowledged(server.status));
        }
        if server.status < 300 {
            // RFC 3261 13.3.1.4: who does not acknowledge does not want the call.
            let from = server.request.tag("From").unwrap_or_default();
            self.hang_up(now, &(call_id, server.to_tag, from));
        }
    }

    fn acknowledged(&mut self, now: Instant, branch: String, message: &Message) {
        // The ACK of a refusal has the branch of its INVITE, that of a 2xx the number.
        let key = (branch, "INVITE".to_owned());
        let is_refusal = self.servers.get(&key).is_some_and(|server| server.status >= 300);
        let found = if is_refusal {
            self.servers.get_mut(&key)
        } else {
            self.servers.iter_mut().map(|(_, server)| server).find(|server| {
                (200..300).contains(&server.status)
                    && server.request.call_id() == message.call_id()
                    && server.request.cseq().map(|(number, _)| number)
                        == message.cseq().map(|(number, _)| number)
                    && message.tag("To").as_deref() == Some(&server.to_tag)
            })
        };
        let Some(server) = found.filter(|server| !server.is_acknowledged) else { return };
        server.is_acknowledged = true;
        let (status, tag, begins) = (server.status, server.to_tag.clone(), server.begins_call());
        let call_id = message.call_id().to_owned();
        if begins {
            self.tell(&call_id, What::Acknowledged(status));
        }
        let dialog_key = (call_id, tag, message.tag("From").unwrap_or_default());
        if let Some(dialog) = self.dialogs.get_mut(&dialog_key).filter(|_| status < 300)
            && !std::mem::replace(&mut dialog.is_confirmed, true)
        {
            let after = dialog.hangs_up_after;
            self.talk(now, &dialog_key, after);
        }
    }

    fn cancelled(&mut self, now: Instant, branch: String, message: &Message) {
        let invite = (branch, "INVITE".to_owned());
        let known = self.servers.get(&invite).map(|server| server.to_tag.clone());
        let (status, tag) = known.map_or((481, "none".to_owned()), |tag| (200, tag));
        let bytes = message::response(message, status, &tag, &[]);
        self.send(bytes.into());
        if status == 200 {
            self.say(now, &invite, 487);
        }
    }
}
