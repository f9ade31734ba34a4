//! The subscribers of a world: who there is and with which password, as the operator's file has them, and as a shard gets them. It
//! knows no request.

use super::credentials::REALM;
use super::plan::Plan;
use super::random::Random;
use crate::flow::digest::verifiers;
use shards::auth::{Algorithm, Builder, Subscribers};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The subscriber who is after the others' calls.
pub const MALLORY: &str = "mallory";

/// One version of the file.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// By user, which password he has: the first, the second, ...; `None` for one who was taken out.
    users: BTreeMap<String, (u32, bool)>,
    /// How many versions there were before.
    version: u64,
}

impl Directory {
    /// A file with these users and with Mallory, each with the first password.
    #[must_use]
    pub fn of<'u>(users: impl Iterator<Item = &'u str>) -> Self {
        let users = users.chain([MALLORY]).map(|user| (user.to_owned(), (0, true)));
        Directory { users: users.collect(), version: 0 }
    }

    /// A user's password of a number.
    #[must_use]
    pub fn password(user: &str, number: u32) -> String {
        format!("secret {number} of {user}")
    }

    /// The password of a user name as a phone sends it for an address-of-record in a domain; `None` where there is no such line. A
    /// phone may call itself by its user or by its whole address, and each has a line.
    #[must_use]
    pub fn password_of(&self, username: &[u8], domain: &[u8]) -> Option<String> {
        let username = std::str::from_utf8(username).ok()?;
        let user = match username.split_once('@') {
            Some((user, host)) if host == Plan::DOMAIN => user,
            Some(_) => return None,
            None => username,
        };
        let &(number, is_in) = self.users.get(user)?;
        (is_in && domain == Plan::DOMAIN.as_bytes()).then(|| Self::password(user, number))
    }

    /// What a user would have to know, whether he is in the file or not.
    #[must_use]
    pub fn password_for(&self, user: &str) -> String {
        Self::password(user, self.users.get(user).map_or(0, |&(number, _)| number))
    }

    /// The next version: some passwords are others, some users are gone, some are back. Says what it has changed.
    pub fn revise(&mut self, random: &mut Random) -> Vec<String> {
        self.version += 1;
        let names: Vec<String> = self.users.keys().cloned().collect();
        let mut changed = Vec::new();
        for _ in 0..random.within(1, 3) {
            let name = random.pick(&names);
            let (number, is_in) = &mut self.users.get_mut(&name).expect("it is one of them");
            if random.chance(600) {
                *number += 1;
            } else {
                *is_in = !*is_in;
            }
            changed.push(name);
        }
        changed
    }

    /// The next version: everybody is in it.
    pub fn restore(&mut self) {
        self.version += 1;
        self.users.values_mut().for_each(|(_, is_in)| *is_in = true);
    }

    /// The table that shards get.
    #[must_use]
    pub fn subscribers(&self, algorithms: &[Algorithm]) -> Arc<Subscribers> {
        // Each version hides its names by another key.
        let mut key = *b"names of users..";
        key[..8].copy_from_slice(&self.version.to_le_bytes());
        let mut builder = Builder::new(key, algorithms, 2 * self.users.len());
        for (user, &(number, is_in)) in self.users.iter().filter(|(_, (_, is_in))| *is_in) {
            debug_assert!(is_in);
            let password = Self::password(user, number);
            for username in [user.clone(), format!("{user}@{}", Plan::DOMAIN)] {
                let verifiers = verifiers(&username, REALM, &password);
                let name = format!("{username}@{}", Plan::DOMAIN);
                let added = builder.add(name.as_bytes(), |one| &verifiers[one as usize], 0);
                assert_eq!(added, Ok(()), "{name}");
            }
        }
        Arc::new(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_file_has_one_password_under_two_names() {
        let mut directory = Directory::of(["alice", "bob"].into_iter());
        let password = |directory: &Directory, name: &str, domain: &str| {
            directory.password_of(name.as_bytes(), domain.as_bytes())
        };
        let first = Some("secret 0 of alice".to_owned());
        assert_eq!(password(&directory, "alice", "sip.test"), first);
        assert_eq!(password(&directory, "alice@sip.test", "sip.test"), first);
        for (name, domain) in [
            ("alice", "other.test"),
            ("alice@other.test", "sip.test"),
            ("carol", "sip.test"),
            ("", "sip.test"),
        ] {
            assert_eq!(password(&directory, name, domain), None, "{name} in {domain}");
        }
        assert_eq!(directory.subscribers(&[Algorithm::Md5]).len(), 6);
        directory.users.get_mut("bob").unwrap().1 = false;
        assert_eq!(directory.subscribers(&[Algorithm::Md5]).len(), 4);
        assert_eq!(password(&directory, "bob", "sip.test"), None);
        directory.restore();
        assert_eq!(directory.subscribers(&Algorithm::ALL).len(), 6);
        let changed = directory.revise(&mut Random::new(1));
        assert!((1..=3).contains(&changed.len()));
    }
}
