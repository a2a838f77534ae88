//! Errors of reading a topic.

use rdkafka::error::KafkaError;
use thiserror::Error;

use super::client_error::ClientError;
use super::cluster::ConnectError;
use super::topic::Condition;
use super::topic_metadata::error_message;

/// An error of reading a topic.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error("{topic} no longer has partition {partition}: the topic was recreated")]
    NoPartition { topic: String, partition: u32 },
    /// The topic is unavailable.
    #[error("{0}: {1}")]
    Topic(String, Condition),
    /// Kafka did not answer a request.
    #[error("{0}")]
    Unanswered(String),
    /// This client lacks another right.
    #[error("{0}")]
    Denied(String),
    /// Brokers reject the connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// This client lacks the right to read.
    #[error("Kafka denied access: grant this client {right} on the topic {topic}")]
    NotAuthorized { topic: String, right: &'static str },
    /// The partition ends before an offset that existed earlier.
    #[error(
        "{topic} partition {partition} ends at offset {end}, before offset {offset}, which {seen} earlier: \
         the topic was recreated, or Kafka lost records in an unclean leader election"
    )]
    Shrunk {
        topic: String,
        partition: u32,
        end: u64,
        offset: u64,
        /// `was read` or `existed`.
        seen: &'static str,
    },
    /// The log does not continue from the records that were read.
    #[error(
        "the log of {0} does not continue from the records that were read: the topic was recreated, or Kafka lost \
         records in an unclean leader election"
    )]
    Truncated(String),
    /// A partition has no leader, or its leader is unreachable.
    #[error(
        "no leader of {topic} partition {partition} has answered for {lasts}: check with `kafka-topics.sh --describe` \
         that it has a leader, and that this machine can reach the `advertised.listeners` of that broker"
    )]
    Leader {
        topic: String,
        partition: u32,
        lasts: &'static str,
    },
    /// Fetching existing records fails.
    #[error(
        "fetching records of {topic} partition {partition} from offset {offset} has failed for 20 minutes ({reason}): \
         check the log of the partition's leader with `kafka-dump-log.sh`; if the batch is corrupt, read the later \
         records with `--offsets`"
    )]
    Batch {
        topic: String,
        partition: u32,
        offset: u64,
        reason: String,
    },
    /// A transaction has been open for too long.
    #[error(
        "a transaction of another producer has been open for 20 minutes on {topic} partition {partition} from offset \
         {from}: check with `kafka-transactions.sh find-hanging` whether that producer is gone, and if so, end the \
         transaction with `kafka-transactions.sh abort`"
    )]
    Transaction {
        topic: String,
        partition: u32,
        from: u64,
    },
}

impl ReadError {
    pub(super) fn unanswered(question: &str, error: &KafkaError) -> Self {
        let reason = error_message(error);
        Self::Unanswered(format!("Kafka did not return {question}: {reason}"))
    }
}
