//! From the text of a flow file to flows, or the first line that makes no sense. It never opens a file.

use super::digest::Answer;
use super::message::split_list;
use super::script::{Actor, Body, Check, Contact, Flow, Line, Restart, Step, Wanted};
use std::time::Duration;

/// Reads all flows of a file.
///
/// # Errors
/// The number of the first line that can't be read, and why.
pub fn parse(text: &str) -> Result<Vec<Flow>, String> {
    let blocks = blocks(text)?;
    let mut preamble =
        Flow { title: String::new(), actors: Vec::new(), settings: Vec::new(), steps: Vec::new() };
    let mut flows: Vec<Flow> = Vec::new();
    for block in blocks {
        let at = |why: String| format!("line {}: {why}", block.number);
        if let Some(title) = block.head.strip_prefix("flow ") {
            flows.push(Flow { title: title.to_owned(), ..preamble.clone() });
            continue;
        }
        let in_preamble = flows.is_empty();
        let flow = flows.last_mut().unwrap_or(&mut preamble);
        let words: Vec<&str> = block.head.split_whitespace().collect();
        match words.as_slice() {
            [name, "at", addr, rest @ ..] => {
                flow.actors.push(actor(name, addr, rest).map_err(at)?);
            }
            ["set", setting @ ..] if !setting.is_empty() => {
                let words = setting.iter().map(|word| (*word).to_owned()).collect();
                flow.settings.push((block.number, words));
            }
            _ if in_preamble => return Err(at("this belongs into a flow".to_owned())),
            [name, "calls", other] if block.below.is_empty() => {
                let steps = call(name, other, &flow.actors).map_err(at)?;
                flow.steps.extend(steps.into_iter().map(|step| (block.number, step)));
            }
            _ => {
                let step = step(&block, &words, &flow.actors).map_err(at)?;
                flow.steps.push((block.number, step));
            }
        }
    }
    if flows.is_empty() { Err("there is no flow in the file".to_owned()) } else { Ok(flows) }
}

/// A line that starts in the first column, and the indented lines below it.
struct Block<'a> {
    number: usize,
    head: &'a str,
    below: Vec<(usize, &'a str)>,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, trimmed) = (index + 1, line.trim());
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let block = blocks
                .last_mut()
                .ok_or_else(|| format!("line {number}: it is indented below nothing"))?;
            block.below.push((number, line.trim_start()));
        } else {
            blocks.push(Block { number, head: trimmed, below: Vec::new() });
        }
    }
    Ok(blocks)
}

/// `alice at 192.0.2.1:5060 as alice@sip.test on 198.51.100.1:5060`
fn actor(name: &str, addr: &str, rest: &[&str]) -> Result<Actor, String> {
    let address = |text: &str| text.parse().map_err(|_| format!("`{text}` is no address"));
    let (addr, name) = (address(addr)?, name.to_owned());
    let mut actor = Actor { aor: format!("{name}@sip.test"), name, addr, listener: None };
    for pair in rest.chunks(2) {
        match pair {
            ["as", aor] if aor.contains('@') => (*aor).clone_into(&mut actor.aor),
            ["on", listener] => actor.listener = Some(address(listener)?),
            _ => return Err(format!("`{}` makes no sense", pair.join(" "))),
        }
    }
    Ok(actor)
}

fn known<'a>(name: &str, actors: &'a [Actor]) -> Result<&'a Actor, String> {
    actors.iter().find(|actor| actor.name == name).ok_or_else(|| {
        format!("nobody is called `{name}`: `{name} at 192.0.2.9:5060` introduces an actor")
    })
}

/// `alice calls bob`: seven messages, after which there is a dialog.
fn call(name: &str, other: &str, actors: &[Actor]) -> Result<Vec<Step>, String> {
    let (caller, callee) = (known(name, actors)?, known(other, actors)?);
    let send = |actor: &Actor, start: String| {
        let body = Body::Shorthand { start, lines: Vec::new(), body: Vec::new() };
        Step::Send(actor.name.clone(), body)
    };
    let expect = |actor: &Actor, wanted| Step::Expect(actor.name.clone(), wanted, Vec::new());
    Ok(vec![
        send(caller, format!("INVITE sip:{}", callee.aor)),
        expect(caller, Wanted::Status(100)),
        expect(callee, Wanted::Method("INVITE".to_owned())),
        send(callee, "200".to_owned()),
        expect(caller, Wanted::Status(200)),
        send(caller, "ACK".to_owned()),
        expect(callee, Wanted::Method("ACK".to_owned())),
    ])
}

fn step(block: &Block<'_>, words: &[&str], actors: &[Actor]) -> Result<Step, String> {
    let known = |name: &str| known(name, actors).map(|actor| actor.name.clone());
    let bare = |step| {
        if block.below.is_empty() { Ok(step) } else { Err("nothing may stand below this".into()) }
    };
    match words {
        [name, ">", "again"] => bare(Step::Send(known(name)?, Body::Again)),
        [name, ">", "raw"] => Ok(Step::Send(known(name)?, Body::Raw(raw(&block.below)?))),
        [name, ">", start @ ..] if !start.is_empty() => {
            Ok(Step::Send(known(name)?, shorthand(start.join(" "), &block.below)?))
        }
        [name, "<", "same"] => bare(Step::ExpectSame(known(name)?, 1)),
        [name, "<", "same", times, "times"] => bare(Step::ExpectSame(known(name)?, count(times)?)),
        [name, "<", status] if status.ends_with('?') => {
            let status = status.trim_end_matches('?');
            let status = status.parse().map_err(|_| format!("`{status}` is no status code"))?;
            bare(Step::Perhaps(known(name)?, status))
        }
        [name, "<", wanted] => {
            Ok(Step::Expect(known(name)?, self::wanted(wanted)?, checks(&block.below)?))
        }
        [name, "registers", rest @ ..] => {
            let name = known(name)?;
            let user = match rest {
                [] => name.clone(),
                ["as", user] => (*user).to_owned(),
                _ => return Err("`bob registers` or `bob registers as alice`".to_owned()),
            };
            Ok(Step::Registers(name, user, shorthand("REGISTER".to_owned(), &block.below)?))
        }
        ["silence"] => bare(Step::Silence),
        ["clock", time] => {
            let (sign, time) = match time.strip_prefix('-') {
                Some(time) => (-1, time),
                None => (1, time.strip_prefix('+').unwrap_or(time)),
            };
            let secs = i64::try_from(duration(time)?.as_secs()).map_err(|why| why.to_string())?;
            bare(Step::Clock(sign * secs))
        }
        ["restart", rest @ ..] => bare(Step::Restart(match rest {
            [] => Restart::Plain,
            ["on", "other", "cores"] => Restart::Elsewhere,
            ["with", "a", "renewed", "secret"] => Restart::Renewed,
            ["with", "a", "strange", "secret"] => Restart::Strange,
            _ => return Err(format!("`{}` makes no sense", block.head)),
        })),
        [name, "apart", other] => bare(Step::Apart(known(name)?, known(other)?)),
        ["lose", "letters", n] => bare(Step::Lose(count(n)?, 0)),
        ["lose", "letters", n, "after", m] => bare(Step::Lose(count(n)?, count(m)?)),
        ["hold", "letters", n] => bare(Step::Hold(count(n)?)),
        ["release", "letters"] => bare(Step::Release),
        ["resolves", name, "nothing"] => bare(Step::Resolves((*name).to_owned(), Vec::new())),
        ["resolves", name, addrs @ ..] if !addrs.is_empty() => {
            let addrs: Result<_, _> = addrs.iter().map(|addr| addr.parse()).collect();
            let addrs = addrs.map_err(|_| format!("`{}`: no addresses", block.head))?;
            bare(Step::Resolves((*name).to_owned(), addrs))
        }
        ["asks", "nothing"] => bare(Step::Asks(Vec::new())),
        ["asks", names @ ..] => {
            bare(Step::Asks(names.iter().map(|name| (*name).to_owned()).collect()))
        }
        ["unreachable", name] => {
            let quoted = (!block.below.is_empty()).then(|| raw(&block.below)).transpose()?;
            Ok(Step::Unreachable(known(name)?, quoted))
        }
        [name, "passes", other] => bare(Step::Passes(known(name)?, known(other)?)),
        ["wait", time] => bare(Step::Wait(duration(time)?)),
        ["verdict", verdict @ ..] if !verdict.is_empty() => bare(Step::Verdict(verdict.join(" "))),
        ["class", class] => bare(Step::Class((*class).to_owned())),
        ["count", name, n] => bare(Step::Count((*name).to_owned(), number(n)?)),
        ["gauge", name, n] => bare(Step::Gauge((*name).to_owned(), number(n)?)),
        _ => Err(format!("`{}` makes no sense", block.head)),
    }
}

fn wanted(text: &str) -> Result<Wanted, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let status = text.parse().map_err(|_| format!("`{text}` is no status code"))?;
        return Ok(Wanted::Status(status));
    }
    Ok(Wanted::Method(text.to_owned()))
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Some(ms) = text.strip_suffix("ms") {
        number(ms).map(Duration::from_millis)
    } else if let Some(s) = text.strip_suffix('s') {
        number(s).map(Duration::from_secs)
    } else {
        Err(format!("`{text}` is no time: 30s or 500ms"))
    }
}

fn raw(below: &[(usize, &str)]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in below {
        let text = line
            .strip_prefix('|')
            .ok_or_else(|| format!("(line {number}) raw lines start with `|`"))?;
        bytes.extend(body_line(text)?);
    }
    Ok(bytes)
}

fn shorthand(start: String, below: &[(usize, &str)]) -> Result<Body, String> {
    let (mut lines, mut body) = (Vec::new(), Vec::new());
    for (number, line) in below {
        if let Some(text) = line.strip_prefix('|') {
            body.extend(body_line(text)?);
        } else if let Some(words) = line.strip_prefix("digest ") {
            let answer = digest(words).map_err(|why| format!("(line {number}) {why}"))?;
            lines.push(Line::Digest(answer));
        } else if let Some(name) = line.strip_prefix("no ") {
            lines.push(Line::Without(name.trim().to_owned()));
        } else if let Some((name, value)) = line.split_once(':') {
            lines.push(Line::Header(name.to_owned(), expand(value.trim_start())?));
        } else {
            return Err(format!(
                "(line {number}) neither `Name: value` nor `no Name` nor `| body`"
            ));
        }
    }
    Ok(Body::Shorthand { start, lines, body })
}

/// `user password name=value ... force`
fn digest(text: &str) -> Result<Answer, String> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let (Some(username), Some(password)) = (words.next(), words.next()) else {
        return Err("`digest` wants a user and a password".to_owned());
    };
    let replaced = words.map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (word, String::new()),
    });
    Ok(Answer { username, password, replaced: replaced.collect() })
}

fn body_line(text: &str) -> Result<Vec<u8>, String> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    if let Some(open) = text.strip_suffix('\\') {
        return expand(open);
    }
    let mut bytes = expand(text)?;
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

/// Replaces `\xNN` by that byte and `{text*N}` by N times the text.
fn expand(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(special) = rest.find(['\\', '{']) {
        bytes.extend_from_slice(&rest.as_bytes()[..special]);
        rest = &rest[special..];
        if let Some(hex) = rest.strip_prefix("\\x") {
            let digits = hex.get(..2).ok_or("`\\x` wants two digits")?;
            let byte =
                u8::from_str_radix(digits, 16).map_err(|_| format!("`\\x{digits}` is no byte"))?;
            bytes.push(byte);
            rest = &hex[2..];
        } else if let Some((times, after)) = repetition(rest) {
            bytes.extend(expand(times.0)?.repeat(times.1));
            rest = after;
        } else {
            bytes.push(rest.as_bytes()[0]);
            rest = &rest[1..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// `{text*N}` at the start, and what follows it.
fn repetition(text: &str) -> Option<((&str, usize), &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (what, times) = inside.rsplit_once('*')?;
    Some(((what, times.parse().ok()?), after))
}

/// The checks below a message that is expected; its lines of the body are one of them.
fn checks(below: &[(usize, &str)]) -> Result<Vec<Check>, String> {
    let (body, others): (Vec<_>, Vec<_>) =
        below.iter().copied().partition(|(_, line)| line.starts_with('|'));
    let others = others
        .into_iter()
        .map(|(number, line)| check(line).map_err(|why| format!("(line {number}) {why}")));
    let mut checks = others.collect::<Result<Vec<_>, _>>()?;
    if !body.is_empty() {
        checks.push(Check::Body(raw(&body)?));
    }
    Ok(checks)
}

fn check(line: &str) -> Result<Check, String> {
    if line == "unmirrored" {
        return Ok(Check::Unmirrored);
    }
    if line == "changed" {
        return Ok(Check::Changed);
    }
    if line == "no contacts" {
        return Ok(Check::NoContacts);
    }
    if let Some(name) = line.strip_prefix("no ") {
        return Ok(Check::HasNot(name.to_owned()));
    }
    if let Some(name) = line.strip_prefix("has ") {
        return Ok(Check::Has(name.to_owned()));
    }
    if let Some(text) = line.strip_prefix("reason ") {
        return Ok(Check::Reason(text.to_owned()));
    }
    if let Some(uri) = line.strip_prefix("uri ") {
        return Ok(Check::Uri(uri.to_owned()));
    }
    if let Some(text) = line.strip_prefix("keep ") {
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        let &[name, row, pattern] = words.as_slice() else {
            return Err("`keep` wants a name, a header and a pattern".to_owned());
        };
        regex_lite::Regex::new(pattern).map_err(|e| format!("`{pattern}`: {e}"))?;
        return Ok(Check::Keep(name.to_owned(), row.to_owned(), pattern.to_owned()));
    }
    if let Some(text) = line.strip_prefix("contact ") {
        return contact(text).map(Check::Contact);
    }
    if let Some((name, pattern)) = line.split_once(" ~ ") {
        regex_lite::Regex::new(pattern).map_err(|e| format!("`{pattern}`: {e}"))?;
        return Ok(Check::Matches(name.to_owned(), pattern.to_owned()));
    }
    match line.split_once(':') {
        Some((name, value)) if !name.contains(' ') => {
            Ok(Check::Equals(name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{line}` is no check")),
    }
}

fn contact(text: &str) -> Result<Contact, String> {
    let text = String::from_utf8_lossy(&expand(text)?).into_owned();
    let (uri, params) = text
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .ok_or("a contact is written <uri>;param;param")?;
    let mut contact = Contact { uri: uri.to_owned(), params: Vec::new(), expires: None };
    for param in split_list(params, ';').into_iter().filter(|param| !param.is_empty()) {
        match param.strip_prefix("expires=") {
            Some(range) => {
                let (low, high) = range.split_once("..").unwrap_or((range, range));
                let seconds = |text: &str| {
                    text.parse().map_err(|_| format!("`{text}` is no number of seconds"))
                };
                contact.expires = Some((seconds(low)?, seconds(high)?));
            }
            None => contact.params.push(param),
        }
    }
    contact.params.sort();
    Ok(contact)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: &str = r"
# for all
alice at 192.0.2.1:5060
set min_expires 60

flow RFC 3261 10.3: one
alice > REGISTER sip:sip.test
    Contact: <sip:alice@192.0.2.1>
    no Max-Forwards
    | a\x00b
    | {xy*3}\
alice < 200
    contact <sip:alice@192.0.2.1>;expires=3590..3600;q=0.5
    To ~ ;tag=.+
    no Date
wait 500ms
silence

flow two
bob at [2001:db8::2]:5060
bob > raw
    |
    | hello
verdict dropped crlf
";

    #[test]
    fn a_file_is_read_into_flows() {
        let flows = parse(FLOW).unwrap();
        assert_eq!(flows.len(), 2);
        assert_eq!(flows[0].title, "RFC 3261 10.3: one");
        assert_eq!((flows[0].actors.len(), flows[1].actors.len()), (1, 2));
        assert_eq!(flows[1].settings, [(4, vec!["min_expires".to_owned(), "60".to_owned()])]);
        let (7, Step::Send(name, Body::Shorthand { start, lines, body })) = &flows[0].steps[0]
        else {
            panic!("{:?}", flows[0].steps[0])
        };
        assert_eq!((name.as_str(), start.as_str()), ("alice", "REGISTER sip:sip.test"));
        assert_eq!(lines[1], Line::Without("Max-Forwards".into()));
        assert_eq!(body, b"a\0b\r\nxyxyxy");
        let (12, Step::Expect(_, Wanted::Status(200), checks)) = &flows[0].steps[1] else {
            panic!("{:?}", flows[0].steps[1])
        };
        let Check::Contact(contact) = &checks[0] else { panic!("{:?}", checks[0]) };
        assert_eq!(contact.expires, Some((3590, 3600)));
        assert_eq!(contact.params, ["q=0.5"]);
        let (_, Step::Send(_, Body::Raw(bytes))) = &flows[1].steps[0] else { panic!() };
        assert_eq!(bytes, b"\r\nhello\r\n");
    }

    #[test]
    fn calls_and_parties_are_read() {
        let text = "flow x\na at 192.0.2.1:1 as b@c on 192.0.2.9:5060\nb at 192.0.2.2:1\n\
            a calls b\nb registers as a\n    Path: <sip:p>\nunreachable b\n    | x\\\n";
        let flow = &parse(text).unwrap()[0];
        assert_eq!(flow.actors[0].aor, "b@c");
        assert_eq!(flow.actors[0].listener, Some("192.0.2.9:5060".parse().unwrap()));
        assert_eq!(flow.steps.len(), 9);
        assert!(flow.steps[..7].iter().all(|(line, _)| *line == 4));
        let (5, Step::Registers(name, user, _)) = &flow.steps[7] else { panic!("{flow:?}") };
        assert_eq!((name.as_str(), user.as_str()), ("b", "a"));
        let (7, Step::Unreachable(_, Some(quoted))) = &flow.steps[8] else { panic!("{flow:?}") };
        assert_eq!(quoted, b"x");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, why) in [
            ("", "no flow"),
            ("flow x\nalice > OPTIONS", "line 2: nobody is called `alice`"),
            ("alice > OPTIONS", "line 1: this belongs into a flow"),
            ("    Contact: x", "line 1: it is indented"),
            ("flow x\nwait 3", "line 2: `3` is no time"),
            ("flow x\nsilence\n    x", "line 2: nothing may stand below"),
            ("flow x\na at 192.0.2.1:1\na < 200\n    what is this", "(line 4)"),
            ("flow x\na at 192.0.2.1:1\na < 200\n    To ~ (", "(line 4)"),
            ("flow x\na at 192.0.2.1:1 of b", "line 2: `of b` makes no sense"),
            ("flow x\na at 192.0.2.1:1\na calls b", "line 3: nobody is called `b`"),
            ("flow x\na at 192.0.2.1:1\na < 2OO", "line 3: `2OO` is no status code"),
            ("flow x\nrestart now", "line 2: `restart now` makes no sense"),
            ("flow x\nresolves a.test here", "line 2: `resolves a.test here`: no addresses"),
            ("flow x\na at 192.0.2.1:1\na > raw\n    text", "(line 4) raw lines"),
            ("flow x\njump", "line 2: `jump` makes no sense"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?} gave {error:?}, not {why:?}");
        }
    }
}
