//! `seawall ctl`: asks a running node over its admin address and prints what it answers, as a table for people and as JSON for
//! programs. It knows how answers look, and nothing of what they mean.

mod client;
mod dump;
mod table;

use crate::config::{Config, Machine, Problems};
use client::Client;
use serde_json::Value;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// What is asked of whom.
#[derive(Clone, Debug, clap::Args)]
pub struct Ctl {
    /// The method, as in ul.lookup; system.listMethods lists them.
    method: String,
    /// Its parameters, in order: `ul.lookup location alice@sip.test`. Numbers, true, false and null are taken as such.
    #[arg(allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// The admin address of the node; by default the one in the configuration, or 127.0.0.1:8060.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The configuration of the node, for its admin address and token.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The token of the admin address.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Prints JSON on a terminal too.
    #[arg(long)]
    json: bool,
}

/// Why nothing, or not everything, was printed.
#[derive(Debug)]
pub enum Failed {
    /// The configuration, the method or its parameters are wrong.
    Usage(String),
    /// Everything else.
    Asking(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Usage(sentence) | Failed::Asking(sentence) => f.write_str(sentence),
        }
    }
}

/// Asks, and prints the answer to standard output.
///
/// # Errors
/// One sentence.
pub fn run(ctl: &Ctl, machine: &Machine) -> Result<(), Failed> {
    let stdout = io::stdout();
    let form = if ctl.json || !stdout.is_terminal() { Form::Json } else { Form::Table };
    let client = client(ctl, machine)?;
    let arguments: Vec<Value> = ctl.arguments.iter().map(|text| argument(text)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::Asking(error.to_string()))?;
    let mut out = io::BufWriter::new(stdout.lock());
    let printed = runtime.block_on(async {
        if ctl.method == "ul.dump" {
            return dump::print(&client, &arguments, form, &mut out).await;
        }
        let result = client.call(&ctl.method, Value::Array(arguments)).await?;
        let text = match form {
            Form::Json => format!("{result:#}\n"),
            Form::Table => table::text(&result),
        };
        Ok(out.write_all(text.as_bytes())?)
    });
    let flushed = printed.and_then(|()| Ok(out.flush()?));
    match flushed {
        // Whoever closed our output early has read enough.
        Err(Unprinted::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Unprinted::Output(error)) => {
            Err(Failed::Asking(format!("the answer can't be printed: {error}")))
        }
        Err(Unprinted::Failed(failed)) => Err(failed),
        Ok(()) => Ok(()),
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Table,
}

/// Why printing an answer came to nothing.
#[derive(Debug)]
enum Unprinted {
    Failed(Failed),
    Output(io::Error),
}

impl From<Failed> for Unprinted {
    fn from(failed: Failed) -> Self {
        Unprinted::Failed(failed)
    }
}

impl From<io::Error> for Unprinted {
    fn from(error: io::Error) -> Self {
        Unprinted::Output(error)
    }
}

fn client(ctl: &Ctl, machine: &Machine) -> Result<Client, Failed> {
    let config = ctl.config.as_ref().map(|file| Config::load(file, machine)).transpose();
    let config = config.map_err(|problems: Problems| Failed::Usage(problems.to_string()))?;
    let builtin = Config::builtin(machine);
    let has_file = config.is_some();
    let admin = config.unwrap_or(builtin).admin;
    if has_file && admin.is_none() && ctl.admin.is_none() {
        let sentence = "the configuration has no [admin], so its node can't be asked";
        return Err(Failed::Usage(sentence.to_owned()));
    }
    let listen = admin.as_ref().map(|admin| reachable(admin.listen));
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8060));
    let address = ctl.admin.or(listen).unwrap_or(default);
    let token_file = ctl.token_file.clone().or(admin.and_then(|admin| admin.token_file));
    let token = token_file.map(|file| crate::config::existing_secret(&file)).transpose();
    let token =
        token.map_err(|error| Failed::Asking(format!("the token can't be read: {error}")))?;
    Ok(Client::new(address, token))
}

/// Where a listener is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// An argument as it is sent: a number, a boolean, null or a text in quotes where it is one, else a text as it stands.
fn argument(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => scalar,
        Ok(Value::Array(_) | Value::Object(_)) | Err(_) => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_scalars_where_they_are() {
        for (text, expected) in [
            ("12", json!(12)),
            ("-1.5", json!(-1.5)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("\"12\"", json!("12")),
            ("alice@sip.test", json!("alice@sip.test")),
            ("[1]", json!("[1]")),
            ("+15551234", json!("+15551234")),
            ("", json!("")),
        ] {
            assert_eq!(argument(text), expected, "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_reached_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
