//! The reasons why a reader waits.

use std::fmt;

/// The reason why a reader waits; its text is a line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The end of a transaction that another producer holds open.
    Transaction {
        topic: String,
        partition: u32,
        from: u64,
    },
    /// An offset that the partition does not have yet.
    Offset { partition: u32, end: u64, next: u64 },
    /// A leader of the partition, or its answer.
    Leader { topic: String, partition: u32 },
    /// Existing records that can't be fetched.
    Batch {
        topic: String,
        partition: u32,
        offset: u64,
        reason: String,
    },
    /// An answer from a broker.
    Broker { topic: String, reason: String },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction {
                topic,
                partition,
                from,
            } => write!(
                f,
                "waiting for a transaction that another producer holds open on {topic} partition \
                 {partition} from offset {from}; Kafka aborts it after its transaction.timeout.ms"
            ),
            Self::Offset {
                partition,
                end,
                next,
            } => write!(
                f,
                "partition {partition} ends at offset {end}: waiting for offset {next}"
            ),
            Self::Leader { topic, partition } => write!(
                f,
                "waiting for a leader of {topic} partition {partition} that answers: check that the partition has a \
                 leader, and that this machine reaches the advertised.listeners of its broker"
            ),
            Self::Batch {
                topic,
                partition,
                offset,
                reason,
            } => write!(
                f,
                "the records of {topic} partition {partition} from offset {offset} on can't be fetched \
                 ({reason}): trying again; check the log of the partition's leader"
            ),
            Self::Broker { topic, reason } => write!(
                f,
                "no broker has answered for a minute about {topic}: {reason}; connecting again"
            ),
        }
    }
}
