//! A flow as data: what the parser makes and the player plays. It never interprets SIP.

use super::digest::Answer;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One flow of a file.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The RFC section and what it demands.
    pub title: String,
    /// Those who send and receive, with their addresses.
    pub actors: Vec<Actor>,
    /// Words of the `set` lines: a name and its values.
    pub settings: Vec<(usize, Vec<String>)>,
    /// What happens, in order, with the line of the file.
    pub steps: Vec<(usize, Step)>,
}

/// Someone with a name and an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name, also its tag.
    pub name: String,
    /// Where its packets come from.
    pub addr: SocketAddr,
    /// Its address-of-record, `user@domain`.
    pub aor: String,
    /// The listener it talks to; `None`: the first one of its address family.
    pub listener: Option<SocketAddr>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// `alice > …`
    Send(String, Body),
    /// `alice < 200` or `bob < INVITE` with its checks.
    Expect(String, Wanted, Vec<Check>),
    /// `alice < same`, `alice < same 3 times`
    ExpectSame(String, usize),
    /// `alice < 100?`: a response with this status, if one is there.
    Perhaps(String, u16),
    /// `bob registers as alice`: a REGISTER for this user, and its 200.
    Registers(String, String, Body),
    /// `silence`
    Silence,
    /// `wait 30s`
    Wait(Duration),
    /// `clock -600s`: how far the wall clock is set, in seconds.
    Clock(i64),
    /// `restart`
    Restart(Restart),
    /// `alice passes bob`: what alice sent last is bob's.
    Passes(String, String),
    /// `alice apart bob`: alice's Call-ID lives on another core than bob's address-of-record.
    Apart(String, String),
    /// `lose letters 1 after 2`: that many of the next letters between cores never arrive, and how many still do before.
    Lose(usize, usize),
    /// `hold letters 1`: that many of the next letters between cores arrive with `release letters`.
    Hold(usize),
    /// `release letters`
    Release,
    /// `resolves sip.other.test 192.0.2.130`: the answer to a question that was asked.
    Resolves(String, Vec<IpAddr>),
    /// `asks sip.other.test`: the questions that wait for an answer.
    Asks(Vec<String>),
    /// `unreachable bob`: an ICMP error about the last datagram that went there, or about the bytes below.
    Unreachable(String, Option<Vec<u8>>),
    /// `verdict dropped crlf`
    Verdict(String),
    /// `class options`
    Class(String),
    /// `count NAME N`
    Count(String, u64),
    /// `gauge NAME N`
    Gauge(String, u64),
}

/// What comes with a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Nothing else.
    Plain,
    /// Another number of cores.
    Elsewhere,
    /// A new secret, and the one before is accepted where cookies are.
    Renewed,
    /// A new secret, and the one before is forgotten.
    Strange,
}

/// What a message that is expected must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A response with this status code.
    Status(u16),
    /// A request with this method.
    Method(String),
}

/// What an actor sends.
#[derive(Clone, Debug)]
pub enum Body {
    /// A start line, header lines, lines of the body: defaults are filled in.
    Shorthand {
        /// `METHOD`, `METHOD uri`, `METHOD uri version`, a status code, `200 to INVITE` or a status line.
        start: String,
        /// Headers given and headers left out.
        lines: Vec<Line>,
        /// The body.
        body: Vec<u8>,
    },
    /// These bytes.
    Raw(Vec<u8>),
    /// The bytes this actor sent last.
    Again,
}

/// A line below a message that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `Name: value`
    Header(String, Vec<u8>),
    /// `no Name`
    Without(String),
    /// `digest user password ...`
    Digest(Answer),
}

/// A line below a message that is expected.
#[derive(Clone, Debug)]
pub enum Check {
    /// `Name: value`
    Equals(String, String),
    /// `Name ~ regex`
    Matches(String, String),
    /// `has Name`
    Has(String),
    /// `no Name`
    HasNot(String),
    /// `reason text`
    Reason(String),
    /// `uri sip:bob@192.0.2.2`
    Uri(String),
    /// `contact …`
    Contact(Contact),
    /// `no contacts`
    NoContacts,
    /// `keep name Header regex`: what the first group of the pattern finds is `$name` from here on.
    Keep(String, String, String),
    /// `| text`: the body.
    Body(Vec<u8>),
    /// `unmirrored`
    Unmirrored,
    /// `changed`
    Changed,
}

/// A contact that a response must list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The URI, byte for byte.
    pub uri: String,
    /// Its parameters without `expires`, sorted.
    pub params: Vec<String>,
    /// The least and the most seconds it may have left, where the flow names them.
    pub expires: Option<(u32, u32)>,
}
