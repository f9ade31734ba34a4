//! The user agents: who they are (address-of-record, Call-ID, tag), where each of them lives
//! (address and port), and in which order they speak; it holds no state for a user agent.

use std::net::Ipv4Addr;

/// One user agent by its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserAgent(pub u32);

/// Consecutive requests that leave from the same port, so that a batch fills.
const RUN: u32 = 16;

/// Octets 100..=227: three digits always, so that messages never change their length.
const OCTET_MIN: u32 = 100;
const OCTET_BITS: u32 = 7;

/// The addresses there are: 127.100.100.100 to 127.227.227.227.
const ADDRESSES_MAX: u32 = 1 << (3 * OCTET_BITS);

/// Digits of a user part: 493 and nine digits of the user agent's number.
pub(crate) const USER_DIGITS: usize = 12;
pub(crate) const CALL_ID_BYTES: usize = 36;
pub(crate) const TAG_BYTES: usize = 8;

/// A number of user agents spread over addresses of 127.0.0.0/8 and the generator's ports.
///
/// Each has an address and port pair of its own, unless it is said that some share one or there
/// are not enough pairs.
#[derive(Clone, Debug)]
pub struct Population {
    size: u32,
    ports: u32,
    addresses: u32,
    sharing: u32,
    first: u32,
    at: Option<Ipv4Addr>,
}

impl Population {
    /// `size` user agents (at least one) on `ports` ports and at most `addresses` addresses.
    pub fn new(size: u32, ports: u16, addresses: u32) -> Population {
        Population {
            size: size.max(1),
            ports: u32::from(ports.max(1)),
            addresses: addresses.clamp(1, ADDRESSES_MAX),
            sharing: 1,
            first: 0,
            at: None,
        }
    }

    /// The same user agents, but each `sharing` of them behind one address and port pair, as
    /// behind a gateway. They speak one after the other, and what they send together crosses the
    /// kernel in one piece (UDP GSO), which spares the generator and changes nothing for a server.
    #[must_use]
    pub fn sharing(mut self, sharing: u32) -> Population {
        self.sharing = sharing.max(1);
        self
    }

    /// Others: their names and Call-IDs are those of user agents from number `first` on, who are not in a population of `first`.
    #[must_use]
    pub fn starting_at(mut self, first: u32) -> Population {
        self.first = first;
        self
    }

    /// The same user agents, all at one address, as behind a carrier's NAT; each still has its port.
    #[must_use]
    pub fn at(mut self, address: Ipv4Addr) -> Population {
        self.at = Some(address);
        self
    }

    /// The address of all, if they share one.
    pub(crate) fn one_address(&self) -> Option<Ipv4Addr> {
        self.at
    }

    /// How many user agents there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn ports(&self) -> u16 {
        u16::try_from(self.ports).unwrap_or(u16::MAX)
    }

    /// Index of the port from which this user agent speaks.
    pub(crate) fn port_index(&self, ua: UserAgent) -> usize {
        (ua.0 / self.sharing % self.ports) as usize
    }

    /// About half of the population, in whole rounds of its ports: from one pair it leads to another, for all who share it.
    pub(crate) fn half(&self) -> u32 {
        let round = self.ports.saturating_mul(self.sharing);
        match self.size / 2 / round * round {
            0 => self.size / 2,
            half => half,
        }
    }

    /// The address from which this user agent speaks.
    pub fn address(&self, ua: UserAgent) -> Ipv4Addr {
        if let Some(address) = self.at {
            return address;
        }
        let n = ua.0 / self.sharing / self.ports % self.addresses;
        let octet =
            |shift: u32| (OCTET_MIN + ((n >> shift) & ((1 << OCTET_BITS) - 1))).to_be_bytes()[3];
        Ipv4Addr::new(127, octet(2 * OCTET_BITS), octet(OCTET_BITS), octet(0))
    }

    /// Writes the user part of the address-of-record.
    pub(crate) fn write_user(&self, ua: UserAgent, to: &mut [u8; USER_DIGITS]) {
        to[..3].copy_from_slice(b"493");
        write_decimal(&mut to[3..], self.name(ua));
    }

    /// Writes the Call-ID that this user agent keeps for all its registrations.
    pub(crate) fn write_call_id(&self, ua: UserAgent, to: &mut [u8; CALL_ID_BYTES]) {
        write_call_id_of(u64::from(self.name(ua)), to);
    }

    /// The address that some share instead of having one each: no other user agent has it.
    pub(crate) fn shared_address() -> Ipv4Addr {
        Ipv4Addr::new(127, 228, 228, 228)
    }

    /// The number by which this user agent is known outside.
    pub(crate) fn name(&self, ua: UserAgent) -> u32 {
        self.first.wrapping_add(ua.0)
    }
}

/// In which order user agents speak: everybody once a lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By number: as first registrations arrive.
    Rising,
    /// By a stride of the golden ratio: neighbours in a server's memory are not neighbours in
    /// time, so that no prefetcher makes refreshes look cheaper than they are.
    Scattered,
}

/// Walks a population again and again, a run of requests from one port after the other.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The lowest of them.
    first: u32,
    size: u32,
    sharing: u32,
    ports: Vec<PortWalk>,
    current: usize,
    left_in_run: u32,
    left_in_lap: u32,
    lap: u32,
    /// The user agents that share the current pair and have not spoken yet.
    pair: std::ops::Range<u32>,
}

#[derive(Debug)]
struct PortWalk {
    /// Address and port pairs of this port.
    size: u32,
    /// How many of them have spoken in this lap.
    spoken: u32,
    stride: u32,
    place: u32,
}

impl Walk {
    pub(crate) fn new(population: &Population, order: Order) -> Walk {
        Walk::within(population, order, 0)
    }

    /// The same without the user agents below `first`.
    pub(crate) fn within(population: &Population, order: Order, first: u32) -> Walk {
        let &Population { ports, sharing, .. } = population;
        let size = population.size.saturating_sub(first).max(1);
        let pairs = size.div_ceil(sharing);
        let ports = (0..ports)
            .map(|port| {
                let size = (pairs + ports - 1 - port) / ports;
                let stride = match order {
                    Order::Rising => 1 % size.max(1),
                    Order::Scattered => golden_stride(size),
                };
                PortWalk { size, spoken: 0, stride, place: 0 }
            })
            .collect();
        Walk {
            first,
            size,
            sharing,
            ports,
            current: 0,
            left_in_run: RUN,
            left_in_lap: size,
            lap: 0,
            pair: 0..0,
        }
    }

    /// The next user agent and the number of laps that were complete before it.
    pub(crate) fn next(&mut self) -> (UserAgent, u32) {
        if self.left_in_lap == 0 {
            self.lap += 1;
            self.left_in_lap = self.size;
            for port in &mut self.ports {
                port.spoken = 0;
            }
        }
        if self.pair.is_empty() {
            self.pair = self.next_pair();
        }
        let ua = UserAgent(self.first + self.pair.start);
        self.pair.start += 1;
        self.left_in_lap -= 1;
        (ua, self.lap)
    }

    /// The user agents of the next pair, at least one.
    fn next_pair(&mut self) -> std::ops::Range<u32> {
        if self.left_in_run == 0 {
            self.turn();
        }
        while self.ports[self.current].spoken == self.ports[self.current].size {
            self.turn();
        }
        self.left_in_run = self.left_in_run.saturating_sub(self.sharing);
        let ports = self.ports.len();
        let port = &mut self.ports[self.current];
        port.spoken += 1;
        let place = port.place;
        port.place += port.stride;
        if port.place >= port.size {
            port.place -= port.size;
        }
        let pair = u32::try_from(place as usize * ports + self.current).unwrap_or(u32::MAX);
        let first = pair.saturating_mul(self.sharing);
        first..first.saturating_add(self.sharing).min(self.size)
    }

    fn turn(&mut self) {
        self.current = (self.current + 1) % self.ports.len();
        self.left_in_run = RUN;
    }
}

/// A step near `size` / phi that shares no factor with `size`, so that it meets every place.
pub(crate) fn golden_stride(size: u32) -> u32 {
    if size < 2 {
        return 0;
    }
    let golden = u64::from(size) * 618_033_989 / 1_000_000_000;
    let mut stride = u32::try_from(golden).unwrap_or(1).max(1);
    while common_divisor(stride, size) != 1 {
        stride -= 1;
    }
    stride
}

fn common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Writes the Call-ID of what has this number; those of registrations are the names of user agents.
pub(crate) fn write_call_id_of(number: u64, to: &mut [u8; CALL_ID_BYTES]) {
    let first = hex_digits(mix(number << 1));
    let second = hex_digits(mix((number << 1) | 1));
    to[..8].copy_from_slice(&first[..8]);
    to[8] = b'-';
    to[9..13].copy_from_slice(&first[8..12]);
    to[13] = b'-';
    to[14..18].copy_from_slice(&first[12..]);
    to[18] = b'-';
    to[19..23].copy_from_slice(&second[..4]);
    to[23] = b'-';
    to[24..].copy_from_slice(&second[4..]);
}

/// Writes the From tag of what has this number.
pub(crate) fn write_tag_of(number: u64, to: &mut [u8; TAG_BYTES]) {
    write_hex(to, mix(number ^ 0x5ea_0a11_0000_0000));
}

/// Writes `value` in lower-case hex over all of `to`, its lowest digits if it is too long.
pub(crate) fn write_hex(to: &mut [u8], value: u64) {
    let digits = hex_digits(value);
    let (zeros, places) = to.split_at_mut(to.len().saturating_sub(digits.len()));
    zeros.fill(b'0');
    places.copy_from_slice(&digits[digits.len() - places.len()..]);
}

/// The sixteen digits of a number in lower-case hex, all computed at once.
pub(crate) fn hex_digits(value: u64) -> [u8; 16] {
    // Each digit gets a byte of its own, the highest first.
    let mut x = u128::from(value);
    x = (x | (x << 32)) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    x = (x | (x << 16)) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    x = (x | (x << 8)) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    x = (x | (x << 4)) & 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;
    // Those above nine carry into the fifth bit, and are letters.
    let ones = u128::from_ne_bytes([1; 16]);
    let letters = ((x + 6 * ones) >> 4) & ones;
    (x + u128::from(b'0') * ones + u128::from(b'a' - b'0' - 10) * letters).to_be_bytes()
}

/// Writes `value` in decimal over all of `to`, with leading zeros.
pub(crate) fn write_decimal(to: &mut [u8], mut value: u32) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Spreads a number over 64 bits (the finalizer of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_lap_meets_everybody_once() {
        for order in [Order::Rising, Order::Scattered] {
            for (size, ports, sharing) in
                [(1, 1, 1), (1, 8, 4), (7, 8, 1), (100, 8, 3), (1000, 3, 1), (4099, 16, 4)]
            {
                let population = Population::new(size, ports, ADDRESSES_MAX).sharing(sharing);
                let mut walk = Walk::new(&population, order);
                for lap in 0..3 {
                    let mut seen = HashSet::new();
                    for _ in 0..size {
                        let (ua, in_lap) = walk.next();
                        assert_eq!(in_lap, lap, "{size} on {ports}");
                        assert!(ua.0 < size, "{} of {size}", ua.0);
                        assert!(seen.insert(ua), "{} twice in a lap", ua.0);
                    }
                }
            }
        }
    }

    #[test]
    fn a_lap_can_leave_out_the_first() {
        let population = Population::new(1000, 8, ADDRESSES_MAX);
        let mut walk = Walk::within(&population, Order::Scattered, 900);
        let seen: HashSet<u32> = (0..100).map(|_| walk.next().0.0).collect();
        assert_eq!(seen, (900..1000).collect());
        assert_eq!(walk.next().1, 1);
    }

    #[test]
    fn those_who_share_a_pair_speak_together() {
        let population = Population::new(1000, 8, ADDRESSES_MAX).sharing(4);
        let mut walk = Walk::new(&population, Order::Scattered);
        let mut pairs = HashSet::new();
        for _ in 0..250 {
            let four: HashSet<_> = (0..4)
                .map(|_| walk.next().0)
                .map(|ua| (population.address(ua), population.port_index(ua)))
                .collect();
            assert_eq!(four.len(), 1);
            pairs.extend(four);
        }
        assert_eq!(pairs.len(), 250);
    }

    #[test]
    fn requests_leave_in_runs_from_one_port() {
        let population = Population::new(10_000, 8, ADDRESSES_MAX);
        let mut walk = Walk::new(&population, Order::Scattered);
        for _ in 0..20 {
            let ports: HashSet<usize> =
                (0..RUN).map(|_| population.port_index(walk.next().0)).collect();
            assert_eq!(ports.len(), 1);
        }
    }

    #[test]
    fn a_million_have_a_pair_each() {
        let population = Population::new(1_000_000, 16, ADDRESSES_MAX);
        let pairs: HashSet<(Ipv4Addr, usize)> = (0..1_000_000)
            .map(|n| (population.address(UserAgent(n)), population.port_index(UserAgent(n))))
            .collect();
        assert_eq!(pairs.len(), 1_000_000);
        assert!(pairs.iter().all(|(a, _)| a.is_loopback() && a.to_string().len() == 15));
    }

    #[test]
    fn addresses_can_be_shared() {
        let population = Population::new(1000, 4, 1);
        assert!(
            (0..1000)
                .all(|n| population.address(UserAgent(n)) == Ipv4Addr::new(127, 100, 100, 100))
        );
    }

    #[test]
    fn all_can_be_at_one_address() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let population = Population::new(1000, 4, ADDRESSES_MAX).at(address);
        assert!((0..1000).all(|n| population.address(UserAgent(n)) == address));
        assert_eq!(population.port_index(UserAgent(6)), 2);
    }

    #[test]
    fn identities_differ() {
        let population = Population::new(50_000, 8, ADDRESSES_MAX);
        let mut ids = HashSet::new();
        for n in 0..50_000 {
            let mut id = [0; CALL_ID_BYTES];
            population.write_call_id(UserAgent(n), &mut id);
            assert!(ids.insert(id));
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        let mut to = [0; 4];
        write_hex(&mut to, 0x1_2ab3);
        assert_eq!(&to, b"2ab3");
        assert_eq!(&hex_digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(hex_digits(u64::MAX), [b'f'; 16]);
        let mut long = [0; 18];
        write_hex(&mut long, 0x9a);
        assert_eq!(&long, b"00000000000000009a");
        write_decimal(&mut to, 42);
        assert_eq!(&to, b"0042");
    }
}
