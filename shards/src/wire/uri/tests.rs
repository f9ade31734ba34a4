//! URIs taken apart, compared and refused.

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn parts() {
    let full =
        uri("sips:alice:se%63ret@Example.COM:5071;transport=tcp;lr?subject=x&priority=urgent");
    assert_eq!(full.scheme, Scheme::Sips);
    assert_eq!(full.user, Some(&b"alice"[..]));
    assert_eq!(full.password, Some(&b"se%63ret"[..]));
    assert_eq!(full.host.raw(), b"Example.COM");
    assert_eq!(full.port, Some(5071));
    assert_eq!(full.params, b"transport=tcp;lr");
    assert_eq!(full.headers, b"subject=x&priority=urgent");
    assert_eq!(full.param(b"Transport"), Some(&b"tcp"[..]));
    assert_eq!(full.param(b"lr"), Some(&b""[..]));
    assert_eq!(full.param(b"l"), None);

    let six = uri("sip:bob@[2001:db8::1]:5060");
    assert_eq!(six.host.ip(), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(six.port, Some(5060));
    assert_eq!(uri("sip:192.0.2.1").host.ip(), Some("192.0.2.1".parse().unwrap()));
    assert_eq!(uri("sip:1.2.3.256").host.ip(), None);
    assert_eq!(uri("sip:1.2.3.4.5").host.ip(), None);
    assert_eq!(uri("tel:+1-201-555-0123").scheme, Scheme::Tel);
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other(b"soap.beep"));
    assert_eq!(
        uri("sip:user;par=u%40example.net@example.com").user,
        Some(&b"user;par=u%40example.net"[..])
    );
    assert_eq!(uri("sip:*21#@example.com").user, Some(&b"*21#"[..]));
    assert_eq!(uri("sip:alice@example.com;;x").params, b";x");
}

#[test]
fn what_is_no_uri() {
    for bad in [
        "",
        "sip",
        "sip:",
        "sips:",
        ":x",
        "1x:y",
        "x:",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b c",
        "sip:a@b; lr",
        "sip:a@b:",
        "sip:a@b:x",
        "sip:a@b:65536",
        "sip:a@[::1",
        "sip:a@[]",
        "sip:a@[::g]",
        "sip:a@[::1]x",
        "sip:%4@b",
        "sip:%zz@b",
        "sip:a@b;%4",
        "sip:a@b?%",
        "sip:a@b;x?y?z\"",
        "<sip:a@b>",
        "sip:a@b>",
        "tel:1 2",
        "x:\u{7f}",
        "sip:a\"@b",
        "sip::pw@b",
        "sip:a@b\r\n",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(Uri::parse(b"sip:a@b c").unwrap_err().offset, 7);
}

#[test]
fn equivalence_as_in_rfc_3261_19_1_4() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("SIP:a@b", "sip:a@B"),
        ("sip:a%2db@c", "sip:a%2Db@c"),
        ("sip:a%00b@c", "sip:a%00b@c"),
        ("TEL:+1", "tel:+1"),
    ] {
        assert!(uri(a).equivalent(&uri(b)), "{a} = {b}");
        assert!(uri(b).equivalent(&uri(a)), "{b} = {a}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b;user=phone", "sip:a@b"),
        ("sip:a@b;maddr=1.2.3.4", "sip:a@b"),
        ("sip:a@b;x=1", "sip:a@b;x=2"),
        ("sip:a@b", "sip:b"),
        ("sip:a:x@b", "sip:a@b"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:a%00@c", "sip:a%00b@c"),
        ("tel:+1", "sip:+1@b"),
        ("a:x", "b:x"),
    ] {
        assert!(!uri(a).equivalent(&uri(b)), "{a} != {b}");
        assert!(!uri(b).equivalent(&uri(a)), "{b} != {a}");
    }
}

#[test]
fn the_common_form_is_read_as_any_other() {
    let mut taken = 0;
    for user in
        ["", "@", "alice.b-1@", "a_b@", "+15551234;x=1@", "a%41@", "a:b@", "a@b@", "a>@", "\u{e9}@"]
    {
        for host in [
            "",
            "h",
            "sip.example.com",
            "192.0.2.1",
            "h_h.example",
            "h:5060",
            "h:",
            "h:x",
            "h:65536",
            "h:5060;transport=udp",
            "h.example:05060;lr;x=%41",
            "h.example;line=a1b2c3;ob",
            "h;;x=[1]:2/&+$",
            "h:5060;a?b=c",
            "h:5060?b=c",
            "h;a@b",
            "h:1:2",
            "h;a b",
            "@h",
            "a@h",
            ":5060",
            ";lr",
            "h;lr",
            "h?a=b",
            "[::1]",
        ] {
            for scheme in ["sip:", "SIP:", "sips:", "tel:", ":", ""] {
                for length in [0, 1, 5, 15, 16, 17, 30, 60, 70] {
                    let text = alloc::format!("{scheme}{}{user}{host}", "x".repeat(length));
                    let raw = text.as_bytes();
                    let Some(common) = Uri::common(raw) else { continue };
                    taken += 1;
                    let any = Uri {
                        ..Uri::read_any(Cursor { bytes: raw, at: 0, end: raw.len(), reason: "" })
                            .unwrap()
                    };
                    assert_eq!(alloc::format!("{common:?}"), alloc::format!("{any:?}"));
                }
            }
        }
    }
    assert!(taken > 200, "{taken}");
}

#[test]
fn comparing_many_parameters_is_bounded() {
    let many = |order: &mut dyn Iterator<Item = u32>| {
        order
            .fold(alloc::string::String::from("sip:a@b"), |text, i| alloc::format!("{text};p{i}=1"))
    };
    let (up, down) = (many(&mut (0..12)), many(&mut (0..12).rev()));
    assert!(uri(&up).equivalent(&uri(&down)));
    let (up, down) = (many(&mut (0..13)), many(&mut (0..13).rev()));
    assert!(!uri(&up).equivalent(&uri(&down)));
    assert!(uri(&up).equivalent(&uri(&up)));
}

#[test]
fn decoded_users_are_bounded_by_the_buffer() {
    let user = uri("sip:sips%3Auser%40example.com%00@example.net");
    let mut buffer = [0; 64];
    let length = user.write_user(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"sips:user@example.com\0");
    assert_eq!(user.write_user(&mut buffer[..21]), None);
    assert_eq!(user.write_user(&mut buffer[..22]), Some(22));
    assert_eq!(uri("sip:bob@h").write_user(&mut buffer[..2]), None);
    assert_eq!(uri("sip:h").write_user(&mut []), Some(0));
    assert_eq!(uri("sip:bob@ExAmple").host.write_lower(&mut buffer), Some(7));
    assert_eq!(&buffer[..7], b"example");
    assert_eq!(uri("sip:bob@ExAmple").host.write_lower(&mut buffer[..6]), None);
}

#[test]
fn an_ipv4_address_is_four_decimal_octets() {
    let ip = |text: &str| Host::new(text.as_bytes()).ip();
    for (text, octets) in [
        ("192.0.2.1", [192, 0, 2, 1]),
        ("0.0.0.0", [0; 4]),
        ("255.255.255.255", [255; 4]),
        ("010.001.02.3", [10, 1, 2, 3]),
    ] {
        assert_eq!(ip(text), Some(octets.into()), "{text}");
    }
    for text in [
        "",
        "1",
        "1.2.3",
        "1.2.3.",
        "1..2.3",
        ".1.2.3",
        "1.2.3.4.",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.999",
        "0001.2.3.4",
        "1.2.3.0004",
        "1.2.3.4a",
        "a.2.3.4",
        "1.2.3.-4",
        "1.2.3.4 ",
    ] {
        assert_eq!(ip(text), None, "{text}");
    }
}

#[test]
fn a_parameter_is_found_by_its_whole_name() {
    for params in [
        "lr",
        "lr=",
        "lr=on;x",
        "x=lr;lr",
        "lrx;LR=1;lr=2",
        ";;lr;",
        "x=;=lr;lr==",
        "lrlr=lr",
        "l",
        "",
        "transport=tcp;lr",
        "x;lr=a=b",
    ] {
        let text = alloc::format!("sip:a@b.test;{params}");
        // What is no URI has parameters nevertheless, as far as this is concerned.
        let uri = Uri { params: params.as_bytes(), ..uri("sip:a@b.test") };
        let expected = params.split(';').find_map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            name.eq_ignore_ascii_case("lr").then_some(value.as_bytes())
        });
        assert_eq!(uri.param(b"lr"), expected, "{text}");
    }
}
