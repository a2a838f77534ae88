//! The callbacks of every librdkafka client: log lines, errors and delivery reports.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, info};

use super::client_certificate::ClientCertificate;
use super::cluster::ConnectError;
use super::rejection::RejectedStep;
use super::settings::Settings;
use super::topic::NoAnswer;

/// Logs the lines of a client and keeps its last error. `D` handles the delivery reports of a producer.
#[derive(Default)]
pub(super) struct Callbacks<D = ()> {
    pub(super) deliveries: D,
    /// The client certificate.
    certificate: Option<ClientCertificate>,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// The time and the message of the last rejection by a broker.
    last_rejection: Mutex<Option<(Instant, String)>>,
}

impl<D> Callbacks<D> {
    pub(super) fn new(deliveries: D, settings: &Settings) -> Self {
        Self {
            deliveries,
            certificate: settings.certificate().cloned(),
            last_error: Mutex::default(),
            last_rejection: Mutex::default(),
        }
    }

    /// Returns the reason why no broker answers, according to the last error.
    pub(super) fn connect_error(&self) -> Option<ConnectError> {
        let (code, words) = self.last_error_with_code()?;
        let certificate = self.certificate.as_ref();
        let Some(step) = RejectedStep::of(code, &words) else {
            return Some(ConnectError::NoBroker(words));
        };
        let why = step.explain(&words, certificate, Timestamp::now());
        Some(match step {
            RejectedStep::Tls => ConnectError::Tls(why),
            RejectedStep::Authentication => ConnectError::Authentication(why),
        })
    }

    /// Returns the last error as the reason why a request got no answer.
    pub(super) fn no_answer(&self) -> Option<NoAnswer> {
        let (code, words) = self.last_error_with_code()?;
        let step = RejectedStep::of(code, &words);
        let certificate = self.certificate.as_ref();
        let reason = step.map(|step| step.message(&words, certificate, Timestamp::now()));
        Some(NoAnswer {
            rejected_at: step,
            ..NoAnswer::from(reason.unwrap_or(words))
        })
    }

    /// Returns librdkafka's message of the last error, unless it was cleared.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error_with_code().map(|(_, reason)| reason)
    }

    pub(super) fn last_error_with_code(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().clone()
    }

    /// Returns the message of the last rejection by a broker, if it is younger than `time`.
    pub(super) fn rejection_within(&self, time: Duration) -> Option<String> {
        let rejection = self.last_rejection.lock();
        let (at, why) = rejection.as_ref()?;
        (at.elapsed() < time).then(|| why.clone())
    }

    pub(super) fn forget_error(&self) {
        *self.last_error.lock() = None;
    }
}

/// Returns librdkafka's message without the time and the number of repetitions at its end: they mean nothing to an
/// operator.
fn without_counts(message: &str) -> &str {
    let end = message.rfind(" (after ").filter(|_| message.ends_with(')'));
    end.map_or(message, |end| &message[..end])
}

impl<D: Send + Sync + 'static> ClientContext for Callbacks<D> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The bridge itself reports an outage once.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                info!(target: "librdkafka", facility, "{message}");
            }
            _ => debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers down" follows each broker's own error and says less.
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if let Some(step) = RejectedStep::of(code, reason)
            && !RejectedStep::is_disconnect(reason)
        {
            let why = step.message(reason, self.certificate.as_ref(), Timestamp::now());
            *self.last_rejection.lock() = Some((Instant::now(), why));
        }
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.last_error.lock() = Some((code, without_counts(reason).to_owned()));
        }
    }
}

impl ConsumerContext for Callbacks {}
