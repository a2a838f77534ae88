//! A bridge at a moment, for the tests of what is said of it.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::facts::{Topic, Used};
use super::*;
use crate::bridge::Phase;
use crate::bridge::metrics::Metrics;
use crate::kafka::{Condition, Durability, TopicState};
use crate::spool::Level;

/// Half past ten on a day in November.
const NOW: i64 = 1_795_689_000;

pub(in crate::bridge::admin) fn at(seconds_ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds_ago).expect("a time")
}

fn ready(name: &str) -> Topic {
    Topic {
        name: name.to_owned(),
        state: TopicState {
            condition: Condition::Ready,
            partitions: Some(6),
            durability: Some(Durability {
                replication: 3,
                min_insync: 2,
            }),
            led: vec![true; 6],
        },
        has_producer: true,
    }
}

/// A bridge with which all is well, without a spool and without TLS.
pub(in crate::bridge::admin) fn well() -> Facts {
    let used = |limit| Used { now: 0, limit };
    Facts {
        at: Instant::now(),
        now: at(0),
        running_for: Duration::from_secs(3700),
        phase: Phase::Serving,
        is_ready: true,
        topics: [ready("events"), ready("rejected")],
        silence: None,
        waiting_lanes: 0,
        reports_in_flight: used(10_000),
        bytes_in_flight: used(1 << 26),
        connections: used(1000),
        spool: None,
        spool_limit: 1 << 30,
        certificate: None,
        stale: BTreeMap::new(),
        channels: Vec::new(),
        counts: Metrics::new().counts(),
        librdkafka: "2.12.1".to_owned(),
    }
}

/// The same with an empty spool.
pub(in crate::bridge::admin) fn hedged() -> Facts {
    Facts {
        spool: Some(Level {
            is_writable: true,
            ..Level::default()
        }),
        ..well()
    }
}

/// With a spool, and a Kafka that has not answered for two seconds.
pub(in crate::bridge::admin) fn away() -> Facts {
    Facts {
        silence: Some(Duration::from_secs(2)),
        ..hedged()
    }
}

/// With this text wherever there can be one from outside.
pub(in crate::bridge::admin) fn named(text: &str) -> Facts {
    Facts {
        topics: [ready(text), ready(text)],
        stale: BTreeMap::from([("channels", text.to_owned())]),
        channels: vec![(text.to_owned(), Some(at(0)))],
        librdkafka: text.to_owned(),
        ..well()
    }
}

pub(in crate::bridge::admin) fn status(facts: &Facts) -> Status {
    Status::of(facts, &History::default())
}

/// The rows of a section as name, value and tone, and what is said below them.
pub(in crate::bridge::admin) fn section(
    facts: &Facts,
    id: &str,
) -> (Vec<(String, String, Tone)>, String) {
    let sections = status(facts).sections.into_iter();
    let section = sections.into_iter().find(|section| section.id == id);
    let section = section.expect("there is a section of that name");
    let rows = section.rows.into_iter();
    let rows = rows.map(|row| (row.name, row.value, row.tone)).collect();
    (rows, section.foot)
}

#[test]
fn the_page_looks_again_sooner_while_kafka_is_not_well() {
    assert_eq!(status(&well()).again_ms, 1000);
    assert_eq!(status(&away()).again_ms, 500);
}

#[test]
fn it_says_when_it_was_so() {
    assert_eq!(status(&well()).as_of, "10:30:00 UTC");
}
