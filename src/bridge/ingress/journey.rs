//! The journey of a report: authenticate → validate → normalise → publish → respond.

use std::net::IpAddr;
use std::time::Instant;

use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::answer::{Answer, Refusal};
use super::body::RequestBody;
use super::request_log::RequestLog;
use super::state::ConnectionState;
use super::{access, failed_logins, head};
use crate::bridge::delivery::{Promised, PublishError};
use crate::bridge::traces::Destination;
use crate::bridge::{Bridge, Phase, ReloadableConfig};
use crate::config::{Limits, Success};
use crate::contract::{Event, Fault, Reason, Rejected};

/// The rules for one request. They are copied, so that no request holds shared state until its answer.
struct RequestRules {
    limits: Limits,
    success: Success,
    log_reports: bool,
    origin: Option<IpAddr>,
    is_admitted: bool,
}

impl RequestRules {
    fn of(rules: &ReloadableConfig, peer: IpAddr, head: &Parts) -> Self {
        let origin = access::origin(&rules.access, peer, &head.headers);
        Self {
            limits: rules.limits,
            success: rules.success,
            log_reports: rules.log_reports,
            origin,
            is_admitted: access::admits(&rules.access, origin),
        }
    }
}

impl Bridge {
    /// Answers one request of `peer`.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        connection: &ConnectionState,
    ) -> Answer {
        let mut request_log = RequestLog::open(&self.metrics, self.traces.as_ref());
        let (head, body) = request.into_parts();
        let rules = RequestRules::of(&self.live.config.load(), peer, &head);
        let mut body = RequestBody::new(body);
        let journey = self.journey(&head, &mut body, &rules, connection, &mut request_log);
        let mut answer = match journey.await {
            Ok(accepted) => Answer::accepted(&accepted, rules.success),
            Err(refusal) => Answer::from(&refusal),
        };
        let deadline = request_log.complete + rules.limits.deadline;
        let is_stopping = self.phase() != Phase::Serving;
        if is_stopping || !answer.is_last() && !body.discard(&head, deadline).await {
            answer.close();
        }
        request_log.close(&answer, rules.log_reports);
        answer
    }

    /// Runs the steps. Each step needs a value that only the step before can make.
    async fn journey(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        rules: &RequestRules,
        connection: &ConnectionState,
        request_log: &mut RequestLog<'_>,
    ) -> Result<Promised, Refusal> {
        let RequestRules { limits, origin, .. } = rules;
        let deadline = request_log.complete + limits.deadline;
        let mut arrival = head::arrival(head);

        if !rules.is_admitted {
            return Err(Refusal::NotAllowed);
        }
        let channel = head::route(head)?;
        let channels = &self.live.channels;
        let sender = channels
            .load()
            .authenticate(channel, head::password(head), arrival.at);
        let (sender, counters) = sender.map_err(|counters| {
            failed_logins::note(&counters, *origin, arrival.trace_id());
            Refusal::Unauthorized
        })?;
        connection.authenticated(request_log.complete);
        request_log.authenticated(counters, &mut arrival);
        head::check_expectation(head)?;
        let mut permit = self.delivery.body_permit()?;
        let body_deadline = request_log.complete + limits.body_timeout;
        let body = body.read(limits.body, body_deadline, &mut permit).await?;
        let received = sender.sent(arrival, body);
        let report = match head::unsupported(head) {
            None => received.validate(),
            Some((reason, value)) => Err(received.unsupported(reason, value)),
        };
        request_log.validated(&report);

        match report.map(|report| report.normalise(self.event_format)) {
            Ok(event) => {
                // The event acquires its own permit.
                drop((received, permit));
                Ok(self.publish(event, deadline, request_log).await?)
            }
            Err(fault) => {
                drop(permit);
                let rejected = received.reject(fault);
                accept_or_refuse(
                    self.publish_rejected(rejected, deadline, request_log)
                        .await?,
                )
            }
        }
    }

    /// Publishes an event, in its own span if there are traces.
    async fn publish(
        &self,
        mut event: Event,
        deadline: Instant,
        request_log: &RequestLog<'_>,
    ) -> Result<Promised, PublishError> {
        let span = request_log.send(Destination::Events);
        if let Some(context) = span.as_ref().and_then(|span| span.context()) {
            event.continue_trace(context);
        }
        let kept = self.delivery.publish(event, deadline).await;
        if let Some(span) = span {
            span.end(kept.as_ref());
        }
        kept
    }

    /// Publishes a rejected report to the rejected topic, in its own span if there are traces.
    async fn publish_rejected(
        &self,
        mut rejected: Rejected,
        deadline: Instant,
        request_log: &RequestLog<'_>,
    ) -> Result<(Promised, Fault), PublishError> {
        let span = request_log.send(Destination::Rejected);
        if let Some(context) = span.as_ref().and_then(|span| span.context()) {
            rejected.continue_trace(context);
        }
        let kept = self.delivery.publish_rejected(rejected, deadline).await;
        if let Some(span) = span {
            span.end(kept.as_ref().map(|(promised, _)| promised));
        }
        kept
    }
}

/// Refuses a report that is on the rejected topic, unless only its status is unknown: a later version of the interface
/// may define it, and the sender made no mistake.
fn accept_or_refuse((kept, fault): (Promised, Fault)) -> Result<Promised, Refusal> {
    if fault.reason == Reason::UnknownStatus {
        Ok(kept)
    } else {
        Err(Refusal::Invalid(fault))
    }
}
