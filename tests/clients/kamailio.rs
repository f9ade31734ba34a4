//! Kamailio as the client: its `uac` module registers an account of a text database at Seawall, refreshes it in time, and
//! unregisters it when it is told to; as a trunk or a gateway does.

use crate::digest::protected;
use crate::trial;
use libtest_mimic::Trial;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tests::process::{Background, Folder, Metrics, PATIENCE, Seawall, Setup, finish, free_port};

pub(crate) fn trials() -> Vec<Trial> {
    let of = |io, cores, wrong_core| Setup { io, cores, wrong_core, ..brief() };
    let all = [
        ("IPv4, uring, all at the wrong core", of("uring", 2, true), false, false),
        ("IPv6, epoll, one core", of("epoll", 1, false), true, false),
        ("digest, epoll, two cores", of("epoll", 2, false), false, true),
    ];
    all.into_iter()
        .map(|(label, setup, is_ipv6, asks)| {
            trial(format!("kamailio registers, refreshes and unregisters ({label})"), move || {
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
    let setup = if asks { &protected(setup.clone(), "carrier", &folder)? } else { setup };
    let seawall = Seawall::start(setup)?;
    let (server, local) = if is_ipv6 {
        (seawall.v6, SocketAddr::new(seawall.v6.ip(), free_port()))
    } else {
        (seawall.v4, SocketAddr::new(seawall.v4.ip(), free_port()))
    };
    configure(&seawall, server, local).map_err(|e| e.to_string())?;
    let folder = seawall.folder();
    let arguments = ["-f", "kamailio.cfg", "-DD", "-E", "-m", "32", "-M", "8", "-w", "."];
    let mut client = Background::start("kamailio", &arguments, folder)?;
    let told = |why: String, client: &Background| format!("{why}\n{}", client.log());

    let refreshed =
        |metrics: &Metrics| count(metrics, "created") == 1 && count(metrics, "refreshed") >= 2;
    let metrics = seawall.metrics(refreshed).map_err(|why| told(why, &client))?;
    if metrics.sum("seawall_bindings", &[]) != 1
        || metrics.responses(200) + metrics.responses(401) != metrics.inputs()
        || asks != (metrics.responses(401) > 0)
    {
        return Err(told(format!("not one binding, or a refusal:\n{metrics}"), &client));
    }
    if !holds_itself_for_registered(&seawall)? {
        return Err(told("it does not hold itself for registered".to_owned(), &client));
    }
    command(&seawall, "uac.reg_unregister")?;
    let removed = |metrics: &Metrics| count(metrics, "removed") == 1;
    let metrics = seawall.metrics(removed).map_err(|why| told(why, &client))?;
    if metrics.sum("seawall_bindings", &[]) != 0 || holds_itself_for_registered(&seawall)? {
        return Err(told(format!("a binding is left:\n{metrics}"), &client));
    }
    metrics.reconcile()?;
    client.signal("TERM");
    client.wait(PATIENCE)?;
    seawall.stop()
}

fn configure(seawall: &Seawall, server: SocketAddr, local: SocketAddr) -> std::io::Result<()> {
    let folder = seawall.folder();
    let here = folder.display();
    let modules: String = ["tm", "sl", "pv", "rr", "db_text", "uac", "ctl"]
        .map(|module| format!("loadmodule \"{module}.so\"\n"))
        .concat();
    let config = format!(
        "debug=1\nlog_stderror=yes\nfork=yes\nchildren=1\nauto_aliases=no\ndisable_tcp=yes\n\
         listen=udp:{local}\n{modules}\
         modparam(\"ctl\", \"binrpc\", \"unix:{here}/ctl\")\n\
         modparam(\"uac\", \"reg_db_url\", \"text://{here}/db\")\n\
         modparam(\"uac\", \"reg_contact_addr\", \"{local}\")\n\
         modparam(\"uac\", \"reg_timer_interval\", 1)\n\
         modparam(\"uac\", \"reg_retry_interval\", 2)\n\
         request_route {{ sl_send_reply(\"404\", \"Not Here\"); }}\n"
    );
    fs::write(folder.join("kamailio.cfg"), config)?;
    fs::create_dir(folder.join("db"))?;
    fs::write(folder.join("db/version"), VERSIONS)?;
    // It asks for 6 s, and comes again when 4 are left of those it was granted.
    let proxy = format!("sip:{server}").replace(':', "\\:");
    let account = format!(
        "{COLUMNS}\n1:trunk:one:pbx.test:carrier:sip.test:sip.test:carrier:secret::{proxy}:6:0:0::\n"
    );
    fs::write(folder.join("db/uacreg"), account)
}

const VERSIONS: &str =
    "id(int,auto) table_name(string) table_version(int)\n1:version:1\n2:uacreg:5\n";

/// The table `uacreg` of its schema, version 5; `null` where an account may leave a column empty.
const COLUMNS: &str = "id(int,auto) l_uuid(string) l_username(string) l_domain(string) r_username(string) \
    r_domain(string) realm(string) auth_username(string) auth_password(string,null) auth_ha1(string,null) \
    auth_proxy(string) expires(int) flags(int) reg_delay(int) contact_addr(string,null) socket(string,null)";

/// Its own view: bit 2 of the account's flags.
fn holds_itself_for_registered(seawall: &Seawall) -> Result<bool, String> {
    let view = command(seawall, "uac.reg_dump")?;
    let flags = view.lines().find_map(|line| line.trim().strip_prefix("flags: ")?.parse().ok());
    flags.map(|flags: u32| flags & 4 != 0).ok_or_else(|| format!("no flags in:\n{view}"))
}

/// Tells it something about the account, over its control socket.
fn command(seawall: &Seawall, method: &str) -> Result<String, String> {
    let socket = format!("unix:{}/ctl", seawall.folder().display());
    let mut command = Command::new("kamcmd");
    command.args(["-s", &socket, method]);
    if method != "uac.reg_dump" {
        command.args(["l_uuid", "trunk"]);
    }
    let output = finish(&mut command, Duration::from_secs(10))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && !said.starts_with("error") {
        Ok(said)
    } else {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{method} ended with {}: {said}{why}", output.status))
    }
}

fn count(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum(&format!("seawall_bindings_{what}_total"), &[])
}
