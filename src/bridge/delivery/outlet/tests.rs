//! Which lane a record belongs to, and where it goes from there.

use std::time::Duration;

use super::*;
use crate::bridge::delivery::Hedge;
use crate::bridge::delivery::tests::hedged::{eventually, hedge};
use crate::bridge::delivery::tests::{Fixture, LONG};

fn record(key: Option<&str>) -> Record {
    Record {
        key: key.map(str::to_owned),
        headers: Vec::new(),
        value: b"{}".to_vec(),
        timestamp: 1_795_000_000_000,
    }
}

/// A bridge whose events topic has three partitions.
async fn three_partitions(hedge: Option<Hedge>) -> Fixture {
    let fixture = Fixture::hedged("three", 10, &[], hedge);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("three", 3).expect("a topic");
    let condition = || fixture.delivery.topics()[0].1.condition.clone();
    eventually("the topic is not noticed", || {
        condition() == Condition::Ready
    })
    .await;
    fixture
}

#[tokio::test]
async fn a_record_goes_to_its_lanes_partition_or_where_the_java_client_would_put_it() {
    let fixture = three_partitions(None).await;
    let lane = |partition| LaneKey {
        topic: "three".into(),
        partition,
    };
    let keyed = record(Some("m1"));
    let by_key = Some(partition_for(b"m1", 3));
    let route = &fixture.delivery.events.route;
    for (partition, expected) in [
        (Some(0), Some(0)),
        (Some(2), Some(2)),
        // There were more partitions once.
        (Some(3), by_key),
        (None, by_key),
    ] {
        assert_eq!(route.partition(&lane(partition), &keyed), expected);
    }
    assert_eq!(route.partition(&lane(None), &record(None)), None);
}

#[tokio::test]
async fn records_without_a_key_go_by_turns_to_the_lanes_that_do_not_stand_still() {
    let fixture = three_partitions(None).await;
    let outlet = &fixture.delivery.events;
    let four = || [(); 4].map(|()| outlet.cell_for(&record(None), 3).key.partition);
    assert_eq!(four(), [Some(0), Some(1), Some(2), Some(0)]);
    outlet.cells()[1].halt();
    assert_eq!(four(), [Some(2), Some(2), Some(0), Some(2)]);
    outlet.cells().iter().for_each(|cell| cell.halt());
    assert_eq!(four(), [Some(2), Some(0), Some(1), Some(2)]);
}

#[tokio::test]
async fn the_lanes_share_half_of_the_spools_memory_and_try_again_within_their_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let fixture = three_partitions(Some(hedge(directory.path(), LONG))).await;
    let outlet = &fixture.delivery.events;
    outlet.cell_for(&record(None), 3);
    assert_eq!(outlet.route.memory_per_lane(), (1 << 19) / 3);
    assert_eq!(outlet.route.longest_pause(), Duration::from_secs(5));
    let without = Fixture::new("there");
    let pause = without.delivery.events.route.longest_pause();
    assert_eq!(pause, Duration::from_secs(1));
}
