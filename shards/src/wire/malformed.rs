//! What is wrong with a message: the status code that says so, a reason phrase and where. It never decides whether a
//! response is sent.

/// A message, or a part of one, that breaks the grammar or a rule the parser enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status code of the response to such a request; a response that is malformed is dropped.
    pub status: u16,
    /// The reason phrase of that response.
    pub reason: &'static str,
    /// Where in the datagram, or in the slice that was parsed alone, the defect begins.
    pub offset: u32,
}

impl Malformed {
    /// A 400 at an offset.
    #[must_use]
    pub(super) fn bad(reason: &'static str, offset: usize) -> Self {
        Malformed { status: 400, reason, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }
}
