//! The control plane: what is outside the call path. It looks at the cores through
//! [`Observed`] only, and the call path never waits for it.

mod histogram;
mod snapshot;

pub use histogram::Histogram;
pub use snapshot::{CoreSnapshot, IoCounters, Observed};
