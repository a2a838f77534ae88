//! The filters that select the records of a range.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::contract::{EventFields, RejectedFields};

/// The filters; an empty filter selects every record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub channels: BTreeSet<String>,
    pub statuses: BTreeSet<String>,
    pub message_ids: BTreeSet<String>,
    /// The reasons of rejected records.
    pub reasons: BTreeSet<String>,
    /// The first selected time, in milliseconds since 1970.
    pub since: Option<i64>,
    /// The first time after the selected ones, in milliseconds since 1970.
    pub until: Option<i64>,
}

impl Selection {
    /// Returns whether a record of this time is selected.
    #[must_use]
    pub fn has_time(&self, timestamp: Option<i64>) -> bool {
        let Some(timestamp) = timestamp else {
            return self.since.is_none() && self.until.is_none();
        };
        self.since.is_none_or(|since| since <= timestamp)
            && self.until.is_none_or(|until| timestamp < until)
    }

    /// Returns whether an event is selected, apart from its time.
    #[must_use]
    pub fn has_event(&self, fields: &EventFields<'_>) -> bool {
        passes(&self.channels, Some(&fields.channel_id))
            && passes(&self.statuses, Some(&fields.status))
            && passes(&self.message_ids, Some(&fields.message_id))
    }

    /// Returns whether a rejected record is selected, apart from its time. Its key is the message id, if it has one.
    #[must_use]
    pub fn has_rejected(&self, fields: &RejectedFields<'_>, key: Option<&str>) -> bool {
        passes(&self.channels, Some(fields.channel_id))
            && passes(&self.reasons, Some(fields.reason))
            && passes(&self.message_ids, key)
    }

    /// Returns whether all filters are empty, apart from the times.
    #[must_use]
    pub fn is_unfiltered(&self) -> bool {
        self.filters().iter().all(|filter| filter.is_empty())
    }

    fn filters(&self) -> [&BTreeSet<String>; 4] {
        [
            &self.channels,
            &self.statuses,
            &self.message_ids,
            &self.reasons,
        ]
    }

    /// Returns a digest of the filters, apart from the times. It does not depend on their order.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for filter in self.filters() {
            hash.update(filter.len().to_be_bytes());
            for text in filter {
                hash.update(text.len().to_be_bytes());
                hash.update(text);
            }
        }
        digits(&hash.finalize()[..16])
    }
}

/// Returns bytes as hexadecimal digits.
pub(super) fn digits(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn passes(filter: &BTreeSet<String>, text: Option<&str>) -> bool {
    filter.is_empty() || text.is_some_and(|text| filter.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn fields() -> EventFields<'static> {
        EventFields {
            event_id: "e".into(),
            channel_id: "c1".into(),
            message_id: "m1".into(),
            status: "read".into(),
            sender: "s".into(),
            recipient: "u".into(),
            received_at: "t".into(),
        }
    }

    #[test]
    fn every_filter_has_to_pass() {
        let selection = |channels: &[&str], statuses: &[&str], ids: &[&str]| Selection {
            channels: set(channels),
            statuses: set(statuses),
            message_ids: set(ids),
            ..Selection::default()
        };
        assert!(Selection::default().has_event(&fields()));
        assert!(selection(&["c0", "c1"], &["read"], &["m1"]).has_event(&fields()));
        assert!(!selection(&["c0"], &["read"], &["m1"]).has_event(&fields()));
        assert!(!selection(&["c1"], &["failed"], &["m1"]).has_event(&fields()));
        assert!(!selection(&["c1"], &["read"], &["m2"]).has_event(&fields()));
    }

    #[test]
    fn a_range_of_times_has_its_beginning_and_not_its_end() {
        let selection = Selection {
            since: Some(10),
            until: Some(20),
            ..Selection::default()
        };
        let times = [Some(9), Some(10), Some(19), Some(20), None];
        assert_eq!(
            times.map(|time| selection.has_time(time)),
            [false, true, true, false, false]
        );
        assert!(Selection::default().has_time(None));
    }

    #[test]
    fn a_rejected_record_without_a_key_has_no_message_id() {
        let fields = RejectedFields {
            stage: crate::contract::Stage::Contract,
            reason: "not-json",
            channel_id: "c1",
            received_at: "t",
            member: None,
            header_value: None,
        };
        let by_id = Selection {
            message_ids: set(&["m1"]),
            ..Selection::default()
        };
        assert!(by_id.has_rejected(&fields, Some("m1")));
        assert!(!by_id.has_rejected(&fields, None));
        let by_reason = Selection {
            reasons: set(&["not-json"]),
            ..Selection::default()
        };
        assert!(by_reason.has_rejected(&fields, None));
    }

    #[test]
    fn different_filters_have_different_digests() {
        let of = |channels: &[&str], statuses: &[&str]| {
            let selection = Selection {
                channels: set(channels),
                statuses: set(statuses),
                ..Selection::default()
            };
            selection.digest()
        };
        assert_eq!(of(&["a", "b"], &[]), of(&["b", "a"], &[]));
        let all = [
            of(&[], &[]),
            of(&["a"], &[]),
            of(&[], &["a"]),
            of(&["a", "b"], &[]),
            of(&["ab"], &[]),
        ];
        assert_eq!(BTreeSet::from(all.clone()).len(), all.len());
    }
}
