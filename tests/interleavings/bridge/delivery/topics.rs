//! Scenarios of a topic with its partitions, its maintenance thread, the spool and Kafka.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use shuttle::rand::{Rng as _, thread_rng};

use super::fixture::{Fixture, KEYS, pending, topic};
use super::lane::Input;
use super::pending::Kept;
use crate::LONG;
use crate::kafka::{DeliveryError, Settings, TopicWatch};

/// How long a sender waits for its answer.
const DEADLINE: Duration = Duration::from_secs(4);
/// How late a replaced producer reports.
const LATE: Duration = Duration::from_secs(12);
const PARTITIONS: u32 = 2;

fn timed_out() -> DeliveryError {
    RDKafkaErrorCode::MessageTimedOut.into()
}

pub(super) fn each_is_delivered_once() {
    let mut fixture = Fixture::start(Some(PARTITIONS));
    fixture.serve(|_, _| Some(Ok(())));
    fixture.deliver(DEADLINE);
    fixture.finish();
}

pub(super) fn failures_go_through_the_spool() {
    let mut fixture = Fixture::start(Some(PARTITIONS));
    let failed = RDKafkaErrorCode::MessageTimedOut;
    fixture.serve(move |_, number| {
        Some(if number < 2 {
            Err(failed.into())
        } else {
            Ok(())
        })
    });
    fixture.deliver(LONG);
    let answers = fixture.finish();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

pub(super) fn the_inbox_ends() {
    let mut fixture = Fixture::start(None);
    fixture.deliver(LONG);
    fixture.watch.learn(PARTITIONS);
    fixture.wait_until(Fixture::are_answered);
    // Kafka has not answered until now.
    fixture.serve(|_, _| Some(Ok(())));
    assert_eq!(fixture.finish(), [Ok(Kept::BY_SPOOL); KEYS.len()]);
}

/// Kafka can have a report of the inbox before its row is written.
pub(super) fn the_inbox_ends_while_kafka_answers() {
    let mut fixture = Fixture::start(None);
    fixture.serve(|_, _| Some(Ok(())));
    fixture.deliver(LONG);
    fixture.watch.learn(PARTITIONS);
    let answers = fixture.finish();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// The first producer fails for good at its first record; it reports late on the others, or never.
pub(super) fn a_producer_is_replaced() {
    let mut fixture = Fixture::start(Some(PARTITIONS));
    fixture.serve(|producer, number| match (producer, number) {
        (0, 0) => Some(Err(RDKafkaErrorCode::InvalidProducerEpoch.into())),
        (0, _) => thread_rng().gen_bool(0.5).then(|| {
            thread::park_timeout(LATE);
            Err(timed_out())
        }),
        _ => Some(Ok(())),
    });
    fixture.deliver(DEADLINE);
    fixture.finish();
}

pub(super) fn a_stop_spills() {
    let mut fixture = Fixture::start(Some(PARTITIONS));
    fixture.serve(|_, _| Some(Ok(())));
    fixture.deliver(DEADLINE);
    for partition in fixture.topic.partitions.all().iter() {
        partition.feed(Input::Pause);
        partition.feed(Input::SpillAll);
    }
    fixture.stop();
    let is_kept = |key: &&&str| fixture.spool.has(key) || fixture.kafka.has(key);
    let kept = KEYS.iter().filter(is_kept).count();
    let unwritten = fixture.topic.partitions.count_unwritten();
    assert_eq!(kept + unwritten, KEYS.len());
}

/// Without a spool: three threads open lanes, and two of them place reports.
pub(super) fn lanes_open() {
    let watch = TopicWatch::default();
    let (topic, _woken) = topic(&Settings::default(), &watch, None, None);
    watch.learn(PARTITIONS);
    let placing = ["a", "b"].map(|key| {
        let topic = Arc::clone(&topic);
        thread::spawn(move || {
            let placed = topic.assign(pending(&topic, key));
            assert!(placed.is_ok_and(|place| place.is_some()));
        })
    });
    topic.partitions.open(PARTITIONS + 1);
    for thread in placing {
        thread.join().expect("a report is placed");
    }
    assert_eq!(topic.partitions.count_unwritten(), 2);
}
