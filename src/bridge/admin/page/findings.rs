//! The findings of the page. Each has a severity and a remedy. The headline, the notes and the tables show the same
//! severities.

use std::time::Duration;

use indicatif::HumanDuration;

use super::format::{counted, days};
use crate::bridge::Phase;
use crate::bridge::admin::history::{History, Interval};
use crate::bridge::admin::late::Late;
use crate::bridge::admin::snapshot::{Intake, Snapshot};
use crate::bridge::metrics::ReportAnswer;
use crate::certificates::RENEWAL_PERIOD;
use crate::kafka::{Condition, Durability};
use crate::spool::Level;

/// The time that counts as now.
const RECENT: Duration = Duration::from_mins(1);

/// If the spool will be full within this time, that is a finding.
const SOON: Duration = Duration::from_hours(1);

const REPORTS_HIGH: &str = "The reports in flight are near ingress.reports_in_flight: above it, reports are answered 503. \
                            Kafka is slow, or the limit is low.";
const BYTES_HIGH: &str = "The memory of the reports in flight is near ingress.bytes_in_flight: above it, reports are \
                          answered 503. Kafka is slow, or the limit is low.";
const CONNECTIONS_HIGH: &str = "The open connections are near ingress.connections: at the limit, idle connections are closed to make room.";
const DISK_HIGH: &str = "The spool is nearly full: at spool.disk_limit, reports that Kafka does not accept are answered 503.";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    #[default]
    Fine,
    Warning,
    Critical,
}

/// The subject of a finding, which has a row in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Phase,
    /// Both topics.
    Kafka,
    /// The events topic (0) or the rejected topic (1).
    Topic(usize),
    Lanes,
    Reports,
    Bytes,
    Connections,
    SpoolWrites,
    SpoolDisk,
    SpoolAge,
    SpoolFull,
    SetAside,
    Undeleted,
    OtherTopics,
    Quarantine,
    Certificate,
    Reload,
    /// Requests with this answer.
    Answer(u16),
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) subject: Subject,
    pub(super) severity: Severity,
    pub(super) text: String,
}

/// The findings of one snapshot, sorted by severity, the worst first.
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn of(snapshot: &Snapshot, history: &History) -> Self {
        let minute = history.recent(snapshot, RECENT);
        let mut findings = Self(Vec::new());
        findings.phase(snapshot);
        findings.kafka(snapshot);
        findings.topics(snapshot);
        findings.spool(snapshot);
        findings.limits(snapshot);
        findings.files(snapshot);
        findings.answers(&minute);
        findings
            .0
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// Returns the severity of a table's row.
    pub(super) fn severity(&self, subject: Subject) -> Severity {
        // The worst findings come first.
        let mut findings = self.0.iter();
        let worst = findings.find(|finding| finding.subject == subject);
        worst.map(|finding| finding.severity).unwrap_or_default()
    }

    /// Returns the severity of the headline.
    pub(super) fn worst(&self) -> Severity {
        let worst = self.0.first();
        worst.map(|finding| finding.severity).unwrap_or_default()
    }

    fn warn(&mut self, subject: Subject, text: String) {
        self.add(subject, Severity::Warning, text);
    }

    fn add(&mut self, subject: Subject, severity: Severity, text: String) {
        self.0.push(Finding {
            subject,
            severity,
            text,
        });
    }

    fn phase(&mut self, snapshot: &Snapshot) {
        let text = match snapshot.phase {
            Phase::Serving => return,
            Phase::Draining => {
                "koobridge is stopping. It accepts reports for ingress.drain_delay, then closes the listener."
            }
            Phase::Closing => "koobridge is stopping. The last answers wait for Kafka.",
        };
        self.warn(Subject::Phase, text.to_owned());
    }

    /// Adds why Kafka does not accept every event, and the consequence for reports.
    fn kafka(&mut self, snapshot: &Snapshot) {
        let events = &snapshot.topics[0];
        let (condition, thin) = (
            &events.state.condition,
            events.under_replicated_partitions(),
        );
        let wrong = match (snapshot.intake(), condition) {
            (Intake::Full, _) => return,
            (Intake::NoAnswer, Condition::Unreachable(no_answer))
                if no_answer.last_answer.is_some() =>
            {
                let since = last_answer(no_answer.last_answer.unwrap_or_default());
                format!("{since}: {}.", no_answer.reason)
            }
            (Intake::NoAnswer, Condition::Unreachable(_)) | (Intake::Unknown, _) => {
                format!("{condition}.")
            }
            (Intake::NoAnswer, _) => {
                let silence = snapshot.silence.unwrap_or_default();
                format!("{}.", last_answer(snapshot.now - silence))
            }
            (Intake::Partial, Condition::Ready) => format!(
                "{}: {thin} of its partitions have too few in-sync replicas; start the missing brokers.",
                events.name
            ),
            (Intake::Partial, condition) => format!("{}: {condition}.", events.name),
        };
        let (severity, meanwhile) = if snapshot.has_spool() {
            (
                Severity::Warning,
                "Reports are kept in the spool, and delivered in order when Kafka accepts them.",
            )
        } else {
            (
                Severity::Critical,
                "Reports that Kafka does not accept in time are answered 503.",
            )
        };
        let (subject, severity) = match snapshot.intake() {
            Intake::Partial => (Subject::Topic(0), severity),
            // Kafka's first answer takes a moment.
            Intake::Unknown => (Subject::Kafka, Severity::Warning),
            _ => (Subject::Kafka, severity),
        };
        let text = format!("{wrong} {meanwhile} koobridge needs no restart.");
        self.add(subject, severity, text);
    }

    fn topics(&mut self, snapshot: &Snapshot) {
        let [_, rejected] = &snapshot.topics;
        let has_answer = matches!(snapshot.intake(), Intake::Full | Intake::Partial);
        if has_answer && !rejected.is_ready() {
            let (name, condition) = (&rejected.name, &rejected.state.condition);
            let text = format!("{name}: {condition}. Valid reports are not affected.");
            self.warn(Subject::Topic(1), text);
        }
        if snapshot.intake() == Intake::Full && snapshot.waiting_partitions > 0 {
            let waiting = snapshot.waiting_partitions as u64;
            let waiting = counted(waiting, "partition waits", "partitions wait");
            let text = format!("{waiting} for Kafka: their reports are sent again, in order.");
            self.warn(Subject::Lanes, text);
        }
        for (at, topic) in snapshot.topics.iter().enumerate() {
            let name = &topic.name;
            if !topic.state.durability.is_none_or(Durability::is_safe) {
                let text = format!(
                    "{name} does not survive the loss of a broker: raise its replication factor and \
                     min.insync.replicas to at least 2."
                );
                self.warn(Subject::Topic(at), text);
            }
            if !topic.has_producer {
                let text = format!("A producer of {name} is being replaced; the log says why.");
                self.warn(Subject::Topic(at), text);
            }
        }
    }

    fn spool(&mut self, snapshot: &Snapshot) {
        let Some(level) = snapshot.spool else { return };
        if !level.is_writable {
            let text = "No report can be written to the spool: it has reached spool.disk_limit, or the disk is full, \
                        read-only or failing, or has less free space than spool.free_space; the log says which. Restore \
                        Kafka; or raise spool.disk_limit and restart; or free some space or repair the disk, which \
                        koobridge notices by itself.";
            self.add(Subject::SpoolWrites, Severity::Critical, text.to_owned());
        }
        if level.quarantined > 0 {
            let reports = counted(level.quarantined, "report is", "reports are");
            let text = format!(
                "{reports} quarantined: neither topic accepts a record that is too large or malformed. \
                 koobridge spool export shows the quarantined reports."
            );
            self.warn(Subject::Quarantine, text);
        }
        self.ages(snapshot);
        self.leftovers(snapshot, level);
    }

    /// Adds reports that wait for too long, and a spool that will soon be full.
    fn ages(&mut self, snapshot: &Snapshot) {
        for late in Late::of(snapshot) {
            let severity = if late.reached.is_past {
                Severity::Critical
            } else {
                Severity::Warning
            };
            self.add(Subject::SpoolAge, severity, late.text());
        }
        let soon = snapshot.full_in.filter(|time| *time < SOON);
        if let Some(full_in) =
            soon.filter(|_| snapshot.spool.is_some_and(|level| level.is_writable))
        {
            let full_in = HumanDuration(full_in);
            let text = format!(
                "The spool is full in {full_in} at the rate of the last two minutes; then reports are answered 503. \
                 Restore Kafka, or raise spool.disk_limit and restart if the disk has room."
            );
            self.warn(Subject::SpoolFull, text);
        }
    }

    /// Adds contents of the spool that koobridge does not clean up by itself.
    fn leftovers(&mut self, snapshot: &Snapshot, level: Level) {
        if level.set_aside > 0 {
            let files = counted(level.set_aside, "damaged file is", "damaged files are");
            let text = format!(
                "{files} set aside in the spool's directory: koobridge spool export --set-aside shows the reports \
                 in them. They count towards spool.disk_limit until you move them elsewhere."
            );
            self.warn(Subject::SetAside, text);
        }
        if level.undeleted > 0 {
            let reports = counted(level.undeleted, "delivered report", "delivered reports");
            let text = format!(
                "The disk does not allow koobridge to delete {reports}: a restart delivers them again, with the same \
                 ce_id. Repair the disk or make it writable; koobridge notices by itself."
            );
            self.warn(Subject::Undeleted, text);
        }
        for topic in &snapshot.other_topics {
            let text = format!(
                "The spool holds reports for {topic}, which is not configured: they stay there. To deliver them, stop the \
                 bridge and run koobridge spool drain --set kafka.topic={topic}."
            );
            self.warn(Subject::OtherTopics, text);
        }
    }

    fn limits(&mut self, snapshot: &Snapshot) {
        for (subject, utilization, text) in [
            (Subject::Reports, snapshot.reports, REPORTS_HIGH),
            (Subject::Bytes, snapshot.bytes, BYTES_HIGH),
            (Subject::Connections, snapshot.connections, CONNECTIONS_HIGH),
            (Subject::SpoolDisk, snapshot.disk(), DISK_HIGH),
        ] {
            if utilization.is_high() {
                self.warn(subject, text.to_owned());
            }
        }
    }

    /// Adds problems of certificates, passwords and the configuration.
    fn files(&mut self, snapshot: &Snapshot) {
        for (part, problem) in &snapshot.stale {
            let part = part.replace('_', " ");
            let text = format!(
                "The last change of the {part} was not applied: {problem}. The previous version stays in use."
            );
            self.warn(Subject::Reload, text);
        }
        let Some(expires) = snapshot.certificate else {
            return;
        };
        let left = expires.duration_since(snapshot.now);
        let renew = "Replace the certificate and its key; koobridge loads them by itself.";
        if !left.is_positive() {
            let text = format!(
                "The certificate has expired: senders that check it can't connect. {renew}"
            );
            self.add(Subject::Certificate, Severity::Critical, text);
        } else if left < RENEWAL_PERIOD {
            let left = days(left);
            let text = format!("The certificate expires in {left}. {renew}");
            self.warn(Subject::Certificate, text);
        }
    }

    /// Adds requests that are being refused now.
    fn answers(&mut self, minute: &Interval) {
        let counts = &minute.counts;
        let unauthorized = counts.refused(401);
        let wrong = unauthorized.saturating_sub(counts.unknown_channels);
        if wrong > 0 {
            let wrong = counted(wrong, "wrong password", "wrong passwords");
            let text = format!(
                "{wrong} in the last minute, answered 401: if a sender's password has changed, write the new one to \
                 its channel's file; koobridge loads it by itself. The log names the channel and the network."
            );
            self.warn(Subject::Answer(401), text);
        }
        if counts.unknown_channels > 0 {
            let requests = counted(counts.unknown_channels, "request", "requests");
            let text = format!(
                "{requests} in the last minute for channels that are not configured, answered 401: if a channel is \
                 missing, add a file with its password. The log names the network."
            );
            self.warn(Subject::Answer(401), text);
        }
        let turned_away =
            counts.with_answer(ReportAnswer::Shed) + counts.with_answer(ReportAnswer::Deadline);
        if turned_away > 0 {
            let reports = counted(turned_away, "report was", "reports were");
            let text = format!(
                "{reports} answered 503 in the last minute: lost unless the sender retries."
            );
            self.warn(Subject::Answer(503), text);
        }
    }
}

fn last_answer(answer: jiff::Timestamp) -> String {
    let answer = answer.strftime("%H:%M:%S (UTC)");
    format!("No broker has answered since {answer}")
}

/// Returns the state as a short headline.
pub(super) fn headline(snapshot: &Snapshot) -> &'static str {
    match (snapshot.phase, snapshot.intake(), snapshot.has_spool()) {
        (Phase::Draining, ..) => "Draining, still accepting reports",
        (Phase::Closing, ..) => "Draining",
        (_, Intake::Full, _) => "Serving",
        (_, Intake::Unknown, _) => "Started, waiting for Kafka",
        (_, Intake::NoAnswer, true) => "Serving from the spool: Kafka does not answer",
        (_, Intake::Partial, true) => "Serving from the spool: Kafka can't accept every report",
        (_, Intake::NoAnswer, false) => "Not ready: Kafka does not answer",
        (_, Intake::Partial, false) => "Kafka can't accept every report",
    }
}
