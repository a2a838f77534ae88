//! Serves one connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::answer::Body;
use super::handshake;
use super::limiter::ConnectionPermit;
use super::stream::{Progress, TimedStream};
use crate::bridge::{Bridge, Phase};
use crate::jitter;

/// Serves a connection until the peer closes it, a time limit is over, another connection displaces it, or the bridge
/// stops.
pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    permit: &ConnectionPermit,
    bridge: &Bridge,
) {
    let Some(identity) = &bridge.live.identity else {
        return speak_http(stream, peer, permit, bridge).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.load().config));
    let head_timeout = bridge.live.config.load().limits.head_timeout;
    let accepted = tokio::select! {
        accepted = timeout(head_timeout, acceptor.accept(stream)) => accepted,
        () = permit.displaced() => return,
    };
    match accepted.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(stream) => speak_http(stream, peer, permit, bridge).await,
        Err(error) => handshake::failed(&error, peer, &bridge.metrics),
    }
}

async fn speak_http<S>(stream: S, peer: IpAddr, permit: &ConnectionPermit, bridge: &Bridge)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = bridge.live.config.load().limits;
    let progress = Progress::new(permit.state());
    let stream = TimedStream::new(stream, &progress, &limits);
    let aged = limits
        .connection_age
        .map(|age| Instant::now() + spread(age));
    let service = service_fn(|request| respond(request, peer, aged, &progress, bridge));
    let connection = http1::Builder::new()
        // A sender may close its side after it has sent the request, and still waits for the answer.
        .half_close(true)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    let (mut connection, mut displaced) = (pin!(connection), pin!(permit.displaced()));
    let mut phase = bridge.phase.clone();
    let (state, mut is_ending) = (permit.state(), false);
    let ended = loop {
        tokio::select! {
            // First, so that a request that has arrived in the meantime is seen.
            biased;
            ended = connection.as_mut() => break ended,
            () = displaced.as_mut(), if !is_ending => {
                // It is idle or unauthenticated, so no answer is pending.
                if permit.is_displaced() {
                    return;
                }
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = closing(&mut phase), if !state.is_closing() => state.close(),
        }
    };
    if let Err(error) = ended {
        note_refusal_by_hyper(&error, peer, &progress, bridge);
        debug!(%error, "a connection ended early");
    }
}

/// Returns a random age, so that senders that connected together do not all reconnect together.
fn spread(age: Duration) -> Duration {
    jitter::between([age / 10 * 9, age])
}

/// Answers one request. hyper polls it only after the earlier answers were sent. After `aged`, its answer is the last
/// one of the connection.
async fn respond(
    request: Request<Incoming>,
    peer: IpAddr,
    aged: Option<Instant>,
    progress: &Progress<'_>,
    bridge: &Bridge,
) -> Result<Response<Body>, Infallible> {
    progress.begin_request();
    let body_length = request.body().size_hint().exact();
    let mut answer = bridge.respond(request, peer, progress.state()).await;
    if aged.is_some_and(|aged| Instant::now() >= aged) {
        answer.close();
    }
    progress.end_request(body_length);
    Ok(answer.into_response())
}

/// Waits until the listener is closed. One task must poll it to its end.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    let unseen = phase.clone();
    // Unconstrained, so that its first poll registers it even when the task has used up its budget.
    let closed = unconstrained(phase.wait_for(|phase| *phase == Phase::Closing));
    let mut closed = pin!(closed);
    let mut is_waiting = false;
    // A task is polled for each of its requests, and `closed` would take a lock that all connections share.
    let ended = poll_fn(|context| {
        if is_waiting && unseen.has_changed().is_ok_and(|has_changed| !has_changed) {
            return Poll::Pending;
        }
        is_waiting = true;
        closed.as_mut().poll(context)
    });
    // When the bridge is gone, it is closing too.
    let _ended = ended.await.is_err();
}

/// Counts an answer that hyper itself sent to an unreadable head.
fn note_refusal_by_hyper(
    error: &hyper::Error,
    peer: IpAddr,
    progress: &Progress<'_>,
    bridge: &Bridge,
) {
    if !error.is_parse() {
        return;
    }
    if let Some(foreign) = progress.foreign() {
        foreign.note(peer);
    }
    if let Some(code) = answer_of_hyper(error) {
        bridge.metrics.answered(code);
    }
}

/// Returns the status code of hyper's answer to an unreadable head, if hyper answers.
fn answer_of_hyper(error: &hyper::Error) -> Option<u16> {
    // hyper distinguishes the two only by this text.
    let is_uri_too_long = || error.to_string().ends_with("URI too long");
    match error {
        error if error.is_parse_version_h2() => None,
        error if error.is_parse_too_large() && is_uri_too_long() => Some(414),
        error if error.is_parse_too_large() => Some(431),
        _ => Some(400),
    }
}
