//! Tests how a bridge stops, and how its next run continues.

use super::spooling::{HELD_BACK, direct, eventually, spooling};
use super::*;

fn left(spooled: u64, unpromised: u64) -> Undelivered {
    Undelivered {
        spooled,
        is_counted: true,
        is_due: spooled > 0,
        other_topics: Vec::new(),
        undeleted: 0,
        unpromised,
    }
}

#[tokio::test]
async fn a_stop_waits_for_reports_in_flight() {
    let fixture = Fixture::with("there", 1, &[("linger.ms", "500")]);
    assert_eq!(fixture.partitions().await, Some(1));
    let reply = fixture.deliver(Duration::ZERO).await;
    assert_eq!(reply, Err(PublishError::Deadline));
    assert!(!fixture.delivery.is_delivered());
    assert_eq!(fixture.delivery.finish(LONG), left(0, 0));
    assert!(fixture.delivery.is_delivered());
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
}

#[tokio::test]
async fn reports_without_an_acknowledgement_in_time_are_unpromised() {
    let fixture = Fixture::with("there", 1, &HELD_BACK);
    assert_eq!(fixture.partitions().await, Some(1));
    let reply = fixture.deliver(Duration::ZERO).await;
    assert_eq!(reply, Err(PublishError::Deadline));
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(0, 1));
}

/// Starts a bridge with a report in flight, whose sender was told 503.
async fn in_flight(spooling: Spooling) -> Fixture {
    let fixture = direct(10, &HELD_BACK, spooling).await;
    let reply = fixture.deliver(Duration::ZERO).await;
    assert_eq!(reply, Err(PublishError::Deadline));
    fixture
}

#[tokio::test]
async fn with_a_spool_a_report_in_flight_is_spooled_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = in_flight(spooling(directory.path(), LONG)).await;
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(1, 0));
}

#[tokio::test]
async fn with_a_full_spool_a_report_in_flight_is_unpromised_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.free_space = u64::MAX / 2;
    let fixture = in_flight(spooling).await;
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(0, 1));
}

#[tokio::test]
async fn the_next_run_knows_the_partitions_and_delivers_the_spooled_reports() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = |properties| {
        let spooling = spooling(directory.path(), Duration::from_millis(100));
        Fixture::start("later", 10, properties, Some(spooling))
    };
    let create = |fixture: &Fixture| {
        let broker = fixture.broker.as_ref().expect("a broker");
        broker.create_topic("later", 3).expect("a topic");
    };
    let first = start(&HELD_BACK);
    create(&first);
    let known = || first.delivery.events.shared().known_partitions();
    eventually("the partitions are not known", || known().is_some()).await;
    assert_eq!(first.deliver(LONG).await, Ok(KeptBy::Spool));
    assert_eq!(first.delivery.finish(Duration::ZERO), left(1, 0));
    drop(first);

    let second = start(&[]);
    // Its broker has no such topic yet.
    assert_eq!(second.delivery.events.shared().known_partitions(), Some(3));
    let spooled = || second.delivery.spool_level().expect("a spool").reports;
    eventually("the spooled report is not counted", || spooled() == 1).await;
    create(&second);
    eventually("it is not deleted", || spooled() == 0).await;
    assert_eq!(second.fates(), ["{fate=\"delivered\"} 1"]);
}

#[tokio::test]
async fn reports_for_an_unconfigured_topic_stay_in_the_spool() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = |topic| {
        let spooling = spooling(directory.path(), Duration::from_millis(100));
        Fixture::start(topic, 10, &[], Some(spooling))
    };
    let first = start("former");
    assert_eq!(first.deliver(LONG).await, Ok(KeptBy::Spool));
    assert_eq!(first.delivery.finish(Duration::ZERO), left(1, 0));
    drop(first);

    let second = start("there");
    assert_eq!(second.delivery.other_topics(), ["former"]);
    let expected = Undelivered {
        is_due: false,
        other_topics: vec!["former".to_owned()],
        ..left(1, 0)
    };
    assert_eq!(second.delivery.finish(LONG), expected);
}

#[test]
fn the_rest_is_empty_only_if_all_is_counted_and_nothing_is_repeated() {
    let is_empty = |left: Undelivered| left.is_empty();
    assert!(is_empty(left(0, 0)));
    assert!(!is_empty(left(1, 0)));
    assert!(!is_empty(left(0, 1)));
    assert!(!is_empty(Undelivered {
        is_counted: false,
        ..left(0, 0)
    }));
    assert!(!is_empty(Undelivered {
        undeleted: 1,
        ..left(0, 0)
    }));
}
