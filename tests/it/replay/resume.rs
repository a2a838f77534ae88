//! Runs that are interrupted and resumed.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rustix::process::Signal;

use super::by_key;
use super::desk::{Desk, exit_code, stderr};
use crate::suite::random::Random;
use crate::suite::rig::pause;
use crate::support::bridge::{PATIENCE, eventually, koobridge, run};
use crate::support::cluster;
use crate::support::records::{Record, read_all};

pub const EVENTS: usize = 12_000;
const KILLS: usize = 20;

/// Returns the id of the run from the headers of its records.
fn id_of(copies: &[Record]) -> String {
    let id = copies.first().and_then(|copy| copy.header("replay_id"));
    id.expect("a replayed record").to_owned()
}

/// Asserts that each source record is there once, and that the records of a key are in their order.
pub fn assert_exactly_once(desk: &Desk<'_>, target: &str) {
    let events = desk.read(&desk.events);
    let copies = desk.copies(target, events.len());
    let places: BTreeSet<_> = copies
        .iter()
        .map(|copy| {
            (
                copy.header("replay_partition"),
                copy.header("replay_offset"),
            )
        })
        .collect();
    assert_eq!(places.len(), events.len());
    assert_eq!(by_key(&copies), by_key(&events));
}

pub fn copied(desk: &Desk<'_>, target: &str, least: usize) -> Vec<Record> {
    eventually(|| {
        let copies = read_all(desk.kafka.bootstrap(), target);
        if copies.len() >= least {
            return Ok(copies);
        }
        Err(format!("{} of {least} are there", copies.len()))
    })
}

#[test]
fn a_run_killed_at_random_moments_resumes_without_a_gap_or_a_repeat() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let mut random = Random::new();
    let arguments = ["--to", &target, "--yes", "--rate", "1000"];
    let mut running = desk.start(
        "replay",
        &[&["--since", "beginning"], &arguments[..]].concat(),
    );
    let id = id_of(&copied(&desk, &target, 1));
    for _ in 0..KILLS {
        pause(random.millis(50..1200));
        running.child.kill().expect("a child can be killed");
        running.child.wait().expect("a killed child ends");
        running = desk.start("replay", &[&arguments[..], &["--resume", &id]].concat());
    }
    drop(running);
    let last = ["--to", &target, "--yes", "--resume", &id];
    let output = desk.command("replay", &last);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
    let again = desk.command("replay", &last);
    assert_eq!(exit_code(&again), 0);
    assert!(
        stderr(&again).contains("has already finished"),
        "{}",
        stderr(&again)
    );
    assert_exactly_once(&desk, &target);
}

/// A process that is killed between the two steps of a commit leaves a transaction that is still open.
#[test]
fn a_run_killed_within_a_commit_resumes_before_the_transaction_times_out() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let arguments = ["--since", "beginning", "--to", &target, "--yes"];
    let mut running = desk.start("replay", &[&arguments[..], &["--rate", "1000"]].concat());
    let id = id_of(&copied(&desk, &target, 1));
    running.child.kill().expect("a child can be killed");
    running.child.wait().expect("a killed child ends");
    let name = format!("koobridge-replay-{id}");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", &name)
        .set("transactional.id", &name)
        .set("transaction.timeout.ms", "600000");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let producer: BaseProducer = config.create().expect("a producer");
    let group = consumer.group_metadata().expect("a group");
    let mut offsets = TopicPartitionList::new();
    let offset = offsets.add_partition_offset(&desk.events, 0, Offset::Offset(0));
    offset.expect("a valid offset");
    producer.init_transactions(PATIENCE).expect("it is let in");
    producer.begin_transaction().expect("one begins");
    producer
        .send_offsets_to_transaction(&offsets, &group, PATIENCE)
        .expect("Kafka takes the offsets");
    let output = desk.command("replay", &["--to", &target, "--yes", "--resume", &id]);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
}

#[test]
fn a_stopped_run_prints_the_command_that_resumes_it() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let arguments = ["--since", "beginning", "--to", &target, "--yes"];
    let slowly = [&arguments[..], &["--rate", "2000"]].concat();
    let mut running = desk.start("replay", &slowly);
    copied(&desk, &target, 1);
    running.signal(Signal::INT);
    assert_eq!(running.ended(), 3, "{}", running.stderr.all());
    let before = desk.read(&target).len();
    assert!((1..EVENTS).contains(&before), "{before}");
    let command = running
        .stderr
        .find("koobridge replay ")
        .expect("the command");
    let words = command.split_whitespace().skip(1);
    // The same command without the rate.
    let words = words.filter(|word| !["--rate", "2000"].contains(word));
    let output = run(koobridge().args(words).arg("--yes"));
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    assert_exactly_once(&desk, &target);
}

#[test]
fn a_different_command_does_not_resume_a_run() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, 30);
    let target = kafka.topic("target", 3);
    let other = kafka.topic("other", 3);
    let output = desk.command(
        "replay",
        &["--since", "beginning", "--to", &target, "--yes"],
    );
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let id = id_of(&desk.copies(&target, 30));
    let cases: [(&[&str], &str); 4] = [
        (&["--to", &other], "the run has --to "),
        (&["--to", &target, "--status", "read"], "the filters ("),
        (
            &["--to", &target, "--include-replays"],
            "the run does not have --include-replays",
        ),
        (&["--to", &target, "--since", "1h"], "--since beginning"),
    ];
    for (arguments, words) in cases {
        let output = desk.command("replay", &[arguments, &["--yes", "--resume", &id]].concat());
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    assert_eq!(desk.read(&other), []);
}

#[test]
fn a_second_process_takes_over_the_run_and_the_first_ends_with_1() {
    let kafka = cluster::shared();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let there = ["--to", &target, "--yes"];
    // Slow enough to run until the second has started, even on a busy machine.
    let slowly = ["--since", "beginning", "--rate", "400"];
    let mut first = desk.start("replay", &[&slowly[..], &there].concat());
    let id = id_of(&copied(&desk, &target, 1));
    let told = first.stderr.all();
    assert!(told.contains(&format!("--resume {id}")), "{told}");
    let mut second = desk.start("replay", &[&there[..], &["--resume", &id]].concat());
    assert_eq!(first.ended(), 1);
    let stderr = first.stderr.all();
    assert!(
        stderr.contains("another process has taken over the run"),
        "{stderr}"
    );
    // The first message only: another hint to resume would end the second process.
    assert_eq!(stderr.matches("--resume ").count(), 1, "{stderr}");
    assert_eq!(second.ended(), 0, "{}", second.stderr.all());
    assert_exactly_once(&desk, &target);
}

#[test]
fn a_run_waits_for_brokers_that_stall_longer_than_the_transaction_timeout() {
    let kafka = cluster::exclusive();
    let desk = Desk::with_events(&kafka, EVENTS);
    let target = kafka.topic("target", 3);
    let arguments = [
        "--since",
        "beginning",
        "--to",
        &target,
        "--yes",
        "--rate",
        "2000",
    ];
    let mut running = desk.start("replay", &arguments);
    copied(&desk, &target, 1);
    kafka.freeze_all();
    pause(Duration::from_secs(14));
    kafka.thaw_all();
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_exactly_once(&desk, &target);
}
