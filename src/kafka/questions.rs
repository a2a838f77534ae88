//! What Kafka is asked about a topic, and how its answers are read.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::producer::Producer;
use super::settings::Settings;
use super::topic::Condition;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The topic's condition, its number of partitions, and the replicas of the least replicated one.
pub(super) fn question<T: Send + Sync + 'static>(
    producer: &Producer<T>,
    topic: &str,
) -> (Condition, Option<u32>, Option<u32>) {
    match producer.client().fetch_metadata(Some(topic), PATIENCE) {
        Ok(metadata) => {
            producer.forget_trouble();
            metadata
                .topics()
                .first()
                .map_or((Condition::Missing, None, None), condition_of)
        }
        Err(error) => {
            let reason = producer.trouble().unwrap_or_else(|| in_words(&error));
            (Condition::Unreachable(reason), None, None)
        }
    }
}

fn condition_of(topic: &MetadataTopic) -> (Condition, Option<u32>, Option<u32>) {
    use RDKafkaErrorCode::{UnknownTopic, UnknownTopicOrPartition};
    match topic.error().map(RDKafkaErrorCode::from) {
        Some(UnknownTopic | UnknownTopicOrPartition) => (Condition::Missing, None, None),
        Some(error) => (Condition::Refused(error.to_string()), None, None),
        None => {
            let partitions = topic.partitions();
            let leaderless = partitions
                .iter()
                .filter(|partition| partition.leader() < 0)
                .count();
            let replication = partitions
                .iter()
                .map(|partition| partition.replicas().len())
                .min();
            let condition = match (partitions.len(), leaderless) {
                (0, _) => return (Condition::Missing, None, None),
                (_, 0) => Condition::Ready,
                (_, count) => Condition::Leaderless(count),
            };
            let to_u32 = |count: usize| u32::try_from(count).ok();
            (
                condition,
                to_u32(partitions.len()),
                replication.and_then(to_u32),
            )
        }
    }
}

fn in_words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
            "no broker answers".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The topic's `min.insync.replicas`; `None` where Kafka does not say (no `DESCRIBE_CONFIGS`).
pub(super) fn min_insync_replicas(settings: &Settings, topic: &str) -> Option<u32> {
    let admin = AdminClient::<DefaultClientContext>::from_config(settings.client_config()).ok()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let resource = [ResourceSpecifier::Topic(topic)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let answers = runtime
        .block_on(admin.describe_configs(&resource, &options))
        .ok()?;
    let resource = answers.into_iter().next()?.ok()?;
    resource
        .get("min.insync.replicas")?
        .value
        .as_ref()?
        .parse()
        .ok()
}
