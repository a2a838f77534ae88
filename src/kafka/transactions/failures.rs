//! The failed records of a transaction.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::callbacks::Callbacks;
use crate::kafka::producer::DeliveryError;

/// The failed records of the open transaction.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) first: Option<RDKafkaErrorCode>,
    /// The permanently rejected records, by tag.
    pub(super) rejected: BTreeMap<usize, DeliveryError>,
}

impl ProducerContext for Callbacks<Mutex<Failures>> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let Err((error, _)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut failures = self.deliveries.lock();
        failures.first.get_or_insert(code);
        let failed = DeliveryError::from(code);
        if failed.is_permanent() {
            failures.rejected.insert(tag, failed);
        }
    }
}
