//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::places::Place;
use super::stage::Doing;
use super::stream::TimedStream;
use super::{Bridge, Phase, handshake};

/// Serves a connection until its sender, a time limit, another one that needs its place, or the end of
/// the bridge closes it.
pub(super) async fn serve(stream: TcpStream, peer: IpAddr, place: &Place, bridge: &Bridge) {
    let Some(identity) = &bridge.live.identity else {
        return speak_http(stream, peer, place, bridge).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.load().config));
    let patience = bridge.live.rules.load().limits.head_timeout;
    let mut phase = bridge.phase.clone();
    let shaken = tokio::select! {
        shaken = timeout(patience, acceptor.accept(stream)) => shaken,
        // No request has been read yet.
        () = closing(&mut phase) => return,
        () = place.asked_for() => return,
    };
    match shaken.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(stream) => speak_http(stream, peer, place, bridge).await,
        Err(error) => handshake::failed(&error, peer, &bridge.metrics),
    }
}

async fn speak_http<S>(stream: S, peer: IpAddr, place: &Place, bridge: &Bridge)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = bridge.live.rules.load().limits;
    let stage = place.stage();
    stage.set(Doing::Idle);
    let stream = TimedStream::new(stream, stage, &limits);
    let service = service_fn(|request| {
        stage.set(Doing::Busy);
        async {
            let answer = bridge.respond(request, peer).await;
            stage.set(Doing::Idle);
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let connection = http1::Builder::new()
        // A sender may close its side once its request is out, and still wants the answer.
        .half_close(true)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut phase = bridge.phase.clone();
    let told_to_end = async {
        tokio::select! {
            () = closing(&mut phase) => {}
            () = place.asked_for() => {}
        }
    };
    let ended = tokio::select! {
        // First, so that a request which has come meanwhile is seen.
        biased;
        ended = connection.as_mut() => ended,
        // Its last answer went out long ago: there is nothing to wait for.
        () = told_to_end => {
            if place.is_left() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        count_refusal_by_hyper(&error, bridge);
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
