//! Tests which lane a record belongs to, and which partition it is sent to.

use super::spooling::{HELD_BACK, direct, eventually, spooling};
use super::*;
use crate::kafka::{Condition, partition_for};

fn record(key: Option<&str>) -> Record {
    Record {
        key: key.map(str::to_owned),
        headers: Vec::new(),
        value: vec![b'x'; 1 << 10],
        timestamp: 1_795_000_000_000,
    }
}

/// Starts a bridge whose events topic has three partitions.
async fn three_partitions(spooling: Option<Spooling>) -> Fixture {
    let fixture = Fixture::start("three", 10, &[], spooling);
    create(&fixture, "three", 3);
    let condition = || fixture.delivery.topics()[0].1.condition.clone();
    eventually("the topic is not noticed", || {
        condition() == Condition::Ready
    })
    .await;
    fixture.delivery.events.update_partitions();
    fixture
}

fn create(fixture: &Fixture, topic: &str, partitions: u16) {
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic(topic, partitions).expect("a topic");
}

#[tokio::test]
async fn records_without_a_key_go_to_the_direct_lanes_in_turn() {
    let fixture = three_partitions(None).await;
    let partitions = &fixture.delivery.events.partitions;
    let four = || [(); 4].map(|()| partitions.of(&record(None), 3).number());
    assert_eq!(four(), [0, 1, 2, 0]);
    partitions.all()[1].feed(Input::Pause);
    assert_eq!(four(), [2, 2, 0, 2]);
    partitions
        .all()
        .iter()
        .for_each(|partition| partition.feed(Input::Pause));
    assert_eq!(four(), [2, 0, 1, 2]);
}

#[tokio::test]
async fn records_with_a_key_go_to_the_same_partition_as_with_the_java_client() {
    let fixture = three_partitions(None).await;
    let partitions = &fixture.delivery.events.partitions;
    for key in ["m1", "m2", "m3", "m4"] {
        let number = partitions.of(&record(Some(key)), 3).number();
        assert_eq!(number, partition_for(key.as_bytes(), 3));
    }
}

/// Delivers a report, and returns the whole answer.
pub(super) async fn reply(
    fixture: &Fixture,
    key: &str,
    within: Duration,
) -> Result<Kept, PublishError> {
    let deadline = Instant::now() + within;
    let events = &fixture.delivery.events;
    events.deliver(record(Some(key)), deadline).await
}

pub(super) async fn deliver(
    fixture: &Fixture,
    key: &str,
    within: Duration,
) -> Result<KeptBy, PublishError> {
    let reply = reply(fixture, key, within).await;
    reply.map(|kept| kept.by)
}

/// Returns a key for each of three partitions.
fn keys() -> [String; 3] {
    let key_of = |partition| {
        let mut keys = (0..).map(|number| format!("m{number}"));
        let found = keys.find(|key| partition_for(key.as_bytes(), 3) == partition);
        found.expect("one in three")
    };
    [0, 1, 2].map(key_of)
}

#[tokio::test]
async fn the_reports_of_the_inbox_go_to_their_lanes_before_new_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let spooling = spooling(directory.path(), LONG);
    let fixture = Fixture::start("later", 100, &HELD_BACK, Some(spooling));
    for key in keys() {
        for _ in 0..2 {
            assert_eq!(
                deliver(&fixture, &key, LONG).await,
                Ok(KeptBy::Spool),
                "{key}"
            );
        }
    }
    create(&fixture, "later", 3);
    let events = &fixture.delivery.events;
    let all = || events.partitions.all();
    // No report is acknowledged, and each lane has sent its own probe.
    let all_probe = || all().len() == 3 && all().iter().all(|lane| lane.lane(Lane::in_flight) == 1);
    eventually("a lane waits for another", all_probe).await;
    let [key, ..] = keys();
    assert_eq!(deliver(&fixture, &key, LONG).await, Ok(KeptBy::Spool));
    // The rows keep their numbers from the inbox, two for each partition.
    let lane = Arc::clone(&all()[0]);
    for (number, next) in [(1, 2), (2, 7)] {
        assert!(lane.lane(|lane| lane.report(number).is_some()), "{number}");
        lane.acknowledged(number, POSITION);
        let producer = &events.producers;
        eventually("the next does not follow", || {
            lane.drain(producer);
            lane.lane(|lane| lane.report(next).is_some())
        })
        .await;
    }
    lane.acknowledged(7, POSITION);
    let spooled = || fixture.delivery.spool_level().expect("a spool").reports;
    eventually("the rows are not deleted", || spooled() == 4).await;
}

#[tokio::test]
async fn a_report_of_the_inbox_that_is_written_late_is_sent_by_its_lane() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = Fixture::start("later", 10, &[], Some(spooling(directory.path(), LONG)));
    let reply = {
        let delivery = deliver(&fixture, "m1", LONG);
        tokio::pin!(delivery);
        // The inbox ends while the report is being written.
        let first = poll_once(&mut delivery).await;
        fixture.delivery.events.partitions.open(1);
        create(&fixture, "later", 1);
        match first {
            Some(reply) => reply,
            None => delivery.await,
        }
    };
    assert!(reply.is_ok(), "{reply:?}");
    let delivered = || fixture.delivery.is_delivered();
    eventually("it is not delivered", delivered).await;
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
    let spooled = || fixture.delivery.spool_level().expect("a spool").reports;
    eventually("its row is not deleted", || spooled() == 0).await;
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn rows_are_read_back_only_while_there_is_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spooling = spooling(directory.path(), LONG);
    spooling.spool.memory = 16 << 10;
    let fixture = Fixture::start("later", 100, &HELD_BACK, Some(spooling));
    for _ in 0..20 {
        assert_eq!(deliver(&fixture, "m1", LONG).await, Ok(KeptBy::Spool));
    }
    create(&fixture, "later", 1);
    let events = &fixture.delivery.events;
    let all = || events.partitions.all();
    eventually("there is no probe", || {
        all()
            .first()
            .is_some_and(|lane| lane.lane(Lane::in_flight) == 1)
    })
    .await;
    let lane = Arc::clone(&all()[0]);
    lane.acknowledged(1, POSITION);
    let producer = &events.producers;
    eventually("nothing follows it", || {
        lane.drain(producer);
        lane.lane(Lane::in_flight) >= 4
    })
    .await;
    lane.drain(producer);
    // There is room for four, and half as many may be read at once.
    assert!(
        lane.lane(Lane::in_flight) <= 7,
        "{} in memory",
        lane.lane(Lane::in_flight)
    );
}

#[tokio::test]
async fn a_paused_topic_keeps_new_reports_in_their_lanes() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = direct(10, &[], spooling(directory.path(), LONG)).await;
    let partitions = &fixture.delivery.events.partitions;
    partitions
        .all()
        .iter()
        .for_each(|partition| partition.feed(Input::Pause));
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Spool));
    assert_eq!(fixture.delivery.spool_level().expect("a spool").reports, 1);
}

#[tokio::test]
async fn lanes_of_removed_partitions_send_to_the_others_and_share_the_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = direct(10, &[], spooling(directory.path(), LONG)).await;
    let events = &fixture.delivery.events;
    events.partitions.open(3);
    let [.., key] = keys();
    let lane = events.partitions.of(&record(Some(&key)), 3);
    assert_eq!(lane.number(), 2);
    events.partitions.open(1);
    let permit = fixture.delivery.limits.report(1).expect("a permit");
    lane.admit(
        pending::Pending::new(record(Some(&key)), permit),
        &events.producers,
    );
    assert_eq!(fixture.fates(), ["{fate=\"delivered\"} 1"]);
    assert_eq!(events.shared().lanes.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_partition_is_bound_to_a_producer_at_its_first_record() {
    let fixture = Fixture::start("later", 10, &[], None);
    let partitions = &fixture.delivery.events.partitions;
    let bound = || {
        let all = partitions.all();
        all.iter().map(|one| one.producer()).collect::<Vec<_>>()
    };
    // The leaders are not known yet, as after a start with the number from the spool.
    partitions.open(3);
    create(&fixture, "later", 3);
    let condition = || fixture.delivery.topics()[0].1.condition.clone();
    let is_ready = || condition() == Condition::Ready;
    eventually("the topic is not noticed", is_ready).await;
    let [first, second, _] = keys();
    assert_eq!(bound(), [None; 3]);
    for _ in 0..2 {
        let reply = deliver(&fixture, &second, LONG).await;
        assert_eq!(reply, Ok(KeptBy::Kafka));
        assert_eq!(bound(), [None, Some(1), None]);
    }
    let reply = deliver(&fixture, &first, LONG).await;
    assert_eq!(reply, Ok(KeptBy::Kafka));
    partitions.open(4);
    assert_eq!(bound(), [Some(0), Some(1), None, None]);
}
