//! The state of a bridge at one moment, for readiness, gauges and the status page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;

use super::debounce::Debounce;
use super::history::History;
use crate::bridge::delivery::InFlight;
use crate::bridge::metrics::Counts;
use crate::bridge::{Bridge, Phase};
use crate::contract::Channels;
use crate::kafka::{Condition, TopicState};
use crate::spool::Level;

/// When Kafka has not answered for this long, the page says so. Readiness and delivery depend only on Kafka's answers.
pub(super) const SILENT: Duration = Duration::from_millis(600);

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) now: Timestamp,
    pub(super) uptime: Duration,
    pub(super) phase: Phase,
    /// Whether the bridge is ready. A change counts only if it lasts.
    pub(super) is_ready: bool,
    /// Whether the debounced readiness equals the current one.
    pub(super) is_settled: bool,
    /// The events topic and the rejected topic.
    pub(super) topics: [Destination; 2],
    /// How long Kafka has not answered, if that is [`SILENT`] or longer.
    pub(super) silence: Option<Duration>,
    /// Partitions whose reports wait for Kafka.
    pub(super) waiting_partitions: usize,
    pub(super) reports: Utilization,
    pub(super) bytes: Utilization,
    pub(super) connections: Utilization,
    pub(super) spool: Option<Level>,
    /// In bytes; 0 without a spool.
    pub(super) spool_limit: u64,
    /// The time until the spool is full, if it grows.
    pub(super) full_in: Option<Duration>,
    /// Topics that are not configured but have reports in the spool.
    pub(super) other_topics: Vec<String>,
    /// When the certificate expires, if there is one.
    pub(super) certificate: Option<Timestamp>,
    /// The changes that could not be applied, by part.
    pub(super) stale: BTreeMap<&'static str, String>,
    pub(super) channels: Arc<Channels>,
    pub(super) counts: Counts,
}

/// A topic and its producers.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) state: TopicState,
    pub(super) has_producer: bool,
}

/// The used part of a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utilization {
    pub(super) used: u64,
    pub(super) limit: u64,
}

/// Whether Kafka accepts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Kafka has not answered since the start.
    Unknown,
    /// Kafka does not answer.
    NoAnswer,
    /// Kafka answers, but does not accept every event.
    Partial,
    Full,
}

impl Snapshot {
    pub(super) fn take(
        bridge: &Bridge,
        debounce: &Debounce,
        history: &History,
        started: Instant,
    ) -> Self {
        let (at, metrics, delivery) = (Instant::now(), &bridge.metrics, &bridge.delivery);
        let (live, limits) = (&bridge.live, &bridge.metrics.limits);
        let phase = bridge.phase();
        let topics = delivery.topics().map(|(name, state)| Destination {
            name: name.to_owned(),
            state,
            has_producer: metrics.is_producer_up(name),
        });
        let spool = delivery.spool_level();
        // Valid reports need no rejected topic.
        let can_take = topics[0].is_ready() || spool.is_some_and(|level| level.is_writable);
        let counts_as_ready = debounce.observe(can_take, at);
        let silence = delivery.poll_view().unanswered_for();
        let InFlight { reports, bytes } = delivery.in_flight();
        Self {
            at,
            now: Timestamp::now(),
            uptime: at.saturating_duration_since(started),
            phase,
            is_ready: counts_as_ready && phase == Phase::Serving,
            is_settled: counts_as_ready == can_take,
            topics,
            silence: silence.filter(|silence| *silence >= SILENT),
            waiting_partitions: delivery.waiting_partitions().0,
            reports: Utilization::new(reports, &limits.reports_in_flight),
            bytes: Utilization::new(bytes, &limits.bytes_in_flight),
            connections: Utilization::new(figure(&metrics.connections), &limits.connections),
            spool,
            spool_limit: figure(&limits.spool_bytes),
            full_in: spool.and_then(|level| history.full_in(at, &level)),
            other_topics: delivery.other_topics().to_vec(),
            certificate: live
                .identity
                .as_ref()
                .map(|identity| identity.load().expires()),
            stale: live
                .stale()
                .into_iter()
                .map(|(part, problem)| (part.name(), problem))
                .collect(),
            channels: Arc::clone(live.channels.load().channels()),
            counts: metrics.counts(),
        }
    }

    pub(super) fn intake(&self) -> Intake {
        let events = &self.topics[0];
        match (&events.state.condition, self.silence) {
            (Condition::Unknown, _) => Intake::Unknown,
            (Condition::Unreachable(_), _) | (_, Some(_)) => Intake::NoAnswer,
            (Condition::Ready, None) if events.under_replicated_partitions() == 0 => Intake::Full,
            _ => Intake::Partial,
        }
    }

    /// Returns whether there is a writable spool.
    pub(super) fn has_spool(&self) -> bool {
        self.spool.is_some_and(|level| level.is_writable)
    }

    /// Returns the age of the oldest report that waits in the spool.
    pub(super) fn oldest_age(&self) -> Option<Duration> {
        let at = self.spool?.oldest?;
        Timestamp::from_millisecond(at)
            .ok()
            .map(|at| self.since(at))
    }

    /// Returns the used part of the spool's limit.
    pub(super) fn disk(&self) -> Utilization {
        Utilization {
            used: self.spool.map_or(0, |level| level.used),
            limit: self.spool_limit,
        }
    }

    /// Returns the time since `then`, or zero if the clock was set back.
    pub(super) fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(then)).unwrap_or_default()
    }
}

impl Destination {
    pub(super) fn is_ready(&self) -> bool {
        self.state.condition == Condition::Ready
    }

    /// Returns the number of partitions that have a leader, but too few in-sync replicas to take records.
    pub(super) fn under_replicated_partitions(&self) -> usize {
        self.state.led.iter().filter(|led| !**led).count()
    }
}

impl Utilization {
    fn new(used: u64, limit: &Gauge) -> Self {
        let limit = figure(limit);
        Self { used, limit }
    }

    /// Returns whether more than four fifths are used.
    pub(super) fn is_high(self) -> bool {
        self.limit > 0 && self.used.saturating_mul(5) > self.limit.saturating_mul(4)
    }
}

fn figure(gauge: &Gauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
