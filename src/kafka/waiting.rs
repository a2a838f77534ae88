//! The reasons for which a reader waits.

use std::fmt;

/// The reason for which a reader waits. Its text is a progress line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Another producer's transaction is open.
    Transaction {
        topic: String,
        partition: u32,
        from: u64,
    },
    /// The next offset does not exist yet.
    Offset { partition: u32, end: u64, next: u64 },
    /// No leader of the partition answers.
    Leader { topic: String, partition: u32 },
    /// Fetching existing records fails.
    Batch {
        topic: String,
        partition: u32,
        offset: u64,
        reason: String,
    },
    /// No broker answers.
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
                "waiting for an open transaction of another producer on {topic} partition {partition} \
                 from offset {from}; Kafka aborts it after its transaction.timeout.ms"
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
                "no leader of {topic} partition {partition} answers: check that the partition has a leader, and that \
                 this machine can reach the advertised.listeners of that broker; trying again"
            ),
            Self::Batch {
                topic,
                partition,
                offset,
                reason,
            } => write!(
                f,
                "can't fetch records of {topic} partition {partition} from offset {offset} ({reason}): check the log \
                 of the partition's leader; trying again"
            ),
            Self::Broker { topic, reason } => write!(
                f,
                "no broker has answered for a minute about {topic}: {reason}; reconnecting"
            ),
        }
    }
}
