//! Runs without an operator: restarted by a job, refused by the target, or without a connection to Kafka.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use serde_json::Value;

use super::by_key;
use super::desk::{
    Desk, NewRecord, PARTITIONS, Running, event, exit_code, keys_and_ids, large_event, stderr,
};
use super::redrive::{rejected, valid_report};
use super::resume::{EVENTS, assert_exactly_once, copied};
use crate::suite::random::Random;
use crate::suite::rig::pause;
use crate::support::bridge::PATIENCE;
use crate::support::cluster;
use crate::support::records::{Kafka, block_on};

const KILLS: usize = 10;

#[test]
fn a_job_that_is_killed_and_started_again_publishes_each_record_once() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let mut random = Random::new();
    let job = [
        "--since", "300d", "--to", &target, "--id", "nightly", "--yes", "--rate", "1500",
    ];
    for _ in 0..KILLS {
        let mut running = desk.start("replay", &job);
        pause(random.millis(50..1500));
        running.child.kill().expect("a child can be killed");
        running.child.wait().expect("a killed child ends");
    }
    let output = desk.command("replay", &job);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
    // A job can be started again although it has succeeded.
    let again = desk.command("replay", &job);
    assert_eq!(exit_code(&again), 0, "{}", stderr(&again));
    let words = "replay nightly has already finished: 12,000 published";
    assert!(stderr(&again).contains(words), "{}", stderr(&again));
    assert_exactly_once(&desk, &target);
}

#[test]
fn one_of_two_processes_that_begin_a_run_at_once_does_it() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let id = target.replace("target", "twice");
    let job = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--id",
        &id,
        "--yes",
    ];
    let job = [&job[..], &["--rate", "2000"]].concat();
    let mut both = [(); 2].map(|()| desk.start("replay", &job));
    let mut codes = both.each_mut().map(Running::ended);
    codes.sort_unstable();
    let stderr = both.each_ref().map(|running| running.stderr.wait_for_end());
    assert_eq!(codes, [0, 1], "{stderr:?}");
    let words = format!("another process has taken over the run {id}");
    assert!(
        stderr.iter().any(|stderr| stderr.contains(&words)),
        "{stderr:?}"
    );
    assert_exactly_once(&desk, &target);
}

#[test]
fn an_id_resumes_its_run_only_with_the_same_command() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 30);
    let target = kafka.topic("target", 3);
    let to = ["--to", &*target, "--id", "named", "--yes"];
    let output = desk.command("replay", &to);
    assert_eq!(exit_code(&output), 2, "{}", stderr(&output));
    let words = "there is no replay named yet: start it with a range";
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    let output = desk.command("replay", &["--to", &target, "--resume", "named", "--yes"]);
    assert_ne!(exit_code(&output), 0);
    assert!(
        stderr(&output).contains("Kafka has no record of it"),
        "{}",
        stderr(&output)
    );
    let first = [&["--since", "beginning"], &to[..]].concat();
    let output = desk.command("replay", &first);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let other = [&["--offsets", "0:0-5"], &to[..]].concat();
    let output = desk.command("replay", &other);
    assert_eq!(exit_code(&output), 2, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the run has different --offsets"),
        "{}",
        stderr(&output)
    );
    desk.copies(&target, 30);
}

#[test]
fn a_run_resumed_without_its_range_keeps_its_times() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    // The numbers 0 to 5999. Later records are in the offset range, but not in the range of times.
    let range = ["--since", "beginning", "--until", "2026-11-18T11:06:46Z"];
    let to = ["--to", &target, "--id", "until", "--yes"];
    let mut running = desk.start("replay", &[&range[..], &to, &["--rate", "1000"]].concat());
    copied(&desk, &target, 1);
    running.child.kill().expect("a child can be killed");
    running.child.wait().expect("a killed child ends");
    let output = desk.command("replay", &["--to", &target, "--resume", "until", "--yes"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    desk.copies(&target, 6000);
}

/// Returns the offsets that a group has committed for a topic.
fn committed(kafka: &Kafka, group: &str, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut question = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        question.add_partition(topic, partition);
    }
    let answer = consumer.committed_offsets(question, PATIENCE);
    let offset = |offset| match offset {
        Offset::Offset(offset) => offset,
        other => panic!("{other:?}"),
    };
    let answer = answer.expect("Kafka answers");
    answer
        .elements()
        .iter()
        .map(|element| offset(element.offset()))
        .collect()
}

#[test]
fn a_finished_run_leaves_no_group_that_falls_behind() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let target = kafka.topic("target", 3);
    let job = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--id",
        "lag",
        "--yes",
    ];
    let output = desk.command("replay", &job);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let offsets = committed(&kafka, "koobridge-replay-lag", &desk.events);
    assert_eq!(offsets, [1 << 53; 6]);
}

#[test]
fn a_finished_run_still_exits_with_4_when_it_is_started_again() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 300);
    let target = kafka.topic("target", 3);
    let job = ["--offsets", "0:0-", "--to", &target, "--id", "gap", "--yes"];
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&desk.events, 0, Offset::Offset(5))
        .expect("an offset");
    let deleted = block_on(kafka.admin().delete_records(&gone, &AdminOptions::new()));
    deleted.expect("records can be deleted");
    let output = desk.command("replay", &[&job[..], &["--json"]].concat());
    assert_eq!(exit_code(&output), 4, "{}", stderr(&output));
    let summary = summary(&output.stdout);
    assert_eq!(summary["outcome"], "finished");
    assert_eq!(summary["id"], "gap");
    assert_eq!(summary["total"]["deleted"], 5);
    assert_eq!(
        summary["counts"]["published"],
        summary["total"]["published"]
    );
    let again = desk.command("replay", &[&job[..], &["--json"]].concat());
    assert_eq!(exit_code(&again), 4, "{}", stderr(&again));
    let again = self::summary(&again.stdout);
    assert_eq!(again["outcome"], "already_finished");
    assert_eq!(again["total"], summary["total"]);
    assert_eq!(again["counts"]["published"], 0);
}

/// Parses the summary of `--json`.
pub fn summary(stdout: &[u8]) -> Value {
    serde_json::from_slice(stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(stdout));
    })
}

/// Returns five events of each of these ages.
fn events_of_ages(ages: &[Duration]) -> Vec<NewRecord> {
    let now = Timestamp::now().as_millisecond();
    let of = |(at, age): (usize, &Duration)| {
        let age = i64::try_from(age.as_millis()).expect("a short time");
        (0..5).map(move |number| NewRecord {
            timestamp: now - age,
            ..event(at * 5 + number)
        })
    };
    ages.iter().enumerate().flat_map(of).collect()
}

fn topic_for_a_day(kafka: &Kafka) -> String {
    let settings = [
        ("min.insync.replicas", "2"),
        ("message.timestamp.before.max.ms", "86400000"),
    ];
    kafka.topic_with("target", 3, 3, &settings)
}

const DAY: Duration = Duration::from_hours(24);
/// Within the tolerated difference of clocks, so that the broker decides.
const JUST_TOO_OLD: Duration = Duration::from_secs(24 * 3600 + 20);

#[test]
fn a_record_that_the_target_refuses_for_its_time_ends_the_run_and_is_named() {
    let kafka = cluster::shared();
    for age in [7 * DAY, JUST_TOO_OLD] {
        let desk = Desk::new(&kafka);
        desk.write(
            &desk.events,
            events_of_ages(&[Duration::ZERO, age, Duration::ZERO]),
        );
        let target = topic_for_a_day(&kafka);
        let id = format!("times-{}", age.as_secs());
        let job = [
            "--since",
            "beginning",
            "--to",
            &target,
            "--id",
            &id,
            "--yes",
        ];
        for _ in 0..2 {
            let output = desk.command("replay", &job);
            assert_eq!(exit_code(&output), 4, "{}", stderr(&output));
            let named = format!("{target} refuses offset ");
            assert!(stderr(&output).contains(&named), "{}", stderr(&output));
            assert!(
                stderr(&output).contains("--skip-refused"),
                "{}",
                stderr(&output)
            );
        }
        let output = desk.command(
            "replay",
            &[&job[..], &["--skip-refused", "--json"]].concat(),
        );
        assert_eq!(exit_code(&output), 4, "{}", stderr(&output));
        let summary = summary(&output.stdout);
        assert_eq!(summary["outcome"], "finished");
        assert_eq!(summary["total"]["refused"], 5);
        assert_eq!(summary["total"]["published"], 10);
        let mut expected = by_key(&desk.read(&desk.events));
        for ids in expected.values_mut() {
            ids.retain(|id| !["id-5", "id-6", "id-7", "id-8", "id-9"].contains(&&**id));
        }
        expected.retain(|_, ids| !ids.is_empty());
        assert_eq!(by_key(&desk.copies(&target, 10)), expected);
        let again = desk.command("replay", &job);
        assert_eq!(exit_code(&again), 4, "{}", stderr(&again));
    }
}

#[test]
fn batches_fit_a_target_that_accepts_small_ones() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 1500);
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "20000")];
    let target = kafka.topic_with("target", 3, 3, &small);
    let job = ["--since", "beginning", "--to", &target, "--yes"];
    let output = desk.command("replay", &job);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert!(!stderr(&output).contains("refuse"), "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
}

#[test]
fn records_near_the_targets_size_limit_are_refused_or_copied() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let sizes = (241..=400).map(|bytes| large_event(bytes, bytes));
    desk.write(&desk.events, sizes);
    let small = [("min.insync.replicas", "2"), ("max.message.bytes", "800")];
    let target = kafka.topic_with("target", 3, 3, &small);
    let job = ["--since", "beginning", "--to", &target, "--yes"];
    let output = desk.command(
        "replay",
        &[&job[..], &["--skip-refused", "--json"]].concat(),
    );
    assert_eq!(exit_code(&output), 4, "{}", stderr(&output));
    assert!(!stderr(&output).contains("Broker: "), "{}", stderr(&output));
    let counts = &summary(&output.stdout)["counts"];
    let (published, refused) = (&counts["published"], &counts["refused"]);
    let [published, refused] = [published, refused].map(|count| count.as_u64().expect("a count"));
    assert_eq!(published + refused, 160);
    assert!(published > 0 && refused > 100, "{}", stderr(&output));
    desk.copies(&target, usize::try_from(published).expect("a small number"));
    let lines = stderr(&output).matches(" refuses offset ").count();
    assert_eq!(lines, 100, "{}", stderr(&output));
    let more = stderr(&output).contains("refuses more records: they are only counted");
    assert!(more, "{}", stderr(&output));
    let resume = " --skip-refused\n";
    assert!(stderr(&output).contains(resume), "{}", stderr(&output));
}

#[test]
fn a_compacted_target_is_refused() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 3);
    let target = kafka.topic_with("target", 3, 3, &[("cleanup.policy", "compact")]);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    assert_eq!(exit_code(&output), 2, "{}", stderr(&output));
    let words = "cleanup.policy is compact: Kafka keeps only the last event";
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    assert_eq!(desk.read(&target), []);
}

#[test]
fn the_warning_of_the_retention_comes_before_the_copy() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 30);
    let target = kafka.topic_with("target", 3, 3, &[("retention.ms", "3600000")]);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    let stderr = stderr(&output);
    let warned = stderr
        .find("warning: ")
        .unwrap_or_else(|| panic!("{stderr}"));
    let copied = stderr
        .find("30 records (")
        .unwrap_or_else(|| panic!("{stderr}"));
    assert!(warned < copied, "{stderr}");
    assert_eq!(stderr.matches("warning: ").count(), 1, "{stderr}");
}

#[test]
fn a_redrive_skips_reports_that_an_earlier_one_has_published() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let unknown = |message: &str, body: &str| rejected("unknown-status", body, Some(message));
    desk.write(
        &desk.rejected,
        [
            unknown("m1", &valid_report("m1")),
            unknown("m2", &valid_report("m2").replace("read", "played")),
        ],
    );
    let cron = ["--since", "beginning", "--yes", "--json"];
    let first = desk.command("redrive", &cron);
    assert_eq!(exit_code(&first), 0, "{}", stderr(&first));
    assert_eq!(summary(&first.stdout)["counts"]["published"], 1);
    desk.write(&desk.rejected, [unknown("m3", &valid_report("m3"))]);
    let second = desk.command("redrive", &cron);
    assert_eq!(exit_code(&second), 0, "{}", stderr(&second));
    let counts = &summary(&second.stdout)["counts"];
    assert_eq!(
        (&counts["published"], &counts["redriven"]),
        (&1.into(), &1.into())
    );
    let third = desk.command("redrive", &["--since", "beginning", "--dry-run"]);
    assert!(
        stderr(&third).contains("there is nothing to publish"),
        "{}",
        stderr(&third)
    );
    assert!(
        stderr(&third).contains("2 published by an earlier redrive"),
        "{}",
        stderr(&third)
    );
    let keys = |count| {
        let mut keys: Vec<_> = keys_and_ids(&desk.copies(&desk.events, count))
            .into_iter()
            .collect();
        keys.sort();
        keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys(2), ["m1", "m3"]);
    let again = desk.command("redrive", &[&cron[..], &["--include-redriven"]].concat());
    assert_eq!(exit_code(&again), 0, "{}", stderr(&again));
    assert_eq!(keys(4), ["m1", "m1", "m3", "m3"]);
}

/// Returns whether no transaction is open on the topic: both isolation levels then see the same end.
fn is_closed(kafka: &Kafka, topic: &str) -> bool {
    let end = |isolation: &str, partition| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("group.id", "ends")
            .set("isolation.level", isolation)
            .create()
            .expect("a consumer");
        let ends = consumer.fetch_watermarks(topic, partition, PATIENCE);
        ends.expect("Kafka answers").1
    };
    (0..3).all(|partition| end("read_committed", partition) == end("read_uncommitted", partition))
}

#[test]
fn a_second_signal_aborts_the_transaction() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let mut running = desk.start(
        "replay",
        &[
            "--since",
            "beginning",
            "--to",
            &target,
            "--yes",
            "--rate",
            "1000",
        ],
    );
    copied(&desk, &target, 1);
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    assert_eq!(running.ended(), 3, "{}", running.stderr.all());
    // The brokers write the markers of an abort after they have answered. They would abort an open transaction
    // themselves only after ten seconds.
    let until = Instant::now() + Duration::from_secs(5);
    while !is_closed(&kafka, &target) {
        assert!(Instant::now() < until, "the transaction is open");
        pause(Duration::from_millis(50));
    }
}

#[test]
fn a_run_without_a_connection_to_kafka_obeys_signals() {
    let kafka = cluster::exclusive();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let job = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--id",
        "cut",
        "--yes",
    ];
    let slow = ["--rate", "2000"];
    let mut running = desk.start("replay", &[&job[..], &slow].concat());
    let other = kafka.topic("other", 3);
    let another = ["--since", "beginning", "--to", &other, "--yes"];
    let mut aborted = desk.start("replay", &[&another[..], &slow].concat());
    copied(&desk, &target, 1);
    copied(&desk, &other, 1);
    kafka.freeze_all();
    pause(Duration::from_secs(2));
    let mut late = desk.start("replay", &[&job[..], &["--json"]].concat());
    running.signal(Signal::TERM);
    aborted.signal(Signal::INT);
    pause(Duration::from_secs(1));
    aborted.signal(Signal::INT);
    late.signal(Signal::TERM);
    let begun = Instant::now();
    for (running, words) in [
        (&mut aborted, "stopped before the end; resume it with"),
        (&mut running, "stopped before the end; resume it with"),
        (&mut late, "stopped before anything was copied: "),
    ] {
        let ended = running.ended();
        let stderr = running.stderr.wait_for_end();
        assert_eq!(ended, 3, "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(45), "{took:?}: {stderr}");
    }
    kafka.thaw_all();
    assert_eq!(summary(late.printed().as_bytes())["outcome"], "stopped");
    let output = desk.command("replay", &job);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
}

#[test]
fn a_resumed_redrive_publishes_each_report_once() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    let message = |number: usize| format!("m{number}");
    desk.write(
        &desk.rejected,
        (0..3000).map(|number| {
            let message = message(number);
            rejected("unknown-status", &valid_report(&message), Some(&message))
        }),
    );
    let job = ["--since", "beginning", "--yes", "--id", "cron"];
    let mut running = desk.start("redrive", &[&job[..], &["--rate", "500"]].concat());
    copied(&desk, &desk.events.clone(), 1);
    running.child.kill().expect("a child can be killed");
    running.child.wait().expect("a killed child ends");
    let output = desk.command("redrive", &["--yes", "--resume", "cron"]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let keys = |records| {
        let mut keys: Vec<_> = keys_and_ids(records)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        keys.sort();
        keys
    };
    let mut expected: Vec<_> = (0..3000).map(message).collect();
    expected.sort();
    assert_eq!(keys(&desk.copies(&desk.events, 3000)), expected);
    let again = desk.command("redrive", &["--since", "beginning", "--yes", "--json"]);
    assert_eq!(summary(&again.stdout)["counts"]["redriven"], 3000);
    desk.copies(&desk.events, 3000);
}

#[test]
fn a_target_that_is_deleted_ends_the_run() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let job = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--yes",
        "--rate",
        "500",
    ];
    let mut running = desk.start("replay", &job);
    copied(&desk, &target, 1);
    let deleted = block_on(
        kafka
            .admin()
            .delete_topics(&[&target], &AdminOptions::new()),
    );
    deleted.expect("a topic can be deleted");
    assert_eq!(running.ended(), 1, "{}", running.stderr.all());
    let stderr = running.stderr.all();
    assert!(
        stderr.contains(&format!("there is no topic {target}")),
        "{stderr}"
    );
}
