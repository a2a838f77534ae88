//! The marker of a rejected report that `koobridge redrive` has brought back.

use std::borrow::Cow;

use super::record::RecordRef;

const PARTITION: &str = "redriven_partition";
const OFFSET: &str = "redriven_offset";
const BY: &str = "redriven_by";

/// A marker on the rejected topic: the report at this position is on the events topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedrivenMarker<'a> {
    pub partition: u32,
    pub offset: u64,
    /// The id of the redrive.
    pub by: &'a str,
}

impl<'a> RedrivenMarker<'a> {
    /// Reads a marker back; `None` if the record is none.
    #[must_use]
    pub fn of(record: &'a RecordRef<'_>) -> Option<Self> {
        Some(Self {
            partition: record.header(PARTITION)?.parse().ok()?,
            offset: record.header(OFFSET)?.parse().ok()?,
            by: record.header(BY)?,
        })
    }
}

/// Returns the marker of the report at this position, for the same partition of the rejected topic. It has no key and an
/// empty value.
#[must_use]
pub fn redriven_marker(partition: u32, offset: u64, by: &str) -> RecordRef<'static> {
    let mut marker = RecordRef {
        value: Some(Cow::Borrowed(b"")),
        ..RecordRef::default()
    };
    marker.add_header(PARTITION, partition.to_string());
    marker.add_header(OFFSET, offset.to_string());
    marker.add_header(BY, by.to_owned());
    marker
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_nothing_else_is_one() {
        let marker = redriven_marker(7, u64::MAX, "r1");
        let read = RedrivenMarker::of(&marker).expect("a marker");
        let expected = RedrivenMarker {
            partition: 7,
            offset: u64::MAX,
            by: "r1",
        };
        assert_eq!(read, expected);
        let mut other = RecordRef::default();
        other.add_header(PARTITION, "7".to_owned());
        other.add_header(OFFSET, "-1".to_owned());
        other.add_header(BY, "r1".to_owned());
        assert_eq!(RedrivenMarker::of(&other), None);
    }
}
