//! Turns a rejected record into an event, by the rules of this version.

use std::borrow::Cow;

use jiff::Timestamp;

use super::channel::ChannelId;
use super::event::{self, EventFormat};
use super::event_fields::EventFields;
use super::fault::{Fault, Reason};
use super::received::{Arrival, Received};
use super::record::RecordRef;
use super::rejected_fields::{RejectedFields, Stage};
use super::trace::TraceContext;

/// The reason why a rejected record does not become an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StillRejected {
    /// The record was not written by koobridge.
    NotRejectedByKoobridge,
    /// The report still breaks the contract, for the reason with this code.
    Invalid(&'static str),
}

/// Turns a rejected record into an event with the original arrival time.
///
/// # Errors
/// The reason why the record stays rejected.
pub fn redrive(
    record: &RecordRef<'_>,
    format: EventFormat,
) -> Result<RecordRef<'static>, StillRejected> {
    let fields = RejectedFields::of(record).ok_or(StillRejected::NotRejectedByKoobridge)?;
    match fields.stage {
        Stage::Contract => redrive_report(record, &fields, format),
        Stage::Kafka => redrive_event(record, format),
    }
}

fn redrive_report(
    record: &RecordRef<'_>,
    fields: &RejectedFields<'_>,
    format: EventFormat,
) -> Result<RecordRef<'static>, StillRejected> {
    let unreadable = StillRejected::NotRejectedByKoobridge;
    let channel = ChannelId::parse(fields.channel_id).map_err(|_| unreadable)?;
    let at: Timestamp = fields.received_at.parse().map_err(|_| unreadable)?;
    let arrival = Arrival {
        at,
        trace: trace_context(record),
    };
    let body = record.value.as_deref().unwrap_or_default().to_vec();
    let received = Received::new(channel, arrival, body);
    let report = received.validate();
    let report = report.map_err(|fault| StillRejected::Invalid(current_reason(fields, &fault)))?;
    Ok(report.normalise(format).into_record().into())
}

/// Returns the code of the reason why a report is still rejected. For an encoded body, that is its encoding rather than
/// `invalid-utf8` or `not-json`.
fn current_reason(fields: &RejectedFields<'_>, fault: &Fault) -> &'static str {
    let is_encoded = fields.reason == Reason::ContentEncoding.code();
    let is_text = !matches!(fault.reason, Reason::InvalidUtf8 | Reason::NotJson);
    if is_encoded && !is_text {
        Reason::ContentEncoding.code()
    } else {
        fault.reason.code()
    }
}

/// Returns the event unchanged, in its original content mode. Only the trace headers come from the rejected record.
fn redrive_event(
    record: &RecordRef<'_>,
    format: EventFormat,
) -> Result<RecordRef<'static>, StillRejected> {
    let value = record.value.as_deref().unwrap_or_default();
    let event = EventFields::of_value(value);
    let (mode, fields) = event.ok_or(StillRejected::NotRejectedByKoobridge)?;
    let headers = event::headers(EventFormat { mode, ..format }, fields);
    let trace = trace_context(record)
        .into_iter()
        .flat_map(TraceContext::into_headers);
    let headers = headers.into_iter().chain(trace);
    Ok(RecordRef {
        key: record.key.as_deref().map(|key| Cow::Owned(key.to_vec())),
        headers: headers
            .map(|(name, value)| (name, Some(Cow::Owned(value.into_bytes()))))
            .collect(),
        value: Some(Cow::Owned(value.to_vec())),
        timestamp: record.timestamp,
    })
}

fn trace_context(record: &RecordRef<'_>) -> Option<TraceContext> {
    let state = record.header("tracestate").map(str::as_bytes);
    let parent = record.header("traceparent")?;
    TraceContext::parse(parent.as_bytes(), state.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::received::from_a_sender;
    use crate::contract::{EventMode, Record, SchemaId, rejected_by_kafka};

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const SOUND: &[u8] = br#"{"message_id":"m1","sender":"s","user_number":"u","status":"read"}"#;

    fn event(format: EventFormat) -> Record {
        let trace = TraceContext::parse(PARENT, &[b"a=1"]);
        let received = from_a_sender(SOUND, trace);
        let report = received.validate().expect("a sound report");
        report.normalise(format).into_record()
    }

    #[test]
    fn an_event_that_kafka_rejected_is_redriven_unchanged() {
        for mode in [EventMode::Binary, EventMode::Structured] {
            for schema_id in [None, Some(SchemaId::Number(7))] {
                let event = event(EventFormat { mode, schema_id });
                let rejected = rejected_by_kafka(&event, "record-too-large").into();
                // The configured mode does not change an existing event.
                let configured = EventFormat {
                    mode: EventMode::Binary,
                    schema_id,
                };
                assert_eq!(redrive(&rejected, configured), Ok(event.into()));
            }
        }
    }

    #[test]
    fn a_report_that_is_now_valid_becomes_its_event() {
        let trace = TraceContext::parse(PARENT, &[b"a=1"]);
        let unknown = str::from_utf8(SOUND)
            .expect("text")
            .replace("read", "played");
        let received = from_a_sender(unknown.as_bytes(), trace);
        let fault = received.validate().expect_err("an unknown status");
        let mut rejected: RecordRef<'_> = received.reject(fault).into_parts().1.into();
        assert_eq!(
            redrive(&rejected, EventMode::Binary.into()),
            Err(StillRejected::Invalid("unknown-status"))
        );
        // Simulates a version that knows the status.
        rejected.value = Some(Cow::Borrowed(SOUND));
        let expected = event(EventMode::Structured.into());
        assert_eq!(
            redrive(&rejected, EventMode::Structured.into()),
            Ok(expected.into())
        );
    }

    #[test]
    fn a_valid_body_with_a_wrong_header_becomes_an_event() {
        const GZIP: &[u8] = b"\x1f\x8b\x08\x00";
        let still = |code| Err(StillRejected::Invalid(code));
        let sound = Ok(event(EventMode::Binary.into()).into());
        for (reason, body, expected) in [
            (Reason::ContentType, SOUND, sound.clone()),
            (Reason::ContentType, b"status=read", still("not-json")),
            (Reason::ContentType, b"{}", still("member-missing")),
            (Reason::ContentEncoding, SOUND, sound),
            (Reason::ContentEncoding, GZIP, still("content-encoding")),
            (Reason::ContentEncoding, b"{}", still("member-missing")),
        ] {
            let received = from_a_sender(body, TraceContext::parse(PARENT, &[b"a=1"]));
            let fault = received.unsupported(reason, "any".to_owned());
            let record = received.reject(fault).into_parts().1.into();
            assert_eq!(
                redrive(&record, EventMode::Binary.into()),
                expected,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_record_of_another_producer_is_not_redriven() {
        let event: RecordRef<'_> = event(EventMode::Binary.into()).into();
        let mut odd_channel = RecordRef::default();
        for (name, value) in [
            ("stage", "contract"),
            ("reason", "x"),
            ("channel_id", "a b"),
        ] {
            odd_channel.add_header(name, value.to_owned());
        }
        odd_channel.value = Some(Cow::Borrowed(SOUND));
        let mut odd_time = odd_channel.clone();
        odd_time.add_header("channel_id", "c1".to_owned());
        odd_time.add_header("received_at", "yesterday".to_owned());
        for record in [event, odd_channel, odd_time] {
            assert_eq!(
                redrive(&record, EventMode::Binary.into()),
                Err(StillRejected::NotRejectedByKoobridge)
            );
        }
    }
}
