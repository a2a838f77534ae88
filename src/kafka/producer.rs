//! A librdkafka producer and the thread that polls its delivery reports.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{
    BaseProducer, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use thiserror::Error;

use super::callbacks::Callbacks;
use super::client_error::ClientError;
use super::outgoing::to_base_record;
use super::settings::Settings;
use super::topic::Condition;
use super::topic_metadata::request_topic;
use crate::blocking::StoppableThread;
use crate::contract::{INVALID_RECORD, INVALID_TIMESTAMP, RECORD_TOO_LARGE, Record};

/// The timeout of a poll, after which the polling thread checks whether to stop.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why Kafka did not accept a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct DeliveryError(RDKafkaErrorCode);

impl DeliveryError {
    /// The outcome is unknown because the producer was replaced.
    pub const PURGED: Self = Self(RDKafkaErrorCode::PurgeInflight);

    /// The producer can't deliver anything any more.
    #[cfg(test)]
    pub const INVALID_PRODUCER_ID: Self = Self(RDKafkaErrorCode::InvalidProducerEpoch);

    /// Kafka rejected a record of this size earlier.
    pub const TOO_LARGE: Self = Self(RDKafkaErrorCode::MessageSizeTooLarge);

    /// Returns the reason, as the rejected topic names it, if Kafka rejected the batch because of a record in it. If
    /// the record was the only one in the batch, the rejection is permanent; every other failure can pass.
    #[must_use]
    pub fn rejection(self) -> Option<&'static str> {
        use RDKafkaErrorCode as Code;
        match self.0 {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(RECORD_TOO_LARGE),
            Code::InvalidRecord => Some(INVALID_RECORD),
            Code::InvalidTimestamp => Some(INVALID_TIMESTAMP),
            _ => None,
        }
    }

    /// Returns whether Kafka would reject the same batch again.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        use RDKafkaErrorCode::{
            PolicyViolation, UnsupportedCompressionType, UnsupportedForMessageFormat,
        };
        let of_batch = [
            PolicyViolation,
            UnsupportedCompressionType,
            UnsupportedForMessageFormat,
        ];
        self.rejection().is_some() || of_batch.contains(&self.0)
    }

    /// Returns whether the producer can't deliver anything any more, although librdkafka may not report a fatal error.
    #[must_use]
    pub fn has_invalid_producer_id(self) -> bool {
        use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch};
        matches!(self.0, InvalidProducerEpoch | Fatal | Fenced)
    }

    /// Returns whether the client lacks the right to write to the topic.
    #[must_use]
    pub fn is_unauthorized(self) -> bool {
        self.0 == RDKafkaErrorCode::TopicAuthorizationFailed
    }

    /// Returns whether librdkafka's queue is full.
    #[must_use]
    pub fn is_queue_full(self) -> bool {
        self.0 == RDKafkaErrorCode::QueueFull
    }

    /// Returns whether the record is too large.
    #[must_use]
    pub fn is_too_large(self) -> bool {
        self == Self::TOO_LARGE
    }
}

/// The position of an acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub partition: u32,
    /// `None` if Kafka had the record already from an earlier attempt.
    pub offset: Option<u64>,
}

/// Receives the ticket and the outcome of a record.
type OnReport<T> = Box<dyn Fn(T, Result<Acknowledged, DeliveryError>) + Send + Sync>;

/// A producer whose caller gets its `T` back with each delivery report.
pub struct Producer<T: Send + Sync + 'static> {
    inner: Arc<BaseProducer<Callbacks<OnReport<T>>>>,
    poller: StoppableThread,
}

impl<T: Send + Sync + 'static> Producer<T> {
    /// Starts a producer; `on_report` runs on its polling thread for every delivery report.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, or the system can't start a thread.
    pub fn start(
        name: &str,
        settings: &Settings,
        on_report: impl Fn(T, Result<Acknowledged, DeliveryError>) + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let on_report: OnReport<T> = Box::new(on_report);
        let callbacks = Callbacks::new(on_report, settings);
        let inner = BaseProducer::from_config_and_context(settings.client_config(), callbacks)?;
        let inner = Arc::new(inner);
        let client = Arc::clone(&inner);
        let poller = StoppableThread::start(&format!("kafka-{name}"), move |stop| {
            while !stop.load(Ordering::Relaxed) {
                client.poll(POLL_TIMEOUT);
            }
        })?;
        Ok(Self { inner, poller })
    }

    /// Tells the polling thread to stop, without waiting for it.
    pub fn stop(&self) {
        self.poller.stop();
    }

    /// Hands a record to librdkafka without waiting. Its delivery report comes later, exactly once.
    ///
    /// # Errors
    /// If librdkafka does not accept it; then no report will come, and `ticket` is returned.
    pub fn send(
        &self,
        topic: &str,
        partition: u32,
        record: &Record,
        ticket: T,
    ) -> Result<(), (DeliveryError, T)> {
        let mut outgoing = to_base_record(topic, record, Box::new(ticket));
        outgoing.partition = Some(i32::try_from(partition).unwrap_or(i32::MAX));
        self.inner
            .send(outgoing)
            .map_err(|(error, outgoing)| (failed(&error), *outgoing.delivery_opaque))
    }

    /// Returns the message of the last rejection by a broker, if it is younger than `time`.
    #[must_use]
    pub fn rejection_within(&self, time: Duration) -> Option<String> {
        self.callbacks().rejection_within(time)
    }

    /// Returns the condition of a topic. Waits at most `patience` for Kafka's answer.
    #[must_use]
    pub fn condition(&self, topic: &str, patience: Duration) -> Condition {
        request_topic(self, topic, patience).condition
    }

    /// Drops the records that are not sent yet; their delivery reports come soon. Requests in flight continue.
    pub fn purge_queue(&self) {
        self.inner
            .purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Returns librdkafka's fatal error, after which this producer delivers nothing, and the missing right, if any.
    #[must_use]
    pub fn fatal_error(&self) -> Option<String> {
        let (code, reason) = self.inner.client().fatal_error()?;
        let remedy = match code {
            // Kafka assigns a producer id only to a client that may write to some topic.
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                "; grant this client WRITE on the topic (before Kafka 2.8 also IDEMPOTENT_WRITE on the cluster)"
            }
            _ => "",
        };
        Some(format!("{code}: {reason}{remedy}"))
    }

    pub(super) fn callbacks(&self) -> &Callbacks<impl Sized + use<T>> {
        self.inner.context()
    }

    pub(super) fn client(&self) -> &rdkafka::client::Client<impl ClientContext + use<T>> {
        self.inner.client()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}

impl<T: Send + Sync + 'static> ProducerContext for Callbacks<OnReport<T>> {
    type DeliveryOpaque = Box<T>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<T>) {
        let result = match result {
            Ok(record) => Ok(acknowledged(record)),
            Err((error, _)) => Err(failed(error)),
        };
        (self.deliveries)(*ticket, result);
    }
}

impl From<RDKafkaErrorCode> for DeliveryError {
    fn from(code: RDKafkaErrorCode) -> Self {
        Self(code)
    }
}

fn acknowledged(record: &BorrowedMessage<'_>) -> Acknowledged {
    Acknowledged {
        partition: u32::try_from(record.partition()).unwrap_or_default(),
        // A negative offset is unknown.
        offset: u64::try_from(record.offset()).ok(),
    }
}

fn failed(error: &KafkaError) -> DeliveryError {
    DeliveryError(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
}
