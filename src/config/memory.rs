//! Computes the maximum memory of a bridge from its configuration.
//!
//! The constants were measured with every limit reached at the same time. A test compares a bridge with the sum.

use std::fmt;
use std::num::NonZeroUsize;

use super::{CHOSEN_PRODUCERS, Config, SpanQueue};

/// The idle program with its libraries, and log lines that wait to be written.
const PROGRAM: u64 = 22 << 20;
/// Each producer after the first: librdkafka's threads and buffers.
const PRODUCER: u64 = 2 << 20;
/// Producers that are being replaced, one per topic at a time. They need memory until their last report has a result.
const REPLACED: u64 = 2;
/// An idle connection after a report: its task, hyper's buffers, and the allocator's overhead.
const CONNECTION: u64 = 20 << 10;
/// The addition for TLS, with a TLS record in transit.
const TLS: u64 = 24 << 10;
/// The buffer for the first bytes of a body, which `bytes_in_flight` counts only when they arrive.
const BODY: u64 = 4 << 10;

/// The client that sends spans to a collector, with its certificate authorities.
const TRACES: u64 = 2 << 20;
/// A queued span, with a `tracestate` of as many members as the SDK accepts.
const SPAN: u64 = 5 << 10;
/// The encoded forms of a span in the batch that is being sent.
const SENT_SPAN: u64 = 3 << 10;

/// The maximum memory of each part, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub program: u64,
    pub connections: u64,
    pub reports: u64,
    pub spool: u64,
    pub traces: u64,
}

impl Memory {
    #[must_use]
    pub fn sum(&self) -> u64 {
        let parts = [
            self.program,
            self.connections,
            self.reports,
            self.spool,
            self.traces,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl From<&Config> for Memory {
    fn from(config: &Config) -> Self {
        let ingress = &config.ingress;
        let tls = if ingress.tls.is_some() { TLS } else { 0 };
        let connection = CONNECTION + tls + ingress.limits.head as u64 + BODY;
        let spool = config.spool.as_ref().map_or(0, |spool| spool.memory as u64);
        let producers = config.kafka.producers;
        let producers = producers.map_or(CHOSEN_PRODUCERS, NonZeroUsize::get) as u64;
        Self {
            program: PROGRAM + (producers - 1 + REPLACED) * PRODUCER,
            connections: u64::from(ingress.connections.get()) * connection,
            // The bridge's copy, librdkafka's copy, and the allocator's overhead.
            reports: (ingress.bytes_in_flight / 4).saturating_mul(11),
            // The same factor for reports that were read back (half of it per topic), and the page cache.
            spool: spool.saturating_mul(3),
            traces: config
                .traces
                .as_ref()
                .map_or(0, |traces| of_traces(&traces.queue)),
        }
    }
}

fn of_traces(queue: &SpanQueue) -> u64 {
    TRACES + SPAN * queue.limit as u64 + SENT_SPAN * queue.batch as u64
}

/// Writes TOML comments, to be printed below the configuration.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(not(feature = "jemalloc")) {
            return writeln!(f, "# Maximum memory: unknown without the feature jemalloc");
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        writeln!(f, "# Maximum memory: {} MiB", mebibytes(self.sum()))?;
        let parts = [
            (self.program, "the program, and kafka.producers"),
            (
                self.connections,
                "ingress.connections, each with a request head",
            ),
            (
                self.reports,
                "ingress.bytes_in_flight, and librdkafka's copies",
            ),
            (self.spool, "spool.memory, and librdkafka's copies"),
            (self.traces, "OTEL_BSP_MAX_QUEUE_SIZE, spans of traces"),
        ];
        for (bytes, part) in parts.into_iter().filter(|(bytes, _)| *bytes > 0) {
            writeln!(f, "# {:6} MiB  {part}", mebibytes(bytes))?;
        }
        Ok(())
    }
}
