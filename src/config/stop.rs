//! The longest time that a stop takes, computed from the configuration.

use std::fmt;
use std::time::Duration;

use super::Config;

/// How much longer than their own limits the last connections may take: once until they are accepted, and once until
/// they are cut.
pub const SLACK: Duration = Duration::from_secs(1);
/// How long a stopping bridge waits for the spool's last writes.
pub const LAST_WRITES: Duration = Duration::from_secs(5);
/// How long the program waits at its end for threads and for its last lines to be written.
const LAST_THREADS: Duration = Duration::from_secs(3);

/// The time from SIGTERM to the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Whatever senders and Kafka do.
    pub at_most: Duration,
    /// What a disk, a thread or a reader of the log that does not answer adds.
    pub stuck: Duration,
}

impl From<&Config> for Stop {
    fn from(config: &Config) -> Self {
        let ingress = &config.ingress;
        let limits = &ingress.limits;
        let connections = limits.deadline + limits.deadline.max(limits.head_timeout) + 2 * SLACK;
        Self {
            at_most: ingress.drain_delay + connections + config.kafka.flush_timeout,
            stuck: LAST_WRITES + LAST_THREADS,
        }
    }
}

/// A line of comment, as it stands below the configuration that it belongs to.
impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at_most, stuck) = (self.at_most.as_secs_f64(), self.stuck.as_secs());
        writeln!(
            f,
            "# A stop, at most: {at_most} s, and {stuck} s more if the disk or a thread is stuck"
        )
    }
}
