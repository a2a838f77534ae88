//! The admin listener: probes, metrics and the status page for whoever runs the bridge. Nothing here
//! changes anything.

mod gauges;
mod hold;
mod page;
mod readiness;
mod status;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::ingress::Bridge;
use crate::kafka::{Condition, TopicState};
use crate::telemetry::Throttle;
use hold::Hold;
use readiness::Readiness;
use status::{Facts, History, SILENT, Status};

/// Probes and a scraper need few connections; a flood of them must not cost the ingress its own.
const CONNECTIONS: usize = 64;
/// How often to look whether the bridge is ready.
const LOOK: Duration = Duration::from_secs(1);
/// How long a head may take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the paths are, for whoever tries another.
const PATHS: &str =
    "try / (the status page), /status.json, /livez, /readyz, /startupz or /metrics\n";

/// The listening socket of probes, metrics and the status page.
#[derive(Debug)]
pub struct Admin {
    socket: TcpListener,
}

impl Admin {
    /// Listens on `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// Where the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(address).await?,
        })
    }

    /// The address with the port that was chosen.
    ///
    /// # Errors
    /// What the system reports.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until the future is dropped.
    pub async fn serve(self, bridge: Arc<Bridge>) {
        let view = Arc::new(View {
            bridge,
            hold: Hold::default(),
            history: History::default(),
            started: Instant::now(),
        });
        tokio::select! {
            () = view.watch_readiness() => {}
            () = view.keep_history() => {}
            () = self.accept(&view) => {}
        }
    }

    async fn accept(self, view: &Arc<View>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let failed = Throttle::new();
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("never closed");
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    let view = Arc::clone(view);
                    tokio::spawn(async move {
                        serve_connection(stream, &view).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    if let Some(times) = failed.count() {
                        warn!(%error, times, "accepting admin connections failed");
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// What is looked at, and what has been seen so far.
struct View {
    bridge: Arc<Bridge>,
    hold: Hold,
    history: History,
    started: Instant,
}

impl View {
    /// Whether a change has lasted is only seen by who looks all the time.
    async fn watch_readiness(&self) {
        loop {
            let _seen = self.readiness();
            sleep(LOOK).await;
        }
    }

    /// What has been counted at which time is only known by who notes it.
    async fn keep_history(&self) {
        loop {
            self.history
                .note(Instant::now(), self.bridge.metrics.counts());
            sleep(status::EACH).await;
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness::of(&self.bridge, &self.hold)
    }

    /// What the status page shows, once Kafka has been asked. One that owes its answer is not waited for.
    async fn status(&self) -> Status {
        self.bridge.delivery.asking().ask(SILENT).await;
        let facts = Facts::of(&self.bridge, self.readiness().ready, self.started);
        Status::of(&facts, &self.history)
    }
}

async fn serve_connection(stream: TcpStream, view: &View) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(respond(&request, view).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!(%error, "an admin connection ended early");
    }
}

async fn respond(request: &Request<Incoming>, view: &View) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET or HEAD only\n",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" | "/status" => page::html(&view.status().await),
        "/status.json" => page::json(&view.status().await),
        "/livez" => text(StatusCode::OK, "text/plain", "alive\n"),
        "/startupz" => started(&view.bridge),
        "/readyz" => {
            let readiness = view.readiness();
            let status = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, "application/json", readiness.to_json())
        }
        "/metrics" => {
            gauges::set(&view.bridge, view.readiness().ready);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            text(StatusCode::OK, kind, view.bridge.metrics.text())
        }
        _ => text(StatusCode::NOT_FOUND, "text/plain", PATHS),
    }
}

/// Whatever Kafka said: a restart would not bring it back.
fn started(bridge: &Bridge) -> Response<Full<Bytes>> {
    let topics = bridge.delivery.topics();
    let is_known = |(_, state): &(&str, TopicState)| state.condition != Condition::Unknown;
    if topics.iter().all(is_known) {
        text(StatusCode::OK, "text/plain", "started\n")
    } else {
        let waiting = "Kafka has not been heard of yet\n";
        text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", waiting)
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
