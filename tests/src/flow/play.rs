//! Plays a flow against the shards of one node under virtual time. It owns the wires between the actors and the node, and what
//! each has sent and got; what is in a message it leaves to others.

use super::check::{against_flow, against_request};
use super::forward;
use super::memory::Memory;
use super::message::Message;
use super::node::{Delivery, Node, Topology, counter, gauge, verdict_text};
use super::script::{Body, Check, Flow, Line, Restart, Step, Wanted};
use super::settings::settings;
use super::variables::Variables;
use shards::io::{LocalAddr, Outcome};
use shards::shard::Keys;
use std::net::SocketAddr;

/// Plays one flow.
///
/// # Errors
/// The line of the file at which the node did something else than the flow says, and what.
pub fn play(flow: &Flow, topology: Topology) -> Result<(), String> {
    let mut world = World::new(flow, topology)?;
    for (line, step) in &flow.steps {
        world.step(step).map_err(|why| format!("line {line}: {why}"))?;
        world.node.check().map_err(|why| format!("line {line}: {why}"))?;
    }
    world.nothing_waits().map_err(|why| format!("at the end: {why}"))?;
    world.node.runs_empty().map_err(|why| format!("after the end: {why}"))
}

struct World {
    node: Node,
    actors: Vec<ActorState>,
    /// All that actors sent, in order, with its source.
    sent: Vec<(SocketAddr, Vec<u8>)>,
    outcome: Option<Outcome>,
    variables: Variables,
    /// The passwords of the subscribers, by user.
    passwords: Vec<(String, String)>,
}

struct ActorState {
    memory: Memory,
    near: LocalAddr,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

impl World {
    fn new(flow: &Flow, topology: Topology) -> Result<Self, String> {
        let node = Node::new(settings(flow, topology.homes())?, topology);
        let mut actors = Vec::new();
        for actor in &flow.actors {
            let near = node.near_end(actor.addr, actor.listener);
            let near = near.map_err(|why| format!("{}: {why}", actor.name))?;
            let memory = Memory::new(actor);
            actors.push(ActorState { memory, near, sent: Vec::new(), received: Vec::new() });
        }
        let mut passwords = Vec::new();
        for (_, words) in &flow.settings {
            if let [name, user, _, password] = words.as_slice()
                && name == "subscriber"
            {
                passwords.push((user.clone(), password.clone()));
            }
        }
        let variables = Variables::default();
        Ok(World { node, actors, sent: Vec::new(), outcome: None, variables, passwords })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(name, body) => self.send(name, body),
            Step::Expect(name, wanted, checks) => self.expect(name, wanted, checks),
            Step::ExpectSame(name, times) => {
                for _ in 0..*times {
                    self.expect_same(name)?;
                }
                Ok(())
            }
            Step::Perhaps(name, status) => {
                let addr = self.actor(name).memory.addr;
                let mut next = self.node.waiting.iter().filter(|delivery| delivery.to == addr);
                let is_it = next.next().is_some_and(|delivery| {
                    Message::read(&delivery.bytes).is_ok_and(|one| one.status() == Some(*status))
                });
                if is_it { self.expect(name, &Wanted::Status(*status), &[]) } else { Ok(()) }
            }
            Step::Registers(name, user, body) => self.register(name, user, body),
            Step::Silence => self.nothing_waits(),
            Step::Wait(time) => {
                self.nothing_waits()?;
                self.node.wait(*time)
            }
            Step::Clock(secs) => {
                self.node.set_clock(*secs);
                Ok(())
            }
            Step::Restart(kind) => {
                self.restart(*kind);
                Ok(())
            }
            Step::Passes(name, other) => {
                let sent = self.actor(name).sent.last().cloned();
                self.actor(other).sent.extend(sent);
                Ok(())
            }
            Step::Apart(name, other) => self.apart(name, other),
            Step::Lose(letters, after) => {
                (self.node.to_lose, self.node.to_pass) = (*letters, *after);
                Ok(())
            }
            Step::Hold(letters) => {
                self.node.to_hold = *letters;
                Ok(())
            }
            Step::Release => self.node.release(),
            Step::Resolves(name, addresses) => {
                self.nothing_waits()?;
                self.outcome = Some(self.node.resolve(name, addresses)?);
                Ok(())
            }
            Step::Asks(names) => {
                let asked = self.node.asked();
                if asked == *names { Ok(()) } else { Err(format!("asked is for {asked:?}")) }
            }
            Step::Unreachable(name, quoted) => {
                self.nothing_waits()?;
                let ActorState { memory, received, .. } = self.actor(name);
                let addr = memory.addr;
                let last = received.last().cloned();
                let quoted = quoted.as_deref().map(|quoted| self.variables.in_bytes(quoted));
                let bytes = quoted.or(last).ok_or_else(|| format!("{name} got nothing"))?;
                self.outcome = Some(self.node.unreachable(addr, &bytes)?);
                Ok(())
            }
            Step::Verdict(wanted) => {
                let outcome = self.outcome.ok_or("nothing was sent yet")?;
                same("the verdict", &verdict_text(outcome.verdict), wanted)
            }
            Step::Class(wanted) => {
                let outcome = self.outcome.ok_or("nothing was sent yet")?;
                same("the class", outcome.class.label(), wanted)
            }
            Step::Count(name, wanted) => {
                let sum = self.node.sum(counter, name);
                same(name, &sum.ok_or_else(|| format!("there is no counter `{name}`"))?, wanted)
            }
            Step::Gauge(name, wanted) => {
                let sum = self.node.sum(gauge, name);
                same(name, &sum.ok_or_else(|| format!("there is no gauge `{name}`"))?, wanted)
            }
        }
    }

    fn actor(&mut self, name: &str) -> &mut ActorState {
        // The parser let only known names pass.
        self.actors.iter_mut().find(|actor| actor.memory.name == name).unwrap()
    }

    fn send(&mut self, name: &str, body: &Body) -> Result<(), String> {
        self.nothing_waits()?;
        let body = self.variables.in_body(body);
        let actor = self.actor(name);
        let bytes = match &body {
            Body::Shorthand { .. } => actor.memory.write(&body)?,
            Body::Raw(bytes) => bytes.clone(),
            Body::Again => actor.sent.last().cloned().ok_or("there is nothing to send again")?,
        };
        actor.sent.push(bytes.clone());
        let (from, near) = (actor.memory.addr, actor.near);
        self.outcome = Some(self.node.receive(from, near, &bytes)?);
        self.sent.push((from, bytes));
        Ok(())
    }

    /// A REGISTER, the challenge where there is one, and the 200.
    fn register(&mut self, name: &str, user: &str, body: &Body) -> Result<(), String> {
        let Body::Shorthand { lines, .. } = body else { return Err("not shorthand".to_owned()) };
        let header = |name: &str, value: String| Line::Header(name.to_owned(), value.into_bytes());
        let addr = self.actor(name).memory.addr;
        let has = |wanted: &str| {
            lines.iter().any(|line| matches!(line, Line::Header(name, _) if name == wanted))
        };
        let mut lines = lines.clone();
        lines.push(header("To", format!("<sip:{user}@sip.test>")));
        lines.push(header("From", format!("<sip:{user}@sip.test>;tag={name}-registers")));
        if !has("Call-ID") {
            lines.push(header("Call-ID", format!("{name}-registers@{}", addr.ip())));
        }
        if !has("Contact") {
            lines.push(header("Contact", format!("<sip:{user}@{addr}>")));
        }
        let register = |lines: Vec<Line>| Body::Shorthand {
            start: "REGISTER".to_owned(),
            lines,
            body: Vec::new(),
        };
        self.send(name, &register(lines.clone()))?;
        let password = self.passwords.iter().find(|(one, _)| one == user).cloned();
        if let Some((username, password)) = password {
            self.expect(name, &Wanted::Status(401), &[])?;
            let replaced = std::collections::BTreeMap::new();
            lines.push(Line::Digest(super::Answer { username, password, replaced }));
            self.send(name, &register(lines))?;
        }
        self.expect(name, &Wanted::Status(200), &[])
    }

    fn restart(&mut self, kind: Restart) {
        let topology = self.node.topology();
        let (topology, keys) = match kind {
            Restart::Plain => (topology, None),
            Restart::Elsewhere => (topology.other(), None),
            Restart::Renewed => {
                (topology, Some(Keys::derive(&[8; 32]).with_previous(&super::settings::SECRET)))
            }
            Restart::Strange => (topology, Some(Keys::derive(&[8; 32]))),
        };
        self.node.restart(topology, keys);
    }

    /// Gives an actor a Call-ID that lives on another core than the other's address-of-record, where there are several.
    fn apart(&mut self, name: &str, other: &str) -> Result<(), String> {
        let (aor, call_id) =
            (self.actor(other).memory.aor.clone(), self.actor(name).memory.call_id.clone());
        if !self.node.topology().is_spread() {
            return Ok(());
        }
        let mut ids = (0..100).map(|number| format!("{number}-{call_id}"));
        let apart = ids.find(|id| self.node.lives_apart(id, &aor));
        self.actor(name).memory.call_id = apart.ok_or("all live on one core")?;
        Ok(())
    }

    fn expect(&mut self, name: &str, wanted: &Wanted, checks: &[Check]) -> Result<(), String> {
        let delivery = self.take(name)?;
        let bytes = delivery.bytes;
        let message = Message::read(&bytes).map_err(|why| format!("{why}:\n{}", text(&bytes)))?;
        let checks = self.variables.in_checks(checks);
        let mut wrong = against_flow(&message, wanted, &checks);
        let has = |wanted: fn(&Check) -> bool| checks.iter().any(wanted);
        let is_mirrored = !has(|check| matches!(check, Check::Unmirrored));
        let is_unchanged = !has(|check| matches!(check, Check::Changed));
        if message.method().is_some() {
            if is_unchanged {
                wrong.extend(self.against_origin(name, &message, &bytes)?);
            }
            self.actor(name).memory.got_request(&message, &bytes);
        } else {
            if is_mirrored {
                wrong.extend(self.against_its_request(&message));
            }
            if is_unchanged {
                wrong.extend(self.against_answer(name, &message, &bytes)?);
            }
            self.actor(name).memory.got_response(&message);
        }
        self.actor(name).received.push(bytes.clone());
        self.variables.keep(&message, &checks);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}, in\n{}", wrong.join("; "), text(&bytes)))
        }
    }

    /// The next message is byte for byte the last one.
    fn expect_same(&mut self, name: &str) -> Result<(), String> {
        let before = self.actor(name).received.last().cloned();
        let bytes = self.take(name)?.bytes;
        let before = before.ok_or_else(|| format!("{name} got nothing before"))?;
        if bytes == before {
            return Ok(());
        }
        Err(format!("the message changed, from\n{}\nto\n{}", text(&before), text(&bytes)))
    }

    /// What a response owes the request it answers: the last one that was sent with its branch and `CSeq`.
    fn against_its_request(&self, response: &Message) -> Vec<String> {
        let (branch, cseq) = (response.branch(), response.first("CSeq"));
        let answered = self.sent.iter().rev().find_map(|(source, bytes)| {
            let request = Message::read(bytes).ok()?;
            let is_it = request.method().is_some()
                && request.branch() == branch
                && request.first("CSeq") == cseq;
            is_it.then_some((*source, request))
        });
        match answered {
            Some((source, request)) => against_request(response, &request, source),
            None => vec!["nobody sent a request that this answers".to_owned()],
        }
    }

    /// What a response owes the one it was made of, where somebody else has sent it: a 100 is never passed on.
    fn against_answer(
        &self,
        name: &str,
        response: &Message,
        bytes: &[u8],
    ) -> Result<Vec<String>, String> {
        if response.status() == Some(100) {
            return Ok(Vec::new());
        }
        let own = self.actors.iter().find(|actor| actor.memory.name == name);
        let own = own.map(|actor| actor.memory.addr);
        let is_it = |sent: &Message| {
            sent.status() == response.status()
                && ["Call-ID", "CSeq", "To"]
                    .iter()
                    .all(|row| sent.first(row) == response.first(row))
        };
        let sent = self.sent.iter().rev().find(|(source, bytes)| {
            Some(*source) != own && Message::read(bytes).is_ok_and(|sent| is_it(&sent))
        });
        match sent {
            Some((_, sent)) => forward::response(bytes, sent, &self.node.names()),
            None => Ok(Vec::new()),
        }
    }

    /// What a request owes the one it was made of, or, where it is for one hop only, its INVITE.
    fn against_origin(
        &self,
        name: &str,
        request: &Message,
        bytes: &[u8],
    ) -> Result<Vec<String>, String> {
        let method = request.method().unwrap_or_default();
        if matches!(method, "ACK" | "CANCEL") {
            let actor = self.actors.iter().find(|actor| actor.memory.name == name);
            let read = |messages: Option<&Vec<Vec<u8>>>| -> Vec<Message> {
                let messages = messages.into_iter().flatten().rev();
                messages.filter_map(|bytes| Message::read(bytes).ok()).collect()
            };
            let received = read(actor.map(|actor| &actor.received));
            let is_invited =
                |one: &&Message| one.method() == Some("INVITE") && one.branch() == request.branch();
            let invite = received.iter().find(is_invited);
            match (method, invite) {
                ("CANCEL", None) => return Ok(vec!["a CANCEL for no INVITE".to_owned()]),
                ("CANCEL", Some(invite)) => return Ok(forward::cancel(request, invite)),
                (_, Some(invite)) => {
                    let answers = read(actor.map(|actor| &actor.sent));
                    let refusal = answers.iter().find(|one| {
                        one.status().is_some_and(|status| status >= 300)
                            && one.branch() == request.branch()
                            && one.cseq() == invite.cseq()
                    });
                    return Ok(forward::ack(request, invite, refusal));
                }
                (_, None) => {}
            }
        }
        let sent = self.sent.iter().rev().find(|(_, bytes)| {
            Message::read(bytes).is_ok_and(|sent| {
                sent.method() == Some(method)
                    && ["Call-ID", "CSeq", "From"]
                        .iter()
                        .all(|row| sent.first(row) == request.first(row))
            })
        });
        match sent {
            Some((source, sent)) => forward::request(bytes, sent, *source, &self.node.names()),
            None => Ok(vec!["nobody sent what this was made of".to_owned()]),
        }
    }

    /// The next message to this actor, which must come from the address that it talks to.
    fn take(&mut self, name: &str) -> Result<Delivery, String> {
        let ActorState { memory, near, .. } = self.actor(name);
        let (addr, near) = (memory.addr, *near);
        let waiting = &mut self.node.waiting;
        let index = waiting.iter().position(|delivery| delivery.to == addr);
        let Some(delivery) = index.and_then(|index| waiting.remove(index)) else {
            return Err(match waiting.front() {
                None => format!("{name} got nothing; the last input was {:?}", self.outcome),
                Some(delivery) => {
                    format!("went to {}, not to {addr}:\n{}", delivery.to, text(&delivery.bytes))
                }
            });
        };
        if delivery.from != near {
            return Err(format!("left from {:?}, and {name} knows {near:?}", delivery.from));
        }
        Ok(delivery)
    }

    fn nothing_waits(&self) -> Result<(), String> {
        match self.node.waiting.front() {
            None => Ok(()),
            Some(delivery) => {
                Err(format!("nobody expected this, to {}:\n{}", delivery.to, text(&delivery.bytes)))
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Display + ?Sized>(
    what: &str,
    found: &T,
    wanted: &T,
) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found}, not {wanted}")) }
}

/// A message for a reader: an indented line each, with what does not print escaped.
fn text(bytes: &[u8]) -> String {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.map(|line| format!("    {}", line.escape_ascii())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::parse;

    const REGISTER: &str = "alice at 192.0.2.1:5060\nbob at 192.0.2.2:5060\nflow x\n\
        alice > REGISTER\n    Contact: <sip:alice@192.0.2.1>\n";

    fn played(text: &str) -> Vec<String> {
        let flows = parse(&format!("{REGISTER}{text}")).unwrap();
        let results = Topology::ALL.map(|topology| play(&flows[0], topology));
        results.into_iter().map(|result| result.err().unwrap_or_default()).collect()
    }

    #[test]
    fn a_node_that_does_something_else_is_caught() {
        for (text, why) in [
            ("", "at the end: nobody expected this, to 192.0.2.1:5060"),
            ("silence", "line 6: nobody expected this"),
            ("wait 1s", "line 6: nobody expected this"),
            ("bob > OPTIONS", "line 6: nobody expected this"),
            ("bob < 200", "line 6: went to 192.0.2.1:5060, not to 192.0.2.2:5060"),
            ("alice < 404", "line 6: status 404 was expected"),
            ("alice < INVITE", "line 6: INVITE was expected"),
            ("alice < 200\nalice < 200", "line 7: alice got nothing"),
            ("alice < same", "line 6: alice got nothing before"),
            ("alice < 200\nalice > OPTIONS\nalice < same", "line 8: the message changed"),
            ("alice < 200\nverdict absorbed", "line 7: the verdict is replied, not absorbed"),
            ("alice < 200\nclass options", "line 7: the class is reg-200-new, not options"),
            ("alice < 200\ngauge bindings 2", "line 7: bindings is 1, not 2"),
            ("alice < 200\ncount wishes 2", "line 7: there is no counter `wishes`"),
            ("alice < 200\nset wishes 2", "line 7: there is no setting `wishes 2`"),
            ("alice < 200\n    no contacts", "line 6: there are contacts"),
            ("alice < 200\nresolves a.test nothing", "line 7: `a.test` is not asked for"),
            ("alice < 200\nasks a.test", "line 7: asked is for []"),
            ("alice < 200\nrelease letters", "line 7: no letter is held"),
            ("alice < 200\nunreachable bob", "line 7: bob got nothing"),
            ("alice < 200\nbob > 180", "line 7: there is no request to answer"),
        ] {
            for found in played(text) {
                assert!(found.contains(why), "{text:?} gave {found:?}, not {why:?}");
            }
        }
    }

    #[test]
    fn the_topologies_move_what_they_say() {
        let hops = |topology: Topology| {
            let flows = parse("alice at 192.0.2.1:5060\nflow x\nalice > OPTIONS").unwrap();
            let mut world = World::new(&flows[0], topology).unwrap();
            for number in 0..30 {
                let line = format!(
                    "flow x\nalice at 192.0.2.1:5060\nalice > OPTIONS\n    Call-ID: {number}\n"
                );
                let step = parse(&line).unwrap()[0].steps[0].1.clone();
                world.node.waiting.clear();
                world.step(&step).unwrap();
            }
            world.node.sum(counter, "hopped").unwrap()
        };
        assert_eq!(hops(Topology::One), 0);
        assert!((1..30).contains(&hops(Topology::Three)));
        assert_eq!(hops(Topology::AllAtTheWrongCore), 30);
    }

    #[test]
    fn what_lives_apart_does() {
        let flows = parse("a at 192.0.2.1:5060\nb at 192.0.2.2:5060\nflow x\na apart b\n").unwrap();
        for topology in Topology::ALL {
            let mut world = World::new(&flows[0], topology).unwrap();
            world.step(&flows[0].steps[0].1).unwrap();
            let call_id = world.actor("a").memory.call_id.clone();
            assert_eq!(world.node.lives_apart(&call_id, "b@sip.test"), topology.is_spread());
        }
    }
}
