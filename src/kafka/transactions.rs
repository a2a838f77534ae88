//! A producer that commits its records together with the progress of the reader.
//!
//! The transactional id is also the name of a consumer group. For each partition that is read, the group stores the
//! next offset and the caller's metadata. When a producer starts with an id, it first ends the open transaction of that
//! id.

mod failures;
mod start;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thiserror::Error;
use tracing::debug;

use self::failures::Failures;
use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::group::{Group, Offsets};
use super::numbers::{to_i32, to_i64};
use super::outgoing::to_headers;
use super::producer::DeliveryError;
use super::rights::missing_right;
use crate::contract::RecordRef;
use crate::interrupt::Interrupt;

/// The timeout of one librdkafka call, after which the interrupt is checked.
const SLICE: Duration = Duration::from_millis(500);
/// The timeout for sending offsets, after which librdkafka sends them again.
const SEND_OFFSETS: Duration = Duration::from_secs(10);
/// The limit for a step; after that the producer can't be used.
const STEP: Duration = Duration::from_secs(30);
/// The limits for a step when the command is to stop, and when it is to stop at once.
const STOPPING: Duration = Duration::from_secs(10);
const STOP_AT_ONCE: Duration = Duration::from_secs(3);
/// The time librdkafka may take to return purged records.
const PURGE_LIMIT: Duration = Duration::from_secs(1);
/// The time to poll before the next attempt when librdkafka's queue is full.
const POLL: Duration = Duration::from_millis(10);
/// The number of sent records between two polls for delivery reports.
const RECORDS_PER_POLL: u32 = 256;

/// The reason why a transaction failed.
#[derive(Debug, Error)]
pub enum TransactionError {
    /// This transaction can't be committed; it can be aborted and retried.
    #[error("{0}")]
    Abortable(String),
    /// This producer can't be used any more. Its last transaction may still have been committed.
    #[error("{0}")]
    Fatal(String),
    /// Another producer has started with the same id, so this one can't be used any more.
    #[error("{0}")]
    Fenced(String),
    /// Kafka rejects it, and a retry does not help.
    #[error("{0}")]
    Rejected(String),
}

impl From<ClientError> for TransactionError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Settings(_) => Self::Rejected(error.to_string()),
            ClientError::Threads(_) => Self::Fatal(error.to_string()),
        }
    }
}

/// The batching of transactional records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batching {
    /// The maximum size of a batch in bytes, if it differs from librdkafka's default.
    pub bytes: Option<u32>,
    /// Whether records are sent without linger.
    pub is_immediate: bool,
}

type TransactionalProducer = BaseProducer<Callbacks<Mutex<Failures>>>;

/// A producer with a transactional id. Dropping it aborts an open transaction.
pub struct Transactions {
    producer: Arc<TransactionalProducer>,
    interrupt: Arc<Interrupt>,
    /// The transactional id, which is also the name of the consumer group.
    id: String,
    /// The topics that records were sent to.
    topics: BTreeSet<String>,
    unreported: u32,
    is_open: Cell<bool>,
}

impl Transactions {
    /// Starts a transaction.
    ///
    /// # Errors
    /// If this producer can't be used any more.
    pub fn begin(&self) -> Result<(), TransactionError> {
        let begun = self.producer.begin_transaction();
        begun.map_err(|error| self.classify(&error))?;
        self.is_open.set(true);
        Ok(())
    }

    /// Adds a record to the transaction; waits while librdkafka's queue is full. `tag` identifies the record when Kafka
    /// rejects it.
    ///
    /// # Errors
    /// If the transaction can't succeed any more.
    pub fn send(
        &mut self,
        topic: &str,
        partition: u32,
        record: &RecordRef<'_>,
        tag: usize,
    ) -> Result<(), TransactionError> {
        if !self.topics.contains(topic) {
            self.topics.insert(topic.to_owned());
        }
        self.unreported += 1;
        if self.unreported >= RECORDS_PER_POLL {
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
        let begun = Instant::now();
        loop {
            match self.producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    outgoing = back;
                    self.producer.poll(POLL);
                    self.check_time(begun, "room in the queue")?;
                }
                Err((error, _)) => return Err(self.send_error(&error, tag)),
            }
        }
    }

    /// Returns the error after which the open transaction can't succeed any more. librdkafka purges the records of such
    /// a transaction, and their delivery reports name only the purge.
    fn failure(&self) -> Option<KafkaError> {
        let error = self.producer.begin_transaction().err()?;
        (error.rdkafka_error_code() != Some(RDKafkaErrorCode::State)).then_some(error)
    }

    /// Returns the error for a record that librdkafka does not accept.
    fn send_error(&self, error: &KafkaError, tag: usize) -> TransactionError {
        let code = error.rdkafka_error_code();
        if let Some(failed) = code
            .map(DeliveryError::from)
            .filter(|failed| failed.is_permanent())
        {
            let mut failures = self.producer.context().deliveries.lock();
            failures.rejected.insert(tag, failed);
        }
        let failure = match code {
            Some(RDKafkaErrorCode::State) => self.failure(),
            _ => None,
        };
        self.classify(failure.as_ref().unwrap_or(error))
    }

    /// Waits until Kafka has accepted or rejected every record so far.
    ///
    /// # Errors
    /// If the transaction can't succeed any more.
    pub fn flush(&self) -> Result<(), TransactionError> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(POLL);
            self.check_time(begun, "acknowledgements")?;
        }
        let Some(code) = self.producer.context().deliveries.lock().first else {
            return Ok(());
        };
        let failure = match code {
            RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight => self.failure(),
            _ => None,
        };
        Err(self.classify(&failure.unwrap_or(KafkaError::MessageProduction(code))))
    }

    /// Commits the transaction together with the reading progress on `topic`, as offsets of `group`.
    ///
    /// # Errors
    /// If the commit failed; after [`TransactionError::Fatal`] and [`TransactionError::Fenced`] Kafka may still have committed it.
    pub fn commit(
        &self,
        group: &Group,
        topic: &str,
        offsets: &Offsets,
    ) -> Result<(), TransactionError> {
        self.flush()?;
        let list = to_list(topic, offsets).map_err(|error| self.classify(&error))?;
        let member = group.consumer.group_metadata();
        let member = member.expect("a consumer with a group's name has its metadata");
        self.send_offsets(topic, list, member)?;
        self.until_done(|producer| producer.commit_transaction(SLICE))?;
        self.is_open.set(false);
        self.producer.context().forget_error();
        Ok(())
    }

    /// Adds the group's offsets to the transaction. librdkafka waits for the group's coordinator without a limit, so a
    /// separate thread makes the call. When it takes too long, the thread is abandoned and the producer can't be used.
    fn send_offsets(
        &self,
        topic: &str,
        offsets: TopicPartitionList,
        member: ConsumerGroupMetadata,
    ) -> Result<(), TransactionError> {
        let begun = Instant::now();
        let (offsets, member) = (Arc::new(offsets), Arc::new(member));
        loop {
            let (producer, offsets, member) = (
                Arc::clone(&self.producer),
                Arc::clone(&offsets),
                Arc::clone(&member),
            );
            let (done, result) = mpsc::channel();
            let step = move || {
                // The receiver is gone when this took too long.
                let _sent = done.send(producer.send_offsets_to_transaction(
                    &offsets,
                    &member,
                    SEND_OFFSETS,
                ));
            };
            thread::Builder::new()
                .name("kafka-offsets".to_owned())
                .spawn(step)
                .map_err(|error| TransactionError::from(ClientError::from(error)))?;
            let sent = loop {
                match result.recv_timeout(SLICE) {
                    Ok(sent) => break sent,
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(TransactionError::Fatal(
                            "the thread that sends offsets ended unexpectedly".to_owned(),
                        ));
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        self.check_time(begun, "the coordinator of the run's consumer group")?;
                    }
                }
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(error) if is_transient(&error) => {
                    self.producer.poll(POLL);
                    self.check_time(begun, &self.error_message(&error))?;
                }
                Err(error) => {
                    let denied = self.denied(&error, ["READ", topic]);
                    return Err(denied.unwrap_or_else(|| self.classify(&error)));
                }
            }
        }
    }

    /// Aborts the transaction.
    ///
    /// # Errors
    /// If this producer can't be used any more.
    pub fn abort(&self) -> Result<(), TransactionError> {
        self.is_open.set(false);
        // Aborting waits for delivery reports that only this thread can poll.
        self.purge();
        *self.producer.context().deliveries.lock() = Failures::default();
        self.until_done(|producer| producer.abort_transaction(SLICE))
    }

    /// Leaves the transaction open; the next producer with the same id aborts it.
    pub fn abandon(&self) {
        self.is_open.set(false);
    }

    /// Returns the tags of the records that Kafka rejected permanently, including those rejected because of another
    /// record in their batch. After a rejection a new producer is needed, because the sequence numbers of this one have
    /// a gap.
    #[must_use]
    pub fn rejected(&self) -> BTreeMap<usize, DeliveryError> {
        self.purge();
        mem::take(&mut self.producer.context().deliveries.lock().rejected)
    }

    /// Purges the unsent records, and polls every delivery report.
    fn purge(&self) {
        let begun = Instant::now();
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
        while self.producer.in_flight_count() > 0 && begun.elapsed() < PURGE_LIMIT {
            self.producer.poll(POLL);
        }
    }

    /// Polls librdkafka while there is nothing to send.
    pub fn wait(&self, time: Duration) {
        self.producer.poll(time);
    }

    fn until_done(
        &self,
        step: impl Fn(&TransactionalProducer) -> Result<(), KafkaError>,
    ) -> Result<(), TransactionError> {
        let begun = Instant::now();
        loop {
            match step(&self.producer) {
                Ok(()) => return Ok(()),
                Err(error) if is_transient(&error) => {
                    debug!(%error, "retrying");
                    self.producer.poll(POLL);
                    self.check_time(begun, &self.error_message(&error))?;
                }
                Err(error) => return Err(self.classify(&error)),
            }
        }
    }

    /// Returns an error if the step that began at `begun` has taken too long.
    fn check_time(&self, begun: Instant, awaited: &str) -> Result<(), TransactionError> {
        let limit = match (self.interrupt.is_stopping(), self.interrupt.is_aborting()) {
            (_, true) => STOP_AT_ONCE,
            (true, _) => STOPPING,
            (false, _) => STEP,
        };
        if begun.elapsed() < limit {
            return Ok(());
        }
        let seconds = limit.as_secs();
        Err(TransactionError::Fatal(format!(
            "Kafka has not answered within {seconds} s: {awaited}"
        )))
    }

    /// Returns the error if the client lacks a right. `topic` holds the right that the topic needs and the topic's
    /// name.
    fn denied(&self, error: &KafkaError, topic: [&str; 2]) -> Option<TransactionError> {
        let code = error.rdkafka_error_code()?;
        missing_right(code, topic, &self.id).map(TransactionError::Rejected)
    }

    /// Returns the topics of a write error: those that it names, or all.
    fn written_topics(&self, words: &str) -> String {
        let topics = || self.topics.iter().map(String::as_str);
        let named: Vec<&str> = topics().filter(|topic| words.contains(topic)).collect();
        if named.is_empty() {
            topics().collect::<Vec<_>>().join(" and on ")
        } else {
            named.join(" and on ")
        }
    }

    fn classify(&self, error: &KafkaError) -> TransactionError {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let why = self.error_message(error);
        if let Some(denied) = self.denied(error, ["WRITE", &self.written_topics(&why)]) {
            return denied;
        }
        if matches!(
            code,
            Some(
                Code::UnsupportedFeature
                    | Code::UnsupportedVersion
                    | Code::InvalidTransactionTimeout
            )
        ) {
            return TransactionError::Rejected(why);
        }
        if matches!(code, Some(Code::Fenced | Code::ProducerFenced)) {
            return TransactionError::Fenced(why);
        }
        let is_dead = match error {
            KafkaError::Transaction(error) => error.is_fatal() || !error.txn_requires_abort(),
            _ => false,
        };
        if is_dead || self.producer.client().fatal_error().is_some() {
            TransactionError::Fatal(why)
        } else {
            TransactionError::Abortable(why)
        }
    }

    fn error_message(&self, error: &KafkaError) -> String {
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            return reason;
        }
        let why = match (error, error.rdkafka_error_code()) {
            (_, Some(RDKafkaErrorCode::OperationTimedOut)) => {
                "Kafka has not answered in time".to_owned()
            }
            (_, Some(RDKafkaErrorCode::MessageTimedOut)) => {
                "Kafka has not accepted records in time".to_owned()
            }
            (KafkaError::Transaction(error), _) => error.string(),
            (_, Some(code)) => return code.to_string(),
            (other, None) => return other.to_string(),
        };
        match self.producer.context().last_error() {
            Some(trouble) => format!("{why}: {trouble}"),
            None => why,
        }
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        if self.is_open.get() {
            // Otherwise Kafka aborts it after its timeout.
            let _aborted = self.abort();
        }
    }
}

/// Returns whether the step can be retried.
fn is_transient(error: &KafkaError) -> bool {
    match error {
        // An abandoned step never completes.
        KafkaError::Transaction(error) => {
            use RDKafkaErrorCode::{Conflict, PreviousInProgress};
            error.is_retriable() && ![Conflict, PreviousInProgress].contains(&error.code())
        }
        // The flush timed out.
        KafkaError::Flush(_) => true,
        _ => false,
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
