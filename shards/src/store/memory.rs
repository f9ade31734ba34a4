//! How full a table is, for people who plan. It measures nothing itself.

/// The memory of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that hold something.
    pub used_bytes: usize,
    /// Bytes that were reserved when the table was made.
    pub reserved_bytes: usize,
    /// Entries, where the table counts them.
    pub entries: Option<u32>,
    /// Entries for which there is room, where that is fixed.
    pub capacity: Option<u32>,
}

impl Memory {
    /// A table of places of one size each.
    #[must_use]
    pub fn of_places(entries: u32, capacity: u32, reserved_bytes: usize) -> Self {
        let place_bytes = reserved_bytes / (capacity as usize).max(1);
        Memory {
            used_bytes: entries as usize * place_bytes,
            reserved_bytes,
            entries: Some(entries),
            capacity: Some(capacity),
        }
    }
}
