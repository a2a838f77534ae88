//! Administrative changes of topics while a bridge uses them.

use std::time::Duration;

use rdkafka::admin::{
    AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::metadata::MetadataPartition;

use crate::support::bridge::eventually;
use crate::support::cluster::{Exclusive, PATIENCE};
use crate::support::records::{Kafka, block_on, until, unused_name};

const ANSWER: Duration = Duration::from_mins(1);

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER))
}

pub fn delete_topic(kafka: &Exclusive, topic: &str) {
    let deleted = block_on(kafka.admin().delete_topics(&[topic], &options()));
    let deleted = deleted.expect("Kafka answers").remove(0);
    deleted.expect("a topic can be deleted");
}

/// Waits until each broker knows that the topic is gone.
pub fn wait_until_unknown(kafka: &Exclusive, topic: &str) {
    for address in kafka.bootstrap().split(',') {
        let broker = Kafka::at(address.to_owned());
        let unknown = until(PATIENCE, || {
            let metadata = broker.metadata(Some(topic))?;
            let is_known = metadata
                .topics()
                .iter()
                .any(|topic| topic.error().is_none());
            if is_known {
                Err("it knows the topic".to_owned())
            } else {
                Ok(())
            }
        });
        unknown.unwrap_or_else(|why| panic!("{address}: {why}"));
    }
}

/// Waits until Kafka knows that the partition has no leader.
pub fn wait_until_leaderless(kafka: &Exclusive, topic: &str, partition: i32) {
    wait_until(kafka, topic, partition, |found| match found.leader() {
        -1 => Ok(()),
        leader => Err(format!("broker {leader} leads it")),
    });
}

/// Waits until Kafka knows that this many replicas of the partition are in sync.
pub fn wait_until_in_sync(kafka: &Exclusive, topic: &str, partition: i32, count: usize) {
    wait_until(kafka, topic, partition, |found| match found.isr() {
        in_sync if in_sync.len() == count => Ok(()),
        in_sync => Err(format!("in sync are {in_sync:?}")),
    });
}

fn wait_until(
    kafka: &Exclusive,
    topic: &str,
    partition: i32,
    look: impl Fn(&MetadataPartition) -> Result<(), String>,
) {
    eventually(|| {
        let metadata = kafka.metadata(Some(topic))?;
        let partitions = metadata.topics()[0].partitions();
        let found = partitions.iter().find(|found| found.id() == partition);
        look(found.ok_or("no such partition")?)
    });
}

pub fn set_partitions(kafka: &Exclusive, topic: &str, count: usize) {
    let wanted = NewPartitions::new(topic, count);
    let grown = block_on(kafka.admin().create_partitions([&wanted], &options()));
    let grown = grown.expect("Kafka answers").remove(0);
    grown.expect("a topic can be given more partitions");
}

/// Creates a topic with these replicas for each partition, all of which must have a record.
pub fn create_topic_on(kafka: &Exclusive, replicas: &[&[i32]]) -> String {
    let name = unused_name("placed");
    let minimum = replicas[0].len().to_string();
    let topic = NewTopic::new(
        &name,
        i32::try_from(replicas.len()).expect("a few partitions"),
        TopicReplication::Variable(replicas),
    );
    let topic = topic.set("min.insync.replicas", &minimum);
    let created = block_on(kafka.admin().create_topics([&topic], &options()));
    let created = created.expect("Kafka answers").remove(0);
    created.expect("a topic can be placed");
    kafka.wait_until_healthy();
    name
}

/// Changes how many replicas of each partition must have a record.
pub fn set_minimum_in_sync(kafka: &Exclusive, topic: &str, minimum: &str) {
    let altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let altered = altered.set("min.insync.replicas", minimum);
    let altered = block_on(kafka.admin().alter_configs([&altered], &options()));
    let altered = altered.expect("Kafka answers").remove(0);
    altered.expect("a topic can be altered");
}
