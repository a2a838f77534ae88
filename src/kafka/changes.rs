//! Topics made and changed: what `koobridge topics` has done.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::error::KafkaError;

use super::admin::options;
use super::cluster::{Cluster, PATIENCE};
use super::questions::in_words;

/// How long a change of settings may take until every broker has it, and how often to look.
const CHANGED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub partitions: u32,
    pub replication: u32,
    pub settings: BTreeMap<&'static str, String>,
}

impl Cluster {
    /// Makes a topic.
    ///
    /// # Errors
    /// Kafka's words.
    pub fn create(&self, wanted: &Wanted<'_>) -> Result<(), String> {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(count(wanted.replication));
        let topic = NewTopic::new(wanted.name, count(wanted.partitions), replication);
        let settings = wanted.settings.iter();
        let topic = settings.fold(topic, |topic, (name, value)| topic.set(name, value));
        done(
            self.runtime
                .block_on(self.admin.create_topics([&topic], &options(PATIENCE))),
        )
    }

    /// Adds partitions to a topic, up to `partitions`.
    ///
    /// # Errors
    /// Kafka's words.
    pub fn add_partitions(&self, topic: &str, partitions: u32) -> Result<(), String> {
        let wanted = NewPartitions::new(topic, partitions as usize);
        let change = self.admin.create_partitions([&wanted], &options(PATIENCE));
        done(self.runtime.block_on(change))
    }

    /// Changes a topic's settings, and leaves its others as they are.
    ///
    /// # Errors
    /// Kafka's words.
    pub fn change(
        &self,
        topic: &str,
        changes: &BTreeMap<&'static str, String>,
    ) -> Result<(), String> {
        // Kafka resets each setting that is not named to its default.
        let own = self.settings_now(topic)?.into_iter();
        let own = own.filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let own = own.filter_map(|entry| Some((entry.name, entry.value?)));
        let mut all: BTreeMap<String, String> = own.collect();
        let changes = changes.iter();
        all.extend(changes.map(|(name, value)| ((*name).to_owned(), value.clone())));
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = all
            .iter()
            .fold(change, |change, (name, value)| change.set(name, value));
        let answers = self.admin.alter_configs([&change], &options(PATIENCE));
        self.runtime
            .block_on(answers)
            .map_err(|error| in_words(&error))?;
        self.wait_until_changed(topic, &all)
    }

    fn settings_now(&self, topic: &str) -> Result<Vec<ConfigEntry>, String> {
        let entries = self.describe(topic)?;
        entries.ok_or_else(|| {
            "Kafka does not show its settings; grant DESCRIBE_CONFIGS on it".to_owned()
        })
    }

    /// rdkafka reports each change as made, even one that was refused.
    fn wait_until_changed(
        &self,
        topic: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let until = Instant::now() + CHANGED;
        while Instant::now() < until {
            let entries = self.settings_now(topic)?;
            let is_there = |(name, value): (&String, &String)| {
                entries
                    .iter()
                    .any(|entry| entry.name == *name && entry.value.as_ref() == Some(value))
            };
            if wanted.iter().all(is_there) {
                return Ok(());
            }
            thread::park_timeout(LOOK);
        }
        Err("its settings are as they were; grant this client ALTER_CONFIGS on it".to_owned())
    }
}

fn done(answers: Result<Vec<TopicResult>, KafkaError>) -> Result<(), String> {
    let answers = answers.map_err(|error| in_words(&error))?;
    match answers.into_iter().next() {
        Some(Err((_, code))) => Err(code.to_string()),
        Some(Ok(_)) => Ok(()),
        None => Err("Kafka said nothing of it".to_owned()),
    }
}
