//! The reasons why brokers refuse a client, with the remedy.

use jiff::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use super::client_certificate::ClientCertificate;

/// The progress of a connection before it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The TLS handshake failed, or the broker ended it by an alert.
    Tls,
    /// The broker did not accept the name or the password.
    Login,
}

/// Alerts of a broker, as OpenSSL names them, and the remedy. Kafka's brokers send "certificate unknown" for most faults of
/// a certificate.
const ALERTS: [(&str, &str); 7] = [
    (
        "alert certificate expired",
        "the broker says that the client certificate has expired; renew ssl.certificate.location",
    ),
    (
        "alert certificate unknown",
        "the broker does not accept the client certificate; have ssl.certificate.location issued by an authority that \
         the brokers know (ssl.truststore.location)",
    ),
    (
        "alert unknown ca",
        "the broker does not know the authority of the client certificate; have ssl.certificate.location issued by one \
         that the brokers know (ssl.truststore.location)",
    ),
    (
        "alert bad certificate",
        "the broker asks for a client certificate of an authority that it knows (ssl.truststore.location); name one in \
         ssl.certificate.location, and its key in ssl.key.location",
    ),
    (
        "alert certificate required",
        "the broker asks for a client certificate; name it in ssl.certificate.location, and its key in ssl.key.location",
    ),
    (
        "certificate verify failed",
        "the broker's certificate is not accepted; check ssl.ca.location, and the name and the validity of the \
         broker's certificate",
    ),
    (
        "unexpected message",
        "the broker may ask for a client certificate; name it in ssl.certificate.location, and its key in \
         ssl.key.location",
    ),
];

impl Refusal {
    /// Returns the refusal if an error of a client shows that a broker has refused it.
    pub(super) fn of(code: RDKafkaErrorCode, words: &str) -> Option<Self> {
        use RDKafkaErrorCode::{
            Authentication, SSL, SaslAuthenticationFailed, UnsupportedSASLMechanism,
        };
        // With TLS 1.3 a client learns only after its handshake that the broker refuses its certificate, and under load
        // the refusal can arrive as a lost connection.
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
                Some(Self::Login)
            }
            _ => None,
        }
    }

    /// Returns whether the broker has closed the connection without an error: a broker that stops does that, too.
    pub(super) fn is_hang_up(words: &str) -> bool {
        words.contains("Disconnected")
    }

    /// Returns librdkafka's `words`, after their meaning and the remedy, if these are known.
    pub(super) fn explain(
        self,
        words: &str,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> String {
        let alert = || ALERTS.iter().find(|(alert, _)| words.contains(alert));
        // Without an alert the broker has not named the client certificate as the reason.
        let certificate = certificate.filter(|_| words.contains(" alert "));
        let invalid = certificate.and_then(|certificate| certificate.invalid(now));
        let why = invalid.or_else(|| alert().map(|(_, why)| (*why).to_owned()));
        match (self, why) {
            (Self::Tls, Some(why)) => format!("{why} ({words})"),
            _ => words.to_owned(),
        }
    }

    /// Returns the same as a separate sentence.
    pub(super) fn in_words(
        self,
        words: &str,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> String {
        let (broker, why) = (broker(words), self.explain(words, certificate, now));
        match self {
            Self::Tls => format!("the TLS handshake with {broker} failed: {why}"),
            Self::Login => format!(
                "authentication with {broker} failed; check sasl.mechanism, sasl.username and sasl.password ({why})"
            ),
        }
    }
}

/// The address that librdkafka's words begin with: `[PROTOCOL://]ADDRESS/ID: …`.
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
    fn a_refusal_is_told_from_a_broker_that_is_away() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL};
        let late = "kafka-1:9093/1: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert \
                    number 42";
        for (code, words, refusal) in [
            (SSL, EXPIRED, Some(Refusal::Tls)),
            (BrokerTransportFailure, late, Some(Refusal::Tls)),
            (
                Authentication,
                "Authentication failed",
                Some(Refusal::Login),
            ),
            (BrokerTransportFailure, "Connection refused", None),
        ] {
            assert_eq!(Refusal::of(code, words), refusal, "{words}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_reason_and_what_to_do() {
        let certificate = ClientCertificate {
            property: "ssl.certificate.location",
            begins: at(0),
            expires: at(1_795_689_000),
        };
        let words = |now| Refusal::Tls.in_words(EXPIRED, Some(&certificate), now);
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
                "the TLS handshake with kafka-1:9093 failed: the broker says that the client certificate has expired; \
                 renew ssl.certificate.location ({EXPIRED})"
            )
        );
        for words in [
            "ssl://kafka-1:9093/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
            "ssl://kafka-1:9093/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
        ] {
            let said = Refusal::Tls.in_words(words, Some(&certificate), at(1_795_689_000));
            assert!(!said.contains("the client certificate expired"), "{said}");
        }
        let refused =
            "sasl_ssl://kafka-1:9094/bootstrap: SASL authentication error: Authentication failed";
        assert_eq!(
            Refusal::Login.in_words(refused, None, at(1)),
            format!(
                "authentication with kafka-1:9094 failed; check sasl.mechanism, sasl.username and \
                 sasl.password ({refused})"
            )
        );
    }
}
