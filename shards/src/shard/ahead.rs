//! Reading ahead: a few datagrams are peeked at before the first of them is handled, so that the memory which each will need is on
//! its way while the others are read. It decides nothing: what is handled without it comes to the same.

use super::Settings;
use crate::auth::Authenticator;
use crate::io::{CoreId, Datagram};
use crate::location::{Aor, Here, HomeHash, Location, NotOurs};
use crate::proxy;
use crate::store::Prefetch;
use crate::transaction::Completed;
use crate::wire::{self, Home, Index, Malformed, Peek};
use alloc::boxed::Box;
use core::net::IpAddr;

/// One datagram, read as far as it takes to tell where it lives. It is scratch, used again for another.
#[derive(Debug)]
pub(super) struct Reading {
    /// The lines of the datagram.
    pub(super) index: Index,
    /// The address-of-record of a REGISTER, where [`aor_verdict`](Self::aor_verdict) is `Ok`.
    pub(super) aor: Aor,
    pub(super) aor_verdict: Result<(), NotOurs>,
    /// The keyed hash of what decides where a request lives. `None`: it can't be told, so the request is answered here.
    pub(super) hash: Option<HomeHash>,
    /// The core that a response belongs to; `None` where its branch is not ours.
    pub(super) core: Option<CoreId>,
    pub(super) sight: Sight,
}

/// What a datagram looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sight {
    TooLarge,
    Empty,
    Crlf,
    Stun,
    NotSip,
    Malformed(Malformed),
    Response,
    Register,
    /// Any other request.
    Request,
}

impl Reading {
    fn new(header_lines_max: usize) -> Self {
        Reading {
            index: Index::new(header_lines_max),
            aor: Aor::new(),
            aor_verdict: Ok(()),
            hash: None,
            core: None,
            sight: Sight::Empty,
        }
    }

    #[inline(always)]
    fn read(&mut self, settings: &Settings, datagram: &Datagram<'_>) {
        let bytes = datagram.bytes;
        if bytes.len() <= settings.limits.message_bytes
            && let Some(to) = wire::peek_register(bytes, &mut self.index)
        {
            self.read_register(settings, datagram, to);
        } else {
            self.read_any(settings, datagram);
        }
    }

    #[inline(never)]
    fn read_any(&mut self, settings: &Settings, datagram: &Datagram<'_>) {
        let bytes = datagram.bytes;
        if bytes.len() > settings.limits.message_bytes {
            self.sight = Sight::TooLarge;
            return;
        }
        self.sight = match wire::peek(bytes, &mut self.index) {
            Peek::Empty => Sight::Empty,
            Peek::Crlf => Sight::Crlf,
            Peek::Stun => Sight::Stun,
            Peek::NotSip => Sight::NotSip,
            Peek::Malformed(malformed) => Sight::Malformed(malformed),
            Peek::Response { branch, .. } => {
                self.core = branch.and_then(proxy::core_of);
                Sight::Response
            }
            Peek::Request { home: Home::CallId(call_id), .. } => {
                self.hash = Some(HomeHash::new(&settings.keys.home, call_id));
                Sight::Request
            }
            Peek::Request { home: Home::AddressOfRecord(uri), .. } => {
                return self.read_register(settings, datagram, uri);
            }
        };
    }

    /// Makes the To of a REGISTER canonical. One that can't be read is refused by the parser, wherever it is.
    #[inline(always)]
    fn read_register(&mut self, settings: &Settings, datagram: &Datagram<'_>, to: &[u8]) {
        let here = here(settings, datagram);
        self.aor_verdict = self.aor.set_text(&settings.keys.home, to, &here);
        self.hash = self.aor_verdict.is_ok().then(|| self.aor.hash());
        self.sight = Sight::Register;
    }
}

/// Where we are, for a datagram that arrived.
#[inline]
pub(super) fn here<'a>(settings: &'a Settings, datagram: &Datagram<'_>) -> Here<'a> {
    Here { domains: &settings.domains, listeners: &settings.listeners, to: datagram.to }
}

/// By what the transactions of an address-of-record are told from others. A transaction is its sender's, RFC 3261 18.2.1: whoever
/// repeats a request from elsewhere gets no answer sent there.
#[inline]
pub(super) fn transaction_home(hash: HomeHash, datagram: &Datagram<'_>) -> u64 {
    hash.place ^ address_bits(datagram.from.addr.ip())
}

/// An address as 64 bits, to tell the senders of one address-of-record apart.
fn address_bits(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => {
            let [high, low] = [ip.to_bits() >> 64, ip.to_bits() & u128::from(u64::MAX)];
            #[allow(clippy::cast_possible_truncation, reason = "each is a half")]
            let (high, low) = (high as u64, low as u64);
            high.rotate_left(1) ^ low
        }
    }
}

/// The readings of the datagrams that come next.
#[derive(Debug)]
pub(super) struct Ahead {
    readings: Box<[Reading; Ahead::WINDOW]>,
    /// Where the bytes of each lie, by which it is recognised.
    of: [(usize, usize); Ahead::WINDOW],
    /// The next of those that were read ahead, and how many there are.
    next: usize,
    read: usize,
}

impl Ahead {
    /// How many datagrams are read ahead: enough to wait for memory once for many of them, few enough that what was read is
    /// still in the nearest cache (about 1 KiB each).
    pub(super) const WINDOW: usize = 16;

    /// Bytes of memory that [`Ahead::new`] reserves.
    pub(super) const fn bytes(header_lines_max: usize) -> usize {
        Self::WINDOW * (size_of::<Reading>() + Index::bytes(header_lines_max) + Aor::BYTES_MAX)
    }

    pub(super) fn new(header_lines_max: usize) -> Self {
        Ahead {
            readings: Box::new(core::array::from_fn(|_| Reading::new(header_lines_max))),
            of: [(0, 0); Self::WINDOW],
            next: 0,
            read: 0,
        }
    }

    /// Reads the first datagrams of some, and starts to fetch what they will need.
    pub(super) fn read(
        &mut self,
        settings: &Settings,
        datagrams: &[Datagram<'_>],
        completed: &Completed,
        location: &Location,
        authenticator: Option<&mut Authenticator>,
        prefetch: Prefetch,
    ) {
        let mut sought = [None; Self::WINDOW];
        self.next = 0;
        self.read = datagrams.len().min(Self::WINDOW);
        let places = self.readings.iter_mut().zip(&mut self.of).zip(&mut sought);
        for (((reading, of), sought), datagram) in places.zip(datagrams) {
            reading.read(settings, datagram);
            *of = whereabouts(datagram);
            if let (Sight::Register, Some(hash)) = (reading.sight, reading.hash)
                && settings.homes.home(hash.place) == settings.core
            {
                completed.prefetch(transaction_home(hash, datagram), prefetch);
                location.prefetch_index(hash, prefetch);
                *sought = Some(hash);
            }
        }
        if let Some(authenticator) = authenticator {
            for (reading, _) in self.readings.iter().zip(sought).filter(|(_, hash)| hash.is_some())
            {
                authenticator.foresee(&reading.aor);
            }
        }
        location.prefetch(&sought, prefetch);
    }

    /// The reading of a datagram: the one made ahead where it is the next, else one made now.
    #[inline]
    pub(super) fn reading(&mut self, settings: &Settings, datagram: &Datagram<'_>) -> &mut Reading {
        let place = self.next;
        if place < self.read && self.of[place] == whereabouts(datagram) {
            self.next += 1;
            return &mut self.readings[place];
        }
        // Whoever comes instead comes from elsewhere, a ring perhaps; what was read ahead may be out of date by then.
        self.read = 0;
        let [reading, ..] = &mut *self.readings;
        reading.read(settings, datagram);
        reading
    }
}

/// Where the bytes of a datagram lie.
#[inline]
fn whereabouts(datagram: &Datagram<'_>) -> (usize, usize) {
    (datagram.bytes.as_ptr().addr(), datagram.bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Input, Instant, ListenerId, LocalAddr, Outbox, Peer, UnixTime};
    use crate::shard::tests::shard;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::time::Duration;
    use proptest::prelude::*;

    /// All kinds of datagrams, for few addresses-of-record, so that they meet.
    fn text(kind: u8, number: u8) -> String {
        let method = if kind == 1 { "OPTIONS" } else { "REGISTER" };
        let user = number % 5;
        let usual = format!(
            "{method} sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:u{user}@sip.test>;tag=1\r\nTo: <sip:u{user}@sip.test>\r\n\
             Call-ID: call-{user}\r\nCSeq: {number} {method}\r\nContact: <sip:u{user}@127.0.0.1:5080>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        match kind {
            0 | 1 => usual,
            2 => usual.replace("To: <", "To: "),
            3 => usual.replace("@sip.test>\r\n", "@other.test>\r\n"),
            4 => usual.replace("REGISTER sip:sip.test SIP/2.0", "SIP/2.0 200 OK"),
            5 => usual.replace("Call-ID", "X"),
            6 => usual.replace("\r\nMax", "\r\n ;x=1\r\nMax"),
            7 => "\r\n\r\n".into(),
            _ => format!("junk {number}"),
        }
    }

    proptest! {
        /// Windows of any size, handled to their end or not, with other inputs between them.
        #[test]
        fn what_is_read_ahead_comes_to_the_same(
            windows in prop::collection::vec(
                (prop::collection::vec((0..9u8, 0..40u8), 1..20), 0..20usize, any::<bool>()), 1..12),
        ) {
            let (mut plain, mut foreseeing) = (shard(), shard());
            let (mut one, mut other) = (Outbox::new(64, 0), Outbox::new(64, 0));
            let from = Peer::udp("127.0.0.1:5080".parse().unwrap());
            let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
            let mut now = Instant::START;
            for (kinds, handled, hop_between) in windows {
                let texts: Vec<String> = kinds.iter().map(|&(kind, number)| text(kind, number)).collect();
                let datagrams: Vec<Datagram<'_>> = texts
                    .iter()
                    .map(|text| Datagram { from, to, bytes: text.as_bytes(), age: Duration::ZERO })
                    .collect();
                foreseeing.foresee(&datagrams);
                for (place, &datagram) in datagrams.iter().take(handled).enumerate() {
                    now = now.plus(Duration::from_millis(700));
                    let hop = Input::Hop(datagrams[0]);
                    let between = (hop_between && place == 2).then_some(hop);
                    for input in between.into_iter().chain([Input::Datagram(datagram)]) {
                        let expected = plain.handle(now, UnixTime(1), input, &mut one);
                        prop_assert_eq!(foreseeing.handle(now, UnixTime(1), input, &mut other), expected);
                        let sent = |out: &Outbox| -> Vec<Vec<u8>> {
                            out.sends().iter().map(|send| out.bytes(send).to_vec()).collect()
                        };
                        prop_assert_eq!(sent(&one), sent(&other));
                        one.clear();
                        other.clear();
                    }
                }
            }
            plain.check();
            foreseeing.check();
        }
    }
}
