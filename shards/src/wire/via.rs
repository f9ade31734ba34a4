//! One value of the Via header: who sent the message, and where responses go. It never resolves a name.

use super::cursor::{Cursor, Span};
use super::malformed::Malformed;
use super::params::Params;
use super::scan::{self, HOST, Text};
use super::uri::Host;
use core::net::Ipv6Addr;

/// A Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'m> {
    /// The transport as it came: `UDP`, `TCP`, `TLS`, ...; its case does not matter.
    pub transport: &'m [u8],
    /// The host of the sent-by.
    pub host: Host<'m>,
    /// The port of the sent-by, where it has one.
    pub port: Option<u16>,
    /// The branch, where there is one (RFC 2543 knew none).
    pub branch: Option<&'m [u8]>,
    /// What `received` says, as it came.
    pub received: Option<&'m [u8]>,
    /// RFC 3581's parameter.
    pub rport: Rport,
    /// What `maddr` says, as it came.
    pub maddr: Option<&'m [u8]>,
    /// What `ttl` says.
    pub ttl: Option<u8>,
    /// All parameters.
    pub params: Params<'m>,
    /// All of it, byte for byte.
    pub raw: &'m [u8],
}

/// The `rport` parameter of RFC 3581.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rport {
    /// Not there.
    #[default]
    Absent,
    /// Without a value: the sender asks for the port it is seen at.
    Asked,
    /// With the port a server saw.
    Port(u16),
}

/// The offsets behind a [`Via`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ViaSpans {
    pub(super) transport: Span,
    /// Not empty once the sent-by was read, also where a parameter behind it is malformed.
    pub(super) host: Span,
    pub(super) port: Option<u16>,
    pub(super) branch: Option<Span>,
    pub(super) received: Option<Span>,
    /// From the semicolon of `received` to the end of its value, and the same of `rport`.
    pub(super) received_param: Option<Span>,
    pub(super) rport_param: Option<Span>,
    pub(super) rport: Rport,
    pub(super) maddr: Option<Span>,
    pub(super) ttl: Option<u8>,
    pub(super) params: Span,
    /// Where the value starts, and where it ends once it was read without a defect.
    pub(super) raw: Span,
}

impl ViaSpans {
    #[inline]
    pub(super) fn of<'m>(&self, bytes: &'m [u8]) -> Via<'m> {
        Via {
            transport: self.transport.of(bytes),
            host: Host::new(self.host.of(bytes)),
            port: self.port,
            branch: self.branch.map(|span| span.of(bytes)),
            received: self.received.map(|span| span.of(bytes)),
            rport: self.rport,
            maddr: self.maddr.map(|span| span.of(bytes)),
            ttl: self.ttl,
            params: Params::new(self.params.of(bytes)),
            raw: self.raw.of(bytes),
        }
    }
}

/// Takes one value into `via`, which keeps what was read before a defect.
// RFC 3261 25.1: via-parm = sent-protocol LWS sent-by *( SEMI via-params )
#[inline]
pub(super) fn take(cursor: &mut Cursor<'_>, via: &mut ViaSpans) -> Result<(), Malformed> {
    let start = cursor.at;
    via.raw = Span::new(start, start);
    via.transport = sent_protocol(cursor)?;
    let (host, port) = sent_by(cursor)?;
    (via.host, via.port) = (host, port);
    params(cursor, via)?;
    via.raw = Span::new(start, cursor.at);
    Ok(())
}

#[inline]
fn sent_protocol(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    const SIP_2_0: Text = Text::new("sip/2.0/");
    const UDP: Text = Text::new("udp ");
    let start = cursor.at;
    if SIP_2_0.begins(scan::word(cursor.bytes, start))
        && UDP.begins(scan::word(cursor.bytes, start + 8))
        && start + 12 <= cursor.end
    {
        cursor.at = start + 12;
        cursor.lws();
        return Ok(Span::new(start + 8, start + 11));
    }
    // RFC 3261 25.1: sent-protocol = protocol-name SLASH protocol-version SLASH transport
    cursor.token()?;
    if !cursor.separator(b'/') {
        return Err(cursor.fail());
    }
    cursor.token()?;
    if !cursor.separator(b'/') {
        return Err(cursor.fail());
    }
    let transport = cursor.token()?;
    let before = cursor.at;
    cursor.lws();
    if cursor.at == before { Err(cursor.fail()) } else { Ok(transport) }
}

/// `host [ COLON port ]`.
#[inline]
fn sent_by(cursor: &mut Cursor<'_>) -> Result<(Span, Option<u16>), Malformed> {
    let host = if cursor.byte() == Some(b'[') {
        ipv6_reference(cursor)?
    } else {
        let host = cursor.run(HOST);
        if host.is_empty() {
            return Err(cursor.fail());
        }
        host
    };
    if !cursor.separator(b':') {
        return Ok((host, None));
    }
    match port(cursor) {
        // A response could not be sent to port 0.
        Some(port) if port > 0 => Ok((host, Some(port))),
        Some(_) | None => Err(cursor.fail()),
    }
}

/// `"[" IPv6address "]"`, brackets included.
pub(super) fn ipv6_reference(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    let start = cursor.at;
    let mut at = start + 1;
    while at < cursor.end && cursor.bytes[at] != b']' {
        at += 1;
    }
    let inner = Span::new(start + 1, at).of(cursor.bytes);
    let valid = core::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    if at >= cursor.end || !valid {
        return Err(cursor.fail());
    }
    cursor.at = at + 1;
    Ok(Span::new(start, cursor.at))
}

/// `1*DIGIT` up to 65,535.
#[inline]
pub(super) fn port(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.digits().and_then(|port| u16::try_from(port).ok())
}

#[inline]
fn params(cursor: &mut Cursor<'_>, via: &mut ViaSpans) -> Result<(), Malformed> {
    const BRANCH: Text = Text::new("branch");
    const RECEIVED: Text = Text::new("received");
    const RPORT: Text = Text::new("rport");
    const MADDR: Text = Text::new("maddr");
    const TTL: Text = Text::new("ttl");
    const BRANCH_IS: Text = Text::new("branch=");
    let mut params_start = None;
    loop {
        // What nearly every phone sends, without looking at names twice.
        let start = cursor.at;
        if via.branch.is_none()
            && let Some(branch) = cursor.plain_param(BRANCH_IS, 7)
        {
            params_start.get_or_insert(start);
            via.branch = Some(branch);
            continue;
        }
        if via.rport_param.is_none() && takes_plain_rport(cursor) {
            params_start.get_or_insert(start);
            via.rport = Rport::Asked;
            via.rport_param = Some(Span::new(start, cursor.at));
            continue;
        }
        let Some(param) = cursor.param()? else { break };
        params_start.get_or_insert(param.start);
        let word = scan::word(cursor.bytes, usize::from(param.name.start));
        let value = param.value;
        // Twice the same parameter: two readers could each believe another one.
        let twice = match param.name.end - param.name.start {
            6 if BRANCH.begins(word) => {
                if value.is_none() {
                    return Err(cursor.fail());
                }
                core::mem::replace(&mut via.branch, value).is_some()
            }
            5 if RPORT.begins(word) => {
                let bytes = cursor.bytes;
                via.rport = match value.map(|value| value.of(bytes)) {
                    None => Rport::Asked,
                    Some(digits) => match super::number::decimal(digits).map(u16::try_from) {
                        Some(Ok(port)) => Rport::Port(port),
                        Some(Err(_)) | None => return Err(cursor.fail()),
                    },
                };
                // With the white space before it: what is left of folds around it must not be an empty line.
                via.rport_param.replace(Span::new(start, cursor.at)).is_some()
            }
            8 if RECEIVED.begins(word) => {
                if value.is_none() {
                    return Err(cursor.fail());
                }
                via.received_param = Some(Span::new(start, cursor.at));
                core::mem::replace(&mut via.received, value).is_some()
            }
            5 if MADDR.begins(word) => {
                if value.is_none() {
                    return Err(cursor.fail());
                }
                core::mem::replace(&mut via.maddr, value).is_some()
            }
            3 if TTL.begins(word) => {
                let ttl = value.and_then(|value| super::number::decimal(value.of(cursor.bytes)));
                let Some(Ok(ttl)) = ttl.map(u8::try_from) else { return Err(cursor.fail()) };
                via.ttl.replace(ttl).is_some()
            }
            _ => false,
        };
        if twice {
            return Err(cursor.fail());
        }
    }
    via.params = Span::new(params_start.unwrap_or(cursor.at), cursor.at);
    Ok(())
}

/// Takes `;rport` where another parameter or the end of the line follows.
#[inline(always)]
fn takes_plain_rport(cursor: &mut Cursor<'_>) -> bool {
    const RPORT: Text = Text::new(";rport");
    let word = scan::word(cursor.bytes, cursor.at);
    let [.., behind, _] = word.to_le_bytes();
    let is_plain = RPORT.begins(word) && (behind == b';' || cursor.at + 6 == cursor.end);
    if is_plain {
        cursor.at += 6;
    }
    is_plain
}
