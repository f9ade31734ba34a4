//! Calls between two phones and everything that can become of them: answered, refused, given up in every state, never answered. It
//! knows no forks.

use super::cast::{Part, Role, free_address, register};
use super::facts::{self, Between, Compared};
use super::server::{Server, is_reference};
use super::trace::{Message, Trace};
use super::two_cores;
use crate::trial;
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;
use tests::process::Setup;

pub(crate) fn trials(setups: &[(&'static str, Setup)]) -> Vec<Trial> {
    let mut trials = vec![
        // First, since it takes longest.
        trial("calls: a callee that is silent for 32 s (408)".to_owned(), silence),
        trial("calls: refused, given up, answered too late".to_owned(), outcomes),
        trial("calls: CANCEL right behind INVITE".to_owned(), cancelled_at_once),
        trial("calls: CANCEL crosses the answer".to_owned(), crossing),
    ];
    for (label, setup) in setups {
        let setup = setup.clone();
        trials.push(trial(format!("calls: fifty, hung up by either side ({label})"), move || {
            fifty(&setup, false, false)
        }));
    }
    for (label, from_ipv6, to_ipv6) in
        [("IPv6", true, true), ("IPv4 to IPv6", false, true), ("IPv6 to IPv4", true, false)]
    {
        trials.push(trial(format!("calls: fifty, hung up by either side ({label})"), move || {
            fifty(&two_cores(), from_ipv6, to_ipv6)
        }));
    }
    trials
}

/// A phone with one contact for each thing it does.
pub(crate) fn one_callee(
    server: &Server,
    is_ipv6: bool,
    does: &[&str],
    calls: usize,
) -> Result<Part, String> {
    let address = free_address(is_ipv6);
    let bindings: Vec<_> = does
        .iter()
        .map(|what| (format!("who-{what}"), (*what).to_owned(), String::new()))
        .collect();
    register(server.at(is_ipv6), address, &bindings)?;
    Role { scenario: "callee", changes: &[], address, calls, more: &[] }.waits(server.folder())
}

/// What stands between the parts where there is only the server.
pub(crate) fn between(server: &Server, changes_family: bool) -> Between {
    Between {
        server: [server.v4, server.v6],
        proxies: 1,
        recorded: if changes_family { 2 } else { 1 },
    }
}

/// The final responses that a caller got to the INVITE for a user, in their order, each To tag once.
pub(crate) fn finals(trace: &Trace, user: &str) -> Vec<u16> {
    let mut seen = Vec::new();
    for message in trace.side(false) {
        let is_final = message.code() >= 200 && message.method() == "INVITE";
        let key = (message.tag("to").to_owned(), message.value("call-id").to_owned());
        if is_final && message.value("to").contains(&format!("sip:{user}@")) {
            let one = (key, message.code());
            if !seen.contains(&one) {
                seen.push(one);
            }
        }
    }
    seen.into_iter().map(|(_, code)| code).collect()
}

fn fifty(setup: &Setup, from_ipv6: bool, to_ipv6: bool) -> Result<(), String> {
    const CALLS: usize = 50;
    let server = Server::start(setup)?;
    let mut callee = one_callee(&server, to_ipv6, &["answer", "hangup"], CALLS)?;
    let address = free_address(from_ipv6);
    let role = Role { scenario: "caller", changes: &[], address, calls: CALLS, more: &[] };
    let whom = ["who-answer", "who-hangup"].map(str::to_owned);
    let mut caller = role.calls(server.folder(), server.at(from_ipv6), &whom)?;
    let (calling, called) = ends(&server, &mut caller, &mut callee)?;
    let seen = [(caller.address, &calling), (callee.address, &called)];
    let compared = facts::hold(between(&server, from_ipv6 != to_ipv6), &seen)?;
    // INVITE, ACK, BYE; 180, 200, 200.
    let all = Compared { requests: 3 * CALLS, responses: 3 * CALLS };
    if compared.requests < all.requests || compared.responses < all.responses {
        return Err(format!("{compared:?} went through, not {all:?}"));
    }
    let trying = calling.side(false).filter(|message| message.code() == 100).count();
    if trying < CALLS {
        return Err(format!("{trying} of {CALLS} calls were answered with 100"));
    }
    server.stop()
}

/// Both, once they have ended; what both and the server say where one has not ended well.
pub(crate) fn ends(
    server: &Server,
    caller: &mut Part,
    callee: &mut Part,
) -> Result<(Trace, Trace), String> {
    match (caller.ends(), callee.ends()) {
        (Ok(calling), Ok(called)) => Ok((calling, called)),
        (caller_ends, callee_ends) => Err(format!(
            "caller: {}\ncallee: {}\n{}",
            caller_ends.err().unwrap_or_else(|| caller.said()),
            callee_ends.err().unwrap_or_else(|| callee.said()),
            server.log()
        )),
    }
}

/// What the callee does, and what the caller has to get for it.
const OUTCOMES: &[(&str, u16)] = &[
    ("answer", 200),
    ("hangup", 200),
    ("refuse-302", 302),
    ("refuse-404", 404),
    ("refuse-486", 486),
    ("refuse-603", 603),
    // RFC 3261 16.7 step 6: a 503 says that its sender is overloaded, not that we are.
    ("refuse-503", 500),
    ("tire-486", 486),
    ("ring", 487),
    ("mute", 487),
    // RFC 3261 16.7 step 5: a 2xx is forwarded whatever was before.
    ("late", 200),
];

fn outcomes() -> Result<(), String> {
    let server = Server::start(&two_cores())?;
    let does: Vec<&str> = OUTCOMES.iter().map(|(what, _)| *what).collect();
    let mut callee = one_callee(&server, false, &does, OUTCOMES.len())?;
    let nowhere = free_address(false);
    register(server.v4, nowhere, &[("who-left".to_owned(), "left".to_owned(), String::new())])?;
    let mut expected: Vec<(String, u16)> =
        OUTCOMES.iter().map(|(what, code)| (format!("who-{what}"), *code)).collect();
    // RFC 3261 16.5 and 10.2: nobody is there.
    expected.push(("nobody".to_owned(), 480));
    if !is_reference() {
        // RFC 3261 8.1.3.1: a fatal transport error counts as 503. Kamailio waits for Timer B.
        expected.push(("who-left".to_owned(), 500));
    }
    let whom: Vec<String> = expected.iter().map(|(user, _)| user.clone()).collect();
    let address = free_address(false);
    let calls = whom.len();
    let role = Role { scenario: "caller", changes: &[], address, calls, more: &[] };
    let mut caller = role.calls(server.folder(), server.v4, &whom)?;
    let (calling, called) = ends(&server, &mut caller, &mut callee)?;
    let wrong: String = expected
        .iter()
        .filter(|(user, code)| finals(&calling, user) != [*code])
        .map(|(user, code)| format!("{user}: {:?}, not {code}\n", finals(&calling, user)))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    waited_for_a_provisional(&called)?;
    facts::hold(between(&server, false), &[(caller.address, &calling), (callee.address, &called)])?;
    server.stop()
}

/// RFC 3261 9.1: no CANCEL reaches who has not sent a provisional response.
fn waited_for_a_provisional(called: &Trace) -> Result<(), String> {
    for (at, message) in called.messages.iter().enumerate() {
        let of_the_call = |other: &&Message| {
            other.value("call-id") == message.value("call-id") && other.is_sent && other.code() > 0
        };
        if message.method() == "CANCEL"
            && message.is_request()
            && called.messages[..at].iter().find(of_the_call).is_none()
        {
            return Err(format!("a CANCEL before any response:\n{}", message.text()));
        }
    }
    Ok(())
}

/// RFC 3261 9.1 and 16.10: the INVITE is given up before anything came back. It rings, and is ended, when it can be. sipp can't send two
/// requests without looking at what came between, so the caller is a bare socket.
fn cancelled_at_once() -> Result<(), String> {
    const CALLS: usize = 20;
    let server = Server::start(&two_cores())?;
    let callee = one_callee(&server, false, &["ring", "mute"], CALLS)?;
    let address = free_address(false);
    let socket = UdpSocket::bind(address).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(|e| e.to_string())?;
    let request = |method: &str, call: usize, user: &str, to: &str| {
        format!(
            "{method} sip:{user}@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKcall{call};rport\r\nMax-Forwards: 70\r\n\
             f: <sip:caller@sip.test>;tag={call}\r\nTo: {to}\r\nCall-ID: call{call}@{address}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:caller@{address}>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let send = |text: String| socket.send_to(text.as_bytes(), server.v4).map_err(|e| e.to_string());
    let whom = |call: usize| if call.is_multiple_of(2) { "who-ring" } else { "who-mute" };
    for call in 0..CALLS {
        let to = format!("<sip:{}@sip.test>", whom(call));
        send(request("INVITE", call, whom(call), &to))?;
        send(request("CANCEL", call, whom(call), &to))?;
    }
    let (mut cancelled, mut ended) = (vec![0; CALLS], vec![0; CALLS]);
    let mut datagram = [0; 4096];
    while ended.contains(&0) || cancelled.contains(&0) {
        let length = socket.recv(&mut datagram).map_err(|_| {
            format!("CANCEL got {cancelled:?}, INVITE {ended:?}; {}", callee.said())
        })?;
        let message = Message::read(false, &datagram[..length])?;
        let call: usize = message.tag("from").parse().map_err(|_| message.text())?;
        if message.method() == "CANCEL" {
            cancelled[call] = message.code();
        } else if message.code() >= 200 {
            ended[call] = message.code();
            send(request("ACK", call, whom(call), message.value("to")))?;
        }
    }
    if cancelled != [200; CALLS] || ended != [487; CALLS] {
        return Err(format!("CANCEL got {cancelled:?}, INVITE {ended:?}"));
    }
    // Whoever was still looked up when the CANCEL came need never have rung. Nobody is left ringing.
    std::thread::sleep(Duration::from_millis(100));
    let called = callee.seen()?;
    waited_for_a_provisional(&called)?;
    let calls = |method: &str| {
        let requests = called.side(false).filter(|message| message.start.starts_with(method));
        requests.map(|message| message.value("call-id")).collect::<BTreeSet<_>>()
    };
    let (rung, left) = (calls("INVITE"), calls("ACK"));
    if rung != left {
        return Err(format!("{rung:?} rang and {left:?} ended"));
    }
    server.stop()
}

/// The caller gives up in the millisecond in which the callee answers: one final response, the one that the callee sent.
fn crossing() -> Result<(), String> {
    const CALLS: usize = 40;
    let server = Server::start(&two_cores())?;
    let mut callee = one_callee(&server, false, &["answer"], CALLS)?;
    let changes =
        [("timeout=\"1000\" ontimeout=\"cancel\"", "timeout=\"299\" ontimeout=\"cancel\"")];
    let role = Role {
        scenario: "caller",
        changes: &changes,
        address: free_address(false),
        calls: CALLS,
        more: &[],
    };
    let mut caller = role.calls(server.folder(), server.v4, &["who-answer".to_owned()])?;
    let (calling, called) = ends(&server, &mut caller, &mut callee)?;
    let mut given: Vec<(String, u16)> = called
        .side(true)
        .filter(|message| message.code() >= 200 && message.method() == "INVITE")
        .map(|message| (message.value("call-id").to_owned(), message.code()))
        .collect();
    let mut gotten: Vec<(String, u16)> = calling
        .side(false)
        .filter(|message| message.code() >= 200 && message.method() == "INVITE")
        .map(|message| (message.value("call-id").to_owned(), message.code()))
        .collect();
    for list in [&mut given, &mut gotten] {
        list.sort();
        list.dedup();
    }
    if given != gotten || given.len() != CALLS {
        return Err(format!("the callee sent {given:?}\nand the caller got {gotten:?}"));
    }
    facts::hold(between(&server, false), &[(caller.address, &calling), (callee.address, &called)])?;
    server.stop()
}

/// RFC 3261 17.1.1.2 and 16.7: who never says anything counts as 408 once Timer B has fired, after 64 times T1.
fn silence() -> Result<(), String> {
    let server = Server::start(&two_cores())?;
    let address = free_address(false);
    register(server.v4, address, &[("silent".to_owned(), "x".to_owned(), String::new())])?;
    let silent = UdpSocket::bind(address).map_err(|e| e.to_string())?;
    // One waits, one gives up after a second. Its INVITE can't be cancelled before somebody answers it.
    let patient =
        [("timeout=\"1000\" ontimeout=\"cancel\"", "timeout=\"44000\" ontimeout=\"cancel\"")];
    let play = |changes| -> Result<Part, String> {
        let address = free_address(false);
        let role = Role { scenario: "caller", changes, address, calls: 1, more: &[] };
        role.calls(server.folder(), server.v4, &["silent".to_owned()])
    };
    let (mut patient, mut impatient) = (play(&patient)?, play(&[])?);
    let both = [patient.ends()?, impatient.ends()?].map(|trace| finals(&trace, "silent"));
    if both[0] != [408] || !matches!(both[1].as_slice(), [408 | 487]) {
        return Err(format!("{both:?}"));
    }
    drop(silent);
    server.stop()
}
