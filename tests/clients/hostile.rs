//! What nobody should send, over real sockets: the process must live, answer what can be answered, and count the rest.

use crate::trial;
use libtest_mimic::Trial;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tests::process::{Metrics, Seawall, Setup};

type Test = fn(&Setup) -> Result<(), String>;

pub(crate) fn trials(label: &'static str, setup: &Setup) -> Vec<Trial> {
    let all: [(&str, Test); 4] = [
        ("what is no message is dropped and counted", no_message),
        ("what is cut off or huge is refused or counted", broken),
        ("a flood of everything is survived", flood),
        ("sources that can't be answered are survived", unanswerable),
    ];
    all.into_iter()
        .map(|(name, test)| {
            let setup = setup.clone();
            trial(format!("hostile: {name} ({label})"), move || test(&setup))
        })
        .collect()
}

const REGISTER: &str = "REGISTER sip:sip.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-1;rport\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:mallory@sip.test>;tag=1\r\n\
    To: <sip:mallory@sip.test>\r\n\
    Call-ID: hostile\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:mallory@127.0.0.1>\r\n\
    Content-Length: 0\r\n\r\n";

const STUN: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";

fn no_message(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    for server in [seawall.v4, seawall.v6] {
        let socket = socket(server);
        for datagram in [
            &b""[..],
            b"\r\n\r\n",
            b"\r\n",
            STUN,
            b"\xff\xff\xff\xff",
            b"REGISTER",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            socket.send(datagram).unwrap();
        }
        silence(&socket)?;
        alive(&socket, "after-junk")?;
    }
    // What was sent in both families, and the two requests that were answered.
    let metrics = seawall.metrics(|metrics| metrics.inputs() == 16)?;
    metrics.reconcile()?;
    for (reason, count) in [("empty", 2), ("crlf", 4), ("stun", 2), ("not_sip", 6)] {
        if metrics.dropped(reason) != count {
            return Err(format!("{reason} is not {count}:\n{metrics}"));
        }
    }
    quiet(&seawall)?;
    seawall.stop()
}

fn broken(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    let mut sent = 0;
    for server in [seawall.v4, seawall.v6] {
        let socket = socket(server);
        // Cut off after every byte: an answer or a counted drop, never an end.
        for length in 0..REGISTER.len() {
            socket.send(&REGISTER.as_bytes()[..length]).unwrap();
            sent += 1;
            if length % 16 == 0 {
                while receive(&socket, Duration::from_millis(1)).is_some() {}
            }
        }
        let head = REGISTER.trim_end().replace("Content-Length: 0", "X: ");
        let most = if server.is_ipv4() { 65_507 } else { 65_487 };
        let fill = most - head.len() - 4;
        for filler in [&b"a"[..], b"\0", b",", b"<", b"\"", b"\r\n a", b"\r\nX:a", b"%00", b"\xff"]
        {
            let mut datagram = head.clone().into_bytes();
            datagram.extend(filler.iter().cycle().take(fill));
            datagram.extend_from_slice(b"\r\n\r\n");
            assert_eq!(datagram.len(), most);
            socket.send(&datagram).unwrap();
            sent += 1;
            while receive(&socket, Duration::from_millis(20)).is_some() {}
        }
        while receive(&socket, Duration::from_millis(100)).is_some() {}
        alive(&socket, "after-broken")?;
        sent += 1;
    }
    let metrics = seawall.metrics(|metrics| metrics.inputs() == sent)?;
    metrics.reconcile()?;
    quiet(&seawall)?;
    seawall.stop()
}

fn flood(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    let sockets = [socket(seawall.v4), socket(seawall.v6), socket(seawall.v4)];
    let end = Instant::now() + Duration::from_secs(2);
    let mut sent: u64 = 0;
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    while Instant::now() < end {
        for socket in &sockets {
            for _ in 0..16 {
                // A small generator of its own: the same flood in every run.
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let mut datagram =
                    REGISTER.replace("hostile", &format!("flood-{seed}")).into_bytes();
                let place = usize::try_from(seed >> 33).unwrap() % datagram.len();
                match (seed >> 60) & 3 {
                    0 => datagram[place] = u8::try_from(seed >> 56).unwrap(),
                    1 => datagram.truncate(place),
                    2 => drop(datagram.splice(place..place, *b"\r\n\r\n")),
                    _ => {}
                }
                // A full buffer of our own is no matter: it was not sent.
                sent += u64::from(socket.send(&datagram).is_ok());
            }
        }
    }
    for socket in &sockets {
        while receive(socket, Duration::from_millis(50)).is_some() {}
    }
    alive(&sockets[0], "after-flood")?;
    sent += 1;
    let overflow = |metrics: &Metrics| metrics.sum("seawall_kernel_overflow_total", &[]);
    let received = |metrics: &Metrics| metrics.sum("seawall_received_datagrams_total", &[]);
    let metrics = seawall.metrics(|metrics| received(metrics) + overflow(metrics) == sent)?;
    metrics.reconcile()?;
    quiet(&seawall)?;
    seawall.stop()
}

fn unanswerable(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    let client = socket(seawall.v4);
    // The response goes where Via says: to a port where nobody listens, and to port 0, where nobody can.
    for (number, via) in ["127.0.0.1:9", "127.0.0.1:0", "127.0.0.1:65536"].iter().enumerate() {
        for count in 0..20 {
            let request = REGISTER
                .replace(
                    "127.0.0.1:9;branch=z9hG4bK-1;rport",
                    &format!("{via};branch=z9hG4bK-{number}-{count}"),
                )
                .replace("CSeq: 1 ", &format!("CSeq: {} ", 1 + number * 20 + count));
            client.send(request.as_bytes()).unwrap();
        }
    }
    // An endpoint that is gone when its answer comes: the kernel reports it over ICMP.
    for count in 0..20 {
        let gone = socket(seawall.v4);
        let request = REGISTER
            .replace("z9hG4bK-1", &format!("z9hG4bK-gone-{count}"))
            .replace("hostile", &format!("gone-{count}"));
        gone.send(request.as_bytes()).unwrap();
    }
    while receive(&client, Duration::from_millis(100)).is_some() {}
    alive(&client, "after-unanswerable")?;
    let metrics = seawall.metrics(|metrics| metrics.datagrams() == 81)?;
    metrics.reconcile()?;
    quiet(&seawall)?;
    seawall.stop()
}

fn socket(server: SocketAddr) -> UdpSocket {
    let local = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket
}

fn receive(socket: &UdpSocket, at_most: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(at_most)).unwrap();
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

fn silence(socket: &UdpSocket) -> Result<(), String> {
    match receive(socket, Duration::from_millis(200)) {
        None => Ok(()),
        Some(bytes) => Err(format!("this was answered:\n{}", bytes.escape_ascii())),
    }
}

/// A good registration is still answered.
fn alive(socket: &UdpSocket, call_id: &str) -> Result<(), String> {
    // A phone of its own for each family.
    let call_id =
        format!("{call_id}-{}", if socket.local_addr().unwrap().is_ipv4() { 4 } else { 6 });
    let request = REGISTER
        .replace("hostile", &call_id)
        .replace("mallory", &call_id)
        .replace("z9hG4bK-1", &format!("z9hG4bK-{call_id}"));
    let ours = format!("Call-ID: {call_id}\r\n");
    for _ in 0..5 {
        socket.send(request.as_bytes()).unwrap();
        // Answers to what was sent before may still come.
        while let Some(response) = receive(socket, Duration::from_millis(500)) {
            let response = String::from_utf8_lossy(&response);
            if response.contains(&ours) {
                let good = response.starts_with("SIP/2.0 200 ");
                return if good {
                    Ok(())
                } else {
                    Err(format!("a good registration got\n{response}"))
                };
            }
        }
    }
    Err("a good registration is not answered".to_owned())
}

/// It said nothing about any of this: a line a packet would be a gift to the sender.
fn quiet(seawall: &Seawall) -> Result<(), String> {
    let log = seawall.log();
    if log.lines().count() > 40 { Err(format!("it is talkative:\n{log}")) } else { Ok(()) }
}
