//! What cores write to each other and what the network reports, through real workers, rings and sockets.

use super::*;
use shards::io::{LocalAddr, Peer};
use std::collections::VecDeque;

type Now = shards::io::Instant;

/// Who waits for an answer.
type Asker = (Peer, LocalAddr);

fn outcome(class: Class, verdict: Verdict) -> Outcome {
    Outcome { class, verdict }
}

fn send(out: &mut Outbox, bytes: &[u8], (to, from): Asker) {
    let mut reply = out.reply();
    reply.put(bytes);
    assert!(reply.send(to, from));
}

fn post(out: &mut Outbox, bytes: &[u8], to: CoreId) {
    let mut letter = out.reply();
    letter.put(bytes);
    assert!(letter.post(to));
}

/// Core 0 asks core 1 by letter for each datagram, at once or, where it begins with "later", from a timer; core 1 answers with
/// a letter, and core 0 passes that on.
#[derive(Debug)]
struct Correspondent {
    core: CoreId,
    askers: VecDeque<Asker>,
    later: Option<(Now, Vec<u8>)>,
    /// How long core 1 takes for a letter.
    pause: Duration,
}

impl Correspondent {
    fn new(core: CoreId, pause: Duration) -> Self {
        Correspondent { core, askers: VecDeque::new(), later: None, pause }
    }
}

impl Handler for Correspondent {
    type Metrics = ();
    type Errand = ();

    fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

    fn handle(&mut self, now: Now, _: UnixTime, input: Input<'_>, out: &mut Outbox) -> Outcome {
        match input {
            Input::Datagram(datagram) => {
                assert_eq!(self.core, CoreId(0));
                self.askers.push_back((datagram.from, datagram.to));
                if datagram.bytes.starts_with(b"later") {
                    let due = now.plus(Duration::from_millis(20));
                    self.later = Some((due, datagram.bytes.to_vec()));
                } else {
                    post(out, datagram.bytes, CoreId(1));
                }
                outcome(Class::Invite, Verdict::Held)
            }
            Input::Letter(bytes) if self.core == CoreId(1) => {
                std::thread::sleep(self.pause);
                let answer: Vec<u8> = bytes.iter().rev().copied().collect();
                post(out, &answer, CoreId(0));
                outcome(Class::Letter, Verdict::Absorbed)
            }
            Input::Letter(bytes) => {
                send(out, bytes, self.askers.pop_front().unwrap());
                outcome(Class::Letter, Verdict::Forwarded)
            }
            Input::Hop(_) | Input::Unreachable(_) | Input::Addresses { .. } => {
                unreachable!("nothing moves, nothing is sent to where nobody is, and nobody asks")
            }
        }
    }

    fn run(&mut self, _: Now, _: UnixTime, _: &mut (), _: &mut Outbox) {}

    fn expire(&mut self, now: Now, _: u32, out: &mut Outbox) {
        if let Some((_, bytes)) = self.later.take_if(|(due, _)| *due <= now) {
            post(out, &bytes, CoreId(1));
        }
    }

    fn deadline(&self) -> Option<Now> {
        self.later.as_ref().map(|(due, _)| *due)
    }

    fn publish(&self, _: &mut ()) {}
}

#[test]
fn a_letter_and_the_letter_that_answers_it_reach_cores_that_sleep() {
    for io in BACKENDS {
        let plan = plan(io, &[anywhere(true), anywhere(false)], &["127.0.0.1:0"]);
        let running = start(&plan, |core, _| Correspondent::new(core, Duration::ZERO)).unwrap();
        let client = client(running.listeners[0]);
        for turn in 0..10 {
            // Long enough to fall asleep, and much less than they would sleep.
            std::thread::sleep(Duration::from_millis(if turn % 3 == 0 { 30 } else { 0 }));
            let asked = Instant::now();
            assert_eq!(ask(&client, b"INVITE who is where"), b"erehw si ohw ETIVNI");
            assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
        }
        // From a timer, and as long as a letter may be.
        assert_eq!(ask(&client, b"later"), b"retal");
        let mut longest = vec![b'x'; Outbox::TEXT_BYTES_MAX];
        longest[0] = b'I';
        longest.reverse();
        let answer = ask(&client, &longest.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(answer, longest);
        let metrics = counted(&running, |m| m[1].letters_sent == 12 && m[0].letters_received == 12);
        for core in &metrics {
            assert_eq!((core.letters_sent, core.letters_received), (12, 12), "{io:?}");
            assert_eq!((core.letters_dropped, core.hops_sent + core.hops_received), (0, 0));
            assert_eq!(core.service_time.of(Class::Letter).count(), 12);
        }
        assert!(metrics.iter().all(|core| core.wakes_sent > 0), "{io:?}");
        end(running);
    }
}

#[test]
fn a_letter_that_finds_the_ring_full_is_counted_and_lost() {
    for io in BACKENDS {
        let mut plan = plan(io, &[anywhere(true), anywhere(false)], &["127.0.0.1:0"]);
        plan.rings.hops = 4;
        let slow = Duration::from_millis(20);
        let running = start(&plan, move |core, _| Correspondent::new(core, slow)).unwrap();
        let client = client(running.listeners[0]);
        for _ in 0..50 {
            client.send(b"INVITE").unwrap();
        }
        let metrics = counted(&running, |m| {
            m[0].letters_sent + m[0].letters_dropped == 50 && m[0].letters_received >= 4
        });
        assert_eq!(metrics[0].letters_sent + metrics[0].letters_dropped, 50);
        assert!(metrics[0].letters_dropped > 0 && metrics[0].letters_sent >= 4, "{io:?}");
        // Those that were not lost are answered.
        let mut reply = [0; 16];
        for _ in 0..4 {
            assert_eq!(receive(&client, &mut reply).unwrap(), 6);
        }
        end(running);
    }
}

/// Sends to the address that a datagram names in its second word, and tells the asker, whose address is sent along, what the
/// network reports of it. Core 1 is home to all reports.
#[derive(Debug)]
struct Caller {
    core: CoreId,
    home: CoreId,
}

impl Handler for Caller {
    type Metrics = ();
    type Errand = ();

    fn foresee(&mut self, _datagrams: &[Datagram<'_>]) {}

    fn handle(&mut self, _: Now, _: UnixTime, input: Input<'_>, out: &mut Outbox) -> Outcome {
        match input {
            Input::Datagram(datagram) => {
                let text = std::str::from_utf8(datagram.bytes).unwrap();
                let to = Peer::udp(text.split(' ').nth(1).unwrap().parse().unwrap());
                let call = format!("{} {}", datagram.from.addr, "x".repeat(300));
                send(out, call.as_bytes(), (to, datagram.to));
                outcome(Class::Invite, Verdict::Forwarded)
            }
            Input::Unreachable(_) if self.core != self.home => {
                outcome(Class::Unreachable, Verdict::Hopped(self.home))
            }
            Input::Unreachable(report) => {
                let quoted = std::str::from_utf8(report.quoted).unwrap();
                let (asker, rest) = quoted.split_once(' ').unwrap();
                assert_eq!(rest.len(), 300, "{rest}");
                let asker: SocketAddr = asker.parse().unwrap();
                let listener = shards::io::ListenerId(u16::from(asker.is_ipv6()));
                let from = LocalAddr { listener, ip: asker.ip() };
                send(out, report.to.addr.to_string().as_bytes(), (Peer::udp(asker), from));
                outcome(Class::Unreachable, Verdict::Forwarded)
            }
            Input::Hop(_) | Input::Letter(_) | Input::Addresses { .. } => {
                unreachable!("only reports move, and nobody writes or asks")
            }
        }
    }

    fn run(&mut self, _: Now, _: UnixTime, _: &mut (), _: &mut Outbox) {}

    fn expire(&mut self, _: Now, _: u32, _: &mut Outbox) {}

    fn deadline(&self) -> Option<Now> {
        None
    }

    fn publish(&self, _: &mut ()) {}
}

#[test]
fn a_port_where_nobody_is_comes_back_as_an_input_on_the_core_that_sent() {
    for io in BACKENDS {
        for cores in [&[anywhere(true)][..], &[anywhere(true), anywhere(false)]] {
            let home = CoreId(if cores.len() == 1 { 0 } else { 1 });
            let plan = plan(io, cores, &["127.0.0.1:0", "[::1]:0"]);
            let running = start(&plan, move |core, _| Caller { core, home }).unwrap();
            for addr in running.listeners.clone() {
                let client = client(addr);
                for turn in 0..32 {
                    let nobody = UdpSocket::bind(SocketAddr::new(addr.ip(), 0)).unwrap();
                    let gone = nobody.local_addr().unwrap();
                    drop(nobody);
                    let asked = Instant::now();
                    let told = ask(&client, format!("INVITE {gone}").as_bytes());
                    assert_eq!(told, gone.to_string().as_bytes(), "{turn} {io:?}");
                    // At once, and not with the next look at everything.
                    assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
                }
            }
            let sum = |m: &[worker::Metrics], f: fn(&worker::Metrics) -> u64| {
                m.iter().map(f).sum::<u64>()
            };
            let metrics = counted(&running, |m| sum(m, |m| m.sent) == 128);
            assert_eq!((sum(&metrics, |m| m.sent), sum(&metrics, |m| m.icmp_errors)), (128, 64));
            let handled = metrics[usize::from(home.0)].service_time.of(Class::Unreachable).count();
            assert_eq!(handled, 64);
            // The kernel picks any socket of the group, so some are reported to the core that is not their home.
            assert_eq!(sum(&metrics, |m| m.hops_received) > 0, cores.len() > 1, "{io:?}");
            assert_eq!(sum(&metrics, |m| m.hops_sent), sum(&metrics, |m| m.hops_received));
            end(running);
        }
    }
}
