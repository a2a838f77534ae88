//! The names, units and helps of the metrics.

use prometheus_client::registry::{Metric, Registry, Unit};

use super::Metrics;
use super::channels::{Failures, Received};
use super::process::Process;
use crate::telemetry;

/// Where metrics go under the program's prefix.
struct Section<'r>(&'r mut Registry);

impl Section<'_> {
    fn of(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }

    /// The name ends in the unit.
    fn in_unit(&mut self, name: &str, unit: Unit, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register_with_unit(name, help, unit, metric.clone());
    }
}

impl Metrics {
    /// All of them, each under its name.
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
            "Answers of the ingress by status code, those that hyper gives by itself included",
            &self.answers,
        );
        section.in_unit(
            "request_duration",
            Unit::Seconds,
            "Time from a report's complete head to its answer",
            &self.request_time,
        );
        section.of(
            "authentication_failures",
            "Requests with a wrong, missing or repeated password, by channel; of unknown channels together",
            &Failures(self.channels.clone()),
        );
        section.of(
            "tls_handshake_failures",
            "TLS handshakes that failed or took too long, by the reason why",
            &self.handshake_failures,
        );
        section.of(
            "connections",
            "Open connections on the ingress",
            &self.connections,
        );
        section.of(
            "connections_displaced",
            "Connections that were closed to make room for new ones: not authenticated, or idle",
            &self.connections_displaced,
        );
        section.of(
            "connections_refused",
            "Connections that were closed at once, since ingress.allow does not have their network",
            &self.connections_refused,
        );
    }

    fn register_reports(&self, section: &mut Section<'_>) {
        section.of(
            "reports",
            "Reports by what their sender was told",
            &self.report_answers,
        );
        section.of(
            "reports_received",
            "Sound reports of authenticated senders by channel and status, whatever they were told",
            &Received(self.channels.clone()),
        );
        section.of(
            "reports_rejected",
            "Reports for the rejected topic by the reason why",
            &self.rejected,
        );
        section.of(
            "report_fates",
            "Admitted reports by what became of them",
            &self.report_fates,
        );
        section.of(
            "reports_in_flight",
            "Admitted reports whose fate is still open",
            &self.reports_in_flight,
        );
        section.in_unit(
            "in_flight",
            Unit::Bytes,
            "Memory that the reports in flight hold",
            &self.bytes_in_flight,
        );
        section.of(
            "reports_unsure",
            "Reports answered 503 at the deadline whose fate is still open",
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
            "1 if all producers of the topic are in service, 0 while one is being replaced: the reports of its partitions wait",
            &self.producer_up,
        );
        section.of(
            "producer_rebuilds",
            "Producers that were replaced since they were of no use any more",
            &self.producer_rebuilds,
        );
        section.of(
            "producer_renewals",
            "Producers that were replaced since a file that Kafka's properties name has changed",
            &self.producer_renewals,
        );
        section.of(
            "partitions_waiting",
            "Partitions whose reports wait for Kafka",
            &self.waiting_partitions,
        );
        section.of(
            "topic_ready",
            "1 where every partition of the topic can take records, else 0",
            &self.topic_ready,
        );
        section.in_unit(
            "topic_age_limit",
            Unit::Seconds,
            "Age from which on Kafka refuses a record for the topic, or may delete it; absent without a limit",
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
            "1 for each librdkafka property whose unsafe value was allowed by name",
            &self.unsafe_settings,
        );
    }

    fn register_spool(&self, section: &mut Section<'_>) {
        let spool = &self.spool;
        section.of(
            "spool_reports",
            "Reports in the spool, quarantined ones included; a lower bound until spool_counted is 1",
            &spool.reports,
        );
        section.of(
            "spool_counted",
            "1 if every report that earlier runs left in the spool is counted, else 0",
            &spool.counted,
        );
        section.of(
            "spool_undeleted",
            "Reports that were delivered and that the disk does not let be deleted yet",
            &spool.undeleted,
        );
        section.of(
            "spool_set_aside",
            "Damaged files of the spool that were set aside",
            &spool.set_aside,
        );
        section.in_unit(
            "spool_full_in",
            Unit::Seconds,
            "Time until the spool is full at the rate of the last two minutes; absent while it does not grow",
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
            "What the spool takes on disk",
            &spool.bytes,
        );
        section.in_unit(
            "spool_used",
            Unit::Bytes,
            "What of the spool on disk holds something: the limit is for this",
            &spool.used,
        );
        section.in_unit(
            "spool_oldest_age",
            Unit::Seconds,
            "Age of the oldest report in the spool that waits for Kafka; 0 where none does",
            &spool.oldest_age,
        );
        section.of(
            "spool_writable",
            "1 where the last write to the spool succeeded, else 0",
            &spool.writable,
        );
        section.in_unit(
            "spool_commit",
            Unit::Seconds,
            "Time of a transaction of the spool, its fsync included",
            &spool.commit_time,
        );
    }

    fn register_limits(&self, section: &mut Section<'_>) {
        let limits = &self.limits;
        section.of(
            "reports_in_flight_limit",
            "The limit of reports in flight",
            &limits.reports_in_flight,
        );
        section.in_unit(
            "in_flight_limit",
            Unit::Bytes,
            "The limit of what the reports in flight hold",
            &limits.bytes_in_flight,
        );
        section.of(
            "connections_limit",
            "The limit of open connections",
            &limits.connections,
        );
        section.in_unit(
            "spool_limit",
            Unit::Bytes,
            "The limit of what the spool takes on disk; 0 without one",
            &limits.spool_bytes,
        );
    }

    fn register_state(&self, section: &mut Section<'_>) {
        section.of(
            "build_info",
            "1, with the versions of the program and of the library that it publishes with",
            &self.build,
        );
        section.of(
            "log_lines_dropped",
            "Lines of the log that standard error did not take: it was broken or too slow",
            &telemetry::lines_dropped(),
        );
        section.of(
            "trace_spans_dropped",
            "Spans that were not sent: the collector was too slow, did not answer, or refused their batch",
            &self.trace_spans_dropped,
        );
        section.of(
            "ready",
            "1 where the bridge can take reports, else 0",
            &self.ready,
        );
        section.of(
            "reloads",
            "Changed files that were read while the bridge serves, by part and result",
            &self.reloads,
        );
        section.of(
            "stale",
            "1 where a part's last change could not be taken over, and the state before it holds",
            &self.stale,
        );
        section.in_unit(
            "certificate_expiry_timestamp",
            Unit::Seconds,
            "When the ingress' certificate expires, in seconds since 1970; 0 without TLS",
            &self.certificate_expiry,
        );
        section.in_unit(
            "kafka_certificate_expiry_timestamp",
            Unit::Seconds,
            "When the certificate expires that Kafka is shown, in seconds since 1970; 0 without one",
            &self.kafka_certificate_expiry,
        );
    }
}
