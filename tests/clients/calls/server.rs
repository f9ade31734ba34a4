//! The server that calls go through: Seawall, or Debian's Kamailio in its place where the scenarios themselves are in doubt. It never
//! looks at what passes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::process::{Background, Folder, PATIENCE, Seawall, Setup, free_port};

/// What a scenario runs against. `CALLS_THROUGH=kamailio` puts Kamailio in Seawall's place, with `kamailio/proxy.cfg`: a scenario that fails
/// there as well is wrong itself.
pub(crate) struct Server {
    /// Where it serves over IPv4.
    pub(crate) v4: SocketAddr,
    /// Where it serves over IPv6.
    pub(crate) v6: SocketAddr,
    folder: Folder,
    process: Process,
}

enum Process {
    Seawall(Box<Seawall>),
    Kamailio(Background),
}

/// Whether Kamailio stands in.
pub(crate) fn is_reference() -> bool {
    std::env::var("CALLS_THROUGH").is_ok_and(|who| who == "kamailio")
}

impl Server {
    /// Starts it with listeners of both families.
    pub(crate) fn start(setup: &Setup) -> Result<Self, String> {
        Self::start_at(setup, free_port(), None)
    }

    /// Starts it at a port, beside another domain's server where there is one.
    pub(crate) fn start_at(
        setup: &Setup,
        port: u16,
        neighbour: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let folder = Folder::new();
        let process = if is_reference() {
            Process::Kamailio(kamailio(
                &folder.path,
                &[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
                ("sip.test", "other.test"),
                neighbour,
            )?)
        } else {
            let mut setup = setup.clone();
            if let Some(neighbour) = neighbour {
                setup.more.push_str(&format!(
                    "\n[[neighbour]]\nname = \"other\"\nnetworks = [\"{}\"]\ndomains = [\"other.test\"]\nnext_hop = \"{neighbour}\"\n",
                    neighbour.ip()
                ));
            }
            Process::Seawall(Box::new(Seawall::start_at(&setup, port)?))
        };
        Ok(Server {
            v4: (Ipv4Addr::LOCALHOST, port).into(),
            v6: (Ipv6Addr::LOCALHOST, port).into(),
            folder,
            process,
        })
    }

    /// A folder that lives as long as it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Where it serves over this family.
    pub(crate) fn at(&self, is_ipv6: bool) -> SocketAddr {
        if is_ipv6 { self.v6 } else { self.v4 }
    }

    /// Seawall itself, where it is the server.
    pub(crate) fn seawall(&self) -> Option<&Seawall> {
        match &self.process {
            Process::Seawall(seawall) => Some(seawall),
            Process::Kamailio(_) => None,
        }
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        match &self.process {
            Process::Seawall(seawall) => format!("seawall said:\n{}", seawall.log()),
            Process::Kamailio(kamailio) => kamailio.log(),
        }
    }

    /// Ends it in order. Every datagram that Seawall read must have one verdict by then.
    pub(crate) fn stop(self) -> Result<(), String> {
        match self.process {
            Process::Seawall(seawall) => {
                seawall.metrics(|metrics| metrics.account().is_ok())?;
                seawall.stop()
            }
            Process::Kamailio(mut kamailio) => {
                kamailio.signal("TERM");
                kamailio.wait(PATIENCE).map(drop)
            }
        }
    }
}

/// Starts a Kamailio that serves a domain at these addresses, and waits until it answers. What is for the other domain goes to `peer`.
pub(crate) fn kamailio(
    folder: &Path,
    addresses: &[SocketAddr],
    (own, other): (&str, &str),
    peer: Option<SocketAddr>,
) -> Result<Background, String> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/kamailio/proxy.cfg");
    let mut arguments: Vec<String> =
        ["-f", config, "-DD", "-E", "-m", "64", "-M", "8", "-w", "."].map(str::to_owned).into();
    arguments.extend(["-Y".to_owned(), folder.display().to_string()]);
    for address in addresses {
        arguments.extend(["-l".to_owned(), format!("udp:{address}")]);
    }
    arguments.extend(["-A".to_owned(), format!("OWN=\"{own}\"")]);
    if let Some(peer) = peer {
        arguments.extend(["-A".to_owned(), format!("OTHER=\"{other}\"")]);
        arguments.extend(["-A".to_owned(), format!("PEER=\"sip:{peer}\"")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let kamailio = Background::start("kamailio", &arguments, folder)?;
    for address in addresses {
        awaits_options(*address).map_err(|why| format!("{why}\n{}", kamailio.log()))?;
    }
    Ok(kamailio)
}

/// Waits until a server answers OPTIONS.
fn awaits_options(server: SocketAddr) -> Result<(), String> {
    let socket = UdpSocket::bind((server.ip(), 0)).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(|e| e.to_string())?;
    let local = socket.local_addr().map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let mut count = 0;
    loop {
        count += 1;
        let request = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKawake{count};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:test@{local}>;tag=1\r\nTo: <sip:{server}>\r\nCall-ID: awake-{local}\r\nCSeq: {count} OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // Nobody listens yet where this fails.
        let _ = socket.send_to(request.as_bytes(), server);
        if socket.recv(&mut [0; 2048]).is_ok() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{server} answers no OPTIONS"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
