//! The callbacks of every librdkafka client: its log lines and its errors.

use parking_lot::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info};

/// Logs each line of a client and keeps its last error. `D` handles the delivery reports of a producer.
#[derive(Default)]
pub(super) struct Callbacks<D = ()> {
    pub(super) deliveries: D,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl<D> Callbacks<D> {
    pub(super) fn new(deliveries: D) -> Self {
        Self {
            deliveries,
            last_error: Mutex::default(),
        }
    }

    /// Returns the last error in librdkafka's words, unless it was forgotten.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error_with_code().map(|(_, reason)| reason)
    }

    pub(super) fn last_error_with_code(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().clone()
    }

    pub(super) fn forget_error(&self) {
        *self.last_error.lock() = None;
    }
}

impl<D: Send + Sync + 'static> ClientContext for Callbacks<D> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The topic watch reports an outage once, in the bridge's words.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                info!(target: "librdkafka", facility, "{message}");
            }
            _ => debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers down" follows each broker's own reason and says less.
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.last_error.lock() = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Callbacks {}
