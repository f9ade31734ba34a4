//! A phone behind a NAT: three network namespaces, in one of which the test starts itself again, with the server and a phone in the open;
//! the other phone is at home, behind a router that masquerades. Its contact leads nowhere but from there.

use super::phone::{Line, Phone};
use super::server::is_reference;
use super::talk::{TONES, every_way, hears};
use super::two_cores;
use crate::trial;
use libtest_mimic::Trial;
use std::net::Ipv4Addr;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tests::process::{Folder, Seawall, finish};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("calls: two people talk, one of them behind a NAT".to_owned(), behind_nat)]
}

/// Tells the process in the open how the namespace of the home is called.
const HOME: &str = "CALLS_HOME_NAMESPACE";

/// Where the server and a phone are.
const OPEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The phone at home.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// How the test reaches its control socket: a cable of its own, that SIP does not know of.
const CONTROL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

fn behind_nat() -> Result<(), String> {
    if is_reference() {
        eprintln!("skipped with Kamailio: whoever is behind a NAT needs more than its few lines");
        return Ok(());
    }
    let namespaces = match Namespaces::make() {
        Ok(namespaces) => namespaces,
        Err(why) => {
            eprintln!("skipped: no network namespaces with NAT can be made here: {why}");
            return Ok(());
        }
    };
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespaces.name("open")]).arg(this);
    command.env(HOME, namespaces.name("home"));
    let output = finish(&mut command, Duration::from_secs(60))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The part that runs in the open, where this process is that.
pub(crate) fn inside() -> Option<ExitCode> {
    let home = std::env::var(HOME).ok()?;
    let outcome = talks(&home);
    if let Err(why) = &outcome {
        eprintln!("{why}");
    }
    Some(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn talks(home: &str) -> Result<(), String> {
    let folder = Folder::new();
    let mut setup = two_cores();
    setup.more.push_str(&format!("[[listen]]\nudp = \"{OPEN}:5060\"\n"));
    let seawall = Seawall::start(&setup)?;
    let line = |user, ip: Ipv4Addr, control: Ipv4Addr, namespace, tone| {
        let line = Line {
            user,
            password: None,
            proxy: (OPEN, 5060).into(),
            ip: ip.into(),
            control: (control, 4444).into(),
            namespace,
            tone,
        };
        Phone::start(&folder.path, &line)
    };
    let open = line("alice", OPEN, Ipv4Addr::LOCALHOST, None, TONES[0])?;
    let hidden = line("bob", INSIDE, CONTROL, Some(home), TONES[1])?;
    let mut phones = [open, hidden];
    every_way(&mut phones, &["sip:bob@sip.test", "sip:alice@sip.test"])
        .map_err(|why| format!("{why}\nseawall said:\n{}", seawall.log()))?;
    // Media is the phones' own affair: only what comes from behind the NAT gets through by itself.
    hears(&phones[0], TONES[1], TONES[0])?;
    if !phones[1].log().contains(&format!("@{INSIDE}:")) {
        return Err("the phone at home does not say where it is".to_owned());
    }
    for phone in phones {
        phone.ends()?;
    }
    seawall.metrics(|metrics| metrics.account().is_ok())?;
    seawall.stop()
}

/// Three of them, deleted when this is dropped.
struct Namespaces;

impl Namespaces {
    fn name(&self, which: &str) -> String {
        format!("seawall-{}-{which}", std::process::id())
    }

    fn make() -> Result<Self, String> {
        let namespaces = Namespaces;
        let [open, router, home] = ["open", "router", "home"].map(|which| namespaces.name(which));
        let script = format!(
            "set -e
            for name in {open} {router} {home}; do ip netns add $name; ip -n $name link set lo up; done
            cable() {{
                ip -n $1 link add $2 type veth peer name $5 netns $4
                ip -n $1 addr add $3 dev $2; ip -n $4 addr add $6 dev $5
                ip -n $1 link set $2 up; ip -n $4 link set $5 up
            }}
            cable {open} street {OPEN}/24 {router} street 192.0.2.254/24
            cable {router} house 10.0.0.1/24 {home} house {INSIDE}/24
            cable {open} control 198.51.100.1/30 {home} control {CONTROL}/30
            ip -n {home} route add default via 10.0.0.1
            ip netns exec {router} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
            ip netns exec {router} nft -f - <<END
            table ip nat {{
                chain out {{
                    type nat hook postrouting priority 100;
                    oifname street masquerade random
                }}
            }}
END
            "
        );
        let output =
            Command::new("sh").args(["-c", &script]).output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(namespaces);
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for which in ["open", "router", "home"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(which)]).output();
        }
    }
}
