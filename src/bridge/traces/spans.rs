//! The spans of a report, with the names of OpenTelemetry's semantic conventions for HTTP and for messaging.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::Traces;
use crate::bridge::delivery::{Promised, PublishError};
use crate::bridge::metrics::ReportAnswer;
use crate::contract::{Arrival, SOURCE_PREFIX, TraceContext};

/// The topic that a record is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Events,
    Rejected,
}

/// The span of a request, from its complete head to its answer.
#[derive(Debug)]
pub struct RequestSpan {
    span: Span,
    /// The `tracestate` of the request, unchanged.
    state: Option<String>,
}

/// The span of sending a record, until it is acknowledged or spooled.
#[derive(Debug)]
pub struct SendSpan {
    span: Span,
    /// The context for the record; `None` if the span has no ids because the bridge stops.
    context: Option<TraceContext>,
}

impl Traces {
    /// Starts the span of an authenticated request, and sets the context of its report to that span.
    pub fn request(&self, arrival: &mut Arrival) -> RequestSpan {
        let route = format!("{SOURCE_PREFIX}{{channelId}}");
        let builder = SpanBuilder::from_name(format!("POST {route}"))
            .with_kind(SpanKind::Server)
            .with_start_time(SystemTime::try_from(arrival.at).unwrap_or(UNIX_EPOCH));
        let parent = arrival.trace.as_ref().and_then(remote);
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let mut span = self.tracer.build_with_context(builder, &parent);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("http.route", route),
                KeyValue::new("url.scheme", self.scheme),
            ]);
        }
        let state = arrival.trace.as_ref().and_then(TraceContext::state);
        let state = state.map(str::to_owned);
        if let Some(context) = context_of(&span, state.as_deref()) {
            arrival.trace = Some(context);
        }
        RequestSpan { span, state }
    }

    /// Starts the span of sending the record of a request.
    pub fn send(&self, request: &RequestSpan, to: Destination) -> SendSpan {
        let topic = match to {
            Destination::Events => &self.events,
            Destination::Rejected => &self.rejected,
        };
        let builder = SpanBuilder::from_name(format!("send {topic}")).with_kind(SpanKind::Producer);
        let parent = request.span.span_context().clone();
        let parent = Context::new().with_remote_span_context(parent);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "send"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", topic.clone()),
            ]);
        }
        let context = context_of(&span, request.state.as_deref());
        SendSpan { span, context }
    }
}

impl RequestSpan {
    /// Ends the span with the answer.
    pub fn end(mut self, code: u16, report: Option<ReportAnswer>) {
        let span = &mut self.span;
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
        if let Some(report) = report {
            span.set_attribute(KeyValue::new("koobridge.answer", report.name()));
        }
        if code >= 500 {
            fail(span, code.to_string());
        }
        span.end();
    }
}

impl SendSpan {
    /// Returns the context for the record, so that a subscriber can continue the trace.
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Ends the span with the result.
    pub fn end(mut self, kept: Result<&Promised, &PublishError>) {
        let span = &mut self.span;
        match kept {
            Ok(promised) if promised.is_spooled() => {
                span.set_attribute(KeyValue::new("koobridge.spooled", true));
            }
            Ok(promised) => match promised.position() {
                Some(place) => {
                    let partition = place.partition.to_string();
                    span.set_attribute(KeyValue::new(
                        "messaging.destination.partition.id",
                        partition,
                    ));
                    if let Some(offset) = place.offset.and_then(|offset| i64::try_from(offset).ok())
                    {
                        span.set_attribute(KeyValue::new("messaging.kafka.offset", offset));
                    }
                }
                None => span.set_attribute(KeyValue::new("koobridge.redirected", true)),
            },
            Err(why) => fail(span, name(*why).to_owned()),
        }
        span.end();
    }
}

/// Marks a span as cancelled when it is dropped without an end, because the sender has hung up.
macro_rules! ends_if_dropped {
    ($($span:ty),+) => {$(
        impl Drop for $span {
            fn drop(&mut self) {
                if self.span.is_recording() {
                    fail(&mut self.span, "cancelled".to_owned());
                }
            }
        }
    )+};
}

ends_if_dropped!(RequestSpan, SendSpan);

fn fail(span: &mut Span, kind: String) {
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(""));
}

fn name(why: PublishError) -> &'static str {
    match why {
        PublishError::Overloaded => "overloaded",
        PublishError::NoTopic => "no_topic",
        PublishError::NoRoom => "no_room",
        PublishError::Rejected => "refused",
        PublishError::Deadline => "deadline",
    }
}

/// Returns a request's trace context in the SDK's form, without a `tracestate` that the SDK can't parse.
fn remote(context: &TraceContext) -> Option<SpanContext> {
    let flags = u8::from_str_radix(context.flags(), 16).ok()?;
    let state = context.state().and_then(|state| state.parse().ok());
    Some(SpanContext::new(
        TraceId::from_hex(context.id()).ok()?,
        SpanId::from_hex(context.span_id()).ok()?,
        TraceFlags::new(flags),
        true,
        state.unwrap_or(TraceState::NONE),
    ))
}

/// Returns the context of a span in the contract's form; `None` if the span has no ids.
fn context_of(span: &Span, state: Option<&str>) -> Option<TraceContext> {
    let context = span.span_context();
    let (trace, id, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
    let parent = format!("00-{trace}-{id}-{flags:02x}");
    let state: Vec<&[u8]> = state.into_iter().map(str::as_bytes).collect();
    TraceContext::parse(parent.as_bytes(), &state)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};
    use parking_lot::Mutex;
    use prometheus_client::metrics::counter::Counter;

    use super::super::export::Queue;
    use super::*;

    /// Collects the ended spans.
    #[derive(Clone, Debug, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    impl Ended {
        /// Returns the attribute `error.type` of each span, and whether its status is an error.
        fn errors(&self) -> Vec<(Option<String>, bool)> {
            let spans = self.0.lock();
            let error = |span: &SpanData| {
                let mut attributes = span.attributes.iter();
                let kind = attributes.find(|attribute| attribute.key.as_str() == "error.type");
                let kind = kind.map(|attribute| attribute.value.to_string());
                (kind, span.status == Status::error(""))
            };
            spans.iter().map(error).collect()
        }
    }

    fn traces() -> (Traces, Ended) {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone());
        let provider = provider.build();
        let traces = Traces {
            tracer: provider.tracer("test"),
            provider,
            queue: Arc::new(Queue::new(1, Counter::default())),
            scheme: "http",
            events: "events".to_owned(),
            rejected: "rejected".to_owned(),
        };
        (traces, ended)
    }

    fn arrival() -> Arrival {
        Arrival {
            at: Timestamp::UNIX_EPOCH,
            trace: None,
        }
    }

    #[test]
    fn the_spans_of_a_request_are_cancelled_if_its_sender_hangs_up() {
        let (traces, ended) = traces();
        let request = traces.request(&mut arrival());
        drop(traces.send(&request, Destination::Events));
        drop(request);
        let gone = (Some("cancelled".to_owned()), true);
        assert_eq!(ended.errors(), [gone.clone(), gone]);
    }

    #[test]
    fn each_reason_not_to_keep_a_report_has_a_name() {
        let (traces, ended) = traces();
        let request = traces.request(&mut arrival());
        let reasons = [
            (PublishError::Overloaded, "overloaded"),
            (PublishError::NoTopic, "no_topic"),
            (PublishError::NoRoom, "no_room"),
            (PublishError::Rejected, "refused"),
            (PublishError::Deadline, "deadline"),
        ];
        for (why, _) in reasons {
            traces.send(&request, Destination::Rejected).end(Err(&why));
        }
        request.end(400, None);
        let failed = reasons.map(|(_, name)| (Some(name.to_owned()), true));
        let expected: Vec<_> = failed.into_iter().chain([(None, false)]).collect();
        assert_eq!(ended.errors(), expected);
    }

    #[test]
    fn after_the_last_spans_the_context_of_a_request_is_unchanged() {
        let (traces, _) = traces();
        traces.finish();
        let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(parent, &[]);
        let mut arrival = Arrival {
            trace: trace.clone(),
            ..arrival()
        };
        let request = traces.request(&mut arrival);
        assert_eq!(arrival.trace, trace);
        assert_eq!(traces.send(&request, Destination::Events).context(), None);
    }
}
