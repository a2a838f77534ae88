//! Tests reports that Kafka rejects for their size.

use super::spooling::{HELD_BACK, direct, eventually, spooling};
use super::*;

/// Starts a bridge for which every record is too large, on the events topic or on both.
fn rejecting_fixture(both: bool, spooling: Option<Spooling>) -> Fixture {
    let fixture = Fixture::start("there", 10, &[], spooling);
    fixture.delivery.events.shared().rejected_size.learn(1);
    if both {
        fixture.delivery.rejected.shared().rejected_size.learn(1);
    }
    fixture
}

async fn create_rejected(fixture: &Fixture) {
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("rejected", 1).expect("a topic");
    let topic = &fixture.delivery.rejected.shared().watch;
    let is_known = || topic.known_partitions() == Some(1);
    eventually("the rejected topic is not noticed", is_known).await;
}

/// Waits until the state of the rejected topic is known.
async fn rejected_is_known(fixture: &Fixture) {
    let mut topic = fixture.delivery.rejected.shared().watch.clone();
    topic.partitions().await;
}

#[tokio::test]
async fn a_record_that_kafka_rejects_is_redirected_and_counted_once() {
    let fixture = rejecting_fixture(false, None);
    create_rejected(&fixture).await;
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Kafka));
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
    let rejected = shown(
        &fixture,
        "koobridge_reports_rejected_total{reason=\"record-too-large\"}",
    );
    assert_eq!(rejected, "1");
}

#[tokio::test]
async fn a_record_that_kafka_rejects_fails_without_a_rejected_topic() {
    let fixture = rejecting_fixture(false, None);
    rejected_is_known(&fixture).await;
    assert_eq!(fixture.deliver(LONG).await, Err(PublishError::NoTopic));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_record_that_both_topics_reject_fails_without_a_spool() {
    let fixture = rejecting_fixture(true, None);
    create_rejected(&fixture).await;
    assert_eq!(fixture.deliver(LONG).await, Err(PublishError::Rejected));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_record_that_kafka_rejects_is_spooled_until_the_rejected_topic_exists() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = rejecting_fixture(false, Some(spooling(directory.path(), LONG)));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    create_rejected(&fixture).await;
    eventually("the rejected topic does not get it", || reports() == 0).await;
    assert!(fixture.delivery.is_delivered());
}

#[tokio::test]
async fn a_rejected_record_fails_if_the_spool_is_full_and_no_rejected_topic_exists() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.free_space = u64::MAX / 2;
    let fixture = direct(10, &[], spooling).await;
    fixture.delivery.events.shared().rejected_size.learn(1);
    assert_eq!(fixture.deliver(LONG).await, Err(PublishError::NoRoom));
    assert_eq!(fixture.fates(), ["{fate=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_record_that_both_topics_reject_is_quarantined_with_a_spool() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = rejecting_fixture(true, Some(spooling(directory.path(), LONG)));
    create_rejected(&fixture).await;
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
    let spooled = || {
        let level = fixture.delivery.spool_level().expect("a spool");
        (level.reports, level.quarantined)
    };
    eventually("it is not quarantined", || spooled() == (1, 1)).await;
    assert_eq!(fixture.fates(), [""; 0]);
    // It counts once, though both topics reject it.
    let rejected = shown(
        &fixture,
        "koobridge_reports_rejected_total{reason=\"record-too-large\"}",
    );
    assert_eq!(rejected, "1");
}

#[tokio::test]
async fn redirected_reports_count_towards_the_memory_for_reading_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.memory = 16 << 10;
    let fixture = Fixture::start("later", 100, &HELD_BACK, Some(spooling));
    create_rejected(&fixture).await;
    for number in 0..20 {
        let record = Record {
            key: Some(format!("m{number}")),
            headers: Vec::new(),
            value: vec![b'x'; 1 << 10],
            timestamp: 1_795_000_000_000,
        };
        let events = &fixture.delivery.events;
        let reply = events.deliver(record, Instant::now() + LONG).await;
        assert_eq!(reply, Ok(Kept::BY_SPOOL));
    }
    let Delivery {
        events, rejected, ..
    } = &fixture.delivery;
    events.shared().rejected_size.learn(1);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    let redirected = || rejected.partitions.all()[0].lane(Lane::in_flight);
    let is_full = || rejected.partitions.all().len() == 1 && redirected() >= 4;
    eventually("nothing is redirected", is_full).await;
    for _ in 0..10 {
        events.partitions.all()[0].drain(&events.producers);
    }
    // There is room for four, and half as many may be read at once.
    assert!(redirected() <= 7, "{} redirected", redirected());
}

/// The inbox of the rejected topic has no room for another row.
#[tokio::test]
async fn a_rejected_record_keeps_its_row_until_the_rejected_topic_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.disk_limit = 1 << 20;
    let fixture = Fixture::start("later", 1000, &[], Some(spooling));
    let events = &fixture.delivery.events;
    let mut spooled = 0_u64;
    loop {
        let record = Record {
            key: Some(format!("m{spooled}")),
            headers: Vec::new(),
            value: vec![b'x'; 4 << 10],
            timestamp: 1_795_000_000_000,
        };
        match events.deliver(record, Instant::now() + LONG).await {
            Ok(Kept::BY_SPOOL) => spooled += 1,
            reply => break assert_eq!(reply, Err(PublishError::NoRoom)),
        }
    }
    assert!(spooled > 5, "{spooled}");
    events.shared().rejected_size.learn(1);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    let waits = || !fixture.delivery.redirects.is_empty();
    eventually("nothing is redirected", waits).await;
    let reports = || fixture.delivery.spool_level().expect("a spool").reports;
    assert_eq!(reports(), spooled);
    create_rejected(&fixture).await;
    let is_over = || reports() == 0 && fixture.delivery.is_delivered();
    eventually("the rejected topic does not get them", is_over).await;
    let mut fates = fixture.fates();
    fates.sort();
    let delivered = format!("{{fate=\"delivered\"}} {spooled}");
    assert_eq!(fates, [delivered, "{fate=\"failed\"} 1".to_owned()]);
}
