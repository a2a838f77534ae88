//! The client certificate for Kafka.

use std::path::Path;

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::certificates::{pem, validity};
use crate::config::Kafka;
use crate::text;

/// The properties for a path and for the certificate itself.
const LOCATION: &str = "ssl.certificate.location";
const PEM: &str = "ssl.certificate.pem";

/// The client certificate that brokers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The property that contains or names it.
    pub property: &'static str,
    pub begins: Timestamp,
    pub expires: Timestamp,
}

impl ClientCertificate {
    /// Reads the certificate that the properties name. Returns `None` if they name none, if it is in a keystore, or if
    /// it is unreadable, which librdkafka reports itself.
    #[must_use]
    pub fn of(kafka: &Kafka) -> Option<Self> {
        let (property, text) = match (kafka.property(LOCATION), kafka.property(PEM)) {
            (Some(path), _) => (LOCATION, text::read(Path::new(path)).ok()?),
            (None, Some(text)) => (PEM, text.to_owned()),
            (None, None) => return None,
        };
        let der = pem::first_certificate(&text)?;
        let certificate = Certificate::from_der(&der).ok()?;
        let [begins, expires] = validity(&certificate);
        Some(Self {
            property,
            begins,
            expires,
        })
    }

    /// Returns the problem and the remedy if the certificate is not valid at `now`.
    #[must_use]
    pub fn invalid(&self, now: Timestamp) -> Option<String> {
        let property = self.property;
        if self.expires <= now {
            let expires = self.expires;
            return Some(format!(
                "the client certificate expired at {expires}; renew {property}"
            ));
        }
        let begins = self.begins;
        (begins > now).then(|| {
            format!(
                "the client certificate is not valid before {begins}; check this machine's clock, or renew {property}"
            )
        })
    }
}
