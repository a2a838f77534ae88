//! The TLS configuration of the ingress, and the files that it is read from.

mod algorithm;
mod authorities;
mod chain;
mod key;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use tracing::warn;

use crate::certificates::problems::Problems;
use crate::config::{ConfigError, Tls};

use chain::Chain;

/// A certificate with its key, ready for handshakes: TLS 1.2 and 1.3, HTTP/1.1.
pub struct Identity {
    pub(super) config: Arc<ServerConfig>,
    expires: Timestamp,
    warnings: Vec<ConfigError>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files. A certificate that is not valid `now` is an error.
    ///
    /// # Errors
    /// Every error at once.
    pub fn load(files: &Tls, now: Timestamp) -> Result<Self, Vec<ConfigError>> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = &provider.signature_verification_algorithms;
        let mut problems = Problems::default();
        let chain = Chain::read(&files.certificate, now, algorithms, &mut problems);
        let key = key::read(&files.key, &mut problems);
        let authorities = files.client_ca.as_deref().map_or(Some(None), |path| {
            authorities::read(path, now, &mut problems).map(Some)
        });
        let expires = chain.as_ref().map(|chain| chain.expires);
        let certified = chain
            .zip(key)
            .and_then(|(chain, key)| certified(files, chain.certificates, key, &mut problems));
        let (Some(expires), Some(certified), Some(authorities)) = (expires, certified, authorities)
        else {
            return Err(problems.errors);
        };
        let config = server_config(provider, certified, authorities)
            .map_err(|problem| vec![ConfigError::of_file(&files.certificate, problem)])?;
        Ok(Self {
            config: Arc::new(config),
            expires,
            warnings: problems.warnings,
        })
    }

    /// Returns when the certificate of the ingress expires. If another certificate of its chain expires, that is a
    /// warning.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Returns the problems that affect only some clients.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigError] {
        &self.warnings
    }

    /// Logs the warnings.
    pub fn log_warnings(&self) {
        for problem in &self.warnings {
            warn!(%problem, "some TLS clients may fail");
        }
    }
}

/// Combines the key and the chain, if the key belongs to the first certificate of the chain.
fn certified(
    files: &Tls,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
    problems: &mut Problems,
) -> Option<CertifiedKey> {
    let certified = CertifiedKey::new(chain, key);
    let Err(error) = certified.keys_match() else {
        return Some(certified);
    };
    if error != Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        problems.error(&files.certificate, format!("can't be used: {error}"));
        return None;
    }
    let is_its_own = |certificate: &CertificateDer<'static>| {
        let alone = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&certified.key));
        alone.keys_match().is_ok()
    };
    let path = files.certificate.display();
    problems.error(&files.key, match certified.cert.iter().position(is_its_own) {
        Some(index) => format!(
            "is the key of certificate {} in {path}, not of the first; put that certificate first, and each issuer \
             after the certificate that it issued",
            index + 1
        ),
        None => format!(
            "is not the key of the certificate in {path}; name a certificate and its own key"
        ),
    });
    None
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
    // Senders keep their sessions as tickets: the session cache of rustls holds 256, too few for two hundred senders
    // that open a connection for each report. Each identity has its own ticket keys: when the authorities change, older
    // tickets are refused.
    config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}
