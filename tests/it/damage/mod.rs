//! Read errors: sectors that can't be read for a moment or for good, bytes that differ from the written ones, and
//! files that can't be opened for a while. Each error costs only the affected reports.

mod faults;
mod garbage;
mod log;

mod pages;
mod passing;
mod sectors;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::mpsc;

use koobridge::contract::Record;
use koobridge::spool::{self, LaneKey, Options};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bridge::{Bridge, PATIENCE, eventually, koobridge};
use crate::support::records::{Kafka, read_all, unused_name};
use faults::Faults;

/// The number of partitions of the reports in a spool.
const PARTITIONS: u32 = 6;
/// The number of reports in a spool: they fill three files.
const REPORTS: u64 = 1_100;
/// The limit of such a spool: a file is replaced at 1 MiB.
const LIMIT: (&str, &str) = ("spool.disk_limit", "16 MiB");

/// A spool of an earlier run, with reports of one topic.
struct Spool {
    home: TempDir,
}

impl Spool {
    /// Returns a spool with the reports from 1 to [`REPORTS`], in three files without logs.
    fn closed(topic: &str) -> Self {
        let spool = Self::new();
        let open = fill(&spool.path(), topic);
        assert!(open.close(PATIENCE), "the spool ends");
        assert_eq!(spool.files().len(), 3);
        spool
    }

    /// Returns the same spool as a kill leaves it: the newest file has a write-ahead log.
    fn killed(topic: &str) -> Self {
        let spool = Self::new();
        let open = fill(&spool.path(), topic);
        let killed = spool.copy();
        drop(open);
        killed
    }

    fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("spool")
    }

    fn text(&self) -> String {
        self.path().display().to_string()
    }

    /// Copies the spool to another directory.
    fn copy(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(copy.path()).expect("a directory");
        for file in fs::read_dir(self.path()).expect("a directory").flatten() {
            fs::copy(file.path(), copy.path().join(file.file_name())).expect("a file");
        }
        copy
    }

    /// Returns its files, the oldest first, without logs and without files that were set aside.
    fn files(&self) -> Vec<PathBuf> {
        self.names_with(|name| name.ends_with(".sqlite"))
    }

    fn set_aside(&self) -> Vec<PathBuf> {
        self.names_with(|name| {
            name.contains(".aside-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
    }

    fn names_with(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path()).expect("a directory").flatten();
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
        files.retain(|path| is_wanted(name(path)));
        files.sort();
        files
    }

    /// Runs `koobridge spool …`. `output` reads while it runs, because it can print more than a pipe holds.
    fn command(&self, faults: &Faults, words: &[&str]) -> Output {
        let mut command = koobridge();
        command.arg("spool").args(words).arg("--directory");
        command.arg(self.path()).envs(faults.environment());
        command.output().expect("koobridge starts")
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a plain name")
}

/// Returns the mark of a report, which is its key and is repeated in its value: each page with a part of the report
/// contains the mark.
fn mark(number: u64) -> String {
    format!("<{number:06}>")
}

fn record(number: u64) -> Record {
    // Some reports need several pages.
    let times = if number.is_multiple_of(40) {
        1_500
    } else {
        240
    };
    Record {
        key: Some(mark(number)),
        headers: vec![("ce_id".into(), number.to_string().into())],
        value: mark(number).repeat(times).into_bytes(),
        timestamp: 1_795_000_000_000,
    }
}

/// Writes the reports without closing the spool.
fn fill(directory: &Path, topic: &str) -> spool::Spool<()> {
    let options = Options {
        directory: directory.to_owned(),
        disk_limit: 16 << 20,
        free_space: 0,
        memory: 8 << 20,
    };
    let (written, results) = mpsc::channel();
    let on_written = move |(), result| written.send(result).expect("the test listens");
    let (spool, _) = spool::Spool::open(&options, on_written, drop).expect("a new spool");
    for number in 1..=REPORTS {
        let partition = u32::try_from(number % u64::from(PARTITIONS)).expect("a partition");
        let lane = LaneKey {
            topic: topic.into(),
            partition: Some(partition),
        };
        spool.write(&lane, number, Arc::new(record(number)), ());
    }
    for _ in 0..REPORTS {
        assert_eq!(results.recv_timeout(PATIENCE), Ok(Ok(())));
    }
    spool
}

/// Topics for the reports of spools.
struct Topics<'a> {
    kafka: &'a Kafka,
    events: String,
    rejected: String,
    /// The number of records that were taken from each partition.
    taken: [i64; PARTITIONS as usize],
}

impl<'a> Topics<'a> {
    fn new(kafka: &'a Kafka) -> Self {
        let topics = Self::without_events(kafka);
        topics.create_events();
        topics
    }

    /// Creates only the rejected topic.
    fn without_events(kafka: &'a Kafka) -> Self {
        let partitions = i32::try_from(PARTITIONS).expect("a few");
        Self {
            kafka,
            events: unused_name("events"),
            rejected: kafka.topic("rejected", partitions),
            taken: [0; PARTITIONS as usize],
        }
    }

    /// Creates the events topic: a running bridge begins to deliver.
    fn create_events(&self) {
        let partitions = i32::try_from(PARTITIONS).expect("a few");
        let in_sync = [("min.insync.replicas", "2")];
        self.kafka
            .create_topic(&self.events, partitions, 3, &in_sync);
    }

    /// Returns the marks of the records since the last call, sorted.
    fn take(&mut self) -> Vec<String> {
        let records = read_all(self.kafka.bootstrap(), &self.events);
        let mut marks = Vec::new();
        for record in records {
            let partition = usize::try_from(record.partition).expect("a partition");
            if record.offset >= self.taken[partition] {
                self.taken[partition] = record.offset + 1;
                let key = record.key.expect("a key");
                marks.push(String::from_utf8(key).expect("text"));
            }
        }
        marks.sort();
        marks
    }

    /// Starts a bridge on a spool.
    fn bridge(&self, spool: &Spool, faults: &Faults) -> Result<Bridge, String> {
        start(
            self.kafka.bootstrap(),
            [&self.events, &self.rejected],
            spool,
            faults,
        )
    }
}

/// Starts a bridge on a spool. When it ends before it listens, returns its log as the error.
fn start(
    bootstrap: &str,
    [events, rejected]: [&str; 2],
    spool: &Spool,
    faults: &Faults,
) -> Result<Bridge, String> {
    let directory = spool.text();
    let settings = [
        ("spool.directory", &*directory),
        LIMIT,
        ("kafka.flush_timeout", "100ms"),
    ];
    Bridge::try_start_in(
        &faults.environment(),
        bootstrap,
        events,
        rejected,
        &settings,
    )
}

/// Waits until a bridge has delivered its spool, and stops it.
fn drain(bridge: &mut Bridge) {
    wait_for_reports(bridge, 0);
    bridge.signal(Signal::TERM);
    assert_eq!(
        bridge.wait_for_exit().code(),
        Some(0),
        "{}",
        bridge.logged()
    );
}

/// Waits until a bridge has counted all its reports and has `expected` ones.
fn wait_for_reports(bridge: &Bridge, expected: u64) {
    eventually(|| {
        let status = bridge.probe("/readyz").json();
        let spool = &status["spool"];
        let is_it = spool["reports"] == expected && spool["counted"] == true;
        is_it
            .then_some(())
            .ok_or_else(|| format!("not {expected} reports: {spool}"))
    });
}

/// Returns the marks of all reports except the lost ones.
fn all_but(lost: &BTreeSet<u64>) -> Vec<String> {
    (1..=REPORTS)
        .filter(|number| !lost.contains(number))
        .map(mark)
        .collect()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = str::from_utf8(&output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).expect("text")
}
