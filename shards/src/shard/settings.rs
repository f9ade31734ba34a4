//! What a shard is told at its start: its place among the cores, its keys, its policy and its limits.

use crate::auth::{self, Realm};
use crate::io::{CoreId, Homes};
use crate::location::Domains;
use crate::{proxy, registrar};
use alloc::sync::Arc;
use core::hash::Hasher;
use core::net::SocketAddr;
use siphasher::sip::SipHasher24;

/// Everything one shard needs to know. The shards of a node differ in `core` only.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The core this shard runs on.
    pub core: CoreId,
    /// The cores on which messages live.
    pub homes: Homes,
    /// The node's keys, equal on every core.
    pub keys: Keys,
    /// The domains we answer for.
    pub domains: Arc<Domains>,
    /// The address each listener is bound to, by [`ListenerId`](crate::io::ListenerId).
    pub listeners: Arc<[SocketAddr]>,
    /// The registrar's policy.
    pub policy: registrar::Policy,
    /// The proxy's policy.
    pub proxy: proxy::Policy,
    /// The realm in which whoever registers has to be known; `None` where everybody is believed.
    pub realm: Option<Realm>,
    /// What this shard may hold.
    pub limits: Limits,
}

/// The keys of a node. They come from one secret, so that cores (and nodes that share it) agree without talking.
#[derive(Clone)]
pub struct Keys {
    /// Finds the home core and the place in a table of an address-of-record or a Call-ID, and makes To tags.
    pub home: [u8; 16],
    /// Recognises transactions.
    pub transaction: [u8; 16],
    /// Seals the branches that we put into Via.
    pub branch: [u8; 16],
    /// Seals what we put into Record-Route: with the first, and what was sealed with any of them is ours.
    pub cookies: Arc<[[u8; 16]]>,
    /// Those of authentication.
    pub auth: auth::Keys,
}

impl Keys {
    /// Derives the keys from the node's secret.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> Self {
        Keys {
            home: subkey(secret, b"home"),
            transaction: subkey(secret, b"transaction"),
            branch: subkey(secret, b"branch"),
            cookies: Arc::new([subkey(secret, b"record-route")]),
            auth: auth::Keys {
                nonce: subkey(secret, b"nonce"),
                names: subkey(secret, b"names of subscribers"),
            },
        }
    }

    /// The same keys, which also know what was put into Record-Route under a secret that has been replaced, so that calls
    /// outlive it.
    #[must_use]
    pub fn with_previous(self, secret: &[u8; 32]) -> Self {
        let previous = subkey(secret, b"record-route");
        let cookies = self.cookies.iter().copied().chain([previous]).collect();
        Keys { cookies, ..self }
    }

    /// The same keys for one start of one node: what comes back for a branch that was made before it, or by another node with the
    /// same secret, belongs to nobody here. The number must be another one each time.
    #[must_use]
    pub fn for_start(self, number: u64) -> Self {
        let mut branch = [0; 16];
        for (half, out) in (0_u64..).zip(branch.chunks_exact_mut(8)) {
            let mut hasher = SipHasher24::new_with_key(&self.branch);
            hasher.write_u64(number);
            hasher.write_u64(half);
            out.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Keys { branch, ..self }
    }
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

/// A keyed PRF of the label, once under each half of the secret.
fn subkey(secret: &[u8; 32], label: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    for (half, out) in secret.chunks_exact(16).zip(key.chunks_exact_mut(8)) {
        let mut whole = [0; 16];
        whole.copy_from_slice(half);
        let mut hasher = SipHasher24::new_with_key(&whole);
        hasher.write(label);
        out.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    key
}

/// What one shard may hold. Memory for all of it is reserved when the shard is made.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest message that is read, in bytes; at most 65,535. What is larger is dropped and counted.
    pub message_bytes: usize,
    /// The most header lines in a message.
    pub header_lines: usize,
    /// The most contacts in a request.
    pub contacts: usize,
    /// The most bindings, and so the most addresses-of-record.
    pub bindings: usize,
    /// Bytes for the strings of addresses-of-record and bindings.
    pub arena_bytes: usize,
    /// Bytes for the responses of completed transactions.
    pub completed_bytes: usize,
    /// The most requests that are being passed on at the same time: those that wait for their final response, and those whose
    /// final response may still have to be sent again.
    pub transactions: u32,
    /// The most copies of them that are on their way to next hops.
    pub branches: u32,
    /// Bytes for the messages of both.
    pub transaction_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_from_each_other_and_with_the_secret() {
        let (one, two) = (Keys::derive(&[1; 32]), Keys::derive(&[2; 32]));
        assert_ne!(one.home, one.transaction);
        assert_ne!(one.home, two.home);
        let both = two.with_previous(&[1; 32]);
        assert_eq!(both.cookies[1], one.cookies[0]);
        let [first, second] = [1, 2].map(|number| Keys::derive(&[1; 32]).for_start(number));
        assert!(first.branch != second.branch && first.branch != one.branch);
        assert_eq!((first.home, first.cookies), (one.home, one.cookies));
    }
}
