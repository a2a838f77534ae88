//! The HTTP client that sends batches to a collector.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config;

/// The size limit of an answer, in bytes.
const LARGEST_ANSWER: usize = 64 << 10;

/// The reason why the last request failed. The exporter's error does not contain it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

#[derive(Debug)]
pub(super) struct Client {
    inner: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    failure: LastFailure,
}

impl Client {
    pub(super) fn new(config: &config::Traces, failure: LastFailure) -> anyhow::Result<Self> {
        let authorities = if config.endpoint.starts_with("https:") {
            authorities(config.certificate.as_deref())?
        } else {
            RootCertStore::empty()
        };
        let tls = ClientConfig::builder()
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        Ok(Self {
            inner: inner.build(connector),
            timeout: config.timeout,
            failure,
        })
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.inner.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = timeout(self.timeout, self.answer(request)).await;
        let answer = answer.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let failure = answer.as_ref().err().map(|error| in_words(&**error));
        *self.failure.0.lock() = failure;
        answer
    }
}

/// Formats an error and its causes.
fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Returns the authorities in a PEM file, or those of the system if there is no file.
fn authorities(file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(path) = file {
        let context = || format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).with_context(context)? {
            store
                .add(certificate.with_context(context)?)
                .with_context(context)?;
        }
        ensure!(!store.is_empty(), "{} holds no certificate", context());
        return Ok(store);
    }
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    ensure!(
        !store.is_empty(),
        "traces.endpoint: the system has no CA certificates to verify the collector with; name a file in \
         OTEL_EXPORTER_OTLP_CERTIFICATE"
    );
    Ok(store)
}
