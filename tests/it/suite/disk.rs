//! The spool's disk is full, read-only, fails or hangs. While Kafka acknowledges, reports do not need the disk; a
//! report can be refused only when Kafka is away too.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checker::Tolerated;
use super::rig::{Rig, Setup, deadline, lasting, seconds};
use crate::support::bridge::{Bridge, configuration, koobridge, run};
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::mounts::{Disk, succeed};

/// No process can write, create or remove a file there. The index that readers share is memory, so it is left alone.
fn forbid_writing(spool: &Path) {
    let files = fs::read_dir(spool).expect("a directory").flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with("-shm"));
    assert!(!files.is_empty(), "a spool has files");
    files.push(spool.to_owned());
    succeed(Command::new("chattr").arg("+i").args(files));
}

fn allow_writing(spool: &Path) {
    succeed(Command::new("chattr").args(["-R", "-i"]).arg(spool));
}

/// Some file systems allow writes to a file that was open before: a test on them would prove nothing.
fn assert_an_open_file_can_be_forbidden() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut open = File::create(directory.path().join("open")).expect("a file");
    forbid_writing(directory.path());
    let written = open.write_all(b"x");
    allow_writing(directory.path());
    let why = "TMPDIR has to be on a file system where immutable files can't be written";
    assert!(written.is_err(), "{why}");
}

/// Makes the disk fail for a while, with Kafka up, or frozen for longer than the disk fails.
fn harmed(fault: &str, kafka_away: bool, mut rig: Rig, harm: impl Fn(&Rig, bool)) {
    // A lane that has had no acknowledgement from Kafka yet needs the disk.
    rig.bridge
        .wait_for_metric("koobridge_partitions_waiting", 0);
    if kafka_away {
        rig.kafka.freeze_all();
        // The spool already has some reports.
        seconds(3);
    }
    harm(&rig, true);
    seconds(length(kafka_away));
    harm(&rig, false);
    if kafka_away {
        seconds(2);
        rig.kafka.thaw_all();
    }
    rig.cause_ends();
    let reports = rig.check(Tolerated {
        refusals: kafka_away,
        failures: kafka_away,
        repeats: kafka_away,
        ..Tolerated::NOTHING
    });
    let refused = reports
        .iter()
        .filter(|report| !report.is_promised())
        .count();
    assert_eq!(
        refused > 0,
        kafka_away,
        "{fault}: {refused} senders noticed"
    );
}

/// Returns how many seconds the disk fails: longer than the bridge's deadline.
fn length(kafka_away: bool) -> u64 {
    if kafka_away { 6 } else { lasting(11, 6) }
}

/// When a report goes to the spool. On a busy machine Kafka may take seconds to answer. Bodies arrive together with
/// their heads, so the deadline has room for both times and an fsync.
fn after(kafka_away: bool) -> [(&'static str, &'static str); 2] {
    let after = if kafka_away {
        "1s"
    } else {
        lasting("6s", "3s")
    };
    [("spool.after", after), ("ingress.body_timeout", "900ms")]
}

fn full(fault: &str, kafka_away: bool) {
    let (disk, times) = (Disk::mount(), after(kafka_away));
    let setup = Setup {
        spool: true,
        spool_at: Some(disk.spool()),
        settings: &[("spool.free_space", "0"), times[0], times[1]],
        deadline: if kafka_away { None } else { deadline(8) },
        ..Setup::default()
    };
    let rig = Rig::with(fault, cluster::exclusive(), setup);
    harmed(fault, kafka_away, rig, |_, is_full| {
        if is_full {
            disk.fill();
        } else {
            disk.free();
        }
    });
}

#[test]
fn a_full_disk_is_not_noticed_while_kafka_is_up() {
    full(&format!("disk full for {} s", length(false)), false);
}

#[test]
fn a_full_disk_while_kafka_is_away_loses_nothing() {
    full("disk full for 6 s, Kafka frozen", true);
}

fn read_only(fault: &str, kafka_away: bool) {
    assert_an_open_file_can_be_forbidden();
    let setup = Setup {
        spool: true,
        settings: &after(kafka_away),
        deadline: if kafka_away { None } else { deadline(8) },
        ..Setup::default()
    };
    let rig = Rig::with(fault, cluster::exclusive(), setup);
    harmed(fault, kafka_away, rig, |rig, is_forbidden| {
        let spool = rig.spool.as_deref().expect("a rig with a spool");
        if is_forbidden {
            forbid_writing(spool);
        } else {
            allow_writing(spool);
        }
    });
}

#[test]
fn a_disk_that_cannot_be_written_is_not_noticed_while_kafka_is_up() {
    read_only(&format!("spool read-only for {} s", length(false)), false);
}

#[test]
fn a_disk_that_cannot_be_written_while_kafka_is_away_loses_nothing() {
    read_only("spool read-only for 6 s, Kafka frozen", true);
}

/// A preloaded library that makes fsyncs fail when a file says so, and notes them in another file.
fn fsync_library(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/suite/fsync.c");
    let library = directory.join("fsync.so");
    let options = ["-shared", "-fPIC", "-O1", "-o"];
    succeed(
        Command::new("cc")
            .args(options)
            .arg(&library)
            .arg(source)
            .arg("-ldl"),
    );
    library
}

/// The result of the bridge's next fsyncs.
fn fsync(fault: &str, word: &str, kafka_away: bool) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("fsync");
    let setup = Setup {
        spool: true,
        settings: &after(kafka_away),
        deadline: if kafka_away { None } else { deadline(8) },
        environment: &[
            ("LD_PRELOAD", fsync_library(directory.path()).into()),
            ("FSYNC_FAULT_FILE", (&file).into()),
        ],
        ..Setup::default()
    };
    let rig = Rig::with(fault, cluster::exclusive(), setup);
    harmed(fault, kafka_away, rig, |_, is_harmed| {
        if is_harmed {
            fs::write(&file, word).expect("a file");
        } else {
            fs::remove_file(&file).expect("a file");
        }
    });
}

#[test]
fn an_fsync_that_fails_is_not_noticed_while_kafka_is_up() {
    fsync(
        &format!("fsync fails for {} s", length(false)),
        "fail",
        false,
    );
}

#[test]
fn an_fsync_that_fails_while_kafka_is_away_loses_nothing() {
    fsync("fsync fails for 6 s, Kafka frozen", "fail", true);
}

#[test]
fn an_fsync_that_hangs_is_not_noticed_while_kafka_is_up() {
    fsync(
        &format!("fsync hangs for {} s", length(false)),
        "hang",
        false,
    );
}

#[test]
fn an_fsync_that_hangs_while_kafka_is_away_loses_nothing() {
    fsync("fsync hangs for 6 s, Kafka frozen", "hang", true);
}

/// No broker exists, so only the spool can cause a 200.
#[test]
fn each_answer_waits_for_an_fsync_and_the_first_for_that_of_the_directory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("fsyncs");
    let spool = directory.path().join("spool");
    let environment = [
        ("LD_PRELOAD", fsync_library(directory.path()).into()),
        ("FSYNC_LOG_FILE", (&log).into()),
    ];
    let setting = spool.display().to_string();
    let settings = [("spool.directory", &*setting)];
    let bridge = Bridge::start_in(&environment, "127.0.0.1:1", "events", "rejected", &settings);
    let fsyncs_of = |path: &Path| {
        let fsynced = fs::read_to_string(&log).expect("a log");
        fsynced
            .lines()
            .filter(|line| Path::new(line) == path)
            .count()
    };
    assert_ne!(fsyncs_of(&spool), 0);
    let written = spool.join("spool-000001.sqlite-wal");
    for message in ["m1", "m2", "m3"] {
        let before = fsyncs_of(&written);
        let answer = exchange(bridge.ingress, &report(&body(message, "read")));
        assert_eq!(answer.status, 200);
        assert!(fsyncs_of(&written) > before, "{message}");
    }
}

#[test]
fn a_second_bridge_on_the_same_spool_is_refused_and_the_first_is_named() {
    let kafka = cluster::shared();
    let spool = tempfile::tempdir().expect("a temporary directory");
    let spool = format!("spool.directory={}", spool.path().display());
    let (key, value) = spool.split_once('=').expect("a setting");
    let (mut first, topic, rejected) = Bridge::with_topics(&kafka, 1, &[(key, value)]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = configuration(directory.path(), kafka.bootstrap(), &topic, &rejected);
    let second = run(koobridge()
        .args(["serve", "--set", &spool, "--config"])
        .arg(file));
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).expect("text");
    assert!(said.contains(value), "which spool: {said}");
    assert!(said.contains(&first.pid().to_string()), "who: {said}");
    assert!(first.is_running());
}
