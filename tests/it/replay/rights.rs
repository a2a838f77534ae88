//! The rights of `tail`, `replay` and `redrive`, and the errors when one is missing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::desk::{Desk, event, exit_code, stderr};
use super::redrive::{rejected, valid_report};
use crate::support::acl::{Resource, Right, allow, grant, revoke, withdraw};
use crate::support::bridge::{eventually, koobridge, run};
use crate::support::cluster::{self, Exclusive};
use crate::support::lines::Lines;
use crate::support::logins::{LOGIN, SASL_PASSWORD, Security, set_password};

/// Returns a `tail` or `replay` of a topic by a user with a password.
fn command(kafka: &Exclusive, topic: &str, arguments: &[&str]) -> Command {
    command_with(kafka, topic, "rejected", arguments)
}

fn command_with(kafka: &Exclusive, topic: &str, rejected: &str, arguments: &[&str]) -> Command {
    let mut command = koobridge();
    command
        .args(arguments)
        .args(["--bootstrap", &kafka.sasl_bootstrap()])
        .args(["--set", &format!("kafka.topic={topic}")])
        .args(["--set", &format!("kafka.rejected_topic={rejected}")])
        .stdin(Stdio::null());
    for (key, value) in LOGIN {
        command.args(["--set", &format!("{key}={value}")]);
    }
    command
}

/// Returns a tail that has printed the first records.
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

/// Waits until the program ends with an error, and returns its standard error.
fn error_of(child: &mut Child) -> String {
    let stderr = Lines::read(child.stderr.take().expect("a pipe")).wait_for_end();
    let status = child.wait().expect("a child ends");
    assert_eq!(status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn a_reader_needs_no_right_on_a_group_and_names_the_missing_right() {
    let kafka = cluster::exclusive();
    let topic = kafka.topic("events", 1);
    let desk = Desk::new(&kafka);
    desk.write(&topic, (0..3).map(event));
    let lines = ["replay", "--since", "beginning", "--to", "-"];
    let refused = run(&mut command(&kafka, &topic, &lines));
    assert_eq!(exit_code(&refused), 1);
    let words = format!("grant this client DESCRIBE and READ on the topic {topic}");
    assert!(stderr(&refused).contains(&words), "{}", stderr(&refused));

    allow(&kafka, &["Read", "Describe"], &[&topic]);
    let mut running = tail(&kafka, &topic, 3);
    let output = run(&mut command(&kafka, &topic, &lines));
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).expect("text");
    assert_eq!(lines.lines().count(), 3);

    revoke(&kafka, &["Read"], &[&topic]);
    let revoked = Instant::now();
    let stderr = error_of(&mut running);
    let words = format!("grant this client READ on the topic {topic}");
    assert!(stderr.contains(&words), "{stderr}");
    assert!(revoked.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_login_that_is_refused_for_a_minute_ends_a_tail() {
    let mut kafka = cluster::exclusive();
    let topic = kafka.topic("events", 1);
    allow(&kafka, &["Read", "Describe"], &[&topic]);
    Desk::new(&kafka).write(&topic, (0..3).map(event));
    let mut running = tail(&kafka, &topic, 3);
    set_password(&kafka, Security::Sasl, "another");
    for broker in 0..3 {
        kafka.kill(broker);
    }
    kafka.start_all([0, 1, 2]);
    let stderr = error_of(&mut running);
    set_password(&kafka, Security::Sasl, SASL_PASSWORD);
    assert!(
        stderr.contains("authentication with Kafka failed: "),
        "{stderr}"
    );
}

/// Runs the command with all of its rights, and then without each one.
fn each_right_is_needed(
    kafka: &Exclusive,
    [events, rejected]: [&str; 2],
    rights: &[(Right<'_>, &str)],
    arguments: &[&str],
) {
    for (right, _) in rights {
        grant(kafka, *right);
    }
    let attempt = || {
        let output = run(&mut command_with(kafka, events, rejected, arguments));
        (exit_code(&output), stderr(&output))
    };
    let done = || match attempt() {
        (0, _) => Ok(()),
        (code, stderr) => Err(format!("{arguments:?}: {code}: {stderr}")),
    };
    eventually(done);
    for (right, words) in rights {
        withdraw(kafka, *right);
        eventually(|| match attempt() {
            (1, stderr) if stderr.contains(words) => Ok(()),
            (code, stderr) => Err(format!("{arguments:?} without {right:?}: {code}: {stderr}")),
        });
        grant(kafka, *right);
        eventually(done);
    }
    for (right, _) in rights {
        withdraw(kafka, *right);
    }
}

#[test]
fn a_replay_names_the_right_that_it_lacks() {
    let kafka = cluster::exclusive();
    let desk = Desk::with_events(&kafka, 30);
    let target = kafka.topic("target", 3);
    let (events, rejected) = (&*desk.events, &*desk.rejected);
    let source = format!("grant this client DESCRIBE and READ on the topic {events}");
    let write = format!("{target}: Kafka denies access to the topic: TopicAuthorizationFailed");
    let rights: [(Right<'_>, &str); 4] = [
        (("Read", Resource::Topic, events), &source),
        (("Write", Resource::Topic, &target), &write),
        (
            ("Write", Resource::TransactionalIds, "koobridge-replay-"),
            "grant this client WRITE on the transactional id koobridge-replay-",
        ),
        (
            ("Read", Resource::Groups, "koobridge-replay-"),
            "grant this client READ on the group koobridge-replay-",
        ),
    ];
    let arguments = ["replay", "--since", "beginning", "--to", &target, "--yes"];
    each_right_is_needed(&kafka, [events, rejected], &rights, &arguments);
}

#[test]
fn a_read_only_target_ends_a_run_of_any_length() {
    let kafka = cluster::exclusive();
    let desk = Desk::with_events(&kafka, 3);
    let target = kafka.topic("target", 3);
    let events = &*desk.events;
    let rights = [
        ("Read", Resource::Topic, events),
        ("Read", Resource::Topic, &*target),
        ("Write", Resource::TransactionalIds, "koobridge-replay-"),
        ("Read", Resource::Groups, "koobridge-replay-"),
    ];
    for right in rights {
        grant(&kafka, right);
    }
    let arguments = ["replay", "--since", "beginning", "--to", &target, "--yes"];
    let words = format!("grant this client WRITE on the topic {target}");
    eventually(|| {
        let output = run(&mut command(&kafka, events, &arguments));
        match (exit_code(&output), stderr(&output)) {
            (1, stderr) if stderr.contains(&words) && !stderr.contains("Purged") => Ok(()),
            (code, stderr) => Err(format!("{code}: {stderr}")),
        }
    });
    for right in rights {
        withdraw(&kafka, right);
    }
}

#[test]
fn a_replay_of_a_file_names_the_right_that_it_lacks() {
    let kafka = cluster::exclusive();
    let desk = Desk::with_events(&kafka, 30);
    let archive = desk.command("replay", &["--since", "beginning", "--to", "-"]);
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &archive.stdout).expect("it can be written");
    let path = file.path().to_str().expect("a plain path");
    let target = kafka.topic("target", 3);
    let write = format!("{target}: Kafka denies access to the topic: TopicAuthorizationFailed");
    let rights: [(Right<'_>, &str); 2] = [
        (("Write", Resource::Topic, &target), &write),
        (
            ("Write", Resource::TransactionalIds, "koobridge-replay-"),
            "grant this client WRITE on the transactional id koobridge-replay-",
        ),
    ];
    let arguments = ["replay", "--file", path, "--to", &target, "--yes"];
    let topics = [&*desk.events, &*desk.rejected];
    each_right_is_needed(&kafka, topics, &rights, &arguments);
}

#[test]
fn a_redrive_names_the_right_that_it_lacks() {
    let kafka = cluster::exclusive();
    let desk = Desk::new(&kafka);
    let report = |number: usize| {
        let message = format!("m{number}");
        rejected("unknown-status", &valid_report(&message), Some(&message))
    };
    desk.write(&desk.rejected, (0..5).map(report));
    let (events, rejected) = (&*desk.events, &*desk.rejected);
    // The right to write includes the right to describe.
    let source = format!("grant this client READ on the topic {rejected}");
    // librdkafka does not say which topic of a transaction it is.
    let marker = format!("grant this client WRITE on the topic {events} and on {rejected}");
    let write = format!("{events}: Kafka denies access to the topic: TopicAuthorizationFailed");
    let rights: [(Right<'_>, &str); 5] = [
        (("Read", Resource::Topic, rejected), &source),
        (("Write", Resource::Topic, rejected), &marker),
        (("Write", Resource::Topic, events), &write),
        (
            ("Write", Resource::TransactionalIds, "koobridge-redrive-"),
            "grant this client WRITE on the transactional id koobridge-redrive-",
        ),
        (
            ("Read", Resource::Groups, "koobridge-redrive-"),
            "grant this client READ on the group koobridge-redrive-",
        ),
    ];
    let arguments = [
        "redrive",
        "--since",
        "beginning",
        "--yes",
        "--include-redriven",
    ];
    each_right_is_needed(&kafka, [events, rejected], &rights, &arguments);
}
