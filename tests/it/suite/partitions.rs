//! One partition of six is not writable: the other five are not delayed.

use std::time::{Duration, Instant};

use koobridge::kafka::partition_for;

use super::admin::{
    create_topic_on, set_minimum_in_sync, wait_until_in_sync, wait_until_leaderless,
};
use super::checker::Tolerated;
use super::load::SentReport;
use super::rig::{Rig, Setup, deadline, lasting, pause, seconds};
use super::row::percentile;
use super::with_and_without_a_spool;
use crate::support::bridge::Bridge;
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::records::read_each;

with_and_without_a_spool!(
    one_partition_has_no_leader,
    one_partition_is_below_its_minimum_in_sync,
);

/// The broker that only the first partition needs.
const NEEDED_BY_ONE: usize = 2;
const PARTITIONS: u32 = 6;

fn one_partition_has_no_leader(spool: bool) {
    let replicas = [&[2][..], &[0], &[1], &[0], &[1], &[0]];
    hold_up_one_partition("one partition of six without a leader", spool, &replicas);
}

fn one_partition_is_below_its_minimum_in_sync(spool: bool) {
    let replicas = [&[0, 2][..], &[0, 1], &[0, 1], &[1, 0], &[1, 0], &[1, 0]];
    hold_up_one_partition("one partition of six below min ISR", spool, &replicas);
}

/// The bridge has not heard from Kafka yet, so it does not know the partition of a report.
#[test]
fn a_first_report_for_a_partition_without_a_leader_delays_no_other() {
    let mut kafka = cluster::exclusive();
    let topic = create_topic_on(&kafka, &[&[2], &[0], &[1]]);
    let rejected = kafka.topic("rejected", 1);
    kafka.kill(NEEDED_BY_ONE);
    wait_until_leaderless(&kafka, &topic, 0);
    kafka.freeze_all();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let spool = directory.path().join("spool").display().to_string();
    let settings = [("spool.directory", &*spool)];
    let bridge = Bridge::start(kafka.bootstrap(), &topic, &rejected, &settings);
    let of = |partition| ids(3, partition);
    let first = of(0).take(1);
    let others: Vec<_> = of(1).take(20).chain(of(2).take(20)).collect();
    for id in first.chain(others.clone()) {
        let answer = exchange(bridge.ingress, &report(&body(&id, "read")));
        assert_eq!(answer.status, 200, "{id}");
    }
    assert_eq!(bridge.metric("koobridge_spool_reports"), 41);
    kafka.thaw_all();
    // The first partition has no leader yet.
    bridge.wait_for_metric("koobridge_spool_reports", 1);
    kafka.start(NEEDED_BY_ONE);
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    kafka.wait_until_healthy();
    let mut expected: Vec<_> = of(0).take(1).chain(others).collect();
    expected.sort();
    assert_eq!(keys(&kafka, &topic), expected);
}

/// A replica is down while the metadata still list it as in sync; the bridge notices this only after minutes.
#[test]
fn a_partition_that_takes_nothing_has_only_its_own_producer_replaced() {
    let mut kafka = cluster::exclusive();
    // Partitions at even places are the first ones of their leaders, so they belong to the first producer.
    let topic = create_topic_on(&kafka, &[&[0, 1], &[0, 2], &[1, 0], &[1, 0]]);
    set_minimum_in_sync(&kafka, &topic, "1");
    let rejected = kafka.topic("rejected", 1);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let spool = directory.path().join("spool").display().to_string();
    let settings = [("kafka.producers", "2"), ("spool.directory", &*spool)];
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    let deliver = |id: &str| {
        let answer = exchange(bridge.ingress, &report(&body(id, "read")));
        assert_eq!(answer.status, 200, "{id}\n{}", bridge.logged());
    };
    let minimum = format!("koobridge_topic_min_insync_replicas{{topic=\"{topic}\"}}");
    bridge.wait_for_metric(&minimum, 1);
    kafka.kill(NEEDED_BY_ONE);
    wait_until_in_sync(&kafka, &topic, 1, 1);
    set_minimum_in_sync(&kafka, &topic, "2");
    let mut sent: Vec<_> = ids(4, 1).take(1).collect();
    deliver(&sent[0]);
    let spooled = || bridge.metric("koobridge_reports_total{answer=\"spooled\"}");
    assert_eq!(spooled(), 1);
    let is_up = format!("koobridge_producer_up{{topic=\"{topic}\"}}");
    let mut others = ids(4, 0).zip(ids(4, 2)).flat_map(<[String; 2]>::from);
    let mut while_down = 0;
    let until = Instant::now() + Duration::from_mins(2);
    while bridge.metric("koobridge_producer_rebuilds_total") == 0 {
        assert!(Instant::now() < until, "not replaced:\n{}", bridge.logged());
        let was_down = bridge.metric(&is_up) == 0;
        let id = others.next().expect("no end");
        deliver(&id);
        sent.push(id);
        while_down += u32::from(was_down);
        pause(Duration::from_millis(100));
    }
    assert!(while_down > 0, "{}", bridge.logged());
    assert_eq!(spooled(), 1, "a report waits for the other producer");
    assert_eq!(bridge.metric(&is_up), 1);
    let log = bridge.wait_for_log("a producer can no longer deliver");
    assert!(log.contains("\"producer\":2"), "{log}");
    kafka.start(NEEDED_BY_ONE);
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    sent.sort();
    assert_eq!(keys(&kafka, &topic), sent);
}

/// Returns message ids that belong to a partition.
fn ids(partitions: u32, of: u32) -> impl Iterator<Item = String> {
    let ids = (0..).map(|number| format!("m{number}"));
    ids.filter(move |id| partition_for(id.as_bytes(), partitions) == of)
}

/// Returns the keys of all records of a topic, sorted.
fn keys(kafka: &cluster::Exclusive, topic: &str) -> Vec<String> {
    let mut keys = read_each(kafka.bootstrap(), topic, |record| {
        String::from_utf8(record.key.expect("a key")).expect("text")
    });
    keys.sort();
    keys
}

/// Raises a partition's minimum of in-sync replicas to all of them; the first one is its leader. Other partitions with
/// this leader share its connection, on which a broker answers one request after the other.
fn hold_up_one_partition(fault: &str, spool: bool, replicas: &[&[i32]]) {
    let kafka = cluster::exclusive();
    let topic = create_topic_on(&kafka, replicas);
    let setup = Setup {
        spool,
        topic: Some(topic),
        // Shorter than the fault, and longer than a busy machine needs for the other partitions.
        deadline: deadline(8),
        ..Setup::default()
    };
    let mut rig = Rig::with(fault, kafka, setup);
    let killed = Instant::now();
    rig.kafka.kill(NEEDED_BY_ONE);
    // The session timeout passes before Kafka takes the broker out of the in-sync replicas.
    seconds(lasting(10, 12));
    let ended = Instant::now();
    rig.kafka.start(NEEDED_BY_ONE);
    rig.cause_ends();
    let reports = rig.check(Tolerated::NOTHING);

    let of = |report: &SentReport| partition_for(report.message_id.as_bytes(), PARTITIONS) as usize;
    let (held_up, others): (Vec<_>, Vec<_>) = reports.iter().partition(|report| of(report) == 0);
    let before = p99(&others, |report| report.answered < killed);
    let during = p99(&others, |report| (killed..ended).contains(&report.sent));
    println!("{fault}: p99 of the others {before:?} before, {during:?} during");
    let first = others.iter().find(|report| report.code != Some(200));
    assert!(first.is_none(), "held up for another partition: {first:?}");
    assert!(spool || held_up.iter().any(|report| report.code == Some(503)));
}

fn p99(reports: &[&SentReport], counts: impl Fn(&SentReport) -> bool) -> Duration {
    let counted = reports.iter().filter(|report| counts(report));
    let mut took: Vec<_> = counted.map(|report| report.took()).collect();
    took.sort_unstable();
    percentile(&took, 99)
}
