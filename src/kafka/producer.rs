//! One librdkafka producer and the thread that takes its delivery reports.

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
use super::questions::question;
use super::settings::Settings;
use super::topic::Condition;
use crate::blocking::StoppableThread;
use crate::contract::{INVALID_RECORD, INVALID_TIMESTAMP, RECORD_TOO_LARGE, Record};

/// How long the polling thread waits for an event before it checks whether to stop.
const POLL: Duration = Duration::from_secs(1);

/// The reason why Kafka did not accept a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Failed(RDKafkaErrorCode);

impl Failed {
    /// The result is unknown: its producer was replaced.
    pub const UNSURE: Self = Self(RDKafkaErrorCode::PurgeInflight);

    /// Its producer can no longer deliver.
    #[cfg(test)]
    pub const WEDGED: Self = Self(RDKafkaErrorCode::InvalidProducerEpoch);

    /// Kafka has refused a record of this size before.
    pub const TOO_LARGE: Self = Self(RDKafkaErrorCode::MessageSizeTooLarge);

    /// Returns the reason if Kafka refuses the batch for a record in it, as the rejected topic names it. For a record
    /// that was sent alone the refusal is final; every other failure can pass.
    #[must_use]
    pub fn refusal(self) -> Option<&'static str> {
        use RDKafkaErrorCode as Code;
        match self.0 {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(RECORD_TOO_LARGE),
            Code::InvalidRecord => Some(INVALID_RECORD),
            Code::InvalidTimestamp => Some(INVALID_TIMESTAMP),
            _ => None,
        }
    }

    /// Returns whether Kafka will refuse the batch again, because of a record in it.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        use RDKafkaErrorCode::{
            PolicyViolation, UnsupportedCompressionType, UnsupportedForMessageFormat,
        };
        let of_batch = [
            PolicyViolation,
            UnsupportedCompressionType,
            UnsupportedForMessageFormat,
        ];
        self.refusal().is_some() || of_batch.contains(&self.0)
    }

    /// The producer can no longer deliver, although librdkafka does not call the error fatal.
    #[must_use]
    pub fn is_wedged(self) -> bool {
        use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch};
        matches!(self.0, InvalidProducerEpoch | Fatal | Fenced)
    }

    /// The client has no right to write to the topic.
    #[must_use]
    pub fn is_unauthorized(self) -> bool {
        self.0 == RDKafkaErrorCode::TopicAuthorizationFailed
    }

    /// librdkafka's queue is full.
    #[must_use]
    pub fn is_queue_full(self) -> bool {
        self.0 == RDKafkaErrorCode::QueueFull
    }

    /// The record is too large.
    #[must_use]
    pub fn is_too_large(self) -> bool {
        self == Self::TOO_LARGE
    }
}

/// The place of a record that Kafka has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub partition: u32,
    /// `None` if Kafka had the record already, from an earlier attempt.
    pub offset: Option<u64>,
}

/// A callback that gets the ticket of a record with its result.
type OnReport<T> = Box<dyn Fn(T, Result<Acknowledged, Failed>) + Send + Sync>;

/// A producer whose caller gets its `T` back with each delivery report.
pub struct Producer<T: Send + Sync + 'static> {
    inner: Arc<BaseProducer<Callbacks<OnReport<T>>>>,
    poller: StoppableThread,
}

impl<T: Send + Sync + 'static> Producer<T> {
    /// Starts a producer; `on_report` runs on its polling thread for every delivery report.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub fn start(
        name: &str,
        settings: &Settings,
        on_report: impl Fn(T, Result<Acknowledged, Failed>) + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let on_report: OnReport<T> = Box::new(on_report);
        let callbacks = Callbacks::new(on_report, settings);
        let inner = BaseProducer::from_config_and_context(settings.client_config(), callbacks)?;
        let inner = Arc::new(inner);
        let client = Arc::clone(&inner);
        let poller = StoppableThread::start(&format!("kafka-{name}"), move |stop| {
            while !stop.load(Ordering::Relaxed) {
                client.poll(POLL);
            }
        })?;
        Ok(Self { inner, poller })
    }

    /// Tells the polling thread to stop, and does not wait for it.
    pub fn stop(&self) {
        self.poller.stop();
    }

    /// Sends a record without waiting. Its delivery report comes later, exactly once.
    ///
    /// # Errors
    /// If librdkafka refuses the record: then there is no delivery report, and `ticket` is returned.
    pub fn send(
        &self,
        topic: &str,
        partition: u32,
        record: &Record,
        ticket: T,
    ) -> Result<(), (Failed, T)> {
        let mut outgoing = to_base_record(topic, record, Box::new(ticket));
        outgoing.partition = Some(i32::try_from(partition).unwrap_or(i32::MAX));
        self.inner
            .send(outgoing)
            .map_err(|(error, outgoing)| (failed(&error), *outgoing.delivery_opaque))
    }

    /// Returns the reason and the remedy if a broker has refused a connection of this producer within this time.
    #[must_use]
    pub fn refusal_within(&self, time: Duration) -> Option<String> {
        self.callbacks().refusal_within(time)
    }

    /// Returns Kafka's description of a topic, within this time.
    #[must_use]
    pub fn condition(&self, topic: &str, patience: Duration) -> Condition {
        question(self, topic, patience).condition
    }

    /// Drops the records that are not sent yet: their delivery reports come soon. Requests in flight go on.
    pub fn purge_queue(&self) {
        self.inner
            .purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Returns why this producer can no longer deliver, as librdkafka words it, with the missing right.
    #[must_use]
    pub fn fatal_error(&self) -> Option<String> {
        let (code, reason) = self.inner.client().fatal_error()?;
        let remedy = match code {
            // Kafka gives a producer id to a client that can write to any topic.
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

impl From<RDKafkaErrorCode> for Failed {
    fn from(code: RDKafkaErrorCode) -> Self {
        Self(code)
    }
}

fn acknowledged(record: &BorrowedMessage<'_>) -> Acknowledged {
    Acknowledged {
        partition: u32::try_from(record.partition()).unwrap_or_default(),
        // A negative value means that it is not known.
        offset: u64::try_from(record.offset()).ok(),
    }
}

fn failed(error: &KafkaError) -> Failed {
    Failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
}
