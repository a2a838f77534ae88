//! What the status page rests on, gathered from the parts of a bridge at one moment; no words yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;

use crate::bridge::metrics::Counts;
use crate::bridge::{Bridge, Phase};
use crate::kafka::{self, Condition, TopicState};
use crate::spool::Level;

/// How long Kafka may owe an answer before it counts as away here. Whether the bridge is ready, and what
/// delivery does, rests on the answers alone.
pub(in crate::bridge::admin) const SILENT: Duration = Duration::from_millis(600);

/// A bridge at one moment.
#[derive(Clone, Debug)]
pub(in crate::bridge::admin) struct Facts {
    pub(super) at: Instant,
    pub(super) now: Timestamp,
    pub(super) running_for: Duration,
    pub(super) phase: Phase,
    /// What `/readyz` says.
    pub(super) is_ready: bool,
    /// The events topic and the rejected topic.
    pub(super) topics: [Topic; 2],
    /// How long Kafka has owed an answer, where that is too long.
    pub(super) silence: Option<Duration>,
    /// Partitions whose reports wait for Kafka.
    pub(super) waiting_lanes: usize,
    pub(super) reports_in_flight: Used,
    pub(super) bytes_in_flight: Used,
    pub(super) connections: Used,
    pub(super) spool: Option<Level>,
    /// Bytes on disk; of no meaning without a spool.
    pub(super) spool_limit: u64,
    /// When the certificate expires, where there is one.
    pub(super) certificate: Option<Timestamp>,
    pub(super) stale: BTreeMap<&'static str, String>,
    /// Each channel with when it was last heard from.
    pub(super) channels: Vec<(String, Option<Timestamp>)>,
    pub(super) counts: Counts,
    pub(super) librdkafka: String,
}

/// A topic and its producer.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) state: TopicState,
    pub(super) has_producer: bool,
}

/// So much of a ceiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) now: u64,
    pub(super) limit: u64,
}

/// How Kafka takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kafka {
    /// It has not been heard of since the start.
    Unheard,
    /// It does not answer.
    Away,
    /// It answers, and does not take every record.
    Troubled,
    Well,
}

impl Facts {
    /// What is so now of a bridge that started at `started`.
    pub(in crate::bridge::admin) fn of(bridge: &Bridge, is_ready: bool, started: Instant) -> Self {
        let (metrics, delivery) = (&bridge.metrics, &bridge.delivery);
        let (channels, identity) = (bridge.live.channels.load(), bridge.live.identity.as_ref());
        let silence = delivery.asking().silence();
        let stale = bridge.live.stale().into_iter();
        let last_reports = channels.last_reports();
        let (limits, at) = (&metrics.limits, Instant::now());
        Self {
            at,
            now: Timestamp::now(),
            running_for: at.saturating_duration_since(started),
            phase: *bridge.phase.borrow(),
            is_ready,
            topics: delivery.topics().map(|(name, state)| Topic {
                name: name.to_owned(),
                state,
                has_producer: metrics.is_producer_up(name),
            }),
            silence: silence.filter(|silence| *silence >= SILENT),
            waiting_lanes: delivery.waiting_partitions().0,
            reports_in_flight: Used {
                now: delivery.in_flight().reports,
                limit: figure(&limits.reports_in_flight),
            },
            bytes_in_flight: Used {
                now: delivery.in_flight().bytes,
                limit: figure(&limits.bytes_in_flight),
            },
            connections: used(&metrics.connections, &limits.connections),
            spool: delivery.spool_level(),
            spool_limit: figure(&limits.spool_bytes),
            certificate: identity.map(|identity| identity.load().expires()),
            stale: stale
                .map(|(part, problem)| (part.name(), problem))
                .collect(),
            channels: last_reports
                .map(|(channel, last)| (channel.to_string(), last))
                .collect(),
            counts: metrics.counts(),
            librdkafka: kafka::version(),
        }
    }

    /// How Kafka takes events.
    pub(super) fn kafka(&self) -> Kafka {
        match (&self.topics[0].state.condition, self.silence) {
            (Condition::Unknown, _) => Kafka::Unheard,
            (Condition::Unreachable(_), _) | (_, Some(_)) => Kafka::Away,
            (Condition::Ready, None) => Kafka::Well,
            (Condition::Missing | Condition::Refused(_) | Condition::Leaderless(_), None) => {
                Kafka::Troubled
            }
        }
    }

    /// Whether there is a spool that can be written to.
    pub(super) fn is_hedged(&self) -> bool {
        self.spool.is_some_and(|level| level.is_writable)
    }

    /// How long ago something was; not before it was, whatever became of the clock.
    pub(super) fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(then)).unwrap_or_default()
    }
}

impl Topic {
    /// Partitions with a leader and too few replicas in sync to take records.
    pub(super) fn thin_partitions(&self) -> usize {
        self.state.led.iter().filter(|led| !**led).count()
    }
}

fn used(now: &Gauge, limit: &Gauge) -> Used {
    Used {
        now: figure(now),
        limit: figure(limit),
    }
}

fn figure(gauge: &Gauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or_default()
}
