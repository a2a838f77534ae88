//! The answer for each path.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};

use super::exposition::Exposition;
use super::hosts::Refusal;
use super::readiness::Readiness;
use super::{View, page};
use crate::bridge::Bridge;
use crate::kafka::{Condition, TopicState};

const PLAIN: &str = "text/plain";
const JSON: &str = "application/json";

/// The answer for an unknown path.
const PATHS: &str = "try / (the status page), /livez, /readyz, /startupz or /metrics\n";
const MALFORMED: &str = "Host is missing, repeated or malformed\n";
const UNKNOWN: &str =
    "unknown name in Host: use an IP address or localhost, or add the name to admin.hosts\n";

/// Answers a request.
pub(super) async fn answer(request: &Request<Incoming>, view: &Arc<View>) -> Response<Full<Bytes>> {
    let mut response = match view.hosts.check(request) {
        Ok(()) => find(request, view).await,
        Err(Refusal::Malformed) => text(StatusCode::BAD_REQUEST, PLAIN, MALFORMED),
        Err(Refusal::Unknown) => text(StatusCode::MISDIRECTED_REQUEST, PLAIN, UNKNOWN),
    };
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

async fn find(request: &Request<Incoming>, view: &Arc<View>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return wrong_method();
    }
    match request.uri().path() {
        "/" | "/status" => document(view.page().await),
        "/status.css" => text(StatusCode::OK, "text/css; charset=utf-8", page::STYLE),
        "/status.js" => text(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            page::SCRIPT,
        ),
        "/livez" => text(StatusCode::OK, PLAIN, "alive\n"),
        "/startupz" => started(&view.bridge),
        "/readyz" => ready(view),
        "/metrics" => metrics(request, view).await,
        _ => text(StatusCode::NOT_FOUND, PLAIN, PATHS),
    }
}

fn wrong_method() -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        PLAIN,
        "use GET or HEAD; reports go to the address of ingress.listen\n",
    );
    let allowed = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// Returns the status page. Its policy allows only its own script and style, even if other text gets into the page.
fn document(page: String) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

async fn metrics(request: &Request<Incoming>, view: &Arc<View>) -> Response<Full<Bytes>> {
    let format = Exposition::chosen(request.headers().get_all(ACCEPT));
    let body = view.metrics(format, Instant::now()).await;
    let mut response = text(StatusCode::OK, format.content_type(), body);
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    response
}

fn ready(view: &View) -> Response<Full<Bytes>> {
    let readiness = Readiness::from(&view.snapshot());
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    text(status, JSON, readiness.to_json())
}

/// Answers 200 after Kafka was asked for both topics, even if that failed: a restart would not help.
fn started(bridge: &Bridge) -> Response<Full<Bytes>> {
    let topics = bridge.delivery.topics();
    let is_known = |(_, state): &(&str, TopicState)| state.condition != Condition::Unknown;
    if topics.iter().all(is_known) {
        text(StatusCode::OK, PLAIN, "started\n")
    } else {
        let waiting = "waiting for the first answer of Kafka\n";
        text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, waiting)
    }
}

/// Returns a response with a body of this type.
fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
