//! Sends requests to a registry, each on a new connection.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper::rt::{Read, Write};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Address, RegistryError};
use crate::text;

/// How long a request may take, from the name's resolution to the answer's end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read; the schema with its escapes has 20 KiB.
const LONGEST: usize = 1 << 20;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A client of one registry.
#[derive(Debug)]
pub struct Client {
    address: Address,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
    timeout: Duration,
}

/// The value of `Authorization`. `Debug` does not show it.
pub struct Credentials(HeaderValue);

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// The registry's answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Client {
    /// Makes a client; it verifies the certificate of an `https` address with the roots in `ca`, or with the system's.
    ///
    /// # Errors
    /// If the roots can't be read.
    pub fn new(
        address: Address,
        credentials: Option<Credentials>,
        ca: Option<&Path>,
    ) -> Result<Self, RegistryError> {
        let tls = address.is_https.then(|| Tls::new(&address.host, ca));
        Ok(Self {
            tls: tls.transpose()?,
            address,
            credentials,
            timeout: TIMEOUT,
        })
    }

    /// Gives up on a request after `timeout`.
    #[cfg(test)]
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Posts a JSON document to a path of the API.
    pub(super) async fn post(&self, path: &str, body: String) -> Result<Answer, RegistryError> {
        let answer = timeout(self.timeout, self.exchange(self.request(path, body)));
        answer
            .await
            .unwrap_or(Err(RegistryError::TimedOut(self.timeout)))
    }

    fn request(&self, path: &str, body: String) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.address.target(path))
            .header(HOST, &self.address.authority)
            .header(USER_AGENT, concat!("koobridge/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, MEDIA_TYPE)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CONNECTION, "close");
        if let Some(Credentials(value)) = &self.credentials {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::from(body));
        request.expect("the address was parsed")
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, RegistryError> {
        let address = (&*self.address.host, self.address.port);
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(RegistryError::Unreachable)?;
        match &self.tls {
            None => speak(TokioIo::new(stream), request).await,
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), stream).await;
                let stream = stream.map_err(RegistryError::Tls)?;
                speak(TokioIo::new(stream), request).await
            }
        }
    }
}

async fn speak(
    stream: impl Read + Write + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Answer, RegistryError> {
    let broken = |error: &dyn fmt::Display| RegistryError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(stream)
        .await
        .map_err(|error| broken(&error))?;
    let answer = async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| broken(&error))?.to_bytes();
        Ok(Answer { status, body })
    };
    // Only `connection` makes progress on the socket; its errors also reach `answer`.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

impl Credentials {
    /// Reads `USER:PASSWORD` from the first line of a file.
    ///
    /// # Errors
    /// If the file can't be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, RegistryError> {
        let source = |source| RegistryError::File {
            path: path.to_owned(),
            source,
        };
        let text = text::read(path).map_err(source)?;
        let pair = text.strip_suffix('\n').unwrap_or(&text);
        let pair = pair.strip_suffix('\r').unwrap_or(pair);
        if !pair.contains(':') || pair.contains(char::is_control) {
            return Err(RegistryError::Content {
                path: path.to_owned(),
                problem: "it must hold one line, USER:PASSWORD",
            });
        }
        let value = format!("Basic {}", Base64::encode_string(pair.as_bytes()));
        let mut value = HeaderValue::try_from(value).expect("Base64 is ASCII");
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Tls {
    fn new(host: &str, ca: Option<&Path>) -> Result<Self, RegistryError> {
        let roots = match ca {
            Some(path) => roots_in(path)?,
            None => roots_of_the_system()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned());
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: name.map_err(|error| RegistryError::Unreachable(io::Error::other(error)))?,
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, RegistryError> {
    let source = |source| RegistryError::File {
        path: path.to_owned(),
        source,
    };
    let pem = text::read(path).map_err(source)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| source(io::Error::other(error)))?;
        let added = roots.add(certificate);
        added.map_err(|error| source(io::Error::other(error)))?;
    }
    if roots.is_empty() {
        return Err(RegistryError::Content {
            path: path.to_owned(),
            problem: "it has no certificate; put the root certificate into it, in PEM",
        });
    }
    Ok(roots)
}

fn roots_of_the_system() -> Result<RootCertStore, RegistryError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(RegistryError::NoRoots(errors.join(", ")));
    }
    Ok(roots)
}
