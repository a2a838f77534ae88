//! The event as a subscriber reads it from a real Kafka.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use koobridge::contract::event_id;
use koobridge::kafka::partition_for;
use serde_json::{Value, json};

use crate::support::bridge::{Bridge, CHANNEL};
use crate::support::cluster;
use crate::support::http::{body, exchange, path, post, report, request};
use crate::support::records::{Record, read_all};

fn only(records: Vec<Record>) -> Record {
    let [record] = <[Record; 1]>::try_from(records).expect("exactly one record");
    record
}

fn value(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_ref().expect("never null")).expect("JSON")
}

/// Returns the printed request of the interface document: its header names, order and body. Only its content-length is
/// corrected (the document says 401), and its masked password is filled in.
fn printed_sample() -> Vec<u8> {
    let body = "{\n    \"sender\": \"86173xxxx4526\",\n    \"user_number\": \"86187xxxx5632\", \n    \
                \"message_id\": \"044852ee407b40ec88ea65adb73ff5c27\",\n    \"status\": \"read\"\n}";
    format!(
        "POST /social/on/whatsapp/koomessage/report/202105102694809992 HTTP/1.1\r\n\
         host: 10.10.10.2:18446\r\n\
         connection: Keep-Alive\r\n\
         x-forwarded-for: 10.10.10.3, 10.10.10.4\r\n\
         x-real-ip: 10.10.10.5\r\n\
         content-length: {}\r\n\
         remote-host: 10.10.10.6\r\n\
         user-agent: java/socket\r\n\
         Authorization: {}\r\n\
         content-type: application/json; charset=utf-8\r\n\
         accept: */*\r\n\r\n{body}",
        body.len(),
        crate::support::bridge::PASSWORD,
    )
    .into_bytes()
}

#[test]
fn the_documents_sample_becomes_the_documented_event() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[]);
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
    };
    let before = now();
    let answer = exchange(bridge.ingress, &printed_sample());
    let after = now();
    assert_eq!((answer.status, answer.body.len()), (200, 0));

    let record = only(read_all(kafka.bootstrap(), &topic));
    let message_id = "044852ee407b40ec88ea65adb73ff5c27";
    assert_eq!(record.key.as_deref(), Some(message_id.as_bytes()));
    let partition = partition_for(message_id.as_bytes(), 6);
    assert_eq!(u32::try_from(record.partition), Ok(partition));

    let received_at = record.header("ce_time").expect("a time").to_owned();
    let arrival: jiff::Timestamp = received_at.parse().expect("RFC 3339");
    let arrival_ms = arrival.as_millisecond();
    let since_1970 = Duration::from_millis(u64::try_from(arrival_ms).expect("after 1970"));
    assert!(since_1970 + Duration::from_millis(1) > before && since_1970 <= after);
    assert_eq!(record.timestamp, Some(arrival_ms));

    let id = "84620b2a-4736-5985-914a-42930cc3132d";
    assert_eq!(event_id(CHANNEL, message_id, "read").to_string(), id);
    let headers: Vec<(&str, &str)> = record
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                str::from_utf8(value.as_ref().expect("a value")).expect("text"),
            )
        })
        .collect();
    let source = path(CHANNEL);
    assert_eq!(
        headers,
        [
            ("ce_specversion", "1.0"),
            ("ce_id", id),
            ("ce_source", &source),
            ("ce_type", "com.huaweicloud.koomessage.report.v1"),
            ("ce_time", &received_at),
            ("ce_subject", message_id),
            ("ce_dataschema", "urn:koobridge:koomessage-report-event:1"),
            ("content-type", "application/json"),
        ]
    );
    assert_eq!(
        String::from_utf8(record.value.expect("never null")).expect("text"),
        format!(
            "{{\"event_id\":\"{id}\",\"provider\":\"koomessage\",\"channel\":\"whatsapp\",\
             \"channel_id\":\"{CHANNEL}\",\"message_id\":\"{message_id}\",\
             \"sender\":\"86173xxxx4526\",\"recipient\":\"86187xxxx5632\",\"status\":\"read\",\
             \"received_at\":\"{received_at}\",\"extra\":{{}}}}"
        )
    );
}

#[test]
fn unknown_members_arrive_unchanged_and_escapes_decoded() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[]);
    let extra =
        r#""n":1e400,"m":0.10,"k":12345678901234567890,"o":{ "a" : [1,  2] },"\u0065":"\ud800""#;
    let body = format!(
        r#"{{"sender":"\u00e9\/","user_number":"\ud83d\ude00","message_id":"m1","status":"read",{extra}}}"#
    );
    assert_eq!(
        exchange(bridge.ingress, &report(body.as_bytes())).status,
        200
    );
    let record = only(read_all(kafka.bootstrap(), &topic));
    let text = String::from_utf8(record.value.expect("never null")).expect("text");
    assert!(
        text.contains("\"sender\":\"é/\",\"recipient\":\"😀\","),
        "{text}"
    );
    assert!(
        text.ends_with(&format!(",\"extra\":{{{extra}}}}}")),
        "{text}"
    );
}

#[test]
fn a_retry_carries_the_same_id() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[]);
    for _ in 0..2 {
        assert_eq!(
            exchange(bridge.ingress, &report(&body("m1", "read"))).status,
            200
        );
    }
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "delivered"))).status,
        200
    );
    let records = read_all(kafka.bootstrap(), &topic);
    let ids: Vec<_> = records
        .iter()
        .map(|record| record.header("ce_id"))
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    assert_eq!(ids.len(), 3);
}

#[test]
fn structured_mode_puts_the_attributes_into_the_value() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[("kafka.event_mode", "structured")]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "failed"))).status,
        200
    );
    let record = only(read_all(kafka.bootstrap(), &topic));
    assert_eq!(record.headers.len(), 1);
    assert_eq!(
        record.header("content-type"),
        Some("application/cloudevents+json; charset=UTF-8")
    );
    let event = value(&record);
    let (id, time) = (&event["id"], &event["time"]);
    assert_eq!(id, &json!(event_id(CHANNEL, "m1", "failed").to_string()));
    assert_eq!(
        event,
        json!({
            "specversion": "1.0",
            "id": id,
            "source": path(CHANNEL),
            "type": "com.huaweicloud.koomessage.report.v1",
            "time": time,
            "subject": "m1",
            "dataschema": "urn:koobridge:koomessage-report-event:1",
            "datacontenttype": "application/json",
            "data": {
                "event_id": id,
                "provider": "koomessage",
                "channel": "whatsapp",
                "channel_id": CHANNEL,
                "message_id": "m1",
                "sender": "86173xxxx4526",
                "recipient": "86187xxxx5632",
                "status": "failed",
                "received_at": time,
                "extra": {}
            }
        })
    );
}

#[test]
fn the_record_continues_the_trace() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let line = post();
    let traced = [
        ("traceparent", Some(parent)),
        ("tracestate", Some("vendor=1")),
    ];
    let sound = request(&line, &traced, &body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &sound).status, 200);
    let unsound = [
        ("traceparent", Some("00-nonsense")),
        ("tracestate", Some("vendor=1")),
    ];
    let unsound = request(&line, &unsound, &body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &unsound).status, 200);

    let records = read_all(kafka.bootstrap(), &topic);
    let trace = |record: &Record| {
        ["traceparent", "tracestate"].map(|name| record.header(name).map(str::to_owned))
    };
    assert_eq!(
        trace(&records[0]),
        [Some(parent.to_owned()), Some("vendor=1".to_owned())]
    );
    assert_eq!(trace(&records[1]), [None, None]);
}

#[test]
fn phone_numbers_are_only_in_the_value() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 6, &[("log.level", "trace")]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    let record = only(read_all(kafka.bootstrap(), &topic));
    let elsewhere = format!(
        "{:?} {:?} {} {}",
        record.key,
        record.headers,
        bridge.logged(),
        bridge.probe("/metrics").text()
    );
    for number in ["86173xxxx4526", "86187xxxx5632"] {
        assert!(!elsewhere.contains(number));
    }
}
