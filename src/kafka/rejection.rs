//! Explains why a broker rejected a connection, and what to do.

use jiff::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use super::client_certificate::ClientCertificate;

/// The step at which a broker rejected a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedStep {
    /// The TLS handshake failed, or the broker ended it by an alert.
    Tls,
    /// The broker did not accept the name or the password.
    Authentication,
}

/// TLS errors, as OpenSSL names them, and the remedy. Kafka brokers send the alert "certificate unknown" for most
/// invalid certificates.
const ALERTS: [(&str, &str); 7] = [
    (
        "alert certificate expired",
        "the broker reports that the client certificate has expired; renew ssl.certificate.location",
    ),
    (
        "alert certificate unknown",
        "the broker rejected the client certificate; set ssl.certificate.location to a certificate whose CA is in the \
         brokers' truststore (ssl.truststore.location)",
    ),
    (
        "alert unknown ca",
        "the broker does not trust the CA of the client certificate; set ssl.certificate.location to a certificate \
         whose CA is in the brokers' truststore (ssl.truststore.location)",
    ),
    (
        "alert bad certificate",
        "the broker requires a client certificate whose CA is in its truststore (ssl.truststore.location); set \
         ssl.certificate.location and ssl.key.location",
    ),
    (
        "alert certificate required",
        "the broker requires a client certificate; set ssl.certificate.location and ssl.key.location",
    ),
    (
        "certificate verify failed",
        "verification of the broker's certificate failed; check ssl.ca.location, and the name and the validity of the \
         broker's certificate",
    ),
    (
        "unexpected message",
        "the broker may require a client certificate; set ssl.certificate.location and ssl.key.location",
    ),
];

impl RejectedStep {
    /// Returns the failed step if the error means that a broker rejected this client.
    pub(super) fn of(code: RDKafkaErrorCode, words: &str) -> Option<Self> {
        use RDKafkaErrorCode::{
            Authentication, SSL, SaslAuthenticationFailed, UnsupportedSASLMechanism,
        };
        // With TLS 1.3 the broker rejects the client certificate after the client's handshake is complete, and under
        // load librdkafka can report that as a lost connection.
        let is_tls = [
            "SSL handshake failed",
            "certificate verify failed",
            "SSL alert",
        ]
        .iter()
        .any(|part| words.contains(part));
        match code {
            SSL => Some(Self::Tls),
            _ if is_tls => Some(Self::Tls),
            Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism => {
                Some(Self::Authentication)
            }
            _ => None,
        }
    }

    /// Returns whether the broker closed the connection without an error. Brokers that stop also do that.
    pub(super) fn is_disconnect(words: &str) -> bool {
        words.contains("Disconnected")
    }

    /// Returns librdkafka's `words`; if their cause is known, the cause and the remedy precede them.
    pub(super) fn explain(
        self,
        words: &str,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> String {
        let alert = || ALERTS.iter().find(|(alert, _)| words.contains(alert));
        // Without an alert the error is not about the client certificate.
        let certificate = certificate.filter(|_| words.contains(" alert "));
        let invalid = certificate.and_then(|certificate| certificate.invalid(now));
        let why = invalid.or_else(|| alert().map(|(_, why)| (*why).to_owned()));
        match (self, why) {
            (Self::Tls, Some(why)) => format!("{why} ({words})"),
            _ => words.to_owned(),
        }
    }

    /// Returns the explanation as a complete message that names the broker.
    pub(super) fn message(
        self,
        words: &str,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> String {
        let (broker, why) = (broker(words), self.explain(words, certificate, now));
        match self {
            Self::Tls => format!("the TLS handshake with {broker} failed: {why}"),
            Self::Authentication => format!(
                "authentication with {broker} failed; check sasl.mechanism, sasl.username and sasl.password ({why})"
            ),
        }
    }
}

/// Returns the address at the start of librdkafka's message: `[PROTOCOL://]ADDRESS/ID: …`.
fn broker(words: &str) -> &str {
    let address = words.split_once(": ").and_then(|(name, _)| {
        let (address, _) = name.rsplit_once('/')?;
        Some(
            address
                .split_once("://")
                .map_or(address, |(_, address)| address),
        )
    });
    address.unwrap_or("a broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRED: &str = "ssl://kafka-1:9093/1: SSL handshake failed: error:0A000415:SSL routines::sslv3 alert \
                           certificate expired: SSL alert number 45";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_rejected_connection_differs_from_an_unreachable_broker() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL};
        let late = "kafka-1:9093/1: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert \
                    number 42";
        for (code, words, step) in [
            (SSL, EXPIRED, Some(RejectedStep::Tls)),
            (BrokerTransportFailure, late, Some(RejectedStep::Tls)),
            (
                Authentication,
                "Authentication failed",
                Some(RejectedStep::Authentication),
            ),
            (BrokerTransportFailure, "Connection refused", None),
        ] {
            assert_eq!(RejectedStep::of(code, words), step, "{words}");
        }
    }

    #[test]
    fn a_message_names_the_broker_the_cause_and_the_remedy() {
        let certificate = ClientCertificate {
            property: "ssl.certificate.location",
            begins: at(0),
            expires: at(1_795_689_000),
        };
        let words = |now| RejectedStep::Tls.message(EXPIRED, Some(&certificate), now);
        assert_eq!(
            words(at(1_795_689_000)),
            format!(
                "the TLS handshake with kafka-1:9093 failed: the client certificate expired at 2026-11-26T10:30:00Z; \
                 renew ssl.certificate.location ({EXPIRED})"
            )
        );
        assert_eq!(
            words(at(1)),
            format!(
                "the TLS handshake with kafka-1:9093 failed: the broker reports that the client certificate has expired; \
                 renew ssl.certificate.location ({EXPIRED})"
            )
        );
        for words in [
            "ssl://kafka-1:9093/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
            "ssl://kafka-1:9093/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
        ] {
            let said = RejectedStep::Tls.message(words, Some(&certificate), at(1_795_689_000));
            assert!(!said.contains("the client certificate expired"), "{said}");
        }
        let refused =
            "sasl_ssl://kafka-1:9094/bootstrap: SASL authentication error: Authentication failed";
        assert_eq!(
            RejectedStep::Authentication.message(refused, None, at(1)),
            format!(
                "authentication with kafka-1:9094 failed; check sasl.mechanism, sasl.username and sasl.password \
                 ({refused})"
            )
        );
    }
}
