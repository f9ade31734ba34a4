//! The file of the subscribers, read into the table that all cores share. It keeps nothing of the file but the table and what is
//! wrong with it.
//!
//! A line is `username,domain,ha1[,ha1_sha256[,ha1_sha512_256]]`. The user name is as the phone sends it, and `ha1` the hash of
//! `username:realm:password` in hexadecimal digits, as in Kamailio's table `subscriber`; a phone that sends `user@domain` has a
//! line of its own with Kamailio's `ha1b`. A field with commas stands in quotes (RFC 4180). The first line may name the columns.
//!
//! Lines that make no sense are told and left out. A subscriber without a hash for a configured algorithm is another matter:
//! he would be challenged and could never answer, so the whole file is refused.

use crate::config::{Auth, Config, Digest, Domain, mebibytes, thousands};
use shards::auth::{Algorithm, Builder, NotAdded, Subscribers};
use shards::location::{Aor, Domains};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bad lines that are told one by one.
const TOLD_MAX: usize = 10;
/// Keys that are tried until no two names meet. A table of a hundred million needs a second one once in three thousand times.
const KEYS_MAX: u8 = 8;

/// A file that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Who there is.
    pub subscribers: Arc<Subscribers>,
    /// What was left out.
    pub bad: BadLines,
    /// How long it took.
    pub took: Duration,
    file: PathBuf,
    bytes: usize,
}

/// The lines of a file that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadLines {
    /// How many there are.
    pub count: usize,
    /// The first of them, a sentence each with file and line.
    pub told: Vec<String>,
}

/// Reads the subscribers of a configuration; nobody where it has no authentication. `names` is the key that hides their names.
///
/// # Errors
/// A sentence: the file can't be read, or a subscriber has no hash for an algorithm that is offered.
pub fn load(config: &Config, names: [u8; 16]) -> Result<Option<Loaded>, String> {
    match &config.auth {
        Auth::None => Ok(None),
        Auth::Digest(digest) => {
            let began = Instant::now();
            let file = &digest.subscribers;
            let text = std::fs::read(file)
                .map_err(|error| format!("{} can't be read: {error}", file.display()))?;
            let read = parse(&text, digest, &config.shard_domains(), names)?;
            Ok(Some(Loaded { took: began.elapsed(), ..read }))
        }
    }
}

impl Loaded {
    /// What there is to say about it, a line each: what was left out first.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.bad.told.clone();
        let untold = self.bad.count - self.bad.told.len();
        if untold > 0 {
            let lines = if untold == 1 { "line" } else { "lines" };
            let untold = thousands(untold);
            remarks.push(format!("{}: {untold} more {lines} left out", self.file.display()));
        }
        remarks
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.subscribers.len();
        write!(
            f,
            "subscribers: {} of {}, in {} for all cores",
            thousands(count),
            self.file.display(),
            mebibytes(self.bytes)
        )?;
        match self.bad.count {
            0 => Ok(()),
            1 => f.write_str("; 1 line left out"),
            more => write!(f, "; {} lines left out", thousands(more)),
        }
    }
}

/// Reads the text of a file.
fn parse(
    text: &[u8],
    digest: &Digest,
    domains: &Domains,
    names: [u8; 16],
) -> Result<Loaded, String> {
    for attempt in 0..KEYS_MAX {
        let mut key = names;
        key[0] ^= attempt;
        let builder = Builder::new(key, &digest.algorithms, lines(text).count());
        let mut reading = Reading { text, digest, domains, builder, bad: BadLines::default() };
        match reading.all() {
            Ok(()) => {
                let subscribers = reading.builder.finish();
                return Ok(Loaded {
                    bytes: Subscribers::bytes(lines(text).count(), &digest.algorithms),
                    subscribers: Arc::new(subscribers),
                    bad: reading.bad,
                    took: Duration::ZERO,
                    file: digest.subscribers.clone(),
                });
            }
            Err(Stopped::NamesMeet) => {}
            Err(Stopped::Unmet(sentence)) => return Err(sentence),
        }
    }
    Err(format!("{}: two names meet under every key", digest.subscribers.display()))
}

/// Why reading stopped.
enum Stopped {
    /// Two names can't be told apart under this key.
    NamesMeet,
    /// A subscriber has no hash for an algorithm.
    Unmet(String),
}

struct Reading<'t> {
    text: &'t [u8],
    digest: &'t Digest,
    domains: &'t Domains,
    builder: Builder,
    bad: BadLines,
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), Stopped> {
        let mut name = Vec::new();
        let mut unmet: Option<(String, usize)> = None;
        let mut scratch = Row::default();
        for (number, (offset, line)) in (1..).zip(lines(self.text)) {
            if line.is_empty() || number == 1 && line.starts_with(b"username,domain,ha1") {
                continue;
            }
            if let Err(reason) = scratch.read(line) {
                self.leave_out(number, &reason);
                continue;
            }
            let row = &scratch;
            if let Err(reason) = self.name(row, &mut name) {
                self.leave_out(number, &reason);
                continue;
            }
            if let Some(missing) = row.missing(&self.digest.algorithms) {
                match &mut unmet {
                    Some((_, more)) => *more += 1,
                    None => unmet = Some((self.unmet(number, &name, missing), 0)),
                }
                continue;
            }
            match self.builder.add(&name, |algorithm| row.verifier(algorithm), offset as u64) {
                Ok(()) => {}
                Err(NotAdded::Present(origin)) => {
                    let origin = usize::try_from(origin).expect("an offset into the text");
                    if !self.is_named(origin, &name) {
                        return Err(Stopped::NamesMeet);
                    }
                    let first = || 1 + self.text[..origin].iter().filter(|&&b| b == b'\n').count();
                    let told = self.bad.told.len() < TOLD_MAX;
                    let first = if told { first() } else { 0 };
                    let name = String::from_utf8_lossy(&name).into_owned();
                    self.leave_out(number, &format!("`{name}` stands in line {first} already"));
                }
                Err(NotAdded::Full) => unreachable!("there is a place for each line"),
            }
        }
        match unmet {
            None => Ok(()),
            Some((sentence, 0)) => Err(Stopped::Unmet(sentence)),
            Some((sentence, more)) => {
                let more = format!("{sentence}; {} more have not", thousands(more));
                Err(Stopped::Unmet(more))
            }
        }
    }

    /// Writes the name under which a row's subscriber is looked for, `user@domain`.
    fn name(&self, row: &Row, name: &mut Vec<u8>) -> Result<(), String> {
        let domain = std::str::from_utf8(&row.domain).ok().and_then(Domain::parse);
        let Some(domain) = domain else {
            let domain = String::from_utf8_lossy(&row.domain);
            return Err(format!("`{domain}` is no domain, expected {}", Domain::EXPECTED));
        };
        let canonical = match self.domains.canonical(domain.as_str().as_bytes()) {
            Some(canonical) => canonical,
            None if self.domains.is_any() => domain.as_str().as_bytes(),
            None => return Err(format!("`{domain}` is not among domains.local")),
        };
        name.clear();
        name.extend_from_slice(&row.username);
        name.push(b'@');
        name.extend_from_slice(canonical);
        if name.len() > Aor::BYTES_MAX {
            return Err(format!("the name has more than {} bytes with its domain", Aor::BYTES_MAX));
        }
        Ok(())
    }

    /// Whether the line at an offset, which was read before, has this name.
    fn is_named(&self, offset: usize, name: &[u8]) -> bool {
        let (mut row, mut other) = (Row::default(), Vec::new());
        let line = lines(&self.text[offset..]).next().map_or(&[][..], |(_, line)| line);
        row.read(line).is_ok() && self.name(&row, &mut other).is_ok() && other == name
    }

    fn unmet(&self, number: usize, name: &[u8], missing: Algorithm) -> String {
        format!(
            "{}:{number}: `{}` has no {}, which auth.algorithms asks of every subscriber",
            self.digest.subscribers.display(),
            String::from_utf8_lossy(name),
            column(missing)
        )
    }

    fn leave_out(&mut self, number: usize, reason: &str) {
        self.bad.count += 1;
        if self.bad.told.len() < TOLD_MAX {
            let file = self.digest.subscribers.display();
            self.bad.told.push(format!("{file}:{number}: {reason}"));
        }
    }
}

/// One line, taken apart. It is a buffer to be used again.
#[derive(Debug, Default)]
struct Row {
    username: Vec<u8>,
    domain: Vec<u8>,
    verifiers: [[u8; Algorithm::BYTES_MAX]; Algorithm::ALL.len()],
    present: [bool; Algorithm::ALL.len()],
    field: Vec<u8>,
}

impl Row {
    fn read(&mut self, line: &[u8]) -> Result<(), String> {
        self.present = Default::default();
        let mut rest = Some(line);
        take(&mut rest, &mut self.username)?;
        take(&mut rest, &mut self.domain)?;
        if self.username.is_empty() {
            return Err("there is no username".to_owned());
        }
        if self.username.iter().any(u8::is_ascii_control) {
            return Err("the username has control characters".to_owned());
        }
        for (index, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            if rest.is_none() {
                break;
            }
            take(&mut rest, &mut self.field)?;
            if self.field.is_empty() {
                continue;
            }
            let place = &mut self.verifiers[index][..algorithm.bytes()];
            if !from_hex(&self.field, place) {
                let (column, digits) = (column(algorithm), 2 * algorithm.bytes());
                return Err(format!("{column} is not {digits} hexadecimal digits"));
            }
            self.present[index] = true;
        }
        if rest.is_some() {
            return Err("there are more than 5 fields".to_owned());
        }
        if self.present == [false; 3] {
            return Err("there is no ha1".to_owned());
        }
        Ok(())
    }

    fn missing(&self, algorithms: &[Algorithm]) -> Option<Algorithm> {
        algorithms.iter().copied().find(|&algorithm| !self.present[algorithm as usize])
    }

    fn verifier(&self, algorithm: Algorithm) -> &[u8] {
        &self.verifiers[algorithm as usize][..algorithm.bytes()]
    }
}

/// The column of an algorithm's hash.
fn column(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "ha1",
        Algorithm::Sha256 => "ha1_sha256",
        Algorithm::Sha512_256 => "ha1_sha512_256",
    }
}

/// Each line without its end, and where it begins. A file that ends in a line end has no line behind it.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut offset = 0;
    text.split_inclusive(|&byte| byte == b'\n').map(move |line| {
        let at = offset;
        offset += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        (at, line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// Takes a field, RFC 4180 2, off what is left of a line; `None` is left behind the last one.
fn take(rest: &mut Option<&[u8]>, field: &mut Vec<u8>) -> Result<(), String> {
    field.clear();
    let line = rest.take().ok_or("there are fewer than 3 fields")?;
    if line.first() != Some(&b'"') {
        let comma = line.iter().position(|&byte| byte == b',');
        field.extend_from_slice(&line[..comma.unwrap_or(line.len())]);
        *rest = comma.map(|comma| &line[comma + 1..]);
        return Ok(());
    }
    let mut at = 1;
    loop {
        match line.get(at..) {
            Some([b'"', b'"', ..]) => {
                field.push(b'"');
                at += 2;
            }
            Some([b'"']) => return Ok(()),
            Some([b'"', b',', others @ ..]) => {
                *rest = Some(others);
                return Ok(());
            }
            Some([b'"', ..]) => return Err("something follows a closing quote".to_owned()),
            Some([byte, ..]) => {
                field.push(*byte);
                at += 1;
            }
            Some([]) | None => return Err("a quote is not closed".to_owned()),
        }
    }
}

/// Reads twice as many digits as there are bytes.
fn from_hex(digits: &[u8], bytes: &mut [u8]) -> bool {
    if digits.len() != 2 * bytes.len() {
        return false;
    }
    let mut wrong = false;
    for (pair, byte) in digits.as_chunks::<2>().0.iter().zip(bytes) {
        let [high, low] = pair.map(|digit| match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => 16,
        });
        wrong |= high > 15 || low > 15;
        *byte = high << 4 | low & 15;
    }
    !wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const MD5: &str = "939e7578ed9e3c518a452acee763bce9";
    const SHA: &str = "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232";

    fn digest(algorithms: &[Algorithm]) -> Digest {
        Digest {
            realm: "sip.test".to_owned(),
            algorithms: algorithms.to_vec(),
            subscribers: "subscribers.csv".into(),
            nonce_lifetime_secs: 3600,
            nonces: 1000,
        }
    }

    fn read(text: &str, algorithms: &[Algorithm]) -> Result<Loaded, String> {
        let domains = Domains::new(["sip.test"]).with_alias("voip.test", "sip.test");
        parse(text.as_bytes(), &digest(algorithms), &domains, [7; 16])
    }

    #[test]
    fn all_forms_of_a_line_are_read() {
        let text = format!(
            "username,domain,ha1,ha1_sha256,ha1_sha512_256\r\nalice,sip.test,{MD5}\r\n\n\
             bob,SIP.TEST,{},{SHA}\n\"a,\"\"b\",voip.test,{MD5},,{SHA}\ncarol@sip.test,sip.test,{MD5},",
            MD5.to_uppercase()
        );
        let loaded = read(&text, &[Algorithm::Md5]).unwrap();
        assert_eq!(loaded.bad, BadLines::default());
        assert_eq!(loaded.subscribers.len(), 4);
        assert_eq!(
            loaded.to_string(),
            "subscribers: 4 of subscribers.csv, in 0.0 MiB for all cores"
        );
    }

    #[test]
    fn bad_lines_are_told_with_their_reason_and_the_rest_is_loaded() {
        let text = format!(
            "alice,sip.test,{MD5}\nalice\nalice,sip.test\n,sip.test,{MD5}\na\tb,sip.test,{MD5}\n\
             bob,other.test,{MD5}\nbob,no domain,{MD5}\nbob,sip.test,xyz\nbob,sip.test,,\n\
             \"bob,sip.test,{MD5}\n\"bob\"x,sip.test,{MD5}\nbob,sip.test,{MD5},,,\nbob,sip.test,{MD5}\n\
             alice,VOIP.test,{MD5}\nalice,sip.test,{MD5}\n"
        );
        let loaded = read(&text, &[Algorithm::Md5]).unwrap();
        assert_eq!((loaded.subscribers.len(), loaded.bad.count), (2, 13));
        insta::assert_snapshot!("bad_lines", loaded.remarks().join("\n"));
        assert!(loaded.to_string().ends_with("for all cores; 13 lines left out"), "{loaded}");
        let twice = read(&format!("a,sip.test,{MD5}\na,voip.test,{MD5}\n"), &[Algorithm::Md5]);
        let told = twice.unwrap().bad.told;
        assert_eq!(told, ["subscribers.csv:2: `a@sip.test` stands in line 1 already"]);
    }

    #[test]
    fn who_could_never_answer_is_told_and_nobody_is_loaded() {
        let text = format!(
            "a,sip.test,{MD5},{SHA}\nb,sip.test,{MD5}\nc,sip.test,,{SHA}\nd,sip.test,{MD5},\n"
        );
        let refused = |algorithms: &[Algorithm]| read(&text, algorithms).unwrap_err();
        assert_eq!(
            refused(&[Algorithm::Sha256]),
            "subscribers.csv:2: `b@sip.test` has no ha1_sha256, which auth.algorithms asks of every subscriber; 1 more have not"
        );
        assert_eq!(
            refused(&[Algorithm::Md5]),
            "subscribers.csv:3: `c@sip.test` has no ha1, which auth.algorithms asks of every subscriber"
        );
    }

    /// `cargo test --release -p seawall --lib a_million -- --nocapture` tells how long it takes.
    #[test]
    fn a_million_lines_are_read() {
        let mut text = String::new();
        for number in 0..1_000_000u32 {
            writeln!(text, "+{number:08},sip.test,{:032x}", u128::from(number) << 70).unwrap();
        }
        let began = Instant::now();
        let loaded = read(&text, &[Algorithm::Md5]).unwrap();
        println!("{} bytes in {:?}: {loaded}", text.len(), began.elapsed());
        assert_eq!((loaded.subscribers.len(), loaded.bad.count), (1_000_000, 0));
        assert!(loaded.bytes < 40_000_000, "{}", loaded.bytes);
    }
}
