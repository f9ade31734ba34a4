//! What the kernel counts of UDP, machine-wide and by port, read from /proc/net. It reads, and judges nothing.

use std::fs;
use std::io;

use crate::watch;

/// Counts since the machine started, or the difference of two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Dropped at the server's sockets because they were full.
    pub(crate) server_drops: u64,
    /// Dropped at our own.
    pub(crate) own_drops: u64,
    /// Dropped in the backlog of a CPU before any socket, of all traffic of the machine.
    pub(crate) backlog_drops: u64,
    /// Datagrams delivered to any socket of the machine.
    pub(crate) delivered: u64,
    /// Datagrams of the machine that no socket had room for.
    pub(crate) receive_errors: u64,
    /// Datagrams of the machine that found no socket.
    pub(crate) no_port: u64,
}

impl Counters {
    /// Reads all, with the drops of a server that serves at `server_port` and of the generator's ports.
    pub(crate) fn read(server_port: u16, own_ports: &[u16]) -> io::Result<Counters> {
        let table = fs::read_to_string("/proc/net/udp")?
            + &fs::read_to_string("/proc/net/udp6").unwrap_or_default();
        let snmp = fs::read_to_string("/proc/net/snmp")?;
        let softnet = fs::read_to_string("/proc/net/softnet_stat")?;
        let udp = |name| snmp_value(&snmp, "Udp", name).unwrap_or(0);
        Ok(Counters {
            server_drops: watch::drops_in(&table, server_port),
            own_drops: own_ports.iter().map(|&port| watch::drops_in(&table, port)).sum(),
            backlog_drops: softnet_dropped(&softnet),
            delivered: udp("InDatagrams"),
            receive_errors: udp("RcvbufErrors"),
            no_port: udp("NoPorts"),
        })
    }

    /// What was added until a later reading.
    pub(crate) fn until(&self, later: &Counters) -> Counters {
        Counters {
            // A socket that was closed takes its count with it.
            server_drops: later.server_drops.saturating_sub(self.server_drops),
            own_drops: later.own_drops.saturating_sub(self.own_drops),
            backlog_drops: later.backlog_drops.saturating_sub(self.backlog_drops),
            delivered: later.delivered.saturating_sub(self.delivered),
            receive_errors: later.receive_errors.saturating_sub(self.receive_errors),
            no_port: later.no_port.saturating_sub(self.no_port),
        }
    }
}

/// A value in the text of /proc/net/snmp: a line with names, and one with values.
fn snmp_value(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| {
        let (first, rest) = line.split_once(": ")?;
        (first == protocol).then_some(rest)
    });
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|one| one == name)?;
    values.split(' ').nth(at)?.parse().ok()
}

/// The second column of all lines of `/proc/net/softnet_stat`, a line a CPU, in hex.
fn softnet_dropped(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    #[test]
    fn values_are_found_by_their_names() {
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
             Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 7 8 9 10 11\n\
             UdpLite: InDatagrams NoPorts\nUdpLite: 1 2\n";
        assert_eq!(snmp_value(snmp, "Udp", "InDatagrams"), Some(7));
        assert_eq!(snmp_value(snmp, "Udp", "RcvbufErrors"), Some(11));
        assert_eq!(snmp_value(snmp, "Udp", "Nothing"), None);
        assert_eq!(snmp_value("", "Udp", "InDatagrams"), None);
    }

    #[test]
    fn drops_of_all_cpus_are_summed() {
        let text = "0000ffff 00000010 00000000\n00001234 00000001 00000000\n";
        assert_eq!(softnet_dropped(text), 17);
    }

    #[test]
    fn a_full_socket_is_seen_to_drop() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4") };
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let read = || Counters::read(address.port(), &[]).unwrap();
        let before = read();
        for _ in 0..5000 {
            sender.send_to(&[0; 1000], address).unwrap();
        }
        let counted = before.until(&read());
        assert!(counted.server_drops > 1000, "{counted:?}");
        assert!(counted.receive_errors >= counted.server_drops, "{counted:?}");
        assert_eq!(counted.own_drops, 0);
        let ours = Counters::read(1, &[address.port()]).unwrap();
        assert_eq!(ours.own_drops, counted.server_drops);
    }
}
