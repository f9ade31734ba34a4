//! `route.test`: how a request would be routed, step by step, as the core that would look its target up tells it. Nothing is sent.

use super::{Fault, Node, Params};
use serde_json::{Value, json};
use shards::shard::Command;
use shards::wire::Uri;
use std::net::{IpAddr, SocketAddr};

/// As long as any method there is, several times over.
const METHOD_BYTES_MAX: usize = 32;
/// RFC 3261 19.1.2.
const SIP_PORT: u16 = 5060;

impl Node {
    /// `route.test method uri source`
    pub(super) async fn route(&self, params: Option<Value>) -> Result<Value, Fault> {
        let mut params = Params::read(params, &["method", "uri", "source"])?;
        let method = method(&params.text("method")?)?;
        let uri = params.text("uri")?;
        let core = {
            let read = Uri::parse(uri.as_bytes()).map_err(|_malformed| {
                Fault::params(format!("`uri` is {uri:?}, expected a URI as in sip:bob@example.com"))
            })?;
            self.directory.home_of(&read)
        };
        let source = source(&params.text("source")?)?;
        let listener = self.directory.listener_for(source.ip()).ok_or_else(|| {
            let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            Fault::params(format!("`source` is {source}, but no listener serves {family}"))
        })?;
        let uri = uri.into_bytes().into();
        let errand = self.ask(core, Command::Route { method, uri, source, listener }).await?;
        Ok(json!({ "steps": errand.report.lines().collect::<Vec<_>>() }))
    }
}

/// RFC 3261 25.1: a method is a token.
fn method(text: &str) -> Result<Box<[u8]>, Fault> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if !(1..=METHOD_BYTES_MAX).contains(&text.len()) || !text.bytes().all(is_token) {
        return Err(Fault::params(format!("`method` is {text:?}, expected one as in INVITE")));
    }
    Ok(text.as_bytes().into())
}

/// An address with or without its port.
fn source(text: &str) -> Result<SocketAddr, Fault> {
    let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, SIP_PORT));
    let source = text.parse::<SocketAddr>().or_else(|_| alone()).ok();
    let is_one = |source: &SocketAddr| {
        source.port() != 0 && !source.ip().is_unspecified() && !source.ip().is_multicast()
    };
    source.filter(is_one).ok_or_else(|| {
        let expected = "an address that requests come from, as in 192.0.2.7:5060 or 2001:db8::7";
        Fault::params(format!("`source` is {text:?}, expected {expected}"))
    })
}
