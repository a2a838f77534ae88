//! What a reader waits for.

use std::fmt;

/// What a reader waits for; its text is a line for a person.
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
    /// A broker that answers.
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
            Self::Broker { topic, reason } => write!(
                f,
                "no broker has answered for a minute about {topic}: {reason}; connecting again"
            ),
        }
    }
}
