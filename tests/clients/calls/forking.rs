//! Calls to a user with three phones, and what becomes of every mix of what they do: RFC 3261 16.7.

use super::cast::{Part, Role, free_address, register};
use super::facts;
use super::outcomes::{between, finals};
use super::server::Server;
use super::trace::Trace;
use super::two_cores;
use crate::trial;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("calls: forks to three phones, every mix of outcomes".to_owned(), forks)]
}

/// One user: what the phones do, with which q, whether they are reached, and what the caller has to get.
struct Fork {
    phones: [(&'static str, &'static str, bool); 3],
    expected: Expected,
}

enum Expected {
    /// One final response, which is one of these.
    OneOf(&'static [u16]),
    /// Every 2xx that a phone sent, and nothing else.
    Every2xx,
}

/// Every mix of four outcomes, and groups of q.
fn table() -> Vec<Fork> {
    const WHAT: [&str; 4] = ["answer", "refuse-486", "refuse-603", "ring"];
    let mut table = Vec::new();
    for (a, first) in WHAT.iter().enumerate() {
        for (b, second) in WHAT.iter().enumerate().skip(a) {
            for third in &WHAT[b..] {
                let mix = [*first, *second, *third];
                let has = |what: &str| mix.contains(&what);
                // Refusals come after 100 ms, answers after 300 ms, and the caller gives up after a second.
                let expected = if has("refuse-603") {
                    Expected::OneOf(&[603])
                } else if has("answer") {
                    Expected::Every2xx
                } else if has("refuse-486") && has("ring") {
                    // RFC 3261 16.7 step 6 lets it choose within a class.
                    Expected::OneOf(&[486, 487])
                } else if has("ring") {
                    Expected::OneOf(&[487])
                } else {
                    Expected::OneOf(&[486])
                };
                table.push(Fork { phones: mix.map(|what| (what, "", true)), expected });
            }
        }
    }
    let serial = |phones, expected| Fork { phones, expected };
    table.extend([
        // RFC 3261 16.6: the next group is tried once all of a group have failed, and only then.
        serial(
            [("refuse-486", ";q=1", true), ("answer", ";q=0.5", true), ("ring", ";q=0.2", false)],
            Expected::Every2xx,
        ),
        serial(
            [
                ("refuse-486", ";q=0.9", true),
                ("refuse-404", ";q=0.9", true),
                ("answer", ";q=0.1", true),
            ],
            Expected::Every2xx,
        ),
        serial(
            [
                ("refuse-603", ";q=1", true),
                ("answer", ";q=0.5", false),
                ("answer", ";q=0.2", false),
            ],
            Expected::OneOf(&[603]),
        ),
        serial(
            [("ring", ";q=1", true), ("answer", ";q=0.5", false), ("answer", ";q=0.5", false)],
            Expected::OneOf(&[487]),
        ),
        // The lowest class, and no 503 where there is another.
        serial(
            [("refuse-503", "", true), ("refuse-404", "", true), ("refuse-503", "", true)],
            Expected::OneOf(&[404]),
        ),
        serial(
            [("refuse-302", "", true), ("refuse-404", "", true), ("refuse-486", "", true)],
            Expected::OneOf(&[302]),
        ),
    ]);
    table
}

fn forks() -> Result<(), String> {
    let table = table();
    let server = Server::start(&two_cores())?;
    let mut phones = Vec::new();
    for phone in 0..3 {
        let address = free_address(false);
        let bindings: Vec<_> = table
            .iter()
            .enumerate()
            .map(|(user, fork)| {
                let (does, q, _) = fork.phones[phone];
                (format!("fork-{user}"), does.to_owned(), q.to_owned())
            })
            .collect();
        register(server.v4, address, &bindings)?;
        let calls = table.iter().filter(|fork| fork.phones[phone].2).count();
        let role = Role { scenario: "callee", changes: &[], address, calls, more: &[] };
        phones.push(role.waits(server.folder())?);
    }
    let whom: Vec<String> = (0..table.len()).map(|user| format!("fork-{user}")).collect();
    let address = free_address(false);
    let role = Role { scenario: "caller", changes: &[], address, calls: whom.len(), more: &[] };
    let mut caller = role.calls(server.folder(), server.v4, &whom)?;
    let calling = caller.ends();
    let called: Vec<Result<Trace, String>> = phones.iter_mut().map(Part::ends).collect();
    let says = |why: String| format!("{why}\n{}\n{}", caller.said(), server.log());
    let calling = calling.map_err(says)?;
    let called = called.into_iter().collect::<Result<Vec<_>, _>>().map_err(says)?;
    let wrong: String = table
        .iter()
        .enumerate()
        .filter_map(|(user, fork)| judge(fork, &format!("fork-{user}"), &calling, &called))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut seen = vec![(address, &calling)];
    seen.extend(phones.iter().zip(&called).map(|(part, trace)| (part.address, trace)));
    facts::hold(between(&server, false), &seen)?;
    server.stop()
}

/// What is wrong with a call.
fn judge(fork: &Fork, user: &str, calling: &Trace, called: &[Trace]) -> Option<String> {
    let gotten = finals(calling, user);
    let answered: usize = called
        .iter()
        .flat_map(|trace| finals_sent(trace, user))
        .filter(|code| *code == 200)
        .count();
    let fits = match fork.expected {
        Expected::OneOf(codes) => gotten.len() == 1 && codes.contains(&gotten[0]),
        Expected::Every2xx => answered >= 1 && gotten == vec![200; answered],
    };
    let what: Vec<&str> = fork.phones.iter().map(|(what, _, _)| *what).collect();
    (!fits).then(|| format!("{what:?}: the caller got {gotten:?}, {answered} answered\n"))
}

/// The final responses that a phone sent to INVITEs for this user, each call's once.
fn finals_sent(trace: &Trace, user: &str) -> Vec<u16> {
    let mut seen: Vec<(&str, u16)> = trace
        .side(true)
        .filter(|message| message.code() >= 200 && message.method() == "INVITE")
        .filter(|message| message.value("to").contains(&format!("sip:{user}@")))
        .map(|message| (message.value("call-id"), message.code()))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen.into_iter().map(|(_, code)| code).collect()
}
