//! What is read back from the spool has its bound.

use super::super::super::tests::hedged::{HELD_BACK, eventually, hedge};
use super::super::super::tests::{Fixture, LONG};
use super::*;
use crate::contract::Record;

const REPORTS: u64 = 20;

#[tokio::test]
async fn no_more_is_read_back_than_there_is_room_for_until_some_of_it_is_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut hedge = hedge(directory.path(), LONG);
    hedge.spool.memory = 8 << 10;
    let fixture = Fixture::hedged("later", 100, &HELD_BACK, Some(hedge));
    for _ in 0..REPORTS {
        let record = Record {
            key: Some("m1".to_owned()),
            headers: Vec::new(),
            value: vec![b'x'; 1 << 10],
            timestamp: 1_795_000_000_000,
        };
        let outlet = &fixture.delivery.events;
        let told = outlet.deliver(record, Instant::now() + LONG).await;
        assert!(told.is_ok());
    }
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("later", 1).expect("a topic");
    let cell = fixture.delivery.events.cells().remove(0);
    let in_flight = || cell.lock().lane.in_flight();
    eventually("there is no probe", || in_flight() == 1).await;
    cell.acknowledged(1);
    eventually("nothing follows it", || {
        cell.drain();
        in_flight() >= 4
    })
    .await;
    cell.drain();
    // There is room for four, and a half more may be read at once.
    assert!(in_flight() <= 7, "{} are in memory", in_flight());
}
