//! What is told of a request to whoever runs the bridge: the metrics, and a line in the log where one
//! a report is asked for.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::answer::Answer;
use crate::bridge::metrics::{ChannelCounters, Metrics};
use crate::contract::{Arrival, ChannelId, Fault, Reason, Report};

/// One request, as far as it is known.
pub(super) struct Account<'b> {
    metrics: &'b Metrics,
    /// When its head was complete.
    pub(super) complete: Instant,
    trace_id: Option<String>,
    channel: Option<Arc<ChannelCounters>>,
    status: Option<&'static str>,
}

impl<'b> Account<'b> {
    pub(super) fn open(metrics: &'b Metrics) -> Self {
        Self {
            metrics,
            complete: Instant::now(),
            trace_id: None,
            channel: None,
            status: None,
        }
    }

    /// A sender has authenticated itself for a channel.
    pub(super) fn authenticated(&mut self, channel: Arc<ChannelCounters>, arrival: &Arrival) {
        self.channel = Some(channel);
        self.trace_id = arrival.trace_id().map(str::to_owned);
    }

    /// Its body was held against the contract.
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

    /// It was answered. Nothing that is logged names a message or a person.
    pub(super) fn close(self, answer: &Answer, is_logged: bool) {
        self.metrics.answered(answer.code());
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
