//! A bridge that stops, and what its next run knows.

use super::spooling::{HELD_BACK, direct, eventually, spooling};
use super::*;

fn left(spooled: u64, unpromised: u64) -> Left {
    Left {
        spooled,
        is_counted: true,
        is_due: spooled > 0,
        other_topics: Vec::new(),
        undeleted: 0,
        unpromised,
    }
}

#[tokio::test]
async fn what_is_in_flight_is_waited_for() {
    let fixture = Fixture::with("there", 1, &[("linger.ms", "500")]);
    assert_eq!(fixture.partitions().await, Some(1));
    let told = fixture.deliver(Duration::ZERO).await;
    assert_eq!(told, Err(NotTaken::Deadline));
    assert!(!fixture.delivery.is_delivered());
    assert_eq!(fixture.delivery.finish(LONG), left(0, 0));
    assert!(fixture.delivery.is_delivered());
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
}

#[tokio::test]
async fn what_kafka_does_not_take_in_time_is_left_unpromised() {
    let fixture = Fixture::with("there", 1, &HELD_BACK);
    assert_eq!(fixture.partitions().await, Some(1));
    let told = fixture.deliver(Duration::ZERO).await;
    assert_eq!(told, Err(NotTaken::Deadline));
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(0, 1));
}

/// A report in flight, whose sender has been told that nothing is promised.
async fn in_flight(spooling: Spooling) -> Fixture {
    let fixture = direct(10, &HELD_BACK, spooling).await;
    let told = fixture.deliver(Duration::ZERO).await;
    assert_eq!(told, Err(NotTaken::Deadline));
    fixture
}

#[tokio::test]
async fn with_a_spool_it_is_written_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = in_flight(spooling(directory.path(), LONG)).await;
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(1, 0));
}

#[tokio::test]
async fn what_a_full_spool_does_not_take_at_the_end_is_left_unpromised() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.free_space = u64::MAX / 2;
    let fixture = in_flight(spooling).await;
    assert_eq!(fixture.delivery.finish(Duration::ZERO), left(0, 1));
}

#[tokio::test]
async fn the_next_run_knows_the_partitions_and_delivers_what_was_left() {
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
    eventually("what was left is not counted", || spooled() == 1).await;
    create(&second);
    eventually("it is not deleted", || spooled() == 0).await;
    assert_eq!(second.fates(), ["{fate=\"delivered\"} 1"]);
}

#[tokio::test]
async fn reports_for_a_topic_that_is_not_configured_are_left_and_no_start_delivers_them() {
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
    let expected = Left {
        is_due: false,
        other_topics: vec!["former".to_owned()],
        ..left(1, 0)
    };
    assert_eq!(second.delivery.finish(LONG), expected);
}

#[test]
fn nothing_is_left_only_if_that_is_known_and_the_next_run_repeats_nothing() {
    let is_empty = |left: Left| left.is_empty();
    assert!(is_empty(left(0, 0)));
    assert!(!is_empty(left(1, 0)));
    assert!(!is_empty(left(0, 1)));
    assert!(!is_empty(Left {
        is_counted: false,
        ..left(0, 0)
    }));
    assert!(!is_empty(Left {
        undeleted: 1,
        ..left(0, 0)
    }));
}
