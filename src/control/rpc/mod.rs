//! JSON-RPC 2.0: what was called, and the answer in Kamailio's shapes. It knows the protocol and the names; the methods stand
//! in files of their own.

mod directory;
mod dump;
mod location;
mod node;
mod params;
mod route;
mod statistics;
#[cfg(test)]
mod tests;

pub use directory::Directory;
pub(in crate::control) use dump::Dump;

use super::cores::{Cores, Unanswered};
use super::snapshot::Observed;
use crate::config::suggestion;
use params::Params;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use shards::shard::Errand;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::sync::Semaphore;

/// Calls in a batch.
const BATCH_MAX: usize = 100;
/// Dumps at a time.
const DUMPS_MAX: usize = 4;

/// What the methods work on.
#[derive(Debug)]
pub(in crate::control) struct Node {
    name: String,
    observed: Arc<dyn Observed>,
    cores: Cores<Errand>,
    directory: Directory,
    started: Instant,
    started_at: SystemTime,
    dumps: Arc<Semaphore>,
}

/// The answer to a body.
#[derive(Debug)]
pub(in crate::control) enum Answered {
    /// Only notifications were sent.
    Nothing,
    /// A text.
    Text(String),
    /// A text that is made as it is read.
    Dump(Box<Dump>),
}

/// Why a call failed: JSON-RPC 2.0 5.1, and Kamailio's codes, which are HTTP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Fault {
    code: i32,
    message: String,
}

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Fault { code, message: message.into() }
    }

    fn request(message: impl Into<String>) -> Self {
        Fault::new(-32600, message)
    }

    fn params(message: impl Into<String>) -> Self {
        Fault::new(-32602, message)
    }
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        Fault::new(-32000, unanswered.to_string())
    }
}

/// The methods, sorted by name.
const METHODS: &[(&str, Method)] = &[
    ("core.info", Method::Info),
    ("core.shmmem", Method::Memory),
    ("core.uptime", Method::Uptime),
    ("core.version", Method::Version),
    ("route.test", Method::Route),
    ("stats.get_statistics", Method::Statistics),
    ("system.listMethods", Method::ListMethods),
    ("ul.add", Method::Add),
    ("ul.dump", Method::Dump),
    ("ul.lookup", Method::LookUp),
    ("ul.rm", Method::Remove),
    ("ul.rm_contact", Method::RemoveContact),
];

#[derive(Clone, Copy, Debug)]
enum Method {
    Info,
    Memory,
    Uptime,
    Version,
    Route,
    Statistics,
    ListMethods,
    Add,
    Dump,
    LookUp,
    Remove,
    RemoveContact,
}

/// One call, of which nothing is believed yet.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// A null is an id; only what is absent makes a notification.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The result of a call.
enum Outcome {
    Value(Value),
    Dump(Box<Dump>),
}

impl Node {
    pub(in crate::control) fn new(
        name: String,
        observed: Arc<dyn Observed>,
        cores: Cores<Errand>,
        directory: Directory,
    ) -> Self {
        Node {
            name,
            observed,
            cores,
            directory,
            started: Instant::now(),
            started_at: SystemTime::now(),
            dumps: Arc::new(Semaphore::new(DUMPS_MAX)),
        }
    }

    /// Does what a body asks for.
    pub(in crate::control) async fn answer(self: &Arc<Self>, body: &[u8]) -> Answered {
        let Ok(whole) = serde_json::from_slice::<&RawValue>(body) else {
            return Answered::Text(failed("null", &Fault::new(-32700, "this is no JSON")));
        };
        if !whole.get().starts_with('[') {
            return self.answer_one(whole, false).await;
        }
        let Ok(calls) = serde_json::from_str::<Vec<&RawValue>>(whole.get()) else {
            return Answered::Text(failed("null", &Fault::new(-32700, "this is no JSON")));
        };
        if calls.is_empty() || calls.len() > BATCH_MAX {
            let fault = Fault::request(format!("a batch has 1 to {BATCH_MAX} calls"));
            return Answered::Text(failed("null", &fault));
        }
        let mut texts = Vec::with_capacity(calls.len());
        for call in calls {
            match self.answer_one(call, true).await {
                Answered::Nothing => {}
                Answered::Text(text) => texts.push(text),
                Answered::Dump(dump) => texts.push(dump.whole().await),
            }
        }
        if texts.is_empty() {
            return Answered::Nothing;
        }
        Answered::Text(format!("[{}]", texts.join(",")))
    }

    async fn answer_one(self: &Arc<Self>, call: &RawValue, is_in_batch: bool) -> Answered {
        let Ok(request) = serde_json::from_str::<Request<'_>>(call.get()) else {
            return Answered::Text(failed("null", &Fault::request("this is no call")));
        };
        let id = request.id.map(RawValue::get);
        if !id.is_none_or(is_id) {
            let fault = Fault::request("an id is a text, a number or null");
            return Answered::Text(failed("null", &fault));
        }
        let read = read(&request);
        let is_invalid = read.is_err();
        let outcome = match read {
            Ok((method, params)) => {
                let id = id.unwrap_or("null");
                self.call(&method, params, id, is_in_batch).await
            }
            Err(fault) => Err(fault),
        };
        match (id, outcome) {
            // JSON-RPC 2.0 4.1: a notification is never answered; 5: what is no call at all is, with a null.
            (None, Err(fault)) if is_invalid => Answered::Text(failed("null", &fault)),
            (None, _) => Answered::Nothing,
            (Some(id), Ok(Outcome::Value(value))) => {
                Answered::Text(format!(r#"{{"jsonrpc":"2.0","result":{value},"id":{id}}}"#))
            }
            (Some(_), Ok(Outcome::Dump(dump))) => Answered::Dump(dump),
            (Some(id), Err(fault)) => Answered::Text(failed(id, &fault)),
        }
    }

    async fn call(
        self: &Arc<Self>,
        name: &str,
        params: Option<Value>,
        id: &str,
        is_in_batch: bool,
    ) -> Result<Outcome, Fault> {
        let found = METHODS.iter().find(|(known, _)| *known == name);
        let Some(&(_, method)) = found else {
            let known: Vec<&str> = METHODS.iter().map(|&(name, _)| name).collect();
            let message = format!("there is no method `{name}`{}", suggestion(name, &known));
            return Err(Fault::new(-32601, message));
        };
        let value = match method {
            Method::Dump => {
                return Dump::start(self, params, id, is_in_batch)
                    .await
                    .map(|dump| Outcome::Dump(Box::new(dump)));
            }
            Method::LookUp => self.look_up(params).await,
            Method::Add => self.add(params).await,
            Method::Remove => self.remove(params, false).await,
            Method::RemoveContact => self.remove(params, true).await,
            Method::Route => self.route(params).await,
            Method::Memory => self.memory(params).await,
            Method::Info => self.info(params),
            Method::Uptime => self.uptime(params),
            Method::Version => Params::read(params, &[]).map(|_| Value::from(node::version())),
            Method::Statistics => statistics::select(&self.observed.snapshots(), params),
            Method::ListMethods => Params::read(params, &[])
                .map(|_| METHODS.iter().map(|&(name, _)| name).collect::<Value>()),
        };
        value.map(Outcome::Value)
    }
}

/// Method and parameters of a call that obeys the protocol.
fn read(request: &Request<'_>) -> Result<(String, Option<Value>), Fault> {
    if request.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(Fault::request("`jsonrpc` has to be \"2.0\""));
    }
    let method = request.method.and_then(|method| serde_json::from_str(method.get()).ok());
    let method: String = method.ok_or_else(|| Fault::request("`method` has to be a text"))?;
    let params = request.params.map(|params| serde_json::from_str(params.get())).transpose();
    let params = params.map_err(|error| Fault::params(format!("params can't be read: {error}")))?;
    Ok((method, params))
}

/// JSON-RPC 2.0 4: a text, a number or null.
fn is_id(raw: &str) -> bool {
    raw == "null"
        || raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

fn failed(id: &str, fault: &Fault) -> String {
    let mut text = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{},"message":"#, fault.code);
    // Writing into a String can't fail.
    let _ = write!(text, "{}}},\"id\":{id}}}", Value::from(fault.message.as_str()));
    text
}
