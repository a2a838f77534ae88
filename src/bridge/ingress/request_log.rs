//! Records each request for the operator: in the metrics, in spans if there are traces, and in the log if reports are
//! logged.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::answer::Answer;
use crate::bridge::metrics::{ChannelCounters, Metrics};
use crate::bridge::traces::{Destination, RequestSpan, SendSpan, Traces};
use crate::contract::{Arrival, ChannelId, Fault, Reason, Report};

/// The record of one request, which grows with each step.
pub(super) struct RequestLog<'b> {
    metrics: &'b Metrics,
    /// When the head of the request was complete.
    pub(super) complete: Instant,
    trace_id: Option<String>,
    channel: Option<Arc<ChannelCounters>>,
    status: Option<&'static str>,
    traces: Option<&'b Traces>,
    /// Boxed, because it is large and traces are usually off.
    span: Option<Box<RequestSpan>>,
}

impl<'b> RequestLog<'b> {
    pub(super) fn open(metrics: &'b Metrics, traces: Option<&'b Traces>) -> Self {
        Self {
            metrics,
            traces,
            span: None,
            complete: Instant::now(),
            trace_id: None,
            channel: None,
            status: None,
        }
    }

    /// Records that the sender was authenticated for a channel. If there are traces, sets the context in `arrival` to
    /// that of the request's span.
    pub(super) fn authenticated(&mut self, channel: Arc<ChannelCounters>, arrival: &mut Arrival) {
        self.channel = Some(channel);
        self.span = self.traces.map(|traces| Box::new(traces.request(arrival)));
        self.trace_id = arrival.trace_id().map(str::to_owned);
    }

    /// Records the result of the validation.
    pub(super) fn validated(&mut self, report: &Result<Report<'_>, Fault>) {
        self.status = match report {
            Ok(report) => Some(report.status().as_str()),
            Err(fault) if fault.reason == Reason::UnknownStatus => Some("unknown"),
            Err(_) => None,
        };
        if let (Some(channel), Some(status)) = (&self.channel, self.status) {
            channel.report_received(status);
        }
        if let Err(fault) = report {
            self.metrics.report_rejected(fault.reason.code());
        }
    }

    /// Starts the span of sending the record, if there are traces.
    pub(super) fn send(&self, to: Destination) -> Option<Box<SendSpan>> {
        let (traces, span) = (self.traces?, self.span.as_ref()?);
        Some(Box::new(traces.send(span, to)))
    }

    /// Records the answer. The log line names neither a message nor a person.
    pub(super) fn close(self, answer: &Answer, is_logged: bool) {
        self.metrics.answered(answer.code());
        if let Some(span) = self.span {
            span.end(answer.code(), answer.report());
        }
        let Some(report) = answer.report() else {
            return;
        };
        let took = self.complete.elapsed();
        self.metrics.report_answered(report, took);
        if is_logged {
            let channel = self.channel.as_ref().and_then(|known| known.channel());
            info!(
                channel = channel.map(ChannelId::as_str),
                status = self.status,
                answer = report.name(),
                code = answer.code(),
                seconds = took.as_secs_f64(),
                trace_id = self.trace_id,
                "a report was answered"
            );
        }
    }
}
