//! Reads stretches of one topic's partitions, as a subscriber that sees committed records only. It
//! joins no consumer group and commits nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thiserror::Error;
use tracing::debug;

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::questions::{condition_of, in_words};
use super::settings::Settings;
use super::topic::Condition;
use crate::contract::RecordRef;

/// How long one question may take: long enough for a broker's death.
const PATIENCE: Duration = Duration::from_secs(15);

/// A part of a partition: from `first` on, up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: u32,
    pub first: u64,
    /// [`Stretch::ENDLESS`] where what is still to come is meant too.
    pub end: u64,
}

impl Stretch {
    /// The end of a stretch that has none.
    pub const ENDLESS: u64 = u64::MAX;

    /// How many offsets there are in it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }
}

/// Why a topic can't be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// The topic exists, but can't be read now.
    #[error("{0}: {1}")]
    Topic(String, Condition),
    /// Kafka does not answer a question.
    #[error("{0}")]
    Unanswered(String),
    /// Kafka does not let this client read.
    #[error("Kafka does not let this client read {0}: {1}; grant it DESCRIBE and READ")]
    Refused(String, RDKafkaErrorCode),
}

/// A reader of one topic.
pub struct Reader {
    source: Source,
    stretches: Stretches,
}

/// The topic that is read, and the client that reads it.
struct Source {
    consumer: BaseConsumer<Callbacks>,
    topic: String,
}

/// What is still to be read of a partition.
#[derive(Clone, Copy)]
struct Left {
    next: u64,
    end: u64,
    /// Kafka has said, since `next` was reached, that the end is there.
    is_confirmed: bool,
}

/// One thing that happened while reading.
pub enum Step<'a> {
    Record(Taken<'a>),
    /// Kafka has deleted what was to be read next; reading goes on behind it.
    Deleted(Stretch),
    /// Nothing came in time.
    Nothing,
    /// Every stretch was read to its end.
    Finished,
}

impl Reader {
    /// Connects and finds the topic.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn open(settings: &Settings, topic: &str) -> Result<Self, ReadError> {
        let consumer =
            BaseConsumer::from_config_and_context(&settings.for_reading(), Callbacks::default())
                .map_err(ClientError::from)?;
        let topic = topic.to_owned();
        let reader = Self {
            source: Source { consumer, topic },
            stretches: BTreeMap::new(),
        };
        reader.partitions()?;
        Ok(reader)
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.source.topic
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// Where Kafka does not say.
    pub fn partitions(&self) -> Result<u32, ReadError> {
        self.partitions_of(&self.source.topic)
    }

    /// How many partitions another topic has.
    ///
    /// # Errors
    /// Where Kafka does not say.
    pub fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
        self.source.partitions_of(topic)
    }

    /// All that is on a partition now and committed.
    ///
    /// # Errors
    /// Where Kafka does not say.
    pub fn whole(&self, partition: u32) -> Result<Stretch, ReadError> {
        self.source.whole(partition)
    }

    /// For each of the partitions the first offset whose record has this time or a later one, in
    /// milliseconds since 1970; none where there is no such record yet.
    ///
    /// # Errors
    /// Where Kafka does not say.
    pub fn offsets_from(
        &self,
        partitions: &[u32],
        time: i64,
    ) -> Result<BTreeMap<u32, u64>, ReadError> {
        let failed = |error: &KafkaError| unanswered("which offset a time has", error);
        let mut question = TopicPartitionList::new();
        for partition in partitions {
            let time = Offset::Offset(time);
            question
                .add_partition_offset(&self.source.topic, to_i32(*partition), time)
                .map_err(|error| failed(&error))?;
        }
        let answer = self.source.consumer.offsets_for_times(question, PATIENCE);
        let answer = answer.map_err(|error| failed(&error))?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| failed(&error))?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(to_u32(element.partition()), to_u64(offset));
            }
        }
        Ok(offsets)
    }

    /// Reads these stretches from now on, and nothing else.
    ///
    /// # Errors
    /// Where librdkafka takes no such assignment.
    pub fn read(&mut self, stretches: &[Stretch]) -> Result<(), ReadError> {
        self.stretches = stretches
            .iter()
            .filter(|stretch| stretch.length() > 0)
            .map(|stretch| {
                let left = Left {
                    next: stretch.first,
                    end: stretch.end,
                    is_confirmed: false,
                };
                (stretch.partition, left)
            })
            .collect();
        self.source.assign(&self.stretches)
    }

    /// What happens next, within `patience`. A passing trouble with a broker is waited out.
    ///
    /// # Errors
    /// Where Kafka will not let this client read, or the topic is gone.
    pub fn next(&mut self, patience: Duration) -> Result<Step<'_>, ReadError> {
        if self.stretches.is_empty() {
            return Ok(Step::Finished);
        }
        match self.source.consumer.poll(patience) {
            Some(Ok(message)) => {
                let partition = to_u32(message.partition());
                let step = took(&mut self.stretches, message);
                if !self.stretches.contains_key(&partition) {
                    self.source.leave(partition);
                }
                Ok(step)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let partition = to_u32(partition);
                self.source.ended(&mut self.stretches, partition)?;
                Ok(Step::Nothing)
            }
            Some(Err(error)) => {
                let deleted = self.source.troubled(&mut self.stretches, &error)?;
                Ok(deleted.map_or(Step::Nothing, Step::Deleted))
            }
            None => Ok(Step::Nothing),
        }
    }
}

impl Source {
    fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
        let consumer = &self.consumer;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
        let metadata = metadata.map_err(|error| {
            let reason = consumer.context().last_error();
            let reason = reason.unwrap_or_else(|| in_words(&error));
            ReadError::Topic(topic.to_owned(), Condition::Unreachable(reason.into()))
        })?;
        let found = metadata.topics().first();
        match found.map_or(Condition::Missing, condition_of) {
            // A partition without a leader is waited for.
            Condition::Ready | Condition::Leaderless(_) => {
                let count = found.map_or(0, |topic: &MetadataTopic| topic.partitions().len());
                Ok(u32::try_from(count).unwrap_or(u32::MAX))
            }
            Condition::Missing => Err(ReadError::NoTopic(topic.to_owned())),
            condition => Err(ReadError::Topic(topic.to_owned(), condition)),
        }
    }

    fn whole(&self, partition: u32) -> Result<Stretch, ReadError> {
        let (first, end) = self
            .consumer
            .fetch_watermarks(&self.topic, to_i32(partition), PATIENCE)
            .map_err(|error| unanswered("where a partition begins and ends", &error))?;
        Ok(Stretch {
            partition,
            first: to_u64(first),
            end: to_u64(end),
        })
    }

    fn assign(&self, stretches: &Stretches) -> Result<(), ReadError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, left) in stretches {
            let next = Offset::Offset(to_i64(left.next));
            assignment
                .add_partition_offset(&self.topic, to_i32(*partition), next)
                .map_err(|error| self.unassigned(&error))?;
        }
        // A partition that was left stays paused where it is assigned again.
        self.consumer
            .assign(&assignment)
            .and_then(|()| self.consumer.resume(&assignment))
            .map_err(|error| self.unassigned(&error))
    }

    fn unassigned(&self, error: &KafkaError) -> ReadError {
        ReadError::Unanswered(format!("librdkafka can't read {}: {error}", self.topic))
    }

    /// What lies between the last record and the end of a stretch can be the marks of transactions,
    /// which no reader is given: then only Kafka's word ends it. A leader that has just been elected
    /// can end its log too early, so that its word counts once it was asked where the log ends.
    fn ended(&self, stretches: &mut Stretches, partition: u32) -> Result<(), ReadError> {
        let Some(left) = stretches.get_mut(&partition) else {
            return Ok(());
        };
        if left.end == Stretch::ENDLESS {
            return Ok(());
        }
        if left.is_confirmed {
            stretches.remove(&partition);
            self.leave(partition);
            return Ok(());
        }
        // Where Kafka does not answer it is asked when the end comes up again.
        let whole = self.whole(partition);
        left.is_confirmed = whole.is_ok_and(|whole| whole.end >= left.end);
        let mut again = TopicPartitionList::new();
        let next = Offset::Offset(to_i64(left.next));
        again
            .add_partition_offset(&self.topic, to_i32(partition), next)
            .and_then(|()| self.consumer.seek_partitions(again, PATIENCE))
            .map_err(|error| unanswered("what a partition holds", &error))?;
        Ok(())
    }

    /// Fetches no more of a partition that was read to its end.
    fn leave(&self, partition: u32) {
        let mut finished = TopicPartitionList::new();
        finished.add_partition(&self.topic, to_i32(partition));
        if let Err(error) = self.consumer.pause(&finished) {
            debug!(%error, partition, "still fetched");
        }
    }

    /// What was deleted, where that is the trouble.
    fn troubled(
        &self,
        stretches: &mut Stretches,
        error: &KafkaError,
    ) -> Result<Option<Stretch>, ReadError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.pass_over_deleted(stretches)
            }
            Some(code @ (Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)) => {
                Err(ReadError::Refused(self.topic.clone(), code))
            }
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                match self.partitions_of(&self.topic) {
                    Err(gone @ ReadError::NoTopic(_)) => Err(gone),
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// librdkafka does not say which partition it is that begins later now.
    fn pass_over_deleted(&self, stretches: &mut Stretches) -> Result<Option<Stretch>, ReadError> {
        for (partition, left) in stretches.clone() {
            let first = self.whole(partition)?.first;
            if first <= left.next {
                continue;
            }
            if first >= left.end {
                stretches.remove(&partition);
            } else if let Some(left) = stretches.get_mut(&partition) {
                left.next = first;
            }
            self.assign(stretches)?;
            return Ok(Some(Stretch {
                partition,
                first: left.next,
                end: first.min(left.end),
            }));
        }
        Ok(None)
    }
}

fn unanswered(question: &str, error: &KafkaError) -> ReadError {
    let reason = in_words(error);
    ReadError::Unanswered(format!("Kafka does not say {question}: {reason}"))
}

type Stretches = BTreeMap<u32, Left>;

/// Notes how far a record brings its partition. One behind the end of its stretch ends it.
fn took<'a>(stretches: &mut Stretches, message: BorrowedMessage<'a>) -> Step<'a> {
    let (partition, offset) = (to_u32(message.partition()), to_u64(message.offset()));
    let Some(left) = stretches.get_mut(&partition) else {
        return Step::Nothing;
    };
    left.next = offset + 1;
    left.is_confirmed = false;
    let (is_in, is_last) = (offset < left.end, offset + 1 >= left.end);
    if is_last {
        stretches.remove(&partition);
    }
    if is_in {
        Step::Record(Taken(message))
    } else {
        Step::Nothing
    }
}

/// A record as Kafka gave it.
pub struct Taken<'a>(BorrowedMessage<'a>);

impl Taken<'_> {
    #[must_use]
    pub fn partition(&self) -> u32 {
        to_u32(self.0.partition())
    }

    #[must_use]
    pub fn offset(&self) -> u64 {
        to_u64(self.0.offset())
    }

    #[must_use]
    pub fn record(&self) -> RecordRef<'_> {
        let headers = self
            .0
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        RecordRef {
            key: self.0.key().map(Cow::Borrowed),
            headers: headers
                .map(|header| (Cow::Borrowed(header.key), header.value.map(Cow::Borrowed)))
                .collect(),
            value: self.0.payload().map(Cow::Borrowed),
            timestamp: self.0.timestamp().to_millis(),
        }
    }
}

/// Kafka counts partitions and offsets from 0 in signed numbers.
pub(super) fn to_u32(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

pub(super) fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
