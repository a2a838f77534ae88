//! A spool on a system with limits on writing: no temporary files, a full or read-only disk, a removed directory.

mod full;
mod read_only;
mod removed;
mod temporary_files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::mpsc;

use koobridge::contract::Record;
use koobridge::spool::{self, LaneKey, Options};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::bridge::{Bridge, PATIENCE, eventually, run, wrapped};

/// The number of partitions of the reports of [`fill`].
const PARTITIONS: u32 = 6;

/// A spool's directory on a normal file system.
struct Spool {
    home: TempDir,
    path: PathBuf,
}

impl Spool {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("spool");
        Self { home, path }
    }

    fn text(&self) -> &str {
        text(&self.path)
    }

    /// Copies the directory and its files.
    fn copy(&self) -> PathBuf {
        let copy = self.home.path().join("copy");
        fs::create_dir(&copy).expect("a directory");
        for file in fs::read_dir(&self.path).expect("a directory").flatten() {
            fs::copy(file.path(), copy.join(file.file_name())).expect("a file");
        }
        copy
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Writes `count` reports of a topic, with the keys `m1`, `m2`, …, and closes the spool.
fn fill(directory: &Path, topic: &str, count: u64) {
    let options = Options {
        directory: directory.to_owned(),
        disk_limit: 1 << 30,
        free_space: 0,
        memory: 8 << 20,
    };
    let (written, results) = mpsc::channel();
    let on_written = move |(), result| written.send(result).expect("the test listens");
    let (spool, _) = spool::Spool::open(&options, on_written, drop).expect("a new spool");
    for number in 1..=count {
        let partition = u32::try_from(number % u64::from(PARTITIONS)).expect("a partition");
        let lane = LaneKey {
            topic: topic.into(),
            partition: Some(partition),
        };
        spool.write(&lane, number, Arc::new(record(number)), ());
    }
    for _ in 0..count {
        assert_eq!(results.recv_timeout(PATIENCE), Ok(Ok(())));
    }
    assert!(spool.close(PATIENCE), "the spool ends");
}

fn record(number: u64) -> Record {
    Record {
        key: Some(format!("m{number}")),
        headers: vec![("ce_id".into(), number.to_string().into())],
        value: b"{}".to_vec(),
        timestamp: 1_795_000_000_000,
    }
}

/// Runs `koobridge spool …` on a directory.
fn spool_command(wrapper: &[&str], words: &[&str], directory: &Path) -> Output {
    run(wrapped(wrapper)
        .arg("spool")
        .args(words)
        .arg("--directory")
        .arg(directory))
}

/// Returns the lanes in the output of `koobridge spool status --json`.
fn lanes(status: &Output) -> Value {
    assert!(status.status.success(), "{status:?}");
    let mut status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    status["lanes"].take()
}

/// Waits until the bridge logs a warning or an error with one of these words.
fn wait_for_warning(bridge: &Bridge, words: &[&str]) {
    eventually(|| {
        let logged = bridge.logged();
        let mut lines = logged.lines();
        let is_it = |line: &str| {
            let is_warning = ["\"WARN\"", "\"ERROR\""]
                .iter()
                .any(|level| line.contains(level));
            let line = line.to_lowercase();
            is_warning && words.iter().any(|word| line.contains(word))
        };
        let found = lines.any(is_it);
        found
            .then_some(())
            .ok_or_else(|| format!("no warning with one of {words:?} in:\n{logged}"))
    });
}
