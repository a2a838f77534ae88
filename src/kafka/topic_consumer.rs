//! The librdkafka consumers of a reader.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::debug;

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::cluster::ConnectError;
use super::ends::{Answer, Ends};
use super::numbers::{to_i32, to_i64, to_u32, to_u64};
use super::offset_range::OffsetRange;
use super::progress::Remaining;
use super::read_error::ReadError;
use super::settings::Settings;
use super::topic::Condition;
use super::topic_metadata::{condition_of, error_message};

/// The limit for one request: long enough for a broker's crash and the election of another leader.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same in a message.
const PATIENCE_IN_WORDS: &str = "15 seconds";
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The limit for one attempt of a request that is retried.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The time for which librdkafka's error queue is polled.
const ERROR_POLL: Duration = Duration::from_millis(5);
/// The words in librdkafka's error when the log ends before the read position; there is no code for it.
const TRUNCATED: &str = "truncation detected";

type Client = BaseConsumer<Callbacks>;

/// The topic of a reader, and its consumers.
pub(super) struct TopicConsumer {
    /// Fetches records.
    pub(super) committed: Client,
    /// Only queries offsets: for the other consumer a partition ends at its last stable offset.
    uncommitted: Client,
    pub(super) topic: String,
}

impl TopicConsumer {
    pub(super) fn connect(settings: &Settings, topic: &str) -> Result<Self, ClientError> {
        let client =
            |config| Client::from_config_and_context(&config, Callbacks::new((), settings));
        Ok(Self {
            committed: client(settings.for_reading())?,
            uncommitted: client(settings.for_offset_queries())?,
            topic: topic.to_owned(),
        })
    }

    pub(super) fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
        self.partitions_within(topic, PATIENCE)
    }

    fn partitions_within(&self, topic: &str, patience: Duration) -> Result<u32, ReadError> {
        let metadata = self.uncommitted.fetch_metadata(Some(topic), patience);
        let metadata = metadata.map_err(|error| {
            let reason = self.last_error_message(&error);
            ReadError::Topic(topic.to_owned(), Condition::Unreachable(reason.into()))
        })?;
        let found = metadata.topics().first();
        match found.map_or(Condition::Missing, condition_of) {
            // The requests for offsets wait for a leader.
            Condition::Ready | Condition::Leaderless(_) => {
                let count = found.map_or(0, |topic: &MetadataTopic| topic.partitions().len());
                Ok(u32::try_from(count).unwrap_or(u32::MAX))
            }
            Condition::Missing => Err(ReadError::NoTopic(topic.to_owned())),
            Condition::Rejected(_) if topic == self.topic => {
                Err(self.not_authorized("DESCRIBE and READ"))
            }
            condition => Err(ReadError::Topic(topic.to_owned(), condition)),
        }
    }

    fn not_authorized(&self, right: &'static str) -> ReadError {
        ReadError::NotAuthorized {
            topic: self.topic.clone(),
            right,
        }
    }

    pub(super) fn full_range(&self, partition: u32) -> Result<OffsetRange, ReadError> {
        let (first, end) = self.watermarks_with_retry(&self.uncommitted, partition)?;
        Ok(OffsetRange {
            partition,
            first,
            end,
        })
    }

    pub(super) fn stable_end(&self, partition: u32) -> Result<u64, ReadError> {
        let (_, stable) = self.watermarks_with_retry(&self.committed, partition)?;
        Ok(stable)
    }

    fn watermarks_with_retry(
        &self,
        client: &Client,
        partition: u32,
    ) -> Result<(u64, u64), ReadError> {
        let topic = &self.topic;
        let question = format!("the first and the last offset of {topic} partition {partition}");
        self.retry(client, &[partition], &question, |patience| {
            self.watermarks(client, partition, patience)
        })
    }

    fn watermarks(
        &self,
        client: &Client,
        partition: u32,
        patience: Duration,
    ) -> KafkaResult<(u64, u64)> {
        let (first, end) = client.fetch_watermarks(&self.topic, to_i32(partition), patience)?;
        Ok((to_u64(first), to_u64(end)))
    }

    /// Retries until Kafka answers or `PATIENCE` is over: librdkafka gives up at once when a partition has no leader,
    /// and waits for a dead broker when it does not know the new leader yet.
    fn retry<T>(
        &self,
        client: &Client,
        partitions: &[u32],
        question: &str,
        ask: impl Fn(Duration) -> KafkaResult<T>,
    ) -> Result<T, ReadError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match ask(ATTEMPT) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) {
                return Err(self.not_authorized("DESCRIBE and READ"));
            }
            // Also makes librdkafka learn of a new leader.
            let metadata = client.fetch_metadata(Some(&self.topic), ATTEMPT);
            if Instant::now() >= deadline {
                let mut topics = metadata.iter().flat_map(Metadata::topics);
                let found = topics.find_map(|topic| leaderless(topic, partitions));
                return Err(found.map_or_else(
                    || ReadError::unanswered(question, &error),
                    |partition| ReadError::Leader {
                        topic: self.topic.clone(),
                        partition,
                        lasts: PATIENCE_IN_WORDS,
                    },
                ));
            }
            thread::park_timeout(RETRY_PAUSE);
        }
    }

    /// Queries the ends of a partition.
    pub(super) fn ends(&self, partition: u32) -> Answer {
        // In this order, so that the stable offset is never behind the end.
        let stable = self.watermarks(&self.committed, partition, ATTEMPT);
        let whole = stable.and_then(|(_, stable)| {
            let (first, end) = self.watermarks(&self.uncommitted, partition, ATTEMPT)?;
            Ok(Ends { first, stable, end })
        });
        match whole.map_err(|error| error.rdkafka_error_code()) {
            Ok(ends) => Answer::Ends(ends),
            Err(Some(Code::TopicAuthorizationFailed)) => {
                Answer::Failed(self.not_authorized("DESCRIBE and READ"))
            }
            Err(_) => self.silence_reason(partition),
        }
    }

    fn silence_reason(&self, partition: u32) -> Answer {
        match self.partitions_within(&self.topic, ATTEMPT) {
            Ok(count) if partition < count => Answer::NoLeader,
            Ok(_) => Answer::Failed(ReadError::NoPartition {
                topic: self.topic.clone(),
                partition,
            }),
            Err(ReadError::Topic(_, Condition::Unreachable(why))) => {
                Answer::Unreachable(why.reason)
            }
            Err(error) => Answer::Failed(error),
        }
    }

    pub(super) fn offsets_from(
        &self,
        partitions: &[u32],
        time: i64,
    ) -> Result<BTreeMap<u32, u64>, ReadError> {
        let question = format!("the offsets of {} at a time", self.topic);
        self.retry(&self.uncommitted, partitions, &question, |patience| {
            self.offsets_within(partitions, time, patience)
        })
    }

    fn offsets_within(
        &self,
        partitions: &[u32],
        time: i64,
        patience: Duration,
    ) -> KafkaResult<BTreeMap<u32, u64>> {
        let mut question = TopicPartitionList::new();
        for partition in partitions {
            let time = Offset::Offset(time);
            question.add_partition_offset(&self.topic, to_i32(*partition), time)?;
        }
        let answer = self.uncommitted.offsets_for_times(question, patience)?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(to_u32(element.partition()), to_u64(offset));
            }
        }
        Ok(offsets)
    }

    pub(super) fn assign(&self, remaining: &Remaining) -> Result<(), ReadError> {
        let mut assignment = TopicPartitionList::new();
        let mut there = remaining
            .iter()
            .filter(|(_, progress)| progress.is_fetchable());
        let assigned = there
            .try_for_each(|(partition, progress)| {
                self.add(&mut assignment, *partition, progress.next)
            })
            .and_then(|()| self.committed.assign(&assignment))
            // A paused partition stays paused when it is assigned again.
            .and_then(|()| self.committed.resume(&assignment));
        assigned.map_err(|error| {
            ReadError::Unanswered(format!("librdkafka can't read {}: {error}", self.topic))
        })
    }

    fn add(&self, list: &mut TopicPartitionList, partition: u32, next: u64) -> KafkaResult<()> {
        list.add_partition_offset(&self.topic, to_i32(partition), Offset::Offset(to_i64(next)))
    }

    /// Fetches a partition from this offset again, and drops the records fetched so far.
    pub(super) fn seek(&self, partition: u32, next: u64) {
        let mut list = TopicPartitionList::new();
        let added = self.add(&mut list, partition, next);
        let sought = added.and_then(|()| self.committed.seek_partitions(list, PATIENCE));
        if let Err(error) = sought {
            debug!(%error, partition, "seek failed");
        }
    }

    /// Stops fetching a partition.
    pub(super) fn stop_fetching(&self, partition: u32) {
        let mut finished = TopicPartitionList::new();
        finished.add_partition(&self.topic, to_i32(partition));
        if let Err(error) = self.committed.pause(&finished) {
            debug!(%error, partition, "pause failed");
        }
    }

    /// Returns the error that ends the reading of the topic, if `error` is one.
    pub(super) fn fatal(&self, error: &KafkaError) -> Option<ReadError> {
        match error.rdkafka_error_code()? {
            Code::TopicAuthorizationFailed => Some(self.not_authorized("READ")),
            Code::LogTruncation => Some(ReadError::Truncated(self.topic.clone())),
            Code::AutoOffsetReset => {
                let words = self.committed.context().last_error()?;
                let is_truncated = words.contains(TRUNCATED);
                is_truncated.then(|| ReadError::Truncated(self.topic.clone()))
            }
            _ => None,
        }
    }

    /// Returns the reason if brokers reject the connection.
    pub(super) fn rejection(&self) -> Option<ConnectError> {
        let clients = [&self.committed, &self.uncommitted].into_iter();
        clients
            .filter_map(|client| client.context().connect_error())
            .find(|why| !matches!(why, ConnectError::NoBroker(_)))
    }

    pub(super) fn forget_errors(&self) {
        self.committed.context().forget_error();
        self.uncommitted.context().forget_error();
    }

    fn last_error_message(&self, error: &KafkaError) -> String {
        // Nothing else polls this client.
        if let Some(Err(error)) = self.uncommitted.poll(ERROR_POLL) {
            debug!(%error, "no answer");
        }
        let words = self.uncommitted.context().last_error();
        words.unwrap_or_else(|| error_message(error))
    }
}

/// Returns the first of `partitions` without a leader.
fn leaderless(topic: &MetadataTopic, partitions: &[u32]) -> Option<u32> {
    let without = topic.partitions().iter().filter(|found| found.leader() < 0);
    without
        .map(|found| to_u32(found.id()))
        .find(|partition| partitions.contains(partition))
}
