//! What an administrator can do to topics and rights while a bridge uses them.

use std::process::Command;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions};

use crate::broker::SASL_USER;
use crate::cluster::Exclusive;
use crate::records::block_on;

const ANSWER: Duration = Duration::from_secs(10);

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER))
}

pub fn delete_topic(kafka: &Exclusive, topic: &str) {
    let deleted = block_on(kafka.admin().delete_topics(&[topic], &options()));
    let deleted = deleted.expect("Kafka answers").remove(0);
    deleted.expect("a topic can be deleted");
}

pub fn set_partitions(kafka: &Exclusive, topic: &str, count: usize) {
    let wanted = NewPartitions::new(topic, count);
    let grown = block_on(kafka.admin().create_partitions([&wanted], &options()));
    let grown = grown.expect("Kafka answers").remove(0);
    grown.expect("a topic can be given more partitions");
}

/// Lets the user of the listener with a password do these things to the topics.
pub fn allow(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(kafka, &["--add"], operations, topics);
}

pub fn revoke(kafka: &Exclusive, operations: &[&str], topics: &[&str]) {
    change_rights(kafka, &["--remove", "--force"], operations, topics);
}

/// librdkafka's safe wrapper has no rights: Kafka's own tool does it.
fn change_rights(kafka: &Exclusive, change: &[&str], operations: &[&str], topics: &[&str]) {
    let user = format!("User:{SASL_USER}");
    let named = |flag: &'static str, values: &[&str]| {
        let pairs = values
            .iter()
            .map(|value| [flag.to_owned(), (*value).to_owned()]);
        pairs.flatten().collect::<Vec<_>>()
    };
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(kafka.jars().join("*"))
        .arg("org.apache.kafka.tools.AclCommand")
        .args(["--bootstrap-server", kafka.bootstrap()])
        .args(change)
        .args(["--allow-principal", &user])
        .args(named("--operation", operations))
        .args(named("--topic", topics))
        .output()
        .expect("Java runs");
    assert!(output.status.success(), "{output:?}");
}
