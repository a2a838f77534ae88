//! What a record on a topic says of itself, read back: the counterpart of `event.rs` and
//! `rejected.rs`. Anybody may have written it, so that nothing is taken for granted.

use std::borrow::Cow;

use serde::Deserialize;

use super::event::EVENT_TYPE;
use super::record::RecordRef;

/// An event, in either content mode.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct EventTold<'a> {
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub channel_id: Cow<'a, str>,
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    /// Not only those that this version knows.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow)]
    pub sender: Cow<'a, str>,
    #[serde(borrow)]
    pub recipient: Cow<'a, str>,
    #[serde(borrow)]
    pub received_at: Cow<'a, str>,
}

impl<'a> EventTold<'a> {
    /// Reads an event of this version's type; `None` for any other record.
    #[must_use]
    pub fn of(record: &'a RecordRef<'_>) -> Option<Self> {
        let value = record.value.as_deref()?;
        match record.header("ce_type") {
            Some(EVENT_TYPE) => serde_json::from_slice(value).ok(),
            None if is_structured(record) => {
                let document: Document<'a> = serde_json::from_slice(value).ok()?;
                (document.kind == EVENT_TYPE).then_some(document.data)
            }
            _ => None,
        }
    }
}

/// Whether the value is the whole CloudEvents document (Kafka protocol binding, section 3.3).
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
    data: EventTold<'a>,
}

/// A record of the rejected topic. Its headers say what it is; the value can be any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedTold<'a> {
    pub stage: Stage,
    pub reason: &'a str,
    pub channel_id: &'a str,
    pub received_at: &'a str,
    pub member: Option<&'a str>,
    /// The value of the request header that the reason names.
    pub header_value: Option<&'a str>,
}

/// Where a report was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The report breaks the contract: the value is its body.
    Contract,
    /// Kafka would not take the event: the value is the event.
    Kafka,
}

impl Stage {
    /// As it stands in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Kafka => "kafka",
        }
    }
}

impl<'a> RejectedTold<'a> {
    /// Reads a rejected record; `None` for any other.
    #[must_use]
    pub fn of(record: &'a RecordRef<'_>) -> Option<Self> {
        let stage = record.header("stage")?;
        let stages = [Stage::Contract, Stage::Kafka];
        record.value.as_ref()?;
        Some(Self {
            stage: stages.into_iter().find(|known| known.as_str() == stage)?,
            reason: record.header("reason")?,
            channel_id: record.header("channel_id")?,
            received_at: record.header("received_at")?,
            member: record.header("member"),
            header_value: record.header("header_value"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{EventMode, Reason, received::from_a_sender};

    const BODY: &[u8] =
        br#"{"message_id":"m\n1","sender":"s","user_number":"u","status":"read","x":1}"#;

    fn event(mode: EventMode) -> RecordRef<'static> {
        let body = str::from_utf8(BODY).expect("text").replace("\\n", "-");
        let received = from_a_sender(body.as_bytes(), None);
        let report = received.validate().expect("a sound report");
        report.normalise(mode).into_record().into()
    }

    #[test]
    fn an_event_is_read_back_in_both_modes() {
        for mode in [EventMode::Binary, EventMode::Structured] {
            let record = event(mode);
            let told = EventTold::of(&record).expect("an event");
            assert_eq!(
                [
                    &told.channel_id,
                    &told.message_id,
                    &told.status,
                    &told.sender,
                    &told.recipient
                ],
                ["c1", "m-1", "read", "s", "u"]
            );
            assert_eq!(told.received_at, "2026-11-18T11:06:40.000456Z");
            assert_eq!(RejectedTold::of(&record), None);
        }
    }

    #[test]
    fn what_the_bridge_did_not_write_is_no_event() {
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
            assert_eq!(EventTold::of(&record), None, "{record:?}");
        }
    }

    #[test]
    fn a_rejected_record_is_read_back() {
        let received = from_a_sender(b"{}", None);
        let fault = received.validate().expect_err("no report");
        let record: RecordRef<'_> = received.reject(fault).into_parts().1.into();
        let told = RejectedTold::of(&record).expect("a rejected record");
        assert_eq!(
            (told.stage, told.reason),
            (Stage::Contract, "member-missing")
        );
        assert_eq!((told.channel_id, told.member), ("c1", Some("message_id")));
        assert_eq!(told.header_value, None);
        assert_eq!(EventTold::of(&record), None);

        let received = from_a_sender(BODY, None);
        let fault = received.unsupported(Reason::ContentEncoding, "gzip".to_owned());
        let record: RecordRef<'_> = received.reject(fault).into_parts().1.into();
        let told = RejectedTold::of(&record).expect("a rejected record");
        assert_eq!(
            (told.stage, told.reason),
            (Stage::Contract, "content-encoding")
        );
        assert_eq!((told.member, told.header_value), (None, Some("gzip")));
    }
}
