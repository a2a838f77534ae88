//! Tests delivery with a spool.

use std::path::Path;

use super::*;

/// Properties with which records stay in librdkafka's queue for longer than any test waits.
pub(in crate::bridge::delivery) const HELD_BACK: [(&str, &str); 1] = [("linger.ms", "60000")];

/// Returns the settings of a spool to which reports spill after `after`.
pub(in crate::bridge::delivery) fn spooling(directory: &Path, after: Duration) -> Spooling {
    Spooling {
        spool: Options {
            directory: directory.to_owned(),
            disk_limit: 1 << 30,
            free_space: 0,
            memory: 1 << 20,
        },
        after,
    }
}

pub(in crate::bridge::delivery) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_kafka_and_with_a_full_spool_a_report_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.free_space = u64::MAX / 2;
    let fixture = Fixture::start("later", 10, &[], Some(spooling));
    let reply = fixture.deliver(LONG).await;
    assert_eq!(reply, Err(PublishError::NoRoom));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_spooled_report_gets_its_fate_and_is_deleted_when_kafka_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let fixture = Fixture::start("later", 10, &[], Some(spooling));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
    assert_eq!(fixture.fates(), [""; 0]);
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    assert_eq!(reports(), 1);
    // Each topic has an inbox.
    assert_eq!(fixture.delivery.waiting_partitions(), (1, 2));
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    eventually("it is not deleted", || reports() == 0).await;
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
    assert_eq!(fixture.delivery.waiting_partitions(), (0, 2));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Kafka));
}

/// Tries further reports when a fast disk writes one before its deadline.
#[tokio::test]
async fn a_report_that_is_spooled_after_its_deadline_is_delivered_late() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let fixture = Fixture::start("later", 10, &[], Some(spooling));
    let mut spooled = 0;
    while fixture.deliver(Duration::ZERO).await == Ok(KeptBy::Spool) {
        spooled += 1;
    }
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    eventually("it is not spooled", || reports() == spooled + 1).await;
    assert_eq!(fixture.fates(), [""; 0]);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    eventually("it is not delivered", || reports() == 0).await;
    let late = "{fate=\"delivered_late\"} 1".to_owned();
    let fates = fixture.fates();
    assert!(fates.contains(&late), "{fates:?}");
}

#[tokio::test]
async fn a_spool_that_exceeds_its_memory_is_drained_in_parts() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.memory = 8 << 10;
    let fixture = Fixture::start("later", 100, &[], Some(spooling));
    for _ in 0..20 {
        let record = Record {
            key: Some("m1".to_owned()),
            headers: Vec::new(),
            value: vec![b'x'; 1 << 10],
            timestamp: 1_795_000_000_000,
        };
        let reply = fixture
            .delivery
            .events
            .deliver(record, Instant::now() + LONG);
        assert_eq!(reply.await, Ok(Kept::BY_SPOOL));
    }
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    eventually("it is not drained", || reports() == 0).await;
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 20"]);
}

/// Starts with a spool, and waits until the topic's partitions are known.
pub(super) async fn direct(
    reports: u64,
    properties: &[(&str, &str)],
    spooling: Spooling,
) -> Fixture {
    let fixture = Fixture::start("there", reports, properties, Some(spooling));
    let known = || fixture.delivery.events.shared().known_partitions();
    eventually("the partitions are not known", || known().is_some()).await;
    fixture
}

#[tokio::test]
async fn a_report_that_has_waited_too_long_spills() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), Duration::from_millis(100));
    let fixture = direct(10, &HELD_BACK, spooling).await;
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
}

/// On a slow disk the deadline can pass first, but the report is still spooled.
#[tokio::test]
async fn a_report_goes_to_the_spool_before_its_deadline_however_long_it_was_to_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = direct(10, &HELD_BACK, spooling(directory.path(), LONG)).await;
    let reply = fixture.deliver(Duration::from_secs(1)).await;
    assert!(
        [Ok(KeptBy::Spool), Err(PublishError::Deadline)].contains(&reply),
        "{reply:?}"
    );
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    eventually("it is not in the spool", || reports() == 1).await;
}

#[tokio::test]
async fn a_report_spills_if_the_queue_of_librdkafka_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let properties = [("linger.ms", "500"), ("queue.buffering.max.messages", "1")];
    let fixture = direct(10, &properties, spooling).await;
    let reply = tokio::join!(biased; fixture.deliver(LONG), fixture.deliver(LONG));
    assert_eq!(reply, (Ok(KeptBy::Kafka), Ok(KeptBy::Spool)));
}

#[tokio::test]
async fn reports_spill_at_once_above_half_of_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let fixture = direct(4, &HELD_BACK, spooling).await;
    let reply = tokio::join!(
        fixture.deliver(LONG),
        fixture.deliver(LONG),
        fixture.deliver(LONG)
    );
    let spooled = Ok(KeptBy::Spool);
    assert_eq!(reply, (spooled, spooled, spooled));
}

#[tokio::test]
async fn reports_wait_for_kafka_up_to_half_of_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let fixture = direct(4, &[("linger.ms", "100")], spooling).await;
    let reply = tokio::join!(fixture.deliver(LONG), fixture.deliver(LONG));
    assert_eq!(reply, (Ok(KeptBy::Kafka), Ok(KeptBy::Kafka)));
}

#[tokio::test]
async fn a_lane_without_anything_in_flight_does_not_spill_for_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    // Longer than a write to the spool takes, which would otherwise answer first.
    let fixture = direct(4, &[("linger.ms", "1000")], spooling).await;
    let others = [(); 3].map(|()| fixture.delivery.limits.report(1).expect("a permit"));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Kafka));
    drop(others);
}
