//! One call over HTTP at a time. It reads answers whole and prints nothing.

use super::Failed;
use crate::config::{Secret, secret_to_hex};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a node may take: longer than it gives its cores.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The node that is asked.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    token: Option<Secret>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Client { address, token }
    }

    /// The result of a call.
    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, Failed> {
        let call = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
        let (status, body) = match timeout(ANSWER_TIMEOUT, self.post(call.to_string())).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.failed("takes too long")),
        };
        if status != StatusCode::OK {
            let said = String::from_utf8_lossy(&body);
            let said = said.trim_end();
            return Err(match status {
                StatusCode::UNAUTHORIZED => self.failed(&format!("says: {said}; see --token-file")),
                status => self.failed(&format!("says {status}: {said}")),
            });
        }
        let mut answer: Value = serde_json::from_slice(&body)
            .map_err(|_| self.failed("answers something else than JSON"))?;
        let error = answer["error"].take();
        if error.is_null() {
            return Ok(answer["result"].take());
        }
        let message = error["message"].as_str().unwrap_or("it says no why");
        Err(match error["code"].as_i64() {
            Some(-32602..=-32601) => Failed::Usage(format!("{method}: {message}")),
            _ => Failed::Asking(format!("{method}: {message}")),
        })
    }

    async fn post(&self, call: String) -> Result<(StatusCode, Bytes), Failed> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| {
            self.failed(&format!(
                "can't be reached: {error} (is it running, with this address in [admin]?)"
            ))
        })?;
        let broken = |error: hyper::Error| self.failed(&format!("broke the connection: {error}"));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer; what goes wrong with it is told there.
        let connection = tokio::spawn(connection);
        let mut request = Request::post("/RPC")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", secret_to_hex(token)));
        }
        let request = request.body(Full::new(Bytes::from(call)));
        let request =
            request.map_err(|error| self.failed(&format!("can't be asked this: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?;
        connection.abort();
        Ok((status, body.to_bytes()))
    }

    fn failed(&self, what: &str) -> Failed {
        Failed::Asking(format!("the node at {} {what}", self.address))
    }
}
