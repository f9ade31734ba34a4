//! The location service.

mod domains;

pub use domains::Domains;
