//! The admin listener: probes and metrics for whoever runs the bridge. Nothing here changes
//! anything.

mod hold;
mod readiness;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::ingress::Bridge;
use crate::kafka::{Condition, Durability, TopicState};
use crate::telemetry::Throttle;
use hold::Hold;
use readiness::Readiness;

/// Probes and a scraper need few connections; a flood of them must not cost the ingress its own.
const CONNECTIONS: usize = 64;
/// How often to look whether the bridge is ready.
const LOOK: Duration = Duration::from_millis(500);
/// How long a head may take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(30);

/// The listening socket of probes and metrics.
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
        let hold = Arc::new(Hold::default());
        tokio::select! {
            () = watch_readiness(&bridge, &hold) => {}
            () = self.accept(&bridge, &hold) => {}
        }
    }

    async fn accept(self, bridge: &Arc<Bridge>, hold: &Arc<Hold>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let failed = Throttle::new();
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("never closed");
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    let (bridge, hold) = (Arc::clone(bridge), Arc::clone(hold));
                    tokio::spawn(async move {
                        serve_connection(stream, &bridge, &hold).await;
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

/// Whether a change has lasted is only seen by who looks all the time.
async fn watch_readiness(bridge: &Bridge, hold: &Hold) {
    loop {
        let _seen = Readiness::of(bridge, hold);
        sleep(LOOK).await;
    }
}

async fn serve_connection(stream: TcpStream, bridge: &Bridge, hold: &Hold) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(respond(&request, bridge, hold)) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!(%error, "an admin connection ended early");
    }
}

fn respond(request: &Request<Incoming>, bridge: &Bridge, hold: &Hold) -> Response<Full<Bytes>> {
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
        "/livez" => text(StatusCode::OK, "text/plain", "alive\n"),
        "/startupz" => {
            // Whatever Kafka said: a restart would not bring it back.
            let topics = bridge.delivery.topics();
            let is_known = |(_, state): &(&str, TopicState)| state.condition != Condition::Unknown;
            if topics.iter().all(is_known) {
                text(StatusCode::OK, "text/plain", "started\n")
            } else {
                let waiting = "Kafka has not been heard of yet\n";
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", waiting)
            }
        }
        "/readyz" => {
            let readiness = Readiness::of(bridge, hold);
            let status = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, "application/json", readiness.to_json())
        }
        "/metrics" => {
            show_state(bridge, Readiness::of(bridge, hold).ready);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            text(StatusCode::OK, kind, bridge.metrics.text())
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "try /livez, /readyz, /startupz or /metrics\n",
        ),
    }
}

/// Sets the gauges that are only known when somebody looks.
fn show_state(bridge: &Bridge, is_ready: bool) {
    let metrics = &bridge.metrics;
    metrics.ready.set(is_ready.into());
    let (waiting, _) = bridge.delivery.waiting_lanes();
    metrics.waiting_lanes.set(to_gauge(waiting as u64));
    if let Some(level) = bridge.delivery.spool_level() {
        let spool = &metrics.spool;
        spool.reports.set(to_gauge(level.reports));
        spool.parked.set(to_gauge(level.parked));
        spool.bytes.set(to_gauge(level.bytes));
        spool.used.set(to_gauge(level.used));
        spool.writable.set(level.is_writable.into());
        spool.oldest_age.set(level.oldest.map_or(0.0, age));
    }
    for (topic, state) in bridge.delivery.topics() {
        metrics.topic_ready(topic, state.condition == Condition::Ready);
        if let Some(Durability {
            replication,
            min_insync,
        }) = state.durability
        {
            metrics.topic_durability(topic, replication, min_insync);
        }
    }
}

/// Seconds since a time in milliseconds since 1970; 0 where that is still to come.
fn age(millisecond: i64) -> f64 {
    let at = Timestamp::from_millisecond(millisecond).unwrap_or(Timestamp::MAX);
    Timestamp::now().duration_since(at).as_secs_f64().max(0.0)
}

fn to_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
