//! What holds for any bytes whatever: each target is a plain function that fails where the product breaks a rule. cargo-fuzz looks
//! for such bytes (`tests/fuzz`), and `cargo test` replays what it has learnt. Nothing here knows a fuzzer.

mod bytes;
mod calls;
mod credentials;
mod parser;
mod peek;
mod shard;
mod uri;

pub use calls::calls;
pub use credentials::credentials;
pub use parser::parser;
pub use peek::peek;
pub use shard::shard;
pub use uri::uri;

/// A property of the product over any bytes. It panics where it does not hold.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("peek", peek),
    ("parser", parser),
    ("uri", uri),
    ("credentials", credentials),
    ("shard", shard),
    ("calls", calls),
];

/// Header lines a message may have here: few, so that the limit is met.
const HEADER_LINES_MAX: usize = 48;

/// Whether `part` lies inside `whole`; an empty part lies everywhere.
fn is_inside(whole: &[u8], part: &[u8]) -> bool {
    let (whole, part) = (whole.as_ptr_range(), part.as_ptr_range());
    part.is_empty() || whole.start <= part.start && part.end <= whole.end
}
