//! A range of offsets of one partition.

use std::collections::BTreeMap;

/// The offsets of a partition from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    pub partition: u32,
    pub first: u64,
    /// [`OffsetRange::ENDLESS`] if the range includes future records.
    pub end: u64,
}

impl OffsetRange {
    /// The end of a range without an end.
    pub const ENDLESS: u64 = u64::MAX;

    /// Returns the number of offsets in it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    /// Returns the unread part of the range. `next` holds the next offset of each partition with progress.
    #[must_use]
    pub fn rest(self, next: &BTreeMap<u32, u64>) -> Self {
        let first = next.get(&self.partition).copied();
        Self {
            first: first.unwrap_or(self.first),
            ..self
        }
    }
}
