use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::contract::received::from_a_sender;
use crate::contract::{Arrival, Reason, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn record(mode: EventMode, trace: Option<TraceContext>) -> Record {
    let body =
        r#"{"message_id":"m\"1","sender":"s","user_number":"u","status":"failed","x": 0.10}"#;
    from_a_sender(body.as_bytes(), trace)
        .validate()
        .expect("a report")
        .normalise(mode)
        .into_record()
}

fn headers(record: &Record) -> Vec<(&str, &str)> {
    record
        .headers
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect()
}

#[test]
fn the_namespace_is_made_of_the_schemas_name() {
    assert_eq!(
        EVENT_NAMESPACE,
        Uuid::new_v5(&Uuid::NAMESPACE_URL, EVENT_SCHEMA.as_bytes())
    );
}

#[test]
fn lengths_keep_the_parts_of_the_id_apart() {
    assert_ne!(event_id("a", "bc", "read"), event_id("ab", "c", "read"));
    assert_ne!(event_id("a", "b", "read"), event_id("a", "b", "failed"));
    assert_eq!(event_id("a", "b", "read").get_version_num(), 5);
}

#[test]
fn a_binary_event_has_its_attributes_in_the_headers() {
    let record = record(EventMode::Binary, None);
    let id = event_id("c1", "m\"1", "failed").to_string();
    assert_eq!(record.key.as_deref(), Some("m\"1"));
    assert_eq!(record.timestamp, 1_795_000_000_000);
    assert_eq!(
        headers(&record),
        [
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", "/social/on/whatsapp/koomessage/report/c1"),
            ("ce_type", "com.huaweicloud.koomessage.report.v1"),
            ("ce_time", "2026-11-18T11:06:40.000456Z"),
            ("ce_subject", "m\"1"),
            ("ce_dataschema", "urn:koobridge:koomessage-report-event:1"),
            ("content-type", "application/json"),
        ]
    );
    assert_eq!(
        String::from_utf8(record.value).expect("text"),
        format!(
            r#"{{"event_id":"{id}","provider":"koomessage","channel":"whatsapp","channel_id":"c1","message_id":"m\"1","sender":"s","recipient":"u","status":"failed","received_at":"2026-11-18T11:06:40.000456Z","extra":{{"x":0.10}}}}"#
        )
    );
}

#[test]
fn a_structured_event_has_them_in_the_value() {
    let binary = record(EventMode::Binary, None);
    let structured = record(EventMode::Structured, None);
    assert_eq!(
        headers(&structured),
        [(
            "content-type",
            "application/cloudevents+json; charset=UTF-8"
        )]
    );
    assert_eq!(
        (&structured.key, structured.timestamp),
        (&binary.key, binary.timestamp)
    );
    let event: Value = serde_json::from_slice(&structured.value).expect("JSON");
    let data: Value = serde_json::from_slice(&binary.value).expect("JSON");
    assert_eq!(
        event,
        json!({
            "specversion": "1.0",
            "id": event_id("c1", "m\"1", "failed").to_string(),
            "source": "/social/on/whatsapp/koomessage/report/c1",
            "type": "com.huaweicloud.koomessage.report.v1",
            "time": "2026-11-18T11:06:40.000456Z",
            "subject": "m\"1",
            "dataschema": "urn:koobridge:koomessage-report-event:1",
            "datacontenttype": "application/json",
            "data": data,
        })
    );
}

#[test]
fn the_trace_context_stands_last_in_both_modes() {
    for mode in [EventMode::Binary, EventMode::Structured] {
        let record = record(mode, TraceContext::parse(PARENT.as_bytes(), &[b"a=1"]));
        let headers = headers(&record);
        assert_eq!(
            headers[headers.len() - 2..],
            [("traceparent", PARENT), ("tracestate", "a=1")]
        );
    }
}

#[test]
fn a_rejected_record_has_the_body_whole_and_the_reason_in_its_headers() {
    let body = r#"{"message_id":"m1","sender":7}"#;
    let received = from_a_sender(body.as_bytes(), TraceContext::parse(PARENT.as_bytes(), &[]));
    let fault = received.validate().expect_err("a fault");
    let (fault, record) = received.reject(fault).into_parts();
    assert_eq!(fault.reason, Reason::MemberNotAString);
    assert_eq!(record.key.as_deref(), Some("m1"));
    assert_eq!(record.value, body.as_bytes());
    assert_eq!(record.timestamp, 1_795_000_000_000);
    assert_eq!(
        headers(&record),
        [
            ("stage", "contract"),
            ("reason", "member-not-a-string"),
            ("channel_id", "c1"),
            ("received_at", "2026-11-18T11:06:40.000456Z"),
            ("member", "sender"),
            ("traceparent", PARENT),
        ]
    );
}

#[test]
fn received_at_always_has_six_decimals() {
    for (micros, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_795_000_000_000_000, "2026-11-18T11:06:40.000000Z"),
        (1_795_000_000_100_000, "2026-11-18T11:06:40.100000Z"),
    ] {
        let at = Timestamp::from_microsecond(micros).expect("a time");
        assert_eq!(Arrival { at, trace: None }.time(), text);
    }
}
