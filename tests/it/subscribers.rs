//! The example subscribers: after the same histories, they have the same tables.

mod extreme;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::suite::random::Random;
use crate::suite::rig::pause;
use crate::support::cluster::{self, PATIENCE};
use crate::support::lines::Lines;
use crate::support::records::{Kafka, until, unused_name};

const PARTITIONS: i32 = 6;

#[derive(Clone, Copy)]
enum Language {
    Rust,
    Java,
    Python,
}

impl Language {
    /// Returns the program. The first call runs it once without arguments, which builds those in Java and Python.
    fn program(self) -> PathBuf {
        static BUILT: [Once; 3] = [const { Once::new() }; 3];
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/subscribers");
        let program = match self {
            // `cargo test` builds it.
            Self::Rust => Path::new(env!("CARGO_BIN_EXE_koobridge"))
                .with_file_name("examples")
                .join("subscriber"),
            Self::Java => examples.join("java/run"),
            Self::Python => examples.join("python/run"),
        };
        BUILT[self as usize].call_once(|| {
            let output = Command::new(&program).output();
            let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let stderr = String::from_utf8(output.stderr).expect("text");
            let usage = "usage: subscriber BOOTSTRAP TOPIC DATABASE [GROUP]\n";
            // The build may print messages before the usage.
            assert!(stderr.ends_with(usage), "{stderr}");
            assert_eq!(output.status.code(), Some(2));
        });
        program
    }
}

/// A subscriber's database and arguments.
struct Subscriber<'a> {
    program: PathBuf,
    kafka: &'a Kafka,
    topic: &'a str,
    group: String,
    home: TempDir,
}

impl<'a> Subscriber<'a> {
    fn new(language: Language, kafka: &'a Kafka, topic: &'a str) -> Self {
        Self {
            program: language.program(),
            kafka,
            topic,
            group: unused_name("state"),
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("state.db")
    }

    fn start(&self) -> Running {
        let mut child = Command::new(&self.program)
            .args([self.kafka.bootstrap(), self.topic])
            .arg(self.database())
            .arg(&self.group)
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program");
        let stderr = Lines::read(child.stderr.take().expect("a pipe"));
        Running { child, stderr }
    }

    /// Waits until the group has committed the end of the topic.
    fn wait_until_read(&self, running: &Running) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", &self.group)
            .create()
            .expect("a consumer");
        let read = until(PATIENCE, || {
            let mut question = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                question.add_partition(self.topic, partition);
            }
            let committed = consumer.committed_offsets(question, PATIENCE);
            for place in committed.map_err(|error| error.to_string())?.elements() {
                let ends = consumer.fetch_watermarks(self.topic, place.partition(), PATIENCE);
                let (_, end) = ends.map_err(|error| error.to_string())?;
                if end > 0 && place.offset() != Offset::Offset(end) {
                    return Err(format!("{place:?} of {end}"));
                }
            }
            Ok(())
        });
        read.unwrap_or_else(|why| panic!("{why}: {}", running.stderr.all()));
    }

    fn rows(&self, select: &str) -> Vec<Vec<String>> {
        let database = Connection::open(self.database()).expect("a database");
        let mut select = database.prepare(select).expect("sound SQL");
        let columns = select.column_count();
        let rows = select.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.expect("rows").map(|row| row.expect("text")).collect()
    }

    /// Returns the number of reports that were applied so far.
    fn reports(&self) -> u64 {
        let count = Connection::open(self.database()).and_then(|database| {
            database.busy_timeout(PATIENCE)?;
            database.query_row("SELECT count(*) FROM seen", [], |row| row.get(0))
        });
        // The table does not exist at first.
        count.map_or(0, i64::cast_unsigned)
    }

    fn messages(&self) -> Vec<Vec<String>> {
        self.rows(
            "SELECT channel_id, message_id, status, status_at, CAST(reports AS TEXT) \
             FROM messages ORDER BY message_id",
        )
    }
}

/// A running subscriber, killed when dropped.
struct Running {
    child: Child,
    stderr: Lines,
}

impl Running {
    /// Stops it as an operator does.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        let status = until(PATIENCE, || {
            self.child
                .try_wait()
                .expect("a child")
                .ok_or("still running")
        });
        let status = status.expect("a subscriber stops when asked to");
        assert!(status.success(), "{status}: {}", self.stderr.all());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ended = self.child.kill();
        self.child.wait().expect("a child ends");
    }
}

fn write(kafka: &Kafka, topic: &str, records: &[Value]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    for record in records {
        let mut headers = OwnedHeaders::new();
        for header in record["headers"].as_array().expect("headers") {
            headers = headers.insert(Header {
                key: header[0].as_str().expect("a name"),
                value: header[1].as_str(),
            });
        }
        let (key, value) = (bytes(record, "key"), bytes(record, "value"));
        let mut outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).headers(headers);
        outgoing.key = key.as_deref();
        outgoing.payload = value.as_deref();
        producer.send(outgoing).expect("room in the queue");
    }
    producer.flush(PATIENCE).expect("Kafka takes the records");
}

/// Returns a record's key or value, given as text or as hexadecimal digits.
fn bytes(record: &Value, name: &str) -> Option<Vec<u8>> {
    let text = record[name].as_str().map(|text| text.as_bytes().to_vec());
    let hex = record[format!("{name}_hex")].as_str();
    text.or(hex.map(from_hex))
}

fn from_hex(digits: &str) -> Vec<u8> {
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digits = str::from_utf8(pair).expect("digits");
        u8::from_str_radix(digits, 16).expect("digits")
    };
    pairs.iter().map(byte).collect()
}

fn histories() -> Vec<Value> {
    let text = include_str!("../../examples/subscribers/histories.json");
    serde_json::from_str(text).expect("a list of histories")
}

fn texts(rows: &[Value], names: &[&str]) -> Vec<Vec<String>> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let texts = rows
        .iter()
        .map(|row| names.iter().map(|name| text(&row[*name])).collect());
    let mut texts: Vec<Vec<String>> = texts.collect();
    texts.sort();
    texts
}

fn every_history_ends_in_the_expected_tables(language: Language) {
    let kafka = cluster::shared();
    let topic = kafka.topic("events", PARTITIONS);
    let all = |name: &str| -> Vec<Value> {
        let rows = histories()
            .into_iter()
            .flat_map(|history| history[name].as_array().expect("a list").clone());
        rows.collect()
    };
    write(&kafka, &topic, &all("records"));
    let subscriber = Subscriber::new(language, &kafka, &topic);
    let running = subscriber.start();
    subscriber.wait_until_read(&running);
    running.stop();
    let columns = ["channel_id", "message_id", "status", "status_at", "reports"];
    assert_eq!(subscriber.messages(), texts(&all("messages"), &columns));
    let dead = subscriber.rows("SELECT CAST(key AS TEXT), reason FROM dead_letters ORDER BY 1");
    assert_eq!(dead, texts(&all("dead_letters"), &["key", "reason"]));
}

/// Returns reports of 1,000 messages, each with its three statuses in another order, all of them twice.
fn many() -> (Vec<Value>, Vec<Vec<String>>) {
    const ORDERS: [[&str; 3]; 3] = [
        ["delivered", "read", "failed"],
        ["read", "failed", "delivered"],
        ["failed", "delivered", "read"],
    ];
    let (mut records, mut messages) = (Vec::new(), Vec::new());
    for round in 0..6 {
        for message in 0..1000 {
            let status = ORDERS[message % 3][round % 3];
            let id = format!("many-{message:04}");
            let value = serde_json::json!({
                "channel_id": "c1", "message_id": id, "status": status,
                "received_at": format!("at-{status}"),
            });
            records.push(serde_json::json!({
                "key": id,
                "headers": [
                    ["ce_specversion", "1.0"],
                    ["ce_id", format!("{id}-{status}")],
                    ["ce_source", "/social/on/whatsapp/koomessage/report/c1"],
                    ["ce_type", "com.huaweicloud.koomessage.report.v1"],
                    ["content-type", "application/json"],
                ],
                "value": value.to_string(),
            }));
            if round == 0 {
                messages.push(
                    ["c1", &id, "read", "at-read", "3"]
                        .map(str::to_owned)
                        .to_vec(),
                );
            }
        }
    }
    (records, messages)
}

fn killed_in_the_middle_nothing_is_lost_or_applied_twice(language: Language) {
    let kafka = cluster::shared();
    let topic = kafka.topic("events", PARTITIONS);
    let (records, messages) = many();
    let subscriber = Subscriber::new(language, &kafka, &topic);
    let mut random = Random::new();
    // The second half repeats the first, so it applies nothing.
    let (new, repeats) = records.split_at(records.len() / 2);
    for part in new.chunks(new.len() / 3) {
        let mut running = subscriber.start();
        let before = subscriber.reports();
        write(&kafka, &topic, part);
        let grown = until(PATIENCE, || {
            let now = subscriber.reports();
            (now > before)
                .then_some(())
                .ok_or("nothing more was applied")
        });
        grown.unwrap_or_else(|why| panic!("{why}: {}", running.stderr.all()));
        pause(random.millis(1..30));
        running.child.kill().expect("a child can be killed");
        running.child.wait().expect("a killed child ends");
    }
    write(&kafka, &topic, repeats);
    let running = subscriber.start();
    subscriber.wait_until_read(&running);
    running.stop();
    assert_eq!(subscriber.messages(), messages);
}

fn two_of_a_group_share_the_work_and_one_may_leave(language: Language) {
    let kafka = cluster::shared();
    let topic = kafka.topic("events", PARTITIONS);
    let (records, messages) = many();
    let (first, second) = records.split_at(records.len() / 2);
    let subscriber = Subscriber::new(language, &kafka, &topic);
    let (one, other) = (subscriber.start(), subscriber.start());
    write(&kafka, &topic, first);
    subscriber.wait_until_read(&one);
    other.stop();
    write(&kafka, &topic, second);
    subscriber.wait_until_read(&one);
    one.stop();
    assert_eq!(subscriber.messages(), messages);
}

macro_rules! each_does {
    ($($language:ident $variant:ident),*) => {$(
        mod $language {
            use super::Language;

            #[test]
            fn every_history_ends_in_the_expected_tables() {
                super::every_history_ends_in_the_expected_tables(Language::$variant);
            }

            #[test]
            fn reports_with_extreme_members_are_applied() {
                super::extreme::reports_with_extreme_members_are_applied(Language::$variant);
            }

            #[test]
            fn killed_in_the_middle_nothing_is_lost_or_applied_twice() {
                super::killed_in_the_middle_nothing_is_lost_or_applied_twice(Language::$variant);
            }

            #[test]
            fn two_of_a_group_share_the_work_and_one_may_leave() {
                super::two_of_a_group_share_the_work_and_one_may_leave(Language::$variant);
            }
        }
    )*};
}

each_does!(rust Rust, java Java, python Python);
