//! The consumer group that stores the progress of a transactional reader.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::cluster::ConnectError;
use super::numbers::{to_i32, to_u32, to_u64};
use super::read_error::ReadError;
use super::rights::missing_right;
use super::settings::Settings;
use super::topic_metadata::error_message;
use crate::interrupt::Interrupt;

/// The limit for one attempt; after it the client's errors are checked for a rejection.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of a client's errors that are read.
const MAX_ERRORS: usize = 100;
/// The limit for the request that finds out why there was no answer.
const DIAGNOSIS: Duration = Duration::from_secs(5);

/// The committed progress on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub next: u64,
    /// The metadata that the caller committed with it.
    pub text: String,
}

/// The committed progress on a topic, by partition.
pub type Offsets = BTreeMap<u32, Committed>;

/// The group named by the id of [`Transactions`](super::Transactions). Reading its offsets does not end the
/// transactions of that id.
pub struct Group {
    pub(super) consumer: BaseConsumer<Callbacks>,
    name: String,
    interrupt: Arc<Interrupt>,
}

impl Group {
    /// Connects to the group; its offsets are read when no transaction with offsets of the group is open. When the
    /// producer of a transaction was killed, the transaction ends after its timeout, which Kafka checks every 10 s, or
    /// when another producer starts with its id.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, or the system can't start a thread.
    pub fn of(
        settings: &Settings,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, ClientError> {
        Self::new(settings.for_reading(), settings, id, interrupt)
    }

    /// Connects to the group; its offsets are those of the last completed transaction, even if another one is open.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, or the system can't start a thread.
    pub fn connect_without_waiting(
        settings: &Settings,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, ClientError> {
        let mut config = settings.for_reading();
        // Applies to offsets, too: KIP-447.
        config.set("isolation.level", "read_uncommitted");
        Self::new(config, settings, id, interrupt)
    }

    fn new(
        mut config: ClientConfig,
        settings: &Settings,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, ClientError> {
        config.set("group.id", id);
        let consumer =
            BaseConsumer::from_config_and_context(&config, Callbacks::new((), settings))?;
        Ok(Self {
            consumer,
            name: id.to_owned(),
            interrupt: Arc::clone(interrupt),
        })
    }

    /// Returns the committed progress on a topic with `partitions` partitions. Waits at most `patience` for Kafka.
    ///
    /// # Errors
    /// If Kafka does not answer, or rejects the request.
    pub fn committed(
        &self,
        topic: &str,
        partitions: u32,
        patience: Duration,
    ) -> Result<Offsets, ReadError> {
        let mut question = TopicPartitionList::new();
        for partition in 0..partitions {
            question.add_partition(topic, to_i32(partition));
        }
        let answer = self.ask(&question, patience);
        let failed = |error: &KafkaError| self.failed(error, topic);
        let answer = answer.map_err(|error| failed(&error))?;
        let mut offsets = Offsets::new();
        for element in answer.elements() {
            element.error().map_err(|error| failed(&error))?;
            if let Offset::Offset(next) = element.offset() {
                let committed = Committed {
                    next: to_u64(next),
                    text: element.metadata().to_owned(),
                };
                offsets.insert(to_u32(element.partition()), committed);
            }
        }
        Ok(offsets)
    }

    /// Retries until Kafka answers or the error is not a passing one. Does not retry when the command is to stop.
    fn ask(
        &self,
        question: &TopicPartitionList,
        patience: Duration,
    ) -> Result<TopicPartitionList, KafkaError> {
        let until = Instant::now() + patience;
        loop {
            let answer = self
                .consumer
                .committed_offsets(question.clone(), patience.min(ATTEMPT));
            match answer {
                Err(error) if is_transient(&error) => {
                    thread::park_timeout(RETRY_PAUSE);
                    if let Some(error) = self.missing_group_right() {
                        return Err(error);
                    }
                    if Instant::now() >= until || self.interrupt.is_stopping() {
                        return Err(error);
                    }
                }
                Ok(answer) => {
                    // An earlier error does not explain a later failure.
                    self.consumer.context().forget_error();
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the error if the client lacks a right: librdkafka reports it only to a poll, like connection errors.
    fn missing_group_right(&self) -> Option<KafkaError> {
        let polled = iter::from_fn(|| self.consumer.poll(Duration::ZERO));
        let mut errors = polled.take(MAX_ERRORS).filter_map(Result::err);
        errors.find(|error| {
            error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
        })
    }

    fn failed(&self, error: &KafkaError, topic: &str) -> ReadError {
        let code = error.rdkafka_error_code();
        let right = code.and_then(|code| missing_right(code, ["DESCRIBE", topic], &self.name));
        if let Some(right) = right {
            return ReadError::Denied(right);
        }
        let connect_error = self.consumer.context().connect_error();
        if let Some(rejection @ ConnectError::Authentication(_)) = connect_error {
            return rejection.into();
        }
        let group = &self.name;
        if is_transient(error) && self.consumer.fetch_metadata(None, DIAGNOSIS).is_ok() {
            return ReadError::Unanswered(format!(
                "Kafka answers, but does not return the committed offsets of the group {group}: the group may have no \
                 coordinator. With fewer than three brokers, set offsets.topic.replication.factor to their number, and \
                 restart the brokers"
            ));
        }
        let words = self.consumer.context().last_error();
        let reason = words.unwrap_or_else(|| error_message(error));
        ReadError::Unanswered(format!(
            "Kafka did not return the committed offsets of the group {group}: {reason}"
        ))
    }
}

/// Returns whether a retry may succeed.
fn is_transient(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, OperationTimedOut,
        WaitingForCoordinator,
    };
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            OperationTimedOut
                | CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | NotCoordinator
                | WaitingForCoordinator
        )
    )
}
