//! The ends of ranges: other producers' transactions, offsets that do not exist, topics that are recreated.

use std::io::{BufRead as _, BufReader};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rustix::process::Signal;

use super::desk::{Desk, Running, event, exit_code, stderr};
use super::redrive::{rejected, valid_report};
use crate::support::cluster::{self, PATIENCE};
use crate::support::records::{Kafka, block_on, until, unused_name};

const REPORTS: usize = 20;

/// Another producer with an open transaction.
struct Foreign(BaseProducer);

impl Foreign {
    /// Writes `count` records to partition 0, in a transaction that stays open.
    fn begin(kafka: &Kafka, topic: &str, count: usize) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("transactional.id", unused_name("foreign"))
            .set("transaction.timeout.ms", "600000")
            .create()
            .expect("a producer");
        producer.init_transactions(PATIENCE).expect("it is let in");
        let foreign = Self(producer);
        foreign.write(topic, count);
        foreign
    }

    fn write(&self, topic: &str, count: usize) {
        self.0.begin_transaction().expect("one begins");
        for _ in 0..count {
            let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0);
            let sent = self.0.send(record.payload("foreign"));
            sent.map_err(|(error, _)| error).expect("room in the queue");
        }
        self.0.flush(PATIENCE).expect("Kafka takes the records");
    }

    fn commit(&self) {
        self.0
            .commit_transaction(PATIENCE)
            .expect("it is committed");
    }

    fn abort(&self) {
        self.0.abort_transaction(PATIENCE).expect("it is aborted");
    }
}

/// Returns a desk whose events topic has one partition.
fn narrow_desk(kafka: &Kafka, events: usize) -> Desk<'_> {
    let mut desk = Desk::new(kafka);
    desk.events = kafka.topic("events", 1);
    desk.write(&desk.events, (0..events).map(event));
    desk
}

pub fn wait_for(running: &Running, part: &str) -> String {
    let look = || {
        running
            .stderr
            .find(part)
            .ok_or_else(|| running.stderr.all())
    };
    until(PATIENCE, look).unwrap_or_else(|stderr| panic!("not printed: {part}: {stderr}"))
}

/// Returns the lines of a program as it prints them.
fn printed(running: &mut Running) -> impl Iterator<Item = String> + Send + use<> {
    let out = running.child.stdout.take().expect("a pipe");
    let lines = BufReader::new(out).lines();
    lines.map(|line| line.expect("text"))
}

fn open_line(topic: &str, offset: u64) -> String {
    format!(
        "waiting for an open transaction of another producer on {topic} partition 0 from offset {offset}; \
         Kafka aborts it after its transaction.timeout.ms"
    )
}

#[test]
fn a_replay_waits_for_the_records_after_an_open_transaction() {
    let kafka = cluster::shared();
    let mut desk = narrow_desk(&kafka, 0);
    desk.rejected = kafka.topic("rejected", 1);
    let target = kafka.topic("target", 3);
    let foreign = [&desk.events, &desk.rejected].map(|topic| Foreign::begin(&kafka, topic, 1));
    desk.write(&desk.events, (0..REPORTS).map(event));
    let reports = (0..REPORTS).map(|number| format!("m{number}"));
    let reports = reports.map(|id| rejected("unknown-status", &valid_report(&id), Some(&id)));
    desk.write(&desk.rejected, reports);

    let all = ["--since", "beginning"];
    let start = |command, arguments: &[&str]| desk.start(command, &[&all, arguments].concat());
    let dry = start("replay", &["--to", &target, "--dry-run"]);
    let lines = start("replay", &["--to", "-"]);
    let replay = start("replay", &["--to", &target, "--yes"]);
    let redrive = start("redrive", &["--dry-run"]);
    let mut stopped = start("replay", &["--to", &target, "--dry-run"]);
    let mut running = [dry, lines, replay, redrive];
    for (at, run) in running.iter().enumerate() {
        let topic = if at == 3 {
            &desk.rejected
        } else {
            &desk.events
        };
        wait_for(run, &open_line(topic, 0));
    }
    wait_for(&stopped, &open_line(&desk.events, 0));
    stopped.signal(Signal::INT);
    assert_eq!(stopped.ended(), 3, "{}", stopped.stderr.all());
    foreign[0].commit();
    foreign[1].abort();
    for run in &mut running {
        assert_eq!(run.ended(), 0, "{}", run.stderr.all());
    }
    let [dry, lines, _, redrive] = &mut running;
    let preview = dry.stderr.all();
    assert!(preview.contains("  records     20 ("), "{preview}");
    assert_eq!(lines.printed().lines().count(), REPORTS);
    let preview = redrive.stderr.all();
    let row = "unknown-status                      20               0";
    assert!(preview.contains(row), "{preview}");
    desk.copies(&target, REPORTS);
}

#[test]
fn an_open_transaction_is_named_while_other_partitions_are_read() {
    let kafka = cluster::shared();
    let mut desk = Desk::new(&kafka);
    desk.events = kafka.topic("events", 2);
    let _foreign = Foreign::begin(&kafka, &desk.events, 1);
    desk.write(&desk.events, (0..6000).map(event));
    // Partition 1 alone takes longer than the test waits for the line.
    let arguments = ["--since", "beginning", "--to", "-", "--rate", "20"];
    let running = desk.start("replay", &arguments);
    wait_for(&running, &open_line(&desk.events, 0));
}

#[test]
fn a_range_of_control_and_aborted_records_ends_at_once() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 2);
    // Offsets 2 to 4, and a control record.
    let foreign = Foreign::begin(&kafka, &desk.events, 3);
    foreign.abort();
    foreign.write(&desk.events, 1);
    foreign.commit();
    for (offsets, count) in [
        ("0:0-5", 2),
        ("0:2-4", 0),
        ("0:5-5", 0),
        ("0:0-", 2),
        ("0:3-6", 0),
    ] {
        let began = Instant::now();
        let output = desk.command("replay", &["--offsets", offsets, "--to", "-"]);
        assert_eq!(exit_code(&output), 0, "{offsets}: {}", stderr(&output));
        let lines = String::from_utf8(output.stdout).expect("text");
        assert_eq!(lines.lines().count(), count, "{offsets}");
        // It did not wait for a timeout.
        assert!(began.elapsed() < Duration::from_secs(9), "{offsets}");
    }
}

#[test]
fn typed_offsets_that_do_not_exist_are_named() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 5);
    for (offsets, count, words) in [
        (
            "0:100-200",
            0,
            "partition 0 ends at offset 5: no offset of 0:100-200 exists",
        ),
        (
            "0:3-200",
            2,
            "partition 0 ends at offset 5: of 0:3-200 only 0:3-4 exists",
        ),
    ] {
        let output = desk.command("replay", &["--offsets", offsets, "--to", "-"]);
        assert_eq!(exit_code(&output), 0, "{offsets}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        let lines = String::from_utf8(output.stdout).expect("text");
        assert_eq!(lines.lines().count(), count, "{offsets}");
    }
}

#[test]
fn an_empty_range_of_times_is_a_usage_error() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 1);
    let cases: [(&[&str], &str); 4] = [
        (&["--since", "now"], "--since now leaves nothing to read"),
        (
            &["--since", "2h", "--until", "beginning"],
            "--until beginning leaves nothing to read",
        ),
        (
            &["--since", "2h", "--until", "2h"],
            "--until 2h is not after --since 2h",
        ),
        (
            &["--offsets", "0:0-9223372036854775808"],
            "is too large: Kafka's offsets end at 9223372036854775807",
        ),
    ];
    for (range, words) in cases {
        for (command, more) in [("replay", &["--to", "-"][..]), ("redrive", &["--yes"])] {
            let output = desk.command(command, &[range, more].concat());
            assert_eq!(
                exit_code(&output),
                2,
                "{command} {range:?}: {}",
                stderr(&output)
            );
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_tail_reports_an_open_transaction_and_continues_after_it() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 3);
    let mut running = desk.start("tail", &["--since", "beginning", "-n", "4"]);
    let mut lines = printed(&mut running);
    assert_eq!(lines.by_ref().take(3).count(), 3);
    let foreign = Foreign::begin(&kafka, &desk.events, 1);
    desk.write(&desk.events, [event(3)]);
    wait_for(&running, &open_line(&desk.events, 3));
    foreign.abort();
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_eq!(lines.count(), 1);
}

#[test]
fn a_tail_waits_for_an_offset_that_does_not_exist_yet() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 1);
    let mut running = desk.start("tail", &["--offsets", "0:3-4"]);
    wait_for(
        &running,
        "partition 0 ends at offset 1: waiting for offset 3",
    );
    desk.write(&desk.events, (1..6).map(event));
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_eq!(running.printed().lines().count(), 2);
}

fn delete(kafka: &Kafka, topic: &str) {
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let deleted = block_on(kafka.admin().delete_topics(&[topic], &options));
    let deleted = deleted.expect("an answer");
    deleted[0].as_ref().expect("it is deleted");
}

#[test]
fn a_tail_whose_topic_is_deleted_ends() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 1);
    let mut running = desk.start("tail", &["--since", "beginning"]);
    assert_eq!(printed(&mut running).take(1).count(), 1);
    delete(&kafka, &desk.events);
    assert_eq!(running.ended(), 1, "{}", running.stderr.all());
    let words = format!("there is no topic {}", desk.events);
    assert!(running.stderr.wait_for_end().contains(&words));
}

#[test]
fn a_tail_continues_with_new_clients_after_a_minute_without_a_broker() {
    let kafka = cluster::exclusive();
    let desk = narrow_desk(&kafka, 1);
    let mut running = desk.start("tail", &["--since", "beginning", "-n", "2"]);
    let mut lines = printed(&mut running);
    assert!(lines.next().is_some());
    kafka.freeze_all();
    let words = format!("no broker has answered for a minute about {}:", desk.events);
    wait_for(&running, &words);
    kafka.thaw_all();
    kafka.wait_until_healthy();
    desk.write(&desk.events, [event(1)]);
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_eq!(lines.count(), 1);
}

#[test]
fn a_tail_whose_topic_is_recreated_ends() {
    let kafka = cluster::shared();
    let desk = narrow_desk(&kafka, 9);
    let mut running = desk.start("tail", &["--since", "beginning", "--json"]);
    let mut lines = printed(&mut running);
    assert_eq!(lines.by_ref().take(9).count(), 9);
    let reading = thread::spawn(move || lines.count());
    let topic = desk.events.as_str();
    delete(&kafka, topic);
    kafka.create_topic(topic, 1, 3, &[]);
    desk.write(topic, [event(0)]);
    assert_eq!(running.ended(), 1, "{}", running.stderr.all());
    assert_eq!(reading.join().expect("a reader"), 0);
    let stderr = running.stderr.wait_for_end();
    let shrunk =
        format!("{topic} partition 0 ends at offset 1, before offset 8, which was read earlier:");
    let reasons = [
        &shrunk,
        &format!("there is no topic {topic}"),
        &format!("the log of {topic} does not continue from the records that were read:"),
    ];
    assert!(
        reasons.iter().any(|reason| stderr.contains(*reason)),
        "{stderr}"
    );
}
