//! A disk that is full or read-only when a process starts.

use std::fs;
use std::path::Path;

use super::{PARTITIONS, Spool, fill, spool_command, text, wait_for_warning};
use crate::support::bridge::{Bridge, configuration, koobridge, run};
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::mounts::{Disk, read_only};
use crate::support::records::{Kafka, read_all};

const REPORTS: u64 = 200;
/// Creates topics with as many partitions as the reports in a spool have.
fn topics(kafka: &Kafka) -> [String; 2] {
    let partitions = i32::try_from(PARTITIONS).expect("a few");
    ["events", "rejected"].map(|name| kafka.topic(name, partitions))
}

/// Checks that a bridge on such a disk is ready while Kafka is up, publishes a report, and logs a warning with one of
/// these words.
fn assert_serves(
    kafka: &Kafka,
    topics: &[String; 2],
    wrapper: &[&str],
    spool: &Path,
    words: &[&str],
) {
    let [topic, rejected] = topics;
    let settings = [("spool.directory", text(spool)), ("spool.free_space", "0")];
    let bridge = Bridge::start_by(wrapper, kafka.bootstrap(), topic, rejected, &settings);
    bridge.wait_until_ready();
    // A lane needs the disk until it gets Kafka's first acknowledgement.
    bridge.wait_for_metric("koobridge_partitions_waiting", 0);
    let sent = report(&body("new", "read"));
    assert_eq!(exchange(bridge.ingress, &sent).status, 200);
    wait_for_warning(&bridge, words);
    assert!(keys(kafka, topic).contains(&"new".to_owned()));
}

const FULL: [&str; 2] = ["full", "no space left"];
const READ_ONLY: [&str; 2] = ["read-only", "readonly"];

#[test]
fn a_bridge_with_a_new_spool_on_a_full_disk_serves_while_kafka_is_up() {
    let (kafka, disk) = (cluster::shared(), Disk::mount());
    disk.fill();
    assert_serves(&kafka, &topics(&kafka), &[], &disk.spool(), &FULL);
}

#[test]
fn a_bridge_with_reports_on_a_full_disk_serves_while_kafka_is_up() {
    let (kafka, disk) = (cluster::shared(), Disk::mount());
    let topics = topics(&kafka);
    fill(&disk.spool(), &topics[0], REPORTS);
    disk.fill();
    assert_serves(&kafka, &topics, &[], &disk.spool(), &FULL);
}

#[test]
fn a_bridge_with_a_new_spool_on_a_read_only_disk_serves_while_kafka_is_up() {
    let (kafka, spool) = (cluster::shared(), Spool::new());
    fs::create_dir(&spool.path).expect("a directory");
    let wrapper = read_only(spool.text());
    assert_serves(&kafka, &topics(&kafka), &wrapper, &spool.path, &READ_ONLY);
}

#[test]
fn a_bridge_with_reports_on_a_read_only_disk_serves_while_kafka_is_up() {
    let (kafka, spool) = (cluster::shared(), Spool::new());
    let topics = topics(&kafka);
    fill(&spool.path, &topics[0], REPORTS);
    let wrapper = read_only(spool.text());
    assert_serves(&kafka, &topics, &wrapper, &spool.path, &READ_ONLY);
}

#[test]
fn a_spool_on_a_full_disk_is_drained_once() {
    let (kafka, disk) = (cluster::shared(), Disk::mount());
    let [topic, rejected] = topics(&kafka);
    fill(&disk.spool(), &topic, REPORTS);
    disk.fill();
    let mut expected: Vec<_> = (1..=REPORTS).map(|number| format!("m{number}")).collect();
    expected.sort();
    for drain in ["first", "second"] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
        let drained = run(koobridge()
            .args(["spool", "drain", "--set", "spool.free_space=0"])
            .arg("--directory")
            .arg(disk.spool())
            .arg("--config")
            .arg(file));
        assert_eq!(drained.status.code(), Some(0), "{drain}: {drained:?}");
        assert_eq!(keys(&kafka, &topic), expected, "{drain}");
        let left = spool_command(&[], &["export"], &disk.spool());
        assert!(left.status.success(), "{drain}: {left:?}");
        assert_eq!(left.stdout, b"", "{drain}");
    }
}

fn keys(kafka: &Kafka, topic: &str) -> Vec<String> {
    let records = read_all(kafka.bootstrap(), topic).into_iter();
    let keys = records.map(|record| record.key.expect("a key"));
    let mut keys: Vec<_> = keys
        .map(|key| String::from_utf8(key).expect("text"))
        .collect();
    keys.sort();
    keys
}
