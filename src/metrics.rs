//! Every metric's definition, and nothing but definitions: name, unit, help and labels.
//!
//! Labels have few values, known when the program is built: an unknown channel, a message id or a
//! phone number never becomes one.

use std::sync::Arc;

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the sender of a report was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportAnswer {
    /// 2xx: Kafka has it.
    Accepted,
    /// 2xx: the spool has it, and Kafka is still to get it.
    Spooled,
    /// 400: it breaks the contract, and the rejected topic has it.
    Rejected,
    /// 503 at once: too much in flight, no topic, or draining.
    Shed,
    /// 503 at the deadline: not promised, and it may still arrive.
    Deadline,
}

/// What became of a report that was admitted, known when Kafka has said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFate {
    /// Acknowledged by Kafka, and its sender was told.
    Delivered,
    /// Acknowledged by Kafka after its sender had been told 503.
    DeliveredLate,
    /// Given up: its sender was told 503, or had gone.
    Failed,
    /// Acknowledged by Kafka after its sender had hung up.
    SenderGone,
}

impl ReportAnswer {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Spooled,
        Self::Rejected,
        Self::Shed,
        Self::Deadline,
    ];
}

impl EncodeLabelValue for ReportAnswer {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        let label = match self {
            Self::Accepted => "accepted",
            Self::Spooled => "spooled",
            Self::Rejected => "rejected",
            Self::Shed => "shed",
            Self::Deadline => "deadline",
        };
        label.encode(encoder)
    }
}

impl ReportFate {
    const ALL: [Self; 4] = [
        Self::Delivered,
        Self::DeliveredLate,
        Self::Failed,
        Self::SenderGone,
    ];
}

impl EncodeLabelValue for ReportFate {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        let label = match self {
            Self::Delivered => "delivered",
            Self::DeliveredLate => "delivered_late",
            Self::Failed => "failed",
            Self::SenderGone => "sender_gone",
        };
        label.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    answer: ReportAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabel {
    fate: ReportFate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabel {
    channel: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    part: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PropertyLabel {
    property: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

/// What the spool holds, set when somebody looks.
#[derive(Debug, Default)]
pub struct SpoolMetrics {
    pub reports: Gauge,
    pub parked: Gauge,
    pub bytes: Gauge,
    pub writable: Gauge,
    pub waiting_lanes: Gauge,
}

impl SpoolMetrics {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "spool_reports",
                "Reports in the spool, parked ones included",
                &self.reports,
            ),
            (
                "spool_parked",
                "Reports in the spool that neither topic takes",
                &self.parked,
            ),
            (
                "spool_bytes",
                "What the spool takes on disk, in bytes",
                &self.bytes,
            ),
            (
                "spool_writable",
                "1 where the last write to the spool succeeded, else 0",
                &self.writable,
            ),
            (
                "lanes_waiting",
                "Partitions whose reports wait for Kafka",
                &self.waiting_lanes,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }
}

/// The program's metrics; one set a bridge.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    answers: Family<CodeLabel, Counter>,
    report_answers: Family<AnswerLabel, Counter>,
    report_fates: Family<FateLabel, Counter>,
    unsafe_settings: Family<PropertyLabel, Gauge>,
    replication: Family<TopicLabel, Gauge>,
    min_insync: Family<TopicLabel, Gauge>,
    authentication_failures: Family<ChannelLabel, Counter>,
    reloads: Family<ReloadLabel, Counter>,
    stale: Family<PartLabel, Gauge>,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: Counter,
    certificate_expiry: Gauge,
    /// Reports that were admitted and whose fate is still open.
    pub reports_in_flight: Gauge,
    /// What those reports hold in memory, in bytes.
    pub bytes_in_flight: Gauge,
    /// Reports that were answered 503 at the deadline and whose fate is still open.
    pub reports_unsure: Gauge,
    /// Open connections on the ingress.
    pub connections: Gauge,
    /// 1 where the bridge can take reports.
    pub ready: Gauge,
    /// Producers that were replaced since they were of no use any more.
    pub producer_rebuilds: Counter,
    /// What the spool holds.
    pub spool: SpoolMetrics,
}

impl Metrics {
    /// Registers every metric.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::with_prefix("koobridge"),
            answers: Family::default(),
            report_answers: Family::default(),
            report_fates: Family::default(),
            unsafe_settings: Family::default(),
            replication: Family::default(),
            min_insync: Family::default(),
            authentication_failures: Family::default(),
            reloads: Family::default(),
            stale: Family::default(),
            handshake_failures: Counter::default(),
            certificate_expiry: Gauge::default(),
            reports_in_flight: Gauge::default(),
            bytes_in_flight: Gauge::default(),
            reports_unsure: Gauge::default(),
            connections: Gauge::default(),
            ready: Gauge::default(),
            producer_rebuilds: Counter::default(),
            spool: SpoolMetrics::default(),
        };
        metrics.register_counters();
        metrics.register_gauges();
        metrics.create_known_series();
        Arc::new(metrics)
    }

    fn register_counters(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "answers",
            "Answers of the ingress by status code, those that hyper gives by itself included",
            self.answers.clone(),
        );
        registry.register(
            "reports",
            "Reports by what their sender was told",
            self.report_answers.clone(),
        );
        registry.register(
            "report_fates",
            "Admitted reports by what became of them",
            self.report_fates.clone(),
        );
        registry.register(
            "producer_rebuilds",
            "Producers that were replaced since they were of no use any more",
            self.producer_rebuilds.clone(),
        );
        registry.register(
            "authentication_failures",
            "Requests with a wrong, missing or repeated password, by channel; of unknown channels together",
            self.authentication_failures.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that failed or took too long",
            self.handshake_failures.clone(),
        );
        registry.register(
            "reloads",
            "Changed files that were read while the bridge serves, by part and result",
            self.reloads.clone(),
        );
    }

    fn register_gauges(&mut self) {
        let registry = &mut self.registry;
        self.spool.register(registry);
        registry.register(
            "reports_in_flight",
            "Admitted reports whose fate is still open",
            self.reports_in_flight.clone(),
        );
        registry.register(
            "in_flight_bytes",
            "Memory that the reports in flight hold, in bytes",
            self.bytes_in_flight.clone(),
        );
        registry.register(
            "reports_unsure",
            "Reports answered 503 at the deadline whose fate is still open",
            self.reports_unsure.clone(),
        );
        registry.register(
            "connections",
            "Open connections on the ingress",
            self.connections.clone(),
        );
        registry.register(
            "ready",
            "1 where the bridge can take reports, else 0",
            self.ready.clone(),
        );
        registry.register(
            "stale",
            "1 where a part's last change could not be taken over, and the state before it holds",
            self.stale.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the ingress' certificate expires, in seconds since 1970; 0 without TLS",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "kafka_unsafe_setting",
            "1 for each librdkafka property whose unsafe value was allowed by name",
            self.unsafe_settings.clone(),
        );
        registry.register(
            "topic_replication_factor",
            "Replicas of the topic's least replicated partition",
            self.replication.clone(),
        );
        registry.register(
            "topic_min_insync_replicas",
            "The topic's min.insync.replicas",
            self.min_insync.clone(),
        );
    }

    /// Every series with known labels is there from the start, at 0, so that a rate can be taken.
    fn create_known_series(&self) {
        for answer in ReportAnswer::ALL {
            drop(self.report_answers.get_or_create(&AnswerLabel { answer }));
        }
        for fate in ReportFate::ALL {
            drop(self.report_fates.get_or_create(&FateLabel { fate }));
        }
    }

    /// Counts an answer of the ingress.
    pub fn answered(&self, code: u16) {
        self.answers.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts a wrong password; `channel` is empty where there is none of that name.
    pub fn authentication_failed(&self, channel: &str) {
        self.authentication_failures
            .get_or_create(&ChannelLabel {
                channel: channel.to_owned(),
            })
            .inc();
    }

    /// Shows when the ingress' certificate expires.
    pub fn certificate_expires(&self, at: Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }

    /// Counts a part that was read anew, and shows whether its last change could be taken over.
    pub fn reloaded(&self, part: &'static str, is_good: bool) {
        let result = if is_good { "ok" } else { "failed" };
        self.reloads
            .get_or_create(&ReloadLabel { part, result })
            .inc();
        self.stale
            .get_or_create(&PartLabel { part })
            .set((!is_good).into());
    }

    /// Counts what a report's sender was told.
    pub fn report_answered(&self, answer: ReportAnswer) {
        self.report_answers
            .get_or_create(&AnswerLabel { answer })
            .inc();
    }

    /// Counts what became of an admitted report.
    pub fn report_settled(&self, fate: ReportFate) {
        self.report_fates.get_or_create(&FateLabel { fate }).inc();
    }

    /// The counter behind [`Metrics::report_answered`]: how many were told `answer` so far.
    #[must_use]
    pub fn reports(&self, answer: ReportAnswer) -> u64 {
        self.report_answers
            .get_or_create(&AnswerLabel { answer })
            .get()
    }

    /// Shows that an unsafe value was allowed for a librdkafka property.
    pub fn unsafe_setting(&self, property: &str) {
        self.unsafe_settings
            .get_or_create(&PropertyLabel {
                property: property.to_owned(),
            })
            .set(1);
    }

    /// Shows how safely Kafka keeps a topic.
    pub fn topic_durability(&self, topic: &str, replication: u32, min_insync: u32) {
        let label = TopicLabel {
            topic: topic.to_owned(),
        };
        self.replication
            .get_or_create(&label)
            .set(replication.into());
        self.min_insync.get_or_create(&label).set(min_insync.into());
    }

    /// All metrics in the OpenMetrics text format.
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
}
