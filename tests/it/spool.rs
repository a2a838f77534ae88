//! The spool from the operator's view: status, export, draining, quarantine and ownership.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::suite::rig::pause;
use crate::support::acl::allow;
use crate::support::bridge::{Bridge, configuration, eventually, koobridge, run};
use crate::support::cluster::{self, Exclusive};
use crate::support::http::{self, body, exchange, report};
use crate::support::lines::Lines;
use crate::support::logins::{LOGIN, SASL_PASSWORD, Security, set_password};
use crate::support::records::{Kafka, read_all};

/// A spool's directory.
struct Spool {
    _temporary: TempDir,
    path: PathBuf,
}

impl Spool {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let path = temporary.path().join("spool");
        Self {
            _temporary: temporary,
            path,
        }
    }

    fn text(&self) -> &str {
        self.path.to_str().expect("a plain path")
    }

    fn command(&self, command: &str) -> Output {
        run(koobridge()
            .args(["spool", command, "--directory"])
            .arg(&self.path))
    }

    /// Returns the lines of `koobridge spool export`.
    fn export(&self) -> Vec<Value> {
        let output = self.command("export");
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).expect("text");
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    fn status(&self) -> String {
        let output = self.command("status");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Starts a bridge, stops Kafka, and sends the reports `m0`, `m1`, …, which the spool then holds.
fn spooled(kafka: &Exclusive, spool: &Spool, count: usize) -> (Bridge, String, String) {
    let settings = [("spool.directory", spool.text()), ("spool.after", "200ms")];
    let (bridge, topic, rejected) = Bridge::with_topics(kafka, 6, &settings);
    kafka.freeze_all();
    for number in 0..count {
        let body = body(&format!("m{number}"), "read");
        assert_eq!(exchange(bridge.ingress, &report(&body)).status, 200);
    }
    (bridge, topic, rejected)
}

fn keys(bootstrap: &str, topic: &str) -> Vec<String> {
    let records = read_all(bootstrap, topic);
    let text = |key: Option<Vec<u8>>| String::from_utf8(key.expect("a key")).expect("text");
    let mut keys: Vec<String> = records.into_iter().map(|record| text(record.key)).collect();
    keys.sort();
    keys
}

/// Delivers a spool to topics with `koobridge spool drain`.
fn drain(kafka: &Kafka, spool: &Spool, topic: &str, rejected: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = configuration(directory.path(), kafka.bootstrap(), topic, rejected);
    run(koobridge()
        .args(["spool", "drain", "--directory"])
        .arg(&spool.path)
        .arg("--config")
        .arg(file))
}

#[test]
fn status_and_export_work_on_a_running_bridges_spool_and_after_a_kill() {
    let kafka = cluster::exclusive();
    let spool = Spool::new();
    let (mut bridge, topic, _) = spooled(&kafka, &spool, 4);
    assert_eq!(bridge.metric("koobridge_spool_reports"), 4);
    let running = spool.status();
    assert!(
        running.contains(&format!("in use by process {}", bridge.pid())),
        "{running}"
    );
    assert!(
        running.contains("4 reports to deliver, 0 quarantined"),
        "{running}"
    );
    let exported = spool.export();
    bridge.sigkill();
    assert!(spool.status().contains("not in use"));
    assert_eq!(spool.export(), exported);

    let mut keys: Vec<&str> = exported
        .iter()
        .filter_map(|line| line["key"].as_str())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["m0", "m1", "m2", "m3"]);
    for line in &exported {
        assert_eq!(
            (&line["topic"], &line["state"]),
            (&topic.as_str().into(), &"due".into())
        );
        assert_eq!(line["headers"]["ce_subject"], line["key"]);
        let event: Value =
            serde_json::from_str(line["value"].as_str().expect("text")).expect("an event");
        assert_eq!(event["event_id"], line["headers"]["ce_id"]);
    }
}

#[test]
fn a_spool_that_another_replica_left_is_drained_by_hand() {
    let kafka = cluster::exclusive();
    let spool = Spool::new();
    let (mut bridge, topic, rejected) = spooled(&kafka, &spool, 20);
    bridge.sigkill();
    kafka.thaw_all();
    kafka.wait_until_healthy();
    let drained = drain(&kafka, &spool, &topic, &rejected);
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    let mut expected: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    expected.sort();
    let mut found = keys(kafka.bootstrap(), &topic);
    // The first reports were in flight when the bridge was killed, so they can be delivered twice.
    found.dedup();
    assert_eq!(found, expected);
    assert_eq!(spool.export(), Vec::<Value>::new());
}

#[test]
fn draining_the_spool_of_a_running_bridge_or_a_missing_directory_is_an_error() {
    let kafka = cluster::shared();
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text())];
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &settings);
    let refused = drain(&kafka, &spool, &topic, &rejected);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).expect("text");
    assert!(
        message.contains(&format!("is in use by process {}", bridge.pid())),
        "{message}"
    );

    let missing = Spool::new();
    for output in [
        missing.command("status"),
        drain(&kafka, &missing, &topic, &rejected),
    ] {
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(message.contains(missing.text()), "{message}");
        assert!(!missing.path.exists(), "a mistyped name creates no spool");
    }
}

/// Returns a spool with three reports of a killed bridge with the topics `events` and `rejected`.
fn abandoned_spool() -> Spool {
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text()), ("spool.after", "50ms")];
    let mut bridge = Bridge::ready("127.0.0.1:1", "events", "rejected", &settings);
    for number in 0..3 {
        let body = body(&format!("m{number}"), "read");
        assert_eq!(exchange(bridge.ingress, &report(&body)).status, 200);
    }
    bridge.sigkill();
    spool
}

/// `koobridge spool drain` without a configuration file.
fn drain_with(spool: &Spool, bootstrap: &str, topic: &str) -> Command {
    let mut command = koobridge();
    command.args(["spool", "drain", "--directory"]);
    command.arg(&spool.path);
    let servers = format!("kafka.properties.bootstrap.servers={bootstrap}");
    let (topic, rejected) = (
        format!("kafka.topic={topic}"),
        "kafka.rejected_topic=rejected",
    );
    for setting in [&servers, &topic, rejected, "kafka.flush_timeout=1s"] {
        command.args(["--set", setting]);
    }
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn a_drain_needs_no_file_and_prints_delivered_and_remaining_reports() {
    let spool = abandoned_spool();
    let broker = MockCluster::new(1).expect("a mock cluster");
    for topic in ["events", "another", "rejected"] {
        broker.create_topic(topic, 1, 1).expect("a topic");
    }
    let servers = broker.bootstrap_servers();
    let other = run(&mut drain_with(&spool, &servers, "another"));
    let message = stderr(&other);
    assert_eq!(other.status.code(), Some(3), "{message}");
    let expected = format!(
        "{}: nothing to deliver\n\
         left: 3 reports for events, a topic that is not configured; this command delivers them:\n  koobridge ",
        spool.text()
    );
    let (_, command) = message
        .split_once(&expected)
        .unwrap_or_else(|| panic!("{message}"));
    let drained = run(koobridge().args(command.split_whitespace()));
    let message = stderr(&drained);
    assert_eq!(drained.status.code(), Some(0), "{message}");
    assert!(message.contains(": delivered 3 reports in "), "{message}");
    let again = run(&mut drain_with(&spool, &servers, "events"));
    let message = stderr(&again);
    assert_eq!(again.status.code(), Some(0), "{message}");
    assert!(message.ends_with(": nothing to deliver\n"), "{message}");
    let aside = spool.path.join("spool-000099.sqlite.aside-1");
    std::fs::write(aside, "damaged").expect("a file");
    let damaged = run(&mut drain_with(&spool, &servers, "events"));
    let message = stderr(&damaged);
    assert_eq!(damaged.status.code(), Some(3), "{message}");
    assert!(
        message.contains("nothing to deliver\nleft: 1 damaged file that was set aside"),
        "{message}"
    );
}

#[test]
fn a_stopped_drain_prints_that_it_stops_and_the_remaining_reports() {
    let spool = abandoned_spool();
    let mut command = drain_with(&spool, "127.0.0.1:1", "events");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = Lines::read(child.stderr.take().expect("a pipe"));
    let wait_for = |part: &str| {
        eventually(|| lines.find(part).ok_or_else(|| lines.all()));
    };
    wait_for("delivering to events and rejected");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    wait_for("stopping: waiting up to 1s for records in flight");
    wait_for("left: 3 reports; events: Kafka ");
    wait_for("run the same command again to deliver them");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}

#[test]
fn draining_a_directory_that_never_was_a_spool_is_an_error() {
    let spool = Spool::new();
    std::fs::create_dir(&spool.path).expect("a directory");
    std::fs::write(spool.path.join("koobridge.toml"), "").expect("a file");
    let refused = run(&mut drain_with(&spool, "127.0.0.1:1", "events"));
    let message = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(
        message.contains(&format!("{} is not a spool", spool.text())),
        "{message}"
    );
    let entries = spool.path.read_dir().expect("a directory");
    assert_eq!(entries.count(), 1, "a mistyped name creates no spool");
}

#[test]
fn a_stop_with_reports_for_another_topic_names_the_drain_command() {
    let spool = abandoned_spool();
    let settings = [
        ("spool.directory", spool.text()),
        ("kafka.flush_timeout", "0s"),
    ];
    let mut bridge = Bridge::ready("127.0.0.1:1", "another", "rejected", &settings);
    bridge.wait_for_metric("koobridge_spool_reports", 3);
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.wait_for_exit().code(), Some(3));
    let message =
        bridge.wait_for_log("stopped with reports in the spool for a topic that is not configured");
    assert!(message.contains("\"topic\":\"events\""), "{message}");
    assert!(
        message.contains("`koobridge spool drain --set kafka.topic=events`"),
        "{message}"
    );
    let logged = bridge.logged();
    assert!(!logged.contains("the next start delivers"), "{logged}");
}

#[test]
fn a_bridge_that_starts_without_kafka_accepts_reports_and_delivers_them_later() {
    let kafka = cluster::exclusive();
    let spool = Spool::new();
    let topic = kafka.topic("late", 6);
    let rejected = kafka.topic("late-rejected", 6);
    kafka.freeze_all();
    let settings = [("spool.directory", spool.text())];
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    for number in 0..10 {
        let body = body(&format!("m{number}"), "read");
        assert_eq!(exchange(bridge.ingress, &report(&body)).status, 200);
    }
    assert_eq!(exchange(bridge.ingress, &report(b"no report")).status, 400);
    let exported = spool.export();
    assert_eq!(exported.len(), 11);
    assert!(exported.iter().all(|line| line["partition"].is_null()));
    kafka.thaw_all();
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    kafka.wait_until_healthy();
    let expected: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
    assert_eq!(keys(kafka.bootstrap(), &topic), expected);
    assert_eq!(read_all(kafka.bootstrap(), &rejected).len(), 1);
    // The key decides the partition, so a direct report goes to the same partition as the spooled report of its
    // message.
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m0", "read"))).status,
        200
    );
    let records = read_all(kafka.bootstrap(), &topic);
    let of_m0 = records
        .iter()
        .filter(|record| record.key.as_deref() == Some(b"m0"));
    let partitions: Vec<i32> = of_m0.map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 2);
    assert_eq!(partitions[0], partitions[1]);
}

/// Returns a body whose event is too large for the topics with small limits.
fn large(message_id: &str) -> Vec<u8> {
    let mut large = body(message_id, "read");
    large.pop();
    large.extend_from_slice(format!(",\"pad\":\"{}\"}}", "x".repeat(6000)).as_bytes());
    large
}

/// Even if little of the deadline remains.
#[test]
fn a_report_with_a_slow_body_is_spooled_before_the_deadline() {
    let spool = Spool::new();
    // The latest values that the configuration allows for a deadline of 4.5 s.
    for (after, body_timeout, body_took) in [("2s", "1900ms", 1700), ("3800ms", "100ms", 50)] {
        let settings = [
            ("spool.directory", spool.text()),
            ("spool.after", after),
            ("ingress.body_timeout", body_timeout),
        ];
        let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
        let request = report(&body("m1", "read"));
        let head = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let (head, body) = request.split_at(head.expect("a head") + 4);
        let mut client = http::Connection::open(bridge.ingress);
        client.send(head);
        pause(Duration::from_millis(body_took));
        client.send(body);
        assert_eq!(client.answer().status, 200, "{after} {body_timeout}");
    }
}

#[test]
fn a_report_that_neither_topic_accepts_is_quarantined_and_delays_no_other() {
    let kafka = cluster::shared();
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "4096")];
    let topic = kafka.topic_with("small", 1, 3, &small);
    let rejected = kafka.topic_with("small-rejected", 1, 3, &small);
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text())];
    let mut bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    assert_eq!(exchange(bridge.ingress, &report(&large("big"))).status, 200);
    bridge.wait_for_metric("koobridge_spool_quarantined", 1);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    // The report after the large one may be in the spool until it is delivered.
    bridge.wait_for_metric("koobridge_spool_reports", 1);
    let exported = spool.export();
    assert_eq!(exported.len(), 1);
    assert_eq!(
        (&exported[0]["key"], &exported[0]["state"]),
        (&"big".into(), &"quarantined".into())
    );
    assert!(
        spool
            .status()
            .contains("0 reports to deliver, 1 quarantined")
    );

    // When the bridge was killed, it is still there and quarantined.
    bridge.sigkill();
    bridge.restart();
    bridge.wait_until_ready();
    bridge.wait_for_metric("koobridge_spool_quarantined", 1);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m2", "read"))).status,
        200
    );
    bridge.wait_for_metric("koobridge_spool_reports", 1);
    assert_eq!(keys(kafka.bootstrap(), &topic), ["m1", "m2"]);
    assert_eq!(spool.export(), exported);
}

#[test]
fn a_report_too_large_for_both_topics_is_503_without_a_spool_and_the_others_are_200() {
    let kafka = cluster::shared();
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "4096")];
    let topic = kafka.topic_with("small", 1, 3, &small);
    let rejected = kafka.topic_with("small-rejected", 1, 3, &small);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    assert_eq!(exchange(bridge.ingress, &report(&large("big"))).status, 503);
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    assert_eq!(bridge.metric("koobridge_reports_in_flight"), 0);
    assert_eq!(
        bridge.metric("koobridge_report_fates_total{fate=\"failed\"}"),
        1
    );
    let line = bridge.wait_for_log("reports were given up");
    assert!(line.contains("Message size too large"), "{line}");
}

#[test]
fn a_damaged_file_is_set_aside_and_logged_when_the_bridge_starts() {
    let broker = MockCluster::new(1).expect("a mock cluster");
    let spool = Spool::new();
    std::fs::create_dir(&spool.path).expect("a directory");
    let file = spool.path.join("spool-000007.sqlite");
    std::fs::write(&file, "not a spool").expect("a file");
    let settings = [("spool.directory", spool.text())];
    let bridge = Bridge::start(&broker.bootstrap_servers(), "events", "rejected", &settings);
    let message = bridge.wait_for_log("was set aside");
    assert!(message.contains("spool-000007.sqlite.aside-1"), "{message}");
    let aside = Path::new(spool.text()).join("spool-000007.sqlite.aside-1");
    assert_eq!(std::fs::read(aside).expect("kept"), b"not a spool");
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    assert!(spool.status().contains("set aside: "));
}

#[test]
fn a_damaged_partition_and_count_cost_no_report_and_are_logged_once() {
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text()), ("spool.after", "100ms")];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    bridge.wait_until_ready();
    let sent = report(&body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &sent).status, 200);
    bridge.sigkill();
    let file = spool.path.join("spool-000001.sqlite");
    let damage =
        "UPDATE lanes SET partition = 4294967294; INSERT INTO topics VALUES ('events', 4294967295)";
    let connection = Connection::open(&file).expect("a file");
    connection.execute_batch(damage).expect("sound SQL");
    drop(connection);
    bridge.restart();
    bridge.wait_until_ready();
    bridge.wait_for_metric("koobridge_spool_reports", 1);
    assert!(
        spool
            .status()
            .contains("events inbox: 1 to deliver, 0 quarantined"),
        "{}",
        spool.status()
    );
    let log = bridge.logged();
    for number in ["\"partition\":4294967294", "\"partitions\":4294967295"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(number)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(&file.display().to_string()), "{log}");
    }
}

#[test]
fn serve_without_a_spool_warns_once() {
    let broker = MockCluster::new(1).expect("a mock cluster");
    let bridge = Bridge::start(&broker.bootstrap_servers(), "events", "rejected", &[]);
    bridge.wait_for_log("\"listening\"");
    let message = bridge.logged();
    assert_eq!(message.matches("no spool").count(), 1, "{message}");
}

#[test]
fn reports_are_spooled_while_authentication_with_kafka_fails() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("password", 6);
    let rejected = kafka.topic("password-rejected", 6);
    allow(&kafka, &["Write", "Describe"], &[&topic, &rejected]);
    set_password(&kafka, Security::Sasl, "another");
    let spool = Spool::new();
    let settings = [&[("spool.directory", spool.text())], &LOGIN[..]].concat();
    let bridge = Bridge::ready(&kafka.sasl_bootstrap(), &topic, &rejected, &settings);
    bridge.wait_for_log("uthentication failed");
    for number in 0..10 {
        let body = body(&format!("m{number}"), "read");
        assert_eq!(exchange(bridge.ingress, &report(&body)).status, 200);
    }
    assert_eq!(bridge.metric("koobridge_spool_reports"), 10);
    set_password(&kafka, Security::Sasl, SASL_PASSWORD);
    bridge.wait_for_metric("koobridge_spool_reports", 0);
    let expected: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
    assert_eq!(keys(kafka.bootstrap(), &topic), expected);
}
