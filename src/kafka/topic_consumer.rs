//! The client that reads a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::debug;

use super::callbacks::Callbacks;
use super::numbers::{to_i32, to_i64, to_u64};
use super::offset_range::OffsetRange;
use super::questions::{condition_of, in_words};
use super::read_error::ReadError;
use super::topic::Condition;

/// How long one question may take: long enough for a broker's death.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// The topic that is read, and the client that reads it.
pub(super) struct TopicConsumer {
    pub(super) consumer: BaseConsumer<Callbacks>,
    pub(super) topic: String,
}

/// The offsets that are still to be read, by partition.
pub(super) type Remaining = BTreeMap<u32, Left>;

/// The offsets of a partition that are still to be read.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) next: u64,
    pub(super) end: u64,
    /// Kafka has said, since `next` was reached, that the end is there.
    pub(super) is_confirmed: bool,
}

impl TopicConsumer {
    pub(super) fn partitions_of(&self, topic: &str) -> Result<u32, ReadError> {
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

    pub(super) fn whole(&self, partition: u32) -> Result<OffsetRange, ReadError> {
        let (first, end) = self
            .consumer
            .fetch_watermarks(&self.topic, to_i32(partition), PATIENCE)
            .map_err(|error| ReadError::unanswered("where a partition begins and ends", &error))?;
        Ok(OffsetRange {
            partition,
            first: to_u64(first),
            end: to_u64(end),
        })
    }

    pub(super) fn assign(&self, remaining: &Remaining) -> Result<(), ReadError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, left) in remaining {
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

    /// What lies between the last record and the end of a range can be the marks of transactions,
    /// which no reader is given: then only Kafka's word ends it. A leader that has just been elected
    /// can end its log too early, so that its word counts once it was asked where the log ends.
    pub(super) fn ended(&self, remaining: &mut Remaining, partition: u32) -> Result<(), ReadError> {
        let Some(left) = remaining.get_mut(&partition) else {
            return Ok(());
        };
        if left.end == OffsetRange::ENDLESS {
            return Ok(());
        }
        if left.is_confirmed {
            remaining.remove(&partition);
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
            .map_err(|error| ReadError::unanswered("what a partition holds", &error))?;
        Ok(())
    }

    /// Fetches no more of a partition that was read to its end.
    pub(super) fn leave(&self, partition: u32) {
        let mut finished = TopicPartitionList::new();
        finished.add_partition(&self.topic, to_i32(partition));
        if let Err(error) = self.consumer.pause(&finished) {
            debug!(%error, partition, "still fetched");
        }
    }

    /// What was deleted, where that is the trouble.
    pub(super) fn troubled(
        &self,
        remaining: &mut Remaining,
        error: &KafkaError,
    ) -> Result<Option<OffsetRange>, ReadError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.pass_over_deleted(remaining)
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
    fn pass_over_deleted(
        &self,
        remaining: &mut Remaining,
    ) -> Result<Option<OffsetRange>, ReadError> {
        for (partition, left) in remaining.clone() {
            let first = self.whole(partition)?.first;
            if first <= left.next {
                continue;
            }
            if first >= left.end {
                remaining.remove(&partition);
            } else if let Some(left) = remaining.get_mut(&partition) {
                left.next = first;
            }
            self.assign(remaining)?;
            return Ok(Some(OffsetRange {
                partition,
                first: left.next,
                end: first.min(left.end),
            }));
        }
        Ok(None)
    }
}
