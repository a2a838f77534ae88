//! The answers when Kafka is silent or refuses records.
//!
//! Kafka is silent when its brokers are frozen. Refusals come from librdkafka's mock cluster, which returns any error
//! on request; it judges neither loss nor order nor repeats.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;

use crate::support::bridge::{BUSY, Bridge, eventually};
use crate::support::cluster::{self, Exclusive};
use crate::support::http::{Connection, body, exchange, report};
use crate::support::records::{read_all, until};

fn mock() -> MockCluster<'static, DefaultProducerContext> {
    let broker = MockCluster::new(1).expect("a mock cluster");
    for topic in ["events", "rejected"] {
        broker.create_topic(topic, 1, 1).expect("a topic");
    }
    broker
}

/// Starts a bridge on the real cluster that has delivered a report, so that its producer is connected.
fn connected_bridge(kafka: &Exclusive, settings: &[(&str, &str)]) -> Bridge {
    let topic = kafka.topic("delivery", 1);
    let rejected = kafka.topic("delivery-rejected", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, settings);
    // When the machine is slow, the first connections can take longer than the deadline.
    eventually(
        || match exchange(bridge.ingress, &report(&body("first", "read"))).status {
            200 => Ok(()),
            status => Err(format!("the answer is {status}")),
        },
    );
    bridge.wait_for_metric("koobridge_reports_in_flight", 0);
    bridge
}

#[test]
fn a_retryable_failure_is_retried() {
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
fn a_report_that_fails_past_the_deadline_is_503_and_failed() {
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
    assert!(started.elapsed() < Duration::from_secs(1) + BUSY);
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    bridge.wait_for_metric("koobridge_report_fates_total{fate=\"failed\"}", 1);
    let line: Value =
        serde_json::from_str(&bridge.wait_for_log("reports were given up")).expect("JSON");
    let told = ["level", "topic", "reports", "reason"].map(|name| line[name].clone());
    let reason = "Kafka: TopicAuthorizationFailed (Broker: Topic authorization failed)";
    assert_eq!(
        told,
        [
            "WARN".into(),
            "events".into(),
            1.into(),
            Value::from(reason)
        ]
    );
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 0);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
    broker.clear_request_errors(RDKafkaApiKey::Produce);
    // After each refusal librdkafka requests a new producer id, which can take longer than the deadline.
    eventually(
        || match exchange(bridge.ingress, &report(&body("m2", "read"))).status {
            200 => Ok(()),
            status => Err(format!("still {status}")),
        },
    );
}

#[test]
fn too_much_in_flight_is_503_at_once_with_a_jittered_retry_after() {
    let kafka = cluster::exclusive();
    for limit in [
        "ingress.reports_in_flight",
        "kafka.properties.queue.buffering.max.messages",
    ] {
        // The deadline is so long that the report in flight does not reach it, even when the other requests take long.
        let bridge = connected_bridge(&kafka, &[(limit, "1"), ("ingress.deadline", "20s")]);
        kafka.freeze_all();
        let mut first = Connection::open(bridge.ingress);
        first.send(&report(&body("m1", "read")));
        bridge.wait_for_metric("koobridge_reports_in_flight", 1);
        for _ in 0..20 {
            let started = Instant::now();
            let answer = exchange(bridge.ingress, &report(&body("m2", "read")));
            assert!(started.elapsed() < Duration::from_secs(10));
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
        kafka.thaw_all();
        assert_eq!(first.answer().status, 200);
        assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
        assert_eq!(bridge.metric("koobridge_in_flight_bytes"), 0);
    }
}

#[test]
fn past_the_byte_limit_a_report_is_503() {
    let kafka = cluster::exclusive();
    let settings = [
        ("ingress.bytes_in_flight", "80 KiB"),
        ("ingress.deadline", "20s"),
    ];
    let bridge = connected_bridge(&kafka, &settings);
    kafka.freeze_all();
    let mut large = body("m1", "read");
    let padding = format!(",\"pad\":\"{}\"}}", "x".repeat(60 << 10));
    large.pop();
    large.extend_from_slice(padding.as_bytes());
    let mut first = Connection::open(bridge.ingress);
    first.send(&report(&large));
    bridge.wait_for_metric("koobridge_reports_in_flight", 1);
    assert_eq!(exchange(bridge.ingress, &report(&large)).status, 503);
    let mut small = Connection::open(bridge.ingress);
    small.send(&report(&body("m2", "read")));
    bridge.wait_for_metric("koobridge_reports_in_flight", 2);
    kafka.thaw_all();
    assert_eq!([first.answer().status, small.answer().status], [200, 200]);
}

#[test]
fn past_the_deadline_a_report_is_503_and_unsure_until_kafka_has_it() {
    let kafka = cluster::exclusive();
    let settings = [
        ("ingress.deadline", "1s"),
        ("ingress.body_timeout", "500ms"),
    ];
    let bridge = connected_bridge(&kafka, &settings);
    let [deadline, late] = [
        "koobridge_reports_total{answer=\"deadline\"}",
        "koobridge_report_fates_total{fate=\"delivered_late\"}",
    ];
    let [deadlines, lates] = [deadline, late].map(|metric| bridge.metric(metric));
    kafka.freeze_all();
    let started = Instant::now();
    let answer = exchange(bridge.ingress, &report(&body("m1", "read")));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(1) + BUSY);
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(bridge.metric(deadline), deadlines + 1);
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 1);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 1);
    kafka.thaw_all();
    bridge.wait_for_metric(late, lates + 1);
    assert_eq!(bridge.metric("koobridge_reports_unsure"), 0);
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
}

/// The errors after which a producer id cannot be used.
#[test]
fn an_unusable_producer_is_replaced_without_a_restart() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH as INVALID_EPOCH,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER as OUT_OF_ORDER,
        RD_KAFKA_RESP_ERR_PRODUCER_FENCED as FENCED,
    };
    for error in [INVALID_EPOCH, OUT_OF_ORDER, FENCED] {
        let broker = mock();
        let mut bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &[]);
        assert_eq!(
            exchange(bridge.ingress, &report(&body("m0", "read"))).status,
            200
        );
        broker.request_errors(RDKafkaApiKey::Produce, &[error; 3]);
        eventually(
            || match exchange(bridge.ingress, &report(&body("m1", "read"))).status {
                200 => Ok(()),
                status => Err(format!("{error:?}: still {status}\n{}", bridge.logged())),
            },
        );
        assert!(bridge.is_running());
        assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
        println!(
            "{error:?}: {} rebuilt",
            bridge.metric("koobridge_producer_rebuilds_total")
        );
    }
}

#[test]
fn a_refused_producer_id_is_requested_again() {
    let broker = mock();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    broker.request_errors(RDKafkaApiKey::InitProducerId, &[denied; 6]);
    let bridge = Bridge::start(&broker.bootstrap_servers(), "events", "rejected", &[]);
    eventually(
        || match exchange(bridge.ingress, &report(&body("m1", "read"))).status {
            200 => Ok(()),
            status => Err(format!("still {status}\n{}", bridge.logged())),
        },
    );
    let rebuilds = bridge.metric("koobridge_producer_rebuilds_total");
    assert!(rebuilds >= 1, "fatal errors are not mended by waiting");
    // Reports that were answered 503 at the deadline may arrive as well.
    let records = read_all(&broker.bootstrap_servers(), "events");
    let ids: BTreeSet<_> = records
        .iter()
        .map(|record| record.header("ce_id"))
        .collect();
    assert_eq!(ids.len(), 1, "{records:?}");
}

#[test]
fn a_producer_without_acknowledgements_for_a_minute_is_replaced() {
    let broker = mock();
    let settings = [("ingress.reports_in_flight", "100")];
    let bridge = Bridge::ready(&broker.bootstrap_servers(), "events", "rejected", &settings);
    // librdkafka retries this error by itself and reports nothing.
    let later = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    broker.request_errors(RDKafkaApiKey::Produce, &vec![later; 10_000]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        503
    );
    let replaced = until(Duration::from_secs(90), || {
        match bridge.metric("koobridge_producer_rebuilds_total") {
            0 => Err(bridge.logged()),
            _ => Ok(()),
        }
    });
    replaced.unwrap_or_else(|logged| panic!("not replaced:\n{logged}"));
    broker.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m2", "read"))).status,
        200
    );
    bridge.wait_for_metric("koobridge_reports_in_flight", 0);
}
