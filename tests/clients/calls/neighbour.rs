//! Calls across domains: Kamailio serves `other.test` beside us, with phones of its own. Both proxies stay in the dialog.

use super::cast::{Part, Role, free_address, register};
use super::facts::{self, Between, Compared};
use super::outcomes::{ends, finals};
use super::server::{Server, is_reference, kamailio};
use super::two_cores;
use crate::trial;
use libtest_mimic::Trial;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use tests::process::{Background, PATIENCE, free_port};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("calls: to a neighbour's phones".to_owned(), || across(false)),
        trial("calls: from a neighbour's phones".to_owned(), || across(true)),
        trial("calls: a spiral through a neighbour (RFC 5393)".to_owned(), spiral),
        trial("calls: a loop through a neighbour (482)".to_owned(), looped),
    ]
}

/// The server under test and its neighbour.
struct Domains {
    server: Server,
    neighbour: Background,
    address: SocketAddr,
    folder: PathBuf,
}

impl Domains {
    fn start() -> Result<Self, String> {
        // Requests of the neighbour come from an address that nobody else has.
        let address = SocketAddr::from(([127, 0, 0, 2], free_port()));
        let server = Server::start_at(&two_cores(), free_port(), Some(address))?;
        let folder = server.folder().join("neighbour");
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let neighbour = kamailio(&folder, &[address], ("other.test", "sip.test"), Some(server.v4))?;
        Ok(Domains { server, neighbour, address, folder })
    }

    /// What lies between the parts where a message passes this many proxies.
    fn between(&self, proxies: usize) -> Between {
        Between { server: [self.server.v4, self.server.v6], proxies, recorded: proxies }
    }

    /// A phone of a domain.
    fn phone(&self, domain: &str, calls: usize) -> Result<Part, String> {
        let address = free_address(false);
        let bindings = ["answer", "hangup"]
            .map(|does| (format!("who-{does}@{domain}"), does.to_owned(), String::new()));
        let registrar = if domain == "sip.test" { self.server.v4 } else { self.address };
        register(registrar, address, &bindings)?;
        Role { scenario: "callee", changes: &[], address, calls, more: &[] }.waits(&self.folder)
    }

    fn stop(mut self) -> Result<(), String> {
        self.neighbour.signal("TERM");
        self.neighbour.wait(PATIENCE)?;
        self.server.stop()
    }
}

/// Half of the calls are ended by the caller, half by the callee.
fn across(comes_in: bool) -> Result<(), String> {
    const CALLS: usize = 20;
    let domains = Domains::start()?;
    let (from, to) = if comes_in { ("other.test", "sip.test") } else { ("sip.test", "other.test") };
    let mut callee = domains.phone(to, CALLS)?;
    let caller = format!("sip:caller@{from}");
    let role = Role {
        scenario: "caller",
        changes: &[("sip:caller@sip.test", &caller)],
        address: free_address(false),
        calls: CALLS,
        more: &[],
    };
    let whom = ["answer", "hangup"].map(|does| format!("who-{does}@{to}"));
    let first = if comes_in { domains.address } else { domains.server.v4 };
    let mut caller = role.calls(&domains.folder, first, &whom)?;
    let told = |why: String| format!("{why}\nthe neighbour: {}", domains.neighbour.log());
    let (calling, called) = ends(&domains.server, &mut caller, &mut callee).map_err(told)?;
    let seen = [(caller.address, &calling), (callee.address, &called)];
    let compared = facts::hold(domains.between(2), &seen)?;
    let all = Compared { requests: 3 * CALLS, responses: 3 * CALLS };
    if compared.requests < all.requests || compared.responses < all.responses {
        return Err(format!("{compared:?} went through, not {all:?}"));
    }
    domains.stop()
}

/// The neighbour sends the call back for another user: it passes us twice, and that is no loop.
fn spiral() -> Result<(), String> {
    let domains = Domains::start()?;
    let mut callee = domains.phone("sip.test", 1)?;
    let address = free_address(false);
    let role = Role { scenario: "caller", changes: &[], address, calls: 1, more: &[] };
    let mut caller =
        role.calls(&domains.folder, domains.server.v4, &["spiral@other.test".to_owned()])?;
    let (calling, called) = ends(&domains.server, &mut caller, &mut callee)?;
    if finals(&calling, "spiral") != [200] {
        return Err(format!("{:?}, not 200", finals(&calling, "spiral")));
    }
    let seen = [(caller.address, &calling), (callee.address, &called)];
    facts::hold(domains.between(3), &seen)?;
    domains.stop()
}

/// The neighbour sends the call back as it came: RFC 3261 16.3 step 4. Kamailio itself knows no loops but by Max-Forwards.
fn looped() -> Result<(), String> {
    let domains = Domains::start()?;
    let address = free_address(false);
    let changes = [("response=\"482\"", "response=\"483\"")];
    let changes = if is_reference() { &changes[..] } else { &[] };
    let role = Role { scenario: "caller", changes, address, calls: 1, more: &[] };
    let mut caller =
        role.calls(&domains.folder, domains.server.v4, &["looped@other.test".to_owned()])?;
    let told = |why: String| format!("{why}\nthe neighbour: {}", domains.neighbour.log());
    let codes = finals(&caller.ends().map_err(told)?, "looped");
    if codes != [if is_reference() { 483 } else { 482 }] {
        return Err(format!("{codes:?}"));
    }
    domains.stop()
}
