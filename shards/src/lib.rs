//! What one core of Seawall thinks: SIP messages, transactions, bindings. It takes the time, the keys and the bytes as
//! arguments and answers with data; it never touches a socket, a clock, a random source or a thread.
//!
//! A datagram walks through the rooms in this order and never turns back:
//! [`shard`] routes it, [`wire`] reads it, [`transaction`] recognises what was answered already, [`auth`] tells whose it is,
//! [`registrar`], [`proxy`] or [`uas`] decides, [`location`] remembers, and the reply lands in the [`io::Outbox`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod auth;
pub mod io;
pub mod location;
pub mod proxy;
pub mod registrar;
pub mod shard;
pub mod store;
pub mod transaction;
pub mod uas;
pub mod wire;
