//! Queues ended spans, and sends them in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Runtime;
use tracing::warn;

use super::client::LastFailure;
use crate::blocking::on_thread;
use crate::config::SpanQueue;
use crate::telemetry::Throttle;

/// How long the thread that resolves names waits for the next name. tokio panics when it can't start another thread
/// later.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

static FAILED: Throttle = Throttle::new();

/// Counts the spans that are queued or being sent, and the dropped ones.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    limit: usize,
    dropped: Counter,
}

impl Queue {
    pub(super) fn new(limit: usize, dropped: Counter) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            limit,
            dropped,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Adds a span, unless the queue is full. Returns whether it was added.
    fn enter(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !has_room {
            self.leave(1);
            self.dropped.inc();
        }
        has_room
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }
}

/// The SDK's batch processor behind a limit that counts dropped spans: the processor itself drops them without a count.
#[derive(Debug)]
pub(super) struct LimitedProcessor {
    inner: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl LimitedProcessor {
    pub(super) fn new(exporter: Exporter, config: SpanQueue, queue: Arc<Queue>) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(config.limit)
            .with_max_export_batch_size(config.batch)
            .with_scheduled_delay(config.delay);
        let inner = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config.build())
            .build();
        Self { inner, queue }
    }
}

impl SpanProcessor for LimitedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends batches on the thread of the batch processor, which has no runtime.
#[derive(Debug)]
pub(super) struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    failure: LastFailure,
    queue: Arc<Queue>,
    runtime: &'static Runtime,
}

impl Exporter {
    pub(super) fn new(
        inner: opentelemetry_otlp::SpanExporter,
        failure: LastFailure,
        queue: Arc<Queue>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("traces-names")
            .thread_keep_alive(FOR_EVER)
            .build();
        let runtime = runtime.context("can't start the runtime that sends traces")?;
        // Checked first, because tokio and the SDK panic when the system can't start their threads.
        for name in ["traces", "traces-names"] {
            let started = on_thread(name, || ()).map_err(|(error, _)| error);
            drop(started.context("can't start a thread that sends traces")?);
        }
        runtime.spawn_blocking(|| ());
        Ok(Self {
            inner,
            failure,
            queue,
            // Leaked: if it was dropped, it would wait for a name server that does not answer.
            runtime: Box::leak(Box::new(runtime)),
        })
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.runtime.block_on(self.inner.export(batch));
        self.queue.leave(spans);
        if let Err(error) = &result {
            self.queue.dropped.inc_by(spans as u64);
            let cause = self.failure.take();
            if let Some(batches) = FAILED.count() {
                warn!(%error, cause, batches, spans, "can't send traces: the spans of these batches are dropped");
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_above_the_limit_are_dropped_and_counted() {
        let queue = Queue::new(2, Counter::default());
        assert_eq!([(); 4].map(|()| queue.enter()), [true, true, false, false]);
        assert_eq!((queue.waiting(), queue.dropped.get()), (2, 2));
        queue.leave(1);
        assert!(queue.enter());
        assert_eq!((queue.waiting(), queue.dropped.get()), (2, 2));
    }
}
