//! A subscriber of the events topic that keeps the state of each message in SQLite.
//!
//!     cargo run --example subscriber -- 127.0.0.1:9092 koomessage.reports state.db
//!
//! It drops repeats by `ce_id`, merges statuses forward only, commits offsets after the database has the
//! records, and puts records that it can't read into the table `dead_letters` instead of stopping.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rusqlite::{Connection, ErrorCode, Transaction, params};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

const EVENT_TYPE: &str = "com.huaweicloud.koomessage.report.v1";
const SCHEMA: &str = include_str!("../schema.sql");
const MERGE: &str = include_str!("../merge.sql");
/// A database transaction takes at most this many records, and waits this long for them.
const BATCH: usize = 500;
const WAIT: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Report {
    channel_id: String,
    message_id: String,
    status: String,
    received_at: String,
}

/// An event in structured mode.
#[derive(Deserialize)]
struct Document<'a> {
    specversion: String,
    id: String,
    /// Unused, but mandatory in an event.
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The meaning of a record to this subscriber.
enum Meaning {
    Report {
        event_id: String,
        report: Report,
    },
    /// An event of another type, which is ignored.
    Other,
    /// The reason why the record can't be read.
    Poison(&'static str),
}

const NOT_AN_EVENT: Meaning = Meaning::Poison("not-a-cloudevent");

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ([bootstrap, topic, database] | [bootstrap, topic, database, _]) = &arguments[..] else {
        eprintln!("usage: subscriber BOOTSTRAP TOPIC DATABASE [GROUP]");
        return ExitCode::from(2);
    };
    let group = arguments
        .get(3)
        .map_or("conversation-state", String::as_str);
    match run(bootstrap, topic, database, group) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("subscriber: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(bootstrap: &str, topic: &str, database: &str, group: &str) -> anyhow::Result<()> {
    let mut database = open(database).context("can't open the database")?;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        // If a member is killed, Kafka gives its partitions to others after this time.
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        // koobridge writes replays in transactions.
        .set("isolation.level", "read_committed")
        .create()?;
    consumer.subscribe(&[topic])?;
    eprintln!("reading {topic} as the group {group}");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let batch = tokio::select! {
            batch = next_batch(&consumer) => batch?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        keep(&mut database, &batch)
            .context("can't write to the database; no offset was committed")?;
        commit(&consumer, &batch);
    }
    // Leaves the group, so that its partitions go to others at once.
    consumer.unsubscribe();
    Ok(())
}

fn open(path: &str) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(30))?;
    match database.pragma_update(None, "journal_mode", "WAL") {
        // Another subscriber is switching the mode of the same file.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
        switched => switched?,
    }
    database.execute_batch(SCHEMA)?;
    Ok(database)
}

async fn next_batch(consumer: &StreamConsumer) -> anyhow::Result<Vec<OwnedMessage>> {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        match timeout(WAIT, consumer.recv()).await {
            Ok(Ok(record)) => batch.push(BorrowedMessage::detach(&record)),
            // librdkafka reconnects by itself.
            Ok(Err(error)) if error.rdkafka_error_code().is_some() => eprintln!("Kafka: {error}"),
            Ok(Err(error)) => bail!(error),
            Err(_) if batch.is_empty() => {}
            Err(_) => break,
        }
    }
    Ok(batch)
}

/// Writes a whole batch or nothing of it.
fn keep(database: &mut Connection, batch: &[OwnedMessage]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for record in batch {
        match meaning(record) {
            Meaning::Report { event_id, report } => apply(&transaction, &event_id, &report)?,
            Meaning::Other => {}
            Meaning::Poison(reason) => bury(&transaction, record, reason)?,
        }
    }
    transaction.commit()
}

fn apply(transaction: &Transaction<'_>, event_id: &str, report: &Report) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO seen VALUES (?1)";
    let is_new = transaction.prepare(insert)?.execute([event_id])? == 1;
    if is_new {
        let Report {
            channel_id,
            message_id,
            status,
            received_at,
        } = report;
        transaction
            .prepare(MERGE)?
            .execute([channel_id, message_id, status, received_at])?;
    }
    Ok(())
}

fn bury(
    transaction: &Transaction<'_>,
    record: &OwnedMessage,
    reason: &str,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT OR IGNORE INTO dead_letters VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            record.topic(),
            record.partition(),
            record.offset(),
            reason,
            record.key(),
            record.payload()
        ],
    )?;
    Ok(())
}

/// Reads an event in either content mode of CloudEvents.
fn meaning(record: &OwnedMessage) -> Meaning {
    let Some(value) = record.payload() else {
        return Meaning::Poison("no-value");
    };
    let is_structured = header(record, "content-type")
        .is_some_and(|kind| kind.starts_with("application/cloudevents"));
    if is_structured {
        let document = serde_json::from_slice::<Document<'_>>(value).ok();
        let document = document.filter(|document| document.specversion == "1.0");
        return document.map_or(NOT_AN_EVENT, |Document { id, kind, data, .. }| {
            of_type(&kind, id, data.map_or(b"", |data| data.get().as_bytes()))
        });
    }
    let attributes = ["ce_specversion", "ce_id", "ce_source", "ce_type"];
    match attributes.map(|name| header(record, name)) {
        [Some("1.0"), Some(id), Some(_), Some(kind)] => of_type(kind, id.to_owned(), value),
        _ => NOT_AN_EVENT,
    }
}

fn of_type(kind: &str, event_id: String, data: &[u8]) -> Meaning {
    if kind != EVENT_TYPE {
        return Meaning::Other;
    }
    match serde_json::from_slice::<Report>(data) {
        Err(_) => Meaning::Poison("not-a-report"),
        Ok(report) if !["delivered", "read", "failed"].contains(&&*report.status) => {
            Meaning::Poison("unknown-status")
        }
        Ok(report) => Meaning::Report { event_id, report },
    }
}

fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let mut headers = record.headers()?.iter();
    str::from_utf8(headers.find(|header| header.key == name)?.value?).ok()
}

/// Commits the offsets of a batch that is kept. If another member has the partitions now, it reads some
/// records again and drops them by their ids.
fn commit(consumer: &StreamConsumer, batch: &[OwnedMessage]) {
    let mut next = TopicPartitionList::new();
    for record in batch {
        let offset = Offset::Offset(record.offset() + 1);
        match next.find_partition(record.topic(), record.partition()) {
            Some(mut place) => place.set_offset(offset),
            None => next.add_partition_offset(record.topic(), record.partition(), offset),
        }
        .expect("an offset that Kafka gave");
    }
    if let Err(error) = consumer.commit(&next, CommitMode::Sync) {
        eprintln!("can't commit the offsets: {error}");
    }
}
