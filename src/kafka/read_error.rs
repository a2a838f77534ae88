//! Why a topic can't be read.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::client_error::ClientError;
use super::questions::in_words;
use super::topic::Condition;

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

impl ReadError {
    pub(super) fn unanswered(question: &str, error: &KafkaError) -> Self {
        let reason = in_words(error);
        Self::Unanswered(format!("Kafka does not say {question}: {reason}"))
    }
}
