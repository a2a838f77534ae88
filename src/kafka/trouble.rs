//! What librdkafka last complained of.

use parking_lot::{Mutex, MutexGuard};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The last error that librdkafka reported, kept for whoever explains why Kafka can't be reached.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Trouble {
    pub(super) fn remember(&self, error: &KafkaError, reason: &str) {
        // "All brokers down" follows each broker's own reason and says less.
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.lock() = Some((code, reason.to_owned()));
        }
    }

    pub(super) fn last(&self) -> Option<String> {
        self.last_with_code().map(|(_, reason)| reason)
    }

    pub(super) fn last_with_code(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.lock().clone()
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(RDKafkaErrorCode, String)>> {
        self.0.lock()
    }
}
