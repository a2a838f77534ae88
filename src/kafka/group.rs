//! The consumer group that holds how far a transactional reader is.

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
use super::cluster::Unreached;
use super::numbers::{to_i32, to_u32, to_u64};
use super::questions::in_words;
use super::read_error::ReadError;
use super::rights::missing_right;
use super::settings::Settings;
use crate::interrupt::Interrupt;

/// How long Kafka may take to answer before it is checked whether it refuses.
const SLICE: Duration = Duration::from_secs(5);
/// How long to wait before Kafka is asked again.
const REST: Duration = Duration::from_millis(100);
/// How many errors of a client are looked at.
const POLLS: usize = 100;
/// How long a question may take that tells why there was no answer.
const QUESTION: Duration = Duration::from_secs(5);

/// How far the reading of one partition is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to be read.
    pub next: u64,
    /// What the caller committed with it.
    pub text: String,
}

/// What is committed of a topic, by partition.
pub type Offsets = BTreeMap<u32, Committed>;

/// The group under the id of [`Transactions`](super::Transactions): what is committed there can be looked at without
/// ending anything.
pub struct Group {
    pub(super) consumer: BaseConsumer<Callbacks>,
    name: String,
    interrupt: Arc<Interrupt>,
}

impl Group {
    /// What is committed there is looked at once every transaction that has to do with it has ended. One
    /// whose producer was killed ends when its time is up, which Kafka looks at every 10 s, or when
    /// another producer starts under its id.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub fn of(
        settings: &Settings,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, ClientError> {
        Self::new(settings.for_reading(), settings, id, interrupt)
    }

    /// What is committed there is what the last transaction that has ended left, whatever goes on.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub fn without_waiting(
        settings: &Settings,
        id: &str,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, ClientError> {
        let mut config = settings.for_reading();
        // For offsets, too: KIP-447.
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

    /// Returns what is committed of a topic with that many partitions. Kafka may take as long as `patience` to answer.
    ///
    /// # Errors
    /// If Kafka does not answer, or refuses.
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

    /// Asks until there is an answer, or an error that says more than that there was none in time. A command that is to
    /// stop asks once.
    fn ask(
        &self,
        question: &TopicPartitionList,
        patience: Duration,
    ) -> Result<TopicPartitionList, KafkaError> {
        let until = Instant::now() + patience;
        loop {
            let answer = self
                .consumer
                .committed_offsets(question.clone(), patience.min(SLICE));
            match answer {
                Err(error) if is_passing(&error) => {
                    thread::park_timeout(REST);
                    if let Some(refusal) = self.refusal() {
                        return Err(refusal);
                    }
                    if Instant::now() >= until || self.interrupt.is_stopping() {
                        return Err(error);
                    }
                }
                Ok(answer) => {
                    // An error of before is no reason for a later one.
                    self.consumer.context().forget_error();
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the error of a right that the client lacks: librdkafka hands it over by a poll only, as those of
    /// connections.
    fn refusal(&self) -> Option<KafkaError> {
        let polled = iter::from_fn(|| self.consumer.poll(Duration::ZERO));
        let mut errors = polled.take(POLLS).filter_map(Result::err);
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
        let unreached = self.consumer.context().unreached();
        if let Some(refusal @ Unreached::Login(_)) = unreached {
            return refusal.into();
        }
        let group = &self.name;
        if is_passing(error) && self.consumer.fetch_metadata(None, QUESTION).is_ok() {
            return ReadError::Unanswered(format!(
                "Kafka answers, but not which offsets the group {group} has committed: the group may have no \
                 coordinator. With fewer than three brokers, set offsets.topic.replication.factor to their number, and \
                 start the brokers again"
            ));
        }
        let words = self.consumer.context().last_error();
        let reason = words.unwrap_or_else(|| in_words(error));
        ReadError::Unanswered(format!(
            "Kafka does not say which offsets the group {group} has committed: {reason}"
        ))
    }
}

/// Returns whether Kafka may answer if it is asked again.
fn is_passing(error: &KafkaError) -> bool {
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
