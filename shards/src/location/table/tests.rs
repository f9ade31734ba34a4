//! The location table against a plain map, and filled to the last place.

use super::super::{Domains, Here};
use super::*;
use crate::io::{ListenerId, LocalAddr, Peer};
use crate::wire::Uri;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

const BINDINGS: u32 = 12;
const KEY: [u8; 16] = [7; 16];

/// One thing done to the table and to a plain map.
#[derive(Clone, Debug)]
enum Step {
    /// Binds, refreshes and removes contacts (number, lifetime in seconds, 0 removes) of an address-of-record.
    Register { aor: u8, contacts: Vec<(u8, u32)>, path: bool },
    /// Stages a change and thinks better of it.
    Abandon { aor: u8, contact: u8 },
    /// Time passes, and the wheel is asked.
    Pass { seconds: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let lifetime = prop_oneof![1 => Just(0_u32), 3 => 1_u32..2000];
    prop_oneof![
        6 => (0_u8..6, prop::collection::vec((0_u8..4, lifetime), 1..4), any::<bool>()).prop_map(
            |(aor, contacts, path)| {
                let contacts = contacts.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
                Step::Register { aor, contacts, path }
            }
        ),
        1 => (0_u8..6, 0_u8..4).prop_map(|(aor, contact)| Step::Abandon { aor, contact }),
        2 => (0_u32..900).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn aor(number: u8) -> Aor {
    let domains = Domains::any();
    let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
    let uri = format!("sip:user{number}@sip.test");
    let mut aor = Aor::new();
    aor.set(
        &KEY,
        &Uri::parse(uri.as_bytes()).unwrap(),
        &Here { domains: &domains, listeners: &[], to },
    )
    .unwrap();
    aor
}

fn record<'a>(contact: &'a str, path: &'a str) -> Record<'a> {
    let addr: core::net::SocketAddr = "127.0.0.1:5060".parse().unwrap();
    Record {
        contact: contact.as_bytes(),
        params: b"",
        path: path.as_bytes(),
        call_id: b"call",
        from: Peer::udp(addr),
        to: LocalAddr { listener: ListenerId(0), ip: addr.ip() },
    }
}

fn terms(expires: Instant) -> Terms {
    Terms { expires, cseq: 1, branch: 1, q: None, reg_id: 0 }
}

fn find(location: &Location, aor: &Aor, now: Instant, contact: &str) -> Option<BindingId> {
    let mut bindings = location.bindings(location.find(aor), now);
    bindings.find(|(_, binding)| binding.record.contact == contact.as_bytes()).map(|(id, _)| id)
}

type Oracle = BTreeMap<(u8, String), (Instant, &'static str)>;

fn register(
    location: &mut Location,
    oracle: &mut Oracle,
    now: Instant,
    number: u8,
    contacts: &[(u8, u32)],
    path: &'static str,
) {
    let aor = aor(number);
    let before = oracle.clone();
    let mut stale = 0;
    let mut update = location.update();
    for &(contact, lifetime) in contacts {
        let name = format!("sip:c{contact}@host");
        let old = find(update.before(), &aor, now, &name);
        let key = (number, name.clone());
        if lifetime == 0 {
            if let Some(id) = old {
                update.remove(id);
            }
            oracle.remove(&key);
            continue;
        }
        let expires = now.plus_secs(lifetime);
        let record = record(&name, path);
        let found = update.identical(update.before().find(&aor), now, &record);
        let identical = found.map(|(id, _)| id);
        assert!(identical.is_none() || identical == old);
        match identical {
            Some(id) => update.refresh(id, terms(expires)),
            None => update.save(old, &record, terms(expires)).expect("the arena is large enough"),
        }
        stale += u32::from(old.is_none());
        oracle.insert(key, (expires, path));
    }
    let id = update.before().find(&aor);
    let full = update.commit(&aor, id).is_err();
    if full {
        *oracle = before;
        assert!(location.bindings_len() + stale > BINDINGS, "refused with room left");
    }
}

#[test]
fn a_core_among_many_fills_its_table_to_the_last_place() {
    const PLACES: u32 = 4096;
    let mut location = Location::new(PLACES, 4 << 20, 1);
    let (mut aor, mut made) = (Aor::new(), 0);
    let domains = Domains::any();
    let to = LocalAddr { listener: ListenerId(0), ip: [127, 0, 0, 1].into() };
    let here = Here { domains: &domains, listeners: &[], to };
    for number in 0.. {
        let uri = format!("sip:{number}@sip.test");
        aor.set(&KEY, &Uri::parse(uri.as_bytes()).unwrap(), &here).unwrap();
        // The home core is chosen by the upper bits: here only the first of 64 cores' share arrives.
        if aor.hash().place >> 58 != 0 {
            continue;
        }
        let mut update = location.update();
        update.save(None, &record("sip:a@host", ""), terms(Instant::from_nanos(1))).unwrap();
        update.commit(&aor, None).expect("a place is left");
        made += 1;
        if made == PLACES {
            break;
        }
    }
    location.check();
}

proptest! {
    #[test]
    fn it_behaves_like_a_plain_map(steps in prop::collection::vec(step(), 1..120)) {
        let mut location = Location::new(BINDINGS, 64 * 1024, 8);
        let mut oracle = Oracle::new();
        let mut now = Instant::START;
        for step in steps {
            match step {
                Step::Register { aor, contacts, path } => {
                    let path = if path { "<sip:edge.test;lr>" } else { "" };
                    register(&mut location, &mut oracle, now, aor, &contacts, path);
                }
                Step::Abandon { aor: number, contact } => {
                    let name = format!("sip:c{contact}@host");
                    let mut update = location.update();
                    let old = find(update.before(), &aor(number), now, &name);
                    update.save(old, &record(&name, "<sip:gone>"), terms(now.plus_secs(9))).unwrap();
                }
                Step::Pass { seconds } => {
                    now = now.plus_secs(seconds);
                    location.expire(now, 3);
                    oracle.retain(|_, (expires, _)| *expires > now);
                }
            }
            location.check();
            for number in 0..6 {
                let aor = aor(number);
                let mut held: Vec<_> = location
                    .bindings(location.find(&aor), now)
                    .map(|(_, binding)| {
                        let contact = String::from_utf8(binding.record.contact.to_vec()).unwrap();
                        (contact, binding.terms.expires, binding.record.path.to_vec())
                    })
                    .collect();
                held.sort();
                let expected: Vec<_> = oracle
                    .iter()
                    .filter(|((owner, _), _)| *owner == number)
                    .map(|((_, contact), (expires, path))| (contact.clone(), *expires, path.as_bytes().to_vec()))
                    .collect();
                prop_assert_eq!(held, expected);
            }
        }
        now = now.plus_secs(3000);
        while location.deadline().is_some_and(|deadline| deadline <= now) {
            location.expire(now, 2);
        }
        location.check();
        prop_assert_eq!((location.aors_len(), location.bindings_len()), (0, 0));
        prop_assert_eq!(location.arena().usage().string_bytes, 0);
    }
}
