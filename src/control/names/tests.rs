//! What cores ask is answered, through real workers and a name server of the test's own.

use super::*;
use crate::config::Io;
use crate::node::{self, Core, ERRANDS, Plan, Running};
use crate::worker::Handler;
use shards::io::{
    Class, Datagram, Input, Instant, LocalAddr, Outbox, Outcome, Peer, UnixTime, Verdict,
};
use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(5);
const NOTHING: [IpAddr; 0] = [];

/// Asks for the name in each datagram and answers with its addresses.
#[derive(Debug, Default)]
struct Asking {
    askers: HashMap<u64, (Peer, LocalAddr)>,
    tickets: u64,
}

impl Handler for Asking {
    type Metrics = ();
    type Errand = Errand;

    fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

    fn handle(&mut self, _: Instant, _: UnixTime, input: Input<'_>, out: &mut Outbox) -> Outcome {
        let Input::Datagram(datagram) = input else { unreachable!("nothing else comes") };
        self.tickets += 1;
        self.askers.insert(self.tickets, (datagram.from, datagram.to));
        let mut question = out.reply();
        question.put(datagram.bytes);
        assert!(question.ask(self.tickets));
        Outcome { class: Class::Invite, verdict: Verdict::Held }
    }

    fn run(&mut self, _: Instant, wall: UnixTime, errand: &mut Errand, out: &mut Outbox) {
        assert!(wall > UnixTime(1_700_000_000), "errands know the time");
        let Command::Resolved(resolved) = &errand.command else { panic!("{errand:?}") };
        let (to, from) = self.askers.remove(&resolved.ticket).unwrap();
        let mut reply = out.reply();
        for address in resolved.addresses() {
            reply.put(format!("{address} ").as_bytes());
        }
        assert!(reply.send(to, from));
    }

    fn expire(&mut self, _: Instant, _: u32, _: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn publish(&self, _: &mut ()) {}
}

/// A node of one core that asks, the control side that answers, and somebody who sends it names.
struct World {
    running: Option<Running<Asking>>,
    names: Arc<Names>,
    client: UdpSocket,
    stop: Option<oneshot::Sender<()>>,
    control: Option<JoinHandle<()>>,
}

impl World {
    fn new(io: Io, names: Names) -> World {
        let core = Core { cpu: None, receives: true };
        let plan = Plan { io, ..Plan::new(vec![core], vec!["127.0.0.1:0".parse().unwrap()]) };
        let mut running = node::start(&plan, |_, _| Asking::default()).unwrap();
        let cores = Cores::new(running.switchboard.take().unwrap(), ERRANDS);
        let names = Arc::new(names);
        let (stop, stopped) = oneshot::channel();
        let control = thread::spawn({
            let names = Arc::clone(&names);
            move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let answering = cores.clone();
                    let asked = move |core, question| names.take(&answering, core, question);
                    tokio::spawn(cores.deliver(asked));
                    let _ = stopped.await;
                });
            }
        });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(running.listeners[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        World { running: Some(running), names, client, stop: Some(stop), control: Some(control) }
    }

    fn send(&self, name: &str) {
        self.client.send(name.as_bytes()).unwrap();
    }

    /// The addresses in the next answer.
    fn answer(&self) -> Vec<IpAddr> {
        let mut reply = [0; 4096];
        let length = loop {
            match self.client.recv(&mut reply) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        let text = std::str::from_utf8(&reply[..length]).unwrap();
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    fn ask(&self, name: &str) -> Vec<IpAddr> {
        self.send(name);
        self.answer()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.take();
        self.control.take().unwrap().join().unwrap();
        let running = self.running.take().unwrap();
        running.drain();
        assert!(running.join());
    }
}

/// A name server on loopback, which knows a few names; it counts what it is asked.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<HashMap<(String, u16), u32>>>,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl Server {
    fn start() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Server { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let own = server.clone();
        // It ends with the process.
        thread::spawn(move || {
            let mut query = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut query).unwrap();
                if let Some(response) = own.response(&query[..length]) {
                    socket.send_to(&response, from).unwrap();
                }
            }
        });
        server
    }

    /// RFC 1035 4: the header and the question of the query, and the records that answer it.
    fn response(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push_str(std::str::from_utf8(&query[at + 1..end]).unwrap());
            name.push('.');
            at = end;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let end = at + 5;
        *self.asked.lock().unwrap().entry((name.to_ascii_lowercase(), kind)).or_default() += 1;
        let addresses: &[&str] = match (name.to_ascii_lowercase().as_str(), kind) {
            ("both.test.", A) => &["192.0.2.2", "192.0.2.1"],
            ("both.test.", AAAA) => &["2001:db8::1"],
            ("many.test.", A) => &["192.0.2.9"; 12],
            ("silent.test.", _) => return None,
            _ => &[],
        };
        let exists = ["both.test.", "many.test."].contains(&name.to_ascii_lowercase().as_str());
        let mut response = query[..end].to_vec();
        // A response, recursion available; NXDOMAIN where there is no such name.
        (response[2], response[3]) = (0x85, if exists { 0x80 } else { 0x83 });
        response[4..12].copy_from_slice(&[0, 1, 0, byte(addresses.len()), 0, 0, 0, 0]);
        for (number, address) in (0..).zip(addresses) {
            let data = match address.parse().unwrap() {
                IpAddr::V4(ip) => {
                    // Twelve times the same would be one record.
                    let [a, b, c, d] = ip.octets();
                    vec![a, b, c, if addresses.len() > 2 { d + number } else { d }]
                }
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            // The name of the question, the type, IN, a TTL of 300.
            response.extend([0xc0, 12]);
            response.extend(kind.to_be_bytes());
            response.extend([0, 1, 0, 0, 1, 44, 0, byte(data.len())]);
            response.extend(data);
        }
        if addresses.is_empty() {
            // RFC 2308 3: the SOA of the zone `test.`, whose minimum is how long it may be remembered that there is nothing.
            response[9] = 1;
            let zone = u16::try_from(end - 4 - 6).unwrap() | 0xc000;
            response.extend(zone.to_be_bytes());
            response.extend([0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            response.extend([0, 0, 0, 1, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 60]);
        }
        Some(response)
    }

    fn names(&self, listeners: &[&str]) -> Names {
        let listeners: Vec<_> =
            listeners.iter().map(|listener| listener.parse().unwrap()).collect();
        Names::new(&[self.address], &listeners).unwrap()
    }

    fn asked(&self, name: &str) -> [u32; 2] {
        let asked = self.asked.lock().unwrap();
        [A, AAAA].map(|kind| asked.get(&(name.to_owned(), kind)).copied().unwrap_or(0))
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_core_that_asks_is_told_addresses_of_the_families_it_serves() {
    for io in [Io::Uring, Io::Epoll] {
        let server = Server::start();
        let world = World::new(io, server.names(&["127.0.0.1:5060", "[::1]:5060"]));
        let both = addresses(&["192.0.2.2", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(world.ask("both.test"), both, "{io:?}");
        // Without a word to the name server, however the name is written.
        assert_eq!(world.ask("Both.TEST."), both);
        assert_eq!(server.asked("both.test."), [1, 1]);
        let many: Vec<IpAddr> = (9..17).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        assert_eq!(world.ask("many.test"), many, "as many as an answer holds");
        let counts = NameCounts { asked: 3, answered: 3, failed: 0, refused: 0 };
        assert_eq!(world.names.counts(), counts);
    }
    let server = Server::start();
    let first_is_six = World::new(Io::Epoll, server.names(&["[::1]:5060", "127.0.0.1:5060"]));
    let both = addresses(&["2001:db8::1", "192.0.2.2", "192.0.2.1"]);
    assert_eq!(first_is_six.ask("both.test"), both);
    let only_four = World::new(Io::Epoll, server.names(&["127.0.0.1:5060"]));
    assert_eq!(only_four.ask("both.test"), addresses(&["192.0.2.2", "192.0.2.1"]));
    let only_six = World::new(Io::Epoll, server.names(&["[::1]:5060"]));
    assert_eq!(only_six.ask("many.test"), NOTHING);
    assert_eq!(server.asked("both.test."), [2, 1]);
}

#[test]
fn what_does_not_exist_is_remembered_and_what_is_no_name_is_not_asked_for() {
    let server = Server::start();
    let world = World::new(Io::Epoll, server.names(&["127.0.0.1:5060"]));
    for _ in 0..3 {
        assert_eq!(world.ask("missing.test"), NOTHING);
    }
    assert_eq!(server.asked("missing.test."), [1, 0]);
    let label = "x".repeat(64);
    for name in ["", ".", "a..test", &format!("{label}.test"), "\u{fc}.test", "a\0b\n.test"] {
        assert_eq!(world.ask(name), NOTHING, "{name:?}");
    }
    assert_eq!(world.names.counts().answered, 0);
    assert_eq!(world.ask("both.test").len(), 2);
}

#[test]
fn a_name_server_that_says_nothing_holds_nobody_else_up() {
    let server = Server::start();
    let world = World::new(Io::Epoll, server.names(&["127.0.0.1:5060"]));
    let asked = std::time::Instant::now();
    world.send("silent.test");
    assert_eq!(world.ask("both.test").len(), 2);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(world.answer(), NOTHING);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(server.asked("silent.test.")[0] > 1, "it is asked again");
    let counts = NameCounts { asked: 2, answered: 1, failed: 1, refused: 0 };
    assert_eq!(world.names.counts(), counts);
}

#[test]
fn what_is_too_much_is_refused_at_once_and_counted() {
    let server = Server::start();
    let names = server.names(&["127.0.0.1:5060"]);
    let most = u32::try_from(UNDER_WAY_MAX).unwrap() - 1;
    let taken = Arc::clone(&names.under_way).try_acquire_many_owned(most).unwrap();
    let world = World::new(Io::Epoll, names);
    world.send("silent.test");
    let asked = std::time::Instant::now();
    assert_eq!(world.ask("both.test"), NOTHING);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((world.names.counts().refused, server.asked("both.test.")), (1, [0, 0]));
    // What is under way makes room again.
    assert_eq!(world.answer(), NOTHING);
    drop(taken);
    assert_eq!(world.ask("both.test").len(), 2);
}

#[test]
fn what_is_known_and_what_a_neighbour_is_called_needs_none_of_the_places_of_others() {
    let server = Server::start();
    let neighbours = [&b"Many.test."[..], b"silent.test"];
    let names = server.names(&["127.0.0.1:5060"]).with_neighbours(neighbours);
    let most = u32::try_from(UNDER_WAY_MAX).unwrap();
    let (places, all) = (Arc::clone(&names.under_way), names.of_neighbours.clone());
    let world = World::new(Io::Epoll, names);
    let known = world.ask("both.test");
    // Its place is free a moment after the answer.
    let asked = std::time::Instant::now();
    while places.available_permits() < UNDER_WAY_MAX && asked.elapsed() < PATIENCE {
        thread::yield_now();
    }
    let taken = places.try_acquire_many_owned(most).unwrap();
    assert_eq!(world.ask("both.TEST."), known);
    assert_eq!(world.ask("missing.test"), NOTHING);
    assert_eq!(world.names.counts().refused, 1);
    assert_eq!(world.ask("many.test").len(), 8);
    assert_eq!(server.asked("missing.test."), [0, 0]);
    // One neighbour's name takes nothing from another's either.
    let most = u32::try_from(UNDER_WAY_OF_NEIGHBOUR_MAX).unwrap();
    let silent = Arc::clone(&all[&b"silent.test"[..]]).try_acquire_many_owned(most).unwrap();
    assert_eq!(world.ask("silent.test"), NOTHING);
    assert_eq!((world.names.counts().refused, server.asked("silent.test.")), (2, [0, 0]));
    assert_eq!(world.ask("MANY.test.").len(), 8);
    drop((taken, silent));
}

#[test]
fn what_is_kept_holds_as_long_as_it_may_and_is_bounded() {
    let mut kept = Kept::default();
    let (now, ip) = (std::time::Instant::now(), [IpAddr::from([192, 0, 2, 1])]);
    let soon = now + Duration::from_secs(60);
    kept.keep(key(b"A.test."), &ip, soon);
    kept.keep(key(b"none.test"), &[], soon);
    assert_eq!(kept.find(b"a.test", now), Some(ip.to_vec()));
    assert_eq!((kept.find(b"a.test", soon), kept.find(b"none.test", now)), (None, None));
    for number in 0..2 * KEPT_MAX {
        let until = if number % 2 == 0 { now } else { soon };
        kept.keep(format!("{number}").into_bytes().into(), &ip, until);
        assert!(kept.0.len() <= KEPT_MAX);
    }
    assert_eq!(kept.find(b"a.test", now), Some(ip.to_vec()), "what holds makes no room");
}

#[test]
fn without_name_servers_no_name_is_known() {
    let world = World::new(Io::Epoll, Names::none());
    assert_eq!(world.ask("both.test"), NOTHING);
    assert_eq!(world.names.counts(), NameCounts { asked: 1, failed: 1, ..NameCounts::default() });
}
