//! A flow as data: what the parser makes and the player plays. It never interprets SIP.

use super::digest::Answer;
use std::net::SocketAddr;
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
    /// The name, which is also the user part of its address-of-record.
    pub name: String,
    /// Where its packets come from.
    pub addr: SocketAddr,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// `alice > …`
    Send(String, Body),
    /// `alice < 200` with its checks.
    Expect(String, u16, Vec<Check>),
    /// `alice < same`
    ExpectSame(String),
    /// `silence`
    Silence,
    /// `wait 30s`
    Wait(Duration),
    /// `clock -600s`: how far the wall clock is set, in seconds.
    Clock(i64),
    /// `restart`
    Restart,
    /// `alice passes bob`: what alice sent last is bob's.
    Passes(String, String),
    /// `verdict dropped crlf`
    Verdict(String),
    /// `class options`
    Class(String),
    /// `count NAME N`
    Count(String, u64),
    /// `gauge NAME N`
    Gauge(String, u64),
}

/// What an actor sends.
#[derive(Clone, Debug)]
pub enum Body {
    /// A start line, header lines, lines of the body: defaults are filled in.
    Shorthand {
        /// `METHOD`, `METHOD uri`, `METHOD uri version` or a status line.
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

/// A line below a response that is expected.
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
    /// `contact …`
    Contact(Contact),
    /// `no contacts`
    NoContacts,
    /// `unmirrored`
    Unmirrored,
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
