//! What follows in a dialog, and requests outside of calls: each a pair of scenarios in which one side waits for the other.

use super::cast::{Role, free_address, register};
use super::facts;
use super::outcomes::{between, ends};
use super::server::Server;
use super::two_cores;
use crate::trial;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let all = [
        ("PRACK, UPDATE, re-INVITE, INFO, REFER, NOTIFY in a call", "long", true),
        ("MESSAGE, SUBSCRIBE, NOTIFY, REFER, an unknown method", "others", true),
        // What a strict router makes of Route and Request-URI is judged by the scenarios.
        ("a strict router in the route set", "strict", false),
    ];
    let mut trials = Vec::new();
    for (label, pair, compares) in all {
        for (families, is_ipv6) in [("IPv4", false), ("IPv4 to IPv6", true)] {
            // Its one Record-Route is the one that it knows.
            if is_ipv6 && !compares {
                continue;
            }
            trials.push(trial(format!("calls: {label} ({families})"), move || {
                play(pair, is_ipv6, compares)
            }));
        }
    }
    trials
}

fn play(pair: &str, to_ipv6: bool, compares: bool) -> Result<(), String> {
    const CALLS: usize = 10;
    let server = Server::start(&two_cores())?;
    let address = free_address(to_ipv6);
    register(server.at(to_ipv6), address, &[("who".into(), "callee".into(), String::new())])?;
    let scenario = format!("{pair}_callee");
    let callee = Role { scenario: &scenario, changes: &[], address, calls: CALLS, more: &[] };
    let mut callee = callee.waits(server.folder())?;
    let scenario = format!("{pair}_caller");
    let address = free_address(false);
    let caller = Role { scenario: &scenario, changes: &[], address, calls: CALLS, more: &[] };
    let mut caller = caller.calls(server.folder(), server.v4, &["who".to_owned()])?;
    let (calling, called) = ends(&server, &mut caller, &mut callee)?;
    if compares {
        let seen = [(caller.address, &calling), (callee.address, &called)];
        facts::hold(between(&server, to_ipv6), &seen)?;
    }
    server.stop()
}
