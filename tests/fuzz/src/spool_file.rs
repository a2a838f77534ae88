//! A file of an earlier run in the spool's directory: with any contents, the bridge must start and keep new reports.
//!
//! The input is the file, followed by its write-ahead log if it has one. The examples were made with
//! `PRAGMA page_size = 512`, so that a change of few bytes is likely to have an effect.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use koobridge::contract::Record;
use koobridge::spool::{
    Inspection, LaneKey, Mark, OpenError, Options, RestoredLane, Row, Spool, WriteError,
};

const FILE: &str = "spool-000001.sqlite";
const LOG: &str = "spool-000001.sqlite-wal";
/// The first bytes of a write-ahead log (SQLite's file format, section 4.1). The last bit can be 0 or 1.
const LOG_MAGIC: [u8; 4] = [0x37, 0x7f, 0x06, 0x82];
/// Longer than any operation takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that one read of a lane returns: a few records.
const PART: usize = 512;

type Written = Result<(), WriteError>;

/// Opens a spool with the file, drains it, writes a record, and opens it again.
pub fn check(input: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    put(path, input);
    inspect(path);
    let Some((spool, lanes)) = open(path) else {
        return;
    };
    for lane in &lanes {
        drain(&spool, lane);
        spool.assign(&lane.lane.topic, |_| 0);
    }
    let (lane, number) = next_number(&lanes);
    write(&spool, &lane, number);
    check_kept(&spool, &lane, number);
    close(&spool);
    drop(spool);
    let (spool, lanes) = open(path).expect("a newer format was an error before");
    let is_due = |left: &RestoredLane| left.lane == lane && left.last >= number;
    assert!(lanes.iter().any(is_due), "{lanes:?}");
    check_kept(&spool, &lane, number);
    close(&spool);
    inspect(path);
}

fn put(directory: &Path, input: &[u8]) {
    let is_log = |window: &[u8]| window[..3] == LOG_MAGIC[..3] && window[3] | 1 == LOG_MAGIC[3] | 1;
    let log = input.windows(LOG_MAGIC.len()).position(is_log);
    let (file, log) = input.split_at(log.unwrap_or(input.len()));
    fs::write(directory.join(FILE), file).expect("room");
    if !log.is_empty() {
        fs::write(directory.join(LOG), log).expect("room");
    }
}

/// Inspects all contents, as `koobridge spool` does.
fn inspect(directory: &Path) {
    let inspection = Inspection::of(directory).expect("a directory");
    let _problems = inspection.lanes();
    let _problems = inspection.each(|_| Ok(())).expect("shown");
    let _problems = inspection.each_set_aside(|_| Ok(())).expect("shown");
}

/// Opens the spool. Returns `None` if a newer version wrote the file, which is the only accepted error.
fn open(directory: &Path) -> Option<(Spool<Sender<Written>>, Vec<RestoredLane>)> {
    let options = Options {
        directory: directory.to_owned(),
        disk_limit: 64 << 20,
        free_space: 0,
        memory: 1 << 20,
    };
    let send_result =
        |results: Sender<Written>, written| results.send(written).expect("an open channel");
    match Spool::open(&options, send_result, drop) {
        Ok((spool, remains)) => Some((spool, remains.lanes)),
        Err(OpenError::Newer(path, _)) => {
            assert!(path.exists(), "the file stays in place");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reads all due reports of a lane, in order, and deletes or marks each one, some of them in the inbox.
fn drain(spool: &Spool<Sender<Written>>, RestoredLane { lane, first, last }: &RestoredLane) {
    assert!(*first <= last + 1);
    let mut from = *first;
    loop {
        let (rows, is_end) = read(spool, lane, from);
        for row in rows {
            assert!(row.number >= from, "{} after {from}", row.number);
            from = row.number + 1;
            let held_by = LaneKey {
                topic: Arc::clone(&lane.topic),
                partition: lane.partition.filter(|_| !row.is_in_inbox),
            };
            match row.number % 3 {
                0 => spool.delete(&held_by, row.number),
                1 => spool.mark(&held_by, row.number, Mark::Quarantined),
                _ => spool.mark(&held_by, row.number, Mark::TimedOut),
            }
        }
        if is_end {
            return;
        }
    }
}

/// Reads a lane. Waits until the reports of damaged files are moved.
fn read(spool: &Spool<Sender<Written>>, lane: &LaneKey, from: u64) -> (Vec<Row>, bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        match spool.read(lane, from, PART) {
            Ok(read) => return read,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::yield_now();
    }
}

/// Returns the lane and number that the bridge would write next: an existing or a new lane, and a number above those
/// of the topic.
fn next_number(lanes: &[RestoredLane]) -> (LaneKey, u64) {
    let new = LaneKey {
        topic: "events".into(),
        partition: Some(0),
    };
    let lane = lanes.first().map_or(new, |left| left.lane.clone());
    let of_topic = lanes.iter().filter(|left| left.lane.topic == lane.topic);
    let last = of_topic.map(|left| left.last).max();
    (lane, last.unwrap_or_default() + 1)
}

fn record() -> Arc<Record> {
    Arc::new(Record {
        key: Some("m1".to_owned()),
        headers: vec![("ce_id".into(), "id".into())],
        value: b"{}".to_vec(),
        timestamp: 1_795_000_000_000,
    })
}

fn write(spool: &Spool<Sender<Written>>, lane: &LaneKey, number: u64) {
    let (results, written) = mpsc::channel();
    spool.write(lane, number, record(), results);
    let written = written.recv_timeout(PATIENCE).expect("an answer");
    assert_eq!(written, Ok(()));
}

fn check_kept(spool: &Spool<Sender<Written>>, lane: &LaneKey, number: u64) {
    let (rows, _) = read(spool, lane, number);
    let first = rows.first().map(|row| (row.number, &*row.record));
    assert_eq!(first, Some((number, &*record())));
}

/// Closes the spool. This checks more often than [`Spool::close`] does, to be faster.
fn close(spool: &Spool<Sender<Written>>) {
    let until = Instant::now() + PATIENCE;
    while !spool.close(Duration::ZERO) {
        assert!(Instant::now() < until, "the spool does not end");
        thread::yield_now();
    }
}
