//! Reads ranges of one topic's partitions, as a subscriber that sees committed records only. It
//! joins no consumer group and commits nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::consumed_record::ConsumedRecord;
use super::numbers::{to_i32, to_u32, to_u64};
use super::offset_range::OffsetRange;
use super::read_error::ReadError;
use super::settings::Settings;
use super::topic_consumer::{Left, PATIENCE, Remaining, TopicConsumer};

/// A reader of one topic.
pub struct Reader {
    source: TopicConsumer,
    remaining: Remaining,
}

/// One thing that happened while reading.
pub enum ReadStep<'a> {
    Record(ConsumedRecord<'a>),
    /// Kafka has deleted what was to be read next; reading goes on behind it.
    Deleted(OffsetRange),
    /// Nothing came in time.
    Nothing,
    /// Every range was read to its end.
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
            source: TopicConsumer { consumer, topic },
            remaining: BTreeMap::new(),
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
    pub fn whole(&self, partition: u32) -> Result<OffsetRange, ReadError> {
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
        let failed = |error: &KafkaError| ReadError::unanswered("which offset a time has", error);
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

    /// Reads these ranges from now on, and nothing else.
    ///
    /// # Errors
    /// Where librdkafka takes no such assignment.
    pub fn read(&mut self, ranges: &[OffsetRange]) -> Result<(), ReadError> {
        self.remaining = ranges
            .iter()
            .filter(|range| range.length() > 0)
            .map(|range| {
                let left = Left {
                    next: range.first,
                    end: range.end,
                    is_confirmed: false,
                };
                (range.partition, left)
            })
            .collect();
        self.source.assign(&self.remaining)
    }

    /// What happens next, within `patience`. A passing trouble with a broker is waited out.
    ///
    /// # Errors
    /// Where Kafka will not let this client read, or the topic is gone.
    pub fn next(&mut self, patience: Duration) -> Result<ReadStep<'_>, ReadError> {
        if self.remaining.is_empty() {
            return Ok(ReadStep::Finished);
        }
        match self.source.consumer.poll(patience) {
            Some(Ok(message)) => {
                let partition = to_u32(message.partition());
                let step = took(&mut self.remaining, message);
                if !self.remaining.contains_key(&partition) {
                    self.source.leave(partition);
                }
                Ok(step)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let partition = to_u32(partition);
                self.source.ended(&mut self.remaining, partition)?;
                Ok(ReadStep::Nothing)
            }
            Some(Err(error)) => {
                let deleted = self.source.troubled(&mut self.remaining, &error)?;
                Ok(deleted.map_or(ReadStep::Nothing, ReadStep::Deleted))
            }
            None => Ok(ReadStep::Nothing),
        }
    }
}

/// Notes how far a record brings its partition. One behind the end of its range ends it.
fn took<'a>(remaining: &mut Remaining, message: BorrowedMessage<'a>) -> ReadStep<'a> {
    let (partition, offset) = (to_u32(message.partition()), to_u64(message.offset()));
    let Some(left) = remaining.get_mut(&partition) else {
        return ReadStep::Nothing;
    };
    left.next = offset + 1;
    left.is_confirmed = false;
    let (is_in, is_last) = (offset < left.end, offset + 1 >= left.end);
    if is_last {
        remaining.remove(&partition);
    }
    if is_in {
        ReadStep::Record(ConsumedRecord(message))
    } else {
        ReadStep::Nothing
    }
}
