//! What a sender is told while Kafka is slow, full or failing.
//!
//! On librdkafka's mock cluster, whose answers can be delayed and replaced by errors at will. It
//! judges neither loss nor order nor repeats: `faults` does, on a real Kafka.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::bridge::Bridge;
use crate::http::{Connection, body, exchange, report};
use crate::records::read_all;

fn mock() -> MockCluster<'static, DefaultProducerContext> {
    let broker = MockCluster::new(1).expect("a mock cluster");
    for topic in ["events", "rejected"] {
        broker.create_topic(topic, 1, 1).expect("a topic");
    }
    broker
}

#[test]
fn what_fails_for_a_reason_that_can_pass_is_tried_again() {
    let broker = mock();
    let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &[]);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.request_errors(RDKafkaApiKey::Produce, &[denied, denied]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    let records = read_all(&broker.bootstrap_servers(), "events");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].headers.len(), 8);
    assert_eq!(records[0].key.as_deref(), Some(&b"m1"[..]));
    assert_eq!(
        bridge.metric("koobridge_report_fates_total{fate=\"delivered\"}"),
        1
    );
    assert_eq!(
        bridge.metric("koobridge_report_fates_total{fate=\"failed\"}"),
        0
    );
    assert_eq!(bridge.metric("koobridge_in_flight_bytes"), 0);
}

#[test]
fn what_fails_for_longer_than_the_deadline_is_503_and_failed() {
    let broker = mock();
    let settings = [
        ("ingress.deadline", "1s"),
        ("ingress.body_timeout", "500ms"),
    ];
    let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &settings);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.request_errors(RDKafkaApiKey::Produce, &[denied; 100]);
    let started = Instant::now();
    let answer = exchange(bridge.ingress, &report(&body("m1", "read")));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    bridge.wait_for_metric("koobridge_report_fates_total{fate=\"failed\"}", 1);
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 0);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
    broker.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m2", "read"))).status,
        200
    );
}

#[test]
fn too_much_in_flight_is_503_at_once_with_a_jittered_retry_after() {
    for settings in [
        [
            ("ingress.reports_in_flight", "1"),
            ("ingress.deadline", "4500ms"),
        ],
        [
            ("kafka.properties.queue.buffering.max.messages", "1"),
            ("ingress.deadline", "4500ms"),
        ],
    ] {
        let broker = mock();
        let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &settings);
        broker
            .broker_round_trip_time(1, Duration::from_secs(2))
            .expect("a slow broker");
        let mut first = Connection::open(bridge.ingress);
        first.send(&report(&body("m1", "read")));
        bridge.wait_for_metric("koobridge_reports_in_flight", 1);
        for _ in 0..20 {
            let started = Instant::now();
            let answer = exchange(bridge.ingress, &report(&body("m2", "read")));
            assert!(started.elapsed() < Duration::from_secs(1));
            assert_eq!(
                (answer.status, answer.problem().0),
                (503, "overloaded".to_owned())
            );
            let seconds: u32 = answer
                .header("retry-after")
                .expect("set")
                .parse()
                .expect("seconds");
            assert!((1..=5).contains(&seconds));
        }
        assert_eq!(
            bridge.metric("koobridge_reports_total{answer=\"shed\"}"),
            20
        );
        assert_eq!(first.answer().status, 200);
        bridge.wait_for_metric("koobridge_reports_in_flight", 0);
        assert_eq!(bridge.metric("koobridge_in_flight_bytes"), 0);
    }
}

#[test]
fn past_the_byte_ceiling_it_is_503_too() {
    let broker = mock();
    let settings = [("ingress.bytes_in_flight", "80 KiB")];
    let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &settings);
    broker
        .broker_round_trip_time(1, Duration::from_secs(2))
        .expect("a slow broker");
    let mut large = body("m1", "read");
    let padding = format!(",\"pad\":\"{}\"}}", "x".repeat(60 << 10));
    large.pop();
    large.extend_from_slice(padding.as_bytes());
    let mut first = Connection::open(bridge.ingress);
    first.send(&report(&large));
    bridge.wait_for_metric("koobridge_reports_in_flight", 1);
    assert_eq!(exchange(bridge.ingress, &report(&large)).status, 503);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m2", "read"))).status,
        200
    );
    assert_eq!(first.answer().status, 200);
}

#[test]
fn past_the_deadline_it_is_503_and_unsure_until_kafka_has_it() {
    let broker = mock();
    let settings = [
        ("ingress.deadline", "1s"),
        ("ingress.body_timeout", "500ms"),
    ];
    let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &settings);
    broker
        .broker_round_trip_time(1, Duration::from_secs(3))
        .expect("a slow broker");
    let started = Instant::now();
    let answer = exchange(bridge.ingress, &report(&body("m1", "read")));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        bridge.metric("koobridge_reports_total{answer=\"deadline\"}"),
        1
    );
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 1);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 1);
    bridge.wait_for_metric("koobridge_report_fates_total{fate=\"delivered_late\"}", 1);
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 0);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
}
