//! The methods on single addresses-of-record: `ul.lookup`, `ul.add`, `ul.rm` and `ul.rm_contact`. Each asks one core, the home.

use super::directory::{Directory, hash_id, written};
use super::{Fault, Node, Params};
use serde::Serialize;
use serde_json::{Value, json};
use shards::io::Instant;
use shards::location::{Aor, Binding, Listing};
use shards::registrar::Unmet;
use shards::shard::{Command, Errand};
use shards::wire::Params as UriParams;
use std::borrow::Cow;

impl Node {
    /// `ul.lookup [table] aor`
    pub(super) async fn look_up(&self, params: Option<Value>) -> Result<Value, Fault> {
        let mut params = Params::read(params, &["aor"])?;
        let aor = self.aor(&mut params)?;
        let errand = self.ask(self.directory.home(&aor), Command::LookUp(aor)).await?;
        let mut listed = errand.listing.aors();
        let (aor, bindings) = listed.next().ok_or_else(|| unmet(Unmet::NoSuchAor))?;
        let contacts: Vec<Value> = bindings
            .map(|binding| json!({ "Contact": self.contact(&binding, errand.listing.at()) }))
            .collect();
        Ok(json!({ "AoR": written(aor), "HashID": hash_id(aor), "Contacts": contacts }))
    }

    /// `ul.add [table] aor contact [expires [q [path [flags cflags methods]]]]`
    pub(super) async fn add(&self, params: Option<Value>) -> Result<Value, Fault> {
        let names = ["aor", "contact", "expires", "q", "path", "flags", "cflags", "methods"];
        let mut params = Params::read(params, &names)?;
        let aor = self.aor(&mut params)?;
        let contact = uri(&params.text("contact")?);
        // As in Kamailio, 0 is for ever.
        let expires_secs = params.optional_whole("expires", u64::from(u32::MAX - 1))?.unwrap_or(0);
        let q = match params.optional_number("q")? {
            // Kamailio writes -1 where there is none.
            None | Some(-1.0) => None,
            Some(q) if (0.0..=1.0).contains(&q) => Some(thousandths(q)),
            Some(q) => return Err(Fault::params(format!("`q` is {q}, expected 0 to 1"))),
        };
        let path = params.optional_text("path")?.unwrap_or_default();
        // As in Kamailio, these stand for none.
        let path = if ["0", "."].contains(&path.as_str()) { String::new() } else { path };
        for flags in ["flags", "cflags", "methods"] {
            // Kamailio asks for them; nothing here depends on them.
            params.optional_whole(flags, u64::from(u32::MAX))?;
        }
        let core = self.directory.home(&aor);
        let command = Command::Add {
            aor,
            contact,
            expires_secs: u32::try_from(expires_secs).ok().filter(|&seconds| seconds > 0),
            q,
            path: uri(&path),
        };
        self.ask(core, command).await.map(|_| json!({}))
    }

    /// `ul.rm [table] aor` and `ul.rm_contact [table] aor contact`
    pub(super) async fn remove(
        &self,
        params: Option<Value>,
        one_contact: bool,
    ) -> Result<Value, Fault> {
        let names: &[&str] = if one_contact { &["aor", "contact"] } else { &["aor"] };
        let mut params = Params::read(params, names)?;
        let aor = self.aor(&mut params)?;
        let contact = if one_contact { Some(uri(&params.text("contact")?)) } else { None };
        let core = self.directory.home(&aor);
        self.ask(core, Command::Remove { aor, contact }).await.map(|_| json!({}))
    }

    fn aor(&self, params: &mut Params) -> Result<Aor, Fault> {
        self.directory.aor(&params.text("aor")?).map_err(Fault::params)
    }

    /// Sends a core on an errand; what the shard refuses is a fault.
    pub(super) async fn ask(&self, core: usize, command: Command) -> Result<Box<Errand>, Fault> {
        let errand = self.cores.ask(core, Box::new(Errand::new(command))).await?;
        match errand.result {
            Ok(_) => Ok(errand),
            Err(reason) => Err(unmet(reason)),
        }
    }

    pub(super) fn contact<'b>(&self, binding: &Binding<'b>, at: Instant) -> Contact<'b> {
        Contact::new(binding, at, &self.directory)
    }
}

/// Kamailio's codes and, where it has one, its text.
fn unmet(reason: Unmet) -> Fault {
    match reason {
        Unmet::NoSuchAor => Fault::new(404, "AOR not found in location table"),
        Unmet::NoSuchContact => Fault::new(404, "Contact not found"),
        Unmet::BadContact => Fault::params("`contact` is no URI, as in sip:alice@192.0.2.1:5060"),
        Unmet::BadPath => Fault::params("`path` is no SIP URI, as in sip:192.0.2.1;lr"),
        Unmet::TooManyContacts => {
            Fault::new(403, "the address-of-record has all the contacts it may have")
        }
        Unmet::LocationFull => Fault::new(500, "the location table is full"),
    }
}

/// A URI, from the brackets that some write around it.
fn uri(text: &str) -> Box<[u8]> {
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    inner.unwrap_or(text).as_bytes().into()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 1, as the caller has seen"
)]
fn thousandths(q: f64) -> u16 {
    (q * 1000.0).round() as u16
}

/// Some addresses-of-record of a listing as `ul.dump` lists them, a comma before each.
pub(super) fn dumped(node: &Node, listing: &Listing, brief: bool, text: &mut Vec<u8>) {
    for (aor, bindings) in listing.aors() {
        let name = written(aor);
        // Writing into a vector can't fail, nor can what is written be anything but JSON.
        let _ = if brief {
            serde_json::to_writer(&mut *text, &Brief { aor: &name })
        } else {
            let contacts = bindings
                .map(|binding| InList { contact: node.contact(&binding, listing.at()) })
                .collect();
            let info = Info { aor: &name, hash_id: hash_id(aor), contacts };
            serde_json::to_writer(&mut *text, &Listed { info })
        };
        text.push(b',');
    }
}

#[derive(Serialize)]
struct Brief<'a> {
    #[serde(rename = "AoR")]
    aor: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    info: Info<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info<'a> {
    #[serde(rename = "AoR")]
    aor: &'a str,
    #[serde(rename = "HashID")]
    hash_id: u32,
    contacts: Vec<InList<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InList<'a> {
    contact: Contact<'a>,
}

/// A binding in Kamailio's shape. What is not kept here is said to be not set, in Kamailio's words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Contact<'a> {
    address: Cow<'a, str>,
    expires: Expires,
    q: f64,
    #[serde(rename = "Call-ID")]
    call_id: Cow<'a, str>,
    #[serde(rename = "CSeq")]
    cseq: u32,
    #[serde(rename = "User-Agent")]
    user_agent: &'static str,
    received: String,
    path: Cow<'a, str>,
    /// Not in a database.
    state: &'static str,
    flags: u32,
    #[serde(rename = "CFlags")]
    cflags: u32,
    socket: String,
    /// What it can do is not known.
    methods: u32,
    ruid: &'static str,
    instance: Cow<'a, str>,
    #[serde(rename = "Reg-Id")]
    reg_id: u32,
    #[serde(rename = "Server-Id")]
    server_id: u32,
    #[serde(rename = "Tcpconn-Id")]
    tcpconn_id: i32,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Expires {
    Seconds(u32),
    Never(&'static str),
}

const NOT_SET: &str = "[not set]";

impl<'a> Contact<'a> {
    fn new(binding: &Binding<'a>, at: Instant, directory: &Directory) -> Self {
        let Binding { record, terms } = binding;
        let instance = UriParams::checked(record.params).find(b"+sip.instance");
        let instance = instance.and_then(|param| param.value).unwrap_or_default();
        let seconds = at.secs_until(terms.expires);
        let received = record.from.addr;
        Contact {
            address: String::from_utf8_lossy(record.contact),
            expires: match seconds {
                u32::MAX => Expires::Never("permanent"),
                seconds => Expires::Seconds(seconds),
            },
            q: terms.q.map_or(-1.0, |thousandths| f64::from(thousandths) / 1000.0),
            call_id: String::from_utf8_lossy(record.call_id),
            cseq: terms.cseq,
            user_agent: NOT_SET,
            received: if received.ip().is_unspecified() {
                NOT_SET.to_owned()
            } else {
                format!("sip:{received}")
            },
            path: set(record.path),
            state: "CS_NEW",
            flags: 0,
            cflags: 0,
            socket: directory.socket(record.to),
            methods: u32::MAX,
            ruid: NOT_SET,
            instance: set(instance),
            reg_id: terms.reg_id,
            server_id: 0,
            tcpconn_id: -1,
        }
    }
}

fn set(value: &[u8]) -> Cow<'_, str> {
    if value.is_empty() { Cow::Borrowed(NOT_SET) } else { String::from_utf8_lossy(value) }
}
