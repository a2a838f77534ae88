//! What is read back from the spool has its bound, and what came first goes first.

use super::*;
use crate::bridge::delivery::rider::KeptBy;
use crate::bridge::delivery::tests::hedged::{HELD_BACK, eventually, hedge};
use crate::bridge::delivery::tests::{Fixture, LONG};
use crate::contract::Record;
use crate::kafka::partition_for;

/// Reports that came while there was no topic, each into the spool; then the topic is made.
async fn spooled(fixture: &Fixture, keys: &[String], partitions: u16) {
    for key in keys {
        assert!(is_spooled(fixture, key).await, "{key}");
    }
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", partitions).expect("a topic");
}

async fn is_spooled(fixture: &Fixture, key: &str) -> bool {
    let record = Record {
        key: Some(key.to_owned()),
        headers: Vec::new(),
        value: vec![b'x'; 1 << 10],
        timestamp: 1_795_000_000_000,
    };
    let outlet = &fixture.delivery.events;
    let told = outlet.deliver(record, Instant::now() + LONG).await;
    told.is_ok_and(|kept_by| kept_by == KeptBy::Spool)
}

fn in_flight(cell: &Cell) -> usize {
    cell.lock().lane.in_flight()
}

#[tokio::test]
async fn no_more_is_read_back_than_there_is_room_for_until_some_of_it_is_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hedge = hedge(directory.path(), LONG);
    hedge.spool.memory = 16 << 10;
    let fixture = Fixture::hedged("later", 100, &HELD_BACK, Some(hedge));
    spooled(&fixture, &vec!["m1".to_owned(); 20], 1).await;
    let cell = fixture.delivery.events.cells().remove(0);
    eventually("there is no probe", || in_flight(&cell) == 1).await;
    cell.acknowledged(1);
    eventually("nothing follows it", || {
        cell.drain();
        in_flight(&cell) >= 4
    })
    .await;
    cell.drain();
    // There is room for four, and a half more may be read at once.
    assert!(in_flight(&cell) <= 7, "{} in memory", in_flight(&cell));
}

#[tokio::test]
async fn a_lane_waits_for_what_came_before_its_partition_was_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let hedge = hedge(directory.path(), LONG);
    let fixture = Fixture::hedged("later", 100, &HELD_BACK, Some(hedge));
    let outlet = &fixture.delivery.events;
    let mut keys = (0..).map(|number| format!("m{number}"));
    let key = keys.find(|key| partition_for(key.as_bytes(), 3) == 2);
    let key = key.expect("one in three");
    spooled(&fixture, &[key.clone(), key.clone()], 3).await;
    let unplaced = outlet.cells().remove(0);
    eventually("there is no probe", || in_flight(&unplaced) == 1).await;
    unplaced.acknowledged(1);
    eventually("the second does not follow", || unplaced.is_direct()).await;
    assert_eq!(unplaced.partitions_in_flight(), HashSet::from([2]));

    assert!(is_spooled(&fixture, &key).await);
    let lane = outlet.cells().remove(1 + 2);
    outlet.drain();
    assert_eq!(in_flight(&lane), 0);
    unplaced.acknowledged(2);
    eventually("it waits for nothing", || in_flight(&lane) == 1).await;
}
