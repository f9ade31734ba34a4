//! The control plane of a real process: calls over HTTP and by `seawall ctl`, who may call, and what readers that stop and
//! connections that never ask cost others.

use crate::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Output;
use std::time::{Duration, Instant};
use tests::process::{Folder, PATIENCE, Seawall, Setup, configuration, free_port, http, run};

type Test = fn() -> Result<(), String>;

pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Test); 9] = [
        ("every method answers, on one core and on two", every_method),
        ("what a phone registered is looked up, dumped and ended", with_phones),
        ("pages of browsers and strange bodies are refused", refused),
        ("a token is asked for, and changed by SIGHUP", token),
        ("a reader that stops costs nothing and is cut off", stopped_reader),
        ("a thousand connections that never ask do not delay others", silent_connections),
        ("ctl prints JSON and tells what went wrong", ctl),
        ("ctl dumps a table of several parts", ctl_dump),
        ("SIGHUP keeps what it can't read", hangup),
    ];
    all.into_iter().map(|(name, test)| trial(format!("control: {name}"), test)).collect()
}

/// The answer to a call.
fn answer(seawall: &Seawall, method: &str, params: &Value) -> Result<Value, String> {
    let call = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": "x"});
    let (status, body) = seawall.post("/RPC", "", &call.to_string())?;
    if status != 200 {
        return Err(format!("{method} {params}: {status} {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{method} {params}: {error}:\n{body}"))
}

fn result(seawall: &Seawall, method: &str, params: &Value) -> Result<Value, String> {
    let mut answer = answer(seawall, method, params)?;
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(format!("{method} {params}: {answer}")),
    }
}

fn fails(seawall: &Seawall, method: &str, params: &Value, code: i64) -> Result<(), String> {
    let answer = answer(seawall, method, params)?;
    same(&format!("{method} {params}"), &answer["error"]["code"], &json!(code))
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}")) }
}

fn every_method() -> Result<(), String> {
    for cores in [1, 2] {
        let seawall = Seawall::start(&Setup { cores, ..Setup::simple() })?;
        let contact = "sip:alice@127.0.0.1:5070";
        result(
            &seawall,
            "ul.add",
            &json!(["location", "alice@sip.test", contact, 0, 1.0, 0, 0, 0, 0]),
        )?;
        result(&seawall, "ul.add", &json!(["alice@sip.test", "sip:alice@127.0.0.2"]))?;
        let found = result(&seawall, "ul.lookup", &json!(["location", "alice@sip.test"]))?;
        same("contact", &found["Contacts"][1]["Contact"]["Address"], &json!(contact))?;
        let dumped = result(&seawall, "ul.dump", &json!([]))?;
        same("dump", &dumped["Domains"][0]["Domain"]["AoRs"][0]["Info"], &found)?;
        let brief = result(&seawall, "ul.dump", &json!(["brief"]))?;
        same("brief", &brief["Domains"][0]["Domain"]["AoRs"], &json!([{"AoR": "alice@sip.test"}]))?;
        result(&seawall, "ul.rm_contact", &json!(["alice@sip.test", contact]))?;
        result(&seawall, "ul.rm", &json!(["location", "alice@sip.test"]))?;
        for (method, params, code) in [
            ("ul.lookup", json!(["location", "alice@sip.test"]), 404),
            ("ul.rm", json!(["alice@sip.test"]), 404),
            ("ul.rm_contact", json!(["alice@sip.test", contact]), 404),
            ("ul.lookup", json!([]), -32602),
            ("ul.lookup", json!(["alice@other.test"]), -32602),
            ("ul.add", json!(["alice@sip.test", "no uri"]), -32602),
            ("ul.add", json!(["alice@sip.test"]), -32602),
            ("ul.rm_contact", json!(["alice@sip.test"]), -32602),
            ("ul.dump", json!({"cursor": "9.9"}), -32602),
            ("core.uptime", json!(["now"]), -32602),
            ("stats.get_statistics", json!(["nothing"]), -32602),
            ("ul.drop", json!([]), -32601),
        ] {
            fails(&seawall, method, &params, code)?;
        }
        same("version", &result(&seawall, "core.version", &json!([]))?, &json!(version()))?;
        same("cores", &result(&seawall, "core.info", &json!([]))?["cores"], &json!(cores))?;
        let uptime = result(&seawall, "core.uptime", &json!([]))?;
        uptime["uptime"].as_u64().filter(|&s| s < 60).ok_or(format!("uptime: {uptime}"))?;
        let memory = result(&seawall, "core.shmmem", &json!([]))?;
        let tables = memory["tables"].as_array().map_or(0, Vec::len);
        same("tables", &json!(tables), &json!(9 * cores))?;
        let names = result(&seawall, "system.listMethods", &json!([]))?;
        same("methods", &json!(names.as_array().map_or(0, Vec::len)), &json!(12))?;
        // Cores publish once a second.
        let begun = Instant::now();
        let params = json!(["usrloc:registered_users"]);
        while result(&seawall, "stats.get_statistics", &params)?
            != json!(["usrloc:registered_users = 0"])
        {
            if begun.elapsed() > PATIENCE {
                return Err("registered_users never becomes 0".to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let batch = r#"[{"jsonrpc":"2.0","method":"core.version","id":1},{"jsonrpc":"2.0","method":"core.version"}]"#;
        let (_, body) = seawall.post("/RPC", "", batch)?;
        same("batch", &json!(body.matches("seawall").count()), &json!(1))?;
        let (status, body) =
            seawall.post("/RPC", "", r#"{"jsonrpc":"2.0","method":"core.version"}"#)?;
        same("notification", &json!([status, body]), &json!([204, ""]))?;
        seawall.stop()?;
    }
    Ok(())
}

fn version() -> String {
    use std::env::consts::{ARCH, OS};
    format!("seawall {} ({ARCH}/{OS})", env!("CARGO_PKG_VERSION"))
}

fn with_phones() -> Result<(), String> {
    for wrong_core in [false, true] {
        let seawall = Seawall::start(&Setup { cores: 2, wrong_core, ..Setup::simple() })?;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..200 {
            register(&socket, &seawall, &format!("{number}"), 1)?;
        }
        let dumped = result(&seawall, "ul.dump", &json!([]))?;
        let aors = dumped["Domains"][0]["Domain"]["AoRs"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<&str> =
            aors.iter().filter_map(|aor| aor["Info"]["AoR"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        same("addresses-of-record", &json!([names.len(), aors.len()]), &json!([200, 200]))?;
        let here = socket.local_addr().unwrap();
        let found = result(&seawall, "ul.lookup", &json!(["7@sip.test"]))?;
        let contact = &found["Contacts"][0]["Contact"];
        same("received", &contact["Received"], &json!(format!("sip:{here}")))?;
        same("Call-ID", &contact["Call-ID"], &json!("call-7"))?;
        same("socket", &contact["Socket"], &json!(format!("udp:{}", seawall.v4)))?;
        for number in 0..200 {
            result(&seawall, "ul.rm", &json!([format!("{number}@sip.test")]))?;
        }
        let left = result(&seawall, "ul.dump", &json!([]))?;
        same("left", &left["Domains"][0]["Domain"]["AoRs"], &json!([]))?;
        // A contact that an operator added gives way to the phone's own.
        let contact = format!("sip:7@{here}");
        result(&seawall, "ul.add", &json!(["7@sip.test", contact, 60]))?;
        register(&socket, &seawall, "7", 2)?;
        let found = result(&seawall, "ul.lookup", &json!(["7@sip.test"]))?;
        same("Call-ID", &found["Contacts"][0]["Contact"]["Call-ID"], &json!("call-7"))?;
        same("contacts", &json!(found["Contacts"].as_array().map(Vec::len)), &json!(1))?;
        seawall.stop()?;
    }
    Ok(())
}

fn register(socket: &UdpSocket, seawall: &Seawall, user: &str, cseq: u32) -> Result<(), String> {
    let here = socket.local_addr().unwrap();
    let request = format!(
        "REGISTER sip:sip.test SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{user}x{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@sip.test>;tag=1\r\nTo: <sip:{user}@sip.test>\r\nCall-ID: call-{user}\r\n\
         CSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{here}>;expires=600\r\nContent-Length: 0\r\n\r\n"
    );
    let mut reply = [0; 4096];
    socket.send_to(request.as_bytes(), seawall.v4).map_err(|error| error.to_string())?;
    let length = socket.recv(&mut reply).map_err(|error| format!("no answer: {error}"))?;
    if reply[..length].starts_with(b"SIP/2.0 200 ") {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&reply[..length]).into_owned())
    }
}

fn refused() -> Result<(), String> {
    let seawall = Seawall::start(&Setup::simple())?;
    let call = r#"{"jsonrpc":"2.0","method":"core.version","id":1}"#;
    let admin = seawall.admin();
    let request = |head: &str| {
        let request =
            format!("POST /RPC HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{call}", call.len());
        http(admin, &request).map_err(|error| format!("{head}: {error}"))
    };
    let json = "Content-Type: application/json\r\n";
    for (head, expected) in [
        (format!("Host: {admin}\r\n{json}"), 200),
        (format!("Host: localhost:8060\r\n{json}Origin: http://localhost:8060\r\n"), 200),
        (format!("Host: {admin}\r\n"), 415),
        (format!("Host: {admin}\r\nContent-Type: text/plain\r\n"), 415),
        (format!("Host: evil.test\r\n{json}"), 403),
        (format!("Host: {admin}\r\n{json}Origin: http://evil.test\r\n"), 403),
        (format!("Host: {admin}\r\n{json}Sec-Fetch-Site: cross-site\r\n"), 403),
    ] {
        let (status, body) = request(&head)?;
        same(&format!("{head}{body}"), &json!(status), &json!(expected))?;
    }
    let (status, _) = seawall.get("/RPC")?;
    same("GET", &json!(status), &json!(405))?;
    // A megabyte is read, a byte more is not; what never comes is not waited for.
    let (status, body) = seawall.post("/RPC", "", &" ".repeat(1 << 20))?;
    same("a megabyte", &json!([status, body.contains("-32700")]), &json!([200, true]))?;
    let (status, _) = seawall.post("/RPC", "", &" ".repeat((1 << 20) + 1))?;
    same("more", &json!(status), &json!(413))?;
    let slow = format!("POST /RPC HTTP/1.1\r\nHost: {admin}\r\n{json}Content-Length: 9\r\n\r\n[");
    let begun = Instant::now();
    let (status, _) = http(admin, &slow).map_err(|error| error.to_string())?;
    same("slow", &json!(status), &json!(408))?;
    if begun.elapsed() > Duration::from_secs(9) {
        return Err(format!("a slow body is waited for {:?}", begun.elapsed()));
    }
    seawall.stop()
}

fn token() -> Result<(), String> {
    let more = "token_file = \"admin.token\"".to_owned();
    let seawall = Seawall::start(&Setup { more, ..Setup::simple() })?;
    let file = seawall.folder().join("admin.token");
    let made = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let call = r#"{"jsonrpc":"2.0","method":"core.version","id":1}"#;
    let ask = |token: &str| -> Result<u16, String> {
        let header = format!("Authorization: Bearer {}\r\n", token.trim());
        Ok(seawall.post("/RPC", &header, call)?.0)
    };
    same("without", &json!(seawall.post("/RPC", "", call)?.0), &json!(401))?;
    same("made", &json!(ask(&made)?), &json!(200))?;
    let other = "5".repeat(64);
    same("other", &json!(ask(&other)?), &json!(401))?;
    same("health", &json!(seawall.get("/healthz")?.0), &json!(200))?;
    fs::write(&file, &other).map_err(|error| error.to_string())?;
    seawall.signal("HUP");
    await_log(&seawall, "SIGHUP: the admin token has changed")?;
    same("changed", &json!([ask(&other)?, ask(&made)?]), &json!([200, 401]))?;
    // The client takes it from the configuration, or from where it is told.
    let folder = Folder::new();
    let config = seawall.folder().join("seawall.toml");
    let version = format!("\"{}\"\n", version());
    for arguments in [
        vec!["ctl", "--config", config.to_str().unwrap(), "core.version"],
        vec![
            "ctl",
            "--admin",
            &seawall.admin().to_string(),
            "--token-file",
            file.to_str().unwrap(),
            "core.version",
        ],
    ] {
        printed(&run(&arguments, &folder)?, 0, &version)?;
    }
    let without = run(&["ctl", "--admin", &seawall.admin().to_string(), "core.version"], &folder)?;
    says(&without, 1, "says: the token is missing or wrong; see --token-file")?;
    seawall.stop()
}

pub(crate) fn await_log(seawall: &Seawall, text: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !seawall.log().contains(text) {
        if Instant::now() > deadline {
            return Err(format!("it never logs {text:?}, but:\n{}", seawall.log()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Adds addresses-of-record, a hundred in a call.
fn fill(seawall: &Seawall, count: usize) -> Result<(), String> {
    for start in (0..count).step_by(100) {
        let calls: Vec<Value> = (start..count.min(start + 100))
            .map(|number| {
                let params =
                    json!([format!("{number}@sip.test"), format!("sip:{number}@127.0.0.1:5070")]);
                json!({"jsonrpc": "2.0", "method": "ul.add", "params": params, "id": number})
            })
            .collect();
        let (_, body) = seawall.post("/RPC", "", &Value::Array(calls).to_string())?;
        if body.contains("error") {
            return Err(body);
        }
    }
    Ok(())
}

fn stopped_reader() -> Result<(), String> {
    let seawall = Seawall::start(&Setup { cores: 2, ..Setup::simple() })?;
    fill(&seawall, 19_000)?;
    let call = r#"{"jsonrpc":"2.0","method":"ul.dump","id":1}"#;
    let request = format!(
        "POST /RPC HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{call}",
        seawall.admin(),
        call.len()
    );
    let mut readers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(seawall.admin()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    let errands = |seawall: &Seawall| -> Result<u64, String> {
        Ok(seawall.metrics(|_| true)?.sum("seawall_errands_total", &[]))
    };
    let before = errands(&seawall)?;
    // 19,000 are 297 pages and more; some half of them fit into the kernel's buffers.
    let pages = before - 19_000;
    if pages > 4 * 297 * 3 / 4 {
        return Err(format!("{pages} pages were made though nobody reads"));
    }
    let begun = Instant::now();
    same(
        "another dump",
        &answer(&seawall, "ul.dump", &json!(["brief"]))?["error"]["code"],
        &json!(503),
    )?;
    result(&seawall, "ul.lookup", &json!(["7@sip.test"]))?;
    same("health", &json!(seawall.get("/healthz")?.0), &json!(200))?;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..100 {
        register(&socket, &seawall, &format!("phone{number}"), 1)?;
    }
    if begun.elapsed() > Duration::from_secs(2) {
        return Err(format!("others waited {:?}", begun.elapsed()));
    }
    std::thread::sleep(Duration::from_millis(1500));
    let after = errands(&seawall)?;
    // The look-up above, and nothing for the dumps.
    same("errands meanwhile", &json!(after - before), &json!(1))?;
    // One of them goes on and gets everything; the others are cut off.
    let mut body = String::new();
    readers[0].set_read_timeout(Some(PATIENCE)).unwrap();
    readers[0].read_to_string(&mut body).map_err(|error| format!("the rest: {error}"))?;
    same("all", &json!(body.matches("\"AoR\"").count() >= 19_000), &json!(true))?;
    same("end", &json!(body.ends_with("\"id\":1}\r\n0\r\n\r\n")), &json!(true))?;
    // They have read nothing since `begun`, and for longer than they may.
    std::thread::sleep(Duration::from_secs(13).saturating_sub(begun.elapsed()));
    let dumped = result(&seawall, "ul.dump", &json!(["brief"]))?;
    same("a dump after all", &dumped["Domains"][0]["Domain"]["Stats"]["Records"], &json!(19_100))?;
    let mut cut = Vec::new();
    let _ = readers[1].read_to_end(&mut cut);
    same("cut off", &json!(cut.ends_with(b"0\r\n\r\n")), &json!(false))?;
    seawall.stop()
}

fn silent_connections() -> Result<(), String> {
    let seawall = Seawall::start(&Setup::simple())?;
    let silent: Vec<TcpStream> =
        (0..900).filter_map(|_| TcpStream::connect(seawall.admin()).ok()).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let begun = Instant::now();
        same("health", &json!(seawall.get("/healthz")?.0), &json!(200))?;
        slowest = slowest.max(begun.elapsed());
    }
    if slowest > Duration::from_secs(1) {
        return Err(format!(
            "/healthz takes {slowest:?} beside {} silent connections",
            silent.len()
        ));
    }
    drop(silent);
    seawall.stop()
}

fn printed(output: &Output, code: i32, stdout: &str) -> Result<(), String> {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code) && out == stdout && err.is_empty() {
        return Ok(());
    }
    Err(format!("it ended with {} and printed\n{out}\nand\n{err}", output.status))
}

/// One sentence on standard error, and nothing on standard output.
fn says(output: &Output, code: i32, sentence: &str) -> Result<(), String> {
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code)
        && output.stdout.is_empty()
        && err.contains(sentence)
        && (code == 2 || err.lines().count() == 1)
    {
        return Ok(());
    }
    Err(format!("it ended with {} and said\n{err}", output.status))
}

fn ctl() -> Result<(), String> {
    let seawall = Seawall::start(&Setup { cores: 2, ..Setup::simple() })?;
    let folder = Folder::new();
    let admin = seawall.admin().to_string();
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--admin", &admin], arguments].concat(), &folder);
    printed(
        &ctl(&["ul.add", "location", "alice@sip.test", "sip:alice@127.0.0.1:5070", "60", "-1"])?,
        0,
        "{}\n",
    )?;
    let output = ctl(&["ul.lookup", "location", "alice@sip.test", "--json"])?;
    let found: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let contact = &found["Contacts"][0]["Contact"];
    same("contact", &contact["Address"], &json!("sip:alice@127.0.0.1:5070"))?;
    printed(&ctl(&["core.version"])?, 0, &format!("\"{}\"\n", version()))?;
    says(
        &ctl(&["ul.lookup", "location", "bob@sip.test"])?,
        1,
        "ul.lookup: AOR not found in location table",
    )?;
    says(&ctl(&["ul.lookup"])?, 2, "ul.lookup: the parameter `aor` is missing")?;
    says(
        &ctl(&["ul.lokup"])?,
        2,
        "ul.lokup: there is no method `ul.lokup`; did you mean `ul.lookup`?",
    )?;
    says(&ctl(&[])?, 2, "Usage: seawall ctl")?;
    let nowhere = format!("127.0.0.1:{}", free_port());
    says(&run(&["ctl", "--admin", &nowhere, "core.info"], &folder)?, 1, "can't be reached: ")?;
    says(&run(&["ctl", "--config", "nowhere.toml", "core.info"], &folder)?, 2, "nowhere.toml")?;
    seawall.stop()
}

fn ctl_dump() -> Result<(), String> {
    let seawall = Seawall::start(&Setup { cores: 2, ..Setup::simple() })?;
    fill(&seawall, 12_000)?;
    let folder = Folder::new();
    let admin = seawall.admin().to_string();
    let output = run(&["ctl", "--admin", &admin, "ul.dump"], &folder)?;
    let dumped: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let domain = &dumped["Domains"][0]["Domain"];
    let mut names: Vec<&str> = domain["AoRs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|aor| aor["Info"]["AoR"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    same("names", &json!(names.len()), &json!(12_000))?;
    same("records", &domain["Stats"]["Records"], &json!(12_000))?;
    let part = run(&["ctl", "--admin", &admin, "ul.dump", "brief", "10"], &folder)?;
    let part: Value = serde_json::from_slice(&part.stdout).map_err(|error| error.to_string())?;
    same(
        "part",
        &json!(part["Domains"][0]["Domain"]["AoRs"].as_array().map(Vec::len)),
        &json!(10),
    )?;
    same("cursor", &part["Cursor"], &json!("0.10"))?;
    seawall.stop()
}

fn hangup() -> Result<(), String> {
    let more = "token_file = \"admin.token\"".to_owned();
    let seawall = Seawall::start(&Setup { more: more.clone(), ..Setup::simple() })?;
    let config = seawall.folder().join("seawall.toml");
    let token = seawall.folder().join("admin.token");
    let before = fs::read_to_string(&config).map_err(|error| error.to_string())?;
    let made = fs::read_to_string(&token).map_err(|error| error.to_string())?;
    let asked = || -> Result<Value, String> {
        let header = format!("Authorization: Bearer {}\r\n", made.trim());
        let call = r#"{"jsonrpc":"2.0","method":"core.version","id":1}"#;
        Ok(json!(seawall.post("/RPC", &header, call)?.0))
    };
    let steps: [(&str, &str, &str); 3] = [
        ("seawall.toml", "[node]\nnmae = \"x\"\n", "seawall.toml:2: node.nmae: unknown key"),
        ("admin.token", "short", "admin.token: expected 64 hexadecimal digits"),
        ("seawall.toml", "[node]\nname = \"other\"\n", "has changed, which takes a restart"),
    ];
    for (name, text, line) in steps {
        fs::write(seawall.folder().join(name), text).map_err(|error| error.to_string())?;
        seawall.signal("HUP");
        await_log(&seawall, line)?;
        same(line, &asked()?, &json!(200))?;
        fs::write(&config, &before).map_err(|error| error.to_string())?;
        fs::write(&token, &made).map_err(|error| error.to_string())?;
    }
    same("kept", &json!(seawall.log().matches("everything stays as it was").count()), &json!(2))?;
    seawall.stop()?;
    // An address that others reach without a token is no configuration.
    let folder = Folder::new();
    let text = configuration(&Setup::simple(), free_port());
    let text = text.replacen("[admin]\nlisten = \"127.0.0.1", "[admin]\nlisten = \"0.0.0.0", 1);
    fs::write(folder.path.join("seawall.toml"), text).map_err(|error| error.to_string())?;
    says(&run(&["check", "seawall.toml"], &folder)?, 2, "expected admin.token_file beside it")
}
