//! The answer to a digest challenge as a user agent gives it: what it says, the ways to write it, and what its response has to be by
//! RFC 7616 alone. It shares no line with the server's, but reads with the server's parser what a message says.

use super::message::Style;
use super::random::Random;
use crate::flow::digest::hash;
use shards::wire;

/// The realm of all worlds that have one.
pub const REALM: &str = "sip.test";

/// What a REGISTER says of its sender in our realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing.
    #[default]
    Nothing,
    /// Something that breaks the grammar, or two things at once.
    Broken,
    /// Credentials.
    Given(Box<Credentials>),
}

/// Digest credentials, without quotes and with the escapes that stand between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: Vec<u8>,
    /// The realm.
    pub realm: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// The URI that they are about.
    pub uri: Vec<u8>,
    /// The response.
    pub response: Vec<u8>,
    /// The algorithm.
    pub algorithm: Option<Vec<u8>>,
    /// The quality of protection.
    pub qop: Option<Vec<u8>>,
    /// The nonce's count.
    pub nc: Option<Vec<u8>>,
    /// The client's nonce.
    pub cnonce: Option<Vec<u8>>,
}

impl Credentials {
    /// What the parser has read.
    #[must_use]
    pub fn read(read: &wire::Credentials<'_>) -> Self {
        let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
        Credentials {
            username: read.username.to_vec(),
            realm: read.realm.to_vec(),
            nonce: read.nonce.to_vec(),
            uri: read.uri.to_vec(),
            response: read.response.to_vec(),
            algorithm: owned(read.algorithm),
            qop: owned(read.qop),
            nc: owned(read.nc),
            cnonce: owned(read.cnonce),
        }
    }

    /// The user name as it is meant.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut bytes = self.username.iter().copied();
        let mut name = Vec::new();
        while let Some(byte) = bytes.next() {
            // A backslash at the end stands for itself.
            name.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
        }
        name
    }

    /// The response of whoever has a password, RFC 7616 3.4.1; every text as it stands here.
    #[must_use]
    pub fn right_response(&self, password: &str) -> Vec<u8> {
        let algorithm = self
            .algorithm
            .as_ref()
            .map_or("MD5".to_owned(), |name| String::from_utf8_lossy(name).to_ascii_uppercase());
        let is_session = algorithm.ends_with("-SESS");
        let algorithm = algorithm.trim_end_matches("-SESS");
        let hash = |parts: &[&[u8]]| hash(algorithm, &parts.join(&b':')).into_bytes();
        let of = |value: &Option<Vec<u8>>| value.clone().unwrap_or_default();
        let (nc, cnonce, qop) = (of(&self.nc), of(&self.cnonce), of(&self.qop));
        let mut secret = hash(&[&self.name(), REALM.as_bytes(), password.as_bytes()]);
        if is_session {
            secret = hash(&[&secret, &self.nonce, &cnonce]);
        }
        let asked = hash(&[b"REGISTER", &self.uri]);
        hash(&[&secret, &self.nonce, &nc, &cnonce, &qop, &asked])
    }

    /// Writes them as the value of an Authorization header.
    #[must_use]
    pub fn write(&self, style: &Style, random: &mut Random) -> Vec<u8> {
        let mut params = Vec::new();
        for (name, value) in [
            ("username", Some(&self.username)),
            ("realm", Some(&self.realm)),
            ("nonce", Some(&self.nonce)),
            ("uri", Some(&self.uri)),
            ("response", Some(&self.response)),
            ("cnonce", self.cnonce.as_ref()),
        ] {
            if let Some(value) = value {
                params.push([name.as_bytes(), b"=\"", value, b"\""].concat());
            }
        }
        for (name, value) in [("algorithm", &self.algorithm), ("qop", &self.qop), ("nc", &self.nc)]
        {
            if let Some(value) = value {
                // Some phones quote what is a token.
                let quote: &[u8] = if style.talkative && random.chance(300) { b"\"" } else { b"" };
                params.push([name.as_bytes(), b"=", quote, value, quote].concat());
            }
        }
        if style.talkative {
            params.push(b"opaque=\"\"".to_vec());
        }
        if style.reorders {
            for place in (1..params.len()).rev() {
                params.swap(place, random.index(place + 1));
            }
        }
        let comma: &[u8] =
            if style.folds { random.pick(&[&b","[..], b" ,\r\n ", b",\t"]) } else { b", " };
        [b"Digest ", &params.join(comma)[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_of_a_phone_is_the_one_of_the_book() {
        // Worked out with md5sum and sha256sum from RFC 7616 3.4.
        let mut credentials = Credentials {
            username: b"al\\ice".to_vec(),
            nonce: b"n".to_vec(),
            uri: b"sip:sip.test".to_vec(),
            nc: Some(b"00000001".to_vec()),
            cnonce: Some(b"c".to_vec()),
            qop: Some(b"auth".to_vec()),
            ..Credentials::default()
        };
        assert_eq!(credentials.name(), b"alice");
        assert_eq!(credentials.right_response("wonderland"), MD5.as_bytes());
        credentials.algorithm = Some(b"sha-256-Sess".to_vec());
        assert_eq!(credentials.right_response("wonderland"), SHA_256_SESS.as_bytes());
    }

    const MD5: &str = "fbd5306d47150e0c30775faef58a2c23";
    const SHA_256_SESS: &str = "2699a34cfa4e1ce4472615decebd3d9ddd244a65824f1bcb2afc8fcaecd78321";
}
