//! The most memory that a bridge takes, computed from its configuration.
//!
//! The shares were measured with everything at its limit at once; a test holds a bridge to the sum.

use std::fmt;
use std::num::NonZeroUsize;

use super::{CHOSEN_PRODUCERS, Config, SpanQueue};

/// The program and its libraries, with nothing to do, and lines of the log that wait to be written.
const PROGRAM: u64 = 22 << 20;
/// A producer beyond the first: librdkafka's threads and buffers.
const PRODUCER: u64 = 2 << 20;
/// Producers that are replaced, one of each topic at a time, and take memory until their last report has its result.
const REPLACED: u64 = 2;
/// A connection that is idle after a report: its task, hyper's buffers, and the allocator's share.
const CONNECTION: u64 = 20 << 10;
/// What TLS adds to that, with a record on its way.
const TLS: u64 = 24 << 10;
/// The first bytes of a body, which `bytes_in_flight` counts as they come.
const BODY: u64 = 4 << 10;

/// What sends spans to a collector: a client, and the authorities that it trusts.
const TRACES: u64 = 2 << 20;
/// A span that waits to be sent, with a `tracestate` of as many members as the SDK takes.
const SPAN: u64 = 5 << 10;
/// A span of the batch that is being sent, in the other forms that it takes on its way.
const SENT_SPAN: u64 = 3 << 10;

/// The most that each part takes, in bytes.
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
            // The bridge's own and librdkafka's copy, and what lies between them in the allocator.
            reports: (ingress.bytes_in_flight / 4).saturating_mul(11),
            // The same of what each topic has read back, half of it, and as much for pages.
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

/// Writes lines of comment, which stand below the configuration that they belong to.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(not(feature = "jemalloc")) {
            return writeln!(
                f,
                "# Memory: no limit is known without the feature jemalloc"
            );
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        writeln!(f, "# Memory, at most: {} MiB", mebibytes(self.sum()))?;
        let parts = [
            (self.program, "the program, and kafka.producers"),
            (
                self.connections,
                "ingress.connections, each with a head on its way",
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
