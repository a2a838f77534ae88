//! The journey of a report: authenticate → validate → normalise → publish → respond.

use std::net::IpAddr;

use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::account::Account;
use super::answer::{Answer, Refusal};
use super::body::RequestBody;
use super::state::ConnectionState;
use super::{access, failed_logins, head};
use crate::bridge::delivery::Promised;
use crate::bridge::{Bridge, Phase, Rules};
use crate::contract::{Fault, Reason};

impl Bridge {
    /// Takes one request of `peer` to its answer, whatever it is.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        connection: &ConnectionState,
    ) -> Answer {
        let rules = self.live.rules.load_full();
        let mut account = Account::open(&self.metrics);
        let (head, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        let journey = self.journey(&head, &mut body, peer, connection, &rules, &mut account);
        let mut answer = match journey.await {
            Ok(accepted) => Answer::accepted(&accepted, rules.success),
            Err(refusal) => Answer::from(&refusal),
        };
        let deadline = account.complete + rules.limits.deadline;
        let is_stopping = self.phase() != Phase::Serving;
        if is_stopping || !answer.is_last() && !body.discard(&head, deadline).await {
            answer.close();
        }
        account.close(&answer, rules.log_reports);
        answer
    }

    /// The journey itself; each step needs what only the step before can make.
    async fn journey(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        peer: IpAddr,
        connection: &ConnectionState,
        rules: &Rules,
        account: &mut Account<'_>,
    ) -> Result<Promised, Refusal> {
        let limits = &rules.limits;
        let deadline = account.complete + limits.deadline;
        let arrival = head::arrival(head);

        let origin = access::origin(&rules.access, peer, &head.headers);
        if !access::admits(&rules.access, origin) {
            return Err(Refusal::NotAllowed);
        }
        let channel = head::route(head)?;
        let channels = &self.live.channels;
        let sender = channels
            .load()
            .authenticate(channel, head::password(head), arrival.at);
        let (sender, counters) = sender.map_err(|counters| {
            failed_logins::note(&counters, origin, arrival.trace_id());
            Refusal::Unauthorized
        })?;
        connection.authenticated(account.complete);
        account.authenticated(counters, &arrival);
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

        match report.map(|report| report.normalise(self.event_mode)) {
            Ok(event) => {
                // The event has a permit of its own.
                drop((received, permit));
                Ok(self.delivery.publish(event, deadline).await?)
            }
            Err(fault) => {
                drop(permit);
                let kept = self.delivery.keep(received.reject(fault), deadline).await?;
                accept_or_refuse(kept)
            }
        }
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
