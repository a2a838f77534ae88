//! Reads a topic back from its beginning, as a subscriber would; it joins no consumer group.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfig as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;

use super::settings::Settings;

/// A record as it was read.
#[derive(Debug)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
}

/// A reader of every partition of one topic.
pub struct Subscriber(BaseConsumer);

impl Subscriber {
    /// Starts at the beginning of `partitions` partitions of `topic`.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings, in its own words.
    pub fn from_beginning(
        settings: &Settings,
        topic: &str,
        partitions: u16,
    ) -> Result<Self, KafkaError> {
        let mut config = settings.for_reading();
        // librdkafka wants a group's name even where none is joined.
        config
            .set("group.id", "koobridge-reader")
            .set("enable.auto.commit", "false");
        let consumer = BaseConsumer::from_config(&config)?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition.into(), Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        Ok(Self(consumer))
    }

    /// The next record; `None` where none comes within `patience`. A passing trouble with the broker
    /// is waited out.
    pub fn next(&self, patience: Duration) -> Option<Read> {
        let message = self.0.poll(patience)?.ok()?;
        let value = message.payload().unwrap_or_default().to_vec();
        Some(Read {
            partition: message.partition(),
            offset: message.offset(),
            value,
        })
    }
}
