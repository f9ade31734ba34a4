//! Credentials forged on the way into a shard, so that it believes what it should not: the shard itself is sound, and what it is
//! told is signed with the right password. It knows the first password of every user, and no other.

use super::Sabotage;
use crate::sim::credentials::{Authorization, Credentials};
use crate::sim::directory::Directory;
use crate::sim::message::{Reading, Register, Style};
use crate::sim::random::Random;
use crate::sim::ua::response::Response;
use shards::io::{Class, Outcome, Verdict};
use shards::wire::Index;
use std::collections::{BTreeMap, BTreeSet};

/// What it takes to forge credentials.
#[derive(Debug)]
pub(super) struct Forger {
    sabotage: Sabotage,
    index: Index,
    /// Nonces and counts that have passed.
    passed: BTreeSet<(Vec<u8>, Option<Vec<u8>>)>,
    /// By address-of-record, the last nonce that it was challenged with.
    nonces: BTreeMap<String, Vec<u8>>,
    forged: u32,
}

impl Forger {
    pub(super) fn new(sabotage: Sabotage) -> Self {
        Forger {
            sabotage,
            index: Index::new(128),
            passed: BTreeSet::new(),
            nonces: BTreeMap::new(),
            forged: 0,
        }
    }

    /// A REGISTER with other credentials, where they are to be others.
    pub(super) fn forged(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.is_concerned() {
            return None;
        }
        let mut register = self.read(bytes)?;
        let Authorization::Given(given) = &register.authorization else { return None };
        let mut given = given.clone();
        let password = password(&given);
        let is_right = given.response == given.right_response(&password);
        let is_replay = self.passed.contains(&key(&given));
        let owner = user(&register.to);
        let sabotage = self.sabotage;
        if is_replay != (sabotage == Sabotage::ForgetsUses)
            || !is_right && sabotage != Sabotage::AcceptsAnyPassword
        {
            return None;
        }
        if sabotage == Sabotage::ForgetsUses {
            self.count_anew(&mut given);
        } else if sabotage == Sabotage::AcceptsAnyNonce {
            given.nonce.clone_from(self.nonces.get(&owner)?);
            self.count_anew(&mut given);
        } else if sabotage == Sabotage::ActsForAnybody {
            given.username = owner.into_bytes();
        } else if sabotage == Sabotage::TakesNoncesOnce {
            if given.nc.as_deref() == Some(b"00000001") {
                return None;
            }
            given.nonce = b"used".to_vec();
        }
        given.response = given.right_response(&self::password(&given));
        register.authorization = Authorization::Given(given);
        Some(register.write(&Style::default(), &mut Random::new(0)))
    }

    /// Sees what a REGISTER has come to.
    pub(super) fn see(&mut self, heard: &[u8], outcome: Outcome, sent: &[u8]) {
        if !self.is_concerned() {
            return;
        }
        let Some(register) = self.read(heard) else { return };
        if outcome.class == Class::RegisterChallenged {
            let Some(response) = Response::read(sent) else { return };
            if let Some((nonce, _)) = response.challenges().next() {
                self.nonces.insert(user(&register.to), nonce.to_vec());
            }
        } else if outcome.verdict == Verdict::Replied
            && let Authorization::Given(given) = &register.authorization
        {
            self.passed.insert(key(given));
        }
    }

    fn is_concerned(&self) -> bool {
        [
            Sabotage::ForgetsUses,
            Sabotage::AcceptsAnyNonce,
            Sabotage::AcceptsAnyPassword,
            Sabotage::ActsForAnybody,
            Sabotage::TakesNoncesOnce,
        ]
        .contains(&self.sabotage)
    }

    fn read(&mut self, bytes: &[u8]) -> Option<Register> {
        match Reading::of(bytes, &mut self.index) {
            Reading::Register(register, _) => Some(*register),
            Reading::Other { .. } | Reading::Nothing => None,
        }
    }

    fn count_anew(&mut self, given: &mut Credentials) {
        self.forged += 1;
        given.nc = Some(format!("{:08x}", 1_000_000 + self.forged).into_bytes());
    }
}

fn key(given: &Credentials) -> (Vec<u8>, Option<Vec<u8>>) {
    (given.nonce.clone(), given.nc.clone())
}

fn password(given: &Credentials) -> String {
    let name = given.name();
    let user = String::from_utf8_lossy(&name);
    Directory::password(user.split('@').next().unwrap_or_default(), 0)
}

/// The user in a To, as the user agents of the world write it.
fn user(to: &[u8]) -> String {
    let to = String::from_utf8_lossy(to).replace("%75", "u");
    let user = to.split(':').nth(1).unwrap_or_default();
    user.split('@').next().unwrap_or_default().to_owned()
}
