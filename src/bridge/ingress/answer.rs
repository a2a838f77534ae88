//! The answers to senders. Only this file chooses status codes and texts.
//!
//! Errors are RFC 9457 problem documents. They name the wrong member, but contain no values of the request.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::bridge::delivery::{Promised, PublishError};
use crate::bridge::metrics::ReportAnswer;
use crate::config::Success;
use crate::contract::{Fault, Reason};
use crate::jitter;

/// The reasons to refuse a request, about in the order in which they are checked.
#[derive(Debug)]
pub(super) enum Refusal {
    NotAllowed,
    HostMissing,
    HostRepeated,
    HostMalformed,
    TransferEncoding,
    NotFound,
    MethodNotAllowed,
    Unauthorized,
    Expectation,
    BodyTooLarge,
    BodyTimeout,
    BodyBroken,
    /// The report is on the rejected topic.
    Invalid(Fault),
    Publish(PublishError),
}

impl From<PublishError> for Refusal {
    fn from(reason: PublishError) -> Self {
        Self::Publish(reason)
    }
}

/// The body of an answer.
pub(super) type Body = Full<Bytes>;

/// An answer, ready to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response<Body>,
    report: Option<ReportAnswer>,
}

impl Answer {
    /// The answer to a promised report. It has no body, as the interface document requires.
    pub(super) fn accepted(promised: &Promised, success: Success) -> Self {
        let status = match success {
            Success::Ok => StatusCode::OK,
            Success::Accepted => StatusCode::ACCEPTED,
            Success::NoContent => StatusCode::NO_CONTENT,
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Self {
            response,
            report: Some(if promised.is_spooled() {
                ReportAnswer::Spooled
            } else {
                ReportAnswer::Accepted
            }),
        }
    }

    /// Closes the connection after this answer.
    pub(super) fn close(&mut self) {
        self.header(CONNECTION, HeaderValue::from_static("close"));
    }

    /// Returns whether the connection is closed after this answer.
    pub(super) fn is_last(&self) -> bool {
        self.response.headers().contains_key(CONNECTION)
    }

    pub(super) fn code(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Returns the answer to the report, or `None` if the request was refused before it counted as a report.
    pub(super) fn report(&self) -> Option<ReportAnswer> {
        self.report
    }

    pub(super) fn into_response(self) -> Response<Body> {
        self.response
    }

    fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.response.headers_mut().insert(name, value);
    }
}

impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        let problem = refusal.problem();
        let status = problem.status;
        let body = serde_json::to_vec(&problem).expect("a problem is plain data");
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status of this file");
        let mut answer = Self {
            response,
            report: refusal.report_answer(),
        };
        answer.header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match status {
            401 => answer.header(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("WebhookPassword realm=\"koobridge\""),
            ),
            405 => answer.header(ALLOW, HeaderValue::from_static("POST")),
            503 => answer.header(RETRY_AFTER, HeaderValue::from(retry_after())),
            _ => {}
        }
        if refusal.ends_the_connection() {
            answer.close();
        }
        answer
    }
}

/// Returns the status code for a report that is on the rejected topic.
fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::ContentType | Reason::ContentEncoding => 415,
        _ => 400,
    }
}

/// Returns the time until a retry, in whole seconds. It is random, so that senders that were refused together do not
/// retry together.
fn retry_after() -> u64 {
    jitter::between([Duration::from_secs(1), Duration::from_millis(5999)]).as_secs()
}

/// A problem document (RFC 9457, section 3.1).
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a str>,
}

impl Refusal {
    fn problem(&self) -> Problem<'_> {
        let (status, code, detail) = self.wording();
        let member = match self {
            Self::Invalid(fault) => fault.member.as_deref(),
            _ => None,
        };
        let title = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        Problem {
            kind: format!("urn:koobridge:problem:{code}"),
            title,
            status,
            detail,
            member,
        }
    }

    #[rustfmt::skip]
    fn wording(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotAllowed => (403, "not-allowed", "Reports from this network are not allowed."),
            Self::HostMissing => (400, "host-missing", "The request has no Host header."),
            Self::HostRepeated => (400, "host-repeated", "The request has more than one Host header."),
            Self::HostMalformed => (400, "host-malformed", "The Host header is not a valid host and port."),
            Self::TransferEncoding => (400, "transfer-encoding", "The only supported Transfer-Encoding is a single \"chunked\", on HTTP/1.1."),
            Self::NotFound => (404, "not-found", "Send reports to /social/on/whatsapp/koomessage/report/{channelId}."),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Send reports with POST."),
            Self::Unauthorized => (401, "unauthorized", "The Authorization header must contain the channel's webhook password and nothing else."),
            Self::Expectation => (417, "expectation", "The only supported expectation is 100-continue."),
            Self::BodyTooLarge => (413, "body-too-large", "The body is larger than the limit of this bridge."),
            Self::BodyTimeout => (408, "body-timeout", "The body did not arrive in time."),
            Self::BodyBroken => (400, "body-broken", "The body ended early, or its chunked encoding is invalid."),
            Self::Invalid(fault) => (status_of(fault.reason), fault.reason.code(), fault.reason.detail()),
            Self::Publish(PublishError::Overloaded) => (503, "overloaded", "Too many reports are in flight; send the report again later."),
            Self::Publish(PublishError::NoTopic | PublishError::NoRoom | PublishError::Rejected | PublishError::Deadline) => (503, "kafka-unavailable", "Kafka has not acknowledged the report; send it again later."),
        }
    }

    /// Returns whether the connection must be closed: its framing is invalid, or too much of a body is unread.
    fn ends_the_connection(&self) -> bool {
        match self {
            Self::NotAllowed
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::TransferEncoding
            | Self::BodyTimeout
            | Self::BodyBroken
            | Self::BodyTooLarge => true,
            Self::NotFound
            | Self::MethodNotAllowed
            | Self::Unauthorized
            | Self::Expectation
            | Self::Invalid(_)
            | Self::Publish(_) => false,
        }
    }

    fn report_answer(&self) -> Option<ReportAnswer> {
        match self {
            Self::Invalid(_) => Some(ReportAnswer::Rejected),
            Self::Publish(
                PublishError::Overloaded
                | PublishError::NoTopic
                | PublishError::NoRoom
                | PublishError::Rejected,
            ) => Some(ReportAnswer::Shed),
            Self::Publish(PublishError::Deadline) => Some(ReportAnswer::Deadline),
            Self::NotAllowed
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::TransferEncoding
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Unauthorized
            | Self::Expectation
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyBroken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Returns the value of `Retry-After`, in seconds.
    fn wait(refusal: &Refusal) -> Option<u64> {
        let response = Answer::from(refusal).into_response();
        let value = response.headers().get(RETRY_AFTER)?;
        value.to_str().ok()?.parse().ok()
    }

    #[test]
    fn a_503_has_a_random_retry_after() {
        let refusal = Refusal::Publish(PublishError::Overloaded);
        let told: BTreeSet<_> = (0..500).filter_map(|_| wait(&refusal)).collect();
        assert_eq!(told, BTreeSet::from([1, 2, 3, 4, 5]));
        assert_eq!(wait(&Refusal::Unauthorized), None);
    }

    #[test]
    fn the_examples_of_the_openapi_document_are_real_answers() {
        let refusals = [
            Refusal::NotAllowed,
            Refusal::HostMissing,
            Refusal::HostRepeated,
            Refusal::HostMalformed,
            Refusal::TransferEncoding,
            Refusal::NotFound,
            Refusal::MethodNotAllowed,
            Refusal::Unauthorized,
            Refusal::Expectation,
            Refusal::BodyTooLarge,
            Refusal::BodyTimeout,
            Refusal::BodyBroken,
            Refusal::Publish(PublishError::Overloaded),
            Refusal::Publish(PublishError::Deadline),
        ];
        let mut real: BTreeSet<_> = refusals.iter().map(details).collect();
        let of_reason = |reason: Reason| {
            let kind = format!("urn:koobridge:problem:{}", reason.code());
            (kind, reason.detail().to_owned())
        };
        real.extend(Reason::ALL.map(of_reason));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
        let document = std::fs::read_to_string(path).expect("a document");
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let mut examples = 0;
        let mut parts = vec![&document];
        while let Some(part) = parts.pop() {
            if let (Some(kind), Some(detail)) = (part["type"].as_str(), part["detail"].as_str()) {
                let example = (kind.to_owned(), detail.to_owned());
                assert!(real.contains(&example), "{example:?}");
                examples += 1;
            }
            parts.extend(
                part.as_object()
                    .into_iter()
                    .flat_map(serde_json::Map::values),
            );
        }
        assert!(examples > 10, "{examples}");
    }

    fn details(refusal: &Refusal) -> (String, String) {
        let problem = refusal.problem();
        (problem.kind, problem.detail.to_owned())
    }
}
