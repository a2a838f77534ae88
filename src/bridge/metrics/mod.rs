//! The metrics. This file has their values and the methods that count, `registry` their names, units and helps, and
//! `figures` the counts for the status page. No decision of the bridge depends on a metric. A report is counted only by
//! atomic additions, in `channels`, `counters` and `histogram`; a `Family` is for rare events.
//!
//! The values of labels are few, and known when the program is built, or configured: an unknown channel, a message id
//! or a phone number is never a label.

mod channels;
mod classic;
mod counters;
mod figures;
mod histogram;
mod labels;
mod process;
mod registry;

use std::array;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::contract::ChannelId;
use channels::ByChannel;
pub use channels::ChannelCounters;
use classic::classic;
use counters::Counters;
pub use figures::{Buckets, Counts, REASONS, REFUSALS, STATUSES};
use histogram::Histogram;
use labels::{BuildLabel, PartLabel, PropertyLabel, ReloadLabel, TopicLabel};
pub use labels::{HandshakeFailure, ReportAnswer, ReportFate};

/// Bounds of the buckets, in seconds. An answer is sent before the deadline, or after `spool.after`.
const REQUEST: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0,
];
/// Up to minutes, because the records of a partition without a leader wait for one.
const ACKNOWLEDGEMENT: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];
/// An fsync takes tenths of a millisecond on a good disk, and seconds on a bad one.
const COMMIT: [f64; 12] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// The number of HTTP status codes, from 100 to 599 (RFC 9110, 15).
const CODES: usize = 500;

/// The results of a reload.
const OK: &str = "ok";
const FAILED: &str = "failed";

/// A gauge of seconds.
pub type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of a bridge.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    build: Family<BuildLabel, Gauge>,
    answers: Counters<u16, CODES>,
    report_answers: Counters<&'static str, { ReportAnswer::ALL.len() }>,
    report_fates: Counters<&'static str, { ReportFate::ALL.len() }>,
    channels: ByChannel,
    rejected: Counters<&'static str, { REASONS.len() }>,
    request_time: Histogram,
    acknowledgement_time: Histogram,
    unsafe_settings: Family<PropertyLabel, Gauge>,
    topic_ready: Family<TopicLabel, Gauge>,
    age_limit: Family<TopicLabel, Seconds>,
    replication: Family<TopicLabel, Gauge>,
    min_insync: Family<TopicLabel, Gauge>,
    producer_up: Family<TopicLabel, Gauge>,
    reloads: Family<ReloadLabel, Counter>,
    stale: Family<PartLabel, Gauge>,
    handshake_failures: Counters<&'static str, { HandshakeFailure::ALL.len() }>,
    certificate_expiry: Gauge,
    kafka_certificate_expiry: Gauge,
    /// Admitted reports whose outcome is not known yet.
    pub reports_in_flight: Gauge,
    /// The memory of those reports and the bytes that were read of bodies.
    pub bytes_in_flight: Gauge,
    /// Reports that were answered 503 at the deadline and whose outcome is not known yet.
    pub reports_unsure: Gauge,
    /// Open connections on the ingress.
    pub connections: Gauge,
    /// Connections that were closed to make room for new ones.
    pub connections_displaced: Counter,
    /// Connections that were closed at once because `ingress.allow` does not include their network.
    pub connections_refused: Counter,
    /// 1 if the bridge is ready.
    pub ready: Gauge,
    /// Producers that were replaced because they failed.
    pub producer_rebuilds: Counter,
    pub producer_renewals: Counter,
    /// Partitions whose reports wait for Kafka.
    pub waiting_partitions: Gauge,
    /// Spans that were not sent to the collector.
    pub trace_spans_dropped: Counter,
    /// The spool's metrics.
    pub spool: SpoolMetrics,
    /// The configured limits.
    pub limits: LimitMetrics,
}

/// The state of the spool, set at each scrape; all 0 without a spool.
#[derive(Debug)]
pub struct SpoolMetrics {
    pub reports: Gauge,
    /// 1 if all reports are counted.
    pub counted: Gauge,
    pub quarantined: Gauge,
    pub undeleted: Gauge,
    pub set_aside: Gauge,
    /// Bytes on disk.
    pub bytes: Gauge,
    /// The used part of these bytes.
    pub used: Gauge,
    pub oldest_age: Seconds,
    /// 1 if the last write succeeded.
    pub writable: Gauge,
    /// Has no series if the spool does not grow.
    full_in: Family<[(&'static str, &'static str); 0], Seconds>,
    commit_time: Histogram,
}

/// The configured limits.
#[derive(Debug, Default)]
pub struct LimitMetrics {
    pub reports_in_flight: Gauge,
    pub bytes_in_flight: Gauge,
    pub connections: Gauge,
    /// The used bytes of the spool on disk; 0 without a spool.
    pub spool_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            build: Family::default(),
            answers: Counters::without_zeros("code", array::from_fn(code_at)),
            report_answers: Counters::new("answer", ReportAnswer::ALL.map(ReportAnswer::name)),
            report_fates: Counters::new("fate", ReportFate::ALL.map(ReportFate::name)),
            channels: ByChannel::default(),
            rejected: Counters::new("reason", REASONS),
            request_time: Histogram::new(&REQUEST),
            acknowledgement_time: Histogram::new(&ACKNOWLEDGEMENT),
            unsafe_settings: Family::default(),
            topic_ready: Family::default(),
            age_limit: Family::default(),
            replication: Family::default(),
            min_insync: Family::default(),
            producer_up: Family::default(),
            reloads: Family::default(),
            stale: Family::default(),
            handshake_failures: Counters::new(
                "reason",
                HandshakeFailure::ALL.map(HandshakeFailure::name),
            ),
            certificate_expiry: Gauge::default(),
            kafka_certificate_expiry: Gauge::default(),
            reports_in_flight: Gauge::default(),
            bytes_in_flight: Gauge::default(),
            reports_unsure: Gauge::default(),
            connections: Gauge::default(),
            connections_displaced: Counter::default(),
            connections_refused: Counter::default(),
            ready: Gauge::default(),
            producer_rebuilds: Counter::default(),
            producer_renewals: Counter::default(),
            waiting_partitions: Gauge::default(),
            trace_spans_dropped: Counter::default(),
            spool: SpoolMetrics {
                reports: Gauge::default(),
                counted: Gauge::default(),
                quarantined: Gauge::default(),
                undeleted: Gauge::default(),
                set_aside: Gauge::default(),
                bytes: Gauge::default(),
                used: Gauge::default(),
                oldest_age: Seconds::default(),
                writable: Gauge::default(),
                full_in: Family::default(),
                commit_time: Histogram::new(&COMMIT),
            },
            limits: LimitMetrics::default(),
        };
        metrics.registry = metrics.register();
        // The series of the unknown channels exists from the start.
        drop(metrics.channel(None));
        Arc::new(metrics)
    }

    /// Returns the counters of a channel, or with `None` those of all unknown channels. From then on, the channel has a
    /// series of failed authentications: if the first failure created the series, it would take longer than a failure
    /// for an unknown channel.
    #[must_use]
    pub fn channel(&self, channel: Option<&ChannelId>) -> Arc<ChannelCounters> {
        self.channels.counters(channel)
    }

    /// Shows the versions of koobridge and librdkafka.
    pub fn set_versions(&self, librdkafka: String) {
        let version = env!("CARGO_PKG_VERSION");
        self.build
            .get_or_create(&BuildLabel {
                version,
                librdkafka,
            })
            .set(1);
    }

    /// Counts an answer of the ingress.
    pub fn answered(&self, code: u16) {
        self.answers.inc(place_of(code));
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.handshake_failures.inc(failure as usize);
    }

    /// Counts a report that goes to the rejected topic, by its reason code.
    pub fn report_rejected(&self, reason: &'static str) {
        let place = REASONS.iter().position(|known| *known == reason);
        debug_assert!(place.is_some(), "{reason} has no series");
        if let Some(place) = place {
            self.rejected.inc(place);
        }
    }

    /// Counts the answer to a report, and the time that it took from the complete head.
    pub fn report_answered(&self, answer: ReportAnswer, took: Duration) {
        self.report_answers.inc(answer as usize);
        self.request_time.observe(took);
    }

    /// Counts the outcome of an admitted report.
    pub fn report_finished(&self, fate: ReportFate) {
        self.report_fates.inc(fate as usize);
    }

    /// Records how long Kafka took to acknowledge a record.
    pub fn acknowledged(&self, took: Duration) {
        self.acknowledgement_time.observe(took);
    }

    /// Records how long the spool took for a transaction, including its fsync.
    pub fn committed(&self, took: Duration) {
        self.spool.commit_time.observe(took);
    }

    /// Returns the number of reports with this answer so far.
    #[must_use]
    pub fn reports(&self, answer: ReportAnswer) -> u64 {
        self.report_answers.get(answer as usize)
    }

    /// Shows when the ingress' certificate expires.
    pub fn certificate_expires(&self, at: Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }

    /// Shows when the client certificate for Kafka expires, if there is one.
    pub fn kafka_certificate_expires(&self, at: Option<Timestamp>) {
        let at = at.map_or(0, Timestamp::as_second);
        self.kafka_certificate_expiry.set(at);
    }

    /// Creates the series of a reloadable part.
    pub fn register_reloadable(&self, part: &'static str) {
        for result in [OK, FAILED] {
            drop(self.reloads.get_or_create(&ReloadLabel { part, result }));
        }
        drop(self.stale.get_or_create(&PartLabel { part }));
    }

    /// Counts a reload of a part, and shows whether its last change could be applied.
    pub fn reloaded(&self, part: &'static str, is_good: bool) {
        let result = if is_good { OK } else { FAILED };
        self.reloads
            .get_or_create(&ReloadLabel { part, result })
            .inc();
        self.stale
            .get_or_create(&PartLabel { part })
            .set((!is_good).into());
    }

    /// Shows that an unsafe value was allowed for a librdkafka property.
    pub fn unsafe_setting(&self, property: &str) {
        let property = property.to_owned();
        self.unsafe_settings
            .get_or_create(&PropertyLabel { property })
            .set(1);
    }

    /// Shows whether a topic can take records.
    pub fn topic_ready(&self, topic: &str, is_ready: bool) {
        self.topic_ready
            .get_or_create(&topic_label(topic))
            .set(is_ready.into());
    }

    /// Shows how old a record may be on a topic; `None` if the limit is unknown or there is none.
    pub fn topic_age_limit(&self, topic: &str, limit: Option<Duration>) {
        let label = topic_label(topic);
        if let Some(limit) = limit {
            let gauge = self.age_limit.get_or_create(&label);
            gauge.set(limit.as_secs_f64());
        } else {
            self.age_limit.remove(&label);
        }
    }

    /// Shows the time until the spool is full; `None` if it does not grow.
    pub fn spool_full_in(&self, time: Option<Duration>) {
        let full_in = &self.spool.full_in;
        if let Some(time) = time {
            full_in.get_or_create(&[]).set(time.as_secs_f64());
        } else {
            full_in.remove(&[]);
        }
    }

    /// Shows the replication of a topic.
    pub fn topic_durability(&self, topic: &str, replication: u32, min_insync: u32) {
        let label = topic_label(topic);
        self.replication
            .get_or_create(&label)
            .set(replication.into());
        self.min_insync.get_or_create(&label).set(min_insync.into());
    }

    /// Shows whether all producers of a topic are in service.
    pub fn producer_up(&self, topic: &str, is_up: bool) {
        self.producer_up
            .get_or_create(&topic_label(topic))
            .set(is_up.into());
    }

    /// Returns all metrics in the OpenMetrics text format.
    ///
    /// # Panics
    /// Never: writing to memory can't fail.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to memory can't fail");
        text
    }

    /// Returns all metrics in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn classic_text(&self) -> String {
        classic(&self.text())
    }
}

/// Returns the status code that is counted at `place`.
fn code_at(place: usize) -> u16 {
    u16::try_from(100 + place).unwrap_or(u16::MAX)
}

/// Returns the place of a status code. The place does not exist if HTTP has no such code.
fn place_of(code: u16) -> usize {
    usize::from(code).wrapping_sub(100)
}

fn topic_label(topic: &str) -> TopicLabel {
    TopicLabel {
        topic: topic.to_owned(),
    }
}
