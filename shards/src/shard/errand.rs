//! What the control side asks of a shard. An errand is made there with all the memory that its answer needs, travels to the
//! core, which fills it in, and travels back: the core neither allocates nor frees. What a command hands over for good, such as
//! a new snapshot of a table, is exchanged for what it replaces, so that the old one is freed where the errand came from.

use super::Shard;
use super::report::Report;
use crate::auth::Subscribers;
use crate::io::{Input, Instant, ListenerId, LocalAddr, Outbox, Peer, UnixTime};
use crate::location::{Aor, Listing};
use crate::proxy::{Asked, Proxy, Trace};
use crate::registrar::{Added, Addition, Registrar, Unmet};
use crate::store::Memory;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A command and the room for its answer.
#[derive(Debug)]
pub struct Errand {
    /// What is asked.
    pub command: Command,
    /// The bindings that are asked for.
    pub listing: Listing,
    /// The tables that are asked for, by their names.
    pub memory: [(&'static str, Memory); Shard::TABLES],
    /// How a request would be routed, where that is asked for.
    pub report: Report,
    /// What became of it.
    pub result: Result<Done, Unmet>,
}

/// What may be asked.
#[derive(Debug)]
pub enum Command {
    /// The next page of all bindings. A binding that stays as long as it takes to read all pages is listed once.
    Page {
        /// The place of the table from which on to look: 0, or what the page before said.
        from: u32,
        /// The most addresses-of-record to list; a page has at most [`Listing::PAGE_AORS`] anyway.
        aors: usize,
    },
    /// The bindings of an address-of-record.
    LookUp(Aor),
    /// Ends the bindings of an address-of-record, or those only with this contact.
    Remove {
        /// Whose bindings.
        aor: Aor,
        /// The contact URI, without angle brackets.
        contact: Option<Box<[u8]>>,
    },
    /// Binds an address-of-record to a contact; see [`Added`].
    Add {
        /// Whose binding.
        aor: Aor,
        /// The contact URI, without angle brackets.
        contact: Box<[u8]>,
        /// How long it is to live; `None` for as long as the process.
        expires_secs: Option<u32>,
        /// The preference in thousandths.
        q: Option<u16>,
        /// The URI of the proxy on the way to it, without angle brackets, or nothing.
        path: Box<[u8]>,
    },
    /// How full each table is.
    Memory,
    /// Puts these subscribers in the place of those before, which come back instead.
    Subscribers(Arc<Subscribers>),
    /// The answer to a [`Question`](crate::io::Question) of this core.
    Resolved(Resolved),
    /// How a request would be routed, step by step; nothing is sent and nothing changes. It is asked of the core where the
    /// address-of-record of the Request-URI lives.
    Route {
        /// The method, as it would stand in the request.
        method: Box<[u8]>,
        /// The Request-URI.
        uri: Box<[u8]>,
        /// Where the request would come from.
        source: SocketAddr,
        /// Where it would arrive: the first listener of the source's family.
        listener: ListenerId,
    },
}

/// The addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The question's ticket.
    pub ticket: u64,
    addresses: [IpAddr; Self::ADDRESSES_MAX],
    count: usize,
}

impl Resolved {
    /// More than are worth a try for one request.
    pub const ADDRESSES_MAX: usize = 8;

    /// An answer with the first of these addresses, as many as there is room for.
    #[must_use]
    pub fn new(ticket: u64, all: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut addresses = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); Self::ADDRESSES_MAX];
        let mut count = 0;
        for (place, address) in addresses.iter_mut().zip(all) {
            *place = address;
            count += 1;
        }
        Resolved { ticket, addresses, count }
    }

    /// The addresses, the best first; none where the name has none or could not be asked for.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses[..self.count]
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing yet: no core has seen the errand.
    Nothing,
    /// Bindings were listed; where the next page begins, if there is one.
    Listed(Option<u32>),
    /// This many bindings were ended.
    Removed(u32),
    /// A binding was made; false where there was an equivalent one, which has new terms.
    Added(bool),
    /// The tables were measured.
    Measured,
    /// The subscribers are others.
    Replaced,
    /// The shard knows the addresses; what became of them is among its metrics.
    Told,
    /// The report tells how.
    Routed,
}

impl Errand {
    /// An errand to send.
    #[must_use]
    pub fn new(command: Command) -> Self {
        let memory = [("", Memory::default()); Shard::TABLES];
        let (listing, report) = match &command {
            Command::Page { .. } | Command::LookUp(_) => (Listing::new(), Report::none()),
            Command::Route { .. } => (Listing::none(), Report::new()),
            Command::Remove { .. }
            | Command::Add { .. }
            | Command::Memory
            | Command::Subscribers(_)
            | Command::Resolved(_) => (Listing::none(), Report::none()),
        };
        Errand { command, listing, memory, report, result: Ok(Done::Nothing) }
    }
}

impl Shard {
    /// How many tables [`Errand::memory`] tells of.
    pub const TABLES: usize = 6 + Proxy::TABLES;

    /// Runs an errand. Its work is bounded by what an address-of-record may have, by a page, or by what an input may take. What
    /// has to be sent is added to `out`, which must have room.
    pub fn run(&mut self, now: Instant, wall: UnixTime, errand: &mut Errand, out: &mut Outbox) {
        let Errand { command, listing, memory, report, result } = errand;
        let most = if let Command::Page { aors, .. } = command { *aors } else { 1 };
        listing.begin(now, most);
        *result = match command {
            Command::Page { from, .. } => Ok(Done::Listed(self.location.page(*from, now, listing))),
            Command::LookUp(aor) => self.look_up(now, aor, listing),
            Command::Remove { aor, contact } => {
                let removed = Registrar::end(now, aor, contact.as_deref(), &mut self.location);
                self.metrics.bindings_removed += u64::from(removed.unwrap_or(0));
                removed.map(Done::Removed)
            }
            Command::Add { aor, contact, expires_secs, q, path } => {
                let listener = self.settings.listeners.first();
                let ip = listener.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
                let added = Added {
                    contact,
                    expires_secs: *expires_secs,
                    q: *q,
                    path,
                    to: LocalAddr { listener: ListenerId(0), ip },
                };
                let added = self.registrar.add(now, aor, &added, &mut self.location);
                added.map(|Addition { is_new, replaced }| {
                    self.metrics.bindings_created += u64::from(is_new);
                    self.metrics.bindings_refreshed += u64::from(!is_new);
                    self.metrics.bindings_replaced += u64::from(replaced);
                    Done::Added(is_new)
                })
            }
            Command::Memory => {
                *memory = self.memory();
                Ok(Done::Measured)
            }
            Command::Subscribers(subscribers) => {
                *subscribers = self.replace_subscribers(Arc::clone(subscribers));
                Ok(Done::Replaced)
            }
            Command::Resolved(resolved) => {
                let Resolved { ticket, .. } = *resolved;
                let input = Input::Addresses { ticket, addresses: resolved.addresses() };
                self.handle(now, wall, input, out);
                Ok(Done::Told)
            }
            Command::Route { method, uri, source, listener } => {
                let bound = self.settings.listeners.get(usize::from(listener.0));
                let ip = bound.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
                let local = LocalAddr { listener: *listener, ip };
                let asked = Asked { method, uri, source: Peer::udp(*source), local };
                self.proxy.route_test(now, &asked, &self.location, &mut Steps(report));
                Ok(Done::Routed)
            }
        };
    }

    fn look_up(&self, now: Instant, aor: &Aor, listing: &mut Listing) -> Result<Done, Unmet> {
        let id = self.location.find(aor);
        let bindings = self.location.bindings(id, now).map(|(_, binding)| binding);
        let is_listed = listing.push(aor.bytes(), bindings);
        debug_assert!(is_listed, "an empty listing takes anything");
        if listing.aors().next().is_none() {
            return Err(Unmet::NoSuchAor);
        }
        Ok(Done::Listed(None))
    }

    fn memory(&self) -> [(&'static str, Memory); Self::TABLES] {
        let [aors, bindings, index, timers, strings] = self.location.memory();
        let [calls, branches, messages] = self.proxy.memory();
        [
            ("aors", aors),
            ("bindings", bindings),
            ("index", index),
            ("timers", timers),
            ("strings", strings),
            ("transactions", self.completed.memory()),
            calls,
            branches,
            messages,
        ]
    }
}

/// What `route.test` finds, in lines.
struct Steps<'r>(&'r mut Report);

impl Trace for Steps<'_> {
    fn step(&mut self, what: &'static str, found: &[u8]) {
        self.0.line(what, format_args!("{}", found.escape_ascii()));
    }

    fn address(&mut self, what: &'static str, addr: SocketAddr) {
        self.0.line(what, format_args!("{addr}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Class, CoreId};
    use crate::location::{Domains, Here};
    use crate::registrar::{Policy, WhenFull};
    use crate::shard::{Homes, Keys, Limits, Settings};
    use crate::wire::Uri;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;

    fn shard(bindings: usize) -> Shard {
        Shard::new(Settings {
            core: CoreId(0),
            homes: Homes::all(1),
            keys: Keys::derive(&[1; 32]),
            domains: Arc::new(Domains::any()),
            listeners: Arc::new(["127.0.0.1:5060".parse().unwrap()]),
            policy: Policy { max_contacts: 3, ..Policy::default() },
            proxy: crate::proxy::Policy::default(),
            realm: None,
            limits: Limits {
                message_bytes: 65_507,
                header_lines: 64,
                contacts: 8,
                bindings,
                arena_bytes: (bindings * 512).max(256 * 1024),
                completed_bytes: 64 * 1024,
                transactions: 1000,
                branches: 2000,
                transaction_bytes: 4 << 20,
            },
        })
    }

    fn aor(uri: &str) -> Aor {
        let (domains, ip) = (Domains::any(), [127, 0, 0, 1].into());
        let to = LocalAddr { listener: ListenerId(0), ip };
        let here = Here { domains: &domains, listeners: &[], to };
        let mut aor = Aor::new();
        aor.set(&Keys::derive(&[1; 32]).home, &Uri::parse(uri.as_bytes()).unwrap(), &here).unwrap();
        aor
    }

    fn run(shard: &mut Shard, at: Instant, command: Command) -> (Result<Done, Unmet>, Listed) {
        let mut errand = Errand::new(command);
        shard.run(at, UnixTime(0), &mut errand, &mut Outbox::new(1, 0));
        if shard.gauges().bindings < 100 {
            shard.check();
        }
        let mut listed = Listed::new();
        for (aor, bindings) in errand.listing.aors() {
            let contacts = bindings.map(|binding| {
                let contact = String::from_utf8(binding.record.contact.to_vec()).unwrap();
                (contact, at.secs_until(binding.terms.expires))
            });
            listed.insert(String::from_utf8(aor.to_vec()).unwrap(), contacts.collect());
        }
        (errand.result, listed)
    }

    type Listed = BTreeMap<String, BTreeMap<String, u32>>;

    fn add(shard: &mut Shard, user: &str, contact: &str, secs: Option<u32>) -> Result<Done, Unmet> {
        let command = Command::Add {
            aor: aor(&format!("sip:{user}@sip.test")),
            contact: contact.as_bytes().into(),
            expires_secs: secs,
            q: None,
            path: Box::default(),
        };
        run(shard, Instant::START, command).0
    }

    fn remove(shard: &mut Shard, user: &str, contact: Option<&str>) -> Result<Done, Unmet> {
        let command = Command::Remove {
            aor: aor(&format!("sip:{user}@sip.test")),
            contact: contact.map(|contact| contact.as_bytes().into()),
        };
        run(shard, Instant::START, command).0
    }

    #[test]
    fn a_binding_is_added_looked_up_and_ended() {
        let mut shard = shard(100);
        let look_up =
            |shard: &mut Shard, at| run(shard, at, Command::LookUp(aor("sip:%61lice@SIP.test")));
        assert_eq!(look_up(&mut shard, Instant::START).0, Err(Unmet::NoSuchAor));
        assert_eq!(add(&mut shard, "alice", "sip:a@h", Some(10)), Ok(Done::Added(true)));
        assert_eq!(add(&mut shard, "alice", "sip:a@H", Some(20)), Ok(Done::Added(false)));
        assert_eq!(add(&mut shard, "alice", "sip:b@h", None), Ok(Done::Added(true)));
        assert_eq!(shard.metrics().bindings_created, 2);
        let (done, listed) = look_up(&mut shard, Instant::START.plus_secs(5));
        assert_eq!(done, Ok(Done::Listed(None)));
        let expected = [("sip:a@H", 15), ("sip:b@h", u32::MAX)];
        assert_eq!(
            listed["alice@sip.test"],
            expected.map(|(contact, left)| (String::from(contact), left)).into()
        );
        // What has expired is neither offered nor found, whether it was removed yet or not.
        let later = Instant::START.plus_secs(20);
        assert_eq!(look_up(&mut shard, later).1["alice@sip.test"].len(), 1);

        assert_eq!(remove(&mut shard, "alice", Some("sip:c@h")), Err(Unmet::NoSuchContact));
        assert_eq!(remove(&mut shard, "bob", Some("sip:a@h")), Err(Unmet::NoSuchAor));
        assert_eq!(remove(&mut shard, "alice", Some("sip:a@h")), Ok(Done::Removed(1)));
        assert_eq!(add(&mut shard, "alice", "sip:c@h", Some(9)), Ok(Done::Added(true)));
        assert_eq!(remove(&mut shard, "alice", None), Ok(Done::Removed(2)));
        assert_eq!(remove(&mut shard, "alice", None), Err(Unmet::NoSuchAor));
        assert_eq!(shard.gauges().bindings, 0);
        assert_eq!(shard.metrics().bindings_removed, 3);
    }

    #[test]
    fn an_operator_is_bound_by_the_limits_and_the_grammar() {
        let mut shard = shard(4);
        for contact in ["", "no uri", "sip:a@h>,<sip:b@h", "sip:a@h\r\nVia: x", "sip:"] {
            assert_eq!(add(&mut shard, "a", contact, None), Err(Unmet::BadContact), "{contact}");
        }
        let path = |path: &[u8]| Command::Add {
            aor: aor("sip:a@sip.test"),
            contact: b"sip:a@h"[..].into(),
            expires_secs: Some(1),
            q: Some(500),
            path: path.into(),
        };
        for bad in [&b"tel:1"[..], b"sip:p>", &[b'x'; 600]] {
            assert_eq!(run(&mut shard, Instant::START, path(bad)).0, Err(Unmet::BadPath));
        }
        assert_eq!(run(&mut shard, Instant::START, path(b"sip:p;lr")).0, Ok(Done::Added(true)));
        for contact in ["sip:b@h", "sip:c@h"] {
            assert_eq!(add(&mut shard, "a", contact, None), Ok(Done::Added(true)));
        }
        assert_eq!(add(&mut shard, "a", "sip:d@h", None), Err(Unmet::TooManyContacts));
        shard.registrar = Registrar::new(
            Policy { max_contacts: 3, when_full: WhenFull::ReplaceOldest, ..Policy::default() },
            8,
            1000,
        );
        assert_eq!(add(&mut shard, "a", "sip:d@h", None), Ok(Done::Added(true)));
        assert_eq!(add(&mut shard, "b", "sip:e@h", None), Ok(Done::Added(true)));
        assert_eq!(add(&mut shard, "c", "sip:f@h", None), Err(Unmet::LocationFull));
        assert_eq!(shard.gauges().bindings, 4);
    }

    #[test]
    fn what_an_operator_adds_in_the_place_of_another_is_counted_as_replaced() {
        let mut shard = shard(10);
        let policy =
            Policy { max_contacts: 2, when_full: WhenFull::ReplaceOldest, ..Policy::default() };
        shard.registrar = Registrar::new(policy, 8, 1000);
        for contact in ["sip:a@h", "sip:b@h", "sip:c@h", "sip:d@h"] {
            assert_eq!(add(&mut shard, "a", contact, Some(9)), Ok(Done::Added(true)));
        }
        let metrics = shard.metrics();
        assert_eq!((metrics.bindings_created, metrics.bindings_replaced), (4, 2));
        assert_eq!(shard.gauges().bindings, 2);
    }

    #[test]
    fn pages_list_each_binding_that_stays_once_and_look_at_few_places() {
        const AORS: usize = 5000;
        let mut shard = shard(AORS);
        for number in 0..AORS {
            assert!(add(&mut shard, &format!("{number}"), "sip:a@h", Some(9)).is_ok());
        }
        // From here on the table is sparse: one in a hundred remains, and those after the 4,000th.
        let stays = |number: usize| number % 100 == 7 || number >= 4000;
        for number in (0..AORS).filter(|&number| !stays(number) && number % 2 == 0) {
            remove(&mut shard, &format!("{number}"), None).unwrap();
        }
        let (mut from, mut seen, mut pages) = (0, Listed::new(), 0);
        loop {
            let (done, listed) = run(&mut shard, Instant::START, Command::Page { from, aors: 64 });
            assert!(listed.len() <= Listing::PAGE_AORS);
            for (aor, contacts) in listed {
                assert!(seen.insert(aor, contacts).is_none(), "listed twice");
            }
            pages += 1;
            // Others come and go meanwhile.
            let gone = 4 * pages + 1;
            if !stays(gone) {
                remove(&mut shard, &format!("{gone}"), None).unwrap();
            }
            match done {
                Ok(Done::Listed(Some(next))) => {
                    assert!(from < next && next - from <= Listing::PAGE_PLACES);
                    from = next;
                }
                other => {
                    assert_eq!(other, Ok(Done::Listed(None)));
                    break;
                }
            }
        }
        for number in (0..AORS).filter(|&number| stays(number)) {
            assert!(seen.contains_key(&format!("{number}@sip.test")), "{number} was missed");
        }
        shard.check();
        let (done, listed) =
            run(&mut shard, Instant::START, Command::Page { from: u32::MAX, aors: 64 });
        assert_eq!((done, listed.len()), (Ok(Done::Listed(None)), 0));
    }

    #[test]
    fn the_addresses_of_a_name_are_an_input_like_any_other() {
        let mut shard = shard(4);
        let before = shard.metrics().inputs[Class::Addresses.index()];
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let resolved = Resolved::new(7, [address; 20]);
        assert_eq!(resolved.addresses(), [address; Resolved::ADDRESSES_MAX]);
        assert!(Resolved::new(7, []).addresses().is_empty());
        let done = run(&mut shard, Instant::START, Command::Resolved(resolved)).0;
        assert_eq!(done, Ok(Done::Told));
        assert_eq!(shard.metrics().inputs[Class::Addresses.index()], before + 1);
    }

    #[test]
    fn memory_adds_up() {
        let mut shard = shard(100);
        add(&mut shard, "a", "sip:a@h", None).unwrap();
        let mut errand = Errand::new(Command::Memory);
        shard.run(Instant::START, UnixTime(0), &mut errand, &mut Outbox::new(1, 0));
        assert_eq!(errand.result, Ok(Done::Measured));
        for (name, memory) in errand.memory {
            let is_unused = ["calls", "branches", "messages"].contains(&name);
            assert_eq!(memory.used_bytes == 0, is_unused, "{name}");
            assert!(memory.used_bytes <= memory.reserved_bytes, "{name}");
            if is_unused {
                continue;
            }
            let is_counted = !["strings", "transactions"].contains(&name);
            assert_eq!(memory.entries, is_counted.then_some(1), "{name}");
            assert_eq!(memory.capacity, is_counted.then_some(100), "{name}");
        }
    }
}
