//! The marker for a rejected report that `koobridge redrive` has published.

use std::borrow::Cow;

use super::record::RecordRef;

const PARTITION: &str = "redriven_partition";
const OFFSET: &str = "redriven_offset";
const TIMESTAMP: &str = "redriven_timestamp";
const BY: &str = "redriven_by";

/// A marker on the rejected topic. It means that the report at this position is now on the events topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedrivenMarker {
    pub partition: u32,
    pub offset: u64,
    /// The timestamp of the report's record, if it has one, in milliseconds since 1970. If the topic was recreated,
    /// another record at this position has another timestamp.
    pub timestamp: Option<i64>,
}

impl RedrivenMarker {
    /// Reads a marker; returns `None` if the record is not a marker.
    #[must_use]
    pub fn of(record: &RecordRef<'_>) -> Option<Self> {
        let timestamp = record.header(TIMESTAMP).map(str::parse).transpose();
        Some(Self {
            partition: record.header(PARTITION)?.parse().ok()?,
            offset: record.header(OFFSET)?.parse().ok()?,
            timestamp: timestamp.ok()?,
        })
    }
}

/// Returns the marker's record, for the same partition of the rejected topic. `by` is the id of the redrive. The record
/// has no key and an empty value.
#[must_use]
pub fn redriven_marker(marker: &RedrivenMarker, by: &str) -> RecordRef<'static> {
    let mut record = RecordRef {
        value: Some(Cow::Borrowed(b"")),
        ..RecordRef::default()
    };
    record.add_header(PARTITION, marker.partition.to_string());
    record.add_header(OFFSET, marker.offset.to_string());
    if let Some(timestamp) = marker.timestamp {
        record.add_header(TIMESTAMP, timestamp.to_string());
    }
    record.add_header(BY, by.to_owned());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marker_is_read_as_a_marker() {
        for timestamp in [Some(-1), None] {
            let marker = RedrivenMarker {
                partition: 7,
                offset: u64::MAX,
                timestamp,
            };
            let record = redriven_marker(&marker, "r1");
            assert_eq!(record.header(BY), Some("r1"));
            assert_eq!(RedrivenMarker::of(&record), Some(marker));
        }
        let mut other = RecordRef::default();
        other.add_header(PARTITION, "7".to_owned());
        other.add_header(OFFSET, "-1".to_owned());
        other.add_header(TIMESTAMP, "1".to_owned());
        assert_eq!(RedrivenMarker::of(&other), None);
    }
}
