//! Calls as they are written and answers as they are read, on two shards behind real lines.

use super::directory::tests::settings;
use super::*;
use crate::control::CoreSnapshot;
use crate::mesh::{End, mesh};
use serde_json::json;
use shards::io::{Instant as ShardInstant, Outbox, UnixTime};
use shards::shard::Shard;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Two cores that do nothing but run errands.
struct World {
    runtime: Runtime,
    node: Arc<Node>,
    is_over: Arc<AtomicBool>,
    /// Errands run, all cores together.
    errands: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Published;

impl Observed for Published {
    fn snapshots(&self) -> Vec<CoreSnapshot> {
        let mut core = CoreSnapshot::default();
        core.gauges.aors = 3;
        core.gauges.bindings = 4;
        vec![core; 2]
    }

    fn heartbeat_ages(&self) -> Vec<Duration> {
        vec![Duration::ZERO; 2]
    }

    fn is_draining(&self) -> bool {
        false
    }
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let settings = settings(2);
        let (ends, switchboard) = mesh(2, 1, 0, 2).unwrap();
        let cores = Cores::new(switchboard, 2);
        let _context = runtime.enter();
        runtime.spawn(cores.clone().deliver(|_, _| {}));
        let directory = Directory::new(&settings[0]);
        let node = Node::new("sw1".to_owned(), Arc::new(Published), cores, directory);
        let (is_over, errands) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let threads = settings
            .into_iter()
            .zip(ends)
            .map(|(settings, mut end): (_, End<Errand>)| {
                let (is_over, errands) = (Arc::clone(&is_over), Arc::clone(&errands));
                std::thread::spawn(move || {
                    let (mut shard, mut out) = (Shard::new(settings), Outbox::new(1, 0));
                    while !is_over.load(Ordering::Relaxed) {
                        let found = end.inbox.line().serve(|errand| {
                            // Counted before it is handed back, so that whoever has the answer sees the count.
                            errands.fetch_add(1, Ordering::SeqCst);
                            shard.run(ShardInstant::START, UnixTime(0), errand, &mut out);
                        });
                        if !found {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(_context);
        World { runtime, node: Arc::new(node), is_over, errands, threads }
    }

    /// The answer to a body as it is read; nothing where none is sent.
    fn send(&self, body: &str) -> Option<String> {
        self.runtime.block_on(async {
            match self.node.answer(body.as_bytes()).await {
                Answered::Nothing => None,
                Answered::Text(text) => Some(text),
                Answered::Dump(dump) => Some(dump.whole().await),
            }
        })
    }

    /// The whole answer to a call.
    fn answer(&self, method: &str, params: &Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1});
        serde_json::from_str(&self.send(&call.to_string()).unwrap()).unwrap()
    }

    fn result(&self, method: &str, params: &Value) -> Value {
        let mut answer = self.answer(method, params);
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// Code and message of the fault of a call.
    fn fault(&self, method: &str, params: &Value) -> (i64, String) {
        let answer = self.answer(method, params);
        assert!(answer.get("result").is_none(), "{method} {params}: {answer}");
        let error = &answer["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn the_protocol_is_json_rpc_2_0() {
    let world = World::new();
    let version = version_text();
    for (body, expected) in [
        // Ids come back as they came, whatever they are.
        (
            r#"{"jsonrpc":"2.0","method":"core.version","id":"x\u0041"}"#,
            Some(format!(r#"{{"jsonrpc":"2.0","result":"{version}","id":"x\u0041"}}"#)),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"core.version","id":1.50}"#,
            Some(format!(r#"{{"jsonrpc":"2.0","result":"{version}","id":1.50}}"#)),
        ),
        (
            r#"{"id":12345678901234567890123,"jsonrpc":"2.0","method":"core.version","params":[]}"#,
            Some(format!(
                r#"{{"jsonrpc":"2.0","result":"{version}","id":12345678901234567890123}}"#
            )),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"core.version","id":null}"#,
            Some(format!(r#"{{"jsonrpc":"2.0","result":"{version}","id":null}}"#)),
        ),
        // Notifications are not answered, not even those that fail.
        (r#"{"jsonrpc":"2.0","method":"core.version"}"#, None),
        (r#"{"jsonrpc":"2.0","method":"nothing"}"#, None),
        (r#"{"jsonrpc":"2.0","method":"ul.dump"}"#, None),
        (r#"{"jsonrpc":"2.0","method":"ul.lookup","params":[]}"#, None),
        (r#"[{"jsonrpc":"2.0","method":"core.version"}]"#, None),
        // The examples of the specification's section 7.
        (
            r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
            Some(failed("null", &Fault::new(-32700, "this is no JSON"))),
        ),
        ("[]", Some(failed("null", &Fault::request("a batch has 1 to 100 calls")))),
        (
            r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#,
            Some(failed("null", &Fault::request("`method` has to be a text"))),
        ),
        ("[1,2]", Some(format!("[{0},{0}]", failed("null", &Fault::request("this is no call"))))),
        (
            r#"[{"jsonrpc":"2.0","method":"core.version","id":1},{"jsonrpc":"2.0","method":"core.version"},{"foo":"boo"},{"jsonrpc":"2.0","method":"no","id":"5"}]"#,
            Some(format!(
                r#"[{{"jsonrpc":"2.0","result":"{version}","id":1}},{},{}]"#,
                failed("null", &Fault::request("`jsonrpc` has to be \"2.0\"")),
                failed("\"5\"", &Fault::new(-32601, "there is no method `no`"))
            )),
        ),
        ("", Some(failed("null", &Fault::new(-32700, "this is no JSON")))),
        ("\"x\"", Some(failed("null", &Fault::request("this is no call")))),
        (
            r#"{"jsonrpc":"1.0","method":"core.version","id":1}"#,
            Some(failed("1", &Fault::request("`jsonrpc` has to be \"2.0\""))),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"core.version","id":[1]}"#,
            Some(failed("null", &Fault::request("an id is a text, a number or null"))),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"core.version","id":true}"#,
            Some(failed("null", &Fault::request("an id is a text, a number or null"))),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"core.version","params":7,"id":1}"#,
            Some(failed("1", &Fault::request("params have to be a list or an object"))),
        ),
    ] {
        assert_eq!(world.send(body), expected, "{body}");
    }
    let call = r#"{"jsonrpc":"2.0","method":"core.version","id":1}"#;
    let many = |count| format!("[{}]", vec![call; count].join(","));
    assert_eq!(world.send(&many(100)).unwrap().matches("\"result\"").count(), 100);
    assert!(world.send(&many(101)).unwrap().contains("-32600"));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","method":"ul.lookup","params":{}{},"id":1}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(world.send(&deep).unwrap().contains("-32602"));
}

fn version_text() -> String {
    node::version()
}

#[test]
fn methods_that_do_not_exist_are_told_with_what_might_be_meant() {
    let world = World::new();
    assert_eq!(
        world.fault("ul.lokup", &json!([])),
        (-32601, "there is no method `ul.lokup`; did you mean `ul.lookup`?".to_owned())
    );
    let names = world.result("system.listMethods", &json!([]));
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(names.len(), METHODS.len());
    assert!(names.is_sorted() && names.contains(&"ul.dump"), "{names:?}");
}

#[test]
fn a_contact_is_added_looked_up_and_removed_in_kamailios_shape() {
    let world = World::new();
    // Position and name, with and without Kamailio's table, numbers as texts.
    let params = json!([
        "location",
        "alice@sip.test",
        "<sip:alice@192.0.2.7:5070>",
        "100",
        0.5,
        "sip:192.0.2.9;lr",
        0,
        0,
        6111
    ]);
    assert_eq!(world.result("ul.add", &params), json!({}));
    let params = json!({"aor": "alice@sip.test", "contact": "sip:alice@192.0.2.8"});
    assert_eq!(world.result("ul.add", &params), json!({}));
    let found = world.result("ul.lookup", &json!(["location", "sip:alice@SIP.test"]));
    let contact = |address: &str, expires: Value, q: f64, path: &str| {
        json!({"Contact": {
            "Address": address, "Expires": expires, "Q": q, "Call-ID": "added@seawall", "CSeq": 1,
            "User-Agent": "[not set]", "Received": "[not set]", "Path": path, "State": "CS_NEW",
            "Flags": 0, "CFlags": 0, "Socket": "udp:192.0.2.1:5060", "Methods": 4_294_967_295_u32,
            "Ruid": "[not set]", "Instance": "[not set]", "Reg-Id": 0, "Server-Id": 0, "Tcpconn-Id": -1,
        }})
    };
    let permanent = contact("sip:alice@192.0.2.8", json!("permanent"), -1.0, "[not set]");
    let other = contact("sip:alice@192.0.2.7:5070", json!(100), 0.5, "<sip:192.0.2.9;lr>");
    assert_eq!(
        found,
        json!({"AoR": "alice@sip.test", "HashID": 3_134_048_787_u32, "Contacts": [permanent, other]})
    );
    assert_eq!(
        world.result("ul.lookup", &json!({"table": "location", "aor": "alice@sip.test"})),
        found
    );

    let one = json!(["location", "alice@sip.test", "sip:alice@192.0.2.7:5070"]);
    assert_eq!(world.result("ul.rm_contact", &one), json!({}));
    assert_eq!(world.fault("ul.rm_contact", &one), (404, "Contact not found".to_owned()));
    assert_eq!(world.result("ul.rm", &json!(["alice@sip.test"])), json!({}));
    let gone = (404, "AOR not found in location table".to_owned());
    for (method, params) in [
        ("ul.rm", json!(["location", "alice@sip.test"])),
        ("ul.rm_contact", one),
        ("ul.lookup", json!(["alice@sip.test"])),
    ] {
        assert_eq!(world.fault(method, &params), gone, "{method}");
    }
}

#[test]
fn parameters_that_are_wrong_are_told() {
    let world = World::new();
    for (method, params, message) in [
        ("ul.lookup", json!([]), "the parameter `aor` is missing"),
        ("ul.lookup", json!(["location"]), "the parameter `aor` is missing"),
        ("ul.lookup", json!(["subscriber", "a@sip.test"]), "too many parameters, expected aor"),
        ("ul.lookup", json!({"user": "a"}), "unknown parameter `user`, expected aor"),
        ("ul.lookup", json!([["a"]]), "`aor` is [\"a\"], expected a text"),
        (
            "ul.lookup",
            json!(["a@other.test"]),
            "`a@other.test` is in a domain that this node does not serve",
        ),
        ("ul.lookup", json!(["a b"]), "`a b` is no address-of-record, as in alice@sip.test"),
        ("route.test", json!([]), "the parameter `method` is missing"),
        (
            "route.test",
            json!(["IN VITE", "sip:a@sip.test", "192.0.2.7"]),
            "`method` is \"IN VITE\", expected one as in INVITE",
        ),
        (
            "route.test",
            json!(["INVITE", "a b", "192.0.2.7"]),
            "`uri` is \"a b\", expected a URI as in sip:bob@example.com",
        ),
        ("route.test", json!(["INVITE", "sip:a@sip.test"]), "the parameter `source` is missing"),
        (
            "route.test",
            json!({"method": "INVITE", "uri": "sip:a@sip.test", "source": "0.0.0.0:5060"}),
            "`source` is \"0.0.0.0:5060\", expected an address that requests come from, as in 192.0.2.7:5060 or 2001:db8::7",
        ),
        ("ul.rm_contact", json!(["a@sip.test"]), "the parameter `contact` is missing"),
        (
            "ul.rm_contact",
            json!(["a@sip.test", "x", 1]),
            "too many parameters, expected aor, contact",
        ),
        (
            "ul.add",
            json!(["a@sip.test", "nothing"]),
            "`contact` is no URI, as in sip:alice@192.0.2.1:5060",
        ),
        (
            "ul.add",
            json!(["a@sip.test", "sip:a@h", -1]),
            "`expires` is -1, expected a whole number up to 4294967294",
        ),
        (
            "ul.add",
            json!(["a@sip.test", "sip:a@h", "soon"]),
            "`expires` is \"soon\", expected a whole number up to 4294967294",
        ),
        ("ul.add", json!(["a@sip.test", "sip:a@h", 1, 1.5]), "`q` is 1.5, expected 0 to 1"),
        ("ul.add", json!(["a@sip.test", "sip:a@h", 1, true]), "`q` is true, expected a number"),
        (
            "ul.add",
            json!(["a@sip.test", "sip:a@h", 1, 1, "tel:1"]),
            "`path` is no SIP URI, as in sip:192.0.2.1;lr",
        ),
        ("ul.dump", json!(["full"]), "`brief` is \"full\", expected `brief`, true or false"),
        (
            "ul.dump",
            json!({"limit": 1.5}),
            "`limit` is 1.5, expected a whole number up to 18446744073709551615",
        ),
        ("ul.dump", json!({"cursor": "x"}), "`cursor` is none that a dump has given"),
        ("ul.dump", json!({"cursor": "2.0"}), "`cursor` is none that a dump has given"),
        ("core.uptime", json!([1]), "too many parameters, expected none"),
        ("core.info", json!({"a": 1}), "unknown parameter `a`, expected none"),
        ("core.shmmem", json!([1]), "too many parameters, expected none"),
        ("core.version", json!([1]), "too many parameters, expected none"),
        ("system.listMethods", json!([1]), "too many parameters, expected none"),
        (
            "stats.get_statistics",
            json!([]),
            "expected `all`, a group as in `usrloc:`, or the name of a statistic",
        ),
        ("stats.get_statistics", json!(["nothing"]), "there is no statistic or group `nothing`"),
        ("stats.get_statistics", json!([1]), "`names` is 1, expected a text"),
    ] {
        assert_eq!(world.fault(method, &params), (-32602, message.to_owned()), "{method} {params}");
    }
}

#[test]
fn an_address_of_record_has_no_more_than_it_may() {
    let world = World::new();
    for number in 0..10 {
        world.result("ul.add", &json!(["a@sip.test", format!("sip:{number}@h")]));
    }
    let (code, _) = world.fault("ul.add", &json!(["a@sip.test", "sip:10@h"]));
    assert_eq!(code, 403);
}

/// Adds addresses-of-record that need more pages than one on both cores.
fn fill(world: &World, count: usize) {
    for number in 0..count {
        world.result(
            "ul.add",
            &json!([format!("{number}@sip.test"), format!("sip:{number}@h"), 60]),
        );
    }
}

fn names(result: &Value) -> Vec<String> {
    let aors = result["Domains"][0]["Domain"]["AoRs"].as_array().unwrap();
    let name =
        |aor: &Value| aor["Info"]["AoR"].as_str().or(aor["AoR"].as_str()).unwrap().to_owned();
    aors.iter().map(name).collect()
}

#[test]
fn a_dump_lists_everything_once_a_page_at_a_time() {
    let world = World::new();
    let empty = world.result("ul.dump", &json!([]));
    assert_eq!(
        empty,
        json!({"Domains": [{"Domain": {"Domain": "location", "Size": world.node.directory.places(), "AoRs": [],
            "Stats": {"Records": 0, "Max-Slots": 0}}}], "Cursor": null})
    );
    fill(&world, 300);
    let mut expected: Vec<String> = (0..300).map(|number| format!("{number}@sip.test")).collect();
    expected.sort();
    let before = world.errands.load(Ordering::SeqCst);
    let full = world.result("ul.dump", &json!([]));
    let pages = world.errands.load(Ordering::SeqCst) - before;
    assert!((6..=8).contains(&pages), "300 in {pages} pages of 64 on two cores");
    let mut all = names(&full);
    all.sort();
    assert_eq!(all, expected);
    let domain = &full["Domains"][0]["Domain"];
    assert_eq!(domain["Stats"], json!({"Records": 300, "Max-Slots": 1}));
    let info = &domain["AoRs"][0]["Info"];
    let alone = world.result("ul.lookup", &json!([info["AoR"]]));
    assert_eq!(*info, alone);

    let brief = world.result("ul.dump", &json!(["brief"]));
    let mut all = names(&brief);
    all.sort();
    assert_eq!(all, expected);
    assert_eq!(brief["Domains"][0]["Domain"]["AoRs"][0].as_object().unwrap().len(), 1);

    // The same in parts of every size, by name and by position, in calls of their own or in batches.
    for limit in [1, 7, 64, 100, 299, 300, 301] {
        let (mut all, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let params = json!({"limit": limit, "cursor": cursor, "brief": true});
            let part = if limit == 100 {
                let call =
                    json!([{"jsonrpc": "2.0", "method": "ul.dump", "params": params, "id": 1}]);
                let mut answers: Value =
                    serde_json::from_str(&world.send(&call.to_string()).unwrap()).unwrap();
                answers[0]["result"].take()
            } else {
                world.result("ul.dump", &params)
            };
            let listed = names(&part);
            assert!(listed.len() <= limit);
            all.extend(listed);
            cursor = part["Cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        all.sort();
        assert_eq!(all, expected, "in parts of {limit}");
    }
    let call = r#"[{"jsonrpc":"2.0","method":"ul.dump","id":1}]"#;
    assert!(world.send(call).unwrap().contains("in a batch `limit` is needed, up to 1000"));
}

#[test]
fn a_dump_asks_for_the_next_page_only_when_it_is_read_and_few_run_at_a_time() {
    let world = World::new();
    fill(&world, 300);
    let start = || {
        let dump = r#"{"jsonrpc":"2.0","method":"ul.dump","id":1}"#;
        world.runtime.block_on(world.node.answer(dump.as_bytes()))
    };
    let mut dumps: Vec<Answered> = (0..DUMPS_MAX).map(|_| start()).collect();
    let before = world.errands.load(Ordering::SeqCst);
    let Answered::Text(text) = start() else { panic!("one dump too many") };
    assert!(text.contains("too many dumps run already"), "{text}");
    // Nobody reads, so nobody asks.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.errands.load(Ordering::SeqCst), before);
    let Some(Answered::Dump(mut dump)) = dumps.pop() else { panic!("a dump has begun") };
    world.runtime.block_on(async {
        // The beginning and the first page were made already.
        dump.next().await.unwrap();
        assert_eq!(world.errands.load(Ordering::SeqCst), before);
        dump.next().await.unwrap();
        assert_eq!(world.errands.load(Ordering::SeqCst), before + 1);
    });
    drop(dump);
    assert!(matches!(start(), Answered::Dump(_)), "a dump that is dropped makes room");
}

#[test]
fn the_node_tells_of_itself() {
    let world = World::new();
    let info = world.result("core.info", &json!([]));
    assert_eq!((&info["version"], &info["id"]), (&json!(version_text()), &json!("sw1")));
    assert_eq!((&info["cores"], &info["pid"]), (&json!(2), &json!(std::process::id())));
    assert_eq!(info["listen"], json!(["udp:192.0.2.1:5060", "udp:[::]:5062"]));
    let uptime = world.result("core.uptime", &json!({}));
    assert!(uptime["uptime"].as_u64().unwrap() < 60, "{uptime}");
    assert!(uptime["now"].as_str().unwrap().ends_with(" GMT"), "{uptime}");

    world.result("ul.add", &json!(["a@sip.test", "sip:a@h"]));
    let memory = world.result("core.shmmem", &json!([]));
    let tables = memory["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 2 * Shard::TABLES);
    let sum = |key: &str| tables.iter().map(|table| table[key].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!(memory["total"], json!(sum("reserved")));
    assert_eq!(memory["used"], json!(sum("used")));
    assert_eq!(memory["free"], json!(sum("reserved") - sum("used")));
    let bindings = tables.iter().filter(|table| table["table"] == "bindings");
    assert_eq!(bindings.map(|table| table["entries"].as_u64().unwrap()).sum::<u64>(), 1);
}

#[test]
fn statistics_are_selected_as_kamailio_selects_them() {
    let world = World::new();
    let lines = |params: Value| {
        let result = world.result("stats.get_statistics", &params);
        let lines = result.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    // Two cores with three users and four contacts each.
    assert_eq!(lines(json!(["registered_users"])), ["usrloc:registered_users = 6"]);
    assert_eq!(lines(json!(["usrloc:location-contacts"])), ["usrloc:location-contacts = 8"]);
    assert_eq!(
        lines(json!(["usrloc:"])),
        [
            "usrloc:location-contacts = 8",
            "usrloc:location-expires = 0",
            "usrloc:location-users = 6",
            "usrloc:registered_users = 6",
        ]
    );
    let all = lines(json!(["all"]));
    assert!(all.len() > 30 && all.contains(&"core:rcv_requests = 0".to_owned()), "{all:?}");
}

#[test]
fn a_core_that_does_not_answer_is_a_fault() {
    let (_ends, switchboard) = mesh(2, 1, 0, 2).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let cores = Cores::with_timeout(switchboard, 2, Duration::from_millis(20));
    let settings = settings(2);
    let directory = Directory::new(&settings[0]);
    let node = Arc::new(Node::new(String::new(), Arc::new(Published), cores, directory));
    for call in [
        r#"{"jsonrpc":"2.0","method":"ul.dump","id":1}"#,
        r#"{"jsonrpc":"2.0","method":"core.shmmem","id":1}"#,
    ] {
        let answered = runtime.block_on(node.answer(call.as_bytes()));
        let Answered::Text(text) = answered else { panic!("{call} was answered") };
        assert_eq!(text, failed("1", &Fault::new(-32000, "core 0 does not answer")));
    }
}
