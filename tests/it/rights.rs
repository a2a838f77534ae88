//! The rights that `serve`, `spool drain`, `check` and `topics` need, and their messages about a missing one.
//! `replay::rights` tests those of `tail`, `replay` and `redrive`.

use std::process::Command;

use serde_json::Value;

use crate::check::Setup;
use crate::replay::desk::Running;
use crate::support::acl::allow;
use crate::support::bridge::{Bridge, eventually, koobridge, run};
use crate::support::cluster::{self, Exclusive};
use crate::support::http::{body, exchange, report};
use crate::support::logins::{LOGIN, SASL_PASSWORD, SASL_USER, STRANGER, login};
use crate::support::records::{read_all, unused_name};

/// Topics on which a user has different rights.
struct Topics {
    /// The user has all rights that a bridge uses on both.
    whole: [String; 2],
    /// The user lacks WRITE. WRITE implies DESCRIBE.
    unwritable: String,
    /// The user lacks `DESCRIBE_CONFIGS`.
    undescribed: String,
    /// The user has no right.
    hidden: String,
}

impl Topics {
    fn with_rights(kafka: &Exclusive) -> Self {
        let new = |prefix| kafka.topic(prefix, 6);
        let topics = Self {
            whole: ["whole", "whole-rejected"].map(new),
            unwritable: new("unwritable"),
            undescribed: new("undescribed"),
            hidden: new("hidden"),
        };
        let [events, rejected] = topics.whole.each_ref().map(String::as_str);
        let (unwritable, undescribed) = (&*topics.unwritable, &*topics.undescribed);
        allow(kafka, &["Write"], &[events, rejected, undescribed]);
        allow(kafka, &["DescribeConfigs"], &[events, rejected, unwritable]);
        allow(kafka, &["Describe"], &[unwritable]);
        topics
    }

    /// Returns pairs of an events topic and a rejected topic: in each, one is `lacking` and the other has all rights.
    fn pairs_with<'a>(&'a self, lacking: &'a str) -> [[&'a str; 2]; 2] {
        let [events, rejected] = &self.whole;
        [[lacking, rejected], [events, lacking]]
    }
}

/// Returns the bridge's answers to a valid and to an invalid report.
fn answers(bridge: &Bridge) -> [u16; 2] {
    [body("m1", "read"), b"{".to_vec()].map(|body| exchange(bridge.ingress, &report(&body)).status)
}

/// Waits until the bridge has logged these words about the topic.
fn wait_for_words(bridge: &Bridge, topic: &str, words: &str) {
    eventually(|| {
        let logged = bridge.logged();
        let is_it = |line: &Value| line["topic"] == topic && line.to_string().contains(words);
        let lines = logged.lines().map(serde_json::from_str);
        let found = lines.map_while(Result::ok).any(|line| is_it(&line));
        found
            .then_some(())
            .ok_or_else(|| format!("no {words:?} about {topic} in:\n{logged}"))
    });
}

#[test]
fn a_bridge_works_with_these_rights_and_names_a_missing_one() {
    let kafka = cluster::exclusive();
    let topics = Topics::with_rights(&kafka);
    let start = |events: &str, rejected: &str| {
        Bridge::start(&kafka.sasl_bootstrap(), events, rejected, &LOGIN)
    };
    let [events, rejected] = &topics.whole;
    let bridge = start(events, rejected);
    bridge.wait_until_ready();
    assert_eq!(answers(&bridge), [200, 400]);
    assert!(!bridge.logged().contains("grant"), "{}", bridge.logged());
    for topic in &topics.whole {
        assert_eq!(read_all(kafka.bootstrap(), topic).len(), 1, "{topic}");
    }

    for (lacking, words, without_it) in [
        (
            &topics.unwritable,
            "grant this client WRITE on the topic",
            [503, 503],
        ),
        (
            &topics.hidden,
            "grant this client DESCRIBE and WRITE on it",
            [503, 503],
        ),
        (
            &topics.undescribed,
            "grant this client DESCRIBE_CONFIGS on the topic",
            [200, 400],
        ),
    ] {
        for (at, [events, rejected]) in topics.pairs_with(lacking).into_iter().enumerate() {
            let bridge = start(events, rejected);
            let mut expected = [200, 400];
            expected[at] = without_it[at];
            assert_eq!(answers(&bridge), expected, "{words}");
            wait_for_words(&bridge, lacking, words);
        }
    }
}

#[test]
fn a_bridge_without_any_right_names_them() {
    let kafka = cluster::exclusive();
    let topics = ["events", "rejected"].map(|name| kafka.topic(name, 1));
    let login = login("PLAIN", STRANGER, SASL_PASSWORD);
    let [events, rejected] = &topics;
    let bridge = Bridge::start(&kafka.sasl_bootstrap(), events, rejected, &login);
    for topic in &topics {
        wait_for_words(&bridge, topic, "grant this client DESCRIBE and WRITE on it");
        wait_for_words(&bridge, topic, "grant this client WRITE on the topic");
    }
}

#[test]
fn a_drain_names_the_missing_right_and_continues_when_it_is_granted() {
    let kafka = cluster::exclusive();
    let topics = Topics::with_rights(&kafka);
    let (events, [_, rejected]) = (&topics.unwritable, &topics.whole);
    let home = tempfile::tempdir().expect("a directory");
    let spool = home.path().join("spool").display().to_string();
    let settings = [("spool.directory", &*spool)];
    let bridge = Bridge::start("127.0.0.1:1", events, rejected, &settings);
    let event = report(&body("m1", "read"));
    assert_eq!(exchange(bridge.ingress, &event).status, 200);
    drop(bridge);
    let mut command = koobridge();
    command.args(["spool", "drain", "--directory", &spool]);
    let bootstrap = kafka.sasl_bootstrap();
    let brokers = ("kafka.properties.bootstrap.servers", &*bootstrap);
    set(
        &mut command,
        &[
            ("kafka.topic", events),
            ("kafka.rejected_topic", rejected),
            brokers,
        ],
    );
    set(&mut command, &LOGIN);
    let mut running = Running::start(command);
    eventually(|| {
        let line = running.stderr.find("grant this client WRITE on the topic");
        let line = line.filter(|line| line.contains(&**events));
        line.map(drop).ok_or_else(|| running.stderr.all())
    });
    allow(&kafka, &["Write"], &[events]);
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_eq!(read_all(kafka.bootstrap(), events).len(), 1);
}

fn set(command: &mut Command, settings: &[(&str, &str)]) {
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
}

/// Returns the exit code of `koobridge check`, and its problems with topics, each with the remedy.
fn findings(setup: &Setup) -> (Option<i32>, Vec<[String; 2]>) {
    let (code, found) = setup.check(&["--probe"]);
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("text").to_owned();
    let findings = found["findings"].as_array().expect("findings").iter();
    let of_topics = findings.filter(|finding| {
        finding["level"] != "ok"
            && ["topics", "probe"]
                .map(Value::from)
                .contains(&finding["area"])
    });
    let of_topics = of_topics.map(|finding| ["what", "remedy"].map(|name| text(finding, name)));
    (code, of_topics.collect())
}

#[test]
fn check_works_with_these_rights_and_names_a_missing_one() {
    let kafka = cluster::exclusive();
    let topics = Topics::with_rights(&kafka);
    let setup = |events: &str, rejected: &str| {
        Setup::with(&kafka.sasl_bootstrap(), events, rejected).sasl(SASL_USER, SASL_PASSWORD)
    };
    let [events, rejected] = &topics.whole;
    let whole = setup(events, rejected);
    eventually(|| match findings(&whole) {
        (Some(0), found) if found.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for (lacking, remedy, expected) in [
        (
            &topics.unwritable,
            "grant this client WRITE on the topic",
            2,
        ),
        (
            &topics.hidden,
            "grant this client DESCRIBE and WRITE on it",
            2,
        ),
        (&topics.undescribed, "grant DESCRIBE_CONFIGS on it", 0),
    ] {
        for [events, rejected] in topics.pairs_with(lacking) {
            let (code, found) = findings(&setup(events, rejected));
            assert_eq!((code, found.len()), (Some(expected), 1), "{found:?}");
            let [what, said] = &found[0];
            assert!(what.starts_with(&format!("{lacking}: ")), "{found:?}");
            assert!(said.starts_with(remedy), "{found:?}");
        }
    }
}

/// Returns the output and the exit code of `koobridge topics` for a topic.
fn topics(kafka: &Exclusive, topic: &str, flags: &[&str]) -> (String, Option<i32>) {
    let mut command = koobridge();
    command.args(["topics", "--topic", topic]).args(flags);
    let bootstrap = kafka.sasl_bootstrap();
    set(
        &mut command,
        &[("kafka.properties.bootstrap.servers", &bootstrap)],
    );
    set(&mut command, &LOGIN);
    let output = run(&mut command);
    let printed = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(printed).expect("text"),
        output.status.code(),
    )
}

#[test]
fn topics_works_with_these_rights_and_names_a_missing_one() {
    let kafka = cluster::exclusive();
    let [shown, undescribed, hidden, grown, changed] =
        ["shown", "undescribed", "hidden", "grown", "changed"].map(|name| kafka.topic(name, 6));
    let [made, unmade] = ["made", "unmade"].map(unused_name);
    // ALTER implies DESCRIBE, and ALTER_CONFIGS implies DESCRIBE_CONFIGS.
    for (right, topics) in [
        (
            "Describe",
            &[&*shown, &undescribed, &changed, &made, &unmade][..],
        ),
        ("DescribeConfigs", &[&shown, &hidden, &grown]),
        ("Create", &[&made]),
        ("Alter", &[&grown]),
        ("AlterConfigs", &[&changed]),
    ] {
        allow(&kafka, &[right], topics);
    }
    for (topic, flags, code, end) in [
        (&shown, &[][..], 0, "nothing to change"),
        (&unmade, &[], 0, "add --apply to make the changes."),
        (&made, &["--apply"], 0, "done"),
        (&grown, &["--partitions", "7", "--apply"], 0, "done"),
        (&changed, &["--retention", "2d", "--apply"], 0, "done"),
        (&hidden, &[], 2, "grant this client DESCRIBE on it"),
        (
            &undescribed,
            &[],
            0,
            "grant this client DESCRIBE_CONFIGS on it",
        ),
        (
            &undescribed,
            &["--retention", "2d", "--apply"],
            2,
            "grant DESCRIBE_CONFIGS on it",
        ),
        (&unmade, &["--apply"], 1, "grant this client CREATE on it"),
        (
            &shown,
            &["--partitions", "7", "--apply"],
            1,
            "grant this client ALTER on it",
        ),
        (
            &shown,
            &["--retention", "2d", "--apply"],
            1,
            "grant this client ALTER_CONFIGS on it",
        ),
    ] {
        // A broker can learn of a new right a moment after Kafka has answered the change.
        eventually(|| match self::topics(&kafka, topic, flags) {
            (said, of)
                if of == Some(code)
                    && said.contains(topic)
                    && said.ends_with(&format!("{end}\n")) =>
            {
                Ok(())
            }
            (said, of) => Err(format!("{flags:?} for {topic}: {of:?}: {said}")),
        });
    }
}
