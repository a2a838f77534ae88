//! Why a Kafka client cannot start.

use std::io;

use rdkafka::error::KafkaError;
use thiserror::Error;

/// Why a Kafka client cannot start.
#[derive(Debug, Error)]
pub enum ClientError {
    /// librdkafka rejects the combination of settings.
    #[error("kafka.properties: librdkafka can't start with them: {0}")]
    Settings(KafkaError),
    /// The system has no free thread or file descriptor.
    #[error("the system can't start the threads of a Kafka client: {0}")]
    Threads(String),
}

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> Self {
        match error {
            // librdkafka has no separate error code for this.
            KafkaError::ClientCreation(why) if why.contains("Failed to create thread") => {
                Self::Threads(why)
            }
            error => Self::Settings(error),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Threads(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_error_does_not_blame_the_settings() {
        let creation = |why: &str| KafkaError::ClientCreation(why.to_owned());
        let own = io::Error::from_raw_os_error(11);
        for (error, expected) in [
            (
                creation("Failed to create thread: Resource temporarily unavailable (11)").into(),
                "the system can't start the threads of a Kafka client: \
                 Failed to create thread: Resource temporarily unavailable (11)",
            ),
            (
                own.into(),
                "the system can't start the threads of a Kafka client: \
                 Resource temporarily unavailable (os error 11)",
            ),
            (
                creation("`acks` must be set to `all`").into(),
                "kafka.properties: librdkafka can't start with them: \
                 Client creation error: `acks` must be set to `all`",
            ),
        ] {
            let error: ClientError = error;
            assert_eq!(error.to_string(), expected);
        }
    }
}
