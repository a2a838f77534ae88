//! Records of the rejected topic, each with a complete body or event (`schemas/rejected.schema.json`).

use jiff::Timestamp;

use super::channel::ChannelId;
use super::event_fields::EventFields;
use super::fault::{Fault, Reason};
use super::received::Arrival;
use super::record::{Header, Record, is_trace_header};
use super::rejected_fields::{RejectedFields, Stage};
use super::trace::TraceContext;

/// The reason of stage `kafka` when Kafka rejects the record's size.
pub const RECORD_TOO_LARGE: &str = "record-too-large";
/// The reason of stage `kafka` when Kafka rejects the record's form.
pub const INVALID_RECORD: &str = "invalid-record";
/// The reason of stage `kafka` when the record's timestamp is too old for its topic.
pub const INVALID_TIMESTAMP: &str = "invalid-timestamp";

/// Returns all reasons of rejected records, for both stages.
pub fn rejection_reasons() -> impl Iterator<Item = &'static str> {
    let of_kafka = [RECORD_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP];
    Reason::ALL.map(Reason::code).into_iter().chain(of_kafka)
}

/// An authenticated, complete request that breaks the contract.
#[derive(Debug)]
pub struct Rejected {
    fault: Fault,
    record: Record,
}

impl Rejected {
    /// Only [`super::Received::reject`] calls this.
    pub(super) fn new(channel: ChannelId, arrival: Arrival, body: Vec<u8>, fault: Fault) -> Self {
        let fields = RejectedFields {
            stage: Stage::Contract,
            reason: fault.reason.code(),
            channel_id: channel.as_str(),
            received_at: &arrival.time(),
            member: fault.member.as_deref(),
            header_value: fault.header_value.as_deref(),
        };
        let mut headers = fields.to_headers();
        headers.extend(
            arrival
                .trace
                .into_iter()
                .flat_map(TraceContext::into_headers),
        );
        let record = Record {
            key: fault.message_id.clone(),
            headers,
            value: body,
            timestamp: arrival.at.as_millisecond(),
        };
        Self { fault, record }
    }

    /// Replaces the trace context of the record.
    pub fn continue_trace(&mut self, context: &TraceContext) {
        self.record.continue_trace(context);
    }

    /// Returns the fault and the record.
    #[must_use]
    pub fn into_parts(self) -> (Fault, Record) {
        (self.fault, self.record)
    }
}

/// Returns the record for the rejected topic when Kafka has rejected an event that was sent alone. Its value is the
/// event, and `reason` is one of the three above.
#[must_use]
pub fn rejected_by_kafka(event: &Record, reason: &str) -> Record {
    let fields = EventFields::of_value(&event.value).map(|(_, fields)| fields);
    let fields = RejectedFields {
        stage: Stage::Kafka,
        reason,
        channel_id: fields.as_ref().map_or("", |fields| &fields.channel_id),
        received_at: fields.as_ref().map_or("", |fields| &fields.received_at),
        member: None,
        header_value: None,
    };
    let mut headers = fields.to_headers();
    let is_trace_header = |(name, _): &&Header| is_trace_header(name);
    headers.extend(event.headers.iter().filter(is_trace_header).cloned());
    Record {
        key: event.key.clone(),
        headers,
        value: event.value.clone(),
        // The rejected topic may have the same limit on timestamps.
        timestamp: if reason == INVALID_TIMESTAMP {
            Timestamp::now().as_millisecond()
        } else {
            event.timestamp
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{EventMode, HeaderValue, received::from_a_sender};

    fn text(value: &HeaderValue) -> &str {
        str::from_utf8(value.as_bytes()).expect("text")
    }

    #[test]
    fn a_rejected_record_has_the_value_of_the_wrong_request_header() {
        for (reason, value) in [
            (Reason::ContentType, "text/plain"),
            (Reason::ContentEncoding, "gzip"),
        ] {
            let received = from_a_sender(b"{}", None);
            let fault = received.unsupported(reason, value.to_owned());
            let (fault, record) = received.reject(fault).into_parts();
            assert_eq!(fault.reason, reason);
            assert_eq!((record.key, &*record.value), (None, &b"{}"[..]));
            let headers: Vec<(&str, &str)> = record
                .headers
                .iter()
                .map(|(name, value)| (&**name, text(value)))
                .collect();
            let expected = [
                ("stage", "contract"),
                ("reason", reason.code()),
                ("channel_id", "c1"),
                ("received_at", "2026-11-18T11:06:40.000456Z"),
                ("header_value", value),
            ];
            assert_eq!(headers, expected);
        }
    }

    #[test]
    fn an_event_that_kafka_rejected_has_its_channel_in_the_headers() {
        let body = br#"{"message_id":"m1","sender":"s","user_number":"u","status":"read"}"#;
        for mode in [EventMode::Binary, EventMode::Structured] {
            let received = from_a_sender(body, None);
            let report = received.validate().expect("a sound report");
            let event = report.normalise(mode.into()).into_record();
            let rejected = rejected_by_kafka(&event, "record-too-large");
            assert_eq!((&rejected.key, &rejected.value), (&event.key, &event.value));
            assert_eq!(rejected.timestamp, event.timestamp);
            let headers: Vec<(&str, &str)> = rejected
                .headers
                .iter()
                .map(|(name, value)| (&**name, text(value)))
                .collect();
            let expected = [
                ("stage", "kafka"),
                ("reason", "record-too-large"),
                ("channel_id", "c1"),
                ("received_at", "2026-11-18T11:06:40.000456Z"),
            ];
            assert_eq!(headers, expected);
        }
    }
}
