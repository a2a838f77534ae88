//! The client certificate for Kafka.

use std::path::Path;

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::certificates::{pem, validity};
use crate::config::Kafka;
use crate::text;

/// The properties that name a certificate or contain one.
const LOCATION: &str = "ssl.certificate.location";
const PEM: &str = "ssl.certificate.pem";

/// The client certificate for Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The property that gives it.
    pub property: &'static str,
    pub begins: Timestamp,
    pub expires: Timestamp,
}

impl ClientCertificate {
    /// Reads the certificate of the properties. Returns `None` if they have none, or if it can't be read, which
    /// librdkafka reports. A keystore is not read.
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

    /// Returns an error text with the remedy if the certificate is not valid `now`.
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
                "the client certificate is valid from {begins} on; check the clock of this machine, or renew {property}"
            )
        })
    }
}
