//! Calls that outlive the server: set up through one process, hung up through the next, which has other cores and has never heard of
//! anybody. Only the secret is the same.

use super::cast::{Role, free_address, register};
use super::facts;
use super::outcomes::{between, ends};
use super::server::Server;
use crate::trial;
use libtest_mimic::Trial;
use tests::process::{Folder, Setup, free_port};

pub(crate) fn trials() -> Vec<Trial> {
    [("one core, then two", 1, 2), ("two cores, then one", 2, 1)]
        .into_iter()
        .map(|(label, before, after)| {
            trial(format!("calls: hung up after a restart ({label})"), move || {
                restart(before, after)
            })
        })
        .collect()
}

fn restart(before: usize, after: usize) -> Result<(), String> {
    const CALLS: usize = 10;
    let folder = Folder::new();
    let node = format!("secret_file = \"{}\"\n", folder.path.join("secret").display());
    let setup = |cores| Setup { io: "epoll", cores, node: node.clone(), ..Setup::simple() };
    let port = free_port();
    let server = Server::start_at(&setup(before), port, None)?;
    let address = free_address(false);
    let bindings =
        ["answer", "hangup"].map(|does| (format!("who-{does}"), does.to_owned(), String::new()));
    register(server.v4, address, &bindings)?;
    // Both sides talk until the next process has taken over.
    let pause = [("milliseconds=\"100\"", "milliseconds=\"3000\"")];
    let callee = Role { scenario: "callee", changes: &pause, address, calls: CALLS, more: &[] };
    let mut callee = callee.waits(&folder.path)?;
    let changes = [("timeout=\"800\" ontimeout=\"end\"", "timeout=\"4000\" ontimeout=\"end\"")];
    let address = free_address(false);
    let caller = Role { scenario: "caller", changes: &changes, address, calls: CALLS, more: &[] };
    let whom = ["who-answer", "who-hangup"].map(str::to_owned);
    let mut caller = caller.calls(&folder.path, server.v4, &whom)?;
    callee.awaits("ACK", CALLS)?;
    server.stop()?;
    let server = Server::start_at(&setup(after), port, None)?;
    let ended = |trace: &super::trace::Trace| {
        trace.messages.iter().any(|message| message.method() == "BYE")
    };
    if ended(&callee.seen()?) {
        return Err("the next process was not there in time".to_owned());
    }
    let (calling, called) = ends(&server, &mut caller, &mut callee)?;
    let seen = [(caller.address, &calling), (callee.address, &called)];
    facts::hold(between(&server, false), &seen)?;
    server.stop()
}
