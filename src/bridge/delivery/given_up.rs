//! Logs reports that were given up: neither Kafka nor the spool keeps them.

use tracing::warn;

use crate::kafka::DeliveryError;
use crate::spool::WriteError;
use crate::telemetry::Throttle;

/// Why the last attempt to keep a report failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error("Kafka: {0}")]
    Kafka(DeliveryError),
    #[error("the spool is full")]
    SpoolFull,
    #[error("the spool can't be written to")]
    SpoolFailed,
    #[error("Kafka rejects the record, and there is no rejected topic")]
    NoTopic,
}

impl From<WriteError> for Reason {
    fn from(why: WriteError) -> Self {
        match why {
            WriteError::Full => Self::SpoolFull,
            WriteError::Failed => Self::SpoolFailed,
        }
    }
}

/// Logs that a report is given up, and why. `given_up` counts the reports of its topic between two lines of the log.
pub(super) fn log(topic: &str, given_up: &Throttle, reason: Option<Reason>) {
    if let Some(reports) = given_up.count() {
        let reason = reason.map_or("Kafka has not acknowledged it".to_owned(), |why| {
            why.to_string()
        });
        warn!(
            topic,
            reports, reason, "reports were given up: none of their senders got a 2xx"
        );
    }
}
