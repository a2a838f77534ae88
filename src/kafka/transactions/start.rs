//! The start of a transactional producer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{Batching, Broken, ROOM, SLICE, Transactions, is_passing};
use crate::interrupt::Interrupt;
use crate::kafka::callbacks::Callbacks;
use crate::kafka::client_error::ClientError;
use crate::kafka::cluster::Unreached;
use crate::kafka::settings::Settings;

/// How long a start may take: Kafka looks for a coordinator, or the coordinator still ends the last transaction.
const START: Duration = Duration::from_secs(45);
/// How long a request may take that finds the reason of a failed start.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a start is retried if the broker refuses the client.
const REJECTED: Duration = Duration::from_secs(10);

impl Transactions {
    /// Ends the open transaction of `id`, and starts a producer under it. Each step checks `interrupt`.
    ///
    /// # Errors
    /// If Kafka refuses, or does not answer within a minute.
    pub fn start(
        settings: &Settings,
        id: &str,
        batching: Batching,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, Broken> {
        let producer = BaseProducer::from_config_and_context(
            &settings.for_transactions(id, batching),
            Callbacks::new(Mutex::default(), settings),
        )
        .map_err(|error| Broken::from(ClientError::from(error)))?;
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
                Err(error) if !is_passing(&error) => return Err(transactions.broken(&error)),
                Err(error) => transactions.wait_to_start(begun.elapsed(), id, &error)?,
            }
        }
    }

    /// Waits before the next attempt.
    fn wait_to_start(&self, passed: Duration, id: &str, error: &KafkaError) -> Result<(), Broken> {
        self.producer.poll(ROOM);
        let why = self.in_words(error);
        let unreached = self.producer.context().unreached();
        let is_rejected = matches!(unreached, Some(Unreached::Login(_)));
        if is_rejected && passed > REJECTED {
            return Err(Broken::Refused(why));
        }
        if passed < START && !self.interrupt.is_stopping() {
            return Ok(());
        }
        if self.interrupt.is_stopping()
            || self
                .producer
                .client()
                .fetch_metadata(None, QUESTION)
                .is_err()
        {
            return Err(Broken::Producer(why));
        }
        Err(Broken::Producer(format!(
            "Kafka answers, but does not accept the transactional id {id} ({why}). Its last transaction may be held up \
             by a partition without a leader; or there may be no coordinator for it: with fewer than three brokers, set \
             transaction.state.log.replication.factor to their number and transaction.state.log.min.isr to less, and \
             start the brokers again"
        )))
    }
}
