//! Nodes on loopback addresses, on both ways to wait: what is asked, what is answered, and from where.

mod between;

use super::*;
use crate::echo::Echo;
use shards::io::{Class, Datagram, Input, Outbox, Outcome, UnixTime, Verdict};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

const BACKENDS: [Io; 2] = [Io::Uring, Io::Epoll];
const PATIENCE: Duration = Duration::from_secs(5);

fn anywhere(receives: bool) -> Core {
    Core { cpu: None, receives }
}

fn plan(io: Io, cores: &[Core], listeners: &[&str]) -> Plan {
    let listeners = listeners.iter().map(|addr| addr.parse().unwrap()).collect();
    let mut plan = Plan { io, ..Plan::new(cores.to_vec(), listeners) };
    plan.worker.publish_every = Duration::from_millis(5);
    plan
}

fn client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ask(client: &UdpSocket, request: &[u8]) -> Vec<u8> {
    client.send(request).unwrap();
    let mut reply = [0; 65_536];
    let length = receive(client, &mut reply).unwrap();
    reply[..length].to_vec()
}

fn receive(client: &UdpSocket, reply: &mut [u8]) -> io::Result<usize> {
    loop {
        match client.recv(reply) {
            // A receive with a timeout is not restarted, and the ring that the probe closed on this thread disturbs one.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn end<H: Handler>(running: Running<H>) {
    running.drain();
    assert!(running.join(), "a worker did not end");
}

/// What all cores counted, once `done` holds of it.
fn counted<H: Handler>(
    running: &Running<H>,
    done: impl Fn(&[worker::Metrics]) -> bool,
) -> Vec<worker::Metrics> {
    let until = Instant::now() + PATIENCE;
    loop {
        let metrics: Vec<_> =
            running.boards.iter().map(|board| board.read().worker.clone()).collect();
        if done(&metrics) || Instant::now() > until {
            return metrics;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_listener_echoes_on_both_backends_with_one_core_and_two() {
    for io in BACKENDS {
        for cores in [1, 2] {
            let plan = plan(io, &vec![anywhere(true); cores], &["127.0.0.1:0", "[::1]:0"]);
            let running = start(&plan, |_, _| Echo::new(5)).unwrap();
            for addr in running.listeners.clone() {
                for _ in 0..8 {
                    let client = client(addr);
                    assert_eq!(ask(&client, b"OPTIONS sip:a SIP/2.0\r\n\r\n"), b"OPTIO");
                    assert_eq!(ask(&client, b"REGISTER sip:a SIP/2.0\r\n\r\n"), b"REGIS");
                    assert_eq!(ask(&client, b""), b"");
                }
            }
            let metrics = counted(&running, |m| m.iter().map(|m| m.sent).sum::<u64>() == 48);
            let sum = |f: fn(&worker::Metrics) -> u64| metrics.iter().map(f).sum::<u64>();
            assert_eq!(sum(|m| m.register.datagrams), 16, "{io:?}");
            assert_eq!(sum(|m| m.rest.datagrams), 32);
            assert_eq!(sum(|m| m.sent), 48);
            assert_eq!(sum(|m| m.sent_bytes), 32 * 5);
            assert_eq!(sum(|m| m.service_time.of(Class::Options).count()), 48);
            assert_eq!(sum(|m| m.queue_age.of(Class::Options).count()), 48);
            assert!(metrics.iter().all(|m| m.queue_age.of(Class::Options).max() < PATIENCE));
            end(running);
        }
    }
}

#[test]
fn without_steering_everything_shares_one_socket_a_core() {
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true); 2], &["127.0.0.1:0"]);
        plan.sockets.steer = false;
        let running = start(&plan, |_, _| Echo::new(5)).unwrap();
        assert!(
            running.remarks.iter().any(|line| line.contains("one socket a core")),
            "{:?}",
            running.remarks
        );
        for _ in 0..8 {
            assert_eq!(
                ask(&client(running.listeners[0]), b"REGISTER sip:a SIP/2.0\r\n\r\n"),
                b"REGIS"
            );
        }
        let metrics = counted(&running, |m| m.iter().map(|m| m.sent).sum::<u64>() == 8);
        assert_eq!(metrics.iter().map(|m| m.rest.datagrams).sum::<u64>(), 8);
        end(running);
    }
}

#[test]
fn what_arrives_on_the_wrong_core_is_answered_by_its_home_from_the_same_address() {
    for io in BACKENDS {
        // One core receives and another is home to everything; the listeners are wildcards.
        let plan = plan(io, &[anywhere(true), anywhere(false)], &["0.0.0.0:0", "[::]:0"]);
        let running = start(&plan, |_, _| Echo::new(5).answered_on(CoreId(1))).unwrap();
        for last in 1..=20 {
            let to =
                SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), running.listeners[0].port()));
            // A connected socket only takes replies from the address it sent to.
            assert_eq!(ask(&client(to), b"OPTIONS sip:a SIP/2.0\r\n\r\n"), b"OPTIO");
        }
        let to =
            SocketAddr::from((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), running.listeners[1].port()));
        assert_eq!(ask(&client(to), b"REGISTER sip:a SIP/2.0\r\n\r\n"), b"REGIS");
        // Far beyond what a cache line or a page holds, and still whole.
        assert_eq!(ask(&client(to), &[b'x'; 60_000]), b"xxxxx");
        let metrics = counted(&running, |m| m[0].hops_sent == 22 && m[1].sent == 22);
        assert_eq!((metrics[0].hops_sent, metrics[1].hops_received), (22, 22));
        assert_eq!((metrics[0].sent, metrics[1].sent), (0, 22));
        assert_eq!(metrics[1].rest.datagrams + metrics[1].register.datagrams, 0);
        assert_eq!(metrics[0].service_time.of(Class::Move).count(), 22);
        assert!(metrics[0].wakes_sent > 0);
        assert!(
            metrics[1].queue_age.of(Class::Options).sum()
                > metrics[0].queue_age.of(Class::Move).sum()
        );
        end(running);
    }
}

#[test]
fn a_full_ring_is_a_counted_drop() {
    /// Moves everything to core 1, which takes its time.
    #[derive(Debug)]
    struct Slow;
    impl Handler for Slow {
        type Metrics = ();
        type Errand = ();

        fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

        fn handle(
            &mut self,
            _: shards::io::Instant,
            _: UnixTime,
            input: Input<'_>,
            _: &mut Outbox,
        ) -> Outcome {
            match input {
                Input::Datagram(_) => {
                    Outcome { class: Class::Move, verdict: Verdict::Hopped(CoreId(1)) }
                }
                Input::Hop(_) => {
                    std::thread::sleep(Duration::from_millis(20));
                    Outcome { class: Class::Ack, verdict: Verdict::Absorbed }
                }
                Input::Letter(_) | Input::Unreachable(_) | Input::Addresses { .. } => {
                    unreachable!("nobody writes, and nothing is sent")
                }
            }
        }
        fn run(&mut self, _: shards::io::Instant, _: UnixTime, _: &mut (), _: &mut Outbox) {}
        fn expire(&mut self, _: shards::io::Instant, _: u32, _: &mut Outbox) {}
        fn deadline(&self) -> Option<shards::io::Instant> {
            None
        }
        fn publish(&self, _: &mut ()) {}
    }
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true), anywhere(false)], &["127.0.0.1:0"]);
        plan.rings.hops = 4;
        let running = start(&plan, |_, _| Slow).unwrap();
        let client = client(running.listeners[0]);
        for _ in 0..50 {
            client.send(b"OPTIONS sip:a SIP/2.0\r\n\r\n").unwrap();
        }
        let metrics = counted(&running, |m| m[0].hops_sent + m[0].hops_dropped == 50);
        assert_eq!(metrics[0].hops_sent + metrics[0].hops_dropped, 50);
        assert!(
            metrics[0].hops_dropped > 0 && metrics[0].hops_sent >= 4,
            "{:?}",
            metrics[0].hops_sent
        );
        end(running);
    }
}

#[test]
fn what_is_longer_than_the_buffer_is_counted_and_not_handled() {
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true)], &["127.0.0.1:0"]);
        plan.worker.datagram_bytes_max = 1000;
        let running = start(&plan, |_, _| Echo::new(5)).unwrap();
        let client = client(running.listeners[0]);
        client.send(&[b'x'; 1001]).unwrap();
        assert_eq!(ask(&client, &[b'x'; 1000]), b"xxxxx");
        let metrics = counted(&running, |m| m[0].sent == 1 && m[0].rest.datagrams == 2);
        assert_eq!(
            (metrics[0].rest.truncated, metrics[0].rest.datagrams, metrics[0].sent),
            (1, 2, 1)
        );
        end(running);
    }
}

#[test]
fn datagrams_that_overflow_in_the_kernel_are_counted() {
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true)], &["127.0.0.1:0"]);
        plan.sockets.register_buffer_bytes = 4096;
        /// Holds the core up so that the kernel's queue fills.
        #[derive(Debug)]
        struct Hold;
        impl Handler for Hold {
            type Metrics = ();
            type Errand = ();

            fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

            fn handle(
                &mut self,
                _: shards::io::Instant,
                _: UnixTime,
                _: Input<'_>,
                _: &mut Outbox,
            ) -> Outcome {
                std::thread::sleep(Duration::from_millis(20));
                Outcome { class: Class::Ack, verdict: Verdict::Absorbed }
            }
            fn run(&mut self, _: shards::io::Instant, _: UnixTime, _: &mut (), _: &mut Outbox) {}
            fn expire(&mut self, _: shards::io::Instant, _: u32, _: &mut Outbox) {}
            fn deadline(&self) -> Option<shards::io::Instant> {
                None
            }
            fn publish(&self, _: &mut ()) {}
        }
        let running = start(&plan, |_, _| Hold).unwrap();
        let client = client(running.listeners[0]);
        for _ in 0..200 {
            client.send(b"REGISTER sip:a SIP/2.0\r\n\r\n").unwrap();
        }
        let metrics =
            counted(&running, |m| m[0].register.datagrams + m[0].register.overflowed == 200);
        assert_eq!(metrics[0].register.datagrams + metrics[0].register.overflowed, 200);
        assert!(metrics[0].register.overflowed > 0);
        assert_eq!(metrics[0].rest.overflowed, 0);
        end(running);
    }
}

#[test]
fn replies_to_ports_that_closed_come_back_as_counted_errors_and_hurt_nobody() {
    for io in BACKENDS {
        let plan = plan(io, &[anywhere(true)], &["127.0.0.1:0", "[::1]:0"]);
        let running = start(&plan, |_, _| Echo::new(5)).unwrap();
        for addr in running.listeners.clone() {
            for _ in 0..20 {
                let gone = client(addr);
                gone.send(b"OPTIONS sip:a SIP/2.0\r\n\r\n").unwrap();
                drop(gone);
                assert_eq!(ask(&client(addr), b"OPTIONS sip:a SIP/2.0\r\n\r\n"), b"OPTIO");
            }
        }
        let metrics = counted(&running, |m| m[0].sent == 80 && m[0].icmp_errors > 0);
        assert_eq!((metrics[0].sent, metrics[0].send_refused), (80, 0), "{io:?}");
        assert!(metrics[0].icmp_errors > 0);
        end(running);
    }
}

#[test]
fn a_message_the_kernel_refuses_does_not_stop_those_behind_it() {
    /// Answers to port 0 first, which no datagram can be sent to, and then to the sender.
    #[derive(Debug)]
    struct Bad;
    impl Handler for Bad {
        type Metrics = ();
        type Errand = ();

        fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

        fn handle(
            &mut self,
            _: shards::io::Instant,
            _: UnixTime,
            input: Input<'_>,
            out: &mut Outbox,
        ) -> Outcome {
            let (Input::Datagram(datagram) | Input::Hop(datagram)) = input else {
                unreachable!("nobody writes")
            };
            let mut nowhere = datagram.from;
            nowhere.addr.set_port(0);
            for to in [nowhere, datagram.from] {
                let mut reply = out.reply();
                reply.put(b"reply");
                assert!(reply.send(to, datagram.to));
            }
            Outcome { class: Class::Options, verdict: Verdict::Replied }
        }
        fn run(&mut self, _: shards::io::Instant, _: UnixTime, _: &mut (), _: &mut Outbox) {}
        fn expire(&mut self, _: shards::io::Instant, _: u32, _: &mut Outbox) {}
        fn deadline(&self) -> Option<shards::io::Instant> {
            None
        }
        fn publish(&self, _: &mut ()) {}
    }
    for io in BACKENDS {
        let running = start(&plan(io, &[anywhere(true)], &["127.0.0.1:0"]), |_, _| Bad).unwrap();
        let client = client(running.listeners[0]);
        for _ in 0..10 {
            client.send(b"OPTIONS sip:a SIP/2.0\r\n\r\n").unwrap();
        }
        let mut reply = [0; 16];
        for _ in 0..10 {
            assert_eq!(receive(&client, &mut reply).unwrap(), 5);
        }
        let metrics = counted(&running, |m| m[0].sent == 10);
        assert_eq!((metrics[0].sent, metrics[0].send_refused), (10, 10), "{io:?}");
        end(running);
    }
}

#[test]
fn draining_answers_what_is_queued_in_the_kernel_and_in_the_rings() {
    for io in BACKENDS {
        let plan = plan(io, &[anywhere(true), anywhere(false)], &["127.0.0.1:0"]);
        let running = start(&plan, |_, _| Echo::new(5).answered_on(CoreId(1))).unwrap();
        let client = client(running.listeners[0]);
        for _ in 0..200 {
            client.send(b"OPTIONS sip:a SIP/2.0\r\n\r\n").unwrap();
        }
        end(running);
        let mut reply = [0; 16];
        for n in 0..200 {
            assert_eq!(receive(&client, &mut reply).ok(), Some(5), "reply {n} on {io:?}");
        }
    }
}

#[test]
fn errands_are_run_in_order_by_the_core_asked_whether_it_sleeps_or_works() {
    /// Adds its number and a hundred for each errand before.
    #[derive(Debug)]
    struct Counting(u64);
    impl Handler for Counting {
        type Metrics = ();
        type Errand = u64;

        fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

        fn handle(
            &mut self,
            _: shards::io::Instant,
            _: UnixTime,
            _: Input<'_>,
            _: &mut Outbox,
        ) -> Outcome {
            Outcome { class: Class::Ack, verdict: Verdict::Absorbed }
        }
        fn run(&mut self, _: shards::io::Instant, _: UnixTime, errand: &mut u64, _: &mut Outbox) {
            *errand += self.0;
            self.0 += 100;
        }
        fn expire(&mut self, _: shards::io::Instant, _: u32, _: &mut Outbox) {}
        fn deadline(&self) -> Option<shards::io::Instant> {
            None
        }
        fn publish(&self, _: &mut ()) {}
    }
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true); 2], &["127.0.0.1:0"]);
        plan.worker.publish_every = Duration::from_secs(60);
        let mut running = start(&plan, |core, _| Counting(u64::from(core.0))).unwrap();
        let mut switchboard = running.switchboard.take().unwrap();
        let take = |switchboard: &mut Switchboard<u64>, core| {
            let until = Instant::now() + PATIENCE;
            loop {
                match switchboard.take(core) {
                    Some(errand) => return *errand,
                    None => assert!(Instant::now() < until, "core {core} never answered on {io:?}"),
                }
                std::thread::yield_now();
            }
        };
        for turn in 0..20 {
            // Long enough to fall asleep, and much less than it would sleep.
            std::thread::sleep(Duration::from_millis(if turn % 5 == 0 { 30 } else { 0 }));
            let asked = Instant::now();
            for core in 0..2 {
                for _ in 0..ERRANDS {
                    switchboard.send(core, Box::new(1000)).unwrap();
                }
                assert!(switchboard.send(core, Box::new(0)).is_err());
            }
            for core in 0..2 {
                for errand in 0..ERRANDS {
                    let before = (turn * ERRANDS + errand) as u64;
                    assert_eq!(take(&mut switchboard, core), 1000 + core as u64 + 100 * before);
                }
            }
            assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
        }
        // An errand that nobody takes back keeps no core from its work, nor from its end.
        switchboard.send(0, Box::new(0)).unwrap();
        end(running);
    }
}

#[test]
fn a_core_without_traffic_shows_its_heartbeat() {
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true)], &["127.0.0.1:0"]);
        plan.worker.publish_every = Duration::from_secs(60);
        let running = start(&plan, |_, _| Echo::new(5)).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        let silent = running.boards[0].silent_for(running.clock.now());
        assert!(silent < Duration::from_millis(1500), "{silent:?} on {io:?}");
        end(running);
    }
}

#[test]
fn a_core_that_panics_at_its_start_keeps_the_others_from_serving() {
    for io in BACKENDS {
        let plan = plan(io, &[anywhere(true), anywhere(true)], &["127.0.0.1:0"]);
        let refused = start(&plan, |core, _| {
            assert_eq!(core, CoreId(0), "the panic that this test is about");
            Echo::new(5)
        });
        assert_eq!(refused.unwrap_err(), "core 1 panicked");
    }
}

#[test]
fn an_address_that_is_taken_or_not_there_is_one_clear_sentence() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = |listeners: &[&str]| {
        start(&plan(Io::Epoll, &[anywhere(true)], listeners), |_, _| Echo::new(5)).unwrap_err()
    };
    assert_eq!(
        refused(&[&addr]),
        format!("udp {addr} is in use: another process, or an earlier [[listen]], has it")
    );
    assert!(refused(&["192.0.2.250:5060"]).contains("no interface has this address"));
    // Another node's sockets share their port, but not with strangers.
    let running =
        start(&plan(Io::Epoll, &[anywhere(true)], &["127.0.0.1:0"]), |_, _| Echo::new(5)).unwrap();
    let addr = running.listeners[0].to_string();
    assert!(refused(&[&addr]).contains("is in use"));
    end(running);
}
