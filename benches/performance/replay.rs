//! Compares a replay with a plain copy by `kcat -C | kcat -P`, an idempotent producer without transactions.

use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use indicatif::HumanCount;
use koobridge::contract::{EVENT_SCHEMA, EVENT_TYPE};
use rdkafka::admin::AdminOptions;

use crate::document;
use crate::figures::{Table, median, rounds};
use crate::support::bridge::koobridge;
use crate::support::records::{Kafka, block_on};

const ROUNDS: usize = 3;
const PARTITIONS: i32 = 6;
const EVENTS: u32 = 200_000;
/// Deletes the files of a deleted topic at once.
const CONFIG: [(&str, &str); 2] = [("min.insync.replicas", "2"), ("file.delete.delay.ms", "0")];
const KEY_END: &str = "|";
/// The headers of an event, and those that a replay adds, in their usual sizes.
const EVENT: [(&str, &str); 8] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "0b9c7e4e-4d1c-5c1e-9d3a-000000000000"),
    ("ce_source", "/social/on/whatsapp/koomessage/report/c1"),
    ("ce_type", EVENT_TYPE),
    ("ce_time", "2026-11-18T11:06:40.000456Z"),
    ("ce_subject", "m0000000000000000"),
    ("ce_dataschema", EVENT_SCHEMA),
    ("content-type", "application/json"),
];
const REPLAYED: [(&str, &str); 4] = [
    ("replay_id", "20261123-120000-abcd"),
    ("replay_topic", "replayed-12345-0"),
    ("replay_partition", "3"),
    ("replay_offset", "100000"),
];

/// A way to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copier {
    Replay,
    /// kcat can't copy headers, but can write the same headers with each record.
    KcatWithHeaders,
    Kcat,
}

pub fn run(kafka: &Kafka) {
    let is_there = Command::new("kcat").arg("-V").output().is_ok();
    assert!(is_there, "kcat is missing: apt-get install kcat");
    let source = kafka.topic("replayed", PARTITIONS);
    load(kafka, &source);
    let copiers = [
        ("`koobridge replay`", Copier::Replay),
        (
            "kcat, with headers of the same size",
            Copier::KcatWithHeaders,
        ),
        ("kcat, without headers", Copier::Kcat),
    ];
    let samples = rounds(ROUNDS, &copiers, |(_, copier)| {
        copier.seconds(kafka, &source)
    });
    let mut table = Table::new(&["", "s", "records/s", "time of the replay ÷ its time"]);
    for ((name, _), seconds) in copiers.iter().zip(&samples) {
        let ratios = samples[0].iter().zip(seconds);
        let ratio = median(ratios.map(|(replay, other)| replay / other));
        let took = median(seconds.iter().copied());
        table.row(vec![
            (*name).to_owned(),
            format!("{took:.1}"),
            format!("{:.0}", f64::from(EVENTS) / took),
            format!("{ratio:.2}"),
        ]);
    }
    document::put("replay", &table);
}

impl Copier {
    /// Returns how long a copy to a new topic takes.
    fn seconds(self, kafka: &Kafka, source: &str) -> f64 {
        let target = kafka.topic_with("copy", PARTITIONS, 3, &CONFIG);
        let began = Instant::now();
        match self {
            Self::Replay => replay(kafka, source, &target),
            Self::KcatWithHeaders => pipe(
                kafka,
                source,
                producer(kafka, &target, &[&EVENT, &REPLAYED]),
            ),
            Self::Kcat => pipe(kafka, source, producer(kafka, &target, &[])),
        }
        let took = began.elapsed().as_secs_f64();
        let deleted = block_on(
            kafka
                .admin()
                .delete_topics(&[&target], &AdminOptions::new()),
        );
        deleted.expect("a topic can be deleted");
        took
    }
}

fn load(kafka: &Kafka, topic: &str) {
    let mut kcat = producer(kafka, topic, &[&EVENT])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat runs");
    let mut lines = BufWriter::new(kcat.stdin.take().expect("a pipe"));
    for number in 0..EVENTS {
        writeln!(
            lines,
            "m{number:016}{KEY_END}{{\"event_id\":\"0b9c7e4e-4d1c-5c1e-9d3a-{number:012}\",\"provider\":\"koomessage\",\
             \"channel\":\"whatsapp\",\"channel_id\":\"c1\",\"message_id\":\"m{number:016}\",\"sender\":\"8617311145266\",\
             \"recipient\":\"8618722225632\",\"status\":\"read\",\"received_at\":\"2026-11-18T11:06:40.000456Z\",\"extra\":{{}}}}"
        )
        .expect("kcat reads");
    }
    drop(lines);
    assert!(kcat.wait().expect("kcat ends").success());
}

fn replay(kafka: &Kafka, source: &str, target: &str) {
    let output = koobridge()
        .args(["replay", "--bootstrap", kafka.bootstrap()])
        .args(["--set", &format!("kafka.topic={source}")])
        .args(["--since", "beginning", "--to", target, "--yes"])
        .output()
        .expect("koobridge runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!(" {} records (", HumanCount(EVENTS.into()))),
        "{said}"
    );
}

fn pipe(kafka: &Kafka, source: &str, mut producer: Command) {
    let mut consumer = Command::new("kcat")
        .args([
            "-C",
            "-b",
            kafka.bootstrap(),
            "-t",
            source,
            "-o",
            "beginning",
            "-e",
            "-q",
        ])
        .args(["-K", KEY_END])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat runs");
    let records = consumer.stdout.take().expect("a pipe");
    let status = producer.stdin(records).status().expect("kcat runs");
    assert!(status.success() && consumer.wait().expect("kcat ends").success());
}

fn producer(kafka: &Kafka, topic: &str, headers: &[&[(&str, &str)]]) -> Command {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", kafka.bootstrap(), "-t", topic, "-K", KEY_END]);
    for property in [
        "acks=all",
        "enable.idempotence=true",
        "linger.ms=50",
        "topic.partitioner=murmur2_random",
    ] {
        kcat.args(["-X", property]);
    }
    for (name, value) in headers.concat() {
        kcat.args(["-H", &format!("{name}={value}")]);
    }
    kcat
}
