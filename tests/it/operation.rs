//! `koobridge serve`: its start, its stop and its log.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::acl::allow;
use crate::support::bridge::{
    Bridge, CHANNEL, PASSWORD, configuration, eventually, koobridge, run,
};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, report};
use crate::support::logins::{SASL_PASSWORD, SASL_USER, login};
use crate::support::records::{read_all, unused_name};

#[test]
fn a_missing_topic_is_logged_and_used_when_it_exists() {
    let kafka = cluster::shared();
    let topic = unused_name("late");
    let rejected = kafka.topic("late-rejected", 1);
    let mut bridge = Bridge::start(kafka.bootstrap(), &topic, &rejected, &[]);
    let said = bridge.wait_for_log("the topic does not exist; create it");
    assert!(said.contains(&topic), "{said}");
    assert_eq!(bridge.probe("/readyz").status, 503);
    assert_eq!(bridge.probe("/livez").status, 200);
    let answer = exchange(bridge.ingress, &report(&body("m1", "read")));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    kafka.create_topic(&topic, 3, 3, &[("min.insync.replicas", "2")]);
    bridge.wait_until_ready();
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m1", "read"))).status,
        200
    );
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
    assert!(bridge.is_running());
}

#[test]
fn unreachable_brokers_are_logged_and_no_report_is_accepted() {
    // Nothing listens on port 1 of loopback.
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let said = bridge.wait_for_log("Kafka can't be reached");
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(said.contains("bootstrap.servers"), "{said}");
    let answer = exchange(bridge.ingress, &report(&body("m1", "read")));
    assert_eq!(
        (answer.status, answer.problem().0),
        (503, "kafka-unavailable".to_owned())
    );
    assert_eq!(bridge.probe("/readyz").status, 503);
    assert!(bridge.is_running());
}

#[test]
fn a_wrong_sasl_password_is_logged_and_a_correct_one_publishes() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("sasl", 1);
    let rejected = kafka.topic("sasl-rejected", 1);
    allow(&kafka, &["Write", "Describe"], &[&topic, &rejected]);
    let start = |mechanism, password| {
        let settings = login(mechanism, SASL_USER, password);
        Bridge::start(&kafka.sasl_bootstrap(), &topic, &rejected, &settings)
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let mut wrong = start(mechanism, "wrong");
        let said = wrong.wait_for_log("Kafka can't be reached");
        assert!(said.contains("Authentication failed"), "{said}");
        assert_eq!(
            exchange(wrong.ingress, &report(&body("m1", "read"))).status,
            503
        );
        assert!(wrong.is_running());
        assert!(!wrong.logged().contains("\"wrong\""));

        let right = start(mechanism, SASL_PASSWORD);
        right.wait_until_ready();
        assert_eq!(
            exchange(right.ingress, &report(&body("m1", "read"))).status,
            200
        );
    }
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 2);
}

#[test]
fn a_topic_that_can_lose_reports_with_one_broker_is_a_warning() {
    let kafka = cluster::shared();
    let topic = kafka.topic_with("thin", 1, 1, &[("min.insync.replicas", "1")]);
    let rejected = kafka.topic("thin-rejected", 1);
    let bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &[]);
    let said = bridge.wait_for_log("does not survive the loss of a broker");
    assert!(said.contains(&topic), "{said}");
    let [thin, thick] = eventually(|| {
        let [thin, thick] = [0, 1].map(|at| bridge.probe("/readyz").json()["topics"][at].clone());
        if thick["durable"].is_null() {
            Err(thick.to_string())
        } else {
            Ok([thin, thick])
        }
    });
    assert_eq!(
        (&thin["durable"], &thin["replication_factor"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&thick["durable"], &thick["min_insync_replicas"]),
        (&json!(true), &json!(2))
    );
    let series = format!("koobridge_topic_replication_factor{{topic=\"{topic}\"}}");
    assert_eq!(bridge.metric(&series), 1);
}

#[test]
fn a_stopping_bridge_drains_and_exits_0() {
    let kafka = cluster::shared();
    let topic = kafka.topic("stop", 1);
    let rejected = kafka.topic("stop-rejected", 1);
    let settings = [("ingress.drain_delay", "6s")];
    let mut bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &settings);
    let mut kept = Connection::open(bridge.ingress);
    kept.send(&report(&body("m1", "read")));
    assert_eq!(kept.answer().header("connection"), None);
    let mut idle = Connection::open(bridge.ingress);

    let started = Instant::now();
    bridge.signal(Signal::TERM);
    bridge.wait_for_log("stopping");
    let readiness = bridge.probe("/readyz");
    assert_eq!(
        (readiness.status, &readiness.json()["draining"]),
        (503, &json!(true))
    );
    // The listener is still open, but each answer closes its connection.
    kept.send(&report(&body("m2", "read")));
    let answer = kept.answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert!(kept.is_closed());
    assert_eq!(
        exchange(bridge.ingress, &report(&body("m3", "read"))).status,
        200
    );
    assert!(idle.is_closed());
    assert!(started.elapsed() >= Duration::from_secs(6));

    assert_eq!(bridge.wait_for_exit().code(), Some(0));
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 3);
}

/// A report that waits for frozen brokers does not meet its deadline.
const UNHURRIED: [(&str, &str); 1] = [("ingress.deadline", "30s")];

#[test]
fn a_report_in_flight_is_answered_before_the_end() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("stop-in-flight", 1);
    let rejected = kafka.topic("stop-in-flight-rejected", 1);
    let mut bridge = Bridge::ready(kafka.bootstrap(), &topic, &rejected, &UNHURRIED);
    kafka.freeze_all();
    let mut connection = Connection::open(bridge.ingress);
    connection.send(&report(&body("m1", "read")));
    bridge.wait_for_metric("koobridge_reports_in_flight", 1);
    bridge.signal(Signal::TERM);
    bridge.wait_for_log("stopping");
    kafka.thaw_all();
    assert_eq!(connection.answer().status, 200);
    assert_eq!(bridge.wait_for_exit().code(), Some(0));
    kafka.wait_until_healthy();
    assert_eq!(read_all(kafka.bootstrap(), &topic).len(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut bridge = Bridge::start(
        "127.0.0.1:1",
        "events",
        "rejected",
        &[("ingress.drain_delay", "1m")],
    );
    bridge.signal(Signal::TERM);
    bridge.wait_for_log("stopping");
    bridge.signal(Signal::INT);
    assert_eq!(bridge.wait_for_exit().code(), Some(1));
}

#[test]
fn all_configuration_errors_are_named_and_the_exit_code_is_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = configuration(directory.path(), "127.0.0.1:1", "events", "rejected");
    let text = fs::read_to_string(&file).expect("a file");
    let text = text.replace(
        "drain_delay = \"0s\"",
        "drain_dely = \"0s\"\ndeadline = \"soon\"",
    );
    fs::write(&file, text + "linger.ms = \"soon\"\n").expect("a file");
    fs::write(directory.path().join("channels/empty"), "\n").expect("a file");
    let output = run(koobridge().args(["serve", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    let at = file.display();
    for part in [
        "4 errors in the configuration".to_owned(),
        format!("{at}:4: ingress.drain_dely: unknown key; did you mean ingress.drain_delay?"),
        format!("{at}:5: ingress.deadline: \"soon\" is not a duration"),
        format!("{at}:13: kafka.properties.linger.ms: "),
        format!(
            "{}: holds no password",
            directory.path().join("channels/empty").display()
        ),
    ] {
        assert!(said.contains(&part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn an_address_in_use_is_logged() {
    let kafka = cluster::shared();
    let topic = kafka.topic("taken", 1);
    let bridge = Bridge::ready(
        kafka.bootstrap(),
        &topic,
        &topic.replace("taken", "none"),
        &[],
    );
    let directory = tempfile::tempdir().expect("a directory");
    let file = configuration(directory.path(), "127.0.0.1:1", "events", "rejected");
    let listen = format!("ingress.listen={}", bridge.ingress);
    let output = run(koobridge()
        .args(["serve", "--set", &listen, "--config"])
        .arg(file));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains(&format!(
            "ingress.listen: can't listen on {}",
            bridge.ingress
        )),
        "{said}"
    );
}

#[test]
fn print_config_shows_the_effective_values_and_hides_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = configuration(directory.path(), "127.0.0.1:1", "events", "rejected");
    let mut text = fs::read_to_string(&file).expect("a file");
    text.push_str("sasl.password = \"hunter2\"\nlinger.ms = 7\n");
    fs::write(&file, text).expect("a file");
    let output = run(koobridge()
        .args([
            "serve",
            "--print-config",
            "--set",
            "ingress.deadline=3s",
            "--config",
        ])
        .arg(&file)
        .env("KOOBRIDGE_INGRESS_IDLE_TIMEOUT", "10s"));
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).expect("text");
    for line in [
        "deadline = \"3s\"  # flag".to_owned(),
        "idle_timeout = \"10s\"  # KOOBRIDGE_INGRESS_IDLE_TIMEOUT".to_owned(),
        "body_timeout = \"2s\"  # default".to_owned(),
        format!("linger.ms = \"7\"  # {}:13", file.display()),
        format!("sasl.password = \"(redacted)\"  # {}:12", file.display()),
        "acks = \"all\"  # default".to_owned(),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line:?} is not in:\n{shown}"
        );
    }
    assert!(!shown.contains("hunter2"));
    assert!(!shown.contains(PASSWORD) && !shown.contains(CHANNEL));
}
