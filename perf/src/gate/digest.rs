//! Phones with passwords: a home that asks for them, and the answers, computed here from the RFC alone. The nonces that a phone
//! got are kept, so that it uses one again as phones do.

use super::phones::{Home, Template};
use md5::{Digest, Md5};
use shards::auth::{Algorithm, Builder, Realm};
use shards::io::{Class, Outcome, Verdict};
use std::fmt::Write as _;
use std::sync::Arc;

const REALM: &str = "sip.example.net";
const CNONCE: &str = "0a4f113b";
const NONCE_BYTES: usize = 24;

/// A home at which the phones from 0 on are subscribers, and the REGISTER with which they answer its challenges.
#[derive(Debug)]
pub struct Answering {
    /// The home.
    pub home: Home,
    message: Template,
    /// The nonce that each phone was given.
    nonces: Vec<[u8; NONCE_BYTES]>,
    nonce: usize,
    nc: usize,
    response: usize,
    /// The hash of method and URI.
    asked: String,
}

impl Answering {
    /// Each of the phones has a nonce and has registered with it, with a `CSeq` of 1.
    ///
    /// # Panics
    /// Where one is not challenged, or its answer is refused.
    #[must_use]
    pub fn new(phones: u32) -> Self {
        let mut answering = Answering::unregistered(phones, phones);
        let registered = Outcome { class: Class::RegisterNew, verdict: Verdict::Replied };
        for phone in 0..phones {
            let mut tries = 0..3;
            let mut answer = || {
                answering.challenge(phone);
                answering.write(phone, 1, "secret");
                // Where too many nonces of one second meet, one of the next is good.
                answering.hear() == registered || {
                    answering.home.now = answering.home.now.plus_secs(1);
                    false
                }
            };
            assert!(tries.any(|_| answer()), "phone {phone} is not let in");
        }
        answering
    }

    /// None of the phones has registered; the first of them are subscribers.
    ///
    /// # Panics
    /// Where the templates don't have what is written into them.
    #[must_use]
    pub fn unregistered(phones: u32, subscribers: u32) -> Self {
        let mut builder = Builder::new([7; 16], &[Algorithm::Md5], subscribers as usize);
        for phone in 0..subscribers {
            let name = format!("+{phone:08}@{REALM}");
            let verifier = Md5::digest(format!("+{phone:08}:{REALM}:secret"));
            builder.add(name.as_bytes(), |_| &verifier, 0).expect("each is added once");
        }
        let realm = Realm {
            name: REALM.into(),
            algorithms: vec![Algorithm::Md5],
            nonce_lifetime_secs: 86_400,
            // Four times as many as are used: hardly one is forgotten.
            nonces: 4 * phones as usize,
            subscribers: Arc::new(builder.finish()),
        };
        let message = Template::register(|text| {
            let answer = format!(
                "Authorization: Digest username=\"+00000000\", realm=\"{REALM}\", nonce=\"{}\", uri=\"sip:{REALM}\", \
                 response=\"{}\", algorithm=MD5, cnonce=\"{CNONCE}\", qop=auth, nc=cccccccc\r\nAllow:",
                "n".repeat(NONCE_BYTES),
                "r".repeat(32)
            );
            text.replace("Allow:", &answer)
        });
        let place = |what: &str| message.place(what).expect("the template has it");
        Answering {
            home: Home::with_realm(phones, 1, Some(realm)),
            nonces: vec![[0; NONCE_BYTES]; phones as usize],
            nonce: place(&"n".repeat(NONCE_BYTES)),
            nc: place("cccccccc"),
            response: place(&"r".repeat(32)),
            asked: hex(&Md5::digest(format!("REGISTER:sip:{REALM}"))),
            message,
        }
    }

    /// Gets a nonce for a phone.
    ///
    /// # Panics
    /// Where it is not challenged.
    pub fn challenge(&mut self, phone: u32) {
        let mut ask = Template::register(|text| text);
        ask.write(phone, 1);
        assert_eq!(self.home.hear(ask.bytes()), CHALLENGED);
        let reply = self.home.out.bytes(&self.home.out.sends()[0]);
        let reply = std::str::from_utf8(reply).expect("what is sent is text");
        let nonce = reply.split_once("nonce=\"").and_then(|(_, rest)| rest.split_once('"'));
        let nonce = nonce.expect("a challenge has a nonce").0;
        self.nonces[phone as usize].copy_from_slice(nonce.as_bytes());
    }

    /// Writes the answer of a phone with a password, its `CSeq` and its nonce's count being `number`.
    pub fn write(&mut self, phone: u32, number: u32, password: &str) {
        let nonce = self.nonces[phone as usize];
        let nonce = String::from_utf8_lossy(&nonce);
        let secret = hex(&Md5::digest(format!("+{phone:08}:{REALM}:{password}")));
        let Answering { message, asked, .. } = self;
        let answer = format!("{secret}:{nonce}:{number:08x}:{CNONCE}:auth:{asked}");
        message.write(phone, number);
        message.overwrite(self.nonce, nonce.as_bytes());
        message.overwrite(self.nc, format!("{number:08x}").as_bytes());
        message.overwrite(self.response, hex(&Md5::digest(answer)).as_bytes());
    }

    /// Sends what was written.
    #[inline]
    pub fn hear(&mut self) -> Outcome {
        self.home.hear(self.message.bytes())
    }
}

/// What comes of a REGISTER that does not show whose it is.
pub const CHALLENGED: Outcome =
    Outcome { class: Class::RegisterChallenged, verdict: Verdict::Refused(401) };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
