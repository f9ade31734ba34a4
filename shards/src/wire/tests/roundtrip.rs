//! Messages made at random, in every disguise the grammar allows, are read as they were meant; and whatever is done to
//! them, nothing panics, and what the peek said holds for what the parser accepts.

use super::*;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

/// What a message means.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    method: String,
    vias: Vec<(String, Option<u16>, String)>,
    from_user: String,
    from_tag: String,
    to_user: String,
    call_id: String,
    cseq: u32,
    max_forwards: u8,
    contacts: Vec<(String, Option<u16>, Option<u32>)>,
    routes: Vec<String>,
    record_routes: Vec<String>,
    expires: Option<u32>,
    supported: Vec<String>,
    strange: Vec<String>,
    body: Vec<u8>,
}

pub(crate) fn meaning() -> impl Strategy<Value = Meaning> {
    let token = "[a-zA-Z0-9.!%*_+`'~-]{1,24}";
    let host = prop_oneof![
        "[a-z0-9]{1,8}(\\.[a-zA-Z0-9-]{1,12}){0,3}",
        Just(String::from("[2001:db8::1]")),
        Just(String::from("192.0.2.7")),
    ];
    let method = prop_oneof![
        Just(String::from("REGISTER")),
        Just(String::from("INVITE")),
        Just(String::from("OPTIONS")),
        "[A-Z!'%]{1,12}"
    ];
    let user = "[a-zA-Z0-9_.!~*'()&=+$,;?/-]{1,40}";
    (
        (
            method,
            proptest::collection::vec((host, proptest::option::of(1..u16::MAX), token), 1..4),
            user,
            token,
            user,
            "[!-~]{1,60}",
            0u32..1 << 31,
            any::<u8>(),
        ),
        (
            proptest::collection::vec(
                (user, proptest::option::of(0..1001u16), proptest::option::of(any::<u32>())),
                0..4,
            ),
            proptest::collection::vec(user, 0..4),
            proptest::collection::vec(user, 0..3),
            proptest::option::of(any::<u32>()),
            proptest::collection::vec(token, 0..4),
            proptest::collection::vec("[ -~\u{80}-\u{ffff}]{0,90}", 0..4),
            proptest::collection::vec(any::<u8>(), 0..200),
        ),
    )
        .prop_map(
            |((method, vias, from_user, from_tag, to_user, call_id, cseq, max_forwards), rest)| {
                let (contacts, routes, record_routes, expires, supported, strange, body) = rest;
                Meaning {
                    method,
                    vias,
                    from_user,
                    from_tag,
                    to_user,
                    call_id,
                    cseq,
                    max_forwards,
                    contacts,
                    routes,
                    record_routes,
                    expires,
                    supported,
                    strange,
                    body,
                }
            },
        )
}

/// Choices, used up one by one.
struct Dice<'a>(core::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn roll(&mut self, sides: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % sides)
    }

    /// White space where it may be left out.
    fn gap(&mut self) -> &'static str {
        ["", " ", "", "  ", "\t", "\r\n ", " \r\n\t ", ""][usize::from(self.roll(8))]
    }

    /// White space where some must be.
    fn space(&mut self) -> &'static str {
        [" ", "  ", "\t", "\r\n ", " \r\n\t"][usize::from(self.roll(5))]
    }

    fn cased(&mut self, text: &str) -> String {
        let mode = self.roll(4);
        text.chars()
            .map(|letter| match mode {
                0 | 1 => letter,
                2 => letter.to_ascii_uppercase(),
                _ if self.roll(2) == 0 => letter.to_ascii_lowercase(),
                _ => letter.to_ascii_uppercase(),
            })
            .collect()
    }

    fn line(&mut self, name: &str, compact: Option<&str>, value: &str) -> String {
        let name = match compact {
            Some(compact) if self.roll(3) == 0 => compact,
            Some(_) | None => name,
        };
        let before = ["", "", "", " ", "\t "][usize::from(self.roll(5))];
        let after = ["", "", "", " ", "\t", "\r\n "][usize::from(self.roll(6))];
        format!("{}{before}:{}{value}{after}\r\n", self.cased(name), self.gap())
    }

    /// One or more lines, some with several values.
    fn list(&mut self, name: &str, compact: Option<&str>, values: &[String]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut values = values.iter().peekable();
        while let Some(value) = values.next() {
            let mut joined = value.clone();
            while self.roll(2) == 0
                && let Some(next) = values.next()
            {
                joined = format!("{joined}{},{}{next}", self.gap(), self.gap());
            }
            lines.push(self.line(name, compact, &joined));
        }
        lines
    }

    fn param(&mut self, name: &str, value: &str) -> String {
        let (a, b, c, d) = (self.gap(), self.gap(), self.gap(), self.gap());
        format!("{a};{b}{}{c}={d}{value}", self.cased(name))
    }
}

/// One of the many texts of a meaning.
pub(crate) fn text_of(meaning: &Meaning, choices: &[u8]) -> Vec<u8> {
    let mut dice = Dice(choices.iter());
    let vias: Vec<String> = meaning
        .vias
        .iter()
        .map(|(host, port, branch)| {
            let sent_protocol = match dice.roll(3) {
                0 => format!("SIP{}/{}2.0{}/{}UDP", dice.gap(), dice.gap(), dice.gap(), dice.gap()),
                _ => String::from("SIP/2.0/UDP"),
            };
            let port =
                port.map(|port| format!("{}:{}{port}", dice.gap(), dice.gap())).unwrap_or_default();
            let rport = if dice.roll(2) == 0 { ";rport" } else { "" };
            format!(
                "{sent_protocol}{}{host}{port}{rport}{}",
                dice.space(),
                dice.param("branch", branch)
            )
        })
        .collect();
    let display = |dice: &mut Dice<'_>| {
        let quoted = "\"a, b; <sip:x@y>;tag=no \\\" \u{416}\"";
        [String::new(), format!("{quoted}{}", dice.gap()), format!("Some One{}", dice.space())]
            [usize::from(dice.roll(3))]
        .clone()
    };
    let mut groups = Vec::new();
    groups.push(dice.list("Via", Some("v"), &vias));
    let from = format!(
        "{}<sip:{}@from.test>{}",
        display(&mut dice),
        meaning.from_user,
        dice.param("tag", &meaning.from_tag)
    );
    groups.push([dice.line("From", Some("f"), &from)].into());
    let to = format!(
        "{}<sip:{}@to.test>{}",
        display(&mut dice),
        meaning.to_user,
        dice.param("x", "\"tag=;\"")
    );
    groups.push([dice.line("To", Some("t"), &to)].into());
    groups.push([dice.line("Call-ID", Some("i"), &meaning.call_id)].into());
    let cseq = format!("{}{}{}", meaning.cseq, dice.space(), meaning.method);
    groups.push([dice.line("CSeq", None, &cseq)].into());
    groups.push([dice.line("Max-Forwards", None, &format!("{}", meaning.max_forwards))].into());
    groups
        .push([dice.line("Content-Length", Some("l"), &format!("{}", meaning.body.len()))].into());
    let contacts: Vec<String> = meaning
        .contacts
        .iter()
        .map(|(user, q, expires)| {
            let q = q
                .map(|q| dice.param("q", &format!("{}.{:03}", q / 1000, q % 1000)))
                .unwrap_or_default();
            let expires = expires
                .map(|expires| dice.param("expires", &format!("{expires}")))
                .unwrap_or_default();
            format!("{}<sip:{user}@contact.test;a=b?c=d>{q}{expires}", display(&mut dice))
        })
        .collect();
    groups.push(dice.list("Contact", Some("m"), &contacts));
    for (name, users) in [("Route", &meaning.routes), ("Record-Route", &meaning.record_routes)] {
        let values: Vec<String> = users
            .iter()
            .map(|user| {
                let param = dice.param("x", "\"<,>;\"");
                format!("{}<sip:{user}@route.test;lr>{param}", display(&mut dice))
            })
            .collect();
        groups.push(dice.list(name, None, &values));
    }
    if let Some(expires) = meaning.expires {
        groups.push([dice.line("Expires", None, &format!("{expires}"))].into());
    }
    groups.push(dice.list("Supported", Some("k"), &meaning.supported));
    groups.push(meaning.strange.iter().map(|value| dice.line("X-Strange", None, value)).collect());

    // Lines of one header keep their order, headers do not.
    let mut text = format!("{} sip:some.test SIP/2.0\r\n", meaning.method);
    while !groups.is_empty() {
        let group = usize::from(dice.roll(16)) % groups.len();
        if groups[group].is_empty() {
            groups.swap_remove(group);
        } else {
            text += &groups[group].remove(0);
        }
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(&meaning.body);
    bytes
}

fn check(meaning: &Meaning, text: &[u8]) {
    with(text, |message| {
        let StartLine::Request { method, .. } = message.start_line() else { panic!("a request") };
        assert_eq!(method.name(), meaning.method.as_bytes());
        assert_eq!(message.cseq().method, *method);
        let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
        assert_eq!(vias.len(), meaning.vias.len());
        assert_eq!(message.via().raw, vias[0].raw);
        for (via, (host, port, branch)) in vias.iter().zip(&meaning.vias) {
            assert_eq!((via.host.raw(), via.port), (host.as_bytes(), *port));
            assert_eq!(via.branch, Some(branch.as_bytes()));
        }
        assert_eq!(message.from().uri, format!("sip:{}@from.test", meaning.from_user).as_bytes());
        assert_eq!(message.from().tag, Some(meaning.from_tag.as_bytes()));
        assert_eq!(message.to().uri, format!("sip:{}@to.test", meaning.to_user).as_bytes());
        assert_eq!(message.to().tag, None);
        assert_eq!(Uri::parse(message.to().uri).unwrap().user, Some(meaning.to_user.as_bytes()));
        assert_eq!(message.call_id(), meaning.call_id.as_bytes());
        assert_eq!(message.cseq().number, meaning.cseq);
        assert_eq!(message.max_forwards(), Some(meaning.max_forwards));
        assert_eq!(message.expires(), meaning.expires);
        assert_eq!(message.body(), meaning.body);
        let contacts: Vec<_> = message.contacts().map(Result::unwrap).collect();
        assert_eq!(contacts.len(), meaning.contacts.len());
        for (contact, (user, q, expires)) in contacts.iter().zip(&meaning.contacts) {
            let Contact::Address(contact) = contact else { panic!("an address") };
            assert_eq!(contact.address.uri, format!("sip:{user}@contact.test;a=b?c=d").as_bytes());
            assert_eq!((contact.q, contact.expires), (*q, *expires));
        }
        for (id, users) in
            [(HeaderId::Route, &meaning.routes), (HeaderId::RecordRoute, &meaning.record_routes)]
        {
            let uris: Vec<_> = message.addresses(id).map(|value| value.unwrap().uri).collect();
            let meant: Vec<_> =
                users.iter().map(|user| format!("sip:{user}@route.test;lr")).collect();
            assert!(uris.iter().eq(meant.iter().map(String::as_bytes).collect::<Vec<_>>().iter()));
        }
        let supported: Vec<_> =
            message.option_tags(HeaderId::Supported).map(Result::unwrap).collect();
        assert!(
            supported.iter().eq(meaning
                .supported
                .iter()
                .map(String::as_bytes)
                .collect::<Vec<_>>()
                .iter())
        );
        let strange: Vec<_> = message.named(b"x-strange").map(|header| header.value).collect();
        let meant: Vec<_> =
            meaning.strange.iter().map(|value| value.as_bytes().trim_ascii()).collect();
        assert_eq!(strange, meant);
    });
}

/// One of six kinds of damage at a place.
pub(crate) fn hurt(text: &mut Vec<u8>, place: prop::sample::Index, kind: u8, byte: u8) {
    if text.is_empty() {
        return;
    }
    let at = place.index(text.len());
    match kind {
        0 => text[at] = byte,
        1 => text.insert(at, byte),
        2 => {
            text.remove(at);
        }
        3 => text.truncate(at),
        // Bytes that mean something are worth more than others.
        4 => text[at] = b"\r\n \t:;,<>\"\\@%/?[]=*"[usize::from(byte) % 19],
        _ => {
            let length = usize::from(byte).min(text.len() - at);
            let copy = text[at..at + length].to_vec();
            text.splice(at..at, copy);
        }
    }
}

/// What must hold for any bytes at all.
fn survive(text: &[u8]) {
    let mut index = Index::new(20);
    let peeked = peek(text, &mut index);
    let is_sound = Message::parse(text, &mut index).is_ok();
    if is_sound {
        let mut careful = Index::new(20);
        careful.read_carefully(text);
        careful.assert_same(&index);
    } else if matches!(peeked, Peek::Request { .. } | Peek::Response { .. }) {
        let mut careful = Index::new(20);
        careful.read_carefully(text);
        // What the lines must say together is told when each of them is sound.
        assert!(careful.failure().is_none() || careful.failure() == index.failure());
    }
    let mut quick = Index::new(20);
    if let Some(to) = peek_register(text, &mut quick) {
        let (method, home) = (Method::Register, Home::AddressOfRecord(to));
        assert_eq!(peeked, Peek::Request { method, home });
        assert_eq!(Message::parse(text, &mut quick).is_ok(), is_sound);
        quick.assert_same(&index);
    }
    let mut index = Index::new(20);
    assert_eq!(peek(text, &mut index), peeked);
    let Ok(message) = Message::parse(text, &mut index) else {
        // What is no SIP has no defect to be told.
        let is_sip = match peeked {
            Peek::Empty | Peek::Crlf | Peek::Stun | Peek::NotSip => false,
            Peek::Request { .. } | Peek::Response { .. } | Peek::Malformed(_) => true,
        };
        assert_eq!(index.failure().is_some(), is_sip);
        return;
    };
    match (message.start_line(), peeked) {
        (StartLine::Request { method, .. }, Peek::Request { method: told, home }) => {
            assert_eq!(*method, told);
            match home {
                Home::AddressOfRecord(uri) => {
                    assert_eq!((told, uri), (Method::Register, message.to().uri));
                }
                Home::CallId(call_id) => assert_eq!(call_id, message.call_id()),
            }
        }
        (StartLine::Response { status, .. }, Peek::Response { status: told, branch }) => {
            assert_eq!((*status, message.via().branch), (told, branch));
        }
        (start_line, peeked) => panic!("{start_line:?} but {peeked:?}"),
    }
    let _ = message.contacts().count() + message.vias().count() + message.headers().count();
    let _ =
        (message.expires(), Uri::parse(message.to().uri).map(|uri| uri.write_user(&mut [0; 8])));
    for id in [HeaderId::Supported, HeaderId::Route] {
        let _ = message.option_tags(id).count() + message.addresses(id).count();
    }
    assert_eq!(
        lines_by_splitting(text),
        message.headers().map(|header| header.raw).collect::<Vec<_>>()
    );
}

/// The header lines of an accepted message, found the slow way.
fn lines_by_splitting(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at + 1 < text.len() {
        if &text[at..at + 2] == b"\r\n" {
            let folded = matches!(text.get(at + 2), Some(b' ' | b'\t'));
            if at == start {
                return lines[1..].to_vec();
            }
            if !folded {
                lines.push(&text[start..at + 2]);
                start = at + 2;
            }
            at += 2;
        } else {
            assert!(text[at] != b'\r' && text[at] != b'\n', "a bare CR or LF was accepted");
            at += 1;
        }
    }
    panic!("no empty line was accepted")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(meaning in meaning(), choices in proptest::collection::vec(any::<u8>(), 150)) {
        let text = text_of(&meaning, &choices);
        check(&meaning, &text);
        survive(&text);
    }

    #[test]
    fn damage_is_survived(
        meaning in meaning(),
        choices in proptest::collection::vec(any::<u8>(), 100),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..6u8, any::<u8>()), 1..6),
    ) {
        let mut text = text_of(&meaning, &choices);
        for (place, kind, byte) in damage {
            hurt(&mut text, place, kind, byte);
            survive(&text);
        }
    }

    #[test]
    fn common_forms_are_read_as_the_grammar_reads_them(
        values in proptest::collection::vec(("(Via|From|To|Call-ID|CSeq|Max-Forwards|Content-Length|Contact|Expires|X)", "[ ]{0,1}(SIP/2.0/UDP [a-z0-9.]{0,4}(:[0-9]{0,6})?(;branch=[a-z;=%]{0,20}|;rport|;rport=1|;x=\"y\"){0,3}|(\"[a-z< \\\\]{0,40}\" ?)?<(sip|SIP|tel):[a-z@:;=%<>\"\u{e9}]{0,40}>(;tag=[a-z!;=\"]{0,20}|;expires=[0-9]{0,10}|;q=1| ){0,2}|[0-9]{0,10}( REGISTER| INV,| )?|[!-~]{0,20})[ ]{0,1}"), 0..12),
    ) {
        let mut text = String::from("REGISTER sip:x SIP/2.0\r\n");
        for (name, value) in &values {
            text += &format!("{name}:{value}\r\n");
        }
        survive((text + "\r\n").as_bytes());
        // Alone, so that nothing else is malformed; contacts by both of their readers.
        for (name, value) in &values {
            let one = register_with(&format!("{name}:{value}"));
            survive(one.as_bytes());
            let with_defaults = |text: &str| {
                let mut index = Index::new(20);
                let _ = peek(text.as_bytes(), &mut index);
                let message = Message::parse(text.as_bytes(), &mut index).ok()?;
                let contacts: Vec<_> = message.contacts().map(|contact| format!("{:?}", contact.ok())).collect();
                Some((contacts, message.expires()))
            };
            // A second space keeps the common readers away, and changes no meaning.
            prop_assert_eq!(with_defaults(&one), with_defaults(&register_with(&format!("{name}: \t{value}"))));
        }
    }

    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        survive(&text);
        let mut dressed = Vec::from(&b"OPTIONS sip:x SIP/2.0\r\nVia: "[..]);
        dressed.extend_from_slice(&text);
        survive(&dressed);
    }

    #[test]
    fn uris_equal_themselves_and_the_order_does_not_matter(a in "sips?:[a-z%41;]{0,6}@?[a-c.]{1,3}(;[a-c]=?[a-b]){0,3}", b in "sip:[aA%61]{1,4}@b(;[a-c]=?[a-b]){0,3}") {
        if let Ok(a) = Uri::parse(a.as_bytes()) {
            prop_assert!(a.equivalent(&a));
            if let Ok(b) = Uri::parse(b.as_bytes()) {
                prop_assert_eq!(a.equivalent(&b), b.equivalent(&a));
            }
        }
    }
}
