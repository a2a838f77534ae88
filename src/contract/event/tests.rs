use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::contract::received::from_a_sender;
use crate::contract::{Arrival, HeaderValue, Reason, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn record(mode: EventMode, trace: Option<TraceContext>) -> Record {
    let body =
        r#"{"message_id":"m\"1","sender":"s","user_number":"u","status":"failed","x": 0.10}"#;
    from_a_sender(body.as_bytes(), trace)
        .validate()
        .expect("a report")
        .normalise(mode.into())
        .into_record()
}

fn text(value: &HeaderValue) -> &str {
    str::from_utf8(value.as_bytes()).expect("text")
}

fn headers(record: &Record) -> Vec<(&str, &str)> {
    record
        .headers
        .iter()
        .map(|(name, value)| (name.as_ref(), text(value)))
        .collect()
}

#[test]
fn the_namespace_is_computed_from_the_schemas_name() {
    assert_eq!(
        EVENT_NAMESPACE,
        Uuid::new_v5(&Uuid::NAMESPACE_URL, EVENT_SCHEMA.as_bytes())
    );
}

#[test]
fn an_event_id_depends_on_the_lengths_of_its_parts() {
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
fn a_structured_event_has_its_attributes_in_the_value() {
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
fn the_trace_headers_come_last_in_both_modes() {
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
fn a_rejected_record_has_the_body_and_the_reason() {
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
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_795_000_000_000_000, "2026-11-18T11:06:40.000000Z"),
        (1_795_000_000_100_000, "2026-11-18T11:06:40.100000Z"),
        (1_795_000_000_123_456, "2026-11-18T11:06:40.123456Z"),
        (1_795_000_001_000_007, "2026-11-18T11:06:41.000007Z"),
    ] {
        let at = Timestamp::from_microsecond(micros).expect("a time");
        assert_eq!(Arrival { at, trace: None }.time(), text);
    }
    for at in [Timestamp::MIN, Timestamp::MAX] {
        assert_eq!(Arrival { at, trace: None }.time(), format!("{at:.6}"));
    }
}

/// Returns the value of the event for a report with these members.
fn value(members: &str) -> String {
    let body = format!("{{{members}}}");
    let received = from_a_sender(body.as_bytes(), None);
    let event = received
        .validate()
        .expect("a report")
        .normalise(EventMode::Binary.into());
    String::from_utf8(event.into_record().value).expect("text")
}

#[test]
fn event_ids_match_independently_computed_ones() {
    for (parts, id) in [
        (
            [
                "202105102694809992",
                "044852ee407b40ec88ea65adb73ff5c27",
                "read",
            ],
            "84620b2a-4736-5985-914a-42930cc3132d",
        ),
        // Lengths are in bytes, not characters.
        (
            ["c1", "é😀", "delivered"],
            "60b94110-f94f-5332-94da-69bf013994f5",
        ),
        (["a", "bc", "read"], "d3cb82cb-bc86-5c4d-bf91-3529175c532b"),
        (["ab", "c", "read"], "ca61ff08-6fef-5481-9e83-b027bf4e1d7a"),
    ] {
        let [channel, message, status] = parts;
        assert_eq!(event_id(channel, message, status).to_string(), id);
    }
}

#[test]
fn the_value_has_decoded_texts_and_unchanged_extra_members() {
    let id = event_id("c1", "é", "read");
    let written = r#""x" : {"b" : [1e400,  0.10]} ,"\u0061":"\/\ud800","event_id":null, "$serde_json::private::RawValue":"1""#;
    let kept = r#""x":{"b" : [1e400,  0.10]},"\u0061":"\/\ud800","event_id":null,"$serde_json::private::RawValue":"1""#;
    for (extra, kept) in [("", ""), (&*format!(",{written}"), kept)] {
        assert_eq!(
            value(&format!(
                r#""status":"read","user_number":"\/\"\\","message_id":"\u00e9","sender":"\ud83d\ude00"{extra}"#
            )),
            format!(
                r#"{{"event_id":"{id}","provider":"koomessage","channel":"whatsapp","channel_id":"c1","message_id":"é","sender":"😀","recipient":"/\"\\","status":"read","received_at":"2026-11-18T11:06:40.000456Z","extra":{{{kept}}}}}"#
            )
        );
    }
}

#[test]
fn structured_data_equals_the_binary_value() {
    let binary = record(EventMode::Binary, None).value;
    let structured = record(EventMode::Structured, None).value;
    let data = [b",\"data\":", &binary[..], b"}"].concat();
    assert!(structured.ends_with(&data), "{}", structured.escape_ascii());
}

#[test]
fn times_are_truncated_and_not_rounded() {
    let at = Timestamp::from_nanosecond(1_795_000_000_999_999_999).expect("a time");
    let mut channels = crate::contract::Channels::default();
    let channel = crate::contract::ChannelId::parse("c1").expect("a channel id");
    let password = crate::contract::Password::parse(b"p").expect("a password");
    channels.insert(channel, password, None);
    let sender = channels
        .authenticate("c1", Some(b"p"), Timestamp::UNIX_EPOCH)
        .expect("a sender");
    let body = br#"{"message_id":"m","sender":"s","user_number":"u","status":"read"}"#;
    let received = sender.sent(Arrival { at, trace: None }, body.to_vec());
    let event = received.validate().expect("a report");
    let record = event.normalise(EventMode::Binary.into()).into_record();
    assert_eq!(record.timestamp, 1_795_000_000_999);
    let time = ("ce_time", "2026-11-18T11:06:40.999999Z");
    assert_eq!(headers(&record)[4], time);
}

#[test]
fn phone_numbers_are_only_in_the_value() {
    let sound = r#"{"message_id":"m","sender":"8617300004526","user_number":"8618700005632","status":"read"}"#;
    let is_shown = |record: &Record| {
        let head = format!("{:?} {:?}", record.key, record.headers);
        head.contains("86173") || head.contains("86187")
    };
    for mode in [EventMode::Binary, EventMode::Structured] {
        let received = from_a_sender(sound.as_bytes(), None);
        let record = received
            .validate()
            .expect("a report")
            .normalise(mode.into())
            .into_record();
        assert!(!is_shown(&record), "{record:?}");
    }
    let doubled = r#","8617300004526":1,"8617300004526":1}"#;
    for body in [
        sound.replace("\"read\"", "\"8617300004526\""),
        sound.replace("\"read\"", "[\"8617300004526\"]"),
        sound.replace('}', doubled),
    ] {
        let received = from_a_sender(body.as_bytes(), None);
        let fault = received.validate().expect_err("a fault");
        let (_, record) = received.reject(fault).into_parts();
        assert!(!is_shown(&record), "{record:?}");
    }
}

#[test]
fn a_rejected_binary_body_has_no_key_and_no_member() {
    let body = b"{\"message_id\":\"m\",\"x\":\"\xff\x00\"}";
    let trace = TraceContext::parse(PARENT.as_bytes(), &[b"a=1", b"b=2"]);
    let received = from_a_sender(body, trace);
    let fault = received.validate().expect_err("a fault");
    let (_, record) = received.reject(fault).into_parts();
    assert_eq!(
        (record.key.as_deref(), &record.value[..]),
        (None, &body[..])
    );
    assert_eq!(
        headers(&record),
        [
            ("stage", "contract"),
            ("reason", "invalid-utf8"),
            ("channel_id", "c1"),
            ("received_at", "2026-11-18T11:06:40.000456Z"),
            ("traceparent", PARENT),
            ("tracestate", "a=1,b=2"),
        ]
    );
}
