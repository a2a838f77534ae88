//! The journey of a report: authenticate → validate → normalise → publish → respond.

use std::time::Instant;

use hyper::Request;
use hyper::body::Incoming;

use super::answer::{Answer, Refusal};
use super::{Bridge, Phase, body, head};
use crate::contract::{Fault, Reason};
use crate::delivery::Promised;

impl Bridge {
    /// Takes one request to its answer, whatever it is.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Answer {
        let mut answer = match self.journey(request).await {
            Ok(accepted) => Answer::accepted(&accepted, self.success),
            Err(refusal) => Answer::from(&refusal),
        };
        if self.phase() != Phase::Serving {
            answer.close();
        }
        answer.count(&self.metrics);
        answer
    }

    /// The journey itself; each step needs what only the step before can make.
    async fn journey(&self, request: Request<Incoming>) -> Result<Promised, Refusal> {
        let complete = Instant::now();
        let deadline = complete + self.limits.deadline;
        let (head, body) = request.into_parts();
        let arrival = head::arrival(&head);

        let channel = head::route(&head)?;
        let sender = self
            .channels
            .load()
            .authenticate(channel, head::password(&head))
            .ok_or(Refusal::Unauthorized)?;
        head::check_content(&head, &body, self.limits.body)?;
        if self.phase() == Phase::Closing {
            return Err(Refusal::Draining);
        }
        let body = body::read(body, self.limits.body, complete + self.limits.body_timeout).await?;
        let received = sender.sent(arrival, body);

        match received
            .validate()
            .map(|report| report.normalise(self.event_mode))
        {
            Ok(event) => Ok(self.delivery.publish(event, deadline).await?),
            Err(fault) => {
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
