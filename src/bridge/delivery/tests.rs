//! Tests delivery to the embedded broker without a spool: answers and fates.

mod generations;
mod model;
mod rejected;
mod routing;
pub(super) mod spooling;
mod stopping;

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::lane::{Lane, Mode};
use super::pending::{Kept, KeptBy};
use super::*;
use crate::contract::Record;
use crate::kafka::{Acknowledged, EmbeddedBroker};

/// Delivery to a topic of the embedded broker.
pub(super) struct Fixture {
    pub(super) delivery: Delivery,
    metrics: Arc<Metrics>,
    pub(super) broker: Option<EmbeddedBroker>,
}

impl Fixture {
    pub(super) fn new(topic: &str) -> Self {
        Self::with(topic, 1, &[])
    }

    /// Starts with a limit of `reports` in flight, and with properties of librdkafka.
    fn with(topic: &str, reports: u64, properties: &[(&str, &str)]) -> Self {
        Self::start(topic, reports, properties, None)
    }

    pub(super) fn start(
        topic: &str,
        reports: u64,
        properties: &[(&str, &str)],
        spooling: Option<Spooling>,
    ) -> Self {
        let broker = EmbeddedBroker::start().expect("an embedded broker");
        broker.create_topic("there", 1).expect("a topic");
        let servers = broker.bootstrap_servers();
        let properties = properties.iter().copied();
        let settings = Settings::new(properties.chain([("bootstrap.servers", servers.as_str())]));
        let metrics = Metrics::new();
        let limits = InFlightLimits::new(InFlight {
            reports,
            bytes: 1 << 20,
        });
        let topics = Topics {
            events: topic.to_owned(),
            rejected: "rejected".to_owned(),
            producers: NonZeroUsize::new(2),
        };
        let delivery = Delivery::start(&settings, topics, limits, spooling, false, &metrics);
        Self {
            delivery: delivery.expect("producers"),
            metrics,
            broker: Some(broker),
        }
    }

    async fn partitions(&self) -> Option<u32> {
        self.delivery
            .events
            .shared()
            .watch
            .clone()
            .partitions()
            .await
    }

    async fn deliver(&self, within: Duration) -> Result<KeptBy, PublishError> {
        let record = Record {
            key: Some("m1".to_owned()),
            headers: Vec::new(),
            value: b"{}".to_vec(),
            timestamp: 1_795_000_000_000,
        };
        self.delivery
            .events
            .deliver(record, Instant::now() + within)
            .await
            .map(|kept| kept.by)
    }

    /// Waits until nothing is in flight, and returns the fates that were counted.
    fn fates(&self) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(10);
        while self.delivery.in_flight().reports > 0 {
            assert!(Instant::now() < until, "a report without a fate");
            thread::park_timeout(Duration::from_millis(10));
        }
        assert_eq!(self.delivery.in_flight().bytes, 0);
        assert_eq!(self.metrics.reports_unsure.get(), 0);
        let text = self.metrics.text();
        let fates = text
            .lines()
            .filter_map(|line| line.strip_prefix("koobridge_report_fates_total"));
        fates
            .filter(|fate| !fate.ends_with(" 0"))
            .map(str::to_owned)
            .collect()
    }
}

pub(super) const LONG: Duration = Duration::from_secs(10);

const POSITION: Acknowledged = Acknowledged {
    partition: 0,
    offset: Some(0),
};

#[test]
fn a_promise_shows_whether_the_spool_keeps_the_report() {
    let by_kafka = Kept {
        by: KeptBy::Kafka,
        position: None,
    };
    assert!(Promised::by(Kept::BY_SPOOL).is_spooled());
    assert!(!Promised::by(by_kafka).is_spooled());
}

#[tokio::test]
async fn a_promise_has_the_partition_and_offset_of_the_record() {
    let fixture = Fixture::new("there");
    assert_eq!(fixture.partitions().await, Some(1));
    for offset in 0..3 {
        let kept = routing::reply(&fixture, "m1", LONG).await;
        let promised = Promised::by(kept.expect("a promise"));
        let position = Acknowledged {
            offset: Some(offset),
            ..POSITION
        };
        assert_eq!(promised.position(), Some(position));
    }
}

#[tokio::test]
async fn a_delivery_report_releases_the_permit() {
    let fixture = Fixture::new("there");
    for _ in 0..3 {
        fixture.deliver(LONG).await.expect("an acknowledgement");
    }
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 3"]);
}

#[tokio::test]
async fn a_sender_that_disconnects_does_not_undo_the_delivery() {
    let fixture = Fixture::new("there");
    assert_eq!(fixture.partitions().await, Some(1));
    {
        let mut delivery = Box::pin(fixture.deliver(LONG));
        // Polled once, it has given the record to librdkafka, whose linger has hardly begun.
        tokio::select! {
            biased;
            reply = &mut delivery => panic!("{reply:?} before the broker can have it"),
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(fixture.fates(), ["{fate=\"sender_gone\"} 1"]);
}

#[tokio::test]
async fn a_deadline_leaves_the_report_unsure_until_it_is_delivered_late() {
    // The linger time delays the record, so that the deadline passes first on slow machines too.
    let fixture = Fixture::with("there", 1, &[("linger.ms", "500")]);
    assert_eq!(fixture.partitions().await, Some(1));
    let reply = fixture.deliver(Duration::ZERO).await;
    assert_eq!(reply.expect_err("a deadline"), PublishError::Deadline);
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
}

#[tokio::test]
async fn without_a_topic_nothing_is_admitted() {
    let fixture = Fixture::new("not-there");
    let reply = fixture.deliver(LONG).await;
    assert_eq!(reply.expect_err("no topic"), PublishError::NoTopic);
    assert_eq!(fixture.fates(), [""; 0]);
}

#[tokio::test]
async fn a_report_above_the_limit_is_shed_and_takes_no_permit() {
    let fixture = Fixture::new("there");
    let permit = fixture.delivery.limits.report(1).expect("a permit");
    let reply = fixture.deliver(LONG).await;
    assert_eq!(reply.expect_err("overload"), PublishError::Overloaded);
    drop(permit);
    fixture.deliver(LONG).await.expect("an acknowledgement");
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
}

/// Returns the value of a metric.
fn shown(fixture: &Fixture, name: &str) -> String {
    let text = fixture.metrics.text();
    let line = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    text.lines().find_map(line).expect("the metric is shown")
}

#[tokio::test]
async fn an_unsure_report_is_shown_in_flight_until_its_delivery_report() {
    // The linger time delays the record while the metrics are read.
    let fixture = Fixture::with("there", 1, &[("linger.ms", "1500")]);
    assert_eq!(fixture.partitions().await, Some(1));
    let reply = fixture.deliver(Duration::from_millis(10)).await;
    assert_eq!(reply.expect_err("a deadline"), PublishError::Deadline);
    assert_eq!(shown(&fixture, "koobridge_reports_unsure"), "1");
    assert_eq!(fixture.delivery.in_flight().reports, 1);
    // The permit is held until the delivery report, not until the answer.
    let reply = fixture.deliver(LONG).await;
    assert_eq!(reply.expect_err("overload"), PublishError::Overloaded);
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
    assert_eq!(shown(&fixture, "koobridge_reports_unsure"), "0");
    fixture.deliver(LONG).await.expect("an acknowledgement");
    // No producer is replaced.
    assert_eq!(shown(&fixture, "koobridge_producer_rebuilds_total"), "0");
}

#[tokio::test]
async fn a_report_that_is_never_acknowledged_fails_once_after_its_deadline() {
    let mut fixture = Fixture::with("there", 1, &[("message.timeout.ms", "1000")]);
    assert_eq!(fixture.partitions().await, Some(1));
    fixture.broker = None;
    let reply = fixture.deliver(Duration::from_millis(100)).await;
    assert_eq!(reply.expect_err("a deadline"), PublishError::Deadline);
    assert_eq!(shown(&fixture, "koobridge_reports_unsure"), "1");
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_failed_report_is_retried_until_the_deadline_and_counted_once() {
    let mut fixture = Fixture::with("there", 1, &[("message.timeout.ms", "100")]);
    assert_eq!(fixture.partitions().await, Some(1));
    fixture.broker = None;
    let asked = Instant::now();
    let reply = fixture.deliver(Duration::from_secs(3)).await;
    assert_eq!(reply.expect_err("a deadline"), PublishError::Deadline);
    // The first delivery times out within 2 s, so only a second one lasts longer.
    assert!(asked.elapsed() >= Duration::from_millis(2500));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_full_queue_sheds_the_report_and_takes_no_permit() {
    let properties = [("linger.ms", "500"), ("queue.buffering.max.messages", "1")];
    let fixture = Fixture::with("there", 2, &properties);
    assert_eq!(fixture.partitions().await, Some(1));
    let (first, second) = tokio::join!(biased; fixture.deliver(LONG), fixture.deliver(LONG));
    first.expect("an acknowledgement");
    assert_eq!(second.expect_err("a full queue"), PublishError::Overloaded);
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
}

#[tokio::test]
async fn a_rejected_size_is_remembered_only_without_compression() {
    for (codec, is_covered) in [("none", true), ("gzip", false)] {
        let fixture = Fixture::with("there", 1, &[("compression.codec", codec)]);
        let rejected_size = &fixture.delivery.events.shared().rejected_size;
        rejected_size.learn(5000);
        assert_eq!(rejected_size.covers(7000), is_covered, "{codec}");
    }
}

#[tokio::test]
async fn a_topic_that_is_created_later_takes_reports_without_a_restart() {
    let fixture = Fixture::new("later");
    let reply = fixture.deliver(LONG).await;
    assert_eq!(reply.expect_err("no topic"), PublishError::NoTopic);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    let until = Instant::now() + LONG;
    while fixture.delivery.events.shared().known_partitions() != Some(1) {
        assert!(Instant::now() < until, "the topic is not noticed");
        sleep(Duration::from_millis(10)).await;
    }
    fixture.deliver(LONG).await.expect("an acknowledgement");
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
}
