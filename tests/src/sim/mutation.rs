//! Bytes that were changed on the way, or on purpose: what a line, a faulty device or an attacker makes of a good message.

use super::random::Random;

/// What parsers trip over.
const SPLICES: [&[u8]; 20] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b",",
    b";",
    b"<",
    b">",
    b"\"",
    b" ",
    b"%00",
    b"\xFF",
    b"\r\n ",
    b"*",
    b":",
    b";expires=0",
    b"\r\nContact: *\r\n",
    b"\r\nCSeq: 4294967296 REGISTER\r\n",
    b"sips:",
    b"\r\nExpires: -1\r\n",
];

/// A copy of a message with up to three changes.
#[must_use]
pub fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.within(1, 3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.index(bytes.len());
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.pick(b"\0\r\n \t,;:<>\"@%=*0aZ\xFF"),
            2 => drop(bytes.remove(at)),
            3 => drop(bytes.splice(at..at, random.pick(&SPLICES).iter().copied())),
            4 => {
                // A stretch comes again, elsewhere.
                let end = (at + 1 + random.index(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.index(bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            5 => drop(bytes.drain(at..(at + 1 + random.index(40)).min(bytes.len()))),
            6 => swap_lines(&mut bytes, random),
            7 => repeat_line(&mut bytes, random),
            _ => change_digit(&mut bytes, at, random),
        }
    }
    bytes
}

/// Bytes that are no message: random ones, keep-alives, STUN, pieces of SIP.
#[must_use]
pub fn garbage(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => Vec::new(),
        1 => b"\r\n\r\n"[..2 * random.index(3)].to_vec(),
        2 => b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl".to_vec(),
        3 => b"GET / HTTP/1.1\r\nHost: sip.test\r\n\r\n".to_vec(),
        4 => b"REGISTER sip:sip.test SIP/2.0\r\nVia: "[..random.index(37)].to_vec(),
        5 => b"X sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n".to_vec(),
        6 => vec![random.pick(b"\0aR \xFF"); random.index(2000)],
        _ => (0..random.below(600)).map(|_| random.bits().to_le_bytes()[0]).collect(),
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn swap_lines(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut lines = lines(bytes);
    let (one, other) = (random.index(lines.len()), random.index(lines.len()));
    lines.swap(one, other);
    *bytes = lines.concat();
}

fn repeat_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut lines = lines(bytes);
    let line = lines[random.index(lines.len())].clone();
    let to = random.index(lines.len());
    lines.insert(to, line);
    *bytes = lines.concat();
}

/// Changes a digit behind `at`: another `CSeq`, port, lifetime or user.
fn change_digit(bytes: &mut [u8], at: usize, random: &mut Random) {
    if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
        *digit = random.pick(b"0123456789");
    }
}
