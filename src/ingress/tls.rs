//! The ingress' own TLS: rustls stops here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

use crate::config::{Mistake, Tls};

/// A certificate with its key, ready for handshakes: TLS 1.2 and 1.3, HTTP/1.1.
pub struct Identity {
    pub(super) config: Arc<ServerConfig>,
    expires: Timestamp,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files. A certificate that is not valid `now` is a mistake.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(files: &Tls, now: Timestamp) -> Result<Self, Vec<Mistake>> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&files.certificate);
        let validity = match &chain {
            Ok(chain) => valid_until(&files.certificate, &chain[0], now),
            Err(_) => Ok(Timestamp::MAX),
        };
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unreadable(&files.key, "private key", &error));
        let authorities = files.client_ca.as_deref().map(authorities).transpose();
        match (chain, validity, key, authorities) {
            (Ok(chain), Ok(expires), Ok(key), Ok(authorities)) => {
                let certified = certified(files, chain, key, &provider)?;
                let config = server_config(provider, certified, authorities)
                    .map_err(|problem| vec![Mistake::of_file(&files.certificate, problem)])?;
                Ok(Self {
                    config: Arc::new(config),
                    expires,
                })
            }
            (chain, validity, key, authorities) => {
                let found = [chain.err(), validity.err(), key.err(), authorities.err()];
                Err(found.into_iter().flatten().collect())
            }
        }
    }

    /// When the certificate expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

fn certified(
    files: &Tls,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Vec<Mistake>> {
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let problem = match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "is not the key of the certificate in {}; name the two that belong together",
                files.certificate.display()
            ),
            error => format!("can't be used: {error}"),
        };
        vec![Mistake::of_file(&files.key, problem)]
    })
}

fn server_config(
    provider: Arc<CryptoProvider>,
    certified: CertifiedKey,
    authorities: Option<RootCertStore>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
                    .build()
                    .map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The sender keeps its session: the memory that rustls has for them knows 256, too few for two hundred senders that
    // open a connection for each report. A new identity has new keys, so nobody gets past a new authority with an old one.
    config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}

fn authorities(path: &Path) -> Result<RootCertStore, Mistake> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| {
            Mistake::of_file(
                path,
                format!("holds a certificate that can't be used: {error}"),
            )
        })?;
    }
    Ok(store)
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let failed = |error: &pem::Error| unreadable(path, "certificate", error);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| failed(&error))?
        .collect();
    let certificates = certificates.map_err(|error| failed(&error))?;
    if certificates.is_empty() {
        return Err(failed(&pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn valid_until(
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<Timestamp, Mistake> {
    let certificate = Certificate::from_der(certificate)
        .map_err(|error| Mistake::of_file(path, format!("holds no X.509 certificate: {error}")))?;
    let validity = certificate.tbs_certificate().validity();
    let [begins, expires] = [validity.not_before, validity.not_after].map(to_timestamp);
    if expires <= now {
        let problem = format!("its certificate has expired at {expires}; put a new one there");
        return Err(Mistake::of_file(path, problem));
    }
    if begins > now {
        let problem = format!("its certificate is valid from {begins} on; look at the clock, too");
        return Err(Mistake::of_file(path, problem));
    }
    Ok(expires)
}

/// X.509 knows the years to 9999, as jiff does.
fn to_timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn unreadable(path: &Path, what: &str, error: &pem::Error) -> Mistake {
    let problem = match error {
        pem::Error::Io(error) => format!("can't be read: {error}"),
        pem::Error::NoItemsFound => format!("holds no {what}; it must be in PEM"),
        error => format!("is no sound PEM: {error}"),
    };
    Mistake::of_file(path, problem)
}
