//! Creates and changes topics, for `koobridge topics`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::admin::options;
use super::cluster::{Cluster, PATIENCE};
use super::incremental_alter::{self, AlterError};
use super::topic_metadata::{by_name, error_message};

/// The time a broker may take to show changed settings, and the interval of the checks.
const SHOWN_LIMIT: Duration = Duration::from_secs(10);
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec<'a> {
    pub name: &'a str,
    pub partitions: u32,
    pub replication: u32,
    pub settings: BTreeMap<&'static str, String>,
}

impl Cluster {
    /// Creates a topic.
    ///
    /// # Errors
    /// Kafka's error message, with the missing right.
    pub fn create(&self, wanted: &TopicSpec<'_>) -> Result<(), String> {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(count(wanted.replication));
        let topic = NewTopic::new(wanted.name, count(wanted.partitions), replication);
        let settings = wanted.settings.iter();
        let topic = settings.fold(topic, |topic, (name, value)| topic.set(name, value));
        let creation = self.admin.create_topics([&topic], &options(PATIENCE));
        done(self.runtime.block_on(creation), "CREATE")
    }

    /// Adds partitions to a topic, up to `partitions`.
    ///
    /// # Errors
    /// Kafka's error message, with the missing right.
    pub fn add_partitions(&self, topic: &str, partitions: u32) -> Result<(), String> {
        let wanted = NewPartitions::new(topic, partitions as usize);
        let change = self.admin.create_partitions([&wanted], &options(PATIENCE));
        done(self.runtime.block_on(change), "ALTER")
    }

    /// Changes a topic's settings. Its other settings stay as they are, even if another client changes them meanwhile.
    ///
    /// # Errors
    /// Kafka's error message, with the missing right.
    pub fn change(
        &self,
        topic: &str,
        changes: &BTreeMap<&'static str, String>,
    ) -> Result<(), String> {
        incremental_alter::set(&self.admin, topic, changes, PATIENCE).map_err(|why| match why {
            AlterError::Rejected { code, words } => explained(code, words, "ALTER_CONFIGS"),
            AlterError::Unanswered(words) => words,
        })?;
        self.wait_until_shown(topic, changes)
    }

    /// Waits until a broker shows the change: Kafka accepts a change before every broker knows it.
    fn wait_until_shown(
        &self,
        topic: &str,
        changes: &BTreeMap<&'static str, String>,
    ) -> Result<(), String> {
        let until = Instant::now() + SHOWN_LIMIT;
        while Instant::now() < until {
            let entries = self.describe(topic)?.map(by_name).unwrap_or_default();
            if changes
                .iter()
                .all(|(name, value)| entries.get(*name) == Some(value))
            {
                return Ok(());
            }
            thread::park_timeout(CHECK_INTERVAL);
        }
        Err("Kafka accepted the change but does not show it yet; check again with `koobridge topics`".to_owned())
    }
}

/// Appends the missing right or the likely cause, because rdkafka gives only the code.
fn explained(code: RDKafkaErrorCode, words: String, right: &str) -> String {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, InvalidTopic, TopicAuthorizationFailed};
    match code {
        TopicAuthorizationFailed | ClusterAuthorizationFailed => {
            format!("{words}; grant this client {right} on it")
        }
        InvalidTopic => format!(
            "{words}; it may collide with another topic, whose name differs in `.` and `_` only"
        ),
        _ => words,
    }
}

fn done(answers: Result<Vec<TopicResult>, KafkaError>, right: &str) -> Result<(), String> {
    let answers = answers.map_err(|error| error_message(&error))?;
    match answers.into_iter().next() {
        Some(Err((_, code))) => Err(explained(code, code.to_string(), right)),
        Some(Ok(_)) => Ok(()),
        None => Err("Kafka's answer does not contain the topic".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_topic_error_mentions_colliding_names() {
        let rejected = vec![Err(("a_b".to_owned(), RDKafkaErrorCode::InvalidTopic))];
        assert_eq!(
            done(Ok(rejected), "CREATE"),
            Err(
                "InvalidTopic (Broker: Invalid topic); it may collide with another topic, whose name differs in `.` \
                 and `_` only"
                    .to_owned()
            )
        );
    }
}
