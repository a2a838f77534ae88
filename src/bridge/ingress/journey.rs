//! The journey of a report: authenticate → validate → normalise → publish → respond.

use std::net::IpAddr;
use std::time::Instant;

use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::account::Account;
use super::answer::{Answer, Refusal};
use super::body::RequestBody;
use super::state::ConnectionState;
use super::{access, failed_logins, head};
use crate::bridge::delivery::{NotTaken, Promised};
use crate::bridge::traces::Destination;
use crate::bridge::{Bridge, Phase, Rules};
use crate::config::{Limits, Success};
use crate::contract::{Event, Fault, Reason, Rejected};

/// The rules in force, as far as they concern one request. Copied, so that nothing that all requests share is held
/// until the answer.
struct Terms {
    limits: Limits,
    success: Success,
    log_reports: bool,
    origin: Option<IpAddr>,
    is_admitted: bool,
}

impl Terms {
    fn of(rules: &Rules, peer: IpAddr, head: &Parts) -> Self {
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
    /// Takes one request of `peer` to its answer, whatever it is.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        connection: &ConnectionState,
    ) -> Answer {
        let mut account = Account::open(&self.metrics, self.traces.as_ref());
        let (head, body) = request.into_parts();
        let terms = Terms::of(&self.live.rules.load(), peer, &head);
        let mut body = RequestBody::new(body);
        let journey = self.journey(&head, &mut body, &terms, connection, &mut account);
        let mut answer = match journey.await {
            Ok(accepted) => Answer::accepted(&accepted, terms.success),
            Err(refusal) => Answer::from(&refusal),
        };
        let deadline = account.complete + terms.limits.deadline;
        let is_stopping = self.phase() != Phase::Serving;
        if is_stopping || !answer.is_last() && !body.discard(&head, deadline).await {
            answer.close();
        }
        account.close(&answer, terms.log_reports);
        answer
    }

    /// The journey itself; each step needs what only the step before can make.
    async fn journey(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        terms: &Terms,
        connection: &ConnectionState,
        account: &mut Account<'_>,
    ) -> Result<Promised, Refusal> {
        let Terms { limits, origin, .. } = terms;
        let deadline = account.complete + limits.deadline;
        let mut arrival = head::arrival(head);

        if !terms.is_admitted {
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
        connection.authenticated(account.complete);
        account.authenticated(counters, &mut arrival);
        head::check_expectation(head)?;
        let mut permit = self.delivery.body_permit()?;
        let body_deadline = account.complete + limits.body_timeout;
        let body = body.read(limits.body, body_deadline, &mut permit).await?;
        let received = sender.sent(arrival, body);
        let report = match head::unsupported(head) {
            None => received.validate(),
            Some((reason, value)) => Err(received.unsupported(reason, value)),
        };
        account.validated(&report);

        match report.map(|report| report.normalise(self.event_format)) {
            Ok(event) => {
                // The event has a permit of its own.
                drop((received, permit));
                Ok(self.publish(event, deadline, account).await?)
            }
            Err(fault) => {
                drop(permit);
                let rejected = received.reject(fault);
                accept_or_refuse(self.keep(rejected, deadline, account).await?)
            }
        }
    }

    /// Publishes an event, in a span of its own if there are traces.
    async fn publish(
        &self,
        mut event: Event,
        deadline: Instant,
        account: &Account<'_>,
    ) -> Result<Promised, NotTaken> {
        let span = account.send(Destination::Events);
        if let Some(context) = span.as_ref().and_then(|span| span.context()) {
            event.continue_trace(context);
        }
        let kept = self.delivery.publish(event, deadline).await;
        if let Some(span) = span {
            span.end(kept.as_ref());
        }
        kept
    }

    /// Keeps what could not be accepted, in a span of its own if there are traces.
    async fn keep(
        &self,
        mut rejected: Rejected,
        deadline: Instant,
        account: &Account<'_>,
    ) -> Result<(Promised, Fault), NotTaken> {
        let span = account.send(Destination::Rejected);
        if let Some(context) = span.as_ref().and_then(|span| span.context()) {
            rejected.continue_trace(context);
        }
        let kept = self.delivery.keep(rejected, deadline).await;
        if let Some(span) = span {
            span.end(kept.as_ref().map(|(promised, _)| promised));
        }
        kept
    }
}

/// What is kept on the rejected topic is refused, but for a sound report whose status only a later
/// version knows: its sender did nothing wrong.
fn accept_or_refuse((kept, fault): (Promised, Fault)) -> Result<Promised, Refusal> {
    if fault.reason == Reason::UnknownStatus {
        Ok(kept)
    } else {
        Err(Refusal::Invalid(fault))
    }
}
