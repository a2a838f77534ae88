//! One librdkafka producer and the thread that takes its delivery reports.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use tracing::{debug, info};

use super::settings::Settings;
use super::trouble::Trouble;
use crate::contract::{INVALID_RECORD, RECORD_TOO_LARGE, Record};

/// How long the polling thread waits for something to happen before it looks whether to stop.
const POLL: Duration = Duration::from_secs(1);

/// Why Kafka did not take a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(RDKafkaErrorCode);

impl Failed {
    /// Nothing is known of it: its producer was replaced.
    pub const UNSURE: Self = Self(RDKafkaErrorCode::PurgeInflight);

    /// Kafka has refused a record of this size before.
    pub const TOO_LARGE: Self = Self(RDKafkaErrorCode::MessageSizeTooLarge);

    /// Kafka refuses a batch for the size or form of a record in it. Of a record that was sent alone
    /// this is true for ever; every other failure can pass.
    #[must_use]
    pub fn is_about_size_or_form(self) -> bool {
        use RDKafkaErrorCode::{InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge};
        matches!(
            self.0,
            MessageSizeTooLarge | MessageBatchTooLarge | InvalidRecord
        )
    }

    /// The producer will not deliver anything any more, though librdkafka does not call it fatal.
    #[must_use]
    pub fn is_wedged(self) -> bool {
        use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch};
        matches!(self.0, InvalidProducerEpoch | Fatal | Fenced)
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

    /// A short name for it: what a rejected record's `reason` is.
    #[must_use]
    pub fn code(self) -> &'static str {
        if self.0 == RDKafkaErrorCode::InvalidRecord {
            INVALID_RECORD
        } else {
            RECORD_TOO_LARGE
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A producer whose caller gets its `T` back with each delivery report.
pub struct Producer<T: Send + Sync + 'static> {
    inner: Arc<BaseProducer<Context<T>>>,
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

impl<T: Send + Sync + 'static> Producer<T> {
    /// Starts a producer; `on_report` runs on its polling thread for every delivery report.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, in its own words; if the system can't start a thread.
    pub fn start(
        name: &str,
        settings: &Settings,
        on_report: fn(T, Result<(), Failed>),
    ) -> Result<Self, KafkaError> {
        let context = Context {
            on_report,
            trouble: Trouble::default(),
        };
        let inner = BaseProducer::from_config_and_context(settings.client_config(), context)?;
        let inner = Arc::new(inner);
        let stop = Arc::new(AtomicBool::new(false));
        let poller = thread::Builder::new()
            .name(format!("kafka-{name}"))
            .spawn({
                let (inner, stop) = (Arc::clone(&inner), Arc::clone(&stop));
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        inner.poll(POLL);
                    }
                }
            })
            .map_err(|error| {
                KafkaError::ClientCreation(format!("can't start its polling thread: {error}"))
            })?;
        Ok(Self {
            inner,
            stop,
            poller: Some(poller),
        })
    }

    /// Hands a record over without waiting. Its delivery report comes later, exactly once.
    ///
    /// # Errors
    /// Where librdkafka does not take it; then no report will come, and `ticket` is given back.
    pub fn send(
        &self,
        topic: &str,
        partition: Option<u32>,
        record: &Record,
        ticket: T,
    ) -> Result<(), (Failed, T)> {
        // Kafka refuses what is ahead of its own time: a clock that was set back leaves such records.
        let timestamp = record.timestamp.min(Timestamp::now().as_millisecond());
        let mut outgoing = BaseRecord::with_opaque_to(topic, Box::new(ticket))
            .payload(&record.value)
            .timestamp(timestamp)
            .headers(to_headers(record));
        outgoing.key = record.key.as_ref();
        outgoing.partition = partition.and_then(|partition| i32::try_from(partition).ok());
        self.inner
            .send(outgoing)
            .map_err(|(error, outgoing)| (failed(&error), *outgoing.delivery_opaque))
    }

    /// What keeps librdkafka from ever delivering anything with this producer again, in its words.
    #[must_use]
    pub fn fatal_error(&self) -> Option<String> {
        let (code, reason) = self.inner.client().fatal_error()?;
        Some(format!("{code}: {reason}"))
    }

    /// The last thing that librdkafka said was wrong, until [`Producer::forget_trouble`].
    pub(super) fn trouble(&self) -> Option<String> {
        self.inner.context().trouble.last()
    }

    pub(super) fn forget_trouble(&self) {
        self.inner.context().trouble.forget();
    }

    pub(super) fn client(&self) -> &rdkafka::client::Client<impl ClientContext + use<T>> {
        self.inner.client()
    }
}

impl<T: Send + Sync + 'static> Drop for Producer<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(poller) = self.poller.take() {
            let ended = poller.join();
            debug_assert!(ended.is_ok(), "the polling thread does not panic");
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}

pub(super) fn to_headers(record: &Record) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    record.headers.iter().fold(empty, |headers, (name, value)| {
        headers.insert(Header {
            key: name,
            value: Some(value.as_bytes()),
        })
    })
}

/// What librdkafka calls back into, on the polling thread.
struct Context<T> {
    on_report: fn(T, Result<(), Failed>),
    trouble: Trouble,
}

impl<T: Send + Sync + 'static> ClientContext for Context<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters to an operator is said once by the topic watch, in the bridge's words.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                info!(target: "librdkafka", facility, "{message}");
            }
            _ => debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}");
        self.trouble.remember(&error, reason);
    }
}

impl<T: Send + Sync + 'static> ProducerContext for Context<T> {
    type DeliveryOpaque = Box<T>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<T>) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(failed(error)),
        };
        (self.on_report)(*ticket, result);
    }
}

impl From<RDKafkaErrorCode> for Failed {
    fn from(code: RDKafkaErrorCode) -> Self {
        Self(code)
    }
}

fn failed(error: &KafkaError) -> Failed {
    Failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
}
