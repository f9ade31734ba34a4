//! The memory of one core: containers whose bytes are reserved when they are made, and which refuse what does not fit.
//! They never grow, never rehash and never pause; they know nothing of SIP.
//!
//! Every operation touches a bounded amount of memory, so a table with a million entries answers its millionth
//! insertion as fast as its first. `check()` walks a container's invariants and panics where one is broken.

mod arena;
mod chain;
mod memory;
mod prefetch;
mod slab;
mod table;
mod wheel;

pub use arena::{Arena, Ref, Usage};
pub use chain::Chain;
pub use memory::Memory;
pub use prefetch::Prefetch;
pub use slab::{Handle, Slab};
pub use table::Table;
pub use wheel::Wheel;

/// There was no room, and nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;
