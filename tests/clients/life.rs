//! How a process begins and ends: configuration, ports, signals, health.

use crate::trial;
use libtest_mimic::Trial;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;
use tests::process::{
    Folder, PATIENCE, Seawall, Setup, built, configuration, finish, free_port, run,
};

type Test = fn() -> Result<(), String>;

pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Test); 10] = [
        ("health and metrics are served", looks_inside),
        ("SIGTERM drains and ends with 0", sigterm),
        ("a second SIGTERM ends it at once", second_sigterm),
        ("SIGINT ends it as well", sigint),
        ("a SIP port in use: one sentence, exit code 1", port_in_use),
        ("an admin port in use: one sentence, exit code 1", admin_port_in_use),
        ("an address of another machine: one sentence, exit code 1", foreign_address),
        ("a configuration with several errors shows them all, exit code 2", bad_configuration),
        ("check reads a configuration and starts nothing", check),
        ("a panic in any thread ends it with one line", panic_in_a_thread),
    ];
    all.into_iter().map(|(name, test)| trial(format!("life: {name}"), test)).collect()
}

fn looks_inside() -> Result<(), String> {
    let seawall = Seawall::start(&Setup::simple())?;
    let (status, body) = seawall.get("/healthz")?;
    if (status, body.as_str()) != (200, "ok\n") {
        return Err(format!("/healthz says {status} {body:?}"));
    }
    let (status, body) = seawall.get("/metrics")?;
    if status != 200
        || !body.contains("# HELP seawall_inputs")
        || !body.contains("# TYPE seawall_dropped")
    {
        return Err(format!("/metrics says {status}\n{body}"));
    }
    seawall.stop()
}

fn sigterm() -> Result<(), String> {
    for io in ["uring", "epoll"] {
        Seawall::start(&Setup { io, cores: 2, ..Setup::simple() })?.stop()?;
    }
    Ok(())
}

fn second_sigterm() -> Result<(), String> {
    let mut seawall = Seawall::start(&Setup::simple())?;
    seawall.signal("TERM");
    seawall.signal("TERM");
    // It may have drained before the second one came.
    seawall.wait(Duration::from_secs(1)).map(drop)
}

fn sigint() -> Result<(), String> {
    let mut seawall = Seawall::start(&Setup::simple())?;
    seawall.signal("INT");
    let status = seawall.wait(PATIENCE)?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}

fn port_in_use() -> Result<(), String> {
    let port = free_port();
    let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    refuses_to_start(&configuration(&Setup::simple(), port), &format!("127.0.0.1:{port}"))
}

fn admin_port_in_use() -> Result<(), String> {
    let port = free_port();
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    refuses_to_start(&configuration(&Setup::simple(), port), &format!("127.0.0.1:{port}"))
}

fn foreign_address() -> Result<(), String> {
    let text = configuration(&Setup::simple(), free_port());
    // RFC 5737: an address of documentation, which no machine has.
    refuses_to_start(&text.replacen("udp = \"127.0.0.1", "udp = \"192.0.2.1", 1), "192.0.2.1")
}

fn bad_configuration() -> Result<(), String> {
    let (folder, output) = start(
        "[node]\nio = \"kqueue\"\nnmae = \"x\"\n[registrar]\nmin_expires = \"soon\"\n[domains]\nlocal = []\n",
    )?;
    let said = text(&output);
    if output.status.code() != Some(2) {
        return Err(format!("it ended with {}:\n{said}", output.status));
    }
    for (what, line) in [("kqueue", 2), ("nmae", 3), ("min_expires", 5), ("local", 7)] {
        if !said.contains(what) || !said.contains(&format!("seawall.toml:{line}")) {
            return Err(format!("{what} in line {line} is not told:\n{said}"));
        }
    }
    if !said.contains("name") || !said.contains("epoll") {
        return Err(format!("nothing is suggested:\n{said}"));
    }
    let check = run(&["check", "seawall.toml"], &folder)?;
    if check.status.code() != Some(2) || !text(&check).contains("nmae") {
        return Err(format!("check ended with {}:\n{}", check.status, text(&check)));
    }
    let missing = run(&["run", "--config", "nowhere.toml"], &folder)?;
    if missing.status.code() != Some(2) || !text(&missing).contains("nowhere.toml") {
        return Err(format!("no file ended with {}:\n{}", missing.status, text(&missing)));
    }
    Ok(())
}

fn check() -> Result<(), String> {
    let folder = Folder::new();
    let port = free_port();
    let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    fs::write(folder.path.join("seawall.toml"), configuration(&Setup::simple(), port)).unwrap();
    let output = run(&["check", "seawall.toml"], &folder)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("it ended with {}:\n{}", output.status, text(&output)))
    }
}

/// The configuration is right and the machine is not: one sentence that names what, and exit code 1.
fn panic_in_a_thread() -> Result<(), String> {
    let output = finish(&mut Command::new(built("panics")?), Duration::from_secs(4))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let is_one_line = told.starts_with("seawall: panic in thread core-1 at ")
        && told.ends_with(": two lines\n")
        && told.lines().count() == 1;
    if output.status.success() || !is_one_line {
        return Err(format!("it ended with {} and said {told:?}", output.status));
    }
    Ok(())
}

fn refuses_to_start(configuration: &str, names: &str) -> Result<(), String> {
    let (_folder, output) = start(configuration)?;
    let said = text(&output);
    let sentences = said.lines().filter(|line| line.contains(names) && line.contains(' ')).count();
    if output.status.code() != Some(1) || sentences == 0 || said.contains("panicked") {
        return Err(format!("it ended with {}:\n{said}", output.status));
    }
    Ok(())
}

fn start(configuration: &str) -> Result<(Folder, Output), String> {
    let folder = Folder::new();
    fs::write(folder.path.join("seawall.toml"), configuration).unwrap();
    let output = run(&["run", "--config", "seawall.toml"], &folder)?;
    Ok((folder, output))
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
