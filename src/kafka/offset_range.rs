//! A range of offsets of one partition.

use std::collections::BTreeMap;

/// The offsets of a partition from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    pub partition: u32,
    pub first: u64,
    /// [`OffsetRange::ENDLESS`] if future records are in it too.
    pub end: u64,
}

impl OffsetRange {
    /// The end of an endless range.
    pub const ENDLESS: u64 = u64::MAX;

    /// Returns the number of its offsets.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    /// Returns the remaining range, if `next` has the next offset of each partition that was begun.
    #[must_use]
    pub fn rest(self, next: &BTreeMap<u32, u64>) -> Self {
        let first = next.get(&self.partition).copied();
        Self {
            first: first.unwrap_or(self.first),
            ..self
        }
    }
}
