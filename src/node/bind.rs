//! Binding: the sockets of all listeners and cores, in the order that steering counts on, before anything runs. It turns
//! what the kernel refuses into a sentence that says what to do.

use super::{Plan, Ports};
use crate::steer::Group;
use crate::sys::socket::{self, UdpSocket};
use crate::worker::{Intake, Port};
use std::io;
use std::net::SocketAddr;

/// Everything bound.
pub(super) struct Bound {
    /// By core, then by listener.
    pub(super) ports: Vec<Ports>,
    /// By listener, with real ports.
    pub(super) listeners: Vec<SocketAddr>,
    /// Lines for the operator.
    pub(super) remarks: Vec<String>,
}

/// Binds all listeners of a plan for all of its cores.
///
/// # Errors
/// One sentence.
pub(super) fn bind(plan: &Plan) -> Result<Bound, String> {
    let mut bound = Bound {
        ports: plan.cores.iter().map(|_| Vec::new()).collect(),
        listeners: Vec::new(),
        remarks: Vec::new(),
    };
    let mut short = None;
    for addr in &plan.listeners {
        let addr = free_address(*addr).map_err(|error| sentence(*addr, &error))?;
        let mut listener = Listener { addr, plan, short: &mut short };
        let (ports, steered) = listener.bind().map_err(|error| sentence(addr, &error))?;
        for (core, port) in bound.ports.iter_mut().zip(ports) {
            core.push(port);
        }
        let sockets = match steered {
            Ok(()) => "two sockets a core, one of them for REGISTER".to_owned(),
            Err(why) => format!("one socket a core for everything, {why}"),
        };
        bound.remarks.push(format!("listening on udp {addr}: {sockets}"));
        bound.listeners.push(addr);
    }
    if let Some((wanted, became)) = short {
        bound.remarks.push(format!(
            "socket buffers became {} KiB instead of {} KiB: raise net.core.rmem_max and wmem_max or grant CAP_NET_ADMIN",
            became / 1024,
            wanted / 1024
        ));
    }
    Ok(bound)
}

/// Makes sure that nobody else has the address: sockets that share a port would join another process's group without a
/// word. Returns the address with its real port.
fn free_address(addr: SocketAddr) -> io::Result<SocketAddr> {
    let alone = UdpSocket::open(addr)?;
    alone.bind(addr)?;
    alone.local_addr()
}

struct Listener<'a> {
    addr: SocketAddr,
    plan: &'a Plan,
    /// The worst buffer so far: what was asked for, and what it became.
    short: &'a mut Option<(usize, usize)>,
}

impl Listener<'_> {
    /// A port for each core, and whether or why not the kernel steers.
    fn bind(&mut self) -> io::Result<(Ports, Result<(), String>)> {
        let cores = &self.plan.cores;
        let receivers = cores.iter().filter(|core| core.receives).count();
        assert!(receivers > 0, "somebody has to receive");
        let group = Group {
            ipv6: self.addr.is_ipv6(),
            receivers: u16::try_from(receivers).unwrap_or(u16::MAX),
            split: true,
        };
        let first = self.open(self.plan.sockets.rest_buffer_bytes)?;
        let steered = if self.plan.sockets.steer {
            // The program is there before the first datagram can be.
            first.steer(&group.program()).map_err(|error| {
                format!("since the kernel takes no BPF program (SO_ATTACH_REUSEPORT_CBPF: {error})")
            })
        } else {
            Err("as the kernel was not asked to steer".to_owned())
        };

        // The order in which they are bound is the order in the group: see `steer`.
        let mut first = Some(first);
        let mut rest: Vec<Option<UdpSocket>> = cores.iter().map(|_| None).collect();
        let mut register: Vec<Option<UdpSocket>> = cores.iter().map(|_| None).collect();
        for (slot, _) in rest.iter_mut().zip(cores).filter(|(_, core)| core.receives) {
            let socket = match first.take() {
                Some(first) => first,
                None => self.open(self.plan.sockets.rest_buffer_bytes)?,
            };
            socket.bind(self.addr)?;
            *slot = Some(socket);
        }
        if steered.is_ok() {
            for (slot, _) in register.iter_mut().zip(cores).filter(|(_, core)| core.receives) {
                let socket = self.open(self.plan.sockets.register_buffer_bytes)?;
                socket.bind(self.addr)?;
                *slot = Some(socket);
            }
        }
        let mut ports = Vec::with_capacity(cores.len());
        for (rest, register) in rest.into_iter().zip(register) {
            let rest = match rest {
                Some(rest) => rest,
                None => {
                    let socket = self.open(self.plan.sockets.rest_buffer_bytes)?;
                    socket.bind(self.addr)?;
                    socket
                }
            };
            ports.push(Port {
                rest: Intake::new(rest),
                register: register.map(Intake::new),
                local: self.addr,
            });
        }
        Ok((ports, steered))
    }

    fn open(&mut self, receive_buffer_bytes: usize) -> io::Result<UdpSocket> {
        let socket = UdpSocket::open(self.addr)?;
        socket.share_port()?;
        socket.observe(self.addr, self.addr.ip().is_unspecified())?;
        let wanted = receive_buffer_bytes;
        self.compare(wanted, socket.set_receive_buffer(wanted)?);
        let wanted = self.plan.sockets.send_buffer_bytes;
        self.compare(wanted, socket.set_send_buffer(wanted)?);
        Ok(socket)
    }

    fn compare(&mut self, wanted: usize, became: usize) {
        if became < wanted && self.short.is_none_or(|(_, worst)| became < worst) {
            *self.short = Some((wanted, became));
        }
    }
}

/// What the operator is told.
fn sentence(addr: SocketAddr, error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        return format!("udp {addr} is in use: another process, or an earlier [[listen]], has it");
    }
    let why = if kind == io::ErrorKind::AddrNotAvailable && addr.is_ipv6() {
        "no interface has this address, or IPv6 is switched off".to_owned()
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "no interface has this address".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE".to_owned()
    } else if socket::lacks_family(error) {
        format!("this kernel runs without {}", family(addr))
    } else {
        error.to_string()
    };
    format!("udp {addr} can't be bound: {why}")
}

fn family(addr: SocketAddr) -> &'static str {
    if addr.is_ipv4() { "IPv4" } else { "IPv6" }
}
