//! The further addresses of a next hop that is known by its name, RFC 3263 4.3: where the first can't be reached, has no time or does
//! not answer, the request goes to the next. It owns how they are kept with a branch, and never asks for any.
//!
//! ```text
//! breadth   u8    the branch's share of Max-Breadth, 0 for none
//! binding   u8    whether a record follows behind the addresses
//! count     u8    of addresses
//! port      u16
//! address   16 bytes each, those of IPv4 as ::ffff:a.b.c.d
//! record          the binding that the request goes to, as in a target set
//! ```

use super::contexts::Cancel;
use super::decide::Destination;
use super::forward::{Aim, new_branch};
use super::route::Hop;
use super::{Around, Proxy};
use crate::io::Peer;
use crate::location::Record;
use crate::store::Ref;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The most addresses that are tried for a branch after its first.
const FURTHER_MAX: usize = 3;
const HEADER_BYTES: usize = 5;

/// What a branch to one of the further addresses is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Further<'a> {
    breadth: u8,
    port: u16,
    addresses: &'a [[u8; 16]],
    binding: Option<&'a [u8]>,
}

impl<'a> Further<'a> {
    fn append(
        to: &mut Vec<u8>,
        breadth: u8,
        port: u16,
        addresses: impl Iterator<Item = IpAddr>,
        binding: Option<&[u8]>,
    ) {
        let start = to.len();
        to.extend_from_slice(&[breadth, u8::from(binding.is_some()), 0]);
        to.extend_from_slice(&port.to_le_bytes());
        for ip in addresses {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            to.extend_from_slice(&ip.octets());
            to[start + 2] += 1;
        }
        to.extend_from_slice(binding.unwrap_or_default());
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[breadth, has_binding, count, low, high], rest) =
            bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (addresses, binding) = rest.split_at_checked(16 * usize::from(count))?;
        Some(Further {
            breadth,
            port: u16::from_le_bytes([low, high]),
            addresses: addresses.as_chunks().0,
            binding: (has_binding != 0).then_some(binding),
        })
    }
}

impl Proxy {
    /// Keeps the addresses behind the first that a branch is sent to. The binding that it goes to, if any, is in the tools. Where
    /// there is no room for them there are none.
    pub(super) fn keep_further(
        &mut self,
        id: u32,
        first: SocketAddr,
        addresses: &[IpAddr],
        breadth: u8,
        has_binding: bool,
    ) {
        let mut further = addresses
            .iter()
            .map(IpAddr::to_canonical)
            .skip_while(|&ip| ip != first.ip())
            .skip(1)
            .take(FURTHER_MAX)
            .peekable();
        if further.peek().is_none() {
            return;
        }
        let super::Tools { set, texts, .. } = &mut self.tools;
        let binding = has_binding.then_some(&set[..]);
        texts.target.clear();
        Further::append(&mut texts.target, breadth, first.port(), further, binding);
        let kept = self.contexts.keep(&self.tools.texts.target).ok();
        match self.contexts.branch_mut(id) {
            Some(branch) => branch.further = kept,
            None => self.contexts.drop(kept),
        }
    }

    /// What is left to try for a branch that has failed, unless nobody wants it any more.
    pub(super) fn take_further(&mut self, id: u32) -> Option<Ref> {
        let branch = self.contexts.branch_mut(id)?;
        if branch.cancel == Cancel::No { branch.further.take() } else { None }
    }

    /// Sends the request of a context to the next address of a next hop whose branch has failed and is over; false where there is
    /// none to which it can be sent. It is a new transaction with a branch of its own, RFC 3263 4.3.
    pub(super) fn try_further(
        &mut self,
        context_id: u32,
        further: Option<Ref>,
        around: &mut Around<'_>,
    ) -> bool {
        let Some(kept) = further else { return false };
        let is_wanted =
            |context: &super::contexts::Context| context.server.is_open() && !context.is_cancelled;
        let mut bytes = core::mem::take(&mut self.tools.set);
        bytes.clear();
        bytes.extend_from_slice(self.contexts.bytes(kept));
        self.contexts.drop(Some(kept));
        let is_sent = self.contexts.context(context_id).is_some_and(is_wanted)
            && Further::read(&bytes)
                .is_some_and(|further| self.send_further(context_id, further, around));
        self.tools.set = bytes;
        is_sent
    }

    fn send_further(
        &mut self,
        context_id: u32,
        further: Further<'_>,
        around: &mut Around<'_>,
    ) -> bool {
        let ips = || further.addresses.iter().map(|&ip| Ipv6Addr::from(ip).to_canonical());
        let each = Some(u16::from(further.breadth)).filter(|&share| share > 0);
        let sent = self.with_request(context_id, |proxy, onward| {
            ips().enumerate().any(|(number, ip)| {
                let Some((to, from)) = proxy.choose(&[ip], further.port, onward.local) else {
                    return false;
                };
                let aim = match further.binding {
                    Some(record) => Aim::Binding(Record::decode(record)),
                    None => Aim::Destination(Destination::Hop(Hop::Address(to))),
                };
                let branch = new_branch(context_id, onward, Peer::udp(to), from);
                let Ok(handle) = proxy.contexts.add_branch(branch) else { return false };
                if proxy.launch(around.now, handle, onward, aim, each, around.out).is_err() {
                    proxy.contexts.end_branch(handle.index);
                    return false;
                }
                proxy.keep_rest(handle.index, further, ips().skip(number + 1));
                true
            })
        });
        sent == Some(true)
    }

    fn keep_rest(&mut self, id: u32, further: Further<'_>, rest: impl Iterator<Item = IpAddr>) {
        let mut rest = rest.peekable();
        if rest.peek().is_none() {
            return;
        }
        let text = &mut self.tools.texts.target;
        text.clear();
        Further::append(text, further.breadth, further.port, rest, further.binding);
        let kept = self.contexts.keep(text).ok();
        match self.contexts.branch_mut(id) {
            Some(branch) => branch.further = kept,
            None => self.contexts.drop(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read() {
        let ips = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for (binding, count) in [(None, 2), (Some(&b"record"[..]), 1), (Some(&b""[..]), 0)] {
            let mut bytes = Vec::new();
            Further::append(&mut bytes, 7, 5061, ips.into_iter().take(count), binding);
            let read = Further::read(&bytes).unwrap();
            assert_eq!((read.breadth, read.port, read.binding), (7, 5061, binding));
            let ip = |ip: &[u8; 16]| Ipv6Addr::from(*ip).to_canonical();
            assert!(read.addresses.iter().map(ip).eq(ips.into_iter().take(count)));
            assert_eq!(Further::read(&bytes[..4]), None);
        }
        assert_eq!(Further::read(&[0, 0, 1, 0, 0, 1]), None);
    }
}
