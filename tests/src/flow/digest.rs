//! The answer to a digest challenge, computed from RFC 7616 alone: it shares no line with what is under test, and judges nothing.

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use std::collections::BTreeMap;

/// What a `digest` line says: whose password, and what is to be other than right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Parameters that replace what would be written; `none` leaves one out. `hash-*` replaces what is hashed only.
    pub replaced: BTreeMap<String, String>,
}

/// What an actor knows of the challenges that it got.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    /// The values of the last challenge's header fields.
    pub values: Vec<String>,
    /// The header field that answers it.
    answered_in: &'static str,
    /// How often each nonce was answered.
    counts: BTreeMap<String, u32>,
}

impl Challenges {
    /// A challenge came: the values of its header fields, and the header field that answers them.
    pub fn get(&mut self, values: Vec<&str>, answered_in: &'static str) {
        self.values = values.into_iter().map(str::to_owned).collect();
        self.answered_in = answered_in;
    }

    /// The header field that answers the last challenge.
    #[must_use]
    pub fn answered_in(&self) -> &'static str {
        if self.answered_in.is_empty() { "Authorization" } else { self.answered_in }
    }

    /// The credentials that answer the last challenge: the first of its values, or the one of the algorithm that is named.
    ///
    /// # Errors
    /// Where there is nothing to answer.
    pub fn answer(&mut self, method: &str, uri: &str, answer: &Answer) -> Result<String, String> {
        let replaced = |name: &str| answer.replaced.get(name).map(String::as_str);
        let wanted = replaced("algorithm");
        let challenge = self
            .values
            .iter()
            .find(|value| {
                let offered = param(value, "algorithm").unwrap_or("MD5");
                wanted.is_none_or(|wanted| offered == wanted.trim_end_matches("-sess"))
            })
            .or(self.values.first().filter(|_| answer.replaced.contains_key("force")))
            .ok_or("there is no challenge to answer")?;
        let offered = |name: &str| param(challenge, name).unwrap_or_default().to_owned();
        let or = |name: &str, usual: String| replaced(name).map_or(usual, str::to_owned);
        let algorithm = or("algorithm", offered("algorithm"));
        let (realm, nonce) = (or("realm", offered("realm")), or("nonce", offered("nonce")));
        let count = self.counts.entry(nonce.clone()).or_insert(0);
        *count += 1;
        let (nc, cnonce) = (or("nc", format!("{count:08x}")), or("cnonce", "0a4f113b".to_owned()));
        let (uri, qop) = (or("uri", uri.to_owned()), or("qop", "auth".to_owned()));
        let hash = |text: &str| hash(algorithm.trim_end_matches("-sess"), text.as_bytes());
        let mut secret = hash(&format!(
            "{}:{}:{}",
            or("hash-username", answer.username.clone()),
            realm,
            answer.password
        ));
        if algorithm.ends_with("-sess") {
            secret = hash(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let asked = hash(&format!("{method}:{uri}"));
        let response = if qop == "none" {
            hash(&format!("{secret}:{nonce}:{asked}"))
        } else {
            hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:{qop}:{asked}"))
        };
        let username = answer.username.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = [
            ("username", or("username", username)),
            ("realm", realm),
            ("nonce", nonce),
            ("uri", uri),
            ("response", or("response", response)),
            ("cnonce", cnonce),
        ];
        let tokens = [("algorithm", algorithm.clone()), ("qop", qop.clone()), ("nc", nc)];
        let of_qop = |name: &str| matches!(name, "qop" | "nc" | "cnonce");
        let is_written =
            |name: &str, value: &str| value != "none" && (qop != "none" || !of_qop(name));
        let quoted = quoted.iter().filter(|(name, value)| is_written(name, value));
        let tokens = tokens.iter().filter(|(name, value)| is_written(name, value));
        let params: Vec<String> = quoted
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .chain(tokens.map(|(name, value)| format!("{name}={value}")))
            .collect();
        Ok(format!("Digest {}", params.join(", ")))
    }
}

/// A hash of user, realm and password for each algorithm, as a subscriber is kept.
#[must_use]
pub fn verifiers(username: &str, realm: &str, password: &str) -> [Vec<u8>; 3] {
    let text = format!("{username}:{realm}:{password}");
    [
        Md5::digest(&text).to_vec(),
        Sha256::digest(&text).to_vec(),
        Sha512_256::digest(&text).to_vec(),
    ]
}

/// The hash of a text in hexadecimal digits; MD5 where the algorithm is none of RFC 8760's.
#[must_use]
pub fn hash(algorithm: &str, text: &[u8]) -> String {
    let bytes = match algorithm {
        "SHA-256" => Sha256::digest(text).to_vec(),
        "SHA-512-256" => Sha512_256::digest(text).to_vec(),
        _ => Md5::digest(text).to_vec(),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parameter of a challenge, without its quotes.
fn param<'c>(challenge: &'c str, name: &str) -> Option<&'c str> {
    let (_, list) = challenge.split_once(' ')?;
    list.split(',').find_map(|param| {
        let (key, value) = param.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2617_3_5_is_answered() {
        let mut challenges = Challenges {
            values: vec![
                "Digest realm=\"testrealm@host.com\", qop=\"auth\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\""
                    .to_owned(),
            ],
            ..Challenges::default()
        };
        let answer = Answer {
            username: "Mufasa".to_owned(),
            password: "Circle Of Life".to_owned(),
            replaced: BTreeMap::from([("algorithm".to_owned(), "MD5".to_owned())]),
        };
        let first = challenges.answer("GET", "/dir/index.html", &answer).unwrap();
        assert!(first.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{first}");
        assert!(first.ends_with("algorithm=MD5, qop=auth, nc=00000001"), "{first}");
        let second = challenges.answer("GET", "/dir/index.html", &answer).unwrap();
        assert!(second.ends_with("nc=00000002"), "{second}");
        assert!(Challenges::default().answer("GET", "/", &answer).is_err());
    }
}
