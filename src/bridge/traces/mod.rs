//! Traces: two spans for each report of an authenticated sender, sent to a collector by OTLP over HTTP. Spans contain
//! no passwords, channel or message ids, phone numbers or parts of a body.
//!
//! The batch processor of OpenTelemetry's SDK queues ended spans and sends them on its own thread (`export`, with the
//! HTTP client in `client`), so that neither requests nor delivery wait for the collector.

mod client;
mod export;
mod spans;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use prometheus_client::metrics::counter::Counter;
use tracing::warn;

use crate::config::{self, LAST_SPANS};
use client::{Client, LastFailure};
use export::{Exporter, LimitedProcessor, Queue};
pub use spans::{Destination, RequestSpan, SendSpan};

/// Starts spans, and sends the ended ones.
#[derive(Debug)]
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    queue: Arc<Queue>,
    /// `http` or `https`.
    scheme: &'static str,
    events: String,
    rejected: String,
}

impl Traces {
    /// Starts the thread that sends spans. `dropped` counts the spans that are not sent.
    ///
    /// # Errors
    /// If the CA certificates for the collector can't be read, or the endpoint is not a URL.
    pub fn start(
        config: &config::Traces,
        bridge: &config::Config,
        dropped: Counter,
    ) -> anyhow::Result<Self> {
        let queue = Arc::new(Queue::new(config.queue.limit, dropped));
        let exporter = exporter(config, Arc::clone(&queue))?;
        let processor = LimitedProcessor::new(exporter, config.queue, Arc::clone(&queue));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(sampler(config.sampler))
            .with_resource(resource(config))
            .build();
        // Leaked: if it was dropped, it would wait for the collector, but a second signal must end a bridge at once.
        std::mem::forget(provider.clone());
        let scope =
            InstrumentationScope::builder("koobridge").with_version(env!("CARGO_PKG_VERSION"));
        Ok(Self {
            tracer: provider.tracer_with_scope(scope.build()),
            provider,
            queue,
            scheme: bridge.ingress.tls.as_ref().map_or("http", |_| "https"),
            events: bridge.kafka.topic.clone(),
            rejected: bridge.kafka.rejected_topic.clone(),
        })
    }

    /// Sends the last spans, for two seconds at most. Blocks.
    pub fn finish(&self) {
        if self.provider.shutdown_with_timeout(LAST_SPANS).is_err() {
            let spans = self.queue.waiting();
            warn!(spans, "the collector did not accept the last spans in time");
        }
    }
}

fn exporter(config: &config::Traces, queue: Arc<Queue>) -> anyhow::Result<Exporter> {
    let failure = LastFailure::default();
    let client = Client::new(config, failure.clone())?;
    let headers = config.headers.iter();
    let headers = headers.map(|header| (header.name.clone(), header.value.clone()));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(&config.endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_headers(headers.collect::<HashMap<_, _>>());
    let exporter = exporter.build().context("can't send traces")?;
    Exporter::new(exporter, failure, queue)
}

fn sampler(config: config::Sampler) -> Sampler {
    let by_ratio = Sampler::TraceIdRatioBased(config.ratio);
    if config.follows_parent {
        Sampler::ParentBased(Box::new(by_ratio))
    } else {
        by_ratio
    }
}

fn resource(config: &config::Traces) -> Resource {
    let attributes = config.resource.iter();
    let attributes = attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes)
        .build()
}
