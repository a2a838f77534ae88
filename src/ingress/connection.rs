//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

use super::stream::TimedStream;
use super::{Bridge, Phase};

/// Serves a connection until its sender, a time limit or the end of the bridge closes it.
pub(super) async fn serve(stream: TcpStream, bridge: Arc<Bridge>) {
    let _open = Open::new(&bridge);
    let (stream, stage) = TimedStream::new(stream, &bridge.limits);
    let service = service_fn(|request| {
        stage.busy();
        async {
            let answer = bridge.respond(request).await;
            stage.idle();
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let connection = http1::Builder::new()
        // A sender may close its side once its request is out, and still wants the answer.
        .half_close(true)
        .max_buf_size(bridge.limits.head)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut phase = bridge.phase.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing(&mut phase) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        count_refusal_by_hyper(&error, &bridge);
        debug!(%error, "a connection ended early");
    }
}

/// Waits until the listener is closed.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    // A bridge that is gone is closing too.
    let _ended = phase
        .wait_for(|phase| *phase == Phase::Closing)
        .await
        .is_err();
}

/// hyper answers a head that it can't read by itself, before any of this code sees it.
fn count_refusal_by_hyper(error: &hyper::Error, bridge: &Bridge) {
    if error.is_parse_too_large() {
        bridge.metrics.answered(431);
    } else if error.is_parse() {
        bridge.metrics.answered(400);
    }
}

/// Counts an open connection until it is dropped.
struct Open<'a>(&'a Bridge);

impl<'a> Open<'a> {
    fn new(bridge: &'a Bridge) -> Self {
        bridge.metrics.connections.inc();
        Self(bridge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}
