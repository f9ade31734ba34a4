//! baresip as the phone, headless: it registers, refreshes and unregisters, each family on its own. What it saw is judged by
//! Seawall's counters, and by how it ends.

use crate::digest::protected;
use crate::trial;
use libtest_mimic::Trial;
use std::fs;
use std::path::Path;
use tests::process::{Background, Folder, Metrics, PATIENCE, Seawall, Setup};

pub(crate) fn trials() -> Vec<Trial> {
    let of = |io, cores, wrong_core| Setup { io, cores, wrong_core, ..brief() };
    let all = [
        ("IPv4, epoll, one core", of("epoll", 1, false), false, false),
        ("IPv6, uring, all at the wrong core", of("uring", 2, true), true, false),
        ("digest, epoll, two cores", of("epoll", 2, false), false, true),
    ];
    all.into_iter()
        .map(|(label, setup, is_ipv6, asks)| {
            trial(format!("baresip registers, refreshes and unregisters ({label})"), move || {
                lives(&setup, is_ipv6, asks)
            })
        })
        .collect()
}

/// Lifetimes of seconds, so that a refresh is seen.
fn brief() -> Setup {
    Setup { more: "[registrar]\nmin_expires = 1\n".to_owned(), ..Setup::simple() }
}

fn lives(setup: &Setup, is_ipv6: bool, asks: bool) -> Result<(), String> {
    let folder = Folder::new();
    let setup = if asks { &protected(setup.clone(), "alice", &folder)? } else { setup };
    let seawall = Seawall::start(setup)?;
    configure(&seawall, is_ipv6, asks).map_err(|e| e.to_string())?;
    let mut phone = Background::start("baresip", &["-f", ".", "-s", "-v"], seawall.folder())?;
    let made = |metrics: &Metrics| count(metrics, "created") == 1;
    // It asks for 4 s and comes again at nine tenths of what it was granted.
    let refreshed = |metrics: &Metrics| made(metrics) && count(metrics, "refreshed") >= 2;
    let metrics = seawall.metrics(refreshed).map_err(|why| format!("{why}\n{}", phone.log()))?;
    if metrics.sum("seawall_bindings", &[]) != 1
        || metrics.responses(200) + metrics.responses(401) != metrics.inputs()
        || asks != (metrics.responses(401) > 0)
    {
        return Err(format!("not one binding, or a refusal:\n{metrics}\n{}", phone.log()));
    }
    phone.signal("TERM");
    let status = phone.wait(PATIENCE)?;
    if !status.success() || !phone.log().contains("200 OK () [1 binding]") {
        return Err(format!("it ended with {status}, saying:\n{}", phone.log()));
    }
    let metrics = seawall.metrics(|metrics| count(metrics, "removed") == 1)?;
    if !made(&metrics) || metrics.sum("seawall_bindings", &[]) != 0 {
        return Err(format!("a binding is left:\n{metrics}\n{}", phone.log()));
    }
    metrics.reconcile()?;
    seawall.stop()
}

fn configure(seawall: &Seawall, is_ipv6: bool, asks: bool) -> std::io::Result<()> {
    let (server, local) =
        if is_ipv6 { (seawall.v6, "[::1]:0") } else { (seawall.v4, "127.0.0.1:0") };
    let folder = seawall.folder();
    // aubridge connects a source of sound with a drain: no sound card is needed.
    let config = format!(
        "poll_method epoll\nsip_listen {local}\nmodule_path {MODULES}\nmodule aubridge.so\nmodule g711.so\n\
         audio_source aubridge,x\naudio_player aubridge,x\naudio_alert aubridge,x\n\
         module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n"
    );
    fs::write(folder.join("config"), config)?;
    fs::write(folder.join("contacts"), "")?;
    let password = if asks { ";auth_pass=secret" } else { "" };
    let account = format!("<sip:alice@sip.test>{password};regint=4;outbound=\"sip:{server}\"");
    write_account(folder, &account)
}

fn write_account(folder: &Path, account: &str) -> std::io::Result<()> {
    fs::write(folder.join("accounts"), format!("{account}\n"))
}

/// Where Debian's package has them.
const MODULES: &str = "/usr/lib/baresip/modules";

fn count(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum(&format!("seawall_bindings_{what}_total"), &[])
}
