//! A shard routes inputs to the rooms that decide them. It owns the rooms and decides nothing itself.

mod metrics;
mod settings;

pub use metrics::{Gauges, Metrics};
pub use settings::{Homes, Keys, Limits, Settings};
