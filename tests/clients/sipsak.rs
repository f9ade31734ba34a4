//! sipsak as the phone: it registers and asks what the server can do.
//!
//! It speaks IPv4 only: release 0.9.8 takes the colons of `sip:[::1]` for a port, and asks for A records of a name only. Over IPv6
//! sipp, baresip and Kamailio are the phones.

use crate::trial;
use libtest_mimic::Trial;
use std::process::Command;
use std::time::Duration;
use tests::process::{Seawall, Setup, finish};

pub(crate) fn trials(label: &'static str, setup: &Setup) -> Vec<Trial> {
    let (first, second) = (setup.clone(), setup.clone());
    vec![
        trial(format!("sipsak registers ({label})"), move || registers(&first)),
        trial(format!("sipsak asks for OPTIONS ({label})"), move || options(&second)),
    ]
}

fn registers(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    let uri = format!("sip:alice@{}", seawall.v4);
    for expires in ["600", "900"] {
        let contact = "sip:alice@127.0.0.1:5999";
        sipsak(&["-U", "-i", "-s", &uri, "-C", contact, "-x", expires, "-v"])?;
    }
    let metrics = seawall.metrics(|metrics| metrics.responses(200) >= 2)?;
    let count = |name: &str| metrics.sum(&format!("seawall_bindings_{name}_total"), &[]);
    if (count("created"), count("refreshed")) != (1, 1) {
        return Err(format!("not one binding that was refreshed once:\n{metrics}"));
    }
    metrics.reconcile()?;
    seawall.stop()
}

fn options(setup: &Setup) -> Result<(), String> {
    let seawall = Seawall::start(setup)?;
    let port = seawall.v4.port().to_string();
    let answer = sipsak(&["-s", "sip:127.0.0.1", "-r", &port, "-vv"])?;
    if !answer.contains("SIP/2.0 200") || !answer.contains("Allow:") {
        return Err(format!("no 200 with Allow in:\n{answer}"));
    }
    seawall.stop()
}

fn sipsak(arguments: &[&str]) -> Result<String, String> {
    let output = finish(Command::new("sipsak").args(arguments), Duration::from_secs(20))?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("sipsak {} ended with {}:\n{said}", arguments.join(" "), output.status))
    }
}
