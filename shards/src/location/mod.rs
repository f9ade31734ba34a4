//! The location service of one core, RFC 3261 10: which addresses-of-record live here and what they are bound to. It
//! knows nothing of requests.

mod aor;
mod domains;
mod listing;
mod record;
mod sip;
mod table;

pub use aor::{Aor, Here, HomeHash, NotOurs};
pub use domains::Domains;
pub use listing::Listing;
pub use record::{Listed, Record};
pub(crate) use sip::Sip;
pub use table::{AorId, Binding, BindingId, Location, Terms, Update};
