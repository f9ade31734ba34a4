//! Phones that have to show whose they are: sipp answers challenges with its own digest, sipsak with its own.

use crate::control::await_log;
use crate::{sipp, trial};
use libtest_mimic::Trial;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::flow::verifiers;
use tests::process::{Folder, Seawall, Setup, finish};

pub(crate) fn trials(label: &'static str, setup: &Setup) -> Vec<Trial> {
    let setup = setup.clone();
    vec![trial(format!("digest ({label})"), move || play(label, setup))]
}

/// What does not depend on how sockets are waited for.
pub(crate) fn general_trials() -> Vec<Trial> {
    vec![trial("SIGHUP reads the subscribers again".to_owned(), reload)]
}

/// Passwords that change while the node serves, and a file that can't be read.
fn reload() -> Result<(), String> {
    let folder = Folder::new();
    let file = folder.path.join("subscribers.csv");
    let write = |password: &str| {
        fs::write(&file, line("four-1", password)).map_err(|error| error.to_string())
    };
    write("secret")?;
    let seawall = Seawall::start(&Setup { more: section(&file), ..Setup::simple() })?;
    sipsak(&seawall, "secret", true)?;
    let reloaded = |told: &str| {
        seawall.signal("HUP");
        await_log(&seawall, told)?;
        sipsak(&seawall, "secret", false)?;
        sipsak(&seawall, "changed", true)
    };
    write("changed")?;
    reloaded("SIGHUP: subscribers: 1 of ")?;
    fs::remove_file(&file).map_err(|error| error.to_string())?;
    reloaded("can't be read: ")?;
    await_log(&seawall, "everything stays as it was")?;
    seawall.stop()
}

/// The same set-up, where one user has the password `secret` and nobody else may register. The folder holds the file.
pub(crate) fn protected(mut setup: Setup, user: &str, folder: &Folder) -> Result<Setup, String> {
    setup.more.push_str(&subscribers(&[user], folder)?);
    Ok(setup)
}

/// The lines of a configuration in which these users have the password `secret`. The folder holds their file.
pub(crate) fn subscribers(users: &[&str], folder: &Folder) -> Result<String, String> {
    let file = folder.path.join("subscribers.csv");
    let lines: String = users.iter().map(|user| line(user, "secret")).collect();
    fs::write(&file, lines).map_err(|error| error.to_string())?;
    Ok(section(&file))
}

/// A subscriber's line in the file.
fn line(user: &str, password: &str) -> String {
    let [md5, ..] = verifiers(user, "sip.test", password);
    let digits: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{user},sip.test,{digits}\n")
}

/// The part of the configuration that asks for digest.
fn section(subscribers: &Path) -> String {
    let path = subscribers.display();
    format!("\n[auth]\nmode = \"digest\"\nrealm = \"sip.test\"\nsubscribers = \"{path}\"\n")
}

fn play(label: &str, mut setup: Setup) -> Result<(), String> {
    let users: Vec<String> = ["four", "six"]
        .iter()
        .flat_map(|family| (0..sipp::CALLS).map(move |call| format!("{family}-{call}")))
        .collect();
    let name = format!("seawall-{}-{}.csv", std::process::id(), label.replace([' ', ','], "-"));
    let subscribers = std::env::temp_dir().join(name);
    let lines: String = users.iter().map(|user| line(user, "secret")).collect();
    fs::write(&subscribers, lines).map_err(|error| error.to_string())?;
    setup.more.push_str(&section(&subscribers));
    let played = meet(&setup);
    // Read at the start and not needed any more.
    fs::remove_file(&subscribers).map_err(|error| error.to_string())?;
    played
}

fn meet(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    if !seawall.log().contains("subscribers: 60 of ") {
        return Err(format!("it does not say who there is:\n{}", seawall.log()));
    }
    let folder = seawall.folder();
    for (family, server) in [("four", seawall.v4), ("six", seawall.v6)] {
        let users = folder.join(format!("{family}.csv"));
        let lines = (0..sipp::CALLS).fold("SEQUENTIAL\n".to_owned(), |mut lines, call| {
            let user = format!("{family}-{call}");
            let right = format!("[authentication username={user} password=secret]");
            let wrong = format!("[authentication username={user} password=guessed]");
            let _ = writeln!(lines, "{user};{right};{wrong};");
            lines
        });
        fs::write(&users, lines).map_err(|error| error.to_string())?;
        let users = users.display().to_string();
        sipp::run("digest", server, family, folder, &["-inf", &users, "-auth_uri", "sip.test"])?;
    }
    sipsak(&seawall, "secret", true)?;
    sipsak(&seawall, "guessed", false)?;
    let metrics = seawall.metrics(|metrics| {
        metrics.reconcile().is_ok()
            && metrics.sum("seawall_unauthenticated_total", &["cause=\"bad_response\""]) >= 61
    })?;
    let calls = u64::from(2 * sipp::CALLS);
    let absent = metrics.sum("seawall_unauthenticated_total", &["cause=\"absent\""]);
    if absent < calls {
        return Err(format!("{absent} of {calls} calls were challenged"));
    }
    if metrics.sum("seawall_bindings_created_total", &[]) < calls {
        return Err("not everybody with a password was let in".to_owned());
    }
    seawall.stop()
}

/// sipsak registers as one of the users, whom it has to be told again: else it calls itself `four-1@`. Its exit code tells whether
/// the last answer was a 200.
fn sipsak(seawall: &Seawall, password: &str, is_let_in: bool) -> Result<(), String> {
    let proxy = seawall.v4.to_string();
    let mut command = Command::new("sipsak");
    command.args(["-U", "-i", "-C", "sip:four-1@127.0.0.1:5099", "-x", "600"]).args([
        "-p",
        &proxy,
        "-s",
        "sip:four-1@sip.test",
        "-u",
        "four-1",
        "-a",
        password,
        "-vv",
    ]);
    let output = finish(&mut command, Duration::from_secs(30))?;
    if output.status.success() == is_let_in {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!("sipsak with the password {password} ended with {}:\n{said}", output.status))
}
