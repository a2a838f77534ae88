//! Computes the longest shutdown time from the configuration.

use std::fmt;
use std::time::Duration;

use super::Config;

/// How much longer than their limits the last connections may take: once for accepting them, and once for closing them.
pub const SLACK: Duration = Duration::from_secs(1);
/// How long a stopping bridge waits for the spool's last writes.
pub const LAST_WRITES: Duration = Duration::from_secs(5);
/// How long a stopping bridge waits for the collector of traces to take its last spans.
pub const LAST_SPANS: Duration = Duration::from_secs(2);
/// How long the program waits for threads and for its last log lines before it exits.
const LAST_THREADS: Duration = Duration::from_secs(3);

/// The time from SIGTERM to the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The longest time, regardless of senders and Kafka.
    pub at_most: Duration,
    /// The time that is added when a disk, a thread, the collector of traces or the reader of the log does not answer.
    pub stuck: Duration,
}

impl From<&Config> for Stop {
    fn from(config: &Config) -> Self {
        let ingress = &config.ingress;
        let limits = &ingress.limits;
        let connections = limits.deadline + limits.deadline.max(limits.head_timeout) + 2 * SLACK;
        let spans = config.traces.as_ref().map(|_| LAST_SPANS);
        Self {
            at_most: ingress.drain_delay + connections + config.kafka.flush_timeout,
            stuck: LAST_WRITES + LAST_THREADS + spans.unwrap_or_default(),
        }
    }
}

/// Writes a TOML comment, to be printed below the configuration.
impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_most, stuck) = (self.at_most.as_secs_f64(), self.stuck.as_secs());
        writeln!(
            f,
            "# Maximum shutdown time: {at_most} s, and {stuck} s more if the disk, a thread or the trace collector hangs"
        )
    }
}
