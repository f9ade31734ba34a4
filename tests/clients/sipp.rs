//! sipp as the phone: each scenario of `clients/sipp` over IPv4 and IPv6, a call a socket, so that calls spread over cores.

use crate::trial;
use libtest_mimic::Trial;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::process::{Seawall, Setup, finish};

const SCENARIOS: &[&str] =
    &["register", "refresh", "query", "several", "remove", "remove_all", "refusals", "options"];

pub(crate) const CALLS: u32 = 30;

pub(crate) fn trials(label: &'static str, setup: &Setup) -> Vec<Trial> {
    SCENARIOS
        .iter()
        .map(|scenario| {
            let setup = setup.clone();
            trial(format!("sipp {scenario} ({label})"), move || play(scenario, &setup))
        })
        .collect()
}

fn play(scenario: &str, setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    sipp(scenario, seawall.v4, "four", seawall.folder())?;
    sipp(scenario, seawall.v6, "six", seawall.folder())?;
    let metrics = seawall.metrics(|metrics| metrics.reconcile().is_ok() && metrics.inputs() > 0)?;
    let hopped = metrics.sum("seawall_hops_received_total", &[]);
    // An address-of-record that is not ours and a message that can't be read have no home: they are refused where they are.
    let homeless = if scenario == "refusals" { u64::from(2 * 2 * CALLS) } else { 0 };
    match (setup.cores, setup.wrong_core) {
        (1, _) if hopped != 0 => Err(format!("{hopped} moves on one core")),
        (_, true) if hopped != metrics.inputs() - homeless => {
            Err(format!("{hopped} moves for {} inputs", metrics.inputs()))
        }
        // Sixty calls from sixty ports: the odds that each finds its home by itself are nil.
        (2, false) if hopped == 0 => Err("no move on two cores".to_owned()),
        _ => seawall.stop(),
    }
}

fn sipp(scenario: &str, server: SocketAddr, user: &str, folder: &Path) -> Result<(), String> {
    run(scenario, server, user, folder, &[])
}

/// Plays a scenario with further arguments.
pub(crate) fn run(
    scenario: &str,
    server: SocketAddr,
    user: &str,
    folder: &Path,
    more: &[&str],
) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("clients/sipp/{scenario}.xml"));
    let errors = folder.join(format!("{scenario}-{user}.err"));
    let local = if server.is_ipv4() { "127.0.0.1" } else { "[::1]" };
    let calls = CALLS.to_string();
    let mut command = Command::new("sipp");
    command
        .arg(server.to_string())
        .arg("-sf")
        .arg(&file)
        .args(["-i", local, "-t", "un", "-max_socket", "500", "-s", user])
        .args(["-m", &calls, "-r", "100", "-nostdin"])
        .args(more)
        .args(["-timeout", "20s", "-timeout_error", "-trace_err", "-error_file"])
        .arg(&errors)
        .env("TERM", "dumb")
        .current_dir(folder);
    let output = finish(&mut command, Duration::from_secs(40))?;
    if output.status.success() {
        return Ok(());
    }
    let said = std::fs::read_to_string(&errors).unwrap_or_default();
    let said: String = said.lines().take(40).map(|line| format!("    {line}\n")).collect();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("sipp {scenario} towards {server} ended with {}:\n{said}{shown}", output.status))
}
