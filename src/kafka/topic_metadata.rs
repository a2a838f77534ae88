//! Metadata requests about a topic, and the interpretation of their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::ConfigEntry;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use tokio::runtime::Builder;

use super::admin::{admin_client, topic_settings};
use super::client_error::ClientError;
use super::producer::Producer;
use super::settings::Settings;
use super::topic::Condition;

/// The limit for one request.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Kafka's answer about a topic.
pub(super) struct Answer {
    pub(super) condition: Condition,
    /// The number of partitions.
    pub(super) partitions: Option<u32>,
    /// The lowest number of replicas of a partition.
    pub(super) replication: Option<u32>,
    /// The number of in-sync replicas of each partition; 0 if it has no leader.
    pub(super) in_sync: Vec<u32>,
    /// The first replica of each partition.
    pub(super) preferred_leaders: Vec<i32>,
}

impl Answer {
    pub(super) fn without_partitions(condition: Condition) -> Self {
        Self {
            condition,
            partitions: None,
            replication: None,
            in_sync: Vec::new(),
            preferred_leaders: Vec::new(),
        }
    }
}

pub(super) fn request_topic<T: Send + Sync + 'static>(
    producer: &Producer<T>,
    topic: &str,
    patience: Duration,
) -> Answer {
    match producer.client().fetch_metadata(Some(topic), patience) {
        Ok(metadata) => {
            producer.callbacks().forget_error();
            metadata
                .topics()
                .first()
                .map_or_else(|| Answer::without_partitions(Condition::Missing), answer_of)
        }
        Err(error) => {
            let no_answer = producer.callbacks().no_answer();
            let no_answer = no_answer.unwrap_or_else(|| error_message(&error).into());
            Answer::without_partitions(Condition::Unreachable(no_answer))
        }
    }
}

pub(super) fn answer_of(topic: &MetadataTopic) -> Answer {
    match condition_of(topic) {
        Condition::Ready | Condition::Leaderless(_) => answer_with(topic),
        condition => Answer::without_partitions(condition),
    }
}

/// Returns whether a topic can be used.
pub(super) fn condition_of(topic: &MetadataTopic) -> Condition {
    use RDKafkaErrorCode::{UnknownTopic, UnknownTopicOrPartition};
    let has_no_leader = |partition: &&MetadataPartition| partition.leader() < 0;
    match topic.error().map(RDKafkaErrorCode::from) {
        Some(UnknownTopic | UnknownTopicOrPartition) => Condition::Missing,
        Some(error) => Condition::Rejected(error.to_string()),
        None if topic.partitions().is_empty() => Condition::Missing,
        None => match topic.partitions().iter().filter(has_no_leader).count() {
            0 => Condition::Ready,
            leaderless => Condition::Leaderless(leaderless),
        },
    }
}

fn answer_with(topic: &MetadataTopic) -> Answer {
    let partitions = topic.partitions();
    let to_u32 = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    // Kafka's list has no documented order.
    let mut in_sync = vec![0; partitions.len()];
    let mut preferred_leaders = vec![-1; partitions.len()];
    for partition in partitions {
        let Ok(id) = usize::try_from(partition.id()) else {
            continue;
        };
        if let (Some(place), Some(first)) =
            (preferred_leaders.get_mut(id), partition.replicas().first())
        {
            *place = *first;
        }
        if let Some(place) = in_sync.get_mut(id).filter(|_| partition.leader() >= 0) {
            *place = to_u32(partition.isr().len());
        }
    }
    let replication = partitions
        .iter()
        .map(|partition| partition.replicas().len())
        .min();
    Answer {
        condition: condition_of(topic),
        partitions: Some(to_u32(partitions.len())),
        replication: replication.map(to_u32),
        in_sync,
        preferred_leaders,
    }
}

pub(super) fn error_message(error: &KafkaError) -> String {
    let code = match error {
        // `rdkafka_error_code` has no code for these.
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
            "no answer in time".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns the settings of a topic by name; `None` if this client lacks the right `DESCRIBE_CONFIGS`.
///
/// # Errors
/// If Kafka does not answer, or the system can't start a thread.
pub fn read_settings(
    settings: &Settings,
    topic: &str,
) -> Result<Option<BTreeMap<String, String>>, String> {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| ClientError::from(error).to_string())?;
    let admin = admin_client(settings.client_config()).map_err(|error| error.to_string())?;
    let entries = runtime.block_on(topic_settings(&admin, topic, PATIENCE))?;
    Ok(entries.map(by_name))
}

/// Returns the settings that have a value, by name.
pub(super) fn by_name(entries: Vec<ConfigEntry>) -> BTreeMap<String, String> {
    let entries = entries.into_iter();
    entries
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect()
}
