//! A trace collector: an HTTP server that keeps the OTLP batches that it receives.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::bridge::eventually;

/// The collector's response to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Takes,
    Refuses,
    NeverAnswers,
}

/// A received batch.
#[derive(Clone)]
pub struct Batch {
    /// Method and path.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Batch {
    pub fn resources(&self) -> Vec<ResourceSpans> {
        let request = ExportTraceServiceRequest::decode(&*self.body);
        request.expect("OTLP").resource_spans
    }
}

pub struct Collector {
    pub address: SocketAddr,
    scheme: &'static str,
    batches: Arc<Mutex<Vec<Batch>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    pub fn start(behaviour: Behaviour) -> Self {
        Self::listen(behaviour, None)
    }

    /// Starts a collector that speaks HTTPS and accepts every batch.
    pub fn with_tls(certificate: &Path, key: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate");
        let chain = chain.map(|certificate| certificate.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("a certificate and its key");
        Self::listen(Behaviour::Takes, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn listen(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let scheme = tls.as_ref().map_or("http", |_| "https");
        let batches = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let kept = Arc::clone(&batches);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    () = serve(listener, tls, behaviour, kept) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            scheme,
            batches,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Returns the URL for batches, as a setting.
    pub fn endpoint(&self) -> String {
        let (scheme, address) = (self.scheme, self.address);
        format!("{scheme}://{address}/v1/traces")
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.batches.lock().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        let batches = self.batches();
        let resources = batches.iter().flat_map(Batch::resources);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits until there are exactly this many spans.
    pub fn wait_for_spans(&self, count: usize) -> Vec<Span> {
        eventually(|| match self.spans() {
            spans if spans.len() == count => Ok(spans),
            spans => Err(format!("{} spans, not {count}", spans.len())),
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the collector runs");
        }
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    behaviour: Behaviour,
    batches: Arc<Mutex<Vec<Batch>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        let (tls, batches) = (tls.clone(), Arc::clone(&batches));
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, behaviour, &batches));
            // The client may close the connection, or may not trust the certificate.
            let _ended = match tls {
                None => {
                    let stream = TokioIo::new(stream);
                    http1::Builder::new()
                        .serve_connection(stream, service)
                        .await
                }
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let stream = TokioIo::new(stream);
                    http1::Builder::new()
                        .serve_connection(stream, service)
                        .await
                }
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    behaviour: Behaviour,
    batches: &Mutex<Vec<Batch>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = value.to_str().expect("text").to_owned();
        (name.to_string(), value)
    });
    let headers = headers.collect();
    if let Ok(body) = request.into_body().collect().await {
        let body = body.to_bytes().to_vec();
        batches.lock().push(Batch {
            line,
            headers,
            body,
        });
    }
    let mut response = Response::new(Full::default());
    match behaviour {
        Behaviour::Takes => {}
        Behaviour::Refuses => *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR,
        Behaviour::NeverAnswers => std::future::pending().await,
    }
    Ok(response)
}
