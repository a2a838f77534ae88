//! The tables below the chart. On a phone a table in which all is well is closed.

use std::cmp::Reverse;
use std::fmt::Write as _;

use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use jiff::Timestamp;

use super::findings::{Findings, Severity, Subject};
use super::words::{ago, counted, days, escape, quantile};
use crate::bridge::admin::history::{History, Interval, SPAN};
use crate::bridge::admin::snapshot::{Destination, Intake, Snapshot, Utilization};
use crate::bridge::metrics::{REASONS, REFUSALS, ReportAnswer};
use crate::contract::Reason;
use crate::kafka::{self, Condition, Durability};

/// How many channels are listed one by one.
const LISTED: usize = 50;

struct Section {
    id: &'static str,
    title: &'static str,
    /// What it says when it is closed.
    brief: String,
    /// The names of the columns, if there are two.
    has_two_columns: bool,
    rows: Vec<Row>,
    foot: String,
}

struct Row {
    name: String,
    value: String,
    second: String,
    note: String,
    severity: Severity,
    bar: Option<Utilization>,
}

pub(super) fn html(snapshot: &Snapshot, history: &History, findings: &Findings) -> String {
    let minute = history.recent(snapshot, std::time::Duration::from_mins(1));
    let recent = history.recent(snapshot, SPAN);
    let columns = [
        vec![
            kafka(snapshot, findings, [&minute, &recent]),
            spool(snapshot, findings),
        ],
        vec![
            answers(snapshot, &recent),
            refused(snapshot, findings, &recent),
            rejected(snapshot, &recent),
        ],
        vec![bridge(snapshot, findings), channels(snapshot)],
    ];
    let column = |column: &Vec<Section>| column.iter().map(Section::html).collect::<String>();
    let column = |it| format!("<div>{}</div>", column(it));
    columns.iter().map(column).collect()
}

impl Section {
    fn html(&self) -> String {
        let Self {
            id, title, foot, ..
        } = self;
        let worst = self.rows.iter().map(|row| row.severity).max();
        let worst = worst.unwrap_or(Severity::Fine);
        let open = if worst > Severity::Fine { " open" } else { "" };
        let (severity, brief) = (worst.name(), escape(&self.brief));
        let heads = if self.has_two_columns {
            "<span>15 min</span><span>since start</span>"
        } else {
            ""
        };
        let rows: String = self.rows.iter().map(Row::html).collect();
        let foot = escape(foot);
        format!(
            r#"<details id="{id}"{open}><summary data-swap id="{id}-brief"><h2>{title}</h2><span class="brief {severity}">{brief}</span>{heads}</summary>
<div data-swap id="{id}-table"><dl>{rows}</dl><p class="foot">{foot}</p></div></details>
"#
        )
    }
}

impl Row {
    fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
            second: String::new(),
            note: String::new(),
            severity: Severity::Fine,
            bar: None,
        }
    }

    /// A row of two counts.
    fn counts(name: impl Into<String>, [recent, total]: [u64; 2]) -> Self {
        Self {
            second: HumanCount(total).to_string(),
            ..Self::new(name, HumanCount(recent))
        }
    }

    /// A row with a bar of how much of a limit is used.
    fn bar(name: &str, bar: Utilization, words: fn(u64) -> String) -> Self {
        let value = format!("{} of {}", words(bar.used), words(bar.limit));
        Self {
            bar: Some(bar),
            ..Self::new(name, value)
        }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    fn rated(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    fn html(&self) -> String {
        let [name, value, second, note] =
            [&self.name, &self.value, &self.second, &self.note].map(|text| escape(text));
        let mut html = format!(
            r#"<div class="{}"><dt>{name}</dt><dd>{value}</dd>"#,
            self.severity.name()
        );
        for (class, text) in [("second", second), ("note", note)] {
            if !text.is_empty() {
                let _ = write!(html, r#"<dd class="{class}">{text}</dd>"#);
            }
        }
        if let Some(Utilization { used, limit }) = self.bar {
            let used = used.min(limit).saturating_mul(100) / limit.max(1);
            let _ = write!(
                html,
                r#"<dd class="bar" aria-hidden="true"><svg viewBox="0 0 100 1" preserveAspectRatio="none"><path d="M0 0H{used}V1H0Z"/></svg></dd>"#
            );
        }
        html + "</div>"
    }
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

fn kafka(snapshot: &Snapshot, findings: &Findings, times: [&Interval; 2]) -> Section {
    let topics = snapshot.topics.iter().enumerate().map(|(at, topic)| {
        let severity = findings.severity(Subject::Topic(at));
        let severity = severity.max(findings.severity(Subject::Kafka));
        Row::new(&topic.name, condition(snapshot, topic))
            .note(shape(topic))
            .rated(severity)
    });
    let mut rows: Vec<Row> = topics.collect();
    let brief = rows[0].value.clone();
    let [minute, recent] = times.map(|interval| {
        let times = &interval.counts.acknowledged;
        format!("{} · {}", quantile(times, 0.5), quantile(times, 0.99))
    });
    rows.push(
        Row::new("Acknowledged, p50 · p99", minute)
            .note(format!("In the last minute; {recent} in 15 minutes.")),
    );
    let waiting = Row::new("Partitions that wait", snapshot.waiting_lanes);
    let severity = findings.severity(Subject::Lanes);
    rows.push(waiting.rated(severity));
    rows.extend([
        Row::bar("Reports in flight", snapshot.reports, count)
            .rated(findings.severity(Subject::Reports)),
        Row::bar("Memory that they hold", snapshot.bytes, bytes)
            .rated(findings.severity(Subject::Bytes)),
    ]);
    Section {
        id: "kafka",
        title: "Kafka",
        brief,
        has_two_columns: false,
        rows,
        foot: String::new(),
    }
}

/// The topic's condition in a few words; the notes say more.
fn condition(snapshot: &Snapshot, topic: &Destination) -> String {
    let thin = topic.thin_partitions();
    match &topic.state.condition {
        Condition::Unknown => "no answer yet".to_owned(),
        _ if snapshot.intake() == Intake::Away => "no answer".to_owned(),
        Condition::Unreachable(_) => "no answer".to_owned(),
        Condition::Missing => "does not exist".to_owned(),
        Condition::Refused(_) => "refused".to_owned(),
        Condition::Leaderless(count) => format!("{count} without a leader"),
        Condition::Ready if thin > 0 => format!("{thin} with too few replicas"),
        Condition::Ready => "ready".to_owned(),
    }
}

/// How large the topic is, and how safe.
fn shape(topic: &Destination) -> String {
    let Some(partitions) = topic.state.partitions else {
        return String::new();
    };
    let partitions = counted(partitions.into(), "partition", "partitions");
    let Some(Durability {
        replication,
        min_insync,
    }) = topic.state.durability
    else {
        return partitions;
    };
    let replicas = counted(replication.into(), "replica", "replicas");
    format!("{partitions}, {replicas}, min.insync.replicas {min_insync}")
}

fn spool(snapshot: &Snapshot, findings: &Findings) -> Section {
    let mut section = Section {
        id: "spool",
        title: "Spool",
        brief: "none".to_owned(),
        has_two_columns: false,
        rows: Vec::new(),
        foot: String::new(),
    };
    let Some(level) = snapshot.spool else {
        "There is none: a report that Kafka can't take in time is lost unless the sender retries. \
         spool.directory creates one."
            .clone_into(&mut section.foot);
        return section;
    };
    let waiting = level.reports.saturating_sub(level.parked);
    section.brief = match waiting {
        0 => "empty".to_owned(),
        waiting => counted(waiting, "report waits", "reports wait"),
    };
    let writable = if level.is_writable { "yes" } else { "no" };
    let oldest = snapshot.oldest_age().map_or_else(|| "–".to_owned(), ago);
    section.rows = vec![
        Row::new("Can be written to", writable).rated(findings.severity(Subject::SpoolWrites)),
        Row::new("Reports that wait for Kafka", count(waiting)),
        Row::new("The oldest came", oldest),
        Row::new("Quarantined", count(level.parked)).rated(findings.severity(Subject::Quarantine)),
        Row::bar("Disk", snapshot.disk(), bytes).rated(findings.severity(Subject::SpoolDisk)),
    ];
    section
}

fn answers(snapshot: &Snapshot, recent: &Interval) -> Section {
    let both = |answer| [recent.counts.told(answer), snapshot.counts.told(answer)];
    let rows = vec![
        Row::counts("Accepted, in Kafka", both(ReportAnswer::Accepted)),
        Row::counts("Accepted, in the spool", both(ReportAnswer::Spooled)),
        Row::counts(
            "Rejected, on the rejected topic",
            both(ReportAnswer::Rejected),
        )
        .note("Answered 400 or 415."),
    ];
    let kept = [
        ReportAnswer::Accepted,
        ReportAnswer::Spooled,
        ReportAnswer::Rejected,
    ];
    let kept: u64 = kept.map(|answer| recent.counts.told(answer)).iter().sum();
    Section {
        id: "answers",
        title: "Kept reports",
        brief: count(kept),
        has_two_columns: true,
        rows,
        foot: String::new(),
    }
}

/// The requests that were not kept, by answer.
fn refused(snapshot: &Snapshot, findings: &Findings, recent: &Interval) -> Section {
    let counts = &snapshot.counts;
    let of_codes = recent.counts.refusals.into_iter().zip(counts.refusals);
    let of_codes = REFUSALS.into_iter().zip(of_codes);
    let mut all: Vec<_> = of_codes
        .map(|(code, (recent, total))| (code, refusal(code), [recent, total]))
        .collect();
    let both = |answer| [recent.counts.told(answer), counts.told(answer)];
    all.push((503, "no room, or no topic", both(ReportAnswer::Shed)));
    all.push((
        503,
        "not in time; it may still arrive",
        both(ReportAnswer::Deadline),
    ));
    let in_fifteen: u64 = all.iter().map(|(.., [recent, _])| recent).sum();
    all.retain(|(.., [_, total])| *total > 0);
    let foot = if all.is_empty() {
        "No request has been refused since the start."
    } else {
        ""
    };
    Section {
        id: "refused",
        title: "Refused, not kept",
        brief: count(in_fifteen),
        has_two_columns: !all.is_empty(),
        rows: all
            .into_iter()
            .map(|(code, reason, counts)| {
                let severity = findings.severity(Subject::Answer(code));
                Row::counts(format!("{code}: {reason}"), counts).rated(severity)
            })
            .collect(),
        foot: foot.to_owned(),
    }
}

fn refusal(code: u16) -> &'static str {
    match code {
        401 => "wrong password or unknown channel",
        403 => "network outside ingress.allow",
        404 => "another path",
        405 => "another method than POST",
        408 => "the body came too slowly",
        413 => "larger than ingress.body_limit",
        414 => "the path is too long",
        417 => "an unknown expectation",
        431 => "larger than ingress.head_limit",
        _ => "malformed HTTP",
    }
}

fn rejected(snapshot: &Snapshot, recent: &Interval) -> Section {
    let counts = recent
        .counts
        .reasons
        .into_iter()
        .zip(snapshot.counts.reasons);
    let mut reasons: Vec<_> = REASONS
        .into_iter()
        .zip(counts)
        .filter(|(_, (_, total))| *total > 0)
        .collect();
    reasons.sort_by_key(|(_, counts)| Reverse(*counts));
    let foot = if reasons.is_empty() {
        "No report has been rejected since the start."
    } else {
        "koobridge tail --rejected shows them whole."
    };
    let in_fifteen: u64 = reasons.iter().map(|(_, (recent, _))| recent).sum();
    Section {
        id: "rejected",
        title: "Rejected, by reason",
        brief: count(in_fifteen),
        has_two_columns: !reasons.is_empty(),
        rows: reasons
            .into_iter()
            .map(|(reason, (recent, total))| {
                Row::counts(reason, [recent, total]).note(detail(reason))
            })
            .collect(),
        foot: foot.to_owned(),
    }
}

fn detail(code: &str) -> &'static str {
    let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
    reason.map_or("Kafka refuses it for its size or form.", Reason::detail)
}

fn bridge(snapshot: &Snapshot, findings: &Findings) -> Section {
    let ready = match (snapshot.is_ready, snapshot.intake()) {
        (false, _) => "not ready",
        (true, Intake::Full) => "ready",
        (true, _) if snapshot.has_spool() => "ready, by the spool",
        (true, _) => "ready until this has lasted 2 s",
    };
    let mut rows = vec![
        Row::new("/readyz says", ready).rated(findings.severity(Subject::Phase)),
        certificate(snapshot).rated(findings.severity(Subject::Certificate)),
    ];
    rows.extend(snapshot.stale.iter().map(|(part, problem)| {
        Row::new(format!("New {part}"), "not in use")
            .note(problem)
            .rated(findings.severity(Subject::Reload))
    }));
    rows.extend([
        Row::bar("Open connections", snapshot.connections, count)
            .rated(findings.severity(Subject::Connections)),
        Row::new("Running for", HumanDuration(snapshot.uptime)),
        Row::new("koobridge", env!("CARGO_PKG_VERSION")),
        Row::new("librdkafka", kafka::version()),
    ]);
    Section {
        id: "bridge",
        title: "This bridge",
        brief: ready.to_owned(),
        has_two_columns: false,
        rows,
        foot: String::new(),
    }
}

fn certificate(snapshot: &Snapshot) -> Row {
    let Some(expires) = snapshot.certificate else {
        return Row::new("Certificate", "none, plain HTTP");
    };
    let left = expires.duration_since(snapshot.now);
    let value = if left.is_positive() {
        format!("{} left", days(left))
    } else {
        "expired".to_owned()
    };
    let until = expires.strftime("%Y-%m-%d %H:%M UTC");
    Row::new("Certificate", value).note(format!("Valid until {until}."))
}

/// When each channel was last heard from. Their ids are labels of metrics too.
fn channels(snapshot: &Snapshot) -> Section {
    let heard = snapshot.channels.heard();
    let mut heard: Vec<(&str, Timestamp)> = heard
        .filter_map(|(channel, last)| Some((channel.as_str(), last?)))
        .collect();
    // Of those of one second the order must not change from look to look.
    heard.sort_unstable_by_key(|(channel, last)| (Reverse(last.as_second()), *channel));
    let silent = (snapshot.channels.len() - heard.len()) as u64;
    let said = |last: Timestamp| ago(snapshot.since(last));
    let (listed, more) = heard.split_at(heard.len().min(LISTED));
    let mut foot = String::new();
    if let Some((channel, last)) = more.last() {
        let (more, longest) = (HumanCount(more.len() as u64), said(*last));
        foot = format!("And {more} more; silent for longest is {channel}: {longest}. ");
    }
    if silent > 0 {
        let channels = counted(silent, "channel has", "channels have");
        let _ = write!(foot, "{channels} sent no report since the start.");
    }
    Section {
        id: "channels",
        title: "Last report of each channel",
        brief: heard
            .first()
            .map_or("none yet".to_owned(), |(_, last)| said(*last)),
        has_two_columns: false,
        rows: listed
            .iter()
            .map(|(channel, last)| Row::new(*channel, said(*last)))
            .collect(),
        foot,
    }
}
