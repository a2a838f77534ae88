//! A producer whose records appear together with the place that its reader has reached, or not at all.
//!
//! The transactional id is a consumer group's name too: the group holds, for each partition that is
//! read, the next offset and a text of the caller's. A producer that starts under an id first ends
//! the transaction of the last one.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use parking_lot::Mutex;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thiserror::Error;
use tracing::debug;

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::group::{Group, Offsets};
use super::numbers::{to_i32, to_i64};
use super::outgoing::to_headers;
use super::producer::Failed;
use super::settings::Settings;
use crate::contract::RecordRef;

/// How long one step may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for room in librdkafka's queue before looking again.
const ROOM: Duration = Duration::from_millis(10);
/// How many records are handed over between two looks for delivery reports.
const REPORTS_EACH: u32 = 256;

/// Why a transaction did not come to its end.
#[derive(Debug, Error)]
pub enum Broken {
    /// Nothing of it will be seen; the same can be tried again.
    #[error("{0}")]
    Transaction(String),
    /// This producer can't go on. Its last transaction may have been committed all the same.
    #[error("{0}")]
    Producer(String),
    /// Kafka refuses it, and will again.
    #[error("{0}")]
    Refused(String),
}

/// One producer with a transactional id.
pub struct Transactions {
    producer: BaseProducer<Callbacks<Mutex<Failures>>>,
    unreported: u32,
}

impl Transactions {
    /// Ends whatever goes on under `id`, and starts a producer under it.
    ///
    /// # Errors
    /// Where Kafka does not let it, or does not answer within a minute.
    pub fn start(settings: &Settings, id: &str) -> Result<Self, Broken> {
        let producer = BaseProducer::from_config_and_context(
            &settings.for_transactions(id),
            Callbacks::default(),
        )
        .map_err(|error| Broken::Refused(ClientError::from(error).to_string()))?;
        let transactions = Self {
            producer,
            unreported: 0,
        };
        // A coordinator is being looked for, or still ends the last transaction.
        let mut attempts = 6;
        loop {
            match transactions.producer.init_transactions(PATIENCE) {
                Ok(()) => return Ok(transactions),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && attempts > 1 => {
                    attempts -= 1;
                }
                Err(error) => return Err(transactions.broken(&error)),
            }
        }
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// Where this producer can't go on.
    pub fn begin(&self) -> Result<(), Broken> {
        let begun = self.producer.begin_transaction();
        begun.map_err(|error| self.broken(&error))
    }

    /// Hands a record over to the transaction, waiting for room where there is none. `tag` names it
    /// where Kafka refuses it.
    ///
    /// # Errors
    /// Where the transaction can't succeed any more.
    pub fn send(
        &mut self,
        topic: &str,
        partition: u32,
        record: &RecordRef<'_>,
        tag: usize,
    ) -> Result<(), Broken> {
        self.unreported += 1;
        if self.unreported >= REPORTS_EACH {
            self.unreported = 0;
            self.producer.poll(Duration::ZERO);
        }
        let headers = record.headers.iter();
        let headers = headers.map(|(name, value)| (&**name, value.as_deref()));
        let mut outgoing: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, tag)
                .partition(to_i32(partition))
                .headers(to_headers(headers));
        outgoing.key = record.key.as_deref();
        outgoing.payload = record.value.as_deref();
        outgoing.timestamp = record.timestamp;
        loop {
            match self.producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    outgoing = back;
                    self.producer.poll(ROOM);
                }
                Err((error, _)) => return Err(self.broken(&error)),
            }
        }
    }

    /// Waits until Kafka has taken or refused every record so far.
    ///
    /// # Errors
    /// Where the transaction can't succeed any more.
    pub fn flush(&self) -> Result<(), Broken> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(ROOM);
        }
        match self.producer.context().deliveries.lock().first {
            None => Ok(()),
            Some(code) => Err(self.broken(&KafkaError::MessageProduction(code))),
        }
    }

    /// Commits the transaction with how far the reading of `topic` is, for the group of `group`.
    ///
    /// # Errors
    /// Where it did not come to its end; after [`Broken::Producer`] it may have.
    pub fn commit(&self, group: &Group, topic: &str, offsets: &Offsets) -> Result<(), Broken> {
        self.flush()?;
        let list = to_list(topic, offsets).map_err(|error| self.broken(&error))?;
        let member = group.consumer.group_metadata();
        let member = member.expect("a consumer with a group's name has its metadata");
        self.until_done(|producer| producer.send_offsets_to_transaction(&list, &member, PATIENCE))?;
        self.until_done(|producer| producer.commit_transaction(PATIENCE))
    }

    /// Gives the transaction up: nothing of it will be seen.
    ///
    /// # Errors
    /// Where this producer can't go on.
    pub fn abort(&self) -> Result<(), Broken> {
        // Aborting waits for delivery reports that only this thread can take.
        self.take_back();
        *self.producer.context().deliveries.lock() = Failures::default();
        self.until_done(|producer| producer.abort_transaction(PATIENCE))
    }

    /// The tags of those records of this transaction that Kafka has refused for their size or form,
    /// or for another one's in the same batch. There has to be a new producer then: this one stumbles
    /// over the gap in its numbering.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<usize, Failed> {
        self.take_back();
        mem::take(&mut self.producer.context().deliveries.lock().unfit)
    }

    /// Takes back what is still to be sent, and every delivery report.
    fn take_back(&self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(ROOM);
        }
    }

    /// Serves librdkafka while there is nothing else to do.
    pub fn wait(&self, time: Duration) {
        self.producer.poll(time);
    }

    fn until_done(
        &self,
        step: impl Fn(&BaseProducer<Callbacks<Mutex<Failures>>>) -> Result<(), KafkaError>,
    ) -> Result<(), Broken> {
        loop {
            match step(&self.producer) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    debug!(error = error.string(), "tried again");
                }
                // A flush that has taken too long.
                Err(KafkaError::Flush(_)) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn broken(&self, error: &KafkaError) -> Broken {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let why = self.in_words(error);
        if matches!(
            code,
            Some(
                Code::TransactionalIdAuthorizationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
                    | Code::UnsupportedFeature
            )
        ) {
            return Broken::Refused(why);
        }
        let is_dead = match error {
            KafkaError::Transaction(error) => error.is_fatal() || !error.txn_requires_abort(),
            _ => false,
        };
        if is_dead || self.producer.client().fatal_error().is_some() {
            Broken::Producer(why)
        } else {
            Broken::Transaction(why)
        }
    }

    fn in_words(&self, error: &KafkaError) -> String {
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            return reason;
        }
        match error {
            KafkaError::Transaction(error) => match self.producer.context().last_error() {
                Some(trouble) => format!("{}: {trouble}", error.string()),
                None => error.string(),
            },
            other => other
                .rdkafka_error_code()
                .map_or_else(|| other.to_string(), |code| code.to_string()),
        }
    }
}

fn to_list(topic: &str, offsets: &Offsets) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, committed) in offsets {
        let mut element = list.add_partition(topic, to_i32(*partition));
        element.set_offset(Offset::Offset(to_i64(committed.next)))?;
        element.set_metadata(&committed.text);
    }
    Ok(list)
}

/// The records of this transaction that Kafka has refused.
#[derive(Default)]
struct Failures {
    first: Option<RDKafkaErrorCode>,
    /// Those about size or form, by tag.
    unfit: BTreeMap<usize, Failed>,
}

impl ProducerContext for Callbacks<Mutex<Failures>> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let Err((error, _)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut failures = self.deliveries.lock();
        failures.first.get_or_insert(code);
        let failed = Failed::from(code);
        if failed.refusal().is_some() {
            failures.unfit.insert(tag, failed);
        }
    }
}
