//! What files are accepted, and what is said about those that are not.

use super::*;

fn machine() -> Machine {
    Machine { cpus: vec![0, 1, 2, 3], hostname: "edge7".to_owned() }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(Path::new("seawall.toml"), text, &machine())
}

fn told(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_means_the_defaults_without_an_admin_address() {
    let config = parse("").unwrap();
    let builtin = Config::builtin(&machine());
    assert_eq!(config.admin, None);
    let source = Source::File("seawall.toml".into());
    assert_eq!(config, Config { source, admin: None, ..builtin });
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let config = parse(
        r#"
        [node]
        name = "sw1"
        cpus = [2, 0]
        io = "epoll"
        spin_before_park_us = 50
        secret_file = "keys/secret"
        previous_secret_file = "keys/secret.old"
        [[listen]]
        udp = "192.0.2.1:5060"
        challenge = false
        [[listen]]
        udp = "[::]:5062"
        advertise = "Edge.Example.COM:5060"
        [domains]
        local = ["b.test", "A.test"]
        [domains.aliases]
        "www.a.test" = "a.test"
        [registrar]
        min_expires = 30
        default_expires = 300
        max_expires = 600
        max_contacts = 3
        max_contact_bytes = 1000
        when_full = "replace"
        unsupported_path = "store"
        [auth]
        mode = "none"
        realm = "a.test"
        algorithms = ["SHA-256", "MD5"]
        subscribers = "subscribers.csv"
        [location]
        max_bindings = 50_000
        binding_bytes = 256
        [proxy]
        timer_c = 240
        max_transactions = 5000
        transaction_bytes = 2048
        resolver = ["127.0.0.1:5353", "[::1]:53"]
        [[neighbour]]
        name = "carrier-a"
        networks = ["192.0.2.128/25", "2001:db8::1"]
        domains = ["Carrier-A.test", "198.51.100.7"]
        next_hop = "192.0.2.10:5060"
        asserts_identity = true
        [[neighbour]]
        name = "carrier-b"
        domains = ["b.carrier.test"]
        next_hop = "Proxy.Carrier-B.test:5070"
        [[neighbour]]
        name = "callers"
        networks = ["203.0.113.0/24"]
        [limits]
        message_bytes = 8192
        headers = 64
        contacts = 20
        completed_bytes = 1_048_576
        [admin]
        listen = "192.0.2.1:9000"
        token_file = "/etc/seawall/admin.token"
        "#,
    )
    .unwrap();
    let domain = |name| Domain::parse(name).unwrap();
    let network = |ip: &str, prefix_bits| Network { ip: ip.parse().unwrap(), prefix_bits };
    assert_eq!(
        config,
        Config {
            source: Source::File("seawall.toml".into()),
            node: Node {
                name: "sw1".into(),
                cpus: vec![0, 2],
                io: Io::Epoll,
                spin_before_park_us: 50,
                secret_file: Some("keys/secret".into()),
                previous_secret_file: Some("keys/secret.old".into()),
            },
            listeners: vec![
                Listener {
                    udp: "192.0.2.1:5060".parse().unwrap(),
                    advertise: None,
                    challenge: false,
                },
                Listener {
                    udp: "[::]:5062".parse().unwrap(),
                    advertise: HostPort::parse("edge.example.com:5060"),
                    challenge: true,
                },
            ],
            domains: Domains {
                local: LocalDomains::Named(vec![domain("a.test"), domain("b.test")]),
                aliases: vec![(domain("www.a.test"), domain("a.test"))],
            },
            registrar: Registrar {
                min_expires_secs: 30,
                default_expires_secs: 300,
                max_expires_secs: 600,
                max_contacts: 3,
                max_contact_bytes: 1000,
                when_full: WhenFull::ReplaceOldest,
                unsupported_path: UnsupportedPath::Store,
            },
            auth: Auth::None,
            location: Location { max_bindings: 50_000, binding_bytes: 256 },
            proxy: Proxy {
                timer_c_secs: 240,
                max_transactions: 5000,
                transaction_bytes: 2048,
                resolvers: vec!["127.0.0.1:5353".parse().unwrap(), "[::1]:53".parse().unwrap()],
            },
            neighbours: vec![
                Neighbour {
                    name: "carrier-a".into(),
                    networks: vec![network("192.0.2.128", 25), network("2001:db8::1", 128)],
                    domains: vec![domain("carrier-a.test"), domain("198.51.100.7")],
                    next_hop: Some(NextHop::Address("192.0.2.10:5060".parse().unwrap())),
                    asserts_identity: true,
                },
                Neighbour {
                    name: "carrier-b".into(),
                    networks: Vec::new(),
                    domains: vec![domain("b.carrier.test")],
                    next_hop: Some(NextHop::Name {
                        host: "proxy.carrier-b.test".into(),
                        port: 5070,
                    }),
                    asserts_identity: false,
                },
                Neighbour {
                    name: "callers".into(),
                    networks: vec![network("203.0.113.0", 24)],
                    domains: Vec::new(),
                    next_hop: None,
                    asserts_identity: false,
                },
            ],
            limits: MessageLimits {
                message_bytes: 8192,
                headers: 64,
                contacts: 20,
                completed_bytes: 1 << 20,
            },
            admin: Some(Admin {
                listen: "192.0.2.1:9000".parse().unwrap(),
                token_file: Some("/etc/seawall/admin.token".into()),
                required: true,
            }),
        }
    );
}

#[test]
fn times_that_are_not_written_make_room_for_those_that_are() {
    let times = |text: &str| {
        let Registrar { min_expires_secs, default_expires_secs, max_expires_secs, .. } =
            parse(&format!("[registrar]\n{text}")).unwrap().registrar;
        (min_expires_secs, default_expires_secs, max_expires_secs)
    };
    assert_eq!(times(""), (60, 3600, 7200));
    assert_eq!(times("max_expires = 600"), (60, 600, 600));
    assert_eq!(times("max_expires = 30"), (30, 30, 30));
    assert_eq!(times("default_expires = 10_000"), (60, 10_000, 10_000));
    assert_eq!(times("min_expires = 3600"), (3600, 3600, 7200));
    assert_eq!(times("default_expires = 20"), (20, 20, 7200));
    assert_eq!(times("default_expires = 86400"), (60, 86_400, 86_400));
    assert_eq!(times("min_expires = 100\nmax_expires = 200"), (100, 200, 200));
}

#[test]
fn a_file_with_many_errors_tells_them_all_in_order() {
    let text = r#"[node]
name = "a name"
cpus = [0, 9, 0, -1]
io = "urnig"
frobnicate = true
[[listen]]
udp = "127.0.0.1:5060"
[[listen]]
udp = "127.0.0.1:5060"
advertise = "edge.test"
[[listen]]
udp = "127.0.0.1:0"
[[listen]]
tcp = "127.0.0.1:5060"
[[listen]]
udp = "224.0.0.1:5060"
[domains]
local = ["sip.test", "*", "SIP.test", "bad domain"]
[domains.aliases]
"www.sip.test" = "sip.tset"
"sip.test" = "sip.test"
unquoted.test = "sip.test"
[registrar]
min_expire = 60
default_expires = 9000
max_expires = 7200
max_contacts = "ten"
when_full = "drop"
[auth]
mode = "digest"
realm = "a\\b"
algorithms = ["MD5", "SHA256", "SHA-256", "MD5"]
nonce_lifetime = 1
[location]
path = "/var/lib/seawall"
max_bindings = 0
[limits]
message_bytes = 1_000_000
contacts = 1.5
[admin]
[regsitrar]
"#;
    insta::assert_snapshot!("many_errors", told(text));
}

#[test]
fn what_neighbours_may_not_be_is_told_in_order() {
    let text = r#"[node]
previous_secret_file = "secret.old"
[[listen]]
udp = "192.0.2.1:5060"
advertise = "edge.example.com:5060"
challenge = "no"
[[listen]]
udp = "0.0.0.0:5062"
[domains]
local = ["a.test"]
[domains.aliases]
"www.a.test" = "a.test"
[proxy]
timer_c = 180
max_transactions = 0
transaction_bytes = 100
resolver = ["127.0.0.1:53", "ns.test:53", "0.0.0.0:53", "127.0.0.1:53"]
max_branches = 1
[[neighbour]]
name = "one"
networks = ["192.0.2.0/24", "192.0.2.7", "10.0.0.1/8", "10.0.0.0/40", "::ffff:192.0.2.1", "carrier.test"]
domains = ["b.test", "A.test", "www.a.test", "192.0.2.1", "not a domain", "B.test"]
next_hop = "192.0.2.1:5060"
[[neighbour]]
name = "one"
networks = ["0.0.0.0/0"]
domains = ["b.test", "c.test"]
next_hop = "proxy.b.test"
[[neighbour]]
networks = []
next_hop = "edge.example.com:5060"
[[neighbour]]
name = "a name"
domain = "d.test"
[[neighbour]]
name = "two"
domains = ["d.test"]
next_hop = "[2001:db8::1]:5060"
[[neighbour]]
name = "three"
domains = ["e.test"]
next_hop = "127.0.0.1:5062"
"#;
    insta::assert_snapshot!("neighbours", told(text));
}

#[test]
fn a_wildcard_needs_a_name_only_where_a_neighbour_could_be_told_it() {
    let listening = |listeners: &str, neighbour: &str| {
        parse(&format!("listen = [{listeners}]\ndomains.local = [\"a.test\"]\n{neighbour}"))
    };
    let both = "{ udp = \"0.0.0.0:5060\" }, { udp = \"[::]:5060\" }";
    let called = "[[neighbour]]\nname = \"b\"\ndomains = [\"b.test\"]\n";
    let calls = "[[neighbour]]\nname = \"b\"\nnetworks = [\"192.0.2.0/24\"]\n";
    // Whatever leaves from the only listener has come to it, so its address is known.
    listening("{ udp = \"0.0.0.0:5060\" }", called).unwrap();
    listening(both, calls).unwrap();
    let advertised =
        "{ udp = \"0.0.0.0:5060\", advertise = \"a.test:5060\" }, { udp = \"[2001:db8::1]:5060\" }";
    listening(advertised, called).unwrap();
    let told = listening(both, called).unwrap_err().to_string();
    let line = |address: &str| {
        format!(
            "seawall.toml:1: listen.udp: {address} is no address that a neighbour can answer to, and what leaves from here may \
             have come to another listener, expected advertise beside it, as in advertise = \"sip.example.com:5060\""
        )
    };
    assert_eq!(told, format!("{}\n{}", line("0.0.0.0:5060"), line("[::]:5060")));
}

#[test]
fn with_any_domain_local_nobody_else_has_one() {
    let neighbour = "[[neighbour]]\nname = \"b\"\ndomains = [\"b.test\"]\n";
    assert_eq!(
        told(neighbour),
        "seawall.toml:3: neighbour.domains: `b.test` is served here as any domain is, expected domains.local to name those \
         that are"
    );
    parse(&format!("{neighbour}[domains]\nlocal = [\"a.test\"]\n")).unwrap();
}

#[test]
fn more_messages_than_a_core_can_hold_are_refused() {
    assert_eq!(
        told(
            "[node]\ncpus = [0]\n[proxy]\ntransaction_bytes = 65_536\nmax_transactions = 10_000_000\n"
        ),
        "seawall.toml:5: proxy.max_transactions: would take 610 GiB of messages a core, expected no more than 31: fewer \
         transactions or more CPUs"
    );
}

#[test]
fn a_previous_secret_is_another_than_the_secret() {
    assert_eq!(
        told("[node]\nsecret_file = \"s\"\nprevious_secret_file = \"s\"\n"),
        "seawall.toml:3: node.previous_secret_file: is secret_file itself, expected the one that it replaced"
    );
}

#[test]
fn broken_syntax_is_told_once_a_line_beside_the_rest() {
    insta::assert_snapshot!(
        "broken_values",
        told(
            "[node]\nname = \nio = \"fast\"\nname = \"b\"\n[registrar]\nmax_expires = 1h\nmin_expires = 0\n"
        )
    );
    // After a header that was not understood nothing is said of the keys below it.
    insta::assert_snapshot!(
        "broken_header",
        told("[node\nname = \"a\"\n[registrar]\nmin_expires = 0\n")
    );
}

#[test]
fn times_out_of_order_are_told_once() {
    assert_eq!(
        told("[registrar]\nmin_expires = 100\ndefault_expires = 50\nmax_expires = 20\n"),
        "seawall.toml:2: registrar.min_expires: 100 is more than registrar.default_expires = 50, expected no more than that"
    );
    assert_eq!(
        told("[registrar]\nmin_expires = 100\nmax_expires = 20\n"),
        "seawall.toml:2: registrar.min_expires: 100 is more than registrar.max_expires = 20, expected no more than that"
    );
}

#[test]
fn an_admin_address_that_others_reach_needs_a_token() {
    for (address, loopback) in [
        ("192.0.2.1:9000", "127.0.0.1:9000"),
        ("0.0.0.0:8060", "127.0.0.1:8060"),
        ("[::]:8060", "127.0.0.1:8060"),
        ("[2001:db8::1]:8060", "127.0.0.1:8060"),
    ] {
        assert_eq!(
            told(&format!("[admin]\nlisten = \"{address}\"\n")),
            format!(
                "seawall.toml:2: admin.listen: others reach {address} and could change bindings there, expected \
                 admin.token_file beside it, as in token_file = \"admin.token\", or a loopback address; did you mean \
                 `{loopback}`?"
            )
        );
        parse(&format!("[admin]\nlisten = \"{address}\"\ntoken_file = \"t\"\n")).unwrap();
    }
    for address in ["127.0.0.1:9000", "127.9.9.9:9000", "[::1]:9000"] {
        parse(&format!("[admin]\nlisten = \"{address}\"\n")).unwrap();
    }
}

#[test]
fn digest_is_complete_or_told() {
    let auth = |text: &str| parse(text).unwrap().auth;
    let least =
        "[domains]\nlocal = [\"a.test\"]\n[auth]\nmode = \"digest\"\nsubscribers = \"s.csv\"\n";
    let expected = Digest {
        realm: "a.test".into(),
        algorithms: vec![Algorithm::Md5],
        subscribers: "s.csv".into(),
        nonce_lifetime_secs: 3600,
        nonces: 1_000_000,
    };
    assert_eq!(auth(least), Auth::Digest(expected.clone()));
    let all = "realm = \"x y\"\nalgorithms = [\"SHA-512-256\", \"SHA-256\", \"MD5\"]\nnonce_lifetime = 300\nnonces = 5000\n";
    let expected = Digest {
        realm: "x y".into(),
        algorithms: vec![Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5],
        nonce_lifetime_secs: 300,
        nonces: 5000,
        ..expected
    };
    assert_eq!(auth(&format!("{least}{all}")), Auth::Digest(expected));
    assert_eq!(
        told("[auth]\nmode = \"digest\"\n"),
        "seawall.toml:1: auth.subscribers: is missing, expected a CSV file as in subscribers = \"subscribers.csv\"\n\
         seawall.toml:1: auth.realm: is missing, expected a realm, as there is not one local domain that could name it"
    );
    // Nobody is served without authentication for want of a word.
    assert_eq!(
        told("[auth]\nsubscribers = \"s.csv\"\n"),
        "seawall.toml:2: auth.subscribers: is written, but no mode, expected mode = \"digest\" or \"none\""
    );
}

#[test]
fn more_strings_than_a_core_can_hold_are_refused() {
    assert_eq!(
        told("[node]\ncpus = [0]\n[location]\nbinding_bytes = 4096\nmax_bindings = 80_000_000\n"),
        "seawall.toml:5: location.max_bindings: would take 305 GiB of strings a core, expected no more than 31: fewer \
         bindings or more CPUs"
    );
    parse("[node]\ncpus = [0]\n[location]\nmax_bindings = 80_000_000\n").unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_name() {
    let problems = Config::load(Path::new("/nonexistent/seawall.toml"), &machine()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nonexistent/seawall.toml: can't be read: No such file or directory (os error 2)"
    );
}

#[test]
fn the_files_for_operators_are_valid_and_the_reference_names_every_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
    for profile in ["profiles/small.toml", "profiles/carrier.toml"] {
        let file = folder.join(profile);
        Config::load(&file, &machine()).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let file = folder.join("seawall.toml");
    let reference = Config::load(&file, &machine()).unwrap();
    let source = Source::File(file.clone());
    assert_eq!(reference, Config { source, admin: None, ..Config::builtin(&machine()) });
    // With its commented keys switched on it still has no key that is unknown, and an admin address.
    let text = std::fs::read_to_string(&file).unwrap();
    let text: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key)
                if key.starts_with('[')
                    || key.split_once(" = ").is_some_and(|(key, _)| is_key(key)) =>
            {
                key
            }
            Some(_) | None => line,
        })
        .collect();
    // Where any domain is local, none is a neighbour's.
    let text = text.join("\n").replace("local = [\"*\"]", "local = [\"example.com\"]");
    let all = parse(&text).unwrap();
    assert_eq!(all.node.name, "edge7");
    assert_eq!(all.node.cpus, [0, 1]);
    assert!(all.node.secret_file.is_some() && all.listeners[0].advertise.is_some());
    assert!(all.node.previous_secret_file.is_some() && all.neighbours[0].next_hop.is_some());
    assert_eq!(all.admin.unwrap().listen.port(), 8060);
    // Whatever would be expected in place of an unknown key is in it.
    for table in [
        "",
        "node.",
        "listen.",
        "domains.",
        "registrar.",
        "auth.",
        "location.",
        "proxy.",
        "neighbour.",
        "limits.",
        "admin.",
    ] {
        let line = match table {
            "listen." => "listen = [{ x = 1 }]".to_owned(),
            "neighbour." => "neighbour = [{ x = 1 }]".to_owned(),
            _ => format!("{table}x = 1"),
        };
        let told = told(&line);
        let expected = told.split_once("unknown key, expected ").unwrap().1;
        for key in expected.lines().next().unwrap().split('`').skip(1).step_by(2) {
            let for_later = key == "path";
            let named = text.contains(&format!("{key} = ")) || text.contains(&format!("[{key}]"));
            assert!(named || for_later || key == "aliases", "{table}{key}");
        }
    }
}

#[test]
fn no_damage_to_a_file_makes_more_of_it_than_problems() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/profiles/carrier.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let places = text.char_indices().map(|(place, _)| place);
    let mut refused = 0;
    for place in places {
        let (head, tail) = text.split_at(place);
        let mut rest = tail.chars();
        rest.next();
        for damaged in [
            head.to_owned(),
            format!("{head}{}", rest.as_str()),
            format!("{head}\"{}", rest.as_str()),
            format!("{head}[{tail}"),
            format!("{head}\n= {tail}"),
            format!("{head}9{tail}"),
        ] {
            let Err(problems) = parse(&damaged) else { continue };
            refused += 1;
            assert!(!problems.list.is_empty());
            assert!(problems.list.is_sorted_by_key(|problem| problem.line), "{problems}");
            assert!(
                problems
                    .list
                    .iter()
                    .all(|problem| problem.line <= Some(damaged.lines().count() + 1)),
                "{problems}"
            );
        }
    }
    assert!(refused > text.len(), "most of it is noticed");
}

#[test]
fn an_hour_is_never_too_brief() {
    assert_eq!(
        told("[registrar]\nmin_expires = 3601\nmax_expires = 7200\n"),
        "seawall.toml:2: registrar.min_expires: 3601 is out of range, expected a whole number from 1 to 3600 seconds"
    );
}

#[test]
fn a_wildcard_takes_its_port_at_every_address_of_its_family() {
    let listening = |first: &str, second: &str| {
        format!("[[listen]]\nudp = \"{first}\"\n[[listen]]\nudp = \"{second}\"\n")
    };
    for (first, second) in [("0.0.0.0:5060", "192.0.2.1:5060"), ("[2001:db8::1]:5060", "[::]:5060")]
    {
        assert_eq!(
            told(&listening(first, second)),
            format!(
                "seawall.toml:4: listen.udp: {second} and line 2's {first} overlap, \
                 expected another port or one of them alone"
            )
        );
    }
    for (first, second) in [
        ("0.0.0.0:5060", "192.0.2.1:5062"),
        ("0.0.0.0:5060", "[::]:5060"),
        ("192.0.2.1:5060", "192.0.2.2:5060"),
    ] {
        assert_eq!(parse(&listening(first, second)).unwrap().listeners.len(), 2);
    }
}

#[test]
fn a_list_that_is_written_is_not_empty() {
    assert_eq!(
        told("[node]\ncpus = []\n[domains]\nlocal = []\n"),
        "seawall.toml:2: node.cpus: is empty, expected at least one CPU\n\
         seawall.toml:4: domains.local: is empty, expected at least one domain, or \"*\" for any"
    );
    // What stands there is wrong, but it is not nothing.
    assert_eq!(told("[node]\ncpus = [\"0\"]\n").lines().count(), 1);
}

#[test]
fn a_list_of_addresses_has_one_at_least() {
    assert_eq!(
        told("listen = []"),
        "seawall.toml:1: listen: is empty, expected at least one address"
    );
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
