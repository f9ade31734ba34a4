//! Steering: which socket of a listener's group gets a datagram. It writes the classic BPF program by which the kernel
//! decides, and knows the order of the sockets in the group; what the kernel decides is only a hint.
//!
//! A group holds, in this order: for each receiving core the socket for the rest, then for each of them the socket for
//! REGISTER, then the sockets of cores that only send. REGISTER is told by the first four bytes, the core by the packet's
//! source, so that one phone's datagrams stay on one core and in order. Index 0 is a socket for the rest, since that is
//! what a program returns that reads past the end of a packet.

use crate::sys::bpf::{Instruction, NETWORK};

/// What the program writer has to know about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whether the listener's addresses are IPv6.
    pub ipv6: bool,
    /// How many cores receive, at least one.
    pub receivers: u16,
    /// Whether each has a second socket for REGISTER.
    pub split: bool,
}

/// The first four bytes of a REGISTER.
const REGISTER: u32 = u32::from_be_bytes(*b"REGI");

impl Group {
    /// The program for this group.
    ///
    /// # Panics
    /// Without receivers.
    #[must_use]
    pub fn program(self) -> Vec<Instruction> {
        assert!(self.receivers > 0, "somebody has to receive");
        let receivers = u32::from(self.receivers);
        let mut program = if self.ipv6 { hash_ipv6() } else { hash_ipv4() };
        program.push(Instruction::modulo(receivers));
        if self.split {
            program.extend([
                Instruction::store(0),
                // Less than four bytes are no REGISTER, and loading them would end the program.
                Instruction::load_length(),
                Instruction::unless_at_least(4, 5),
                Instruction::load_word(0),
                Instruction::unless_equal(REGISTER, 3),
                Instruction::load_stored(0),
                Instruction::add(receivers),
                Instruction::return_a(),
                Instruction::load_stored(0),
            ]);
        }
        program.push(Instruction::return_a());
        program
    }
}

/// A hash of source address and port. IPv4 options and IPv6 extension headers, which SIP does not meet, would only spoil
/// the spread. The upper half of the last product is kept: its bits depend on all bits of the input.
fn hash_ipv4() -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load_word(NETWORK + 12),
        Instruction::to_x(),
        Instruction::load_half(NETWORK + 20),
    ];
    program.extend(mix());
    program
}

fn hash_ipv6() -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load_word(NETWORK + 8),
        Instruction::multiply(0x85EB_CA6B),
        Instruction::to_x(),
    ];
    for offset in [12, 16, 20] {
        program.extend([
            Instruction::load_word(NETWORK + offset),
            Instruction::xor_x(),
            Instruction::multiply(0x85EB_CA6B),
            Instruction::to_x(),
        ]);
    }
    program.push(Instruction::load_half(NETWORK + 40));
    program.extend(mix());
    program
}

/// Mixes A, the port, with X, the address.
fn mix() -> [Instruction; 4] {
    [
        Instruction::multiply(0x27D4_EB2F),
        Instruction::xor_x(),
        Instruction::multiply(0x9E37_79B1),
        Instruction::shift_right(16),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::receive::Receiver;
    use crate::sys::socket::UdpSocket;
    use std::net::{SocketAddr, UdpSocket as StdSocket};

    /// A group on a loopback address: which index gets what, asked of the kernel itself.
    fn arrivals(bind: &str, from: &str, group: Group, payloads: &[&[u8]]) -> Vec<Vec<usize>> {
        let mut addr: SocketAddr = bind.parse().unwrap();
        let count = usize::from(group.receivers) * if group.split { 2 } else { 1 };
        let mut sockets = Vec::new();
        for index in 0..count {
            let socket = UdpSocket::open(addr).unwrap();
            socket.share_port().unwrap();
            if index == 0 {
                socket.steer(&group.program()).unwrap();
            }
            socket.bind(addr).unwrap();
            addr = socket.local_addr().unwrap();
            sockets.push(socket);
        }
        let mut receiver = Receiver::new(64, 2048);
        let mut found = Vec::new();
        for _ in 0..32 {
            let sender = StdSocket::bind(from).unwrap();
            let mut row = Vec::new();
            for payload in payloads {
                sender.send_to(payload, addr).unwrap();
                let hit: Vec<usize> = (0..count)
                    .filter(|i| receiver.receive(&sockets[*i], 64).unwrap() == 1)
                    .collect();
                assert_eq!(hit.len(), 1, "{payload:?} arrived at {hit:?}");
                row.push(hit[0]);
            }
            found.push(row);
        }
        found
    }

    const PAYLOADS: &[&[u8]] = &[
        b"REGISTER sip:a SIP/2.0",
        b"INVITE sip:a SIP/2.0",
        b"REG",
        b"",
        b"REGI",
        b"\r\n\r\n",
        b"register",
    ];

    fn check_split(bind: &str, from: &str) {
        let group = Group { ipv6: bind.starts_with('['), receivers: 3, split: true };
        let mut cores = [0; 3];
        for row in arrivals(bind, from, group, PAYLOADS) {
            let core = row[1];
            cores[core] += 1;
            assert_eq!(row, [core + 3, core, core, core, core + 3, core, core], "{PAYLOADS:?}");
        }
        assert!(cores.iter().all(|n| *n > 0), "one core gets nothing: {cores:?}");
    }

    #[test]
    fn register_and_the_rest_are_split_and_a_source_stays_on_its_core() {
        check_split("127.0.0.1:0", "127.0.0.1:0");
    }

    #[test]
    fn the_same_over_ipv6() {
        check_split("[::1]:0", "[::1]:0");
    }

    #[test]
    fn without_the_split_everything_of_a_source_is_together() {
        let group = Group { ipv6: false, receivers: 2, split: false };
        for row in arrivals("127.0.0.1:0", "127.0.0.1:0", group, PAYLOADS) {
            assert!(row.iter().all(|core| *core == row[0]), "{row:?}");
        }
    }
}
