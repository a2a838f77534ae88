//! Tests of the store without Kafka: written reports survive a restart, even when a file is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{self, Receiver, Sender};

use tempfile::TempDir;

use super::*;

mod damage;
mod full;
mod inbox;
mod marks;
mod upgrade;

/// A report's number, and the channel for the spool's answer.
struct Ticket(u64, Sender<Answer>);

type Answer = (u64, Result<(), WriteError>);

fn send_answer(ticket: Ticket, result: Result<(), WriteError>) {
    ticket.1.send((ticket.0, result)).expect("an open channel");
}

struct Fixture {
    directory: TempDir,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Fixture {
    fn new() -> Self {
        let (answer, answers) = mpsc::channel();
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            answer,
            answers,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    fn options(&self) -> Options {
        Options {
            directory: self.path(),
            disk_limit: 64 << 20,
            free_space: 0,
            memory: 1 << 20,
        }
    }

    fn open(&self) -> (Spool<Ticket>, Vec<RestoredLane>) {
        let (spool, restored) = Spool::open(&self.options(), send_answer, drop).expect("a spool");
        (spool, restored.lanes)
    }

    /// Closes the spool and opens it again.
    fn reopen(&self, spool: Spool<Ticket>) -> (Spool<Ticket>, Vec<RestoredLane>) {
        close(&spool);
        drop(spool);
        self.open()
    }

    /// Writes a report and waits for the answer.
    fn write(&self, spool: &Spool<Ticket>, lane: &LaneKey, number: u64) -> Result<(), WriteError> {
        self.send(spool, lane, number, row(number).record);
        let (written, result) = self.answers.recv().expect("an answer");
        assert_eq!(written, number);
        result
    }

    /// Writes a record without waiting for the answer.
    fn send(&self, spool: &Spool<Ticket>, lane: &LaneKey, number: u64, record: Arc<Record>) {
        spool.write(lane, number, record, Ticket(number, self.answer.clone()));
    }

    fn newest_file(&self) -> PathBuf {
        directory::files(&self.path()).pop().expect("a file")
    }
}

fn lane(partition: u32) -> LaneKey {
    LaneKey {
        topic: "events".into(),
        partition: Some(partition),
    }
}

fn row(number: u64) -> Row {
    let record = Record {
        key: (!number.is_multiple_of(5)).then(|| format!("m{number}")),
        headers: vec![
            ("ce_id".into(), "id".into()),
            ("tracestate".into(), "a=\"b\"".into()),
            ("bytes".into(), vec![0, 0xff].into()),
        ],
        value: vec![b'{', 0xff, b'}'],
        timestamp: 1_795_000_000_000,
    };
    Row {
        number,
        record: Arc::new(record),
        is_in_inbox: false,
        mark: None,
    }
}

fn restored_lane(lane: LaneKey, first: u64, last: u64) -> RestoredLane {
    RestoredLane { lane, first, last }
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.number).collect()
}

fn close<T: Send>(spool: &Spool<T>) {
    assert!(spool.close(Duration::from_secs(10)), "the spool ends");
}

#[test]
fn written_reports_are_read_unchanged_and_in_order_after_a_restart() {
    let fixture = Fixture::new();
    let (spool, restored) = fixture.open();
    assert_eq!(restored, []);
    for number in 1..=20 {
        fixture.write(&spool, &lane(3), number).expect("room");
    }
    spool.remember("events", 6);
    close(&spool);
    drop(spool);
    let (spool, restored) = Spool::open(&fixture.options(), send_answer, drop).expect("a spool");
    assert_eq!(
        restored.lanes,
        [RestoredLane {
            lane: lane(3),
            first: 1,
            last: 20
        }]
    );
    assert_eq!(restored.partitions, [("events".to_owned(), 6)]);
    let (rows, is_end) = spool.read(&lane(3), 7, 1 << 20).expect("readable");
    assert!(is_end);
    assert_eq!(rows, (7..=20).map(row).collect::<Vec<_>>());
    let (rows, is_end) = spool.read(&lane(3), 7, 1).expect("readable");
    assert_eq!((numbers(&rows), is_end), (vec![7], false));
    assert_eq!(
        spool.read(&lane(4), 1, 1 << 20).expect("readable"),
        (Vec::new(), true)
    );
}

#[test]
fn a_deleted_report_is_not_restored() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    fixture.write(&spool, &lane(0), 2).expect("room");
    spool.delete(&lane(0), 1);
    let (spool, restored) = fixture.reopen(spool);
    assert_eq!(restored, [restored_lane(lane(0), 2, 2)]);
    spool.delete(&lane(0), 2);
    let (spool, restored) = fixture.reopen(spool);
    assert_eq!((spool.level().reports, restored), (0, vec![]));
}

#[test]
fn partition_counts_are_kept_when_the_file_with_them_is_replaced() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    spool.remember("events", 6);
    spool.remember("rejected", 3);
    close(&spool);
    drop(spool);
    for _ in 0..2 {
        let (spool, restored) =
            Spool::open(&fixture.options(), send_answer, drop).expect("a spool");
        let mut known = restored.partitions;
        known.sort();
        assert_eq!(
            known,
            [("events".to_owned(), 6), ("rejected".to_owned(), 3)]
        );
        close(&spool);
        assert_eq!(directory::files(&fixture.path()).len(), 1);
    }
}

#[test]
fn a_large_file_frees_its_disk_space_when_it_is_empty() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=5000 {
        let record = Record {
            value: vec![b'x'; 1000],
            ..Record::clone(&row(number).record)
        };
        fixture.send(&spool, &lane(0), number, Arc::new(record));
    }
    for _ in 1..=5000 {
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    assert!(directory::bytes(&fixture.path()) > 4 << 20);
    for number in 1..=5000 {
        spool.delete(&lane(0), number);
    }
    close(&spool);
    assert!(directory::bytes(&fixture.path()) < 1 << 20);
}

#[test]
fn a_quarantined_report_is_kept_but_not_read() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    fixture.write(&spool, &lane(0), 2).expect("room");
    spool.mark(&lane(0), 1, Mark::Quarantined);
    close(&spool);
    assert_eq!((spool.level().reports, spool.level().quarantined), (2, 1));
    drop(spool);
    let (spool, restored) = fixture.open();
    assert_eq!(
        restored,
        [RestoredLane {
            lane: lane(0),
            first: 2,
            last: 2
        }]
    );
    let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
    assert_eq!(numbers(&rows), [2]);
    let mut kept = Vec::new();
    let inspection = Inspection::of(&fixture.path()).expect("a spool");
    inspection
        .each(|report| {
            kept.push((report.number, report.mark.is_some()));
            Ok(())
        })
        .expect("shown");
    assert_eq!(kept, [(1, true), (2, false)]);
    assert_eq!(inspection.holder, Some(std::process::id()));
}

#[test]
fn a_second_owner_gets_the_process_id_of_the_first() {
    let fixture = Fixture::new();
    let (_spool, _) = fixture.open();
    match Spool::open(&fixture.options(), send_answer, drop) {
        Err(OpenError::InUse(path, Some(pid))) => {
            assert_eq!((path, pid), (fixture.path(), std::process::id()));
        }
        other => panic!("{:?}", other.map(|(spool, ..)| spool)),
    }
}

#[test]
fn a_file_of_a_newer_format_is_an_error_and_stays_in_place() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    close(&spool);
    drop(spool);
    let file = fixture.newest_file();
    let connection = rusqlite::Connection::open(&file).expect("a file");
    connection
        .pragma_update(None, "user_version", format::FORMAT + 1)
        .expect("a newer one");
    drop(connection);
    let Err(error) = Spool::open(&fixture.options(), send_answer, drop) else {
        panic!("a newer format is read");
    };
    assert!(
        error
            .to_string()
            .contains("(format 4; this version reads up to format 3)"),
        "{error}"
    );
    assert!(file.exists());
}

#[test]
fn only_the_user_can_read_the_spool() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path()), 0o700);
    for entry in fs::read_dir(fixture.path()).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_directory_that_can_not_be_created_is_an_error_with_its_path() {
    let options = Options {
        directory: "/proc/nowhere/spool".into(),
        ..Fixture::new().options()
    };
    let Err(error) = Spool::open(&options, send_answer, drop) else {
        panic!("a spool in /proc");
    };
    assert!(error.to_string().contains("/proc/nowhere/spool"), "{error}");
}

#[test]
fn a_dropped_spool_ends_its_thread_and_releases_the_directory() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    drop(spool);
    let until = Instant::now() + Duration::from_secs(10);
    let restored = loop {
        match Spool::open(&fixture.options(), send_answer, drop) {
            Ok((_spool, restored)) => break restored.lanes,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!(restored.len(), 1);
}
