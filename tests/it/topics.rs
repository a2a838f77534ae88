//! `koobridge topics` on three brokers.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use koobridge::kafka::{Cluster, Settings};
use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::metadata::MetadataTopic;

use crate::support::bridge::{configuration, koobridge, run};
use crate::support::cluster;
use crate::support::records::{Kafka, block_on, unused_name};

/// Returns the output and the exit code.
fn topics(file: &Path, flags: &[&str]) -> (String, Option<i32>) {
    let output = run(koobridge()
        .args(["topics", "--config"])
        .arg(file)
        .args(flags));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (
        String::from_utf8(output.stdout).expect("text"),
        output.status.code(),
    )
}

/// Returns the number of partitions, the replication, and the named settings.
fn state<const N: usize>(
    kafka: &Kafka,
    topic: &str,
    names: [&str; N],
) -> (usize, usize, [String; N]) {
    let metadata = kafka.metadata(Some(topic)).expect("a cluster that answers");
    let partitions = metadata.topics()[0].partitions();
    let admin = kafka.admin();
    let resource = [ResourceSpecifier::Topic(topic)];
    let answers = block_on(admin.describe_configs(&resource, &AdminOptions::new()));
    let answers = answers.expect("an answer");
    let settings = answers[0].as_ref().expect("settings");
    let value = |name| {
        settings
            .get(name)
            .and_then(|entry| entry.value.clone())
            .expect("a setting")
    };
    let replication = partitions
        .iter()
        .map(|partition| partition.replicas().len())
        .min();
    (
        partitions.len(),
        replication.expect("a partition"),
        names.map(value),
    )
}

const NAMES: [&str; 3] = ["min.insync.replicas", "retention.ms", "cleanup.policy"];

#[test]
fn missing_topics_are_shown_and_created_on_request() {
    let kafka = cluster::shared();
    let [topic, rejected] = ["made", "made-rejected"].map(unused_name);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let what = "create it: 6 partitions, replication 3, cleanup.policy=delete, min.insync.replicas=2, \
                retention.ms=604800000";
    let shown = format!(
        "{topic}: {what}\n{rejected}: {what}\n\nNothing was changed; add --apply to make the changes.\n"
    );
    assert_eq!(topics(&file, &[]), (shown.clone(), Some(0)));
    assert_eq!(
        topics(&file, &[]),
        (shown, Some(0)),
        "showing changes nothing"
    );
    let done = format!("{topic}: {what}\n{topic}: done\n{rejected}: {what}\n{rejected}: done\n");
    assert_eq!(topics(&file, &["--apply"]), (done, Some(0)));
    for topic in [&topic, &rejected] {
        let expected = (6, 3, ["2", "604800000", "delete"].map(str::to_owned));
        assert_eq!(state(&kafka, topic, NAMES), expected);
    }
    let sound = format!("{topic}: nothing to change\n{rejected}: nothing to change\n");
    assert_eq!(topics(&file, &["--apply"]), (sound, Some(0)));
}

#[test]
fn only_requested_settings_of_existing_topics_are_changed() {
    let kafka = cluster::shared();
    let own = [("min.insync.replicas", "1"), ("segment.bytes", "1234567")];
    let topic = kafka.topic_with("grown", 6, 3, &own);
    let rejected = kafka.topic("grown-rejected", 12);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let flags = ["--partitions", "12", "--retention", "36h", "--apply"];
    let own = format!("{rejected}=30d");
    let flags = [&flags[..], &["--retention", &own]].concat();
    let (text, code) = topics(&file, &flags);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(&format!(
            "{topic}: increase the partitions from 6 to 12; keys move"
        )),
        "{text}"
    );
    assert!(
        text.contains(&format!("{topic}: set retention.ms=129600000\n")),
        "{text}"
    );
    let names = ["min.insync.replicas", "retention.ms", "segment.bytes"];
    let expected = ["1", "129600000", "1234567"].map(str::to_owned);
    assert_eq!(state(&kafka, &topic, names), (12, 3, expected));
    assert_eq!(
        state(&kafka, &rejected, ["retention.ms"]),
        (12, 3, ["2592000000".to_owned()])
    );
}

#[test]
fn min_insync_replicas_is_raised_only_on_request() {
    let kafka = cluster::shared();
    let topic = kafka.topic_with("raised", 6, 3, &[("min.insync.replicas", "1")]);
    let rejected = kafka.topic("raised-rejected", 6);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let advised = format!(
        "{topic}: nothing to change\n{topic}: min.insync.replicas is 1: a report that was answered 200 can be on one \
         broker only, and be lost with it; raise it with --min-insync-replicas 2. The topic then accepts a record only \
         while 2 of the partition's 3 replicas are in sync\n{rejected}: nothing to change\n"
    );
    assert_eq!(topics(&file, &["--apply"]), (advised, Some(0)));
    assert_eq!(state(&kafka, &topic, ["min.insync.replicas"]).2, ["1"]);
    let raised = format!(
        "{topic}: set min.insync.replicas=2; it then accepts a record only while 2 replicas of the partition are in \
         sync\n{topic}: done\n{rejected}: nothing to change\n"
    );
    let flags = ["--apply", "--min-insync-replicas", "2"];
    assert_eq!(topics(&file, &flags), (raised, Some(0)));
    assert_eq!(state(&kafka, &topic, ["min.insync.replicas"]).2, ["2"]);
}

#[test]
fn topics_on_the_command_line_replace_the_configured_ones() {
    let kafka = cluster::shared();
    let [topic, rejected, target, other] =
        ["unmade", "unmade-rejected", "target", "other"].map(unused_name);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &topic, &rejected);
    let (first, second) = (format!("{target}=3"), format!("{other}=2d"));
    let flags = ["--topic", &target, "--topic", &other, "--topic", &target];
    let flags = [
        &flags[..],
        &["--partitions", &first, "--retention", &second, "--apply"],
    ]
    .concat();
    let line = |partitions: u32, retention: u32| {
        format!(
            "create it: {partitions} partitions, replication 3, cleanup.policy=delete, min.insync.replicas=2, \
             retention.ms={retention}"
        )
    };
    let [target_line, other_line] = [line(3, 604_800_000), line(6, 172_800_000)];
    let done =
        format!("{target}: {target_line}\n{target}: done\n{other}: {other_line}\n{other}: done\n");
    assert_eq!(topics(&file, &flags), (done, Some(0)));
    assert_eq!(state(&kafka, &target, ["min.insync.replicas"]).0, 3);
    let metadata = kafka.metadata(None).expect("a cluster that answers");
    let names: Vec<_> = metadata.topics().iter().map(MetadataTopic::name).collect();
    assert!(names.contains(&&*target) && names.contains(&&*other));
    assert!(!names.contains(&&*topic) && !names.contains(&&*rejected));
}

#[test]
fn a_value_for_an_unknown_topic_is_a_usage_error() {
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), "127.0.0.1:1", "events", "rejected");
    for (flags, said) in [
        (
            &["--retention", "reprocess=2d"][..],
            "--retention reprocess=…: reprocess is not among the topics: events, rejected;",
        ),
        (
            &["--topic", "reprocess", "--partitions", "events=2"],
            "--partitions events=…: events is not among the topics: reprocess;",
        ),
        (
            &["--retention", "2d", "--retention", "3d"],
            "--retention is given twice for all topics",
        ),
        (&["--topic", "a=b"], "is not a topic name"),
        (
            &["--partitions", "events=0"],
            "a whole number from 1 to 65535",
        ),
    ] {
        let output = run(koobridge()
            .args(["topics", "--config"])
            .arg(&file)
            .args(flags));
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    }
}

fn cluster_of(kafka: &Kafka) -> Cluster {
    let settings = Settings::new([("bootstrap.servers", kafka.bootstrap())]);
    Cluster::start(&settings).expect("a client")
}

#[test]
fn kafkas_refusal_of_a_value_is_shown_and_nothing_changes() {
    let kafka = cluster::shared();
    let topic = kafka.topic("refused", 6);
    let both = [("min.insync.replicas", "1"), ("retention.ms", "soon")];
    let both = both.map(|(name, value)| (name, value.to_owned()));
    let refused = cluster_of(&kafka).change(&topic, &both.into());
    let words = "Invalid value soon for configuration retention.ms: Not a number of type LONG";
    assert_eq!(refused, Err(words.to_owned()));
    assert_eq!(state(&kafka, &topic, ["min.insync.replicas"]).2, ["2"]);
}

#[test]
fn a_name_that_collides_with_another_topic_is_refused_with_the_cause() {
    let kafka = cluster::shared();
    let topic = kafka.topic("near.by", 1);
    let output = run(koobridge()
        .args(["topics", "--bootstrap", kafka.bootstrap(), "--apply"])
        .args(["--topic", &topic.replace('.', "_")]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    let cause = "it may collide with another topic, whose name differs in `.` and `_` only\n";
    assert!(said.ends_with(cause), "{said}");
}

/// Sets each of the values in turn, with a separate client.
fn set_repeatedly(kafka: &Kafka, topic: &str, name: &'static str, values: &[String]) {
    let cluster = cluster_of(kafka);
    for value in values {
        let change = BTreeMap::from([(name, value.clone())]);
        assert_eq!(cluster.change(topic, &change), Ok(()), "{name}={value}");
    }
}

#[test]
fn a_setting_that_another_client_changes_at_the_same_time_survives() {
    let kafka = cluster::shared();
    let own = [("segment.bytes", "1234567"), ("min.insync.replicas", "2")];
    let topic = kafka.topic_with("contended", 6, 3, &own);
    let values = |from: u32| (from..from + 20).map(|value| value.to_string()).collect();
    let (retentions, sizes): (Vec<_>, Vec<_>) = (values(600_000), values(2_000_000));
    thread::scope(|scope| {
        scope.spawn(|| set_repeatedly(&kafka, &topic, "retention.ms", &retentions));
        scope.spawn(|| set_repeatedly(&kafka, &topic, "max.message.bytes", &sizes));
    });
    let names = [
        "retention.ms",
        "max.message.bytes",
        "segment.bytes",
        "min.insync.replicas",
    ];
    let expected = ["600019", "2000019", "1234567", "2"].map(str::to_owned);
    assert_eq!(state(&kafka, &topic, names).2, expected);
}

#[test]
fn a_compacted_topic_is_refused() {
    let kafka = cluster::shared();
    let compacted = kafka.topic_with(
        "compacted",
        6,
        3,
        &[("cleanup.policy", "compact"), ("min.insync.replicas", "2")],
    );
    let rejected = kafka.topic("compacted-rejected", 6);
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), kafka.bootstrap(), &compacted, &rejected);
    let (text, code) = topics(&file, &["--apply"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.starts_with(&format!("{compacted}: refused: cleanup.policy is compact")),
        "{text}"
    );
    assert_eq!(state(&kafka, &compacted, ["cleanup.policy"]).2, ["compact"]);
}

#[test]
fn a_retention_is_a_minute_at_least_and_has_a_unit() {
    for wrong in ["7", "30s", "0d", "soon"] {
        let output = run(koobridge().args(["topics", "--retention", wrong]));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains("for example 7d or 36h"), "{said}");
    }
}

#[test]
fn an_unreachable_cluster_is_an_error() {
    let home = tempfile::tempdir().expect("a directory");
    let file = configuration(home.path(), "127.0.0.1:1", "t", "r");
    let output = run(koobridge().args(["topics", "--config"]).arg(file));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("no broker answers") && said.contains("127.0.0.1:1"),
        "{said}"
    );
    assert!(said.contains("koobridge check"), "{said}");
}

#[test]
fn each_shell_has_completions() {
    for (shell, part) in [
        ("bash", "complete -F _koobridge"),
        ("zsh", "#compdef koobridge"),
        ("fish", "complete -c koobridge"),
    ] {
        let output = run(koobridge().args(["completions", shell]));
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains(part), "{shell}: {text}");
    }
}
