//! What a reader may do, and what it says when it may not.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::desk::{Desk, code, event, said};
use crate::support::acl::{allow, revoke, set_password};
use crate::support::bridge::{koobridge, run};
use crate::support::broker::{SASL_PASSWORD, SASL_USER};
use crate::support::cluster::{self, Exclusive};
use crate::support::lines::Lines;

/// `tail` or `replay` of a topic, as a user that has a password.
fn command(kafka: &Exclusive, topic: &str, arguments: &[&str]) -> Command {
    let mut command = koobridge();
    command
        .args(arguments)
        .args(["--bootstrap", &kafka.sasl_bootstrap()])
        .args(["--set", &format!("kafka.topic={topic}")])
        .args(["--set", "kafka.rejected_topic=rejected"])
        .stdin(Stdio::null());
    for (name, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", SASL_USER),
        ("sasl.password", SASL_PASSWORD),
    ] {
        command.args(["--set", &format!("kafka.properties.{name}={value}")]);
    }
    command
}

/// A tail that has printed the first records.
fn tail(kafka: &Exclusive, topic: &str, count: usize) -> Child {
    let mut child = command(kafka, topic, &["tail", "--since", "beginning"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    let out = child.stdout.as_mut().expect("a pipe");
    assert_eq!(BufReader::new(out).lines().take(count).count(), count);
    child
}

/// Waits until the program ends with an error, and returns what it said.
fn error_of(child: &mut Child) -> String {
    let said = Lines::read(child.stderr.take().expect("a pipe")).wait_for_end();
    let status = child.wait().expect("a child ends");
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_reader_needs_no_right_on_a_group_and_names_the_right_on_the_topic_that_it_lacks() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("events", 1);
    let desk = Desk::new(&kafka);
    desk.write(&topic, (0..3).map(event));
    let lines = ["replay", "--since", "beginning", "--to", "-"];
    let refused = run(&mut command(&kafka, &topic, &lines));
    assert_eq!(code(&refused), 1);
    let words = format!("does not let this client read {topic}: grant it DESCRIBE and READ");
    assert!(said(&refused).contains(&words), "{}", said(&refused));

    allow(&kafka, &["Read", "Describe"], &[&topic]);
    let mut running = tail(&kafka, &topic, 3);
    let output = run(&mut command(&kafka, &topic, &lines));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let lines = String::from_utf8(output.stdout).expect("text");
    assert_eq!(lines.lines().count(), 3);

    revoke(&kafka, &["Read"], &[&topic]);
    let revoked = Instant::now();
    let said = error_of(&mut running);
    let words = format!("does not let this client read {topic}: grant it READ on the topic");
    assert!(said.contains(&words), "{said}");
    assert!(revoked.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_login_that_is_refused_for_long_ends_a_tail() {
    let mut kafka = cluster::exclusive();
    let topic = kafka.topic("events", 1);
    allow(&kafka, &["Read", "Describe"], &[&topic]);
    Desk::new(&kafka).write(&topic, (0..3).map(event));
    let mut running = tail(&kafka, &topic, 3);
    set_password(&kafka, "another");
    for broker in 0..3 {
        kafka.kill(broker);
    }
    kafka.start_all([0, 1, 2]);
    let said = error_of(&mut running);
    set_password(&kafka, SASL_PASSWORD);
    assert!(
        said.contains("authentication with Kafka failed: "),
        "{said}"
    );
}
