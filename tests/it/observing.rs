//! Metrics, readiness, logs, alerts and the dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use koobridge::bridge::metrics::Metrics;
use koobridge::contract::ChannelId;
use serde_json::Value;

use crate::suite::rig::pause;
use crate::support::bridge::{Bridge, CHANNEL, eventually};
use crate::support::cluster;
use crate::support::http::{body, exchange, post, report, request};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the value of a series, which may be a fraction.
fn metric_value(bridge: &Bridge, series: &str) -> f64 {
    let text = bridge.probe("/metrics").text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

/// Returns the name of every series that the program can expose. A metric without series is not exposed, so that some
/// get a value first.
fn exposed() -> BTreeSet<String> {
    let metrics = Metrics::new();
    metrics.set_versions(String::new());
    metrics.answered(200);
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    metrics.channel(Some(&channel)).report_received("read");
    metrics.unsafe_setting("acks");
    metrics.topic_ready("events", true);
    metrics.topic_durability("events", 3, 2);
    metrics.topic_age_limit("events", Some(Duration::from_hours(24)));
    metrics.spool_full_in(Some(Duration::from_hours(1)));
    metrics.producer_up("events", true);
    metrics.reloaded("channels", true);
    let text = metrics.text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.flat_map(|line| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    names.collect()
}

/// Returns every name in a text that looks like a metric of the program.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = |word: &&str| word.starts_with("koobridge_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let documented = metrics_in(&read("docs/metrics.md"));
    // The documents name a histogram without the suffixes of its series.
    let whole = |name: &String| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        stem.unwrap_or(name).to_owned()
    };
    let exposed: BTreeSet<String> = exposed().iter().map(whole).collect();
    assert_eq!(documented, exposed);
}

#[test]
fn every_metric_of_alerts_and_dashboard_exists() {
    let exposed = exposed();
    for path in [
        "deploy/prometheus/alerts.yml",
        "deploy/prometheus/alerts.test.yml",
        "deploy/prometheus/nights.test.yml",
        "deploy/grafana/koobridge.json",
    ] {
        let used = metrics_in(&read(path));
        assert!(!used.is_empty(), "{path}");
        let unknown: Vec<_> = used.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_finds_its_data_source() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/koobridge.json")).expect("JSON");
    let provisioned = read("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let source = panel["datasource"]["uid"].as_str().expect("a data source");
        assert!(
            provisioned.contains(&format!("uid: {source}\n")),
            "{source}"
        );
    }
}

/// The job may have any name. If `All` had no limits, it would show every program's `process_*`.
#[test]
fn the_dashboard_queries_only_bridges() {
    let text = read("deploy/grafana/koobridge.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let asked: Vec<(&Value, &Value)> = variables
        .iter()
        .map(|variable| (&variable["definition"], &variable["allValue"]))
        .collect();
    let [jobs, instances] = [
        "label_values(koobridge_build_info, job)",
        "label_values(koobridge_build_info{job=~\"$job\"}, instance)",
    ]
    .map(Value::from);
    assert_eq!(asked, [(&jobs, &Value::Null), (&instances, &Value::Null)]);
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let asked: Vec<&str> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(asked.len() > 40);
    for expression in asked {
        let metrics = metrics_in(expression).len();
        let chosen = "{job=~\"$job\",instance=~\"$instance\"";
        assert_eq!(expression.matches(chosen).count(), metrics, "{expression}");
    }
}

#[test]
fn the_alerts_are_valid_and_fire_as_their_tests_expect() {
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
        ["test", "rules", "nights.test.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool
            .args(arguments)
            .current_dir(file("deploy/prometheus"));
        let output = promtool.output().expect("promtool is installed");
        assert!(output.status.success(), "{output:?}");
    }
}

/// Returns the names in the lines that begin with `start`.
fn names<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let lines = text.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix(start)).collect()
}

/// promtool checks that each alert fires or stays silent as the files expect; this test checks that they name every
/// alert.
#[test]
fn every_alert_is_tested_firing_and_silent() {
    let alerts = read("deploy/prometheus/alerts.yml");
    let alerts = names(&alerts, "- alert: ");
    let tests =
        ["alerts", "nights"].map(|name| read(&format!("deploy/prometheus/{name}.test.yml")));
    // If an alert is expected to fire, its alerts follow; if not, the test is a single line.
    let blocks = tests
        .iter()
        .flat_map(|test| test.split("- eval_time: ").skip(1));
    let calls = blocks.filter_map(|block| {
        let mut lines = block.lines().skip(1).map(str::trim);
        let name = lines.next()?.strip_prefix("alertname: ")?;
        let calls =
            lines.next() == Some("exp_alerts:") && lines.next()?.starts_with("- exp_labels:");
        calls.then_some(name)
    });
    assert_eq!(calls.collect::<BTreeSet<_>>(), alerts);
    let well = tests[0].split("\n  - name: ").nth(1).expect("a first test");
    assert!(
        well.starts_with("a healthy bridge fires no alert"),
        "{well}"
    );
    let silent = names(well, "- { eval_time: 50m, alertname: ");
    let silent: BTreeSet<&str> = silent
        .iter()
        .map(|name| name.trim_end_matches(" }"))
        .collect();
    assert_eq!(silent, alerts);
}

#[test]
fn every_alert_has_a_section_that_says_what_to_do() {
    let alerts = read("deploy/prometheus/alerts.yml");
    let alerts = names(&alerts, "- alert: ");
    let text = read("docs/operating.md");
    let sections = text
        .lines()
        .filter_map(|line| line.strip_prefix("### Koobridge"));
    let sections: BTreeSet<String> = sections.map(|name| format!("Koobridge{name}")).collect();
    let sections: BTreeSet<&str> = sections.iter().map(String::as_str).collect();
    assert_eq!(alerts, sections);
}

#[test]
fn reports_are_counted_by_channel_and_status_and_rejected_ones_by_reason() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    for (sent, expected) in [
        (&body("m1", "delivered")[..], 200),
        (&body("m1", "read"), 200),
        (&body("m2", "read"), 200),
        (&body("m3", "seen"), 200),
        (b"{}", 400),
        (b"", 400),
    ] {
        assert_eq!(exchange(bridge.ingress, &report(sent)).status, expected);
    }
    let received = |status: &str| {
        let labels = format!("channel=\"{CHANNEL}\",status=\"{status}\"");
        bridge.metric(&format!("koobridge_reports_received_total{{{labels}}}"))
    };
    assert_eq!(
        ["delivered", "read", "failed", "unknown"].map(received),
        [1, 2, 0, 1]
    );
    let rejected = |reason: &str| {
        bridge.metric(&format!(
            "koobridge_reports_rejected_total{{reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(
        ["unknown-status", "member-missing", "not-json"].map(rejected),
        [1, 1, 1]
    );
    assert_eq!(bridge.metric("koobridge_request_duration_seconds_count"), 6);
    assert_eq!(
        bridge.metric("koobridge_kafka_acknowledgement_seconds_count"),
        6
    );
    assert_eq!(bridge.metric("koobridge_spool_commit_seconds_count"), 0);
    assert_eq!(bridge.metric("koobridge_reports_in_flight_limit"), 10_000);
    // An unknown channel must not become a label.
    let line = post().replace(CHANNEL, "another");
    assert_eq!(
        exchange(bridge.ingress, &request(&line, &[], b"{}")).status,
        401
    );
    assert!(!bridge.probe("/metrics").text().contains("another"));
}

#[test]
fn the_resources_of_the_process_are_exposed() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let value = |name: &str| metric_value(&bridge, name);
    let memory = value("process_resident_memory_bytes");
    let really = f64::from(u32::try_from(bridge.resident_bytes()).expect("less than 4 GiB"));
    let ratio = memory / really;
    assert!((0.5..2.0).contains(&ratio), "{memory} of {really}");
    for name in [
        "process_open_fds",
        "process_threads",
        "process_start_time_seconds",
    ] {
        assert!(value(name) > 3.0, "{name}");
    }
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    let build = format!(
        "koobridge_build_info{{version=\"{}\"",
        env!("CARGO_PKG_VERSION")
    );
    let text = bridge.probe("/metrics").text();
    assert!(text.contains(&build), "{text}");
}

#[test]
fn a_reports_log_line_has_its_trace_and_no_personal_data() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("log.reports", "true")]);
    let parent = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
    let traced = [("traceparent", Some(&*parent))];
    let begun = Instant::now();
    for sent in [
        &body("m-secret", "read")[..],
        br#"{"message_id":"m-secret"}"#,
    ] {
        exchange(bridge.ingress, &request(&post(), &traced, sent));
    }
    bridge.wait_for_log("\"code\":400");
    let logged = bridge.logged();
    let lines = logged
        .lines()
        .filter(|line| line.contains("a report was answered"));
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let told =
        |line: &Value| ["channel", "status", "answer", "trace_id"].map(|name| line[name].clone());
    let [accepted, rejected] = &lines[..] else {
        panic!("a line a report: {logged}");
    };
    assert_eq!(
        told(accepted),
        [CHANNEL, "read", "accepted", TRACE_ID].map(Value::from)
    );
    assert_eq!(
        told(rejected),
        [
            CHANNEL.into(),
            Value::Null,
            "rejected".into(),
            TRACE_ID.into()
        ]
    );
    let took = accepted["seconds"].as_f64().expect("a time");
    assert!(
        (0.0..begun.elapsed().as_secs_f64()).contains(&took),
        "{took} s"
    );
    let metrics = bridge.probe("/metrics").text();
    for secret in ["m-secret", "86173", "86187"] {
        assert!(
            !logged.contains(secret) && !metrics.contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn reports_are_not_logged_by_default() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    bridge.wait_for_metric("koobridge_reports_total{answer=\"accepted\"}", 1);
    assert!(!bridge.logged().contains("a report was answered"));
}

#[test]
fn a_bridge_without_kafka_has_started_and_is_not_ready() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    eventually(|| match bridge.probe("/startupz").status {
        200 => Ok(()),
        status => Err(format!("/startupz is {status}")),
    });
    let readiness = bridge.probe("/readyz");
    assert_eq!(readiness.status, 503);
    assert_eq!(readiness.json()["topics"][0]["ready"], Value::from(false));
    assert_eq!(bridge.metric("koobridge_topic_ready{topic=\"events\"}"), 0);
}

/// Kafka is frozen until the topics are not ready, and the senders go on.
#[test]
fn an_outage_logs_two_lines_and_the_second_has_the_counts() {
    let kafka = cluster::exclusive();
    let spool = tempfile::tempdir().expect("a temporary directory");
    let spool = spool.path().join("spool").display().to_string();
    let settings = [("spool.directory", &*spool), ("spool.after", "200ms")];
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    let lines = |part: &str, topic: &str| {
        let logged = bridge.logged();
        let lines = logged
            .lines()
            .filter(|line| line.contains(part) && line.contains(topic));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let ready = |topic: &str| format!("koobridge_topic_ready{{topic=\"{topic}\"}}");
    bridge.wait_for_metric(&ready(&rejected), 1);
    kafka.freeze_all();
    for round in 0..3 {
        let sent = body(&format!("m{round}"), "read");
        assert_eq!(exchange(bridge.ingress, &report(&sent)).status, 200);
    }
    let spooled = Instant::now();
    bridge.wait_for_metric("koobridge_spool_reports", 3);
    assert!(bridge.metric("koobridge_spool_commit_seconds_count") > 0);
    let began = bridge.wait_for_log("the topic can't take records");
    assert!(began.contains("its reports wait in the spool"), "{began}");
    assert!(began.contains("Kafka can't be reached"), "{began}");
    bridge.wait_for_metric(&ready(&topic), 0);
    bridge.wait_for_metric(&ready(&rejected), 0);
    // The spool still accepts reports, so there is no reason to send them elsewhere.
    pause(Duration::from_secs(3));
    assert_eq!(bridge.probe("/readyz").status, 200);
    let age = metric_value(&bridge, "koobridge_spool_oldest_age_seconds");
    assert!((3.0..60.0).contains(&age), "{age}");
    let lasted = spooled.elapsed().as_secs_f64();
    kafka.thaw_all();
    let over = |topic: &str| -> Value {
        let line = eventually(|| {
            let mut lines = lines("the topic can take every record again", topic);
            lines.pop().ok_or_else(|| bridge.logged())
        });
        serde_json::from_str(&line).expect("JSON")
    };
    let ([over, over_rejected], took) = (
        [&topic, &rejected].map(|topic| over(topic)),
        spooled.elapsed().as_secs_f64(),
    );
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    eventually(
        || match metric_value(&bridge, "koobridge_spool_oldest_age_seconds") {
            0.0 => Ok(()),
            age => Err(format!("the oldest is {age} s old")),
        },
    );
    // The outage begins with the first spooled report, before the bridge notices that Kafka is silent.
    let seconds = over["seconds"].as_f64().expect("a time");
    assert!(
        (lasted..took + 1.0).contains(&seconds),
        "{lasted} {took} {over}"
    );
    assert!((seconds * 10.0).fract() < 1e-9, "{seconds}");
    assert_eq!([&over["spooled"], &over["refused"]], [3, 0]);
    let of_rejected = [&over_rejected["spooled"], &over_rejected["refused"]];
    assert_eq!(of_rejected, [0, 0]);
    assert_eq!(
        lines("can't take records", &topic).len(),
        1,
        "{}",
        bridge.logged()
    );
    assert_eq!(
        lines("can take every record again", &topic).len(),
        1,
        "{}",
        bridge.logged()
    );
}
