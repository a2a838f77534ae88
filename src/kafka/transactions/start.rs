//! Starts a transactional producer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{Batching, POLL, SLICE, TransactionError, Transactions, is_transient};
use crate::interrupt::Interrupt;
use crate::kafka::callbacks::Callbacks;
use crate::kafka::client_error::ClientError;
use crate::kafka::cluster::ConnectError;
use crate::kafka::settings::Settings;

/// The limit for a start: librdkafka may need to find the coordinator, which may still end the previous transaction.
const START: Duration = Duration::from_secs(45);
/// The limit for the request that finds out why a start failed.
const DIAGNOSIS: Duration = Duration::from_secs(5);
/// How long a start is retried while authentication fails.
const REJECTED_LIMIT: Duration = Duration::from_secs(10);

impl Transactions {
    /// Starts a producer with the transactional id `id`, which aborts an open transaction of that id. Each step checks
    /// `interrupt`.
    ///
    /// # Errors
    /// If Kafka rejects the request, or does not answer within a minute.
    pub fn start(
        settings: &Settings,
        id: &str,
        batching: Batching,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, TransactionError> {
        let producer = BaseProducer::from_config_and_context(
            &settings.for_transactions(id, batching),
            Callbacks::new(Mutex::default(), settings),
        )
        .map_err(|error| TransactionError::from(ClientError::from(error)))?;
        let transactions = Self {
            producer: Arc::new(producer),
            interrupt: Arc::clone(interrupt),
            id: id.to_owned(),
            topics: BTreeSet::new(),
            unreported: 0,
            is_open: Cell::new(false),
        };
        let begun = Instant::now();
        loop {
            match transactions.producer.init_transactions(SLICE) {
                Ok(()) => return Ok(transactions),
                Err(error) if !is_transient(&error) => return Err(transactions.classify(&error)),
                Err(error) => transactions.wait_to_start(begun.elapsed(), id, &error)?,
            }
        }
    }

    /// Waits before the next attempt.
    fn wait_to_start(
        &self,
        passed: Duration,
        id: &str,
        error: &KafkaError,
    ) -> Result<(), TransactionError> {
        self.producer.poll(POLL);
        let why = self.error_message(error);
        let connect_error = self.producer.context().connect_error();
        let is_rejected = matches!(connect_error, Some(ConnectError::Authentication(_)));
        if is_rejected && passed > REJECTED_LIMIT {
            return Err(TransactionError::Rejected(why));
        }
        if passed < START && !self.interrupt.is_stopping() {
            return Ok(());
        }
        if self.interrupt.is_stopping()
            || self
                .producer
                .client()
                .fetch_metadata(None, DIAGNOSIS)
                .is_err()
        {
            return Err(TransactionError::Fatal(why));
        }
        Err(TransactionError::Fatal(format!(
            "Kafka answers, but does not initialize the transactional id {id} ({why}). A partition without a leader \
             may delay the end of its last transaction, or it may have no coordinator: with fewer than three brokers, \
             set transaction.state.log.replication.factor to their number and transaction.state.log.min.isr to less, and \
             restart the brokers"
        )))
    }
}
