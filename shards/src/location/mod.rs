//! The location service.

mod domains;
mod record;

pub use domains::Domains;
pub use record::Record;
