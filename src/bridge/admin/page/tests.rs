use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::bridge::Phase;
use crate::bridge::admin::snapshot::tests::{channels, healthy, later, ready, spooling};
use crate::bridge::metrics::{Metrics, ReportAnswer};
use crate::kafka::{Condition, Durability, NoAnswer};
use crate::spool::Level;

const NEVER: &str = "Kafka can't be reached: refused; check bootstrap.servers, security.protocol and the sasl and ssl \
                     properties under [kafka.properties].";
const SPOOLED: &str = "Reports are kept in the spool, and delivered in order when Kafka accepts them. koobridge needs no restart.";
const UNTAKEN: &str =
    "Reports that Kafka does not accept in time are answered 503. koobridge needs no restart.";

fn silent(snapshot: Snapshot) -> Snapshot {
    let silence = Some(Duration::from_secs(1));
    Snapshot {
        silence,
        ..snapshot
    }
}

fn condition(mut snapshot: Snapshot, condition: Condition) -> Snapshot {
    snapshot.topics[0].state.led.clear();
    snapshot.topics[0].state.condition = condition;
    snapshot
}

fn unreachable(snapshot: Snapshot) -> Snapshot {
    condition(
        snapshot,
        Condition::Unreachable("refused".to_owned().into()),
    )
}

fn page(snapshot: &Snapshot) -> String {
    html(snapshot, &History::default())
}

fn findings(snapshot: &Snapshot) -> Findings {
    Findings::of(snapshot, &History::default())
}

fn notes_of(snapshot: &Snapshot) -> Vec<String> {
    let findings = findings(snapshot).0.into_iter();
    findings.map(|finding| finding.text).collect()
}

/// Returns the value of a row and its severity.
fn row(page: &str, name: &str) -> (String, String) {
    let (before, after) = page
        .split_once(&format!("<dt>{name}</dt><dd>"))
        .unwrap_or_else(|| panic!("no row {name} in:\n{page}"));
    let severity = before.rsplit('"').nth(1).expect("a class");
    let value = after.split('<').next().expect("a value");
    (value.to_owned(), severity.to_owned())
}

fn is_open(page: &str, section: &str) -> bool {
    assert!(page.contains(&format!("<details id=\"{section}\"")));
    page.contains(&format!("<details id=\"{section}\" open>"))
}

fn pair(value: &str, severity: &str) -> (String, String) {
    (value.to_owned(), severity.to_owned())
}

#[test]
fn each_state_has_its_headline_and_severity() {
    use Severity::{Critical, Fine, Warning};
    let away = "Serving from the spool: Kafka does not answer";
    let partly = "Serving from the spool: Kafka can't accept every report";
    let not_all = "Kafka can't accept every report";
    let started = "Started, waiting for Kafka";
    let lost = "Not ready: Kafka does not answer";
    for (snapshot, expected) in [
        (healthy(), ("Serving", Fine)),
        (spooling(), ("Serving", Fine)),
        (silent(healthy()), (lost, Critical)),
        (unreachable(healthy()), (lost, Critical)),
        (
            condition(healthy(), Condition::Missing),
            (not_all, Critical),
        ),
        (silent(spooling()), (away, Warning)),
        (unreachable(spooling()), (away, Warning)),
        (
            condition(spooling(), Condition::Leaderless(2)),
            (partly, Warning),
        ),
        (condition(healthy(), Condition::Unknown), (started, Warning)),
    ] {
        let shown = (headline(&snapshot), findings(&snapshot).worst());
        assert_eq!(shown, expected, "{snapshot:?}");
    }
}

#[test]
fn a_stopping_bridge_is_draining_whatever_the_state_of_kafka() {
    for (phase, words) in [
        (Phase::Draining, "Draining, still accepting reports"),
        (Phase::Closing, "Draining"),
    ] {
        for snapshot in [healthy(), silent(spooling())] {
            let snapshot = Snapshot { phase, ..snapshot };
            assert_eq!(headline(&snapshot), words);
            assert_eq!(findings(&snapshot).worst(), Severity::Warning);
            assert!(page(&snapshot).contains("koobridge is stopping."));
        }
    }
}

#[test]
fn headline_notes_and_rows_show_the_same_severity() {
    let mut broken_spool = spooling();
    broken_spool.spool = Some(Level::default());
    let mut expired = healthy();
    expired.certificate = Some(expired.now);
    let mut busy = healthy();
    busy.reports.used = 9000;
    for snapshot in [
        healthy(),
        silent(healthy()),
        silent(spooling()),
        unreachable(spooling()),
        condition(healthy(), Condition::Missing),
        broken_spool,
        expired,
        busy,
    ] {
        let page = page(&snapshot);
        let (head, tables) = page.split_once("<main>").expect("a main part");
        for severity in ["warning", "critical"] {
            let in_head = head.contains(&format!("<li class=\"{severity}\">"));
            let in_tables = tables.contains(&format!("<div class=\"{severity}\">"));
            assert_eq!(in_head, in_tables, "{severity}:\n{page}");
        }
        let worst = findings(&snapshot).worst().name();
        assert!(head.contains(&format!("<h1 class=\"{worst}\">")), "{head}");
    }
}

#[test]
fn with_a_spool_an_outage_is_only_a_warning_everywhere() {
    let snapshot = unreachable(spooling());
    let page = page(&snapshot);
    assert!(!page.contains("class=\"critical\"><dt>"), "{page}");
    for topic in ["events", "rejected"] {
        assert_eq!(row(&page, topic), pair("no answer", "warning"));
    }
    assert_eq!(row(&page, "/readyz").0, "ready, because of the spool");
    assert!(page.contains("<small>1 warning</small>"), "{page}");
    assert!(!page.contains("Producers"), "{page}");
}

#[test]
fn a_section_is_open_only_if_it_has_a_finding() {
    let page_of = |snapshot: &Snapshot| {
        let page = page(snapshot);
        [
            "kafka", "spool", "answers", "refused", "rejected", "bridge", "channels",
        ]
        .map(|section| is_open(&page, section))
    };
    assert_eq!(page_of(&healthy()), [false; 7]);
    let mut snapshot = silent(spooling());
    snapshot.certificate = Some(snapshot.now);
    let open = [true, false, false, false, false, true, false];
    assert_eq!(page_of(&snapshot), open);
}

#[test]
fn an_outage_names_the_last_answer_or_else_the_configuration() {
    let said = |snapshot: &Snapshot| notes_of(snapshot)[0].clone();
    let away = unreachable(spooling());
    assert_eq!(said(&away), format!("{NEVER} {SPOOLED}"));
    let since = "No broker has answered since 10:30:00 (UTC)";
    let no_answer = NoAnswer {
        reason: "refused".to_owned(),
        rejected_at: None,
        last_answer: Some(away.now),
    };
    let away = condition(later(&away, 5), Condition::Unreachable(no_answer));
    assert_eq!(said(&away), format!("{since}: refused. {SPOOLED}"));
    let mut frozen = later(&silent(healthy()), 10);
    frozen.silence = Some(Duration::from_secs(10));
    assert_eq!(said(&frozen), format!("{since}. {UNTAKEN}"));
}

#[test]
fn problems_of_topics_are_shown_with_their_remedies() {
    assert_eq!(notes_of(&healthy()), [""; 0]);
    let mut missing = condition(spooling(), Condition::Missing);
    missing.topics[1].state.condition = Condition::Missing;
    let create = "the topic does not exist; create it with `koobridge topics --apply`.";
    assert_eq!(
        notes_of(&missing),
        [
            format!("events: {create} {SPOOLED}"),
            format!("rejected: {create} Valid reports are not affected."),
        ]
    );
    let mut snapshot = healthy();
    snapshot.topics[0].state.durability = Some(Durability {
        replication: 1,
        min_insync: 1,
    });
    snapshot.topics[1].has_producer = false;
    snapshot.waiting_partitions = 2;
    assert_eq!(
        notes_of(&snapshot),
        [
            "2 partitions wait for Kafka: their reports are sent again, in order.",
            "events does not survive the loss of a broker: raise its replication factor and min.insync.replicas \
             to at least 2.",
            "A producer of rejected is being replaced; the log says why.",
        ]
    );
    let mut thin = healthy();
    thin.topics[0].state.led[0] = false;
    let expected =
        "events: 1 of its partitions have too few in-sync replicas; start the missing brokers.";
    assert_eq!(notes_of(&thin), [format!("{expected} {UNTAKEN}")]);
    let shown = row(&page(&thin), "events");
    assert_eq!(shown, pair("1 with too few replicas", "critical"));
}

#[test]
fn limits_have_bars_and_findings_before_they_are_reached() {
    let mut snapshot = spooling();
    snapshot.reports.used = 8000;
    assert_eq!(findings(&snapshot).worst(), Severity::Fine);
    snapshot.reports.used = 8001;
    snapshot.spool = snapshot.spool.map(|level| Level {
        used: 1 << 30,
        reports: 1207,
        quarantined: 7,
        oldest: Some(snapshot.now.as_millisecond() - 180_000),
        ..level
    });
    let page = page(&snapshot);
    assert_eq!(
        row(&page, "Reports in flight"),
        pair("8,001 of 10,000", "warning")
    );
    assert_eq!(row(&page, "Disk"), pair("1.00 GiB of 1.00 GiB", "warning"));
    assert_eq!(row(&page, "Quarantined"), pair("7", "warning"));
    assert_eq!(
        row(&page, "Reports waiting for Kafka"),
        pair("1,200", "fine")
    );
    assert_eq!(
        row(&page, "Oldest report received"),
        pair("3 minutes ago", "fine")
    );
    for bar in ["M0 0H80V1H0Z", "M0 0H100V1H0Z"] {
        assert!(page.contains(bar), "{bar} is not in:\n{page}");
    }
    let told = notes_of(&snapshot);
    let begins = [
        "7 reports are quarantined: ",
        "The reports in flight are near ingress.reports_in_flight: ",
        "The spool is nearly full: at spool.disk_limit, reports that Kafka does not accept are answered 503.",
    ];
    assert_eq!(told.len(), begins.len(), "{told:?}");
    for (note, begin) in told.iter().zip(begins) {
        assert!(note.starts_with(begin), "{note}");
    }
}

#[test]
fn a_certificate_is_a_finding_two_weeks_before_its_expiry() {
    let with = |days: i64| {
        let mut snapshot = healthy();
        snapshot.certificate = Some(snapshot.now + SignedDuration::from_hours(days * 24));
        row(&page(&snapshot), "Certificate")
    };
    assert_eq!(with(14), pair("14 days left", "fine"));
    assert_eq!(with(13), pair("13 days left", "warning"));
    assert_eq!(with(0), pair("expired", "critical"));
    assert_eq!(with(-1), pair("expired", "critical"));
}

#[test]
fn a_change_that_could_not_be_applied_is_a_finding() {
    let mut snapshot = healthy();
    let problem = "/etc/koobridge/channels/1: holds no password; write it on a line";
    snapshot.stale.insert("channels", problem.to_owned());
    let expected = format!(
        "The last change of the channels was not applied: {problem}. The previous version stays in use."
    );
    assert_eq!(notes_of(&snapshot), [expected]);
    assert_eq!(
        row(&page(&snapshot), "Change of the channels"),
        pair("not applied", "warning")
    );
}

#[test]
fn refused_requests_are_shown_by_answer_and_recent_wrong_passwords_are_findings() {
    let (history, first, metrics) = (History::default(), healthy(), Metrics::new());
    history.observe(&first);
    for code in [401, 401, 401, 403, 404, 405, 408, 413, 431, 415, 400] {
        metrics.answered(code);
    }
    metrics.channel(None).authentication_failed();
    metrics.report_answered(ReportAnswer::Rejected, Duration::ZERO);
    let mut now = later(&first, 10);
    now.counts = metrics.counts();
    history.observe(&now);
    let shown = html(&now, &history);
    assert_eq!(
        row(&shown, "401: wrong password or unknown channel"),
        pair("3", "warning")
    );
    for name in [
        "400: malformed HTTP",
        "403: network outside ingress.allow",
        "404: unknown path",
        "405: method other than POST",
        "408: the body took too long",
        "413: larger than ingress.body_limit",
        "431: larger than ingress.head_limit",
    ] {
        assert_eq!(row(&shown, name), pair("1", "fine"));
    }
    assert!(
        !shown.contains("417:") && !shown.contains("503:"),
        "{shown}"
    );
    assert!(is_open(&shown, "refused"));
    let notes = Findings::of(&now, &history).0;
    let begins = [
        "2 wrong passwords in the last minute, answered 401: if a sender's password has changed, write the new one",
        "1 request in the last minute for channels that are not configured, answered 401: ",
    ];
    assert_eq!(notes.len(), begins.len());
    for (note, begin) in notes.iter().zip(begins) {
        assert!(note.text.starts_with(begin), "{}", note.text);
        assert_eq!(note.severity, Severity::Warning);
    }
    let mut late = later(&now, 90);
    late.counts = now.counts;
    let shown = html(&late, &history);
    let expected = pair("3", "fine");
    assert_eq!(
        row(&shown, "401: wrong password or unknown channel"),
        expected
    );
    assert_eq!(Findings::of(&late, &history).worst(), Severity::Fine);
}

#[test]
fn reports_that_were_answered_503_are_a_finding() {
    let (history, first, metrics) = (History::default(), healthy(), Metrics::new());
    history.observe(&first);
    for answer in [ReportAnswer::Shed, ReportAnswer::Deadline] {
        metrics.report_answered(answer, Duration::ZERO);
    }
    let mut now = later(&first, 1);
    now.counts = metrics.counts();
    let notes = Findings::of(&now, &history).0;
    let expected =
        "2 reports were answered 503 in the last minute: lost unless the sender retries.";
    assert_eq!(notes[0].text, expected);
    let shown = row(&html(&now, &history), "503: no capacity or no topic");
    assert_eq!(shown, pair("1", "warning"));
}

#[test]
fn rejected_reports_are_kept_and_refused_requests_are_not() {
    let metrics = Metrics::new();
    for reason in ["not-json", "record-too-large", "record-too-large"] {
        metrics.report_rejected(reason);
    }
    let mut snapshot = healthy();
    snapshot.counts = metrics.counts();
    let page = page(&snapshot);
    for words in [
        "<h2>Kept reports</h2>",
        "<dt>Rejected</dt>",
        "<h2>Refused, not kept</h2>",
        "No request has been refused since the start.",
        "koobridge tail --rejected shows the full reports.",
    ] {
        assert!(page.contains(words), "{words} is not in:\n{page}");
    }
    let rows = page
        .find("<dt>record-too-large</dt>")
        .zip(page.find("<dt>not-json</dt>"));
    assert!(rows.is_some_and(|(often, seldom)| often < seldom));
}

#[test]
fn the_most_recent_channels_are_listed_and_the_others_counted() {
    let mut snapshot = healthy();
    let foot = |snapshot: &Snapshot| {
        let page = page(snapshot);
        let (_, channels) = page
            .split_once("<details id=\"channels\"")
            .expect("a section");
        let (_, foot) = channels.split_once("<p class=\"foot\">").expect("a foot");
        foot.split('<').next().expect("a text").to_owned()
    };
    snapshot.channels = channels(&[("c1", None)]);
    let silent = "1 channel has sent no report since the start.";
    assert_eq!(foot(&snapshot), silent);
    // The clock was set back after the last report.
    snapshot.channels = channels(&[("c1", None), ("c2", Some(7200)), ("c3", Some(-60))]);
    assert_eq!(row(&page(&snapshot), "c2").0, "2 hours ago");
    assert_eq!(row(&page(&snapshot), "c3").0, "now");
    let names: Vec<String> = (0..60).map(|number| format!("m{number}")).collect();
    let many = names
        .iter()
        .zip(10..)
        .map(|(name, age)| (name.as_str(), Some(age)));
    snapshot.channels = channels(&many.collect::<Vec<_>>());
    let expected = "And 10 more; the longest silent is m59: 69 seconds ago. ";
    assert_eq!(foot(&snapshot), expected);
    assert!(!page(&snapshot).contains("<dt>m50</dt>"));
}

#[test]
fn text_from_outside_is_escaped() {
    let hostile = "</script><script>alert(1)</script>";
    let mut snapshot = condition(healthy(), Condition::Rejected(hostile.to_owned()));
    snapshot.topics[1] = ready(hostile);
    snapshot.topics[1].has_producer = false;
    snapshot.stale.insert("channels", hostile.to_owned());
    let page = page(&snapshot);
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    let escaped = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
    assert_eq!(page.matches(escaped).count(), 5, "{page}");
}

#[test]
fn every_part_that_the_script_replaces_has_a_unique_id() {
    let page = page(&healthy());
    let ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|it| it.split('"').next())
        .collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    assert_eq!(
        page.matches("data-swap").count(),
        page.matches("data-swap id=").count() + 3
    );
    assert!(page.contains("As of <time>10:30:00 UTC</time>"));
}

#[test]
fn spool_problems_are_findings_with_their_remedies() {
    let mut snapshot = spooling();
    let level = Level {
        reports: 12,
        is_counted: false,
        undeleted: 3,
        set_aside: 1,
        ..snapshot.spool.expect("a spool")
    };
    snapshot.spool = Some(level);
    snapshot.full_in = Some(Duration::from_mins(40));
    snapshot.other_topics = vec!["former".to_owned()];
    let notes = notes_of(&snapshot);
    for (note, part) in notes.iter().zip([
        "The spool is full in 40 minutes",
        "1 damaged file is set aside in the spool's directory: koobridge spool export --set-aside",
        "The disk does not allow koobridge to delete 3 delivered reports: a restart delivers them again",
        "The spool holds reports for former, which is not configured: they stay there.",
    ]) {
        assert!(note.contains(part), "{part:?} is not in {note:?}");
    }
    assert_eq!(notes.len(), 4);
    let page = page(&snapshot);
    for (name, value) in [
        ("Reports waiting for Kafka", "at least 12"),
        ("Delivered, not deleted", "3"),
        ("Files set aside", "1"),
        ("Full", "in 40 minutes"),
    ] {
        assert_eq!(row(&page, name), pair(value, "warning"));
    }
    snapshot.full_in = Some(Duration::from_hours(2));
    let page = super::html(&snapshot, &History::default());
    assert_eq!(row(&page, "Full"), pair("in 2 hours", "fine"));
}

#[test]
fn a_report_older_than_the_retention_of_its_topic_is_critical() {
    let mut snapshot = spooling();
    let oldest = snapshot.now - SignedDuration::from_hours(20);
    snapshot.spool = snapshot.spool.map(|level| Level {
        reports: 1,
        oldest: Some(oldest.as_millisecond()),
        ..level
    });
    for (limit, severity) in [(27, "fine"), (26, "warning"), (20, "critical")] {
        snapshot.topics[0].state.age_limits.kept = Some(Duration::from_hours(limit));
        assert_eq!(
            row(&page(&snapshot), "Oldest report received"),
            pair("20 hours ago", severity)
        );
    }
}
