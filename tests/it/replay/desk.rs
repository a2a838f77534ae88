//! Topics with events, and the commands that read them.

use std::io::Read as _;
use std::process::{Child, Output, Stdio};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::bridge::{koobridge, run};
use crate::support::cluster::PATIENCE;
use crate::support::lines::Lines;
use crate::support::records::{Kafka, Record, read_all, until};

/// The arrival of the first event, 2026-11-18T11:06:40Z. Each further event is a millisecond later.
pub const FIRST: i64 = 1_795_000_000_000;
pub const PARTITIONS: i32 = 6;
const STATUSES: [&str; 3] = ["delivered", "read", "failed"];

pub struct Desk<'a> {
    pub kafka: &'a Kafka,
    pub events: String,
    pub rejected: String,
    producer: BaseProducer,
}

/// The name and the value of a header.
pub type WrittenHeader = (String, Option<Vec<u8>>);

/// A record to write.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub key: Option<Vec<u8>>,
    pub headers: Vec<WrittenHeader>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
}

/// Returns the event of this number. Each message has three events, with its statuses in order.
pub fn event(number: usize) -> NewRecord {
    let (message, status) = (format!("m{}", number / 3), STATUSES[number % 3]);
    let channel = format!("c{}", number / 3 % 2);
    let id = format!("id-{number}");
    let value = format!(
        r#"{{"event_id":"{id}","provider":"koomessage","channel":"whatsapp","channel_id":"{channel}","message_id":"{message}","sender":"8617311145266","recipient":"8618722225632","status":"{status}","received_at":"2026-11-18T11:06:40.000456Z","extra":{{}}}}"#
    );
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", "com.huaweicloud.koomessage.report.v1"),
        ("ce_subject", &message),
        ("content-type", "application/json"),
    ];
    let millisecond = i64::try_from(number).expect("a small number");
    NewRecord {
        headers: owned(&headers),
        key: Some(message.into_bytes()),
        value: Some(value.into_bytes()),
        timestamp: FIRST + millisecond,
    }
}

/// Returns the event with this many additional bytes.
pub fn large_event(number: usize, bytes: usize) -> NewRecord {
    let event = event(number);
    let value = String::from_utf8(event.value.expect("a value")).expect("text");
    let extra = format!(r#""extra":{{"x":"{}"}}"#, "x".repeat(bytes));
    NewRecord {
        value: Some(value.replace(r#""extra":{}"#, &extra).into_bytes()),
        ..event
    }
}

pub fn owned(headers: &[(&str, &str)]) -> Vec<WrittenHeader> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), Some(value.into()));
    headers.iter().map(owned).collect()
}

impl<'a> Desk<'a> {
    pub fn new(kafka: &'a Kafka) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .create()
            .expect("a producer");
        Self {
            kafka,
            events: kafka.topic("events", PARTITIONS),
            rejected: kafka.topic("rejected", PARTITIONS),
            producer,
        }
    }

    /// Returns a desk with this many events on its topic.
    pub fn with_events(kafka: &'a Kafka, count: usize) -> Self {
        let desk = Self::new(kafka);
        desk.write(&desk.events, (0..count).map(event));
        desk
    }

    /// Writes the records, and returns when Kafka has acknowledged all.
    pub fn write(&self, topic: &str, records: impl IntoIterator<Item = NewRecord>) {
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                let value = value.as_deref();
                headers = headers.insert(Header { key, value });
            }
            let mut outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
                .headers(headers)
                .timestamp(record.timestamp);
            outgoing.key = record.key.as_deref();
            outgoing.payload = record.value.as_deref();
            self.producer.send(outgoing).expect("room in the queue");
            self.producer.poll(std::time::Duration::ZERO);
        }
        self.producer
            .flush(PATIENCE)
            .expect("Kafka takes the records");
    }

    /// Runs a command on this desk's topics to its end.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Output {
        run(&mut self.prepared(command, arguments))
    }

    fn prepared(&self, command: &str, arguments: &[&str]) -> std::process::Command {
        let mut prepared = koobridge();
        prepared
            .args([command, "--bootstrap", self.kafka.bootstrap()])
            .args(["--set", &format!("kafka.topic={}", self.events)])
            .args(["--set", &format!("kafka.rejected_topic={}", self.rejected)])
            .args(arguments)
            .stdin(Stdio::null());
        prepared
    }

    /// Starts a command on this desk's topics.
    pub fn start(&self, command: &str, arguments: &[&str]) -> Running {
        Running::start(self.prepared(command, arguments))
    }

    pub fn read(&self, topic: &str) -> Vec<Record> {
        read_all(self.kafka.bootstrap(), topic)
    }

    /// Waits until `count` records are on the topic, and returns them. The last transaction can become visible shortly after
    /// the end of the run.
    pub fn copies(&self, topic: &str, count: usize) -> Vec<Record> {
        let copies = until(PATIENCE, || {
            let copies = self.read(topic);
            let found = copies.len();
            if found < count {
                return Err(format!("{found} of {count} records are on {topic}"));
            }
            Ok(copies)
        });
        let copies = copies.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(copies.len(), count);
        copies
    }
}

/// A running command, killed when dropped.
pub struct Running {
    pub child: Child,
    pub stderr: Lines,
}

impl Running {
    pub fn start(mut command: std::process::Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("koobridge starts");
        let stderr = Lines::read(child.stderr.take().expect("a pipe"));
        Self { child, stderr }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits until it has ended, and returns its exit code.
    pub fn ended(&mut self) -> i32 {
        let status = until(PATIENCE, || {
            let ended = self.child.try_wait().expect("a child");
            ended.ok_or_else(|| self.stderr.all())
        });
        let status = status.unwrap_or_else(|stderr| panic!("still running: {stderr}"));
        status.code().expect("it ended by itself")
    }

    /// Waits until it has ended, and returns its output.
    pub fn printed(&mut self) -> String {
        let mut text = String::new();
        let out = self.child.stdout.as_mut().expect("a pipe");
        out.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        self.child.wait().expect("a child ends");
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the exit code.
pub fn exit_code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub fn keys_and_ids(records: &[Record]) -> Vec<(String, String)> {
    let text = |record: &Record| {
        let key = String::from_utf8(record.key.clone().expect("a key")).expect("text");
        (key, record.header("ce_id").expect("an id").to_owned())
    };
    records.iter().map(text).collect()
}
