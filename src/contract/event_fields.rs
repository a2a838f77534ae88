//! Reads the fields of an event from a record. Any producer may have written the record.

use std::borrow::Cow;

use serde::Deserialize;

use super::event::{EVENT_TYPE, EventMode};
use super::record::RecordRef;

/// The fields of an event, without `extra`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct EventFields<'a> {
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub channel_id: Cow<'a, str>,
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    /// Any text, because another version may know more statuses.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow)]
    pub sender: Cow<'a, str>,
    #[serde(borrow)]
    pub recipient: Cow<'a, str>,
    #[serde(borrow)]
    pub received_at: Cow<'a, str>,
}

impl<'a> EventFields<'a> {
    /// Reads an event of this version's type in either content mode; `None` for any other record.
    #[must_use]
    pub fn of(record: &'a RecordRef<'_>) -> Option<Self> {
        let mode = match record.header("ce_type") {
            Some(EVENT_TYPE) => EventMode::Binary,
            None if is_structured(record) => EventMode::Structured,
            _ => return None,
        };
        Self::read(mode, record.value.as_deref()?)
    }

    /// Reads the value of an event without its headers; returns the content mode too.
    pub(super) fn of_value(value: &'a [u8]) -> Option<(EventMode, Self)> {
        let read = |mode| Some((mode, Self::read(mode, value)?));
        read(EventMode::Binary).or_else(|| read(EventMode::Structured))
    }

    fn read(mode: EventMode, value: &'a [u8]) -> Option<Self> {
        match mode {
            EventMode::Binary => serde_json::from_slice(value).ok(),
            EventMode::Structured => {
                let document: Document<'a> = serde_json::from_slice(value).ok()?;
                (document.kind == EVENT_TYPE).then_some(document.data)
            }
        }
    }
}

/// Returns whether the value is a CloudEvents document in structured mode (Kafka protocol binding, section 3.3).
fn is_structured(record: &RecordRef<'_>) -> bool {
    record
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/cloudevents"))
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: EventFields<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::received::from_a_sender;

    const BODY: &[u8] =
        br#"{"message_id":"m\n1","sender":"s","user_number":"u","status":"read","x":1}"#;

    fn event(mode: EventMode) -> RecordRef<'static> {
        let body = str::from_utf8(BODY).expect("text").replace("\\n", "-");
        let received = from_a_sender(body.as_bytes(), None);
        let report = received.validate().expect("a sound report");
        report.normalise(mode.into()).into_record().into()
    }

    #[test]
    fn an_event_is_read_back_in_both_modes() {
        for mode in [EventMode::Binary, EventMode::Structured] {
            let record = event(mode);
            let fields = EventFields::of(&record).expect("an event");
            assert_eq!(
                [
                    &fields.channel_id,
                    &fields.message_id,
                    &fields.status,
                    &fields.sender,
                    &fields.recipient
                ],
                ["c1", "m-1", "read", "s", "u"]
            );
            assert_eq!(fields.received_at, "2026-11-18T11:06:40.000456Z");
            let value = record.value.as_deref().expect("a value");
            assert_eq!(EventFields::of_value(value), Some((mode, fields.clone())));
        }
    }

    #[test]
    fn records_of_other_producers_are_not_events() {
        let sound = event(EventMode::Binary);
        let without_type = RecordRef {
            headers: Vec::new(),
            ..sound.clone()
        };
        let tombstone = RecordRef {
            value: None,
            ..sound.clone()
        };
        let no_json = RecordRef {
            value: Some(Cow::Borrowed(b"{")),
            ..sound.clone()
        };
        let lacking = RecordRef {
            value: Some(Cow::Borrowed(b"{\"status\":1}")),
            ..sound.clone()
        };
        let no_document = RecordRef {
            headers: vec![("content-type".into(), Some(b"application/json"[..].into()))],
            ..event(EventMode::Structured)
        };
        let mut other_type = sound.clone();
        other_type.add_header("ce_type", "com.example.other".to_owned());
        for record in [
            without_type,
            tombstone,
            no_json,
            lacking,
            no_document,
            other_type,
            RecordRef::default(),
        ] {
            assert_eq!(EventFields::of(&record), None, "{record:?}");
        }
    }
}
