//! The reasons why a topic can't be read.

use rdkafka::error::KafkaError;
use thiserror::Error;

use super::client_error::ClientError;
use super::cluster::Unreached;
use super::questions::in_words;
use super::topic::Condition;

/// The reason why a topic can't be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error("{topic} no longer has partition {partition}: the topic was created again")]
    NoPartition { topic: String, partition: u32 },
    /// The topic exists, but can't be read now.
    #[error("{0}: {1}")]
    Topic(String, Condition),
    /// Kafka does not answer a request.
    #[error("{0}")]
    Unanswered(String),
    /// Kafka does not let this client do something other than read.
    #[error("{0}")]
    Denied(String),
    /// Brokers refuse the connection.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// Kafka does not let this client read.
    #[error("Kafka does not let this client read {topic}: grant it {right} on the topic")]
    Refused { topic: String, right: &'static str },
    /// Offsets at the end of the partition have disappeared.
    #[error(
        "{topic} partition {partition} ends at offset {end}, before offset {offset} that was already {seen}: \
         the topic was created again, or Kafka has lost records in an unclean leader election"
    )]
    Shrunk {
        topic: String,
        partition: u32,
        end: u64,
        offset: u64,
        /// `read` or `there`.
        seen: &'static str,
    },
    /// The log does not continue after the records that were read.
    #[error(
        "the log of {0} does not continue after the records that were read: the topic was created again, or Kafka \
         has lost records in an unclean leader election"
    )]
    Truncated(String),
    /// A partition has no leader, or this client can't reach it.
    #[error(
        "{topic} partition {partition} has had no leader that answers for {lasts}: check with `kafka-topics.sh \
         --describe` that it has a leader, and that this machine reaches the `advertised.listeners` of its broker"
    )]
    Leader {
        topic: String,
        partition: u32,
        lasts: &'static str,
    },
    /// Existing records can't be fetched.
    #[error(
        "the records of {topic} partition {partition} from offset {offset} on could not be fetched for 20 minutes \
         ({reason}): check the log of the partition's leader with `kafka-dump-log.sh`; if the batch is corrupt, \
         `--offsets` reads what lies behind it"
    )]
    Batch {
        topic: String,
        partition: u32,
        offset: u64,
        reason: String,
    },
    /// A transaction has been open for too long.
    #[error(
        "another producer has held a transaction open for 20 minutes, on {topic} partition {partition} from \
         offset {from}: `kafka-transactions.sh find-hanging` shows whether its producer is gone, and \
         `kafka-transactions.sh abort` ends it"
    )]
    Transaction {
        topic: String,
        partition: u32,
        from: u64,
    },
}

impl ReadError {
    pub(super) fn unanswered(question: &str, error: &KafkaError) -> Self {
        let reason = in_words(error);
        Self::Unanswered(format!("Kafka does not say {question}: {reason}"))
    }
}
