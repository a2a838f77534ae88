//! The line in the log about reports that nothing keeps any longer.

use tracing::warn;

use crate::kafka::Failed;
use crate::spool::NotWritten;
use crate::telemetry::Throttle;

/// Why a report could not be kept, when that was last tried.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error("Kafka: {0}")]
    Kafka(Failed),
    #[error("the spool is full")]
    SpoolFull,
    #[error("the spool can't be written to")]
    SpoolFailed,
    #[error("Kafka refuses the record, and there is no rejected topic")]
    NoTopic,
}

impl From<NotWritten> for Reason {
    fn from(why: NotWritten) -> Self {
        match why {
            NotWritten::Full => Self::SpoolFull,
            NotWritten::Failed => Self::SpoolFailed,
        }
    }
}

/// Logs that a report of a topic is given up, with the reason of the last one. `given_up` counts those of the topic.
pub(super) fn log(topic: &str, given_up: &Throttle, reason: Option<Reason>) {
    if let Some(reports) = given_up.count() {
        let reason = reason.map_or("Kafka has not taken it".to_owned(), |why| why.to_string());
        warn!(
            topic,
            reports, reason, "reports were given up: no sender was told a success"
        );
    }
}
