//! The names, units and helps of the metrics.

use prometheus_client::registry::{Metric, Registry, Unit};

use super::Metrics;
use super::channels::{Failures, Received};
use super::process::Process;
use crate::telemetry;

/// The registry of the metrics that have the program's prefix.
struct Section<'r>(&'r mut Registry);

impl Section<'_> {
    fn of(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }

    /// Registers a metric whose name ends with the unit.
    fn in_unit(&mut self, name: &str, unit: Unit, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register_with_unit(name, help, unit, metric.clone());
    }
}

impl Metrics {
    /// Registers every metric under its name.
    pub(super) fn register(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let mut section = Section(registry.sub_registry_with_prefix("koobridge"));
        self.register_answers(&mut section);
        self.register_reports(&mut section);
        self.register_kafka(&mut section);
        self.register_spool(&mut section);
        self.register_limits(&mut section);
        self.register_state(&mut section);
        registry
    }

    fn register_answers(&self, section: &mut Section<'_>) {
        section.of(
            "answers",
            "Answers of the ingress by status code, including those that hyper sends itself",
            &self.answers,
        );
        section.in_unit(
            "request_duration",
            Unit::Seconds,
            "Time from the complete head of a report's request to its answer",
            &self.request_time,
        );
        section.of(
            "authentication_failures",
            "Requests with a wrong, missing or repeated password by channel; unknown channels share one series",
            &Failures(self.channels.clone()),
        );
        section.of(
            "tls_handshake_failures",
            "TLS handshakes that failed or timed out, by reason",
            &self.handshake_failures,
        );
        section.of(
            "connections",
            "Open connections on the ingress",
            &self.connections,
        );
        section.of(
            "connections_displaced",
            "Unauthenticated or idle connections that were closed to make room for new ones",
            &self.connections_displaced,
        );
        section.of(
            "connections_refused",
            "Connections that were closed at once because ingress.allow does not include their network",
            &self.connections_refused,
        );
    }

    fn register_reports(&self, section: &mut Section<'_>) {
        section.of(
            "reports",
            "Reports by the answer to their sender",
            &self.report_answers,
        );
        section.of(
            "reports_received",
            "Valid reports of authenticated senders by channel and status, whatever the answer",
            &Received(self.channels.clone()),
        );
        section.of(
            "reports_rejected",
            "Reports for the rejected topic by reason",
            &self.rejected,
        );
        section.of(
            "report_fates",
            "Admitted reports by final outcome",
            &self.report_fates,
        );
        section.of(
            "reports_in_flight",
            "Admitted reports whose outcome is not known yet",
            &self.reports_in_flight,
        );
        section.in_unit(
            "in_flight",
            Unit::Bytes,
            "Memory of the reports in flight, including the bytes that were read of bodies",
            &self.bytes_in_flight,
        );
        section.of(
            "reports_unsure",
            "Reports answered 503 at the deadline whose outcome is not known yet",
            &self.reports_unsure,
        );
    }

    fn register_kafka(&self, section: &mut Section<'_>) {
        section.in_unit(
            "kafka_acknowledgement",
            Unit::Seconds,
            "Time from handing a record to librdkafka to Kafka's acknowledgement",
            &self.acknowledgement_time,
        );
        section.of(
            "producer_up",
            "1 if all producers of the topic are in service, 0 if one is being replaced and the reports of its partitions wait",
            &self.producer_up,
        );
        section.of(
            "producer_rebuilds",
            "Producers that were replaced because they failed",
            &self.producer_rebuilds,
        );
        section.of(
            "producer_renewals",
            "Producers that were replaced because a file that kafka.properties names has changed",
            &self.producer_renewals,
        );
        section.of(
            "partitions_waiting",
            "Partitions whose reports wait for Kafka",
            &self.waiting_partitions,
        );
        section.of(
            "topic_ready",
            "1 if every partition of the topic can take records, 0 if not",
            &self.topic_ready,
        );
        section.in_unit(
            "topic_age_limit",
            Unit::Seconds,
            "Age at which Kafka rejects a record for the topic or may delete it; absent if there is no limit",
            &self.age_limit,
        );
        section.of(
            "topic_replication_factor",
            "Replicas of the topic's least replicated partition",
            &self.replication,
        );
        section.of(
            "topic_min_insync_replicas",
            "The topic's min.insync.replicas",
            &self.min_insync,
        );
        section.of(
            "kafka_unsafe_setting",
            "1 for each librdkafka property that has an unsafe value, which kafka.allow_unsafe permits",
            &self.unsafe_settings,
        );
    }

    fn register_spool(&self, section: &mut Section<'_>) {
        let spool = &self.spool;
        section.of(
            "spool_reports",
            "Reports in the spool, including quarantined ones; a lower bound until spool_counted is 1",
            &spool.reports,
        );
        section.of(
            "spool_counted",
            "1 if every report that earlier runs left in the spool is counted, 0 if not",
            &spool.counted,
        );
        section.of(
            "spool_undeleted",
            "Delivered reports that could not be deleted from the spool yet",
            &spool.undeleted,
        );
        section.of(
            "spool_set_aside",
            "Damaged spool files that were set aside",
            &spool.set_aside,
        );
        section.in_unit(
            "spool_full_in",
            Unit::Seconds,
            "Time until the spool is full at the rate of the last two minutes; absent if it does not grow",
            &spool.full_in,
        );
        section.of(
            "spool_quarantined",
            "Reports in the spool that neither topic accepts",
            &spool.quarantined,
        );
        section.in_unit(
            "spool",
            Unit::Bytes,
            "Size of the spool on disk",
            &spool.bytes,
        );
        section.in_unit(
            "spool_used",
            Unit::Bytes,
            "Used part of the spool on disk, which spool.disk_limit limits",
            &spool.used,
        );
        section.in_unit(
            "spool_oldest_age",
            Unit::Seconds,
            "Age of the oldest report in the spool that waits for Kafka; 0 if none waits",
            &spool.oldest_age,
        );
        section.of(
            "spool_writable",
            "1 if the last write to the spool succeeded, 0 if not",
            &spool.writable,
        );
        section.in_unit(
            "spool_commit",
            Unit::Seconds,
            "Duration of a spool transaction, including its fsync",
            &spool.commit_time,
        );
    }

    fn register_limits(&self, section: &mut Section<'_>) {
        let limits = &self.limits;
        section.of(
            "reports_in_flight_limit",
            "Limit on reports in flight",
            &limits.reports_in_flight,
        );
        section.in_unit(
            "in_flight_limit",
            Unit::Bytes,
            "Limit on the memory of the reports in flight",
            &limits.bytes_in_flight,
        );
        section.of(
            "connections_limit",
            "Limit on open connections",
            &limits.connections,
        );
        section.in_unit(
            "spool_limit",
            Unit::Bytes,
            "Limit on the used part of the spool on disk; 0 without a spool",
            &limits.spool_bytes,
        );
    }

    fn register_state(&self, section: &mut Section<'_>) {
        section.of(
            "build_info",
            "1, with the versions of koobridge and librdkafka",
            &self.build,
        );
        section.of(
            "log_lines_dropped",
            "Log lines that were dropped because standard error was broken or too slow",
            &telemetry::lines_dropped(),
        );
        section.of(
            "trace_spans_dropped",
            "Spans that were dropped because the collector was too slow, did not answer, or refused their batch",
            &self.trace_spans_dropped,
        );
        section.of("ready", "1 if the bridge is ready, 0 if not", &self.ready);
        section.of(
            "reloads",
            "Reloads of changed files while the bridge serves, by part and result",
            &self.reloads,
        );
        section.of(
            "stale",
            "1 if the last change of the part could not be applied and its previous state stays in use, 0 if not",
            &self.stale,
        );
        section.in_unit(
            "certificate_expiry_timestamp",
            Unit::Seconds,
            "Expiry time of the ingress certificate, in seconds since 1970; 0 without TLS",
            &self.certificate_expiry,
        );
        section.in_unit(
            "kafka_certificate_expiry_timestamp",
            Unit::Seconds,
            "Expiry time of the client certificate for Kafka, in seconds since 1970; 0 without one",
            &self.kafka_certificate_expiry,
        );
    }
}
