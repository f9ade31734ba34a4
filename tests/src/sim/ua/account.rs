//! What a user agent does about challenges: whose name and password it has, which challenge it answers and how, and when it takes its
//! password for wrong. It sends nothing itself.

use super::response::Response;
use crate::sim::credentials::{Authorization, Credentials, REALM};
use crate::sim::plan::Plan;
use crate::sim::random::Random;

/// A user agent's name, password and memory of challenges.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// What it calls itself.
    username: String,
    password: String,
    /// Whether it takes the last challenge of several instead of the first.
    takes_last: bool,
    is_session: bool,
    /// Whether it uses a nonce again, or asks for one each time.
    reuses: bool,
    /// The nonce that it would use, and the algorithm that goes with it.
    challenge: Option<(Vec<u8>, Vec<u8>)>,
    /// How often it has used it.
    count: u32,
    /// How its last request showed who it is.
    last: Last,
    /// Challenges in a row.
    tries: u32,
}

/// How a request showed who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    NotAtAll,
    Rightly,
    /// On a whim it was wrong.
    Wrongly,
}

impl Account {
    pub(super) fn random(user: &str, password: String, random: &mut Random) -> Self {
        let username = match random.below(4) {
            0 => format!("{user}@{}", Plan::DOMAIN),
            _ => user.to_owned(),
        };
        Account {
            username,
            password,
            takes_last: random.chance(300),
            is_session: random.chance(150),
            reuses: random.chance(700),
            challenge: None,
            count: 0,
            last: Last::NotAtAll,
            tries: 0,
        }
    }

    /// It is told another password.
    pub(super) fn is_told(&mut self, password: String) {
        self.password = password;
        self.tries = 0;
    }

    /// What its next request for a URI says of it; `blunders` where it may be wrong now and then.
    pub(super) fn answer(
        &mut self,
        uri: &[u8],
        blunders: bool,
        random: &mut Random,
    ) -> Authorization {
        self.last = Last::NotAtAll;
        let Some((nonce, algorithm)) = self.challenge.clone() else {
            return Authorization::Nothing;
        };
        self.last = Last::Rightly;
        // Some skip counts, which is allowed.
        self.count +=
            if random.chance(50) { u32::try_from(random.within(2, 40)).unwrap() } else { 1 };
        let is_md5 = algorithm == b"MD5";
        let name = if self.is_session { [&algorithm[..], b"-sess"].concat() } else { algorithm };
        let is_named = self.is_session || !is_md5 || random.chance(700);
        let mut credentials = Credentials {
            username: self.username.clone().into_bytes(),
            realm: REALM.as_bytes().to_vec(),
            nonce,
            uri: uri.to_vec(),
            response: Vec::new(),
            algorithm: is_named.then_some(name),
            qop: Some(b"auth".to_vec()),
            nc: Some(format!("{:08x}", self.count).into_bytes()),
            cnonce: Some(random.hex(8).into_bytes()),
        };
        let mut password = self.password.clone();
        if blunders && random.chance(60) {
            self.last = Last::Wrongly;
            match random.below(7) {
                0 => password = "mistyped".to_owned(),
                1 => credentials.username = format!("nobody{}", random.hex(2)).into_bytes(),
                2 => credentials.username = format!("user{}", random.below(20)).into_bytes(),
                3 => credentials.qop = None,
                4 => credentials.nc = Some(b"1".to_vec()),
                5 => credentials.uri = b"sip:other.test".to_vec(),
                // It has forgotten that it counts.
                _ => credentials.nc = Some(b"00000001".to_vec()),
            }
        }
        credentials.response = credentials.right_response(&password);
        Authorization::Given(Box::new(credentials))
    }

    /// Takes a challenge; whether it is to be answered now.
    pub(super) fn is_challenged(&mut self, response: &Response) -> bool {
        let challenges: Vec<_> = response.challenges().collect();
        let taken = if self.takes_last { challenges.last() } else { challenges.first() };
        self.challenge = taken.map(|&(nonce, algorithm)| (nonce.to_vec(), algorithm.to_vec()));
        self.count = 0;
        self.tries += 1;
        let is_stale = response.others.iter().any(|line| line.ends_with(b", stale=true"));
        // RFC 7616 3.3: unless it is stale, the same again would fail again.
        let is_hopeless = self.last == Last::Rightly && !is_stale || self.tries > 4;
        if is_hopeless {
            (self.challenge, self.tries) = (None, 0);
        }
        !is_hopeless && taken.is_some()
    }

    /// Its credentials were taken.
    pub(super) fn is_known(&mut self) {
        self.tries = 0;
        if !self.reuses {
            self.challenge = None;
        }
    }
}
