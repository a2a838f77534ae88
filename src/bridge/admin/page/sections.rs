//! The tables below the chart. On a phone, tables without findings are closed.

use std::cmp::Reverse;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use jiff::Timestamp;

use super::findings::{Findings, Severity, Subject};
use super::format::{ago, counted, days, escape, quantile};
use crate::bridge::admin::history::{History, Interval, SPAN};
use crate::bridge::admin::snapshot::{Destination, Intake, Snapshot, Utilization};
use crate::bridge::metrics::{REASONS, REFUSALS, ReportAnswer};
use crate::contract::Reason;
use crate::kafka::{self, Condition};

/// The number of channels that are listed individually.
const LISTED: usize = 50;

pub(super) fn html(snapshot: &Snapshot, history: &History, findings: &Findings) -> String {
    let recent = history.recent(snapshot, SPAN);
    let minute = history.recent(snapshot, Duration::from_mins(1));
    let table = || Table::new(findings);
    [
        "<div>",
        &kafka(table(), snapshot, &minute, &recent),
        &spool(table(), snapshot),
        "</div><div>",
        &kept(table(), snapshot, &recent),
        &refused(table(), snapshot, &recent),
        &rejected(table(), snapshot, &recent),
        "</div><div>",
        &bridge(table(), snapshot),
        &channels(table(), snapshot),
        "</div>",
    ]
    .concat()
}

/// A table whose rows have the severities of the findings about their subjects.
struct Table<'f> {
    findings: &'f Findings,
    worst: Severity,
    rows: String,
    /// The names of the columns, if there is more than one.
    heads: &'static str,
}

impl<'f> Table<'f> {
    fn new(findings: &'f Findings) -> Self {
        Self {
            findings,
            worst: Severity::Fine,
            rows: String::new(),
            heads: "",
        }
    }

    /// Adds a row; `rest` is HTML.
    fn row(&mut self, subject: Option<Subject>, name: &str, value: impl Display, rest: &str) {
        let severity = subject.map(|subject| self.findings.severity(subject));
        let severity = severity.unwrap_or_default();
        self.worst = self.worst.max(severity);
        let (class, name, value) = (severity.name(), escape(name), escape(&value.to_string()));
        let row = format!(r#"<div class="{class}"><dt>{name}</dt><dd>{value}</dd>{rest}</div>"#);
        self.rows += &row;
    }

    /// Adds a row with the counts of fifteen minutes and since the start.
    fn counts(&mut self, subject: Option<Subject>, name: &str, counts: [u64; 2], note: &str) {
        let [recent, total] = counts.map(HumanCount);
        let total = format!(r#"<dd class="second">{total}</dd>{note}"#);
        self.heads = "<span>15 min</span><span>since start</span>";
        self.row(subject, name, recent, &total);
    }

    /// Adds a row with the used part of a limit, and a bar.
    fn limit<T: Display>(
        &mut self,
        subject: Subject,
        name: &str,
        of: Utilization,
        words: fn(u64) -> T,
    ) {
        let value = format!("{} of {}", words(of.used), words(of.limit));
        let used = of.used.min(of.limit).saturating_mul(100) / of.limit.max(1);
        let bar = format!(
            r#"<dd class="bar" aria-hidden="true"><svg viewBox="0 0 100 1" preserveAspectRatio="none"><path d="M0 0H{used}V1H0Z"/></svg></dd>"#
        );
        self.row(Some(subject), name, value, &bar);
    }

    /// Returns the section. It shows `brief` when it is closed.
    fn section(self, id: &str, title: &str, brief: impl Display, foot: &str) -> String {
        let Self { rows, heads, .. } = self;
        let (severity, open) = (
            self.worst.name(),
            ["", " open"][usize::from(self.worst > Severity::Fine)],
        );
        let foot = escape(foot);
        format!(
            r#"<details id="{id}"{open}><summary data-swap id="{id}-brief"><h2>{title}</h2><span class="brief {severity}">{brief}</span>{heads}</summary>
<div data-swap id="{id}-table"><dl>{rows}</dl><p class="foot">{foot}</p></div></details>
"#
        )
    }
}

fn note(text: &str) -> String {
    format!(r#"<dd class="note">{}</dd>"#, escape(text))
}

fn kafka(mut table: Table, snapshot: &Snapshot, minute: &Interval, recent: &Interval) -> String {
    for (at, topic) in snapshot.topics.iter().enumerate() {
        let subject = match snapshot.intake() {
            Intake::NoAnswer | Intake::Unknown => Subject::Kafka,
            Intake::Partial | Intake::Full => Subject::Topic(at),
        };
        let shape = note(&shape(topic));
        table.row(
            Some(subject),
            &topic.name,
            condition(snapshot, topic),
            &shape,
        );
    }
    let [minute, recent] = [minute, recent].map(|interval| {
        let times = &interval.counts.acknowledged;
        format!("{} · {}", quantile(times, 0.5), quantile(times, 0.99))
    });
    let recent = note(&format!("In the last minute; {recent} in 15 minutes."));
    table.row(None, "Acknowledged, p50 · p99", minute, &recent);
    table.row(
        Some(Subject::Lanes),
        "Partitions waiting for Kafka",
        snapshot.waiting_partitions,
        "",
    );
    table.limit(
        Subject::Reports,
        "Reports in flight",
        snapshot.reports,
        HumanCount,
    );
    table.limit(
        Subject::Bytes,
        "Memory of these reports",
        snapshot.bytes,
        BinaryBytes,
    );
    let brief = condition(snapshot, &snapshot.topics[0]);
    table.section("kafka", "Kafka", brief, "")
}

/// Returns the topic's condition in a few words. The notes have the details.
fn condition(snapshot: &Snapshot, topic: &Destination) -> String {
    let thin = topic.under_replicated_partitions();
    match &topic.state.condition {
        Condition::Unknown => "no answer yet".to_owned(),
        _ if snapshot.intake() == Intake::NoAnswer => "no answer".to_owned(),
        Condition::Unreachable(_) => "no answer".to_owned(),
        Condition::Missing => "does not exist".to_owned(),
        Condition::Rejected(_) => "access denied".to_owned(),
        Condition::Leaderless(count) => format!("{count} without a leader"),
        Condition::Ready if thin > 0 => format!("{thin} with too few replicas"),
        Condition::Ready => "ready".to_owned(),
    }
}

/// Returns the size and the replication of a topic.
fn shape(topic: &Destination) -> String {
    let mut shape = String::new();
    if let Some(partitions) = topic.state.partitions {
        shape += &counted(partitions.into(), "partition", "partitions");
    }
    if let Some(durability) = topic.state.durability {
        let replicas = counted(durability.replication.into(), "replica", "replicas");
        let min_insync = durability.min_insync;
        let _ = write!(shape, ", {replicas}, min.insync.replicas {min_insync}");
    }
    shape
}

fn spool(mut table: Table, snapshot: &Snapshot) -> String {
    let Some(level) = snapshot.spool else {
        let foot = "There is no spool: a report that Kafka does not accept in time is lost unless the sender retries. \
                    Set spool.directory to have one.";
        return table.section("spool", "Spool", "none", foot);
    };
    let waiting = level.reports.saturating_sub(level.quarantined);
    let at_least = ["at least ", ""][usize::from(level.is_counted)];
    let oldest = snapshot.oldest_age().map_or_else(|| "–".to_owned(), ago);
    let writable = ["no", "yes"][usize::from(level.is_writable)];
    table.row(Some(Subject::SpoolWrites), "Writable", writable, "");
    table.row(
        Some(Subject::OtherTopics),
        "Reports waiting for Kafka",
        format!("{at_least}{}", HumanCount(waiting)),
        "",
    );
    table.row(
        Some(Subject::SpoolAge),
        "Oldest report received",
        oldest,
        "",
    );
    table.row(
        Some(Subject::Quarantine),
        "Quarantined",
        HumanCount(level.quarantined),
        "",
    );
    for (subject, name, count) in [
        (
            Subject::Undeleted,
            "Delivered, not deleted",
            level.undeleted,
        ),
        (Subject::SetAside, "Files set aside", level.set_aside),
    ] {
        if count > 0 {
            table.row(Some(subject), name, HumanCount(count), "");
        }
    }
    table.limit(Subject::SpoolDisk, "Disk", snapshot.disk(), BinaryBytes);
    if let Some(time) = snapshot.full_in {
        let value = format!("in {}", HumanDuration(time));
        let basis = note("At the rate of the last two minutes.");
        table.row(Some(Subject::SpoolFull), "Full", value, &basis);
    }
    let brief = match waiting {
        0 if level.is_counted => "empty".to_owned(),
        waiting => format!(
            "{at_least}{}",
            counted(waiting, "report waits", "reports wait")
        ),
    };
    table.section("spool", "Spool", brief, "")
}

fn kept(mut table: Table, snapshot: &Snapshot, recent: &Interval) -> String {
    let both = |answer| {
        [
            recent.counts.with_answer(answer),
            snapshot.counts.with_answer(answer),
        ]
    };
    let [accepted, spooled] = [ReportAnswer::Accepted, ReportAnswer::Spooled].map(both);
    let rejected = both(ReportAnswer::Rejected);
    table.counts(None, "Accepted, in Kafka", accepted, "");
    table.counts(None, "Accepted, in the spool", spooled, "");
    let codes = note("Answered 400 or 415; on the rejected topic or in the spool.");
    table.counts(None, "Rejected", rejected, &codes);
    let brief = HumanCount(accepted[0] + spooled[0] + rejected[0]);
    table.section("answers", "Kept reports", brief, "")
}

/// Returns the section of the requests that were not kept, by answer.
fn refused(mut table: Table, snapshot: &Snapshot, recent: &Interval) -> String {
    let (recent, total) = (&recent.counts, &snapshot.counts);
    let codes = REFUSALS.map(|code| {
        (
            code,
            refusal(code),
            [recent.refused(code), total.refused(code)],
        )
    });
    let unavailable = [
        ("no capacity or no topic", ReportAnswer::Shed),
        (
            "not acknowledged in time; may still arrive",
            ReportAnswer::Deadline,
        ),
    ]
    .map(|(reason, answer)| {
        (
            503,
            reason,
            [recent.with_answer(answer), total.with_answer(answer)],
        )
    });
    let (mut in_fifteen, mut foot) = (0, "No request has been refused since the start.");
    for (code, reason, counts) in codes.into_iter().chain(unavailable) {
        if counts[1] > 0 {
            let name = format!("{code}: {reason}");
            table.counts(Some(Subject::Answer(code)), &name, counts, "");
            in_fifteen += counts[0];
            foot = "";
        }
    }
    table.section("refused", "Refused, not kept", HumanCount(in_fifteen), foot)
}

fn refusal(code: u16) -> &'static str {
    match code {
        401 => "wrong password or unknown channel",
        403 => "network outside ingress.allow",
        404 => "unknown path",
        405 => "method other than POST",
        408 => "the body took too long",
        413 => "larger than ingress.body_limit",
        414 => "the path is too long",
        417 => "unsupported expectation",
        431 => "larger than ingress.head_limit",
        _ => "malformed HTTP",
    }
}

fn rejected(mut table: Table, snapshot: &Snapshot, recent: &Interval) -> String {
    let (recent, total) = (recent.counts.reasons, snapshot.counts.reasons);
    let counts = (0..REASONS.len()).map(|at| ([recent[at], total[at]], REASONS[at]));
    let mut counts: Vec<_> = counts.filter(|([_, total], _)| *total > 0).collect();
    counts.sort_by_key(|(counts, _)| Reverse(*counts));
    let mut foot = "No report has been rejected since the start.";
    for (counts, reason) in counts {
        let known = Reason::ALL.into_iter().find(|it| it.code() == reason);
        let detail = known.map_or("Kafka rejects its size, form or timestamp.", Reason::detail);
        table.counts(None, reason, counts, &note(detail));
        foot = "koobridge tail --rejected shows the full reports.";
    }
    let brief = HumanCount(recent.iter().sum());
    table.section("rejected", "Rejected, by reason", brief, foot)
}

fn bridge(mut table: Table, snapshot: &Snapshot) -> String {
    let ready = match (snapshot.is_ready, snapshot.intake()) {
        (false, _) => "not ready",
        (true, Intake::Full) => "ready",
        (true, _) if snapshot.has_spool() => "ready, because of the spool",
        (true, _) => "ready, but Kafka is impaired",
    };
    table.row(Some(Subject::Phase), "/readyz", ready, "");
    if let Some(expires) = snapshot.certificate {
        let left = expires.duration_since(snapshot.now);
        let value = if left.is_positive() {
            format!("{} left", days(left))
        } else {
            "expired".to_owned()
        };
        let until = note(
            &expires
                .strftime("Valid until %Y-%m-%d %H:%M UTC.")
                .to_string(),
        );
        table.row(Some(Subject::Certificate), "Certificate", value, &until);
    } else {
        table.row(None, "Certificate", "none, plain HTTP", "");
    }
    for (part, problem) in &snapshot.stale {
        let name = format!("Change of the {part}");
        table.row(Some(Subject::Reload), &name, "not applied", &note(problem));
    }
    table.limit(
        Subject::Connections,
        "Open connections",
        snapshot.connections,
        HumanCount,
    );
    table.row(None, "Uptime", HumanDuration(snapshot.uptime), "");
    table.row(None, "koobridge", env!("CARGO_PKG_VERSION"), "");
    table.row(None, "librdkafka", kafka::version(), "");
    table.section("bridge", "This bridge", ready, "")
}

/// Returns the section of the channels with their last reports. The page may show their ids, as the metrics do.
fn channels(mut table: Table, snapshot: &Snapshot) -> String {
    let heard = snapshot.channels.last_reports();
    let mut heard: Vec<(&str, Timestamp)> = heard
        .filter_map(|(channel, last)| Some((channel.as_str(), last?)))
        .collect();
    // Within a second, sorted by name, so that the order does not change on every refresh.
    heard.sort_unstable_by_key(|(channel, last)| (Reverse(last.as_second()), *channel));
    let said = |last: &Timestamp| ago(snapshot.since(*last));
    let (listed, more) = heard.split_at(heard.len().min(LISTED));
    for (channel, last) in listed {
        table.row(None, channel, said(last), "");
    }
    let mut foot = String::new();
    if let Some((channel, last)) = more.last() {
        let (more, longest) = (HumanCount(more.len() as u64), said(last));
        foot = format!("And {more} more; the longest silent is {channel}: {longest}. ");
    }
    let silent = (snapshot.channels.len() - heard.len()) as u64;
    if silent > 0 {
        let channels = counted(silent, "channel has", "channels have");
        let _ = write!(foot, "{channels} sent no report since the start.");
    }
    let brief = heard
        .first()
        .map_or("none yet".to_owned(), |(_, last)| said(last));
    table.section("channels", "Last report of each channel", brief, &foot)
}
