//! What is refreshed in place against what goes the whole way.

use super::*;
use crate::io::{Datagram, ListenerId, LocalAddr, Outbox, Peer};
use crate::location::{Domains, Here};
use crate::registrar::Policy;
use crate::wire::{Index, Response, StartLine, peek};
use alloc::format;
use alloc::string::String;
use core::time::Duration;
use proptest::prelude::*;

const KEY: [u8; 16] = [3; 16];

/// A REGISTER in pieces of which few differ, so that most meet a binding.
#[derive(Clone, Debug)]
struct Piece {
    user: u8,
    contact: u8,
    form: u8,
    expires: u8,
    call: u8,
    cseq: u32,
    source: u8,
    path: bool,
}

impl Piece {
    fn any() -> impl Strategy<Value = Piece> {
        let kinds = (0..2_u8, 0..3_u8, 0..9_u8, 0..8_u8);
        (kinds, prop_oneof![4 => Just(0_u8), 1 => Just(1)], 1..12_u32, 0..4_u8, any::<bool>())
            .prop_map(|((user, contact, form, expires), call, cseq, source, path)| Piece {
                user,
                contact,
                form: form.saturating_sub(3),
                expires,
                call,
                cseq,
                source: source.saturating_sub(1),
                path: path && contact == 2,
            })
    }

    fn text(&self) -> String {
        let uri = format!("sip:u{}@192.0.2.{}:5060;line=abcdef01", self.user, self.contact);
        let (parameter, header) = match self.expires {
            0 | 1 => (";expires=600", ""),
            2 => (";expires=0600", ""),
            3 => (";Expires=700", ""),
            4 => (";expires=99999", ""),
            5 => ("", "Expires: 800\r\n"),
            6 => ("", ""),
            _ => (";expires=0", ""),
        };
        let contact = match self.form {
            0 => format!("Contact: <{uri}>{parameter}"),
            1 => format!("contact: <{uri}>{parameter}"),
            2 => format!("Contact: \"U\" <{uri}>{parameter}"),
            3 => format!("Contact: <{uri}>;q=0.5{parameter}"),
            4 => format!("m: <{uri}>{parameter} , <sip:other@192.0.2.9>"),
            _ => format!("Contact: <{uri}>{parameter};+sip.instance=\"<urn:x:1>\";reg-id=1"),
        };
        let path = if self.path { "Supported: path\r\nPath: <sip:edge.test;lr>\r\n" } else { "" };
        format!(
            "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}\r\n\
             From: <sip:u{}@sip.test>;tag=1\r\nTo: <sip:u{}@sip.test>\r\nCall-ID: call-{}@192.0.2.1\r\n\
             CSeq: {} REGISTER\r\n{path}{contact}\r\n{header}Content-Length: 0\r\n\r\n",
            self.cseq, self.user, self.user, self.call, self.cseq
        )
    }

    fn source(&self) -> Peer {
        let source = ["192.0.2.1:5060", "192.0.2.1:5061", "[2001:db8::1]:5060"];
        Peer::udp(source[usize::from(self.source)].parse().unwrap())
    }
}

fn listed(
    now: Instant,
    registrar: &Registrar,
    registered: &Registered,
    location: &Location,
    bytes: &[u8],
    index: &Index,
) -> String {
    let mut out = Outbox::new(1, 0);
    let source = "192.0.2.1:5060".parse().unwrap();
    let mut response =
        Response::start(out.reply(), bytes, index, 200, "OK", source, b"tag").unwrap();
    registrar.write_bindings(now, registered, location, index, &mut response);
    String::from_utf8(response.written().to_vec()).unwrap()
}

/// What a REGISTER comes to, as the shard takes it.
fn register(
    registrar: &mut Registrar,
    now: Instant,
    request: &Register<'_>,
    aor: &Aor,
    location: &mut Location,
) -> Result<Registered, Refusal> {
    registrar.read_path(request.message)?;
    match registrar.refresh(now, request, aor, location) {
        Some(done) => Ok(done),
        None => registrar.change(now, request, aor, location),
    }
}

fn bindings(now: Instant, location: &Location, aor: &Aor) -> String {
    format!("{:?}", location.bindings(location.find(aor), now).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn a_refresh_as_it_stands_comes_to_what_the_whole_way_does(
        pieces in prop::collection::vec((Piece::any(), 0..400_u32), 1..40),
    ) {
        let registrar = || Registrar::new(Policy::default(), 8, 2000);
        let (mut quick, mut whole) = (registrar(), registrar());
        let (mut one, mut other) = (Location::new(50, 64 * 1024, 20), Location::new(50, 64 * 1024, 20));
        let domains = Domains::new(["sip.test"]);
        let mut now = Instant::START;
        for (piece, seconds) in pieces {
            now = now.plus_secs(seconds);
            let text = piece.text();
            let bytes = text.as_bytes();
            let mut index = Index::new(64);
            let _ = peek(bytes, &mut index);
            let message = Message::parse(bytes, &mut index).unwrap();
            let StartLine::Request { uri, .. } = message.start_line() else { panic!() };
            let to = LocalAddr { listener: ListenerId(0), ip: [192, 0, 2, 9].into() };
            let datagram = Datagram { from: piece.source(), to, bytes, age: Duration::ZERO };
            let request = Register { message: &message, uri, datagram: &datagram, branch: piece.cseq };
            let mut aor = Aor::new();
            let here = Here { domains: &domains, listeners: &[], to };
            aor.set_text(&KEY, message.to().uri, &here).unwrap();

            let registered = register(&mut quick, now, &request, &aor, &mut one);
            whole.read_path(&message).unwrap();
            let expected = whole.change(now, &request, &aor, &mut other);
            prop_assert_eq!(bindings(now, &one, &aor), bindings(now, &other, &aor), "{}", text);
            let (Ok(registered), Ok(expected)) = (registered, expected) else {
                prop_assert_eq!(registered, expected);
                continue;
            };
            prop_assert_eq!(Registered { only: None, ..registered }, expected);
            prop_assert_eq!(
                listed(now, &quick, &registered, &one, bytes, message.index()),
                listed(now, &whole, &expected, &other, bytes, message.index())
            );
            one.check();
        }
    }
}

#[test]
fn the_usual_refresh_does_not_go_the_whole_way() {
    let domains = Domains::new(["sip.test"]);
    let mut registrar = Registrar::new(Policy::default(), 8, 2000);
    let mut location = Location::new(50, 64 * 1024, 20);
    let mut piece = Piece {
        user: 0,
        contact: 1,
        form: 0,
        expires: 0,
        call: 0,
        cseq: 1,
        source: 0,
        path: false,
    };
    for cseq in 1..4 {
        piece.cseq = cseq;
        let text = piece.text();
        let bytes = text.as_bytes();
        let mut index = Index::new(64);
        let _ = peek(bytes, &mut index);
        let message = Message::parse(bytes, &mut index).unwrap();
        let StartLine::Request { uri, .. } = message.start_line() else { panic!() };
        let to = LocalAddr { listener: ListenerId(0), ip: [192, 0, 2, 9].into() };
        let datagram = Datagram { from: piece.source(), to, bytes, age: Duration::ZERO };
        let request = Register { message: &message, uri, datagram: &datagram, branch: cseq };
        let mut aor = Aor::new();
        let here = Here { domains: &domains, listeners: &[], to };
        aor.set_text(&KEY, message.to().uri, &here).unwrap();
        let done = register(&mut registrar, Instant::START, &request, &aor, &mut location).unwrap();
        assert_eq!(done.only.is_some(), cseq > 1, "{cseq}");
        assert_eq!(done.class, if cseq > 1 { Class::RegisterRefresh } else { Class::RegisterNew });
    }
}
